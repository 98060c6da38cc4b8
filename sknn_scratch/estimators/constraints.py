"""What each constructor parameter may be, and the error that says so."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer_names

from sknn_scratch.estimators.suggestions import SCORERS_ELSEWHERE, did_you_mean


class InvalidParameterError(ValueError, TypeError):
    """A parameter has the wrong type or is out of range; like scikit-learn's, it can be caught as either."""


class Constraint(ABC):
    """A set of allowed values, which ``str`` describes in words."""

    in_words = ""
    options: Iterable[str] = ()  # strings that are allowed

    @abstractmethod
    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is allowed."""

    def hint(self, value: Any) -> str:
        """Return what to do about a ``value`` that is not allowed, as a sentence after a space, or nothing."""
        return did_you_mean(value, self.options)

    def to_python(self, value: Any) -> Any:
        """Return an allowed ``value`` with NumPy's scalars as Python's own."""
        return value.item() if isinstance(value, np.generic) else value

    def __str__(self) -> str:
        return self.in_words


@cache
def _ends(interval: str) -> tuple[float, float]:
    low, high = interval[1:-1].split(",")
    return float(low), float(high)


@dataclass(frozen=True)
class Number(Constraint):
    """A finite number in an interval, such as ``"[0, 1)"``, or one of a few other values.

    ``kind`` is ``numbers.Real``, which training gets as a float, or ``numbers.Integral``, an int; bool counts as
    neither.
    """

    kind: type
    interval: str
    others: tuple[Any, ...] = ()

    def allows(self, value: Any) -> bool:
        if isinstance(value, bool):
            return False
        if self.others and isinstance(value, str | Real | None) and value in self.others:
            return True
        if not isinstance(value, self.kind):
            return False
        try:
            number = float(self.to_python(value))
        except OverflowError:  # an int beyond the largest float
            return False
        low, high = _ends(self.interval)
        above = number >= low if self.interval[0] == "[" else number > low
        below = number <= high if self.interval[-1] == "]" else number < high
        return above and below

    def to_python(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        return int(value) if self.kind is Integral and isinstance(value, Integral) else float(value)

    def __str__(self) -> str:
        kind = "an integer" if self.kind is Integral else "a number"
        return " or ".join([f"{kind} in {self.interval}", *map(repr, self.others)])


@dataclass(frozen=True)
class OneOf(Constraint):
    """One of a few strings, or with ``none`` also None."""

    options: Iterable[str]
    none: bool = False

    def allows(self, value: Any) -> bool:
        return (value is None and self.none) or (isinstance(value, str) and value in set(self.options))

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, sorted(self.options))) + (" or None" if self.none else "")


class Device(Constraint):
    """The name of a device of PyTorch."""

    in_words = "'cpu', 'cuda', 'cuda:0', 'cuda:1', ... or 'mps'"

    def allows(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", value) is not None

    def hint(self, value: Any) -> str:
        return " A GPU of NVIDIA is 'cuda', that of a Mac 'mps'." if isinstance(value, str) else ""


@dataclass(frozen=True)
class Component(Constraint):
    """The name of a component in a registry, or an instance of its base class."""

    registry: Mapping[str, type]
    base: type
    per_layer: bool = False  # whether a list of components is allowed too
    also: tuple[str, ...] = ()  # further names
    or_callable: str = ""  # if not empty, a description of the functions that are allowed too
    excluded: Mapping[str, type] = field(default_factory=dict)  # a registry whose instances are not allowed
    excluded_for: str = ""  # whom those are for
    instead_of_numbers: str = ""  # if not empty, what to do if a number is given, or a list of numbers

    def allows(self, value: Any) -> bool:
        several = self.per_layer and isinstance(value, list | tuple)
        return all(map(self._allows_one, value if several else [value]))

    def _allows_one(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self.registry or value in self.also
        if isinstance(value, self.base):
            return not isinstance(value, tuple(self.excluded.values()))
        return bool(self.or_callable) and callable(value) and not isinstance(value, type)

    def hint(self, value: Any) -> str:
        several = isinstance(value, list | tuple)
        if self.instead_of_numbers and all(isinstance(item, Real) for item in (value if several else [value])):
            return f" {self.instead_of_numbers}"
        if several:
            wrong = (item for item in value if not self._allows_one(item))
            return self._hint_for_one(next(wrong)) if self.per_layer else ""
        return self._hint_for_one(value)

    def _hint_for_one(self, value: Any) -> str:
        if isinstance(value, type) and issubclass(value, self.base):
            return f" Pass an instance: {value.__name__}() instead of the class."
        if value in self.excluded if isinstance(value, str) else isinstance(value, tuple(self.excluded.values())):
            return f" {value!r} is for {self.excluded_for}."
        is_function = callable(value) and not isinstance(value, type)
        name = getattr(value, "__name__", "") if is_function else value
        of_ones_own = f" A formula of your own is an instance of a subclass of {self.base.__name__}."
        return did_you_mean(name, [*self.registry, *self.also]) or (of_ones_own if is_function else "")

    def __str__(self) -> str:
        allowed = [
            "one of " + ", ".join(map(repr, sorted([*self.registry, *self.also]))),
            f"an instance of {self.base.__name__}",
        ]
        if self.excluded:
            allowed[-1] += f" (but not of {', '.join(sorted(cls.__name__ for cls in self.excluded.values()))})"
        if self.or_callable:
            allowed.append(self.or_callable)
        if self.per_layer:
            allowed.append("a list of these with one for each hidden layer")
        return ", or ".join(allowed)


@dataclass(frozen=True)
class Boolean(Constraint):
    """True or False; with ``levels`` also a non-negative integer, and any of the strings in ``options``."""

    levels: bool = False
    options: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self.options
        return isinstance(value, bool | np.bool_) or (self.levels and isinstance(value, Integral) and int(value) >= 0)

    def __str__(self) -> str:
        allowed = ["True", "False", *map(repr, self.options)]
        if self.levels:
            allowed.append("an integer of at least 0")
        return f"{', '.join(allowed[:-1])} or {allowed[-1]}"


class ClassWeight(Constraint):
    """None, 'balanced' or a mapping of labels to weights."""

    in_words = "None, 'balanced' or a dict from label to a weight in [0, inf)"
    options = ("balanced",)

    def allows(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return all(map(Number(Real, "[0, inf)").allows, value.values()))
        return value is None or (isinstance(value, str) and value in self.options)


@dataclass(frozen=True)
class PerLayer(Constraint):
    """A number, or a sequence of such numbers."""

    number: Number
    in_words: str

    def allows(self, value: Any) -> bool:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        no_list = str | bytes | Mapping | AbstractSet | ValuesView
        several = isinstance(value, Collection) and not isinstance(value, no_list)
        return all(map(self.number.allows, value if several else [value]))


class RandomState(Constraint):
    """A seed, a ``numpy.random.RandomState`` or None."""

    in_words = "None, an integer from 0 to 2**32 - 1 or a numpy.random.RandomState"

    def allows(self, value: Any) -> bool:
        if isinstance(value, Integral):
            return 0 <= int(value) < 2**32 and not isinstance(value, bool)
        return value is None or value is np.random or isinstance(value, np.random.RandomState)


class Scoring(Constraint):
    """None, 'loss', the name of a scorer, or a scorer."""

    in_words = "None, 'loss', a name from sklearn.metrics.get_scorer_names() or a scorer(estimator, X, y)"

    def allows(self, value: Any) -> bool:
        if isinstance(value, str):
            return value == "loss" or value in get_scorer_names()
        return value is None or callable(value)

    def hint(self, value: Any) -> str:
        name = SCORERS_ELSEWHERE.get(value.lower(), value) if isinstance(value, str) else value
        return did_you_mean(name, ["loss", *get_scorer_names()])


def check_parameters(estimator: Any, constraints: Mapping[str, Constraint]) -> None:
    """Raise InvalidParameterError for the first parameter of an estimator that its constraint does not allow."""
    for name, constraint in constraints.items():
        value = getattr(estimator, name)
        if not constraint.allows(value):
            raise InvalidParameterError(
                f"The parameter {name!r} of {type(estimator).__name__} must be {constraint}; got {value!r}."
                f"{constraint.hint(value)}"
            )
