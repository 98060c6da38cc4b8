"""imbalanced-learn, mapie and shap take the estimators; each is skipped where it is not installed."""

import warnings

import numpy as np
import pytest
from networks import assert_same_network, classifier, imbalanced, load, regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from sknn_scratch import Quantile

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_imbalanced_learn():
    """A pipeline that samples anew, in training only."""
    imblearn = pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
    X_train, X_test, y_train, y_test = imbalanced()
    sampler = imblearn.over_sampling.RandomOverSampler(random_state=0)
    pipeline = imblearn.pipeline.make_pipeline(sampler, StandardScaler(), classifier()).fit(X_train, y_train)
    X_more, y_more = sampler.fit_resample(X_train, y_train)
    assert np.ptp(np.bincount(y_more)) == 0
    assert_same_network(pipeline[-1], classifier().fit(scale(X_more), y_more))
    plain = make_pipeline(StandardScaler(), classifier()).fit(X_train, y_train)
    resampled, as_it_is = (balanced_accuracy_score(y_test, m.predict(X_test)) for m in (pipeline, plain))
    assert resampled > as_it_is + 0.1
    search = GridSearchCV(pipeline, {"mlpfromscratchclassifier__alpha": [1e-4, 1e3]}, cv=2, error_score="raise")
    assert search.fit(X_train, y_train).best_params_ == {"mlpfromscratchclassifier__alpha": 1e-4}


def noisy_sine():
    """Return X and y in three parts of 300, the noise growing with the distance from 0."""
    rng = np.random.RandomState(0)
    X = rng.uniform(-3, 3, (900, 1))
    y = np.sin(X[:, 0]) + (0.1 + 0.2 * np.abs(X[:, 0])) * rng.normal(size=900)
    return np.split(X, 3), np.split(y, 3)


@pytest.mark.parametrize("kind", ["split", "cross", "quantile"])
def test_mapie_regression(kind):
    """Intervals that hold nine targets in ten."""
    mapie = pytest.importorskip("mapie.regression", reason="mapie is not installed")
    X, y = noisy_sine()
    model = regressor(max_iter=100)
    if kind == "split":
        conformal = mapie.SplitConformalRegressor(model, confidence_level=0.9, prefit=False)
        conformal.fit(X[0], y[0]).conformalize(X[1], y[1])
    elif kind == "cross":
        conformal = mapie.CrossConformalRegressor(model, confidence_level=0.9, cv=3).fit_conformalize(X[0], y[0])
    else:
        quantiles = [clone(model).set_params(loss=Quantile(q)).fit(X[0], y[0]) for q in (0.05, 0.95, 0.5)]
        conformal = mapie.ConformalizedQuantileRegressor(quantiles, confidence_level=0.9, prefit=True)
        conformal.conformalize(X[1], y[1])
    point, interval = conformal.predict_interval(X[2])
    lower, upper = interval[:, 0, 0], interval[:, 1, 0]
    assert 0.85 < np.mean((lower <= y[2]) & (y[2] <= upper)) < 0.95
    assert np.mean((point - np.sin(X[2][:, 0])) ** 2) < 0.05
    if kind == "split":
        assert_array_equal(point, clone(model).fit(X[0], y[0]).predict(X[2]))
    if kind == "quantile":
        assert np.corrcoef(upper - lower, np.abs(X[2][:, 0]))[0, 1] > 0.9


def test_mapie_classification():
    """Sets of classes that hold the true one nine times in ten."""
    mapie = pytest.importorskip("mapie.classification", reason="mapie is not installed")
    X, y = load("wine")
    X, X_rest, y, y_rest = train_test_split(X, y, test_size=0.6, random_state=0, stratify=y)
    model = classifier(max_iter=5).fit(X, y)
    conformal = mapie.SplitConformalClassifier(model, confidence_level=0.9, prefit=True)
    point, sets = conformal.conformalize(X_rest[::2], y_rest[::2]).predict_set(X_rest[1::2])
    assert_array_equal(point, model.predict(X_rest[1::2]))
    assert sets[np.arange(len(sets)), y_rest[1::2], 0].mean() > 0.85
    assert sets.sum(axis=1).mean() < 2


def import_shap():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The set_.* function will be deprecated", PendingDeprecationWarning)
        return pytest.importorskip("shap", reason="shap is not installed")


def test_shap():
    """A network without hidden layers is linear, and what a feature adds is known."""
    shap = import_shap()
    X, y = load("diabetes")
    linear = regressor(hidden_layer_sizes=()).fit(X, y)
    # Not shap's usual explainer, which takes many seconds to compile.
    explained = shap.KernelExplainer(linear.predict, X[:50])(X[:5], l1_reg=False, silent=True)
    effects = (X[:5] - X[:50].mean(axis=0)) * linear.coefs_[0].ravel()
    assert_allclose(explained.values, effects, rtol=0, atol=1e-12)
    X, y = load("wine")
    network = classifier().fit(X, y)
    explained = shap.KernelExplainer(network.predict_proba, X[:20], seed=0)(X[:5], l1_reg=False, silent=True)
    assert explained.shape == (5, 13, 3)
    assert_allclose(explained.base_values + explained.values.sum(axis=1), network.predict_proba(X[:5]), rtol=1e-9)
