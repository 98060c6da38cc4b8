"""What compiled code is told of a job, and what its threads tell each other.

All of it is a record in memory, and arrays are in it by address: compiled code then neither counts references nor
checks an index, and compiles in a fraction of the time. Whole numbers have 64 bits, others are float64, and arrays have
the dtype of the network, unless said; "at" is the address of an array. Whoever makes the record keeps the arrays alive.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numba import from_dtype, types
from numba.extending import models, register_model

from sknn_scratch.engines.compiled.calls import at, helper

# Kinds of phases, of which the first is for samples with codes only. Python's constants would be types of their own for
# numba, which would then compile what takes a kind four times.
SUMS, ROWS, GRADIENT, UPDATE = np.arange(4)

# Bytes. Vectors of numbers that lie across two lines take up to twice as long to read.
CACHE_LINE = 64
# Indices into Team.counters, each on a cache line of its own: number of the phase, parts done in all phases, whether to
# stop, and the last phase in which each part was begun.
LINE = 8
PHASE, DONE, STOP, BEGUN = 0, LINE, 2 * LINE, 3 * LINE


class Data(NamedTuple):
    """The samples, which may lie in memory in any order; strides count numbers."""

    y_row_stride: int
    y_column_stride: int
    n_targets: int
    y: int = 0  # at; 0 if targets are in bytes
    y_in_bytes: int = 0  # at; 0 if they are not
    weights: int = 0  # at, float64; 0 if all samples weigh the same
    X: int = 0  # at; 0 if the samples are sparse
    row_stride: int = 0
    column_stride: int = 0
    values: int = 0  # at; with the next two a CSR matrix
    indices: int = 0  # at, int32
    starts: int = 0  # at, int32
    n_coded: int = 0  # features with codes, as in CodedMatrix
    n_of_levels: int = 0  # so many of them, the first, have levels rather than bins
    edges: int = 0  # at, int32
    fractions: int = 0  # at
    starts_of_codes: int = 0  # at, int64
    means: int = 0  # at
    sums: int = 0  # at: C, of which a product takes two rows for each feature
    sums_gradient: int = 0  # at


class Layer(NamedTuple):
    """A layer.

    What is computed of a minibatch has a row for each unit and a column for each sample. The samples themselves lie
    sample by sample, unless the first product is looped.
    """

    fan_in: int  # without the codes of samples
    begins: int  # at, int64: first row of its weights, those for codes included, in each part, and the end
    width: int
    looped: int  # whether plain loops are faster for its products than BLAS
    by_rows: int  # whether a lies sample by sample
    w_at: int  # where its weights begin in the parameters
    b_at: int  # where its biases do
    w: int  # at: its weights
    b: int  # at
    g_w: int  # at: their gradient
    g_b: int  # at
    a: int  # at: its input; dropped units are -0
    z: int  # at
    delta: int  # at
    dropout: float  # share of the input that is dropped
    scale: float  # of the products, which makes up for dropped units
    output: int = 0  # at: f(z), which may be z itself, and is the input of the next layer; the rest is 0 for the last
    value: int = 0  # address of the kernel of f
    slope: int = 0  # address of the kernel of f', which is computed from z
    settings: int = 0  # at, float64: parameters of f


class Head(NamedTuple):
    """The loss of some of the raw outputs."""

    kernel: int  # address
    settings: int  # at, float64: its parameters
    width: int  # number of raw outputs
    targets: int  # at
    z: int  # at
    delta: int  # at


class Rule(NamedTuple):
    """The optimiser; all 0 without one."""

    kernel: int = 0  # address
    state: int = 0  # at
    coefficients: int = 0  # at, float64: those of each step
    n_coefficients: int = 0  # of a step
    shrink: int = 0  # at, float64: for each step, what the weights are multiplied by before it


class Memory(NamedTuple):
    """Parameters and gradient, and what a minibatch needs beside its layers."""

    itemsize: int  # bytes of a number
    stride: int  # largest number of samples of a minibatch
    n_parameters: int
    n_weights: int  # which come first
    w: int  # at: the parameters
    g: int  # at: the gradient
    targets: int  # at
    relative_weight: int  # at
    scratch: int  # at
    n_scratch: int  # numbers of scratch space for each sample
    delta_by_rows: int  # at: delta[0] sample by sample, if the job has a function that keeps it


class Team(NamedTuple):
    """What the threads tell each other, and the addresses of the C functions that they call."""

    n_parts: int
    patience: int  # polls from which a wait counts as long
    counters: int  # at, int64, indexed by PHASE, DONE, ...
    sums: int  # at, float64: a line for each part with its loss, its penalty and the norm of its gradient
    gemm: int
    give_way: int
    nap: int
    millisecond: int  # in the units of nap


class Functions(NamedTuple):
    """Addresses of what is called with the record's; 0 where the job does not need it."""

    pass_rows: int
    move_parameters: int
    drop: int = 0
    drop_deltas: int = 0
    product: int = 0  # what sparse samples or codes add to the first layer
    keep_delta: int = 0
    gradient: int = 0  # of the weights for these
    sum_up: int = 0


