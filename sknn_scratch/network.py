r"""The multi-layer perceptron: its parameters, the forward pass and backpropagation.

Layer ``l`` has weights ``W[l]`` of shape (fan_in, fan_out) and biases ``b[l]``; a minibatch is a matrix with a sample
per row. Forward, from ``a[0] = X``::

    z[l] = a[l] @ W[l] + b[l]          a[l + 1] = f(z[l])

up to the last layer, whose ``z[L]`` is the raw output: the loss ``C`` takes it from there. Backward, with
``delta[l] = dC/dz[l]``, the chain rule gives the four equations of backpropagation::

    (1) output delta      delta[L] = dC/dz[L]                         given by the loss
    (2) hidden delta      delta[l] = (delta[l + 1] @ W[l + 1].T) * f'(z[l])
    (3) weight gradient   dC/dW[l] = a[l].T @ delta[l]
    (4) bias gradient     dC/db[l] = sum of delta[l] over the samples

(Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature 323, 1986; the equations
in this order: Nielsen, "Neural Networks and Deep Learning", 2015, chapter 2.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sknn_scratch.activations import Activation
from sknn_scratch.engines import numpy_engine
from sknn_scratch.initializers import Initializer
from sknn_scratch.losses import Loss

__all__ = ["Network", "count_parameters", "layer_views", "predict_raw"]

# Prediction works through the rows in chunks whose widest layer has about this many numbers, to stay in the cache.
CHUNK_SIZE = 2**17


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
    """Arrays for one minibatch, one entry per layer; ``z[l]`` is ``a[l]`` unless the activation needs its input.

    ``uniform`` holds the relative weights of unweighted samples.

    The raw output and its delta are in Fortran order, in which a reduction over the few columns of a row is fast.
    """

    z: list[NDArray]
    a: list[NDArray]
    raw_output: NDArray
    delta: list[NDArray]
    ones: NDArray
    uniform: NDArray

    def first_rows(self, n: int) -> _Buffers:
        """Return views of the first ``n`` rows."""
        a = [array[:n] for array in self.a]
        z = [a_rows if z is a else z[:n] for z, a, a_rows in zip(self.z, self.a, a, strict=True)]
        delta = [*(array[:n] for array in self.delta[:-1]), _fortran_rows(self.delta[-1], n)]
        return _Buffers(
            z, a, _fortran_rows(self.raw_output, n), delta, self.ones[:n], np.full(n, 1 / n, dtype=self.ones.dtype)
        )


def _fortran_rows(array: NDArray, n: int) -> NDArray:
    """Return a Fortran-ordered array of ``n`` rows in the memory of one with more."""
    n_columns = array.shape[1]
    return array.T.reshape(-1)[: n_columns * n].reshape(n_columns, n).T


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
        Strength of the penalty ``alpha / 2 * sum(W**2)``, which like the loss is divided by the minibatch's number of
        samples or sum of weights. Biases are not penalised.
    dtype : dtype
        float32 or float64.
    engine : module, default=numpy_engine
        Does the arithmetic.

    Attributes
    ----------
    parameters, gradient : ndarray of shape (n_parameters,)
        Updated in place, never replaced.
    weights, biases : list of ndarray
        Views of ``parameters``, one per layer.
    """

    def __init__(
        self,
        layer_units: Sequence[int],
        activations: Sequence[Activation],
        loss: Loss,
        alpha: float,
        dtype: DTypeLike,
        engine: ModuleType = numpy_engine,
    ):
        self.layer_units = list(layer_units)
        self.activations = list(activations)
        self.loss = loss
        self.alpha = alpha
        self.engine = engine
        self.parameters: NDArray = np.zeros(count_parameters(layer_units), dtype=dtype)
        self.weights, self.biases = layer_views(self.parameters, layer_units)
        self.gradient: NDArray = np.zeros_like(self.parameters)
        self._weight_gradients, self._bias_gradients = layer_views(self.gradient, layer_units)
        n_weights = sum(weights.size for weights in self.weights)
        self._penalised = self.parameters[:n_weights], self.gradient[:n_weights]
        self._buffers: dict[int, _Buffers] = {}

    def initialize(self, initializers: Sequence[Initializer], rng: np.random.RandomState) -> None:
        """Draw all parameters with an initialiser for each layer: layer by layer, weights before biases."""
        for weights, biases, initializer in zip(self.weights, self.biases, initializers, strict=True):
            fan_in, fan_out = weights.shape
            weights[...] = initializer.weights(fan_in, fan_out, rng)
            biases[...] = initializer.biases(fan_in, fan_out, rng)

    def set_layers(self, weights: Sequence[NDArray], biases: Sequence[NDArray]) -> None:
        """Copy the parameters from arrays of one layer each."""
        for own, given in zip(self.weights + self.biases, [*weights, *biases], strict=True):
            own[...] = given

    def largest_product(self, n_rows: int) -> int:
        """Return the number of multiplications in the largest matrix product for a minibatch of ``n_rows``."""
        return n_rows * max(weights.size for weights in self.weights)

    def forward(self, X: NDArray) -> NDArray:
        """Return the raw output for a minibatch, keeping what the backward pass needs."""
        buffers = self._buffers_for(X.shape[0])
        inputs = X
        for layer, activation in enumerate(self.activations):
            z, a = buffers.z[layer], buffers.a[layer]
            self.engine.affine(inputs, self.weights[layer], self.biases[layer], out=z)
            self.engine.activate(activation, z, out=a)
            inputs = a
        self.engine.affine(inputs, self.weights[-1], self.biases[-1], out=buffers.raw_output)
        return buffers.raw_output

    def backward(self, X: NDArray, y: NDArray, relative_weight: NDArray) -> float:
        """Fill ``gradient`` for the minibatch last passed forward and return its mean loss.

        ``relative_weight`` holds a weight per sample, which sum to 1. The numbers in the comments are those of the
        equations in the module's docstring. The activations are used up on the way.
        """
        engine, buffers = self.engine, self._buffers_for(X.shape[0])
        inputs, delta = [X, *buffers.a], buffers.delta
        last = len(self.weights) - 1

        value = engine.output_delta(self.loss, y, buffers.raw_output, relative_weight, out=delta[last])  # (1)
        for layer in range(last, -1, -1):
            engine.weight_gradient(inputs[layer], delta[layer], out=self._weight_gradients[layer])  # (3)
            engine.bias_gradient(delta[layer], buffers.ones, out=self._bias_gradients[layer])  # (4)
            if layer > 0:
                activation, z, a = self.activations[layer - 1], buffers.z[layer - 1], buffers.a[layer - 1]
                engine.hidden_delta(delta[layer], self.weights[layer], activation, z, a, out=delta[layer - 1])  # (2)
        return value

    def loss_and_gradient(self, X: NDArray, y: NDArray, sample_weight: NDArray | None = None) -> float:
        """Return the objective, penalty included, for a minibatch, and fill ``gradient`` with its derivative.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
        y : ndarray of shape (n_samples, n_outputs)
        sample_weight : ndarray of shape (n_samples,), default=None
            Non-negative, with a positive sum.
        """
        if sample_weight is None:
            total, relative_weight = X.shape[0], self._buffers_for(X.shape[0]).uniform
        else:
            total = float(np.add.reduce(sample_weight))
            relative_weight = (sample_weight / total).astype(self.parameters.dtype, copy=False)
        self.forward(X)
        value = self.backward(X, y, relative_weight)
        if self.alpha > 0:
            weights, gradient = self._penalised
            value += self.engine.add_penalty(weights, self.alpha / total, gradient)
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
        dtype, hidden = self.parameters.dtype, self.layer_units[1:-1]
        a = [np.empty((n_rows, width), dtype=dtype) for width in hidden]
        z = [np.empty_like(array) if f.needs_input else array for f, array in zip(self.activations, a, strict=True)]
        raw_output, output_delta = (np.empty((n_rows, self.layer_units[-1]), dtype=dtype, order="F") for _ in range(2))
        delta = [*(np.empty_like(array) for array in a), output_delta]
        return _Buffers(z, a, raw_output, delta, np.ones(n_rows, dtype=dtype), np.full(n_rows, 1 / n_rows, dtype=dtype))


