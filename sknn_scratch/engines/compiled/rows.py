"""The first phase of a step: some rows of the minibatch go forward, and their deltas back."""

from __future__ import annotations

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.calls import call, call_for_number, gemm, numbers
from sknn_scratch.engines.compiled.codes import codes_product, keep_delta, sum_up
from sknn_scratch.engines.compiled.draws import draw, draw_normal, key_of, threshold_of
from sknn_scratch.engines.compiled.elementary import bits_of, choose
from sknn_scratch.engines.compiled.products import add_product, fill_backward, scale_of
from sknn_scratch.engines.compiled.team import COUNT, KIND, LINE, N_ROWS, START, SUMS, TOTAL, share

__all__ = ["pass_rows"]

_helper = njit(error_model="numpy")

INPUT_NOISE = -1


@_helper
def _read_rows(job, one, low, high):
    """Gather the rows of this part: samples, targets and relative weights."""
    data, memory = job.data, job.memory
    stride, n_plain = memory.stride, data.n_plain
    order, looped = numbers(data.order, np.int32(1)), numbers(job.layers.looped, 1)[0] != 0
    start, total = numbers(job.team.job, 1)[START], numbers(job.team.numbers, 1.0)[TOTAL]
    X, y, weights = numbers(data.X, one), numbers(data.y, one), numbers(data.weights, 1.0)
    a, targets = numbers(memory.a, one), numbers(memory.targets, one)
    relative_weight, y_in_bytes = numbers(memory.relative_weight, one), numbers(data.y_in_bytes, np.uint8(1))
    for i in range(low, high):
        row = np.int64(order[start + i])
        relative_weight[i] = (weights[row] if data.weights != 0 else 1.0) / total
        for k in range(data.n_targets):
            at = row * data.y_row_stride + k * data.y_column_stride
            targets[k * stride + i] = y[at] if data.y != 0 else type(one)(y_in_bytes[at])
        source = row * data.row_stride
        if data.X == 0:
            continue
        if looped:
            for j in range(n_plain):
                a[j * stride + i] = X[source + j * data.column_stride]
        elif data.column_stride == 1:
            for j in range(n_plain):
                a[i * n_plain + j] = X[source + j]
        else:
            for j in range(n_plain):
                a[i * n_plain + j] = X[source + j * data.column_stride]


@_helper
def _disturb(job, one, low, high):
    """Add noise to the samples of this part and drop some of their features."""
    stride, fan_in = job.memory.stride, numbers(job.layers.units, 1)[0]
    rate, noise = numbers(job.layers.dropout, 1.0)[0], job.objective.input_noise
    count, looped = numbers(job.team.job, 1)[COUNT], numbers(job.layers.looped, 1)[0] != 0
    of_noise, of_dropout = key_of(job.objective.seed, count, INPUT_NOISE), key_of(job.objective.seed, count, 0)
    threshold, scale, a = threshold_of(rate), one / type(one)(1 - rate), numbers(job.memory.a, one)
    for i in range(low, high):
        for j in range(fan_in):
            place, index = j * stride + i if looped else i * fan_in + j, i * fan_in + j
            value = a[place]
            if noise > 0:
                value += type(one)(noise * draw_normal(of_noise, index))
            if rate > 0:
                value = value * scale if draw(of_dropout, index) >= threshold else one - one
            a[place] = value


@_helper
def _drop(job, one, l, low, high, a):
    """Drop units of hidden layer ``l``, which begins at ``a``: they become -0, and no other does.

    The others are not made up for here, but in the products, so that slopes can be computed from them.
    """
    stride, width = job.memory.stride, numbers(job.layers.units, 1)[l]
    rate, count = numbers(job.layers.dropout, 1.0)[l], numbers(job.team.job, 1)[COUNT]
    key, threshold, zero = key_of(job.objective.seed, count, l), threshold_of(rate), one - one
    for j in range(width):
        for i in range(low, high):
            a[j * stride + i] = choose(draw(key, i * width + j) >= threshold, a[j * stride + i] + zero, -zero)


