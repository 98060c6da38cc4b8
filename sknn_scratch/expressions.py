"""A formula written for NumPy, as a graph of its operations.

The formula is called once with expressions in place of arrays. NumPy hands every operation on them over to us, so what
comes back tells which operations led from the arguments to the result. From that graph an engine makes a loop over
numbers, and an export writes its own operators. A formula that looks at values (``if z > 0``), writes into arrays or
calls what NumPy cannot hand over has no graph.

Three shapes occur: a number (a parameter, a constant), one value for each sample, and one for each sample and column.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike
from scipy.special import erf

__all__ = [
    "BY_OTHERS",
    "COLUMN",
    "ITEM",
    "LEAVES",
    "NUMBER",
    "ROW",
    "Expression",
    "NoGraphError",
    "Trace",
    "in_terms_of",
    "trace_formula",
    "walk",
]

# Shapes: a number; an array of shape (n_samples,), (n_samples, 1) and (n_samples, n_columns).
NUMBER, ROW, COLUMN, ITEM = range(4)

_TRUTHS = {
    "equal", "greater", "greater_equal", "less", "less_equal", "not_equal",
    "logical_and", "logical_not", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "invert",
    "isfinite", "isinf", "isnan",
}  # fmt: skip
# What NumPy makes of two truths.
_OF_TRUTHS = {
    "add": "logical_or", "maximum": "logical_or", "multiply": "logical_and", "minimum": "logical_and",
    "equal": "equal", "not_equal": "not_equal",
}  # fmt: skip
# What has no arguments.
LEAVES = ("argument", "parameter", "constant", "n_columns")
_REDUCTIONS = {"add": "sum", "maximum": "max", "minimum": "min"}


class NoGraphError(Exception):
    """A formula does something that no graph can say."""


class Expression(NDArrayOperatorsMixin):
    """An operation on other expressions, or an argument, a parameter or a constant.

    Attributes
    ----------
    operation : str
        Name of a ufunc, 'where', one of 'sum', 'max' and 'min' over the columns, 'argument', 'parameter', 'constant'
        'n_columns' or 'n_samples'.
    arguments : tuple of Expression
    value : str, float, bool or int
        Name of an argument, position of a parameter, or a constant.
    kind : int
        NUMBER, ROW, COLUMN or ITEM.
    """

    def __init__(self, trace: Trace, operation: str, arguments: tuple[Expression, ...], value: Any, kind: int):
        self.trace, self.operation, self.arguments, self.value, self.kind = trace, operation, arguments, value, kind

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

    def mean(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return the mean of the columns."""
        return self.sum(axis, keepdims) / (1.0 if self.kind == COLUMN else self.shape[1])

    def sum(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Add up the columns."""
        return self.trace.reduce("sum", self, axis, keepdims)

    def max(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return the largest of the columns."""
        return self.trace.reduce("max", self, axis, keepdims)

    def min(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return the smallest of the columns."""
        return self.trace.reduce("min", self, axis, keepdims)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Expression:
        if options.pop("out", None) is not None or options.pop("where", True) is not True:
            raise NoGraphError(f"{ufunc.__name__} writes into an array")
        if method == "reduce" and ufunc.__name__ in _REDUCTIONS:
            return self._reduced(_REDUCTIONS[ufunc.__name__], inputs, {"axis": 0, **options})
        if method != "__call__" or options:
            raise NoGraphError(f"{ufunc.__name__}.{method} with {sorted(options)}")
        return self.trace.apply(ufunc.__name__, inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        name, trace = function.__name__, self.trace
        if name == "where" and len(args) == 3:
            return trace.apply("where", args)
        if name == "clip":
            limits = {key.removeprefix("a_"): value for key, value in kwargs.items()}
            if not limits.keys() - {"min", "max"} and isinstance(args[0], Expression):
                return args[0].clip(*args[1:], **limits)
        if name.removeprefix("a") in ("sum", "max", "min", "mean"):
            return self._reduced(name.removeprefix("a"), args, kwargs)
        if name in ("zeros_like", "ones_like", "full_like") and isinstance(args[0], Expression):
            if kwargs:
                raise NoGraphError(f"{name} with {', '.join(kwargs)}")
            value = args[1] if name == "full_like" else float(name == "ones_like")
            return trace.apply("where", [trace.apply("equal", [args[0], args[0]]), value, value])
        raise NoGraphError(f"{name} has no graph")

    @staticmethod
    def _reduced(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Expression:
        """Return a reduction over the columns, with arguments as NumPy's functions take them."""
        options = dict(zip(("axis",), args[1:], strict=False)) | dict(kwargs)
        given = sorted(key for key, value in options.items() if value is not None and key not in ("axis", "keepdims"))
        if given or len(args) > 2 or not isinstance(args[0], Expression):
            raise NoGraphError(f"{name} with {', '.join(given) or 'arguments without names'}")
        return getattr(args[0], name)(options.get("axis"), options.get("keepdims") or False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NoGraphError(f".{name} has no graph")

    def _refuse(self, *args: Any) -> Any:
        raise NoGraphError("the formula looks at single values or writes into an array")

    __bool__ = __array__ = __float__ = __int__ = __iter__ = __len__ = __getitem__ = __setitem__ = _refuse


class Trace:
    """The expressions of a formula: the same operation on the same expressions is there once.

    Parameters
    ----------
    dtype : dtype
        float32 or float64, as ``z.dtype`` tells the formula.
    """

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

    def reduce(self, operation: str, array: Any, axis: Any, keepdims: Any) -> Expression:
        """Return a sum, maximum or minimum over the columns."""
        if axis not in (1, -1) or not isinstance(array, Expression) or array.kind not in (COLUMN, ITEM):
            raise NoGraphError(f"{operation} over axis {axis}")
        array = array.astype(self.dtype)
        operation = "positive" if array.kind == COLUMN else operation  # of one column, that itself
        return self.node(operation, (array,), None, COLUMN if keepdims else ROW)


def trace_formula(
    component: Any, methods: Sequence[str], arguments: Mapping[str, int], dtype: DTypeLike, more: int = 0
) -> tuple[list[Expression], list[float]]:
    """Return what formulas of a component result in, and the values of the component's parameters.

    Parameters stay parameters where the formula only computes with them; a formula that looks at them is traced with
    their values.

    Parameters
    ----------
    component : object
        Activation, loss, link or optimiser.
    methods : sequence of str
        Names of the formulas, which take the same arguments.
    arguments : dict from str to int
        Names of the arguments, in order, and their shapes.
    dtype : dtype
        float32 or float64.
    more : int, default=0
        How many numbers the formula takes after these arguments; they are the first parameters.

    Raises
    ------
    NoGraphError
        If there is no graph; the message says why.
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
        except NoGraphError:
            if not symbolic:
                raise
        except Exception as error:  # whatever a formula does with what is no array
            if not symbolic:
                raise NoGraphError(f"{type(error).__name__}: {error}") from error
        else:
            return results, list(symbolic.values())
    raise AssertionError("unreachable")


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


# Operations by way of others ------------------------------------------------------------------------------------------


def _log1p(x: Any) -> Any:
    # What is lost in adding a small number to 1 is brought back; of any other nothing that counts is lost.
    small = np.minimum(np.maximum(x, -0.5), 1.0)
    return np.log(1.0 + x) + (small - ((1.0 + small) - 1.0))


def _arcsinh(x: Any) -> Any:
    # x**2 / (1 + sqrt(1 + x**2)), written so that nothing overflows; at 0 something is divided by infinity.
    size = np.absolute(x)
    inverse = 1.0 / size
    return np.sign(x) * np.log1p(size + size / (inverse + np.sqrt(inverse * inverse + 1.0)))


def _arctan(x: Any) -> Any:
    # With x = tan(t), sin(t - y) = (x cos(y) - sin(y)) / sqrt(1 + x**2), nearly t - y: of an error d d**3 / 6 is left.
    x = np.minimum(np.maximum(x, -1e17), 1e17)  # where it is pi / 2 to the last digit
    y = 0.5 * math.pi * x / (0.6 + np.absolute(x))
    for _ in range(3):
        y = y + (x * np.cos(y) - np.sin(y)) / np.sqrt(1.0 + x * x)
    return y


def _erf(x: Any) -> Any:
    # A square wave of half period P, smoothed by a Gaussian, is erf(x) for |x| < P - 6 to the last digit. It is
    # 4 / pi * sum_n exp(-(w_n / 2)**2) * sin(w_n * x) / n over the odd n, with w_n = n * pi / P; for P = 12, the 24th
    # term is 1e-18. Beyond 6, erf is 1 to the last digit. Summed up by Clenshaw's recurrence.
    sine = np.sin(np.minimum(np.maximum(x, -6.0), 6.0) * (math.pi / 12))
    twice_cosine, b, b_before = 2.0 - 4.0 * sine * sine, 0.0, 0.0
    for n in range(45, 0, -2):
        b, b_before = twice_cosine * b - b_before + 4 / math.pi * math.exp(-((n * math.pi / 24) ** 2)) / n, b
    return sine * (b + b_before)


# For a language that lacks an operation. All are infinite or NaN only where the operation itself is, and right to a few
# units in the last place, also near 0; but for the tails of erfc and ndtr, which are differences of numbers near 1.
BY_OTHERS: dict[str, Callable[..., Any]] = {
    "arccos": lambda x: 2.0 * np.arctan(np.sqrt((1.0 - x) / (1.0 + x))),
    "arcsin": lambda x: np.arctan(x / np.sqrt((1.0 - x) * (1.0 + x))),
    "arcsinh": _arcsinh,
    "arctan": _arctan,
    "arctanh": lambda x: np.sign(x) * 0.5 * np.log1p(2.0 * np.absolute(x) / (1.0 - np.absolute(x))),
    "bitwise_and": np.logical_and,
    "bitwise_or": np.logical_or,
    "bitwise_xor": np.logical_xor,
    "cbrt": lambda x: np.sign(x) * np.absolute(x) ** (1 / 3),
    "cosh": lambda x: 0.5 * np.exp(0.5 * x) * np.exp(0.5 * x) + 0.5 * np.exp(-0.5 * x) * np.exp(-0.5 * x),
    "erf": _erf,
    "erfc": lambda x: 1.0 - erf(x),
    "exp2": lambda x: 2.0**x,
    "expit": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "expm1": lambda x: np.tanh(0.5 * x) * (np.exp(x) + 1.0),
    "fabs": np.absolute,
    "invert": np.logical_not,
    "isfinite": lambda x: np.absolute(x) < np.inf,
    "isinf": lambda x: np.absolute(x) == np.inf,
    "isnan": lambda x: x != x,
    "log10": lambda x: np.log(x) * (1 / math.log(10.0)),
    "log1p": _log1p,
    "log2": lambda x: np.log(x) * (1 / math.log(2.0)),
    "log_expit": lambda x: np.minimum(x, 0.0) - np.log1p(np.exp(-np.absolute(x))),
    "logaddexp": lambda x, y: np.maximum(x, y) + np.log1p(np.exp(-np.absolute(x - y))),
    "logical_xor": lambda x, y: (x & ~y) | (y & ~x),
    "ndtr": lambda x: 0.5 * (1.0 + erf(x * math.sqrt(0.5))),
    "not_equal": lambda x, y: np.logical_not(x == y),
    "reciprocal": lambda x: 1.0 / x,
    "sinh": lambda x: (np.expm1(0.5 * x) - np.expm1(-0.5 * x)) * np.cosh(0.5 * x),
    "square": lambda x: x * x,
    "tan": lambda x: np.sin(x) / np.cos(x),
    "xlogy": lambda x, y: np.where(x == 0.0, 0.0, x * np.log(np.where(x == 0.0, 1.0, y))),
}


def in_terms_of(known: Collection[str], results: Sequence[Expression]) -> list[Expression]:
    """Return the same results, computed by known operations only.

    Parameters
    ----------
    known : collection of str
        Names of operations, also of those without arguments.
    results : sequence of Expression

    Raises
    ------
    NoGraphError
        If an operation is not known, and no others make it.
    """
    replaced: dict[int, Expression] = {}
    for node in walk(results):
        arguments = tuple(replaced[id(argument)] for argument in node.arguments)
        if node.operation in known:
            replaced[id(node)] = node.trace.node(node.operation, arguments, node.value, node.kind)
        elif node.operation in BY_OTHERS:
            (replaced[id(node)],) = in_terms_of(known, [BY_OTHERS[node.operation](*arguments)])
        else:
            raise NoGraphError(f"{node.operation} cannot be expressed")
    return [replaced[id(result)] for result in results]
