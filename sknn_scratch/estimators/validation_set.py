"""The validation set: given by the user or held out, and how it is scored."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split

from sknn_scratch.catalogue.losses import Loss, is_of_sklearn
from sknn_scratch.engines import raw_output
from sknn_scratch.estimators.arrays import check_sample_weight, check_samples, naming
from sknn_scratch.estimators.fit_kind import FitKind
from sknn_scratch.estimators.scaling import describe_other_scale
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.data import TrainingData
from sknn_scratch.training.job import ROWS_AT_ONCE, row_type
from sknn_scratch.warn import warn

# Rows from which the draws are made here: scikit-learn's own function takes ninety bytes for each row.
MANY = 2**17
AS_X = (
    "What is done to X before, such as scaling, has to be done to X_val; steps of a pipeline do so with "
    "make_pipeline(..., transform_input=['X_val'])."
)


def stops_by(estimator: Any) -> tuple[bool, Any, Any]:
    """Return whether there is early stopping, how a validation set is scored, and the loss."""
    early_stopping = bool(estimator.early_stopping) and estimator.solver != "lbfgs"
    by_loss = estimator.scoring is None and not is_of_sklearn(estimator._loss)
    return early_stopping, "loss" if by_loss else estimator.scoring, estimator.loss


def check_validation_data(
    estimator: Any, X_val: Any, y_val: Any, sample_weight_val: ArrayLike | None, X: Any
) -> TrainingData | None:
    """Validate and encode the validation set given to ``fit``, if there is one; ``X`` are the checked samples."""
    if X_val is None and y_val is None and sample_weight_val is None:
        return None
    if X_val is None or y_val is None:
        missing = "X_val" if X_val is None else "y_val"
        raise ValueError(f"{missing} is missing: a validation set is passed as X_val and y_val.")
    if estimator.solver == "lbfgs":
        raise ValueError("X_val cannot be used with solver='lbfgs', which has no epochs to validate.")
    X_val = _check_samples(estimator, X_val, X.dtype)
    if X_val.shape[0] < 2:
        raise ValueError("X_val has 1 sample; at least 2 are needed.")
    with naming("y_val"):
        encoded = estimator._encode_targets(X_val, y_val, FitKind.INCREMENT)
    with naming("sample_weight_val"):
        weights = check_sample_weight(sample_weight_val, X_val)
    if described := describe_other_scale(X, X_val, getattr(estimator, "feature_names_in_", None)):
        warn(f"{described} {AS_X}")
    return TrainingData(X_val, encoded, estimator._weigh_classes(encoded, weights)).in_fixed_order()


def _check_samples(estimator: Any, X_val: Any, dtype: Any) -> Any:
    """Return ``X_val`` checked; an error says so if it seems to have gone past the steps of a pipeline."""
    try:
        with naming("X_val"):
            return check_samples(estimator, X_val, reset=False, dtype=dtype)
    except (TypeError, ValueError) as error:
        is_still_a_frame = hasattr(X_val, "columns") and not hasattr(estimator, "feature_names_in_")
        if not is_still_a_frame and getattr(X_val, "shape", ())[1:] in ((), (estimator.n_features_in_,)):
            raise
        error_type = TypeError if isinstance(error, TypeError) else ValueError
        raise error_type(f"{error} {AS_X}") from error


def hold_out(estimator: Any, data: TrainingData, rng: np.random.RandomState) -> tuple[TrainingData, TrainingData]:
    """Split off a validation set, as rows rather than as copies."""
    n_samples = data.n_rows
    described = f"validation_fraction={estimator.validation_fraction} of {n_samples} samples"
    # As scikit-learn counts, also for a float32, with which 0.2 * 100 is 20 and not a little more.
    n_held_out = math.ceil(estimator.validation_fraction * n_samples)
    if n_held_out < 2:
        raise ValueError(
            f"{described} leaves a validation set of {n_held_out}, too small for early stopping: at "
            "least 2 are needed. Increase validation_fraction or the size of your dataset."
        )
    if n_held_out == n_samples:
        raise ValueError(f"{described} leaves nothing to train on. Decrease it, or have more samples.")
    try:
        train_rows, validation_rows = split_rows(n_samples, n_held_out, rng, estimator._stratify(data.y))
    except ValueError as error:
        raise ValueError(f"{described} cannot be held out for early stopping: {error}") from error
    counts = None if data.sample_weight is None else data.sample_weight > 0
    for part, rows in {"training": train_rows, "validation": validation_rows}.items():
        if counts is not None and not counts[rows].any():
            raise ValueError(f"sample_weight is zero for every sample of the {part} set ({described}).")
    return replace(data, rows=train_rows), replace(data, rows=validation_rows)


def make_validation(estimator: Any, network: Perceptron, held_out: TrainingData) -> Callable[[], tuple[float, float]]:
    """Return a function that computes loss and score of the network's parameters on the validation set."""
    rows = slice(None) if held_out.rows is None else held_out.rows
    y, loss_function = held_out.y[rows], estimator._loss
    weights = None if held_out.sample_weight is None else held_out.sample_weight[rows]
    if held_out.rows is None:
        with naming("y_val"):
            held_out.check_targets(loss_function)
    truth, scoring = estimator._decode_targets(y), stops_by(estimator)[1]
    scorer = None if scoring in (None, "loss") else _make_scorer(estimator, held_out.X, rows, truth, weights)

    def validate() -> tuple[float, float]:
        output = raw_output(network, held_out.X, held_out.rows, device=estimator.device)
        loss = float(np.average(_losses(loss_function, y, output), weights=weights))
        if scoring == "loss":
            return loss, -loss
        if scorer is not None:
            return loss, scorer()
        return loss, estimator._score_prediction(truth, estimator._link_inverse(output), weights)

    return validate


