"""Losses and optimisers on tensors: by their formulas, but for the two that most networks have.

Log-loss and Adam take fewer operations, each of which is a kernel on a GPU, in a form that PyTorch has. Components are
looked up by their exact type: a subclass may say something else.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.optim.adam import adam

from sknn_scratch.catalogue.losses import LogLoss, Loss
from sknn_scratch.catalogue.optimizers import Adam, AdamW, Optimizer
from sknn_scratch.engines.torch.arrays import compute
from sknn_scratch.training.job import Job

__all__ = ["losses_and_delta", "obstacle", "update"]


def losses_and_delta(loss: Loss, y: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of each sample, and its derivative with respect to the raw output ``z``."""
    if type(loss) is LogLoss and loss.multiclass and not loss.label_smoothing:
        log_p, eps = torch.log_softmax(z, 1), torch.finfo(z.dtype).eps
        return -(log_p * y).sum(1).clamp(math.log(eps), math.log1p(-eps)), log_p.exp() - y
    return compute(loss.value, y, z), compute(loss.derivative, y, z).to(z.dtype).expand_as(z)


def update(optimizer: Optimizer, w: torch.Tensor, g: torch.Tensor, vectors: torch.Tensor, coefficients: Any) -> None:
    """Move the parameters ``w`` and the optimiser's vectors by a step, given its coefficients as tensors."""
    # The kernel of PyTorch reads the rate as float32.
    if type(optimizer) in (Adam, AdamW) and w.dtype == torch.float32 and w.device.type != "mps":
        _update_adam(optimizer, w, g, *vectors, *coefficients)
        return
    moved = compute(optimizer.move, w, g, *vectors, *coefficients)
    if not len(vectors):
        w.copy_(moved)
    else:
        new_vectors = torch.stack(moved[1:])  # a copy, as some may be others of the old ones
        w.copy_(moved[0])
        vectors.copy_(new_vectors)


def _update_adam(
    optimizer: Any, w: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, rate: torch.Tensor
) -> None:
    # PyTorch corrects the moments by the number of the step, and adds epsilon after that. Our rate has the correction,
    # and at the step of number infinity there is none.
    moments = {"beta1": optimizer.beta_1, "beta2": optimizer.beta_2, "eps": optimizer.epsilon}
    without: Any = {"amsgrad": False, "maximize": False, "weight_decay": 0.0}
    adam([w], [g], [m], [v], [], [_infinity(w.device)], fused=True, lr=rate, **moments, **without)


@cache
def _infinity(device: torch.device) -> torch.Tensor:
    return torch.full((), math.inf, dtype=torch.float32, device=device)


def obstacle(job: Job) -> str | None:
    """Return which formula of a job tensors do not compute, or to other numbers than arrays, and why, or None."""
    network, optimizer, dtype, rng = job.network, job.optimizer, job.network.dtype, np.random.RandomState(0)
    y = job.y[:8].astype(dtype)
    *z, raw_output = [rng.standard_normal((len(y), width)).astype(dtype) for width in network.layer_units[1:]]
    trials: list[Any] = [(job.loss, name, (y, raw_output)) for name in ("value", "derivative")]
    for f, of_layer in zip(network.activations, z, strict=True):
        trials += [(f, name, (of_layer,)) for name in ("value", "derivative")]
    if optimizer is not None:
        if (type(optimizer).update, type(optimizer).apply) != (Optimizer.update, Optimizer.apply):
            return f"{type(optimizer).__name__} writes into arrays of NumPy"
        vectors = np.abs(rng.standard_normal((2 + len(optimizer.state), 5))).astype(dtype)
        trials.append((optimizer, "move", (*vectors, *np.ones((optimizer.n_coefficients, 1), dtype=dtype))))
    near = math.sqrt(np.finfo(dtype).eps)
    for component, name, arrays in trials:
        formula = getattr(component, name)
        try:
            ours, theirs = compute(formula, *map(torch.from_numpy, arrays)), formula(*arrays)
            pairs = zip(ours, theirs, strict=True) if isinstance(theirs, tuple) else [(ours, theirs)]
            if not all(np.allclose(a, b, rtol=near, atol=near, equal_nan=True) for a, b in pairs):
                raise ArithmeticError(f"{name} gives other numbers than with arrays")
        except Exception as error:  # whatever a formula does with what is no array
            return f"{type(component).__name__} cannot be computed with tensors ({error})"
    return None
