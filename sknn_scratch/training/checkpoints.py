"""Files from which training goes on as if it had never stopped.

A file holds named arrays, one of which is text in JSON. Reading one runs no code: what is stored becomes the state of
the estimator's own optimiser and schedule.
"""

from __future__ import annotations

import json
import os
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.engines import ENGINES
from sknn_scratch.files.arrays import naming_file, read_file, write_file
from sknn_scratch.files.values import checked_generator_state, decode, describe, encode
from sknn_scratch.training.data import TrainingData
from sknn_scratch.training.run import MinibatchTraining, TrainingState
from sknn_scratch.warn import warn

# To be raised whenever the meaning of anything in the file changes.
FORMAT = 3
TEXT = "text"
# Parameters that may differ where training goes on.
FREE = {"max_iter", "verbose", "warm_start", "random_state", "engine", "device"}
# The longest text of a parameter in a message.
MAX_SHOWN = 200


class Checkpoint:
    """What a file holds about a training that can go on: facts that were stored as text, and arrays they refer to."""

    def __init__(self, path: str | os.PathLike, facts: dict[str, Any], arrays: dict[str, NDArray]):
        self._path, self._facts, self._arrays = path, facts, arrays
        self.engine = facts["engine"]  # that training began with
        if self.engine not in ENGINES:
            raise ValueError(f"there is no engine {self.engine!r}")
        self._held_out = decode(facts["validation_rows"], arrays)

    def check(self, estimator: Any, data: TrainingData, validation_data: TrainingData | None) -> None:
        """Raise ValueError unless the estimator, given these samples, can go on from here."""
        with naming_file(self._path, "cannot be resumed"):
            before, now = self._facts["estimator"], type(estimator).__name__
            if before != now:
                raise ValueError(f"it holds a {before}, from which a {now} cannot go on")
            self._check_parameters(estimator)
            facts = _facts_of_data(estimator, data, validation_data)
            for name, stored in self._facts["data"].items():
                if stored != facts.get(name):
                    is_digest = name.startswith("values")
                    difference = f"other {name}" if is_digest else f"{name} {_difference(stored, facts.get(name))}"
                    raise ValueError(f"it was written with {difference}")

    def _check_parameters(self, estimator: Any) -> None:
        before, now = self._facts["parameters"], described_parameters(estimator)
        unknown = ["unknown", "unknown"]  # in another version
        for name in sorted(now.keys() | before.keys()):
            (old, shown_then), (new, shown_now) = before.get(name, unknown), now.get(name, unknown)
            if old != new:
                raise ValueError(
                    f"it was written with {name}={shown_then}, which now is {shown_now}. Only "
                    f"{', '.join(sorted(FREE))} may differ"
                )

    def split(self, data: TrainingData) -> tuple[NDArray, NDArray]:
        """Return the rows for training and those that were held out."""
        with naming_file(self._path, "is damaged"):
            is_held_out = np.zeros(data.X.shape[0], dtype=bool)
            is_held_out[_checked_rows(self._held_out, len(is_held_out))] = True
            if np.count_nonzero(is_held_out) != len(self._held_out):
                raise ValueError("a row is held out twice")
            return np.flatnonzero(~is_held_out), self._held_out

    def restore(self, training: MinibatchTraining, estimator: Any) -> None:
        """Put the training, and the callbacks of its estimator, in the state that is stored."""
        with naming_file(self._path, "cannot be resumed"):
            fresh = training.state()
            stored = decode(self._facts["state"], self._arrays, fresh)
            training.restore(_checked_state(stored, fresh))
            estimator._keep_progress(training.progress)
            lacking = self._restore_callbacks(training, estimator)
        if lacking:
            warn(f"{self._path} has the state of {', '.join(lacking)}, which the model now lacks.")

    def _restore_callbacks(self, training: MinibatchTraining, estimator: Any) -> list[str]:
        """Give the callbacks their state; return the names of those that are no longer there."""
        waiting = list(self._facts["callbacks"])
        for callback in _callbacks(estimator):
            entry = next((entry for entry in waiting if entry["class"] == _class_name(callback)), None)
            if entry is not None:  # otherwise it is new, and begins here
                waiting.remove(entry)
                if callback.load_state_dict(estimator, decode(entry["state"], self._arrays)):
                    training.stop()
        return [entry["class"].rpartition(".")[2] for entry in waiting]


