"""Two ways to wait, as addresses of C functions."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

__all__ = ["give_way", "nap"]


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


@cache
def give_way() -> int:
    """Return the address of ``int()``, which lets another thread run that waits for the same core."""
    if sys.platform == "win32":
        return _address(ctypes.windll.kernel32.SwitchToThread)
    return _address(ctypes.CDLL(None).sched_yield)


@cache
def nap() -> tuple[int, int]:
    """Return the address of ``int(int)``, which sleeps for that long, and how many of its units are a millisecond."""
    if sys.platform == "win32":
        return _address(ctypes.windll.kernel32.Sleep), 1
    return _address(ctypes.CDLL(None).usleep), 1000
