"""Values of the losses and links."""

import itertools
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from scipy.stats import norm
from sklearn import metrics
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from tasks import CLASSIFICATION, REGRESSION, make_task, our_estimator

from sknn_scratch import TabularMLPRegressor
from sknn_scratch.catalogue.links import LINKS, Link, LogisticLink, SoftmaxLink
from sknn_scratch.catalogue.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    AbsoluteError,
    BrierLoss,
    FocalLoss,
    GammaDeviance,
    GaussianNLL,
    Hinge,
    Huber,
    LogCosh,
    LogLoss,
    Loss,
    PoissonDeviance,
    Quantile,
    SquaredError,
    SquaredHinge,
    TweedieDeviance,
)
from sknn_scratch.catalogue.losses.base import half_squares
from sknn_scratch.engines import start
from sknn_scratch.engines.numpy.in_place import loss_and_delta
from sknn_scratch.gradient_check import check_gradients
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.job import Job

RNG = np.random.RandomState(0)
RAW = RNG.randn(30, 4)
WEIGHT = RNG.uniform(0.5, 2, 30)
LABELS = RNG.randint(4, size=30)


def value(loss, y, raw, weight=None):
    return np.average(loss.value(y, raw), weights=weight)


def started(loss, multiclass=False):
    loss.start(multiclass)
    return loss


def prediction(loss, raw):
    return loss.link.inverse(raw)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_values_are_those_of_scikit_learn_metrics(weight):
    one_hot, indicator, counts = np.eye(4)[LABELS], (RNG.rand(30, 4) > 0.5).astype(float), RNG.poisson(2, (30, 1)) + 0.0
    loss = started(LogLoss(), True)
    assert_allclose(
        value(loss, one_hot, RAW, weight), metrics.log_loss(LABELS, prediction(loss, RAW), sample_weight=weight)
    )
    loss = LogLoss()
    expected = sum(
        metrics.log_loss(indicator[:, k], prediction(loss, RAW)[:, k], sample_weight=weight) for k in range(4)
    )
    assert_allclose(value(loss, indicator, RAW, weight), expected)
    loss = PoissonDeviance()
    expected = metrics.mean_poisson_deviance(counts, prediction(loss, RAW[:, :1]), sample_weight=weight) / 2
    assert_allclose(value(loss, counts, RAW[:, :1], weight), expected)
    assert_allclose(
        value(SquaredError(), indicator, RAW, weight),
        metrics.mean_squared_error(indicator, RAW, sample_weight=weight) / 2,
    )
    for multiclass, y in ((True, one_hot), (False, indicator)):
        loss = started(BrierLoss(), multiclass)
        expected = metrics.mean_squared_error(y, prediction(loss, RAW), sample_weight=weight) * 4 / 2
        assert_allclose(value(loss, y, RAW, weight), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("multiclass", [False, True])
@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_extreme_raw_output(name, multiclass, dtype):
    loss = started(CLASSIFIER_LOSSES[name](), multiclass)
    raw = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], dtype=dtype)
    y = np.array([[1, 0], [1, 0], [0, 1]], dtype=dtype)
    with np.errstate(over="ignore"):
        losses, gradient = loss.value(y, raw), loss.derivative(y, raw)
    assert np.isfinite(losses).all()
    assert losses.shape == (3,)
    assert np.isfinite(gradient).all()
    assert gradient.dtype == dtype


def test_log_loss_clips_the_reported_value_only():
    one, raw = np.ones((1, 1)), np.array([[-50.0]])
    assert LogLoss().value(one, raw)[0] == pytest.approx(-np.log(np.finfo(float).eps))
    assert LogLoss().derivative(one, raw)[0, 0] == pytest.approx(-1)
    assert LogLoss().value(one, -raw)[0] == -np.log(1 - np.finfo(float).eps)


@pytest.mark.parametrize("link", [LogisticLink(), SoftmaxLink()])
def test_log_inverse(link):
    assert_allclose(link.log_inverse(RAW), np.log(link.inverse(RAW)), rtol=1e-12)
    assert np.isfinite(link.log_inverse(np.array([[-1e4, 1e4]]))).all()


