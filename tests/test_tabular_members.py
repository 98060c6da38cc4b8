"""The members of a tabular ensemble: what they begin with, what they are trained on, at which rates, how long."""

import pickle
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris

from sknn_scratch import TabularMLPRegressor
from sknn_scratch.catalogue.losses import LogLoss, SquaredError
from sknn_scratch.estimators.tabular import members
from sknn_scratch.estimators.tabular.members import Training, View
from sknn_scratch.estimators.tabular.weights import LogLossCriterion, LossCriterion, SquaredErrorCriterion
from sknn_scratch.perceptron import layer_views
from sknn_scratch.training.progress import Outcome

X, LABELS = load_iris(return_X_y=True)
Y = np.eye(3)[LABELS]
FOLDS = np.arange(150) % 3


class Curve(LogLossCriterion):
    """A criterion that says what it is told to."""

    def __init__(self, losses):
        self.losses = iter(losses)

    def loss(self, output):
        return next(self.losses)


def training(criterion=None, samples=X, sizes=(8,), activation="relu", max_iter=4, rate=0.01):
    loss = LogLoss()
    loss.start(multiclass=True)
    settings = SimpleNamespace(
        hidden_layer_sizes=list(sizes),
        activation=activation,
        max_iter=max_iter,
        learning_rate_init=rate,
        dropout=0.1,
        weight_decay=0.0,
        engine="numpy",
        n_jobs=None,
        verbose=False,
        device="cpu",
    )
    Z, y = samples.astype(np.float32), Y.astype(np.float32)
    criterion = criterion or LogLossCriterion(y, None)
    return Training("plain", Z, y, None, FOLDS, loss, criterion, settings, np.random.RandomState(0))


def test_first_outputs_do_not_depend_on_number_and_size_of_the_columns():
    for samples in (X, 100 * np.hstack([X, X, X])):
        run = training(samples=samples, sizes=(300, 50), max_iter=1, rate=1e-30)
        run.run()
        parameters = run.best.view.parameters.astype(float)
        assert not (parameters[0] == parameters[1]).all()
        for of_member in parameters:
            weights, biases = layer_views(of_member, run.best.view.layer_units)
            assert_allclose(((samples @ weights[0]) ** 2).mean(), 2, rtol=0.3)
            assert_allclose(np.quantile(biases[0], [0, 0.5, 1]), [-0.5, 0, 0.5], atol=0.1)
            assert_allclose(np.abs(biases[1]).max(), 300**-0.5, rtol=0.2)
            assert_array_equal(biases[2], 0)


def test_large_tables_take_fewer_epochs():
    model = TabularMLPRegressor()
    assert [model._epochs_of_each_view(n) for n in (100, 10_000, 40_000, 10**7)] == [32, 32, 16, 8]


def test_the_rate_rises_for_an_epoch_and_then_falls_to_nothing(monkeypatch):
    seen = []

    class Noting:
        def epoch(self, order, rates):
            seen.append((order, rates))

    monkeypatch.setattr(members, "start", contextmanager(lambda engine, job, beside: iter([Noting()])))
    training(max_iter=12).run()
    rates = np.concatenate([rates for _, rates in seen[::3]])
    top = len(seen[0][1])
    assert rates[0] == 0.005
    assert rates[top] == rates.max() == 0.01
    assert (np.diff(rates[:top]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] < 1e-4
    for k, (order, _) in enumerate(seen):
        assert_array_equal(np.sort(order), np.flatnonzero(k % 3 != FOLDS))


def test_training_ends_twelve_epochs_after_the_first_of_the_best():
    run = training(Curve([1.0, *[0.5] * 50]), max_iter=50)
    assert run.run() == Outcome.CONVERGED
    assert run.best.epoch == 2
    assert len(run.loss_curve) == 14


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_worse_than_any_others(bad):
    loss = SquaredError()
    for criterion in (LogLossCriterion(Y, None), SquaredErrorCriterion(Y, None), LossCriterion(loss, Y, None)):
        assert criterion.loss(np.where(Y == 1, bad, 0.0)) == np.inf


@pytest.mark.parametrize("activation", ["relu", "mish"])
def test_members_predict_with_the_activation_that_they_were_trained_with(activation):
    run = training(activation=activation)
    run.run()
    for k in range(3):
        view = run.best.view
        one = View(view.layer_units, view.parameters[[k]], pickle.loads(pickle.dumps(view)).activation)
        output = one.outputs(X[k == FOLDS]).mean(axis=1)
        assert_allclose(output, run.best.output[k == FOLDS], rtol=1e-2, atol=1e-3)


def test_parameters_beyond_float16_are_kept():
    view = View([1, 1, 1], np.array([[1e5, 1.0, 0.0, 0.0], [1.0, 1e5, 0.0, 0.0]]), "relu")
    assert_allclose(view.outputs(np.array([[2.0]])).mean(axis=1), [[2e5]])
