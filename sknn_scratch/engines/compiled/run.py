"""A training run of the compiled engine."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numba.extending import get_cython_function_address
from numpy.typing import NDArray
from scipy.sparse import issparse

from sknn_scratch.engines.compiled.epoch import ALONE
from sknn_scratch.engines.compiled.kernels import Kernel, kernel, phase, training
from sknn_scratch.engines.compiled.sources import sources_of
from sknn_scratch.engines.compiled.team import (
    COUNTED,
    LINE,
    LOSS,
    NEXT_ALONE,
    STEP,
    STOP,
    WORK,
    Codes,
    Data,
    Layers,
    Memory,
    Objective,
    Rule,
    Team,
)
from sknn_scratch.engines.compiled.waiting import give_way, nap
from sknn_scratch.engines.policy import MOST_AT_ONCE, NARROW, PATIENCE, PER_POLL, TINY, WORTH_STARTING
from sknn_scratch.training.coded_matrix import CodedMatrix
from sknn_scratch.training.job import Job

__all__ = ["CompiledRun"]

# Bytes. Vectors of numbers that lie across two lines take up to twice as long to read.
CACHE_LINE = 64


class CompiledRun:
    """Trains a network in compiled code, shared between threads.

    Parameters
    ----------
    job : Job
    n_parts : int
        Parts into which a step is cut. Results depend on it by rounding, not on the threads.
    n_threads : int, default=None
        Threads that may do them; by default as many as there are parts.
    """

    def __init__(self, job: Job, n_parts: int, n_threads: int | None = None):
        self._job, network = job, job.network
        self._sources = sources_of(job)
        self._alive: list[Any] = []  # arrays and code that are passed by address
        self.gradient: NDArray = np.zeros_like(network.parameters)
        self._work = training(network.dtype)
        self._order: NDArray = np.empty(0, dtype=np.int32)
        self._is_as_they_come = False
        layers, memory = self._layers_and_memory()
        phases = [self._code(phase(name, network.dtype)) for name in ("pass_rows", "move_parameters")]
        told = (
            self._data(),
            self._codes(),
            layers,
            self._objective(),
            self._make_rule(),
            memory,
            self._make_team(n_parts),
        )
        record = np.array([(*phases, *told)], dtype=WORK)
        self._told, self._at = record[0], self._address(record)
        # Daemons, as otherwise a program could not end while a daemon of its own trains. They refer to the arrays, but
        # not to the run, so that a run that is dropped without being closed ends them too.
        arguments = (self._work, self._at, self._alive)
        self._followers = [
            threading.Thread(target=_follow, args=(part, *arguments), daemon=True)
            for part in range(1, n_parts if n_threads is None else n_threads)
        ]
        self._stop = weakref.finalize(self, self._counters.__setitem__, STOP, 1)
        self._n_multiplications = 0

    def epoch(self, order: NDArray | None, learning_rates: NDArray) -> float:
        """Train for an epoch; see ``NumpyRun.epoch``."""
        optimizer = self._job.optimizer
        assert optimizer is not None
        first, n_steps = optimizer.n_updates + 1, len(learning_rates)
        for k, coefficient in enumerate(optimizer.next_coefficients(learning_rates)):
            self._coefficients[:n_steps, k] = coefficient
        if optimizer.decay_rate:
            self._shrink[:n_steps] = 1 - learning_rates * optimizer.decay_rate
        return self._train(order, first)

    def loss_and_gradient(self) -> float:
        """Return the objective over all samples, which are one minibatch, and fill ``gradient``."""
        if self._job.batch_size < self._job.X.shape[0]:
            size, n_samples = self._job.batch_size, self._job.X.shape[0]
            raise ValueError(f"a minibatch has {size} of {n_samples} samples, not all of them")
        return self._train(None, 0)

    def close(self) -> None:
        """End the other threads. What is trained afterwards, the calling thread does alone."""
        self._stop()
        for thread in self._followers:
            if thread.ident is not None:
                thread.join()
        self._followers = []

    def _train(self, order: NDArray | None, first_step: int) -> float:
        if order is not None:
            self._order, self._is_as_they_come = np.ascontiguousarray(order, dtype=np.int32), False
        elif not self._is_as_they_come:
            self._order, self._is_as_they_come = np.arange(self._job.X.shape[0], dtype=np.int32), True
        self._told["data"]["order"] = self._order.ctypes.data
        n_rows, batch_size = len(self._order), self._job.batch_size
        self._n_multiplications += n_rows * self._job.network.n_weights
        if self._n_multiplications >= WORTH_STARTING:
            self._start_followers()
        rows_at_once = batch_size * max(1, MOST_AT_ONCE // (batch_size * self._job.network.n_weights))
        self._place[STEP] = self._sums[LOSS] = self._sums[COUNTED] = 0
        for first in range(0, n_rows, rows_at_once):
            self._work(0, self._at, 1, first, min(first + rows_at_once, n_rows), batch_size, first_step)
        loss, n_counted = self._sums[[LOSS, COUNTED]].tolist()
        return loss / n_counted

    def _start_followers(self) -> None:
        """Start the other threads as far as the system allows: the leader can do without them."""
        for thread in self._followers:
            if thread.ident is None:
                try:
                    thread.start()
                except RuntimeError:
                    return

    # What compiled code is told --------------------------------------------------------------------------------------

    def _address(self, array: Any, dtype: Any = None) -> int:
        """Return the address of an array, with this dtype if one is given, which is kept alive."""
        array = array if dtype is None else np.array(array, dtype=dtype)
        self._alive.append(array)
        return array.ctypes.data

    def _code(self, compiled: Kernel) -> int:
        self._alive.append(compiled)
        return compiled.address

    def _kernels(self, texts: Iterable[str]) -> int:
        return self._integers(self._code(kernel(text, self.gradient.dtype)) for text in texts)

    def _integers(self, values: Iterable[int]) -> int:
        return self._address(list(values), np.int64)

    def _settings(self, parameters: Sequence[float]) -> int:
        return self._address(parameters, np.float64)

    def _data(self) -> Data:
        X, y, weights = self._job.X, self._job.y, self._job.sample_weight
        data = Data(
            X=0,
            row_stride=0,
            column_stride=0,
            n_plain=0,
            values=0,
            indices=0,
            starts=0,
            y=self._address(y) if y.dtype == self.gradient.dtype else 0,
            y_in_bytes=self._address(y) if y.dtype == np.uint8 else 0,
            y_row_stride=y.strides[0] // y.itemsize,
            y_column_stride=y.strides[1] // y.itemsize,
            n_targets=y.shape[1],
            weights=0 if weights is None else self._address(np.ascontiguousarray(weights, dtype=np.float64)),
            order=0,  # told with each epoch
        )
        if isinstance(X, CodedMatrix):
            X = X.plain
        if isinstance(X, np.ndarray):
            row_stride, column_stride = (stride // X.itemsize for stride in X.strides)
            return data._replace(
                X=self._address(X), row_stride=row_stride, column_stride=column_stride, n_plain=X.shape[1]
            )
        values, indices, starts = (np.ascontiguousarray(array) for array in (X.data, X.indices, X.indptr))
        return data._replace(
            values=self._address(values),
            indices=self._address(indices.astype(np.int32, copy=False)),
            starts=self._address(starts.astype(np.int32, copy=False)),
        )

    def _codes(self) -> Codes:
        X, width, dtype = self._job.X, self._job.network.layer_units[1], self.gradient.dtype
        if not isinstance(X, CodedMatrix) or not X.edges.shape[1]:
            return Codes(*[0] * len(Codes._fields))
        n_features, n_sums = X.edges.shape[1], X.coding.n_edges * width
        return Codes(
            n_features=n_features,
            edges=self._address(np.ascontiguousarray(X.edges)),
            fractions=self._address(np.ascontiguousarray(X.fractions)),
            starts=self._integers(X.coding.starts),
            means=self._address(X.coding.means, dtype),
            sums=self._address(np.empty(n_sums, dtype)),
            sums_gradient=self._address(np.empty(n_sums, dtype)),
            delta=self._address(np.empty(self._job.batch_size * width, dtype)),
        )

    def _layers_and_memory(self) -> tuple[Layers, Memory]:
        """Return where everything lies in the memory of a minibatch, and that memory."""
        job, units = self._job, self._job.network.layer_units
        n_layers, stride, dense = len(units) - 1, job.batch_size, not issparse(job.X)
        n_plain = job.X.plain.shape[1] if isinstance(job.X, CodedMatrix) else units[0] * dense
        activations = self._sources.activations
        in_place = [f.in_place for f in activations]
        looped = [stride * fan_in * width <= TINY for fan_in, width in pairwise([n_plain, *units[1:]])]
        looped = [
            dense and looped[0],
            *(few or width <= NARROW for few, width in zip(looped[1:], units[2:], strict=True)),
        ]
        dropout = [*job.dropout] or [0.0] * n_layers
        z_sizes = [0 if own else width for own, width in zip([*in_place, False], units[1:], strict=True)]
        a_at, z_at, delta_at = (
            [stride * at for at in _starts(sizes)] for sizes in ([n_plain, *units[1:-1]], z_sizes, units[1:])
        )
        layers = Layers(
            n_layers=n_layers,
            units=self._integers(units),
            values=self._kernels(f.value for f in activations),
            slopes=self._kernels(f.slope for f in activations),
            settings=self._integers(self._settings(f.settings) for f in activations),
            in_place=self._integers(in_place),
            looped=self._integers(looped),
            dropout=self._address(dropout, np.float64),
            a_at=self._integers(a_at),
            z_at=self._integers(z_at),
            delta_at=self._integers(delta_at),
            w_at=self._integers(_starts([array.size for array in job.network.weights + job.network.biases])),
        )
        sizes = {
            "a": a_at[-1],
            "z": z_at[-1],
            "delta": delta_at[-1],
            "targets": stride * job.y.shape[1],
            "relative_weight": stride,
            "scratch": stride * self._n_scratch(),
        }
        dtype = self.gradient.dtype
        memory = Memory(
            itemsize=dtype.itemsize,
            stride=stride,
            w=self._address(job.network.parameters),
            g=self._address(self.gradient),
            **{name: self._address(_aligned(size, dtype)) for name, size in sizes.items()},
        )
        return layers, memory

    def _n_scratch(self) -> int:
        """Return how much scratch space a sample takes: for the losses, or for what comes out of the first layer."""
        of_losses = [rows + items * head.width for head in self._sources.losses for rows, items in [head.scratch]]
        return max(*of_losses, self._job.network.layer_units[1])

    def _objective(self) -> Objective:
        job, heads = self._job, self._sources.losses
        return Objective(
            n_heads=len(heads),
            kernels=self._kernels(head.kernel for head in heads),
            settings=self._integers(self._settings(head.settings) for head in heads),
            widths=self._integers(head.width for head in heads),
            target_widths=self._integers(head.target_width for head in heads),
            n_scratch=self._n_scratch(),
            alpha=float(job.alpha),
            l1_ratio=float(job.l1_ratio),
            max_norm=float(job.max_grad_norm or 0.0),
            fit_intercept=bool(job.fit_intercept),
            input_noise=float(job.input_noise),
            seed=job.seed,
        )

    def _make_rule(self) -> Rule:
        optimizer, rule = self._job.optimizer, self._sources.optimizer
        n_steps = -(-self._job.X.shape[0] // self._job.batch_size)
        self._shrink = np.ones(n_steps)
        if optimizer is None or rule is None:
            return Rule(0, 0, self.gradient.size, 0, 0, 0)
        settings = [0.0] * rule.n_coefficients + rule.settings
        self._coefficients = np.tile(settings, (n_steps, 1))
        return Rule(
            kernel=self._code(kernel(rule.kernel, self.gradient.dtype)),
            state=self._address(optimizer.state),
            n_parameters=self.gradient.size,
            coefficients=self._address(self._coefficients),
            n_coefficients=len(settings),
            shrink=self._address(self._shrink),
        )

    def _make_team(self, n_parts: int) -> Team:
        sleep, millisecond = nap()
        self._counters = np.zeros((3 + n_parts) * LINE, dtype=np.int64)
        self._place, self._sums = np.zeros(LINE, dtype=np.int64), np.zeros(2 * LINE)
        self._place[NEXT_ALONE] = ALONE
        name = "sgemm" if self.gradient.dtype == np.float32 else "dgemm"
        return Team(
            n_parts=n_parts,
            patience=PATIENCE + self._job.batch_size * self._job.network.n_weights // PER_POLL,
            counters=self._address(self._counters),
            job=self._address(self._place),
            numbers=self._address(self._sums),
            sums=self._address(np.zeros(n_parts * LINE)),
            gemm=get_cython_function_address("scipy.linalg.cython_blas", name),
            give_way=give_way(),
            nap=sleep,
            millisecond=millisecond,
        )


def _follow(part: int, work: Callable[..., Any], at: int, alive: list[Any]) -> None:
    """Do one part of each step in another thread, which keeps alive what compiled code knows by address."""
    work(part, at, 1, 0, 0, 0, 0)


def _aligned(size: int, dtype: np.dtype) -> NDArray:
    """Return an empty vector that begins with a cache line, of which NumPy takes no care."""
    memory = np.empty(size * dtype.itemsize + CACHE_LINE, dtype=np.uint8)
    first = -memory.ctypes.data % CACHE_LINE
    return memory[first : first + size * dtype.itemsize].view(dtype)


def _starts(sizes: Sequence[int]) -> list[int]:
    """Return where each of several consecutive things of these sizes begins, and where the last ends."""
    return [0, *accumulate(sizes)]
