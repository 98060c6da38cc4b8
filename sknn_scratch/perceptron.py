"""The multi-layer perceptron: layers, activations and link on one flat vector of parameters."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
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
    FEWEST_ROWS,
    PER_NUMBER,
    ROWS_LEFT_TO_BLAS,
    ROWS_TO_PREPARE,
    SHORTEST_PART,
    SINGLE_THREADED_ANYWAY,
    SLOWEST,
    TO_CALL,
    WORK_LEFT_TO_BLAS,
)
from sknn_scratch.engines.threads import (
    blas_threads_if_free,
    for_each_in_threads,
    one_blas_thread,
    share_out,
    threads_worth,
)

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
        """float32 or float64, in which the network is trained; arrays in the place of parameters may be of others."""
        if hasattr(self, "parameters"):
            return self.parameters.dtype
        return np.result_type(np.float32, *(layer.dtype for layer in self.weights + self.biases))

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
            Whether to check ``X``, which must be an array or CSR then, for NaN and infinity.

        Returns
        -------
        raw_output : ndarray of shape (n_samples, n_outputs), or None
            None if ``check_finite`` and the sum of a chunk of ``X`` is NaN or infinite.
        """
        n_samples = X.shape[0] if rows is None else len(rows)
        dtype = np.result_type(X.dtype, self.weights[0].dtype)
        raw_output = np.empty((n_samples, self.weights[-1].shape[1]), dtype=dtype)
        finite = True

        def samples(part: slice | None = None) -> Any:
            nonlocal finite
            index = part if rows is None else rows if part is None else rows[part]
            taken = row_major(X if index is None else X[index])
            if check_finite:
                with np.errstate(over="ignore", invalid="ignore"):
                    values = taken if isinstance(taken, np.ndarray) else taken.data
                    if not math.isfinite(np.add.reduce(values, axis=None)):
                        finite = False  # nothing but this is written, as threads may check chunks at the same time
            return taken

        most = max(FEW_ROWS, CHUNK_SIZE // max(self.layer_units[1:]))
        if n_samples <= 2 * most:
            self._pass_at_once(samples(), raw_output)
        else:
            self._pass_in_chunks(samples, raw_output, most)
        return raw_output if finite else None

    def _pass_at_once(self, samples: Any, out: NDArray) -> None:
        """Write the raw output of samples; threads compute some rows or columns each of a large layer."""
        n_rows = len(out)
        if self.largest_product(n_rows) <= SINGLE_THREADED_ANYWAY:
            threads: AbstractContextManager[int] = nullcontext(1)
        elif n_rows <= ROWS_LEFT_TO_BLAS or n_rows * self.n_weights <= WORK_LEFT_TO_BLAS:
            seconds = (n_rows + ROWS_TO_PREPARE) * self.n_weights / SLOWEST
            threads = blas_threads_if_free(seconds, worth_waking=n_rows <= FEWEST_ROWS)
        else:
            threads = one_blas_thread()
        with threads as n_free:
            layers = [*self._hidden(n_rows, out.dtype), out]
            self._pass(samples, layers, n_free if n_rows > FEWEST_ROWS else 1)

    def _pass_in_chunks(self, samples: Callable[[slice], Any], out: NDArray, most: int) -> None:
        """Write the raw output of samples that pass in chunks of so many rows at most, which threads take."""
        n_samples, work = len(out), sum(_work(len(out), weights) for weights in self.weights)
        n_parts = min(threads_worth(work), n_samples // FEWEST_ROWS)
        n_chunks = n_parts * math.ceil(n_samples / (n_parts * most))  # a multiple of the number of threads
        chunk = math.ceil(n_samples / n_chunks)
        buffers = threading.local()

        def pass_chunk(start: int) -> None:
            if not hasattr(buffers, "hidden"):
                buffers.hidden = self._hidden(chunk, out.dtype)
            part = slice(start, min(start + chunk, n_samples))
            hidden = [z[: part.stop - start] for z in buffers.hidden]
            self._pass(samples(part), [*hidden, out[part]], 1)

        for_each_in_threads(pass_chunk, range(0, n_samples, chunk), work)

    def _hidden(self, n_rows: int, dtype: np.dtype) -> list[NDArray]:
        """Return an array for each hidden layer, in the order in which it is written fastest."""
        order: Literal["C", "F"] = "F" if FEWEST_ROWS < n_rows <= FEW_ROWS and dtype == np.float64 else "C"
        return [np.empty((n_rows, weights.shape[1]), dtype=dtype, order=order) for weights in self.weights[:-1]]

    def _pass(self, a: Any, layers: list[NDArray], n_free: int) -> None:
        """Pass rows through all layers, given an array for each and how many threads may share a layer."""
        with np.errstate(over="ignore", invalid="ignore"):
            for l, z in enumerate(layers):
                work, length = _work(len(z), self.weights[l]), max(z.shape)
                n_threads = min(n_free, math.isqrt(work // TO_CALL), length // SHORTEST_PART)
                if n_threads < 2 or not isinstance(a, np.ndarray):
                    self._fill(l, a, z)
                else:
                    parts = _slices(length, n_threads, (n_threads - 1) * TO_CALL / work)
                    self._fill_in_threads(l, a, z, parts)
                a = z

    def _fill_in_threads(self, l: int, inputs: NDArray, out: NDArray, parts: list[slice]) -> None:
        """Have threads fill a layer, each some of its rows, or of its columns where there are more of them."""
        by_rows = len(out) > out.shape[1]
        # A formula of one's own may go by all columns of a row, and is given whole rows.
        at_once = by_rows or l == len(self.weights) - 1 or self.activations[l].is_ours

        def fill_part(part: slice) -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # in each thread
                if by_rows:
                    self._fill(l, inputs[part], out[part])
                else:
                    self._fill(l, inputs, out[:, part], part, to_activate=at_once)

        share_out(fill_part, parts, len(parts))
        if not at_once:
            activate(self.activations[l], out, out)

    def _fill(self, l: int, inputs: Any, out: NDArray, columns: slice = slice(None), to_activate: bool = True) -> None:
        """``out = f[l](inputs @ W[l] + b[l])``, or some of its columns."""
        _multiply(inputs, self.weights[l][:, columns], out)
        np.add(out, self.biases[l][columns], out=out)
        if to_activate and l < len(self.weights) - 1:
            activate(self.activations[l], out, out)


def _work(n_rows: int, weights: NDArray) -> int:
    """Return the work of filling a layer, in multiplications of float64."""
    return ((n_rows + ROWS_TO_PREPARE) * weights.shape[0] + n_rows * PER_NUMBER) * weights[0].nbytes // 8


def _multiply(inputs: Any, weights: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights``; few rows one by one."""
    if not isinstance(inputs, np.ndarray):
        out[...] = inputs @ weights
    elif len(out) == 1 or len(out) > FEWEST_ROWS:
        np.matmul(inputs, weights, out=out)
    else:
        for row, z in zip(inputs, out, strict=True):
            np.matmul(row, weights, out=z)


def _slices(length: int, n_threads: int, lead: float) -> list[slice]:
    """Cut rows or columns into a part for each thread, the first of which is larger by its lead, a share of the work.

    The thread that calls the others takes the first, and is the last to be done: to be woken would take it as long as
    to call. Sizes but the first are multiples of what BLAS computes at once.
    """
    size = 16 * math.floor(length * (1 - lead) / (16 * n_threads))
    first = length - size * (n_threads - 1)
    return [slice(0, first), *(slice(start, start + size) for start in range(first, length, size))]
