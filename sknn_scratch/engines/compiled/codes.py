"""The first layer of samples with codes: products with two rows of sums for each feature; see ``CodedMatrix``.

The sums are made once a step, as a phase of its own before the others.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.calls import numbers
from sknn_scratch.engines.compiled.team import N_ROWS, START, share

__all__ = ["codes_gradient", "codes_product", "first_row", "keep_delta", "sum_up"]

_helper = njit(error_model="numpy")

# Samples whose numbers are turned from rows to columns, or back, while they are in the cache.
BLOCK = 16


@_helper
def first_row(job, row):
    """Return the first row of ``W[0]`` that belongs to the same feature: those of one are not shared out."""
    starts = numbers(job.codes.starts, 1)
    for feature in range(job.codes.n_features):
        if job.data.n_plain + starts[feature] < row < job.data.n_plain + starts[feature + 1]:
            return job.data.n_plain + starts[feature]
    return row


@_helper
def sum_up(part, job, one):
    """Fill the sums ``C`` of this part's features."""
    codes, width, zero = job.codes, numbers(job.layers.units, 1)[1], one - one
    starts, means, sums = numbers(codes.starts, 1), numbers(codes.means, one), numbers(codes.sums, one)
    w = numbers(job.memory.w + job.data.n_plain * width * job.memory.itemsize, one)
    low, high = share(codes.n_features, part, job.team.n_parts)
    for feature in range(low, high):
        first = (starts[feature] + feature) * width
        for j in range(width):
            sums[first + j] = zero
        for k in range(starts[feature], starts[feature + 1]):
            for j in range(width):
                sums[first + j] -= means[k] * w[k * width + j]
        for k in range(starts[feature], starts[feature + 1]):
            edge = (k + feature) * width
            for j in range(width):
                sums[edge + width + j] = sums[edge + j] + w[k * width + j]


@_helper
def codes_product(job, one, low, high, z):
    """Add the codes' part of ``X @ W[0]`` for the rows of this part; ``z`` begins with the layer."""
    codes, stride, width = job.codes, job.memory.stride, numbers(job.layers.units, 1)[1]
    edges, fractions, sums = numbers(codes.edges, np.int32(1)), numbers(codes.fractions, one), numbers(codes.sums, one)
    order, start = numbers(job.data.order, np.int32(1)), numbers(job.team.job, 1)[START]
    for first in range(low, high, BLOCK):
        last = min(first + BLOCK, high)
        own = numbers(job.memory.scratch + first * job.objective.n_scratch * job.memory.itemsize, one)
        for i in range((last - first) * width):
            own[i] = one - one
        for feature in range(codes.n_features):
            for i in range(first, last):
                k, at = np.int64(order[start + i]) * codes.n_features + feature, (i - first) * width
                below, above = one - fractions[k], fractions[k]
                edge = np.int64(edges[k]) * width
                for j in range(width):
                    own[at + j] += below * sums[edge + j] + above * sums[edge + width + j]
        for j in range(width):
            for i in range(first, last):
                z[j * stride + i] += own[(i - first) * width + j]


@_helper
def keep_delta(job, one, low, high):
    """Keep ``delta[0]`` of this part sample by sample."""
    stride, width = job.memory.stride, numbers(job.layers.units, 1)[1]
    delta, out = numbers(job.memory.delta, one), numbers(job.codes.delta, one)
    for first in range(low, high, BLOCK):
        for i in range(first, min(first + BLOCK, high)):
            for j in range(width):
                out[i * width + j] = delta[j * stride + i]


@_helper
def codes_gradient(job, one, low, high):
    """Fill the gradient of the rows of ``W[0]`` from ``low`` to ``high`` that are for codes, whole features."""
    codes, width, n_plain = job.codes, numbers(job.layers.units, 1)[1], job.data.n_plain
    edges, fractions, starts = (
        numbers(codes.edges, np.int32(1)),
        numbers(codes.fractions, one),
        numbers(codes.starts, 1),
    )
    means, delta = numbers(codes.means, one), numbers(codes.delta, one)
    order, place = numbers(job.data.order, np.int32(1)), numbers(job.team.job, 1)
    g = numbers(job.memory.g + n_plain * width * job.memory.itemsize, one)
    of_sums = numbers(codes.sums_gradient, one)
    for feature in range(codes.n_features):
        if not low <= n_plain + starts[feature] < high:
            continue
        first, last = (starts[feature] + feature) * width, (starts[feature + 1] + feature) * width
        for i in range(first, last + width):
            of_sums[i] = one - one
        for i in range(place[N_ROWS]):
            k = np.int64(order[place[START] + i]) * codes.n_features + feature
            below, above = one - fractions[k], fractions[k]
            edge = np.int64(edges[k]) * width
            for j in range(width):
                of_sums[edge + j] += below * delta[i * width + j]
                of_sums[edge + width + j] += above * delta[i * width + j]
        for edge in range(last - width, first - width, -width):  # from here on: the sum over an edge and those above
            for j in range(width):
                of_sums[edge + j] += of_sums[edge + width + j]
        for k in range(starts[feature], starts[feature + 1]):
            edge = (k + feature + 1) * width
            for j in range(width):
                g[k * width + j] = of_sums[edge + j] - means[k] * of_sums[first + j]
