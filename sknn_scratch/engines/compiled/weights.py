"""The second phase of a step: gradient and update of some rows of the weights, and of some biases."""

from __future__ import annotations

from numba import njit

from sknn_scratch.engines.compiled.calls import OPTIONS, call, float64s, helper, int64s, reals
from sknn_scratch.engines.compiled.elementary import choose
from sknn_scratch.engines.compiled.products import fill_gradient
from sknn_scratch.engines.compiled.team import GRADIENT, LINE, UPDATE, layer_at, share

__all__ = ["move_parameters"]

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
def _sum_of_squares(x, begin, end, zero):
    total = zero
    for i in range(begin, end):
        total += x[i] * x[i]
    return total


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
        sums[part * LINE + 2] += _sum_of_squares(g, begin, end, type(job.one)(0))


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
