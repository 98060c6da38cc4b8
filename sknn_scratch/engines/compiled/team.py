"""What compiled code is told of a job, and what its threads tell each other.

All of it is a record in memory, and arrays are in it by address: compiled code then neither counts references nor
checks an index, and compiles in a fraction of the time. Unless said, whole numbers have 64 bits, and others are
float64. Whoever makes the record keeps the arrays alive.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numba import njit

__all__ = ["WORK", "Codes", "Data", "Layers", "Memory", "Objective", "Rule", "Team", "Work", "share"]

# Kinds of phases, of which the first is for samples with codes only.
SUMS, ROWS, GRADIENT, UPDATE = range(4)

# Indices into Team.counters, each on a cache line of its own: number of the phase, parts done in all phases, whether to
# stop, and the last phase in which each part was begun.
LINE = 8
PHASE, DONE, STOP, BEGUN = 0, LINE, 2 * LINE, 3 * LINE
# Indices into Team.job: kind of phase, first row and number of rows of the minibatch, its number in this epoch and
# since training began, for how many phases the leader goes on alone, and for how many the next time.
KIND, START, N_ROWS, STEP, COUNT, LEFT_ALONE, NEXT_ALONE = range(7)
# Indices into Team.numbers: sum of the minibatch's weights, factor of the gradient; of the epoch so far, sum of the
# minibatch losses times their rows, and sum of the rows, without minibatches in which all samples weigh 0.
TOTAL, SCALE, LOSS, COUNTED = range(4)


# In the comments below, "at" is the address of an array.


class Data(NamedTuple):
    """The samples, which may lie in memory in any order; strides count numbers."""

    X: int  # at; 0 if the samples are sparse
    row_stride: int
    column_stride: int
    n_plain: int  # columns of X; for samples with codes, without these
    values: int  # at; with the next two a CSR matrix, all 0 if the samples are dense
    indices: int  # at, 32 bits
    starts: int  # at, 32 bits
    y: int  # at; 0 if targets are in bytes
    y_in_bytes: int  # at; 0 if they are not
    y_row_stride: int
    y_column_stride: int
    n_targets: int
    weights: int  # at; 0 if all samples weigh the same
    order: int  # at, 32 bits: the rows in the order of the epoch


class Codes(NamedTuple):
    """Piecewise-linear codes of the samples, as in ``CodedMatrix``."""

    n_features: int  # 0 without codes
    edges: int  # at, 32 bits
    fractions: int  # at, dtype of the network
    starts: int  # at
    means: int  # at, dtype of the network
    sums: int  # at: C, of which a product takes two rows for each feature
    sums_gradient: int  # at
    delta: int  # at: delta[0] of the minibatch, sample by sample


class Layers(NamedTuple):
    """The network.

    ``a[l]``, ``z[l]`` and ``delta[l]`` have a row for each unit and a column for each sample of the minibatch, but for
    the samples themselves, ``a[0]``, which lie sample by sample unless the first product is looped.
    """

    n_layers: int  # without the input
    units: int  # at: sizes of all layers, input and output included
    values: int  # at: address of the kernel of each hidden layer's activation
    slopes: int  # at: address of the kernel of its derivative
    settings: int  # at: address of its parameters
    in_place: int  # at: for each hidden layer, whether a takes the place of z
    looped: int  # at: for each layer, whether plain loops are faster for its products than BLAS
    dropout: int  # at: share of the input and of each hidden layer that is dropped
    a_at: int  # at: where each layer begins in Memory.a
    z_at: int  # at: where each layer begins in Memory.z
    delta_at: int  # at: where each layer begins in Memory.delta
    w_at: int  # at: where weights, then biases of each layer begin in the parameters, and where they end


class Objective(NamedTuple):
    """What is minimised: a loss for each head, and the penalty."""

    n_heads: int
    kernels: int  # at: address of each head's kernel
    settings: int  # at: address of its loss's parameters
    widths: int  # at: its number of raw outputs
    target_widths: int  # at: its number of targets
    n_scratch: int  # numbers of scratch space for each sample
    alpha: float
    l1_ratio: float
    max_norm: float  # of a minibatch's gradient; 0 is no limit
    fit_intercept: bool
    input_noise: float
    seed: int  # of dropout and noise


class Rule(NamedTuple):
    """The optimiser; all 0 without one."""

    kernel: int  # address
    state: int  # at, dtype of the network
    n_parameters: int
    coefficients: int  # at: those of each step
    n_coefficients: int  # of a step
    shrink: int  # at: for each step, what the weights are multiplied by before it


class Memory(NamedTuple):
    """Parameters and gradient, and what a minibatch needs; all arrays of the dtype of the network."""

    itemsize: int  # bytes of a number
    stride: int  # largest number of samples of a minibatch
    w: int  # at: the parameters
    g: int  # at: the gradient
    a: int  # at
    z: int  # at
    delta: int  # at
    targets: int  # at
    relative_weight: int  # at
    scratch: int  # at


class Team(NamedTuple):
    """What the threads tell each other, and the addresses of the C functions that they call."""

    n_parts: int
    patience: int  # polls from which a wait counts as long
    counters: int  # at, indexed by PHASE, DONE, ...
    job: int  # at, indexed by KIND, START, ...
    numbers: int  # at, indexed by TOTAL, SCALE, ...
    sums: int  # at: a line for each part with its loss, its penalty and the sum of squares of its gradient
    gemm: int
    give_way: int
    nap: int
    millisecond: int  # in the units of nap


class Work(NamedTuple):
    """All of it, and the addresses of the functions that do a part of a phase."""

    pass_rows: int
    move_parameters: int

    data: Data
    codes: Codes
    layers: Layers
    objective: Objective
    rule: Rule
    memory: Memory
    team: Team


def _record(of: Any) -> np.dtype:
    """Return the layout of a tuple in memory."""
    kinds: dict[Any, Any] = {int: np.int64, bool: np.int64, float: np.float64}
    return np.dtype([(name, kinds.get(kind) or _record(kind)) for name, kind in get_type_hints(of).items()])


WORK = _record(Work)


@njit(error_model="numpy")
def share(size: int, part: int, n_parts: int) -> tuple[int, int]:
    """Return where a part of so many things begins and ends."""
    return size * part // n_parts, size * (part + 1) // n_parts