@_helper
def _drop_deltas(job, one, l, low, high, a, delta):
    """Set the deltas of dropped units of hidden layer ``l`` to 0."""
    stride, zero = job.memory.stride, one - one
    dropped = bits_of(-zero)
    for j in range(numbers(job.layers.units, 1)[l]):
        for i in range(j * stride + low, j * stride + high):
            delta[i] = choose(bits_of(a[i]) == dropped, zero, delta[i])


@_helper
def _sparse_product(job, one, low, high, z):
    """``z += X @ W[0]`` for the rows of this part of sparse samples; ``z`` begins with the layer."""
    data, stride, units = job.data, job.memory.stride, numbers(job.layers.units, 1)
    fan_in, width, rate = units[0], units[1], numbers(job.layers.dropout, 1.0)[0]
    values, w = numbers(data.values, one), numbers(job.memory.w, one)
    indices, starts = numbers(data.indices, np.int32(1)), numbers(data.starts, np.int32(1))
    order, place = numbers(data.order, np.int32(1)), numbers(job.team.job, 1)
    start, count = place[START], place[COUNT]
    key, threshold, scale = key_of(job.objective.seed, count, 0), threshold_of(rate), one / type(one)(1 - rate)
    own = numbers(job.memory.scratch + low * job.objective.n_scratch * job.memory.itemsize, one)
    for i in range(low, high):
        row = np.int64(order[start + i])
        for j in range(width):
            own[j] = one - one
        for position in range(starts[row], starts[row + 1]):
            value, k = values[position], np.int64(indices[position])
            if rate > 0:
                value = value * scale if draw(key, i * fan_in + k) >= threshold else one - one
            for j in range(width):
                own[j] += value * w[k * width + j]
        for j in range(width):
            z[j * stride + i] += own[j]


@_helper
def _affine(job, one, l, low, high, z_at):
    """``z = a[l] @ W[l] + b[l]`` for the rows of this part; ``z_at`` is the address where the layer begins."""
    layers, memory, size = job.layers, job.memory, job.memory.itemsize
    fan_in = job.data.n_plain if l == 0 else numbers(layers.units, 1)[l]
    width, stride = numbers(layers.units, 1)[l + 1], memory.stride
    w_at, a_at = numbers(layers.w_at, 1)[l], numbers(layers.a_at, 1)[l]
    z, w, scale = numbers(z_at, one), numbers(memory.w, one), scale_of(job, one, l)
    biases = numbers(layers.w_at, 1)[layers.n_layers + l]
    for j in range(width):
        for i in range(j * stride + low, j * stride + high):
            z[i] = w[biases + j]
    if l == 0 and job.data.X == 0:
        _sparse_product(job, one, low, high, z)
    elif numbers(layers.looped, 1)[l] != 0:
        a, w = numbers(memory.a + a_at * size, one), numbers(memory.w + w_at * size, one)
        add_product(a, w, z, scale, low, high, stride, fan_in, width)
    else:
        by_rows = l == 0
        gemm(
            job.team.gemm, (1 if by_rows else 0, 1), (high - low, width, fan_in), (scale, one),
            memory.a + (a_at + low * (fan_in if by_rows else 1)) * size, fan_in if by_rows else stride,
            memory.w + w_at * size, width, z_at + low * size, stride,
        )  # fmt: skip
    if l == 0 and job.codes.n_features > 0:
        codes_product(job, one, low, high, z)


@_helper
def _forward(job, one, low, high):
    """Fill ``z`` and ``a`` of all layers for the rows of this part."""
    layers, memory, size, stride = job.layers, job.memory, job.memory.itemsize, job.memory.stride
    for l in range(layers.n_layers):
        last = l == layers.n_layers - 1
        in_place = not last and numbers(layers.in_place, 1)[l] != 0
        z = memory.z + numbers(layers.z_at, 1)[l] * size
        a = z if last else memory.a + numbers(layers.a_at, 1)[l + 1] * size
        _affine(job, one, l, low, high, a if in_place else z)
        if last:
            return
        width, settings = numbers(layers.units, 1)[l + 1], numbers(layers.settings, 1)[l]
        # Where the part is the whole minibatch, rows follow each other without a gap.
        rows, columns = (1, width * stride) if high - low == stride else (width, high - low)
        if in_place:
            call(numbers(layers.values, 1)[l], (a + low * size, rows, columns, stride, settings))
        else:
            call(numbers(layers.values, 1)[l], (z + low * size, a + low * size, rows, columns, stride, settings))
        if numbers(layers.dropout, 1.0)[l + 1] > 0:
            _drop(job, one, l + 1, low, high, numbers(a, one))