def test_poisson_wants_targets_that_are_not_negative():
    with pytest.raises(ValueError, match=r"y must not be negative with loss='poisson', got a minimum of -2"):
        PoissonDeviance().check_targets(np.array([[0.0], [-2.0]]))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_values_of_our_own_losses(weight):
    y, z, positive = RNG.randn(30, 1), RAW[:, :1], RNG.uniform(0.5, 3, (30, 1))
    average = {"weights": weight}
    assert_allclose(value(AbsoluteError(), y, z, weight), metrics.mean_absolute_error(y, z, sample_weight=weight))
    for q in (0.1, 0.5, 0.9):
        expected = metrics.mean_pinball_loss(y, z, alpha=q, sample_weight=weight)
        assert_allclose(value(Quantile(q), y, z, weight), expected)
    r = np.abs(z - y).ravel()
    assert_allclose(
        value(Huber(0.7), y, z, weight), np.average(np.where(r < 0.7, r**2 / 2, 0.7 * (r - 0.35)), **average)
    )
    assert_allclose(value(LogCosh(), y, z, weight), np.average(np.log(np.cosh(r)), **average))
    expected = metrics.mean_gamma_deviance(positive, np.exp(z), sample_weight=weight) / 2
    assert_allclose(value(GammaDeviance(), positive, z, weight), expected)
    for power in (1, 1.5, 2, 3):
        expected = metrics.mean_tweedie_deviance(positive, np.exp(z), power=power, sample_weight=weight) / 2
        assert_allclose(value(TweedieDeviance(power), positive, z, weight), expected)
    one_hot, binary = np.eye(4)[LABELS], (LABELS > 1) + 0.0
    expected = metrics.hinge_loss(LABELS, RAW, sample_weight=weight)
    assert_allclose(value(started(Hinge(), True), one_hot, RAW, weight), expected)
    assert_allclose(
        value(Hinge(), binary[:, None], z, weight), metrics.hinge_loss(binary, z.ravel(), sample_weight=weight)
    )
    lacking = np.maximum(0, 1 - (2 * binary - 1) * z.ravel())
    assert_allclose(value(SquaredHinge(), binary[:, None], z, weight), np.average(lacking**2, **average))
    for multiclass, target in ((True, one_hot), (False, one_hot)):
        loss = started(FocalLoss(0.0), multiclass)
        assert_allclose(value(loss, target, RAW, weight), value(started(LogLoss(), multiclass), target, RAW, weight))
    p_true = (prediction(started(FocalLoss(), True), RAW) * one_hot).sum(axis=1)
    expected = np.average(-((1 - p_true) ** 3) * np.log(p_true), **average)
    assert_allclose(value(started(FocalLoss(3.0), True), one_hot, RAW, weight), expected)


def test_label_smoothing():
    one_hot = np.eye(4)[LABELS]
    loss = started(LogLoss(label_smoothing=0.2), True)
    p = prediction(loss, RAW)
    expected = -((0.8 * one_hot + 0.05) * np.log(p)).sum(axis=1).mean()
    assert_allclose(value(loss, one_hot, RAW), expected)
    loss = started(LogLoss(label_smoothing=0.2))
    p, y = prediction(loss, RAW), 0.8 * one_hot + 0.1
    assert_allclose(value(loss, one_hot, RAW), -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1).mean())


QUANTILES = r"a number in \(0, 1\), or a list of such numbers in increasing order"


@pytest.mark.parametrize(
    ("loss", "name", "allowed"),
    [
        *((Huber(delta), "delta", r"a number in \(0, inf\)") for delta in (0, -1, "1", np.inf, True)),
        *((Quantile(q), "q", QUANTILES) for q in (0, 1, None, np.nan, "0.5", True)),
        *((Quantile(q), "q", QUANTILES) for q in ([], [0.5, 0.1], [0.1, 0.1], [0.5, 1])),
        *((GaussianNLL(std), "min_std", r"a number in \(0, inf\)") for std in (0, -1, None)),
        *((TweedieDeviance(power), "power", r"a number in \[1, inf\)") for power in (0.5, "2")),
        *((FocalLoss(gamma), "gamma", r"a number in \[0, inf\)") for gamma in (-1, None)),
        *((LogLoss(smoothing), "label_smoothing", r"a number in \[0, 1\)") for smoothing in (-0.1, 1, "0.1")),
    ],
    ids=repr,
)
def test_wrong_parameters(loss, name, allowed):
    task = "binary" if isinstance(loss, FocalLoss | LogLoss) else "regression"
    estimator = our_estimator(task, loss=loss)
    with pytest.raises(ValueError, match=f"The parameter '{name}' of {type(loss).__name__} must be {allowed}; got"):
        estimator.fit(*make_task(task))


