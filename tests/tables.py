"""A table with gaps and categories, and small tabular estimators for it."""

import numpy as np
import pandas as pd
from numpy.testing import assert_array_equal

from sknn_scratch import TabularMLPClassifier, TabularMLPRegressor

SMALL = {"n_members": 2, "hidden_layer_sizes": (16,), "n_bins": 8, "engine": "numpy", "random_state": 0}
BOTH = (TabularMLPClassifier, TabularMLPRegressor)


def small(cls=TabularMLPClassifier, **parameters):
    return cls(**{**SMALL, **parameters})


def table(n_samples=200, seed=0):
    """Return a frame with gaps and categories, and a number that depends on both."""
    rng = np.random.RandomState(seed)
    X = pd.DataFrame({"a": rng.normal(size=n_samples), "b": rng.normal(size=n_samples)})
    X["c"] = pd.Categorical(rng.choice(["u", "v", "w"], n_samples))
    y = X["a"] + 2.0 * (X["c"] == "u")
    X.loc[rng.rand(n_samples) < 0.1, "b"] = np.nan
    return X, y.to_numpy()


def targets(cls, y):
    return np.array(["low", "high"])[(y > 0.5).astype(int)] if cls is TabularMLPClassifier else y


def same_fit(a, b, X):
    assert_array_equal(a._raw_output(X), b._raw_output(X))
