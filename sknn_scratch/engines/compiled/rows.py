"""The first phase of a step: some rows of the minibatch go forward, and their deltas back."""

from __future__ import annotations

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.calls import (
    call,
    call_for_number,
    float64s,
    gemm,
    int32s,
    reals,
    uint8s,
)
from sknn_scratch.engines.compiled.codes import codes_product, keep_delta, sum_up
from sknn_scratch.engines.compiled.draws import draw, draw_normal, key_of, mask_of
from sknn_scratch.engines.compiled.elementary import bits_of, choose
from sknn_scratch.engines.compiled.products import add_product, fill_backward
from sknn_scratch.engines.compiled.team import LINE, SUMS, head_of, layer_of, share

__all__ = ["pass_rows"]

_helper = njit(error_model="numpy")

INPUT_NOISE = -1


@_helper
def _read_rows(job, low, high):
    """Gather the rows of this part: samples, targets and relative weights."""
    data, memory, step, real = job.data, job.memory, job.step, type(job.one)
    stride, fan_in, total, by_rows = memory.stride, layer_of(job, 0).fan_in, step.total_weight, layer_of(job, 0).by_rows
    order, weights, y_in_bytes = int32s(job.step.order), float64s(data.weights), uint8s(data.y_in_bytes)
    X, y, a = reals(job, data.X), reals(job, data.y), reals(job, layer_of(job, 0).a)
    targets, relative_weight = reals(job, memory.targets), reals(job, memory.relative_weight)
    for i in range(low, high):
        row = np.int64(order[step.start + i])
        relative_weight[i] = (weights[row] if data.weights != 0 else 1.0) / total
        for k in range(data.n_targets):
            at = row * data.y_row_stride + k * data.y_column_stride
            targets[k * stride + i] = y[at] if data.y != 0 else real(y_in_bytes[at])
        if data.X == 0 or layer_of(job, 0).a == data.X:
            continue  # there are none, or they are there
        first, column_stride = row * data.row_stride, data.column_stride
        if by_rows and column_stride == 1:  # which the compiler makes one copy of
            for j in range(fan_in):
                a[i * fan_in + j] = X[first + j]
        else:
            of_sample, of_unit = (fan_in, 1) if by_rows else (1, stride)
            for j in range(fan_in):
                a[i * of_sample + j * of_unit] = X[first + j * column_stride]


@_helper
def _disturb(job, low, high):
    """Add noise to the samples of this part and drop some of their features."""
    layer, noise, real = layer_of(job, 0), job.input_noise, type(job.one)
    a = reals(job, layer.a)
    of_noise = key_of(job.seed, job.step.number, INPUT_NOISE)
    of_dropout, threshold, scale = mask_of(job, 0)
    of_sample, of_unit = (layer.fan_in, 1) if layer.by_rows else (1, job.memory.stride)
    for i in range(low, high):
        for j in range(layer.fan_in):
            place, index = i * of_sample + j * of_unit, i * layer.fan_in + j
            value = a[place]
            if noise > 0:
                value += real(noise * draw_normal(of_noise, index))
            if layer.dropout > 0:
                value = value * scale if draw(of_dropout, index) >= threshold else real(0)
            a[place] = value


@_helper
def _drop(job, l, low, high):
    """Drop units that layer ``l`` is fed: they become -0, and no other does.

    The others are not made up for here, but in the products, so that slopes can be computed from them.
    """
    stride, layer, zero = job.memory.stride, layer_of(job, l), type(job.one)(0)
    a, fan_in, (key, threshold, _) = reals(job, layer.a), layer.fan_in, mask_of(job, l)
    for j in range(fan_in):
        for i in range(low, high):
            a[j * stride + i] = choose(draw(key, i * fan_in + j) >= threshold, a[j * stride + i] + zero, -zero)


@_helper
def _drop_deltas(job, l, low, high, delta):
    """Set the deltas of the dropped units to 0."""
    stride, layer, zero = job.memory.stride, layer_of(job, l), type(job.one)(0)
    a, dropped = reals(job, layer.a), bits_of(-zero)
    for j in range(layer.fan_in):
        for i in range(j * stride + low, j * stride + high):
            delta[i] = choose(bits_of(a[i]) == dropped, zero, delta[i])


@_helper
def _sparse_product(job, low, high, z):
    """``z += X @ W[0]`` for the rows of this part of sparse samples."""
    data, memory, layer, real = job.data, job.memory, layer_of(job, 0), type(job.one)
    stride, fan_in, width, rate = memory.stride, layer.fan_in, layer.width, layer.dropout
    order, indices, starts = int32s(job.step.order), int32s(data.indices), int32s(data.starts)
    values, w = reals(job, data.values), reals(job, memory.w)
    own = reals(job, memory.scratch + low * memory.n_scratch * memory.itemsize)
    key, threshold, scale = mask_of(job, 0)
    for i in range(low, high):
        row = np.int64(order[job.step.start + i])
        for j in range(width):
            own[j] = real(0)
        for position in range(starts[row], starts[row + 1]):
            value, k = values[position], np.int64(indices[position])
            if rate > 0:
                value = value * scale if draw(key, i * fan_in + k) >= threshold else real(0)
            for j in range(width):
                own[j] += value * w[k * width + j]
        for j in range(width):
            z[j * stride + i] += own[j]


