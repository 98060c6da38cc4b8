"""The reference engine: every operation as NumPy says it, written into arrays that the caller owns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import daxpy, saxpy

from sknn_scratch.activations import Activation
from sknn_scratch.losses import Loss

# Long vectors are worked through in blocks of this many numbers: they stay in the cache, and are too short for the BLAS
# of scipy (axpy) to wake a second set of threads beside those of NumPy's (dot).
BLOCK_SIZE = 8192

__all__ = [
    "activate",
    "add_penalty",
    "affine",
    "bias_gradient",
    "hidden_delta",
    "output_delta",
    "weight_gradient",
]


def axpy_for(dtype: np.dtype) -> Callable[..., Any]:
    """Return BLAS's ``axpy(x, y, a=c)`` for contiguous vectors of the dtype: ``y += c * x`` in one pass, in place."""
    return saxpy if dtype == np.float32 else daxpy


def affine(inputs: Any, weights: NDArray, biases: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights + biases``; ``inputs`` may be a CSR matrix, ``out`` in C or Fortran order."""
    if not isinstance(inputs, np.ndarray):
        out[...] = inputs @ weights
    elif out.flags.c_contiguous:
        np.dot(inputs, weights, out=out)
    else:
        np.dot(weights.T, inputs.T, out=out.T)
    np.add(out, biases, out=out)


def activate(activation: Activation, z: NDArray, out: NDArray) -> None:
    """``out = f(z)``."""
    activation.value(z, out)


def output_delta(loss: Loss, y: NDArray, raw_output: NDArray, sample_weight: NDArray | None, out: NDArray) -> float:
    """``out`` = derivative of the mean loss with respect to the raw output; returns the mean loss."""
    return loss.value_and_gradient(y, raw_output, sample_weight, out)


def weight_gradient(inputs: Any, delta: NDArray, out: NDArray) -> None:
    """``out = inputs.T @ delta``; ``inputs`` may be a CSR matrix."""
    if isinstance(inputs, np.ndarray):
        np.dot(inputs.T, delta, out=out)
    else:
        out[...] = inputs.T @ delta


def bias_gradient(delta: NDArray, ones: NDArray, out: NDArray) -> None:
    """``out`` = column sums of ``delta``, as a product with ``ones``, which BLAS does faster than ``sum``."""
    np.dot(ones, delta, out=out)


def hidden_delta(
    delta: NDArray, weights: NDArray, activation: Activation, z: NDArray, a: NDArray, out: NDArray
) -> None:
    """``out = (delta @ weights.T) * f'(z)``; ``a`` is used up."""
    np.dot(delta, weights.T, out=out)
    activation.multiply_derivative(out, z, a)


def add_penalty(weights: NDArray, strength: float, weight_gradient: NDArray) -> float:
    """Add the gradient of ``strength / 2 * sum(weights**2)`` and return that value; both arrays are 1-d."""
    axpy = axpy_for(weights.dtype)
    squares = 0.0
    for start in range(0, weights.size, BLOCK_SIZE):
        w = weights[start : start + BLOCK_SIZE]
        axpy(w, weight_gradient[start : start + BLOCK_SIZE], a=strength)
        squares += float(np.dot(w, w))
    return 0.5 * strength * squares
