"""Operations by way of others, for a language that lacks them, such as ONNX or that of compiled code."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from scipy.special import erf

from sknn_scratch.catalogue.expressions import Expression, NoGraphError, walk


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


def _cos(x: Any) -> Any:
    # Where it may be near 0, by sin(2 x) = 2 sin(x) cos(x).
    sine, half = np.sin(x), np.sin(0.5 * x)
    return np.where(np.absolute(sine) > 0.5, np.sin(2.0 * x) / (2.0 * sine), 1.0 - 2.0 * half * half)


def _erf(x: Any) -> Any:
    # A square wave of half period P, smoothed by a Gaussian, is erf(x) for |x| < P - 6 to the last digit. It is
    # 4 / pi * sum_n exp(-(w_n / 2)**2) * sin(w_n * x) / n over the odd n, with w_n = n * pi / P; for P = 12, the 24th
    # term is 1e-18. Beyond 6, erf is 1 to the last digit. Summed up by Clenshaw's recurrence.
    sine = np.sin(np.minimum(np.maximum(x, -6.0), 6.0) * (math.pi / 12))
    twice_cosine, b, b_before = 2.0 - 4.0 * sine * sine, 0.0, 0.0
    for n in range(45, 0, -2):
        b, b_before = twice_cosine * b - b_before + 4 / math.pi * math.exp(-((n * math.pi / 24) ** 2)) / n, b
    return sine * (b + b_before)


# All are infinite or NaN only where the operation itself is, and right to a few
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
    "cos": _cos,
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
    """Return the same results, computed by known operations only; those without arguments count, too.

    Raises NoGraphError if an operation is not known, and no others make it.
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
