"""The whole epoch of a small network, compiled.

Its arrays are so small that plain loops beat the calls of BLAS and of ufuncs.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sknn_scratch.engines.numba_activations import (
    ELU,
    GELU,
    LAST_IN_PLACE,
    LOGISTIC,
    MISH,
    SELU,
    SILU,
    SOFTPLUS,
    TANH,
    finish_activation,
    multiply_by_slope,
    prepare_activation,
    prepare_slope,
)
from sknn_scratch.engines.numba_losses import LINK, LINK_IDENTITY, LINK_TANH, prepare_links, turn_into_delta
from sknn_scratch.engines.numba_updates import coefficients, move, penalise, sum_of_squares

_helper = njit(error_model="numpy")
# Sums may be computed in any order: that of BLAS, which does them in the reference, is not laid down either.
_sum = njit(error_model="numpy", fastmath={"reassoc"})


@_helper
def _function(code, a):
    """Replace the argument by the transcendental function of it."""
    half, root = a.dtype.type(0.5), a.dtype.type(math.sqrt(0.5))
    if code in (LOGISTIC, SILU, MISH):
        for i in range(a.size):
            a[i] = math.exp(a[i])
    elif code == TANH:
        for i in range(a.size):
            a[i] = math.tanh(a[i])
    elif code in (ELU, SELU):
        for i in range(a.size):
            a[i] = math.expm1(a[i])
    elif code == SOFTPLUS:
        for i in range(a.size):
            a[i] = math.log1p(math.exp(a[i]))
    elif code == GELU:
        for i in range(a.size):
            a[i] = half * math.erfc(-a[i] * root)


@_helper
def _slope_function(code, a):
    """Replace the argument by the transcendental function of it."""
    if code in (SILU, MISH):
        for i in range(a.size):
            a[i] = math.exp(a[i])
    elif code == SOFTPLUS:
        for i in range(a.size):
            a[i] = math.expm1(a[i])


@_helper
def _link_function(link, p):
    """Replace the argument by the transcendental function of it."""
    for k in range(p.shape[0]):
        for i in range(p.shape[1]):
            if link == LINK_TANH:
                p[k, i] = math.tanh(p[k, i])
            elif link != LINK_IDENTITY:
                p[k, i] = math.exp(p[k, i])


@_helper
def _limit_norm(g, max_norm):
    """Shorten the gradient to ``max_norm`` if it is longer."""
    norm = math.sqrt(sum_of_squares(g))
    if norm > max_norm:
        scale = g.dtype.type(max_norm / norm)
        for i in range(g.size):
            g[i] *= scale


@_helper
def _layout(units, batch_size):
    """Return where each layer's part starts in the flat arrays of ``a``, of ``z``, and of the weights and biases.

    Where the last of them ends comes at the end.
    """
    n_layers = units.size - 1
    a_at, z_at = np.zeros(n_layers + 1, np.int64), np.zeros(n_layers + 1, np.int64)
    w_at = np.zeros(2 * n_layers + 1, np.int64)
    for l in range(n_layers):
        a_at[l + 1] = a_at[l] + batch_size * units[l]
        z_at[l + 1] = z_at[l] + batch_size * units[l + 1]
        w_at[l + 1] = w_at[l] + units[l] * units[l + 1]
    for l in range(n_layers, 2 * n_layers):
        w_at[l + 1] = w_at[l] + units[l - n_layers + 1]
    return a_at, z_at, w_at


@_helper
def _affine(a, a0, w, w0, b0, n, fan_in, width, z, z0):
    """``z = a @ W + b`` for ``n`` rows; each matrix is part of a flat array, from the index that follows it."""
    for j in range(width):
        for i in range(n):
            z[z0 + j * n + i] = w[b0 + j]
        for k in range(fan_in):
            weight = w[w0 + k * width + j]
            for i in range(n):
                z[z0 + j * n + i] += weight * a[a0 + k * n + i]


@_sum
def _gradients(a, a0, delta, n, fan_in, width, g, w0, b0):
    """Write ``a.T @ delta`` and the column sums of ``delta`` into the gradient; arrays are given as to ``_affine``."""
    for j in range(width):
        total = g.dtype.type(0)
        for i in range(n):
            total += delta[j * n + i]
        g[b0 + j] = total
        for k in range(fan_in):
            total = g.dtype.type(0)
            for i in range(n):
                total += a[a0 + k * n + i] * delta[j * n + i]
            g[w0 + k * width + j] = total


@_helper
def _backwards(delta, w, w0, n, fan_in, width, below):
    """``below = delta @ W.T`` for ``n`` rows."""
    for k in range(fan_in):
        for i in range(n):
            below[k * n + i] = 0
        for j in range(width):
            weight = w[w0 + k * width + j]
            for i in range(n):
                below[k * n + i] += weight * delta[j * n + i]


@_helper
def _forward(units, codes, settings, a, a_at, z, z_at, w, w_at, n):
    """Fill ``z[l]`` and ``a[l + 1]`` of every layer, for ``n`` rows.

    ``a``, ``z`` and ``w`` are the flat arrays of all layers, one after the other from ``a_at[l]`` and so on. All but
    the weights are transposed: inner loops run over the samples, often more than units. None of these loops reads and
    writes the same array, as far as the compiler can tell, or they would not be vectorised.
    """
    last = units.size - 2
    for l in range(last + 1):
        _affine(a, a_at[l], w, w_at[l], w_at[last + 1 + l], n, units[l], units[l + 1], z, z_at[l])
        if l < last:
            size = n * units[l + 1]
            z_l, a_l = z[z_at[l] : z_at[l] + size], a[a_at[l + 1] : a_at[l + 1] + size]
            if codes[l] <= LAST_IN_PLACE:
                a_l[:] = z_l
            prepare_activation(codes[l], settings[l], z_l, a_l)
            _function(codes[l], a_l)
            finish_activation(codes[l], settings[l], z_l, a_l)


@_helper
def _backward(units, codes, settings, a, a_at, z, z_at, delta, below, w, g, w_at, n):
    """Fill the gradient ``g``, given in ``delta`` that of the output; the other arrays are as in ``_forward``.

    ``delta`` and ``below`` change places from layer to layer.
    """
    n_layers = units.size - 1
    for l in range(n_layers - 1, -1, -1):
        _gradients(a, a_at[l], delta, n, units[l], units[l + 1], g, w_at[l], w_at[n_layers + l])
        if l > 0:
            size = n * units[l]
            z_l, a_l = z[z_at[l - 1] : z_at[l - 1] + size], a[a_at[l] : a_at[l] + size]
            _backwards(delta, w, w_at[l], n, units[l], units[l + 1], below)
            prepare_slope(codes[l - 1], z_l, a_l)
            _slope_function(codes[l - 1], a_l)
            multiply_by_slope(codes[l - 1], settings[l - 1], below[:size], z_l, a_l)
            delta, below = below, delta


@_helper
def _gather(X, y, sample_weight, rows, a, targets, relative_weight):
    """Read the rows of a minibatch, and return their number or the sum of their weights."""
    total = float(rows.size)
    if sample_weight.size > 0:
        total = 0.0
        for i in range(rows.size):
            total += sample_weight[rows[i]]
    for i in range(rows.size):
        row = rows[i]
        relative_weight[i] = (sample_weight[row] if sample_weight.size > 0 else 1.0) / total
        for k in range(X.shape[1]):
            a[k * rows.size + i] = X[row, k]
        for k in range(y.shape[1]):
            targets[k, i] = y[row, k]
    return total


@_helper
def _link_and_loss(heads, settings, targets, raw, p, relative_weight):
    """Return the mean loss and fill ``p`` with the delta of the output."""
    prepare_links(heads, raw, p)
    _link_function(heads[0, LINK], p)
    return turn_into_delta(heads, settings, targets, raw, p, relative_weight)


def train_small_epoch(
    X, y, sample_weight, order, batch_size, units, codes, settings, heads, loss_settings, alpha, l1_ratio, max_norm,
    fit_intercept, optimizer, h0, h1, h2, weight_decay, t, product, rate, w, g, first, second,
):  # fmt: skip
    """Make one pass over the rows in ``order``; return the mean minibatch loss and the optimiser's two numbers.

    ``units`` are the sizes of all layers, ``codes`` and ``settings`` those of the hidden activations, ``heads`` and
    ``loss_settings`` those of the loss, as in ``numba_losses``. Of ``sample_weight`` and ``max_norm``, an array of
    length 0 and 0 mean none.
    """
    n_layers, n_outputs = units.size - 1, units[-1]
    a_at, z_at, w_at = _layout(units, batch_size)
    n_weights = w_at[n_layers]
    a, z = np.empty(a_at[-1], w.dtype), np.empty(z_at[-1], w.dtype)
    delta, below = np.empty(z.size, w.dtype), np.empty(z.size, w.dtype)
    targets, relative_weight = np.empty((y.shape[1], batch_size), w.dtype), np.empty(batch_size, w.dtype)
    of_weights = w[:n_weights], g[:n_weights], first[:n_weights], second[:n_weights]
    of_biases = w[n_weights:], g[n_weights:], first[n_weights:], second[n_weights:]
    raw, p, n = targets, targets, 0

    total_loss, n_rows = 0.0, 0
    for start in range(0, order.size, batch_size):
        rows = order[start : min(start + batch_size, order.size)]
        if rows.size != n:
            n = rows.size
            raw, p = z[z_at[n_layers - 1] :][: n * n_outputs], delta[: n * n_outputs]
            raw, p = raw.reshape(n_outputs, n), p.reshape(n_outputs, n)
        total = _gather(X, y, sample_weight, rows, a, targets, relative_weight)
        if total == 0:
            continue
        _forward(units, codes, settings, a, a_at, z, z_at, w, w_at, n)
        value = float(_link_and_loss(heads, loss_settings, targets, raw, p, relative_weight))
        _backward(units, codes, settings, a, a_at, z, z_at, delta, below, w, g, w_at, n)
        if not fit_intercept:
            of_biases[1][:] = 0
        value += penalise(of_weights[0], of_weights[1], alpha * l1_ratio / total, alpha * (1 - l1_ratio) / total)
        if max_norm > 0:
            _limit_norm(g, max_norm)
        c, product = coefficients(optimizer, (h0, h1, h2), t, product, rate)
        t += 1
        move(optimizer, c, rate * weight_decay, *of_weights)
        move(optimizer, c, 0.0, *of_biases)
        total_loss += value * n
        n_rows += n
    return total_loss / n_rows, t, product
