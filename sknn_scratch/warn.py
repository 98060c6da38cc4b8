"""Warnings that point at the caller's line."""

from __future__ import annotations

import inspect
import warnings

__all__ = ["warn"]

# Modules whose frames lie between the line that calls an estimator and the code that warns: ours, and the wrapper
# around fit that scikit-learn's callbacks need.
BETWEEN = ("sknn_scratch.", "sklearn.callback.")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, pointing at the nearest line outside of this package, such as the one that calls ``fit``."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and f"{frame.f_globals.get('__name__')}.".startswith(BETWEEN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
