r"""The multi-layer perceptron: its parameters, the forward pass and backpropagation.

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

import copy
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sknn_scratch.activations import Activation
from sknn_scratch.blas import row_major
from sknn_scratch.engines import numpy_engine
from sknn_scratch.initializers import Initializer
from sknn_scratch.losses import Loss
from sknn_scratch.noise import TrainingNoise
from sknn_scratch.optimizers import Optimizer
from sknn_scratch.threads import (
    MIN_SHARE,
    SINGLE_THREADED_ANYWAY,
    SMALL,
    for_each_in_threads,
    threads_worth,
)

__all__ = ["CHUNK_SIZE", "Network", "count_parameters", "layer_views", "pass_forward", "predict_raw"]

# Prediction works through the rows in chunks whose widest layer has about this many numbers, to stay in the cache, but
# in no smaller ones than pay for preparing the weights.
CHUNK_SIZE, MIN_CHUNK = 2**17, 256
# BLAS prepares the weights of a product, which takes as long as to multiply so many rows by them. To read them takes a
# single row as long as so many.
ROWS_TO_PREPARE, ROWS_TO_READ = 24, 8
# Work of a step, in multiplications of the forward pass, up to which plain compiled loops beat calls of NumPy. A loop
# costs as much as three, a transcendental function as ten.
SMALL_STEP = 2**14


def count_parameters(layer_units: Sequence[int]) -> int:
    """Return the number of weights and biases of a network with these layer sizes, input and output included."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(layer_units))


def layer_views(vector: NDArray, layer_units: Sequence[int]) -> tuple[list[NDArray], list[NDArray]]:
    """Return the weights and biases of every layer as views of one flat vector: all weights first, then all biases."""
    shapes = [*pairwise(layer_units), *((fan_out,) for fan_out in layer_units[1:])]
    views, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        views.append(vector[start:stop].reshape(shape))
        start = stop
    n_layers = len(layer_units) - 1
    return views[:n_layers], views[n_layers:]


@dataclass
class _Buffers:
    """Arrays for one minibatch.

    Attributes
    ----------
    z : list of ndarray
        ``z[l]`` of every layer. The last, the raw output, and its delta are in Fortran order, in which a reduction over
        the few columns of a row is fast.
    hidden : list of ndarray
        ``f[l](z[l])``: the same array as ``z[l]`` unless the activation needs its input.
    masks : list of ndarray or None
        What is left of each hidden layer by dropout; None where nothing is dropped.
    fed : list of ndarray
        ``fed[l]`` is ``a[l + 1]``: ``hidden[l]`` times its mask, or the same array as ``hidden[l]``.
    delta : list of ndarray
        ``delta[l]`` of every layer.
    ones : ndarray
        A vector of ones.
    """

    z: list[NDArray]
    hidden: list[NDArray]
    masks: list[NDArray | None]
    fed: list[NDArray]
    delta: list[NDArray]
    ones: NDArray

    def first_rows(self, n: int) -> _Buffers:
        """Return views of the first ``n`` rows."""
        hidden = [array[:n] for array in self.hidden]
        z = [rows if z is a else z[:n] for z, a, rows in zip(self.z[:-1], self.hidden, hidden, strict=True)]
        masks = [None if mask is None else mask[:n] for mask in self.masks]
        fed = [rows if mask is None else array[:n] for array, mask, rows in zip(self.fed, masks, hidden, strict=True)]
        delta = [array[:n] for array in self.delta[:-1]]
        output = _fortran_rows(self.z[-1], n), _fortran_rows(self.delta[-1], n)
        return _Buffers([*z, output[0]], hidden, masks, fed, [*delta, output[1]], self.ones[:n])


def _fortran_rows(array: NDArray, n: int) -> NDArray:
    """Return a Fortran-ordered array of ``n`` rows in the memory of one with more."""
    n_columns = array.shape[1]
    return array.T.reshape(-1)[: n_columns * n].reshape(n_columns, n).T


