"""The first phase of a step in a compiled epoch: forward, and the deltas back, for some rows of the minibatch."""

from __future__ import annotations

from numba import njit

from sknn_scratch.engines.numba_activations import (
    LAST_IN_PLACE,
    finish_activation,
    multiply_by_slope,
    prepare_activation,
    prepare_slope,
)
from sknn_scratch.engines.numba_calls import apply_ufunc, copy_numbers, matmul
from sknn_scratch.engines.numba_losses import prepare_links, turn_into_delta
from sknn_scratch.engines.numba_team import LINE, N_ROWS, START, TOTAL, share

__all__ = ["pass_rows"]

_helper = njit(error_model="numpy")
# For functions that are called in one place: compiled with what they stand in, not also by themselves.
_inlined = njit(error_model="numpy", inline="always")


@_helper
def _read_rows(samples, layers, memory, start, low, high, total):
    """Gather the rows of this part, targets and relative weights included; ``a[0]`` unless they are sparse."""
    X, _, _, _, y, sample_weight, order = samples
    n, fan_in = high - low, X.shape[1]
    contiguous, address = X.strides[1] == X.itemsize, X.ctypes.data
    dense = X.shape[0] > 0
    for i in range(n):
        row = order[start + low + i]
        memory.relative_weight[low + i] = (sample_weight[row] if sample_weight.size > 0 else 1.0) / total
        for k in range(y.shape[1]):
            memory.targets[low * y.shape[1] + k * n + i] = y[row, k]
        if dense:
            a = memory.a[layers.a_at[0] + (low + i) * fan_in :]
            if contiguous:
                copy_numbers(address, row * X.strides[0], a, fan_in)
            else:
                for j in range(fan_in):
                    a[j] = X[row, j]


@_helper
def _sparse_product(samples, start, n, weights, width, out):
    """``out = X[order[start : start + n]] @ weights``, which are flat."""
    _, values, indices, starts, _, _, order = samples
    out[: n * width] = 0
    for i in range(n):
        row, own = order[start + i], out[i * width : (i + 1) * width]
        for position in range(starts[row], starts[row + 1]):
            value, k = values[position], indices[position]
            for j in range(width):
                own[j] += value * weights[k * width + j]


@_helper
def _forward(samples, layers, memory, team, start, low, high):
    """Fill ``z`` and ``a`` of the hidden layers for the rows of this part, and their raw output, transposed."""
    units, n = layers.units, high - low
    sparse = samples[0].shape[0] == 0
    last = units.size - 2
    for l in range(last + 1):
        fan_in, width = units[l], units[l + 1]
        a = memory.a[layers.a_at[l] + low * fan_in :]
        weights = memory.w[layers.w_at[l] :]
        biases = memory.w[layers.w_at[last + 1 + l] :][:width]
        if l == last and not (sparse and l == 0):
            raw = memory.raw[low * width : high * width].reshape(width, n)
            matmul(team.gemm, (width, n, fan_in), weights, width, True, a, fan_in, True, memory.raw[low * width :])
            for k in range(width):
                for i in range(n):
                    raw[k, i] += biases[k]
        elif l == last:
            rows = memory.p[low * width : high * width]
            _sparse_product(samples, start + low, n, weights, width, rows)
            for k in range(width):
                for i in range(n):
                    memory.raw[low * width + k * n + i] = rows[i * width + k] + biases[k]
        else:
            code, setting, functions = layers.activations[l], layers.settings[l], layers.functions[l]
            result = memory.a[layers.a_at[l + 1] + low * width : layers.a_at[l + 1] + high * width]
            z = result
            if code > LAST_IN_PLACE:
                z = memory.z[layers.z_at[l] + low * width : layers.z_at[l] + high * width]
            if sparse and l == 0:
                _sparse_product(samples, start + low, n, weights, width, z)
            else:
                matmul(team.gemm, (n, width, fan_in), a, fan_in, False, weights, width, False, z)
            for i in range(n):
                z_row = z[i * width : (i + 1) * width]
                for j in range(width):
                    z_row[j] += biases[j]
            prepare_activation(code, setting, z, result)
            if functions[0] != 0:
                apply_ufunc(functions[0], functions[1], result)
            if functions[2] != 0:
                apply_ufunc(functions[2], functions[3], result)
            finish_activation(code, setting, z, result)


@_helper
def _output_delta(samples, layers, objective, memory, low, high):
    """Fill the delta of the output for the rows of this part; return their share in the mean loss."""
    n, n_targets, width, function = high - low, samples[4].shape[1], layers.units[-1], layers.functions[-1]
    begin, end = low * width, high * width
    targets = memory.targets[low * n_targets : high * n_targets].reshape(n_targets, n)
    raw, p = memory.raw[begin:end].reshape(width, n), memory.p[begin:end].reshape(width, n)
    prepare_links(objective.heads, raw, p)
    if function[0] != 0:
        apply_ufunc(function[0], function[1], memory.p[begin:end])
    weight = memory.relative_weight[low:high]
    loss = turn_into_delta(objective.heads, objective.settings, targets, raw, p, weight)
    delta = memory.delta[layers.delta_at[-2] + begin :]
    for k in range(width):
        for i in range(n):
            delta[i * width + k] = p[k, i]
    return float(loss)


@_helper
def _hidden_deltas(layers, memory, team, low, high):
    """Fill the deltas of the hidden layers for the rows of this part."""
    units, n = layers.units, high - low
    for l in range(units.size - 2, 0, -1):
        fan_in, width = units[l], units[l + 1]
        delta = memory.delta[layers.delta_at[l] + low * width :]
        below = memory.delta[layers.delta_at[l - 1] + low * fan_in : layers.delta_at[l - 1] + high * fan_in]
        weights = memory.w[layers.w_at[l] :]
        matmul(team.gemm, (n, fan_in, width), delta, width, False, weights, width, True, below)
        code, setting, functions = layers.activations[l - 1], layers.settings[l - 1], layers.functions[l - 1]
        a = memory.a[layers.a_at[l] + low * fan_in : layers.a_at[l] + high * fan_in]
        z = a
        if code > LAST_IN_PLACE:
            z = memory.z[layers.z_at[l - 1] + low * fan_in : layers.z_at[l - 1] + high * fan_in]
        if functions[4] != 0:
            # The weight gradient still needs a. Other threads may be in another layer: their rows are not in the way.
            at = low * (memory.scratch.size // memory.relative_weight.size)
            scratch = memory.scratch[at : at + n * fan_in]
            scratch[:] = a
            a = scratch
            prepare_slope(code, z, a)
            apply_ufunc(functions[4], functions[5], a)
        multiply_by_slope(code, setting, below, z, a)


@_inlined
def pass_rows(part, samples, layers, objective, memory, team):
    """Pass this part's rows forward, and the deltas back; note their share in the mean loss."""
    start = team.job[START]
    low, high = share(team.job[N_ROWS], part, team.n_parts)
    team.sums[part * LINE] = 0.0
    if high > low:
        _read_rows(samples, layers, memory, start, low, high, team.numbers[TOTAL])
        _forward(samples, layers, memory, team, start, low, high)
        team.sums[part * LINE] = _output_delta(samples, layers, objective, memory, low, high)
        _hidden_deltas(layers, memory, team, low, high)
