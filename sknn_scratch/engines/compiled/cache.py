"""Where compiled code is kept on disk, and what is there; nothing here needs numba."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from sknn_scratch.engines.compiled.sources import Sources

__all__ = ["GENERIC", "code_version", "folder", "forget", "is_complete", "is_kept", "module_name", "note_kept"]

# The functions that every job needs, whatever its components.
GENERIC = ("pass_rows", "move_parameters", "work")


@cache
def folder() -> Path | None:
    """Return the folder for generated modules and their machine code, or None if there is none to write to."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(__file__).with_name("__pycache__")
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sknn_scratch"
    for candidate in [Path(chosen) / "sknn_scratch"] if chosen else [beside, users]:
        with suppress(OSError):
            place = candidate / f"kernels-{code_version()}"
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                return place
    return None


@cache
def code_version() -> str:
    """Return a name for what stands in the files of compiled code, and for what compiles it."""
    try:
        numba_version = version("numba")
    except PackageNotFoundError:  # asked for all the same, since numba is imported only where something is kept
        numba_version = "none"
    files = sorted(Path(__file__).parent.glob("*.py"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content + f"{numba_version}{np.__version__}{sys.version}".encode()).hexdigest()[:8]


def module_name(text: str) -> str:
    """Return the name of the module that has a text."""
    return "kernel_" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _mark(name: str) -> Path | None:
    place = folder()
    return None if place is None else place / f"{name}.compiled"


def note_kept(name: str) -> None:
    """Note that the machine code of a function is on disk now."""
    mark = _mark(name)
    if mark is not None:
        with suppress(OSError):
            mark.touch()


def is_kept(name: str) -> bool:
    """Return whether the machine code of a function is on disk."""
    mark = _mark(name)
    return mark is not None and mark.exists()


def forget(name: str) -> None:
    """Remove the machine code of a function from disk, as it may be damaged."""
    mark = _mark(name)
    beside = Path(__file__).with_name("__pycache__")
    places = [beside, *([mark.parent, mark.parent / "__pycache__", *mark.parent.parent.glob("*/")] if mark else [])]
    with suppress(OSError):
        for file in [mark, *(file for place in places for file in place.glob(f"*{name}*.nb[ic]"))]:
            if file is not None:
                file.unlink(missing_ok=True)


def is_complete(sources: Sources, dtype: np.dtype) -> bool:
    """Return whether all machine code of a job is on disk."""
    return all(map(is_kept, names_of(sources, dtype)))


def names_of(sources: Sources, dtype: np.dtype) -> Iterable[str]:
    """Go through the names of all functions that a job needs."""
    for function in GENERIC:
        yield f"{function}_{dtype}"
    for text in sources.texts():
        yield module_name(text) if "\n" in text else f"{text}_{dtype}"
