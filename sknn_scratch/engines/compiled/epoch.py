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

from sknn_scratch.engines.compiled.calls import add, call, float64s, helper, int32s, pause, read, replace
from sknn_scratch.engines.compiled.team import BEGUN, DONE, GRADIENT, LINE, PHASE, ROWS, STOP, SUMS, UPDATE

# Phases that the leader does alone after a long wait: at first, and at most. They double with each long wait, and fall
# by one with each phase without one.
ALONE, LONGEST_ALONE = 64, 4096


@helper
def _do(job, part):
    """Do one part of the phase that the job describes."""
    kind, functions = job.step.kind, job.functions
    of_rows = functions.sum_up if kind == SUMS else functions.pass_rows
    call(of_rows if kind <= ROWS else functions.move_parameters, (job.address, part))


@helper
def _begin(part, team, phase):
    """Begin a part of a phase; return whether nobody else had."""
    return replace(team.counters, BEGUN + part * LINE, phase - 1, phase)


@helper
def _wait(phase, team):
    """Wait until all parts of a phase are done; return whether it took long."""
    polls = 0
    while read(team.counters, DONE) < phase * team.n_parts:
        polls += 1
        if polls < team.patience:
            pause()
        else:
            call(team.give_way, (0,))
    return polls >= team.patience


@helper
def learn(waited_long, step):
    """Decide whether the leader does the next phase alone."""
    if waited_long:
        step.left_alone = step.next_alone
        step.next_alone = min(2 * step.next_alone, LONGEST_ALONE)
    elif step.left_alone > 0:
        step.left_alone -= 1
    else:
        step.next_alone = max(step.next_alone - 1, ALONE)


@helper
def _begin_next(part, team):
    """Wait for a phase in which nobody has begun this part, and begin it; return whether there is one.

    After polling for a while the thread sleeps between polls, the longer the longer it has waited already.
    """
    polls, rest = 0, max(team.millisecond // 20, 1)
    while read(team.counters, STOP) == 0:
        phase = read(team.counters, PHASE)
        # To replace a number takes its cache line from the other threads, even if it is not replaced.
        if read(team.counters, BEGUN + part * LINE) < phase and _begin(part, team, phase):
            return True
        if polls < team.patience:
            polls += 1
            pause()
        else:
            call(team.nap, (rest,))
            rest = min(rest + rest // 8, team.millisecond)
    return False


@helper
def _run_phase(job, kind):
    """Have all parts of a phase done."""
    team, step = job.team, job.step
    step.kind = kind
    if team.n_parts == 1:
        _do(job, 0)
        return
    phase, alone = read(team.counters, PHASE) + 1, step.left_alone > 0
    if alone:  # all parts count as begun before the phase is public
        for part in range(team.n_parts):
            _begin(part, team, phase)
    add(team.counters, PHASE, 1)
    for part in range(team.n_parts):
        if alone or _begin(part, team, phase):
            _do(job, part)
            add(team.counters, DONE, 1)
    learn(_wait(phase, team), step)


@helper
def _total_weight(data, step):
    """Return the sum of the minibatch's weights."""
    if data.weights == 0:
        return float(step.n_rows)
    total, weights, order = 0.0, float64s(data.weights), int32s(step.order)
    for i in range(step.start, step.start + step.n_rows):
        total += weights[order[i]]
    return total


@helper
def _sum_up(job):
    """Return the loss of a minibatch, penalty included; note the factor that limits the norm of its gradient."""
    value, norm, sums, max_norm = 0.0, 0.0, float64s(job.team.sums), job.max_norm
    for part in range(job.team.n_parts):
        value += sums[part * LINE] + sums[part * LINE + 1]
        norm = math.hypot(norm, sums[part * LINE + 2])
    job.step.scale = max_norm / norm if 0 < max_norm < norm else 1.0
    return value


@helper
def _lead(job, first_row, last_row):
    step, batch_size = job.step, job.memory.stride
    if first_row == 0:
        step.place, step.total_loss, step.n_counted = 0, 0.0, 0
    for start in range(first_row, last_row, batch_size):
        step.start, step.n_rows = start, min(batch_size, last_row - start)
        step.total_weight = _total_weight(job.data, step)
        if step.total_weight == 0:
            continue
        if job.functions.sum_up != 0:
            _run_phase(job, SUMS)
        _run_phase(job, ROWS)
        _run_phase(job, GRADIENT)
        step.total_loss += _sum_up(job) * step.n_rows
        step.n_counted += step.n_rows
        if step.number > 0:
            if job.max_norm > 0:
                _run_phase(job, UPDATE)
            step.number += 1
            step.place += 1


@helper
def work(job, part, first_row, last_row):
    """Train on the rows of these places in ``Step.order``, the last excluded, or help to; an epoch begins with 0.

    The thread of part 0 leads, and adds up losses in the job's step. Others do one part of each phase, unless the
    leader has begun it, until told to stop; they ignore the rows.
    """
    if part == 0:
        _lead(job, first_row, last_row)
        return
    while _begin_next(part, job.team):
        _do(job, part)
        add(job.team.counters, DONE, 1)
