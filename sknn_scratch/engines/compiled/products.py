"""The products of a step with the weights of a layer: by BLAS, or as loops where few units make these faster.

Arrays have a row for each unit, from ``k * stride`` on, and a column for each sample; only the samples themselves may
lie by rows. Loops take units two at a time, as they then read and write less for each multiplication, and samples in
blocks that stay in the cache.
"""

from __future__ import annotations

from numba import njit

from sknn_scratch.engines.compiled.calls import OPTIONS, PLAIN, TRANSPOSED, gemm, helper, reals

# A product and a sum may be rounded once, and sums taken in any order, as in BLAS.
_loops = njit(**OPTIONS, fastmath={"contract", "reassoc"})

# Samples of a block.
BLOCK = 256


@helper
def _next(k, n, scale):
    """Return the unit that is taken with unit ``k``, and the scale of both: a last one that is alone is taken twice."""
    return (k + 1, scale) if k + 1 < n else (k, type(scale)(0.5) * scale)


@_loops
def add_product(job, layer, low, high):
    """``z += scale * a @ W`` for samples ``low`` to ``high``."""
    size, stride, fan_in, width = job.memory.itemsize, job.memory.stride, layer.fan_in, layer.width
    if not layer.looped:
        form, lda, column = (TRANSPOSED, fan_in, fan_in) if layer.by_rows else (PLAIN, stride, 1)
        a_at, z_at, shape = layer.a + low * column * size, layer.z + low * size, (high - low, width, fan_in)
        gemm(job, (form, TRANSPOSED), shape, (layer.scale, 1.0), a_at, lda, layer.w, width, z_at, stride)
        return
    a, w, z, scale = reals(job, layer.a), reals(job, layer.w), reals(job, layer.z), type(job.one)(layer.scale)
    for start in range(low, high, BLOCK):
        stop = min(start + BLOCK, high)
        for k0 in range(0, fan_in, 2):
            k1, c = _next(k0, fan_in, scale)
            for j in range(width):
                w0, w1 = c * w[k0 * width + j], c * w[k1 * width + j]
                for i in range(start, stop):
                    z[j * stride + i] += w0 * a[k0 * stride + i] + w1 * a[k1 * stride + i]


@_loops
def fill_deltas_below(job, layer, below_at, low, high):
    """``below = scale * delta @ W.T`` for samples ``low`` to ``high``."""
    size, stride, fan_in, width = job.memory.itemsize, job.memory.stride, layer.fan_in, layer.width
    if not layer.looped:
        shape, delta_at, c_at = (high - low, fan_in, width), layer.delta + low * size, below_at + low * size
        gemm(job, (PLAIN, PLAIN), shape, (layer.scale, 0.0), delta_at, stride, layer.w, width, c_at, stride)
        return
    below, delta, w = reals(job, below_at), reals(job, layer.delta), reals(job, layer.w)
    scale, zero = type(job.one)(layer.scale), type(job.one)(0)
    for start in range(low, high, BLOCK):
        stop = min(start + BLOCK, high)
        for k in range(fan_in):
            for j0 in range(0, width, 2):
                j1, c = _next(j0, width, scale)
                w0, w1 = c * w[k * width + j0], c * w[k * width + j1]
                for i in range(start, stop):
                    before = below[k * stride + i] if j0 > 0 else zero
                    below[k * stride + i] = before + (w0 * delta[j0 * stride + i] + w1 * delta[j1 * stride + i])


@_loops
def fill_gradient(job, layer, low, high):
    """``g = scale * a.T @ delta`` over all samples, for units ``low`` to ``high`` below."""
    size, stride, fan_in, width = job.memory.itemsize, job.memory.stride, layer.fan_in, layer.width
    n = job.step.n_rows
    if not layer.looped:
        form, lda, row = (TRANSPOSED, fan_in, 1) if layer.by_rows else (PLAIN, stride, stride)
        if high > low:
            # In Fortran order the gradient is transposed, and so is the product.
            shape, a_at, g_at = (width, high - low, n), layer.a + low * row * size, layer.g_w + low * width * size
            gemm(job, (TRANSPOSED, form), shape, (layer.scale, 0.0), layer.delta, stride, a_at, lda, g_at, width)
        return
    a, delta, g = reals(job, layer.a), reals(job, layer.delta), reals(job, layer.g_w)
    scale, zero = type(job.one)(layer.scale), type(job.one)(0)
    for place in range(low * width, high * width):
        g[place] = zero
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        for k in range(low, high):
            for j0 in range(0, width, 2):
                j1, c = _next(j0, width, scale)
                first = second = zero
                for i in range(start, stop):
                    first += a[k * stride + i] * delta[j0 * stride + i]
                    second += a[k * stride + i] * delta[j1 * stride + i]
                g[k * width + j0] += c * first
                g[k * width + j1] += c * second
