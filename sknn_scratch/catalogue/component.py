"""What all parts of a network have in common."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

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

    def nearest_class_with(self, *names: str) -> Any:
        """Return the class of the component, or the first of those it comes from, that defines one of these itself."""
        return next(cls for cls in type(self).__mro__ if not vars(cls).keys().isdisjoint(names))

    def take_over(self, previous: Self, but: set[str]) -> None:
        """Take over copies of the attributes of a component of the same class, but for parameters and some others."""
        left_out = but.union(self.get_params(deep=False))
        self.__dict__ |= copy.deepcopy({name: own for name, own in vars(previous).items() if name not in left_out})
