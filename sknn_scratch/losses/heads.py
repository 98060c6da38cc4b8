"""One loss for several classification targets at once, a head of the network for each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.links import HeadsLink
from sknn_scratch.losses.base import Loss

__all__ = ["Heads"]


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

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        stops = np.cumsum(self.widths)[:-1]
        heads = zip(self.losses, *(np.split(array, stops, axis=1) for array in (y, raw_output, gradient)), strict=True)
        return np.add.reduce([loss.losses_and_gradient(t, z, g) for loss, t, z, g in heads], axis=0)

    def best_constant(self, y: NDArray, sample_weight: NDArray | None = None) -> NDArray:
        parts = np.split(y, np.cumsum(self.widths)[:-1], axis=1)
        constants = [loss.best_constant(part, sample_weight) for loss, part in zip(self.losses, parts, strict=True)]
        return np.concatenate(constants)
