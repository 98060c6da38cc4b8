"""The epoch of a network that is not small, compiled as a whole, its steps shared between threads.

A step has two phases. In the first, each thread takes some rows of the minibatch: it passes them forward, and the
deltas back. In the second, each takes some rows of every weight matrix, and some biases: it computes their gradient
over all samples, and updates them. (With a limit for the norm of the gradient, updating is a third phase.) So a thread
reads what the others wrote, but only they write it, and nothing has to be added up but the loss.

The thread that trains leads: it says what the next phase is, does its own part, then those that nobody has begun, and
waits for those that somebody has. If it has to wait for long, as another program's thread has the other's core, it goes
on alone for a while. The parts, and with them how sums are rounded, do not depend on who does them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numba import njit
from numpy.typing import NDArray

from sknn_scratch.engines.numba_activations import (
    LAST_IN_PLACE,
    finish_activation,
    multiply_by_slope,
    prepare_activation,
    prepare_slope,
)
from sknn_scratch.engines.numba_calls import add, apply_ufunc, call, copy_numbers, matmul, pause, read, replace
from sknn_scratch.engines.numba_losses import prepare_links, turn_into_delta
from sknn_scratch.engines.numba_updates import coefficients, penalise, penalise_and_move, sum_of_squares

__all__ = ["Layers", "Memory", "Objective", "Rule", "Team", "follow", "lead"]

_helper = njit(error_model="numpy")
# For functions that are called in one place: compiled with what they stand in, not also by themselves.
_inlined = njit(error_model="numpy", inline="always")

ROWS, GRADIENT, UPDATE = range(3)

# Places in Team.counters, each on a cache line of its own: the phase, how many parts are done in all, whether to stop,
# and the last phase in which each part was begun.
LINE = 8
PHASE, DONE, STOP, BEGUN = 0, LINE, 2 * LINE, 3 * LINE
# Places in Team.job and in Team.numbers.
KIND, START, N_ROWS, LEFT_ALONE, NEXT_ALONE = range(5)
TOTAL, DECAY, SCALE, COEFFICIENTS = 0, 1, 2, 3
# How many phases the leader goes on alone after a long wait; each time twice as many, up to the second number, until
# there is none for as long.
ALONE, LONGEST_ALONE = 64, 4096


class Layers(NamedTuple):
    """The network.

    Attributes
    ----------
    units : ndarray of int
        Sizes of all layers, input and output included.
    activations, settings : ndarray of shape (n_layers - 1,)
        Code and parameter of the activation of each hidden layer.
    functions : ndarray of int of shape (n_layers, 6)
        Addresses of ufunc loops and of their data: two for an activation, one for its slope. The last row is the
        link's. 0 where there is none.
    a_at, z_at, delta_at, w_at : ndarray of int
        Where ``a[l]``, ``z[l]`` and ``delta[l]`` begin in the memory of a minibatch, and all weights, then all biases,
        in the vector of the parameters. The last tells where they end.
    """

    units: Any
    activations: Any
    settings: Any
    functions: Any
    a_at: Any
    z_at: Any
    delta_at: Any
    w_at: Any


class Objective(NamedTuple):
    """What is minimised: heads and their settings as in ``numba_losses``; a ``max_norm`` of 0 is none."""

    heads: NDArray
    settings: NDArray
    alpha: float
    l1_ratio: float
    max_norm: float
    fit_intercept: bool


class Rule(NamedTuple):
    """The optimiser."""

    code: int
    h0: float
    h1: float
    h2: float
    weight_decay: float


class Memory(NamedTuple):
    """Flat arrays: the four vectors, and what a minibatch needs.

    ``raw``, ``p`` and ``targets`` are transposed, each part's rows for themselves. ``scratch`` is for slopes.
    """

    w: NDArray
    g: NDArray
    first: NDArray
    second: NDArray
    a: NDArray
    z: NDArray
    delta: NDArray
    raw: NDArray
    p: NDArray
    targets: NDArray
    relative_weight: NDArray
    scratch: NDArray


class Team(NamedTuple):
    """What the threads tell each other, and the addresses of the C functions that they call.

    ``sums`` has a line for each part: its loss, its penalty and the sum of squares of its gradient. ``patience`` is how
    often to look whether there is news, before it counts as a long wait.
    """

    n_parts: int
    patience: int
    counters: NDArray
    job: NDArray
    numbers: NDArray
    sums: NDArray
    gemm: int
    give_way: int
    nap: int
    millisecond: int


# The first phase: rows of the minibatch -------------------------------------------------------------------------------


@_helper
def _read_rows(samples, layers, memory, start, low, high, total):
    """Gather the rows of this part, targets and relative weights included; ``a[0]`` unless they are sparse."""
    X, _, _, _, y, sample_weight, order = samples
    n, fan_in = high - low, X.shape[1]
    contiguous, address = X.strides[1] == X.itemsize, X.ctypes.data
    dense = X.shape[0] > 0
    for i in range(n):
        row = order[start + low + i]
        memory.relative_weight[low + i] = (sample_weight[row] if sample_weight.size > 0 else 1.0) / total
        for k in range(y.shape[1]):
            memory.targets[low * y.shape[1] + k * n + i] = y[row, k]
        if dense:
            a = memory.a[layers.a_at[0] + (low + i) * fan_in :]
            if contiguous:
                copy_numbers(address, row * X.strides[0], a, fan_in)
            else:
                for j in range(fan_in):
                    a[j] = X[row, j]


@_helper
def _sparse_product(samples, start, n, weights, width, out):
    """``out = X[order[start : start + n]] @ weights``, which are flat."""
    _, values, indices, starts, _, _, order = samples
    out[: n * width] = 0
    for i in range(n):
        row, own = order[start + i], out[i * width : (i + 1) * width]
        for position in range(starts[row], starts[row + 1]):
            value, k = values[position], indices[position]
            for j in range(width):
                own[j] += value * weights[k * width + j]


@_helper
def _forward(samples, layers, memory, team, start, low, high):
    """Fill ``z`` and ``a`` of the hidden layers for the rows of this part, and their raw output, transposed."""
    units, n = layers.units, high - low
    sparse = samples[0].shape[0] == 0
    last = units.size - 2
    for l in range(last + 1):
        fan_in, width = units[l], units[l + 1]
        a = memory.a[layers.a_at[l] + low * fan_in :]
        weights = memory.w[layers.w_at[l] :]
        biases = memory.w[layers.w_at[last + 1 + l] :][:width]
        if l == last and not (sparse and l == 0):
            raw = memory.raw[low * width : high * width].reshape(width, n)
            matmul(team.gemm, (width, n, fan_in), weights, width, True, a, fan_in, True, memory.raw[low * width :])
            for k in range(width):
                for i in range(n):
                    raw[k, i] += biases[k]
        elif l == last:
            rows = memory.p[low * width : high * width]
            _sparse_product(samples, start + low, n, weights, width, rows)
            for k in range(width):
                for i in range(n):
                    memory.raw[low * width + k * n + i] = rows[i * width + k] + biases[k]
        else:
            code, setting, functions = layers.activations[l], layers.settings[l], layers.functions[l]
            result = memory.a[layers.a_at[l + 1] + low * width : layers.a_at[l + 1] + high * width]
            z = result
            if code > LAST_IN_PLACE:
                z = memory.z[layers.z_at[l] + low * width : layers.z_at[l] + high * width]
            if sparse and l == 0:
                _sparse_product(samples, start + low, n, weights, width, z)
            else:
                matmul(team.gemm, (n, width, fan_in), a, fan_in, False, weights, width, False, z)
            for i in range(n):
                z_row = z[i * width : (i + 1) * width]
                for j in range(width):
                    z_row[j] += biases[j]
            prepare_activation(code, setting, z, result)
            if functions[0] != 0:
                apply_ufunc(functions[0], functions[1], result)
            if functions[2] != 0:
                apply_ufunc(functions[2], functions[3], result)
            finish_activation(code, setting, z, result)


@_helper
def _output_delta(samples, layers, objective, memory, low, high):
    """Fill the delta of the output for the rows of this part; return their share in the mean loss."""
    n, n_targets, width, function = high - low, samples[4].shape[1], layers.units[-1], layers.functions[-1]
    begin, end = low * width, high * width
    targets = memory.targets[low * n_targets : high * n_targets].reshape(n_targets, n)
    raw, p = memory.raw[begin:end].reshape(width, n), memory.p[begin:end].reshape(width, n)
    prepare_links(objective.heads, raw, p)
    if function[0] != 0:
        apply_ufunc(function[0], function[1], memory.p[begin:end])
    weight = memory.relative_weight[low:high]
    loss = turn_into_delta(objective.heads, objective.settings, targets, raw, p, weight)
    delta = memory.delta[layers.delta_at[-2] + begin :]
    for k in range(width):
        for i in range(n):
            delta[i * width + k] = p[k, i]
    return float(loss)


@_helper
def _hidden_deltas(layers, memory, team, low, high):
    """Fill the deltas of the hidden layers for the rows of this part."""
    units, n = layers.units, high - low
    for l in range(units.size - 2, 0, -1):
        fan_in, width = units[l], units[l + 1]
        delta = memory.delta[layers.delta_at[l] + low * width :]
        below = memory.delta[layers.delta_at[l - 1] + low * fan_in : layers.delta_at[l - 1] + high * fan_in]
        weights = memory.w[layers.w_at[l] :]
        matmul(team.gemm, (n, fan_in, width), delta, width, False, weights, width, True, below)
        code, setting, functions = layers.activations[l - 1], layers.settings[l - 1], layers.functions[l - 1]
        a = memory.a[layers.a_at[l] + low * fan_in : layers.a_at[l] + high * fan_in]
        z = a
        if code > LAST_IN_PLACE:
            z = memory.z[layers.z_at[l - 1] + low * fan_in : layers.z_at[l - 1] + high * fan_in]
        if functions[4] != 0:
            # The weight gradient still needs a. Other threads may be in another layer: their rows are not in the way.
            at = low * (memory.scratch.size // memory.relative_weight.size)
            scratch = memory.scratch[at : at + n * fan_in]
            scratch[:] = a
            a = scratch
            prepare_slope(code, z, a)
            apply_ufunc(functions[4], functions[5], a)
        multiply_by_slope(code, setting, below, z, a)


# The second phase: rows of the weights, and biases --------------------------------------------------------------------


@_helper
def _share(size, part, n_parts):
    """Return where a part of so many things begins and ends."""
    return size * part // n_parts, size * (part + 1) // n_parts


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
def _parameters(part, samples, layers, objective, rule, memory, team, compute, move):
    """Compute the gradient of this part's parameters, penalty included, and move them: one of the two, or both."""
    n_layers, start, n, c = layers.units.size - 1, team.job[START], team.job[N_ROWS], team.numbers[COEFFICIENTS:]
    l1 = objective.alpha * objective.l1_ratio / team.numbers[TOTAL]
    l2 = objective.alpha * (1 - objective.l1_ratio) / team.numbers[TOTAL]
    decay = team.numbers[DECAY]
    penalty, squares = 0.0, 0.0
    for i in range(2 * n_layers):
        l, of_weights = i % n_layers, i < n_layers
        low, high = _share(layers.units[l] if of_weights else layers.units[l + 1], part, team.n_parts)
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


