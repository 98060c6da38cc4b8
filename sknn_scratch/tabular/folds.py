"""Which samples a member of the ensemble is trained on, and which it is validated on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["canonical_order", "make_folds", "training_rows"]

# Up to so many samples, whole-number weights are taken as counts.
MOST_REPEATED = 1000
# Samples for each fold, if there can be more than two.
SAMPLES_PER_FOLD = 5


def training_rows(n_samples: int, sample_weight: NDArray | None) -> tuple[NDArray, NDArray | None]:
    """Return the samples to train on, and their weights.

    Samples with a weight of 0 are left out. Where all weights are whole numbers with a sum of at most 1,000, a sample
    occurs as often as its weight says, so that to weigh samples and to repeat them is the same.

    Parameters
    ----------
    n_samples : int
    sample_weight : ndarray of shape (n_samples,) or None

    Returns
    -------
    rows : ndarray of int of shape (n_rows,)
    weights : ndarray of shape (n_rows,) or None
        Their mean is 1.
    """
    rows = np.arange(n_samples)
    if sample_weight is None:
        return rows, None
    if sample_weight.sum() <= MOST_REPEATED and not (sample_weight % 1).any():
        return rows.repeat(sample_weight.astype(int)), None
    rows = rows[sample_weight > 0]
    weights = sample_weight[rows]
    return rows, None if np.ptp(weights) == 0 else weights / weights.mean()


def canonical_order(*arrays: Any) -> NDArray:
    """Return an order of the rows of arrays that does not depend on the one in which they come."""
    parts = [np.ascontiguousarray(array + array.dtype.type(0)) for array in arrays]  # -0 and 0 have different bytes
    table = np.concatenate([part.view(np.uint8).reshape(len(part), -1) for part in parts], axis=1)
    rows = np.ascontiguousarray(table).view(np.dtype((np.void, table.shape[1]))).ravel()
    return np.argsort(rows, kind="stable")


def make_folds(strata: NDArray, n_folds: int, rng: np.random.RandomState) -> NDArray:
    """Return the fold of each sample, such that each stratum is spread evenly over all of them.

    Parameters
    ----------
    strata : ndarray of int of shape (n_samples,)
    n_folds : int
        The most there can be; with less than five samples for each there are fewer, but two at least.
    rng : RandomState

    Returns
    -------
    folds : ndarray of int of shape (n_samples,)
        From 0 on; each occurs.
    """
    n_samples = len(strata)
    n_folds = max(2, min(n_folds, n_samples // SAMPLES_PER_FOLD))
    order = rng.permutation(n_samples)
    order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(n_samples, dtype=int)
    folds[order] = np.arange(n_samples) % n_folds
    return folds
