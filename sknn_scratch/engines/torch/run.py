"""Training and prediction on a device of PyTorch: the equations of ``engines/numpy/run.py``, not differentiated by it.

On a GPU a step is some fifteen small kernels, and to ask for each takes longer than to compute it. So the steps of a
piece of the samples, up to 64, are recorded as one CUDA graph and replayed for each further piece of as many rows: what
changes from step to step (samples, coefficients of the optimiser, keys of random draws) is read from the same place
each time. The first piece is computed without a graph, which also prepares the libraries as a recording needs it.

No step needs the value of the loss, so it is computed for all raw outputs of a piece at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

import sknn_scratch.engines.policy as policy
from sknn_scratch.engines.draws import INPUT_NOISE, keys
from sknn_scratch.engines.torch.arrays import compute, torch_dtype
from sknn_scratch.engines.torch.formulas import mask, multiply_slope, normal, output_delta, update
from sknn_scratch.engines.torch.samples import Samples, upload
from sknn_scratch.perceptron import Perceptron, layer_views
from sknn_scratch.training.job import Job

# Held while a device computes for us: what another thread asks of a GPU could spoil the recording of a graph, and
# nothing is gained side by side.
computing = threading.RLock()


def problem(name: str) -> str | None:
    """Return why a device cannot be used, or None."""
    try:
        torch.zeros(1, device=name).item()  # a GPU may be there and too old, or forbidden to a forked process
    except Exception as error:
        return f"PyTorch {torch.__version__} says: {str(error).splitlines()[0]}"
    return None


def free_bytes(device: torch.device) -> int:
    """Return how much memory a device has left for us; of the host's, nothing is known."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return sys.maxsize