def pass_forward(
    engine: ModuleType | _ByColumns,
    X: Any,
    weights: Sequence[NDArray],
    biases: Sequence[NDArray],
    activations: Sequence[Activation],
    z: Sequence[NDArray],
    hidden: Sequence[NDArray],
    drop_units: Callable[[int], NDArray] | None = None,
) -> None:
    """Fill ``z[l]`` and ``hidden[l] = f[l](z[l])`` for the samples ``X = a[0]``.

    ``drop_units`` takes ``l`` and returns ``a[l + 1]``, which without it is ``hidden[l]``.
    """
    a = X
    for layer, activation in enumerate(activations):
        engine.activate(a, weights[layer], biases[layer], activation, z[layer], out=hidden[layer])
        a = hidden[layer] if drop_units is None else drop_units(layer)
    engine.affine(a, weights[-1], biases[-1], out=z[-1])


class Network:
    """A perceptron in training: one flat parameter vector, its gradient, and the buffers of a minibatch.

    Parameters
    ----------
    layer_units : sequence of int
        Sizes of all layers, from the number of features to the number of outputs.
    activations : sequence of Activation
        One for each hidden layer.
    loss : Loss
        Takes the raw output.
    alpha : float
        Strength of the penalty, which like the loss is divided by the minibatch's number of samples or sum of weights:
        ``alpha * (l1_ratio * sum(|W|) + (1 - l1_ratio) / 2 * sum(W**2))``. Biases are not penalised.
    dtype : dtype
        float32 or float64.
    engine : module, default=numpy_engine
        Does the arithmetic.
    fit_intercept : bool, default=True
        Whether there are biases; otherwise they are zero, and so is their gradient.
    l1_ratio : float, default=0.0
        Share of the absolute values in the penalty.
    noise : TrainingNoise, default=None
        Disturbs the samples and drops units; nothing is random without it.

    Attributes
    ----------
    parameters, gradient : ndarray of shape (n_parameters,)
        Updated in place, never replaced.
    weights, biases : list of ndarray
        Views of ``parameters``, one per layer.
    weight_gradients, bias_gradients : list of ndarray
        Views of ``gradient``, one per layer.
    n_weights : int
        How many of the parameters are weights; they come before the biases.
    """

    def __init__(
        self,
        layer_units: Sequence[int],
        activations: Sequence[Activation],
        loss: Loss,
        alpha: float,
        dtype: DTypeLike,
        engine: ModuleType = numpy_engine,
        fit_intercept: bool = True,
        l1_ratio: float = 0.0,
        noise: TrainingNoise | None = None,
    ):
        self.layer_units = list(layer_units)
        self.activations = list(activations)
        self.loss = loss
        self.alpha = alpha
        self.engine = engine
        self.fit_intercept = fit_intercept
        self.l1_ratio = l1_ratio
        self.noise = noise
        self.parameters: NDArray = np.zeros(count_parameters(layer_units), dtype=dtype)
        self.weights, self.biases = layer_views(self.parameters, layer_units)
        self.gradient: NDArray = np.zeros_like(self.parameters)
        self.weight_gradients, self.bias_gradients = layer_views(self.gradient, layer_units)
        self.n_weights = sum(weights.size for weights in self.weights)
        self._penalised = self.parameters[: self.n_weights], self.gradient[: self.n_weights]
        self._buffers: dict[int, _Buffers] = {}
        self._uniform_weights: dict[int, NDArray] = {}
        self.helpers: tuple[Executor | None, int] = None, 0
        self._helpers: list[Network] = []

    def initialize(
        self,
        weight_init: Sequence[Initializer],
        bias_init: Sequence[Initializer],
        rng: np.random.RandomState,
    ) -> None:
        """Draw all parameters with two initialisers for each layer: layer by layer, weights before biases."""
        layers = zip(self.weights, self.biases, weight_init, bias_init, strict=True)
        for weights, biases, of_weights, of_biases in layers:
            fan_in, fan_out = weights.shape
            weights[...] = of_weights.weights(fan_in, fan_out, rng)
            if self.fit_intercept:
                biases[...] = of_biases.biases(fan_in, fan_out, rng)

    def set_layers(self, weights: Sequence[NDArray], biases: Sequence[NDArray]) -> None:
        """Copy the parameters from arrays of one layer each."""
        for own, given in zip(self.weights + self.biases, [*weights, *biases], strict=True):
            own[...] = given
        if not self.fit_intercept:
            for own in self.biases:
                own[...] = 0

    def largest_product(self, n_rows: int) -> int:
        """Return the number of multiplications in the largest matrix product for a minibatch of ``n_rows``."""
        return n_rows * max(weights.size for weights in self.weights)

    def is_small(self, n_rows: int) -> bool:
        """Return whether a step with a minibatch of ``n_rows`` is so little work that the calls cost more."""
        n_units = sum(self.layer_units[1:])
        return (n_rows + 3) * self.n_weights + 10 * n_rows * n_units <= SMALL_STEP

    def forward(self, X: Any) -> NDArray:
        """Return the raw output for a minibatch, keeping what the backward pass needs."""
        buffers, noise = self._buffers_for(X.shape[0]), self.noise

        def drop_units(layer: int) -> NDArray:
            mask, fed = buffers.masks[layer], buffers.fed[layer]
            if noise is not None and mask is not None:
                noise.draw_mask(layer + 1, out=mask)
                np.multiply(buffers.hidden[layer], mask, out=fed)
            return fed

        drop = None if noise is None else drop_units
        pass_forward(self.engine, X, self.weights, self.biases, self.activations, buffers.z, buffers.hidden, drop)
        return buffers.z[-1]

    def backward(self, X: Any, y: NDArray, relative_weight: NDArray) -> float:
        """Fill ``gradient`` for the minibatch last passed forward and return its mean loss.

        ``relative_weight`` holds a weight per sample, which sum to 1 over a minibatch; if the rows are only a part of
        it, so are loss and gradient. The numbers are those of the equations in the module's docstring. ``z`` and ``a``
        are used up on the way.
        """
        engine, buffers = self.engine, self._buffers_for(X.shape[0])
        a, z, delta, W, f = [X, *buffers.fed], buffers.z, buffers.delta, self.weights, self.activations
        last = len(W) - 1

        db = self.bias_gradients if self.fit_intercept else [None] * len(W)
        # (1) delta[L - 1] = dC/dz[L - 1]
        value = engine.output_delta(self.loss, y, z[last], relative_weight, out=delta[last])
        # (4) dC/db[L - 1] = sum of delta[L - 1] over the samples
        if self.fit_intercept:
            engine.bias_gradient(delta[last], buffers.ones, out=self.bias_gradients[last])
        for l in range(last, -1, -1):
            # (3) dC/dW[l] = a[l].T @ delta[l]
            engine.weight_gradient(a[l], delta[l], out=self.weight_gradients[l])
            if l > 0:
                # (2) delta[l - 1] = (delta[l] @ W[l].T) * f[l - 1]'(z[l - 1]), and (4) for it
                below = f[l - 1], z[l - 1], buffers.hidden[l - 1], delta[l - 1], buffers.masks[l - 1]
                engine.hidden_delta(delta[l], W[l], *below, buffers.ones, bias_gradient=db[l - 1])
        return value

    def loss_and_gradient(self, X: Any, y: NDArray, sample_weight: NDArray | None = None) -> float:
        """Return the objective, penalty included, for a minibatch, and fill ``gradient`` with its derivative.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
        y : ndarray of shape (n_samples, n_outputs)
        sample_weight : ndarray of shape (n_samples,), default=None
            Non-negative, with a positive sum.
        """
        value, strength = self._mean_loss_and_gradient(X, y, sample_weight)
        if self.alpha > 0:
            weights, gradient = self._penalised
            value += self.engine.add_penalty(weights, strength, self.l1_ratio, gradient)
        return value

    def step(
        self, X: Any, y: NDArray, sample_weight: NDArray | None, optimizer: Optimizer, learning_rate: float
    ) -> float:
        """Make a step of the optimiser for a minibatch; return what ``loss_and_gradient`` does, before the step."""
        value, strength = self._mean_loss_and_gradient(X, y, sample_weight)
        penalty = self.engine.update(
            optimizer, self.parameters, self.gradient, learning_rate, self.n_weights, strength, self.l1_ratio
        )
        return value + penalty

    def _mean_loss_and_gradient(self, X: Any, y: NDArray, sample_weight: NDArray | None) -> tuple[float, float]:
        """Return the loss without the penalty, filling ``gradient``, and the strength of the penalty."""
        n_rows = X.shape[0]
        if sample_weight is None:
            total, relative_weight = n_rows, self._uniform(n_rows)
        else:
            total = float(np.add.reduce(sample_weight))
            relative_weight = (sample_weight / total).astype(self.parameters.dtype, copy=False)
        if self.noise is not None:
            X = self.noise.disturb(X)
        n_helpers = min(self.helpers[1], n_rows // MIN_SHARE - 1)
        if n_helpers > 0 and self.largest_product(n_rows) >= SMALL and self.noise is None:
            value = self._share_out(X, y, relative_weight, n_helpers)
        else:
            self.forward(X)
            value = self.backward(X, y, relative_weight)
        return value, self.alpha / total

    def _uniform(self, n_rows: int) -> NDArray:
        """Return the relative weights of unweighted samples."""
        if n_rows not in self._uniform_weights:
            self._uniform_weights[n_rows] = np.full(n_rows, 1 / n_rows, dtype=self.parameters.dtype)
        return self._uniform_weights[n_rows]

    @contextmanager
    def helped_by(self, pool: Executor | None, n_helpers: int) -> Iterator[None]:
        """Share out the work of each minibatch between this thread and others, where it pays.

        What dropout and noise draw depends on the order of the draws, so with them this thread works alone.

        Parameters
        ----------
        pool : Executor or None
            Of at least ``n_helpers`` threads; without one, this thread works alone.
        n_helpers : int
            How many other threads take part.
        """
        self.helpers = pool, n_helpers
        try:
            yield
        finally:
            self.helpers, self._helpers = (None, 0), []

    def _helper(self) -> Network:
        """Return a network with the same parameters, but with a gradient and buffers of its own."""
        helper = copy.copy(self)
        helper.gradient = np.zeros_like(self.gradient)
        helper.weight_gradients, helper.bias_gradients = layer_views(helper.gradient, self.layer_units)
        helper._buffers = {}
        return helper

    def _share_out(self, X: Any, y: NDArray, relative_weight: NDArray, n_helpers: int) -> float:
        """Pass a minibatch forward and backward, each thread a part of its rows, and add up what comes out."""
        pool, n_parts = self.helpers[0], n_helpers + 1
        assert pool is not None
        while len(self._helpers) < n_helpers:
            self._helpers.append(self._helper())
        helpers = self._helpers[:n_helpers]
        stops = [X.shape[0] * k // n_parts for k in range(n_parts + 1)]

        def work(network: Network, rows: slice) -> float:
            samples = X[rows]  # of a CSR matrix a copy
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # known to this thread only
                network.forward(samples)
                return network.backward(samples, y[rows], relative_weight[rows])

        parts = [slice(start, stop) for start, stop in pairwise(stops)]
        others = [pool.submit(work, *job) for job in zip(helpers, parts[1:], strict=True)]
        value = work(self, parts[0])
        for helper, other in zip(helpers, others, strict=True):
            value += other.result()
            np.add(self.gradient, helper.gradient, out=self.gradient)
        return value

    def _buffers_for(self, n_rows: int) -> _Buffers:
        """Return buffers for ``n_rows`` samples: made for the largest minibatch, views of them for smaller ones."""
        if n_rows not in self._buffers:
            largest = max(self._buffers, default=0)
            if n_rows > largest:
                self._buffers = {n_rows: self._allocate(n_rows)}
            else:
                self._buffers[n_rows] = self._buffers[largest].first_rows(n_rows)
        return self._buffers[n_rows]

    def _allocate(self, n_rows: int) -> _Buffers:
        dtype = self.parameters.dtype
        hidden = [np.empty((n_rows, width), dtype=dtype) for width in self.layer_units[1:-1]]
        z = [np.empty_like(a) if f.needs_input else a for f, a in zip(self.activations, hidden, strict=True)]
        rates = [0.0] * len(hidden) if self.noise is None else self.noise.rates[1:]
        masks = [np.empty_like(a) if rate else None for rate, a in zip(rates, hidden, strict=True)]
        fed = [a if mask is None else np.empty_like(a) for mask, a in zip(masks, hidden, strict=True)]
        delta = [np.empty_like(a) for a in hidden]
        output = [np.empty((n_rows, self.layer_units[-1]), dtype=dtype, order="F") for _ in range(2)]
        ones = np.ones(n_rows, dtype=dtype)
        return _Buffers([*z, output[0]], hidden, masks, fed, [*delta, output[1]], ones)


class _ByColumns:
    """An engine for predicting few rows with wide layers: threads share out the columns of each product."""

    def affine(self, inputs: NDArray, weights: NDArray, biases: NDArray, out: NDArray) -> None:
        """``out = inputs @ weights + biases``."""
        work = _work(len(inputs), weights)
        n_parts = threads_worth(work)
        stops = [out.shape[1] * k // n_parts for k in range(n_parts + 1)]

        def multiply(columns: slice) -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # known to this thread only
                out[:, columns] = inputs @ weights[:, columns]

        for_each_in_threads(multiply, [slice(*pair) for pair in pairwise(stops)], work)
        np.add(out, biases, out=out)

    def activate(
        self, inputs: NDArray, weights: NDArray, biases: NDArray, activation: Activation, z: NDArray, out: NDArray
    ) -> None:
        """``z = inputs @ weights + biases`` and ``out = f(z)``."""
        self.affine(inputs, weights, biases, out=z)
        activation.apply(z, out)


def _work(n_rows: int, *layers: NDArray) -> int:
    """Return the work of multiplying rows by the weights of layers, in multiplications of float64."""
    extra = ROWS_TO_READ if n_rows == 1 else ROWS_TO_PREPARE
    return (n_rows + extra) * sum(weights.nbytes for weights in layers) // 8


def predict_raw(
    X: Any,
    weights: Sequence[NDArray],
    biases: Sequence[NDArray],
    activations: Sequence[Activation],
    engine: ModuleType | _ByColumns = numpy_engine,
    rows: NDArray | None = None,
    check_finite: bool = False,
) -> Any:
    """Pass samples forward and return the raw output, a chunk of rows at a time so that memory stays bounded.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    weights, biases : sequence of ndarray
        One entry per layer.
    activations : sequence of Activation
        One for each hidden layer.
    engine : module, default=numpy_engine
        Does the arithmetic.
    rows : ndarray of int, default=None
        Which rows of ``X`` to predict; all of them by default.
    check_finite : bool, default=False
        Whether to look for NaN and infinity in ``X``, an array then, on the way.

    Returns
    -------
    raw_output : ndarray of shape (n_samples, n_outputs), or None
        None if something in ``X`` may not be finite: the sum of a chunk is not.
    """
    n_samples = X.shape[0] if rows is None else len(rows)
    widths = [layer.shape[1] for layer in weights]
    dtype = np.result_type(X.dtype, weights[0].dtype)
    raw_output = np.empty((n_samples, widths[-1]), dtype=dtype)
    work = _work(n_samples, *weights)
    n_threads = threads_worth(work)
    n_parts = max(1, min(n_threads, n_samples // MIN_SHARE))
    by_columns = n_parts == 1 < n_threads and isinstance(X, np.ndarray)
    if by_columns:
        engine = _ByColumns()
    most = max(MIN_CHUNK, CHUNK_SIZE // max(widths))
    n_chunks = n_parts * math.ceil(n_samples / (n_parts * most))  # as many for each thread
    chunk = math.ceil(n_samples / max(1, n_chunks)) or 1

    finite, buffers = True, threading.local()

    def predict_chunk(start: int) -> None:
        nonlocal finite
        if not hasattr(buffers, "hidden"):
            buffers.hidden = [np.empty((chunk, width), dtype=dtype) for width in widths[:-1]]
        stop = min(start + chunk, n_samples)
        inputs = row_major(X[start:stop] if rows is None else X[rows[start:stop]])
        hidden = [array[: stop - start] for array in buffers.hidden]
        z = [*hidden, raw_output[start:stop]]
        with np.errstate(over="ignore", invalid="ignore"):
            if check_finite and not math.isfinite(np.add.reduce(inputs, axis=None)):
                finite = False
            pass_forward(engine, inputs, weights, biases, activations, z, hidden)

    starts = range(0, n_samples, chunk)
    if by_columns or (len(starts) == 1 and n_samples * max(layer.size for layer in weights) <= SINGLE_THREADED_ANYWAY):
        for start in starts:
            predict_chunk(start)
    else:
        for_each_in_threads(predict_chunk, starts, work)
    return raw_output if finite else None