def _losses(loss: Loss, y: NDArray, raw_output: NDArray) -> NDArray:
    """Return the loss of each row; a block at a time, as what is computed on the way takes many times the memory."""
    some = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(y), ROWS_AT_ONCE)]
    return np.concatenate([loss.value(y[rows].astype(raw_output.dtype, copy=False), raw_output[rows]) for rows in some])


def _make_scorer(
    estimator: Any, X: Any, rows: NDArray | slice, truth: Any, weights: NDArray | None
) -> Callable[[], float]:
    """Return what the scorer that is ``scoring`` says about the validation set."""
    # Has the same coefs_, the network's own, but no names of features, which X lacks by now.
    model = copy.copy(estimator)
    if hasattr(model, "feature_names_in_"):
        del model.feature_names_in_
    scorer, X = check_scoring(model, estimator.scoring), X[rows]
    if issparse(truth):
        truth = np.asarray(truth.todense())
    takes_weights = any(
        p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in inspect.signature(scorer).parameters.values()
    )
    parameters = {"sample_weight": weights} if takes_weights and weights is not None else {}

    def score() -> float:
        with naming("scoring"):
            return float(scorer(model, X, truth, **parameters))

    return score


# Which rows are held out: scikit-learn's draws, with less memory ------------------------------------------------------


def split_rows(
    n_rows: int, n_held_out: int, rng: np.random.RandomState, strata: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """Return the numbers of the rows to train on and of those that are held out, each in random order.

    They, and errors, are those of ``train_test_split(np.arange(n_rows), test_size=n_held_out, random_state=rng,
    stratify=strata)``.
    """
    kind = row_type(n_rows)
    values, counts = (None, None) if strata is None else np.unique(strata, return_counts=True)
    too_few = counts is not None and (counts.min() < 2 or len(counts) > min(n_held_out, n_rows - n_held_out))
    if n_rows < MANY or too_few or not 0 < n_held_out < n_rows:  # where it cannot be, the error says why
        parts = train_test_split(np.arange(n_rows), test_size=n_held_out, random_state=rng, stratify=strata)
        return parts[0].astype(kind), parts[1].astype(kind)
    if values is None or counts is None:
        order: NDArray = np.arange(n_rows, dtype=kind)
        rng.shuffle(order)
        return order[n_held_out:], order[:n_held_out]
    n_train = _shares(counts, n_rows - n_held_out, rng)
    n_test = _shares(counts - n_train, n_held_out, rng)
    train: NDArray = np.empty(n_rows - n_held_out, kind)
    held_out: NDArray = np.empty(n_held_out, kind)
    at, at_held_out = 0, 0
    for value, k, m in zip(values, n_train.tolist(), n_test.tolist(), strict=True):
        members: NDArray = np.flatnonzero(strata == value).astype(kind)
        rng.shuffle(members)
        train[at : at + k], held_out[at_held_out : at_held_out + m] = members[:k], members[k : k + m]
        at, at_held_out = at + k, at_held_out + m
    rng.shuffle(train)
    rng.shuffle(held_out)
    return train, held_out


def _shares(counts: NDArray, n_drawn: int, rng: np.random.RandomState) -> NDArray:
    """Return how many of each count are drawn: its share of all, and one more for the largest fractions, or by draw."""
    exact = counts / counts.sum() * n_drawn
    shares = np.floor(exact)
    fractions, missing = exact - shares, int(n_drawn - shares.sum())
    for fraction in np.unique(fractions)[::-1]:
        if missing <= 0:
            break
        (equal,) = np.nonzero(fractions == fraction)
        n_more = min(len(equal), missing)
        shares[rng.choice(equal, size=n_more, replace=False)] += 1
        missing -= n_more
    return shares.astype(int)
