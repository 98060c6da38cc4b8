"""The two trainers: minibatch gradient descent, and L-BFGS on all samples at once."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.optimize import minimize
from scipy.sparse import issparse

from sknn_scratch.blas import row_major
from sknn_scratch.digests import digest_of_rows
from sknn_scratch.engines import start
from sknn_scratch.job import Job, row_type
from sknn_scratch.optimizers import Optimizer
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.schedules import Schedule

__all__ = [
    "Listener",
    "MinibatchSettings",
    "MinibatchTraining",
    "Progress",
    "TrainingData",
    "TrainingDivergedError",
    "TrainingState",
    "train_lbfgs",
    "what_to_try",
]

# How a training run can end.
CONVERGED, MAX_ITER_REACHED, STOPPED, INTERRUPTED = "converged", "max_iter", "stopped", "interrupted"
DIVERGED = "diverged"


class TrainingDivergedError(ValueError):
    """Training ended in numbers that are not finite, and there is no earlier epoch to go back to."""


class Listener(Protocol):
    """Somebody who wants to know how training goes; ``progress`` and the network show what has been reached."""

    def epoch_begins(self) -> None:
        """Take note that an epoch, or an iteration of L-BFGS, begins."""

    def epoch_ended(self) -> bool:
        """Take note that it has ended; return whether training should stop here."""


@dataclass
class Progress:
    """What a training run has reached; a later run can carry on from it.

    Attributes
    ----------
    n_iter : int
        Epochs (L-BFGS: iterations) of the current run.
    t : int
        Training rows seen in all runs.
    loss : float or None
        Mean of the minibatch losses of the last epoch.
    loss_curve : list of float
        ``loss`` of every epoch.
    best_loss : float or None
        Smallest ``loss``; None with early stopping.
    validation_scores, validation_loss_curve : list of float or None
        Score and loss of every epoch on the validation set; None without one.
    best_validation_score : float or None
        Largest validation score.
    no_improvement_count : int
        Epochs in a row without an improvement of ``tol``.
    """

    n_iter: int = 0
    t: int = 0
    loss: float | None = None
    loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = None
    validation_scores: list[float] | None = None
    validation_loss_curve: list[float] | None = None
    best_validation_score: float | None = None
    no_improvement_count: int = 0

    def next_run(self, early_stopping: bool, validated: bool = False) -> Progress:
        """Return one to carry on with, its fields ready for a run of this kind; early stopping is validated too.

        It shares ``loss_curve``; the validation curves are copies.
        """
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

    def add_iteration(self, loss: float) -> None:
        """Record an iteration of a solver that decides by itself when to stop."""
        self.n_iter += 1
        self.loss = loss
        self.loss_curve.append(loss)
        self.best_loss = loss if self.best_loss is None else min(loss, self.best_loss)
        self.no_improvement_count = 0

    def add_epoch(self, loss: float, validation: tuple[float, float] | None, tol: float) -> bool:
        """Record an epoch and, where there is a validation set, the loss and the score on it.

        Returns whether that score is the best so far.
        """
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


@dataclass(frozen=True)
class TrainingData:
    """Samples to train on.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples, n_outputs)
    sample_weight : ndarray of shape (n_samples,) or None
    rows : ndarray of int or None
        The rows that are trained on, in this order; None for all of them.
    """

    X: Any
    y: Any
    sample_weight: NDArray | None = None
    rows: NDArray | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows that are trained on."""
        return self.X.shape[0] if self.rows is None else len(self.rows)

    def in_fixed_order(self) -> TrainingData:
        """Return the same samples, such that no result depends on the memory order in which they came.

        Targets are in Fortran order and weights contiguous. ``X`` is not copied (unless its numbers are not aligned, as
        BLAS needs them): who computes with its rows gathers them.
        """
        X, weight = self.X, self.sample_weight
        if isinstance(X, np.ndarray) and not X.flags.aligned:
            X = row_major(X)
        if weight is not None:
            weight = row_major(weight)
        return replace(self, X=X, y=np.require(self.y, requirements=["F", "A"]), sample_weight=weight)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the samples, of all rows, are recognised by: numbers, strings and None."""
        weight = self.sample_weight
        return {
            "n_samples": self.X.shape[0],
            "n_features": self.X.shape[1],
            "dtype": str(self.X.dtype),
            "kind": "sparse" if issparse(self.X) else "dense",
            "values of X": digest_of_rows(self.X),
            "values of y": digest_of_rows(self.y),
            "values of sample_weight": None if weight is None else digest_of_rows(weight),
        }

    def astype(self, dtype: DTypeLike) -> TrainingData:
        """Return the same samples in this dtype."""
        X, y, weight = (None if a is None else a.astype(dtype) for a in (self.X, self.y, self.sample_weight))
        return TrainingData(X, y, weight, self.rows)


@dataclass(frozen=True)
class MinibatchSettings:
    """Settings of ``MinibatchTraining``, named as the estimators' parameters are."""

    max_iter: int
    shuffle: bool
    tol: float
    n_iter_no_change: float
    verbose: bool
    average: int = 1


