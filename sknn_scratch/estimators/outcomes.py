"""How training ended, and what there is to say about it.

A network is judged by its mean loss on the training data, without the penalty, with nothing dropped and no noise added.
It is compared with two marks: its own loss before training, and the loss of the best constant prediction. A network
above both has diverged. One that is above the second only may just have been trained for a short time, of which
scikit-learn's warning tells; but if training ended by itself, the model is of no use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.estimators.fit_kind import FitKind
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.data import TrainingData
from sknn_scratch.training.progress import Outcome, Progress, what_to_try
from sknn_scratch.training.run import MinibatchTraining

# What there is to say: a message and its category.
Advice = tuple[str, type[Warning]]

# Rows for which the loss is computed before training (in every fit, so few) and after it, where NUMBERS_AFTER limits
# rows times outputs, for memory.
ROWS_BEFORE, ROWS_AFTER, NUMBERS_AFTER = 100, 10_000, 200_000
# Relative growth of the loss, over that before training, up to which training has not diverged.
UNSTEADY = 0.01
# Relative difference between two losses up to which they count as equal.
ROUNDING = 1e-6
# For partial_fit: loss of a chunk, divided by that of the first, from which training counts as diverged; and rows from
# which a chunk's best constant is a fair comparison.
GROWTH_IN_STREAM, ROWS_IN_STREAM = 10, 20


class Judge:
    """Tells whether training has made a network better than it was, and better than a constant.

    It is given the network before training, and judges it afterwards; ``progress`` is that of its training in all
    calls. From the second chunk of ``partial_fit`` on, only if the loss of the chunks has grown many times over is the
    network compared with a constant, to save time.
    """

    def __init__(
        self, network: Perceptron, loss: Loss, data: TrainingData, progress: Progress, kind: FitKind = FitKind.FRESH
    ):
        self._network, self._loss, self._data, self._progress = network, loss, data, progress
        self._loss_at_first = progress.loss_curve[0] if progress.loss_curve else -np.inf
        self._in_stream = kind.is_incremental and bool(progress.loss_curve)
        if not self._in_stream:
            self._few, self._many = self._some_rows(ROWS_BEFORE), self._rows_after()
            self._before = self._mean_loss(self._few)

    def advice(self, ended_by_itself: bool, learning_rate_init: float | None = None) -> list[Advice]:
        """Return what there is to say about the trained network.

        ``ended_by_itself``: nothing improved any more, or the end was planned, so that no other warning tells. Ctrl-C
        ends the look at the network, which is kept.
        """
        try:
            return self._find(ended_by_itself, learning_rate_init)
        except KeyboardInterrupt:
            return [INTERRUPTED]

    def _find(self, ended_by_itself: bool, learning_rate_init: float | None) -> list[Advice]:
        diverged = self._diverged()
        if not (diverged or ended_by_itself):
            return []
        data, rows = self._data, self._rows_after() if self._in_stream else self._many
        loss, of_constant = self._mean_loss(rows), self._loss_of_best_constant(rows)
        if np.isnan(of_constant) or loss < of_constant * (1 - math.copysign(ROUNDING, of_constant)):
            return []
        # Then no network is better than a constant, and a good one may waver.
        constant_is_all = (data.y[rows] == data.y[rows[0]]).all()
        if diverged and not (constant_is_all and loss <= self._loss_at_first):
            return [(self._of_divergence(loss, of_constant, learning_rate_init), ConvergenceWarning)]
        if constant_is_all:
            return []
        rate = "" if learning_rate_init is None else f" try another learning_rate_init (now {learning_rate_init:g}),"
        message = (
            f"The model is no better than a constant: its loss on the training data, without the penalty, is "
            f"{loss:.3g}, that of the best constant prediction {of_constant:.3g}. Scale the features of X (and y, if "
            f"it is numbers), for example with StandardScaler,{rate} or let training go on for longer, with a smaller "
            "tol or a larger max_iter."
        )
        return [(message, ConvergenceWarning)]

    def _rows_after(self) -> NDArray:
        """Return those that the trained network is looked at with; chosen before they are shuffled."""
        n_outputs = self._network.layer_units[-1]
        return self._some_rows(max(ROWS_BEFORE, min(ROWS_AFTER, NUMBERS_AFTER // n_outputs)))

    def _some_rows(self, n_rows: int) -> NDArray:
        """Return at most so many of the rows with a positive weight, at even distances."""
        data = self._data
        rows = np.arange(data.n_rows) if data.rows is None else data.rows
        if data.sample_weight is not None and not data.sample_weight.all():
            rows = rows[(data.sample_weight > 0)[rows]]
        return rows[:: -(-len(rows) // n_rows)].copy()

    def _mean_loss(self, rows: NDArray, raw_output: NDArray | None = None) -> float:
        """Return the mean loss of the network, or of another raw output, for these rows; NaN if there is none."""
        data = self._data
        z = self._network.raw_output(data.X, rows) if raw_output is None else raw_output
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            losses = self._loss.value(data.targets(rows), z).astype(np.float64)
            return float(np.average(losses, weights=self._weights(rows)))

    def _loss_of_best_constant(self, rows: NDArray) -> float:
        """Return the mean loss for these rows if the same is predicted for each of them, the best that there is."""
        y = self._data.targets(rows)
        constant = self._loss.best_constant(y, self._weights(rows)).astype(y.dtype)
        return self._mean_loss(rows, np.tile(constant, (len(rows), 1)))

    def _weights(self, rows: NDArray) -> NDArray | None:
        return None if self._data.sample_weight is None else self._data.sample_weight[rows]

    def _diverged(self) -> bool:
        if self._in_stream:
            first, loss = self._progress.loss_curve[0], self._progress.loss_curve[-1]
            return loss - first > (GROWTH_IN_STREAM - 1) * abs(first) and self._data.n_rows >= ROWS_IN_STREAM
        # NaN, too, is a loss that has grown.
        return not self._mean_loss(self._few) <= self._before + UNSTEADY * abs(self._before)

    def _of_divergence(self, loss: float, of_constant: float, learning_rate_init: float | None) -> str:
        if self._in_stream:
            # Without numbers, so that Python shows it for one call only.
            what = "the loss has grown many times over, and a constant prediction would be better for this chunk"
        else:
            what = (
                f"the loss on the training data, without the penalty, is {loss:.3g} and was {self._before:.3g} before "
                f"training; that of the best constant prediction is {of_constant:.3g}"
            )
        return f"Training diverged: {what}. {what_to_try(learning_rate_init)}."


# What can be said, once training has ended ---------------------------------------------------------------------------


INTERRUPTED: Advice = ("Training interrupted by user.", UserWarning)


def after_minibatches(
    estimator: Any, training: MinibatchTraining, outcome: Outcome, judge: Judge, kind: FitKind
) -> list[Advice]:
    """Return what there is to say after ``fit`` or ``partial_fit`` with minibatches."""
    rate = estimator.learning_rate_init
    if outcome is Outcome.INTERRUPTED:
        return [INTERRUPTED]
    if kind.is_incremental:  # one epoch, which neither converges nor fails to
        return judge.advice(False, rate)
    if outcome is Outcome.DIVERGED:
        message = (
            f"Training diverged in {training.divergence}. The parameters are those of the epoch with the best "
            f"validation score, {training.progress.best_validation_score:.3g}. {what_to_try(rate)}."
        )
        return [(message, ConvergenceWarning)]
    ran_to_its_end = outcome is Outcome.MAX_ITER_REACHED and training.has_planned_end
    advice = judge.advice(outcome is Outcome.CONVERGED or ran_to_its_end, rate)
    if estimator.early_stopping and training.no_score_counted:
        message = (
            f"early_stopping had nothing to go by: every validation score was NaN (scoring={estimator.scoring!r}). The "
            "parameters are those of the last epoch."
        )
        advice.append((message, UserWarning))
    if outcome is Outcome.MAX_ITER_REACHED and not ran_to_its_end:
        message = (  # scikit-learn's words
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
            "converged yet."
        )
        advice.append((message, ConvergenceWarning))
    return advice


def after_lbfgs(estimator: Any, outcome: Outcome, reason: str, progress: Progress, judge: Judge) -> list[Advice]:
    """Return what there is to say after ``fit`` with L-BFGS, which ended for this ``reason``, in scipy's words."""
    if outcome is Outcome.INTERRUPTED:
        return [INTERRUPTED]
    advice = judge.advice(outcome is Outcome.CONVERGED)
    if outcome is Outcome.MAX_ITER_REACHED:
        message = (
            f"lbfgs failed to converge after {progress.n_iter} iterations: {reason}. Scale the data, or increase "
            f"max_iter (now {estimator.max_iter}) or max_fun (now {estimator.max_fun})."
        )
        advice.append((message, ConvergenceWarning))
    return advice


def with_scale(advice: list[Advice], describe_scale: Callable[[], str]) -> list[Advice]:
    """Return the same advice; its first ConvergenceWarning describes the scale of the data where that is far off."""
    for i, (message, category) in enumerate(advice):
        if issubclass(category, ConvergenceWarning):
            described = f"{message} {describe_scale()}".rstrip()
            return [*advice[:i], (described, category), *advice[i + 1 :]]
    return advice
