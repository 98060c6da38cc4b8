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


def add_penalty(weights: NDArray, strength: float, l1_ratio: float, weight_gradient: NDArray) -> float:
    """Add the gradient of ``strength * (l1_ratio * sum(|w|) + (1 - l1_ratio) / 2 * sum(w**2))`` and return that value.

    Both arrays are 1-d. The absolute value's derivative at 0 is taken to be 0.
    """
    _, axpy = scal_and_axpy(weights.dtype)
    absolute, squares = 0.0, 0.0
    for w, g in in_blocks(weights, weight_gradient):
        if l1_ratio < 1:
            axpy(w, g, a=strength * (1 - l1_ratio))
            squares += float(np.dot(w, w))
        if l1_ratio > 0:
            axpy(np.sign(w), g, a=strength * l1_ratio)
            absolute += float(np.add.reduce(np.abs(w)))
    return strength * (l1_ratio * absolute + 0.5 * (1 - l1_ratio) * squares)