class _Order:
    """The rows in the order of each epoch, which permutes that of the epoch before, as scikit-learn does.

    Attributes
    ----------
    rows : ndarray of int or None
        Changed in place; None for all of them as they come.
    """

    def __init__(self, data: TrainingData, rng: np.random.RandomState | None):
        self._rng, self.rows = rng, data.rows
        if rng is not None:
            kind = row_type(data.X.shape[0])
            self.rows = np.arange(data.n_rows, dtype=kind) if data.rows is None else data.rows.astype(kind)

    def next(self) -> NDArray | None:
        """Shuffle, if rows are to be shuffled, and return the rows of an epoch."""
        if self._rng is not None:
            assert self.rows is not None
            self._rng.shuffle(self.rows)  # draws what permutation() does, and takes no memory
        return self.rows


@dataclass
class TrainingState:
    """All that a run of ``MinibatchTraining`` goes on from, after an epoch.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
    optimizer : Optimizer
    schedule : Schedule
    progress : Progress
    order : ndarray of int or None
        The rows in the order of the last epoch.
    rng_state : dict
        Of the RandomState.
    seed : int
        Of dropout and noise.
    best_parameters : ndarray of shape (n_parameters,) or None
        Those of the epoch with the best validation score, with early stopping.
    recent : list of ndarray
        The parameters of the last epochs, if they are averaged.
    """

    parameters: NDArray
    optimizer: Optimizer
    schedule: Schedule
    progress: Progress
    order: NDArray | None
    rng_state: Any
    seed: int
    best_parameters: NDArray | None
    recent: list[NDArray]


class _RecentMean:
    """The mean of the parameters at the end of each of the last epochs.

    References
    ----------
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
    Optimization 30, 1992. Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging weights leads to wider optima
    and better generalization", UAI 2018, arXiv:1803.05407.
    """

    def __init__(self, network: Perceptron, n_epochs: int):
        self._network, self._recent = network, deque[NDArray](maxlen=min(n_epochs, sys.maxsize))

    def epoch_ended(self) -> None:
        self._recent.append(self._network.parameters.copy())

    @property
    def parameters(self) -> list[NDArray]:
        """Those of each epoch."""
        return list(self._recent)

    @parameters.setter
    def parameters(self, of_epochs: list[NDArray]) -> None:
        self._recent.clear()
        self._recent.extend(of_epochs)

    def install(self) -> None:
        """Give the network the mean."""
        if self._recent:
            np.divide(sum(self._recent), len(self._recent), out=self._network.parameters)

    def remove(self) -> None:
        """Give the network its own parameters back, those of the last epoch."""
        self._network.parameters[...] = self._recent[-1]


