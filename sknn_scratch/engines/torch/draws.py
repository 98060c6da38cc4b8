"""Random draws by counter, with tensors: the same numbers as ``engines.draws`` gives, in integers of 64 bits."""

from __future__ import annotations

import math

import torch

__all__ = ["mask", "normal"]

_LOW = 2**32 - 1


def _mix(x: torch.Tensor) -> torch.Tensor:
    # A product that overflows keeps its lower bits.
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)).mul_(factor).bitwise_and_(_LOW)
    return x ^ (x >> 16)


def _bits(key: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return _mix(_mix(index ^ key[0]).add_(key[1]).bitwise_and_(_LOW))


def _indices(shape: torch.Size, device: torch.device) -> torch.Tensor:
    return torch.arange(math.prod(shape), device=device).bitwise_and_(_LOW).reshape(shape)


def mask(key: torch.Tensor, rate: float, like: torch.Tensor) -> torch.Tensor:
    """Return the factors of a layer of which a share is dropped: 0, or what makes up for it.

    Parameters
    ----------
    key : tensor of int64 of shape (2,)
        ``draws.keys`` of step and layer.
    rate : float
        In (0, 1).
    like : tensor
        Of the shape and dtype of the factors.
    """
    kept = _bits(key, _indices(like.shape, like.device)) >= int(rate * 2.0**32)
    return kept.to(like.dtype).mul_(1 / (1 - rate))


def normal(key: torch.Tensor, like: torch.Tensor, exact: torch.dtype) -> torch.Tensor:
    """Return draws from the standard normal distribution of the shape and dtype of ``like``, computed in ``exact``."""
    index = _indices(like.shape, like.device) * 2
    u, v = (_bits(key, one.bitwise_and_(_LOW)).to(exact) for one in (index, index + 1))
    radius = torch.sqrt(-2 * torch.log((u + 0.5) * 2.0**-32))
    return (radius * torch.cos(v * (2 * math.pi * 2.0**-32))).to(like.dtype)
