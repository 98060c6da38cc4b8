"""Random draws by counter: dropout and noise as a function of step, layer and position.

A draw depends on a seed, the number of the step, the layer and the index of a number in it, and on nothing else. So it
is the same on every engine, in however many parts and in whichever order, and training that is resumed needs no state
of a generator.

References
----------
Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (the idea). Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014 (the mixing of 64 bits). Wellons, "Prospecting for hash
functions", 2018 (the mixing of 32 bits).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Takes the place of the layer in draws of the noise on the samples.
INPUT_NOISE = -1


def keys(seed: int, step: int, layer: int) -> tuple[np.uint32, np.uint32]:
    """Return two keys for a layer, of which 0 is the input, in a step since training began; the seed has 63 bits."""
    mask = 2**64 - 1
    x = (seed + step * 0x9E3779B97F4A7C15 + (layer + 2) * 0xD1B54A32D192ED03) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    x ^= x >> 31
    return np.uint32(x & 0xFFFFFFFF), np.uint32(x >> 32)


def bits(keys: Any, index: Any, low: Callable[[Any], Any] = lambda x: x) -> Any:
    """Return 32 random bits for each index, as uint32, which keys and indices are, too.

    Of integers with more bits, ``low`` keeps the lower 32.
    """

    def mix(x: Any) -> Any:
        x = low((x ^ (x >> 16)) * 0x7FEB352D)
        x = low((x ^ (x >> 15)) * 0x846CA68B)
        return x ^ (x >> 16)

    first, second = keys
    return mix(low(mix(low(index) ^ first) + second))


def normal(keys: Any, index: Any, low: Callable[[Any], Any] = lambda x: x) -> Any:
    """Return draws from the standard normal distribution as float64, by the method of Box and Muller; see ``bits``."""
    u = (bits(keys, 2 * index, low) + 0.5) * 2.0**-32
    v = bits(keys, 2 * index + 1, low) * 2.0**-32
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
