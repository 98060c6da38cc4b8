"""The layers of a network and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.plotting.drawing import (
    WEIGHT_COLORS,
    activation_name,
    activations_of,
    check_network,
    count,
    count_in_integers,
    new_axes_unless_given,
    weight_norm,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

__all__ = ["NetworkDisplay"]

# Where kind="auto" draws lines: no layer has more units than this.
MOST_UNITS_AS_LINES = 20
# Layers with more units than this are drawn without the names of their units.
MOST_NAMES = 30


class NetworkDisplay:
    """The layers of a network and their weights: lines between units, or for large networks heat maps.

    A heat map has a row for each feature or unit of the layer before and a column for each unit of its own layer, with
    the biases below. In both, the colours reach as far as the weights; a bias beyond has the last colour.

    Parameters
    ----------
    coefs : list of ndarray of shape (fan_in, fan_out)
        Weights of each layer.
    intercepts : list of ndarray of shape (fan_out,)
        Biases of each layer.
    layer_names : list of str
        One for the input and one for each layer.
    input_names, output_names : list of str
        Names of the features and of the output units.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes; with heat maps they are empty but for ``axes_``.
    axes_ : list of matplotlib Axes
        Of the heat maps, one for each layer; empty with lines.
    figure_ : matplotlib Figure
        Figure of the axes.
    edges_ : list of matplotlib LineCollection
        With lines, the weights of each layer, the largest last; their array has the weights.
    units_ : list of matplotlib PathCollection
        With lines, the units of the input and of each layer; the array of a layer has its biases.
    images_, bias_images_ : list of matplotlib AxesImage
        With heat maps, the weights and the biases of each layer.
    colorbar_ : matplotlib Colorbar

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sknn_scratch import MLPFromScratchClassifier, NetworkDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> network = MLPFromScratchClassifier((6, 4), "tanh", learning_rate_init=0.02, tol=0.01, random_state=0).fit(X, y)
    >>> display = NetworkDisplay.from_estimator(network)
    >>> display.output_names
    ['0', '1', '2']
    """

    def __init__(
        self,
        *,
        coefs: Sequence[NDArray],
        intercepts: Sequence[NDArray],
        layer_names: Sequence[str],
        input_names: Sequence[str],
        output_names: Sequence[str],
    ):
        self.coefs = coefs
        self.intercepts = intercepts
        self.layer_names = layer_names
        self.input_names = input_names
        self.output_names = output_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: str = "auto",
        feature_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the network of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        kind : {'auto', 'lines', 'heatmap'}, default='auto'
            How weights are drawn; 'auto' is 'lines' if no layer has more than 20 units.
        feature_names, output_names : list of str, default=None
            By default those that the estimator was fitted with, and its classes.
        ax : matplotlib Axes, default=None
            Axes to draw into; new ones by default.

        Returns
        -------
        display : NetworkDisplay
        """
        check_network(estimator)
        n_features, n_outputs = estimator.coefs_[0].shape[0], estimator.coefs_[-1].shape[1]
        if feature_names is None:
            feature_names = list(getattr(estimator, "feature_names_in_", [f"x{i}" for i in range(n_features)]))
        if output_names is None:
            output_names = _output_names(estimator)
        for parameter, names, n in (
            ("feature_names", feature_names, n_features),
            ("output_names", output_names, n_outputs),
        ):
            if len(names) != n:
                raise ValueError(f"{parameter} must have {n} entries, got {len(names)}.")
        hidden = [
            f"hidden {l}\n{count(weights.shape[1], 'unit')}\n{activation_name(activation)}"
            for l, (weights, activation) in enumerate(
                zip(estimator.coefs_[:-1], activations_of(estimator), strict=True), start=1
            )
        ]
        output = f"output\n{count(n_outputs, 'unit')}\n{estimator.out_activation_}"
        display = cls(
            coefs=estimator.coefs_,
            intercepts=estimator.intercepts_,
            layer_names=[f"input\n{count(n_features, 'feature')}", *hidden, output],
            input_names=list(feature_names),
            output_names=list(output_names),
        )
        return display.plot(ax, kind=kind)

    def plot(self, ax: Axes | None = None, *, kind: str = "auto") -> Self:
        """Draw the network.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; new ones by default.
        kind : {'auto', 'lines', 'heatmap'}, default='auto'
            How weights are drawn; 'auto' is 'lines' if no layer has more than 20 units.

        Returns
        -------
        display : NetworkDisplay
        """
        if kind not in ("auto", "lines", "heatmap"):
            raise ValueError(f"kind must be 'auto', 'lines' or 'heatmap', got {kind!r}.")
        if kind == "auto":
            widest = max(max(weights.shape) for weights in self.coefs)
            kind = "lines" if widest <= MOST_UNITS_AS_LINES else "heatmap"
        n_layers = len(self.coefs)
        width = max(5.0, 2.2 * n_layers + 1.8) if kind == "lines" else max(4.6, 3.3 * n_layers + 0.8)
        self.ax_ = new_axes_unless_given(ax, (width, 4.4))
        self.figure_: Figure | SubFigure = self.ax_.figure
        self.axes_: list[Axes] = []
        self.edges_: list[LineCollection] = []
        self.units_: list[PathCollection] = []
        self.images_: list[AxesImage] = []
        self.bias_images_: list[AxesImage] = []
        drawn = self._plot_lines() if kind == "lines" else self._plot_heatmaps()
        largest = max(float(np.abs(array).max()) for array in [*self.coefs, *self.intercepts])
        extend = "both" if largest > drawn.norm.vmax else "neither"
        self.colorbar_ = self.figure_.colorbar(drawn, ax=self.ax_, label="weight or bias", extend=extend)
        return self

    def _plot_lines(self) -> Any:
        ax: Any = self.ax_
        norm = weight_norm(self.coefs)  # a bias as large as the targets would make all lines pale
        sizes = [self.coefs[0].shape[0], *(weights.shape[1] for weights in self.coefs)]
        tallest = max(sizes)
        # Narrow layers are drawn apart, but not so far that a small network looks torn.
        spacing = [max(1.0, min(tallest / n, tallest / 15)) for n in sizes]
        places = [
            np.column_stack([np.full(n, l), spacing[l] * ((n - 1) / 2 - np.arange(n))]) for l, n in enumerate(sizes)
        ]
        points = ax.get_window_extent().height * 72 / self.figure_.dpi  # 72 to an inch
        diameters = [float(np.clip(0.6 * points * step / (tallest + 1), 1.5, 24)) for step in spacing]
        for weights, ends in zip(self.coefs, pairwise(places), strict=True):
            self._draw_edges(weights, *ends, thickest=0.15 * min(diameters), norm=norm)
        for l, (place, diameter) in enumerate(zip(places, diameters, strict=True)):
            color = {"c": self.intercepts[l - 1], "cmap": WEIGHT_COLORS, "norm": norm} if l else {"c": "white"}
            units = ax.scatter(*place.T, s=diameter**2, edgecolors="0.3", linewidths=diameter / 24, zorder=2, **color)
            self.units_.append(units)
        self._draw_names(self.input_names, places[0], -diameters[0] / 2 - 4, "right")
        self._draw_names(self.output_names, places[-1], diameters[-1] / 2 + 4, "left")
        ax.set_xticks(range(len(sizes)), self.layer_names)
        ax.tick_params(length=0)
        ax.set(yticks=[], xlim=(-0.5, len(sizes) - 0.5), ylim=(-tallest / 2 - 0.2, tallest / 2 + 0.2))
        ax.spines[:].set_visible(False)
        return self.edges_[0]

    def _draw_edges(self, weights: NDArray, left: NDArray, right: NDArray, *, thickest: float, norm: Any) -> None:
        """Draw a line for each weight, the largest on top."""
        from matplotlib.collections import LineCollection

        source, target = np.unravel_index(np.abs(weights).ravel().argsort(), weights.shape)
        strength = weights[source, target]
        edges: Any = LineCollection(
            list(np.stack([left[source], right[target]], axis=1)),
            cmap=WEIGHT_COLORS,
            norm=norm,
            array=strength,
            linewidths=0.2 + thickest * np.abs(strength) / norm.vmax,
            zorder=1,
        )
        self.edges_.append(self.ax_.add_collection(edges))

    def _draw_names(self, names: Sequence[str], places: NDArray, shift: float, align: Any) -> None:
        """Write the names of units beside them, ``shift`` points to the right."""
        if len(names) <= MOST_NAMES:
            for text, xy in zip(names, places, strict=True):
                self.ax_.annotate(text, xy, (shift, 0), textcoords="offset points", va="center", ha=align)

    def _plot_heatmaps(self) -> Any:
        self.ax_.set_axis_off()
        norm = weight_norm(self.coefs, percentile=99.5)
        n, gap = len(self.coefs), 0.3
        width = 1 / (n + gap * (n - 1))
        for l, (weights, biases) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            left = l * width * (1 + gap)
            upper = self.ax_.inset_axes((left, 0.1, width, 0.9))
            lower = self.ax_.inset_axes((left, 0, width, 0.05), sharex=upper)
            for ax, values, images in ((upper, weights, self.images_), (lower, biases[np.newaxis], self.bias_images_)):
                kwargs: Any = {"cmap": WEIGHT_COLORS, "norm": norm, "aspect": "auto", "interpolation": "nearest"}
                images.append(ax.imshow(values, **kwargs))
            for axis in (upper.yaxis, lower.xaxis):
                count_in_integers(axis, 5)
            upper.tick_params(labelbottom=False, bottom=False)
            lower.set_xlabel(self.layer_names[l + 1])
            lower.set_yticks([])
            self.axes_.append(upper)
            if l == 0:
                upper.set_ylabel(self.layer_names[0].replace("\n", ": "))
                lower.set_yticks([0], ["bias"])
        return self.images_[0]


def _output_names(estimator: Any) -> list[str]:
    """Return the classes that the output units stand for, or for numbers 'y0', 'y1', ..."""
    n_outputs = estimator.coefs_[-1].shape[1]
    if not hasattr(estimator, "classes_"):
        return ["y"] if n_outputs == 1 else [f"y{i}" for i in range(n_outputs)]
    if not isinstance(estimator.classes_, list):
        return [str(label) for label in estimator.classes_[-n_outputs:]]
    # Of two classes, the unit stands for the second.
    units = [labels if len(labels) > 2 else labels[-1:] for labels in estimator.classes_]
    return [f"{target}: {label}" for target, labels in enumerate(units) for label in labels]
