"""What all displays share: colours, axes, and what they ask of an estimator.

Colours are told apart with colour-blind eyes too: lines take those of Okabe and Ito ("Color universal design", 2008),
weights go from blue (negative) through white to red.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.activations import ACTIVATIONS, Activation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "LINE_COLORS",
    "WEIGHT_COLORS",
    "activation_name",
    "activations_of",
    "check_network",
    "count",
    "count_in_integers",
    "new_axes_unless_given",
    "weight_norm",
]

LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WEIGHT_COLORS = "RdBu_r"


def new_axes_unless_given(ax: Axes | None, figsize: tuple[float, float]) -> Any:
    """Return the given axes, or new ones in a figure of this size, in inches."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'sknn-scratch[plot]'.") from error
    if ax is not None:
        return ax
    return plt.subplots(figsize=figsize, layout="constrained")[1]


def count_in_integers(axis: Any, most_ticks: int = 9) -> None:
    """Put ticks of an axis at integers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most_ticks, integer=True, min_n_ticks=1))


def weight_norm(arrays: Sequence[NDArray], percentile: float = 100) -> Any:
    """Return a colour scale with zero in the middle, for all but the largest few numbers."""
    from matplotlib.colors import Normalize

    limit = float(np.percentile(np.concatenate([np.abs(array).ravel() for array in arrays]), percentile))
    return Normalize(-(limit or 1.0), limit or 1.0)


def check_network(estimator: Any) -> None:
    """Raise TypeError unless the estimator is a multi-layer perceptron, and NotFittedError unless it is fitted."""
    if not hasattr(estimator, "hidden_layer_sizes"):
        raise TypeError(
            "estimator must be a multi-layer perceptron of this package or of scikit-learn, got "
            f"{type(estimator).__name__}. Of a pipeline or a search, pass the fitted perceptron itself."
        )
    check_is_fitted(estimator, "coefs_")


def activations_of(estimator: Any) -> list[Activation]:
    """Return the activation of each hidden layer of a fitted estimator."""
    ours = getattr(estimator, "_hidden_activations", None)
    return [ACTIVATIONS[estimator.activation]()] * (len(estimator.coefs_) - 1) if ours is None else ours


def activation_name(activation: Activation) -> str:
    """Return the name by which an activation is chosen, or that of its class."""
    names = {cls: name for name, cls in ACTIVATIONS.items()}
    return names.get(type(activation), type(activation).__name__)


def count(n: int, what: str) -> str:
    """Return such as '1 unit' or '5 units'."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
