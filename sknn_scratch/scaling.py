"""The scale of features and targets: targets are standardised, and what is far from unit scale is described."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["standardisation"]


def standardisation(y: NDArray, sample_weight: NDArray | None = None) -> tuple[NDArray, NDArray]:
    """Return mean and standard deviation of each column, by which ``(y - mean) / scale`` has mean 0 and deviation 1.

    Parameters
    ----------
    y : ndarray of shape (n_samples, n_targets)
        Finite numbers of any size.
    sample_weight : ndarray of shape (n_samples,), default=None
        Non-negative weights, not all zero; equal by default.

    Returns
    -------
    mean : float64 ndarray of shape (n_targets,)
        Weighted mean.
    scale : float64 ndarray of shape (n_targets,)
        Root of the weighted mean of ``(y - mean)**2``; 1 for a column that is constant where the weights are positive.
    """
    y = y.astype(np.float64, copy=False)
    if sample_weight is not None:
        counts = sample_weight > 0
        y, sample_weight = y[counts], sample_weight[counts].astype(np.float64, copy=False)
    low, high = y.min(axis=0), y.max(axis=0)
    constant = low == high
    # In units of the largest number, squares neither overflow nor vanish.
    unit = np.maximum(np.abs(low), np.abs(high))
    unit[unit == 0] = 1
    z = y / unit
    mean = np.average(z, axis=0, weights=sample_weight)
    scale = np.sqrt(np.average((z - mean) ** 2, axis=0, weights=sample_weight))
    # Rounding would make of equal numbers some that differ.
    return np.where(constant, low, mean * unit), np.where(constant, 1.0, scale * unit)
