"""Models of scikit-learn's made ours and back: the same predictions, and the same steps when trained further."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from tasks import CLASSIFICATION, TASKS, estimator_pair, make_task, our_estimator

from sknn_scratch import (
    LogLoss,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    Tanh,
    from_sklearn,
    to_sklearn,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SOLVERS = {
    "adam": {"solver": "adam"},
    "nesterov": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.1},
    "momentum": {
        "solver": "sgd",
        "nesterovs_momentum": False,
        "learning_rate": "invscaling",
        "learning_rate_init": 0.1,
    },
}
ACTIVATIONS = ["identity", "logistic", "relu", "tanh"]


def assert_same_predictions(first, second, X):
    """They are the same but for the order in which BLAS adds up products, which depends on the layout of arrays."""
    methods = ["predict", "predict_proba"] if hasattr(first, "predict_proba") else ["predict"]
    for ours, theirs in ((getattr(first, method)(X), getattr(second, method)(X)) for method in methods):
        assert_allclose(ours, theirs, rtol=0, atol=1e-14 * max(1, np.abs(theirs).max()))


def assert_same_state(first, second, rtol=0):
    for a, b in zip(first.coefs_ + first.intercepts_, second.coefs_ + second.intercepts_, strict=True):
        assert_allclose(a, b, rtol=rtol, atol=rtol)
    for name in (
        "n_iter_",
        "t_",
        "n_layers_",
        "n_outputs_",
        "out_activation_",
        "n_features_in_",
        "_no_improvement_count",
    ):
        assert getattr(first, name) == getattr(second, name), name
    for name in ("loss_", "best_loss_", "best_validation_score_"):
        a, b = getattr(first, name), getattr(second, name)
        assert a == b or a == pytest.approx(b, rel=rtol), name
    assert_allclose(first.loss_curve_, second.loss_curve_, rtol=rtol)


@pytest.mark.parametrize("direction", ["from scikit-learn", "to scikit-learn"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("task", TASKS)
def test_predictions(task, activation, dtype, direction):
    X, y = make_task(task)
    ours, theirs = estimator_pair(task, activation=activation, max_iter=5)
    source, convert = (theirs, from_sklearn) if direction == "from scikit-learn" else (ours, to_sklearn)
    converted = convert(source.fit(X.astype(dtype), y))
    assert type(converted) is type(ours if source is theirs else theirs)
    assert converted.coefs_[0].dtype == dtype
    assert_same_predictions(converted, source, X)
    # In float32 the libraries round differently, each in the order of its own operations.
    if dtype == np.float32:
        assert_allclose(converted.predict(X.astype(dtype)), source.predict(X.astype(dtype)), rtol=1e-5, atol=1e-6)
    if task in CLASSIFICATION:
        assert_array_equal(converted.classes_, source.classes_)
        assert converted.score(X, y) == source.score(X, y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "multioutput", "poisson"])
def test_training_goes_on(task, solver, dtype):
    """After the conversion, both make the same epochs, with the moments, the schedule and the random state so far."""
    X, y = make_task(task)
    X = X.astype(dtype)
    parameters = {"max_iter": 4, "batch_size": 40, **SOLVERS[solver]}
    rtol = 1e-4 if dtype == np.float32 else 1e-11
    for convert, which in ((from_sklearn, 1), (to_sklearn, 0)):
        source = estimator_pair(task, **parameters)[which].set_params(random_state=np.random.RandomState(3))
        source.fit(X, y)
        twin = convert(source)
        assert_same_state(twin, source)
        rates = []
        for _ in range(4):
            source.partial_fit(X, y)
            twin.partial_fit(X, y)
            assert_same_state(twin, source, rtol=rtol)
            rates.append((twin if which else source)._schedule.learning_rate)
        if solver != "adam":
            assert len(set(rates)) > 1 or rates[0] != source.learning_rate_init
        fresh = clone(source).fit(X, y)
        for _ in range(4):
            fresh.partial_fit(X, y)
        assert not np.allclose(fresh.coefs_[0], source.coefs_[0])


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_warm_start_goes_on(task, solver, early_stopping):
    X, y = make_task(task)
    pair = estimator_pair(task, max_iter=6, solver=solver, warm_start=True, early_stopping=early_stopping)
    for source, convert in zip(pair, (to_sklearn, from_sklearn), strict=True):
        twin = convert(source.fit(X, y))
        assert_same_state(twin.fit(X, y), source.fit(X, y), rtol=1e-11)
        if early_stopping:
            assert len(twin.validation_scores_) == len(twin.loss_curve_)
            assert_allclose(twin.validation_scores_, source.validation_scores_, rtol=1e-11)


def test_warm_start_without_improvement_keeps_the_weights():
    X, y = make_task("binary")
    ours = our_estimator("binary", max_iter=5, warm_start=True, early_stopping=True).fit(X, y)
    ours.best_validation_score_ = 2.0  # beyond reach
    twin = to_sklearn(ours).fit(X, y)
    for a, b in zip(twin.coefs_ + twin.intercepts_, ours.coefs_ + ours.intercepts_, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("task", TASKS)
def test_lbfgs_and_round_trip(task):
    X, y = make_task(task)
    ours, theirs = estimator_pair(task, solver="lbfgs", max_iter=5)
    there = to_sklearn(ours.fit(X, y))
    assert_same_predictions(there, ours, X)
    assert there.get_params() == theirs.get_params()
    back = from_sklearn(there)
    assert_same_state(back, ours)
    assert back.get_params() == ours.get_params()
    # scikit-learn's own lbfgs records no curve.
    assert from_sklearn(theirs.fit(X, y)).loss_curve_ == []
    assert_same_predictions(from_sklearn(theirs), theirs, X)


def test_nothing_is_shared_and_nothing_changed():
    X, y = make_task("multiclass")
    for convert, source in ((from_sklearn, MLPClassifier), (to_sklearn, MLPFromScratchClassifier)):
        rng = np.random.RandomState(0)
        source = source(5, max_iter=3, random_state=rng).fit(X, y)
        before, drawn = pickle.dumps(source), rng.get_state()[1].copy()
        twin = convert(source)
        for _ in range(2):
            twin.partial_fit(X, y)
        twin.coefs_[0][:] = 7
        twin.loss_curve_.append(7)
        assert pickle.dumps(source) == before
        assert_array_equal(rng.get_state()[1], drawn)


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"], [True, False], [2.0, 3.0, 5.0], [4]])
def test_labels(labels):
    X, _ = make_task("binary")
    for dtype in (None, object) if isinstance(labels[0], str) else (None,):
        y = np.resize(np.array(labels, dtype=dtype), len(X))
        ours, theirs = (
            cls(3, max_iter=2, random_state=0).fit(X, y) for cls in (MLPFromScratchClassifier, MLPClassifier)
        )
        for twin, source in ((from_sklearn(theirs), theirs), (to_sklearn(ours), ours)):
            assert twin.classes_.dtype == source.classes_.dtype
            assert_array_equal(twin.predict(X), source.predict(X))
            assert twin.predict(X).dtype == source.predict(X).dtype
            assert_allclose(twin.predict_proba(X), source.predict_proba(X), atol=1e-15)


def test_sparse_multilabel_targets_and_names_of_features():
    X, y = make_task("multilabel")
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(8)])
    for model in estimator_pair("multilabel", max_iter=3):
        convert = from_sklearn if isinstance(model, MLPClassifier) else to_sklearn
        twin = convert(model.fit(frame, sparse.csr_matrix(y)))
        assert_array_equal(twin.feature_names_in_, frame.columns)
        assert sparse.issparse(twin.predict(frame))
        assert_array_equal(twin.predict(frame).toarray(), model.predict(frame).toarray())
        assert not sparse.issparse(convert(model.fit(X, y)).predict(X))


@pytest.mark.parametrize(
    ("task", "parameters", "message"),
    [
        ("binary", {"activation": "gelu"}, r"the activation is 'gelu', not one of \('identity', "),
        ("binary", {"activation": ["relu", "tanh"]}, r"the activation is \['relu', 'tanh'\], not one of"),
        ("binary", {"loss": "hinge"}, r"the loss is Hinge\(\), not log-loss"),
        ("binary", {"loss": LogLoss(label_smoothing=0.1)}, r"the loss is LogLoss\(label_smoothing=0.1\), not log-loss"),
        ("regression", {"loss": "huber"}, r"the loss is Huber\(\), not squared_error or poisson"),
        ("regression", {"output_activation": "tanh"}, "the output activation is 'tanh', not 'identity'"),
        ("binary", {"solver": "adamw"}, r"solver is 'adamw', not one of \('adam', 'lbfgs', 'sgd'\)"),
        ("binary", {"learning_rate": "cosine"}, r"learning_rate is 'cosine', not one of"),
        ("binary", {"dropout": 0.5}, "dropout is 0.5, not 0"),
        ("binary", {"dropout": np.array([0, 0.5, 0])}, r"dropout is array\(\[0. , 0.5, 0. \]\), not 0"),
        ("binary", {"class_weight": {10: 2}}, r"class_weight is \{10: 2\}, not None"),
        ("regression", {"max_grad_norm": 1.0}, "max_grad_norm is 1.0, not None"),
        ("regression", {"fit_intercept": False}, "fit_intercept is False, not True"),
        ("binary", {"activation": "mish", "solver": "nadam"}, "the activation is 'mish'.*; solver is 'nadam'"),
    ],
)
def test_what_scikit_learn_lacks(task, parameters, message):
    X, y = make_task(task)
    model = our_estimator(task, max_iter=3, **parameters).fit(X, y)
    with pytest.raises(ValueError, match=f"scikit-learn has no counterpart for this {type(model).__name__}: {message}"):
        to_sklearn(model)


def test_several_classification_targets():
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", max_iter=2).fit(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="there are 2 targets"):
        to_sklearn(model)


def test_objects_that_mean_the_same():
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=3, activation=[Tanh(), "tanh"], loss=LogLoss(), verbose=0).fit(X, y)
    mlp = to_sklearn(model)
    assert mlp.activation == "tanh"
    assert_same_predictions(mlp, model, X)


def test_a_parameter_that_we_do_not_have():
    class Newer(MLPRegressor):
        def __init__(self, loss="squared_error", *, tomorrow=1, max_iter=200):
            super().__init__(loss=loss, max_iter=max_iter)
            self.tomorrow = tomorrow

    X, y = make_task("regression")
    newer = Newer(max_iter=2).fit(X, y)
    assert_same_predictions(from_sklearn(newer), newer, X)
    with pytest.raises(ValueError, match="MLPFromScratchRegressor has no parameter 'tomorrow', which is 2 here"):
        from_sklearn(Newer(tomorrow=2, max_iter=2).fit(X, y))


def test_a_regressor_that_was_never_fitted_but_given_its_layers():
    rng = np.random.RandomState(0)
    theirs = MLPRegressor(hidden_layer_sizes=(3,))
    theirs.coefs_, theirs.intercepts_ = [rng.randn(8, 3), rng.randn(3, 2)], [rng.randn(3), rng.randn(2)]
    theirs.n_layers_, theirs.out_activation_ = 3, "identity"
    assert_same_predictions(from_sklearn(theirs), theirs, rng.randn(10, 8))
    theirs.out_activation_ = "relu"
    with pytest.raises(ValueError, match="of this MLPRegressor was changed to 'relu'; for its loss it is 'identity'"):
        from_sklearn(theirs)


def test_errors():
    with pytest.raises(
        TypeError, match="Only a fitted MLPClassifier or MLPRegressor can be converted, got LogisticReg"
    ):
        from_sklearn(LogisticRegression())
    with pytest.raises(
        TypeError, match="MLPFromScratchClassifier or MLPFromScratchRegressor can be converted, got MLPC"
    ):
        to_sklearn(MLPClassifier())
    with pytest.raises(NotFittedError):
        from_sklearn(MLPClassifier())
    with pytest.raises(NotFittedError):
        to_sklearn(MLPFromScratchRegressor())


def test_conversion_is_silent():
    X, y = make_task("binary")
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    models = [model.fit(frame, y) for model in estimator_pair("binary", max_iter=2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_sklearn(models[1])
        to_sklearn(models[0])
