"""Rows are held out as scikit-learn's train_test_split holds them out, in little memory."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import train_test_split

from sknn_scratch.estimators import validation_set
from sknn_scratch.estimators.validation_set import split_rows
from sknn_scratch.training.job import row_type

STRATA = {
    "none": lambda rng, n: None,
    "two": lambda rng, n: (rng.rand(n) < 0.3).astype(np.float32),
    "equal shares, so that ties are drawn": lambda rng, n: np.arange(n) % 7.0,
    "many, some rare": lambda rng, n: np.minimum(rng.geometric(0.3, n), n // 50).astype(float),
}


@pytest.mark.parametrize("strata", STRATA.values(), ids=STRATA)
@pytest.mark.parametrize("n_rows", [60, 101, 1000])
def test_many_rows_are_split_like_few(monkeypatch, n_rows, strata):
    monkeypatch.setattr(validation_set, "MANY", 0)
    for seed in range(20):
        strata_of_rows = strata(np.random.RandomState(seed), n_rows)
        n_held_out = 21 + seed
        rngs = [np.random.RandomState(seed) for _ in range(2)]
        if strata_of_rows is not None and np.unique(strata_of_rows, return_counts=True)[1].min() < 2:
            continue
        expected = train_test_split(
            np.arange(n_rows), test_size=n_held_out, random_state=rngs[0], stratify=strata_of_rows
        )
        found = split_rows(n_rows, n_held_out, rngs[1], strata_of_rows)
        for ours, theirs in zip(found, expected, strict=True):
            assert_array_equal(ours, theirs)
            assert ours.dtype == row_type(n_rows)
        assert_array_equal(rngs[1].get_state()[1], rngs[0].get_state()[1])
        assert rngs[1].get_state()[2] == rngs[0].get_state()[2]


@pytest.mark.parametrize("many", [0, 2**17])
@pytest.mark.parametrize(
    ("n_held_out", "strata", "message"),
    [
        (100, None, "test_size"),
        (0, None, "test_size"),
        (10, np.arange(100) == 3, "least populated class"),
        (3, np.arange(100) % 5, "should be greater or equal to the number of classes"),
    ],
)
def test_what_cannot_be_split_is_an_error_of_scikit_learns(monkeypatch, many, n_held_out, strata, message):
    monkeypatch.setattr(validation_set, "MANY", many)
    with pytest.raises(ValueError, match=message):
        split_rows(100, n_held_out, np.random.RandomState(0), strata)
