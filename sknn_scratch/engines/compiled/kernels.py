"""Compiled functions: made once, kept on disk, and called by address."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba import cfunc, from_dtype, njit, types

from sknn_scratch.engines.compiled import cache, row_losses
from sknn_scratch.engines.compiled.epoch import work
from sknn_scratch.engines.compiled.rows import pass_rows
from sknn_scratch.engines.compiled.team import WORK
from sknn_scratch.engines.compiled.weights import move_parameters
from sknn_scratch.engines.whole import whole_in_forks

__all__ = ["Kernel", "kernel", "phase", "training"]

_OPTIONS: dict[str, Any] = {"error_model": "numpy"}


class Kernel(NamedTuple):
    """A compiled function: the address of a C function, and what keeps its code alive."""

    address: int
    function: Any


_done: dict[str, Any] = {}


def _once(name: str, define: Callable[[bool], Any], compile_: Callable[..., Any]) -> Any:
    """Compile a function unless this process has.

    Parameters
    ----------
    name : str
    define : callable
        Returns the function in Python; its argument says whether it has to stand in a file.
    compile_ : callable
        Compiles that, with a cache on disk if ``cache`` says so.
    """
    with whole_in_forks():
        if name not in _done:
            _announce(name)
            _done[name] = _compile(name, define, compile_)
        return _done[name]


def _compile(name: str, define: Callable[[bool], Any], compile_: Callable[..., Any]) -> Any:
    place = None
    try:
        function = define(True)
        place = Path(str(njit(cache=True)(function).stats.cache_path))
        if not cache.is_whole(name, place):
            cache.forget(name, place)
        compiled = compile_(function, cache=True)
    except Exception:  # the cache cannot be written, or what is there be neither read nor removed
        if place is not None:
            cache.forget(name, place)
        return compile_(define(False), cache=False)
    cache.note_kept(name, place)
    return compiled


def _announce(name: str) -> None:
    """Say on stderr that it will take some seconds."""
    if name.startswith("pass_rows") and not cache.is_kept(name):
        dtype = name.removeprefix("pass_rows_")
        print(f"sknn_scratch: compiling for {dtype}, some 5 seconds, once on this machine", file=sys.stderr)


@functools.cache
def kernel(text: str, dtype: np.dtype) -> Kernel:
    """Return the kernel that a module's text defines, or a loss of ``row_losses`` by its name."""
    if "\n" not in text:
        pointer, integer = types.CPointer(from_dtype(dtype)), types.int64
        signature = types.float64(*[pointer] * 4, *[integer] * 3, pointer, types.CPointer(types.float64))
        return _c_function(getattr(row_losses, text), signature, dtype)
    name = cache.module_name(text)
    space: dict[str, Any] = {}

    def define(in_file: bool) -> Any:
        space.update(_written_module(name, text) if in_file else _module_in_memory(name, text))
        return space["kernel"]

    def compile_(function: Any, cache: bool) -> Any:
        return cfunc(space["signature"], cache=cache, **_OPTIONS)(function)

    function = _once(name, define, compile_)
    return Kernel(function.address, function)


@functools.cache
def phase(name: str, dtype: np.dtype) -> Kernel:
    """Return a function that does a part of a phase."""
    signature = types.void(types.int64, from_dtype(WORK), from_dtype(dtype))
    return _c_function({"pass_rows": pass_rows, "move_parameters": move_parameters}[name], signature, dtype)


def _c_function(function: Callable[..., Any], signature: Any, dtype: np.dtype) -> Kernel:
    name = f"{function.__name__}_{dtype}"
    compiled = _once(
        name,
        lambda in_file: _named(function, name),
        lambda named, cache: cfunc(signature, cache=cache, **_OPTIONS)(named),
    )
    return Kernel(compiled.address, compiled)


@functools.cache
def training(dtype: np.dtype) -> Callable[..., Any]:
    """Return ``work``, which is given the address of the record, and lets other threads of Python run meanwhile."""
    signature = types.void(types.int64, from_dtype(WORK), from_dtype(dtype), *[types.int64] * 4)
    compiled, integer = _c_function(work, signature, dtype), ctypes.c_int64
    # numba's own call takes ten times as long, as it looks at the layout of the record each time.
    real = np.ctypeslib.as_ctypes_type(dtype)
    return ctypes.CFUNCTYPE(None, integer, ctypes.c_void_p, real, *[integer] * 4)(compiled.address)


def _named(function: Any, name: str) -> Any:
    """Return the function under a name, and so with a file in the cache, for each dtype and version of the code.

    Two processes that compile at once may write the same file, and then have to agree on its content. numba itself
    would not notice a change in a function of another file that is called.
    """
    named = FunctionType(function.__code__, function.__globals__)
    named.__module__, named.__qualname__ = function.__module__, f"{name}_{cache.code_version()}"
    return named


def _written_module(name: str, text: str) -> dict[str, Any]:
    """Write a module and import it, as numba keeps code only of functions that stand in a file."""
    place = cache.folder()
    if place is None:
        raise OSError("there is no folder for compiled code")
    path, content = place / f"{name}.py", text.encode()
    if not path.is_file() or path.read_bytes() != content:
        temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        temporary.write_bytes(content)
        temporary.replace(path)
    module = ModuleType(f"sknn_scratch_kernels.{name}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(text, path, "exec"), vars(module))  # not what another process may have put there meanwhile
    return vars(module)


def _module_in_memory(name: str, text: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": name}
    exec(text, space)
    return space
