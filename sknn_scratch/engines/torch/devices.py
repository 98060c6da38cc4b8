"""The devices of PyTorch: whether one can be used, and its memory."""

from __future__ import annotations

import sys
import threading

import torch

__all__ = ["computing", "free_bytes", "problem"]

# Held while a device computes for us: what another thread asks of a GPU could spoil the recording of a graph, and
# nothing is gained side by side.
computing = threading.RLock()


def problem(name: str) -> str | None:
    """Return why a device cannot be used, or None."""
    kind, _, number = name.partition(":")
    if kind == "cuda":
        if not torch.cuda.is_available():
            built = "built without CUDA" if torch.version.cuda is None else "which finds no GPU"
            return f"CUDA is not available to PyTorch {torch.__version__}, {built}"
        if number and int(number) >= torch.cuda.device_count():
            return f"there are {torch.cuda.device_count()} GPUs, counted from cuda:0"
    if kind == "mps" and not torch.backends.mps.is_available():
        return f"MPS, of a Mac with Apple silicon, is not available to PyTorch {torch.__version__}"
    return None


def free_bytes(device: torch.device) -> int:
    """Return how much memory a device has left for us; of the host's, nothing is known."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return sys.maxsize