def _difference(before: Any, now: Any) -> str:
    """Say how two values of JSON differ, where they first do."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        position = next(i for i, (old, new) in enumerate(zip(before, now, strict=True)) if old != new)
        return f"{_shown(before[position])} at position {position}, where there now is {_shown(now[position])}"
    return f"{_shown(before)}, which now is {_shown(now)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


# What has to agree ----------------------------------------------------------------------------------------------------


def described_parameters(estimator: Any) -> dict[str, list[Any]]:
    """Return those that must not change, each with a text; raises ValueError for one that cannot be compared."""
    described = {}
    for name, value in estimator.get_params(deep=False).items():
        if name in FREE:
            continue
        try:
            described[name] = [describe(value), _shown(value)]
        except Exception as error:  # whatever pickle finds
            what = "it cannot be compared unless it is defined by def or class at the top of a module"
            raise ValueError(f"Training with {name}={value!r} has no checkpoints: {what} ({error}).") from error
    return described


def _facts_of_data(estimator: Any, data: TrainingData, validation_data: TrainingData | None) -> dict[str, Any]:
    """Return what the samples are recognised by, in the order in which it is compared."""
    if validation_data is None:
        validated = "to be held out" if estimator.early_stopping else "missing"
    else:
        validated = "given as X_val" if validation_data.rows is None else "to be held out"
    names = getattr(estimator, "feature_names_in_", None)
    facts = {"feature_names": None if names is None else describe(names)}
    facts |= {name: describe(fact) for name, fact in estimator._describe_targets().items()}
    facts |= data.facts | {"validation set": validated}
    if validated == "given as X_val":
        assert validation_data is not None
        facts |= {f"{name} (validation)": fact for name, fact in validation_data.facts.items()}
    return facts


def _callbacks(estimator: Any) -> list[Any]:
    """Return those that may have a state; those of scikit-learn have none."""
    return [callback for callback in getattr(estimator, "_skl_callbacks", []) if hasattr(callback, "state_dict")]


def _class_name(callback: Any) -> str:
    return f"{type(callback).__module__}.{type(callback).__qualname__}"


# Checks of what was stored --------------------------------------------------------------------------------------------


def _checked_state(state: TrainingState, fresh: TrainingState) -> TrainingState:
    """Return a stored state, once its parts have proved to be like those of a training that has just begun."""
    if not isinstance(state.recent, list) or (state.best_parameters is None) != (fresh.best_parameters is None):
        raise ValueError("the best or recent parameters are those of another kind of training")
    vectors = [("parameters", state.parameters), *(("recent", parameters) for parameters in state.recent)]
    if state.best_parameters is not None:
        vectors.append(("best_parameters", state.best_parameters))
    for name, vector in vectors:
        _check_vector(name, vector, fresh.parameters)
    _check_vector("moments", state.optimizer.state, fresh.optimizer.state)
    if not (_is_number(state.schedule.learning_rate) and np.isfinite(state.schedule.learning_rate)):
        raise ValueError(f"the learning rate is {state.schedule.learning_rate!r}")
    progress = vars(state.progress)
    _check_progress(progress, vars(fresh.progress))
    counts = {"n_updates": state.optimizer.n_updates, "n_epochs": state.schedule.n_epochs, "seed": state.seed}
    for name, count in (counts | {name: progress[name] for name in ("n_iter", "t", "no_improvement_count")}).items():
        if not (isinstance(count, Integral) and 0 <= int(count) < 2**63):
            raise ValueError(f"{name} is {count!r}")
    state.order = _checked_order(state.order, fresh.order)
    checked_generator_state(state.rng_state)
    return state


def _check_vector(name: str, vector: Any, like: NDArray) -> None:
    if not isinstance(vector, np.ndarray) or vector.shape != like.shape or vector.dtype != like.dtype:
        raise ValueError(f"{name} are not {like.size} numbers of dtype {like.dtype}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} are not finite")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _check_progress(progress: dict[str, Any], fresh: dict[str, Any]) -> None:
    """Raise ValueError unless each part is a number, a list of such or None, as it is in the beginning."""
    if progress.keys() != fresh.keys():
        raise ValueError("what training has reached is told in other terms")
    for name, value in progress.items():
        # The loss is None only as long as there was no epoch.
        if name != "loss" and (value is None) != (fresh[name] is None):
            raise ValueError(f"{name} is that of another kind of training")
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        if isinstance(value, list) != isinstance(fresh[name], list) or not all(map(_is_number, numbers)):
            raise ValueError(f"{name} is {_shown(value)}")


def _checked_order(order: Any, fresh: NDArray | None) -> NDArray | None:
    """Return the order of the rows, if it is one of the same rows: compiled code follows it without looking."""
    if order is None or fresh is None:
        if order is not None or fresh is not None:
            raise ValueError("the rows were shuffled in only one of the two trainings")
        return None
    order = _checked_rows(order, int(fresh.max()) + 1).astype(fresh.dtype)
    if not np.array_equal(np.sort(order), np.sort(fresh)):
        raise ValueError("the order of the rows has other rows than there are")
    return order


def _checked_rows(rows: Any, n_samples: int) -> NDArray:
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind != "i" or not rows.size:
        raise ValueError("rows are not numbers of rows")
    if rows.min() < 0 or rows.max() >= n_samples:
        raise ValueError(f"there are {n_samples} rows, and numbers of rows from {rows.min()} to {rows.max()}")
    return rows


# The file -------------------------------------------------------------------------------------------------------------


def save_checkpoint(path: str | os.PathLike, estimator: Any) -> None:
    """Write an estimator in training, after an epoch, to a file, which is never seen half-written."""
    training, validation_data = estimator._training, estimator._validation_data
    arrays: dict[str, NDArray] = {}
    facts = {
        "estimator": type(estimator).__name__,
        "parameters": described_parameters(estimator),
        "data": _facts_of_data(estimator, training.data, validation_data),
        "engine": estimator.engine_,
        "validation_rows": encode(None if validation_data is None else validation_data.rows, arrays),
        "state": encode(training.state(), arrays),
        "callbacks": [
            {"class": _class_name(callback), "state": encode(state, arrays)}
            for callback in _callbacks(estimator)
            if (state := callback.state_dict(estimator)) is not None
        ],
    }
    arrays[TEXT] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    write_file(path, "checkpoint", FORMAT, arrays)


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint; raises ValueError if the file is something else, damaged, or of another version."""
    arrays = read_file(path, "checkpoint", [FORMAT])
    with naming_file(path, "is damaged"):
        return Checkpoint(path, dict(json.loads(arrays.pop(TEXT).tobytes())), arrays)
