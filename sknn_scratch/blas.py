"""What BLAS is given: matrices in one memory order, and long vectors in blocks that fit the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import daxpy, dscal, saxpy, sscal

__all__ = ["BLOCK_SIZE", "in_blocks", "row_major", "scal_and_axpy"]

BLOCK_SIZE = 8192


def row_major(samples: Any) -> Any:
    """Return an array of the same numbers in C order, the same array if it is in it; other matrices stay as they are.

    BLAS has kernels of its own for each memory order, which round differently.
    """
    if not isinstance(samples, np.ndarray) or (samples.flags.c_contiguous and samples.flags.aligned):
        return samples
    return np.require(samples, requirements=["C", "A"])


def scal_and_axpy(dtype: np.dtype) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return two functions of BLAS for contiguous vectors of the dtype, in one pass and in place.

    ``scal(c, x)`` is ``x *= c``, and ``axpy(x, y, a=c)`` is ``y += c * x``.
    """
    return (sscal, saxpy) if dtype == np.float32 else (dscal, daxpy)


def in_blocks(*vectors: NDArray) -> Iterable[Sequence[NDArray]]:
    """Cut vectors of one length into blocks of ``BLOCK_SIZE`` numbers.

    The several passes of an update then find a block in the cache, and no block is long enough for the BLAS of scipy
    (scal, axpy) to wake a second set of threads beside those of NumPy's (dot).
    """
    size = vectors[0].size
    if size <= BLOCK_SIZE:
        return [vectors]
    return ([vector[start : start + BLOCK_SIZE] for vector in vectors] for start in range(0, size, BLOCK_SIZE))