@_helper
def _output_delta(job, one, low, high):
    """Fill the delta of the output for the rows of this part; return their share in the mean loss."""
    objective, memory, size, total = job.objective, job.memory, job.memory.itemsize, 0.0
    last = job.layers.n_layers - 1
    z = memory.z + (numbers(job.layers.z_at, 1)[last] + low) * size
    delta = memory.delta + (numbers(job.layers.delta_at, 1)[last] + low) * size
    targets, scratch = memory.targets + low * size, memory.scratch + low * objective.n_scratch * size
    for h in range(objective.n_heads):
        width, weight = numbers(objective.widths, 1)[h], memory.relative_weight + low * size
        settings = numbers(objective.settings, 1)[h]
        arguments = (targets, z, delta, weight, high - low, width, memory.stride, scratch, settings)
        total += call_for_number(numbers(objective.kernels, 1)[h], arguments)
        z += width * memory.stride * size
        delta += width * memory.stride * size
        targets += numbers(objective.target_widths, 1)[h] * memory.stride * size
    return total


@_helper
def _hidden_deltas(job, one, low, high):
    """Fill the deltas of the hidden layers for the rows of this part."""
    layers, memory, size, stride = job.layers, job.memory, job.memory.itemsize, job.memory.stride
    for l in range(layers.n_layers - 1, 0, -1):
        fan_in, width = numbers(layers.units, 1)[l], numbers(layers.units, 1)[l + 1]
        delta_at = memory.delta + numbers(layers.delta_at, 1)[l] * size
        below_at = memory.delta + numbers(layers.delta_at, 1)[l - 1] * size
        w_at, below = memory.w + numbers(layers.w_at, 1)[l] * size, numbers(below_at, one)
        scale = scale_of(job, one, l)
        if numbers(layers.looped, 1)[l] != 0:
            w, delta = numbers(w_at, one), numbers(delta_at, one)
            fill_backward(delta, w, below, scale, low, high, stride, fan_in, width)
        else:
            gemm(
                job.team.gemm, (0, 0), (high - low, fan_in, width), (scale, one - one),
                delta_at + low * size, stride, w_at, width, below_at + low * size, stride,
            )  # fmt: skip
        a = source = memory.a + numbers(layers.a_at, 1)[l] * size
        if numbers(layers.in_place, 1)[l - 1] == 0:
            source = memory.z + numbers(layers.z_at, 1)[l - 1] * size
        rows, columns = (1, fan_in * stride) if high - low == stride else (fan_in, high - low)
        settings = numbers(layers.settings, 1)[l - 1]
        arguments = (source + low * size, below_at + low * size, rows, columns, stride, settings)
        call(numbers(layers.slopes, 1)[l - 1], arguments)
        if numbers(layers.dropout, 1.0)[l] > 0:
            _drop_deltas(job, one, l, low, high, numbers(a, one), below)


def pass_rows(part, job, one):
    """Pass this part's rows forward, and the deltas back; note their share in the mean loss. Or fill its sums."""
    if numbers(job.team.job, 1)[KIND] == SUMS:
        sum_up(part, job, one)
        return
    low, high = share(numbers(job.team.job, 1)[N_ROWS], part, job.team.n_parts)
    loss = 0.0
    if high > low:
        _read_rows(job, one, low, high)
        if job.data.X != 0 and (job.objective.input_noise > 0 or numbers(job.layers.dropout, 1.0)[0] > 0):
            _disturb(job, one, low, high)
        _forward(job, one, low, high)
        loss = _output_delta(job, one, low, high)
        _hidden_deltas(job, one, low, high)
        if job.codes.n_features > 0:
            keep_delta(job, one, low, high)
    numbers(job.team.sums, 1.0)[part * LINE] = loss
