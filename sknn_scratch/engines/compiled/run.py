"""A training run of the compiled engine."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import cache, cached_property, partial
from itertools import accumulate, count
from typing import Any

import numpy as np
from numba.extending import get_cython_function_address
from numpy.typing import NDArray
from scipy.sparse import issparse

from sknn_scratch.engines.compiled import team
from sknn_scratch.engines.compiled.epoch import ALONE
from sknn_scratch.engines.compiled.kernels import functions, kernel
from sknn_scratch.engines.compiled.sources import sources_of
from sknn_scratch.engines.policy import MOST_AT_ONCE, NARROW, NARROW_IF_SHARED, PATIENCE, PER_POLL, TINY, WORTH_STARTING
from sknn_scratch.engines.threads import Helpers
from sknn_scratch.perceptron import layer_views
from sknn_scratch.training.coded_matrix import CodedMatrix
from sknn_scratch.training.job import Job


@cache
def waiting() -> tuple[Any, Any, int]:
    """Return two C functions, and how many of the second's units are a millisecond.

    ``int()`` lets another thread run that waits for the same core, ``int(int)`` sleeps for that long.
    """
    if sys.platform == "win32":
        return ctypes.windll.kernel32.SwitchToThread, ctypes.windll.kernel32.Sleep, 1
    return ctypes.CDLL(None).sched_yield, ctypes.CDLL(None).usleep, 1000


class CompiledRun:
    """Trains a network in compiled code, each step cut into parts; by default there is a thread for each.

    Results depend on the number of parts by rounding, not on the threads.
    """

    def __init__(self, job: Job, n_parts: int, n_threads: int | None = None):
        self._job, network = job, job.network
        self._dtype, self._sources = network.dtype, sources_of(job)
        self._alive: list[Any] = []  # arrays and code that are passed by address
        self.gradient: NDArray = np.zeros_like(network.parameters)
        addresses = functions(self._sources.functions, network.dtype)
        self._work = addresses.pop("work").ctypes
        told = np.zeros(1, team.layout(team.Work, network.dtype))
        self._at = told.ctypes.data
        layers, memory = self._layers(n_parts), self._memory()
        heads = self._heads(layers[-1], memory)
        told[0] = team.Work(
            address=self._at,
            functions=team.Functions(**{name: function.address for name, function in addresses.items()}),
            n_layers=len(layers),
            layers=self._address(layers, team.layout(team.Layer)),
            n_heads=len(heads),
            heads=self._address(heads, team.layout(team.Head)),
            data=self._data(),
            alpha=job.alpha,
            l1_ratio=job.l1_ratio,
            max_norm=job.max_grad_norm or 0.0,
            fit_intercept=job.fit_intercept,
            input_noise=job.input_noise,
            seed=job.seed,
            rule=self._rule(),
            memory=memory,
            team=self._team(n_parts),
            step=team.Step(next_alone=ALONE),
            one=network.dtype.type(1),
        )
        self._told, self._step = told[0], told[0]["step"]
        self._n_to_start = (n_parts if n_threads is None else n_threads) - 1
        self._followers = Helpers(self._n_to_start)
        # It refers to the arrays, but not to the run, so that a run that is dropped without being closed ends them too.
        self._follow = partial(_follow, self._work, count(1), told, self._alive)
        self._stop = weakref.finalize(self, self._counters.__setitem__, team.STOP, 1)
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
        self._n_to_start = 0
        self._followers.close()

    def _train(self, order: NDArray | None, first_step: int) -> float:
        order = self._as_they_come if order is None else np.ascontiguousarray(order, dtype=np.int32)
        step, n_rows = self._step, len(order)
        step["number"], step["order"] = first_step, order.ctypes.data
        n_weights, batch_size = self._job.network.n_weights, self._job.batch_size
        self._n_multiplications += n_rows * n_weights
        if self._n_multiplications >= WORTH_STARTING:
            self._start_followers()
        rows_at_once = batch_size * max(1, MOST_AT_ONCE // (batch_size * n_weights))
        for first in range(0, n_rows, rows_at_once):
            self._work(self._at, 0, first, min(first + rows_at_once, n_rows))
        return float(step["total_loss"] / step["n_counted"])

    @cached_property
    def _as_they_come(self) -> NDArray:
        return np.arange(self._job.X.shape[0], dtype=np.int32)

    def _start_followers(self) -> None:
        self._followers.call(self._follow, self._n_to_start)
        self._n_to_start = 0

    # What compiled code is told --------------------------------------------------------------------------------------

    def _address(self, array: Any, dtype: Any = None) -> int:
        """Return the address of an array, contiguous and of this dtype if one is given, which is kept alive."""
        array = array if dtype is None else np.ascontiguousarray(array, dtype=dtype)
        self._alive.append(array)
        return array.ctypes.data

    def _new(self, n_rows: int) -> int:
        """Return the address of so many numbers for each sample of a minibatch; they begin with a cache line."""
        size, line = n_rows * self._job.batch_size * self._dtype.itemsize, team.CACHE_LINE
        return self._address(np.empty(size + line, np.uint8)) // line * line + line

    def _data(self) -> team.Data:
        X, y, weights = self._job.X, self._job.y, self._job.sample_weight
        data = team.Data(
            y_row_stride=y.strides[0] // y.itemsize,
            y_column_stride=y.strides[1] // y.itemsize,
            n_targets=y.shape[1],
            weights=0 if weights is None else self._address(weights, np.float64),
            **{"y_in_bytes" if y.dtype == np.uint8 else "y": self._address(y)},
        )
        if issparse(X):
            return data._replace(
                values=self._address(X.data, self._dtype),
                indices=self._address(X.indices, np.int32),
                starts=self._address(X.indptr, np.int32),
            )
        if isinstance(X, CodedMatrix):
            data, X = self._with_codes(data, X), X.plain
        row_stride, column_stride = (stride // X.itemsize for stride in X.strides)
        return data._replace(X=self._address(X), row_stride=row_stride, column_stride=column_stride)

    def _with_codes(self, data: team.Data, X: CodedMatrix) -> team.Data:
        n_sums = X.coding.n_edges * self._job.network.layer_units[1]
        return data._replace(
            n_coded=X.edges.shape[1],
            n_of_levels=X.coding.n_of_levels,
            edges=self._address(X.edges, np.int32),
            fractions=self._address(X.fractions, self._dtype),
            starts_of_codes=self._address(X.coding.starts, np.int64),
            means=self._address(X.coding.means, self._dtype),
            sums=self._address(np.empty(n_sums, self._dtype)),
            sums_gradient=self._address(np.empty(n_sums, self._dtype)),
        )

    def _layers(self, n_parts: int) -> list[team.Layer]:
        job, network = self._job, self._job.network
        units, n_layers = network.layer_units, len(network.weights)
        begins = [0, *accumulate(array.size for array in network.weights + network.biases)]
        dropout, layers = [*job.dropout] or [0.0] * n_layers, list[team.Layer]()
        dense, (of_weights, of_biases) = not issparse(job.X), layer_views(self.gradient, units)
        fan_in = job.X.plain.shape[1] if isinstance(job.X, CodedMatrix) else units[0]
        narrow = NARROW if n_parts == 1 else NARROW_IF_SHARED
        for l, width in enumerate(units[1:]):
            looped = job.batch_size * fan_in * width <= TINY or (l > 0 and width <= narrow)
            looped &= l > 0 or dense
            by_rows = l == 0 and not looped
            layer = team.Layer(
                fan_in=fan_in,
                begins=self._address(self._begins(l, n_parts), np.int64),
                width=width,
                looped=looped,
                by_rows=by_rows,
                w_at=begins[l],
                b_at=begins[n_layers + l],
                w=network.weights[l].ctypes.data,
                b=network.biases[l].ctypes.data,
                g_w=of_weights[l].ctypes.data,
                g_b=of_biases[l].ctypes.data,
                a=layers[-1].output if l > 0 else self._address_of_samples(fan_in * dense, by_rows),
                z=self._new(width),
                delta=self._new(width),
                dropout=dropout[l],
                scale=1 / (1 - dropout[l]),
            )
            if l < n_layers - 1:
                f = self._sources.activations[l]
                value, slope = map(kernel, f.texts)
                layer = layer._replace(
                    output=self._new(width) if network.activations[l].needs_input else layer.z,
                    value=value.address,
                    slope=slope.address,
                    settings=self._address(f.settings, np.float64),
                )
            layers.append(layer)
            fan_in = width
        return layers

    def _address_of_samples(self, n_columns: int, by_rows: bool) -> int:
        """Return where a step finds its samples: all of them where they are, others where they are gathered."""
        job, X = self._job, self._job.X
        all_at_once = by_rows and job.optimizer is None and not job.is_noisy
        if all_at_once and isinstance(X, np.ndarray) and X.flags.c_contiguous:
            return self._address(X)
        return self._new(n_columns)

    def _begins(self, l: int, n_parts: int) -> list[int]:
        """Return the first row of the weights of a layer in each part, and the end; a feature's codes stay together."""
        X, n_rows = self._job.X, self._job.network.layer_units[l]
        rows = [n_rows * part // n_parts for part in range(n_parts + 1)]
        if l > 0 or not isinstance(X, CodedMatrix):
            return rows
        n_plain = X.plain.shape[1]
        starts = np.concatenate([np.arange(n_plain), n_plain + X.coding.starts])
        return starts[np.searchsorted(starts, rows, side="right") - 1].tolist()

    def _memory(self) -> team.Memory:
        job = self._job
        # For the losses, or for what comes out of the first layer.
        n_scratch = max(*(loss.scratch for loss in self._sources.losses), job.network.layer_units[1])
        return team.Memory(
            itemsize=self._dtype.itemsize,
            stride=job.batch_size,
            n_parameters=self.gradient.size,
            n_weights=job.network.n_weights,
            w=self._address(job.network.parameters),
            g=self._address(self.gradient),
            targets=self._new(job.y.shape[1]),
            relative_weight=self._new(1),
            scratch=self._new(n_scratch),
            n_scratch=n_scratch,
            delta_by_rows=self._new(job.network.layer_units[1]) if "keep_delta" in self._sources.functions else 0,
        )

    def _heads(self, last: team.Layer, memory: team.Memory) -> list[team.Head]:
        heads, of_column, z_column, y_column = list[team.Head](), memory.stride * memory.itemsize, 0, 0
        for loss, (_, width, target_width) in zip(self._sources.losses, self._job.heads, strict=True):
            heads.append(
                team.Head(
                    kernel=kernel(*loss.texts).address,
                    settings=self._address(loss.settings, np.float64),
                    width=width,
                    targets=memory.targets + y_column * of_column,
                    z=last.z + z_column * of_column,
                    delta=last.delta + z_column * of_column,
                )
            )
            z_column, y_column = z_column + width, y_column + target_width
        return heads

    def _rule(self) -> team.Rule:
        optimizer, rule = self._job.optimizer, self._sources.optimizer
        n_steps = -(-self._job.X.shape[0] // self._job.batch_size)
        self._shrink = np.ones(n_steps)
        if optimizer is None or rule is None:
            return team.Rule()
        self._coefficients = np.tile(rule.settings, (n_steps, 1))
        return team.Rule(
            kernel=kernel(*rule.texts).address,
            state=self._address(optimizer.state),
            coefficients=self._address(self._coefficients),
            n_coefficients=len(rule.settings),
            shrink=self._address(self._shrink),
        )

    def _team(self, n_parts: int) -> team.Team:
        self._counters = np.zeros((3 + n_parts) * team.LINE, dtype=np.int64)
        give_way, nap, millisecond = waiting()
        name = "sgemm" if self._dtype == np.float32 else "dgemm"
        return team.Team(
            n_parts=n_parts,
            patience=PATIENCE + self._job.batch_size * self._job.network.n_weights // PER_POLL,
            counters=self._address(self._counters),
            sums=self._address(np.zeros(n_parts * team.LINE)),
            gemm=get_cython_function_address("scipy.linalg.cython_blas", name),
            give_way=ctypes.cast(give_way, ctypes.c_void_p).value or 0,
            nap=ctypes.cast(nap, ctypes.c_void_p).value or 0,
            millisecond=millisecond,
        )


def _follow(work: Callable[..., Any], parts: Iterator[int], told: NDArray, alive: list[Any]) -> None:
    """Do one part of each step in another thread, which keeps alive what compiled code knows by address."""
    work(told.ctypes.data, next(parts), 0, 0)
