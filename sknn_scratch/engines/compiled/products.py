"""The products of a step with a layer of few units, as loops: BLAS, made for larger ones, takes twice as long.

Arrays have a row for each unit, from ``k * stride`` on, and a column for each sample; ``w`` has a row for each unit
below. Units are taken two at a time, as loops then read and write less for each multiplication, and samples in blocks
that stay in the cache.
"""

from __future__ import annotations

from typing import Any

from numba import njit

# A product and a sum may be rounded once, and sums taken in any order, as in BLAS.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}
_helper = njit(**_OPTIONS)

# Samples of a block.
BLOCK = 256


@_helper
def add_product(a, w, z, scale, low, high, stride, fan_in, width):
    """``z += scale * a @ w`` for samples ``low`` to ``high``."""
    for start in range(low, high, BLOCK):
        stop = min(start + BLOCK, high)
        for k in range(0, fan_in - 1, 2):
            for j in range(width):
                w0, w1 = scale * w[k * width + j], scale * w[(k + 1) * width + j]
                for i in range(start, stop):
                    z[j * stride + i] += w0 * a[k * stride + i] + w1 * a[(k + 1) * stride + i]
        for k in range(fan_in - fan_in % 2, fan_in):
            for j in range(width):
                w0 = scale * w[k * width + j]
                for i in range(start, stop):
                    z[j * stride + i] += w0 * a[k * stride + i]


@_helper
def fill_backward(delta, w, below, scale, low, high, stride, fan_in, width):
    """``below = scale * delta @ w.T`` for samples ``low`` to ``high``."""
    for start in range(low, high, BLOCK):
        stop = min(start + BLOCK, high)
        for k in range(fan_in):
            w0, place = scale * w[k * width], k * stride
            if width % 2:
                for i in range(start, stop):
                    below[place + i] = w0 * delta[i]
            else:
                w1 = scale * w[k * width + 1]
                for i in range(start, stop):
                    below[place + i] = w0 * delta[i] + w1 * delta[stride + i]
            for j in range(2 - width % 2, width, 2):
                w0, w1 = scale * w[k * width + j], scale * w[k * width + j + 1]
                for i in range(start, stop):
                    below[place + i] += w0 * delta[j * stride + i] + w1 * delta[(j + 1) * stride + i]


@_helper
def fill_gradient(a, delta, g, scale, low, high, stride, n, width):
    """``g = scale * a.T @ delta`` over ``n`` samples, for units ``low`` to ``high`` below."""
    for place in range(low * width, high * width):
        g[place] = type(scale)(0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        for k in range(low, high):
            for j in range(0, width - 1, 2):
                first = second = type(scale)(0)
                for i in range(start, stop):
                    first += a[k * stride + i] * delta[j * stride + i]
                    second += a[k * stride + i] * delta[(j + 1) * stride + i]
                g[k * width + j] += scale * first
                g[k * width + j + 1] += scale * second
            for j in range(width - width % 2, width):
                first = type(scale)(0)
                for i in range(start, stop):
                    first += a[k * stride + i] * delta[j * stride + i]
                g[k * width + j] += scale * first
