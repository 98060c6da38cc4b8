"""Kernels of the components: compiled once, kept on disk, called by address."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numba import cfunc, from_dtype, njit, types

from sknn_scratch.engines.compiled import epoch
from sknn_scratch.engines.compiled.team import WORK

__all__ = ["Kernel", "compiled_work", "kernel_of", "kernel_of_function"]

_OPTIONS: dict[str, Any] = {"error_model": "numpy"}


class Kernel(NamedTuple):
    """A compiled loop.

    Attributes
    ----------
    address : int
        Of a C function.
    function : object
        Keeps the code alive.
    """

    address: int
    function: Any


@cache
def folder() -> Path | None:
    """Return the folder for generated modules and their machine code, or None if there is none to write to."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(__file__).with_name("__pycache__") / "kernels"
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sknn_scratch"
    for candidate in [Path(chosen) / "sknn_scratch"] if chosen else [beside, users]:
        with suppress(OSError):
            candidate.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=candidate):
                return candidate
    return None


_kernels: dict[str, Kernel] = {}
_compiling = threading.Lock()


def kernel_of(source: str) -> Kernel:
    """Return the kernel that a module's text defines."""
    with _compiling:
        if source not in _kernels:
            _kernels[source] = _compile(source)
        return _kernels[source]


def _compile(source: str) -> Kernel:
    name = "kernel_" + hashlib.sha256(f"{source}{np.__version__}".encode()).hexdigest()[:16]
    module = _written_module(name, source)
    if module is not None:
        with suppress(OSError, RuntimeError):  # the folder is full, or has gone
            function = cfunc(module.signature, cache=True, **_OPTIONS)(module.kernel)
            return Kernel(function.address, function)
    space: dict[str, Any] = {}
    exec(source, space)
    function = cfunc(space["signature"], **_OPTIONS)(space["kernel"])
    return Kernel(function.address, function)


def _written_module(name: str, source: str) -> Any:
    """Write a module and import it, as numba keeps code only of functions that stand in a file."""
    place = folder()
    if place is None:
        return None
    path = place / f"{name}.py"
    with suppress(OSError):
        if not path.exists() or path.read_text() != source:
            temporary = place / f"{name}.{os.getpid()}.{threading.get_ident()}"
            temporary.write_text(source)
            temporary.replace(path)
        spec = importlib.util.spec_from_file_location(f"sknn_scratch_kernels.{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    return None


def kernel_of_function(function: Callable[..., Any], dtype: np.dtype) -> Kernel:
    """Return the kernel of a loss that is written as a loop."""
    key = f"{function.__qualname__} {dtype}"
    with _compiling:
        if key not in _kernels:
            pointer, integer = types.CPointer(from_dtype(dtype)), types.int64
            signature = types.float64(*[pointer] * 4, *[integer] * 3, pointer, types.CPointer(types.float64))
            compiled = _kept(lambda **options: cfunc(signature, **_OPTIONS, **options)(_named(function, dtype)))
            _kernels[key] = Kernel(compiled.address, compiled)
        return _kernels[key]


@cache
def compiled_work(dtype: np.dtype) -> Callable[..., Any]:
    """Return the function that trains for an epoch."""
    record, real, integer = from_dtype(WORK), from_dtype(dtype), types.int64
    signature = types.Tuple([types.float64, integer, integer])(integer, record, real, *[integer] * 4)
    return _kept(lambda **options: njit(signature, nogil=True, **_OPTIONS, **options)(_named(epoch.work, dtype)))


@cache
def compiled_phase(function: Callable[..., Any], dtype: np.dtype) -> Kernel:
    """Return a function that does a part of a phase, compiled for a dtype."""
    signature = types.void(types.int64, from_dtype(WORK), from_dtype(dtype))
    compiled = _kept(lambda **options: cfunc(signature, **_OPTIONS, **options)(_named(function, dtype)))
    return Kernel(compiled.address, compiled)


def _kept(compile_: Callable[..., Any]) -> Any:
    """Compile with a cache on disk, or without one where there is no folder for it."""
    try:
        return compile_(cache=True)
    except (RuntimeError, OSError):
        return compile_()


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
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