def predict_raw(
    X: NDArray,
    weights: Sequence[NDArray],
    biases: Sequence[NDArray],
    activations: Sequence[Activation],
    engine: ModuleType = numpy_engine,
    rows: NDArray | None = None,
) -> NDArray:
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

    Returns
    -------
    raw_output : ndarray of shape (n_samples, n_outputs)
    """
    dtype = np.result_type(X.dtype, weights[0].dtype)
    weights = [layer.astype(dtype, copy=False) for layer in weights]
    biases = [layer.astype(dtype, copy=False) for layer in biases]
    n_samples = X.shape[0] if rows is None else len(rows)
    raw_output = np.empty((n_samples, weights[-1].shape[1]), dtype=dtype)
    chunk = min(n_samples, max(1, CHUNK_SIZE // max(layer.shape[1] for layer in weights)))
    hidden = [np.empty((chunk, layer.shape[1]), dtype=dtype) for layer in weights[:-1]]
    for start in range(0, n_samples, chunk):
        stop = min(start + chunk, n_samples)
        inputs = X[start:stop] if rows is None else X[rows[start:stop]]
        inputs = inputs.astype(dtype, copy=False)
        for layer, buffer in enumerate(hidden):
            z = buffer[: stop - start]
            engine.affine(inputs, weights[layer], biases[layer], out=z)
            engine.activate(activations[layer], z, out=z)
            inputs = z
        engine.affine(inputs, weights[-1], biases[-1], out=raw_output[start:stop])
    return raw_output
