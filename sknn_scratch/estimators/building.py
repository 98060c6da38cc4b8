"""The parts of a model: built of an estimator's parameters and its data, taken out of it, and put into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, Optimizer
from sknn_scratch.catalogue.schedules import Schedule
from sknn_scratch.estimators.fit_kind import FitKind
from sknn_scratch.estimators.parameters import (
    check_estimator_parameters,
    defaults,
    dropout_rates,
    hidden_sizes,
    make_activations,
    make_component,
    make_initializers,
    make_schedule,
    python_parameters,
)
from sknn_scratch.estimators.validation_set import stops_by
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.data import TrainingData
from sknn_scratch.training.job import Job
from sknn_scratch.training.progress import Progress, progress_of
from sknn_scratch.warn import warn


def build_network(estimator: Any, data: TrainingData, kind: FitKind, rng: np.random.RandomState) -> Perceptron:
    """Return the network for these samples, with initial parameters or those of the fitted model."""
    fitted_loss: Any = getattr(estimator, "_loss", None)
    estimator._loss = loss = estimator._make_loss()
    data.check_targets(loss)
    layer_units = [data.X.shape[1], *hidden_sizes(estimator), loss.n_raw_outputs(data.y.shape[1])]
    activations = make_activations(estimator, n_hidden=len(layer_units) - 2)
    network = Perceptron(layer_units, activations[:-1], loss.link, data.X.dtype)
    if kind.continues_model:
        _check_same_network(estimator, loss, fitted_loss, layer_units)
        biases = estimator.intercepts_
        network.set_layers(estimator.coefs_, biases if estimator.fit_intercept else [np.zeros_like(b) for b in biases])
    else:
        of_weights, of_biases = (
            make_initializers(given, activations) for given in (estimator.weight_init, estimator.bias_init)
        )
        network.initialize(of_weights, of_biases if estimator.fit_intercept else None, rng)
    if estimator.input_noise and not isinstance(data.X, np.ndarray):
        raise ValueError(f"input_noise={estimator.input_noise!r} is not for sparse X, which it would make dense.")
    return network


def _check_same_network(estimator: Any, loss: Loss, fitted_loss: Loss, layer_units: list[int]) -> None:
    """Raise ValueError if the fitted model has other layers, or the outputs of its loss mean something else."""
    counts = loss.n_raw_outputs(1), fitted_loss.n_raw_outputs(1)
    if counts != (1, 1) and (counts[0] != counts[1] or type(loss) is not type(fitted_loss)):
        raise ValueError(
            f"A model fitted with {fitted_loss!r} cannot be trained further with {loss!r}: their outputs "
            "mean different things. Start anew with fit and warm_start=False."
        )
    if layer_units != (fitted := estimator.perceptron.layer_units):
        raise ValueError(
            f"A model with layers of {fitted} units cannot be trained further as one of {layer_units} units: keep "
            "hidden_layer_sizes and the number of outputs of y, or start anew with fit and warm_start=False."
        )


def build_job(
    estimator: Any, network: Perceptron, data: TrainingData, kind: FitKind, rng: np.random.RandomState
) -> Job:
    """Return what is to be trained, on all samples at once."""
    parameters = python_parameters(estimator)
    job = Job(
        network,
        estimator._loss,
        *(data.X, data.y, data.sample_weight, data.n_rows),
        alpha=parameters.alpha,
        l1_ratio=parameters.l1_ratio,
        max_grad_norm=parameters.max_grad_norm,
        fit_intercept=parameters.fit_intercept,
        dropout=dropout_rates(parameters, len(network.activations)),
        input_noise=parameters.input_noise,
        device=parameters.device,
    )
    if job.is_noisy:  # with one seed, other draws after t_ samples than before
        job.seed = int(rng.randint(2**31)) * 2**31 + (estimator.t_ if kind.continues_model else 0) % 2**31
    return job


def build_untrained_job(
    estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None, rng: np.random.RandomState
) -> Job:
    """Return, in float64, what ``fit`` would begin to train."""
    check_estimator_parameters(estimator)
    data = estimator._check_data(X, y, sample_weight, FitKind.FRESH).astype(np.float64)
    network = build_network(estimator, data, FitKind.FRESH, rng)
    return build_job(estimator, network, data, FitKind.FRESH, rng)


def build_optimizer(estimator: Any, parameters: Any, network: Perceptron, kind: FitKind) -> Optimizer:
    """Return a new optimiser; for ``partial_fit``, one in the state of the last call's."""
    optimizer = make_component(parameters.solver, OPTIMIZERS, parameters)
    optimizer.start(network.parameters.size, network.dtype, network.n_weights)
    if not optimizer.is_ours:
        optimizer.check_formulas(network.dtype)
    previous: Any = getattr(estimator, "_optimizer", None)
    goes_on = kind is FitKind.INCREMENT and type(previous) is type(optimizer)
    if goes_on and previous.state.shape == optimizer.state.shape:  # else layers were replaced by wider ones
        optimizer.resume(previous)
    return optimizer


