"""What is to be trained, on what, and how: all that an engine needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.catalogue.losses import Heads, Loss
from sknn_scratch.catalogue.optimizers import Optimizer
from sknn_scratch.perceptron import Perceptron

# Rows of a block in which weights or targets are read.
ROWS_AT_ONCE = 2**16
# Rows from which the memory of their numbers counts.
MANY_ROWS = 2**17


def row_type(n_rows: int) -> type:
    """Return the dtype of row numbers: int32 takes half the memory, but NumPy shuffles int64 in 2/3 of the time."""
    return np.int32 if MANY_ROWS < n_rows < 2**31 else np.int64


@dataclass
class Job:
    """A network to be trained, on what, and how."""

    network: Perceptron  # its parameters change
    loss: Loss  # started
    X: Any  # array, CSR matrix or CodedMatrix of shape (n_samples, n_features), of the network's dtype
    y: NDArray  # (n_samples, n_targets), of the network's dtype, or bytes (uint8) that become it as they are read
    sample_weight: NDArray | None = None  # (n_samples,), not negative
    batch_size: int = 200  # rows of a minibatch, at most n_samples
    optimizer: Optimizer | None = None  # started; None where only the gradient is wanted
    # The penalty on weights, not biases: alpha * (l1_ratio * sum(|W|) + (1 - l1_ratio) / 2 * sum(W**2)), divided, like
    # the loss, by the minibatch's size or weight sum.
    alpha: float = 0.0
    l1_ratio: float = 0.0
    max_grad_norm: float | None = None  # to this Euclidean length a longer gradient of a minibatch is shortened
    fit_intercept: bool = True  # otherwise biases stay zero
    dropout: Sequence[float] = ()  # share of the input and of each hidden layer that is dropped, in [0, 1)
    input_noise: float = 0.0  # standard deviation of what is added to the samples
    seed: int = 0  # to 2**63 - 1; dropout and noise follow from it and the number of the step
    device: str = "cpu"  # where PyTorch trains it

    def __post_init__(self) -> None:
        dtype, at = self.network.dtype, 0
        for activation, width in zip(self.network.activations, self.network.layer_units[1:-1], strict=True):
            if not activation.is_ours:
                activation.check_formulas(width, dtype)
        for loss, width, n_targets in self.heads:
            if not (loss.is_ours and loss.link.is_ours):
                y = self.y[: 3 if width == 2 else 2, at : at + n_targets].astype(dtype)  # not as many as columns
                loss.check_formulas(y, np.zeros((len(y), width), dtype))
            at += n_targets

    @property
    def heads(self) -> list[tuple[Loss, int, int]]:
        """The loss, or with several targets that of each, with its numbers of raw outputs and of columns of ``y``."""
        if type(self.loss) is Heads:
            return [(loss, width, width) for loss, width in zip(self.loss.losses, self.loss.widths, strict=True)]
        return [(self.loss, self.network.layer_units[-1], self.y.shape[1])]

    @property
    def is_noisy(self) -> bool:
        """Whether something is dropped or added at random."""
        return any(self.dropout) or self.input_noise > 0

    def count_steps(self, order: NDArray | None) -> int:
        """Return how many minibatches of an epoch count: those with a sample whose weight is not zero."""
        n_rows, batch_size = self.X.shape[0] if order is None else len(order), self.batch_size
        weights = self.sample_weight
        if weights is None:
            return -(-n_rows // batch_size)
        n_steps, at_once = 0, batch_size * max(1, ROWS_AT_ONCE // batch_size)
        for first in range(0, n_rows, at_once):
            rows = slice(first, first + at_once) if order is None else order[first : first + at_once]
            some = weights[rows]
            n_steps += int(np.count_nonzero(np.add.reduceat(some, np.arange(0, len(some), batch_size))))
        return n_steps
