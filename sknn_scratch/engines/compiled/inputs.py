"""Inputs of layers that are no plain matrix: dropped or noisy ones, sparse samples, and codes (see ``CodedMatrix``).

Draws are the same numbers as ``sknn_scratch.engines.draws`` gives. Products add up rows of weights for each sample;
rows of those for codes are added up once a step, in a phase of its own before the others, so that the codes of a
feature take two rows of sums.
"""

from __future__ import annotations

import math

import numpy as np

from sknn_scratch.engines.compiled.calls import helper, int32s, int64s, reals
from sknn_scratch.engines.compiled.elementary import bits_of, choose
from sknn_scratch.engines.compiled.team import layer_at, share

INPUT_NOISE = np.int64(-1)


@helper
def _key_of(seed, step, layer):
    """Return two keys of 32 bits for a layer in a step."""
    x = (
        np.uint64(seed)
        + np.uint64(step) * np.uint64(0x9E3779B97F4A7C15)
        + np.uint64(layer + 2) * np.uint64(0xD1B54A32D192ED03)
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return np.uint32(x), np.uint32(x >> np.uint64(32))


@helper
def _mix(x):
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@helper
def draw(key, index):
    """Return 32 random bits."""
    return _mix(np.uint32(_mix(np.uint32(np.uint32(index) ^ key[0])) + key[1]))


@helper
def _draw_normal(key, index):
    """Return a draw from the standard normal distribution, by the method of Box and Muller."""
    u = (draw(key, 2 * index) + 0.5) * 2.0**-32
    v = draw(key, 2 * index + 1) * 2.0**-32
    return math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)


@helper
def mask_of(job, l):
    """Return a key for the inputs of layer ``l``, and the least draw with which one is kept."""
    return _key_of(job.seed, job.step.number, l), np.uint32(layer_at(job.layers, l).dropout * 2.0**32)


@helper
def drop(job, l, low, high):
    """Drop inputs of layer ``l`` for some rows: they become -0, and no other does. First, add noise to the samples.

    The others are made up for in the products, so that slopes can be computed from them.
    """
    layer, noise, real = layer_at(job.layers, l), job.input_noise if l == 0 else 0.0, type(job.one)
    a, fan_in, zero = reals(job, layer.a), layer.fan_in, real(0)
    of_noise, (key, threshold) = _key_of(job.seed, job.step.number, INPUT_NOISE), mask_of(job, l)
    if layer.by_rows:
        length, lines, places = fan_in, (low, high), (0, fan_in)
    else:
        length, lines, places = job.memory.stride, (0, fan_in), (low, high)
    for line in range(lines[0], lines[1]):
        for place in range(places[0], places[1]):
            value, at = a[line * length + place], line * length + place
            index = at if layer.by_rows else place * fan_in + line
            if noise > 0:
                value += real(noise * _draw_normal(of_noise, index))
            a[at] = choose(draw(key, index) >= threshold, value + zero, -zero)


@helper
def drop_deltas(job, l, low, high):
    """Set the deltas of the inputs of layer ``l`` that were dropped to 0, for some rows."""
    stride, layer, zero = job.memory.stride, layer_at(job.layers, l), type(job.one)(0)
    a, delta, dropped = reals(job, layer.a), reals(job, layer_at(job.layers, l - 1).delta), bits_of(-zero)
    for j in range(layer.fan_in):
        for i in range(j * stride + low, j * stride + high):
            delta[i] = choose(bits_of(a[i]) == dropped, zero, delta[i])


# Samples that are no matrix -------------------------------------------------------------------------------------------

# Samples whose numbers are turned from rows to columns, or back, while they are in the cache.
BLOCK = 16


@helper
def _cleared(job, first, last, width):
    """Return space for the products of some samples, each in a row, filled with 0."""
    own = reals(job, job.memory.scratch + first * job.memory.n_scratch * job.memory.itemsize)
    for i in range((last - first) * width):
        own[i] = type(job.one)(0)
    return own


@helper
def _add(job, layer, own, first, last):
    """Add the products of some samples to ``z``, which has them in columns."""
    z, scale = reals(job, layer.z), type(job.one)(layer.scale)
    for j in range(layer.width):
        for i in range(first, last):
            z[j * job.memory.stride + i] += scale * own[(i - first) * layer.width + j]


@helper
def keep_delta(job, low, high):
    """Keep the deltas of the first layer sample by sample, for some rows."""
    layer = layer_at(job.layers, 0)
    delta, kept, width = reals(job, layer.delta), reals(job, job.memory.delta_by_rows), layer.width
    for first in range(low, high, BLOCK):
        for i in range(first, min(first + BLOCK, high)):
            for j in range(width):
                kept[i * width + j] = delta[j * job.memory.stride + i]


# Sparse samples -------------------------------------------------------------------------------------------------------


@helper
def sparse_product(job, low, high):
    """``z += X @ W[0]`` for some rows."""
    data, layer = job.data, layer_at(job.layers, 0)
    width, order, indices, starts = layer.width, int32s(job.step.order), int32s(data.indices), int32s(data.starts)
    values, w, (key, threshold) = reals(job, data.values), reals(job, layer.w), mask_of(job, 0)
    for first in range(low, high, BLOCK):
        last = min(first + BLOCK, high)
        own = _cleared(job, first, last, width)
        for i in range(first, last):
            row, to = np.int64(order[job.step.start + i]), (i - first) * width
            for position in range(starts[row], starts[row + 1]):
                value, k = values[position], np.int64(indices[position])
                if layer.dropout == 0 or draw(key, i * layer.fan_in + k) >= threshold:
                    for j in range(width):
                        own[to + j] += value * w[k * width + j]
        _add(job, layer, own, first, last)


