"""Weights of classes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from tasks import make_task, our_estimator

from sknn_scratch import MLPFromScratchClassifier, TabularMLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def by_weight(class_weight, y, sample_weight):
    """Return what a class weight multiplies weights of samples by, with scikit-learn's function for one target."""
    factors = np.ones(len(y))
    for column in y.reshape(len(y), -1).T:
        classes = np.unique(column)
        found = compute_class_weight(class_weight, classes=classes, y=column, sample_weight=sample_weight)
        factors *= found[np.searchsorted(classes, column)]
    return factors


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("labels", [None, ["a", "b", "c"]])
def test_class_weight_is_a_sample_weight(labels, task, weighted, early_stopping):
    X, y = make_task(task)
    X, y = X[:110], y[:110]
    if labels is not None and task != "multilabel":
        y = np.array(labels)[y // 10 - 1]
    weight = np.random.RandomState(0).uniform(0.5, 2, len(X)) if weighted else None
    weights = {"balanced": "balanced", "dict": dict(zip(np.unique(y).tolist(), [0.3, 2.0, 5.0], strict=False))}
    for given in weights.values():
        expected = by_weight("balanced", y, weight)
        if given != "balanced":
            if task == "multilabel":
                given = {0: 0.3, 2: 5.0}
                expected = np.where(y[:, 0], 0.3, 1) * np.where(y[:, 2], 5.0, 1)
            else:
                expected = compute_sample_weight(given, y)
        parameters = {"max_iter": 5, "early_stopping": early_stopping}
        model = our_estimator(task, class_weight=given, **parameters).fit(X, y, sample_weight=weight)
        by_hand = our_estimator(task, **parameters).fit(
            X, y, sample_weight=expected * (1 if weight is None else weight)
        )
        assert_allclose(model.coefs_[0], by_hand.coefs_[0], rtol=1e-9)


@pytest.mark.parametrize("Classifier", [MLPFromScratchClassifier, TabularMLPClassifier])
def test_balanced_classes_weigh_the_same_whatever_their_samples_weigh(Classifier):
    X, y = make_task("multiclass")
    weight = np.random.RandomState(0).uniform(0.1, 2, len(X)) * (y / 10) ** 2
    balanced = Classifier(max_iter=2, random_state=0, class_weight="balanced").fit(X, y, weight)
    total = {label: weight[y == label].sum() for label in (10, 20, 30)}
    shares = weight * weight.sum() / (3 * np.array([total[label] for label in y]))
    by_hand = Classifier(max_iter=2, random_state=0).fit(X, y, shares)
    tolerance = 1e-9 if Classifier is MLPFromScratchClassifier else 1e-4
    assert_allclose(balanced.predict_proba(X), by_hand.predict_proba(X), rtol=tolerance)


@pytest.mark.parametrize("task", ["multilabel", "several targets"])
def test_balanced_targets_of_weighted_samples_are_those_of_repeated_ones(task):
    X, y = make_task("multilabel")
    if task == "several targets":
        y = np.column_stack([make_task("multiclass")[1], y[:, 0]])
    weight = 1 + np.arange(len(X)) % 3
    rows = np.repeat(np.arange(len(X)), weight)
    model = our_estimator("multilabel", class_weight="balanced", solver="lbfgs", max_iter=4)
    weighted, repeated = clone(model).fit(X, y, weight), clone(model).fit(X[rows], y[rows])
    assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-6, atol=1e-9)


def test_a_rare_class_is_found():
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], [950, 50])
    X = rng.randn(1000, 2) + y[:, np.newaxis]
    plain, balanced = (our_estimator("binary", class_weight=w, max_iter=100).fit(X, y) for w in (None, "balanced"))
    assert (plain.predict(X)[y == 1] == 1).mean() < 0.3
    assert (balanced.predict(X)[y == 1] == 1).mean() > 0.6


@pytest.mark.parametrize("Classifier", [MLPFromScratchClassifier, TabularMLPClassifier])
def test_classes_that_weigh_nothing_may_have_a_weight(Classifier):
    X, y = make_task("multiclass")
    fits = [
        Classifier(random_state=0, max_iter=2, class_weight=class_weight).fit(X, y, (y != 30).astype(float))
        for class_weight in ({30: 5.0}, None)
    ]
    assert_allclose(fits[0].predict_proba(X), fits[1].predict_proba(X))


def test_partial_fit():
    X, y = make_task("binary")
    model = our_estimator("binary", class_weight={10: 3.0}).partial_fit(X, y, classes=[10, 20])
    by_hand = our_estimator("binary").partial_fit(X, y, np.where(y == 10, 3.0, 1.0), classes=[10, 20])
    assert_allclose(model.coefs_[0], by_hand.coefs_[0], rtol=1e-12)
    with pytest.raises(ValueError, match="class_weight='balanced' is not for partial_fit"):
        our_estimator("binary", class_weight="balanced").partial_fit(X, y, classes=[10, 20])
    model = our_estimator("binary", class_weight="balanced").fit(X[y == 10], y[y == 10])
    assert model.classes_ == [10]


def test_errors():
    X, y = make_task("binary")
    with pytest.raises(ValueError, match=r"class_weight has labels \[30\] that are not among the classes \[10 20\]"):
        our_estimator("binary", class_weight={10: 1, 30: 2}).fit(X, y)
    with pytest.raises(ValueError, match="leaves no sample with a positive weight"):
        our_estimator("binary", class_weight={10: 0, 20: 0}).fit(X, y)


def test_grid():
    X, y = make_task("binary")
    search = GridSearchCV(our_estimator("binary", max_iter=5), {"class_weight": [None, {10: 50.0}]}, cv=2).fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) == 2
