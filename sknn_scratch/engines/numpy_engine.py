"""The reference engine: every operation as NumPy says it, written into arrays that the caller owns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.activations import Activation
from sknn_scratch.blas import in_blocks, scal_and_axpy
from sknn_scratch.losses import Loss
from sknn_scratch.optimizers import Optimizer

__all__ = [
    "activate",
    "add_penalty",
    "affine",
    "bias_gradient",
    "epoch_function",
    "hidden_delta",
    "output_delta",
    "update",
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


def activate(inputs: Any, weights: NDArray, biases: NDArray, activation: Activation, z: NDArray, out: NDArray) -> None:
    """``z = inputs @ weights + biases`` and ``out = f(z)``; ``z`` and ``out`` may be the same array."""
    affine(inputs, weights, biases, out=z)
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
    delta: NDArray,
    weights: NDArray,
    activation: Activation,
    z: NDArray,
    a: NDArray,
    out: NDArray,
    mask: NDArray | None = None,
    ones: NDArray | None = None,
    bias_gradient: NDArray | None = None,
) -> None:
    """``out = (delta @ weights.T) * f'(z)``, times the dropout's ``mask``, and ``bias_gradient`` = its column sums.

    ``a = f(z)`` is used up. Mask and bias gradient are optional; the latter needs a vector of ``ones``.
    """
    np.dot(delta, weights.T, out=out)
    activation.multiply_derivative(out, z, a)
    if mask is not None:
        np.multiply(out, mask, out=out)
    if bias_gradient is not None:
        assert ones is not None
        np.dot(ones, out, out=bias_gradient)


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


def update(
    optimizer: Optimizer,
    parameters: NDArray,
    gradient: NDArray,
    learning_rate: float,
    n_weights: int,
    strength: float,
    l1_ratio: float,
) -> float:
    """Add the penalty on the first ``n_weights`` as ``add_penalty`` does, make a step of the optimiser, return it."""
    penalty = 0.0
    if strength > 0:
        penalty = add_penalty(parameters[:n_weights], strength, l1_ratio, gradient[:n_weights])
    optimizer.update(parameters, gradient, learning_rate)
    return penalty


def epoch_function(
    network: Any,
    optimizer: Optimizer,
    X: Any,
    y: NDArray,
    sample_weight: NDArray | None,
    batch_size: int,
    max_grad_norm: float | None,
) -> AbstractContextManager[Callable[[NDArray | None, float], float] | None]:
    """Give None, for a ``with`` block, as steps are made one by one here.

    The compiled engine gives a function that trains a network for an epoch.
    """
    return nullcontext()
