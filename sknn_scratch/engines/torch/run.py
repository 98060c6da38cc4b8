"""Training and prediction on a device of PyTorch: the equations of ``engines/numpy/run.py``, not differentiated by it.

On a GPU a step is some fifteen small kernels, and to ask for each takes longer than to compute it. So the steps of a
piece of the samples, up to 64, are recorded as one CUDA graph and replayed for each further piece of as many rows: what
changes from step to step (samples, coefficients of the optimiser, keys of random draws) is read from the same place
each time. The first piece is computed without a graph, which also prepares the libraries as a recording needs it.

No step needs the value of the loss, so it is computed for all raw outputs of a piece at once.
"""

from __future__ import annotations

import gc
import math
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

import sknn_scratch.engines.policy as policy
from sknn_scratch.engines.draws import INPUT_NOISE, bits, keys, normal
from sknn_scratch.engines.torch.arrays import compute, torch_dtype
from sknn_scratch.engines.torch.formulas import multiply_slope, output_delta, update
from sknn_scratch.perceptron import Perceptron, layer_views
from sknn_scratch.training.coded_matrix import CodedMatrix
from sknn_scratch.training.job import Job

_lock = threading.RLock()


@contextmanager
def computing(device: torch.device, stream: Any = None) -> Iterator[None]:
    """Compute on a device, in a stream if one is given, and in the dtypes of the arrays, whatever autocast says.

    Only one thread at a time does: what others ask of a GPU could spoil the recording of a graph, and nothing is gained
    side by side.
    """
    with _lock, torch.cuda.stream(stream), torch.autocast(device.type, enabled=False):
        yield


def lower_half(x: Any) -> Any:
    """Return the lower 32 bits of integers of 64."""
    return x & 0xFFFFFFFF


def problem(name: str) -> str | None:
    """Return why a device cannot be used, or None."""
    numbers = np.array([7, 2**31, *range(2**32 - 9, 2**32)], dtype=np.uint32)
    try:  # a GPU may be there and too old, forbidden to a forked process, or wrong in integers, as some of Macs are
        with computing(torch.device(name)):
            there = torch.tensor(numbers.tolist(), device=name)
            drawn = bits(there[:2], there[2:], lower_half).tolist()
    except Exception as error:
        return f"PyTorch {torch.__version__} says: {str(error).splitlines()[0]}"
    return None if drawn == bits(numbers[:2], numbers[2:]).tolist() else "it computes wrongly with integers of 64 bits"


