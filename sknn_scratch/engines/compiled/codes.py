"""The first layer of samples with codes: products with two rows of sums for each feature; see ``CodedMatrix``.

The sums are made once a step, as a phase of its own before the others.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.calls import int32s, int64s, reals
from sknn_scratch.engines.compiled.team import layer_of, share

__all__ = ["codes_gradient", "codes_product", "first_row", "keep_delta", "sum_up"]

_helper = njit(error_model="numpy")

# Samples whose numbers are turned from rows to columns, or back, while they are in the cache.
BLOCK = 16


@_helper
def first_row(job, row):
    """Return the first row of ``W[0]`` that belongs to the same feature: those of one are not shared out."""
    starts, n_plain = int64s(job.codes.starts), layer_of(job, 0).fan_in
    for feature in range(job.codes.n_features):
        if n_plain + starts[feature] < row < n_plain + starts[feature + 1]:
            return n_plain + starts[feature]
    return row


@_helper
def _of_codes(job, weights):
    """Return the rows that are for codes, given the address of ``W[0]`` or its gradient."""
    layer = layer_of(job, 0)
    return reals(job, weights + layer.fan_in * layer.width * job.memory.itemsize)


@_helper
def sum_up(part, job):
    """Fill the sums ``C`` of this part's features."""
    codes, width, real = job.codes, layer_of(job, 0).width, type(job.one)
    starts, means, sums = int64s(codes.starts), reals(job, codes.means), reals(job, codes.sums)
    w, (low, high) = _of_codes(job, layer_of(job, 0).w), share(codes.n_features, part, job.team.n_parts)
    for feature in range(low, high):
        first = (starts[feature] + feature) * width
        for j in range(width):
            sums[first + j] = real(0)
        for k in range(starts[feature], starts[feature + 1]):
            for j in range(width):
                sums[first + j] -= means[k] * w[k * width + j]
        for k in range(starts[feature], starts[feature + 1]):
            edge = (k + feature) * width
            for j in range(width):
                sums[edge + width + j] = sums[edge + j] + w[k * width + j]


@_helper
def _edge(job, i, feature):
    """Return where the sums of the edge below a sample of the minibatch begin, and the shares of this and the next."""
    codes = job.codes
    k = np.int64(int32s(job.step.order)[job.step.start + i]) * codes.n_features + feature
    fraction = reals(job, codes.fractions)[k]
    return np.int64(int32s(codes.edges)[k]) * layer_of(job, 0).width, type(job.one)(1) - fraction, fraction


@_helper
def codes_product(job, low, high, z):
    """Add the codes' part of ``X @ W[0]`` for the rows of this part; ``z`` begins with the layer."""
    memory, width, sums = job.memory, layer_of(job, 0).width, reals(job, job.codes.sums)
    for first in range(low, high, BLOCK):
        last = min(first + BLOCK, high)
        own = reals(job, memory.scratch + first * memory.n_scratch * memory.itemsize)
        for i in range((last - first) * width):
            own[i] = type(job.one)(0)
        for feature in range(job.codes.n_features):
            for i in range(first, last):
                edge, below, above = _edge(job, i, feature)
                for j in range(width):
                    own[(i - first) * width + j] += below * sums[edge + j] + above * sums[edge + width + j]
        for j in range(width):
            for i in range(first, last):
                z[j * memory.stride + i] += own[(i - first) * width + j]


@_helper
def keep_delta(job, low, high):
    """Keep ``delta[0]`` of this part sample by sample."""
    width, delta, out = layer_of(job, 0).width, reals(job, layer_of(job, 0).delta), reals(job, job.codes.delta)
    for first in range(low, high, BLOCK):
        for i in range(first, min(first + BLOCK, high)):
            for j in range(width):
                out[i * width + j] = delta[j * job.memory.stride + i]


@_helper
def codes_gradient(job, low, high):
    """Fill the gradient of the rows of ``W[0]`` from ``low`` to ``high`` that are for codes, whole features."""
    codes, width, n_plain = job.codes, layer_of(job, 0).width, layer_of(job, 0).fan_in
    starts, means, delta = int64s(codes.starts), reals(job, codes.means), reals(job, codes.delta)
    g, of_sums = _of_codes(job, layer_of(job, 0).g_w), reals(job, codes.sums_gradient)
    for feature in range(codes.n_features):
        if not low <= n_plain + starts[feature] < high:
            continue
        first, last = (starts[feature] + feature) * width, (starts[feature + 1] + feature) * width
        for i in range(first, last + width):
            of_sums[i] = type(job.one)(0)
        for i in range(job.step.n_rows):
            edge, below, above = _edge(job, i, feature)
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
