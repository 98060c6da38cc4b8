"""Tensors under NumPy's names, for the formulas of the catalogue and of users.

NumPy hands every function over to the type of its arguments. So a formula that is called with ``_Array`` in place of
arrays is computed by PyTorch's functions of the same names, on whichever device the tensors are. What would wait for
the device, a look at single values or a choice of numbers by an array, is refused: it has no place in a graph of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike

from sknn_scratch.catalogue.rewriting import BY_OTHERS


def torch_dtype(dtype: DTypeLike) -> torch.dtype:
    """Return the dtype of PyTorch for one of NumPy."""
    return getattr(torch, np.dtype(dtype).name)


def compute(formula: Callable[..., Any], *tensors: torch.Tensor) -> Any:
    """Return what a formula for arrays makes of tensors: a tensor or a tuple of tensors."""
    dtype, device = tensors[0].dtype, tensors[0].device
    is_double = dtype != torch.float32 and device.type != "mps"
    arrays = [tensor.as_subclass(_Array64 if is_double else _Array) for tensor in tensors]
    result = formula(*arrays)

    def plain(value: Any) -> torch.Tensor:
        return arrays[0].tensor(value).as_subclass(torch.Tensor)

    return tuple(map(plain, result)) if isinstance(result, tuple) else plain(result)


class _Array(torch.Tensor):
    """A tensor that a formula takes for an array; functions of PyTorch know ``axis`` and ``keepdims`` as well."""

    numbers = torch.float32  # dtype of what the formula is called with, and of the numbers in it

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(str(super().dtype).removeprefix("torch."))

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Any:
        return self.to(torch_dtype(dtype))

    def copy(self) -> Any:
        return self.clone()

    def max(self, axis: Any = (), keepdims: bool = False) -> Any:
        return torch.amax(self, axis, keepdims)

    def min(self, axis: Any = (), keepdims: bool = False) -> Any:
        return torch.amin(self, axis, keepdims)

    def tensor(self, value: Any) -> torch.Tensor:
        """Return a number or an array of NumPy as a tensor on the device of this one."""
        if isinstance(value, torch.Tensor):
            return value
        array = np.asarray(value)
        if array.ndim == 0:  # filled on the device, which a graph can do again
            return torch.full((), array.item(), dtype=self.numbers, device=self.device)
        dtype = torch.bool if array.dtype == np.bool_ else self.numbers
        return _constant(array.tobytes(), array.dtype, array.shape, dtype, self.device)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        name = ufunc.__name__
        if method == "reduce" and name in _REDUCTIONS and out is None:
            return getattr(inputs[0], _REDUCTIONS[name])(**{"axis": 0, **options})
        if method != "__call__" or options:
            raise TypeError(f"np.{name} has no counterpart here, as {method} and with {sorted(options)}")
        try:
            result = _function(name)(*inputs)
        except TypeError:  # some take no numbers, and none takes arrays of NumPy
            result = _function(name)(*map(self.tensor, inputs))
        return result if out is None else out[0].copy_(result)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        result = _function(function.__name__)(*args, **kwargs)
        if type(result).__module__ == "torch.return_types":  # such as of torch.sort, which gives places, too
            raise TypeError(f"np.{function.__name__} has no counterpart here")
        return result

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.__name__ in _WAITING:
            raise TypeError("it looks at single values")
        if function.__name__ in ("__getitem__", "__setitem__") and _chooses(args[1]):
            raise TypeError("it chooses numbers by an array")
        if any(isinstance(one, float) for one in args):  # beside which truths are numbers of the formula's dtype
            args = [one.to(cls.numbers) if isinstance(one, _Array) and one.dtype.kind != "f" else one for one in args]
        return super().__torch_function__(function, types, args, kwargs or {})


class _Array64(_Array):
    numbers = torch.float64


@cache
def _constant(data: bytes, dtype: np.dtype, shape: Any, as_dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    # Kept, as a graph of steps reads it at its address.
    return torch.tensor(np.frombuffer(data, dtype).tolist(), dtype=as_dtype, device=device).reshape(shape)


def _chooses(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(part, torch.Tensor | np.ndarray | list) for part in parts)


def _function(name: str) -> Callable[..., Any]:
    """Return PyTorch's function for one of NumPy or SciPy, or one of NumPy's others that makes the same."""
    for place in (_OTHERWISE, vars(torch), vars(torch.special), BY_OTHERS):
        if callable(place.get(name)):
            return place[name]
    raise TypeError(f"np.{name} has no counterpart here")


# What has another name or other arguments.
_OTHERWISE: dict[str, Callable[..., Any]] = {
    "equal": torch.eq,
    "flip": lambda x, axis: torch.flip(x, (axis,)),
    "max": torch.amax,
    "maximum": torch.clamp_min,
    "min": torch.amin,
    "minimum": torch.clamp_max,
    "power": torch.pow,
    "repeat": torch.repeat_interleave,
    "split": lambda x, stops, axis=0: torch.tensor_split(x, [int(stop) for stop in stops], axis),
    "where": lambda condition, x, y: torch.where(condition, condition.tensor(x), condition.tensor(y)),
}
_REDUCTIONS = {"add": "sum", "maximum": "max", "minimum": "min"}
_WAITING = {
    "__array__", "__bool__", "__contains__", "__float__", "__index__", "__int__", "allclose", "argwhere", "equal",
    "item", "masked_select", "nonzero", "numpy", "tolist", "unique",
}  # fmt: skip
