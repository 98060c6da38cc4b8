"""Backpropagation against central differences, over the registries."""

from itertools import cycle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier
from tasks import CLASSIFICATION as CLASSIFICATION_TASKS
from tasks import TASKS, make_task, our_estimator

from sknn_scratch import TabularMLPClassifier
from sknn_scratch.catalogue.activations import ACTIVATIONS, ELU, Activation, LeakyReLU
from sknn_scratch.catalogue.initializers import GlorotUniform
from sknn_scratch.catalogue.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    FocalLoss,
    Huber,
    LogLoss,
    Quantile,
    TweedieDeviance,
)
from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.gradient_check import central_differences, check_gradients
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.job import Job


def started(loss, multiclass=False):
    loss.start(multiclass)
    return loss


CLASSIFICATION = [LogLoss(0.2), FocalLoss(0.5), *(loss() for loss in CLASSIFIER_LOSSES.values())]
REGRESSION = [
    Huber(0.3),
    Quantile(0.9),
    Quantile([0.1, 0.5, 0.8]),
    *(TweedieDeviance(p) for p in (1, 2, 2.5)),
    *(loss() for loss in REGRESSOR_LOSSES.values()),
]
LOSSES = [
    *((f"{loss!r}-softmax", started(clone(loss), True), 3) for loss in CLASSIFICATION),
    *((f"{loss!r}-{n}", started(clone(loss)), n) for loss in CLASSIFICATION for n in (1, 2)),
    *((f"{loss!r}-{n}", started(clone(loss)), n) for loss in REGRESSION for n in (1, 2)),
]


class Swish(Activation):
    """An activation of a user's own."""

    def value(self, z):
        return z / (1 + np.exp(-z))

    def derivative(self, z):
        s = 1 / (1 + np.exp(-z))
        return s * (1 + z * (1 - s))


def make_batch(loss, n_outputs, n_samples=12):
    rng = np.random.RandomState(0)
    X = rng.randn(n_samples, 4)
    if loss.multiclass:
        y = np.eye(n_outputs)[rng.randint(n_outputs, size=n_samples)]
    elif type(loss) in CLASSIFIER_LOSSES.values():
        y = rng.randint(0, 2, (n_samples, n_outputs)).astype(float)
    else:
        y = rng.randint(1, 6, (n_samples, n_outputs)).astype(float)
    return X, y, rng.uniform(0.5, 2, n_samples)


def make_run(activations, loss, hidden, X, y, weight=None, *, alpha=0.1, l1_ratio=0.0):
    """Return a run whose minibatch is all of X, of a network with random parameters."""
    network = Perceptron([X.shape[1], *hidden, loss.n_raw_outputs(y.shape[1])], activations, loss.link)
    network.initialize(*[[GlorotUniform()] * len(network.weights)] * 2, np.random.RandomState(1))
    return NumpyRun(Job(network, loss, X, y, weight, X.shape[0], alpha=alpha, l1_ratio=l1_ratio))


def assert_gradient_is_right(activation, loss, n_outputs, hidden, *, sparse=False, weighted=False):
    X, y, weight = make_batch(loss, n_outputs)
    samples = csr_matrix(X) if sparse else X
    run = make_run([activation] * len(hidden), loss, hidden, samples, y, weight if weighted else None)
    run.loss_and_gradient()
    gradient = run.gradient.copy()
    expected = central_differences(run)
    assert_allclose(gradient, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


OWN = {"swish": Swish, "leaky 0.3": lambda: LeakyReLU(0.3), "elu 2": lambda: ELU(2.0)}


# Backpropagation composes: what is right for an activation with one loss, and for a loss with one activation, is right
# for both together.
@pytest.mark.parametrize("hidden", [(5,), (3, 4, 5)], ids=str)
@pytest.mark.parametrize("loss", [started(LogLoss(), True), started(Huber(0.3))], ids=["softmax", "huber"])
@pytest.mark.parametrize("name", [*ACTIVATIONS, *OWN])
def test_activations(name, loss, hidden):
    assert_gradient_is_right((ACTIVATIONS | OWN)[name](), loss, 3, hidden)


@pytest.mark.parametrize(
    ("hidden", "sparse", "weighted"), [((), False, True), ((5,), True, False), ((5, 4), False, True)], ids=str
)
@pytest.mark.parametrize(("loss", "n_outputs"), [case[1:] for case in LOSSES], ids=[case[0] for case in LOSSES])
def test_losses(loss, n_outputs, hidden, sparse, weighted):
    assert_gradient_is_right(Swish(), loss, n_outputs, hidden, sparse=sparse, weighted=weighted)


def test_a_wrong_derivative_is_noticed():
    class Wrong(ACTIVATIONS["tanh"]):
        def derivative_from_output(self, a):
            return 1.001 * super().derivative_from_output(a)

    with pytest.raises(AssertionError):
        assert_gradient_is_right(Wrong(), LogLoss(), 1, (5,))


def test_activations_of_their_own_for_each_layer():
    loss = started(LogLoss(), True)
    X, y, _ = make_batch(loss, 3)
    run = make_run([Swish(), ACTIVATIONS["tanh"]()], loss, (5, 4), X, y)
    expected = central_differences(run)
    run.loss_and_gradient()
    assert_allclose(run.gradient, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.3, 1.0])
