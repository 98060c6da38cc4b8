"""The second phase of a step: gradient and update of some rows of the weights, and of some biases."""

from __future__ import annotations

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.calls import call, float64s, gemm, int32s, reals
from sknn_scratch.engines.compiled.codes import codes_gradient, first_row
from sknn_scratch.engines.compiled.draws import draw, mask_of
from sknn_scratch.engines.compiled.products import fill_gradient
from sknn_scratch.engines.compiled.team import GRADIENT, LINE, UPDATE, layer_of, share

__all__ = ["move_parameters"]

_helper = njit(error_model="numpy")
# Sums in any order, so that they are vectorised; that of BLAS, which the reference uses, is not specified either.
_sum = njit(error_model="numpy", fastmath={"reassoc"})

# Parameters that are penalised and then moved at a time, while they are in the cache.
BLOCK_SIZE = 4096


@_sum
def _sum_of(x, start, stop, zero):
    total = zero
    for i in range(start, stop):
        total += x[i]
    return total


@_sum
def _sum_of_sizes(x, start, stop, zero):
    total = zero
    for i in range(start, stop):
        total += abs(x[i])
    return total


@_sum
def _inner(x, first_x, y, first_y, n, zero):
    total = zero
    for i in range(n):
        total += x[first_x + i] * y[first_y + i]
    return total


@_helper
def _sparse_gradient(job, g, low, high):
    """Fill rows ``low`` to ``high`` of the gradient of ``W[0]`` for sparse samples."""
    data, stride, layer, real = job.data, job.memory.stride, layer_of(job, 0), type(job.one)
    fan_in, width, rate = layer.fan_in, layer.width, layer.dropout
    order, indices, starts = int32s(job.step.order), int32s(data.indices), int32s(data.starts)
    values, delta = reals(job, data.values), reals(job, layer.delta)
    key, threshold, scale = mask_of(job, 0)
    own = np.empty(width, real)
    for i in range(low * width, high * width):
        g[i] = real(0)
    for i in range(job.step.n_rows):
        row = np.int64(order[job.step.start + i])
        for j in range(width):
            own[j] = delta[j * stride + i]
        for position in range(starts[row], starts[row + 1]):
            value, k = values[position], np.int64(indices[position])
            if low <= k < high:
                if rate > 0:
                    value = value * scale if draw(key, i * fan_in + k) >= threshold else real(0)
                for j in range(width):
                    g[k * width + j] += value * own[j]


@_helper
def _weight_gradient(job, l, low, high):
    """Fill rows ``low`` to ``high`` of the gradient of ``W[l]``."""
    layer, memory, n = layer_of(job, l), job.memory, job.step.n_rows
    stride, width, size = memory.stride, layer.width, memory.itemsize
    g = reals(job, layer.g_w)
    if l == 0 and job.codes.n_features > 0:
        codes_gradient(job, low, high)
        low, high = min(low, layer.fan_in), min(high, layer.fan_in)
    if l == 0 and job.data.X == 0:
        _sparse_gradient(job, g, low, high)
    elif layer.looped:
        a, delta, scale = reals(job, layer.a), reals(job, layer.delta), type(job.one)(layer.scale)
        fill_gradient(a, delta, g, scale, low, high, stride, n, width)
    elif high > low:
        lda = layer.fan_in if layer.by_rows else stride
        a_at, g_at = layer.a + low * (1 if layer.by_rows else stride) * size, layer.g_w + low * width * size
        transposed, shape, scales = (1, layer.by_rows), (width, high - low, n), (layer.scale, 0.0)
        gemm(job, transposed, shape, scales, layer.delta, stride, a_at, lda, g_at, width)


@_helper
def _bias_gradient(job, layer, low, high):
    """Fill the gradient of some of the biases."""
    stride, zero = job.memory.stride, type(job.one)(0)
    delta, g = reals(job, layer.delta), reals(job, layer.g_b)
    for j in range(low, high):
        first = j * stride
        g[j] = _sum_of(delta, first, first + job.step.n_rows, zero) if job.fit_intercept else zero


@_helper
def _penalise(job, begin, end):
    """Add the gradient of the penalty on some weights; return the penalty."""
    real, strength = type(job.one), job.alpha / job.step.total_weight
    l1, l2 = strength * job.l1_ratio, strength * (1 - job.l1_ratio)
    w, g, zero, value = reals(job, job.memory.w), reals(job, job.memory.g), real(0), 0.0
    if l2 > 0:
        c = real(l2)
        for i in range(begin, end):
            g[i] += c * w[i]
        value += 0.5 * l2 * _inner(w, begin, w, begin, end - begin, zero)
    if l1 > 0:
        c = real(l1)
        for i in range(begin, end):
            g[i] += c if w[i] > zero else (-c if w[i] < zero else zero)
        value += l1 * _sum_of_sizes(w, begin, end, zero)
    return value


@_helper
def _move(job, begin, end, of_weights):
    """Move some parameters."""
    rule, memory, at = job.rule, job.memory, begin * job.memory.itemsize
    shrink = float64s(rule.shrink)[job.step.place]
    if of_weights and shrink != 1:
        w, c = reals(job, memory.w), type(job.one)(shrink)
        for i in range(begin, end):
            w[i] *= c
    coefficients = rule.coefficients + job.step.place * rule.n_coefficients * 8
    arrays = memory.w + at, memory.g + at, rule.state + at
    call(rule.kernel, (*arrays, end - begin, memory.n_parameters, coefficients))


@_helper
def _finish(part, job, begin, end, of_weights):
    """Penalise, limit and move some parameters, as the phase says, once their gradient without penalty is there."""
    step, g, scale = job.step, reals(job, job.memory.g), type(job.one)(job.step.scale)
    sums, max_norm = float64s(job.team.sums), job.max_norm
    compute, moves = step.kind == GRADIENT, step.number > 0 and (step.kind == UPDATE or max_norm == 0)
    if not compute and scale != 1:
        for i in range(begin, end):
            g[i] *= scale
    for start in range(begin, end, BLOCK_SIZE):
        stop = min(start + BLOCK_SIZE, end)
        if compute and of_weights:
            sums[part * LINE + 1] += _penalise(job, start, stop)
        if moves:
            _move(job, start, stop, of_weights)
    if compute and max_norm > 0:
        sums[part * LINE + 2] += _inner(g, begin, g, begin, end - begin, type(job.one)(0))


@njit(error_model="numpy", inline="always")
def move_parameters(part, job):
    """Compute the gradient of this part's parameters, penalty included, or move them, or both, as the phase says."""
    sums, compute = float64s(job.team.sums), job.step.kind == GRADIENT
    if compute:
        sums[part * LINE + 1] = sums[part * LINE + 2] = 0.0
    for l in range(job.n_layers):
        layer = layer_of(job, l)
        low, high = share(layer.n_rows, part, job.team.n_parts)
        if l == 0:
            low, high = first_row(job, low), first_row(job, high)
        if compute:
            _weight_gradient(job, l, low, high)
        _finish(part, job, layer.w_at + low * layer.width, layer.w_at + high * layer.width, True)
        low, high = share(layer.width, part, job.team.n_parts)
        if compute:
            _bias_gradient(job, layer, low, high)
        _finish(part, job, layer.b_at + low, layer.b_at + high, False)
