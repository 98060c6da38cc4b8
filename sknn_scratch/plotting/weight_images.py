"""The weights of the first layer as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.plotting.drawing import WEIGHT_COLORS, network_of, new_axes_unless_given, unwrapped, weight_norm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class WeightsDisplay:
    """What each unit of the first hidden layer looks for: its weights as an image.

    The images are tiles of one mosaic, read like text; the number at the left is that of the first unit in the row.

    Parameters
    ----------
    weights : ndarray of shape (n_features, n_units)
        Weights of the first layer.
    image_shape : tuple of int
        Height and width of the images that the samples are; their product is ``n_features``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        Figure of the axes.
    image_ : matplotlib AxesImage
        The mosaic: tiles with a line of NaN between them.
    colorbar_ : matplotlib Colorbar

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sknn_scratch import MLPFromScratchClassifier, WeightsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> network = MLPFromScratchClassifier(20, tol=0.01, random_state=0).fit(X / 16, y)
    >>> display = WeightsDisplay.from_estimator(network)
    >>> display.image_shape
    (8, 8)
    """

    def __init__(self, *, weights: NDArray, image_shape: tuple[int, int]):
        sides = np.asarray(image_shape)
        if sides.shape != (2,) or sides.dtype.kind not in "iu" or sides.min() < 1 or sides.prod() != len(weights):
            raise ValueError(
                "image_shape must be two positive integers whose product is the number of features, "
                f"{weights.shape[0]}, got {image_shape!r}."
            )
        self.weights = weights
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        scale_each: bool = False,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the weights of the first layer of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted on images, a pixel per feature; a pipeline or a search stands for the network in it.
        image_shape : tuple of int, default=None
            Height and width of the images; by default they are square.
        scale_each : bool, default=False
            Whether to divide the weights of each unit by their largest absolute value, to see weak ones too.
        ax : matplotlib Axes, default=None
            Axes to draw into; new ones by default.

        Returns
        -------
        display : WeightsDisplay
        """
        weights = network_of(unwrapped(estimator)).weights[0]
        if image_shape is None:
            side = math.isqrt(weights.shape[0])
            if side * side != weights.shape[0]:
                raise ValueError(f"image_shape must be given: images of {weights.shape[0]} pixels are not square.")
            image_shape = side, side
        return cls(weights=weights, image_shape=image_shape).plot(ax, scale_each=scale_each)

    def plot(self, ax: Axes | None = None, *, scale_each: bool = False) -> Self:
        """Draw the weights, with the parameters of ``from_estimator``, and return the display."""
        weights, (height, width) = self.weights, self.image_shape
        n_units = weights.shape[1]
        if scale_each:
            largest = np.abs(weights).max(axis=0)
            weights = weights / np.where(largest > 0, largest, 1)
        # About as wide as it is high, or somewhat wider.
        n_columns = min(n_units, math.ceil(math.sqrt(1.3 * n_units * height / width)))
        n_rows = math.ceil(n_units / n_columns)
        mosaic = np.full((n_rows * (height + 1) - 1, n_columns * (width + 1) - 1), np.nan)
        for unit in range(n_units):
            row, column = divmod(unit, n_columns)
            top, left = row * (height + 1), column * (width + 1)
            mosaic[top : top + height, left : left + width] = weights[:, unit].reshape(height, width)
        self.ax_ = ax = new_axes_unless_given(ax, (6.0, 5.0) if n_units <= 64 else (8.4, 6.6))
        self.figure_: Figure | SubFigure = ax.figure
        norm = weight_norm([weights])
        self.image_ = ax.imshow(mosaic, cmap=WEIGHT_COLORS, norm=norm, interpolation="nearest")
        ax.set_facecolor("0.4")
        ax.spines[:].set_visible(False)
        step = math.ceil(n_rows / 20)
        rows = np.arange(0, n_rows, step)
        ax.set_yticks(rows * (height + 1) + (height - 1) / 2, [str(row * n_columns) for row in rows])
        ax.tick_params(length=0)
        ax.set(xticks=[], ylabel="unit of the first hidden layer")
        label = "weight / largest of the unit" if scale_each else "weight"
        self.colorbar_ = self.figure_.colorbar(self.image_, ax=ax, label=label, shrink=0.8)
        return self