@pytest.mark.parametrize("loss", [GammaDeviance(), TweedieDeviance(2), TweedieDeviance(2.5)], ids=repr)
def test_positive_targets(loss):
    X, _ = make_task("regression")
    with pytest.raises(ValueError, match=r"y must be positive with loss='.*', got a minimum of 0"):
        our_estimator("regression", loss=loss).fit(X, np.arange(len(X)))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("loss", [*CLASSIFIER_LOSSES, LogLoss(0.1), FocalLoss(1.0)], ids=str)
@pytest.mark.parametrize("task", CLASSIFICATION)
def test_classifier_learns(task, loss, early_stopping):
    X, y = make_task(task)
    model = our_estimator(task, loss=loss, learning_rate_init=0.02, max_iter=100, early_stopping=early_stopping).fit(
        X, y
    )
    assert (model.predict(X) == y).mean() > (0.5 if early_stopping else 0.75)
    raw_output = model.decision_function(X)
    if task == "binary":
        assert raw_output.shape == (150,)
        assert_array_equal(model.predict(X), model.classes_[(raw_output > 0).astype(int)])
    elif task == "multiclass":
        assert_array_equal(model.predict(X), model.classes_[raw_output.argmax(axis=1)])
    else:
        assert_array_equal(model.predict(X), raw_output > 0)
    has_probabilities = "hinge" not in str(loss)
    assert hasattr(model, "predict_proba") == hasattr(model, "predict_log_proba") == has_probabilities
    if not has_probabilities:
        with pytest.raises(AttributeError, match="predict_proba"):
            model.predict_proba(X)
    assert_array_equal(clone(model).fit(X, y).coefs_[0], model.coefs_[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "loss", ["absolute_error", "huber", "log_cosh", "quantile", "gamma", "tweedie", Huber(0.1), Quantile(0.6)], ids=str
)
@pytest.mark.parametrize("task", [task for task in REGRESSION if task != "poisson"])
def test_regressor_learns(task, loss):
    X, y = make_task(task)
    if loss in ("gamma", "tweedie"):
        y = np.exp(y)
    model = our_estimator(task, loss=loss, learning_rate_init=0.02, max_iter=200).fit(X, y)
    assert model.score(X, y) > 0.6
    assert model.predict(X).shape == y.shape


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_quantile_is_one(q):
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, (3000, 1))
    y = X[:, 0] + (1 + X[:, 0]) * rng.randn(3000)
    model = our_estimator("regression", loss=Quantile(q), learning_rate_init=0.01, max_iter=60).fit(X, y)
    for part in (X[:, 0] < 0, X[:, 0] > 0):
        assert (y[part] < model.predict(X[part])).mean() == pytest.approx(q, abs=0.05)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", ["regression", "multioutput"])
def test_several_quantiles(task, early_stopping):
    """One column each, which never cross, each of them right, and a score of their own."""
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, (3000, 2))
    y = X + (1.2 + X) * rng.randn(3000, 2)
    y, q = y if task == "multioutput" else y[:, 0], (0.05, 0.3, 0.5, 0.9)
    model = our_estimator(task, loss=Quantile(q), learning_rate_init=0.01, max_iter=60, early_stopping=early_stopping)
    check_gradients(model.set_params(activation="tanh"), X[:40], y[:40], verbose=False)
    predicted = model.fit(X, y).predict(X)
    assert predicted.shape == (*y.shape, 4)
    assert (np.diff(predicted, axis=-1) >= 0).all()
    assert (np.diff(model.predict(100 * X), axis=-1) >= 0).all()
    below = (y[..., np.newaxis] < predicted).reshape(3000, -1, 4)
    for part in (X[:, 0] < 0, X[:, 0] > 0):
        assert_allclose(below[part].mean(axis=(0, 1)), q, atol=0.06)
    d2 = [metrics.d2_pinball_score(y, predicted[..., k], alpha=q[k]) for k in range(4)]
    assert model.score(X, y) == pytest.approx(np.mean(d2))
    assert clone(model).get_params()["loss__q"] == q
    if early_stopping:
        assert model.best_validation_score_ == -min(model.validation_loss_curve_)


