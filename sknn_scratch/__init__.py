"""Multi-layer perceptrons for scikit-learn, written from the chain rule up.

``MLPFromScratchClassifier`` and ``MLPFromScratchRegressor`` take the place of scikit-learn's ``MLPClassifier`` and
``MLPRegressor``: same parameters, same attributes and, with the same ``random_state``, the same coefficients, faster.
"""

from sknn_scratch.classifier import MLPFromScratchClassifier
from sknn_scratch.regressor import MLPFromScratchRegressor

__all__ = ["MLPFromScratchClassifier", "MLPFromScratchRegressor"]
__version__ = "0.1.0"