class MinibatchTraining:
    """A run of minibatch gradient descent.

    Parameters
    ----------
    job : Job
        Its network's parameters are changed in place. They end as those of the last epoch (the mean of the last epochs
        if ``settings.average`` is more than 1) or, with early stopping, as those with the best validation score.
    data : TrainingData
        The samples of the job, and which of them are trained on.
    engine : str
        Does the job.
    schedule : Schedule
        Started.
    progress : Progress
        From ``Progress.next_run``, which is told whether there is early stopping; changed in place.
    settings : MinibatchSettings
    rng : RandomState
        Shuffles the rows, once per epoch.
    """

    def __init__(
        self,
        job: Job,
        data: TrainingData,
        engine: str,
        schedule: Schedule,
        progress: Progress,
        settings: MinibatchSettings,
        rng: np.random.RandomState,
    ):
        assert job.optimizer is not None
        self._job, self._network, self._optimizer, self._engine = job, job.network, job.optimizer, engine
        self._data, self._settings, self._rng = data, settings, rng
        self._schedule, self.progress = schedule, progress
        self._order = _Order(data, rng if settings.shuffle else None)
        self._early_stopping = progress.best_loss is None
        self._best_parameters = job.network.parameters.copy() if self._early_stopping else None
        self._recent_mean = _RecentMean(job.network, settings.average) if settings.average > 1 else None
        self._outcome = MAX_ITER_REACHED
        self.divergence = ""
        self.passed_plateau = False

    @property
    def data(self) -> TrainingData:
        """The samples, those included that are held out."""
        return self._data

    @property
    def has_planned_end(self) -> bool:
        """Whether ``settings.max_iter`` epochs are the plan, not a limit: so says the schedule."""
        return self._schedule.has_planned_end

    def run(self, validate: Callable[[], tuple[float, float]] | None = None, listener: Listener | None = None) -> str:
        """Train until the schedule, the listener or ``settings.max_iter`` ends it.

        Parameters
        ----------
        validate : callable, default=None
            Returns loss and score of the network's parameters on a validation set; the larger the score the better.
            Called after each epoch.
        listener : Listener, default=None
            Is told of each epoch, and can stop training.

        Returns
        -------
        outcome : str
            CONVERGED, MAX_ITER_REACHED, STOPPED (by the listener), INTERRUPTED (by KeyboardInterrupt), or DIVERGED in
            an epoch after the one to whose parameters early stopping goes back: when and how is in ``divergence``, and
            the optimiser is of no further use.

        Raises
        ------
        ValueError
            At the end of the epoch in which the loss or a parameter becomes infinite or NaN, if there is no epoch to go
            back to.
        """
        outcome = self._outcome
        settings = self._settings
        with start(self._engine, self._job) as run:
            try:
                while outcome == MAX_ITER_REACHED and self.progress.n_iter < settings.max_iter:
                    if listener is not None:
                        listener.epoch_begins()
                    if not self._train_epoch(run, validate):
                        outcome = DIVERGED
                        break
                    converged = self._has_converged()
                    if listener is not None and listener.epoch_ended():
                        outcome = STOPPED
                    elif converged:
                        outcome = CONVERGED
            except KeyboardInterrupt:
                outcome = INTERRUPTED
        if self._best_parameters is not None and not self.no_score_counted:
            self._network.parameters[...] = self._best_parameters
        elif self._recent_mean is not None:
            self._recent_mean.install()
        return outcome

    @property
    def no_score_counted(self) -> bool:
        """Whether there were validation scores, and all were NaN, so that no epoch was the best."""
        return bool(self.progress.validation_scores) and self.progress.best_validation_score == -np.inf

    def _train_epoch(self, run: Any, validate: Callable[[], tuple[float, float]] | None) -> bool:
        """Train for an epoch and record what it reached; return False if it diverged, but an earlier one is kept."""
        network, progress, schedule, settings = self._network, self.progress, self._schedule, self._settings
        order = self._order.next()
        loss = run.epoch(order, schedule.step_rates(self._job.count_steps(order)))
        not_finite = _what_is_not_finite(loss, [network.parameters, *self._optimizer.vectors])
        if not_finite:
            self.divergence = f"epoch {progress.n_iter + 1}: {not_finite}"
            if self._best_parameters is None or progress.n_iter == 0 or self.no_score_counted:
                raise TrainingDivergedError(
                    f"Training diverged in {self.divergence}. {what_to_try(schedule.learning_rate_init)}."
                )
            return False
        if self._recent_mean is not None:
            self._recent_mean.epoch_ended()
            self._recent_mean.install()
        validation = None if validate is None else validate()
        is_best = progress.add_epoch(loss, validation, settings.tol)
        if is_best and self._best_parameters is not None:
            self._best_parameters[...] = network.parameters
        if self._recent_mean is not None:
            self._recent_mean.remove()
        progress.t += self._data.n_rows
        schedule.epoch_ended(progress.t)
        if settings.verbose:
            print(f"Iteration {progress.n_iter}, loss = {loss:.8f}")
            if validation is not None:
                print(f"Validation score: {validation[1]:f}")
        return True

    def _has_converged(self) -> bool:
        """Return whether the schedule ends training at a plateau."""
        if self.progress.no_improvement_count <= self._settings.n_iter_no_change:
            return False
        stop, action = self._schedule.plateau_reached()
        if self.has_planned_end and not self._early_stopping:
            stop, action = False, "Going on to the planned end."
            self.passed_plateau = True
        if self._settings.verbose:
            print(_plateau_message(self._early_stopping, self._settings), action)
        if not stop:
            self.progress.no_improvement_count = 0
        return stop

    def state(self) -> TrainingState:
        """Return all that training goes on from, as it is after an epoch; what is in it will be changed by the next."""
        return TrainingState(
            parameters=self._network.parameters,
            optimizer=self._optimizer,
            schedule=self._schedule,
            progress=self.progress,
            order=self._order.rows,
            rng_state=self._rng.get_state(legacy=False),
            seed=self._job.seed,
            best_parameters=self._best_parameters,
            recent=[] if self._recent_mean is None else self._recent_mean.parameters,
        )

    def restore(self, state: TrainingState) -> None:
        """Go on from a state, of which a part may become this training's own, instead of from the start."""
        self._network.parameters[...] = state.parameters
        self._optimizer.resume(state.optimizer)
        self._schedule.resume(state.schedule)
        vars(self.progress).update(vars(state.progress))
        self._order.rows = state.order
        self._rng.set_state(state.rng_state)
        # A plateau that does not end training sets the count to 0.
        if state.progress.no_improvement_count > self._settings.n_iter_no_change:
            self._outcome = CONVERGED
        self._job.seed = state.seed
        if self._best_parameters is not None:
            self._best_parameters[...] = state.best_parameters
        if self._recent_mean is not None:
            self._recent_mean.parameters = state.recent

    def stop(self) -> None:
        """Let there be no further epoch, as a callback had ended the training that is gone on with."""
        self._outcome = STOPPED


