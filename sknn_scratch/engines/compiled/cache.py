"""Where compiled code is kept on disk, and what is there; nothing here needs numba."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

__all__ = ["code_version", "folder", "forget", "is_kept", "is_whole", "module_name", "note_kept"]


@cache
def folder() -> Path | None:
    """Return the folder for generated modules and their machine code, or None if there is none to write to."""
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
    try:
        numba_version = version("numba")
    except PackageNotFoundError:
        numba_version = ""
    files = sorted(Path(__file__).parent.glob("*.py"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content + f"{numba_version}{np.__version__}{sys.version}".encode()).hexdigest()[:8]


def module_name(text: str) -> str:
    """Return the name of the module that has a text."""
    return "kernel_" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _mark(name: str) -> Path | None:
    place = folder()
    return None if place is None else place / f"{name}.compiled"


def _files(name: str, place: Path) -> list[Path]:
    return sorted(place.glob(f"*{name}*.nb[ic]"))


def _digest(name: str, place: Path) -> bytes:
    """Return a digest of the machine code of a module in a folder, which is empty if there is none."""
    digests = [hashlib.sha256(file.read_bytes()).digest() for file in _files(name, place)]
    return hashlib.sha256(b"".join(digests)).hexdigest().encode() if digests else b""


def is_kept(name: str) -> bool:
    """Return whether the machine code of a module has been put on disk."""
    mark = _mark(name)
    return mark is not None and mark.is_file()


def is_whole(name: str, place: Path) -> bool:
    """Return whether the machine code of a module is on disk, in the folder ``place``, as it was put there."""
    mark = _mark(name)
    with suppress(OSError):
        return mark is not None and mark.read_bytes() == _digest(name, place) != b""
    return False


def note_kept(name: str, place: Path) -> None:
    """Note that the machine code of a module is in the folder ``place`` now, and what it looks like."""
    mark = _mark(name)
    if mark is not None and not is_whole(name, place):
        with suppress(OSError):
            if digest := _digest(name, place):
                mark.write_bytes(digest)


def forget(name: str, place: Path) -> None:
    """Remove the machine code of a module from disk, as it may be damaged."""
    mark = _mark(name)
    for file in [*([mark] if mark else []), *_files(name, place)]:
        with suppress(OSError):  # a folder, or one that is not ours to write to
            file.unlink(missing_ok=True)
