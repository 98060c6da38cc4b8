"""Small data sets, one per kind of target, and the estimators that go with them."""

from functools import cache

import numpy as np
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor

CLASSIFICATION = ("binary", "multiclass", "multilabel")
REGRESSION = ("regression", "multioutput", "poisson")
TASKS = CLASSIFICATION + REGRESSION


@cache
def make_task(task):
    """Return X and y of 150 samples with 8 features."""
    size = {"n_samples": 150, "n_features": 8, "random_state": 3}
    if task == "multilabel":
        X, y = make_multilabel_classification(n_classes=3, **size)
        X = scale(X)
    elif task in CLASSIFICATION:
        X, y = make_classification(n_informative=5, n_classes=2 + (task == "multiclass"), **size)
        y = 10 * (y + 1)
    else:
        X, y = make_regression(n_targets=2, noise=5, **size)
        y = scale(y) if task == "multioutput" else scale(y)[:, 0]
        if task == "poisson":
            y = np.exp(y).round()
    X.setflags(write=False)
    y.setflags(write=False)
    return X, y


def our_estimator(task, **parameters):
    """Return our estimator for the task."""
    parameters = {"random_state": 7, "hidden_layer_sizes": (6, 5), **parameters}
    if task == "poisson":
        parameters["loss"] = "poisson"
    return (MLPFromScratchClassifier if task in CLASSIFICATION else MLPFromScratchRegressor)(**parameters)


def estimator_pair(task, **parameters):
    """Return ours and scikit-learn's estimator for the task."""
    ours = our_estimator(task, **parameters)
    theirs = MLPClassifier() if task in CLASSIFICATION else MLPRegressor()
    return ours, theirs.set_params(**{name: ours.get_params(deep=False)[name] for name in theirs.get_params()})
