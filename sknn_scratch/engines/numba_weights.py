"""The second phase of a step in a compiled epoch: gradient and update of some rows of the weights, and some biases."""

from __future__ import annotations

from numba import njit

from sknn_scratch.engines.numba_calls import matmul
from sknn_scratch.engines.numba_team import COEFFICIENTS, DECAY, LINE, N_ROWS, SCALE, START, TOTAL, share
from sknn_scratch.engines.numba_updates import penalise, penalise_and_move, sum_of_squares

__all__ = ["move_parameters"]

_helper = njit(error_model="numpy")
# For functions that are called in one place: compiled with what they stand in, not also by themselves.
_inlined = njit(error_model="numpy", inline="always")


@_inlined
def _weight_gradient(samples, layers, memory, team, start, n, l, low, high):
    """Fill the gradient of some rows of ``W[l]``."""
    fan_in, width = layers.units[l], layers.units[l + 1]
    delta = memory.delta[layers.delta_at[l] :]
    out = memory.g[layers.w_at[l] + low * width : layers.w_at[l] + high * width]
    X, values, indices, starts, _, _, order = samples
    if l > 0 or X.shape[0] > 0:
        a = memory.a[layers.a_at[l] + low :]
        matmul(team.gemm, (high - low, width, n), a, fan_in, True, delta, width, False, out)
        return
    out[:] = 0
    for i in range(n):
        row, own = order[start + i], delta[i * width : (i + 1) * width]
        for position in range(starts[row], starts[row + 1]):
            value, k = values[position], indices[position]
            if low <= k < high:
                g = out[(k - low) * width : (k - low + 1) * width]
                for j in range(width):
                    g[j] += value * own[j]


@_inlined
def _bias_gradient(layers, memory, n, l, low, high, fit_intercept):
    """Fill the gradient of some of the biases ``b[l]``."""
    width = layers.units[l + 1]
    delta = memory.delta[layers.delta_at[l] :]
    at = layers.w_at[layers.units.size - 1 + l]
    out = memory.g[at + low : at + high]
    out[:] = 0
    if fit_intercept:
        for i in range(n):
            row = delta[i * width + low : i * width + high]
            for j in range(high - low):
                out[j] += row[j]


@_helper
def move_parameters(part, samples, layers, objective, rule, memory, team, compute, move):
    """Compute the gradient of this part's parameters, penalty included, and move them: one of the two, or both."""
    n_layers, start, n, c = layers.units.size - 1, team.job[START], team.job[N_ROWS], team.numbers[COEFFICIENTS:]
    l1 = objective.alpha * objective.l1_ratio / team.numbers[TOTAL]
    l2 = objective.alpha * (1 - objective.l1_ratio) / team.numbers[TOTAL]
    decay = team.numbers[DECAY]
    penalty, squares = 0.0, 0.0
    for i in range(2 * n_layers):
        l, of_weights = i % n_layers, i < n_layers
        low, high = share(layers.units[l] if of_weights else layers.units[l + 1], part, team.n_parts)
        if compute:
            if of_weights:
                _weight_gradient(samples, layers, memory, team, start, n, l, low, high)
            else:
                _bias_gradient(layers, memory, n, l, low, high, objective.fit_intercept)
        row = layers.units[l + 1] if of_weights else 1
        begin, end = layers.w_at[i] + low * row, layers.w_at[i] + high * row
        w, g = memory.w[begin:end], memory.g[begin:end]
        if move:
            if not compute:
                g *= memory.g.dtype.type(team.numbers[SCALE])
            strengths = (l1, l2) if of_weights and compute else (0.0, 0.0)
            shrink = decay if of_weights else 0.0
            first, second = memory.first[begin:end], memory.second[begin:end]
            penalty += penalise_and_move(rule.code, c, shrink, strengths, w, g, first, second)
        else:
            if of_weights:
                penalty += penalise(w, g, l1, l2)
            squares += float(sum_of_squares(g))
    if compute:
        team.sums[part * LINE + 1], team.sums[part * LINE + 2] = penalty, squares
