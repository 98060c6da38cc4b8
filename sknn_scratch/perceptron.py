"""The multi-layer perceptron: layers, activations and link on one flat vector of parameters."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sknn_scratch.blas import row_major
from sknn_scratch.catalogue.activations import Activation
from sknn_scratch.catalogue.initializers import Initializer
from sknn_scratch.catalogue.links import IdentityLink, Link
from sknn_scratch.engines.numpy.in_place import activate
from sknn_scratch.engines.policy import (
    CHUNK_SIZE,
    FEW_ROWS,
    FEWEST_COLUMNS,
    FEWEST_ROWS,
    ROWS_TO_PREPARE,
    SINGLE_THREADED_ANYWAY,
    TO_CALL,
    WAIT,
)
from sknn_scratch.engines.threads import for_each_in_threads, one_blas_thread, share_out, threads_worth

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
            for own, init in ((weights, weight_init), (biases, bias_init)):
                if init is not None:
                    drawn = init[l].draw(fan_in, fan_out, own.shape, rng)
                    init[l].check_result("draw", drawn, own.shape)
                    own[...] = drawn

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
        dtype = np.result_type(X.dtype, self.weights[0].dtype)
        raw_output = np.empty((n_samples, self.weights[-1].shape[1]), dtype=dtype)
        finite = True

        def samples(part: slice) -> Any:
            nonlocal finite
            taken = row_major(X[part] if rows is None else X[rows[part]])
            if check_finite:
                with np.errstate(over="ignore", invalid="ignore"):
                    finite = finite and math.isfinite(np.add.reduce(taken, axis=None))
            return taken

        if n_samples <= FEW_ROWS:
            self._pass_few(samples(slice(None)), raw_output)
        else:
            self._pass_many(samples, raw_output)
        return raw_output if finite else None

    def _pass_few(self, samples: Any, out: NDArray) -> None:
        """Write the raw output of samples that pass at once; threads compute some columns each of a large layer."""
        n_samples = len(out)
        alone = n_samples * max(map(np.size, self.weights)) <= SINGLE_THREADED_ANYWAY

        def multiply(inputs: Any, weights: NDArray, out: NDArray) -> None:
            work = _work(n_samples, weights)
            n_threads = min(n_free, math.isqrt(work // TO_CALL), weights.shape[1] // FEWEST_COLUMNS)
            if n_threads < 2 or not isinstance(inputs, np.ndarray):
                _multiply(inputs, weights, out)
                return

            def multiply_some(columns: slice) -> None:
                with np.errstate(over="ignore", invalid="ignore"):
                    _multiply(inputs, weights[:, columns], out[:, columns])

            lead = (n_threads - 1) * TO_CALL / work
            share_out(multiply_some, _slices(weights.shape[1], n_threads, lead), n_threads)

        with nullcontext(1) if alone else one_blas_thread() as n_free:
            self._pass(samples, self._hidden(n_samples, out.dtype), out, multiply)

    def _pass_many(self, samples: Callable[[slice], Any], out: NDArray) -> None:
        """Write the raw output of samples that pass in chunks, which threads take."""
        n_samples, work = len(out), _work(len(out), *self.weights)
        most = max(FEW_ROWS, CHUNK_SIZE // max(self.layer_units[1:]))
        n_parts = min(threads_worth(work), n_samples // FEWEST_ROWS)
        n_chunks = n_parts * math.ceil(n_samples / (n_parts * most))  # a multiple of the number of threads
        chunk = math.ceil(n_samples / n_chunks)
        buffers = threading.local()

        def pass_chunk(start: int) -> None:
            if not hasattr(buffers, "hidden"):
                buffers.hidden = self._hidden(chunk, out.dtype)
            part = slice(start, min(start + chunk, n_samples))
            hidden = [z[: part.stop - start] for z in buffers.hidden]
            self._pass(samples(part), hidden, out[part], _multiply)

        for_each_in_threads(pass_chunk, range(0, n_samples, chunk), work)

    def _hidden(self, n_rows: int, dtype: np.dtype) -> list[NDArray]:
        """Return an array for each hidden layer, in the order in which it is written fastest."""
        order: Literal["C", "F"] = "F" if FEWEST_ROWS < n_rows <= FEW_ROWS and dtype == np.float64 else "C"
        return [np.empty((n_rows, weights.shape[1]), dtype=dtype, order=order) for weights in self.weights[:-1]]

    def _pass(self, a: Any, hidden: list[NDArray], out: NDArray, multiply: Callable[..., None]) -> None:
        """Pass rows through all layers, with arrays for what comes out of each."""
        with np.errstate(over="ignore", invalid="ignore"):
            for l, activation in enumerate(self.activations):
                z = hidden[l]
                multiply(a, self.weights[l], z)
                np.add(z, self.biases[l], out=z)
                a = activate(activation, z, z)
            multiply(a, self.weights[-1], out)
            np.add(out, self.biases[-1], out=out)


def _work(n_rows: int, *layers: NDArray) -> int:
    """Return the work of multiplying rows by the weights of layers, in multiplications of float64."""
    n_passes = n_rows + ROWS_TO_PREPARE if n_rows > FEWEST_ROWS else WAIT * n_rows
    return int(n_passes * sum(weights.nbytes for weights in layers)) // 8


def _multiply(inputs: Any, weights: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights``; few rows one by one."""
    if not isinstance(inputs, np.ndarray):
        out[...] = inputs @ weights
    elif len(out) == 1 or len(out) > FEWEST_ROWS:
        np.matmul(inputs, weights, out=out)
    else:
        for row, z in zip(inputs, out, strict=True):
            np.matmul(row, weights, out=z)


def _slices(n_columns: int, n_threads: int, lead: float) -> list[slice]:
    """Cut a layer into a part for each thread: the first, of the one that calls the others, is larger by its lead.

    So it is the last to be done, and needs not wait; to be woken takes as long as to be called. The lead is a share of
    the work. Sizes but the first are multiples of what BLAS computes at once.
    """
    size = 16 * math.floor(n_columns * (1 - lead) / (16 * n_threads))
    first = n_columns - size * (n_threads - 1)
    return [slice(0, first), *(slice(start, start + size) for start in range(first, n_columns, size))]
