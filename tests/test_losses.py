"""Values of the losses and links."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics

from sknn_scratch.losses import (
    CLASSIFIER_LOSSES,
    BrierLoss,
    ExpLink,
    LogisticLink,
    LogLoss,
    PoissonDeviance,
    SoftmaxLink,
    SquaredError,
)

RNG = np.random.RandomState(0)
RAW = RNG.randn(30, 4)
WEIGHT = RNG.uniform(0.5, 2, 30)
LABELS = RNG.randint(4, size=30)


def value(loss, y, raw, weight=None):
    return np.average(loss.losses_and_gradient(y, raw.copy(), np.empty_like(raw)), weights=weight)


def prediction(loss, raw):
    out = np.empty_like(raw)
    loss.link.inverse(raw, out)
    return out


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_values_are_those_of_scikit_learn_metrics(weight):
    one_hot, indicator, counts = np.eye(4)[LABELS], (RNG.rand(30, 4) > 0.5).astype(float), RNG.poisson(2, (30, 1)) + 0.0
    loss = LogLoss().use_softmax()
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
        loss = BrierLoss().use_softmax() if multiclass else BrierLoss()
        expected = metrics.mean_squared_error(y, prediction(loss, RAW), sample_weight=weight) * 4 / 2
        assert_allclose(value(loss, y, RAW, weight), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("multiclass", [False, True])
@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_extreme_raw_output(name, multiclass, dtype):
    loss = CLASSIFIER_LOSSES[name]()
    if multiclass:
        loss.use_softmax()
    raw = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], dtype=dtype)
    y = np.array([[1, 0], [1, 0], [0, 1]], dtype=dtype)
    gradient = np.empty_like(raw)
    with np.errstate(over="ignore"):
        losses = loss.losses_and_gradient(y, raw, gradient)
    assert np.isfinite(losses).all()
    assert losses.shape == (3,)
    assert np.isfinite(gradient).all()
    assert gradient.dtype == dtype


def test_log_loss_clips_the_reported_value_only():
    raw, gradient = np.array([[-50.0]]), np.empty((1, 1))
    assert LogLoss().losses_and_gradient(np.ones((1, 1)), raw, gradient)[0] == pytest.approx(
        -np.log(np.finfo(float).eps)
    )
    assert gradient[0, 0] == pytest.approx(-1)
    sure = LogLoss().losses_and_gradient(np.ones((1, 1)), np.array([[50.0]]), gradient)[0]
    assert sure == -np.log(1 - np.finfo(float).eps)


@pytest.mark.parametrize("link", [ExpLink(), LogisticLink(), SoftmaxLink()])
def test_log_inverse(link):
    out = np.empty_like(RAW)
    link.inverse(RAW, out)
    assert_allclose(link.log_inverse(RAW), np.log(out), rtol=1e-12)
    if not isinstance(link, ExpLink):
        assert np.isfinite(link.log_inverse(np.array([[-1e4, 1e4]]))).all()


def test_poisson_wants_targets_that_are_not_negative():
    with pytest.raises(ValueError, match=r"y must not be negative with loss='poisson', got a minimum of -2"):
        PoissonDeviance().check_targets(np.array([[0.0], [-2.0]]))
