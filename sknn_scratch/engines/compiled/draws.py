"""Random draws by counter, compiled: the same numbers as ``sknn_scratch.engines.draws`` gives."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sknn_scratch.engines.compiled.team import layer_of

__all__ = ["draw", "draw_normal", "key_of", "mask_of"]

_helper = njit(error_model="numpy")


@_helper
def key_of(seed, step, layer):
    """Return two keys of 32 bits for a layer in a step."""
    x = (
        np.uint64(seed)
        + np.uint64(step) * np.uint64(0x9E3779B97F4A7C15)
        + np.uint64(layer + 2) * np.uint64(0xD1B54A32D192ED03)
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return np.uint32(x), np.uint32(x >> np.uint64(32))


@_helper
def threshold_of(rate):
    """Return the least draw with which a unit is kept."""
    return np.uint32(rate * 2.0**32)


@_helper
def _mix(x):
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@_helper
def draw(key, index):
    """Return 32 random bits."""
    return _mix(np.uint32(_mix(np.uint32(np.uint32(index) ^ key[0])) + key[1]))


@_helper
def draw_normal(key, index):
    """Return a draw from the standard normal distribution, by the method of Box and Muller."""
    u = (draw(key, 2 * index) + 0.5) * 2.0**-32
    v = draw(key, 2 * index + 1) * 2.0**-32
    return math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)


@_helper
def mask_of(job, l):
    """Return a key for the inputs of layer ``l``, the least draw with which one is kept, and the factor of those."""
    rate = layer_of(job, l).dropout
    return key_of(job.seed, job.step.number, l), threshold_of(rate), type(job.one)(1 / (1 - rate))
