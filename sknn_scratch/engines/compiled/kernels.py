"""Compiled functions: made once, kept on disk, and called by address. numba is imported only to make one."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sknn_scratch.engines.compiled.source import FOR_ALL_JOBS
from sknn_scratch.engines.whole import whole_in_forks

_done: dict[str, Any] = {}


def kernel(text: str) -> Any:
    """Return the C function that a module's text defines; its code lives as long as the result."""
    with whole_in_forks():
        if text not in _done:
            _done[text] = _compile(text)
        return _done[text]


def functions(sources: dict[str, str], dtype: np.dtype) -> dict[str, Any]:
    """Return the C functions that are given the record of a job, by their names in it."""
    texts = [sources[name] for name in FOR_ALL_JOBS]
    if not all(text in _done or is_kept(text) for text in texts):
        often = "once on this machine" if folder() else "in each process, as code cannot be kept"
        print(f"sknn_scratch: compiling for {dtype}, some 5 seconds, {often}", file=sys.stderr)
    return {name: kernel(text) for name, text in sources.items()}


def _compile(text: str) -> Any:
    """Compile a module's ``kernel``; numba keeps code only of functions that stand in a file."""
    from numba import cfunc, njit

    # What only texts import, for tools such as PyInstaller, which take along what statements import.
    from sknn_scratch.engines.compiled import elementary, epoch, inputs, phases, row_losses  # noqa: F401

    place = None
    try:
        path = _written(text)
        module, mark = _module(text, path), path.with_suffix(".compiled")
        place = Path(str(njit(cache=True)(module.kernel).stats.cache_path))
        if not is_whole(mark, place):
            _forget(mark, place)
        compiled = cfunc(module.signature, cache=True, error_model="numpy")(module.kernel)
    except Exception:  # the cache cannot be written, or what is there be neither read nor removed
        if place is not None:
            _forget(mark, place)
        module = _module(text)
        return cfunc(module.signature, error_model="numpy")(module.kernel)
    if not is_whole(mark, place):
        with suppress(OSError):
            if digest := _digest(mark, place):
                mark.write_bytes(digest)
    return compiled


def module_name(text: str) -> str:
    """Return the name of the module that has a text."""
    return "kernel_" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _module(text: str, path: Path | None = None) -> Any:
    name = module_name(text)
    module = ModuleType(f"sknn_scratch_kernels.{name}")
    if path is not None:
        module.__file__ = str(path)
    sys.modules[module.__name__] = module
    # Not what another process may have put into the file meanwhile.
    exec(compile(text, path or name, "exec"), vars(module))
    return module


# On disk: the texts of modules, their machine code where numba puts it, and marks with digests of that ----------------


def is_kept(text: str) -> bool:
    """Return whether the machine code of a module has been put on disk."""
    place = folder()
    return place is not None and (place / f"{module_name(text)}.compiled").is_file()


def _written(text: str) -> Path:
    """Write a module to a file."""
    place = folder()
    if place is None:
        raise OSError("there is no folder for compiled code")
    path, content = place / f"{module_name(text)}.py", text.encode()
    if not path.is_file() or path.read_bytes() != content:
        temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        temporary.write_bytes(content)
        temporary.replace(path)
    return path


@cache
def folder() -> Path | None:
    """Return the folder for modules and marks, or None if there is none to write to.

    There is none either without the sources, as in an archive or a frozen program: by what would code of another
    release be told?
    """
    if not Path(__file__).with_suffix(".py").is_file():
        return None
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(__file__).with_name("__pycache__")
    users = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # which may have no home to name
    for candidate in [Path(chosen) / "sknn_scratch"] if chosen else [beside, Path(users) / "sknn_scratch"]:
        with suppress(OSError):
            place = candidate / f"kernels-{code_version()}"
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                return place
    return None


@cache
def code_version() -> str:
    """Return a digest of the files of this folder and of the versions of what compiles them."""
    from importlib.metadata import PackageNotFoundError, version  # old releases of SciPy do not load it

    try:
        numba_version = version("numba")
    except PackageNotFoundError:
        numba_version = ""
    files = sorted(Path(__file__).parent.glob("*.py"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content + f"{numba_version}{np.__version__}{sys.version}".encode()).hexdigest()[:8]


def _machine_code(mark: Path, place: Path) -> list[Path]:
    return sorted(place.glob(f"*{mark.stem}*.nb[ic]"))


def _digest(mark: Path, place: Path) -> bytes:
    """Return a digest of the machine code of a module, which is empty if there is none."""
    digests = [hashlib.sha256(file.read_bytes()).digest() for file in _machine_code(mark, place)]
    return hashlib.sha256(b"".join(digests)).hexdigest().encode() if digests else b""


def is_whole(mark: Path, place: Path) -> bool:
    """Return whether the machine code in the folder ``place`` is, by its mark, what has been put there."""
    with suppress(OSError):
        return mark.read_bytes() == _digest(mark, place) != b""
    return False


def _forget(mark: Path, place: Path) -> None:
    """Remove the machine code of a module from disk, as it may be damaged."""
    for file in [mark, *_machine_code(mark, place)]:
        with suppress(OSError):  # a folder, or one that is not ours to write to
            file.unlink(missing_ok=True)
