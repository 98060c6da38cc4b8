"""The two trainers: minibatch gradient descent, and L-BFGS on all samples at once."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.optimize import minimize
from scipy.sparse import issparse

from sknn_scratch.digests import digest_of_rows
from sknn_scratch.network import Network
from sknn_scratch.optimizers import Optimizer
from sknn_scratch.schedules import Schedule

__all__ = [
    "Listener",
    "MinibatchSettings",
    "MinibatchTraining",
    "Progress",
    "TrainingData",
    "TrainingState",
    "train_lbfgs",
]

# How a training run can end.
CONVERGED, MAX_ITER_REACHED, STOPPED, INTERRUPTED = "converged", "max_iter", "stopped", "interrupted"


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
        """Return a copy to carry on with, its fields ready for a run of this kind; early stopping is validated too."""
        run = replace(self, n_iter=0, loss_curve=list(self.loss_curve))
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

    batch_size: int
    max_iter: int
    shuffle: bool
    tol: float
    n_iter_no_change: float
    verbose: bool
    max_grad_norm: float | None = None
    average: int = 1


class _RowReader:
    """Reads minibatches of rows from an array into a buffer that is made once.

    ``take`` with ``out`` would first copy the whole of an array that is not C-contiguous. A Fortran-ordered one is read
    through its transpose; other layouts and sparse matrices by indexing, which allocates.
    """

    def __init__(self, array: NDArray, batch_size: int):
        self._array, self._axis = array, 0
        self._buffer: NDArray | None = None
        if issparse(array):
            return
        if array.flags.c_contiguous:
            self._buffer = np.empty((batch_size, *array.shape[1:]), dtype=array.dtype)
        elif array.flags.f_contiguous:
            self._array, self._axis = array.T, 1
            self._buffer = np.empty((array.shape[1], batch_size), dtype=array.dtype)

    def read(self, rows: NDArray | slice) -> NDArray:
        if self._buffer is None:
            return self._array[rows]
        if isinstance(rows, slice):
            return self._array[rows] if self._axis == 0 else self._array[:, rows].T
        out = self._buffer
        if self._axis == 0:
            if len(rows) < len(out):
                out = out[: len(rows)]
            return self._array.take(rows, 0, out, "clip")
        if len(rows) < out.shape[1]:
            out = out.reshape(-1)[: out.shape[0] * len(rows)].reshape(out.shape[0], len(rows))
        return self._array.take(rows, 1, out, "clip").T


def _nothing(rows: NDArray | slice) -> None:
    """Read the weights of unweighted samples."""


class _Minibatches:
    """The minibatches of an epoch, drawn anew each time, as ``(X, y, sample_weight)``.

    Each epoch permutes the order of the epoch before, as scikit-learn does.
    """

    def __init__(self, data: TrainingData, batch_size: int, rng: np.random.RandomState | None):
        self._read_X = _RowReader(data.X, batch_size).read
        self._read_y = _RowReader(data.y, batch_size).read
        self._read_weight: Callable[[NDArray | slice], NDArray | None] = _nothing
        if data.sample_weight is not None:
            self._read_weight = _RowReader(data.sample_weight, batch_size).read
        self._n_rows, self._batch_size, self._rng = data.n_rows, batch_size, rng
        self.order = data.rows
        if rng is not None and data.rows is None:
            self.order = np.arange(data.n_rows)

    def next_order(self) -> NDArray | None:
        """Shuffle, and return the rows of an epoch in order; None for all of them as they come."""
        if self._rng is not None:
            assert self.order is not None
            self.order = self.order[self._rng.permutation(self._n_rows)]
        return self.order

    def epoch(self) -> Iterator[tuple[NDArray, NDArray, NDArray | None]]:
        self.next_order()
        for start in range(0, self._n_rows, self._batch_size):
            rows: NDArray | slice = slice(start, start + self._batch_size)
            if self.order is not None:
                rows = self.order[rows]
            yield self._read_X(rows), self._read_y(rows), self._read_weight(rows)


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
    noise_state : dict or None
        Of the generator of noise and dropout.
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
    noise_state: Any
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

    def __init__(self, network: Network, n_epochs: int):
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
    network : Network
        Its parameters are changed in place. They end as those of the last epoch (the mean of the last epochs if
        ``settings.average`` is more than 1) or, with early stopping, as those with the best validation score.
    data : TrainingData
    optimizer : Optimizer
        Started.
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
        network: Network,
        data: TrainingData,
        optimizer: Optimizer,
        schedule: Schedule,
        progress: Progress,
        settings: MinibatchSettings,
        rng: np.random.RandomState,
    ):
        self._network, self._data, self._settings, self._rng = network, data, settings, rng
        self._optimizer, self._schedule, self.progress = optimizer, schedule, progress
        self._minibatches = _Minibatches(data, settings.batch_size, rng if settings.shuffle else None)
        self._run_epoch: Callable[[NDArray | None, float], float] | None = None
        self._early_stopping = progress.best_loss is None
        self._best_parameters = network.parameters.copy() if self._early_stopping else None
        self._recent_mean = _RecentMean(network, settings.average) if settings.average > 1 else None
        self._outcome = MAX_ITER_REACHED

    @property
    def data(self) -> TrainingData:
        """The samples, those included that are held out."""
        return self._data

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
            CONVERGED, MAX_ITER_REACHED, STOPPED (by the listener) or INTERRUPTED (by KeyboardInterrupt).

        Raises
        ------
        ValueError
            At the end of the epoch in which the loss or a parameter becomes infinite or NaN.
        """
        outcome = self._outcome
        data, settings = self._data, self._settings
        with self._network.engine.epoch_function(
            *(self._network, self._optimizer, data.X, data.y, data.sample_weight),
            *(settings.batch_size, settings.max_grad_norm),
        ) as self._run_epoch:
            try:
                while outcome == MAX_ITER_REACHED and self.progress.n_iter < settings.max_iter:
                    if listener is not None:
                        listener.epoch_begins()
                    self._train_epoch(validate)
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

    def _train_epoch(self, validate: Callable[[], tuple[float, float]] | None) -> None:
        """Train for an epoch and record what it reached."""
        network, progress, schedule, settings = self._network, self.progress, self._schedule, self._settings
        rate, max_grad_norm = schedule.learning_rate, settings.max_grad_norm
        if self._run_epoch is not None:
            loss = self._run_epoch(self._minibatches.next_order(), rate)
        else:
            loss = _train_epoch(network, self._minibatches, self._optimizer, rate, max_grad_norm)
        vectors = [network.parameters, *self._optimizer.vectors]
        _check_finite(loss, vectors, f"epoch {progress.n_iter + 1}", schedule.learning_rate_init)
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

    def _has_converged(self) -> bool:
        """Return whether the schedule ends training at a plateau."""
        if self.progress.no_improvement_count <= self._settings.n_iter_no_change:
            return False
        stop, action = self._schedule.plateau_reached()
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
            order=self._minibatches.order,
            rng_state=self._rng.get_state(legacy=False),
            noise_state=None if self._network.noise is None else self._network.noise.state,
            best_parameters=self._best_parameters,
            recent=[] if self._recent_mean is None else self._recent_mean.parameters,
        )

    def restore(self, state: TrainingState) -> None:
        """Go on from a state, of which a part may become this training's own, instead of from the start."""
        self._network.parameters[...] = state.parameters
        self._optimizer.resume(state.optimizer)
        self._schedule.resume(state.schedule)
        vars(self.progress).update(vars(state.progress))
        self._minibatches.order = state.order
        self._rng.set_state(state.rng_state)
        # A plateau that does not end training sets the count to 0.
        if state.progress.no_improvement_count > self._settings.n_iter_no_change:
            self._outcome = CONVERGED
        if self._network.noise is not None:
            self._network.noise.state = state.noise_state
        if self._best_parameters is not None:
            self._best_parameters[...] = state.best_parameters
        if self._recent_mean is not None:
            self._recent_mean.parameters = state.recent

    def stop(self) -> None:
        """Let there be no further epoch, as a callback had ended the training that is gone on with."""
        self._outcome = STOPPED


