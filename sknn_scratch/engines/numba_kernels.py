"""The loops that the numba engine compiles: plain arithmetic over arrays, on one thread.

An elementwise function that needs ``exp`` or a relative of it is split in three: a loop that writes the argument, the
transcendental function, and a loop that makes the result of it. For large arrays the middle part is NumPy's, several
times faster than the scalar function of the C library that numba calls; ``train_epoch`` is for arrays so small that
it does not matter, and calls that one.

Which activation, link, loss or optimiser it is comes as one of the codes below. Output layer arrays are transposed, of
shape (n_outputs, n_samples). Scalars are cast to the arrays' type first, as a float32 array times a float64 number is
computed in float64 by numba.

The functions without a decorator are compiled, and cached on disk, by ``numba_engine``. Everything that they call has
to be in this file: the cache is told apart by the file's date.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

IDENTITY, LOGISTIC, RELU, TANH, ELU, GELU, HARD_SIGMOID, HARD_TANH, LEAKY_RELU, MISH = range(10)
RELU6, SELU, SILU, SOFTPLUS, SOFTSIGN = range(10, 15)
# Activations up to this code overwrite their input.
LAST_IN_PLACE = TANH

LINK_IDENTITY, LINK_EXP, LINK_LOGISTIC, LINK_SOFTMAX, LINK_TANH = range(5)

LOG_LOSS, SQUARED, POISSON, ABSOLUTE, HUBER, LOG_COSH, QUANTILE, GAMMA, TWEEDIE, FOCAL = range(10)
HINGE, SQUARED_HINGE = 10, 11

SGD, ADAM, NADAM, RMSPROP, ADAGRAD = range(5)

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
BLOCK_SIZE = 4096

_helper = njit(error_model="numpy")
# Sums may be computed in any order: that of BLAS, which does them in the reference, is not laid down either.
_sum = njit(error_model="numpy", fastmath={"reassoc"})


# Activations ----------------------------------------------------------------------------------------------------------


@_helper
def _argument(code, parameter, z, a):
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
def _function(code, a):
    """Replace the argument by the transcendental function of it, as the engine does with NumPy."""
    half, root = a.dtype.type(0.5), a.dtype.type(math.sqrt(0.5))
    if code in (LOGISTIC, SILU, MISH):
        for i in range(a.size):
            a[i] = math.exp(a[i])
    elif code == TANH:
        for i in range(a.size):
            a[i] = math.tanh(a[i])
    elif code in (ELU, SELU):
        for i in range(a.size):
            a[i] = math.expm1(a[i])
    elif code == SOFTPLUS:
        for i in range(a.size):
            a[i] = math.log1p(math.exp(a[i]))
    elif code == GELU:
        for i in range(a.size):
            a[i] = half * math.erfc(-a[i] * root)


@_helper
def _result(code, parameter, z, a):
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
def _slope_argument(code, z, a):
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
def _slope_function(code, a):
    """Replace the argument by the transcendental function of it, as the engine does with NumPy."""
    if code in (SILU, MISH):
        for i in range(a.size):
            a[i] = math.exp(a[i])
    elif code == SOFTPLUS:
        for i in range(a.size):
            a[i] = math.expm1(a[i])


@_helper
def _multiply_slope(code, parameter, delta, z, a):
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


def activation_argument(code, parameter, z, biases, out):
    """Add the biases to ``z``, of shape (n_samples, width), and prepare ``out`` for the transcendental function."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += biases[j]
    _argument(code, parameter, z.reshape(z.size), out.reshape(out.size))


def activation_result(code, parameter, z, out):
    """Finish the activation after the transcendental function."""
    _result(code, parameter, z.reshape(z.size), out.reshape(out.size))


def slope_argument(code, z, a):
    """Prepare ``a`` for the transcendental function of the derivative."""
    _slope_argument(code, z.reshape(z.size), a.reshape(a.size))