def free_bytes(device: torch.device) -> int:
    """Return how much memory a device has left for us; of the host's, nothing is known."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what is kept then, as the graphs of other runs are, is not to be had
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return sys.maxsize


def upload(array: Any, device: torch.device, dtype: DTypeLike) -> Tensor:
    """Return a dense copy of an array on a device, in C order; on the way it takes little memory."""
    out = torch.empty(array.shape, dtype=torch_dtype(dtype), device=device)
    n_rows = max(1, policy.UPLOAD_BYTES // max(1, 8 * math.prod(array.shape[1:])))
    for start in range(0, len(array), n_rows):
        rows = slice(start, start + n_rows)
        out[rows].copy_(_on_host(array[rows], dtype))
    return out


def _on_host(array: Any, dtype: DTypeLike) -> Tensor:
    dense = array.toarray() if isinstance(array, CodedMatrix) else array
    return torch.from_numpy(np.require(dense, dtype, ["C", "W"]))


def raw_output(
    network: Perceptron, X: NDArray, rows: NDArray | None, device: str, check_finite: bool
) -> NDArray | None:
    """Pass samples forward on a device, a chunk of rows at a time; see ``Perceptron.raw_output``."""
    place, dtype = torch.device(device), np.result_type(X.dtype, network.dtype)
    n_samples = len(X) if rows is None else len(rows)
    out = np.empty((n_samples, network.layer_units[-1]), dtype=dtype)
    n_at_once = max(1, policy.DEVICE_CHUNK_BYTES // (max(network.layer_units) * dtype.itemsize))
    with computing(place):
        finite = torch.ones((), dtype=torch.bool, device=place)
        W, b = ([upload(layer, place, dtype) for layer in layers] for layers in (network.weights, network.biases))
        for start in range(0, n_samples, n_at_once):
            chunk = slice(start, start + n_at_once)
            a = upload(X[chunk] if rows is None else X[rows[chunk]], place, dtype)
            if check_finite:
                finite &= torch.isfinite(a.sum())
            for l, f in enumerate(network.activations):
                a = compute(f.value, torch.addmm(b[l], a, W[l])).to(a.dtype)
            torch.from_numpy(out[chunk]).copy_(torch.addmm(b[-1], a, W[-1]))
        return out if bool(finite) else None


# Streams that no run has. PyTorch gives out 32 in turn, keeps memory for the products of each, which graphs refer to,
# and may free it with any graph of that stream: https://github.com/pytorch/pytorch/issues/193402
_idle_streams: dict[torch.device, list[Any]] = defaultdict(list)


class TorchRun:
    """Trains a network on ``job.device``; parameters and state of the optimiser are the job's between the epochs.

    ``X`` is on the device as a whole, once for runs of the same ``X`` of which one is started ``beside`` the other. Or
    it is too large, and each piece is gathered in pinned memory while the device makes the steps of the one before.
    Raises MemoryError if the device's memory does not suffice for a piece either.
    """

    def __init__(self, job: Job, beside: TorchRun | None = None):
        self._job, network, optimizer = job, job.network, job.optimizer
        self._device = torch.empty(0, device=job.device).device  # with its number
        self._dtype, self._exact = network.dtype, np.float32 if self._device.type == "mps" else np.float64
        self._stream: Any = None
        self._pool: Any = None
        # By the numbers of rows and whether they train: graphs, or which thread has made these steps without one.
        self._graphs: dict[tuple[int, bool], Any] = {}
        self._size = min(len(job.y), policy.GRADIENT_ROWS) if optimizer is None else job.batch_size
        self._drawn = [INPUT_NOISE] * bool(job.input_noise) + [l for l, rate in enumerate(job.dropout) if rate]
        self._state: NDArray = np.empty((0, 1)) if optimizer is None else optimizer.state
        self.gradient: NDArray = np.zeros_like(network.parameters)
        self._all_X: Tensor | None = beside._all_X if beside is not None and beside._job.X is job.X else None
        with computing(self._device):
            n_steps, fits = self._plan()
            if self._device.type == "cuda":
                self._stream = (_idle_streams[self._device] or [torch.cuda.Stream(self._device)]).pop()
                self._pool = torch.cuda.graph_pool_handle()
        with computing(self._device, self._stream):
            if fits and self._all_X is None:
                self._all_X = upload(job.X, self._device, self._dtype)
            weights = np.ones(len(job.y)) if job.sample_weight is None else job.sample_weight
            self._all_y = upload(job.y, self._device, self._dtype)
            self._all_weights = upload(weights, self._device, self._exact)
            # What the steps of a piece read, always here: the samples or their rows, numbers of steps, keys of draws.
            n_rows, n_numbers = n_steps * self._size, 4 + (0 if optimizer is None else optimizer.n_coefficients)
            self._X = self._zeros(n_rows if self._all_X is None else 0, job.X.shape[1])
            self._rows = self._zeros(n_rows, dtype=np.int64)
            self._numbers = self._zeros(n_steps, n_numbers, dtype=self._exact)
            self._keys = self._zeros(n_steps, len(self._drawn), 2, dtype=np.int64)
            self._loss = self._zeros(dtype=self._exact)
            # Each begins at a multiple of 16 bytes, as kernels read four numbers at once.
            size = self.gradient.size
            self._w, self._g, self._sum = (self._zeros(size) for _ in range(3))
            self._vectors = self._zeros(len(self._state), 4 * -(-size // 4))[:, :size]
            self._vectors.copy_(torch.from_numpy(self._state))
        views: Any = [layer_views(vector, network.layer_units) for vector in (self._w, self._g)]
        (self._W, self._b), (self._dW, self._db) = views

    def epoch(self, order: NDArray | None, learning_rates: NDArray) -> float:
        """Train for an epoch; see ``NumpyRun.epoch``."""
        job, optimizer = self._job, self._job.optimizer
        assert optimizer is not None
        rows = np.arange(len(job.y)) if order is None else order
        starts = np.arange(0, len(rows), self._size)
        n_rows = totals = np.diff(starts, append=len(rows))
        if job.sample_weight is not None:
            totals = np.add.reduceat(job.sample_weight[rows], starts)
            counts = totals > 0  # other minibatches are left out
            rows, n_rows, totals = rows[np.repeat(counts, n_rows)], n_rows[counts], totals[counts]
        first = optimizer.n_updates + 1
        coefficients = optimizer.next_coefficients(learning_rates)
        decays = 1 - learning_rates * optimizer.decay_rate
        numbers = np.column_stack([*coefficients, decays, 1 / totals, job.alpha / totals, n_rows / len(rows)])
        with computing(self._device, self._stream):
            loss = self._make_all_steps(rows, numbers, range(first, first + len(totals)), train=True)
            torch.from_numpy(job.network.parameters).copy_(self._w)
            torch.from_numpy(self._state).copy_(self._vectors)
        return loss

    def loss_and_gradient(self) -> float:
        """Return the objective over all samples, which are one minibatch, and fill ``gradient``."""
        rows, weights = np.arange(len(self._job.y)), self._job.sample_weight
        total = len(rows) if weights is None else weights.sum()
        numbers = np.zeros((-(-len(rows) // self._size), self._numbers.shape[1]))
        numbers[:, -3], numbers[0, -2], numbers[:, -1] = 1 / total, self._job.alpha / total, 1
        with computing(self._device, self._stream):
            self._sum.zero_()
            loss = self._make_all_steps(rows, numbers, [0] * len(numbers), train=False)
            torch.from_numpy(self.gradient).copy_(self._sum)
        return loss

    def close(self) -> None:
        """Wait for the device, so that its memory can be freed, and forget the graphs."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with computing(self._device):
                stream.synchronize()
                self._graphs.clear()
                _idle_streams[self._device].append(stream)

    # All steps -------------------------------------------------------------------------------------------------------

    def _make_all_steps(self, rows: NDArray, numbers: NDArray, steps: Sequence[int], *, train: bool) -> float:
        """Make a step with each minibatch of the rows, and return the loss.

        ``numbers`` has of each step the optimiser's coefficients, the factor of decay, by what weights of samples are
        multiplied, the strength of the penalty, and its share in the loss; ``steps`` are those that draws go by.
        """
        drawn = np.array([keys(self._job.seed, step, l) for step in steps for l in self._drawn], dtype=np.int64)
        all_rows, all_numbers = upload(rows, self._device, rows.dtype), upload(numbers, self._device, self._exact)
        all_keys = upload(drawn.reshape(len(steps), -1, 2), self._device, np.int64)
        self._w.copy_(torch.from_numpy(self._job.network.parameters))  # a callback may have changed them
        self._loss.zero_()
        n_at_once = len(self._numbers)
        for start in range(0, len(steps), n_at_once):
            now, piece = slice(start, start + n_at_once), slice(start * self._size, (start + n_at_once) * self._size)
            if self._all_X is None:
                gathered = _on_host(self._job.X[rows[piece]], self._dtype)
                self._X[: len(gathered)].copy_(gathered if self._stream is None else gathered.pin_memory())
            given = (self._rows, all_rows[piece]), (self._numbers, all_numbers[now]), (self._keys, all_keys[now])
            for place, one in given:
                place[: len(one)].copy_(one)
            self._make_steps_at_once(len(rows[piece]), train)
        return self._loss.item()

    def _make_steps_at_once(self, n_rows: int, train: bool) -> None:
        """Make the steps with the piece that is loaded, on a GPU by a graph but for the first time."""
        key, thread = (n_rows, train), threading.current_thread()
        found = self._graphs.get(key)
        if found is thread and self._stream is not None:
            found = self._graphs[key] = self._record(n_rows, train)
        if found is None or isinstance(found, threading.Thread):
            self._make_steps(n_rows, train)
            self._graphs[key] = thread  # alone, as the libraries keep their handles by thread
        else:
            found.replay()

    def _record(self, n_rows: int, train: bool) -> Any:
        graph, collects_garbage = torch.cuda.CUDAGraph(), gc.isenabled()
        gc.disable()  # another graph that is destroyed meanwhile spoils it: https://github.com/pytorch/pytorch/pull/161037
        try:
            # Other threads may do what they want meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                self._make_steps(n_rows, train)
        finally:
            if collects_garbage:
                gc.enable()
        return graph

    # A piece ---------------------------------------------------------------------------------------------------------

    def _make_steps(self, n_rows: int, train: bool) -> None:
        """Make the steps with the first rows of the piece, and add up what they are of the loss of the epoch."""
        job, size, n_steps, rows = self._job, self._size, -(-n_rows // self._size), self._rows[:n_rows]
        X = self._X[:n_rows] if self._all_X is None else self._all_X.index_select(0, rows)
        y, weights = (one.index_select(0, rows) for one in (self._all_y, self._all_weights))
        exact = self._numbers[:n_steps]
        shares = (weights * exact[:, -3].repeat_interleave(size)[:n_rows]).to(X.dtype)
        numbers, drawn = exact.to(X.dtype), self._draw(n_steps)
        raw_output, norms = X.new_empty(n_rows, job.network.layer_units[-1]), X.new_zeros(n_steps, 2)
        minibatches = zip(*(one.split(size) for one in (X, y, shares, raw_output)), strict=True)
        for k, minibatch in enumerate(minibatches):
            *coefficients, decay, _, strength, _ = numbers[k]
            self._fill_gradient(minibatch, {l: one[k, : len(minibatch[0])] for l, one in drawn.items()})
            if job.alpha > 0:
                self._add_penalty(strength, *norms[k])
            if train:
                self._move(coefficients, decay)
            else:
                self._sum.add_(self._g)
        strengths, in_loss = numbers[:, -2:].T
        losses = compute(job.loss.value, y, raw_output) * shares * in_loss.repeat_interleave(size)[:n_rows]
        self._loss.add_(torch.sum(losses, dtype=self._loss.dtype))
        if job.alpha > 0:
            absolute, euclidean = norms.T
            norms = job.l1_ratio * absolute + (1 - job.l1_ratio) / 2 * euclidean**2
            self._loss.add_(torch.sum(norms * strengths * in_loss, dtype=self._loss.dtype))

    def _draw(self, n_steps: int) -> dict[int, Tensor]:
        """Return masks of layers of which a share is dropped, and the noise on the samples, for steps at once."""
        drawn, dtype = {}, self._w.dtype
        for l, of_layer in zip(self._drawn, self._keys[:n_steps].unbind(1), strict=True):
            shape = self._size, len(self._W[max(l, 0)])
            index = torch.arange(math.prod(shape), device=self._device).reshape(shape)
            first, second = of_layer.T[:, :, None, None]
            if l == INPUT_NOISE:
                noise = compute(lambda i, *pair: normal(pair, i, lower_half), index, first, second)
                drawn[l] = (self._job.input_noise * noise).to(dtype)
            else:
                rate = self._job.dropout[l]
                kept = bits((first, second), index, lower_half) >= int(rate * 2.0**32)
                drawn[l] = kept.to(dtype) * (1 / (1 - rate))
        return drawn

    def _fill_gradient(self, minibatch: Sequence[Tensor], drawn: dict[int, Tensor]) -> None:
        """Fill the gradient of a minibatch, without the penalty, and its raw output."""
        job, f, W, last = self._job, self._job.network.activations, self._W, len(self._W) - 1
        X, y, shares, raw_output = minibatch
        # A kernel may take for granted that a vector begins at a multiple of 16 bytes, but not that a matrix does:
        # https://github.com/pytorch/pytorch/pull/194497
        b = [one.expand(len(X), -1) if one.data_ptr() % 16 else one for one in self._b]
        X = X + drawn[INPUT_NOISE] if INPUT_NOISE in drawn else X
        a, z, hidden = [X * drawn[0] if 0 in drawn else X], [], []
        for l in range(last):
            z.append(torch.addmm(b[l], a[l], W[l]))
            hidden.append(compute(f[l].value, z[l]).to(X.dtype))
            a.append(hidden[l] * drawn[l + 1] if l + 1 in drawn else hidden[l])
        z.append(torch.addmm(b[last], a[last], W[last], out=raw_output))
        # (1) delta[L - 1] = dC/dz[L - 1]
        delta = output_delta(job.loss, y, z[last]) * shares.unsqueeze(1)
        for l in range(last, -1, -1):
            # (3) dC/dW[l] = a[l].T @ delta[l]
            torch.mm(a[l].T, delta, out=self._dW[l])
            # (4) dC/db[l] = sum of delta[l] over the samples
            if job.fit_intercept:
                torch.sum(delta, 0, out=self._db[l])
            if l > 0:
                # (2) delta[l - 1] = (delta[l] @ W[l].T) * f[l - 1]'(z[l - 1])
                delta = multiply_slope(f[l - 1], delta @ W[l].T, z[l - 1], hidden[l - 1])
                if l in drawn:
                    delta.mul_(drawn[l])

    def _add_penalty(self, strength: Tensor, absolute: Tensor, euclidean: Tensor) -> None:
        """Add the derivative of the penalty to the gradient, and fill in the norms of the weights."""
        n_weights, l1_ratio = self._job.network.n_weights, self._job.l1_ratio
        w, g = self._w[:n_weights], self._g[:n_weights]
        if l1_ratio < 1:
            g.addcmul_(w, strength, value=1 - l1_ratio)
            torch.linalg.vector_norm(w, out=euclidean)
        if l1_ratio > 0:
            g.addcmul_(torch.sign(w), strength, value=l1_ratio)
            torch.linalg.vector_norm(w, 1, out=absolute)

    def _move(self, coefficients: Sequence[Tensor], decay: Tensor) -> None:
        """Move the parameters against the gradient."""
        job, optimizer = self._job, self._job.optimizer
        assert optimizer is not None
        if job.max_grad_norm is not None:
            # Squares may be too large where the norm is not.
            largest = torch.linalg.vector_norm(self._g, torch.inf).clamp_(min=torch.finfo(self._g.dtype).tiny)
            norm = torch.linalg.vector_norm(self._g / largest)
            self._g.mul_((job.max_grad_norm / largest / norm).clamp_(max=1.0))
        if optimizer.decay_rate:
            self._w[: optimizer.n_weights].mul_(decay)
        update(optimizer, self._w, self._g, self._vectors, coefficients)

    # Memory ----------------------------------------------------------------------------------------------------------

    def _zeros(self, *shape: int, dtype: DTypeLike | None = None) -> Tensor:
        return torch.zeros(shape, dtype=torch_dtype(dtype or self._dtype), device=self._device)

    def _plan(self) -> tuple[int, bool]:
        """Return how many steps, at most, are made at once, and whether all of ``X`` fits on the device."""
        job, units, itemsize = self._job, self._job.network.layer_units, self._dtype.itemsize
        n_rows, n_targets = job.y.shape
        free = int(policy.DEVICE_MEMORY_SHARE * free_bytes(self._device))
        # Of outputs there are temporaries while the loss is computed, and of what is drawn, in integers of 64 bits.
        row_bytes = (units[0] + n_targets + 6 * units[-1]) * itemsize
        row_bytes += job.is_noisy * (32 * max(units) + sum(units) * itemsize)
        n_at_most = min(policy.PIECE_BYTES, free // 4) // (self._size * row_bytes)
        n_steps = max(1, min(policy.STEPS_AT_ONCE, -(-n_rows // self._size), n_at_most))
        needed = (5 + len(self._state)) * self.gradient.nbytes + n_rows * (n_targets * itemsize + 16)
        needed += self._size * (n_steps * row_bytes + 4 * sum(units) * itemsize)
        of_X = n_rows * units[0] * itemsize
        if needed > free:
            raise MemoryError(
                f"Training on device={job.device!r} needs {needed:,} bytes there, even if X, {of_X:,} bytes, is read "
                f"in pieces, and {free:,} may be used. Lower batch_size or hidden_layer_sizes, or use device='cpu'."
            )
        return n_steps, needed + of_X <= free