# The threads ----------------------------------------------------------------------------------------------------------


@_inlined
def _work(part, samples, layers, objective, rule, memory, team):
    """Do one part of the phase that the job describes."""
    kind, start, n = team.job[KIND], team.job[START], team.job[N_ROWS]
    if kind == ROWS:
        low, high = _share(n, part, team.n_parts)
        team.sums[part * LINE] = 0.0
        if high > low:
            _read_rows(samples, layers, memory, start, low, high, team.numbers[TOTAL])
            _forward(samples, layers, memory, team, start, low, high)
            team.sums[part * LINE] = _output_delta(samples, layers, objective, memory, low, high)
            _hidden_deltas(layers, memory, team, low, high)
    else:
        limited = objective.max_norm > 0
        _parameters(
            part, samples, layers, objective, rule, memory, team, kind == GRADIENT, kind == UPDATE or not limited
        )


@_inlined
def _publish(kind, team):
    """Begin a phase; return its number. What the leader is to do alone is begun before anybody hears of it."""
    team.job[KIND] = kind
    phase = read(team.counters, PHASE) + 1
    if team.job[LEFT_ALONE] > 0:
        for part in range(team.n_parts):
            replace(team.counters, BEGUN + part * LINE, phase - 1, phase)
    add(team.counters, PHASE, 1)
    return phase


