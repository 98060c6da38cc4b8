"""The layers of a network and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.plotting.drawing import (
    WEIGHT_COLORS,
    activation_name,
    count,
    count_in_integers,
    inches,
    network_of,
    new_axes_unless_given,
    shorten,
    text_size,
    unwrapped,
    weight_norm,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

# Where kind="auto" draws lines: no layer has more units than this.
MOST_UNITS_AS_LINES = 20
# Layers with more units than this, or with less room for each, are drawn without the names of their units.
MOST_NAMES = 30
SMALLEST_FONT = 4.5  # points
# Between a unit or a matrix and what is written beside it, in inches.
GAP = 0.06
# Between two heat maps, for the numbers of the rows, in inches.
BETWEEN_MAPS = 0.45
# Share of width and height that names leave to lines or heat maps.
LEAST_SHARE = 0.3
POINTS = 72  # to an inch


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkDisplay:
    """The layers of a network and their weights: lines between units, or for large networks heat maps.

    A heat map has a row for each feature or unit of the layer before and a column for each unit of its own layer, with
    the biases below. In both, the colours reach as far as the weights; a bias beyond has the last colour. Up to 30
    features and output units are named, long names without their middle.

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

    coefs: Sequence[NDArray]
    intercepts: Sequence[NDArray]
    layer_names: Sequence[str]
    input_names: Sequence[str]
    output_names: Sequence[str]

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
            Fitted; a pipeline or a search stands for the network in it.
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
        estimator = unwrapped(estimator)
        network = network_of(estimator)
        n_features, *widths, n_outputs = network.layer_units
        if feature_names is None:
            feature_names = list(getattr(estimator, "feature_names_in_", [f"x{i}" for i in range(n_features)]))
        if output_names is None:
            output_names = _output_names(estimator, n_outputs)
        for parameter, names, n in (
            ("feature_names", feature_names, n_features),
            ("output_names", output_names, n_outputs),
        ):
            if len(names) != n:
                raise ValueError(f"{parameter} must have {n} entries, got {len(names)}.")
        hidden = [
            f"hidden {l}\n{count(width, 'unit')}\n{activation_name(activation)}"
            for l, (width, activation) in enumerate(zip(widths, network.activations, strict=True), start=1)
        ]
        output = f"output\n{count(n_outputs, 'unit')}\n{estimator.out_activation_}"
        display = cls(
            coefs=network.weights,
            intercepts=network.biases,
            layer_names=[f"input\n{count(n_features, 'feature')}", *hidden, output],
            input_names=list(feature_names),
            output_names=list(output_names),
        )
        return display.plot(ax, kind=kind)

    def plot(self, ax: Axes | None = None, *, kind: str = "auto") -> Self:
        """Draw the network, with the parameters of ``from_estimator``, and return the display."""
        if kind not in ("auto", "lines", "heatmap"):
            raise ValueError(f"kind must be 'auto', 'lines' or 'heatmap', got {kind!r}.")
        if kind == "auto":
            widest = max(max(weights.shape) for weights in self.coefs)
            kind = "lines" if widest <= MOST_UNITS_AS_LINES else "heatmap"
        self.ax_ = new_axes_unless_given(ax, self._size_of_figure(kind))
        self.figure_: Figure | SubFigure = self.ax_.figure
        self.axes_: list[Axes] = []
        self.edges_: list[LineCollection] = []
        self.units_: list[PathCollection] = []
        self.images_: list[AxesImage] = []
        self.bias_images_: list[AxesImage] = []
        # A bias as large as the targets would make all weights pale.
        norm = weight_norm(self.coefs, percentile=100 if kind == "lines" else 99.5)
        self.ax_.set(xticks=[], yticks=[])
        self._draw_colorbar(norm)
        if ax is None:
            figure: Any = self.figure_
            figure.draw_without_rendering()  # and the axes have their size
        if kind == "lines":
            self._plot_lines(norm)
        else:
            self._plot_heatmaps(norm)
        return self

    def _size_of_figure(self, kind: str) -> tuple[float, float]:
        """Return width and height with room for the names, in inches."""
        n_layers = len(self.coefs)
        width = max(5.0, 2.2 * n_layers + 1.8) if kind == "lines" else max(4.6, 3.3 * n_layers + 0.8)
        named = [names for names in (self.input_names, self.output_names) if len(names) <= MOST_NAMES]
        width += 0.06 * max((len(shorten(name)) for names in named for name in names), default=0)
        return width, max([4.4, *(1.2 + 0.17 * len(names) for names in named)])

    def _draw_colorbar(self, norm: Any) -> None:
        from matplotlib.cm import ScalarMappable

        largest = max(float(np.abs(array).max()) for array in [*self.coefs, *self.intercepts])
        extend = "both" if largest > norm.vmax else "neither"
        colors = ScalarMappable(norm, WEIGHT_COLORS)
        self.colorbar_ = self.figure_.colorbar(colors, ax=self.ax_, label="weight or bias", extend=extend)

    def _plot_lines(self, norm: Any) -> None:
        ax: Any = self.ax_
        sizes = [self.coefs[0].shape[0], *(weights.shape[1] for weights in self.coefs)]
        tallest = max(sizes)
        # Narrow layers are drawn apart, but not so far that a small network looks torn.
        spacing = [max(1.0, min(tallest / n, tallest / 15)) for n in sizes]
        places = [
            np.column_stack([np.full(n, l), spacing[l] * ((n - 1) / 2 - np.arange(n))]) for l, n in enumerate(sizes)
        ]
        width, height = inches(ax)
        foot = min(text_size(ax, self.layer_names)[1] + 2 * GAP, (1 - LEAST_SHARE) * height)
        unit = (height - foot) / (tallest + 0.4)  # inches
        diameters = [float(np.clip(0.6 * POINTS * unit * step, 1.5, 24)) for step in spacing]
        for weights, ends in zip(self.coefs, pairwise(places), strict=True):
            self._draw_edges(weights, *ends, thickest=0.15 * min(diameters), norm=norm)
        for l, (place, diameter) in enumerate(zip(places, diameters, strict=True)):
            color = {"c": self.intercepts[l - 1], "cmap": WEIGHT_COLORS, "norm": norm} if l else {"c": "white"}
            units = ax.scatter(*place.T, s=diameter**2, edgecolors="0.3", linewidths=diameter / 24, zorder=2, **color)
            self.units_.append(units)
        sides = []
        kwargs: Any = {"textcoords": "offset points", "va": "center", "parse_math": False}
        for l, all_names, sign, align in ((0, self.input_names, -1, "right"), (-1, self.output_names, 1, "left")):
            half = diameters[l] / 2 / POINTS + GAP
            room = (0.5 - LEAST_SHARE / 2) * width - half
            names, fontsize, written = _names_that_fit(ax, all_names, POINTS * unit * spacing[l], room)
            for text, xy in zip(names, places[l], strict=False):  # or no names at all
                ax.annotate(text, xy, (sign * half * POINTS, 0), ha=align, fontsize=fontsize, **kwargs)
            sides.append(max(half + written, text_size(ax, [self.layer_names[l]])[0] / 2))
        # All that is written stands within the axes, unless they are very narrow.
        apart = max(width - sum(sides), LEAST_SHARE * width) / (len(sizes) - 1)  # inches
        inch = 1 / apart  # in units of the horizontal axis
        share = min(1.0, apart / (text_size(ax, self.layer_names)[0] + GAP))
        ax.set_xticks(range(len(sizes)), self.layer_names, fontsize=share * _default_font())
        ax.tick_params(length=0, pad=(GAP - foot) * POINTS)
        bottom = -tallest / 2 - 0.2 - foot / unit
        ax.set(yticks=[], xlim=(-sides[0] * inch, len(sizes) - 1 + sides[1] * inch), ylim=(bottom, tallest / 2 + 0.2))
        ax.spines[:].set_visible(False)

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

    def _plot_heatmaps(self, norm: Any) -> None:
        self.ax_.set_axis_off()
        width, height = inches(self.ax_)
        n, left, bottom = len(self.coefs), 0.55, 0.3 + text_size(self.ax_, self.layer_names)[1]
        between = (n - 1) * BETWEEN_MAPS
        room, n_rows = (1 - LEAST_SHARE) * width - left - between, len(self.input_names)
        left += _names_that_fit(self.ax_, self.input_names, height * POINTS / n_rows, room)[2]
        each = max(width - left - between, LEAST_SHARE * width) / n
        apart = each * POINTS / len(self.output_names)
        outputs, size_of_outputs, widest = _names_that_fit(self.ax_, self.output_names, apart, 0.25 * height)
        rotation = 0 if len(outputs) * (widest + GAP) <= each else 90
        bottom = min(bottom + (widest if rotation else 0), (1 - LEAST_SHARE) * height)
        apart = 0.85 * (height - bottom) * POINTS / n_rows
        features, size, _ = _names_that_fit(self.ax_, self.input_names, apart, room)
        for l, (weights, biases) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            x, y, above = (left + l * (each + BETWEEN_MAPS)) / width, bottom / height, 1 - bottom / height
            upper = self.ax_.inset_axes((x, y + 0.1 * above, each / width, 0.9 * above))
            lower = self.ax_.inset_axes((x, y, each / width, 0.05 * above), sharex=upper)
            for ax, values, images in ((upper, weights, self.images_), (lower, biases[np.newaxis], self.bias_images_)):
                kwargs: Any = {"cmap": WEIGHT_COLORS, "norm": norm, "aspect": "auto", "interpolation": "nearest"}
                images.append(ax.imshow(values, **kwargs))
            for axis in (upper.yaxis, lower.xaxis):
                count_in_integers(axis, 5)
            upper.tick_params(labelbottom=False, bottom=False)
            lower.set_xlabel(self.layer_names[l + 1])
            lower.set_yticks([])
            self.axes_.append(upper)
        self.axes_[0].set_ylabel(self.layer_names[0].replace("\n", ": "))
        self.bias_images_[0].axes.set_yticks([0], ["bias"])
        if features:
            self.axes_[0].set_yticks(range(len(features)), features, fontsize=size, parse_math=False)
        if outputs:
            last = self.bias_images_[-1].axes
            kwargs = {"fontsize": size_of_outputs, "rotation": rotation, "parse_math": False}
            last.set_xticks(range(len(outputs)), outputs, **kwargs)


