"""A training run on a device of PyTorch: the equations of ``engines/numpy/run.py``, without automatic differentiation.

On a GPU a step is some thirty small kernels, and to ask for each takes longer than to compute it. So many steps are
recorded as one CUDA graph, once, and replayed: all that changes from step to step (rows, coefficients of the optimiser,
keys of random draws) is read from the same place on the device each time. An epoch is made of graphs of 64, 32, ..., 1
steps, and of one for a smaller last minibatch. What is done for the first time is done without a graph, which also
prepares the libraries as a recording needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sknn_scratch.engines.draws import INPUT_NOISE, keys
from sknn_scratch.engines.policy import DEVICE_MEMORY_SHARE, GRADIENT_ROWS, STEPS_AT_ONCE, STREAM_BYTES
from sknn_scratch.engines.torch.arrays import TORCH_DTYPES, Space
from sknn_scratch.engines.torch.devices import computing, free_bytes
from sknn_scratch.engines.torch.draws import mask, normal
from sknn_scratch.engines.torch.formulas import activate, loss_and_delta, mover, multiply_slope
from sknn_scratch.engines.torch.samples import Samples, StreamedSamples, tensor_of, upload
from sknn_scratch.perceptron import layer_views
from sknn_scratch.training.job import Job

__all__ = ["TorchRun"]


class _Piece(NamedTuple):
    """Steps that are made at once: how many came before, how many there are, and the rows of each."""

    first: int
    n_steps: int
    n_rows: int


def _pieces(n_full: int, n_last: int, batch_size: int, most: int) -> Iterator[_Piece]:
    """Cut an epoch into pieces of so many steps as are a power of two, and the last, smaller minibatch."""
    first = 0
    while first < n_full:
        n_steps = min(most, 1 << (n_full - first).bit_length() - 1)
        yield _Piece(first, n_steps, batch_size)
        first += n_steps
    if n_last:
        yield _Piece(first, 1, n_last)


def _add_scaled(to: torch.Tensor, what: torch.Tensor, factor: Any) -> None:
    """``to += factor * what`` with a number, or one that is on the device."""
    to.add_(what, alpha=factor) if isinstance(factor, float) else to.addcmul_(what.to(to.dtype), factor.to(to.dtype))


class TorchRun:
    """Trains a network on ``job.device``.

    The parameters, and the state of the optimiser, are those of the job before and after each epoch.

    Parameters
    ----------
    job : Job
    beside : TorchRun or None
        The run of another job that may have the same samples, which then are on the device once.

    Attributes
    ----------
    gradient : ndarray of shape (n_parameters,)

    Raises
    ------
    MemoryError
        If the device's memory does not suffice.
    """

    def __init__(self, job: Job, beside: TorchRun | None = None):
        self._job, self._device, network = job, torch.device(job.device), job.network
        dtype, on_gpu = TORCH_DTYPES[network.dtype], self._device.type == "cuda"
        self._exact = torch.float32 if self._device.type == "mps" else torch.float64
        self._space = Space(dtype, self._device)
        self._stream = torch.cuda.Stream(self._device) if on_gpu else None
        self._pool = torch.cuda.graph_pool_handle() if on_gpu else None
        self._graphs: dict[tuple[int, int], Any] = {}
        self.gradient: NDArray = np.zeros_like(network.parameters)
        self._n_weights = network.n_weights
        # Parameters and the optimiser's vectors in one tensor: one copy brings them back.
        self._host = [network.parameters, *([] if job.optimizer is None else job.optimizer.state)]
        with self._on_device():
            self._samples: Samples = self._place(None if beside is None else beside._samples)
            self._state = torch.zeros((len(self._host), self.gradient.size), dtype=dtype, device=self._device)
            self._w, self._g = self._state[0], torch.zeros(self.gradient.size, dtype=dtype, device=self._device)
            self._weights, self._biases = layer_views(self._w, network.layer_units)
            self._weight_gradients, self._bias_gradients = layer_views(self._g, network.layer_units)
            self._losses = torch.zeros(self._most_steps, dtype=self._exact, device=self._device)
            self._numbers = self._keys = torch.zeros(0)
            if job.optimizer is not None:
                self._move = mover(job.optimizer, self._w, self._g, self._state[1:], self._space)
                self._send(slice(0, None))
                n_numbers = job.optimizer.n_coefficients + 1
                self._numbers = torch.zeros((self._most_steps, n_numbers), dtype=dtype, device=self._device)
            self._drawn = [INPUT_NOISE] * bool(job.input_noise) + [l for l, rate in enumerate(job.dropout) if rate]
            self._keys = torch.zeros((self._most_steps, len(self._drawn), 2), dtype=torch.int64, device=self._device)

    def epoch(self, order: NDArray | None, learning_rates: NDArray) -> float:
        """Train for an epoch; see ``NumpyRun.epoch``."""
        job, optimizer = self._job, self._job.optimizer
        assert optimizer is not None
        order, first_step, n_steps = self._rows_that_count(order), optimizer.n_updates + 1, len(learning_rates)
        pieces = list(_pieces(*divmod(len(order), job.batch_size), job.batch_size, self._most_steps))
        shrink = 1 - learning_rates * optimizer.decay_rate
        numbers = np.column_stack([*optimizer.next_coefficients(learning_rates), shrink])
        drawn = [[keys(job.seed, first_step + k, layer) for layer in self._drawn] for k in range(n_steps)]
        with self._on_device():
            self._send(slice(0, 1))  # a callback may have changed the parameters
            all_numbers = upload(numbers, self._device, self._numbers.dtype)
            all_keys = upload(np.array(drawn, dtype=np.int64).reshape(n_steps, -1, 2), self._device)
            losses = torch.empty(n_steps, dtype=self._exact, device=self._device)
            size = job.batch_size
            self._samples.begin(order, [slice(p.first * size, p.first * size + p.n_steps * p.n_rows) for p in pieces])
            for k, piece in enumerate(pieces):
                steps = slice(piece.first, piece.first + piece.n_steps)
                self._samples.load(k)
                self._numbers[: piece.n_steps].copy_(all_numbers[steps])
                self._keys[: piece.n_steps].copy_(all_keys[steps])
                self._advance(piece.n_steps, piece.n_rows)
                losses[steps].copy_(self._losses[: piece.n_steps])
                self._samples.prepare(k + 1)
            self._bring_back()
            n_rows = np.repeat([p.n_rows for p in pieces], [p.n_steps for p in pieces])
            return float(np.dot(losses.cpu().numpy(), n_rows) / len(order))

    def loss_and_gradient(self) -> float:
        """Return the objective over all samples, which are one minibatch, and fill ``gradient``."""
        job, n_rows = self._job, len(self._job.y)
        total = float(n_rows if job.sample_weight is None else job.sample_weight.sum())
        pieces = [slice(start, min(start + self._most_rows, n_rows)) for start in range(0, n_rows, self._most_rows)]
        drawn = np.array([keys(job.seed, 0, layer) for layer in self._drawn], dtype=np.int64).reshape(-1, 2)
        with self._on_device():
            self._send(slice(0, 1))
            self._keys[0].copy_(tensor_of(drawn))
            self._samples.begin(np.arange(n_rows), pieces)
            value, gradient = torch.zeros_like(self._losses[0]), torch.zeros_like(self._g)
            for k, piece in enumerate(pieces):
                self._samples.load(k)
                X, y, weight = self._samples.read(slice(0, piece.stop - piece.start))
                self._loss_and_gradient(X, y, 1 / total if weight is None else self._shares(weight, total), 0)
                value += self._losses[0]
                gradient += self._g
                self._samples.prepare(k + 1)
            self._g.copy_(gradient)
            if job.alpha > 0:
                self._add_penalty(job.alpha / total, value)
            tensor_of(self.gradient).copy_(self._g)
            return float(value)

    def close(self) -> None:
        """Wait for the device, so that its memory can be freed, and forget the graphs."""
        if self._stream is not None:
            self._stream.synchronize()
        self._graphs.clear()

    # A step ----------------------------------------------------------------------------------------------------------

    def _advance(self, n_steps: int, n_rows: int) -> None:
        """Make the steps that are loaded, of so many rows each: from the second time on by a graph."""
        key = n_steps, n_rows
        if self._stream is None or key not in self._graphs:
            self._graphs[key] = None
            self._make_steps(*key)
            return
        if self._graphs[key] is None:
            graph = torch.cuda.CUDAGraph()
            # Other threads may do what they want meanwhile.
            settings: Any = {"pool": self._pool, "stream": self._stream, "capture_error_mode": "thread_local"}
            with torch.cuda.graph(graph, **settings):
                self._make_steps(*key)
            self._graphs[key] = graph
        self._graphs[key].replay()

    def _make_steps(self, n_steps: int, n_rows: int) -> None:
        job = self._job
        for k in range(n_steps):
            first = k * job.batch_size
            X, y, weight = self._samples.read(slice(first, first + n_rows))
            total = n_rows if weight is None else weight.sum()
            self._loss_and_gradient(X, y, 1 / n_rows if weight is None else self._shares(weight, total), k)
            if job.alpha > 0:
                self._add_penalty(job.alpha / total, self._losses[k])
            if job.max_grad_norm is not None:
                self._g.mul_((job.max_grad_norm / torch.linalg.vector_norm(self._g)).clamp_(max=1.0))
            self._move(self._numbers[k])

    def _shares(self, weight: torch.Tensor, total: Any) -> torch.Tensor:
        """Return the relative weights of samples, of shape (n_samples, 1)."""
        return (weight / total).to(self._g.dtype).unsqueeze(1)

    def _loss_and_gradient(self, X: torch.Tensor, y: torch.Tensor, share: Any, k: int) -> None:
        """Fill the gradient and place ``k`` of the losses, without the penalty."""
        job, f, W, b, space = self._job, self._job.network.activations, self._weights, self._biases, self._space
        key, last = dict(zip(self._drawn, self._keys[k], strict=True)), len(W) - 1
        if INPUT_NOISE in key:
            X = X + job.input_noise * normal(key[INPUT_NOISE], X, self._exact)
        fed, z, hidden, masks = [X * mask(key[0], job.dropout[0], X) if 0 in key else X], [], [], {}
        for l in range(last):
            z.append(torch.addmm(b[l], fed[l], W[l]))
            hidden.append(activate(f[l], z[l], space))
            if l + 1 in key:
                masks[l + 1] = mask(key[l + 1], job.dropout[l + 1], hidden[l])
            fed.append(hidden[l] * masks[l + 1] if l + 1 in key else hidden[l])
        raw_output = torch.addmm(b[last], fed[last], W[last])
        # (1) delta[L - 1] = dC/dz[L - 1]
        delta = loss_and_delta(job.loss, y, raw_output, share, space, self._losses[k])
        for l in range(last, -1, -1):
            # (3) dC/dW[l] = a[l].T @ delta[l]
            torch.mm(fed[l].T, delta, out=self._weight_gradients[l])
            # (4) dC/db[l] = sum of delta[l] over the samples
            if job.fit_intercept:
                torch.sum(delta, 0, out=self._bias_gradients[l])
            if l > 0:
                # (2) delta[l - 1] = (delta[l] @ W[l].T) * f[l - 1]'(z[l - 1])
                delta = multiply_slope(f[l - 1], delta @ W[l].T, z[l - 1], hidden[l - 1], space)
                if l in masks:
                    delta.mul_(masks[l])

    def _add_penalty(self, strength: Any, value: torch.Tensor) -> None:
        """Add the penalty to a value, and its gradient to the gradient."""
        w, g, l1_ratio = self._w[: self._n_weights], self._g[: self._n_weights], self._job.l1_ratio
        if l1_ratio < 1:
            _add_scaled(g, w, strength * (1 - l1_ratio))
            _add_scaled(value, torch.dot(w, w), strength * 0.5 * (1 - l1_ratio))
        if l1_ratio > 0:
            _add_scaled(g, torch.sign(w), strength * l1_ratio)
            _add_scaled(value, w.abs().sum(), strength * l1_ratio)

    # Between host and device -----------------------------------------------------------------------------------------

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        on_stream = nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        with computing, torch.no_grad(), on_stream:
            yield

    def _send(self, which: slice) -> None:
        """Bring parameters, which are first, and vectors of the optimiser to the device."""
        for there, here in zip(self._state[which], self._host[which], strict=True):
            there.copy_(tensor_of(here))

    def _bring_back(self) -> None:
        for there, here in zip(self._state, self._host, strict=True):
            tensor_of(here).copy_(there)

    def _rows_that_count(self, order: NDArray | None) -> NDArray:
        """Return the rows in order, but those of minibatches in which no sample counts."""
        weights, size = self._job.sample_weight, self._job.batch_size
        rows = np.arange(len(self._job.y)) if order is None else order
        if weights is None:
            return rows
        counts = np.add.reduceat(weights[rows], np.arange(0, len(rows), size)) != 0
        return rows if counts.all() else rows[np.repeat(counts, size)[: len(rows)]]

    def _place(self, beside: Samples | None) -> Samples:
        """Put the samples on the device, all of them or, if they are too many, a piece at a time."""
        job, network = self._job, self._job.network
        X, y, n_rows, size = job.X, job.y, len(job.y), job.batch_size
        if job.optimizer is None:
            size = min(size, GRADIENT_ROWS)
        most_steps = 1 << min(STEPS_AT_ONCE, -(-n_rows // size)).bit_length() - 1
        row_bytes, itemsize = X.shape[1] * X.dtype.itemsize, X.dtype.itemsize
        per_row = 4 * sum(network.layer_units) * itemsize + 32 * max(network.layer_units) * job.is_noisy
        needed = (len(self._host) + 3) * network.parameters.nbytes + size * per_row + y.size * itemsize + 24 * n_rows
        free, kind = int(DEVICE_MEMORY_SHARE * free_bytes(self._device)), Samples
        if needed + (0 if beside is not None and beside.has(X) else n_rows * row_bytes) > free:
            kind, n_bytes = StreamedSamples, 3 * size * row_bytes
            while most_steps > 1 and n_bytes * most_steps > STREAM_BYTES:
                most_steps //= 2
            if (needed := needed + n_bytes * most_steps) > free:
                raise MemoryError(
                    f"Training on device={job.device!r} needs {needed:,} bytes there, even if X, "
                    f"{n_rows * row_bytes:,} bytes, is read in pieces, and {free:,} may be used. Lower batch_size or "
                    "hidden_layer_sizes, or use device='cpu'."
                )
        self._most_steps, self._most_rows = most_steps, most_steps * size
        return kind(X, y, job.sample_weight, self._most_rows, self._device, self._space.dtype, self._exact, beside)
