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
from numba import types
from numba.extending import intrinsic, overload, register_jitable

from sknn_scratch.engines.compiled.calls import helper

# For each dtype: NumPy's float and integer; bits of the mantissa, bias of the exponent, log(2) in two parts of which
# products with small whole numbers of the first are exact, the range of exp, and how many terms its series and that of
# the logarithm need.
_LAYOUTS = {
    types.float64: (
        *(np.float64, np.int64, 52, 1023, 0.693147180369123816, 1.90821492927058770e-10, -708.0, 709.0),
        *(13, 23),
    ),
    types.float32: (np.float32, np.int32, 23, 127, 0.693359375, -2.12194440e-4, -87.0, 88.0, 7, 11),
}


def _same_bits(of: dict) -> object:
    """Return a function from a number to the one of another type, of the same size, that has the same bits."""

    @intrinsic
    def cast(typingctx, x):
        def codegen(context, builder, signature, args):
            return builder.bitcast(args[0], context.get_value_type(signature.return_type))

        return of[x](x), codegen

    return cast


bits_of = _same_bits({types.float64: types.int64, types.float32: types.int32})
_float = _same_bits({types.int64: types.float64, types.int32: types.float32})


@helper
def choose(condition, a, b):
    """Return ``a`` where the condition holds, else ``b``; both are computed, so that there is no branch."""
    return a if condition else b


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


def _split(x):
    """Return ``exp(r) - 1`` and ``2**k`` with ``x = k log(2) + r``; that is 0 or infinite beyond the range of exp."""


@overload(_split, jit_options={"error_model": "numpy"})
def _split_of(x):
    real, whole, mantissa, bias, high, low, least, most, n_terms, _ = _LAYOUTS[x]
    # Adding and subtracting it rounds to a whole number, which then stands in the last bits.
    rounder = real(1.5 * 2**mantissa)
    log2_e, high, low, least, most = real(math.log2(math.e)), real(high), real(low), real(least), real(most)
    bias, mantissa, zero, infinite = whole(bias), whole(mantissa), real(0), real(np.inf)
    series = _polynomial([real(1 / math.factorial(n)) for n in range(n_terms, 1, -1)])

    def split(x):
        # Comparisons that are false for NaN, which then goes through.
        inside = choose(x < least, least, choose(x > most, most, x))
        shifted = inside * log2_e + rounder
        k = shifted - rounder
        r = (inside - k * high) - k * low
        power = _float(whole((bits_of(shifted) + bias) << mantissa))
        return series(r) * (r * r) + r, choose(x < least, zero, choose(x > most, infinite, power))

    return split


@helper
def exp(x):
    """``exp(x)``; as 0 below and infinite above the range of the dtype."""
    p, power = _split(x)
    return (p + type(x)(1)) * power


@helper
def expm1(x):
    """``exp(x) - 1`` with all digits near 0."""
    p, power = _split(x)
    return choose(power == type(x)(np.inf), power, p * power + (power - type(x)(1)))


@helper
def tanh(x):
    """``tanh(x)``."""
    # With exp(-2 |x|) - 1 there is no difference of numbers that are nearly the same.
    p, power = _split(-type(x)(2) * abs(x))
    e = p * power + (power - type(x)(1))
    y = e / (e + type(x)(2))
    return choose(x > type(x)(0), -y, y)


def log(x):
    """``log(x)``, the natural logarithm."""


@overload(log, jit_options={"error_model": "numpy"})
def _log(x):
    real, whole, mantissa, bias, high, low, _, _, _, n_terms = _LAYOUTS[x]
    zero, one, two, half = real(0), real(1), real(2), real(0.5)
    high, low, infinite, nan = real(high), real(low), real(np.inf), real(np.nan)
    tiny, scale, root = real(np.finfo(real).tiny), real(2.0**mantissa), real(math.sqrt(2))
    fraction, exponent_of_one = whole((1 << mantissa) - 1), whole(bias << mantissa)
    bias, mantissa = whole(bias), whole(mantissa)
    series = _polynomial([real(1 / n) for n in range(n_terms, 2, -2)])

    def value(x):
        small = x < tiny
        bits = bits_of(choose(small, x * scale, x))
        k = real((bits >> mantissa) - bias) - choose(small, real(mantissa), zero)
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


@helper
def log1p(x):
    """``log(1 + x)`` with all digits near 0."""
    u = type(x)(1) + x
    # What was lost in adding, brought back: see Kahan's note in HP's manual of 1982.
    y = log(u) + choose(u == type(x)(1), x, (x - (u - type(x)(1))) / u)
    return choose(x < type(x)(np.inf), choose(u > type(x)(0), y, log(u)), x)
