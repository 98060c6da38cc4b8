"""Whole epochs in compiled code: for which networks, and what it is given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
from numba.extending import get_cython_function_address
from numpy.typing import NDArray

from sknn_scratch.engines import numba_steps
from sknn_scratch.engines.c_functions import give_way, nap, ufunc_loop
from sknn_scratch.engines.numba_activations import LAST_IN_PLACE
from sknn_scratch.engines.numba_cache import compiled, is_compiled, is_plain
from sknn_scratch.engines.numba_codes import (
    ACTIVATION_CODES,
    FUNCTIONS,
    LINK_FUNCTIONS,
    SLOPE_FUNCTIONS,
    activation_setting,
    describe_loss,
    describe_optimizer,
    next_step,
    steps_made,
    two_vectors,
)
from sknn_scratch.engines.numba_epoch import ALONE, follow, lead
from sknn_scratch.engines.numba_losses import LINK
from sknn_scratch.engines.numba_small_epoch import train_small_epoch
from sknn_scratch.engines.numba_team import LINE, NEXT_ALONE, STOP, Layers, Memory, Objective, Rule, Team
from sknn_scratch.optimizers import Optimizer
from sknn_scratch.threads import MIN_SHARE

__all__ = ["epoch_function", "is_ready"]

Epoch = Callable[[NDArray | None, float], float]

# Multiplications after which the compiled code returns, a twentieth of a second or so, for Ctrl-C to be heard.
MOST_AT_ONCE = 2**29
# How often a thread looks for news, a twentieth of a microsecond each time, until it counts as a long wait: longer than
# it takes from one epoch to the next, and than a phase, of whose multiplications there are so many to a look.
PATIENCE, PER_LOOK = 5000, 400
# The other threads start before the epoch that makes it so many multiplications in all, some milliseconds of work: to
# call them for less, as a loop over partial_fit would do each time, takes longer than they save.
WORTH_STARTING = 2**25


def is_ready(network: Any, batch_size: int) -> bool:
    """Return whether the largest functions that training needs are compiled, in this process or on disk."""
    functions: list[Callable[..., Any]] = [lead, follow]
    loss = describe_loss(network.loss, network.layer_units[-1])
    if network.noise is not None or loss is None or not _knows_activations(network):
        functions = [numba_steps.losses_and_delta]
    elif network.is_small(batch_size):
        functions = [train_small_epoch]
    return all(is_compiled(function, network.parameters.dtype) for function in functions)


def epoch_function(
    network: Any,
    optimizer: Optimizer,
    X: Any,
    y: NDArray,
    sample_weight: NDArray | None,
    batch_size: int,
    max_grad_norm: float | None,
) -> AbstractContextManager[Callable[[NDArray | None, float], float] | None]:
    """Give, for a ``with`` block, a function that trains a network for an epoch.

    It takes the rows in order (None: all) and the learning rate, and returns the mean of the minibatch losses. None is
    given where the steps have to be made one by one: if there is dropout or noise, or a component that compiled code
    does not know.
    """
    dense = isinstance(X, np.ndarray)
    loss, update = describe_loss(network.loss, network.layer_units[-1]), describe_optimizer(optimizer)
    if loss is None or update is None or not _knows_activations(network) or network.noise is not None:
        return nullcontext()
    if not (dense or is_plain(X)):
        return nullcontext()
    objective = Objective(*loss, network.alpha, network.l1_ratio, max_grad_norm or 0.0, network.fit_intercept)
    rule = Rule(*update)
    weights = np.empty(0) if sample_weight is None else np.require(sample_weight, np.float64, ["C", "W"])
    if dense and network.is_small(batch_size):
        return nullcontext(_small_epoch(network, objective, rule, optimizer, X, y, weights, batch_size))
    try:
        layers = _layers(network, objective.heads[0, LINK], X, batch_size)
    except NotImplementedError:  # this version of NumPy keeps the loops of its ufuncs in another way
        return nullcontext()
    return _shared_epoch(network, objective, rule, optimizer, X, y, weights, batch_size, layers)


def _knows_activations(network: Any) -> bool:
    return all(type(activation) in ACTIVATION_CODES for activation in network.activations)


def _codes(network: Any) -> tuple[NDArray, NDArray]:
    """Return codes and parameters of the activations."""
    codes = [ACTIVATION_CODES[type(activation)] for activation in network.activations]
    settings = [activation_setting(activation) for activation in network.activations]
    return np.array(codes, dtype=np.int64), np.array(settings, dtype=np.float64)


def _small_epoch(
    network: Any,
    objective: Objective,
    rule: Rule,
    optimizer: Optimizer,
    X: NDArray,
    y: NDArray,
    weights: NDArray,
    batch_size: int,
) -> Epoch:
    train = compiled(train_small_epoch, X.dtype)
    units, all_rows = np.array(network.layer_units, dtype=np.int64), np.arange(X.shape[0])
    before = batch_size, units, *_codes(network), *objective, *rule
    arrays = network.parameters, network.gradient, *two_vectors(optimizer)

    def run(rows: NDArray | None, learning_rate: float) -> float:
        rows = np.asarray(all_rows if rows is None else rows, dtype=np.int64)
        t, product = next_step(optimizer)
        loss, t, product = train(X, y, weights, rows, *before, t, product, learning_rate, *arrays)
        steps_made(optimizer, t - 1, product)
        return loss

    return run


@contextmanager
def _shared_epoch(
    network: Any,
    objective: Objective,
    rule: Rule,
    optimizer: Optimizer,
    X: Any,
    y: NDArray,
    weights: NDArray,
    batch_size: int,
    layers: Layers,
) -> Iterator[Epoch]:
    """Share the steps of an epoch between this thread and as many others as the network may have."""
    dtype = network.parameters.dtype
    memory = _memory(network, optimizer, layers, batch_size, y.shape[1])
    n_parts = max(1, min(1 + network.helpers[1], batch_size // MIN_SHARE))
    team = _team(n_parts, dtype, batch_size * network.n_weights)
    if isinstance(X, np.ndarray):
        no_index = np.empty(0, np.int32)
        samples = X, np.empty(0, dtype), no_index, no_index, y, weights
    else:
        samples = np.empty((0, X.shape[1]), dtype), X.data, X.indices, X.indptr, y, weights
    order = np.arange(X.shape[0])
    described = layers, objective, rule, memory, team
    rows_at_once = batch_size * max(1, MOST_AT_ONCE // (batch_size * network.n_weights))
    # Both are compiled, also for one thread: the next fit, which asks whether they are, may have two.
    train, help_training = compiled(lead, dtype), compiled(follow, dtype)
    # Daemons, as otherwise a program could not end while a daemon of its own trains.
    followers = [
        threading.Thread(target=help_training, args=(part, *samples, order, *described), daemon=True)
        for part in range(1, n_parts)
    ]
    n_multiplications = 0

    def run(rows: NDArray | None, learning_rate: float) -> float:
        nonlocal n_multiplications
        n_rows = len(order) if rows is None else len(rows)
        if rows is not None:
            order[:n_rows] = rows
        n_multiplications += n_rows * network.n_weights
        if n_multiplications >= WORTH_STARTING:
            _start(followers)
        total_loss, n_counted = 0.0, 0
        for first in range(0, n_rows, rows_at_once):
            t, product = next_step(optimizer)
            last = min(first + rows_at_once, n_rows)
            step = batch_size, t, product, learning_rate
            loss, n, t, product = train(*samples, order, *described, first, last, *step)
            steps_made(optimizer, t - 1, product)
            total_loss += loss
            n_counted += n
        return total_loss / n_counted

    try:
        yield run
    finally:
        team.counters[STOP] = 1
        for thread in followers:
            if thread.ident is not None:
                thread.join()


def _start(threads: Sequence[threading.Thread]) -> None:
    """Start those that have not been started, as far as the system lets us: the leader can do without them."""
    for thread in threads:
        if thread.ident is None:
            try:
                thread.start()
            except RuntimeError:
                return


def _starts(sizes: Sequence[int]) -> NDArray:
    """Return where things of these sizes begin that come one after the other, and where the last ends."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _layers(network: Any, link: int, X: Any, batch_size: int) -> Layers:
    units, dtype = network.layer_units, network.parameters.dtype
    codes, settings = _codes(network)
    functions = np.zeros((len(units) - 1, 6), dtype=np.int64)
    for row, code in zip(functions, codes, strict=False):
        for i, ufunc in enumerate(FUNCTIONS.get(code, ())):
            row[2 * i : 2 * i + 2] = _loop(ufunc, dtype)
        if code in SLOPE_FUNCTIONS:
            row[4:] = _loop(SLOPE_FUNCTIONS[code], dtype)
    if link in LINK_FUNCTIONS:
        functions[-1, :2] = _loop(LINK_FUNCTIONS[link], dtype)
    of_input = [units[0] if isinstance(X, np.ndarray) else 0]
    with_z = [width if code > LAST_IN_PLACE else 0 for width, code in zip(units[1:-1], codes, strict=True)]
    return Layers(
        units=np.array(units, dtype=np.int64),
        activations=codes,
        settings=settings,
        functions=functions,
        a_at=batch_size * _starts([*of_input, *units[1:-1]]),
        z_at=batch_size * _starts(with_z),
        delta_at=batch_size * _starts(units[1:]),
        w_at=_starts([array.size for array in network.weights + network.biases]),
    )


