"""What the units of the hidden layers give out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from sknn_scratch.inspection import layer_values
from sknn_scratch.plotting.drawing import LINE_COLORS, activation_name, count, network_of, new_axes_unless_given

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

# A unit is saturated where its slope is below this share of the activation's steepest.
SATURATED_SLOPE = 0.05


@dataclass(kw_only=True, eq=False, repr=False)
class ActivationDisplay:
    """What the units of each hidden layer give out: distribution, dead units, saturation.

    A row for each layer. The height of the histogram is the square root of the share of values, so that the zeros of a
    ReLU do not hide the rest.

    Parameters
    ----------
    activations : list of ndarray of shape (n_samples, n_units)
        Output of each hidden layer.
    slopes : list of ndarray of shape (n_samples, n_units)
        Derivative of the activation at each of them, divided by its largest absolute value.
    layer_names : list of str
        One for each hidden layer.

    Attributes
    ----------
    dead_units : list of ndarray of int
        For each layer, the units that give the same value for every sample.
    saturation : list of ndarray of shape (n_units,)
        For each unit, the share of samples at which the slope is below a twentieth of the steepest, so that next to
        nothing is learnt from them. For a ReLU these are the samples for which the unit is off.
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        Figure of the axes.
    lines_ : list of matplotlib Line2D
        Outline of the histogram of each layer.
    texts_ : list of matplotlib Text
        What is said about each layer.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sknn_scratch import ActivationDisplay, MLPFromScratchClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> network = MLPFromScratchClassifier((20, 10), "tanh", tol=0.01, random_state=0).fit(X / 16, y)
    >>> display = ActivationDisplay.from_estimator(network, X / 16)
    >>> [a.shape for a in display.activations]
    [(1797, 20), (1797, 10)]
    """

    activations: Sequence[NDArray]
    slopes: Sequence[NDArray]
    layer_names: Sequence[str]

    def __post_init__(self) -> None:
        self.dead_units = [np.flatnonzero(np.ptp(a, axis=0) == 0) for a in self.activations]
        self.saturation = [(np.abs(slope) < SATURATED_SLOPE).mean(axis=0) for slope in self.slopes]

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, bins: int = 60, ax: Axes | None = None) -> Self:
        """Draw the activations of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with at least one hidden layer.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            At least two samples.
        bins : int, default=60
            Bins of the histograms, at least 1.
        ax : matplotlib Axes, default=None
            Axes to draw into; new ones by default.

        Returns
        -------
        display : ActivationDisplay
        """
        network = network_of(estimator)
        if not network.activations:
            raise ValueError(f"{type(estimator).__name__} has no hidden layer, so there are no activations to draw.")
        X = validate_data(estimator, X, reset=False, accept_sparse="csr", dtype=network.dtype, ensure_min_samples=2)
        activations, slopes, names = [], [], []
        for l, (f, (z, a)) in enumerate(zip(network.activations, layer_values(network, X), strict=False), start=1):
            steepest = np.abs(f.derivative(np.linspace(-10, 10, 2001).reshape(-1, 1))).max()
            activations.append(a)
            with np.errstate(over="ignore"):
                slopes.append(f.derivative(z) / (steepest or 1))
            names.append(f"hidden {l}\n{activation_name(f)}\n{count(a.shape[1], 'unit')}")
        display = cls(activations=activations, slopes=slopes, layer_names=names)
        return display.plot(ax, bins=bins)

    def plot(self, ax: Axes | None = None, *, bins: int = 60) -> Self:
        """Draw the distributions, with the parameters of ``from_estimator``, and return the display."""
        if not isinstance(bins, int | np.integer) or bins < 1:
            raise ValueError(f"bins must be an integer of at least 1, got {bins!r}.")
        n_layers = len(self.activations)
        self.ax_ = ax = new_axes_unless_given(ax, (6.4, 1.4 + 1.1 * n_layers))
        self.figure_: Figure | SubFigure = ax.figure
        self.lines_: list[Line2D] = []
        self.texts_: list[Text] = []
        low = min(float(a.min()) for a in self.activations)
        high = max(float(a.max()) for a in self.activations)
        edges = np.linspace(low, high, bins + 1) if high > low else low + np.linspace(-0.5, 0.5, bins + 1)
        for l, a in enumerate(self.activations):
            base, color = n_layers - 1 - l, LINE_COLORS[l % len(LINE_COLORS)]
            heights = np.sqrt(np.histogram(a, edges)[0] / a.size)
            outline = base + 0.7 * heights / heights.max()
            ax.fill_between(edges, base, [*outline, outline[-1]], step="post", color=color, alpha=0.3, linewidth=0)
            self.lines_ += ax.step(edges, [*outline, outline[-1]], where="post", color=color, linewidth=1)
            dead, saturated = len(self.dead_units[l]), self.saturation[l].mean()
            text = f"dead: {dead} of {count(a.shape[1], 'unit')}, slope near 0: {100 * saturated:.0f} %"
            self.texts_.append(ax.text(0.99, base + 0.75, text, ha="right", transform=ax.get_yaxis_transform()))
        ax.set_yticks(0.35 + np.arange(n_layers), self.layer_names[::-1])
        ax.set(xlabel="activation", ylim=(-0.1, n_layers))
        ax.grid(axis="x", alpha=0.3)
        ax.spines[["top", "left", "right"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        return self
