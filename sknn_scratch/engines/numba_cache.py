"""Compiling for the numba engine, when a function is first needed, for float32 or float64.

Compiled code is cached on disk: in the package's folder or, where that is read-only, in one of the user's that numba
finds or NUMBA_CACHE_DIR names.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numba import boolean, float32, float64, int32, int64, njit, types
from numba.core.caching import FunctionCache
from numba.core.registry import cpu_target

from sknn_scratch.engines import numba_epoch, numba_small_epoch, numba_steps
from sknn_scratch.engines.numba_team import Layers, Memory, Objective, Rule, Team

__all__ = ["compiled", "is_compiled", "is_plain"]


def _signatures(dtype: np.dtype) -> dict[Callable[..., Any], tuple[types.Type, ...]]:
    """Return the functions with the types of their arguments."""
    real = float32 if dtype == np.float32 else float64
    vector, matrix = types.Array(real, 1, "C"), types.Array(real, 2, "C")
    any_matrix = types.Array(real, 2, "A", readonly=True)
    data, index = (types.Array(item, 1, "C", readonly=True) for item in (real, int32))
    integers, integer_matrix = types.Array(int64, 1, "C"), types.Array(int64, 2, "C")
    numbers = types.Array(float64, 1, "C")
    hyper = (int64, float64, float64, float64, float64, int64, float64, float64)
    loss = (integer_matrix, types.Array(float64, 2, "C"))
    samples = (any_matrix, data, index, index, any_matrix, numbers, integers)
    fields = {
        Layers: [integers, integers, numbers, integer_matrix, *[integers] * 4],
        Objective: [*loss, float64, float64, float64, boolean],
        Rule: [int64, float64, float64, float64, float64],
        Memory: [vector] * len(Memory._fields),
        Team: [int64, int64, integers, integers, numbers, numbers, *[int64] * 4],
    }
    work = [types.BaseTuple.from_types(of_class, cls) for cls, of_class in fields.items()]
    return {
        numba_epoch.follow: (int64, *samples, *work),
        numba_epoch.lead: (*samples, *work, *[int64] * 4, float64, float64),
        numba_small_epoch.train_small_epoch: (
            *(any_matrix, any_matrix, numbers, integers, int64, integers, integers, numbers),
            *(*loss, float64, float64, float64, boolean),
            *(*hyper, vector, vector, vector, vector),
        ),
        numba_steps.activation_argument: (int64, float64, matrix, vector, matrix),
        numba_steps.activation_result: (int64, float64, matrix, matrix),
        numba_steps.add_to_columns: (vector, matrix),
        numba_steps.link_argument: (integer_matrix, matrix, matrix),
        numba_steps.losses_and_delta: (*loss, any_matrix, matrix, matrix, vector),
        numba_steps.multiply_slope: (int64, float64, matrix, matrix, matrix, vector),
        numba_steps.slope_argument: (int64, matrix, matrix),
        numba_steps.sparse_product: (data, index, index, matrix, matrix),
        numba_steps.sparse_weight_gradient: (data, index, index, matrix, matrix),
        numba_steps.update: (*hyper, vector, vector, vector, vector, int64, float64, float64),
    }


_functions: dict[tuple[Callable[..., Any], np.dtype], Callable[..., Any]] = {}
_compiling = threading.Lock()


def compiled(function: Callable[..., Any], dtype: np.dtype) -> Callable[..., Any]:
    """Return a function, compiled for arrays of this dtype."""
    try:
        return _functions[function, dtype]
    except KeyError:
        with _compiling:
            if (function, dtype) not in _functions:
                _functions[function, dtype] = _compile(function, dtype)
        return _functions[function, dtype]


def is_compiled(function: Callable[..., Any], dtype: np.dtype) -> bool:
    """Return whether it is, in this process or on disk."""
    if (function, dtype) in _functions:
        return True
    try:
        on_disk = FunctionCache(_named(function, dtype))
    except RuntimeError:  # there is no folder for a cache
        return False
    return on_disk.load_overload(_signatures(dtype)[function], cpu_target.target_context) is not None


def is_plain(X: Any) -> bool:
    """Return whether the arrays of a CSR matrix are contiguous, and its indices as the compiled functions expect."""
    contiguous = all(array.flags.c_contiguous for array in (X.data, X.indices, X.indptr))
    return contiguous and X.indices.dtype == X.indptr.dtype == np.int32


def _compile(function: Any, dtype: np.dtype) -> Callable[..., Any]:
    """Compile, or load from the cache."""
    signature: Any = _signatures(dtype)[function]
    options: Any = {"error_model": "numpy", "nogil": True}
    named = _named(function, dtype)
    try:
        done = njit(signature, cache=True, **options)(named)
    except (RuntimeError, OSError):  # there is no folder to write to
        return njit(signature, **options)(named)
    if not done.stats.cache_hits:
        _remove_other_versions(Path(done.stats.cache_path), f"{function.__name__}_{dtype}_")
    return done


def _remove_other_versions(folder: Path, name: str) -> None:
    """Remove from the cache what was compiled of other versions of the code."""
    with suppress(OSError):
        for file in folder.glob(f"*.{name}*.nb[ci]"):
            if f".{name}{_version()}-" not in file.name:
                file.unlink()


def _named(function: Any, dtype: np.dtype) -> Any:
    """Return the function under a name, and so with a file in the cache, for each dtype and version of the code.

    Two processes that compile at once may write the same file, and then have to agree on its content. numba itself
    would not notice a change in a function of another file that is called.
    """
    named = FunctionType(function.__code__, function.__globals__)
    named.__module__, named.__qualname__ = function.__module__, f"{function.__name__}_{dtype}_{_version()}"
    return named


@cache
def _version() -> str:
    """Return a name for what stands in the files of compiled code."""
    files = sorted(Path(__file__).parent.glob("numba_*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
