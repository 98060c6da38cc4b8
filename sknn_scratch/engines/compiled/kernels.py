"""Compiled functions: made once, kept on disk, and called by address."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba import cfunc, njit

from sknn_scratch.engines.compiled import cache
from sknn_scratch.engines.compiled.source import FOR_ALL_JOBS
from sknn_scratch.engines.whole import whole_in_forks

__all__ = ["functions", "kernel"]

_done: dict[str, Any] = {}


def kernel(text: str) -> Any:
    """Return the C function that a module's text defines; its code lives as long as the result."""
    with whole_in_forks():
        if text not in _done:
            _done[text] = _compile(cache.module_name(text), text)
        return _done[text]


def functions(sources: dict[str, str], dtype: np.dtype) -> dict[str, Any]:
    """Return the C functions that are given the record of a job, by their names in it."""
    texts = [sources[name] for name in FOR_ALL_JOBS]
    if not all(text in _done or cache.is_kept(cache.module_name(text)) for text in texts):
        print(f"sknn_scratch: compiling for {dtype}, some 5 seconds, once on this machine", file=sys.stderr)
    return {name: kernel(text) for name, text in sources.items()}


def _compile(name: str, text: str) -> Any:
    """Compile a module's ``kernel``; numba keeps code only of functions that stand in a file."""
    place = None
    try:
        module = _module(name, text, _written(name, text))
        place = Path(str(njit(cache=True)(module.kernel).stats.cache_path))
        if not cache.is_whole(name, place):
            cache.forget(name, place)
        compiled = cfunc(module.signature, cache=True, error_model="numpy")(module.kernel)
    except Exception:  # the cache cannot be written, or what is there be neither read nor removed
        if place is not None:
            cache.forget(name, place)
        module = _module(name, text)
        return cfunc(module.signature, error_model="numpy")(module.kernel)
    cache.note_kept(name, place)
    return compiled


def _written(name: str, text: str) -> Path:
    """Write a module to a file."""
    place = cache.folder()
    if place is None:
        raise OSError("there is no folder for compiled code")
    path, content = place / f"{name}.py", text.encode()
    if not path.is_file() or path.read_bytes() != content:
        temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        temporary.write_bytes(content)
        temporary.replace(path)
    return path


def _module(name: str, text: str, path: Path | None = None) -> Any:
    module = ModuleType(f"sknn_scratch_kernels.{name}")
    if path is not None:
        module.__file__ = str(path)
    sys.modules[module.__name__] = module
    # Not what another process may have put into the file meanwhile.
    exec(compile(text, path or name, "exec"), vars(module))
    return module
