"""The table of parameters that both estimators share, the checks by it, and the components made of parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import clone

from sknn_scratch.catalogue.activations import ACTIVATIONS, Activation
from sknn_scratch.catalogue.initializers import INITIALIZERS, GlorotUniform, Initializer
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, Optimizer
from sknn_scratch.catalogue.schedules import SCHEDULES, Function, Schedule
from sknn_scratch.engines import ENGINES
from sknn_scratch.estimators.constraints import (
    Boolean,
    Component,
    Constraint,
    Device,
    Number,
    OneOf,
    PerLayer,
    RandomState,
    Scoring,
    check_parameters,
)
from sknn_scratch.warn import warn


class Use(Enum):
    """Who uses a parameter. One that is not used and not at its default causes a warning, but MINIBATCHES an error."""

    ALL = "every solver"
    LBFGS = "'lbfgs'"
    STOCHASTIC = "every solver but 'lbfgs'"
    OPTIMIZER = "solvers given by name whose optimiser has a parameter of this name"
    SCHEDULE = "every solver but 'lbfgs'; but 'adam' ignores the schedules of scikit-learn"
    VALIDATION_SET = "every solver but 'lbfgs', if there is a validation set"
    HELD_OUT = "every solver but 'lbfgs', if a validation set is held out"
    MINIBATCHES = "every solver but 'lbfgs', which refuses it: its objective must be the same function in every step"


@dataclass(frozen=True)
class Parameter:
    """A row of the table of parameters."""

    constraint: Constraint  # what it may be
    use: Use = Use.ALL
    off: Any = None  # the value that means that there is none of it, for MINIBATCHES


SHARED_PARAMETERS: dict[str, Parameter] = {
    "hidden_layer_sizes": Parameter(
        PerLayer(
            Number(Integral, f"[1, {2**31 - 1}]"),
            f"an integer from 1 to {2**31 - 1}, or a list, tuple or 1-d array of such integers",
        )
    ),
    "activation": Parameter(
        Component(
            ACTIVATIONS,
            Activation,
            per_layer=True,
            instead_of_numbers="The sizes of several layers are one tuple: hidden_layer_sizes=(100, 50).",
        )
    ),
    "solver": Parameter(Component(OPTIMIZERS, Optimizer, also=("lbfgs",))),
    "alpha": Parameter(Number(Real, "[0, inf)")),
    "batch_size": Parameter(Number(Integral, "[1, inf)", ("auto",)), Use.STOCHASTIC),
    "learning_rate": Parameter(
        Component(
            SCHEDULES,
            Schedule,
            or_callable="a function from the number of epochs to the rate",
            instead_of_numbers="The rate itself is learning_rate_init.",
        ),
        Use.SCHEDULE,
    ),
    "learning_rate_init": Parameter(Number(Real, "(0, inf)"), Use.STOCHASTIC),
    "power_t": Parameter(Number(Real, "[0, inf)"), Use.SCHEDULE),
    "max_iter": Parameter(Number(Integral, "[1, inf)")),
    "shuffle": Parameter(Boolean(), Use.STOCHASTIC),
    "random_state": Parameter(RandomState()),
    "tol": Parameter(Number(Real, "[0, inf)")),
    "verbose": Parameter(Boolean(levels=True, options=("bar",))),
    "warm_start": Parameter(Boolean()),
    "momentum": Parameter(Number(Real, "[0, 1]"), Use.OPTIMIZER),
    "nesterovs_momentum": Parameter(Boolean(), Use.OPTIMIZER),
    "early_stopping": Parameter(Boolean(), Use.STOCHASTIC),
    "validation_fraction": Parameter(Number(Real, "[0, 1)"), Use.HELD_OUT),
    "beta_1": Parameter(Number(Real, "[0, 1)"), Use.OPTIMIZER),
    "beta_2": Parameter(Number(Real, "[0, 1)"), Use.OPTIMIZER),
    "epsilon": Parameter(Number(Real, "(0, inf)"), Use.OPTIMIZER),
    "n_iter_no_change": Parameter(Number(Integral, "[1, inf)", (np.inf,)), Use.STOCHASTIC),
    "max_fun": Parameter(Number(Integral, "[1, inf)"), Use.LBFGS),
    "l1_ratio": Parameter(Number(Real, "[0, 1]")),
    "weight_init": Parameter(Component(INITIALIZERS, Initializer)),
    "bias_init": Parameter(Component(INITIALIZERS, Initializer)),
    "fit_intercept": Parameter(Boolean()),
    "weight_decay": Parameter(Number(Real, "[0, inf)"), Use.OPTIMIZER),
    "max_grad_norm": Parameter(Number(Real, "(0, inf)", (None,)), Use.MINIBATCHES, off=None),
    "dropout": Parameter(
        PerLayer(
            Number(Real, "[0, 1)"),
            "a number in [0, 1), or a list of these with one for the input and one for each hidden layer",
        ),
        Use.MINIBATCHES,
        off=0,
    ),
    "input_noise": Parameter(Number(Real, "[0, inf)"), Use.MINIBATCHES, off=0),
    "average": Parameter(Number(Integral, "[1, inf)"), Use.MINIBATCHES, off=1),
    "scoring": Parameter(Scoring(), Use.VALIDATION_SET),
    "engine": Parameter(OneOf(("auto", *ENGINES))),
    "device": Parameter(Device()),
}

# The schedules of scikit-learn, which it ignores with adam.
OF_SKLEARN = ("adaptive", "constant", "invscaling")


# The parameters of a class with their defaults; kept, as inspect takes longer than an epoch on a few rows.
defaults: Callable[[Any], Mapping[str, Any]] = cache(
    lambda cls: {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}
)


def schedule_acts(estimator: Any) -> bool:
    """Return whether ``learning_rate`` has an effect."""
    by_name = isinstance(estimator.learning_rate, str)
    return not (estimator.solver == "adam" and by_name and estimator.learning_rate in OF_SKLEARN)


def ignored_parameters(estimator: Any) -> frozenset[str]:
    """Return the names of the parameters that the solver does not use, but for those that it refuses."""
    if estimator.solver == "lbfgs":
        return _used_by(*set(Use) - {Use.ALL, Use.LBFGS, Use.MINIBATCHES})
    of_optimizer = set(defaults(OPTIMIZERS[estimator.solver])) if isinstance(estimator.solver, str) else set()
    of_schedule = frozenset() if schedule_acts(estimator) else _used_by(Use.SCHEDULE)
    return _used_by(Use.LBFGS) | (_used_by(Use.OPTIMIZER) - of_optimizer) | of_schedule


@cache
def _used_by(*uses: Use) -> frozenset[str]:
    return frozenset(name for name, row in SHARED_PARAMETERS.items() if row.use in uses)


def _changed(estimator: Any, names: frozenset[str]) -> list[str]:
    """Return ``name=value`` of those parameters that are not at their default, in the order of the table."""
    usual = defaults(type(estimator))
    values = {name: getattr(estimator, name) for name in SHARED_PARAMETERS if name in names and name in usual}
    return [f"{name}={value!r}" for name, value in values.items() if value != usual[name]]


def check_by_table(estimator: Any) -> None:
    """Raise for a parameter that the estimator's table does not allow."""
    check_parameters(estimator, {name: row.constraint for name, row in estimator._parameters.items()})


