"""Pictures of fitted networks, as displays in scikit-learn's style.

``from_estimator`` takes what it needs from a fitted estimator, ours or scikit-learn's, and draws it; ``plot`` draws the
display again, into other axes or in another way.

Only the modules of this folder import matplotlib, and only when something is drawn.
"""

from sknn_scratch.plotting.hidden_layers import ActivationDisplay
from sknn_scratch.plotting.loss_curves import LossCurveDisplay
from sknn_scratch.plotting.network_diagram import NetworkDisplay
from sknn_scratch.plotting.weight_images import WeightsDisplay