@pytest.mark.filterwarnings("ignore:The model is no better than a constant")  # tol=1 stops at once
def test_one_quantile_in_a_list_is_one():
    X, y = make_task("regression")
    one, other = (
        our_estimator("regression", loss=Quantile(q), solver="lbfgs", max_iter=30, tol=1) for q in (0.3, [0.3])
    )
    assert_array_equal(one.fit(X, y).predict(X), other.fit(X, y).predict(X))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_gaussian_likelihood_is_scipys(weight):
    y, loss = RNG.randn(30, 2), started(GaussianNLL(0.1))
    mean, std = RAW[:, :2], 0.1 + np.exp(RAW[:, 2:])
    assert_allclose(value(loss, y, RAW, weight), np.average(-norm(mean, std).logpdf(y).sum(axis=1), weights=weight))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_mean_and_standard_deviation(n_targets, dtype):
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, (3000, 2)).astype(dtype)
    true_std = np.exp(X)[:, :n_targets]
    y = X[:, ::-1][:, :n_targets] + true_std * rng.randn(3000, n_targets)
    if n_targets == 1:
        y, true_std = y[:, 0], true_std[:, 0]
    model = our_estimator("regression", loss="gaussian_nll", learning_rate_init=0.01, max_iter=60).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == y.shape
    assert mean.dtype == std.dtype == dtype
    assert_array_equal(mean, model.predict(X))
    assert std.min() > 0
    assert np.corrcoef(std.ravel(), true_std.ravel())[0, 1] > 0.95
    assert_allclose((np.abs(y - mean) < std).mean(), 0.68, atol=0.03)
    assert model.score(X, y) == pytest.approx(metrics.r2_score(y, mean))
    likelihood = norm(mean, std).logpdf(y).reshape(3000, -1).sum(axis=1).mean()
    assert model.loss_ == pytest.approx(-likelihood, abs=0.05)


@pytest.mark.filterwarnings("ignore:The model is no better than a constant")  # tol=1 stops at once
def test_standard_deviation_only_where_it_is_learnt():
    X, y = make_task("regression")
    model = our_estimator("regression", solver="lbfgs", max_iter=30, tol=1).fit(X, y)
    with pytest.raises(ValueError, match=r"return_std=True needs loss='gaussian_nll'; .* fitted with SquaredError"):
        model.predict(X, return_std=True)


