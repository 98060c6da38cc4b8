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

from numba import njit

from sknn_scratch.engines.numba_calls import add, call, pause, read, replace
from sknn_scratch.engines.numba_rows import pass_rows
from sknn_scratch.engines.numba_team import (
    BEGUN,
    COEFFICIENTS,
    DECAY,
    DONE,
    GRADIENT,
    KIND,
    LEFT_ALONE,
    LINE,
    N_ROWS,
    NEXT_ALONE,
    PHASE,
    ROWS,
    SCALE,
    START,
    STOP,
    TOTAL,
    UPDATE,
)
from sknn_scratch.engines.numba_updates import coefficients
from sknn_scratch.engines.numba_weights import move_parameters

__all__ = ["follow", "lead"]

# For functions that are called in one place: compiled with what they stand in, not also by themselves.
_inlined = njit(error_model="numpy", inline="always")

# How many phases the leader goes on alone after a long wait; each time twice as many, up to the second number, until
# there is none for as long.
ALONE, LONGEST_ALONE = 64, 4096


@_inlined
def _work(part, samples, layers, objective, rule, memory, team):
    """Do one part of the phase that the job describes."""
    kind = team.job[KIND]
    if kind == ROWS:
        pass_rows(part, samples, layers, objective, memory, team)
    else:
        compute, move = kind == GRADIENT, kind == UPDATE or objective.max_norm == 0
        move_parameters(part, samples, layers, objective, rule, memory, team, compute, move)


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
