"""The reference engine: every operation as NumPy says it, written into arrays that the caller owns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.activations import Activation
from sknn_scratch.blas import in_blocks, scal_and_axpy
from sknn_scratch.losses import Loss

__all__ = [
    "activate",
    "add_penalty",
    "affine",
    "bias_gradient",
    "hidden_delta",
    "output_delta",
    "weight_gradient",
]


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
    activation.apply(z, out)


def output_delta(loss: Loss, y: NDArray, raw_output: NDArray, relative_weight: NDArray, out: NDArray) -> float:
    """``out`` = derivative of the weighted mean loss with respect to the raw output; returns that mean."""
    losses = loss.losses_and_gradient(y, raw_output, out)
    np.multiply(out, relative_weight[:, np.newaxis], out=out)
    return float(np.dot(losses, relative_weight))


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
    _, axpy = scal_and_axpy(weights.dtype)
    squares = 0.0
    for w, g in in_blocks(weights, weight_gradient):
        axpy(w, g, a=strength)
        squares += float(np.dot(w, w))
    return 0.5 * strength * squares