def test_quantiles_of_large_targets_in_float32():
    """The derivative comes from the raw output, not from the difference of two large predictions."""
    raw = np.array([[1e7, 0.0, -1.0]])
    gradients = [
        started(Quantile([0.2, 0.5, 0.7])).derivative(np.array([[1e7]], dtype=dtype), raw.astype(dtype))
        for dtype in (np.float32, np.float64)
    ]
    assert_allclose(*gradients, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The model is no better than a constant")  # tol=1 stops at once
def test_weighted_score_of_several_quantiles():
    X, y = make_task("regression")
    weight = np.arange(1.0, 151)
    model = our_estimator("regression", loss=Quantile([0.2, 0.7]), solver="lbfgs", tol=1).fit(X, y)
    predicted = model.predict(X)
    expected = [
        metrics.d2_pinball_score(y, predicted[:, k], alpha=q, sample_weight=weight) for k, q in ((0, 0.2), (1, 0.7))
    ]
    assert model.score(X, y, weight) == pytest.approx(np.mean(expected))
    huge = np.full((3, 2), np.inf)
    assert np.isnan(model._score_prediction(y[:3], huge, None))


def test_what_a_subclass_says_counts():
    """A formula takes the place of all that the base class says about the same."""

    class FourthPower(SquaredError):  # noqa: N818
        def value(self, y, raw_output):
            return ((raw_output - y) ** 4).sum(axis=1)

        def derivative(self, y, raw_output):
            return 4 * (raw_output - y) ** 3

    class Doubled(LogLoss):
        def value(self, y, raw_output):
            return 2 * super().value(y, raw_output)

        def derivative(self, y, raw_output):
            return 2 * super().derivative(y, raw_output)

    y, raw, weight = RNG.randn(5, 2), RNG.randn(5, 2), np.full(5, 0.2)
    delta = np.empty_like(raw)
    value = loss_and_delta(FourthPower(), y, raw.copy(), weight, out=delta)
    assert value == pytest.approx(((raw - y) ** 4).sum(axis=1).mean())
    assert_allclose(delta, 4 * (raw - y) ** 3 / 5)
    y = (y > 0).astype(float)
    value = loss_and_delta(Doubled(), y, raw.copy(), weight, out=delta)
    assert value == pytest.approx(2 * LogLoss().value(y, raw).mean())
    assert_allclose(delta, 2 * LogLoss().derivative(y, raw) / 5)


@pytest.mark.filterwarnings("ignore:The model is no better than a constant")  # tol=1 stops at once
def test_a_fitted_model_keeps_its_loss():
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", loss="hinge", solver="lbfgs", tol=1).fit(X, y).set_params(loss="log_loss")
    assert not hasattr(model, "predict_proba")
    model = our_estimator("multiclass", solver="lbfgs", tol=1).fit(X, y).set_params(loss="hinge")
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert not hasattr(clone(model), "predict_proba")
    X, y = make_task("regression")
    model = our_estimator("regression", loss=Quantile([0.1, 0.9]), max_iter=1, warm_start=True).partial_fit(X, y)
    for loss in ("gaussian_nll", "huber", Quantile([0.1, 0.5, 0.9])):
        with pytest.raises(ValueError, match=r"fitted with Quantile\(q=.*\) cannot be trained further with "):
            model.set_params(loss=loss).fit(X, y)


@pytest.mark.parametrize("loss", [Huber(), SquaredError(), Quantile([0.1, 0.9])], ids=repr)
def test_no_loss_of_the_other_kind(loss):
    with pytest.raises(ValueError, match=r"Classifier must be .* \(but not of .*Huber, .*; got"):
        our_estimator("binary", loss=loss).fit(*make_task("binary"))
    with pytest.raises(ValueError, match=r"Regressor must be .* \(but not of .*Hinge, .*; got"):
        our_estimator("regression", loss=LogLoss()).fit(*make_task("regression"))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_over_a_parameter_of_the_loss():
    X, y = make_task("regression")
    model = our_estimator("regression", loss=Huber(), max_iter=5)
    search = GridSearchCV(model, {"loss__delta": [0.01, 10.0]}, cv=2).fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) == 2
    assert model.loss.delta == 1.0


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("batch_size", [1, 50])
@pytest.mark.parametrize(
    ("formula", "wrong", "shapes"),
    [
        ("value", lambda self, y, z: (z - y) ** 2 / 2, r"\(2,\) .*; got shape \(2, 1\)"),
        ("value", lambda self, y, z: 1.0, r"\(2,\) .*; got shape \(\)"),
        ("derivative", lambda self, y, z: (z - y)[:, 0], r"\(2, 1\) .*; got shape \(2,\)"),
        ("derivative", lambda self, y, z: (z - y).mean(), r"\(2, 1\) .*; got shape \(\)"),
    ],
)
def test_formulas_of_ones_own_are_for_each_sample(formula, wrong, shapes, batch_size, engine):
    right = {"value": lambda self, y, z: half_squares(z - y), "derivative": lambda self, y, z: z - y}
    loss = type("Own", (Loss,), right | {formula: wrong})()
    if engine == "numba":
        pytest.importorskip("numba")
    X, y = make_task("regression")
    model = our_estimator("regression", loss=loss, batch_size=batch_size, engine=engine)
    tabular = TabularMLPRegressor(loss=loss, engine=engine, n_members=2, max_iter=1)
    for call in (lambda: model.fit(X, y), lambda: tabular.fit(X, y), lambda: check_gradients(model, X, y)):
        with pytest.raises(ValueError, match=rf"Own\.{formula} must return an array of shape {shapes}"):
            call()


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize(
    ("formula", "wrong", "message"),
    [
        ("value", lambda self, y, z: z - y, r"an array of shape \(2,\) for .* \(2, 1\); got shape \(2, 1\)"),
        ("derivative", lambda self, y, z: 1.0, r"an array of shape \(2, 1\) for .* \(2, 1\); got shape \(\)"),
        ("derivative", lambda self, y, z: z + 0j, "real numbers; got dtype complex128"),
    ],
)
def test_losses_of_several_heads_are_checked_too(formula, wrong, message, engine):
    if engine == "numba":
        pytest.importorskip("numba")
    right = {"value": lambda self, y, z: half_squares(z - y), "derivative": lambda self, y, z: z - y}
    X, y = make_task("binary")
    model = our_estimator("binary", loss=type("Own", (Loss,), right | {formula: wrong})(), engine=engine)
    with pytest.raises(ValueError, match=rf"Own\.{formula} must return {message}"):
        model.fit(X, np.column_stack([y, np.arange(150) % 3]))
    assert not hasattr(model, "coefs_")


