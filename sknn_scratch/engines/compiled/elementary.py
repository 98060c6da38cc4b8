"""Elementary functions of one number that the compiler can vectorise, for float64 and float32.

numba calls the C library for each number, which is several times slower than NumPy's own loops. Those below are plain
arithmetic, so a loop around them works on as many numbers at once as fit a register; errors are a few units in the last
place. What is rare (sine, the error function) stays the C library's.

References
----------
Muller, "Elementary Functions: Algorithms and Implementation", 3rd edition, 2016: reduction of the argument in two parts
(Cody and Waite), and series in Horner's form.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload, register_jitable

__all__ = ["bits_of", "choose", "exp", "expm1", "log", "log1p", "tanh"]


@intrinsic
def bits_of(typingctx, x):
    """Return the bits of a float as an integer of the same size."""
    integer = types.int64 if x == types.float64 else types.int32

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(64 if x == types.float64 else 32))

    return integer(x), codegen


@intrinsic
def _float(typingctx, bits):
    """Return the float with these bits."""
    real = types.float64 if bits == types.int64 else types.float32

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType() if bits == types.int64 else ir.FloatType())

    return real(bits), codegen


@njit(error_model="numpy")
def choose(condition, a, b):
    """Return ``a`` where the condition holds, else ``b``; both are computed, so that there is no branch."""
    return a if condition else b


# For each dtype: bits of the mantissa, bias of the exponent, log(2) in two parts of which products with small whole
# numbers of the first are exact, the range of exp, and how many terms its series needs.
_LOG2_E = 1.4426950408889634
_LAYOUT = {
    types.float64: (np.float64, np.int64, 52, 1023, 0.693147180369123816, 1.90821492927058770e-10, -708.0, 709.0, 13),
    types.float32: (np.float32, np.int32, 23, 127, 0.693359375, -2.12194440e-4, -87.0, 88.0, 7),
}


def _polynomial(coefficients):
    """Return a polynomial with these coefficients, the highest first."""
    c = tuple(coefficients)

    @register_jitable
    def value(x):
        y = c[0]
        for k in range(1, len(c)):  # the compiler writes it out
            y = y * x + c[k]
        return y

    return value


def _split(real):
    """Return a function from ``x`` to ``exp(r) - 1`` and ``2**k`` with ``x = k log(2) + r``."""
    kind, whole, mantissa, bias, high, low, least, most, n_terms = _LAYOUT[real]
    # Adding and subtracting it rounds to a whole number, which then stands in the last bits.
    rounder = kind(1.5 * 2**mantissa)
    log2_e, high, low, least, most, one = kind(_LOG2_E), kind(high), kind(low), kind(least), kind(most), kind(1)
    bias, mantissa = whole(bias), whole(mantissa)
    series = _polynomial([kind(1 / math.factorial(n)) for n in range(n_terms, 1, -1)])

    @register_jitable
    def split(x):
        # Comparisons that are false for NaN, which then goes through.
        x = choose(x < least, least, choose(x > most, most, x))
        shifted = x * log2_e + rounder
        k = shifted - rounder
        r = (x - k * high) - k * low
        return series(r) * (r * r) + r, _float(whole((bits_of(shifted) + bias) << mantissa))

    return split, one


def exp(x):
    """``exp(x)``; as 0 below and infinite above the range of the dtype."""


def expm1(x):
    """``exp(x) - 1`` with all digits near 0."""


def log(x):
    """``log(x)``, the natural logarithm."""


def log1p(x):
    """``log(1 + x)`` with all digits near 0."""


def tanh(x):
    """``tanh(x)``."""


@overload(exp, jit_options={"error_model": "numpy"})
def _exp(x):
    real = x if x in _LAYOUT else types.float64
    split, _ = _split(real)
    kind, _, _, _, _, _, least, most, _ = _LAYOUT[real]
    least, most, zero, infinite = kind(least), kind(most), kind(0), kind(np.inf)

    def value(x):
        x = kind(x)
        p, power = split(x)
        return choose(x < least, zero, choose(x > most, infinite, p * power + power))

    return value


@overload(expm1, jit_options={"error_model": "numpy"})
def _expm1(x):
    real = x if x in _LAYOUT else types.float64
    split, one = _split(real)
    kind, _, _, _, _, _, _, most, _ = _LAYOUT[real]
    most, infinite = kind(most), kind(np.inf)

    def value(x):
        x = kind(x)
        p, power = split(x)
        return choose(x > most, infinite, p * power + (power - one))

    return value


@overload(tanh, jit_options={"error_model": "numpy"})
def _tanh(x):
    real = x if x in _LAYOUT else types.float64
    split, one = _split(real)
    kind = _LAYOUT[real][0]
    two, zero = kind(2), kind(0)

    def value(x):
        x = kind(x)
        # With exp(-2 |x|) - 1 there is no difference of numbers that are nearly the same.
        p, power = split(-two * abs(x))
        e = p * power + (power - one)
        y = e / (e + two)
        return choose(x > zero, -y, y)

    return value


@overload(log, jit_options={"error_model": "numpy"})
def _log(x):
    real = x if x in _LAYOUT else types.float64
    kind, whole, mantissa, bias, high, low, _, _, _ = _LAYOUT[real]
    zero, one, two, half = kind(0), kind(1), kind(2), kind(0.5)
    high, low, infinite, nan = kind(high), kind(low), kind(np.inf), kind(np.nan)
    tiny, scale = kind(np.finfo(kind).tiny), kind(2.0**mantissa)
    root = kind(math.sqrt(2))
    fraction, exponent_of_one = whole((1 << mantissa) - 1), whole(bias << mantissa)
    bias, mantissa = whole(bias), whole(mantissa)
    series = _polynomial([kind(1 / n) for n in range(23 if real == types.float64 else 11, 2, -2)])

    def value(x):
        x = kind(x)
        small = x < tiny
        bits = bits_of(choose(small, x * scale, x))
        k = kind((bits >> mantissa) - bias) - choose(small, kind(mantissa), zero)
        m = _float(whole((bits & fraction) | exponent_of_one))
        large = m > root
        m = choose(large, m * half, m)
        k = choose(large, k + one, k)
        # log(m) = 2 artanh(s)
        f = m - one
        s = f / (m + one)
        half_square = half * f * f
        log_m = f - (half_square - s * (half_square + two * (s * s * series(s * s))))
        y = k * high + (log_m + k * low)
        y = choose(x == zero, -infinite, y)
        y = choose(x < zero, nan, y)
        return choose(x < infinite, y, x)

    return value


@overload(log1p, jit_options={"error_model": "numpy"})
def _log1p(x):
    real = x if x in _LAYOUT else types.float64
    kind = _LAYOUT[real][0]
    one, zero, infinite = kind(1), kind(0), kind(np.inf)

    def value(x):
        x = kind(x)
        u = one + x
        # What was lost in adding, brought back: see Kahan's note in HP's manual of 1982.
        y = log(u) + choose(u == one, x, (x - (u - one)) / u)
        return choose(x < infinite, choose(u > zero, y, log(u)), x)

    return value