def _memory(network: Any, optimizer: Optimizer, layers: Layers, batch_size: int, n_targets: int) -> Memory:
    dtype, n_outputs = network.parameters.dtype, network.layer_units[-1]
    with_slopes = [width for width, row in zip(layers.units[1:], layers.functions, strict=True) if row[4]]
    sizes = {
        "a": layers.a_at[-1],
        "z": layers.z_at[-1],
        "delta": layers.delta_at[-1],
        "raw": batch_size * n_outputs,
        "p": batch_size * n_outputs,
        "targets": batch_size * n_targets,
        "relative_weight": batch_size,
        "scratch": batch_size * max(with_slopes, default=0),
    }
    arrays = {name: np.empty(size, dtype=dtype) for name, size in sizes.items()}
    first, second = two_vectors(optimizer)
    return Memory(w=network.parameters, g=network.gradient, first=first, second=second, **arrays)


def _team(n_parts: int, dtype: np.dtype, n_multiplications: int) -> Team:
    """Return a team for steps of so many multiplications in the forward pass."""
    sleep, millisecond = nap()
    job = np.zeros(LINE, dtype=np.int64)
    job[NEXT_ALONE] = ALONE
    return Team(
        n_parts=n_parts,
        patience=PATIENCE + n_multiplications // PER_LOOK,
        counters=np.zeros((3 + n_parts) * LINE, dtype=np.int64),
        job=job,
        numbers=np.zeros(2 * LINE),
        sums=np.zeros(n_parts * LINE),
        gemm=get_cython_function_address("scipy.linalg.cython_blas", "sgemm" if dtype == np.float32 else "dgemm"),
        give_way=give_way(),
        nap=sleep,
        millisecond=millisecond,
    )


@cache
def _loop(ufunc: np.ufunc, dtype: np.dtype) -> tuple[int, int]:
    return ufunc_loop(ufunc, dtype)