def test_a_link_of_ones_own_is_for_each_column():
    link = type("OwnLink", (Link,), {"inverse": lambda self, z: z.sum(axis=1)})()
    own = type("Own", (SquaredError,), {"value": lambda self, y, z: half_squares(z - y), "link": link})
    with pytest.raises(ValueError, match=r"OwnLink\.inverse must return an array of shape \(2, 1\) for .*; got shape"):
        our_estimator("regression", loss=own()).fit(*make_task("regression"))


def variants_of_losses():
    """Go through all losses, also with parameters and links that take another way."""
    further = [FocalLoss(0.0), FocalLoss(0.5), LogLoss(0.1), Quantile([0.1, 0.5, 0.9])]
    further += [TweedieDeviance(power) for power in (1, 1.1, 1.9, 2, 2.1, 3, 5)]
    for loss in [cls() for cls in (*CLASSIFIER_LOSSES.values(), *REGRESSOR_LOSSES.values())] + further:
        if isinstance(loss, tuple(CLASSIFIER_LOSSES.values())):
            yield from (started(clone(loss), multiclass) for multiclass in (False, True))
        else:
            yield started(loss)
    for name in LINKS:
        loss = SquaredError()
        loss.link = LINKS[name]()
        yield loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [100.0, 1e4])
@pytest.mark.parametrize("loss", variants_of_losses(), ids=lambda loss: f"{loss!r} {loss.link!r}")
def test_extreme_raw_outputs(loss, size, dtype):
    """Values and derivatives are finite, or infinite of the right sign, on both engines."""
    is_classification = isinstance(loss, tuple(CLASSIFIER_LOSSES.values()))
    if is_classification:
        y = np.eye(3) if loss.multiclass else np.array([[0.0], [1.0]])
    else:
        smallest = 0.01 if isinstance(loss, GammaDeviance) or getattr(loss, "power", 0) >= 2 else 0.0
        y = np.array([[smallest], [1.0], [7.0]])
    n_outputs = loss.n_raw_outputs(y.shape[1])
    corners = np.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=n_outputs)))
    y, corners = np.repeat(y, len(corners), axis=0).astype(dtype), np.tile(corners, (len(y), 1)).astype(dtype)
    raw_output = corners * dtype(size)
    with np.errstate(all="ignore"):
        value, derivative = loss.value(y, raw_output), loss.derivative(y, raw_output)
        moderate = loss.derivative(y.astype(float), 10.0 * corners)
    assert not np.isnan(value).any()
    assert (value > (-np.inf if isinstance(loss, GaussianNLL) else -1e-4)).all()
    assert not np.isnan(derivative).any()
    if not isinstance(loss, GaussianNLL):  # whose derivatives change their sign further out
        assert (np.sign(derivative) * np.sign(moderate) >= 0).all()
    is_compiled = find_spec("numba") and size == 1e4 and getattr(loss, "power", 3) in (1.5, 3)  # or it takes long
    for engine in ["numpy", "numba"] if is_compiled else ["numpy"]:
        got = [_by_engine(engine, loss, *rows) for rows in zip(y, raw_output, strict=True)]
        assert_allclose([value for value, _ in got], value, rtol=1e-4, atol=1e-5)
        assert_allclose([slope for _, slope in got], derivative, rtol=1e-4, atol=1e-5)


