"""The steps of an epoch, compiled as a whole and shared between threads.

A step has two phases. In the first, each thread takes some rows of the minibatch: it passes them forward, and the
deltas back. In the second, each takes some rows of every weight matrix, and some biases: it computes their gradient
over all samples, and updates them. (With a limit for the norm of the gradient, updating is a third phase; samples with
codes have one more before the others.) Each number is written by one thread, and only the loss has to be added up.

The thread that trains leads: it begins each phase, does its own part, then parts that nobody has begun, and waits for
those that somebody has. After a long wait, as where another program keeps the other thread's core busy, it goes on
alone for a while. The parts, and with them the rounding of sums, do not depend on who does them.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.calls import (
    add,
    address_of,
    call_phase,
    call_with_int,
    numbers,
    pause,
    read,
    replace,
)
from sknn_scratch.engines.compiled.team import (
    BEGUN,
    COUNT,
    COUNTED,
    DONE,
    GRADIENT,
    KIND,
    LEFT_ALONE,
    LINE,
    LOSS,
    N_ROWS,
    NEXT_ALONE,
    PHASE,
    ROWS,
    SCALE,
    START,
    STEP,
    STOP,
    SUMS,
    TOTAL,
    UPDATE,
)

__all__ = ["work"]

_helper = njit(error_model="numpy")

# Phases that the leader does alone after a long wait: at first, and at most. They double with each long wait, and fall
# by one with each phase without one.
ALONE, LONGEST_ALONE = 64, 4096


@_helper
def _do(part, job, one):
    """Do one part of the phase that the job describes."""
    if numbers(job.team.job, 1)[KIND] <= ROWS:
        call_phase(job.pass_rows, part, address_of(job), one)
    else:
        call_phase(job.move_parameters, part, address_of(job), one)


@_helper
def _publish(team):
    """Begin a phase; return its number. If the leader does it alone, all parts count as begun before it is public."""
    phase = read(team.counters, PHASE) + 1
    if numbers(team.job, 1)[LEFT_ALONE] > 0:
        for part in range(team.n_parts):
            replace(team.counters, BEGUN + part * LINE, phase - 1, phase)
    add(team.counters, PHASE, 1)
    return phase


@_helper
def _wait(phase, team):
    """Wait until all parts of a phase are done; return whether it took long."""
    polls = 0
    while read(team.counters, DONE) < phase * team.n_parts:
        polls += 1
        if polls < team.patience:
            pause()
        else:
            call_with_int(team.give_way, 0)
    return polls >= team.patience


@_helper
def _learn(waited_long, team):
    """Decide whether the leader does the next phase alone."""
    job = numbers(team.job, 1)
    if waited_long:
        job[LEFT_ALONE] = job[NEXT_ALONE]
        job[NEXT_ALONE] = min(2 * job[NEXT_ALONE], LONGEST_ALONE)
    elif job[LEFT_ALONE] > 0:
        job[LEFT_ALONE] -= 1
    else:
        job[NEXT_ALONE] = max(job[NEXT_ALONE] - 1, ALONE)


@_helper
def _begin_next(part, team):
    """Wait for a phase in which nobody has begun this part, and begin it; return whether there is one.

    After polling for a while the thread sleeps between polls, the longer the longer it has waited already.
    """
    polls, rest, begun = 0, max(team.millisecond // 20, 1), BEGUN + part * LINE
    while read(team.counters, STOP) == 0:
        phase = read(team.counters, PHASE)
        # To replace a number takes its cache line from the other threads, even if it is not replaced.
        if read(team.counters, begun) < phase and replace(team.counters, begun, phase - 1, phase):
            return True
        if polls < team.patience:
            polls += 1
            pause()
        else:
            call_with_int(team.nap, rest)
            rest = min(rest + rest // 8, team.millisecond)
    return False


@_helper
def _total_weight(data, start, n):
    if data.weights == 0:
        return float(n)
    total, weights, order = 0.0, numbers(data.weights, 1.0), numbers(data.order, np.int32(1))
    for i in range(start, start + n):
        total += weights[order[i]]
    return total


@_helper
def _sum_up(team, max_norm):
    """Return the loss of a minibatch, penalty included; note the factor that limits the norm of its gradient."""
    value, squares, sums = 0.0, 0.0, numbers(team.sums, 1.0)
    for part in range(team.n_parts):
        value += sums[part * LINE] + sums[part * LINE + 1]
        squares += sums[part * LINE + 2]
    norm = math.sqrt(squares)
    numbers(team.numbers, 1.0)[SCALE] = max_norm / norm if 0 < max_norm < norm else 1.0
    return value


@_helper
def _run_phase(kind, job, one):
    """Have all parts of a phase done."""
    team, place = job.team, numbers(job.team.job, 1)
    place[KIND] = kind
    if team.n_parts == 1:
        _do(0, job, one)
        return
    alone = place[LEFT_ALONE] > 0
    phase = _publish(team)
    for part in range(team.n_parts):
        if alone or replace(team.counters, BEGUN + part * LINE, phase - 1, phase):
            _do(part, job, one)
            add(team.counters, DONE, 1)
    _learn(_wait(phase, team), team)


@_helper
def _lead(job, one, first_row, last_row, batch_size, count):
    first_kind = SUMS if job.codes.n_features > 0 else ROWS
    last_kind = UPDATE if job.objective.max_norm > 0 and count > 0 else GRADIENT
    place, totals = numbers(job.team.job, 1), numbers(job.team.numbers, 1.0)
    for start in range(first_row, last_row, batch_size):
        n = min(batch_size, last_row - start)
        total = _total_weight(job.data, start, n)
        if total == 0:
            continue
        place[START], place[N_ROWS], place[COUNT] = start, n, count + place[STEP]
        totals[TOTAL] = total
        value = 0.0
        for kind in range(first_kind, last_kind + 1):
            _run_phase(kind, job, one)
            if kind == GRADIENT:
                value = _sum_up(job.team, job.objective.max_norm)
        totals[LOSS] += value * n
        totals[COUNTED] += n
        place[STEP] += 1


def work(part, job, one, first_row, last_row, batch_size, count):
    """Train on some of the rows, or help to.

    Parameters
    ----------
    part : int
        0 leads. Others do one part of each phase, unless the leader has begun it, until told to stop; they ignore the
        last four arguments.
    job : record of Work
    one : float
        1 in the dtype of the network.
    first_row, last_row : int
        First and last (excluded) index into ``Data.order``.
    batch_size : int
    count : int
        Number of the epoch's first step since training began, from which dropout and noise are drawn; 0 where only the
        gradient is wanted.
    """
    if part == 0:
        _lead(job, one, first_row, last_row, batch_size, count)
        return
    while _begin_next(part, job.team):
        _do(part, job, one)
        add(job.team.counters, DONE, 1)
