"""A file for the weights of a network: a NumPy .npz without pickled objects, so that reading one runs no code.

Its version is that of the layout described by ``write_weights``; a reader refuses a later one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.files.arrays import naming_file, read_file, write_file

# Version 2 has target_mean and target_scale, without which a regressor of scaled targets predicts wrong numbers. Files
# without them are of version 1, which older readers take.
FILE_VERSION = 2
FLOAT_DTYPES = {np.dtype(np.float64), np.dtype(np.float32)}


def write_weights(
    path: str | os.PathLike[str], *, weights: Sequence[NDArray], biases: Sequence[NDArray], **facts: Any
) -> None:
    """Write the weights of a network to a .npz file, all of it or, if something fails, nothing.

    Layers are ``weights_0``, ``weights_1``, ... and ``biases_0``, ...; ``facts`` are bools, strings, or sequences or
    arrays of numbers or strings.
    """
    arrays = {name: _without_objects(np.asarray(value)) for name, value in facts.items()}
    for name, layers in (("weights", weights), ("biases", biases)):
        arrays |= {f"{name}_{l}": layer for l, layer in enumerate(layers)}
    arrays["n_layers"] = np.array(len(weights))
    write_file(path, "file of weights", FILE_VERSION if "target_mean" in facts else 1, arrays)


def _without_objects(array: NDArray) -> NDArray:
    """Return an array of Python strings as one of fixed-width strings, which needs no pickle."""
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.ravel().tolist()):
        return array.astype(np.str_)
    return array


def read_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what ``write_weights`` wrote: lists ``weights`` and ``biases``, facts as arrays; or raise ValueError."""
    content: dict[str, Any] = dict(read_file(path, "file of weights", range(1, FILE_VERSION + 1)))
    with naming_file(path, "is damaged"):
        for name, array in content.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"{name} has numbers that are infinite or NaN")
        n_layers = _pop(content, "n_layers")
        if n_layers.shape or n_layers.dtype.kind not in "iu":
            raise ValueError(f"n_layers is an array of shape {n_layers.shape} and dtype {n_layers.dtype}")
        for name in ("weights", "biases"):
            content[name] = [_pop(content, f"{name}_{l}") for l in range(int(n_layers))]
        _check_layers(content["weights"], content["biases"])
        _check_facts(content)
    return content


def _pop(content: dict[str, Any], name: str) -> NDArray:
    if name not in content:
        raise ValueError(f"it lacks {name}")
    return content.pop(name)


def _check_layers(weights: Sequence[NDArray], biases: Sequence[NDArray]) -> None:
    """Raise ValueError unless these are the layers of a network."""
    arrays = [*weights, *biases]
    fits = (
        len(weights) > 0
        and all(w.ndim == 2 and w.size and b.shape == w.shape[1:] for w, b in zip(weights, biases, strict=True))
        and all(before.shape[1] == after.shape[0] for before, after in pairwise(weights))
    )
    if not fits:
        raise ValueError(f"the layers do not fit each other, with arrays of shapes {[array.shape for array in arrays]}")
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) > 1 or not dtypes <= FLOAT_DTYPES:
        raise ValueError(f"weights are all float64 or all float32, and here of dtype {', '.join(map(str, dtypes))}")


def _check_facts(content: Mapping[str, Any]) -> None:
    """Raise ValueError unless each fact that every network has is there."""
    weights = content["weights"]
    strings = {"kind": (), "link": (), "activations": (len(weights) - 1,)}
    if "feature_names" in content:
        strings["feature_names"] = (len(weights[0]),)
    for name, shape in strings.items():
        fact = content.get(name)
        # Without hidden layers, there are no names of activations to give the array its dtype.
        if fact is None or fact.shape != shape or (fact.size and fact.dtype.kind != "U"):
            found = "missing" if fact is None else f"an array of shape {fact.shape} and dtype {fact.dtype}"
            raise ValueError(f"{name} is {found}")
