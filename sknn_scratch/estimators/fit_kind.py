"""The kinds of fit."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any


class FitKind(Enum):
    """What a call of ``fit`` or ``partial_fit`` starts from."""

    FRESH = "fresh"  # fit: drawn parameters, and a new optimiser
    WARM = "warm"  # fit of a fitted model with warm_start: its parameters, and a new optimiser
    RESUMED = "resumed"  # fit with resume_from: parameters and optimiser of the checkpoint
    FIRST_INCREMENT = "first increment"  # partial_fit: drawn parameters, and a new optimiser
    INCREMENT = "increment"  # partial_fit of a fitted model: its parameters and optimiser

    @classmethod
    def of_fit(cls, estimator: Any, resume_from: str | os.PathLike | None) -> FitKind:
        """Return the kind of a call of ``fit``."""
        if resume_from is not None:
            return cls.RESUMED
        return cls.WARM if estimator.warm_start and hasattr(estimator, "coefs_") else cls.FRESH

    @classmethod
    def of_partial_fit(cls, estimator: Any) -> FitKind:
        """Return the kind of a call of ``partial_fit``."""
        return cls.INCREMENT if hasattr(estimator, "coefs_") else cls.FIRST_INCREMENT

    @property
    def is_incremental(self) -> bool:
        """Whether it is ``partial_fit``: one epoch on one chunk of the data."""
        return self in (FitKind.FIRST_INCREMENT, FitKind.INCREMENT)

    @property
    def continues_model(self) -> bool:
        """Whether a fitted model is trained further, so that samples and targets have to be of its shape."""
        return self in (FitKind.WARM, FitKind.INCREMENT)