def _train_epoch(
    network: Network,
    minibatches: _Minibatches,
    optimizer: Optimizer,
    learning_rate: float,
    max_grad_norm: float | None,
) -> float:
    """Make one pass over the data; return the mean of the minibatch losses, each taken before its update."""
    total_loss, n_rows = 0.0, 0
    for X, y, sample_weight in minibatches.epoch():
        if sample_weight is not None and not sample_weight.any():
            continue  # no sample of this minibatch counts
        if max_grad_norm is None:
            loss = network.step(X, y, sample_weight, optimizer, learning_rate)
        else:
            loss = network.loss_and_gradient(X, y, sample_weight)
            _limit_norm(network.gradient, max_grad_norm)
            optimizer.update(network.parameters, network.gradient, learning_rate)
        total_loss += loss * X.shape[0]
        n_rows += X.shape[0]
    return total_loss / n_rows


def _limit_norm(gradient: NDArray, max_norm: float) -> None:
    """Shorten the gradient to Euclidean length ``max_norm`` if it is longer."""
    norm = math.sqrt(np.dot(gradient, gradient))
    if norm > max_norm:
        np.multiply(gradient, max_norm / norm, out=gradient)


def _plateau_message(early_stopping: bool, settings: MinibatchSettings) -> str:
    what = "Validation score" if early_stopping else "Training loss"
    return f"{what} did not improve more than tol={settings.tol:f} for {settings.n_iter_no_change} consecutive epochs."


def _is_finite(vector: NDArray) -> bool:
    """Return whether all numbers are finite: certainly so if the sum of their squares is, which is quicker to tell."""
    return math.isfinite(vector.dot(vector)) or bool(np.isfinite(vector).all())


def _check_finite(loss: float, vectors: list[NDArray], when: str, learning_rate_init: float | None = None) -> None:
    """Raise ValueError, saying what to try, if the loss or a number in one of the vectors is infinite or NaN."""
    if math.isfinite(loss) and all(map(_is_finite, vectors)):
        return
    what = "the parameters or moments are infinite or NaN" if math.isfinite(loss) else f"the loss is {loss}"
    advice = "Scale the features of X (and y, if it is numbers), for example with StandardScaler"
    if learning_rate_init is not None:
        advice += f", lower learning_rate_init (now {learning_rate_init:g}) or set max_grad_norm"
    raise ValueError(f"Training diverged in {when}: {what}. {advice}.")


def train_lbfgs(
    network: Network,
    data: TrainingData,
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
    network : Network
        Its parameters are changed in place.
    data : TrainingData
        With ``rows`` None.
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
    latest_loss, stopped = np.inf, False
    reached = network.parameters.astype(np.float64)

    def objective(parameters: NDArray) -> tuple[float, NDArray]:
        nonlocal latest_loss
        network.parameters[...] = parameters
        latest_loss = network.loss_and_gradient(data.X, data.y, data.sample_weight)
        return latest_loss, network.gradient.astype(np.float64)

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
    _check_finite(progress.loss, [network.parameters], f"iteration {progress.n_iter} of lbfgs")
    if stopped:
        return STOPPED, "stopped by a callback"
    return CONVERGED if result.status == 0 else MAX_ITER_REACHED, str(result.message)
