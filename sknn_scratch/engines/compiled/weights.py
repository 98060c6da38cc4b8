"""The second phase of a step: gradient and update of some rows of the weights, and of some biases."""

from __future__ import annotations

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.calls import call, gemm, numbers
from sknn_scratch.engines.compiled.codes import codes_gradient, first_row
from sknn_scratch.engines.compiled.draws import draw, key_of, threshold_of
from sknn_scratch.engines.compiled.products import fill_gradient, scale_of
from sknn_scratch.engines.compiled.team import (
    COUNT,
    GRADIENT,
    KIND,
    LINE,
    N_ROWS,
    SCALE,
    START,
    STEP,
    TOTAL,
    UPDATE,
    share,
)

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
def _sparse_gradient(job, one, low, high):
    """Fill rows ``low`` to ``high`` of the gradient of ``W[0]`` for sparse samples."""
    data, stride, units = job.data, job.memory.stride, numbers(job.layers.units, 1)
    fan_in, width, rate = units[0], units[1], numbers(job.layers.dropout, 1.0)[0]
    values, g = numbers(data.values, one), numbers(job.memory.g, one)
    indices, starts = numbers(data.indices, np.int32(1)), numbers(data.starts, np.int32(1))
    order, place = numbers(data.order, np.int32(1)), numbers(job.team.job, 1)
    start, count = place[START], place[COUNT]
    key, threshold, scale = key_of(job.objective.seed, count, 0), threshold_of(rate), one / type(one)(1 - rate)
    delta, own = numbers(job.memory.delta, one), np.empty(width, type(one))
    for i in range(low * width, high * width):
        g[i] = one - one
    for i in range(place[N_ROWS]):
        row = np.int64(order[start + i])
        for j in range(width):
            own[j] = delta[j * stride + i]
        for position in range(starts[row], starts[row + 1]):
            value, k = values[position], np.int64(indices[position])
            if low <= k < high:
                if rate > 0:
                    value = value * scale if draw(key, i * fan_in + k) >= threshold else one - one
                for j in range(width):
                    g[k * width + j] += value * own[j]


@_helper
def _weight_gradient(job, one, l, low, high):
    """Fill rows ``low`` to ``high`` of the gradient of ``W[l]``."""
    layers, memory, size = job.layers, job.memory, job.memory.itemsize
    width, stride, n = numbers(layers.units, 1)[l + 1], memory.stride, numbers(job.team.job, 1)[N_ROWS]
    w_at, a_at = numbers(layers.w_at, 1)[l], numbers(layers.a_at, 1)[l]
    delta_at, scale = numbers(layers.delta_at, 1)[l], scale_of(job, one, l)
    if l == 0 and job.codes.n_features > 0:
        codes_gradient(job, one, low, high)
        low, high = min(low, job.data.n_plain), min(high, job.data.n_plain)
    if l == 0 and job.data.X == 0:
        _sparse_gradient(job, one, low, high)
    elif numbers(layers.looped, 1)[l] != 0:
        a, delta = numbers(memory.a + a_at * size, one), numbers(memory.delta + delta_at * size, one)
        fill_gradient(a, delta, numbers(memory.g + w_at * size, one), scale, low, high, stride, n, width)
    elif high > low:
        by_rows = l == 0
        gemm(
            job.team.gemm, (1, 1 if by_rows else 0), (width, high - low, n), (scale, one - one),
            memory.delta + delta_at * size, stride, memory.a + (a_at + low * (1 if by_rows else stride)) * size,
            job.data.n_plain if by_rows else stride, memory.g + (w_at + low * width) * size, width,
        )  # fmt: skip


@_helper
def _bias_gradient(job, one, l, low, high):
    """Fill the gradient of some of the biases ``b[l]``."""
    stride, n = job.memory.stride, numbers(job.team.job, 1)[N_ROWS]
    place, delta_at = numbers(job.layers.w_at, 1)[job.layers.n_layers + l], numbers(job.layers.delta_at, 1)[l]
    delta, g = numbers(job.memory.delta, one), numbers(job.memory.g, one)
    for j in range(low, high):
        start = delta_at + j * stride
        g[place + j] = _sum_of(delta, start, start + n, one - one) if job.objective.fit_intercept else one - one


@_helper
def _penalise(job, one, begin, end):
    """Add the gradient of the penalty on some weights; return the penalty."""
    total = numbers(job.team.numbers, 1.0)[TOTAL]
    l1 = job.objective.alpha * job.objective.l1_ratio / total
    l2 = job.objective.alpha * (1 - job.objective.l1_ratio) / total
    w, g, value = numbers(job.memory.w, one), numbers(job.memory.g, one), 0.0
    if l2 > 0:
        c = type(one)(l2)
        for i in range(begin, end):
            g[i] += c * w[i]
        value += 0.5 * l2 * _inner(w, begin, w, begin, end - begin, one - one)
    if l1 > 0:
        zero, c = one - one, type(one)(l1)
        for i in range(begin, end):
            g[i] += c if w[i] > zero else (-c if w[i] < zero else zero)
        value += l1 * _sum_of_sizes(w, begin, end, zero)
    return value


@_helper
def _move(job, one, begin, end, of_weights):
    """Move some parameters."""
    rule, memory, size = job.rule, job.memory, job.memory.itemsize
    step = numbers(job.team.job, 1)[STEP]
    shrink = numbers(rule.shrink, 1.0)[step]
    if of_weights and shrink != 1:
        w, c = numbers(memory.w, one), type(one)(shrink)
        for i in range(begin, end):
            w[i] *= c
    places = (memory.w + begin * size, memory.g + begin * size, rule.state + begin * size)
    coefficients = rule.coefficients + step * rule.n_coefficients * 8
    call(rule.kernel, (*places, end - begin, rule.n_parameters, coefficients))


def move_parameters(part, job, one):
    """Compute the gradient of this part's parameters, penalty included, or move them, or both, as the phase says."""
    kind = numbers(job.team.job, 1)[KIND]
    compute = kind == GRADIENT
    moves = numbers(job.team.job, 1)[COUNT] > 0
    move = moves and (kind == UPDATE or job.objective.max_norm == 0)
    layers, g = job.layers, numbers(job.memory.g, one)
    penalty, squares, scale = 0.0, 0.0, type(one)(numbers(job.team.numbers, 1.0)[SCALE])
    for i in range(2 * layers.n_layers):
        l, of_weights = i % layers.n_layers, i < layers.n_layers
        rows, row = numbers(layers.units, 1)[l if of_weights else l + 1], 1
        if of_weights:
            row = numbers(layers.units, 1)[l + 1]
        low, high = share(rows, part, job.team.n_parts)
        if i == 0:
            low, high = first_row(job, low), first_row(job, high)
        begin = numbers(layers.w_at, 1)[i] + low * row
        end = numbers(layers.w_at, 1)[i] + high * row
        if compute and of_weights:
            _weight_gradient(job, one, l, low, high)
        elif compute:
            _bias_gradient(job, one, l, low, high)
        elif scale != 1:
            for j in range(begin, end):
                g[j] *= scale
        for start in range(begin, end, BLOCK_SIZE):
            stop = min(start + BLOCK_SIZE, end)
            if compute and of_weights:
                penalty += _penalise(job, one, start, stop)
            if move:
                _move(job, one, start, stop, of_weights)
        if compute and job.objective.max_norm > 0:
            squares += float(_inner(g, begin, g, begin, end - begin, one - one))
    if compute:
        sums = numbers(job.team.sums, 1.0)
        sums[part * LINE + 1], sums[part * LINE + 2] = penalty, squares
