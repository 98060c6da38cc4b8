"""Tensors under the names of NumPy, for the formulas of the catalogue and of users.

A formula is called with ``Array`` in place of arrays. NumPy hands every function over to the type of its arguments, so
``np.exp(z)`` is computed by PyTorch, on whichever device the tensor is. What would wait for the device, a look at a
single value or a choice of numbers by True and False, is refused: it has no place in a graph of many steps.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike

__all__ = ["TORCH_DTYPES", "Array", "Space"]

TORCH_DTYPES: dict[Any, torch.dtype] = {
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float64): torch.float64,
    np.dtype(bool): torch.bool,
}
_NUMPY_DTYPES: dict[torch.dtype, np.dtype] = {value: key for key, value in TORCH_DTYPES.items()}


class Space:
    """Where the arrays of a formula are.

    Parameters
    ----------
    dtype : torch.dtype
        Of the numbers, also of constants.
    device : torch.device
    """

    def __init__(self, dtype: torch.dtype, device: torch.device):
        self.dtype, self.device = dtype, device
        self._constants: dict[Any, torch.Tensor] = {}

    def __call__(self, tensor: torch.Tensor) -> Array:
        """Return a tensor as an array."""
        return Array(self, tensor)

    def compute(self, formula: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a formula makes of tensors, as a tensor or a tuple of tensors."""
        result = formula(*(self(one) if isinstance(one, torch.Tensor) else one for one in arguments))
        return tuple(map(self.tensor, result)) if isinstance(result, tuple) else self.tensor(result)

    def tensor(self, value: Any) -> torch.Tensor:
        """Return an array, or numbers, as a tensor on the device."""
        value = self.operand(value)
        # Filled on the device, which a graph can do again; a copy from the host it could not.
        return value if isinstance(value, torch.Tensor) else torch.full((), value, dtype=self.dtype, device=self.device)

    def operand(self, value: Any) -> Any:
        """Return an array as a tensor, and a single number as Python's own."""
        if isinstance(value, Array):
            return value.tensor
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
            return value.item()
        return self._constant(value) if isinstance(value, np.ndarray) else value

    def _constant(self, array: np.ndarray) -> torch.Tensor:
        # Kept, as a graph of steps reads it at its address.
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            dtype = torch.bool if array.dtype == np.bool_ else self.dtype
            self._constants[key] = torch.tensor(array.tolist(), dtype=dtype, device=self.device)
        return self._constants[key]


