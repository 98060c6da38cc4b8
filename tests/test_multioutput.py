"""Classification of several targets at once, each with a head of its own."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.utils.class_weight import compute_sample_weight
from tasks import make_task, our_estimator

from sknn_scratch import MLPFromScratchClassifier, check_gradients
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y_ONE = make_task("multiclass")
# Three, two and four classes, of which the last has nothing to do with X.
Y = np.column_stack([Y_ONE, X[:, 0] > 0.3, np.arange(150) % 4])
SOLVED = {"learning_rate_init": 0.02, "max_iter": 150, "random_state": 0}


@pytest.mark.parametrize("loss", CLASSIFIER_LOSSES)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_all_targets_are_learnt(loss, early_stopping):
    model = MLPFromScratchClassifier((20,), loss=loss, early_stopping=early_stopping, **SOLVED).fit(X, Y)
    predicted = model.predict(X)
    assert predicted.shape == Y.shape
    assert predicted.dtype == Y.dtype
    assert model.n_outputs_ == 3 + 1 + 4
    for classes, column in zip(model.classes_, Y.T, strict=True):
        assert_array_equal(classes, np.unique(column))
    right = (predicted == Y).mean(axis=0)
    assert (right[:2] > (0.55 if early_stopping else 0.75)).all()
    assert model.score(X, Y) == pytest.approx((predicted == Y).all(axis=1).mean())
    scores = model.decision_function(X)
    assert [score.shape for score in scores] == [(150, 3), (150,), (150, 4)]
    for k, score in enumerate(scores):
        best = score.argmax(axis=1) if score.ndim == 2 else (score > 0).astype(int)
        assert_array_equal(model.classes_[k][best], predicted[:, k])
    if "hinge" in loss:
        assert model.out_activation_ == "identity"
        assert not hasattr(model, "predict_proba")
        return
    assert model.out_activation_ == "softmax, logistic"
    for k, (probability, logarithm) in enumerate(zip(model.predict_proba(X), model.predict_log_proba(X), strict=True)):
        assert_allclose(probability.sum(axis=1), 1)
        assert_allclose(np.log(probability), logarithm, atol=1e-9)
        assert_array_equal(model.classes_[k][probability.argmax(axis=1)], predicted[:, k])


@pytest.mark.parametrize("loss", CLASSIFIER_LOSSES)
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_gradients(loss, activation):
    model = MLPFromScratchClassifier((5, 4), activation, loss=loss, alpha=0.3)
    assert check_gradients(model, X, Y, np.arange(1.0, 151), verbose=False) < 1e-6


def test_loss_is_the_sum_of_the_heads():
    """A linear network has nothing in common between its heads, so each learns as if it were alone."""
    together = MLPFromScratchClassifier((), max_iter=5, shuffle=False, random_state=0)
    model = clone(together).fit(X, Y)
    alone = []
    for column, part in zip(Y.T, ([0, 1, 2], [3], [4, 5, 6, 7]), strict=True):
        single = clone(together).set_params(warm_start=True, max_iter=1)
        single.partial_fit(X, column, classes=np.unique(column))
        start = clone(together).set_params(max_iter=1, learning_rate_init=1e-300).fit(X, Y)
        single.coefs_, single.intercepts_ = [start.coefs_[0][:, part].copy()], [start.intercepts_[0][part].copy()]
        alone.append(single.set_params(max_iter=5).fit(X, column))
    assert_allclose(model.coefs_[0], np.hstack([single.coefs_[0] for single in alone]), rtol=1e-9)
    assert model.loss_ == pytest.approx(sum(single.loss_ for single in alone))


def test_strings_and_frames():
    y = pd.DataFrame({"size": np.array(["S", "M", "L"])[Y_ONE // 10 - 1], "is": np.where(X[:, 0] > 0, "yes", "no")})
    model = MLPFromScratchClassifier(20, **SOLVED).fit(X, y)
    assert_array_equal(model.classes_[0], ["L", "M", "S"])
    assert (model.predict(X) == y.to_numpy()).all(axis=1).mean() == model.score(X, y) > 0.7
    assert_array_equal(
        MLPFromScratchClassifier(20, **SOLVED).fit(X, y.to_numpy().astype(str)).coefs_[0], model.coefs_[0]
    )


def test_partial_fit_and_warm_start():
    classes = [np.unique(column) for column in Y.T]
    model = our_estimator("binary", learning_rate_init=0.05, random_state=np.random.RandomState(0))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, Y)
    with pytest.raises(ValueError, match="classes must be a list of 3 arrays, one for each target"):
        model.partial_fit(X, Y, classes=[0, 1])
    for _ in range(60):
        model.partial_fit(X[:75], Y[:75], classes=classes).partial_fit(X[75:], Y[75:])
    assert (model.predict(X) == Y)[:, :2].mean() > 0.7
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(twin.predict(X), model.predict(X))
    with pytest.raises(ValueError, match=r"In column 2 of y: y has classes \[7\]"):
        model.partial_fit(X, np.column_stack([Y[:, :2], np.full(150, 7)]))
    with pytest.raises(ValueError, match="fitted on 3 columns"):
        model.partial_fit(X, Y[:, ::2])
    with pytest.raises(ValueError, match="fitted on 3 columns"):
        model.partial_fit(X, Y_ONE)
    with pytest.raises(ValueError, match="fitted on multiclass targets"):
        our_estimator("binary", warm_start=True, max_iter=1).fit(X, Y_ONE).fit(X, Y)
    with pytest.raises(ValueError, match="In column 0 of y: warm_start can only be used"):
        our_estimator("binary", warm_start=True, max_iter=1).fit(X, Y).fit(X[Y_ONE > 10], Y[Y_ONE > 10])


def test_rows_that_hold_but_two_labels():
    """Which look like a matrix of labels; what the model was fitted on, or the list of classes, says what they are."""
    y = np.column_stack([np.arange(150) % 3, Y_ONE // 10 - 1])
    few, classes = (y < 2).all(axis=1), [np.arange(3)] * 2
    model = our_estimator("binary", max_iter=5).fit(X, y, X_val=X[few], y_val=y[few])
    model.loss_gradient(X[few], y[few])
    model.partial_fit(X[few], y[few]).partial_fit(X[(y > 0).all(axis=1)], y[(y > 0).all(axis=1)])
    first = our_estimator("binary").partial_fit(X[few], y[few], classes=classes)
    assert first.partial_fit(X, y).n_outputs_ == 6
    signs = np.where(X[:, :2] > 0, 1, -1)
    model = our_estimator("binary", max_iter=300, learning_rate_init=0.02).fit(X, signs)
    assert [classes.tolist() for classes in model.classes_] == [[-1, 1], [-1, 1]]
    assert model.score(X, signs) > 0.9


def test_wrong_classes():
    classes = [np.unique(column) for column in Y.T]
    model = our_estimator("binary").partial_fit(X, Y, classes=classes)
    for wrong in (classes[:2], 3, [0, 1]):
        with pytest.raises(ValueError, match="classes must be a list of 3 arrays, one for each target; got"):
            model.partial_fit(X, Y, classes=wrong)
    with pytest.raises(ValueError, match=r"In column 1 of y: classes=.* is not the same as on the first call"):
        model.partial_fit(X, Y, classes=[classes[0], [0, 1, 2], classes[2]])
    with pytest.raises(ValueError, match="y is a sparse matrix, which must be one of 0 and 1"):
        our_estimator("binary").fit(X, sparse.csr_matrix(Y))


@pytest.mark.parametrize("scoring", [None, "loss"])
def test_validation_set(scoring):
    model = our_estimator("binary", scoring=scoring, early_stopping=True, max_iter=10)
    model.fit(X[:100], Y[:100], X_val=X[100:], y_val=Y[100:])
    expected = (
        model.best_validation_score_ if scoring is None else (model.predict(X[100:]) == Y[100:]).all(axis=1).mean()
    )
    assert model.score(X[100:], Y[100:]) == pytest.approx(expected)
    weight = np.arange(150) % 3
    assert model.score(X, Y, weight) == pytest.approx(np.average((model.predict(X) == Y).all(axis=1), weights=weight))
    with pytest.raises(ValueError, match=r"y must have shape \(150, 3\), one column for each target; got \(150,\)"):
        model.score(X, Y_ONE)


def test_class_weight():
    balanced = our_estimator("binary", class_weight="balanced", max_iter=5).fit(X, Y)
    by_hand = our_estimator("binary", max_iter=5).fit(X, Y, compute_sample_weight("balanced", Y))
    assert_allclose(balanced.coefs_[0], by_hand.coefs_[0], rtol=1e-9)
    weight = np.arange(1, 151)  # so often, which counts
    weighted = our_estimator("binary", class_weight="balanced", max_iter=5).fit(X, Y, weight)
    factors = compute_sample_weight("balanced", np.repeat(Y, weight, axis=0))[np.cumsum(weight) - 1]
    by_hand = our_estimator("binary", max_iter=5).fit(X, Y, weight * factors)
    assert_allclose(weighted.coefs_[0], by_hand.coefs_[0], rtol=1e-9)
    with pytest.raises(ValueError, match=r"class_weight=\{10: 2\} does not say which of the 3 targets"):
        our_estimator("binary", class_weight={10: 2}).fit(X, Y)


def test_search_and_cross_validation():
    model = our_estimator("binary", max_iter=5)
    search = GridSearchCV(model, {"alpha": [1e-4, 1.0]}, cv=2, error_score="raise").fit(X, Y)
    assert search.best_estimator_.predict(X).shape == Y.shape
    assert cross_val_predict(model, X, Y, cv=2).shape == Y.shape
    assert [p.shape for p in cross_val_predict(model, X, Y, cv=2, method="predict_proba")] == [
        (150, 3),
        (150, 2),
        (150, 4),
    ]
