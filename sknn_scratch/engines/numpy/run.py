r"""A training run of the reference engine: forward pass, backpropagation and update in NumPy.

Layer ``l = 0, ..., L - 1`` has weights ``W[l]`` of shape (fan_in, fan_out), biases ``b[l]`` and, but for the last, an
activation ``f[l]``. A minibatch is a matrix with a sample per row. Forward, from ``a[0] = X``::

    z[l] = a[l] @ W[l] + b[l]          a[l + 1] = f[l](z[l])

up to the raw output ``z[L - 1]``, which the loss ``C`` takes from there. Backward, with ``delta[l] = dC/dz[l]``, the
chain rule gives the four equations of backpropagation::

    (1) output delta      delta[L - 1] = dC/dz[L - 1]                                  given by the loss
    (2) hidden delta      delta[l - 1] = (delta[l] @ W[l].T) * f[l - 1]'(z[l - 1])
    (3) weight gradient   dC/dW[l] = a[l].T @ delta[l]
    (4) bias gradient     dC/db[l] = sum of delta[l] over the samples

With dropout, ``a[l + 1]`` is ``f[l](z[l])`` times a mask of zeros and equal factors, by which the hidden delta is then
multiplied too.

(Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature 323, 1986; the equations
in this order: Nielsen, "Neural Networks and Deep Learning", 2015, chapter 2.)
"""

from __future__ import annotations

import math
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from sknn_scratch.blas import row_major
from sknn_scratch.catalogue.optimizers import Optimizer
from sknn_scratch.engines.draws import INPUT_NOISE, bits, keys, normal
from sknn_scratch.engines.numpy.in_place import activate, add_penalty, affine, loss_and_delta, multiply_slope, update
from sknn_scratch.engines.policy import MIN_SHARE, SMALL
from sknn_scratch.engines.threads import share_out
from sknn_scratch.perceptron import layer_views
from sknn_scratch.training.coded_matrix import CodedMatrix
from sknn_scratch.training.job import Job


class _Buffers:
    """Arrays for one minibatch.

    The raw output and its delta are in Fortran order, in which a reduction over the few columns of a row is fast.
    """

    def __init__(self, job: Job, n_rows: int):
        network, dtype = job.network, job.network.dtype
        rates = job.dropout[1:] or [0.0] * len(network.activations)
        # f[l](z[l]), and z[l]: the same array unless the activation needs its input.
        self.hidden = hidden = [np.empty((n_rows, width), dtype=dtype) for width in network.layer_units[1:-1]]
        self.z = [np.empty_like(a) if f.needs_input else a for f, a in zip(network.activations, hidden, strict=True)]
        # What dropout leaves of each hidden layer; None where nothing is dropped.
        self.masks: list[NDArray | None] = [None] * len(hidden)
        # a[l + 1]: hidden[l] times its mask, or the same array as hidden[l].
        self.fed = [np.empty_like(a) if rate else a for rate, a in zip(rates, hidden, strict=True)]
        self.delta = [np.empty_like(a) for a in hidden]
        for arrays in (self.z, self.delta):
            arrays.append(np.empty((n_rows, network.layer_units[-1]), dtype=dtype, order="F"))
        self.ones = np.ones(n_rows, dtype=dtype)