@_inlined
def _wait(phase, team):
    """Wait until all parts of a phase are done; return whether it took long."""
    looked = 0
    while read(team.counters, DONE) < phase * team.n_parts:
        looked += 1
        if looked < team.patience:
            pause()
        else:
            call(team.give_way, 0)
    return looked >= team.patience


@_inlined
def _learn(waited_long, team):
    """Decide whether the leader does the next phase alone."""
    job = team.job
    if waited_long:
        job[LEFT_ALONE] = job[NEXT_ALONE]
        job[NEXT_ALONE] = min(2 * job[NEXT_ALONE], LONGEST_ALONE)
    elif job[LEFT_ALONE] > 0:
        job[LEFT_ALONE] -= 1
    else:
        job[NEXT_ALONE] = max(job[NEXT_ALONE] - 1, ALONE)


@_inlined
def _begin_next(part, team):
    """Wait for a phase in which nobody has begun this part, and begin it; return whether there is one.

    After looking for it for a while the thread sleeps between looks, the longer the longer it has waited already.
    """
    looked, rest, begun = 0, max(team.millisecond // 20, 1), BEGUN + part * LINE
    while read(team.counters, STOP) == 0:
        phase = read(team.counters, PHASE)
        # To replace a number takes its cache line from the other threads, even if it is not replaced.
        if read(team.counters, begun) < phase and replace(team.counters, begun, phase - 1, phase):
            return True
        if looked < team.patience:
            looked += 1
            pause()
        else:
            call(team.nap, rest)
            rest = min(rest + rest // 8, team.millisecond)
    return False


@_inlined
def _total_weight(sample_weight, order, start, n):
    if sample_weight.size == 0:
        return float(n)
    total = 0.0
    for i in range(start, start + n):
        total += sample_weight[order[i]]
    return total


@_inlined
def _sum_up(team, max_norm):
    """Return the loss of a minibatch, penalty included; note by what its gradient is to be multiplied."""
    value, squares = 0.0, 0.0
    for part in range(team.n_parts):
        value += team.sums[part * LINE] + team.sums[part * LINE + 1]
        squares += team.sums[part * LINE + 2]
    norm = math.sqrt(squares)
    team.numbers[SCALE] = max_norm / norm if norm > max_norm else 1.0
    return value


def lead(
    X, values, indices, starts, y, sample_weight, order, layers, objective, rule, memory, team, first_row, last_row,
    batch_size, t, product, rate,
):  # fmt: skip
    """Train on the rows ``order[first_row:last_row]``.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        With no samples if they are sparse.
    values, indices, starts : ndarray
        A CSR matrix; empty if the samples are dense.
    y : ndarray of shape (n_samples, n_targets)
    sample_weight : ndarray of shape (n_samples,)
        Or of length 0.
    order : ndarray of int
    layers, objective, rule, memory, team : Layers, Objective, Rule, Memory, Team
    first_row, last_row, batch_size : int
    t, product, rate : int, float, float
        Number of the next step, Nadam's product of momenta, learning rate.

    Returns
    -------
    total_loss, n_rows : float, int
        Sum of the minibatch losses times their rows, and of the rows, without minibatches in which no sample counts.
    t, product : int, float
    """
    samples = (X, values, indices, starts, y, sample_weight, order)
    n_phases = 3 if objective.max_norm > 0 else 2
    total_loss, n_rows = 0.0, 0
    for start in range(first_row, last_row, batch_size):
        n = min(batch_size, last_row - start)
        total = _total_weight(sample_weight, order, start, n)
        if total == 0:
            continue
        c, product = coefficients(rule.code, (rule.h0, rule.h1, rule.h2), t, product, rate)
        t += 1
        team.job[START], team.job[N_ROWS] = start, n
        team.numbers[TOTAL], team.numbers[DECAY] = total, rate * rule.weight_decay
        for i in range(len(c)):
            team.numbers[COEFFICIENTS + i] = c[i]
        value = 0.0
        for kind in range(n_phases):
            alone = team.job[LEFT_ALONE] > 0
            phase = _publish(kind, team)
            for part in range(team.n_parts):
                if alone or replace(team.counters, BEGUN + part * LINE, phase - 1, phase):
                    _work(part, samples, layers, objective, rule, memory, team)
                    add(team.counters, DONE, 1)
            _learn(_wait(phase, team), team)
            if kind == GRADIENT:
                value = _sum_up(team, objective.max_norm)
        total_loss += value * n
        n_rows += n
    return total_loss, n_rows, t, product


def follow(part, X, values, indices, starts, y, sample_weight, order, layers, objective, rule, memory, team):
    """Do one part of each phase, unless the leader has begun it, until told to stop; parameters are as for ``lead``."""
    samples = (X, values, indices, starts, y, sample_weight, order)
    while _begin_next(part, team):
        _work(part, samples, layers, objective, rule, memory, team)
        add(team.counters, DONE, 1)
