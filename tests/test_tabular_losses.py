"""The losses of TabularMLPRegressor: what they predict, and how outputs of several networks become one."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog, nnls
from scipy.stats import norm
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import d2_pinball_score, mean_absolute_error, r2_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import same_fit, small, table

from sknn_scratch import (
    AbsoluteError,
    GaussianNLL,
    Huber,
    Loss,
    MLPFromScratchRegressor,
    PoissonDeviance,
    Quantile,
    SquaredError,
    TabularMLPRegressor,
)
from sknn_scratch.catalogue.losses import REGRESSOR_LOSSES
from sknn_scratch.estimators.tabular.weights import LossCriterion, QuantileCalibration, SquaredErrorCriterion

LOSSES = [*REGRESSOR_LOSSES, Quantile(0.9), Quantile([0.1, 0.5, 0.9]), Huber(0.5)]


def regressor(loss, **parameters):
    return small(TabularMLPRegressor, loss=loss, **parameters)


def uneven(n_samples, seed=0):
    """Return targets whose spread depends on the first of two features."""
    rng = np.random.RandomState(seed)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    return X, 3 * X[:, 1] + (0.2 + (X[:, 0] > 0)) * rng.normal(size=n_samples)


@parametrize_with_checks([regressor("gaussian_nll", hidden_layer_sizes=64, max_iter=25, random_state=None)])
def test_sklearn_compatible(estimator, check):
    check(estimator)


# Every loss -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_every_loss(loss, several):
    X, y = table(80)
    y = np.exp(y)
    y = np.column_stack([y, y[::-1]]) if several else y
    model = regressor(loss, max_iter=6).fit(X, y)
    prediction = model.predict(X)
    n_quantiles = [3] if isinstance(loss, Quantile) and loss.several else []
    assert prediction.shape == model.oof_prediction_.shape == (*y.shape, *n_quantiles)
    assert y.min() <= prediction.min() <= prediction.max() <= y.max()
    assert model.oof_score_ == pytest.approx(model._loss.score(y, model.oof_prediction_))
    assert (model.oof_std_ is None) == (loss != "gaussian_nll")
    for name, curve in model.oof_loss_curve_.items():
        assert model.best_epoch_[name] == np.argmin(curve) + 1
    assert (np.array(list(model.calibration_.values())) >= 0).all()
    same_fit(pickle.loads(pickle.dumps(model)), model, X)
    same_fit(regressor(loss, max_iter=6, n_jobs=2).fit(X, y), model, X)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_unit_of_the_targets_does_not_matter(loss):
    """But for rounding; powers of two are multiplied by exactly."""
    X, y = table(80)
    y = np.exp(y)
    model, scaled = regressor(loss, max_iter=3).fit(X, y), regressor(loss, max_iter=3).fit(X, 2.0**30 * y)
    assert_allclose(scaled.predict(X) / 2.0**30, model.predict(X), rtol=1e-3)
    assert scaled.oof_score_ == pytest.approx(model.oof_score_, abs=1e-3)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_constant_target_is_predicted(loss):
    X, _ = table(30)
    assert_array_equal(regressor(loss, max_iter=2).fit(X, np.full(30, 7.1)).predict(X), 7.1)


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", Quantile([0.2, 0.8])], ids=str)
def test_targets_of_any_size(loss):
    X, y = table(60)
    y = np.where(np.arange(60) % 2, 1e300, -1e300)
    assert np.isfinite(regressor(loss, max_iter=2).fit(X, y).predict(X)).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", Quantile(0.9), Quantile([0.1, 0.5, 0.9])], ids=str)
def test_score_is_that_of_the_drop_in(loss):
    X, y = table(80)
    model = regressor(loss, max_iter=3).fit(X, y)
    prediction, weight = model.predict(X), np.arange(1.0, 81)
    if prediction.ndim == 1:
        expected = r2_score(y, prediction, sample_weight=weight)
    else:
        scores = [
            d2_pinball_score(y, column, alpha=q, sample_weight=weight)
            for q, column in zip(loss.quantiles, prediction.T, strict=True)
        ]
        expected = np.mean(scores)
    assert model.score(X, y, weight) == pytest.approx(expected)
    drop_in = MLPFromScratchRegressor(loss, max_iter=5).fit(X[["a"]], y)
    assert model._loss.score(y, drop_in.predict(X[["a"]])) == drop_in.score(X[["a"]], y)


# What they are for ----------------------------------------------------------------------------------------------------


def test_quantiles_hold_and_never_cross():
    X, y = uneven(1200)
    levels = [0.1, 0.5, 0.9]
    model = regressor(Quantile(levels), n_members=4).fit(X[:600], y[:600])
    assert_allclose((y[:600, np.newaxis] <= model.oof_prediction_).mean(axis=0), levels, atol=0.01)
    prediction = model.predict(X[600:])
    assert (np.diff(prediction, axis=1) >= 0).all()
    assert_allclose((y[600:, np.newaxis] <= prediction).mean(axis=0), levels, atol=0.05)
    width = prediction[:, 2] - prediction[:, 0]
    assert np.median(width[X[600:, 0] > 0.2]) > 3 * np.median(width[X[600:, 0] < -0.2])
    model = regressor(Quantile(0.9), n_members=4).fit(X[:600], y[:600])
    assert abs((y[600:] <= model.predict(X[600:])).mean() - 0.9) < 0.05


def test_standard_deviations_are_those_of_the_noise():
    X, y = uneven(1200)
    model = regressor("gaussian_nll", n_members=4).fit(X[:600], y[:600])
    mean, std = model.predict(X[600:], return_std=True)
    assert_array_equal(mean, model.predict(X[600:]))
    assert_allclose(np.median(std[X[600:, 0] > 0.2]), 1.2, rtol=0.2)
    assert_allclose(np.median(std[X[600:, 0] < -0.2]), 0.2, rtol=0.5)
    for truth, (m, s) in ((y[600:], (mean, std)), (y[:600], (model.oof_prediction_, model.oof_std_))):
        assert abs((np.abs(truth - m) < norm.ppf(0.9) * s).mean() - 0.8) < 0.07


def test_targets_far_from_the_others_are_warned_of_where_nothing_is_learnt():
    X = np.random.RandomState(0).normal(size=(400, 2))
    y = np.exp(4 * X[:, 0] + 2 * X[:, 1] ** 2)
    for far in (y, -y):
        with pytest.warns(ConvergenceWarning, match=r"nothing was learnt \(R2 .* logarithm of y, with .*Transformed"):
            regressor("squared_error").fit(X, far)
    advised = TransformedTargetRegressor(regressor("squared_error"), func=np.log, inverse_func=np.exp).fit(X, y)
    assert advised.regressor_.oof_score_ > 0.9
    regressor("absolute_error").fit(X, y)
    regressor("squared_error").fit(X, X[:, 0] + 20 * (np.arange(400) == 7))
    noise = np.random.RandomState(1).normal(size=400)  # there is nothing to learn, and nothing to be done
    assert regressor("squared_error").fit(X, noise).oof_score_ < 0.02


def test_absolute_error_is_for_outliers():
    X, y = uneven(600)
    outliers = np.where(np.random.RandomState(1).rand(300) < 0.1, 100.0, y[:300])
    errors = {
        loss: mean_absolute_error(y[300:], regressor(loss).fit(X[:300], outliers).predict(X[300:]))
        for loss in ("absolute_error", "huber", "squared_error")
    }
    assert 5 * errors["absolute_error"] < errors["squared_error"]
    assert errors["huber"] < errors["squared_error"]


def test_poisson_learns_rates():
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(800, 2))
    rate = np.exp(1 + 1.5 * X[:, 0])
    model = regressor("poisson").fit(X, rng.poisson(rate))
    assert r2_score(np.log(rate), np.log(model.predict(X))) > 0.9


@pytest.mark.parametrize(("loss", "power"), [("poisson", 1), ("gamma", 2), ("tweedie", 1.5)])
def test_predictions_are_not_too_small_together(loss, power):
    """Neither by the weights, which shrink logarithms, nor by the mean of several networks."""
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(400, 3))
    rates = np.exp(np.column_stack([2.0 * (X[:, 0] > 0), 1.0 - (X[:, 1] > 0.5)]))
    counts = rng.poisson(0.5 * rates) + (0.1 if power == 2 else 0.0)
    weight = rng.uniform(0.2, 1, size=400)
    for y in counts[:, 0], counts:
        model = regressor(loss).fit(X, y, sample_weight=weight)
        p = model.oof_prediction_
        # Where a further factor would not make the deviance smaller.
        gradient = np.average(p ** (2 - power) - y * p ** (1 - power), axis=0, weights=weight)
        assert_allclose(gradient, 0, atol=1e-3)
        assert_allclose(model.predict(X).mean(axis=0), y.mean(axis=0), rtol=0.07)


def test_the_level_is_that_of_predictions_too(monkeypatch):
    X, y = uneven(100)
    usual = regressor("poisson").fit(X, np.exp(y))
    weigh = LossCriterion.weigh

    def weigh_and_lower(self, outputs):
        weights = weigh(self, outputs)
        self.level = self.level - np.log(2)
        return weights

    monkeypatch.setattr(LossCriterion, "weigh", weigh_and_lower)
    halved, p = regressor("poisson").fit(X, np.exp(y)), usual.predict(X)
    within = (p / 2 > np.exp(y).min()) & (p < np.exp(y).max())  # as all predictions are
    assert within.sum() > 50
    assert_allclose(halved.predict(X)[within], p[within] / 2)


class Expectile(Loss):
    """Squares, of which those of targets above the prediction count more."""

    def __init__(self, above=0.8):
        self.above = above

    def value(self, y, raw_output):
        error = y - raw_output
        return (np.where(error > 0, self.above, 1 - self.above) * error * error).sum(axis=1)

    def derivative(self, y, raw_output):
        error = y - raw_output
        return -2 * np.where(error > 0, self.above, 1 - self.above) * error


def test_a_loss_of_ones_own():
    X, y = uneven(300)
    high, low = (regressor(Expectile(above)).fit(X, y).predict(X) for above in (0.95, 0.05))
    assert (high > low).mean() > 0.95
    half = regressor(Expectile(0.5), max_iter=3).fit(X, y)
    assert_allclose(half.predict(X), regressor("squared_error", max_iter=3).fit(X, y).predict(X), rtol=0.2, atol=0.1)


class TenthSquaredError(SquaredError):
    """The tenth of the squares."""

    def value(self, y, raw_output):
        return ((raw_output - y) ** 2).sum(axis=1) / 10


def test_a_subclass_is_judged_by_its_own_value():
    X, y = table(60)
    own, ours = (regressor(loss, max_iter=2).fit(X, y) for loss in (TenthSquaredError(), "squared_error"))
    for view, curve in own.oof_loss_curve_.items():
        assert_allclose(10 * np.array(curve), ours.oof_loss_curve_[view], rtol=1e-5)


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("squared", "Did you mean 'squared_error'"),
        ("log_loss", "'log_loss' is for classifiers"),
        (Quantile, "Pass an instance: Quantile"),
        (Quantile([0.9, 0.1]), "'q' of Quantile must be"),
        ("poisson", "y must not be negative with loss='poisson'"),
        ("gamma", "y must be positive with loss='gamma'"),
    ],
)
def test_wrong_losses_and_targets(loss, message):
    X, y = table(40)
    model = regressor("squared_error", max_iter=1).fit(X, y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.set_params(loss=loss).fit(X, y)
    assert vars(model.set_params(loss="squared_error")) == before


def test_only_gaussian_nll_has_standard_deviations():
    X, y = table(40)
    with pytest.raises(ValueError, match=r"return_std=True needs loss='gaussian_nll'; .* with AbsoluteError\(\)"):
        regressor("absolute_error", max_iter=1).fit(X, y).predict(X, return_std=True)


# Combinations ---------------------------------------------------------------------------------------------------------


def outputs_and_targets():
    rng = np.random.RandomState(0)
    y = rng.standard_t(3, size=(201, 1))
    return [0.8 * y + 0.3 * rng.normal(size=y.shape), 0.5 * y + 0.5 * rng.normal(size=y.shape)], y


def test_weights_have_the_least_absolute_error():
    """The same as by a linear programme."""
    outputs, y = outputs_and_targets()
    A, n = np.hstack(outputs), len(y)
    rows = np.block([[A, -np.eye(n)], [-A, -np.eye(n)]])
    exact = linprog(np.r_[0, 0, np.full(n, 1 / n)], A_ub=rows, b_ub=np.r_[y[:, 0], -y[:, 0]])
    criterion = LossCriterion(AbsoluteError(), y, None)
    weights = criterion.weigh(outputs)
    assert criterion.loss(np.tensordot(weights, outputs, axes=1)) == pytest.approx(exact.fun, rel=1e-4)
    assert_allclose(weights, exact.x[:2], atol=0.02)


def test_weights_have_the_least_squared_error():
    outputs, y = outputs_and_targets()
    weight = np.linspace(0.1, 2, len(y))
    root = np.sqrt(weight)[:, np.newaxis]
    expected = nnls(root * np.hstack(outputs), (root * y)[:, 0])[0]
    assert_allclose(LossCriterion(SquaredError(), y, weight).weigh(outputs), expected, atol=1e-3)
    assert_allclose(SquaredErrorCriterion(y, weight).weigh(outputs), expected)
    assert_allclose(LossCriterion(SquaredError(), y, weight).weigh([-outputs[0]]), 0, atol=1e-3)


@pytest.mark.parametrize("loss", [Quantile([0.1, 0.5, 0.9]), GaussianNLL(0.01), PoissonDeviance(), AbsoluteError()])
def test_averaged_form_and_back(loss):
    loss.start()
    output = np.random.RandomState(0).normal(size=(20, loss.n_raw_outputs(2)))
    link = loss.link
    back = link.from_averaged_form(link.averaged_form(output))
    assert_allclose(link.inverse(back), link.inverse(output), rtol=1e-7)


def test_mean_of_networks_is_that_of_their_predictions():
    raw_output = np.random.RandomState(0).normal(size=(20, 3, 2))
    link = PoissonDeviance().link
    assert_allclose(link.inverse(link.mean_of_networks(raw_output)), link.inverse(raw_output).mean(axis=1))
    large = np.array([[[800.0], [-800.0]]])
    assert_allclose(link.mean_of_networks(large), [[800 - np.log(2)]])


def test_mean_of_quantiles_and_of_deviations():
    rng = np.random.RandomState(0)
    for loss in (Quantile([0.1, 0.5, 0.9]), GaussianNLL()):
        loss.start()
        a, b = rng.normal(size=(2, 20, loss.n_raw_outputs(1)))
        link = loss.link
        mean = link.from_averaged_form((link.averaged_form(a) + link.averaged_form(b)) / 2)
        assert_allclose(link.inverse(mean), (link.inverse(a) + link.inverse(b)) / 2, rtol=1e-7)
    surer = link.inverse(link.from_averaged_form(4 * link.averaged_form(a)))
    assert_allclose(surer, link.inverse(a) * [1, 0.5], rtol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_quantiles_that_are_too_narrow_are_drawn_apart(weighted):
    rng = np.random.RandomState(0)
    y, levels = rng.normal(size=(4001, 2)) * [1, 10], [0.1, 0.3, 0.9]
    p = np.zeros((4001, 2, 3)) + 0.5 * norm.ppf(levels)
    p[:, 1] *= 10
    weight = rng.rand(4001) if weighted else None
    calibrated = QuantileCalibration.fit(Quantile(levels), y, p, weight)(p)
    below = np.average(y[..., np.newaxis] <= calibrated, axis=0, weights=weight)
    assert_allclose(below, [levels, levels], atol=1e-3)
    crossed = QuantileCalibration(np.ones((2, 1)), np.array([[20.0, 0, 0]] * 2))(p)
    assert (np.diff(crossed, axis=-1) >= 0).all()


@pytest.mark.parametrize("factor", [2.0, 5.0])
def test_quantiles_are_drawn_apart_by_as_much_as_they_are_too_narrow(factor):
    rng, levels = np.random.RandomState(0), [0.1, 0.3, 0.9]
    spread = rng.uniform(1, 10, size=(4000, 1))
    too_narrow = np.where(np.arange(4000) % 2, 2.0, 5.0)
    p = (spread * norm.ppf(levels) / too_narrow[:, np.newaxis])[:, np.newaxis]
    of_these = (too_narrow == factor).astype(float)
    calibration = QuantileCalibration.fit(Quantile(levels), spread * rng.normal(size=(4000, 1)), p, of_these)
    assert_allclose(calibration.stretch, factor, rtol=0.05)
    assert_allclose(calibration.shift, 0, atol=1)