def _default_font() -> float:
    from matplotlib import rcParams

    return float(rcParams["font.size"])


def _names_that_fit(ax: Axes, names: Sequence[str], apart: float, room: float) -> tuple[list[str], float, float]:
    """Return short forms of names, font size in points and width in inches; no names if they could not be read.

    They are ``apart`` points from each other, with ``room`` inches for their width.
    """
    short = [shorten(name) for name in names]
    width, default = text_size(ax, short)[0], _default_font()
    size = min(default, 0.9 * apart, default * room / max(width, GAP))
    if len(names) > MOST_NAMES or size < SMALLEST_FONT:
        return [], default, 0.0
    return short, size, width * size / default


def _output_names(estimator: Any, n_outputs: int) -> list[str]:
    """Return the classes that the output units stand for, or for numbers 'y0', 'y1', ..."""
    if not hasattr(estimator, "classes_"):
        return ["y"] if n_outputs == 1 else [f"y{i}" for i in range(n_outputs)]
    if not isinstance(estimator.classes_, list):
        return [str(label) for label in estimator.classes_[-n_outputs:]]
    # Of two classes, the unit stands for the second.
    units = [labels if len(labels) > 2 else labels[-1:] for labels in estimator.classes_]
    return [f"{target}: {label}" for target, labels in enumerate(units) for label in labels]