class _Part:
    """The gradient of some rows of a minibatch, with arrays of its own, so that several can work at once."""

    def __init__(self, job: Job):
        self._job, self._network = job, job.network
        self.gradient: NDArray = np.zeros_like(job.network.parameters)
        self._weight_gradients, self._bias_gradients = layer_views(self.gradient, job.network.layer_units)
        # Full minibatches have one number of rows, the last another.
        self._buffers_for = cache(partial(_Buffers, job))
        self._disturbs_X = job.input_noise > 0 or any(job.dropout[:1])

    def loss_and_gradient(self, X: Any, y: NDArray, relative_weight: NDArray, step: int, first: int) -> float:
        """Return the loss of the rows and fill ``gradient``.

        ``relative_weight`` holds a weight per sample, which sum to 1 over a minibatch; if the rows are only a part of
        it, so are loss and gradient. ``first`` is their place in the minibatch.
        """
        if self._disturbs_X:
            X = self._disturb(X, step, first)
        self._forward(X, step, first)
        return self._backward(X, y, relative_weight)

    def _forward(self, X: Any, step: int, first: int) -> None:
        """Fill ``z`` and ``a`` of every layer."""
        buffers, network = self._buffers_for(X.shape[0]), self._network
        a, W, b = X, network.weights, network.biases
        for l, f in enumerate(network.activations):
            affine(a, W[l], b[l], out=buffers.z[l])
            activate(f, buffers.z[l], out=buffers.hidden[l])
            a = buffers.fed[l]
            if a is not buffers.hidden[l]:
                mask = buffers.masks[l] = self._mask_of(_indices(a.shape, first), step, l + 1, a.dtype)
                np.multiply(buffers.hidden[l], mask, out=a)
        affine(a, W[-1], b[-1], out=buffers.z[-1])

    def _backward(self, X: Any, y: NDArray, relative_weight: NDArray) -> float:
        """Fill ``gradient`` for the rows last passed forward and return their share in the mean loss.

        The numbers are those of the equations in the module's docstring.
        """
        network, buffers = self._network, self._buffers_for(X.shape[0])
        a, z, delta, W, f = [X, *buffers.fed], buffers.z, buffers.delta, network.weights, network.activations
        last = len(W) - 1

        # (1) delta[L - 1] = dC/dz[L - 1]
        value = loss_and_delta(self._job.loss, y, z[last], relative_weight, out=delta[last])
        for l in range(last, -1, -1):
            # (3) dC/dW[l] = a[l].T @ delta[l]
            if isinstance(a[l], np.ndarray):
                np.dot(a[l].T, delta[l], out=self._weight_gradients[l])
            else:
                self._weight_gradients[l][...] = (delta[l].T @ a[l]).T
            # (4) dC/db[l] = sum of delta[l] over the samples, as a product, which BLAS does faster than a sum
            if self._job.fit_intercept:
                np.dot(buffers.ones, delta[l], out=self._bias_gradients[l])
            if l > 0:
                # (2) delta[l - 1] = (delta[l] @ W[l].T) * f[l - 1]'(z[l - 1])
                np.dot(delta[l], W[l].T, out=delta[l - 1])
                multiply_slope(f[l - 1], delta[l - 1], z[l - 1], buffers.hidden[l - 1])
                mask = buffers.masks[l - 1]
                if mask is not None:
                    np.multiply(delta[l - 1], mask, out=delta[l - 1])
        return value

    # Dropout and noise -----------------------------------------------------------------------------------------------

    def _disturb(self, X: Any, step: int, first: int) -> Any:
        """Return samples with noise added and features dropped; ``X`` itself is not changed."""
        job = self._job
        if isinstance(X, CodedMatrix):
            X = X.toarray()
        if job.input_noise:
            noise = normal(keys(job.seed, step, INPUT_NOISE), _indices(X.shape, first))
            X = X + (job.input_noise * noise).astype(X.dtype)
        if not any(job.dropout[:1]):
            return X
        if not issparse(X):
            return X * self._mask_of(_indices(X.shape, first), step, 0, X.dtype)
        X = X.tocsr(copy=True)  # only what is stored can be dropped
        rows = np.repeat(np.arange(first, first + X.shape[0]), np.diff(X.indptr))
        X.data *= self._mask_of((rows * X.shape[1] + X.indices).astype(np.uint32), step, 0, X.dtype)
        return X

    def _mask_of(self, index: NDArray, step: int, layer: int, dtype: np.dtype) -> NDArray:
        """Return the factors of numbers of layer ``layer``, of which 0 is the input."""
        rate = self._job.dropout[layer]
        kept = bits(keys(self._job.seed, step, layer), index) >= np.uint32(rate * 2.0**32)
        return kept.astype(dtype) * dtype.type(1 / (1 - rate))


def _indices(shape: tuple[int, ...], first: int) -> NDArray:
    """Return the counters of a layer's numbers, ``row * width + column``, for rows from ``first`` on."""
    n_rows, width = shape
    return np.arange(first * width, (first + n_rows) * width, dtype=np.uint32).reshape(shape)