def build_schedule(estimator: Any, parameters: Any, kind: FitKind) -> Schedule:
    """Return a new schedule; for ``partial_fit``, one that goes on from the last call's if its parameters are equal."""
    schedule = make_schedule(parameters)
    previous: Any = getattr(estimator, "_schedule", None)
    unchanged = type(previous) is type(schedule) and all(
        getattr(previous, name) == getattr(schedule, name) for name in [*defaults(type(schedule)), "learning_rate_init"]
    )
    if kind is FitKind.INCREMENT and unchanged:
        schedule.resume(previous)
    return schedule


def rows_per_batch(batch_size: int | str, n_rows: int) -> int:
    """Return ``batch_size`` as a number, at most that of the training samples."""
    if isinstance(batch_size, str):
        return min(200, n_rows)
    if batch_size > n_rows:
        warn(f"batch_size={batch_size} is larger than the {n_rows} training samples and will be clipped.")
    return min(batch_size, n_rows)


def build_progress(estimator: Any, kind: FitKind, validated: bool) -> Progress:
    """Return a new record of training, or one that goes on from the fitted model's."""
    now = early_stopping, _, loss = stops_by(estimator)
    before = getattr(estimator, "_stops_by", now)
    estimator._stops_by = now
    if not kind.continues_model:
        return Progress().next_run(early_stopping, validated)
    progress = progress_of(estimator)
    if not kind.is_incremental:  # a copy would make each call of partial_fit take longer than the one before
        progress.loss_curve = list(progress.loss_curve)
    # What is measured otherwise cannot be compared.
    if before != now:
        progress.best_validation_score = None
    if before[-1] != loss:
        progress.best_loss = None
    return progress.next_run(early_stopping, validated)


# What a fitted estimator has learnt: all that files, conversion and ONNX know of it -----------------------------------


@dataclass(frozen=True)
class FittedModel:
    """What a fitted estimator has learnt; its parts are the estimator's own, not copies."""

    network: Perceptron
    loss: Loss
    targets: Mapping[str, Any]  # what is known of them, such as the classes, as values that a file of arrays can hold
    target_scaling: tuple[NDArray, NDArray] | None  # shift and factor of the link's outputs, if standardised
    progress: Progress
    optimizer: Optimizer | None  # None where further training begins with a new one
    schedule: Schedule | None


def fitted_model(estimator: Any) -> FittedModel:
    """Return what a fitted estimator has learnt; raises NotFittedError if it is not fitted."""
    check_is_fitted(estimator)
    return FittedModel(
        estimator.perceptron,
        estimator._loss,
        estimator._describe_targets(),
        estimator._target_scaling(),
        progress_of(estimator),
        estimator._optimizer,
        estimator._schedule,
    )


def become_fitted(
    estimator: Any,
    weights: list[NDArray],
    biases: list[NDArray],
    targets: Mapping[str, Any],
    progress: Progress | None = None,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
) -> None:
    """Make an estimator, whose parameters are valid, one that has learnt this.

    Layers are not copied. By default ``progress`` is that of a model which has seen no samples. Raises ValueError if
    the layers are not those that the parameters ask for, an exception of any kind if ``targets`` is something else.
    """
    widths = [layer.shape[1] for layer in weights[:-1]]
    if widths != hidden_sizes(estimator):
        raise ValueError(
            f"The weights are of a network with hidden layers of {widths} units, and this one has "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}."
        )
    if not estimator.fit_intercept and any(layer.any() for layer in biases):
        raise ValueError("The weights are of a network with biases, and this one has fit_intercept=False.")
    n_columns = estimator._learn_targets(targets)
    estimator._loss = loss = estimator._make_loss()
    expected, n_outputs = loss.n_raw_outputs(n_columns), weights[-1].shape[1]
    if n_outputs != expected:
        raise ValueError(f"The weights are of a network with {n_outputs} output units, and this one has {expected}.")
    activations = make_activations(estimator, len(widths))[:-1]
    estimator._keep_network(Perceptron.of_layers(weights, biases, activations, loss.link))
    estimator.n_features_in_ = weights[0].shape[0]
    if hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_
    estimator._optimizer, estimator._schedule = optimizer, schedule
    estimator._stops_by, estimator.engine_ = stops_by(estimator), "numpy"
    if progress is None:
        progress = Progress().next_run(early_stopping=stops_by(estimator)[0])
    estimator._keep_progress(progress)