def multiply_slope(code, parameter, delta, z, a, bias_gradient):
    """Multiply ``delta`` by the activation's derivative; write its column sums into ``bias_gradient`` if not empty."""
    _multiply_slope(code, parameter, delta.reshape(delta.size), z.reshape(z.size), a.reshape(a.size))
    bias_gradient[:] = 0
    if bias_gradient.size > 0:
        for i in range(delta.shape[0]):
            for j in range(delta.shape[1]):
                bias_gradient[j] += delta[i, j]


# Link, loss and delta -------------------------------------------------------------------------------------------------


@_helper
def _link_argument(link, z, p):
    """Write into ``p`` the argument of the link's transcendental function."""
    if link == LINK_LOGISTIC:
        for k in range(z.shape[0]):
            for i in range(z.shape[1]):
                p[k, i] = -z[k, i]
    elif link == LINK_SOFTMAX:
        for i in range(z.shape[1]):
            largest = z[0, i]
            for k in range(1, z.shape[0]):
                # Also where z is NaN, which then spreads over the row.
                if not z[k, i] <= largest:
                    largest = z[k, i]
            for k in range(z.shape[0]):
                p[k, i] = z[k, i] - largest
    else:
        for k in range(z.shape[0]):
            for i in range(z.shape[1]):
                p[k, i] = z[k, i]


@_helper
def _link_function(link, p):
    """Replace the argument by the transcendental function of it, as the engine does with NumPy."""
    for k in range(p.shape[0]):
        for i in range(p.shape[1]):
            if link == LINK_TANH:
                p[k, i] = math.tanh(p[k, i])
            elif link != LINK_IDENTITY:
                p[k, i] = math.exp(p[k, i])


@_helper
def _link_result(link, p):
    """Turn the transcendental function in ``p`` into the prediction."""
    one = p.dtype.type(1)
    if link == LINK_LOGISTIC:
        for k in range(p.shape[0]):
            for i in range(p.shape[1]):
                p[k, i] = one / (one + p[k, i])
    elif link == LINK_SOFTMAX:
        for i in range(p.shape[1]):
            total = p.dtype.type(0)
            for k in range(p.shape[0]):
                total += p[k, i]
            for k in range(p.shape[0]):
                p[k, i] /= total


@_helper
def _log_loss(multiclass, smoothing, y, p, i):
    """Return the loss of sample ``i``, and turn its column of ``p`` into the derivative."""
    real, one = p.dtype.type, p.dtype.type(1)
    tiny = real(np.finfo(p.dtype).eps)
    total, p_true = real(0), real(0)
    s = real(smoothing)
    spread = s / real(p.shape[0]) if multiclass else s / real(2)
    for k in range(p.shape[0]):
        prediction, target = p[k, i], y[k, i]
        if s > 0:
            target = (one - s) * target + spread
            clipped = min(max(prediction, tiny), one - tiny)
            total -= target * math.log(clipped)
            if not multiclass:
                total -= (one - target) * math.log(one - clipped)
        elif multiclass:
            p_true += prediction * target
        else:
            p_true = prediction if target > 0.5 else one - prediction
            total -= math.log(min(max(p_true, tiny), one - tiny))
        p[k, i] = prediction - target
    if multiclass and not s > 0:
        total -= math.log(min(max(p_true, tiny), one - tiny))
    return total


@_helper
def _squared_loss(link, averages, y, p, i):
    """As ``_log_loss``, for half the squared error of the prediction; ``averages`` the outputs unless 0."""
    real, one = p.dtype.type, p.dtype.type(1)
    total, inner = real(0), real(0)
    for k in range(p.shape[0]):
        prediction = p[k, i]
        difference = prediction - y[k, i]
        total += difference * difference
        inner += difference * prediction
    for k in range(p.shape[0]):
        prediction = p[k, i]
        difference = prediction - y[k, i]
        if link == LINK_IDENTITY:
            p[k, i] = difference
        elif link == LINK_EXP:
            p[k, i] = difference * prediction
        elif link == LINK_LOGISTIC:
            p[k, i] = difference * prediction * (one - prediction)
        elif link == LINK_TANH:
            p[k, i] = difference * (one - prediction * prediction)
        else:
            p[k, i] = (difference - inner) * prediction
    return real(0.5) * total / (real(p.shape[0]) if averages > 0 else one)