class Step(NamedTuple):
    """Where training is; the leader changes it between phases."""

    next_alone: int  # for how many phases the leader goes on alone the next time
    left_alone: int = 0  # for how many it still does
    kind: int = 0  # of phase
    order: int = 0  # at, int32: the rows in the order of the epoch
    start: int = 0  # first row of the minibatch
    n_rows: int = 0
    place: int = 0  # of the step in this epoch, from 0
    number: int = 0  # of the step since training began, from 1; 0 where only the gradient is wanted
    total_weight: float = 0.0  # of the minibatch
    scale: float = 1.0  # factor of the gradient, which limits its norm
    total_loss: float = 0.0  # of the epoch: minibatch losses times their rows
    n_counted: int = 0  # rows of the minibatches in which not all samples weigh 0


class Work(NamedTuple):
    """All of it."""

    address: int  # of this record
    functions: Functions
    n_layers: int
    layers: int  # at, records of Layer
    n_heads: int
    heads: int  # at, records of Head
    data: Data
    alpha: float
    l1_ratio: float
    max_norm: float  # of a minibatch's gradient; 0 is no limit
    fit_intercept: int
    input_noise: float
    seed: int  # of dropout and noise
    rule: Rule
    memory: Memory
    team: Team
    step: Step
    one: np.floating  # 1 in the dtype of the network


@cache
def layout(of: Any, dtype: Any = None) -> np.dtype:
    """Return the layout of a tuple in memory, given the dtype of the network."""
    kinds: dict[Any, Any] = {int: np.int64, float: np.float64, np.floating: dtype}
    names = get_type_hints(of).items()
    return np.dtype([(name, kinds[kind] if kind in kinds else layout(kind)) for name, kind in names])


class WorkType(types.Record):
    """The type of the record that compiled code is given.

    Functions are named after the types of their arguments, and numba names a record by a number that another process
    may have given to that of the other dtype. Code of both would then have the same names, and a process that loads
    one and compiles the other would call one for the other.
    """

    @property
    def mangling_args(self) -> tuple[str, tuple[()]]:
        """What the names of functions of it are made of."""
        return f"Work_{self.typeof('one')}", ()


register_model(WorkType)(models.RecordModel)


def work_type(dtype: Any) -> WorkType:
    """Return the type of the record, given the dtype of the network."""
    record = from_dtype(layout(Work, dtype))
    fields = [(name, field._asdict()) for name, field in record.fields.items()]
    return WorkType(fields, record.size, record.aligned)


def _records(of: Any) -> Any:
    """Return a function of an address and a number, which gives one of the records from there on."""
    layout_ = layout(of)
    record, size = at(from_dtype(layout_)), layout_.itemsize

    @helper
    def item(address: int, index: int) -> Any:
        return record(address + index * size)

    return item


layer_at, head_at = _records(Layer), _records(Head)


@helper
def share(size: int, part: int, n_parts: int) -> tuple[int, int]:
    """Return where a part of so many things begins and ends."""
    return size * part // n_parts, size * (part + 1) // n_parts
