"""The penalty and the optimisers of the compiled engine: plain loops over parts of the flat vectors.

Scalars are cast to the vectors' type first, as a float32 array times a float64 number is computed in float64 by numba.
"""

from __future__ import annotations

import math

from numba import njit

SGD, ADAM, NADAM, RMSPROP, ADAGRAD = range(5)

BLOCK_SIZE = 4096

_helper = njit(error_model="numpy")
# Sums may be computed in any order: that of BLAS, which does them in the reference, is not laid down either.
_sum = njit(error_model="numpy", fastmath={"reassoc"})


@_sum
def sum_of_squares(w):
    """Return ``sum(w**2)``."""
    total = w.dtype.type(0)
    for i in range(w.size):
        total += w[i] * w[i]
    return total


@_sum
def _sum_of_sizes(w):
    """Return ``sum(|w|)``."""
    total = w.dtype.type(0)
    for i in range(w.size):
        total += abs(w[i])
    return total


@_helper
def penalise(w, g, l1, l2):
    """Add the gradient of ``l1 * sum(|w|) + l2 / 2 * sum(w**2)`` to ``g`` and return that value."""
    value = 0.0
    if l2 > 0:
        c = w.dtype.type(l2)
        for i in range(w.size):
            g[i] += c * w[i]
        value += 0.5 * l2 * sum_of_squares(w)
    if l1 > 0:
        zero, c = w.dtype.type(0), w.dtype.type(l1)
        for i in range(w.size):
            g[i] += c if w[i] > zero else (-c if w[i] < zero else zero)
        value += l1 * _sum_of_sizes(w)
    return value


@_helper
def coefficients(code, hyper, t, product, rate):
    """Return the scalars of step ``t``, named ``c[0], ..., c[4]`` in ``move``, and Nadam's product of momenta."""
    h0, h1, h2 = hyper[0], hyper[1], hyper[2]
    if code == SGD:
        return (h0, rate, h1, 0.0, 0.0), product
    if code == ADAM:
        return (h0, h1, h2, rate * math.sqrt(1 - h1**t) / (1 - h0**t), 0.0), product
    if code == NADAM:
        now = h0 * (1 - 0.5 * 0.96 ** (0.004 * t))
        following = h0 * (1 - 0.5 * 0.96 ** (0.004 * (t + 1)))
        product = product * now
        # Numerator and denominator are divided by what multiplies the root.
        root = math.sqrt(1 - h1**t)
        of_moment, of_gradient = following / (1 - product * following), (1 - now) / (1 - product)
        return (h0, h1, h2 * root, rate * of_moment * root, rate * of_gradient * root), product
    return (h0, rate, h2, 0.0, 0.0), product


@_helper
def move(code, c, decay, w, g, first, second):
    """Make one step of an optimiser; its vectors are ``first`` and, where it has two, ``second``."""
    real = w.dtype.type
    c0, c1, c2, c3, c4 = real(c[0]), real(c[1]), real(c[2]), real(c[3]), real(c[4])
    if decay > 0:
        kept = real(1 - decay)
        for i in range(w.size):
            w[i] *= kept
    if code == SGD:
        if c2 > 0:
            for i in range(w.size):
                first[i] = c0 * first[i] - c1 * g[i]
                w[i] += c0 * first[i] - c1 * g[i]
        else:
            for i in range(w.size):
                first[i] = c0 * first[i] - c1 * g[i]
                w[i] += first[i]
    elif code in (ADAM, NADAM):
        b0, b1 = real(1 - c[0]), real(1 - c[1])
        for i in range(w.size):
            m = c0 * first[i] + b0 * g[i]
            v = c1 * second[i] + b1 * (g[i] * g[i])
            first[i] = m
            second[i] = v
            step = c3 * m + c4 * g[i] if code == NADAM else c3 * m
            w[i] -= step / (math.sqrt(v) + c2)
    elif code == RMSPROP:
        b0 = real(1 - c[0])
        for i in range(w.size):
            v = c0 * first[i] + b0 * (g[i] * g[i])
            first[i] = v
            w[i] -= c1 * (g[i] / (math.sqrt(v) + c2))
    else:
        for i in range(w.size):
            v = first[i] + g[i] * g[i]
            first[i] = v
            w[i] -= c1 * (g[i] / (math.sqrt(v) + c2))


@_helper
def penalise_and_move(code, c, decay, strengths, w, g, first, second):
    """Do both for one block of the vectors after the other, which stays in the cache; return the penalty's value.

    ``strengths`` are the factors of the absolute values and of the squares.
    """
    l1, l2 = strengths
    penalty = 0.0
    for start in range(0, w.size, BLOCK_SIZE):
        end = min(start + BLOCK_SIZE, w.size)
        penalty += penalise(w[start:end], g[start:end], l1, l2)
        move(code, c, decay, w[start:end], g[start:end], first[start:end], second[start:end])
    return penalty