def check_estimator_parameters(estimator: Any) -> None:
    """Raise for a parameter that is not allowed, and warn of those that the solver does not use."""
    table: dict[str, Parameter] = estimator._parameters
    check_by_table(estimator)
    if changed := _changed(estimator, ignored_parameters(estimator)):
        warn(f"solver={estimator.solver!r} does not use {', '.join(changed)}.")
    if estimator.solver == "lbfgs":
        for name in _used_by(Use.MINIBATCHES):
            value = getattr(estimator, name)
            if np.any(np.asarray(value) != table[name].off):
                raise ValueError(
                    f"{name}={value!r} cannot be used with solver='lbfgs', which minimises one fixed function "
                    "of all samples; use a stochastic solver, such as 'adam'."
                )


def warn_of_idle_validation(estimator: Any, has_own_set: bool) -> None:
    """Warn of parameters without effect: nothing is scored, or nothing held out.

    ``has_own_set`` says that there is an ``X_val``.
    """
    idle = {}
    if has_own_set:
        idle = {Use.HELD_OUT: "where X_val is given"}
    elif not estimator.early_stopping:
        idle = {Use.HELD_OUT: "without early_stopping=True", Use.VALIDATION_SET: "without early_stopping=True or X_val"}
    for use, reason in idle.items():
        for changed in _changed(estimator, _used_by(use)):
            warn(f"{changed} has no effect {reason}.")


