"""Warnings that point at the caller's line."""

from __future__ import annotations

import inspect
import warnings

# Packages whose frames lie between the user's line and the code that warns: ours, and those of pipelines and searches.
BETWEEN = ("sknn_scratch.", "sklearn.", "joblib.")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, pointing at the user's line, such as the one that calls ``fit``, also that of a pipeline or a search."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and f"{frame.f_globals.get('__name__')}.".startswith(BETWEEN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
