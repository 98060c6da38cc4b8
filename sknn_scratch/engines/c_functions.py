"""Addresses of C functions for compiled code to call: the loops inside NumPy's ufuncs, and two ways to wait."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import numpy as np

__all__ = ["give_way", "nap", "ufunc_loop"]


class _UFunc(ctypes.Structure):
    """The beginning of ``PyUFuncObject``, which is part of NumPy's C API."""

    _fields_ = [
        ("head", ctypes.c_char * object.__basicsize__),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
    ]


def ufunc_loop(ufunc: np.ufunc, dtype: np.dtype) -> tuple[int, int]:
    """Return the address of the loop of a ufunc of one argument, from a dtype to itself, and of the loop's data.

    The loop is a C function ``void(char **args, npy_intp *dimensions, npy_intp *steps, void *data)``.
    """
    inside = _UFunc.from_address(id(ufunc))
    types = f"{dtype.char}->{dtype.char}"
    if (inside.nin, inside.nout, inside.nargs, inside.ntypes) != (
        1,
        1,
        2,
        len(ufunc.types),
    ) or types not in ufunc.types:
        raise NotImplementedError(f"this version of NumPy lays out a ufunc in another way: {ufunc!r}")
    i = ufunc.types.index(types)
    return inside.functions[i] or 0, (inside.data[i] or 0) if inside.data else 0


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