def _plateau_message(early_stopping: bool, settings: MinibatchSettings) -> str:
    what = "Validation score" if early_stopping else "Training loss"
    return f"{what} did not improve more than tol={settings.tol:f} for {settings.n_iter_no_change} consecutive epochs."


def _is_finite(vector: NDArray) -> bool:
    """Return whether all numbers are finite: certainly so if the sum of their squares is, which is quicker to tell."""
    return math.isfinite(vector.dot(vector)) or bool(np.isfinite(vector).all())


def _what_is_not_finite(loss: float, vectors: list[NDArray]) -> str:
    """Say what is infinite or NaN, the loss or a number in one of the vectors; nothing if all are finite."""
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    return "" if all(map(_is_finite, vectors)) else "the parameters or moments are infinite or NaN"


def what_to_try(learning_rate_init: float | None = None) -> str:
    """Return advice for training that diverges, with a solver that has a learning rate or one that has none."""
    advice = "Scale the features of X (and y, if it is numbers), for example with StandardScaler"
    if learning_rate_init is not None:
        advice += f", lower learning_rate_init (now {learning_rate_init:g}) or set max_grad_norm"
    return advice


def train_lbfgs(
    job: Job,
    engine: str,
    progress: Progress,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    verbose: bool,
    listener: Listener | None = None,
) -> tuple[str, str]:
    """Train with scipy's L-BFGS on the objective over all samples.

    Parameters
    ----------
    job : Job
        Its network's parameters are changed in place.
    engine : str
        Does the job.
    progress : Progress
        From ``Progress.next_run(False)``; changed in place.
    max_iter, max_fun : int
        Limits of iterations and of evaluations of the objective.
    tol : float
        The largest component of the gradient at which the solver stops.
    verbose : bool
        Whether to print the loss of each iteration.
    listener : Listener, default=None
        Is told of each iteration, and can stop training.

    Returns
    -------
    outcome : str
        CONVERGED, MAX_ITER_REACHED (any limit), STOPPED (by the listener) or INTERRUPTED (by KeyboardInterrupt).
    message : str
        scipy's own words on why it stopped.

    Raises
    ------
    ValueError
        If the loss or a parameter ends infinite or NaN.

    References
    ----------
    Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical Programming 45,
    1989.
    """
    network, latest_loss, stopped = job.network, np.inf, False
    reached = network.parameters.astype(np.float64)

    def iteration_ended(parameters: NDArray) -> None:
        nonlocal stopped
        # The last evaluation of a line search is the one at the point that it accepts.
        progress.add_iteration(latest_loss)
        reached[...] = parameters
        if verbose:
            print(f"Iteration {progress.n_iter}, loss = {latest_loss:.8f}")
        if listener is not None:
            listener.epoch_begins()
            if listener.epoch_ended():
                stopped = True
                raise StopIteration

    with start(engine, job) as run:

        def objective(parameters: NDArray) -> tuple[float, NDArray]:
            nonlocal latest_loss
            network.parameters[...] = parameters
            latest_loss = run.loss_and_gradient()
            return latest_loss, run.gradient.astype(np.float64)

        try:
            result = minimize(
                objective,
                reached.copy(),
                method="L-BFGS-B",
                jac=True,
                callback=iteration_ended,
                options={"maxiter": max_iter, "maxfun": max_fun, "gtol": tol},
            )
        except KeyboardInterrupt:
            network.parameters[...] = reached
            return INTERRUPTED, "interrupted"
    network.parameters[...] = result.x
    progress.loss = float(result.fun)
    if progress.loss_curve:
        # A line search that fails ends at its best point, of which the callback is not told.
        progress.loss_curve[-1] = progress.loss
        progress.best_loss = min(progress.loss_curve)
    progress.n_iter = result.nit
    not_finite = _what_is_not_finite(progress.loss, [network.parameters])
    if not_finite:
        raise TrainingDivergedError(
            f"Training diverged in iteration {progress.n_iter} of lbfgs: {not_finite}. {what_to_try()}."
        )
    if stopped:
        return STOPPED, "stopped by a callback"
    return CONVERGED if result.status == 0 else MAX_ITER_REACHED, str(result.message)
