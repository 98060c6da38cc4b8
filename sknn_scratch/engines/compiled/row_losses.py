"""Losses whose raw outputs are not one for each target, as loops.

Their formulas cut and join columns, which no graph says. They return the sum of the losses, and arguments are those of
all loss kernels: arrays have a row for each output or target, from ``k * stride`` on, and ``p`` are the parameters.
"""

from __future__ import annotations

import math

from sknn_scratch.engines.compiled.calls import helper
from sknn_scratch.engines.compiled.elementary import exp, log, log1p

_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


@helper
def gaussian_nll(y, z, delta, weight, n, n_outputs, stride, p):
    """``GaussianNLL``; the parameter is its ``min_std``."""
    total, n_targets, min_std = 0.0, n_outputs // 2, p[0]
    for k in range(n_targets):
        for i in range(n):
            mean, spread = k * stride + i, (n_targets + k) * stride + i
            std = exp(z[spread]) + min_std
            share = 1.0 - min_std / std
            standardised = (z[mean] - y[mean]) / std
            square = standardised * standardised
            total += weight[i] * (log(std) + 0.5 * square + _HALF_LOG_2_PI)
            delta[mean] = weight[i] * (standardised / std)
            delta[spread] = weight[i] * (share - standardised * (standardised * share))
    return total


@helper
def increasing_quantiles(y, z, delta, weight, n, n_outputs, stride, p):
    """Several quantiles of each target; the parameters are their number and the quantiles.

    The first is a raw output, each further one lies above the one before by ``log(1 + exp(z))``.
    """
    total, n_quantiles = 0.0, int(p[0])
    for target in range(n_outputs // n_quantiles):
        first = target * n_quantiles
        for i in range(n):
            prediction, truth = z[first * stride + i], y[target * stride + i]
            for k in range(n_quantiles):
                place = (first + k) * stride + i
                if k > 0:
                    prediction += max(z[place], 0.0) + log1p(exp(-abs(z[place])))
                excess = prediction - truth
                slope = -p[1 + k] if excess < 0 else 1.0 - p[1 + k]
                total += weight[i] * (slope * excess)
                delta[place] = weight[i] * slope
            # Each raw output moves this quantile and those above.
            above = 0.0
            for k in range(n_quantiles - 1, -1, -1):
                place = (first + k) * stride + i
                above += delta[place]
                delta[place] = above * (1.0 / (1.0 + exp(-z[place]))) if k > 0 else above
    return total
