"""Python values as JSON and arrays, in two ways, neither of which runs code when it is read.

``encode`` and ``decode`` keep a value to the last bit. ``describe`` says what a value is, so that two of them can be
compared although one was in a process that is gone: numbers by value, components by class and parameters.
"""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLAIN = (type(None), bool, int, float, str)
GENERATORS = {
    cls.__name__: cls
    for cls in (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
}
# Positions of a generator in its block of numbers, and the block's length, which NumPy does not check.
POSITIONS = {"pos": 624, "buffer_pos": 4}


def encode(value: Any, arrays: dict[str, NDArray]) -> Any:
    """Return what ``decode`` makes the same value of, as values of JSON; arrays are added to ``arrays``.

    Of an object its attributes are kept, except parameters that are more than a number or a string. Raises TypeError
    for what is not plain, an array, a container of such, a generator of random numbers or an object with attributes.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return {"scalar": [value.dtype.str, value.tobytes().hex()]}
    if type(value) is np.ndarray and value.dtype.kind in "biufU":
        name = f"array_{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if type(value) in (list, tuple):
        return {type(value).__name__: [encode(item, arrays) for item in value]}
    if type(value) is dict:
        return {"dict": [[encode(key, arrays), encode(item, arrays)] for key, item in value.items()]}
    if type(value) is np.random.RandomState:
        return {"RandomState": encode(value.get_state(legacy=False), arrays)}
    if type(value) is np.random.Generator:
        return {"Generator": encode(value.bit_generator.state, arrays)}
    if hasattr(value, "__dict__") and not callable(value):
        given = _parameters(value)
        kept = {name: item for name, item in vars(value).items() if type(item) in PLAIN or name not in given}
        return {"object": {name: encode(item, arrays) for name, item in kept.items()}}
    raise TypeError(f"{value!r} cannot be stored without pickle: it is a {type(value).__name__}")


def _parameters(component: Any) -> dict[str, Any]:
    return component.get_params(deep=False) if hasattr(component, "get_params") else {}


def decode(stored: Any, arrays: dict[str, NDArray], like: Any = None) -> Any:
    """Return the value of which ``encode`` made this; arrays are taken out of ``arrays``.

    Objects are not made from what is stored, which would let it choose their class: they become copies of those at the
    same place in ``like``. Raises an exception of any kind if it is something else.
    """
    if type(stored) in PLAIN:
        return stored
    [(kind, content)] = stored.items()
    if kind == "scalar":
        [scalar] = np.frombuffer(bytes.fromhex(content[1]), dtype=_scalar_dtype(content[0]))
        return scalar
    if kind == "array":
        return arrays.pop(content)
    if kind in ("list", "tuple"):
        others = like if isinstance(like, list | tuple) and len(like) == len(content) else [None] * len(content)
        items = [decode(item, arrays, other) for item, other in zip(content, others, strict=True)]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        values = like if isinstance(like, dict) else {}
        pairs = [(decode(key, arrays), item) for key, item in content]
        return {key: decode(item, arrays, values.get(key)) for key, item in pairs}
    if kind in ("RandomState", "Generator"):
        state = checked_generator_state(decode(content, arrays))
        bits = GENERATORS[state["bit_generator"]](0)
        if kind == "Generator":
            bits.state = state
            return np.random.Generator(bits)
        rng = np.random.RandomState(bits)
        rng.set_state(state)
        return rng
    if kind == "object":
        if not hasattr(like, "__dict__") or callable(like):
            raise ValueError("an object is stored where there is none before training; make it in start()")
        twin, before = copy.copy(like), vars(like)
        if lacking := sorted({*before} - {*_parameters(like)} - {*content}):
            raise ValueError(f"the state of {type(like).__name__} lacks {', '.join(lacking)}")
        vars(twin).update({name: decode(item, arrays, before.get(name)) for name, item in content.items()})
        return twin
    raise ValueError(f"there is no kind of value {kind!r}")


def _scalar_dtype(text: str) -> np.dtype:
    dtype = np.dtype(text)
    if dtype.kind not in "biuf":
        raise ValueError(f"a number has dtype {dtype}")
    return dtype


def checked_generator_state(state: Any) -> Any:
    """Return the state of a bit generator if it cannot make it read beyond its block of numbers."""
    for part in (state, state["state"]):
        for name, length in POSITIONS.items():
            if name in part and not (isinstance(part[name], int) and 0 <= part[name] <= length):
                raise ValueError(f"a generator of random numbers has {name} {part[name]!r}")
    return state


class _Pickler(pickle.Pickler):
    """Has the members of sets in one order, which otherwise is another in each process."""

    def persistent_id(self, value: Any) -> Any:
        return sorted(map(describe, value), key=repr) if isinstance(value, set | frozenset) else None


def describe(value: Any) -> Any:
    """Return a description as values of JSON; those of two values are equal if the values agree.

    What is neither plain nor a component is described by a digest of its pickle, which has functions and classes by
    name. Raises an exception of any kind for what cannot be pickled, such as a lambda.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Real):
        number = float(value)
        return int(number) if number.is_integer() else number
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {"mapping": sorted(([describe(key), describe(item)] for key, item in value.items()), key=repr)}
    if hasattr(value, "get_params") and not isinstance(value, type):
        return {"component": [describe(type(value)), describe(value.get_params(deep=False))]}
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=4)
    pickler.fast = True  # without references to what came before: equal values may share parts or not
    pickler.dump(value)
    return {"pickled": hashlib.sha256(file.getvalue()).hexdigest()}
