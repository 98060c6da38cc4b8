"""The table of parameters, and whether the docstrings say what it says."""

import ast
import inspect
import re

import numpy as np
import pytest
from tasks import make_task, our_estimator

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.initializers import INITIALIZERS
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, Quantile
from sknn_scratch.catalogue.optimizers import OPTIMIZERS
from sknn_scratch.catalogue.schedules import SCHEDULES
from sknn_scratch.estimators.constraints import (
    Boolean,
    Component,
    InvalidParameterError,
    Number,
    OneOf,
    PerLayer,
)
from sknn_scratch.estimators.parameters import SHARED_PARAMETERS, Use, defaults, make_component

ESTIMATORS = (MLPFromScratchClassifier, MLPFromScratchRegressor)
COMPONENTS = {
    "activation": ACTIVATIONS,
    "solver": OPTIMIZERS,
    "learning_rate": SCHEDULES,
    "weight_init": INITIALIZERS,
    "loss": CLASSIFIER_LOSSES | REGRESSOR_LOSSES,
}
PARTS = [
    (role, cls, name)
    for role, registry in COMPONENTS.items()
    for cls in registry.values()
    for name in inspect.signature(cls).parameters
    if cls is not Quantile  # which checks its list by itself
]
ROWS = [(cls, name) for cls in ESTIMATORS for name in cls._parameters]
IDS = [f"{cls.__name__.removeprefix('MLPFromScratch')}-{name}" for cls, name in ROWS]
IN_WORDS = {"[1, inf)": "at least 1", "[0, inf)": "at least 0", "(0, inf)": "greater than 0"}


def documented(cls):
    """Return what the docstring says of each parameter: the line of its type, and the text below."""
    section = inspect.cleandoc(cls.__doc__).split("Parameters\n----------\n")[1].split("\nAttributes\n")[0]
    parts = re.split(r"^(?=\w)", section, flags=re.MULTILINE)
    entries = {}
    for part in filter(str.strip, parts):
        head, _, text = part.partition("\n")
        names, _, of_type = head.partition(" : ")
        for position, name in enumerate(names.split(", ")):
            entries[name] = of_type, " ".join(text.split()), position, names.count(",") + 1
    return entries


DOCUMENTED = {cls: documented(cls) for cls in ESTIMATORS}


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_the_table_the_signature_and_the_docstring_have_the_same_parameters(cls):
    assert list(DOCUMENTED[cls]) == list(inspect.signature(cls).parameters)
    assert set(cls._parameters) == set(DOCUMENTED[cls])


@pytest.mark.parametrize(("cls", "name"), ROWS, ids=IDS)
def test_the_docstring_names_the_default(cls, name):
    of_type, _, position, n_names = DOCUMENTED[cls][name]
    default = ast.literal_eval(of_type.split("default=")[1])
    if n_names > 1 and isinstance(default, tuple):
        default = default[position]
    assert default == inspect.signature(cls).parameters[name].default
    assert type(default) is type(inspect.signature(cls).parameters[name].default)


@pytest.mark.parametrize(("cls", "name"), ROWS, ids=IDS)
def test_the_docstring_names_the_range(cls, name):
    of_type, text, _, _ = DOCUMENTED[cls][name]
    constraint = cls._parameters[name].constraint
    if isinstance(constraint, Number):
        assert of_type.startswith("int" if isinstance(default_of(cls, name), int) or "int" in of_type else "float")
        assert IN_WORDS.get(constraint.interval, f"in {constraint.interval}") in text
        for other in constraint.others:
            assert ("inf" if other == np.inf else repr(other)) in of_type
    elif isinstance(constraint, PerLayer):
        interval = constraint.number.interval
        assert ("at least 1" if interval.startswith("[1, ") else f"in {interval}") in text
    elif isinstance(constraint, Boolean):
        assert of_type.startswith("bool")
        assert all(repr(other) in of_type for other in constraint.options)
    elif isinstance(constraint, OneOf):
        assert of_type.startswith("{" + ", ".join(map(repr, sorted(constraint.options))) + "}")
        assert constraint.none == ("None" in of_type)
    elif isinstance(constraint, Component):
        assert of_type.startswith(f"str{' or' if ', ' not in of_type.split(', default')[0] else ','}")
        assert constraint.base.__name__ in of_type
        for option in (*constraint.registry, *constraint.also):
            assert repr(option) in text


