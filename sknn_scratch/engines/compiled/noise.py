"""Noise on the samples and dropout; draws are the same numbers as ``sknn_scratch.engines.draws`` gives."""

from __future__ import annotations

import math

import numpy as np

from sknn_scratch.engines.compiled.calls import helper, reals
from sknn_scratch.engines.compiled.elementary import bits_of, choose
from sknn_scratch.engines.compiled.team import layer_at

__all__ = ["draw", "drop", "drop_deltas", "mask_of"]

INPUT_NOISE = np.int64(-1)


@helper
def _key_of(seed, step, layer):
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


@helper
def _mix(x):
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@helper
def draw(key, index):
    """Return 32 random bits."""
    return _mix(np.uint32(_mix(np.uint32(np.uint32(index) ^ key[0])) + key[1]))


@helper
def _draw_normal(key, index):
    """Return a draw from the standard normal distribution, by the method of Box and Muller."""
    u = (draw(key, 2 * index) + 0.5) * 2.0**-32
    v = draw(key, 2 * index + 1) * 2.0**-32
    return math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)


@helper
def mask_of(job, l):
    """Return a key for the inputs of layer ``l``, and the least draw with which one is kept."""
    return _key_of(job.seed, job.step.number, l), np.uint32(layer_at(job.layers, l).dropout * 2.0**32)


@helper
def drop(job, l, low, high):
    """Drop inputs of layer ``l`` for some rows: they become -0, and no other does. First, add noise to the samples.

    The others are made up for in the products, so that slopes can be computed from them.
    """
    layer, noise, real = layer_at(job.layers, l), job.input_noise if l == 0 else 0.0, type(job.one)
    a, fan_in, zero = reals(job, layer.a), layer.fan_in, real(0)
    of_noise, (key, threshold) = _key_of(job.seed, job.step.number, INPUT_NOISE), mask_of(job, l)
    if layer.by_rows:
        length, lines, places = fan_in, (low, high), (0, fan_in)
    else:
        length, lines, places = job.memory.stride, (0, fan_in), (low, high)
    for line in range(lines[0], lines[1]):
        for place in range(places[0], places[1]):
            value, at = a[line * length + place], line * length + place
            index = at if layer.by_rows else place * fan_in + line
            if noise > 0:
                value += real(noise * _draw_normal(of_noise, index))
            a[at] = choose(draw(key, index) >= threshold, value + zero, -zero)


@helper
def drop_deltas(job, l, low, high):
    """Set the deltas of the inputs of layer ``l`` that were dropped to 0, for some rows."""
    stride, layer, zero = job.memory.stride, layer_at(job.layers, l), type(job.one)(0)
    a, delta, dropped = reals(job, layer.a), reals(job, layer_at(job.layers, l - 1).delta), bits_of(-zero)
    for j in range(layer.fan_in):
        for i in range(j * stride + low, j * stride + high):
            delta[i] = choose(bits_of(a[i]) == dropped, zero, delta[i])
