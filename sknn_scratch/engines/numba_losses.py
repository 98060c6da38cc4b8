"""The losses of the compiled engine, with their links: plain loops over arrays.

Arrays are transposed, of shape (n_outputs, n_samples), and belong to one head or to several, one after the other. Each
head has a row in ``heads``, of what stands in the places named below, and one in ``settings``, of the parameters of its
loss. Transcendental functions of the links are left to the caller, as those of the activations are; scalars are cast to
the arrays' type first.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LINK_IDENTITY, LINK_EXP, LINK_LOGISTIC, LINK_SOFTMAX, LINK_TANH, LINK_GAUSSIAN, LINK_INCREASING = range(7)

LOG_LOSS, SQUARED, POISSON, ABSOLUTE, HUBER, LOG_COSH, QUANTILE, GAMMA, TWEEDIE, FOCAL = range(10)
GAUSSIAN, HINGE, SQUARED_HINGE = 10, 11, 12

# Places in a head: codes of loss and link, 1 if targets are multiclass, and how many raw outputs it has.
LOSS, LINK, MULTICLASS, WIDTH = range(4)

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)

_helper = njit(error_model="numpy")
# For functions that are called in one place: compiled with what they stand in, not also by themselves.
_inlined = njit(error_model="numpy", inline="always")


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
        own_y, own_z, own_p = y[first:last], z[first:last], p[first:last]
        mean += _delta_of_head(heads[h], settings[h], own_y, own_z, own_p, relative_weight)
        first = last
    return mean


@_inlined
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