def _by_engine(engine, loss, y, raw_output):
    """Return the loss of a sample and its derivative, as a network without features computes them."""
    network = Perceptron([1, len(raw_output)], [], loss.link, raw_output.dtype)
    network.biases[0][...] = raw_output
    job = Job(network, loss, np.zeros((1, 1), raw_output.dtype), np.asfortranarray(y[np.newaxis]), batch_size=1)
    with np.errstate(all="ignore"), start(engine, job) as run:
        value = run.loss_and_gradient()
    return value, run.gradient[network.n_weights :].copy()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_loss_of_ones_own(solver):
    class Quartic(Loss):
        def value(self, y, raw_output):
            return ((raw_output - y) ** 4).sum(axis=1)

        def derivative(self, y, raw_output):
            return 4 * (raw_output - y) ** 3

    class Exponential(Loss):
        """AdaBoost's."""

        def value(self, y, raw_output):
            return np.exp(-(2 * y - 1) * raw_output).sum(axis=1)

        def derivative(self, y, raw_output):
            return (1 - 2 * y) * np.exp(-(2 * y - 1) * raw_output)

    X, y = make_task("multioutput")
    rate = {"learning_rate_init": 0.01} if solver == "adam" else {}
    assert our_estimator("multioutput", loss=Quartic(), solver=solver, max_iter=300, **rate).fit(X, y).score(X, y) > 0.7
    X, y = make_task("binary")
    model = our_estimator("binary", loss=Exponential(), solver=solver, alpha=1, max_iter=300, **rate).fit(X, y)
    assert model.score(X, y) > 0.8
    assert model.out_activation_ == "identity"
    half = type("Half", (Loss,), {"value": lambda self, y, z: z.sum(axis=1)})()
    with pytest.raises(TypeError, match=r"Half must define derivative\(y, raw_output\)"):
        our_estimator("binary", loss=half, solver=solver).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_probabilities_of_a_link_of_ones_own_sum_to_one():
    """Also where ``1 - p(z)`` is not ``p(-z)``."""

    class ComplementaryLogLogLink(Link):
        def inverse(self, raw_output):
            return -np.expm1(-np.exp(raw_output))

    class OwnBrierLoss(Loss):
        link = ComplementaryLogLogLink()
        gives_probabilities = True

        def value(self, y, raw_output):
            return ((self.link.inverse(raw_output) - y) ** 2).sum(axis=1)

        def derivative(self, y, raw_output):
            p = self.link.inverse(raw_output)
            return 2 * (p - y) * (1 - p) * np.exp(raw_output)

    X, y = make_task("binary")
    model = our_estimator("binary", loss=OwnBrierLoss(), learning_rate_init=0.05, max_iter=50).fit(X, y)
    probability = model.predict_proba(X)
    assert_allclose(probability[:, 1], -np.expm1(-np.exp(model.decision_function(X))))
    assert_allclose(probability.sum(axis=1), 1)
    assert_allclose(model.predict_log_proba(X), np.log(probability))
    assert_array_equal(model.predict(X), model.classes_[probability.argmax(axis=1)])
    assert model.score(X, y) > 0.7


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("task", ["regression", "multioutput"])
def test_output_activation(task, name):
    function, low, high = {
        "exp": (np.exp, 0, np.inf),
        "identity": (np.positive, -np.inf, np.inf),
        "logistic": (expit, 0, 1),
        "tanh": (np.tanh, -1, 1),
    }[name]
    X, y = make_task(task)
    y = function(y)
    model = our_estimator(task, output_activation=name, learning_rate_init=0.02, max_iter=150)
    check_gradients(model, X, y, np.arange(1.0, 151), verbose=False)
    assert model.fit(X, y).score(X, y) > 0.7
    assert model.out_activation_ == name
    prediction = model.predict(10 * X)
    assert prediction.min() >= low
    assert prediction.max() <= high
