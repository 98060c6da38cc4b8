"""The catalogue's formulas on tensors, and second forms of the few that most networks have.

Those take fewer operations, each of which is a kernel on a GPU, and are tested against the formulas. Components are
looked up by their exact type: a subclass may say something else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.optim.adam import adam

from sknn_scratch.catalogue.activations import Activation, ReLU
from sknn_scratch.catalogue.losses import Heads, LogLoss, Loss
from sknn_scratch.catalogue.optimizers import Adam, AdamW, Optimizer
from sknn_scratch.engines.torch.arrays import TORCH_DTYPES, Space
from sknn_scratch.training.job import Job

__all__ = ["activate", "loss_and_delta", "mover", "multiply_slope", "obstacle"]


def activate(activation: Activation, z: torch.Tensor, space: Space) -> torch.Tensor:
    """Return ``f(z)``."""
    return torch.relu(z) if type(activation) is ReLU else space.compute(activation.value, z).to(z.dtype)


def multiply_slope(
    activation: Activation, delta: torch.Tensor, z: torch.Tensor, a: torch.Tensor, space: Space
) -> torch.Tensor:
    """Return ``delta *= f'(z)``, given ``a = f(z)``."""
    if type(activation) is ReLU:
        return delta.mul_(a > 0)
    if activation.needs_input:
        return delta.mul_(space.compute(activation.derivative, z))
    return delta.mul_(space.compute(activation.derivative_from_output, a))


def loss_and_delta(
    loss: Loss, y: torch.Tensor, z: torch.Tensor, share: Any, space: Space, out: torch.Tensor
) -> torch.Tensor:
    """Return the derivative of the weighted mean loss with respect to the raw output; ``out`` becomes that mean.

    ``share`` is the relative weight of each sample, of shape (n_samples, 1), or a number.
    """
    if type(loss) is Heads:
        means = torch.zeros(len(loss.losses), dtype=out.dtype, device=out.device)
        heads = zip(loss.losses, y.split(loss.widths, 1), z.split(loss.widths, 1), means, strict=True)
        deltas = [loss_and_delta(one, y, z, share, space, mean) for one, y, z, mean in heads]
        torch.sum(means, 0, out=out)
        return torch.cat(deltas, 1)
    if type(loss) is LogLoss and loss.multiclass and not loss.label_smoothing:
        log_p, eps = torch.log_softmax(z, 1), torch.finfo(z.dtype).eps
        losses = (log_p * y).sum(1, keepdim=True).clamp_(math.log(eps), math.log1p(-eps)).neg_()
        delta = log_p.exp_().sub_(y)
    else:
        losses = space.compute(loss.value, y, z).unsqueeze(1)
        delta = space.compute(loss.derivative, y, z).to(z.dtype).broadcast_to(z.shape)
    if isinstance(share, float):
        torch.sum(losses, (0, 1), dtype=out.dtype, out=out)
        out.mul_(share)
    else:
        torch.sum(losses * share, (0, 1), dtype=out.dtype, out=out)
    return delta * share


def mover(
    optimizer: Optimizer, w: torch.Tensor, g: torch.Tensor, vectors: torch.Tensor, space: Space
) -> Callable[[torch.Tensor], None]:
    """Return a function that makes a step, given its coefficients and then the factor by which the weights shrink."""
    n_weights, decays = optimizer.n_weights, bool(optimizer.decay_rate)
    step = _formula(optimizer, w, g, vectors, space)
    # The kernel of PyTorch reads the rate as float32.
    if type(optimizer) in (Adam, AdamW) and w.dtype == torch.float32 and w.device.type != "mps":
        step = _fused_adam(optimizer, w, g, vectors)

    def move(numbers: torch.Tensor) -> None:
        if decays:
            w[:n_weights].mul_(numbers[-1])
        step(numbers[:-1])

    return move


def _formula(
    optimizer: Optimizer, w: torch.Tensor, g: torch.Tensor, vectors: torch.Tensor, space: Space
) -> Callable[[torch.Tensor], None]:
    def step(coefficients: torch.Tensor) -> None:
        moved = space.compute(optimizer.move, w, g, *vectors, *coefficients)
        new_w, *new_vectors = moved if isinstance(moved, tuple) else (moved,)
        for old, new in zip(vectors, new_vectors, strict=True):
            old.copy_(new)
        w.copy_(new_w)

    return step


def _fused_adam(
    optimizer: Any, w: torch.Tensor, g: torch.Tensor, vectors: torch.Tensor
) -> Callable[[torch.Tensor], None]:
    # PyTorch corrects the moments by the number of the step, and adds epsilon after that. Our coefficient has the
    # correction, and so the step is told to be one so late that there is none.
    late = torch.full((), 1e9, device=w.device)

    def step(coefficients: torch.Tensor) -> None:
        adam(
            *([w], [g], [vectors[0]], [vectors[1]], [], [late]),
            fused=True,
            amsgrad=False,
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            lr=coefficients[0],
            weight_decay=0.0,
            eps=optimizer.epsilon,
            maximize=False,
        )

    return step


def _pass_both_ways(activation: Activation, z: torch.Tensor, space: Space) -> torch.Tensor:
    return multiply_slope(activation, z.clone(), z, activate(activation, z, space), space)


def obstacle(job: Job) -> str | None:
    """Return which formula of a job cannot be computed with tensors, and why, or None."""
    network, space = job.network, Space(TORCH_DTYPES[job.network.dtype], torch.device("cpu"))
    z = torch.zeros((len(job.y[:2]), network.layer_units[-1]), dtype=space.dtype)
    y, out = torch.tensor(job.y[:2].tolist(), dtype=space.dtype), torch.zeros((), dtype=torch.float64)
    attempts: list[tuple[Any, Callable[[], Any]]] = [
        (f, partial(_pass_both_ways, f, z, space)) for f in network.activations
    ]
    attempts.append((job.loss, lambda: loss_and_delta(job.loss, y, z, 0.5, space, out)))
    if (rule := job.optimizer) is not None:
        if type(rule).update is not Optimizer.update or type(rule).apply is not Optimizer.apply:
            return f"{type(rule).__name__} writes into arrays of NumPy"
        w, vectors = torch.zeros((2, 2), dtype=space.dtype), torch.zeros((len(rule.state), 2), dtype=space.dtype)
        step = _formula(rule, w[0], w[1], vectors, space)
        attempts.append((rule, lambda: step(torch.ones(rule.n_coefficients, dtype=space.dtype))))
    with torch.no_grad():
        for component, attempt in attempts:
            try:
                attempt()
            except Exception as error:  # whatever a formula does with what is no array
                return f"{type(component).__name__} cannot be computed with tensors ({error})"
    return None