def default_of(cls, name):
    return inspect.signature(cls).parameters[name].default


@pytest.mark.parametrize(("cls", "name"), ROWS, ids=IDS)
def test_the_docstring_names_who_uses_it(cls, name):
    text, use = DOCUMENTED[cls][name][1], cls._parameters[name].use
    if use is Use.MINIBATCHES:
        assert "Not for 'lbfgs'" in text
    elif use is Use.STOCHASTIC:
        assert "Not used by 'lbfgs'" in text
    elif use is Use.LBFGS:
        assert "by 'lbfgs'" in text
    elif use is Use.OPTIMIZER:
        users = {solver for solver, optimizer in OPTIMIZERS.items() if name in defaults(optimizer)}
        others = {f"'{solver}'" for solver in OPTIMIZERS} - {f"'{solver}'" for solver in users}
        named = set(re.findall(r"'\w+'", text))
        assert named == ({f"'{solver}'" for solver in users} if "all stochastic solvers but" not in text else others)
    elif use is Use.VALIDATION_SET:
        assert "validation set" in text
    elif use is Use.HELD_OUT:
        assert "held out with ``early_stopping``" in text


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_off_is_the_default(cls):
    for name, row in cls._parameters.items():
        if row.use is Use.MINIBATCHES:
            assert default_of(cls, name) == row.off
        else:
            assert row.off is None


def test_every_parameter_of_an_optimiser_is_for_optimisers():
    """Otherwise it would have no effect with the others, and no warning would say so."""
    of_optimizers = set().union(*(defaults(optimizer) for optimizer in OPTIMIZERS.values()))
    shared = of_optimizers & SHARED_PARAMETERS.keys()
    assert shared == {name for name, row in SHARED_PARAMETERS.items() if row.use is Use.OPTIMIZER}


# Parameters of components ---------------------------------------------------------------------------------------------


def just_outside(interval):
    """Return values that are not in an interval: its ends, or numbers just beyond, and what is no number."""
    if interval == "bool":
        return ["yes", 0, None]
    low, high = map(float, interval[1:-1].split(","))
    ends = [low if interval[0] == "(" else low - 1e-6, high if interval[-1] == ")" else high + 1e-6]
    return [*ends, np.nan, True, "1", None]


@pytest.mark.parametrize(("role", "cls", "name"), PARTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_parameters_of_components_are_in_their_ranges(role, cls, name):
    """The estimator is left as it was, and the default is always allowed."""
    assert cls.ranges.keys() == inspect.signature(cls).parameters.keys()
    task = "binary" if cls in CLASSIFIER_LOSSES.values() else "regression"
    X, y = make_task(task)
    for wrong in just_outside(cls.ranges[name]):
        model = our_estimator(task, **{role: cls(**{name: wrong})})
        before = set(vars(model))
        with pytest.raises(ValueError, match=rf"The parameter '{name}' of {cls.__name__} must be .*; got "):
            model.fit(X, y)
        assert set(vars(model)) == before
    make_component(cls(), {})


@pytest.mark.parametrize(("role", "cls", "name"), PARTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_docstring_of_a_component_names_the_range(role, cls, name):
    of_type, text, _, _ = documented(cls)[name]
    interval = cls.ranges[name]
    assert of_type.partition(",")[0] == type(inspect.signature(cls).parameters[name].default).__name__
    if interval not in ("bool", "(-inf, inf)") and text != "As for Adam.":
        assert IN_WORDS.get(interval, f"in {interval}") in text.lower()


def test_a_component_of_ones_own_states_its_ranges():
    class Scaled(ACTIVATIONS["tanh"]):
        ranges = {"scale": "(0, inf)"}  # noqa: RUF012

        def __init__(self, scale=1.0, whatever=None):
            self.scale = scale
            self.whatever = whatever

    assert make_component(Scaled(np.float32(2)), {}).scale == 2
    with pytest.raises(InvalidParameterError, match=r"'scale' of Scaled must be a number in \(0, inf\); got 0."):
        make_component(Scaled(0), {})
