"""The samples of a job on a device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from sknn_scratch.engines.policy import UPLOAD_BYTES
from sknn_scratch.engines.torch.arrays import torch_dtype
from sknn_scratch.training.coded_matrix import CodedMatrix
from sknn_scratch.training.job import Job


def upload(array: Any, device: torch.device, dtype: DTypeLike) -> torch.Tensor:
    """Return a dense copy of an array on a device, in C order; on the way it takes little memory."""
    out = torch.empty(array.shape, dtype=torch_dtype(dtype), device=device)
    n_rows = max(1, UPLOAD_BYTES // max(1, 8 * math.prod(array.shape[1:])))
    for start in range(0, len(array), n_rows):
        rows = slice(start, start + n_rows)
        out[rows].copy_(_on_host(array[rows], dtype))
    return out


def _on_host(array: Any, dtype: DTypeLike | None = None) -> torch.Tensor:
    dense = array.toarray() if isinstance(array, CodedMatrix) else array
    return torch.from_numpy(np.require(dense, dtype, ["C", "W"]))


class Samples:
    """A piece of a job's samples, at most ``n_rows``: ``X`` and ``y``, always at the same place on a device.

    ``X`` is on the device as a whole or, where it is too large, stays on the host. There each piece is gathered in
    pinned memory while the device makes the steps of the one before, after which it is copied; that takes a small part
    of the time of gathering. With those of another job ``beside``, all of ``X`` is shared if it has the same.
    """

    def __init__(self, job: Job, n_rows: int, device: torch.device, beside: Samples | None, whole: bool):
        dtype = job.network.dtype
        self.X, self.y = (
            torch.empty((n_rows, a.shape[1]), dtype=torch_dtype(dtype), device=device) for a in (job.X, job.y)
        )
        self._given, self._all_X, self._all_y = job.X, None, upload(job.y, device, dtype)
        if beside is not None and beside.has(job.X):
            self._all_X = beside._all_X
        elif whole:
            self._all_X = upload(job.X, device, dtype)
        else:
            self._pinned = torch.empty(self.X.shape, dtype=self.X.dtype, pin_memory=device.type == "cuda")
            self._left = torch.cuda.Event() if device.type == "cuda" else None

    def has(self, X: Any) -> bool:
        """Return whether all of this array is on the device."""
        return self._given is X and self._all_X is not None

    def load(self, rows: NDArray, on_device: torch.Tensor) -> None:
        """Make the samples in these rows the piece; the numbers of the rows are on the device, too."""
        n_rows = len(rows)
        torch.index_select(self._all_y, 0, on_device, out=self.y[:n_rows])
        if self._all_X is not None:
            torch.index_select(self._all_X, 0, on_device, out=self.X[:n_rows])
            return
        gathered = _on_host(self._given[rows])
        if self._left is not None:
            self._left.synchronize()  # the piece before, from pinned memory
        self.X[:n_rows].copy_(self._pinned[:n_rows].copy_(gathered), non_blocking=self._left is not None)
        if self._left is not None:
            self._left.record()
