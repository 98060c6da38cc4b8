"""Backpropagation against central differences, over the registries."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix
from sklearn.base import clone

from sknn_scratch.activations import ACTIVATIONS, ELU, Activation, LeakyReLU
from sknn_scratch.initializers import GlorotUniform
from sknn_scratch.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    BrierLoss,
    FocalLoss,
    Huber,
    LogLoss,
    Quantile,
    TweedieDeviance,
)
from sknn_scratch.network import Network


def started(loss, multiclass=False):
    loss.start(multiclass)
    return loss


CLASSIFICATION = [LogLoss(0.2), FocalLoss(0.5), *(loss() for loss in CLASSIFIER_LOSSES.values())]
REGRESSION = [
    Huber(0.3),
    Quantile(0.9),
    *(TweedieDeviance(p) for p in (1, 2, 2.5)),
    *(loss() for loss in REGRESSOR_LOSSES.values()),
]
LOSSES = [
    *((f"{loss!r}-softmax", started(clone(loss), True), 3) for loss in CLASSIFICATION),
    *((f"{loss!r}-{n}", started(clone(loss)), n) for loss in CLASSIFICATION for n in (1, 3)),
    *((f"{loss!r}-{n}", started(clone(loss)), n) for loss in REGRESSION for n in (1, 2)),
]


class Swish(Activation):
    """An activation of a user's own."""

    def value(self, z):
        return z / (1 + np.exp(-z))

    def derivative(self, z):
        s = 1 / (1 + np.exp(-z))
        return s * (1 + z * (1 - s))


def central_differences(network, objective, step=1e-5):
    """Differentiate ``objective()`` with respect to each parameter of the network."""
    slopes = np.empty_like(network.parameters)
    for i, parameter in enumerate(network.parameters.copy()):
        values = []
        for sign in (1, -1):
            network.parameters[i] = parameter + sign * step
            values.append(objective())
        network.parameters[i] = parameter
        slopes[i] = (values[0] - values[1]) / (2 * step)
    return slopes


def make_batch(loss, n_outputs, n_samples=12):
    rng = np.random.RandomState(0)
    X = rng.randn(n_samples, 4)
    if getattr(loss, "multiclass", False):
        y = np.eye(n_outputs)[rng.randint(n_outputs, size=n_samples)]
    elif hasattr(loss, "multiclass"):
        y = rng.randint(0, 2, (n_samples, n_outputs)).astype(float)
    else:
        y = rng.randint(1, 6, (n_samples, n_outputs)).astype(float)
    return X, y, rng.uniform(0.5, 2, n_samples)


def assert_gradient_is_right(activation, loss, n_outputs, hidden, *, sparse=False, weighted=False):
    X, y, weight = make_batch(loss, n_outputs)
    weight = weight if weighted else None
    network = Network([4, *hidden, n_outputs], [activation] * len(hidden), loss, 0.1, np.float64)
    network.initialize(*[[GlorotUniform()] * len(network.weights)] * 2, np.random.RandomState(1))
    samples = csr_matrix(X) if sparse else X
    network.loss_and_gradient(samples, y, weight)
    gradient = network.gradient.copy()

    def objective():
        value = network.loss_and_gradient(samples, y, weight)
        if not loss.averages_outputs:
            return value
        total = len(X) if weight is None else weight.sum()
        penalty = 0.05 / total * sum((w**2).sum() for w in network.weights)
        return (value - penalty) * n_outputs + penalty

    expected = central_differences(network, objective)
    assert_allclose(gradient, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4), (3, 4, 5)], ids=str)
@pytest.mark.parametrize(("loss", "n_outputs"), [case[1:] for case in LOSSES], ids=[case[0] for case in LOSSES])
@pytest.mark.parametrize("activation", [*ACTIVATIONS.values(), Swish, lambda: LeakyReLU(0.3), lambda: ELU(2.0)])
def test_activation_loss_depth(activation, loss, n_outputs, hidden):
    assert_gradient_is_right(activation(), loss, n_outputs, hidden)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "n_outputs"), [case[1:] for case in LOSSES], ids=[case[0] for case in LOSSES])
def test_sparse_and_weighted(loss, n_outputs, weighted, sparse):
    assert_gradient_is_right(ACTIVATIONS["tanh"](), loss, n_outputs, (5,), sparse=sparse, weighted=weighted)


def test_a_wrong_derivative_is_noticed():
    class Wrong(ACTIVATIONS["tanh"]):
        def multiply_derivative(self, delta, z, a):
            super().multiply_derivative(delta, z, a)
            delta *= 1.001

    with pytest.raises(AssertionError):
        assert_gradient_is_right(Wrong(), LogLoss(), 1, (5,))


@pytest.mark.parametrize("activation", ACTIVATIONS.values())
def test_value_in_place_and_elsewhere_agree(activation):
    z = np.random.RandomState(0).randn(4, 5)
    elsewhere, in_place = np.empty_like(z), z.copy()
    activation().apply(z, elsewhere)
    activation().apply(in_place, in_place)
    assert_allclose(elsewhere, in_place, rtol=0)
    assert_allclose(activation().value(z), elsewhere, rtol=0)


def test_smaller_minibatches_use_views():
    X, y, _ = make_batch(started(BrierLoss(), True), 3)
    network = Network([4, 5, 3], [Swish()], started(BrierLoss(), True), 0.1, np.float64)
    network.initialize(*[[GlorotUniform()] * len(network.weights)] * 2, np.random.RandomState(1))
    network.loss_and_gradient(X[:5], y[:5])
    alone = network.gradient.copy()
    network.loss_and_gradient(X, y)
    network.loss_and_gradient(X[:5], y[:5])
    assert_allclose(network.gradient, alone, rtol=1e-13)
    few, many = network._buffers[5], network._buffers[12]
    assert np.shares_memory(few.hidden[0], many.hidden[0])
    assert np.shares_memory(few.z[-1], many.z[-1])


def test_activations_of_their_own_for_each_layer():
    loss = started(LogLoss(), True)
    X, y, _ = make_batch(loss, 3)
    network = Network([4, 5, 4, 3], [Swish(), ACTIVATIONS["tanh"]()], loss, 0.1, np.float64)
    network.initialize(*[[GlorotUniform()] * len(network.weights)] * 2, np.random.RandomState(1))
    network.loss_and_gradient(X, y)
    expected = central_differences(network, lambda: network.loss_and_gradient(X, y))
    network.loss_and_gradient(X, y)
    assert_allclose(network.gradient, expected, rtol=0, atol=1e-6)
