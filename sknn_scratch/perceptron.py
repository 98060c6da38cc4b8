"""The multi-layer perceptron: layers, activations and link on one flat vector of parameters."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sknn_scratch.blas import row_major
from sknn_scratch.catalogue.activations import Activation
from sknn_scratch.catalogue.initializers import Initializer
from sknn_scratch.catalogue.links import IdentityLink, Link
from sknn_scratch.engines.numpy.in_place import activate, affine
from sknn_scratch.engines.policy import (
    CHUNK_SIZE,
    FEW_ROWS,
    FEWEST_ROWS,
    MIN_CHUNK,
    ROWS_TO_PREPARE,
    SINGLE_THREADED_ANYWAY,
)
from sknn_scratch.engines.threads import for_each_in_threads, threads_worth

__all__ = ["Perceptron", "layer_views"]


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


class Perceptron:
    """Layers ``l = 0, ..., L - 1``: weights ``W[l]``, biases ``b[l]`` and, but for the last, an activation ``f[l]``.

    From ``a[0] = X``, a matrix with a sample per row, ``z[l] = a[l] @ W[l] + b[l]`` and ``a[l + 1] = f[l](z[l])`` lead
    to the raw output ``z[L - 1]``, and the link from there to a prediction.

    Parameters
    ----------
    layer_units : sequence of int
        Sizes of all layers, from the number of features to the number of outputs.
    activations : sequence of Activation
        One for each hidden layer.
    link : Link, default=IdentityLink()
    dtype : dtype, default=float64
        float32 or float64.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
        Changed in place, never replaced. Missing in a network from ``of_layers``.
    weights : list of ndarray of shape (fan_in, fan_out)
        Views of ``parameters``.
    biases : list of ndarray of shape (fan_out,)
        Views of ``parameters``.
    """

    def __init__(
        self,
        layer_units: Sequence[int],
        activations: Sequence[Activation],
        link: Link | None = None,
        dtype: DTypeLike = np.float64,
    ):
        self.activations = list(activations)
        self.link = IdentityLink() if link is None else link
        n_parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(layer_units))
        self.parameters = np.zeros(n_parameters, dtype=dtype)
        self.weights, self.biases = layer_views(self.parameters, layer_units)

    @classmethod
    def of_layers(
        cls,
        weights: Sequence[NDArray],
        biases: Sequence[NDArray],
        activations: Sequence[Activation],
        link: Link | None = None,
    ) -> Self:
        """Return a network on existing arrays, for prediction and inspection; to train it, take a ``copy``.

        Neither the arrays nor lists of them are copied.
        """
        network = cls.__new__(cls)
        network.weights = weights if isinstance(weights, list) else list(weights)
        network.biases = biases if isinstance(biases, list) else list(biases)
        network.activations = list(activations)
        network.link = IdentityLink() if link is None else link
        return network

    def copy(self) -> Perceptron:
        """Return an equal network with parameters of its own, on one flat vector."""
        network = Perceptron(self.layer_units, self.activations, self.link, self.dtype)
        network.set_layers(self.weights, self.biases)
        return network

    @property
    def layer_units(self) -> list[int]:
        """Sizes of all layers."""
        return [self.weights[0].shape[0], *(layer.shape[1] for layer in self.weights)]

    @property
    def n_weights(self) -> int:
        """How many of the parameters are weights; they come before the biases."""
        return sum(layer.size for layer in self.weights)

    @property
    def dtype(self) -> np.dtype:
        """Of the parameters."""
        return self.weights[0].dtype

    def initialize(
        self,
        weight_init: Sequence[Initializer],
        bias_init: Sequence[Initializer] | None,
        rng: np.random.RandomState,
    ) -> None:
        """Draw all parameters with two initialisers for each layer: layer by layer, weights before biases.

        Without ``bias_init`` biases are zero and nothing is drawn for them.
        """
        for l, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            fan_in, fan_out = weights.shape
            weights[...] = weight_init[l].draw(fan_in, fan_out, weights.shape, rng)
            if bias_init is not None:
                biases[...] = bias_init[l].draw(fan_in, fan_out, biases.shape, rng)

    def set_layers(self, weights: Sequence[NDArray], biases: Sequence[NDArray]) -> None:
        """Copy the parameters from arrays of one layer each."""
        for own, given in zip(self.weights + self.biases, [*weights, *biases], strict=True):
            own[...] = given

    def largest_product(self, n_rows: int) -> int:
        """Return the number of multiplications in the largest matrix product for ``n_rows`` samples."""
        return n_rows * max(weights.size for weights in self.weights)

    def raw_output(self, X: Any, rows: NDArray | None = None, check_finite: bool = False) -> Any:
        """Pass samples forward, a chunk of rows at a time so that memory stays bounded.

        Parameters
        ----------
        X : ndarray, CSR matrix or CodedMatrix of shape (n_samples, n_features)
        rows : ndarray of int, default=None
            Which rows of ``X`` to pass; all of them by default.
        check_finite : bool, default=False
            Whether to check ``X``, which must be an array then, for NaN and infinity.

        Returns
        -------
        raw_output : ndarray of shape (n_samples, n_outputs), or None
            None if ``check_finite`` and the sum of a chunk of ``X`` is NaN or infinite.
        """
        n_samples = X.shape[0] if rows is None else len(rows)
        widths = self.layer_units[1:]
        dtype = np.result_type(X.dtype, self.weights[0].dtype)
        raw_output = np.empty((n_samples, widths[-1]), dtype=dtype)
        work = _work(n_samples, *self.weights)
        n_parts = max(1, min(threads_worth(work), n_samples // FEWEST_ROWS))
        most = max(MIN_CHUNK, CHUNK_SIZE // max(widths))
        n_chunks = n_parts * math.ceil(n_samples / (n_parts * most))  # a multiple of the number of threads
        chunk = math.ceil(n_samples / max(1, n_chunks)) or 1

        multiply = _affine_of_few if chunk <= FEWEST_ROWS else affine
        by_columns = FEWEST_ROWS < chunk <= FEW_ROWS and dtype == np.float64
        finite, buffers = True, threading.local()

        def predict_chunk(start: int) -> None:
            nonlocal finite
            stop = min(start + chunk, n_samples)
            if by_columns:
                buffers.hidden = [np.empty((stop - start, width), dtype=dtype, order="F") for width in widths[:-1]]
            elif not hasattr(buffers, "hidden"):
                buffers.hidden = [np.empty((chunk, width), dtype=dtype) for width in widths[:-1]]
            a = row_major(X[start:stop] if rows is None else X[rows[start:stop]])
            with np.errstate(over="ignore", invalid="ignore"):
                if check_finite and not math.isfinite(np.add.reduce(a, axis=None)):
                    finite = False
                for l, activation in enumerate(self.activations):
                    z = buffers.hidden[l][: stop - start]
                    multiply(a, self.weights[l], self.biases[l], out=z)
                    a = activate(activation, z, z)
                multiply(a, self.weights[-1], self.biases[-1], out=raw_output[start:stop])

        starts = range(0, n_samples, chunk)
        if len(starts) == 1 and self.largest_product(n_samples) <= SINGLE_THREADED_ANYWAY:
            predict_chunk(0)
        else:
            for_each_in_threads(predict_chunk, starts, work)
        return raw_output if finite else None


def _work(n_rows: int, *layers: NDArray) -> int:
    """Return the work of multiplying rows by the weights of layers, in multiplications of float64."""
    return (n_rows + ROWS_TO_PREPARE) * sum(weights.nbytes for weights in layers) // 8


def _affine_of_few(inputs: Any, weights: NDArray, biases: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights + biases``, row by row."""
    if not isinstance(inputs, np.ndarray):
        affine(inputs, weights, biases, out)
        return
    for row, z in zip(inputs, out, strict=True):
        np.dot(row, weights, out=z)
    np.add(out, biases, out=out)
