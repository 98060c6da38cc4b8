"""What compiled code is told of a job, and what its threads tell each other.

All of it is a record in memory, and arrays are in it by address: compiled code then neither counts references nor
checks an index, and compiles in a fraction of the time. Arrays of whole numbers have 64 bits unless said, those
of ``Memory`` and ``Rule.state`` the dtype of the network, all others float64. Whoever makes the record keeps the
arrays alive.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numba import njit

__all__ = ["WORK", "Codes", "Data", "Layers", "Memory", "Objective", "Rule", "Team", "Work", "share"]

# Kinds of phases, of which the first is for samples with codes only.
SUMS, ROWS, GRADIENT, UPDATE = range(4)

# Places in Team.counters, each on a cache line of its own: the phase, how many parts are done in all, whether to stop,
# and the last phase in which each part was begun.
LINE = 8
PHASE, DONE, STOP, BEGUN = 0, LINE, 2 * LINE, 3 * LINE
# Places in Team.job: kind of phase, first row and number of rows of the minibatch, which of the steps of this epoch
# it is, its number since training began, for how many phases the leader goes on alone, and for how many the next time.
KIND, START, N_ROWS, STEP, COUNT, LEFT_ALONE, NEXT_ALONE = range(7)
# Places in Team.numbers: sum of the minibatch's weights, factor of the gradient.
TOTAL, SCALE = 0, 1


class Data(NamedTuple):
    """The samples, which may lie in memory in any order; strides count numbers.

    Attributes
    ----------
    X, row_stride, column_stride : int
        ``X`` is 0 if the samples are sparse.
    n_plain : int
        Columns of it; for samples with codes, without these.
    values, indices, starts : int
        A CSR matrix with indices of 32 bits; 0 if the samples are dense.
    y, y_in_bytes : int
        One of them is 0.
    y_row_stride, y_column_stride, n_targets : int
    weights : int
        Of the samples; 0 if all weigh the same.
    order : int
        The rows in order, as numbers of 32 bits.
    """

    X: int
    row_stride: int
    column_stride: int
    n_plain: int
    values: int
    indices: int
    starts: int
    y: int
    y_in_bytes: int
    y_row_stride: int
    y_column_stride: int
    n_targets: int
    weights: int
    order: int


class Codes(NamedTuple):
    """Piecewise-linear codes of the samples, as in ``CodedMatrix``; ``n_features`` is 0 without any.

    Attributes
    ----------
    n_features : int
    edges, fractions, starts, means : int
        ``edges`` with 32 bits, ``fractions`` and ``means`` of the dtype of the network.
    sums, sums_gradient : int
        ``C``, of which a product takes two rows for each feature, and its gradient.
    delta : int
        ``delta[0]`` of the minibatch, sample by sample.
    """

    n_features: int
    edges: int
    fractions: int
    starts: int
    means: int
    sums: int
    sums_gradient: int
    delta: int


class Layers(NamedTuple):
    """The network.

    ``a[l]``, ``z[l]`` and ``delta[l]`` have a row for each unit and a column for each sample of the minibatch, but for
    the samples themselves, ``a[0]``, which lie sample by sample unless the first product is tiny.

    Attributes
    ----------
    n_layers : int
        Without the input.
    units : int
        Sizes of all layers, input and output included.
    values, slopes, settings : int
        Addresses of kernels, and of their parameters, for each hidden layer.
    in_place : int
        For each hidden layer, whether ``a`` takes the place of ``z``.
    tiny : int
        For each layer, whether its product is so small that plain loops are faster than a call of BLAS.
    dropout : int
        Share of the input and of each hidden layer that is dropped.
    a_at, fed_at, z_at, delta_at, w_at : int
        Where each layer begins in the memory of a minibatch (``fed``: ``a`` with units dropped), and all weights, then
        all biases, in the vector of the parameters. The last tells where they end.
    """

    n_layers: int
    units: int
    values: int
    slopes: int
    settings: int
    in_place: int
    tiny: int
    dropout: int
    a_at: int
    fed_at: int
    z_at: int
    delta_at: int
    w_at: int


class Objective(NamedTuple):
    """What is minimised.

    Attributes
    ----------
    n_heads, kernels, settings, widths, target_widths : int
        For each head: addresses of the loss's kernel and of its parameters, numbers of raw outputs and of targets.
    n_scratch : int
        Numbers of scratch space for each sample.
    alpha, l1_ratio : float
    max_norm : float
        Of a minibatch's gradient; 0 is no limit.
    fit_intercept : bool
    input_noise : float
    seed : int
        Of dropout and noise.
    """

    n_heads: int
    kernels: int
    settings: int
    widths: int
    target_widths: int
    n_scratch: int
    alpha: float
    l1_ratio: float
    max_norm: float
    fit_intercept: bool
    input_noise: float
    seed: int


class Rule(NamedTuple):
    """The optimiser: its kernel, its state, and what a step is given; all 0 without one.

    ``coefficients`` has ``n_coefficients`` numbers for each step, ``shrink`` what the weights are multiplied by before
    it.
    """

    kernel: int
    state: int
    n_parameters: int
    coefficients: int
    n_coefficients: int
    shrink: int


class Memory(NamedTuple):
    """Parameters and gradient, and what a minibatch needs.

    ``itemsize`` is the bytes of a number, ``stride`` the largest number of samples of a minibatch.
    """

    itemsize: int
    stride: int
    w: int
    g: int
    a: int
    z: int
    delta: int
    targets: int
    relative_weight: int
    scratch: int


class Team(NamedTuple):
    """What the threads tell each other, and the addresses of the C functions that they call.

    ``sums`` has a line for each part: its loss, its penalty and the sum of squares of its gradient. A wait counts as
    long after ``patience`` polls.
    """

    n_parts: int
    patience: int
    counters: int
    job: int
    numbers: int
    sums: int
    gemm: int
    give_way: int
    nap: int
    millisecond: int


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
