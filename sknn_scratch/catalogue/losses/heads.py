"""One loss for several classification targets at once, a head of the network for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.catalogue.links import HeadsLink
from sknn_scratch.catalogue.losses.base import Loss


class Heads(Loss):
    """The sum of the losses of several targets, each with columns of its own.

    Parameters
    ----------
    losses : list of Loss
        One for each target, started.
    widths : list of int
        How many columns each target has: one for two classes, else one for each class.
    """

    def __init__(self, losses: list[Loss], widths: list[int]):
        self.losses = losses
        self.widths = widths
        self.link = HeadsLink([loss.link for loss in losses], widths)
        self.gives_probabilities = losses[0].gives_probabilities

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.add.reduce([loss.value(*columns) for loss, *columns in self._heads(y, raw_output)], axis=0)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.hstack([loss.derivative(*columns) for loss, *columns in self._heads(y, raw_output)])

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        return np.concatenate([loss.best_constant(columns, sample_weight) for loss, columns in self._heads(y)])

    def _heads(self, *arrays: NDArray) -> Iterator[Any]:
        """Go through the losses, each with its own columns of the arrays."""
        stops = np.cumsum(self.widths)[:-1]
        return zip(self.losses, *(np.split(array, stops, axis=1) for array in arrays), strict=True)
