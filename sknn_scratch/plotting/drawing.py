"""What all displays share: colours, axes, and what they ask of an estimator.

Colours are told apart with colour-blind eyes too: lines take those of Okabe and Ito ("Color universal design", 2008),
weights go from blue (negative) through white to red.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.catalogue.activations import ACTIVATIONS, Activation
from sknn_scratch.perceptron import Perceptron

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WEIGHT_COLORS = "RdBu_r"
# Longer names of features and classes are shortened in pictures.
LONGEST_NAME = 24


def new_axes_unless_given(ax: Axes | None, figsize: tuple[float, float]) -> Any:
    """Return the given axes, or new ones in a figure of this size, in inches."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'sknn-scratch[plot]'.") from error
    if ax is not None:
        return ax
    return plt.subplots(figsize=figsize, layout="constrained")[1]


def line_colors(n: int) -> Sequence[Any]:
    """Return colours for ``n`` lines: those of Okabe and Ito, or, for more lines than these, from dark to light."""
    if n <= len(LINE_COLORS):
        return LINE_COLORS
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0, 0.93, n)))


def plain_log_axis(axis: Any, low: float, high: float) -> None:
    """Put ticks with plain numbers on a logarithmic axis, as many as a reader needs between ``low`` and ``high``."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if high < 4 * low:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    else:
        decades = np.log10(high / low)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axis.set_minor_formatter(NullFormatter())


def inches(drawn: Any) -> tuple[float, float]:
    """Return width and height of axes, a legend or a text."""
    box, dpi = drawn.get_window_extent(), drawn.figure.dpi
    return box.width / dpi, box.height / dpi


def text_size(ax: Axes, texts: Sequence[str]) -> tuple[float, float]:
    """Return the largest width and the largest height of texts, in inches."""
    text = ax.text(0, 0, "", parse_math=False)
    sizes = [(0.0, 0.0)]
    for string in texts:
        text.set_text(string)
        sizes.append(inches(text))
    text.remove()
    width, height = np.max(sizes, axis=0).tolist()
    return width, height


def shorten(name: Any) -> str:
    """Return a name whose middle is left out if it is long: names of columns often begin alike and end alike."""
    text = str(name)
    if len(text) <= LONGEST_NAME:
        return text
    head = LONGEST_NAME // 2
    return f"{text[: head - 1]}\N{HORIZONTAL ELLIPSIS}{text[head - LONGEST_NAME :]}"


def has_layout_engine(ax: Axes) -> bool:
    """Return whether matplotlib itself makes room for what is written around the axes."""
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    engine = ax.figure.get_layout_engine()
    return engine is not None and not isinstance(engine, PlaceHolderLayoutEngine)


def count_in_integers(axis: Any, most_ticks: int | Literal["auto"] = "auto") -> None:
    """Put ticks of an axis at integers only, by default as many as there is room for."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most_ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def weight_norm(arrays: Sequence[NDArray], percentile: float = 100) -> Any:
    """Return a colour scale with zero in the middle, for all but the largest few numbers."""
    from matplotlib.colors import Normalize

    limit = float(np.percentile(np.concatenate([np.abs(array).ravel() for array in arrays]), percentile))
    return Normalize(-(limit or 1.0), limit or 1.0)


def unwrapped(estimator: Any) -> Any:
    """Return the best model of a search, the last step of a pipeline, and any other estimator as it is."""
    if hasattr(estimator, "refit"):
        check_is_fitted(estimator)
    if hasattr(estimator, "best_estimator_"):
        return unwrapped(estimator.best_estimator_)
    return unwrapped(estimator.steps[-1][1]) if hasattr(estimator, "steps") else estimator


def check_network(estimator: Any) -> None:
    """Raise TypeError unless the estimator is a multi-layer perceptron, and NotFittedError unless it is fitted."""
    if not hasattr(estimator, "hidden_layer_sizes"):
        raise TypeError(
            "estimator must be a multi-layer perceptron of this package or of scikit-learn, got "
            f"{type(estimator).__name__}. Of what is around one, pass the fitted perceptron itself: model[-1] of a "
            "pipeline, best_estimator_ of a search, estimator_ or regressor_ of others."
        )
    if hasattr(estimator, "n_members"):
        raise TypeError(
            f"estimator must have a single network, and {type(estimator).__name__} has many, of which LossCurveDisplay "
            "shows the out-of-fold loss."
        )
    check_is_fitted(estimator, "coefs_")


def network_of(estimator: Any) -> Perceptron:
    """Return the network of a fitted estimator, which may be scikit-learn's; raises as ``check_network`` does."""
    check_network(estimator)
    if hasattr(estimator, "perceptron"):
        return estimator.perceptron
    activations = [ACTIVATIONS[estimator.activation]()] * (len(estimator.coefs_) - 1)
    return Perceptron.of_layers(estimator.coefs_, estimator.intercepts_, activations)


def activation_name(activation: Activation) -> str:
    """Return the name by which an activation is chosen, or that of its class."""
    names = {cls: name for name, cls in ACTIVATIONS.items()}
    return names.get(type(activation), type(activation).__name__)


def count(n: int, what: str) -> str:
    """Return such as '1 unit' or '5 units'."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
