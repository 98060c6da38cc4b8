"""Starting values of weights and biases.

A new initialiser is one class below and one line in ``INITIALIZERS``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

__all__ = ["INITIALIZERS", "GlorotUniform", "Initializer"]


class Initializer(BaseEstimator):
    """Draws the parameters of one layer, always as float64 and from ``rng`` alone."""

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        """Return weights of shape (fan_in, fan_out)."""
        raise NotImplementedError

    def biases(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray[np.float64]:
        """Return biases of shape (fan_out,)."""
        raise NotImplementedError


class GlorotUniform(Initializer):
    """Uniform in ``+-sqrt(factor / (fan_in + fan_out))``, weights and biases alike.

    Parameters
    ----------
    factor : float, default=6.0
        6 keeps the variance of signals and gradients level through layers whose slope at zero is 1 (tanh); 2 is what
        scikit-learn takes for the logistic function.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """

    def __init__(self, factor: float = 6.0):
        self.factor = factor

    def _bound(self, fan_in: int, fan_out: int) -> float:
        return float(np.sqrt(self.factor / (fan_in + fan_out)))

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray[np.float64]:
        bound = self._bound(fan_in, fan_out)
        return rng.uniform(-bound, bound, (fan_in, fan_out))

    def biases(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray[np.float64]:
        bound = self._bound(fan_in, fan_out)
        return rng.uniform(-bound, bound, fan_out)


INITIALIZERS: dict[str, type[Initializer]] = {
    "glorot_uniform": GlorotUniform,
}
