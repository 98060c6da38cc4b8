"""Minibatch gradient descent: epochs, early stopping, and the state from which it goes on."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.catalogue.optimizers import Optimizer
from sknn_scratch.catalogue.schedules import Schedule
from sknn_scratch.engines import start
from sknn_scratch.training.data import TrainingData
from sknn_scratch.training.job import Job, row_type
from sknn_scratch.training.progress import (
    Listener,
    Outcome,
    Progress,
    TrainingDivergedError,
    what_is_not_finite,
    what_to_try,
)


@dataclass
class TrainingState:
    """All that a run of ``MinibatchTraining`` goes on from, after an epoch."""

    parameters: NDArray
    optimizer: Optimizer
    schedule: Schedule
    progress: Progress
    order: NDArray | None  # the rows in the order of the last epoch; None for all as they come
    rng_state: Any  # of the RandomState
    seed: int  # of dropout and noise
    best_parameters: NDArray | None  # those of the epoch with the best validation score, with early stopping
    recent: list[NDArray]  # the parameters at the end of each of the last epochs, if they are averaged


class MinibatchTraining:
    """A run of minibatch gradient descent.

    The job's network is changed in place. Its parameters end as those of the last epoch (the mean of the last epochs if
    ``settings.average`` is more than 1) or, with early stopping, as those with the best validation score. ``settings``
    has ``max_iter``, ``shuffle``, ``tol``, ``n_iter_no_change``, ``verbose`` and ``average``, as the estimators'
    parameters; ``schedule`` is started, ``progress`` comes from ``Progress.next_run``, and ``rng`` shuffles the rows of
    ``data``.

    Attributes
    ----------
    divergence : str
        When and how training has diverged, if it has.
    """

    def __init__(
        self,
        job: Job,
        data: TrainingData,
        engine: str,
        schedule: Schedule,
        progress: Progress,
        settings: Any,
        rng: np.random.RandomState,
    ):
        assert job.optimizer is not None
        self._job, self._network, self._optimizer, self._engine = job, job.network, job.optimizer, engine
        self.data, self._settings, self._rng = data, settings, rng
        self._schedule, self.progress = schedule, progress
        # Each order permutes the one before, as in scikit-learn: in place, and with it ``data.rows``.
        self._order = rows = data.rows
        if settings.shuffle:
            kind = row_type(data.X.shape[0])
            self._order = np.arange(data.n_rows, dtype=kind) if rows is None else rows.astype(kind, copy=False)
        self._early_stopping = progress.best_loss is None
        self._best_parameters = job.network.parameters.copy() if self._early_stopping else None
        self._recent = deque[NDArray](maxlen=min(settings.average, sys.maxsize))
        self._outcome = Outcome.MAX_ITER_REACHED
        self.divergence = ""

    @property
    def has_planned_end(self) -> bool:
        """Whether the schedule is laid out over ``settings.max_iter`` epochs, which then are a plan and not a limit."""
        return self._schedule.has_planned_end

    @property
    def no_score_counted(self) -> bool:
        """Whether there were validation scores, and all were NaN, so that no epoch was the best."""
        return bool(self.progress.validation_scores) and self.progress.best_validation_score == -np.inf

    def run(
        self, validate: Callable[[], tuple[float, float]] | None = None, listener: Listener | None = None
    ) -> Outcome:
        """Train until the schedule, the listener or ``settings.max_iter`` ends it; return how it ended.

        ``validate`` is called after each epoch, and returns loss and score (the larger the better) of the network on a
        validation set. DIVERGED is returned only with early stopping: the parameters are those of the best epoch, and
        the optimiser's state is useless. Otherwise TrainingDivergedError is raised at the end of the epoch in which the
        loss or a parameter becomes infinite or NaN.
        """
        outcome, has_begun = self._outcome, False
        try:
            with start(self._engine, self._job) as run:
                has_begun = True
                while outcome is Outcome.MAX_ITER_REACHED and self.progress.n_iter < self._settings.max_iter:
                    if listener is not None:
                        listener.epoch_begins()
                    if not self._train_epoch(run, validate):
                        outcome = Outcome.DIVERGED
                        break
                    converged = self._has_converged()
                    if listener is not None and listener.epoch_ended():
                        outcome = Outcome.STOPPED
                    elif converged:
                        outcome = Outcome.CONVERGED
        except KeyboardInterrupt:
            if not has_begun:
                raise
            outcome = Outcome.INTERRUPTED
        if self._best_parameters is not None and not self.no_score_counted:
            self._network.parameters[...] = self._best_parameters
        elif self._recent:
            self._install_mean()
        return outcome

    def _install_mean(self) -> None:
        """Give the network the mean of the recent parameters."""
        np.divide(sum(self._recent), len(self._recent), out=self._network.parameters)

    def _train_epoch(self, run: Any, validate: Callable[[], tuple[float, float]] | None) -> bool:
        """Train for an epoch and record what it reached; return False if it diverged, but an earlier one is kept."""
        network, progress, schedule, settings = self._network, self.progress, self._schedule, self._settings
        order = self._order
        if settings.shuffle:
            assert order is not None
            self._rng.shuffle(order)  # draws what permutation() does, and takes no memory
        if self._recent:  # whose mean the network had since the last epoch
            network.parameters[...] = self._recent[-1]
        loss = run.epoch(order, schedule.step_rates(self._job.count_steps(order)))
        not_finite = what_is_not_finite(loss, [network.parameters, *self._optimizer.state])
        if not_finite:
            self.divergence = f"epoch {progress.n_iter + 1}: {not_finite}"
            if self._best_parameters is None or progress.n_iter == 0 or self.no_score_counted:
                raise TrainingDivergedError(
                    f"Training diverged in {self.divergence}. {what_to_try(schedule.learning_rate_init)}."
                )
            return False
        if settings.average > 1:
            self._recent.append(network.parameters.copy())
            self._install_mean()
        validation = None if validate is None else validate()
        is_best = progress.add_epoch(loss, validation, settings.tol)
        if is_best and self._best_parameters is not None:
            self._best_parameters[...] = network.parameters
        progress.t += self.data.n_rows
        schedule.epoch_ended(progress.t)
        if settings.verbose:
            print(f"Iteration {progress.n_iter}, loss = {loss:.8f}")
            if validation is not None:
                print(f"Validation score: {validation[1]:f}")
        return True

    def _has_converged(self) -> bool:
        """Return whether the schedule ends training at a plateau."""
        settings = self._settings
        if self.progress.no_improvement_count <= settings.n_iter_no_change:
            return False
        stop, action = self._schedule.plateau_reached()
        if self.has_planned_end and not self._early_stopping:
            stop, action = False, "Going on to the planned end."
        if settings.verbose:
            what = "Validation score" if self._early_stopping else "Training loss"
            epochs = f"{settings.n_iter_no_change} consecutive epochs"
            print(f"{what} did not improve more than tol={settings.tol:f} for {epochs}. {action}")
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
            order=self._order,
            rng_state=self._rng.get_state(legacy=False),
            seed=self._job.seed,
            best_parameters=self._best_parameters,
            recent=list(self._recent),
        )

    def restore(self, state: TrainingState) -> None:
        """Go on from a state, whose arrays this training may keep, instead of from the start."""
        self._network.parameters[...] = state.parameters
        self._optimizer.resume(state.optimizer)
        self._schedule.resume(state.schedule)
        vars(self.progress).update(vars(state.progress))
        self._order = state.order
        self._rng.set_state(state.rng_state)
        # A plateau that did not end training has set the count to 0.
        if state.progress.no_improvement_count > self._settings.n_iter_no_change:
            self._outcome = Outcome.CONVERGED
        self._job.seed = state.seed
        if self._best_parameters is not None:
            self._best_parameters[...] = state.best_parameters
        self._recent.extend(state.recent)

    def stop(self) -> None:
        """Train no further epoch: a callback had ended the training that is resumed."""
        self._outcome = Outcome.STOPPED
