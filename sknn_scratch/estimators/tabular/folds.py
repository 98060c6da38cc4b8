"""Which samples a member of the ensemble is trained on, and which it is validated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, column_or_1d

from sknn_scratch.estimators.arrays import check_length, naming

# Up to so many samples, whole-number weights are taken as counts.
MOST_REPEATED = 1000
# Rows that are alike are copies of a sample if there are at most so many of each in the mean, and at most this share of
# those with the same features has different targets. Otherwise the table has few kinds of rows.
MOST_COPIES, MOST_IN_CONFLICT = 5, 0.05
# Samples for each fold, if there can be more than two.
SAMPLES_PER_FOLD = 5


def training_rows(n_samples: int, sample_weight: NDArray | None) -> tuple[NDArray, NDArray | None]:
    """Return the samples to train on, and their weights, whose mean is 1, if they differ.

    Without those of weight 0. Where all weights are whole numbers with a sum of at most 1,000, and at most 5 in the
    mean, a sample occurs as often as its weight says.
    """
    rows = np.arange(n_samples)
    if sample_weight is None:
        return rows, None
    most = min(MOST_REPEATED, MOST_COPIES * np.count_nonzero(sample_weight))
    if sample_weight.sum() <= most and not (sample_weight % 1).any():
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


def groups_of_copies(features: Sequence[NDArray], y: NDArray) -> NDArray:
    """Return which rows are copies of one sample, and must not be held out without each other.

    Rows that are alike only because the table has few kinds of rows are not: whoever is asked about them later has seen
    such rows before.

    The features are in canonical order, which puts copies beside each other. Groups are numbered from 0 on, ascending;
    where there are no copies, each row is one.
    """
    is_like_last = np.logical_and.reduce([_equals_last(part) for part in features])
    is_copy = is_like_last & _equals_last(y)
    kinds = np.cumsum(~is_like_last)
    in_conflict, repeated = np.unique(kinds[is_like_last & ~is_copy]), np.unique(kinds[is_like_last])
    groups = np.cumsum(~is_copy) - 1
    n_samples, n_groups = len(groups), int(groups[-1]) + 1
    are_copies = n_samples <= MOST_COPIES * n_groups and len(in_conflict) <= MOST_IN_CONFLICT * len(repeated)
    return groups if are_copies and n_groups >= 2 * SAMPLES_PER_FOLD else np.arange(n_samples)


def given_groups(groups: ArrayLike, n_samples: int, rows: NDArray) -> NDArray:
    """Return the groups of some samples, numbered from 0 on in the order of their labels."""
    with naming("groups"):
        labels = column_or_1d(check_array(groups, ensure_2d=False, dtype=None, input_name="groups"))
        check_length("groups", labels, n_samples)
        numbers = np.unique(labels[rows], return_inverse=True)[1]
    if not numbers.any():
        raise ValueError(f"groups must have at least 2 different labels, got {labels[rows[0]]} for all samples.")
    return numbers


def _equals_last(array: NDArray) -> NDArray:
    """Return for each row whether it is that before it."""
    rows = array.reshape(len(array), -1)
    return np.concatenate([[False], (rows[1:] == rows[:-1]).all(axis=1)])


def make_folds(
    strata: NDArray, groups: NDArray, n_folds: int, rng: np.random.RandomState, fewest: int = SAMPLES_PER_FOLD
) -> NDArray:
    """Return the fold of each sample, from 0 on, such that each stratum is spread evenly over all of them.

    Those of a group (numbered from 0 on) are in one fold, and count as one, of their mean stratum. There are at most
    ``n_folds``; with less than ``fewest`` groups for each there are fewer, but two at least.
    """
    strata = np.bincount(groups, strata) / np.bincount(groups)
    n_groups = len(strata)
    n_folds = max(2, min(n_folds, n_groups // fewest))
    order = rng.permutation(n_groups)
    order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(n_groups, dtype=int)
    folds[order] = np.arange(n_groups) % n_folds
    return folds[groups]