@_helper
def _focal_loss(multiclass, gamma, y, z, p, i):
    """As ``_log_loss``, for FocalLoss."""
    real, one = p.dtype.type, p.dtype.type(1)
    tiny, g = real(np.finfo(p.dtype).tiny), real(gamma)
    p_true, p_other, total = real(0), real(0), real(0)
    if multiclass:
        for k in range(p.shape[0]):
            p_true += p[k, i] * y[k, i]
            p_other += p[k, i] * (one - y[k, i])
        log_p, p_other = math.log(max(p_true, tiny)), max(p_other, tiny)
        slope = g * p_true * p_other ** (g - one) * log_p - p_other**g
        for k in range(p.shape[0]):
            p[k, i] = (y[k, i] - p[k, i]) * slope
        return -(p_other**g) * log_p
    for k in range(p.shape[0]):
        sign = real(2) * y[k, i] - one
        p_true = one / (one + math.exp(-sign * z[k, i]))
        p_other = max(one / (one + math.exp(sign * z[k, i])), tiny)
        log_p = math.log(max(p_true, tiny))
        p[k, i] = sign * p_other * (g * p_true * p_other ** (g - one) * log_p - p_other**g)
        total -= p_other**g * log_p
    return total


@_helper
def _hinge_loss(squared, multiclass, y, z, p, i):
    """As ``_log_loss``, for the losses of the margin."""
    real, zero, one = p.dtype.type, p.dtype.type(0), p.dtype.type(1)
    if multiclass:
        truth = 0
        for k in range(1, p.shape[0]):
            if y[k, i] > y[truth, i]:
                truth = k
        rival = 1 if truth == 0 else 0
        for k in range(p.shape[0]):
            p[k, i] = zero
            if k != truth and z[k, i] > z[rival, i]:
                rival = k
        lacking = max(one - (z[truth, i] - z[rival, i]), zero)
        slope = real(-2) * lacking if squared else (-one if lacking > zero else zero)
        p[truth, i] = slope
        p[rival, i] = -slope
        return lacking * lacking if squared else lacking
    total = zero
    for k in range(p.shape[0]):
        sign = real(2) * y[k, i] - one
        lacking = max(one - sign * z[k, i], zero)
        total += lacking * lacking if squared else lacking
        p[k, i] = sign * (real(-2) * lacking if squared else (-one if lacking > zero else zero))
    return total


@_helper
def _loss_of_number(code, real, parameter, y, z, p):
    """Return loss and derivative of one output of a regression, ``p`` being its prediction and ``real`` their type."""
    zero, one, two, c = real(0), real(1), real(2), real(parameter)
    excess = z - y
    size = abs(excess)
    if code == POISSON:
        return (y * math.log(y) if y > zero else zero) - y * z - y + p, p - y
    if code == ABSOLUTE:
        return size, one if excess > zero else (-one if excess < zero else excess)
    if code == HUBER:
        inner = min(size, c)
        return inner * (size - real(0.5) * inner), min(max(excess, -c), c)
    if code == LOG_COSH:
        return size + math.log1p(math.exp(-two * size)) - real(math.log(2)), math.tanh(excess)
    if code == QUANTILE:
        return max(-c * excess, (one - c) * excess), (-c if z < y else one - c)
    if code == GAMMA or c == two:
        return z - math.log(y) + y / p - one, one - y / p
    if c == one:
        return (y * math.log(y) if y > zero else zero) - y * z - y + p, p - y
    low, high = math.exp((one - c) * z), math.exp((two - c) * z)
    constant = y ** (two - c) / ((one - c) * (two - c))
    return constant - y * low / (one - c) + high / (two - c), high - y * low


