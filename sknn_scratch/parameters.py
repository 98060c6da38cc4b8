"""The parameters that both estimators share: what each may be, who uses it, and the parts that are built from them."""

from __future__ import annotations

import inspect
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sknn_scratch.activations import ACTIVATIONS, Activation
from sknn_scratch.constraints import (
    Boolean,
    Component,
    Constraint,
    HiddenLayerSizes,
    Number,
    OneOf,
    RandomState,
    check_parameters,
)
from sknn_scratch.optimizers import OPTIMIZERS
from sknn_scratch.schedules import SCHEDULES

__all__ = ["SHARED_CONSTRAINTS", "build", "check_estimator_parameters", "hidden_sizes", "make_activations"]

SHARED_CONSTRAINTS: dict[str, Constraint] = {
    "hidden_layer_sizes": HiddenLayerSizes(),
    "activation": Component(ACTIVATIONS, Activation, per_layer=True),
    "solver": OneOf([*OPTIMIZERS, "lbfgs"]),
    "alpha": Number(Real, "[0, inf)"),
    "batch_size": Number(Integral, "[1, inf)", ("auto",)),
    "learning_rate": OneOf(SCHEDULES),
    "learning_rate_init": Number(Real, "(0, inf)"),
    "power_t": Number(Real, "[0, inf)"),
    "max_iter": Number(Integral, "[1, inf)"),
    "shuffle": Boolean(),
    "random_state": RandomState(),
    "tol": Number(Real, "[0, inf)"),
    "verbose": Boolean(levels=True),
    "warm_start": Boolean(),
    "momentum": Number(Real, "[0, 1]"),
    "nesterovs_momentum": Boolean(),
    "early_stopping": Boolean(),
    "validation_fraction": Number(Real, "[0, 1)"),
    "beta_1": Number(Real, "[0, 1)"),
    "beta_2": Number(Real, "[0, 1)"),
    "epsilon": Number(Real, "(0, inf)"),
    "n_iter_no_change": Number(Integral, "[1, inf)", (np.inf,)),
    "max_fun": Number(Integral, "[1, inf)"),
}

# Parameters that only some solvers use.
SOLVERS_USING = {
    "batch_size": ("sgd", "adam"),
    "learning_rate": ("sgd",),
    "learning_rate_init": ("sgd", "adam"),
    "power_t": ("sgd",),
    "shuffle": ("sgd", "adam"),
    "momentum": ("sgd",),
    "nesterovs_momentum": ("sgd",),
    "early_stopping": ("sgd", "adam"),
    "validation_fraction": ("sgd", "adam"),
    "beta_1": ("adam",),
    "beta_2": ("adam",),
    "epsilon": ("adam",),
    "n_iter_no_change": ("sgd", "adam"),
    "max_fun": ("lbfgs",),
}


def check_estimator_parameters(estimator: Any, constraints: dict[str, Constraint]) -> None:
    """Raise for a parameter that is not allowed, and warn of those that the solver does not use."""
    values = {name: getattr(estimator, name) for name in constraints}
    check_parameters(type(estimator).__name__, values, constraints)
    signature = inspect.signature(type(estimator)).parameters
    ignored = [
        f"{name}={values[name]!r}"
        for name, solvers in SOLVERS_USING.items()
        if estimator.solver not in solvers and name in signature and values[name] != signature[name].default
    ]
    if ignored:
        message = f"solver={estimator.solver!r} does not use {', '.join(ignored)}."
        warnings.warn(message, UserWarning, stacklevel=4)  # at the line that calls fit


def hidden_sizes(estimator: Any) -> list[int]:
    """Return ``hidden_layer_sizes`` as a list."""
    return np.ravel(np.asarray(estimator.hidden_layer_sizes, dtype=int)).tolist()


def make_activations(estimator: Any, n_hidden: int) -> list[Activation]:
    """Return one for each hidden layer, and at the end the one by which the output layer is initialised."""
    given = estimator.activation
    if not isinstance(given, list | tuple):
        given = [given] * (n_hidden + 1)
    elif len(given) == n_hidden:
        given = [*given, given[-1] if given else "identity"]
    else:
        raise ValueError(
            f"activation has {len(given)} entries, but hidden_layer_sizes={estimator.hidden_layer_sizes!r} makes "
            f"{n_hidden} hidden layers."
        )
    return [ACTIVATIONS[item]() if isinstance(item, str) else item for item in given]


def build(component: type[Any], estimator: BaseEstimator) -> Any:
    """Make a component with those of the estimator's parameters that it takes."""
    return component(**{name: getattr(estimator, name) for name in inspect.signature(component).parameters})
