"""With the same random_state, our estimators learn what the installed scikit-learn's learn."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csc_matrix, csr_array, csr_matrix, issparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from tasks import CLASSIFICATION, TASKS, estimator_pair, make_task, our_estimator

TOLERANCE = {"sgd": 1e-9, "adam": 1e-9, "lbfgs": 1e-5}


def assert_close(actual, expected, tolerance):
    """Compare with a tolerance relative to the largest number of the array."""
    expected = np.asarray(expected)
    assert_allclose(actual, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(initial=0), 1e-300))


def assert_same_model(ours, theirs, X, tolerance):
    assert ours.n_iter_ == theirs.n_iter_
    for name in ("coefs_", "intercepts_"):
        assert len(getattr(ours, name)) == len(getattr(theirs, name))
        for mine, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert_close(mine, other, tolerance)
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "t_"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert_close(ours.loss_, theirs.loss_, tolerance)
    if theirs.solver != "lbfgs":
        assert_close(ours.loss_curve_, theirs.loss_curve_, tolerance)
        for name in ("best_loss_", "validation_scores_", "best_validation_score_"):
            mine, other = getattr(ours, name), getattr(theirs, name)
            if other is None:
                assert mine is None
            else:
                assert_array_equal(np.isnan(mine), np.isnan(other))
                assert_close(np.nan_to_num(mine), np.nan_to_num(other), tolerance)
    if hasattr(theirs, "classes_"):
        assert_array_equal(ours.classes_, theirs.classes_)
        assert ours.classes_.dtype == theirs.classes_.dtype
        labels, their_labels = ours.predict(X), theirs.predict(X)
        if issparse(their_labels):
            labels, their_labels = labels.toarray(), their_labels.toarray()
        assert_array_equal(labels, their_labels)
        assert labels.dtype == their_labels.dtype
        assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=10 * tolerance)
    else:
        assert_close(ours.predict(X), theirs.predict(X), 10 * tolerance)


def fit_both(task, X=None, y=None, sample_weight=None, **parameters):
    """Fit both estimators, hold them against each other and return ours."""
    if X is None:
        X, y = make_task(task)
    ours, theirs = estimator_pair(task, **parameters)
    caught = []
    for estimator in (ours, theirs):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            estimator.fit(X, y, sample_weight=sample_weight)
        # Ours says in addition where the model is of no use.
        record = [w for w in record if not str(w.message).startswith("The model is no better than a constant")]
        caught.append([w.category for w in record if w.category is not RuntimeWarning])
    assert caught[0] == caught[1]
    assert_same_model(ours, theirs, X, TOLERANCE[ours.solver])
    return ours


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_solver_activation_task(solver, activation, task):
    fit_both(task, solver=solver, activation=activation, max_iter=12)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("hidden_layer_sizes", [(), 4, (4,), [6, 5, 4], np.array([3, 3])], ids=str)
def test_depth(hidden_layer_sizes, task):
    fit_both(task, hidden_layer_sizes=hidden_layer_sizes, max_iter=8)


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize(
    "momentum",
    [{"momentum": 0}, {"nesterovs_momentum": False}, {}, {"momentum": 1.0}],
    ids=["plain", "classical", "nesterov", "1"],
)
def test_momentum_and_schedule(momentum, learning_rate):
    fit_both(
        "multiclass",
        solver="sgd",
        learning_rate=learning_rate,
        learning_rate_init=0.01,
        power_t=0.3,
        n_iter_no_change=2,
        tol=1e-2,
        max_iter=60,
        **momentum,
    )


def test_adaptive_schedule_ends_by_itself():
    ours = fit_both(
        "binary",
        solver="sgd",
        learning_rate="adaptive",
        learning_rate_init=0.1,
        n_iter_no_change=1,
        tol=0.1,
        max_iter=200,
    )
    assert ours.n_iter_ < 200


@pytest.mark.parametrize(
    "parameters", [{"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}, {"beta_1": 0, "beta_2": 0}], ids=str
)
def test_adam_parameters(parameters):
    fit_both("regression", max_iter=15, **parameters)


@pytest.mark.parametrize("alpha", [0, 1e-3, 10.0])
@pytest.mark.parametrize("task", TASKS)
def test_penalty(task, alpha):
    fit_both(task, alpha=alpha, max_iter=8)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 149, 150, "auto"])
def test_batch_size(batch_size, shuffle):
    fit_both("multiclass", batch_size=batch_size, shuffle=shuffle, max_iter=5)


def test_clipped_batch_size():
    fit_both("binary", batch_size=1000, max_iter=3)


# Each pair of values is tried with each task.
@pytest.mark.parametrize(
    ("shuffle", "weighted", "solver"),
    [(True, False, "sgd"), (True, True, "adam"), (False, False, "adam"), (False, True, "sgd")],
)
@pytest.mark.parametrize("task", TASKS)
def test_early_stopping(task, shuffle, weighted, solver):
    X, y = make_task(task)
    weight = np.random.RandomState(0).uniform(0.5, 2, len(X)) if weighted else None
    fit_both(
        task,
        X,
        y,
        weight,
        solver=solver,
        shuffle=shuffle,
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=3,
        learning_rate_init=0.02,
        batch_size=20,
        max_iter=30,
    )


def test_validation_score_that_is_nan_for_a_while():
    X = np.random.RandomState(0).randn(60, 3)
    y = np.random.RandomState(1).poisson(np.exp(-X[:, 0])).astype(float)
    X[4, 0] = 2000
    ours = fit_both(
        "poisson",
        X,
        y,
        hidden_layer_sizes=(),
        early_stopping=True,
        random_state=4,
        max_iter=100,
        learning_rate_init=0.05,
        validation_fraction=0.2,
    )
    assert np.isnan(ours.validation_scores_[0])
    assert ours.best_validation_score_ > 0.7


def test_multilabel_targets_of_another_number_than_one():
    X, y = make_task("multilabel")
    model = fit_both("multilabel", X, 2 * y, max_iter=5)
    with pytest.warns(ConvergenceWarning):
        twin = clone(model).fit(X, csr_matrix(2 * y))
    assert_array_equal(twin.coefs_[0], model.coefs_[0])


def test_float32_samples_and_weights_that_would_underflow():
    X, y = make_task("regression")
    model = estimator_pair("regression", max_iter=3, alpha=0)[0]
    with pytest.warns(ConvergenceWarning):
        model.fit(X.astype(np.float32), y, sample_weight=np.full(len(X), 1e-60))
    assert model.loss_ > 0


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_sample_weight(solver, task):
    X, y = make_task(task)
    weight = np.random.RandomState(0).randint(0, 4, len(X)).astype(float)
    batch = {} if solver == "lbfgs" else {"batch_size": 40}
    fit_both(task, X, y, weight, solver=solver, max_iter=10, **batch)


# What scikit-learn sums in float32 is exact here: eighths, and few of them.
def weights_of(dtype):
    return (np.random.RandomState(0).randint(1, 30, 150) / (8 if np.dtype(dtype).kind == "f" else 1)).astype(dtype)


@pytest.mark.parametrize("n_dtype", range(3))
@pytest.mark.parametrize(
    ("solver", "early_stopping"), [("sgd", False), ("sgd", True), ("adam", False), ("adam", True), ("lbfgs", False)]
)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_of_another_dtype_than_the_samples(task, solver, early_stopping, n_dtype):
    """On the engines in turns, so that each pair of values is tried on both."""
    dtype = (np.float32, np.float16, np.int8)[n_dtype]
    engine = ("numpy", "numba")[(TASKS.index(task) + len(solver) + early_stopping + n_dtype) % 2]
    if engine == "numba":
        pytest.importorskip("numba")
    X, y = make_task(task)
    batch = {} if solver == "lbfgs" else {"batch_size": 40, "early_stopping": early_stopping}
    ours, theirs = estimator_pair(task, solver=solver, max_iter=5, engine=engine, **batch)
    for estimator in (ours, theirs):
        estimator.fit(X, y, sample_weight=weights_of(dtype))
    assert_same_model(ours, theirs, X, TOLERANCE[solver])


@pytest.mark.parametrize("parameters", [{"dropout": 0.2}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_take_the_dtype_of_the_samples_first(engine, parameters):
    if engine == "numba":
        pytest.importorskip("numba")
    X, y = make_task("regression")
    single = np.random.RandomState(0).uniform(0.1, 3, len(X)).astype(np.float32)
    validation = {} if "solver" in parameters else {"X_val": X[:50], "y_val": y[:50]}
    models = []
    for weight in (single, single.astype(np.float64)):
        if validation:
            validation["sample_weight_val"] = weight[:50]
        model = estimator_pair("regression", max_iter=5, engine=engine, **parameters)[0]
        models.append(model.fit(X, y, weight, **validation))
        if "dropout" in parameters:
            model.partial_fit(X, y, weight)
    ours, expected = models
    assert ours.loss_curve_ == expected.loss_curve_
    assert ours.validation_loss_curve_ == expected.validation_loss_curve_
    assert ours.validation_scores_ == expected.validation_scores_
    for mine, other in zip(ours.coefs_, expected.coefs_, strict=True):
        assert_array_equal(mine, other)
    for mine, other in zip(ours.loss_gradient(X, y, single)[0], ours.loss_gradient(X, y, weight)[0], strict=True):
        assert_array_equal(mine, other)


@pytest.mark.parametrize("container", [csr_matrix, csr_array, csc_matrix])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("hidden_layer_sizes", [(), (6, 5)])
@pytest.mark.parametrize("task", ["binary", "multilabel", "multioutput"])
def test_sparse_samples(task, hidden_layer_sizes, solver, container):
    X, y = make_task(task)
    X = container(np.where(np.abs(X) > 1, X, 0))
    batch = {} if solver == "lbfgs" else {"batch_size": 40}
    fit_both(task, X, y, solver=solver, hidden_layer_sizes=hidden_layer_sizes, max_iter=6, **batch)


@pytest.mark.parametrize("n_classes", [1, 2, 3])
@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, ">i4", np.float64, "U5", "U9", object])
def test_labels_of_every_type(dtype, n_classes):
    """Also in later calls of partial_fit, which are shown labels that are known, some in each call."""
    X, y = make_task("multiclass")
    numbers = np.arange(3) % (2 if dtype is bool else 3)
    names = np.array(["ant", "bee", "cat"]) if np.dtype(dtype).kind in "OU" else numbers
    labels = names[np.minimum(y // 10 - 1, n_classes - 1)].astype(dtype)
    fit_both("multiclass", X, labels, max_iter=5)
    few = labels == labels[0]
    ours, theirs = estimator_pair("multiclass")
    for model in (ours, theirs):
        model.partial_fit(X[few], labels[few], classes=np.unique(labels))
        model.partial_fit(X, labels).partial_fit(X[few], labels[few])
    assert_same_model(ours, theirs, X, 1e-9)


def test_sparse_multilabel_targets():
    X, y = make_task("multilabel")
    ours, theirs = (
        e.set_params(alpha=1, tol=0.01, solver="lbfgs").fit(X, csr_matrix(y)) for e in estimator_pair("multilabel")
    )
    assert type(ours.predict(X)) is type(theirs.predict(X))
    assert_array_equal(ours.predict(X).toarray(), theirs.predict(X).toarray())


@pytest.mark.parametrize("y", [np.ones(20), np.array(["only"] * 20)], ids=["number", "string"])
def test_single_class(y):
    X = np.random.RandomState(0).randn(20, 3)
    fit_both("binary", X, y, max_iter=5)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("task", TASKS)
def test_float32(task, solver):
    X, y = make_task(task)
    X = X.astype(np.float32)
    ours, theirs = estimator_pair(task, solver=solver, max_iter=20, tol=0)
    with pytest.warns(ConvergenceWarning):
        ours.fit(X, y), theirs.fit(X, y)
    assert_same_model(ours, theirs, X, 1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_float32_lbfgs(task):
    # In float32 both line searches run into rounding noise after a dozen iterations and part.
    X, y = make_task(task)
    X = X.astype(np.float32)
    ours, theirs = estimator_pair(task, solver="lbfgs", max_iter=8)
    with pytest.warns(ConvergenceWarning):
        ours.fit(X, y), theirs.fit(X, y)
    assert_same_model(ours, theirs, X, 1e-3)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start(task, solver):
    X, y = make_task(task)
    ours, theirs = estimator_pair(task, solver=solver, warm_start=True, max_iter=5)
    for _ in range(3):
        ours.fit(X, y), theirs.fit(X, y)
        assert_same_model(ours, theirs, X, TOLERANCE[solver])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start_carries_on_counting_epochs_without_improvement():
    X, y = make_task("binary")
    ours, theirs = estimator_pair("binary", warm_start=True, max_iter=3, tol=1.0, n_iter_no_change=4)
    for n_iter in (3, 3, 1):
        ours.fit(X, y), theirs.fit(X, y)
        assert ours.n_iter_ == theirs.n_iter_ == n_iter


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "multioutput", "poisson"])
def test_partial_fit_sequence(task, learning_rate):
    X, y = make_task(task)
    ours, theirs = estimator_pair(
        task,
        solver="sgd",
        learning_rate=learning_rate,
        learning_rate_init=0.05,
        tol=1e-2,
        n_iter_no_change=1,
        batch_size=16,
    )
    classes = {"classes": np.unique(y)} if task in CLASSIFICATION else {}
    for start in (0, 50, 100, 0, 50, 100):
        chunk = slice(start, start + 50)
        ours.partial_fit(X[chunk], y[chunk], **classes)
        theirs.partial_fit(X[chunk], y[chunk], **classes)
        assert_same_model(ours, theirs, X, 1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_partial_fit_after_fit_keeps_the_optimiser():
    X, y = make_task("multiclass")
    rng = [np.random.RandomState(0), np.random.RandomState(0)]
    ours, theirs = estimator_pair("multiclass", max_iter=4)
    for estimator, state in zip((ours, theirs), rng, strict=True):
        estimator.set_params(random_state=state)
        estimator.fit(X, y)
        for _ in range(3):
            estimator.partial_fit(X[:60], y[:60], sample_weight=np.arange(60))
    assert_same_model(ours, theirs, X, 1e-9)


@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_verbose_prints_the_same(capsys, early_stopping, learning_rate):
    X, y = make_task("binary")
    printed = []
    for estimator in estimator_pair(
        "binary",
        solver="sgd",
        learning_rate=learning_rate,
        early_stopping=early_stopping,
        verbose=True,
        tol=0.1,
        n_iter_no_change=2,
        max_iter=60,
    ):
        estimator.fit(X, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "Stopping" in printed[0]


def test_decision_is_strictly_above_one_half():
    X, y = make_task("binary")
    ours, theirs = (e.set_params(max_iter=500, solver="lbfgs").fit(X, y) for e in estimator_pair("binary"))
    for estimator in (ours, theirs):
        for array in estimator.coefs_ + estimator.intercepts_:
            array[...] = 0
    assert_array_equal(ours.predict_proba(X), np.full((len(X), 2), 0.5))
    assert_array_equal(ours.predict(X), theirs.predict(X))


def test_loss_curve_on_unscaled_data():
    """Where probabilities come within rounding of 0 and 1."""
    X, y = load_breast_cancer(return_X_y=True)
    fit_both("binary", X, y, max_iter=30)
    fit_both("binary", X, y, max_iter=30, hidden_layer_sizes=(), alpha=0, learning_rate_init=0.1)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_more_weights_than_a_block(solver):
    rng = np.random.RandomState(0)
    X, y = rng.randn(60, 300), rng.randint(3, size=60)
    fit_both("multiclass", X, y, solver=solver, hidden_layer_sizes=(100,), alpha=1.0, max_iter=3)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_no_tolerance_and_no_progress(early_stopping):
    """With tol=0 an equal loss, or score, counts as an improvement."""
    parameters = {"learning_rate_init": 1e-300, "shuffle": False, "tol": 0, "n_iter_no_change": 2, "max_iter": 6}
    ours = fit_both("binary", early_stopping=early_stopping, **parameters)
    assert ours.n_iter_ == 6


def test_best_score_counts_also_if_it_is_no_improvement_by_tol():
    fit_both("binary", early_stopping=True, tol=10, n_iter_no_change=6, learning_rate_init=0.02, max_iter=30)


@pytest.mark.parametrize("max_fun", [2, 5, 9])
def test_lbfgs_stopped_by_the_number_of_evaluations(max_fun):
    fit_both("multiclass", solver="lbfgs", max_fun=max_fun)


@pytest.mark.parametrize("learning_rate", ["invscaling", "adaptive"])
@pytest.mark.filterwarnings("ignore:solver='adam' does not use learning_rate")
def test_schedules_of_sgd_leave_adam_alone(learning_rate):
    X, y = make_task("binary")
    ours, theirs = estimator_pair(
        "binary", learning_rate=learning_rate, n_iter_no_change=2, tol=0.01, learning_rate_init=0.02
    )
    assert_same_model(ours.fit(X, y), theirs.fit(X, y), X, 1e-9)


@pytest.mark.parametrize("learning_rate", ["invscaling", "adaptive"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start_begins_with_the_initial_rate_again(learning_rate):
    X, y = make_task("binary")
    ours, theirs = estimator_pair(
        "binary",
        solver="sgd",
        learning_rate=learning_rate,
        learning_rate_init=0.1,
        n_iter_no_change=1,
        tol=0.1,
        max_iter=8,
        warm_start=True,
    )
    for _ in range(3):
        assert_same_model(ours.fit(X, y), theirs.fit(X, y), X, 1e-9)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_single_class_with_and_without_early_stopping(early_stopping):
    X = np.random.RandomState(0).randn(40, 3)
    ours = fit_both("binary", X, np.full(40, 7), early_stopping=early_stopping, max_iter=4)
    assert set(ours.predict(X)) == {7}
    if early_stopping:
        assert ours.validation_scores_ == [1.0] * 4


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_validation_score_of_a_network_that_cannot_decide():
    """A probability of exactly one half is a vote for the first class."""
    X, y = make_task("binary")
    X = np.zeros_like(X)
    pair = estimator_pair(
        "binary", hidden_layer_sizes=(), early_stopping=True, warm_start=True, max_iter=1, learning_rate_init=1e-300
    )
    ours, theirs = (estimator.fit(X, y) for estimator in pair)
    for estimator in (ours, theirs):
        estimator.coefs_[0][...] = 0
        estimator.intercepts_[0][...] = 0
        estimator.fit(X, y)
    assert ours.validation_scores_ == theirs.validation_scores_


@pytest.mark.parametrize(
    "rows", [lambda y: y > 10, lambda y: y == 20, lambda y: y != 20], ids=["upper", "one", "outer"]
)
def test_partial_fit_on_chunks_that_lack_classes(rows):
    X, y = make_task("multiclass")
    ours, theirs, of_objects = *estimator_pair("multiclass"), our_estimator("multiclass")
    for estimator in (ours, theirs, of_objects):
        labels = y.astype(str).astype(object) if estimator is of_objects else y
        classes = np.unique(labels)
        estimator.partial_fit(X[rows(y)], labels[rows(y)], classes=classes)
        estimator.partial_fit(X, labels, classes=classes[[2, 0, 1]])
        estimator.partial_fit(X[rows(y)], labels[rows(y)])
    assert_array_equal(of_objects.coefs_[0], ours.coefs_[0])
    assert_same_model(ours, theirs, X, 1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_float32_with_weights(task):
    X, y = make_task(task)
    X, weight = X.astype(np.float32), np.random.RandomState(0).uniform(0.5, 2, len(X))
    ours, theirs = estimator_pair(task, max_iter=10, tol=0)
    with pytest.warns(ConvergenceWarning):
        ours.fit(X, y, sample_weight=weight), theirs.fit(X, y, sample_weight=weight)
    assert {array.dtype for array in ours.coefs_} == {np.dtype(np.float32)}
    assert_same_model(ours, theirs, X, 1e-3)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_column_of_targets_warns(task):
    X, y = make_task(task)
    ours = estimator_pair(task, max_iter=3)[0]
    with pytest.warns(DataConversionWarning), pytest.warns(ConvergenceWarning):
        twin = clone(ours).fit(X, y.reshape(-1, 1))
    with pytest.warns(ConvergenceWarning):
        assert_array_equal(ours.fit(X, y).coefs_[0], twin.coefs_[0])
    assert twin.predict(X).shape == (150,)


def test_verbose_by_number(capsys):
    for solver in ("adam", "lbfgs"):
        with pytest.warns(ConvergenceWarning):
            estimator_pair("binary", solver=solver, verbose=2, max_iter=2)[0].fit(*make_task("binary"))
        assert capsys.readouterr().out.count("Iteration") == 2
