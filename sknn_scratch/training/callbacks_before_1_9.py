"""As much of scikit-learn's callback protocol as our own callbacks need, for versions that lack it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self


class _Context:
    """A task and the callbacks that are told of it."""

    def __init__(self, callbacks: list[Any], task_name: str):
        self.callbacks, self.task_name = callbacks, task_name

    def subcontext(self, task_name: str) -> _Context:
        return _Context(self.callbacks, task_name)

    def call_on_fit_task_begin(self, *, estimator: Any, **_: Any) -> None:
        for callback in self.callbacks:
            callback.on_fit_task_begin(estimator, self)

    def call_on_fit_task_end(self, *, estimator: Any, **_: Any) -> bool:
        stops = [callback.on_fit_task_end(estimator, self) for callback in self.callbacks]
        return any(stops)


class CallbackSupportMixin:
    """Keeps an estimator's callbacks."""

    _skl_callbacks: list[Any]
    _callback_fit_ctx: _Context

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set the callbacks, in the place of those set before."""
        vars(self).pop("_skl_callbacks", None)
        if callbacks:
            self._skl_callbacks = list(callbacks)
        return self

    def __sklearn_clone__(self) -> Self:
        twin = super().__sklearn_clone__()  # type: ignore[misc]
        return twin.set_callbacks(*vars(self).get("_skl_callbacks", []))

    def _init_callback_context(self, task_name: str, **_: Any) -> _Context:
        """Tell the callbacks that training begins, and return the task of the whole of it."""
        self._callback_fit_ctx = _Context(getattr(self, "_skl_callbacks", []), task_name)
        for callback in self._callback_fit_ctx.callbacks:
            callback.setup(self, self._callback_fit_ctx)
        return self._callback_fit_ctx


def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
    """Tell the callbacks when the method has ended, in success or failure."""

    @functools.wraps(method)
    def managed(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(estimator, *args, **kwargs)
        finally:
            if (context := vars(estimator).pop("_callback_fit_ctx", None)) is not None:
                for callback in context.callbacks:
                    callback.teardown(estimator, context)

    return managed
