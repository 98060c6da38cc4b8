"""Random draws by counter, with tensors: the numbers of ``sknn_scratch.engines.draws``, in integers of 64 bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

_LOW = 2**32 - 1


def _mix(x: torch.Tensor) -> torch.Tensor:
    # A product that overflows keeps its lower bits.
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)) * factor & _LOW
    return x ^ (x >> 16)


def _bits(key: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return _mix(_mix(index & _LOW ^ key[0]) + key[1] & _LOW)


def _indices(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.arange(math.prod(shape), device=device).reshape(shape)


def mask(keys: torch.Tensor, rate: float, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return the factors of a layer of which a share of ``rate`` is dropped: 0, or what makes up for it.

    ``keys``, of int64 and shape (n_steps, 2), are ``draws.keys`` of steps and layer; there are factors for each step.
    """
    kept = _bits(keys.T[:, :, None, None], _indices(shape, keys.device)) >= int(rate * 2.0**32)
    return kept.to(dtype) * (1 / (1 - rate))


def normal(keys: torch.Tensor, shape: Sequence[int], exact: torch.dtype) -> torch.Tensor:
    """Return draws from the standard normal distribution, computed in ``exact``, of a shape and for each step."""
    key, index = keys.T[:, :, None, None], 2 * _indices(shape, keys.device)
    u, v = _bits(key, index).to(exact), _bits(key, index + 1).to(exact)
    radius = torch.sqrt(-2 * torch.log((u + 0.5) * 2.0**-32))
    return radius * torch.cos(v * (2 * math.pi * 2.0**-32))
