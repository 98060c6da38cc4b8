"""The parameters that both estimators share: what each may be, who uses it, and the parts that are built from them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, clone

from sknn_scratch.activations import ACTIVATIONS, Activation
from sknn_scratch.constraints import (
    Boolean,
    Component,
    Constraint,
    DropoutRates,
    HiddenLayerSizes,
    Number,
    OneOf,
    RandomState,
    Scoring,
    check_parameters,
)
from sknn_scratch.initializers import INITIALIZERS, GlorotUniform, Initializer
from sknn_scratch.optimizers import OPTIMIZERS, Optimizer
from sknn_scratch.schedules import SCHEDULES, Function, Schedule
from sknn_scratch.warn import warn

__all__ = [
    "SHARED_CONSTRAINTS",
    "check_estimator_parameters",
    "defaults",
    "dropout_rates",
    "hidden_sizes",
    "make_activations",
    "make_component",
    "make_initializers",
    "make_optimizer",
    "make_schedule",
    "python_parameters",
]

Part = TypeVar("Part", bound=BaseEstimator)

SHARED_CONSTRAINTS: dict[str, Constraint] = {
    "hidden_layer_sizes": HiddenLayerSizes(),
    "activation": Component(
        ACTIVATIONS,
        Activation,
        per_layer=True,
        instead_of_numbers="The sizes of several layers are one tuple: hidden_layer_sizes=(100, 50).",
    ),
    "solver": Component(OPTIMIZERS, Optimizer, also=("lbfgs",)),
    "alpha": Number(Real, "[0, inf)"),
    "batch_size": Number(Integral, "[1, inf)", ("auto",)),
    "learning_rate": Component(
        SCHEDULES,
        Schedule,
        or_callable="a function from the number of epochs to the rate",
        instead_of_numbers="The rate itself is learning_rate_init.",
    ),
    "learning_rate_init": Number(Real, "(0, inf)"),
    "power_t": Number(Real, "[0, inf)"),
    "max_iter": Number(Integral, "[1, inf)"),
    "shuffle": Boolean(),
    "random_state": RandomState(),
    "tol": Number(Real, "[0, inf)"),
    "verbose": Boolean(levels=True, others=("bar",)),
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
    "l1_ratio": Number(Real, "[0, 1]"),
    "weight_init": Component(INITIALIZERS, Initializer),
    "bias_init": Component(INITIALIZERS, Initializer),
    "fit_intercept": Boolean(),
    "weight_decay": Number(Real, "[0, inf)"),
    "max_grad_norm": Number(Real, "(0, inf)", (None,)),
    "dropout": DropoutRates(),
    "input_noise": Number(Real, "[0, inf)"),
    "average": Number(Integral, "[1, inf)"),
    "scoring": Scoring(),
    "engine": OneOf(("auto", "numba", "numpy")),
}

# Parameters that lbfgs does not use, and parameters that only the optimisers use that take them.
OF_STOCHASTIC_SOLVERS = (
    "batch_size",
    "learning_rate",
    "learning_rate_init",
    "power_t",
    "shuffle",
    "early_stopping",
    "validation_fraction",
    "n_iter_no_change",
    "scoring",
)
OF_OPTIMIZERS = ("momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon", "weight_decay")
# Parameters that need many steps, each on other draws or samples; with what they mean when they are off.
NEED_MINIBATCHES = {"dropout": 0, "input_noise": 0, "average": 1, "max_grad_norm": None}
# With adam, scikit-learn ignores its own schedules.
IGNORED_BY_ADAM = ("adaptive", "constant", "invscaling")


def defaults(cls: Any) -> Mapping[str, Any]:
    """Return the parameters of a class with their defaults."""
    return _defaults(cls)


@cache  # inspect takes longer than an epoch on a few rows
def _defaults(cls: Any) -> Mapping[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}


def schedule_acts(estimator: Any) -> bool:
    """Return whether ``learning_rate`` has an effect."""
    by_name = isinstance(estimator.learning_rate, str)
    return not (estimator.solver == "adam" and by_name and estimator.learning_rate in IGNORED_BY_ADAM)


def ignored_parameters(estimator: Any) -> set[str]:
    """Return the names of the parameters that the solver does not use."""
    if estimator.solver == "lbfgs":
        return {*OF_STOCHASTIC_SOLVERS, *OF_OPTIMIZERS}
    used = set(defaults(OPTIMIZERS[estimator.solver])) if isinstance(estimator.solver, str) else set()
    return {"max_fun", *OF_OPTIMIZERS} - used | (set() if schedule_acts(estimator) else {"learning_rate", "power_t"})


def check_estimator_parameters(estimator: Any, constraints: dict[str, Constraint]) -> None:
    """Raise for a parameter that is not allowed, and warn of those that the solver does not use."""
    values = {name: getattr(estimator, name) for name in constraints}
    check_parameters(type(estimator).__name__, values, constraints)
    usual, ignored = defaults(type(estimator)), ignored_parameters(estimator)
    changed = [
        f"{name}={values[name]!r}"
        for name in constraints
        if name in ignored and name in usual and values[name] != usual[name]
    ]
    if changed:
        warn(f"solver={estimator.solver!r} does not use {', '.join(changed)}.")

    if estimator.solver == "lbfgs":
        for name, off in NEED_MINIBATCHES.items():
            if np.any(np.asarray(values[name]) != off):
                raise ValueError(
                    f"{name}={values[name]!r} cannot be used with solver='lbfgs', which minimises one fixed function "
                    "of all samples; use a stochastic solver, such as 'adam'."
                )


def python_parameters(estimator: Any, constraints: Mapping[str, Constraint]) -> SimpleNamespace:
    """Return the parameters of an estimator as training takes them: every number is Python's own float or int.

    An estimator keeps what it was given, which may be any number, such as ``alpha=0`` or ``np.int8(100)``. Computed
    with in its own type, an int8 overflows and a float32 rounds; and compiled code is for one type each.
    """
    return SimpleNamespace(
        **{name: constraint.to_python(getattr(estimator, name)) for name, constraint in constraints.items()}
    )


def make_component(given: Part) -> Part:
    """Return a copy of a component for training; its numbers are Python's own, floats where the default is one."""
    component, signature = clone(given), inspect.signature(type(given)).parameters
    for name, value in component.get_params(deep=False).items():
        if isinstance(signature[name].default, float) and not isinstance(value, bool) and isinstance(value, Real):
            setattr(component, name, float(value))
        elif isinstance(value, np.generic):
            setattr(component, name, value.item())
    return component


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
            f"{n_hidden} hidden layer{'' if n_hidden == 1 else 's'}."
        )
    return [ACTIVATIONS[item]() if isinstance(item, str) else make_component(item) for item in given]


