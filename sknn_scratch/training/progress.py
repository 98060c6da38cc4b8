"""The progress of a training run, its possible outcomes, and who is told of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Outcome(Enum):
    """How a training run ended."""

    CONVERGED = "converged"
    MAX_ITER_REACHED = "max_iter"
    STOPPED = "stopped by a callback"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"


class TrainingDivergedError(ValueError):
    """Training ended in numbers that are not finite, and there is no earlier epoch to go back to."""


class Listener(Protocol):
    """Is told of each epoch of a run, whose state is in its ``Progress`` and its network."""

    def epoch_begins(self) -> None:
        """Take note that an epoch begins; of L-BFGS, that an iteration is about to be reported."""

    def epoch_ended(self) -> bool:
        """Take note that it has ended; return whether training should stop."""


@dataclass
class Progress:
    """What a training run has reached; a later run can carry on from it."""

    n_iter: int = 0  # epochs (L-BFGS: iterations) of the current run
    t: int = 0  # training rows seen in all runs
    loss: float | None = None  # mean of the minibatch losses of the last epoch
    loss_curve: list[float] = field(default_factory=list)  # that of every epoch
    best_loss: float | None = None  # the smallest; None with early stopping
    validation_scores: list[float] | None = None  # of every epoch; None without a validation set
    validation_loss_curve: list[float] | None = None
    best_validation_score: float | None = None  # the largest
    no_improvement_count: int = 0  # epochs in a row without an improvement of tol

    def next_run(self, early_stopping: bool, validated: bool = False) -> Progress:
        """Return one for a run of this kind; it shares ``loss_curve``, and the validation curves are copies."""
        run = replace(self, n_iter=0)
        if early_stopping:
            run.best_loss = None
        elif run.best_loss is None:
            run.best_loss = np.inf
        if early_stopping or validated:
            run.validation_scores = list(self.validation_scores or [])
            run.validation_loss_curve = list(self.validation_loss_curve or [])
            if run.best_validation_score is None:
                run.best_validation_score = -np.inf
        else:
            run.validation_scores = run.validation_loss_curve = run.best_validation_score = None
        return run

    def add_epoch(self, loss: float, validation: tuple[float, float] | None, tol: float) -> bool:
        """Record an epoch, and loss and score on a validation set if any; return whether that score is the best."""
        self.n_iter += 1
        self.loss = loss
        self.loss_curve.append(loss)
        is_best = stalled = False
        if validation is not None:
            assert self.validation_scores is not None
            assert self.validation_loss_curve is not None
            assert self.best_validation_score is not None
            validation_loss, score = validation
            self.validation_loss_curve.append(validation_loss)
            self.validation_scores.append(score)
            # A score can be NaN, which compares as neither better nor worse.
            stalled = score < self.best_validation_score + tol
            is_best = score > self.best_validation_score
            if is_best:
                self.best_validation_score = score
        if self.best_loss is not None:
            stalled = loss > self.best_loss - tol
            self.best_loss = min(loss, self.best_loss)
        self.no_improvement_count = self.no_improvement_count + 1 if stalled else 0
        return is_best


# The fitted attribute, also of scikit-learn's estimators, that shows each field.
ATTRIBUTES = {field.name: f"{field.name}_" for field in fields(Progress)}
ATTRIBUTES["no_improvement_count"] = "_no_improvement_count"


def progress_of(estimator: Any) -> Progress:
    """Return what the attributes of a fitted estimator, or of one of scikit-learn's, show; its lists are shared."""
    shown = {name: attribute for name, attribute in ATTRIBUTES.items() if hasattr(estimator, attribute)}
    return Progress(**{name: getattr(estimator, attribute) for name, attribute in shown.items()})


def what_is_not_finite(loss: float, vectors: list[NDArray]) -> str:
    """Say what is infinite or NaN, the loss or a number in one of the vectors; nothing if all are finite."""
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    # The sum of their squares is quicker to tell; it is finite only if all are.
    finite = all(math.isfinite(vector.dot(vector)) or np.isfinite(vector).all() for vector in vectors)
    return "" if finite else "the parameters or moments are infinite or NaN"


def what_to_try(learning_rate_init: float | None = None) -> str:
    """Return advice for training that diverges, with a solver that has a learning rate or one that has none."""
    advice = "Scale the features of X (and y, if it is numbers), for example with StandardScaler"
    if learning_rate_init is not None:
        advice += f", lower learning_rate_init (now {learning_rate_init:g}) or set max_grad_norm"
    return advice