@_helper
def _affine(job, l, low, high):
    """``z = a @ W[l] + b[l]`` for the rows of this part."""
    layer, memory = layer_of(job, l), job.memory
    size, stride, fan_in, width = memory.itemsize, memory.stride, layer.fan_in, layer.width
    z, b = reals(job, layer.z), reals(job, layer.b)
    for j in range(width):
        for i in range(j * stride + low, j * stride + high):
            z[i] = b[j]
    if l == 0 and job.data.X == 0:
        _sparse_product(job, low, high, z)
    elif layer.looped:
        a, w, scale = reals(job, layer.a), reals(job, layer.w), type(job.one)(layer.scale)
        add_product(a, w, z, scale, low, high, stride, fan_in, width)
    else:
        lda = fan_in if layer.by_rows else stride
        a_at = layer.a + low * (fan_in if layer.by_rows else 1) * size
        transposed, shape, scales = (layer.by_rows, 1), (high - low, width, fan_in), (layer.scale, 1.0)
        gemm(job, transposed, shape, scales, a_at, lda, layer.w, width, layer.z + low * size, stride)
    if l == 0 and job.codes.n_features > 0:
        codes_product(job, low, high, z)


@_helper
def _shape(job, low, high, width):
    """Return rows and columns of this part of a layer; where it is the whole minibatch, no gaps are between rows."""
    stride = job.memory.stride
    return (1, width * stride) if high - low == stride else (width, high - low)


@_helper
def _forward(job, low, high):
    """Fill ``z`` and ``a`` of all layers for the rows of this part."""
    stride, size = job.memory.stride, job.memory.itemsize
    for l in range(job.n_layers):
        _affine(job, l, low, high)
        if l == job.n_layers - 1:
            return
        layer = layer_of(job, l)
        rows, columns = _shape(job, low, high, layer.width)
        z, output = layer.z + low * size, layer.output + low * size
        call(layer.value, (z, output, rows, columns, stride, layer.settings))
        if layer_of(job, l + 1).dropout > 0:
            _drop(job, l + 1, low, high)


@_helper
def _output_delta(job, low, high):
    """Fill the delta of the output for the rows of this part; return their share in the mean loss."""
    memory, total = job.memory, 0.0
    at, weight = low * memory.itemsize, memory.relative_weight + low * memory.itemsize
    scratch = memory.scratch + low * memory.n_scratch * memory.itemsize
    for h in range(job.n_heads):
        head = head_of(job, h)
        arrays = (head.targets + at, head.z + at, head.delta + at, weight, scratch)
        total += call_for_number(head.kernel, (*arrays, high - low, head.width, memory.stride, head.settings))
    return total


@_helper
def _hidden_deltas(job, low, high):
    """Fill the deltas of the hidden layers for the rows of this part."""
    stride, size = job.memory.stride, job.memory.itemsize
    for l in range(job.n_layers - 1, 0, -1):
        layer, before = layer_of(job, l), layer_of(job, l - 1)
        fan_in, width, below = layer.fan_in, layer.width, reals(job, before.delta)
        if layer.looped:
            delta, w, scale = reals(job, layer.delta), reals(job, layer.w), type(job.one)(layer.scale)
            fill_backward(delta, w, below, scale, low, high, stride, fan_in, width)
        else:
            shape, scales, delta_at = (high - low, fan_in, width), (layer.scale, 0.0), layer.delta + low * size
            gemm(job, (0, 0), shape, scales, delta_at, stride, layer.w, width, before.delta + low * size, stride)
        rows, columns = _shape(job, low, high, fan_in)
        source, delta_at = before.z + low * size, before.delta + low * size
        call(before.slope, (source, delta_at, rows, columns, stride, before.settings))
        if layer.dropout > 0:
            _drop_deltas(job, l, low, high, below)


@njit(error_model="numpy", inline="always")
def pass_rows(part, job):
    """Pass this part's rows forward, and the deltas back; note their share in the mean loss. Or fill its sums."""
    if job.step.kind == SUMS:
        sum_up(part, job)
        return
    low, high = share(job.step.n_rows, part, job.team.n_parts)
    loss = 0.0
    if high > low:
        _read_rows(job, low, high)
        if job.data.X != 0 and (job.input_noise > 0 or layer_of(job, 0).dropout > 0):
            _disturb(job, low, high)
        _forward(job, low, high)
        loss = _output_delta(job, low, high)
        _hidden_deltas(job, low, high)
        if job.codes.n_features > 0:
            keep_delta(job, low, high)
    float64s(job.team.sums)[part * LINE] = loss
