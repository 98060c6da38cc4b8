"""The two phases of a step.

In the first, some rows of the minibatch go forward, and their deltas back; the second has gradient and update of some
rows of the weights, and of some biases.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.calls import OPTIONS, call, float64s, helper, int32s, int64s, reals, uint8s
from sknn_scratch.engines.compiled.elementary import choose
from sknn_scratch.engines.compiled.products import add_product, fill_deltas_below, fill_gradient
from sknn_scratch.engines.compiled.team import CACHE_LINE, GRADIENT, LINE, UPDATE, head_at, layer_at, share

# Rows of the minibatch ------------------------------------------------------------------------------------------------


@helper
def _read_rows(job, low, high):
    """Gather the rows of this part: samples, targets and relative weights."""
    data, memory, step, layer, real = job.data, job.memory, job.step, layer_at(job.layers, 0), type(job.one)
    stride, fan_in, total, by_rows = memory.stride, layer.fan_in, step.total_weight, layer.by_rows
    order, weights, y_in_bytes = int32s(step.order), float64s(data.weights), uint8s(data.y_in_bytes)
    X, y, a = reals(job, data.X), reals(job, data.y), reals(job, layer.a)
    targets, relative_weight = reals(job, memory.targets), reals(job, memory.relative_weight)
    for i in range(low, high):
        row = np.int64(order[step.start + i])
        relative_weight[i] = (weights[row] if data.weights != 0 else 1.0) / total
        for k in range(data.n_targets):
            at = row * data.y_row_stride + k * data.y_column_stride
            targets[k * stride + i] = y[at] if data.y != 0 else real(y_in_bytes[at])
        if data.X == 0 or layer.a == data.X:
            continue  # there are none, or they are there
        first, column_stride = row * data.row_stride, data.column_stride
        if by_rows and column_stride == 1:  # which the compiler makes one copy of
            for j in range(fan_in):
                a[i * fan_in + j] = X[first + j]
        else:
            of_sample, of_unit = (fan_in, 1) if by_rows else (1, stride)
            for j in range(fan_in):
                a[i * of_sample + j * of_unit] = X[first + j * column_stride]


@helper
def _shape(job, low, high, width):
    """Return rows and columns of this part of a layer; where it is the whole minibatch, no gaps are between rows."""
    return (1, width * (high - low)) if high - low == job.memory.stride else (width, high - low)


@helper
def _forward(job, low, high):
    """Fill ``z`` and ``a`` of all layers for the rows of this part."""
    stride, size, is_dense = job.memory.stride, job.memory.itemsize, job.data.X != 0
    for l in range(job.n_layers):
        layer = layer_at(job.layers, l)
        if (l > 0 or is_dense) and (layer.dropout > 0 or (l == 0 and job.input_noise > 0)):
            call(job.functions.drop, (job.address, l, low, high))
        z, b = reals(job, layer.z), reals(job, layer.b)
        for j in range(layer.width):
            for i in range(j * stride + low, j * stride + high):
                z[i] = b[j]
        if l > 0 or is_dense:
            add_product(job, layer, low, high)
        if l == 0 and job.functions.product != 0:
            call(job.functions.product, (job.address, low, high))
        if layer.value != 0:
            rows, columns = _shape(job, low, high, layer.width)
            call(layer.value, (layer.z + low * size, layer.output + low * size, rows, columns, stride, layer.settings))


@helper
def _output_delta(job, low, high, loss):
    """Fill the delta of the output for the rows of this part; add their share in the mean loss at an address."""
    memory = job.memory
    at, weight = low * memory.itemsize, memory.relative_weight + low * memory.itemsize
    scratch = memory.scratch + low * memory.n_scratch * memory.itemsize
    for h in range(job.n_heads):
        head = head_at(job.heads, h)
        arrays = (head.targets + at, head.z + at, head.delta + at, weight, scratch)
        call(head.kernel, (*arrays, high - low, head.width, memory.stride, loss, head.settings))


@helper
def _hidden_deltas(job, low, high):
    """Fill the deltas of the hidden layers for the rows of this part."""
    stride, size = job.memory.stride, job.memory.itemsize
    for l in range(job.n_layers - 1, 0, -1):
        layer, before = layer_at(job.layers, l), layer_at(job.layers, l - 1)
        fill_deltas_below(job, layer, before.delta, low, high)
        rows, columns = _shape(job, low, high, before.width)
        source, delta = before.z + low * size, before.delta + low * size
        call(before.slope, (source, delta, rows, columns, stride, before.settings))
        if layer.dropout > 0:
            call(job.functions.drop_deltas, (job.address, l, low, high))


@helper
def _rows_of(job, part):
    """Return the first and last (excluded) row of a part; those of a large one begin with a cache line."""
    n_rows, n_parts, line = job.step.n_rows, job.team.n_parts, CACHE_LINE // job.memory.itemsize
    if n_rows < 6 * line * n_parts:
        return share(n_rows, part, n_parts)
    low, high = share(n_rows // line, part, n_parts)
    return low * line, n_rows if part == n_parts - 1 else high * line


@helper
def pass_rows(job, part):
    """Pass this part's rows forward, and the deltas back; note their share in the mean loss."""
    low, high = _rows_of(job, part)
    float64s(job.team.sums)[part * LINE] = 0.0
    if high > low:
        _read_rows(job, low, high)
        _forward(job, low, high)
        _output_delta(job, low, high, job.team.sums + part * LINE * 8)
        _hidden_deltas(job, low, high)
        if job.functions.keep_delta != 0:
            call(job.functions.keep_delta, (job.address, low, high))