def test_elastic_net(l1_ratio):
    loss = started(LogLoss())
    X, y, weight = make_batch(loss, 2)
    run = make_run([ACTIVATIONS["tanh"]()], loss, (3,), X, y, weight, alpha=0.7, l1_ratio=l1_ratio)
    value, w = run.loss_and_gradient(), run.job.network.parameters[: run.job.network.n_weights]
    gradient = run.gradient.copy()
    run.job.alpha = 0
    penalty = 0.7 / weight.sum() * (l1_ratio * np.abs(w).sum() + (1 - l1_ratio) / 2 * (w**2).sum())
    assert value - run.loss_and_gradient() == pytest.approx(penalty)
    run.job.alpha = 0.7
    assert_allclose(gradient, central_differences(run), atol=1e-8)


# For users ------------------------------------------------------------------------------------------------------------


# Every activation, and the tasks in turns.
@pytest.mark.parametrize(
    ("activation", "task"), zip([*ACTIVATIONS, ["tanh", "gelu"]], cycle(TASKS), strict=False), ids=str
)
def test_check_gradients(capsys, task, activation):
    X, y = make_task(task)
    estimator = our_estimator(task, activation=activation, alpha=0.5, l1_ratio=0.2)
    assert check_gradients(estimator, X, y, np.arange(1.0, 151)) < 1e-6
    assert "parameters in layer" in capsys.readouterr().out
    assert not hasattr(estimator, "n_features_in_")


@pytest.mark.parametrize(("task", "seed"), [("multiclass", 0), ("regression", 1)])
def test_check_gradients_knows_kinks(task, seed):
    """With many samples and a large step some unit is always within a step of the kink of its ReLU."""
    X, y = make_task(task)
    X, y = np.tile(X, (8, 1)) + np.random.RandomState(seed).randn(1200, 8), np.tile(y, 8)
    check_gradients(our_estimator(task, hidden_layer_sizes=20), X, y, step=3e-4, random_state=seed, verbose=False)


def test_check_gradients_knows_a_sample_right_at_a_kink():
    """Without biases, all units are at theirs where all features are zero."""
    X, y = make_task("regression")
    X = np.where(np.arange(len(X))[:, np.newaxis] < 50, 0, X)
    check_gradients(our_estimator("regression", hidden_layer_sizes=5, bias_init="zeros"), X, y, verbose=False)


LOSSES_OF_TASKS = [
    *((task, loss) for task in CLASSIFICATION_TASKS for loss in CLASSIFIER_LOSSES),
    *((task, loss) for task in ("regression", "multioutput") for loss in REGRESSOR_LOSSES),
]


# Every loss with each of its tasks, and the activations in turns.
@pytest.mark.parametrize(
    ("task", "loss", "activation"),
    [(*pair, activation) for pair, activation in zip(LOSSES_OF_TASKS, cycle(ACTIVATIONS), strict=False)],
)
def test_check_gradients_over_the_registries(task, loss, activation):
    X, y = make_task(task)
    y = y if task in CLASSIFICATION_TASKS else np.abs(y) + 0.1  # which every loss takes
    estimator = our_estimator(task, loss=loss, activation=activation, alpha=0.3)
    assert check_gradients(estimator, X[:60], y[:60], np.arange(1.0, 61), verbose=False) < 1e-6


def test_check_gradients_finds_a_wrong_derivative():
    class Wrong(Activation):
        def value(self, z):
            return z**2

        def derivative(self, z):
            return 2.001 * z

    X, y = make_task("regression")
    message = r"Wrong gradient in layer [01], (coefs|intercepts)_\[[01]\]\[\d.*a relative error of [\d.]+e-0[345]"
    with pytest.raises(ValueError, match=message):
        check_gradients(our_estimator("regression", hidden_layer_sizes=(5, 4), activation=["tanh", Wrong()]), X, y)
    # Float32 samples are computed in float64, and large networks by samples of their parameters.
    large = our_estimator("regression", hidden_layer_sizes=(400,), activation="tanh")
    assert check_gradients(large, X.astype(np.float32), y, max_parameters=50, verbose=False) < 1e-6


@pytest.mark.parametrize("name", ["tolerance", "step", "max_parameters"])
@pytest.mark.parametrize("value", [0, -1, np.nan])
def test_check_gradients_refuses_what_makes_no_sense(name, value):
    with pytest.raises(ValueError, match=f"{name} must be greater than 0, got {value}"):
        check_gradients(our_estimator("regression"), *make_task("regression"), **{name: value})


@pytest.mark.parametrize("max_parameters", [1000, 10])
def test_check_gradients_without_intercepts(max_parameters, capsys):
    X, y = make_task("multiclass")
    estimator = our_estimator("multiclass", fit_intercept=False)
    assert check_gradients(estimator, X, y, max_parameters=max_parameters) < 1e-6
    assert f"of {min(max_parameters, 8 * 6 + 6 * 5 + 5 * 3)} parameters" in capsys.readouterr().out


@pytest.mark.parametrize("estimator", [MLPClassifier(), TabularMLPClassifier()], ids=str)
def test_check_gradients_is_for_single_networks_of_ours(estimator):
    with pytest.raises(TypeError, match=r"^estimator must be a MLPFromScratchClassifier .*, got (Tabular)?MLPClass"):
        check_gradients(estimator, *make_task("binary"))
