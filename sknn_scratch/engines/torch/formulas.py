"""Components on tensors, by their formulas but for the three that most networks have.

ReLU's slope, log-loss and Adam, which are 3, 6 and 15 operations, each of them a kernel on a GPU, are 1, 2 and 1 in a
form that PyTorch has. Components are looked up by their exact type: a subclass may say something else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from sknn_scratch.catalogue.activations import Activation, ReLU
from sknn_scratch.catalogue.losses import LogLoss, Loss
from sknn_scratch.catalogue.optimizers import Adam, AdamW, Optimizer
from sknn_scratch.engines.torch.arrays import compute
from sknn_scratch.training.job import Job

# Parts of the parameters for the kernel of Adam: on a GPU a block of threads takes each, and a kernel at most so many.
# https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/cuda/MultiTensorApply.cuh
BLOCKS = {"cuda": 36}


def output_delta(loss: Loss, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Return the derivative of the loss of each sample with respect to the raw output ``z``."""
    if type(loss) is LogLoss and loss.multiclass and not loss.label_smoothing:
        return torch.softmax(z, 1).sub_(y)
    return compute(loss.derivative, y, z).to(z.dtype).expand_as(z)


def multiply_slope(f: Activation, delta: torch.Tensor, z: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Return ``delta * f'(z)``, given ``a = f(z)``; ``delta`` may be written into."""
    if type(f) is ReLU:
        return torch.ops.aten.threshold_backward(delta, a, 0)
    return delta.mul_(compute(f.derivative, z) if f.needs_input else compute(f.derivative_from_output, a))


def update(
    optimizer: Any, w: torch.Tensor, g: torch.Tensor, vectors: torch.Tensor, coefficients: Sequence[torch.Tensor]
) -> None:
    """Move the parameters ``w`` and the optimiser's vectors by a step, given its coefficients as tensors."""
    # The kernel of PyTorch reads the rate as float32.
    if type(optimizer) in (Adam, AdamW) and w.dtype == torch.float32 and w.device.type != "mps":
        # It corrects the moments by the number of the step, and adds epsilon after that. Our rate has the correction,
        # and at the step of number infinity there is none.
        betas_and_eps = {"beta1": optimizer.beta_1, "beta2": optimizer.beta_2, "eps": optimizer.epsilon}
        settings: Any = {**betas_and_eps, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
        size = 4 * math.ceil(len(w) / (4 * BLOCKS.get(w.device.type, 1)))
        parts = [vector.split(size) for vector in (w, g, *vectors)]
        torch._fused_adam_(*parts, [], [_infinity(w.device)] * len(parts[0]), lr=coefficients[0], **settings)
        return
    moved = compute(optimizer.move, w, g, *vectors, *coefficients)
    new_w, *new_vectors = moved if isinstance(moved, tuple) else (moved,)
    stacked = torch.stack(new_vectors) if new_vectors else vectors  # a copy, as some may be others of the old ones
    w.copy_(new_w)
    vectors.copy_(stacked)


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
