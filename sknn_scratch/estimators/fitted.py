"""What an estimator has learnt, as one object: all that files, conversion and ONNX know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.catalogue.optimizers import Optimizer
from sknn_scratch.catalogue.schedules import Schedule
from sknn_scratch.estimators.parameters import hidden_sizes, make_activations
from sknn_scratch.estimators.validation_set import stops_by
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.progress import Progress, progress_of


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
    estimator._scored_by, estimator.engine_ = stops_by(estimator), "numpy"
    if progress is None:
        progress = Progress().next_run(early_stopping=stops_by(estimator)[0])
    estimator._keep_progress(progress)
