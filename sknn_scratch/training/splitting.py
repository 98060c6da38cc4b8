"""Held-out rows as scikit-learn's ``train_test_split`` draws them, with less memory where there are many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from sknn_scratch.training.job import row_type

# Rows from which the draws are made here: scikit-learn's own function takes ninety bytes for each row.
MANY = 2**17


def split_rows(
    n_rows: int, n_held_out: int, rng: np.random.RandomState, strata: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """Return the numbers of the rows to train on and of those that are held out, each in random order.

    They are those of ``train_test_split(np.arange(n_rows), test_size=n_held_out, random_state=rng, stratify=strata)``,
    and so are the errors.
    """
    kind = row_type(n_rows)
    if n_rows < MANY or not 0 < n_held_out < n_rows:
        return _by_sklearn(n_rows, n_held_out, rng, strata)
    if strata is None:
        order: NDArray = np.arange(n_rows, dtype=kind)
        rng.shuffle(order)
        return order[n_held_out:], order[:n_held_out]
    values = np.unique(strata)
    counts = np.array([np.count_nonzero(strata == value) for value in values])
    if counts.min() < 2 or len(values) > min(n_held_out, n_rows - n_held_out):  # an error, and it says which
        return _by_sklearn(n_rows, n_held_out, rng, strata)
    n_train = _shares(counts, n_rows - n_held_out, rng)
    n_test = _shares(counts - n_train, n_held_out, rng)
    train: NDArray = np.empty(n_rows - n_held_out, kind)
    held_out: NDArray = np.empty(n_held_out, kind)
    at, at_held_out = 0, 0
    for value, k, m in zip(values, n_train.tolist(), n_test.tolist(), strict=True):
        members: NDArray = np.flatnonzero(strata == value).astype(kind)
        rng.shuffle(members)
        train[at : at + k], held_out[at_held_out : at_held_out + m] = members[:k], members[k : k + m]
        at, at_held_out = at + k, at_held_out + m
    rng.shuffle(train)
    rng.shuffle(held_out)
    return train, held_out


def _by_sklearn(
    n_rows: int, n_held_out: int, rng: np.random.RandomState, strata: NDArray | None
) -> tuple[NDArray, NDArray]:
    parts = train_test_split(np.arange(n_rows), test_size=n_held_out, random_state=rng, stratify=strata)
    return parts[0].astype(row_type(n_rows)), parts[1].astype(row_type(n_rows))


def _shares(counts: NDArray, n_drawn: int, rng: np.random.RandomState) -> NDArray:
    """Return how many of each count are drawn: its share of all, and one more for the largest fractions.

    Among equal fractions it is drawn who gets one more.
    """
    exact = counts / counts.sum() * n_drawn
    shares = np.floor(exact)
    fractions, missing = exact - shares, int(n_drawn - shares.sum())
    for fraction in np.unique(fractions)[::-1]:
        if missing <= 0:
            break
        (equal,) = np.nonzero(fractions == fraction)
        n_more = min(len(equal), missing)
        shares[rng.choice(equal, size=n_more, replace=False)] += 1
        missing -= n_more
    return shares.astype(int)
