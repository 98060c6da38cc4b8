"""scikit-learn's ``available_if``, by which a method is still known to type checkers."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn.utils import metaestimators

_Method = TypeVar("_Method", bound=Callable[..., Any])


def available_if(check: Callable[[Any], bool]) -> Callable[[_Method], _Method]:
    """Decorate a method that an estimator only has if ``check(estimator)`` is true, and raises no AttributeError."""

    def decorate(method: _Method) -> _Method:
        return cast(_Method, metaestimators.available_if(check)(method))

    return decorate
