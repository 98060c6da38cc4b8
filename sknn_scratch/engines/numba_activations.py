"""The activations of the compiled engine: plain loops over arrays of one dimension.

An activation that needs ``exp`` or a relative of it is split in three: a loop that writes the argument, the
transcendental function, and a loop that makes the result of it. The middle part is left to the caller: for arrays that
are not tiny, NumPy's are several times faster than the scalar functions of the C library that numba calls. Derivatives
are treated alike.

Scalars are cast to the arrays' type first, as a float32 array times a float64 number is computed in float64 by numba.
"""

from __future__ import annotations

import math

from numba import njit

IDENTITY, LOGISTIC, RELU, TANH, ELU, GELU, HARD_SIGMOID, HARD_TANH, LEAKY_RELU, MISH = range(10)
RELU6, SELU, SILU, SOFTPLUS, SOFTSIGN = range(10, 15)
# Activations up to this code overwrite their input.
LAST_IN_PLACE = TANH

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

_helper = njit(error_model="numpy")


@_helper
def prepare_activation(code, parameter, z, a):
    """Write into ``a`` the argument of the activation's transcendental function, or else ``f(z)`` itself.

    Both are 1-d; for the codes up to LAST_IN_PLACE they are the same array.
    """
    zero, one, p = a.dtype.type(0), a.dtype.type(1), a.dtype.type(parameter)
    if code == RELU:
        for i in range(a.size):
            a[i] = zero if a[i] < zero else a[i]
    elif code == LOGISTIC:
        for i in range(a.size):
            a[i] = -a[i]
    elif code == SILU:
        for i in range(a.size):
            a[i] = -z[i]
    elif code in (ELU, SELU):
        for i in range(a.size):
            a[i] = min(z[i], zero)
    elif code == MISH:
        large = a.dtype.type(40)
        for i in range(a.size):
            a[i] = min(z[i], large)
    elif code == SOFTPLUS:
        for i in range(a.size):
            a[i] = -abs(z[i])
    elif code == GELU:
        for i in range(a.size):
            a[i] = z[i]
    elif code == LEAKY_RELU:
        for i in range(a.size):
            a[i] = z[i] if z[i] > zero else p * z[i]
    elif code == RELU6:
        six = a.dtype.type(6)
        for i in range(a.size):
            a[i] = min(max(z[i], zero), six)
    elif code == HARD_TANH:
        for i in range(a.size):
            a[i] = min(max(z[i], -one), one)
    elif code == HARD_SIGMOID:
        six, half = a.dtype.type(6), a.dtype.type(0.5)
        for i in range(a.size):
            a[i] = min(max(z[i] / six + half, zero), one)
    elif code == SOFTSIGN:
        for i in range(a.size):
            a[i] = z[i] / (one + abs(z[i]))


@_helper
def finish_activation(code, parameter, z, a):
    """Turn the transcendental function in ``a`` into ``f(z)``."""
    zero, one, two = a.dtype.type(0), a.dtype.type(1), a.dtype.type(2)
    p, scale = a.dtype.type(parameter), one
    if code == SELU:
        p, scale = a.dtype.type(SELU_ALPHA), a.dtype.type(SELU_SCALE)
    if code == LOGISTIC:
        for i in range(a.size):
            a[i] = one / (one + a[i])
    elif code in (ELU, SELU):
        for i in range(a.size):
            a[i] = scale * (z[i] if z[i] > zero else p * a[i])
    elif code == SILU:
        for i in range(a.size):
            a[i] = z[i] / (one + a[i])
    elif code == SOFTPLUS:
        for i in range(a.size):
            a[i] = max(z[i], zero) + a[i]
    elif code == GELU:
        for i in range(a.size):
            a[i] = z[i] * a[i]
    elif code == MISH:
        # tanh(log(1 + e)) = n / (n + 2) with n = e (e + 2).
        for i in range(a.size):
            n = a[i] * (a[i] + two)
            a[i] = z[i] * (n / (n + two))


@_helper
def prepare_slope(code, z, a):
    """Write into ``a``, which holds ``f(z)``, the argument of the derivative's transcendental function, if any."""
    if code == SILU:
        for i in range(a.size):
            a[i] = -z[i]
    elif code == MISH:
        large = a.dtype.type(40)
        for i in range(a.size):
            a[i] = min(z[i], large)
    elif code == SOFTPLUS:
        for i in range(a.size):
            a[i] = -a[i]


@_helper
def multiply_by_slope(code, parameter, delta, z, a):
    """Multiply ``delta`` by ``f'(z)``, given in ``a`` the output of the two functions above, otherwise ``f(z)``."""
    zero, one, two, p = a.dtype.type(0), a.dtype.type(1), a.dtype.type(2), a.dtype.type(parameter)
    if code == RELU:
        for i in range(a.size):
            delta[i] = delta[i] * (one if a[i] > zero else zero)
    elif code == TANH:
        for i in range(a.size):
            delta[i] *= one - a[i] * a[i]
    elif code == LOGISTIC:
        for i in range(a.size):
            delta[i] = delta[i] * a[i] * (one - a[i])
    elif code == ELU:
        for i in range(a.size):
            delta[i] *= one if z[i] > zero else a[i] + p
    elif code == SELU:
        scale, limit = a.dtype.type(SELU_SCALE), a.dtype.type(SELU_SCALE * SELU_ALPHA)
        for i in range(a.size):
            delta[i] *= scale if z[i] > zero else a[i] + limit
    elif code == GELU:
        half, norm = a.dtype.type(0.5), a.dtype.type(1 / math.sqrt(2 * math.pi))
        root = a.dtype.type(math.sqrt(0.5))
        for i in range(a.size):
            delta[i] *= half * math.erfc(-z[i] * root) + z[i] * norm * math.exp(-half * z[i] * z[i])
    elif code == MISH:
        four = a.dtype.type(4)
        for i in range(a.size):
            n = a[i] * (a[i] + two)
            s = a[i] / (one + a[i])
            delta[i] *= n / (n + two) + z[i] * s * four * (n + one) / ((n + two) * (n + two))
    elif code == SILU:
        for i in range(a.size):
            s = one / (one + a[i])
            delta[i] *= s * (one + z[i] * (one - s))
    elif code == SOFTPLUS:
        for i in range(a.size):
            delta[i] *= -a[i]
    elif code == LEAKY_RELU:
        for i in range(a.size):
            delta[i] *= one if z[i] > zero else p
    elif code == RELU6:
        six = a.dtype.type(6)
        for i in range(a.size):
            delta[i] *= one if z[i] > zero and z[i] < six else zero
    elif code == HARD_TANH:
        for i in range(a.size):
            delta[i] *= one if abs(z[i]) < one else zero
    elif code == HARD_SIGMOID:
        three, six = a.dtype.type(3), a.dtype.type(6)
        for i in range(a.size):
            delta[i] *= (one if abs(z[i]) < three else zero) / six
    elif code == SOFTSIGN:
        for i in range(a.size):
            size = one + abs(z[i])
            delta[i] /= size * size