@helper
def sparse_gradient(job, low, high):
    """Fill rows ``low`` to ``high`` of the gradient of ``W[0]``."""
    data, layer, scale = job.data, layer_at(job.layers, 0), type(job.one)(layer_at(job.layers, 0).scale)
    width, order, indices, starts = layer.width, int32s(job.step.order), int32s(data.indices), int32s(data.starts)
    values, g, delta = reals(job, data.values), reals(job, layer.g_w), reals(job, job.memory.delta_by_rows)
    key, threshold = mask_of(job, 0)
    for i in range(low * width, high * width):
        g[i] = type(job.one)(0)
    for i in range(job.step.n_rows):
        row = np.int64(order[job.step.start + i])
        for position in range(starts[row], starts[row + 1]):
            value, k = scale * values[position], np.int64(indices[position])
            if low <= k < high and (layer.dropout == 0 or draw(key, i * layer.fan_in + k) >= threshold):
                for j in range(width):
                    g[k * width + j] += value * delta[i * width + j]


# Samples with codes ---------------------------------------------------------------------------------------------------


@helper
def sum_up(job, part):
    """Fill the sums ``C`` of this part's features."""
    data, layer, width = job.data, layer_at(job.layers, 0), layer_at(job.layers, 0).width
    starts, means, sums = int64s(data.starts_of_codes), reals(job, data.means), reals(job, data.sums)
    w, (low, high) = _of_codes(job, layer, layer.w), share(data.n_coded, part, job.team.n_parts)
    for feature in range(low, high):
        first, last = (starts[feature] + feature) * width, (starts[feature + 1] + feature) * width
        are_levels = feature < data.n_of_levels
        base = last if are_levels else first  # levels are each a step from here, bins from each other
        for j in range(width):
            sums[base + j] = type(job.one)(0)
        for k in range(starts[feature], starts[feature + 1]):
            for j in range(width):
                sums[base + j] -= means[k] * w[k * width + j]
        for k in range(starts[feature], starts[feature + 1]):
            edge = (k + feature) * width
            if are_levels:
                for j in range(width):
                    sums[edge + j] = sums[base + j] + w[k * width + j]
            else:
                for j in range(width):
                    sums[edge + width + j] = sums[edge + j] + w[k * width + j]
        if are_levels:
            for j in range(width):
                sums[last + j] = type(job.one)(0)


@helper
def _of_codes(job, layer, weights):
    """Return the rows that are for codes, given the address of ``W[0]`` or its gradient."""
    return reals(job, weights + layer.fan_in * layer.width * job.memory.itemsize)


@helper
def _edge(job, i, feature, width):
    """Return where the sums of the edge below a sample of the minibatch begin, and the shares of this and the next."""
    k = np.int64(int32s(job.step.order)[job.step.start + i]) * job.data.n_coded + feature
    fraction = reals(job, job.data.fractions)[k]
    return np.int64(int32s(job.data.edges)[k]) * width, type(job.one)(1) - fraction, fraction


@helper
def coded_product(job, low, high):
    """Add the codes' part of ``X @ W[0]`` to ``z`` for some rows."""
    layer, sums = layer_at(job.layers, 0), reals(job, job.data.sums)
    width = layer.width
    for first in range(low, high, BLOCK):
        last = min(first + BLOCK, high)
        own = _cleared(job, first, last, width)
        for feature in range(job.data.n_coded):
            for i in range(first, last):
                edge, below, above = _edge(job, i, feature, width)
                for j in range(width):
                    own[(i - first) * width + j] += below * sums[edge + j] + above * sums[edge + width + j]
        _add(job, layer, own, first, last)


@helper
def coded_gradient(job, low, high):
    """Fill the gradient of the rows of ``W[0]`` from ``low`` to ``high`` that are for codes, whole features."""
    data, layer = job.data, layer_at(job.layers, 0)
    width, starts, means = layer.width, int64s(data.starts_of_codes), reals(job, data.means)
    delta, of_sums = reals(job, job.memory.delta_by_rows), reals(job, data.sums_gradient)
    g = _of_codes(job, layer, layer.g_w)
    for feature in range(data.n_coded):
        if not low <= layer.fan_in + starts[feature] < high:
            continue
        first, last = (starts[feature] + feature) * width, (starts[feature + 1] + feature) * width
        for i in range(first, last + width):
            of_sums[i] = type(job.one)(0)
        for i in range(job.step.n_rows):
            edge, below, above = _edge(job, i, feature, width)
            for j in range(width):
                of_sums[edge + j] += below * delta[i * width + j]
                of_sums[edge + width + j] += above * delta[i * width + j]
        if feature < data.n_of_levels:  # at last: the sum over all levels
            at, total = np.int64(0), last
            for j in range(width):
                of_sums[last + j] = type(job.one)(0)
            for edge in range(first, last, width):
                for j in range(width):
                    of_sums[last + j] += of_sums[edge + j]
        else:  # from here on: the sum over an edge and those above
            at, total = np.int64(1), first
            for edge in range(last - width, first - width, -width):
                for j in range(width):
                    of_sums[edge + j] += of_sums[edge + width + j]
        for k in range(starts[feature], starts[feature + 1]):
            edge = (k + feature + at) * width
            for j in range(width):
                g[k * width + j] = of_sums[edge + j] - means[k] * of_sums[total + j]
