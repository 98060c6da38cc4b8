"""Warnings that point at the caller's line."""

from __future__ import annotations

import inspect
import warnings

# Packages whose frames lie between the user's line and the code that warns: ours, and those of pipelines and searches.
BETWEEN = ("sknn_scratch.", "sklearn.", "joblib.")
# Where a worker begins, above which there is no line of the user's.
BEGINNINGS = ("multiprocessing.", "threading.", "concurrent.")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, pointing at the user's line, such as the one that calls ``fit``, also that of a pipeline or a search.

    In a worker, such as of ``n_jobs=2``, there is none, and the warning points at the line that calls this.
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and f"{frame.f_globals.get('__name__')}.".startswith(BETWEEN):
        frame, level = frame.f_back, level + 1
    if frame is None or f"{frame.f_globals.get('__name__')}.".startswith(BEGINNINGS):
        level = 2
    warnings.warn(message, category, stacklevel=level)