def python_parameters(estimator: Any) -> SimpleNamespace:
    """Return the parameters of an estimator as training takes them: every number is Python's own float or int.

    In its own type, such as int8 or float32, one would overflow or round; and compiled code is for one type each.
    """
    table: dict[str, Parameter] = estimator._parameters
    return SimpleNamespace(**{name: row.constraint.to_python(getattr(estimator, name)) for name, row in table.items()})


def make_component(given: Any, registry: Mapping[str, type], parameters: Any = None) -> Any:
    """Return a component for training: the one of a name, or a copy of an object.

    The former takes what it can from ``parameters``, of the estimator as Python's. The latter's numbers are Python's
    own, floats where the default is one; InvalidParameterError is raised for one outside the component's ``ranges``.
    """
    if isinstance(given, str):
        names = () if parameters is None else defaults(registry[given]).keys() & SHARED_PARAMETERS.keys()
        return registry[given](**{name: getattr(parameters, name) for name in names})
    component, usual = clone(given), defaults(type(given))
    check_parameters(
        given, {name: _constraint(usual[name], in_) for name, in_ in given.ranges.items() if name in usual}
    )
    for name, value in component.get_params(deep=False).items():
        if isinstance(usual[name], float) and not isinstance(value, bool) and isinstance(value, Real):
            setattr(component, name, float(value))
        elif isinstance(value, np.generic):
            setattr(component, name, value.item())
    return component


def _constraint(default: Any, in_: str) -> Constraint:
    return Boolean() if in_ == "bool" else Number(Integral if isinstance(default, int) else Real, in_)


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
    return [make_component(one, ACTIVATIONS) for one in given]


def dropout_rates(parameters: Any, n_hidden: int) -> list[float]:
    """Return one for the input and one for each hidden layer; a single number is that of the hidden layers."""
    given = np.asarray(parameters.dropout, dtype=float).tolist()
    if not isinstance(given, list):
        if given and not n_hidden:
            warn(f"dropout={given!r} has no effect without hidden layers; [{given!r}] drops features.")
        return [0.0] + [given] * n_hidden
    if len(given) != n_hidden + 1:
        raise ValueError(
            f"dropout has {len(given)} entries, but hidden_layer_sizes={parameters.hidden_layer_sizes!r} needs "
            f"{n_hidden + 1}: one for the input and one for each hidden layer."
        )
    return given


def make_initializers(given: str | Initializer, activations: Sequence[Activation]) -> list[Initializer]:
    """Return one for each layer; 'glorot_uniform' goes by the activation."""
    if given == "glorot_uniform":
        return [GlorotUniform(activation.glorot_factor) for activation in activations]
    return [make_component(given, INITIALIZERS)] * len(activations)


def make_schedule(parameters: Any) -> Schedule:
    """Return the schedule of the learning rate, started; ``parameters`` are Python's."""
    given: Any = parameters.learning_rate if schedule_acts(parameters) else "constant"
    is_function = not isinstance(given, str | Schedule)
    schedule = Function(given) if is_function else make_component(given, SCHEDULES, parameters)
    schedule.start(parameters.learning_rate_init, parameters.max_iter)
    return schedule
