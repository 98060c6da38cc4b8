"""A formula written for NumPy, as a graph of its operations.

The formula is called once with expressions in place of arrays. NumPy hands every operation on them over to us, so what
comes back tells which operations led from the arguments to the result. From that graph an engine makes a loop over
numbers, and an export writes its own operators. A formula that looks at values (``if z > 0``), writes into arrays or
calls what NumPy cannot hand over has no graph.

Three shapes occur: a number (a parameter, a constant), one value for each sample, and one for each sample and column.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partialmethod
from numbers import Number
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike

# Shapes: a number; an array of shape (n_samples,), (n_samples, 1) and (n_samples, n_columns).
NUMBER, ROW, COLUMN, ITEM = range(4)

# Operations that give booleans, here called truths.
_TRUTHS = {
    "equal", "greater", "greater_equal", "less", "less_equal", "not_equal",
    "logical_and", "logical_not", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "invert",
    "isfinite", "isinf", "isnan",
}  # fmt: skip
# What an operation on numbers is for two booleans.
_OF_TRUTHS = {
    "add": "logical_or", "maximum": "logical_or", "multiply": "logical_and", "minimum": "logical_and",
    "equal": "equal", "not_equal": "not_equal",
}  # fmt: skip
# Operations without arguments.
LEAVES = ("argument", "parameter", "constant", "n_columns")
_REDUCTIONS = {"add": "sum", "maximum": "max", "minimum": "min"}


class NoGraphError(Exception):
    """A formula does something that no graph can say."""


class Expression(NDArrayOperatorsMixin):
    """An operation on other expressions, or an argument, a parameter or a constant."""

    def __init__(self, trace: Trace, operation: str, arguments: tuple[Expression, ...], value: Any, kind: int):
        self.trace, self.arguments, self.kind = trace, arguments, kind
        # Name of a ufunc, 'where', 'sum', 'max' or 'min' (over the columns), one of LEAVES, or 'n_samples'.
        self.operation = operation
        self.value = value  # name of an argument, position of a parameter, or a constant

    # What formulas ask of arrays ---------------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype:
        """The dtype for which the formula is traced."""
        return self.trace.dtype

    @property
    def shape(self) -> tuple[Any, ...]:
        """Numbers of samples and columns, as expressions."""
        return tuple(self.trace.node(name, (), None, NUMBER) for name in ("n_samples", "n_columns"))

    @property
    def is_truth(self) -> bool:
        """Whether the values are True and False."""
        return self.operation in _TRUTHS or isinstance(self.value, bool)

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Expression:
        """Return the same, as the numbers 0 and 1 if they are truths, or as truths."""
        if np.dtype(dtype) == np.bool_:
            return self.trace.as_truth(self)
        if np.dtype(dtype).kind != "f" and not self.is_truth:
            raise NoGraphError(f"numbers become {np.dtype(dtype)}")
        return self.trace.as_number(self)

    def copy(self) -> Expression:
        """Return the same: nothing is written into expressions."""
        return self

    def clip(self, min: Any = None, max: Any = None) -> Expression:  # noqa: A002, the names are NumPy's
        """Replace what lies below ``min`` or above ``max`` by it."""
        clipped = self if min is None else np.maximum(self, min)
        return clipped if max is None else np.minimum(clipped, max)

    def _reduce(self, operation: str, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return a sum, maximum or minimum over the columns."""
        if axis not in (1, -1) or self.kind not in (COLUMN, ITEM):
            raise NoGraphError(f"{operation} over axis {axis}")
        operation = "positive" if self.kind == COLUMN else operation  # of one column, that itself
        return self.trace.node(operation, (self.trace.as_number(self),), None, COLUMN if keepdims else ROW)

    sum = partialmethod(_reduce, "sum")
    max = partialmethod(_reduce, "max")
    min = partialmethod(_reduce, "min")

    def mean(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return the mean of the columns."""
        return self.sum(axis, keepdims) / (1.0 if self.kind == COLUMN else self.shape[1])

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Expression:
        if options.pop("out", None) is not None or options.pop("where", True) is not True:
            raise NoGraphError(f"{ufunc.__name__} writes into an array")
        if method == "reduce" and ufunc.__name__ in _REDUCTIONS:
            return self._reduce(_REDUCTIONS[ufunc.__name__], **options)
        if method != "__call__" or options:
            raise NoGraphError(f"{ufunc.__name__}.{method} with {sorted(options)}")
        return self.trace.apply(ufunc.__name__, inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        name, trace = function.__name__, self.trace
        if name == "where" and len(args) == 3:
            return trace.apply("where", args)
        if name.removeprefix("a") in ("clip", "sum", "max", "min", "mean"):
            # Also of other names for the same, np.amax(z) and np.clip(z, a_min=0).
            options = {key.removeprefix("a_"): value for key, value in kwargs.items()}
            return getattr(Expression, name.removeprefix("a"))(*args, **options)
        if name in ("zeros_like", "ones_like", "full_like") and isinstance(args[0], Expression):
            if kwargs:
                raise NoGraphError(f"{name} with {', '.join(kwargs)}")
            value = args[1] if name == "full_like" else float(name == "ones_like")
            return trace.apply("where", [trace.apply("equal", [args[0], args[0]]), value, value])
        raise NoGraphError(f"{name} has no graph")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NoGraphError(f".{name} has no graph")

    def _refuse(self, *args: Any) -> Any:
        raise NoGraphError("the formula looks at single values or writes into an array")

    __bool__ = __array__ = __float__ = __int__ = __iter__ = __len__ = __getitem__ = __setitem__ = _refuse


class Trace:
    """The expressions of a formula for one dtype: the same operation on the same expressions is there once."""

    def __init__(self, dtype: DTypeLike):
        self.dtype = np.dtype(dtype)
        self._nodes: dict[Any, Expression] = {}

    def node(self, operation: str, arguments: tuple[Expression, ...], value: Any, kind: int) -> Expression:
        """Return the expression for an operation."""
        # As text, 0.0 and -0.0 differ, and NaN is the same as NaN.
        key = (operation, tuple(id(argument) for argument in arguments), type(value), repr(value), kind)
        if key not in self._nodes:
            self._nodes[key] = Expression(self, operation, arguments, value, kind)
        return self._nodes[key]

    def argument(self, name: str, kind: int = ITEM) -> Expression:
        """Return an expression for an argument of the formula."""
        return self.node("argument", (), name, kind)

    def parameter(self, position: int) -> Expression:
        """Return an expression for a number that is known only when the formula is computed."""
        return self.node("parameter", (), position, NUMBER)

    def as_expression(self, value: Any) -> Expression:
        """Return a constant as an expression, and an expression as it is."""
        if isinstance(value, Expression):
            return value
        if isinstance(value, bool | np.bool_):
            return self.node("constant", (), bool(value), NUMBER)
        if isinstance(value, Number | np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
            return self.node("constant", (), float(value), NUMBER)  # type: ignore[arg-type]
        raise NoGraphError(f"an array or {type(value).__name__} stands in the formula")

    def apply(self, operation: str, inputs: Sequence[Any]) -> Expression:
        """Return an operation on values of any shapes that NumPy could broadcast."""
        arguments = tuple(self.as_expression(value) for value in inputs)
        kinds = {argument.kind for argument in arguments}
        if ROW in kinds and kinds & {COLUMN, ITEM}:
            raise NoGraphError("one value a sample meets one a column; keepdims=True is missing")
        return self.node(*self._with_truths(operation, arguments), None, max(kinds))

    def as_truth(self, value: Expression) -> Expression:
        """Return whether a number is not zero, and a truth as it is."""
        return value if value.is_truth else self.apply("not_equal", [value, 0.0])

    def as_number(self, value: Expression) -> Expression:
        """Return a truth as 0 or 1, and a number as it is."""
        if not value.is_truth:
            return value
        if value.operation == "constant":
            return self.as_expression(float(value.value))
        return self.apply("where", [value, 1.0, 0.0])

    def _with_truths(self, operation: str, arguments: tuple[Expression, ...]) -> tuple[str, tuple[Expression, ...]]:
        """Return an operation and its arguments: truths or numbers, whichever it computes with."""
        are_truths = [argument.is_truth for argument in arguments]
        if operation == "where":
            return operation, (self.as_truth(arguments[0]), *map(self.as_number, arguments[1:]))
        if operation.startswith("logical_"):
            return operation, tuple(map(self.as_truth, arguments))
        if operation.startswith("bitwise_") or operation == "invert":
            if not all(are_truths):
                raise NoGraphError(f"{operation} of numbers")
            return operation, arguments
        if all(are_truths):
            if operation not in _OF_TRUTHS:
                raise NoGraphError(f"{operation} of True and False")
            return _OF_TRUTHS[operation], arguments
        return operation, tuple(map(self.as_number, arguments))


def trace_formula(
    component: Any, methods: Sequence[str], arguments: Mapping[str, int], dtype: DTypeLike, more: int = 0
) -> tuple[list[Expression], list[float]]:
    """Return what formulas of a component result in, and the values of the component's parameters.

    ``arguments`` has names and shapes of what the formulas take, in order; then come ``more`` numbers, which are the
    first parameters. Those of the component stay parameters where the formula only computes with them; if it looks at
    them, it is traced with their values. Raises NoGraphError, with the reason, where there is no graph.
    """
    numbers = {
        name: float(value)
        for name, value in vars(component).items()
        if isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool)
    }
    for symbolic in (numbers, {}):
        trace = Trace(dtype)
        given = [trace.argument(name, kind) for name, kind in arguments.items()]
        given += [trace.parameter(position) for position in range(more)]
        stand_in = copy.copy(component)
        for position, name in enumerate(symbolic, start=more):
            setattr(stand_in, name, trace.parameter(position))
        try:
            results = []
            for method in methods:
                found = getattr(stand_in, method)(*given)
                results += [trace.as_expression(one) for one in (found if isinstance(found, tuple) else (found,))]
            return results, list(symbolic.values())
        except Exception as error:  # whatever a formula does with what is no array
            reason = error
    if isinstance(reason, NoGraphError):
        raise reason
    raise NoGraphError(f"{type(reason).__name__}: {reason}") from reason


def walk(results: Sequence[Expression]) -> Iterator[Expression]:
    """Go through all expressions that the results are made of, each once, and after its arguments."""
    seen: set[int] = set()
    stack = [(result, False) for result in reversed(results)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((argument, False) for argument in reversed(node.arguments))
