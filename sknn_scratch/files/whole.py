"""Files that are never seen half-written."""

from __future__ import annotations

import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

fcntl: Any = None
with suppress(ImportError):  # Windows has none; there, a file that is open cannot be removed anyway
    fcntl = import_module("fcntl")

# Suffix of a file that is being written.
UNFINISHED = ".unfinished"


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise unless there is a folder for a file of this path, and nothing else than a file in its place."""
    folder = _real(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {folder}.")
    _mode_of(path)


def open_to_read(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file; whatever is not a file, and might never end, raises ValueError."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} cannot be read: it is {_kind(mode)}, not a file.")
    return Path(path).open("rb")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file beside ``path``, to write and read, and put it in its place once the block has written all of it.

    Until then what was at ``path`` is still there. The new file has its permissions; a link stays one, and the file
    that it leads to is replaced. What a killed process has left of an earlier try is removed.
    """
    check_writable(path)
    target, mode = _real(path), _mode_of(path)
    _remove_leftovers(target)
    unfinished: Path | None = None
    file: IO[bytes] | None = None
    try:
        while file is None:
            unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}{UNFINISHED}")
            file = _create(unfinished, mode)
        assert unfinished is not None
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                unfinished.replace(target)
        if fcntl is None:
            unfinished.replace(target)  # which Windows does not do to a file that is open
        _sync_folder(target.parent)
    finally:
        # An interrupt can come at any line above; after the replacement there is nothing to remove.
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


def _real(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of the file itself, if ``path`` is a link."""
    return Path(os.path.realpath(path))


def _mode_of(path: str | os.PathLike[str]) -> int | None:
    """Return the permissions of the file at ``path``, None if there is none."""
    try:
        mode = _real(path).stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} cannot be written: it is {_kind(mode)}, not a file.")
    return stat.S_IMODE(mode)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def _create(path: Path, mode: int | None) -> IO[bytes] | None:
    """Make a file with these permissions (None: the umask's), locked; None if another process has removed it."""
    # The umask acts on the mode given to open, so it never has to be asked for.
    until_set = 0o666 if mode is None else 0o600
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags, until_set), "w+b")
    try:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            if mode is not None:
                with suppress(OSError):  # a file system without permissions; else it stays private
                    path.chmod(mode)
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _remove_leftovers(target: Path) -> None:
    """Remove unfinished files for ``target`` that no living process is writing."""
    # In a folder that may be written to, and yet not be listed, there are none.
    for path in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}{UNFINISHED}"):
        # What another process is writing, has removed meanwhile, or may not be removed, is left alone.
        with suppress(OSError), nullcontext() if fcntl is None else path.open("rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file written, too; not every system can do that for a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
