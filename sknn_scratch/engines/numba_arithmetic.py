"""Plain arithmetic over arrays, for the functions that the numba engine compiles.

An elementwise function that needs ``exp`` or a relative of it is split in three: a loop that writes the argument, the
transcendental function, and a loop that makes the result of it. The middle part is left to the caller: for arrays that
are not tiny, NumPy's are several times faster than the scalar functions of the C library that numba calls.

Which activation, link, loss or optimiser it is comes as one of the codes below. Output layer arrays are transposed, of
shape (n_outputs, n_samples), and belong to one head or to several, one after the other. Each head has a row in
``heads``, of what stands in the places named below, and one in ``settings``, of the parameters of its loss.

Scalars are cast to the arrays' type first, as a float32 array times a float64 number is computed in float64 by numba.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

IDENTITY, LOGISTIC, RELU, TANH, ELU, GELU, HARD_SIGMOID, HARD_TANH, LEAKY_RELU, MISH = range(10)
RELU6, SELU, SILU, SOFTPLUS, SOFTSIGN = range(10, 15)
# Activations up to this code overwrite their input.
LAST_IN_PLACE = TANH

LINK_IDENTITY, LINK_EXP, LINK_LOGISTIC, LINK_SOFTMAX, LINK_TANH, LINK_GAUSSIAN, LINK_INCREASING = range(7)

LOG_LOSS, SQUARED, POISSON, ABSOLUTE, HUBER, LOG_COSH, QUANTILE, GAMMA, TWEEDIE, FOCAL = range(10)
GAUSSIAN, HINGE, SQUARED_HINGE = 10, 11, 12

# Places in a head: codes of loss and link, 1 if targets are multiclass, and how many raw outputs it has.
LOSS, LINK, MULTICLASS, WIDTH = range(4)

SGD, ADAM, NADAM, RMSPROP, ADAGRAD = range(5)

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)
BLOCK_SIZE = 4096

_helper = njit(error_model="numpy")
# Sums may be computed in any order: that of BLAS, which does them in the reference, is not laid down either.
_sum = njit(error_model="numpy", fastmath={"reassoc"})


# Activations ----------------------------------------------------------------------------------------------------------


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


# Link, loss and delta -------------------------------------------------------------------------------------------------


@_helper
def prepare_links(heads, z, p):
    """Write into ``p`` the argument of the transcendental function, which is the same for the links of all heads."""
    first = 0
    for h in range(heads.shape[0]):
        last = first + heads[h, WIDTH]
        _prepare_link(heads[h, LINK], z[first:last], p[first:last])
        first = last


@_helper
def _prepare_link(link, z, p):
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
    elif link == LINK_GAUSSIAN:
        half = z.shape[0] // 2
        for k in range(half):
            for i in range(z.shape[1]):
                p[k, i] = 0
                p[half + k, i] = z[half + k, i]
    elif link == LINK_INCREASING:
        for k in range(z.shape[0]):
            for i in range(z.shape[1]):
                p[k, i] = -abs(z[k, i])
    else:
        for k in range(z.shape[0]):
            for i in range(z.shape[1]):
                p[k, i] = z[k, i]


@_helper
def _finish_link(link, settings, z, p):
    """Turn the transcendental function in ``p`` into the prediction.

    The increasing link leaves in ``z`` the derivative of the step from one prediction to the next.
    """
    zero, one = p.dtype.type(0), p.dtype.type(1)
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
    elif link == LINK_GAUSSIAN:
        half, least = p.shape[0] // 2, p.dtype.type(settings[0])
        for k in range(half):
            for i in range(p.shape[1]):
                p[k, i] = z[k, i]
                p[half + k, i] += least
    elif link == LINK_INCREASING:
        for k in range(p.shape[0]):
            is_first = k % settings.size == 0
            for i in range(p.shape[1]):
                if is_first:
                    p[k, i], z[k, i] = z[k, i], one
                else:
                    e = p[k, i]
                    p[k, i] = p[k - 1, i] + (max(z[k, i], zero) + math.log1p(e))
                    z[k, i] = (one if z[k, i] > zero else e) / (one + e)


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
def _quantile_loss(link, quantiles, y, z, p, i):
    """As ``_log_loss``, for one quantile or several of each target; ``z`` is what the increasing link leaves there."""
    real, zero, one = p.dtype.type, p.dtype.type(0), p.dtype.type(1)
    total, n = zero, quantiles.size
    for target in range(y.shape[0]):
        # Each raw output moves this quantile and those above.
        above = zero
        for k in range(n - 1, -1, -1):
            at, q = target * n + k, real(quantiles[k])
            excess = p[at, i] - y[target, i]
            slope = -q if excess < zero else one - q
            total += slope * excess
            above += slope
            p[at, i] = above * z[at, i] if link == LINK_INCREASING else slope
    return total


@_helper
def _gaussian_loss(min_std, y, p, i):
    """As ``_log_loss``, for GaussianNLL."""
    real, one = p.dtype.type, p.dtype.type(1)
    total, half = real(0), y.shape[0]
    for k in range(half):
        std = p[half + k, i]
        standardised = (p[k, i] - y[k, i]) / std
        square = standardised * standardised
        total += math.log(std) + real(0.5) * square + real(HALF_LOG_2_PI)
        p[k, i] = standardised / std
        p[half + k, i] = (one - square) / std * (std - real(min_std))
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
    if code == GAMMA or c == two:
        return z - math.log(y) + y / p - one, one - y / p
    if c == one:
        return (y * math.log(y) if y > zero else zero) - y * z - y + p, p - y
    low, high = math.exp((one - c) * z), math.exp((two - c) * z)
    constant = y ** (two - c) / ((one - c) * (two - c))
    return constant - y * low / (one - c) + high / (two - c), high - y * low


@_helper
def turn_into_delta(heads, settings, y, z, p, relative_weight):
    """Return the weighted mean loss, and turn the transcendental function in ``p`` into the delta; ``z`` is used up."""
    mean, first = p.dtype.type(0), 0
    for h in range(heads.shape[0]):
        last = first + heads[h, WIDTH]
        # One head has all of y, also if that has fewer columns than the raw output.
        of_head = y[first:last], z[first:last], p[first:last]
        mean += _delta_of_head(heads[h], settings[h], *of_head, relative_weight)
        first = last
    return mean


@_helper
def _delta_of_head(head, settings, y, z, p, relative_weight):
    code, link, multiclass, parameter = head[LOSS], head[LINK], head[MULTICLASS] == 1, settings[0]
    _finish_link(link, settings, z, p)
    mean = p.dtype.type(0)
    for i in range(p.shape[1]):
        if code == LOG_LOSS:
            loss = _log_loss(multiclass, parameter, y, p, i)
        elif code == SQUARED:
            loss = _squared_loss(link, parameter, y, p, i)
        elif code == FOCAL:
            loss = _focal_loss(multiclass, parameter, y, z, p, i)
        elif code == QUANTILE:
            loss = _quantile_loss(link, settings, y, z, p, i)
        elif code == GAUSSIAN:
            loss = _gaussian_loss(parameter, y, p, i)
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


# Penalty and update ---------------------------------------------------------------------------------------------------


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
