"""What all parts of a network have in common."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator


class Component(BaseEstimator):
    """A part of a network: formulas, whose parameters are those of the constructor.

    Attributes
    ----------
    ranges : dict of str to str
        What parameters may be: numbers in an interval such as ``"[0, 1)"``, which are integers where the default is
        one, or ``"bool"``. Training checks them; what is not here, anything may be.
    """

    ranges: ClassVar[Mapping[str, str]] = {}

    @property
    def is_ours(self) -> bool:
        """Whether the class is of this package, so that its formulas are tested."""
        return type(self).__module__.startswith("sknn_scratch.")

    def check_result(self, formula: str, result: Any, shape: tuple[int, ...], of_what: str = "") -> None:
        """Raise ValueError where a formula has returned anything but an array of real numbers of this shape.

        NumPy would spread it over an array of another shape, and train with that.
        """
        name, where = f"{type(self).__name__}.{formula}", f" for {of_what}" if of_what else ""
        try:
            array = np.asarray(result)
            got = f"shape {array.shape}"
        except ValueError:  # arrays of several shapes
            array, got = np.empty(0), f"a {type(result).__name__}"
        if array.shape != shape:
            raise ValueError(f"{name} must return an array of shape {shape}{where}; got {got}.")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must return real numbers; got dtype {array.dtype}.")

    def check_formula(self, formula: str, arguments: Sequence[NDArray], shape: tuple[int, ...], of_what: str) -> Any:
        """Return what a formula makes of copies of its arguments; raise ValueError as ``check_result`` does."""
        with np.errstate(all="ignore"):
            result = getattr(self, formula)(*(argument.copy() for argument in arguments))
        self.check_result(formula, result, shape, of_what)
        return result

    @classmethod
    @cache
    def _nearest_class_with(cls, *names: str) -> Any:
        """Return the class, or the first of those it comes from, that defines one of these itself."""
        return next(one for one in cls.__mro__ if not vars(one).keys().isdisjoint(names))

    @classmethod
    @cache
    def _parameter_names(cls) -> frozenset[str]:
        return frozenset(inspect.signature(cls).parameters)

    def _take_over(self, previous: Self, but: set[str]) -> None:
        """Take over copies of the attributes of a component of the same class, but for parameters and some others."""
        left_out = but | self._parameter_names()
        self.__dict__ |= copy.deepcopy({name: own for name, own in vars(previous).items() if name not in left_out})
