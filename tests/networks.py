"""Small networks and real data sets, for the tests that put the estimators into the tools around them."""

from functools import cache

import numpy as np
from numpy.testing import assert_array_equal
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor

SETTINGS = {
    "hidden_layer_sizes": (10,),
    "learning_rate_init": 0.01,
    "batch_size": 32,
    "max_iter": 20,
    "random_state": 0,
}


def classifier(**parameters):
    return MLPFromScratchClassifier(**SETTINGS | parameters)


def regressor(**parameters):
    return MLPFromScratchRegressor(**SETTINGS | parameters)


@cache
def load(name):
    """Return X and y of a data set, X scaled."""
    X, y = {"wine": load_wine, "cancer": load_breast_cancer, "diabetes": load_diabetes}[name](return_X_y=True)
    X, y = scale(X), scale(y) if name == "diabetes" else y
    X.setflags(write=False)
    y.setflags(write=False)
    return X, y


def imbalanced():
    """Return X and y of two classes, one rare and seldom more probable than the other, split in two halves."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(1000, 4))
    y = (rng.uniform(size=1000) < expit(2 * X[:, 0] - 4)).astype(int)
    return train_test_split(scale(X), y, test_size=0.5, random_state=0, stratify=y)


def assert_same_network(ours, expected):
    for ours_of_layer, expected_of_layer in zip(
        ours.coefs_ + ours.intercepts_, expected.coefs_ + expected.intercepts_, strict=True
    ):
        assert_array_equal(ours_of_layer, expected_of_layer)