def raw_output(
    network: Perceptron, X: NDArray, rows: NDArray | None, device: str, check_finite: bool
) -> NDArray | None:
    """Pass samples forward on a device, a chunk of rows at a time; see ``Perceptron.raw_output``."""
    place, dtype = torch.device(device), np.result_type(X.dtype, network.dtype)
    n_samples = len(X) if rows is None else len(rows)
    out = np.empty((n_samples, network.layer_units[-1]), dtype=dtype)
    n_at_once = max(1, policy.DEVICE_CHUNK_BYTES // (max(network.layer_units) * dtype.itemsize))
    finite = torch.ones((), dtype=torch.bool, device=place)
    with computing:
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


class TorchRun:
    """Trains a network on ``job.device``; parameters and state of the optimiser are the job's between the epochs.

    Samples that the job of the run ``beside`` has, too, are on the device once. Raises MemoryError if the device's
    memory does not suffice.
    """

    def __init__(self, job: Job, beside: TorchRun | None = None):
        self._job, self._device, network, optimizer = job, torch.device(job.device), job.network, job.optimizer
        exact = np.float32 if self._device.type == "mps" else np.float64
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._pool = None if self._stream is None else torch.cuda.graph_pool_handle()
        self._graphs: dict[tuple[int, bool], torch.cuda.CUDAGraph] = {}
        self._prepared: dict[tuple[int, bool], int] = {}
        self._batch_size = min(len(job.y), policy.GRADIENT_ROWS) if optimizer is None else job.batch_size
        self._drawn = [INPUT_NOISE] * bool(job.input_noise) + [l for l, rate in enumerate(job.dropout) if rate]
        self._state: NDArray = np.empty((0, 1)) if optimizer is None else optimizer.state
        self.gradient: NDArray = np.zeros_like(network.parameters)
        self._samples: Samples
        with computing, torch.cuda.stream(self._stream):  # without a stream, that does nothing
            n_steps, self._steps_drawn, whole = self._plan(beside)
            n_rows = n_steps * self._batch_size
            self._samples = Samples(job, n_rows, self._device, None if beside is None else beside._samples, whole)
            self._raw_output, self._shares = self._zeros(n_rows, network.layer_units[-1]), self._zeros(n_rows)
            self._numbers = self._zeros(n_steps, 3 + (0 if optimizer is None else optimizer.n_coefficients))
            self._norms, self._loss = self._zeros(n_steps, 2), self._zeros(dtype=exact)
            self._keys = self._zeros(n_steps, len(self._drawn), 2, dtype=np.int64)
            # Each begins at a multiple of 16 bytes, as kernels read four numbers at once.
            size = self.gradient.size
            self._w, self._g, self._sum = (self._zeros(size) for _ in range(3))
            self._vectors = self._zeros(len(self._state), 4 * -(-size // 4))[:, :size]
            self._vectors.copy_(torch.from_numpy(self._state))
        self._W, self._b = layer_views(self._w, network.layer_units)
        self._dW, self._db = layer_views(self._g, network.layer_units)

    def epoch(self, order: NDArray | None, learning_rates: NDArray) -> float:
        """Train for an epoch; see ``NumpyRun.epoch``."""
        job, optimizer = self._job, self._job.optimizer
        assert optimizer is not None
        rows, shares, penalties = self._minibatches(order, job.batch_size)
        steps = range(optimizer.n_updates + 1, optimizer.n_updates + 1 + len(penalties))
        coefficients = optimizer.next_coefficients(learning_rates)
        numbers = np.column_stack([*coefficients, 1 - learning_rates * optimizer.decay_rate, penalties])
        with computing, torch.cuda.stream(self._stream):
            loss = self._make_all_steps(rows, shares, numbers, steps, train=True)
            torch.from_numpy(job.network.parameters).copy_(self._w)
            torch.from_numpy(self._state).copy_(self._vectors)
        return loss

    def loss_and_gradient(self) -> float:
        """Return the objective over all samples, which are one minibatch, and fill ``gradient``."""
        rows, shares, penalties = self._minibatches(None, len(self._job.y))
        steps = [0] * -(-len(rows) // self._batch_size)
        numbers = np.zeros((len(steps), self._numbers.shape[1]))
        numbers[0, -2:], numbers[1:, -1] = penalties, 1
        with computing, torch.cuda.stream(self._stream):
            self._sum.zero_()
            loss = self._make_all_steps(rows, shares, numbers, steps, train=False)
            torch.from_numpy(self.gradient).copy_(self._sum)
        return loss

    def close(self) -> None:
        """Wait for the device, so that its memory can be freed, and forget the graphs."""
        with computing:
            if self._stream is not None:
                self._stream.synchronize()
            self._graphs.clear()

    # All steps -------------------------------------------------------------------------------------------------------

    def _minibatches(self, order: NDArray | None, size: int) -> tuple[NDArray, NDArray, NDArray]:
        """Cut the rows into minibatches, and leave out those in which no sample counts.

        Returns the rows, their shares in the loss of their minibatch and, for each minibatch, the strength of the
        penalty and its share in the loss of the epoch.
        """
        weights = self._job.sample_weight
        rows = np.arange(len(self._job.y)) if order is None else order
        starts = np.arange(0, len(rows), size)
        n_rows = totals = np.diff(starts, append=len(rows))
        if weights is None:
            shares = np.repeat((1 / n_rows).astype(self.gradient.dtype), n_rows)
        else:
            totals = np.add.reduceat(weights[rows], starts)
            rows, n_rows, totals = rows[np.repeat(totals != 0, n_rows)], n_rows[totals != 0], totals[totals != 0]
            shares = weights[rows] / np.repeat(totals, n_rows)
        return rows, shares, np.column_stack([self._job.alpha / totals, n_rows / len(rows)])

    def _make_all_steps(
        self, rows: NDArray, shares: NDArray, numbers: NDArray, steps: Sequence[int], *, train: bool
    ) -> float:
        """Make a step, of these numbers, with each minibatch of the rows, and return the loss."""
        job, size, dtype = self._job, self._batch_size, self.gradient.dtype
        drawn = np.array([keys(job.seed, step, layer) for step in steps for layer in self._drawn], dtype=np.int64)
        all_rows = upload(rows, self._device, rows.dtype)
        all_shares, all_numbers = upload(shares, self._device, dtype), upload(numbers, self._device, dtype)
        all_keys = upload(drawn.reshape(len(steps), -1, 2), self._device, np.int64)
        self._w.copy_(torch.from_numpy(job.network.parameters))  # a callback may have changed them
        self._loss.zero_()
        for start in range(0, len(rows), len(self._shares)):
            piece = slice(start, start + len(self._shares))
            now = slice(start // size, start // size + len(self._numbers))
            self._samples.load(rows[piece], all_rows[piece])
            self._shares[: len(rows[piece])].copy_(all_shares[piece])
            self._numbers[: len(steps[now])].copy_(all_numbers[now])
            self._keys[: len(steps[now])].copy_(all_keys[now])
            self._make_steps_at_once(len(rows[piece]), train)
        return self._loss.item()

    def _make_steps_at_once(self, n_rows: int, train: bool) -> None:
        """Make the steps with the piece that is loaded, on a GPU by a graph but for the first time."""
        key, thread = (n_rows, train), threading.get_ident()
        if key in self._graphs:
            self._graphs[key].replay()
        elif self._stream is None or self._prepared.get(key) != thread:
            self._make_steps(n_rows, train)
            self._prepared[key] = thread  # alone, as the libraries keep their handles by thread
        else:
            graph = torch.cuda.CUDAGraph()
            # Other threads may do what they want meanwhile.
            settings: Any = {"pool": self._pool, "stream": self._stream, "capture_error_mode": "thread_local"}
            with torch.cuda.graph(graph, **settings):
                self._make_steps(n_rows, train)
            self._graphs[key] = graph
            graph.replay()

    # A piece ---------------------------------------------------------------------------------------------------------

    def _make_steps(self, n_rows: int, train: bool) -> None:
        """Make the steps with the first rows of the piece, and add up what they are of the loss of the epoch."""
        size, l1_ratio, n_steps = self._batch_size, self._job.l1_ratio, -(-n_rows // self._batch_size)
        for k in range(n_steps):
            *coefficients, decay, penalty, _ = self._numbers[k]
            rows, place = slice(k * size, min((k + 1) * size, n_rows)), k % self._steps_drawn
            if place == 0:
                drawn = self._draw(slice(k, min(k + self._steps_drawn, n_steps)))
            self._fill_gradient(rows, {l: one[place, : rows.stop - rows.start] for l, one in drawn.items()})
            if self._job.alpha > 0:
                self._add_penalty(penalty, *self._norms[k])
            if train:
                self._move(coefficients, decay)
            else:
                self._sum.add_(self._g)
        penalty, in_epoch = self._numbers[:n_steps, -2:].T
        losses = compute(self._job.loss.value, self._samples.y[:n_rows], self._raw_output[:n_rows])
        losses = losses * self._shares[:n_rows] * in_epoch.unsqueeze(1).expand(-1, size).reshape(-1)[:n_rows]
        self._loss.add_(torch.sum(losses, dtype=self._loss.dtype))
        if self._job.alpha > 0:
            absolute, euclidean = self._norms[:n_steps].T
            norms = l1_ratio * absolute + (1 - l1_ratio) / 2 * euclidean**2
            self._loss.add_(torch.sum(norms * penalty * in_epoch, dtype=self._loss.dtype))

    def _draw(self, steps: slice) -> dict[int, torch.Tensor]:
        """Return masks of layers of which a share is dropped, and the noise on the samples, for some steps at once."""
        drawn, dtype = {}, self._w.dtype
        for l, of_layer in zip(self._drawn, self._keys[steps].unbind(1), strict=True):
            shape = self._batch_size, len(self._W[max(l, 0)])
            if l == INPUT_NOISE:
                drawn[l] = (self._job.input_noise * normal(of_layer, shape, self._loss.dtype)).to(dtype)
            else:
                drawn[l] = mask(of_layer, self._job.dropout[l], shape, dtype)
        return drawn

    def _fill_gradient(self, rows: slice, drawn: dict[int, torch.Tensor]) -> None:
        """Fill the gradient of some rows of the piece, without the penalty, and their raw output."""
        job, f, W, b, last = self._job, self._job.network.activations, self._W, self._b, len(self._W) - 1
        X, y, share = self._samples.X[rows], self._samples.y[rows], self._shares[rows].unsqueeze(1)
        X = X + drawn[INPUT_NOISE] if INPUT_NOISE in drawn else X
        a, z, hidden = [X * drawn[0] if 0 in drawn else X], [], []
        for l in range(last):
            z.append(torch.addmm(b[l], a[l], W[l]))
            hidden.append(compute(f[l].value, z[l]).to(X.dtype))
            a.append(hidden[l] * drawn[l + 1] if l + 1 in drawn else hidden[l])
        z.append(torch.addmm(b[last], a[last], W[last], out=self._raw_output[rows]))
        # (1) delta[L - 1] = dC/dz[L - 1]
        delta = output_delta(job.loss, y, z[last]) * share
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

    def _add_penalty(self, strength: torch.Tensor, absolute: torch.Tensor, euclidean: torch.Tensor) -> None:
        """Add the derivative of the penalty to the gradient, and fill in the norms of the weights."""
        n_weights, l1_ratio = self._job.network.n_weights, self._job.l1_ratio
        w, g = self._w[:n_weights], self._g[:n_weights]
        if l1_ratio < 1:
            g.addcmul_(w, strength, value=1 - l1_ratio)
            torch.linalg.vector_norm(w, out=euclidean)
        if l1_ratio > 0:
            g.addcmul_(torch.sign(w), strength, value=l1_ratio)
            torch.linalg.vector_norm(w, 1, out=absolute)

    def _move(self, coefficients: Sequence[torch.Tensor], decay: torch.Tensor) -> None:
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

    def _zeros(self, *shape: int, dtype: DTypeLike | None = None) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch_dtype(dtype or self.gradient.dtype), device=self._device)

    def _plan(self, beside: TorchRun | None) -> tuple[int, int, bool]:
        """Return how many steps, at most, are made and drawn for at once, and whether all of ``X`` is on the device."""
        job, units, size, itemsize = self._job, self._job.network.layer_units, self._batch_size, self.gradient.itemsize
        n_rows, n_targets = job.y.shape
        free = int(policy.DEVICE_MEMORY_SHARE * free_bytes(self._device))
        # Of outputs there are temporaries while the loss is computed.
        step_bytes = size * (units[0] + n_targets + 6 * units[-1]) * itemsize
        n_at_most = min(policy.PIECE_BYTES, free // 4) // step_bytes
        n_steps = max(1, min(policy.STEPS_AT_ONCE, -(-n_rows // size), n_at_most))
        needed = (5 + len(self._state)) * self.gradient.nbytes + n_steps * step_bytes
        drawn_bytes = size * (32 * max(units) + sum(units) * itemsize)
        steps_drawn = max(1, min(n_steps, min(policy.DRAWN_BYTES, free // 4) // drawn_bytes))
        needed += size * 4 * sum(units) * itemsize + steps_drawn * drawn_bytes * job.is_noisy
        needed += n_rows * ((n_targets + 2) * itemsize + 8)
        of_X = n_rows * units[0] * itemsize
        if needed > free:
            raise MemoryError(
                f"Training on device={job.device!r} needs {needed:,} bytes there, even if X, {of_X:,} bytes, is read "
                f"in pieces, and {free:,} may be used. Lower batch_size or hidden_layer_sizes, or use device='cpu'."
            )
        shared = beside is not None and beside._samples.has(job.X)
        return n_steps, steps_drawn, shared or needed + of_X <= free
