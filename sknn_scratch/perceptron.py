"""The multi-layer perceptron: layers, activations and link on one flat vector of parameters."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sknn_scratch.activations import Activation
from sknn_scratch.blas import row_major
from sknn_scratch.engines.numpy.in_place import activate, affine
from sknn_scratch.initializers import Initializer
from sknn_scratch.links import IdentityLink, Link
from sknn_scratch.threads import SINGLE_THREADED_ANYWAY, WORTH_THREADS, for_each_in_threads

__all__ = ["CHUNK_SIZE", "Perceptron", "layer_views", "predict_raw"]

# Prediction works through the rows in chunks whose widest layer has about this many numbers, to stay in the cache.
CHUNK_SIZE = 2**17


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
        Changed in place, never replaced.
    weights : list of ndarray of shape (fan_in, fan_out)
        Views of ``parameters``.
    biases : list of ndarray of shape (fan_out,)
        Views of ``parameters``.
    n_weights : int
        How many of the parameters are weights; they come before the biases.
    """

    def __init__(
        self,
        layer_units: Sequence[int],
        activations: Sequence[Activation],
        link: Link | None = None,
        dtype: DTypeLike = np.float64,
    ):
        self.layer_units = list(layer_units)
        self.activations = list(activations)
        self.link = IdentityLink() if link is None else link
        self.n_weights = sum(fan_in * fan_out for fan_in, fan_out in pairwise(layer_units))
        self.parameters: NDArray = np.zeros(self.n_weights + sum(layer_units[1:]), dtype=dtype)
        self.weights, self.biases = layer_views(self.parameters, layer_units)

    @property
    def dtype(self) -> np.dtype:
        """Of the parameters."""
        return self.parameters.dtype

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
            weights[...] = weight_init[l].weights(fan_in, fan_out, rng)
            if bias_init is not None:
                biases[...] = bias_init[l].biases(fan_in, fan_out, rng)

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
        X : ndarray or CSR matrix of shape (n_samples, n_features)
        rows : ndarray of int, default=None
            Which rows of ``X`` to pass; all of them by default.
        check_finite : bool, default=False
            Whether to look for NaN and infinity in ``X``, an array then, on the way.

        Returns
        -------
        raw_output : ndarray of shape (n_samples, n_outputs), or None
            None if something in ``X`` may not be finite: the sum of a chunk is not.
        """
        return predict_raw(X, self.weights, self.biases, self.activations, rows, check_finite)


def predict_raw(
    X: Any,
    weights: Sequence[NDArray],
    biases: Sequence[NDArray],
    activations: Sequence[Activation],
    rows: NDArray | None = None,
    check_finite: bool = False,
) -> Any:
    """Return the raw output of layers that are given one by one; see ``Perceptron.raw_output``."""
    n_samples = X.shape[0] if rows is None else len(rows)
    widths = [layer.shape[1] for layer in weights]
    dtype = np.result_type(X.dtype, weights[0].dtype)
    raw_output = np.empty((n_samples, widths[-1]), dtype=dtype)
    n_multiplications = n_samples * sum(layer.size for layer in weights)
    # A few chunks at least where there is work for several threads, else as many rows as stay in the cache.
    most = (n_samples + 1) // 2 if n_multiplications >= WORTH_THREADS else n_samples
    chunk = max(1, min(most, CHUNK_SIZE // max(widths)))

    finite, buffers = True, threading.local()

    def predict_chunk(start: int) -> None:
        nonlocal finite
        if not hasattr(buffers, "hidden"):
            buffers.hidden = [np.empty((chunk, width), dtype=dtype) for width in widths[:-1]]
        stop = min(start + chunk, n_samples)
        a = X[start:stop] if rows is None else X[rows[start:stop]]
        with np.errstate(over="ignore", invalid="ignore"):
            if check_finite and not math.isfinite(np.add.reduce(a, axis=None)):
                finite = False
            for l, activation in enumerate(activations):
                z = buffers.hidden[l][: stop - start]
                affine(a, weights[l], biases[l], out=z)
                a = activate(activation, z, z)
            affine(a, weights[-1], biases[-1], out=raw_output[start:stop])

    if n_samples <= chunk and n_samples * max(layer.size for layer in weights) <= SINGLE_THREADED_ANYWAY:
        predict_chunk(0)
    else:
        for_each_in_threads(predict_chunk, range(0, n_samples, chunk), n_multiplications)
    return raw_output if finite else None
