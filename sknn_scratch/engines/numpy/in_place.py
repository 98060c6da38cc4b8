"""The operations of the reference engine, written into arrays that the caller owns.

A component's formula allocates an array for each of its operations. Where a step takes 5 % longer by that, a component
has a second version here, which the tests compare with the formula: log-loss (by 6 % on 200 rows of 64-100-10, 21 % on
32 rows of 4-10-3), squared error (1, 8), Adam (6, 9), SGD (16 % on single rows of 2-4-1), ReLU (5 % on 200 rows of
30-100-1) and, for predictions, softmax, which takes a third to a seventh of the time. Components are looked up by their
exact type: a subclass may say something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.blas import BLOCK_SIZE, in_blocks, scal_and_axpy
from sknn_scratch.catalogue.activations import Activation, Identity, ReLU
from sknn_scratch.catalogue.links import IdentityLink, Link, SoftmaxLink
from sknn_scratch.catalogue.losses import LogLoss, Loss, SquaredError
from sknn_scratch.catalogue.optimizers import SGD, Adam, AdamW, Optimizer


def affine(inputs: Any, weights: NDArray, biases: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights + biases``; ``inputs`` may be a CSR or coded matrix, ``out`` in C or Fortran order."""
    if not isinstance(inputs, np.ndarray):
        out[...] = inputs @ weights
    elif out.flags.c_contiguous:
        np.dot(inputs, weights, out=out)
    else:
        np.dot(weights.T, inputs.T, out=out.T)
    np.add(out, biases, out=out)


# Activations ----------------------------------------------------------------------------------------------------------


def activate(activation: Activation, z: NDArray, out: NDArray) -> NDArray:
    """``out = f(z)``, which is returned; ``out`` may be ``z`` itself."""
    if type(activation) is ReLU:
        z.clip(0, np.inf, out)  # NumPy takes three times as long for a maximum with a number
    else:
        out[...] = activation.value(z)
    return out


def multiply_slope(activation: Activation, delta: NDArray, z: NDArray, a: NDArray) -> None:
    """``delta *= f'(z)``, given ``a = f(z)``, which may be the same array where the derivative follows from it."""
    if type(activation) is Identity:
        return
    by_input = a is not z and activation.needs_input
    slope = activation.derivative(z) if by_input else activation.derivative_from_output(a)
    np.multiply(delta, slope, out=delta)


# Links and losses -----------------------------------------------------------------------------------------------------


def link_inverse(link: Link, raw_output: NDArray, out: NDArray) -> NDArray:
    """``out = p``, the prediction, which is returned; ``out`` may be ``raw_output`` itself."""
    if type(link) is SoftmaxLink:
        _softmax(raw_output, out)
    elif type(link) is not IdentityLink or out is not raw_output:
        out[...] = link.inverse(raw_output)
    return out


def _softmax(z: NDArray, out: NDArray) -> None:
    if not z.flags.f_contiguous:
        # Reductions over the few columns are several times as fast in Fortran order.
        fortran = np.array(z, order="F")
        _softmax(fortran, fortran)
        out[...] = fortran
        return
    np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True), out=out)
    np.exp(out, out=out)
    np.divide(out, np.add.reduce(out, axis=1, keepdims=True), out=out)


def loss_and_delta(loss: Loss, y: NDArray, raw_output: NDArray, relative_weight: NDArray, out: NDArray) -> float:
    """``out`` = derivative of the weighted mean loss with respect to the raw output; returns that mean."""
    if type(loss) is LogLoss and not loss.label_smoothing:
        link_inverse(loss.link, raw_output, out)
        value = -np.dot(_log_likelihoods(loss.multiclass, y, out), relative_weight)
        np.subtract(out, y, out=out)
    elif type(loss) is SquaredError and type(loss.link) is IdentityLink:
        np.subtract(raw_output, y, out=out)
        value = np.dot(np.add.reduce(out * out, axis=1), relative_weight) * (0.5 / y.shape[1])
    else:
        value = np.dot(loss.value(y, raw_output), relative_weight)
        out[...] = loss.derivative(y, raw_output)
    np.multiply(out, relative_weight[:, np.newaxis], out=out)
    return float(value)


# Smallest and largest probability with which a loss is reported, as arrays: cheaper for NumPy than numbers.
_CLIPPED = {
    np.dtype(t): (np.array(np.finfo(t).eps, t), np.array(1 - np.finfo(t).eps, t)) for t in (np.float32, np.float64)
}


def _log_likelihoods(multiclass: bool, y: NDArray, probability: NDArray) -> NDArray:
    """Return the log-likelihood of each sample for targets of 0 and 1, with one logarithm for each of its columns."""
    if multiclass:
        p_true = np.add.reduce(probability * y, axis=1)
    else:
        p_true = np.abs(y - 1 + probability)  # of p or p - 1
    smallest, largest = _CLIPPED[probability.dtype]
    np.maximum(p_true, smallest, out=p_true)
    np.minimum(p_true, largest, out=p_true)
    np.log(p_true, out=p_true)
    return p_true if multiclass else np.add.reduce(p_true, axis=1)


# Penalty and optimisers -----------------------------------------------------------------------------------------------


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
    optimizer: Optimizer, parameters: NDArray, gradient: NDArray, learning_rate: float, coefficients: Sequence[float]
) -> None:
    """Make a step of an optimiser with these coefficients, which changes the parameters and its state in place."""
    if type(optimizer) is SGD:
        _update_sgd(optimizer, parameters, gradient, learning_rate)
    elif type(optimizer) in (Adam, AdamW):
        if optimizer.decay_rate:
            parameters[: optimizer.n_weights] *= 1 - learning_rate * optimizer.decay_rate
        _update_adam(optimizer, parameters, gradient, *coefficients)
    else:
        optimizer.apply(parameters, gradient, learning_rate, coefficients)


def _update_sgd(optimizer: SGD, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
    (scal, axpy), momentum = scal_and_axpy(parameters.dtype), optimizer.momentum
    for w, g, velocity in in_blocks(parameters, gradient, optimizer.state[0]):
        scal(momentum, velocity)
        axpy(g, velocity, a=-learning_rate)
        if optimizer.nesterovs_momentum:
            axpy(velocity, w, a=momentum)
            axpy(g, w, a=-learning_rate)
        else:
            np.add(w, velocity, out=w)


def _update_adam(optimizer: Any, parameters: NDArray, gradient: NDArray, rate: float) -> None:
    scal, axpy = scal_and_axpy(parameters.dtype)
    scratch = np.empty(min(parameters.size, BLOCK_SIZE), dtype=parameters.dtype)
    for w, g, m, v in in_blocks(parameters, gradient, *optimizer.state):
        step = scratch[: w.size]
        scal(optimizer.beta_1, m)
        axpy(g, m, a=1 - optimizer.beta_1)
        scal(optimizer.beta_2, v)
        np.multiply(g, g, out=step)
        axpy(step, v, a=1 - optimizer.beta_2)
        np.sqrt(v, out=step)
        np.add(step, optimizer.epsilon, out=step)
        np.divide(m, step, out=step)
        axpy(step, w, a=-rate)