def dropout_rates(parameters: Any, n_hidden: int) -> list[float]:
    """Return one for the input and one for each hidden layer; a single number is that of the hidden layers."""
    given = parameters.dropout.tolist() if isinstance(parameters.dropout, np.ndarray) else parameters.dropout
    if not isinstance(given, list | tuple):
        if given and not n_hidden:
            warn(f"dropout={given!r} has no effect without hidden layers; [{given!r}] drops features.")
        return [0.0] + [float(given)] * n_hidden
    if len(given) != n_hidden + 1:
        raise ValueError(
            f"dropout has {len(given)} entries, but hidden_layer_sizes={parameters.hidden_layer_sizes!r} needs "
            f"{n_hidden + 1}: one for the input and one for each hidden layer."
        )
    return [float(rate) for rate in given]


def make_initializers(given: str | Initializer, activations: Sequence[Activation]) -> list[Initializer]:
    """Return one for each layer; 'glorot_uniform' goes by the activation."""
    if given == "glorot_uniform":
        return [GlorotUniform(activation.glorot_factor) for activation in activations]
    return [INITIALIZERS[given]() if isinstance(given, str) else make_component(given)] * len(activations)


def make_optimizer(parameters: Any) -> Optimizer:
    """Return the optimiser of a stochastic solver, not yet started; ``parameters`` are Python's."""
    if isinstance(parameters.solver, Optimizer):
        return make_component(parameters.solver)
    return _build(OPTIMIZERS[parameters.solver], parameters)


def make_schedule(parameters: Any) -> Schedule:
    """Return the schedule of the learning rate, started; ``parameters`` are Python's."""
    given = parameters.learning_rate if schedule_acts(parameters) else "constant"
    if isinstance(given, Schedule):
        schedule = make_component(given)
    elif isinstance(given, str):
        schedule = _build(SCHEDULES[given], parameters)
    else:
        schedule = Function(given)
    schedule.start(parameters.learning_rate_init, parameters.max_iter)
    return schedule


def _build(component: type[Any], parameters: Any) -> Any:
    """Make a component with those of its parameters that the estimator has too."""
    names = defaults(component).keys() & SHARED_CONSTRAINTS.keys()
    return component(**{name: getattr(parameters, name) for name in names})
