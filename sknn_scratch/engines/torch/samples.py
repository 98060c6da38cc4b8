"""The samples of a job on a device, and the reading of minibatches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sknn_scratch.engines.policy import UPLOAD_BYTES
from sknn_scratch.training.coded_matrix import CodedMatrix

__all__ = ["Samples", "StreamedSamples", "tensor_of", "upload"]


def tensor_of(array: NDArray) -> torch.Tensor:
    """Return an array as a tensor that shares its memory, or a copy where PyTorch cannot."""
    return torch.from_numpy(array if array.flags.writeable and min(array.strides) > 0 else np.array(array, order="C"))


def _dense(X: Any) -> NDArray:
    return X.toarray() if isinstance(X, CodedMatrix) else X


def upload(array: Any, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return a dense copy of an array on a device, in C order; on the way it takes little memory."""
    out = torch.empty(array.shape, dtype=dtype or tensor_of(_dense(array[:1])).dtype, device=device)
    n_rows = max(1, UPLOAD_BYTES // max(1, _dense(array[:1]).nbytes))
    for start in range(0, len(array), n_rows):
        out[start : start + n_rows].copy_(tensor_of(_dense(array[start : start + n_rows])))
    return out


class Samples:
    """Samples that lie on the device.

    Parameters
    ----------
    X : ndarray or CodedMatrix of shape (n_samples, n_features)
        On the device it is dense.
    y : ndarray of shape (n_samples, n_targets)
    weights : ndarray of shape (n_samples,) or None
    most : int
        How many rows a piece has at most.
    device : torch.device
    dtype, exact : torch.dtype
        Of the targets, and of the weights.
    beside : Samples or None
        Those of another job; where they have the same ``X``, it is on the device once.
    """

    def __init__(
        self,
        X: Any,
        y: NDArray,
        weights: NDArray | None,
        most: int,
        device: torch.device,
        dtype: torch.dtype,
        exact: torch.dtype,
        beside: Samples | None = None,
    ):
        self._device, self._given = device, X
        self._y = upload(y, device, dtype)
        self._weights = None if weights is None else upload(weights, device, exact)
        self._rows = torch.zeros(most, dtype=torch.int64, device=device)
        self._keep(X, most, beside)

    def _keep(self, X: Any, most: int, beside: Samples | None) -> None:
        self._X: torch.Tensor = beside._X if beside is not None and beside.has(X) else upload(X, self._device)

    def has(self, X: Any) -> bool:
        """Return whether all of this array is on the device."""
        return self._given is X and type(self) is Samples

    def begin(self, order: NDArray, pieces: Sequence[slice]) -> None:
        """Prepare for the rows in an order, of which ``load`` will take these pieces one after the other."""
        self._order, self._pieces = upload(order, self._device, torch.int64), pieces

    def load(self, k: int) -> None:
        """Make the rows of a piece those that are read."""
        piece = self._pieces[k]
        self._rows[: piece.stop - piece.start].copy_(self._order[piece])

    def prepare(self, k: int) -> None:
        """Bring the rows of a piece, if there is such a piece, while others are computed with."""

    def read(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return X, y and weights of some of the rows of the piece."""
        numbers = self._rows[rows]
        weights = None if self._weights is None else self._weights.index_select(0, numbers)
        return self._read_samples(rows, numbers), self._y.index_select(0, numbers), weights

    def _read_samples(self, rows: slice, numbers: torch.Tensor) -> torch.Tensor:
        return self._X.index_select(0, numbers)


class StreamedSamples(Samples):
    """Samples of which ``X`` is too large for the device: each piece is brought while the one before is computed with.

    On its way a piece is in memory of the host from which the device copies by itself, then on the device beside the
    piece that is read. From there it is copied in the order of all other work, so that what is read always lies at one
    address.
    """

    def _keep(self, X: Any, most: int, beside: Samples | None) -> None:
        self._host, on_gpu = X, self._device.type == "cuda"
        shape, dtype = (most, X.shape[1]), tensor_of(_dense(X[:1])).dtype
        self._piece = torch.empty(shape, dtype=dtype, device=self._device)
        self._leaving = [torch.empty(shape, dtype=dtype, pin_memory=on_gpu) for _ in range(2)]
        self._arriving = [torch.empty_like(self._piece) for _ in range(2)]
        self._stream = torch.cuda.Stream(self._device) if on_gpu else None
        self._arrived = [torch.cuda.Event() for _ in range(2)] if on_gpu else []
        self._taken = [torch.cuda.Event() for _ in range(2)] if on_gpu else []

    def begin(self, order: NDArray, pieces: Sequence[slice]) -> None:  # noqa: D102, as in the class above
        super().begin(order, pieces)
        self._host_order = order
        self.prepare(0)

    def load(self, k: int) -> None:  # noqa: D102
        super().load(k)
        n, side = self._pieces[k].stop - self._pieces[k].start, k % 2
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_event(self._arrived[side])
        self._piece[:n].copy_(self._arriving[side][:n])
        if self._stream is not None:
            self._taken[side].record(torch.cuda.current_stream(self._device))

    def prepare(self, k: int) -> None:  # noqa: D102
        if k >= len(self._pieces):
            return
        rows, side = self._host_order[self._pieces[k]], k % 2
        leaving, arriving = self._leaving[side][: len(rows)], self._arriving[side][: len(rows)]
        if self._stream is None:
            leaving.numpy()[...] = _dense(self._host[rows])
            arriving.copy_(leaving)
            return
        self._arrived[side].synchronize()  # of the piece before last, which left from the same memory
        leaving.numpy()[...] = _dense(self._host[rows])
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._taken[side])
            arriving.copy_(leaving, non_blocking=True)
            self._arrived[side].record(self._stream)

    def _read_samples(self, rows: slice, numbers: torch.Tensor) -> torch.Tensor:
        return self._piece[rows]