class Array(NDArrayOperatorsMixin):
    """A tensor that a formula takes for an array."""

    __slots__ = ("space", "tensor")

    def __init__(self, space: Space, tensor: torch.Tensor):
        self.space, self.tensor = space, tensor

    @property
    def dtype(self) -> np.dtype:
        """That of NumPy."""
        return _NUMPY_DTYPES[self.tensor.dtype]

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(self.tensor.shape)

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self.tensor.ndim

    def __len__(self) -> int:
        return len(self.tensor)

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Array:
        """Return the same numbers, or truths, in this dtype."""
        return self.space(self.tensor.to(TORCH_DTYPES[np.dtype(dtype)]))

    def copy(self) -> Array:
        """Return a copy, which may be written into."""
        return self.space(self.tensor.clone(memory_format=torch.contiguous_format))

    def reshape(self, *shape: Any) -> Array:
        """Return the same numbers in this shape."""
        return self.space(self.tensor.reshape(*shape))

    def clip(self, min: Any = None, max: Any = None) -> Array:  # noqa: A002, the names are NumPy's
        """Replace what lies below ``min`` or above ``max`` by it."""
        clipped = self if min is None else np.maximum(self, min)
        return clipped if max is None else np.minimum(clipped, max)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Array:
        """Add up along an axis, or all."""
        return self._reduced(torch.sum, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Array:
        """Return the mean along an axis, or of all."""
        return self._reduced(torch.mean, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Array:
        """Return the largest along an axis, or of all."""
        return self._reduced(torch.amax, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Array:
        """Return the smallest along an axis, or of all."""
        return self._reduced(torch.amin, axis, keepdims)

    def _reduced(self, function: Callable[..., torch.Tensor], axis: Any, keepdims: bool) -> Array:
        axes = tuple(range(self.ndim)) if axis is None else axis
        return self.space(function(self.tensor, axes, keepdim=bool(keepdims)))

    def __getitem__(self, key: Any) -> Array:
        key, reversed_axes = _basic(key)
        return self.space(self.tensor.flip(reversed_axes)[key] if reversed_axes else self.tensor[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        key, reversed_axes = _basic(key)
        if reversed_axes:
            raise TypeError("it writes into an array in reverse")
        self.tensor[key] = self.space.operand(value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        if method == "reduce" and ufunc.__name__ in _REDUCTIONS and out is None:
            return getattr(inputs[0], _REDUCTIONS[ufunc.__name__])(**{"axis": 0, **options})
        function = _UFUNCS.get(ufunc.__name__)
        if method != "__call__" or options or function is None:
            raise TypeError(
                f"np.{ufunc.__name__} has no counterpart here" + (f" with {sorted(options)}" if options else "")
            )
        result = function(self.space, *map(self.space.operand, inputs))
        if out is None:
            return self.space(result)
        out[0].tensor.copy_(result)
        return out[0]

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if name in _METHODS:
            return getattr(args[0], _METHODS[name])(*args[1:], **kwargs)
        if name not in _FUNCTIONS:
            raise TypeError(f"np.{name} has no counterpart here")
        return _FUNCTIONS[name](self.space, *args, **kwargs)

    def _refuse(self, *args: Any) -> Any:
        raise TypeError("it looks at single values")

    __bool__ = __array__ = __float__ = __int__ = __iter__ = _refuse


def _basic(key: Any) -> tuple[tuple[Any, ...], list[int]]:
    """Return a key as PyTorch takes it, and the axes that it reverses, which PyTorch does in another way."""
    key = key if isinstance(key, tuple) else (key,)
    if not all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in key):
        raise TypeError("it chooses numbers by an array")
    dots = key.index(Ellipsis) if Ellipsis in key else len(key)
    axes = [i if i < dots else i - len(key) for i, part in enumerate(key) if part == slice(None, None, -1)]
    return tuple(slice(None) if part == slice(None, None, -1) else part for part in key), axes


# Functions ------------------------------------------------------------------------------------------------------------


def _of_tensors(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a function that takes numbers, too, in place of tensors."""
    return lambda space, *values: function(*map(space.tensor, values))


def _bounded(side: str, function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a maximum or minimum, which for a number is one operation."""

    def of(space: Space, x: Any, y: Any) -> torch.Tensor:
        tensors = [value for value in (x, y) if isinstance(value, torch.Tensor)]
        if len(tensors) == 2:
            return function(x, y)
        return torch.clamp(tensors[0], **{side: y if tensors[0] is x else x})

    return of


# Python's operators take a number on either side.
_OPERATORS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "power": operator.pow, "float_power": operator.pow, "negative": operator.neg, "positive": operator.pos,
    "equal": operator.eq, "not_equal": operator.ne, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge, "bitwise_and": operator.and_, "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor, "invert": operator.invert, "floor_divide": operator.floordiv,
    "remainder": operator.mod, "absolute": operator.abs, "fabs": operator.abs, "square": lambda x: x * x,
}  # fmt: skip
_SAME_NAMES = (
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "ceil", "cos", "cosh", "deg2rad", "exp",
    "exp2", "expm1", "floor", "fmax", "fmin", "hypot", "isfinite", "isinf", "isnan", "log", "log10", "log1p", "log2",
    "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "rad2deg", "reciprocal",
    "sign", "signbit", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
)  # fmt: skip
_SPECIAL = (
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "expit",
    "gammaln",
    "log_ndtr",
    "logit",
    "ndtr",
    "psi",
    "xlog1py",
    "xlogy",
)
_UFUNCS: dict[str, Callable[..., Any]] = {
    **{name: lambda space, *values, of=of: of(*values) for name, of in _OPERATORS.items()},
    **{name: _of_tensors(getattr(torch, name)) for name in _SAME_NAMES},
    **{name: _of_tensors(getattr(torch.special, name)) for name in _SPECIAL},
    "cbrt": _of_tensors(lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3)),
    "log_expit": _of_tensors(torch.nn.functional.logsigmoid),
    "maximum": _bounded("min", torch.maximum),
    "minimum": _bounded("max", torch.minimum),
    "rint": _of_tensors(torch.round),
}
_REDUCTIONS = {"add": "sum", "maximum": "max", "minimum": "min"}
_METHODS = {
    name: name.removeprefix("a") for name in ("amax", "amin", "clip", "copy", "max", "mean", "min", "reshape", "sum")
}


def _split(space: Space, array: Array, stops: Any, axis: int = 0) -> list[Array]:
    return [space(part) for part in torch.tensor_split(array.tensor, [int(stop) for stop in stops], dim=axis)]


def _joined(space: Space, arrays: Sequence[Any], axis: int = 0) -> Array:
    return space(torch.cat(list(map(space.tensor, arrays)), dim=axis))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concatenate": _joined,
    "cumsum": lambda space, array, axis: space(torch.cumsum(array.tensor, axis)),
    "full_like": lambda space, array, value: space(torch.full_like(array.tensor, value)),
    "hstack": lambda space, arrays: _joined(space, arrays, 1),
    "ones_like": lambda space, array: space(torch.ones_like(array.tensor)),
    "repeat": lambda space, array, n, axis: space(torch.stack([array.tensor] * n, axis + 1).flatten(axis, axis + 1)),
    "split": _split,
    "where": lambda space, condition, *values: space(torch.where(space.tensor(condition), *map(space.tensor, values))),
    "zeros_like": lambda space, array: space(torch.zeros_like(array.tensor)),
}
