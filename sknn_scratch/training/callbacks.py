"""What happens between epochs: the bridge to scikit-learn's callbacks, and a few of our own.

From version 1.9 on, scikit-learn has a protocol for callbacks, which its ``ProgressBar`` and ``ScoringMonitor`` follow,
and so do ours. With older versions ``set_callbacks`` takes ours only.

A callback of your own is a function of the estimator, or a subclass of ``EpochCallback``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import wraps
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.files.whole import check_writable
from sknn_scratch.training.bars import start_bar
from sknn_scratch.training.checkpoints import described_parameters, save_checkpoint

if TYPE_CHECKING:  # with two classes to choose from, pyright would know nothing of those below them
    from sknn_scratch.training.callbacks_before_1_9 import CallbackSupportMixin
    from sknn_scratch.training.callbacks_before_1_9 import with_callbacks as _with_callbacks
else:
    try:
        from sklearn.callback import CallbackSupportMixin
        from sklearn.callback import with_callbacks as _with_callbacks
    except ImportError:  # before scikit-learn 1.9
        from sknn_scratch.training.callbacks_before_1_9 import CallbackSupportMixin
        from sknn_scratch.training.callbacks_before_1_9 import with_callbacks as _with_callbacks

# What can be monitored: the attribute that has the curve, and the sign with which smaller is better.
CURVES = {
    "loss": ("loss_curve_", 1),
    "validation_loss": ("validation_loss_curve_", 1),
    "validation_score": ("validation_scores_", -1),
}


_Method = TypeVar("_Method", bound=Callable[..., Any])

# Estimators that are being trained, by process (a forked one knows those of its parent) and id.
_in_training: dict[tuple[int, int], object] = {}


def with_callbacks(method: _Method) -> _Method:
    """Decorate a method that trains: the callbacks are told when it has ended, in success or failure.

    While an estimator is being trained, another call raises RuntimeError and leaves it alone.
    """
    told = _with_callbacks(method)

    @wraps(told)
    def train(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        me, key = object(), (os.getpid(), id(estimator))
        if _in_training.setdefault(key, me) is not me:
            raise RuntimeError(
                f"This {type(estimator).__name__} is being trained already, in another thread or around the callback "
                "that calls. fit and partial_fit change the model, so one call has to wait for the other: guard them "
                "with a lock, or give each thread a model of its own (sklearn.base.clone)."
            )
        try:
            return told(estimator, *args, **kwargs)
        finally:
            del _in_training[key]

    return cast(_Method, train)


class EpochCallback:
    """Called before training, after each epoch (for 'lbfgs', iteration) and after training.

    While training goes on, the estimator shows what it has reached: ``coefs_``, ``intercepts_``, ``loss_curve_``,
    ``validation_scores_``, ``n_iter_`` and so on, and it can predict. Those for tables show ``oof_loss_curve_``, whose
    last view is the one in training, and all that they would have if training ended there: their best epoch counts. A
    subclass overrides what it needs. It may change the arrays of ``coefs_`` and ``intercepts_`` in place, except with
    'lbfgs' and ``average``, and replace them where it stops training; parameters that it sets count from the next fit
    on.
    """

    def on_train_begin(self, estimator: Any) -> None:
        """Prepare for a call of ``fit`` or ``partial_fit``."""

    def on_epoch_end(self, estimator: Any) -> bool | None:
        """Look at the estimator after an epoch; return True to stop training."""

    def on_train_end(self, estimator: Any) -> None:
        """Finish, also where training failed."""

    def state_dict(self, estimator: Any) -> Any:
        """Return, after an epoch, what ``load_state_dict`` needs to go on from there.

        ``ModelCheckpoint`` stores it: None, numbers, strings, arrays of these, and lists, tuples and dicts of all that.
        """
        return None

    def load_state_dict(self, estimator: Any, state: Any) -> bool | None:
        """Go on, in ``fit(..., resume_from=path)``, from what ``state_dict`` had returned.

        Called after ``on_train_begin``, once the estimator is as it was. Return True if training had been stopped.
        """

    # scikit-learn's names for the same.

    def setup(self, estimator: Any, context: Any) -> None:
        """Call ``on_train_begin``; raises TypeError for what has no epochs, such as the pipeline around a network."""
        if not isinstance(estimator, CallbackMixin):
            raise TypeError(
                f"{type(self).__name__} is called between epochs, and {type(estimator).__name__} has none: pass it to "
                "set_callbacks of the network itself."
            )
        self.on_train_begin(estimator)

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing before an epoch."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool | None:
        """Call ``on_epoch_end`` if the task was an epoch or iteration."""
        return self.on_epoch_end(estimator) if context.task_name in ("epoch", "iteration") else None

    def teardown(self, estimator: Any, context: Any) -> None:
        """Call ``on_train_end``, unless ``setup`` has refused the estimator."""
        if isinstance(estimator, CallbackMixin):
            self.on_train_end(estimator)


class OnEpochEnd(EpochCallback):
    """A function of the estimator as a callback, made by ``set_callbacks``; training stops if it returns True."""

    def __init__(self, function: Callable[[Any], bool | None]):
        self.function = function

    def on_epoch_end(self, estimator: Any) -> bool | None:
        return self.function(estimator)


@dataclass
class _BestEpoch:
    """The best value that one estimator has reached, and its parameters then, with the vector they belong to."""

    value: float
    epoch: int = 0
    parameters: NDArray | None = None
    trained: NDArray | None = None


@dataclass(repr=False, eq=False)
class EarlyStopping(EpochCallback):
    """Stops training when a curve has not improved for a while.

    Unlike the parameter ``early_stopping``, it can follow any curve, holds no samples out, and leaves the rule of
    ``tol`` and ``n_iter_no_change`` in force beside it.

    Parameters
    ----------
    monitor : {'loss', 'validation_loss', 'validation_score'}, default='validation_loss'
        Which curve. The latter two need a validation set: ``X_val`` and ``y_val``, or ``early_stopping=True``.
    patience : int, default=10
        Training stops after so many epochs in a row without an improvement, at least 1.
    min_delta : float, default=0.0
        The smallest improvement that counts, at least 0.
    restore_best : bool, default=False
        Whether the parameters end as those of the best epoch instead of the last.

    Attributes
    ----------
    best_ : float
        The best value so far.
    best_epoch_ : int
        Its epoch, counted from 1.
    stopped_ : bool
        Whether it was this callback that ended the last training.

    References
    ----------
    Prechelt, "Early stopping - but when?", Neural Networks: Tricks of the Trade, 1998.
    """

    monitor: str = "validation_loss"
    _: KW_ONLY
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.monitor, str) or self.monitor not in CURVES:
            raise ValueError(f"monitor must be one of {', '.join(map(repr, CURVES))}; got {self.monitor!r}.")
        if not _is_number(self.patience, Integral, 1):
            raise ValueError(f"patience must be an integer of at least 1; got {self.patience!r}.")
        if not _is_number(self.min_delta, Real, 0):
            raise ValueError(f"min_delta must be a number of at least 0; got {self.min_delta!r}.")
        self._runs: dict[int, _BestEpoch] = {}

    def on_train_begin(self, estimator: Any) -> None:
        _require_single_network(self, estimator)
        self._runs[id(estimator)] = _BestEpoch(np.inf * CURVES[self.monitor][1])

    def on_epoch_end(self, estimator: Any) -> bool:
        name, sign = CURVES[self.monitor]
        curve, best = getattr(estimator, name), self._runs[id(estimator)]
        if curve is None:
            raise ValueError(
                f"EarlyStopping(monitor={self.monitor!r}) needs a validation set: pass X_val and y_val to fit, or set "
                "early_stopping=True."
            )
        if sign * curve[-1] < sign * best.value - self.min_delta:
            best.value, best.epoch = curve[-1], estimator.n_iter_
            if self.restore_best:
                best.trained = estimator.perceptron.parameters
                best.parameters = best.trained.copy()
        return self._show(best, estimator.n_iter_)

    def _show(self, best: _BestEpoch, n_iter: int) -> bool:
        """Set the attributes that tell of the best epoch; return whether training is to stop."""
        self.best_, self.best_epoch_ = best.value, best.epoch
        self.stopped_ = n_iter - best.epoch >= self.patience
        return self.stopped_

    def state_dict(self, estimator: Any) -> dict[str, Any]:
        best = self._runs[id(estimator)]
        return {
            "monitor": self.monitor,
            "value": best.value,
            "epoch": best.epoch,
            "parameters": best.parameters,
        }

    def load_state_dict(self, estimator: Any, state: dict[str, Any]) -> bool:
        if state["monitor"] != self.monitor:
            raise ValueError(f"EarlyStopping had monitor={state['monitor']!r}, which now is {self.monitor!r}")
        best = self._runs[id(estimator)] = _BestEpoch(float(state["value"]), int(state["epoch"]))
        if self.restore_best and best.epoch:
            kept, best.trained = state["parameters"], estimator.perceptron.parameters
            if kept is None:
                raise ValueError("EarlyStopping had restore_best=False, and has not kept the best parameters")
            if kept.shape != best.trained.shape or kept.dtype != best.trained.dtype:
                raise ValueError("EarlyStopping has kept the parameters of another network")
            best.parameters = kept
        return self._show(best, estimator.n_iter_)

    def on_train_end(self, estimator: Any) -> None:
        # The vector is the one that was trained; if training failed, it is no longer the estimator's. There is no run
        # if another callback raised before on_train_begin of this one was called.
        best = self._runs.pop(id(estimator), None)
        if best is not None and best.trained is not None:
            best.trained[...] = best.parameters


def _is_number(value: Any, kind: Any, least: int) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and bool(value >= least)


def _require_single_network(callback: EpochCallback, estimator: Any) -> None:
    """Raise TypeError for an estimator that trains several networks at the same time."""
    if not hasattr(type(estimator), "perceptron"):
        raise TypeError(
            f"{type(callback).__name__} follows a single network, and {type(estimator).__name__} trains several, of "
            "which it keeps the best epoch by itself; pass a function of the estimator to set_callbacks instead."
        )


class ModelCheckpoint(EpochCallback):
    """Writes a file after each epoch, from which ``fit(X, y, resume_from=path)`` goes on as if nothing had happened.

    The file holds the estimator, the state of the optimiser and of all random numbers, the schedule, the curves and the
    count of epochs without an improvement. It is written to the side and then put in its place, so that it is whole
    even if the process is killed. It is written after the other callbacks of an epoch, with the state of those that
    have one. Nothing in it is pickled, so that reading one from elsewhere runs no code. Not for 'lbfgs', nor for
    parameters that cannot be recognised where training goes on, such as a lambda: functions and classes of one's own
    are compared by name, and have to be defined at the top of a module.

    Parameters
    ----------
    path : path
        Of the file, in a folder that exists.
    every : int, default=1
        Epochs from one file to the next, at least 1.
    """

    def __init__(self, path: str | os.PathLike, *, every: int = 1):
        if not _is_number(every, Integral, 1):
            raise ValueError(f"every must be an integer of at least 1; got {every!r}.")
        self.path = path
        self.every = every

    def on_train_begin(self, estimator: Any) -> None:
        _require_single_network(self, estimator)
        if estimator.solver == "lbfgs":
            raise ValueError("ModelCheckpoint cannot be used with solver='lbfgs', which has no state to go on from.")
        # Both raise before training, not after its first epochs.
        check_writable(self.path)
        described_parameters(estimator)

    def on_epoch_end(self, estimator: Any) -> None:
        if estimator.n_iter_ % self.every == 0:
            save_checkpoint(self.path, estimator)


class Events:
    """Tells the callbacks of an estimator, and the bar of ``verbose="bar"``, of each 'epoch' or 'iteration'.

    ``most_epochs`` is how many there can be; it may be corrected until the first begins.
    """

    def __init__(self, estimator: Any, task_name: str, most_epochs: int, X: Any, y: Any, sample_weight: Any):
        self._estimator, self._task_name, self.most_epochs = estimator, task_name, most_epochs
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self._given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._bar: Any = None
        self._root = None
        if hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx"):
            self._root = estimator._init_callback_context(task_name="fit", max_subtasks=most_epochs)

    @property
    def has_callbacks(self) -> bool:
        """Whether there is somebody to tell but the bar."""
        return self._root is not None

    def listener(self, keep: Callable[[], None], check: Callable[[], None] = lambda: None) -> Self | None:
        """Return this, or None if nobody is to be told.

        After each epoch it calls ``keep`` and tells of it; if training is to go on, it calls ``check``.
        """
        self._keep, self._check = keep, check
        return self if self.has_callbacks or self._estimator.verbose == "bar" else None

    def train_begins(self) -> None:
        """Announce the training."""
        if self._root is not None:
            self._root.call_on_fit_task_begin(**self._given)

    def epoch_begins(self) -> None:
        """Announce an epoch."""
        if self._root is not None:
            self._task = self._root.subcontext(task_name=self._task_name)
            self._task.call_on_fit_task_begin(**self._given)

    def epoch_ended(self) -> bool:
        """Return whether training should stop."""
        self._keep()
        if self._estimator.verbose == "bar":
            self._bar = self._bar or start_bar(self.most_epochs)
            self._bar.advance(self._estimator.n_iter_, self._estimator._describe_epoch())
        stop = self._root is not None and self._tell_of_the_end(self._task)
        if not stop:
            self._check()
        return stop

    def train_ended(self) -> None:
        """Announce that training has succeeded."""
        if self._bar is not None:
            self._bar.complete()
        if self._root is not None:
            self._tell_of_the_end(self._root)

    def _tell_of_the_end(self, task: Any) -> bool:
        copies = self._estimator._copies_of_what_changes
        return task.call_on_fit_task_end(reconstruction_attributes=copies, **self._given)

    def close(self) -> None:
        """Take the bar away, also if training failed."""
        if self._bar is not None:
            self._bar.close()


class CallbackMixin(CallbackSupportMixin):
    """What an estimator needs to call its callbacks."""

    verbose: Any

    @property
    def _prints_lines(self) -> bool:
        """Whether each epoch is printed in scikit-learn's way."""
        return bool(self.verbose) and self.verbose != "bar"

    def _copies_of_what_changes(self) -> dict[str, Any]:
        """Return copies of the fitted attributes that further training changes in place."""
        return {}

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set what is called between epochs, in the place of what was set before.

        Parameters
        ----------
        *callbacks : callback or callable
            scikit-learn's callbacks (from version 1.9 on), ``EpochCallback``, or functions of the estimator, called
            after each epoch; of a single network also ``EarlyStopping`` and ``ModelCheckpoint``. Training stops when
            one of them returns True.

        Returns
        -------
        self : estimator
        """
        what = "callbacks must be instances of callback classes, or functions of the estimator"
        for callback in callbacks:
            if isinstance(callback, type):
                raise TypeError(f"{what}: pass {callback.__name__}() instead of the class.")
            if isinstance(callback, list | tuple):
                raise TypeError(
                    f"{what}, one after the other as in set_callbacks(a, b); got a {type(callback).__name__}."
                )
            if not (callable(callback) or hasattr(callback, "on_fit_task_end")):
                raise TypeError(f"{what}; got {callback!r}.")
        own = [c if hasattr(c, "on_fit_task_end") else OnEpochEnd(c) for c in callbacks]
        # A checkpoint holds what the others have made of the epoch.
        super().set_callbacks(*sorted(own, key=lambda callback: isinstance(callback, ModelCheckpoint)))
        return self
