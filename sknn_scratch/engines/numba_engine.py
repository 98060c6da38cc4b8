"""The compiled engine: the operations of ``numpy_engine``, with the cheap arithmetic of each in one loop.

Matrix products of arrays and transcendental functions stay NumPy's, for which numba has nothing faster. A component is
looked up by its exact type, so one of your own, also if it is derived from one of ours, is left to NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.activations import Activation
from sknn_scratch.engines import numba_steps, numpy_engine
from sknn_scratch.engines.numba_activations import LAST_IN_PLACE, TANH
from sknn_scratch.engines.numba_cache import compiled, is_plain
from sknn_scratch.engines.numba_codes import (
    ACTIVATION_CODES,
    FUNCTIONS,
    LINK_FUNCTIONS,
    SLOPE_FUNCTIONS,
    activation_setting,
    describe_loss,
    describe_optimizer,
    next_step,
    steps_made,
    two_vectors,
)
from sknn_scratch.engines.numba_losses import LINK
from sknn_scratch.engines.numba_training import epoch_function, is_ready
from sknn_scratch.engines.numpy_engine import add_penalty, bias_gradient
from sknn_scratch.losses import Loss
from sknn_scratch.optimizers import Optimizer

__all__ = [
    "activate",
    "add_penalty",
    "affine",
    "bias_gradient",
    "epoch_function",
    "hidden_delta",
    "is_ready",
    "output_delta",
    "update",
    "weight_gradient",
]

# Operations -----------------------------------------------------------------------------------------------------------


def _product(inputs: Any, weights: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights``, in C or Fortran order."""
    if isinstance(inputs, np.ndarray):
        if out.flags.c_contiguous:
            np.dot(inputs, weights, out=out)
        else:
            np.dot(weights.T, inputs.T, out=out.T)
    elif out.flags.c_contiguous and is_plain(inputs):
        compiled(numba_steps.sparse_product, out.dtype)(inputs.data, inputs.indices, inputs.indptr, weights, out)
    else:
        out[...] = inputs @ weights


def affine(inputs: Any, weights: NDArray, biases: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights + biases``; ``inputs`` may be a CSR matrix, ``out`` in C or Fortran order."""
    _product(inputs, weights, out)
    if out.flags.f_contiguous:
        compiled(numba_steps.add_to_columns, out.dtype)(biases, out.T)
    else:
        np.add(out, biases, out=out)


def activate(inputs: Any, weights: NDArray, biases: NDArray, activation: Activation, z: NDArray, out: NDArray) -> None:
    """``z = inputs @ weights + biases`` and ``out = f(z)``."""
    code = ACTIVATION_CODES.get(type(activation))
    # A prediction has one array for both, but the loops for these activations need two.
    if code is None or (z is out and code > LAST_IN_PLACE):
        affine(inputs, weights, biases, out=z)
        activation.apply(z, out)
        return
    _product(inputs, weights, z)
    setting = activation_setting(activation)
    compiled(numba_steps.activation_argument, z.dtype)(code, setting, z, biases, out)
    if code in FUNCTIONS:
        for ufunc in FUNCTIONS[code]:
            ufunc(out, out=out)
        if code != TANH:
            compiled(numba_steps.activation_result, z.dtype)(code, setting, z, out)


def output_delta(loss: Loss, y: NDArray, raw_output: NDArray, relative_weight: NDArray, out: NDArray) -> float:
    """``out`` = derivative of the weighted mean loss with respect to the raw output; returns that mean."""
    description = describe_loss(loss, raw_output.shape[1])
    if description is None:
        return numpy_engine.output_delta(loss, y, raw_output, relative_weight, out)
    heads, settings = description
    compiled(numba_steps.link_argument, out.dtype)(heads, raw_output.T, out.T)
    function = LINK_FUNCTIONS.get(heads[0, LINK])
    if function is not None:
        function(out, out=out)
    return compiled(numba_steps.losses_and_delta, out.dtype)(heads, settings, y.T, raw_output.T, out.T, relative_weight)


def weight_gradient(inputs: Any, delta: NDArray, out: NDArray) -> None:
    """``out = inputs.T @ delta``; ``inputs`` may be a CSR matrix."""
    sparse = not isinstance(inputs, np.ndarray)
    if sparse and delta.flags.c_contiguous and is_plain(inputs):
        compiled(numba_steps.sparse_weight_gradient, out.dtype)(inputs.data, inputs.indices, inputs.indptr, delta, out)
    else:
        numpy_engine.weight_gradient(inputs, delta, out)


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
    code = ACTIVATION_CODES.get(type(activation))
    if code is None:
        numpy_engine.hidden_delta(delta, weights, activation, z, a, out, mask, ones, bias_gradient)
        return
    np.dot(delta, weights.T, out=out)
    if mask is not None:
        np.multiply(out, mask, out=out)
    if code in SLOPE_FUNCTIONS:
        compiled(numba_steps.slope_argument, out.dtype)(code, z, a)
        SLOPE_FUNCTIONS[code](a, out=a)
    sums = np.empty(0, out.dtype) if bias_gradient is None else bias_gradient
    compiled(numba_steps.multiply_slope, out.dtype)(code, activation_setting(activation), out, z, a, sums)


def update(
    optimizer: Optimizer,
    parameters: NDArray,
    gradient: NDArray,
    learning_rate: float,
    n_weights: int,
    strength: float,
    l1_ratio: float,
) -> float:
    """Add the penalty as ``add_penalty`` does, make a step of the optimiser, and return the penalty's value."""
    described = describe_optimizer(optimizer)
    if described is None:
        return numpy_engine.update(optimizer, parameters, gradient, learning_rate, n_weights, strength, l1_ratio)
    penalty, product = compiled(numba_steps.update, parameters.dtype)(
        *described,
        *next_step(optimizer),
        learning_rate,
        parameters,
        gradient,
        *two_vectors(optimizer),
        n_weights,
        strength * l1_ratio,
        strength * (1 - l1_ratio),
    )
    steps_made(optimizer, optimizer.n_updates + 1, product)
    return penalty