@_helper
def _losses_and_delta(code, link, multiclass, parameter, y, z, p, relative_weight):
    """Return the weighted mean loss, and turn the prediction in ``p`` into the delta."""
    mean = p.dtype.type(0)
    for i in range(p.shape[1]):
        if code == LOG_LOSS:
            loss = _log_loss(multiclass, parameter, y, p, i)
        elif code == SQUARED:
            loss = _squared_loss(link, parameter, y, p, i)
        elif code == FOCAL:
            loss = _focal_loss(multiclass, parameter, y, z, p, i)
        elif code >= HINGE:
            loss = _hinge_loss(code == SQUARED_HINGE, multiclass, y, z, p, i)
        else:
            loss = p.dtype.type(0)
            for k in range(p.shape[0]):
                value, derivative = _loss_of_number(code, p.dtype.type, parameter, y[k, i], z[k, i], p[k, i])
                p[k, i] = derivative
                loss += value
        weight = relative_weight[i]
        for k in range(p.shape[0]):
            p[k, i] *= weight
        mean += loss * weight
    return mean


def link_argument(link, z, out):
    """Prepare ``out`` for the transcendental function of the link."""
    _link_argument(link, z, out)


def losses_and_delta(code, link, multiclass, parameter, y, z, out, relative_weight):
    """Finish the link, compute the loss, and replace ``out`` by the delta; return the weighted mean loss."""
    _link_result(link, out)
    return _losses_and_delta(code, link, multiclass, parameter, y, z, out, relative_weight)


# Penalty and update ---------------------------------------------------------------------------------------------------


@_sum
def _sum_of_squares(w):
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
def _penalise(w, g, l1, l2):
    """Add the gradient of ``l1 * sum(|w|) + l2 / 2 * sum(w**2)`` to ``g`` and return that value."""
    value = 0.0
    if l2 > 0:
        c = w.dtype.type(l2)
        for i in range(w.size):
            g[i] += c * w[i]
        value += 0.5 * l2 * _sum_of_squares(w)
    if l1 > 0:
        zero, c = w.dtype.type(0), w.dtype.type(l1)
        for i in range(w.size):
            g[i] += c if w[i] > zero else (-c if w[i] < zero else zero)
        value += l1 * _sum_of_sizes(w)
    return value


@_helper
def _coefficients(code, hyper, t, product, rate):
    """Return the scalars of step ``t``, named ``c[0], ..., c[4]`` in ``_move``, and Nadam's product of momenta."""
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
def _move(code, c, decay, w, g, first, second):
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


def update(code, h0, h1, h2, weight_decay, t, product, rate, w, g, first, second, n_weights, l1, l2):
    """Penalise and move the parameters, a block at a time; return the value of the penalty and Nadam's product.

    The first ``n_weights`` of them are penalised, and decay by the share ``weight_decay`` times the learning rate.
    """
    c, product = _coefficients(code, (h0, h1, h2), t, product, rate)
    penalty = 0.0
    for start in range(0, n_weights, BLOCK_SIZE):
        end = min(start + BLOCK_SIZE, n_weights)
        w_block, g_block = w[start:end], g[start:end]
        penalty += _penalise(w_block, g_block, l1, l2)
        _move(code, c, rate * weight_decay, w_block, g_block, first[start:end], second[start:end])
    _move(code, c, 0.0, w[n_weights:], g[n_weights:], first[n_weights:], second[n_weights:])
    return penalty, product


# Products -------------------------------------------------------------------------------------------------------------


