"""Samples to train on, and the rows of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse import issparse

from sknn_scratch.blas import row_major
from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.training.job import ROWS_AT_ONCE

# Of larger arrays only evenly spaced rows are read, which takes about a tenth of a second.
MAX_BYTES = 2**26


@dataclass(frozen=True)
class TrainingData:
    """Samples to train on."""

    X: Any  # array or CSR matrix of shape (n_samples, n_features)
    y: Any  # array of shape (n_samples, n_outputs), of the dtype of X, or bytes (uint8) where targets are 0 and 1
    sample_weight: NDArray | None = None
    rows: NDArray | None = None  # those that are trained on, in this order; None for all of them

    @property
    def n_rows(self) -> int:
        """Number of rows that are trained on."""
        return self.X.shape[0] if self.rows is None else len(self.rows)

    def targets(self, rows: NDArray | slice) -> NDArray:
        """Return the targets of some rows, in the dtype of ``X``."""
        return self.y[rows].astype(self.X.dtype, copy=False)

    def check_targets(self, loss: Loss) -> None:
        """Raise ValueError where a target is outside a loss's domain."""
        for start in range(0, self.X.shape[0], ROWS_AT_ONCE):
            loss.check_targets(self.targets(slice(start, start + ROWS_AT_ONCE)))

    def in_fixed_order(self) -> TrainingData:
        """Return the same samples, such that no result depends on the memory order in which they came.

        ``X`` is not copied (unless its numbers are not aligned, as BLAS needs them): rows are gathered where they are
        used.
        """
        X, weight = self.X, self.sample_weight
        if isinstance(X, np.ndarray) and not X.flags.aligned:
            X = row_major(X)
        if weight is not None:
            weight = row_major(weight)
        return replace(self, X=X, y=np.require(self.y, requirements=["F", "A"]), sample_weight=weight)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the samples, of all rows, are recognised by: numbers, strings and None."""
        weight = self.sample_weight
        return {
            "n_samples": self.X.shape[0],
            "n_features": self.X.shape[1],
            "dtype": str(self.X.dtype),
            "kind": "sparse" if issparse(self.X) else "dense",
            "values of X": _digest_of_rows(self.X),
            "values of y": _digest_of_rows(self.y),
            "values of sample_weight": None if weight is None else _digest_of_rows(weight),
        }

    def astype(self, dtype: DTypeLike) -> TrainingData:
        """Return the same samples in this dtype."""
        X, y, weight = (None if a is None else a.astype(dtype) for a in (self.X, self.y, self.sample_weight))
        return TrainingData(X, y, weight, self.rows)


def _digest_of_rows(array: Any) -> str:
    """Return a digest of the values of an array or CSR matrix, of all rows or, above 64 MiB, of every second or so.

    Neither memory order nor, in a CSR matrix, the order within a row makes a difference.
    """
    n_bytes = array.data.nbytes + array.indices.nbytes if issparse(array) else array.nbytes
    sample = array[:: max(-(-n_bytes // MAX_BYTES), 1)]
    parts = [sample]
    if issparse(sample):
        sample = sample.copy()  # of all rows, scipy has made none
        sample.sum_duplicates()
        parts = [sample.indptr.astype(np.int64), sample.indices.astype(np.int64), sample.data]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