class NumpyRun:
    """Trains a network with NumPy; the rows of a large minibatch are cut into parts, which threads share.

    Results depend on the number of parts by rounding, not on the threads.
    """

    def __init__(self, job: Job, n_parts: int = 1, n_threads: int = 1):
        self.job, self._n_parts, self._n_threads = job, n_parts, n_threads
        self._parts = [_Part(job)]
        self.gradient = self._parts[0].gradient
        n_weights = job.network.n_weights
        self._penalised = job.network.parameters[:n_weights], self.gradient[:n_weights]
        # Relative weights of unweighted samples.
        self._uniform = cache(lambda n_rows: np.full(n_rows, 1 / n_rows, dtype=job.network.dtype))
        # Of an array in another order ``take`` would copy all rows.
        self._takes_rows = isinstance(job.X, np.ndarray) and job.X.flags.c_contiguous

    def epoch(self, order: NDArray | None, learning_rates: NDArray) -> float:
        """Train for an epoch on rows in order, or all as they come; return the mean of the minibatch losses.

        Each loss is that before the update. There is a rate for each of the minibatches that count.
        """
        job, optimizer = self.job, self.job.optimizer
        assert optimizer is not None
        n_rows = job.X.shape[0] if order is None else len(order)
        total_loss, n_counted, step = 0.0, 0, 0
        first, rates = optimizer.n_updates + 1, learning_rates.tolist()
        has_formula = type(optimizer).update is Optimizer.update
        if has_formula:
            coefficients = list(zip(*(c.tolist() for c in optimizer.next_coefficients(learning_rates)), strict=True))
        for start in range(0, n_rows, job.batch_size):
            rows: NDArray | slice = slice(start, start + job.batch_size)
            if order is not None:
                rows = order[rows]
            X, y = self._read(rows)
            weight = None if job.sample_weight is None else job.sample_weight[rows]
            if weight is not None and not weight.any():
                continue  # no sample of this minibatch counts
            loss = self._minibatch(X, y, weight, first + step)
            if job.max_grad_norm is not None:
                _limit_norm(self.gradient, job.max_grad_norm)
            if has_formula:
                update(optimizer, job.network.parameters, self.gradient, rates[step], coefficients[step])
            else:
                optimizer.update(job.network.parameters, self.gradient, rates[step])
                optimizer.n_updates = first + step
            total_loss += loss * X.shape[0]
            n_counted += X.shape[0]
            step += 1
        return total_loss / n_counted

    def loss_and_gradient(self) -> float:
        """Return the objective over all samples as one minibatch, and fill ``gradient``."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self._minibatch(*self._all_rows, self.job.sample_weight, 0)

    @cached_property
    def _all_rows(self) -> tuple[Any, NDArray]:
        return row_major(self.job.X), self.job.y.astype(self.job.network.dtype, copy=False)

    def _read(self, rows: NDArray | slice) -> tuple[Any, NDArray]:
        """Return X and y of a minibatch; y is in Fortran order, as the raw output is."""
        X, columns = self.job.X, self.job.y.T
        if isinstance(rows, slice):
            X, columns = X[rows], columns[:, rows]
        else:
            X, columns = X.take(rows, 0) if self._takes_rows else X[rows], columns.take(rows, 1)
        return row_major(X), columns.astype(self.job.network.dtype, copy=False).T

    def close(self) -> None:
        """Do nothing: the threads belong to whoever made them."""

    def _minibatch(self, X: Any, y: NDArray, sample_weight: NDArray | None, step: int) -> float:
        """Return the objective for a minibatch, penalty included, and fill ``gradient``."""
        n_rows, job = X.shape[0], self.job
        if sample_weight is None:
            total: float = n_rows
            relative_weight = self._uniform(n_rows)
        else:
            total = float(np.add.reduce(sample_weight))
            relative_weight = (sample_weight / total).astype(job.network.dtype, copy=False)
        n_parts = min(self._n_parts, n_rows // MIN_SHARE)
        if n_parts > 1 and job.network.largest_product(n_rows) >= SMALL:
            value = self._share_out(X, y, relative_weight, step, n_parts)
        else:
            value = self._parts[0].loss_and_gradient(X, y, relative_weight, step, 0)
        if job.alpha > 0:
            weights, gradient = self._penalised
            value += add_penalty(weights, job.alpha / total, job.l1_ratio, gradient)
        return value

    def _share_out(self, X: Any, y: NDArray, relative_weight: NDArray, step: int, n_parts: int) -> float:
        """Pass a minibatch forward and backward, each thread a part of its rows, and add up what comes out."""
        while len(self._parts) < n_parts:
            self._parts.append(_Part(self.job))
        stops, values = [X.shape[0] * k // n_parts for k in range(n_parts + 1)], [0.0] * n_parts

        def work(k: int) -> None:
            rows = slice(stops[k], stops[k + 1])
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # known to this thread only
                values[k] = self._parts[k].loss_and_gradient(X[rows], y[rows], relative_weight[rows], step, stops[k])

        share_out(work, range(n_parts), min(n_parts, self._n_threads))
        for part in self._parts[1:n_parts]:
            np.add(self.gradient, part.gradient, out=self.gradient)
        return sum(values)


def _limit_norm(gradient: NDArray, max_norm: float) -> None:
    """Shorten the gradient to Euclidean length ``max_norm`` if it is longer."""
    norm = math.sqrt(np.dot(gradient, gradient))
    if norm == math.inf:  # squares may be too large where the length is not
        largest = float(np.abs(gradient).max())
        norm = largest * math.sqrt(np.dot(gradient / largest, gradient / largest))
    if norm > max_norm:
        np.multiply(gradient, max_norm / norm, out=gradient)
