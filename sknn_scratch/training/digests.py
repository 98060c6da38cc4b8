"""Digests by which samples are recognised."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from scipy.sparse import issparse

# Of larger arrays only evenly spaced rows are read, which takes about a tenth of a second.
MAX_BYTES = 2**26
# Rows are made contiguous in blocks of this size.
BLOCK_BYTES = 2**20


def digest_of_rows(array: Any) -> str:
    """Return a digest of the values of an array or CSR matrix, of all rows or, above 64 MiB, of every second or so.

    Neither memory order nor, in a CSR matrix, the order within a row makes a difference.
    """
    n_bytes = array.data.nbytes + array.indices.nbytes if issparse(array) else array.nbytes
    step = -(-n_bytes // MAX_BYTES)
    digest = hashlib.sha256()
    if issparse(array):
        sample = array[:: max(step, 1)].copy()  # also of all rows, which scipy does not copy
        sample.sum_duplicates()
        parts = [sample.indptr.astype(np.int64), sample.indices.astype(np.int64), sample.data]
    else:
        parts = [array[:: max(step, 1)]]
    for part in parts:
        length = max(1, BLOCK_BYTES * len(part) // max(part.nbytes, 1))
        for start in range(0, len(part), length):
            digest.update(np.ascontiguousarray(part[start : start + length]).data)
    return digest.hexdigest()
