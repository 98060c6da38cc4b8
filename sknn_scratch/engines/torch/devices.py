"""The devices of PyTorch: whether one can be used, and its memory."""

from __future__ import annotations

import sys
import threading

import torch

# Held while a device computes for us: what another thread asks of a GPU could spoil the recording of a graph, and
# nothing is gained side by side.
computing = threading.RLock()


def problem(name: str) -> str | None:
    """Return why a device cannot be used, or None."""
    try:
        torch.zeros(1, device=name).item()  # a GPU may be there and too old, or forbidden to a forked process
    except Exception as error:
        return f"PyTorch {torch.__version__} says: {str(error).splitlines()[0]}"
    return None


def free_bytes(device: torch.device) -> int:
    """Return how much memory a device has left for us; of the host's, nothing is known."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return sys.maxsize