# Rows of the weights, and biases --------------------------------------------------------------------------------------

# Sums in any order, so that they are vectorised; that of BLAS, which the reference uses, is not specified either.
_sum = njit(**OPTIONS, fastmath={"reassoc"})

# Parameters that are penalised and then moved at a time, while they are in the cache.
BLOCK_SIZE = 4096


@_sum
def _fill_bias_gradient(job, layer, low, high):
    """Fill the gradient of some of the biases."""
    delta, g, zero = reals(job, layer.delta), reals(job, layer.g_b), type(job.one)(0)
    for j in range(low, high):
        first, total = j * job.memory.stride, zero
        for i in range(first, first + job.step.n_rows * job.fit_intercept):
            total += delta[i]
        g[j] = total


@_sum
def _norm(x, begin, end, zero):
    """Return the Euclidean length of some numbers."""
    total = largest = zero
    for i in range(begin, end):
        total += x[i] * x[i]
    if total < math.inf:
        return math.sqrt(total)
    for i in range(begin, end):  # squares may be too large where the length is not
        largest = max(largest, abs(x[i]))
    total = zero
    for i in range(begin, end):
        total += (x[i] / largest) * (x[i] / largest)
    return float(largest) * math.sqrt(total)


@_sum
def _penalise(job, begin, end):
    """Add the gradient of the penalty on some weights; return the penalty."""
    real, strength = type(job.one), job.alpha / job.step.total_weight
    l1, l2 = strength * job.l1_ratio, strength * (1 - job.l1_ratio)
    w, g, zero, c1, c2 = reals(job, job.memory.w), reals(job, job.memory.g), real(0), real(l1), real(l2)
    sizes = squares = zero
    for i in range(begin, end):
        g[i] += c2 * w[i] + choose(w[i] > zero, c1, choose(w[i] < zero, -c1, zero))
        sizes += abs(w[i])
        squares += w[i] * w[i]
    return l1 * sizes + 0.5 * l2 * squares


@helper
def _move(job, begin, end):
    """Move some parameters."""
    rule, memory, at = job.rule, job.memory, begin * job.memory.itemsize
    shrink = float64s(rule.shrink)[job.step.place]
    if begin < memory.n_weights and shrink != 1:
        w, c = reals(job, memory.w), type(job.one)(shrink)
        for i in range(begin, end):
            w[i] *= c
    coefficients = rule.coefficients + job.step.place * rule.n_coefficients * 8
    arrays = memory.w + at, memory.g + at, rule.state + at
    call(rule.kernel, (*arrays, end - begin, memory.n_parameters, coefficients))


@helper
def _finish(job, part, begin, end):
    """Penalise, limit and move some parameters, as the phase says, once their gradient without penalty is there."""
    step, g, scale = job.step, reals(job, job.memory.g), type(job.one)(job.step.scale)
    sums, max_norm = float64s(job.team.sums), job.max_norm
    compute, moves = step.kind == GRADIENT, step.number > 0 and (step.kind == UPDATE or max_norm == 0)
    if not compute and scale != 1:
        for i in range(begin, end):
            g[i] *= scale
    for start in range(begin, end, BLOCK_SIZE):
        stop = min(start + BLOCK_SIZE, end)
        if compute and job.alpha > 0 and begin < job.memory.n_weights:
            sums[part * LINE + 1] += _penalise(job, start, stop)
        if moves:
            _move(job, start, stop)
    if compute and max_norm > 0:
        sums[part * LINE + 2] = math.hypot(sums[part * LINE + 2], _norm(g, begin, end, type(job.one)(0)))


@helper
def move_parameters(job, part):
    """Compute the gradient of this part's parameters, penalty included, or move them, or both, as the phase says."""
    sums, compute = float64s(job.team.sums), job.step.kind == GRADIENT
    if compute:
        sums[part * LINE + 1] = sums[part * LINE + 2] = 0.0
    for l in range(job.n_layers):
        layer = layer_at(job.layers, l)
        begins = int64s(layer.begins)
        low, high = begins[part], begins[part + 1]
        if compute:
            if l > 0 or job.data.X != 0:
                fill_gradient(job, layer, min(low, layer.fan_in), min(high, layer.fan_in))
            if l == 0 and job.functions.gradient != 0:
                call(job.functions.gradient, (job.address, low, high))
        _finish(job, part, layer.w_at + low * layer.width, layer.w_at + high * layer.width)
        low, high = share(layer.width, part, job.team.n_parts)
        if compute:
            _fill_bias_gradient(job, layer, low, high)
        _finish(job, part, layer.b_at + low, layer.b_at + high)
