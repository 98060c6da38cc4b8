"""Files of named arrays, which are NumPy's .npz, written whole and read without trusting them.

A header says how large an array is. Here it is believed only if the file is as large, and if the checksum of the zip
archive that a .npz is agrees with every byte; nothing is ever unpickled or decompressed.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy
from numpy.typing import NDArray

from sknn_scratch.files.whole import open_to_read, whole_file

# What each kind of file says of itself.
FORMATS = {"file of weights": "sknn_scratch weights", "checkpoint": "sknn_scratch checkpoint"}
# Booleans, integers, floats and strings of a fixed width.
KINDS = "biufU"


@contextmanager
def naming_file(path: str | os.PathLike[str], verdict: str) -> Iterator[None]:
    """Turn every error of the block into one ValueError of the file's path, the verdict on it and the reason.

    Damaged bytes reach zipfile, NumPy's parser of headers and our own code in ways that cannot be listed.
    """
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} {verdict}: {reason.removesuffix('.')}.") from error


def write_file(path: str | os.PathLike[str], what: str, version: int, arrays: Mapping[str, NDArray]) -> None:
    """Write a file, one of ``FORMATS``: all of it or, if something fails, nothing."""
    for name, array in arrays.items():
        if array.dtype.kind not in KINDS:
            raise ValueError(
                f"{name} cannot be stored without pickle: it must be numbers or strings, got dtype {array.dtype}."
            )
    named: dict[str, Any] = dict(arrays, format=np.array(FORMATS[what]), version=np.array(version))
    with whole_file(path) as file:
        np.savez(file, **named)


def read_file(path: str | os.PathLike[str], what: str, versions: Sequence[int]) -> dict[str, NDArray]:
    """Return the arrays of a file that ``write_file`` wrote, in one of these versions; or raise ValueError."""
    with open_to_read(path) as file, naming_file(path, f"is not a {what}, or it is damaged"):
        arrays = _read_arrays(file)
        if str(arrays.pop("format", "")) != FORMATS[what]:
            raise ValueError("it does not say that it is one")
        version = int(arrays.pop("version", np.array(0)).item())
    if version not in versions:
        raise ValueError(
            f"{path} has version {version} of the format for a {what}, and the installed sknn_scratch reads versions "
            f"{', '.join(map(str, versions))}."
        )
    return arrays


def _read_arrays(file: IO[bytes]) -> dict[str, NDArray]:
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(set(names)) < len(names):
            raise ValueError("it has two arrays of one name")
        if any(member.compress_size != member.file_size for member in members):
            raise ValueError("its arrays are compressed")
        if sum(member.file_size for member in members) > size:
            raise ValueError("its arrays would be larger than the file")
        # Reading all of a member compares its checksum.
        return {name: _array(name, archive.read(member)) for name, member in zip(names, members, strict=True)}


def _array(name: str, content: bytes) -> NDArray:
    """Return the array of a .npy file."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    read_header: Any = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
    shape, _, dtype = read_header(file)
    if dtype.kind not in KINDS or dtype.itemsize == 0:
        raise ValueError(f"{name} has dtype {dtype}")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"{name} has shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"{name} is said to have shape {shape} and dtype {dtype}, which is not what is there")
    file.seek(0)
    return npy.read_array(file, allow_pickle=False).astype(dtype.newbyteorder("="), copy=False)
