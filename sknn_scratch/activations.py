"""Hidden-layer activation functions: ``a = f(z)`` and ``f'(z)``, one small class each.

A new activation is one class below and one line in ``ACTIVATIONS``; the gradient tests find it there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

__all__ = ["ACTIVATIONS", "Activation", "Identity", "Logistic", "ReLU", "Tanh"]


class Activation(BaseEstimator):
    """An elementwise function ``f`` between two layers.

    Attributes
    ----------
    needs_input : bool
        Whether ``f'`` is computed from the layer's input ``z``. Most derivatives follow from the output ``a = f(z)``
        alone, and then ``a`` overwrites ``z``; a class that sets this to True gets both arrays.
    glorot_factor : float
        ``factor`` of the uniform initialisation in ``+-sqrt(factor / (fan_in + fan_out))``.
    """

    needs_input = False
    glorot_factor = 6.0

    def value(self, z: NDArray, out: NDArray) -> None:
        """Write ``f(z)`` into ``out``, which may be ``z`` itself."""
        raise NotImplementedError

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        """Multiply ``delta`` by ``f'(z)`` in place.

        Parameters
        ----------
        delta : ndarray of shape (n_samples, width)
            Derivative of the loss with respect to ``a``; becomes the derivative with respect to ``z``.
        z : ndarray of shape (n_samples, width)
            Input of the activation if ``needs_input``, otherwise the same array as ``a``.
        a : ndarray of shape (n_samples, width)
            Output of the activation. It is not needed again and may be used as scratch space.
        """
        raise NotImplementedError


class Identity(Activation):
    """``f(z) = z``: a linear layer, ``f'(z) = 1``."""

    def value(self, z: NDArray, out: NDArray) -> None:
        if out is not z:
            out[...] = z

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        pass


class Logistic(Activation):
    """The logistic sigmoid ``f(z) = 1 / (1 + exp(-z))``, ``f'(z) = a (1 - a)``."""

    glorot_factor = 2.0

    def value(self, z: NDArray, out: NDArray) -> None:
        # exp overflows to inf for z below -709 (float64), and 1 / (1 + inf) is the right limit, 0.
        np.negative(z, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        np.reciprocal(out, out=out)

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        np.multiply(delta, a, out=delta)
        np.subtract(1, a, out=a)
        np.multiply(delta, a, out=delta)


class Tanh(Activation):
    """The hyperbolic tangent ``f(z) = tanh(z)``, ``f'(z) = 1 - a**2``."""

    def value(self, z: NDArray, out: NDArray) -> None:
        np.tanh(z, out=out)

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        np.multiply(a, a, out=a)
        np.subtract(1, a, out=a)
        np.multiply(delta, a, out=delta)


class ReLU(Activation):
    """The rectified linear unit ``f(z) = max(0, z)``; ``f'(z)`` is 1 where ``z > 0``, else 0 (also at the kink)."""

    def value(self, z: NDArray, out: NDArray) -> None:
        # A row of zeros keeps the comparison vectorised; against the scalar 0 it takes twice as long.
        np.maximum(z, np.zeros(z.shape[1], dtype=z.dtype), out=out)

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        a[...] = (a > 0).view(np.int8)  # bytes become floats faster than booleans do
        np.multiply(delta, a, out=delta)


ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "logistic": Logistic,
    "relu": ReLU,
    "tanh": Tanh,
}
