"""Files from which training goes on as if it had never stopped."""

from __future__ import annotations

import copy
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.training import TrainingState
from sknn_scratch.whole_file import whole_file

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
# What an estimator has only while it is trained, and its callbacks.
OF_TRAINING = ("_training", "_validation_rows")
OF_CALLBACKS = ("_skl_callbacks", "_skl_callbacks_to_teardown", "_callback_fit_ctx", "_parent_callback_ctx")
# Parameters that may differ where training goes on.
FREE = {"max_iter", "verbose", "warm_start", "random_state", "engine"}


@dataclass
class Checkpoint:
    """An estimator in training.

    Attributes
    ----------
    estimator : estimator
        Fitted as far as it was; it can predict.
    state : TrainingState
        What its training goes on from.
    n_samples : int
        Samples given to ``fit``.
    validation_rows : ndarray of int or None
        Those that were held out for early stopping.
    format : int
        Version of this layout.
    """

    estimator: Any
    state: TrainingState
    n_samples: int
    validation_rows: NDArray | None
    format: int = FORMAT

    def check(self, estimator: Any, n_samples: int) -> None:
        """Raise ValueError unless the estimator, given so many samples, can go on from here."""
        before, now = type(self.estimator).__name__, type(estimator).__name__
        if before != now:
            raise ValueError(f"resume_from holds a {before}, from which a {now} cannot go on.")
        mine, theirs = (_comparable(e.get_params()) for e in (estimator, self.estimator))
        changed = [name for name in mine if mine[name] != theirs.get(name, mine[name])]
        if changed:
            name = changed[0]
            raise ValueError(
                f"resume_from was written with {name}={theirs[name]}, which now is {mine[name]}. Only "
                f"{', '.join(sorted(FREE))} may differ."
            )
        for name in ("n_features_in_", "feature_names_in_", "classes_", "_n_targets", "target_mean_", "target_scale_"):
            before, now = (repr(getattr(e, name, None)) for e in (self.estimator, estimator))
            if before != now:
                raise ValueError(f"resume_from was written with {name} {before}, which now is {now}.")
        if n_samples != self.n_samples:
            raise ValueError(f"resume_from was written with {self.n_samples} samples, X has {n_samples}.")


def _comparable(parameters: dict[str, Any]) -> dict[str, str]:
    """Return the parameters that must not change, in a form that can be compared."""
    return {
        name: type(value).__name__ if hasattr(value, "get_params") or callable(value) else _written(value)
        for name, value in parameters.items()
        if name not in FREE
    }


def _written(value: Any) -> str:
    """Return the ``repr`` of a parameter, of equal numbers the same whatever their types."""
    return repr(value.item() if isinstance(value, np.generic) else value).removesuffix(".0")


def save_checkpoint(path: str | os.PathLike, estimator: Any) -> None:
    """Write an estimator in training to a file, which is never seen half-written.

    Parameters
    ----------
    path : path
        Replaced if it exists.
    estimator : estimator
        In a callback, after an epoch.
    """
    twin = copy.copy(estimator)
    for name in OF_TRAINING + OF_CALLBACKS:
        vars(twin).pop(name, None)
    checkpoint = Checkpoint(
        twin, estimator._training.state(), estimator._training.n_samples, estimator._validation_rows
    )
    with whole_file(path) as file:
        pickle.dump(checkpoint, file, protocol=5)


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint; like every pickle, only from a source that is trusted.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is something else, damaged, or of a later version.
    """
    with Path(path).open("rb") as file:
        try:
            checkpoint = pickle.load(file)
        except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError) as error:
            raise ValueError(f"{path} is not a checkpoint that can be read: {error}") from error
    if not isinstance(checkpoint, Checkpoint):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint.")
    if checkpoint.format != FORMAT:
        raise ValueError(f"{path} is a checkpoint of format {checkpoint.format}; this version reads format {FORMAT}.")
    return checkpoint
