"""A file for the weights of a network: a NumPy .npz without pickled objects, so that reading one runs no code.

Its version is that of the layout described by ``write_weights``; a reader refuses a later one.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.whole_file import whole_file

__all__ = ["FILE_VERSION", "read_weights", "write_weights"]

FILE_FORMAT = "sknn_scratch weights"
# Version 2 has target_mean and target_scale, without which a regressor of scaled targets predicts wrong numbers; files
# that need neither stay readable by those who know version 1 only.
FILE_VERSION = 2


def write_weights(
    path: str | os.PathLike[str], *, weights: Sequence[NDArray], biases: Sequence[NDArray], **facts: Any
) -> None:
    """Write the weights of a network to a .npz file, all of it or, if something fails, nothing.

    Parameters
    ----------
    path : path-like
        Name of the file; an existing one is replaced.
    weights, biases : sequence of ndarray
        One entry per layer, stored as ``weights_0``, ``weights_1``, ... and ``biases_0``, ...
    **facts : bool, str, or sequence or ndarray of numbers or str
        What else a reader has to know.
    """
    arrays: dict[str, Any] = {name: _without_objects(name, np.asarray(value)) for name, value in facts.items()}
    for name, layers in (("weights", weights), ("biases", biases)):
        arrays |= {f"{name}_{l}": layer for l, layer in enumerate(layers)}
    version = FILE_VERSION if "target_mean" in facts else 1
    arrays |= {"format": np.array(FILE_FORMAT), "version": np.array(version), "n_layers": np.array(len(weights))}
    with whole_file(path) as file:
        np.savez(file, **arrays)


def _without_objects(name: str, array: NDArray) -> NDArray:
    """Return an array of Python strings as one of fixed-width strings, which needs no pickle."""
    if array.dtype.kind in "biufU":
        return array
    if all(isinstance(item, str) for item in array.ravel().tolist()):
        return array.astype(np.str_)
    raise ValueError(f"{name} cannot be stored without pickle: it must be numbers or strings, got dtype {array.dtype}.")


def read_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what ``write_weights`` has written: lists ``weights`` and ``biases``, and the facts as arrays.

    Raises
    ------
    ValueError
        If the file is no such file, of another version, or damaged.
    """
    try:
        # np.load would leave a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            content: dict[str, Any] = dict(arrays)
    except (ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise ValueError(f"{path} is not a file of weights, or it is damaged: {error}") from error
    if str(content.pop("format", "")) != FILE_FORMAT:
        raise ValueError(f"{path} is not a file of weights written by save_weights.")
    version = int(content.pop("version"))
    if not 1 <= version <= FILE_VERSION:
        raise ValueError(
            f"{path} has version {version} of the format for weights, and the installed sknn_scratch reads versions up "
            f"to {FILE_VERSION}."
        )
    n_layers = int(content.pop("n_layers"))
    try:
        for name in ("weights", "biases"):
            content[name] = [content.pop(f"{name}_{l}") for l in range(n_layers)]
        _check_shapes(content["weights"], content["biases"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    return content


def _check_shapes(weights: Sequence[NDArray], biases: Sequence[NDArray]) -> None:
    fits = (
        all(w.ndim == 2 and b.shape == w.shape[1:] for w, b in zip(weights, biases, strict=True))
        and all(before.shape[1] == after.shape[0] for before, after in pairwise(weights))
        and len({(array.dtype) for array in [*weights, *biases]}) == 1
    )
    if not fits:
        shapes = [array.shape for array in [*weights, *biases]]
        raise ValueError(f"the layers do not fit each other, with arrays of shapes {shapes}")
