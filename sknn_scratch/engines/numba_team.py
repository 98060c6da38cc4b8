"""What the threads of a compiled epoch are told, and tell each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit
from numpy.typing import NDArray

# Kinds of phases.
ROWS, GRADIENT, UPDATE = range(3)

# Places in Team.counters, each on a cache line of its own: the phase, how many parts are done in all, whether to stop,
# and the last phase in which each part was begun.
LINE = 8
PHASE, DONE, STOP, BEGUN = 0, LINE, 2 * LINE, 3 * LINE
# Places in Team.job and in Team.numbers.
KIND, START, N_ROWS, LEFT_ALONE, NEXT_ALONE = range(5)
TOTAL, DECAY, SCALE, COEFFICIENTS = 0, 1, 2, 3


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


@njit(error_model="numpy")
def share(size, part, n_parts):
    """Return where a part of so many things begins and ends."""
    return size * part // n_parts, size * (part + 1) // n_parts