def sparse_product(data, indices, starts, weights, out):
    """``out = inputs @ weights`` for a CSR matrix in its three arrays."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = 0
        for position in range(starts[i], starts[i + 1]):
            value, k = data[position], indices[position]
            for j in range(out.shape[1]):
                out[i, j] += value * weights[k, j]


def sparse_weight_gradient(data, indices, starts, delta, out):
    """``out = inputs.T @ delta`` for a CSR matrix in its three arrays."""
    out[:] = 0
    for i in range(delta.shape[0]):
        for position in range(starts[i], starts[i + 1]):
            value, k = data[position], indices[position]
            for j in range(out.shape[1]):
                out[k, j] += value * delta[i, j]


def add_to_columns(biases, z):
    """Add one bias to each row of ``z``, of shape (n_outputs, n_samples)."""
    for k in range(z.shape[0]):
        for i in range(z.shape[1]):
            z[k, i] += biases[k]


# The whole epoch of a small network -----------------------------------------------------------------------------------


@_helper
def _limit_norm(g, max_norm):
    """Shorten the gradient to ``max_norm`` if it is longer."""
    norm = math.sqrt(_sum_of_squares(g))
    if norm > max_norm:
        scale = g.dtype.type(max_norm / norm)
        for i in range(g.size):
            g[i] *= scale


@_helper
def _layout(units, batch_size):
    """Return where each layer's part starts in the flat arrays of ``a``, of ``z``, and of the weights and biases.

    Where the last of them ends comes at the end.
    """
    n_layers = units.size - 1
    a_at, z_at = np.zeros(n_layers + 1, np.int64), np.zeros(n_layers + 1, np.int64)
    w_at = np.zeros(2 * n_layers + 1, np.int64)
    for l in range(n_layers):
        a_at[l + 1] = a_at[l] + batch_size * units[l]
        z_at[l + 1] = z_at[l] + batch_size * units[l + 1]
        w_at[l + 1] = w_at[l] + units[l] * units[l + 1]
    for l in range(n_layers, 2 * n_layers):
        w_at[l + 1] = w_at[l] + units[l - n_layers + 1]
    return a_at, z_at, w_at


@_helper
def _affine(a, a0, w, w0, b0, n, fan_in, width, z, z0):
    """``z = a @ W + b`` for ``n`` rows; each matrix is part of a flat array, from the index that follows it."""
    for j in range(width):
        for i in range(n):
            z[z0 + j * n + i] = w[b0 + j]
        for k in range(fan_in):
            weight = w[w0 + k * width + j]
            for i in range(n):
                z[z0 + j * n + i] += weight * a[a0 + k * n + i]


@_sum
def _gradients(a, a0, delta, n, fan_in, width, g, w0, b0):
    """Write ``a.T @ delta`` and the column sums of ``delta`` into the gradient; arrays are given as to ``_affine``."""
    for j in range(width):
        total = g.dtype.type(0)
        for i in range(n):
            total += delta[j * n + i]
        g[b0 + j] = total
        for k in range(fan_in):
            total = g.dtype.type(0)
            for i in range(n):
                total += a[a0 + k * n + i] * delta[j * n + i]
            g[w0 + k * width + j] = total


@_helper
def _backwards(delta, w, w0, n, fan_in, width, below):
    """``below = delta @ W.T`` for ``n`` rows."""
    for k in range(fan_in):
        for i in range(n):
            below[k * n + i] = 0
        for j in range(width):
            weight = w[w0 + k * width + j]
            for i in range(n):
                below[k * n + i] += weight * delta[j * n + i]


@_helper
def _forward(units, codes, settings, a, a_at, z, z_at, w, w_at, n):
    """Fill ``z[l]`` and ``a[l + 1]`` of every layer, for ``n`` rows.

    ``a``, ``z`` and ``w`` are the flat arrays of all layers, one after the other from ``a_at[l]`` and so on. All but
    the weights are transposed: inner loops run over the samples, often more than units. None of these loops reads and
    writes the same array, as far as the compiler can tell, or they would not be vectorised.
    """
    last = units.size - 2
    for l in range(last + 1):
        _affine(a, a_at[l], w, w_at[l], w_at[last + 1 + l], n, units[l], units[l + 1], z, z_at[l])
        if l < last:
            size = n * units[l + 1]
            z_l, a_l = z[z_at[l] : z_at[l] + size], a[a_at[l + 1] : a_at[l + 1] + size]
            if codes[l] <= LAST_IN_PLACE:
                a_l[:] = z_l
            _argument(codes[l], settings[l], z_l, a_l)
            _function(codes[l], a_l)
            _result(codes[l], settings[l], z_l, a_l)


@_helper
def _backward(units, codes, settings, a, a_at, z, z_at, delta, below, w, g, w_at, n):
    """Fill the gradient ``g``, given in ``delta`` that of the output; the other arrays are as in ``_forward``.

    ``delta`` and ``below`` change places from layer to layer.
    """
    n_layers = units.size - 1
    for l in range(n_layers - 1, -1, -1):
        _gradients(a, a_at[l], delta, n, units[l], units[l + 1], g, w_at[l], w_at[n_layers + l])
        if l > 0:
            size = n * units[l]
            z_l, a_l = z[z_at[l - 1] : z_at[l - 1] + size], a[a_at[l] : a_at[l] + size]
            _backwards(delta, w, w_at[l], n, units[l], units[l + 1], below)
            _slope_argument(codes[l - 1], z_l, a_l)
            _slope_function(codes[l - 1], a_l)
            _multiply_slope(codes[l - 1], settings[l - 1], below[:size], z_l, a_l)
            delta, below = below, delta


@_helper
def _gather(X, y, sample_weight, rows, a, targets, relative_weight):
    """Read the rows of a minibatch, and return their number or the sum of their weights."""
    total = float(rows.size)
    if sample_weight.size > 0:
        total = 0.0
        for i in range(rows.size):
            total += sample_weight[rows[i]]
    for i in range(rows.size):
        row = rows[i]
        relative_weight[i] = (sample_weight[row] if sample_weight.size > 0 else 1.0) / total
        for k in range(X.shape[1]):
            a[k * rows.size + i] = X[row, k]
        for k in range(y.shape[1]):
            targets[k, i] = y[row, k]
    return total


@_helper
def _link_and_loss(loss, link, multiclass, setting, targets, raw, p, relative_weight):
    """Return the mean loss and fill ``p`` with the delta of the output."""
    _link_argument(link, raw, p)
    _link_function(link, p)
    _link_result(link, p)
    return _losses_and_delta(loss, link, multiclass, setting, targets, raw, p, relative_weight)


def train_epoch(
    X, y, sample_weight, order, batch_size, units, codes, settings, loss, link, multiclass, loss_setting, alpha,
    l1_ratio, max_norm, fit_intercept, optimizer, h0, h1, h2, weight_decay, t, product, rate, w, g, first, second,
):  # fmt: skip
    """Make one pass over the rows in ``order``; return the mean minibatch loss and the optimiser's two numbers.

    ``units`` are the sizes of all layers, ``codes`` and ``settings`` those of the hidden activations. Of
    ``sample_weight`` and ``max_norm``, an array of length 0 and 0 mean none.
    """
    n_layers, n_outputs = units.size - 1, units[-1]
    a_at, z_at, w_at = _layout(units, batch_size)
    n_weights = w_at[n_layers]
    a, z = np.empty(a_at[-1], w.dtype), np.empty(z_at[-1], w.dtype)
    delta, below = np.empty(z.size, w.dtype), np.empty(z.size, w.dtype)
    targets, relative_weight = np.empty((n_outputs, batch_size), w.dtype), np.empty(batch_size, w.dtype)
    of_weights = w[:n_weights], g[:n_weights], first[:n_weights], second[:n_weights]
    of_biases = w[n_weights:], g[n_weights:], first[n_weights:], second[n_weights:]
    raw, p, n = targets, targets, 0

    total_loss, n_rows = 0.0, 0
    for start in range(0, order.size, batch_size):
        rows = order[start : min(start + batch_size, order.size)]
        if rows.size != n:
            n = rows.size
            raw, p = z[z_at[n_layers - 1] :][: n * n_outputs], delta[: n * n_outputs]
            raw, p = raw.reshape(n_outputs, n), p.reshape(n_outputs, n)
        total = _gather(X, y, sample_weight, rows, a, targets, relative_weight)
        if total == 0:
            continue
        _forward(units, codes, settings, a, a_at, z, z_at, w, w_at, n)
        value = float(_link_and_loss(loss, link, multiclass, loss_setting, targets, raw, p, relative_weight))
        _backward(units, codes, settings, a, a_at, z, z_at, delta, below, w, g, w_at, n)
        if not fit_intercept:
            of_biases[1][:] = 0
        value += _penalise(of_weights[0], of_weights[1], alpha * l1_ratio / total, alpha * (1 - l1_ratio) / total)
        if max_norm > 0:
            _limit_norm(g, max_norm)
        c, product = _coefficients(optimizer, (h0, h1, h2), t, product, rate)
        t += 1
        _move(optimizer, c, rate * weight_decay, *of_weights)
        _move(optimizer, c, 0.0, *of_biases)
        total_loss += value * n
        n_rows += n
    return total_loss / n_rows, t, product
