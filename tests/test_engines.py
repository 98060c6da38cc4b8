"""The two engines: same operations, same numbers, and which of them a job gets."""

import inspect
import os
import pickle
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from tasks import TASKS, make_task, our_estimator

import sknn_scratch
from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor, links
from sknn_scratch.activations import ACTIVATIONS, ELU, Activation, LeakyReLU, Tanh
from sknn_scratch.engines import choice, numpy_engine
from sknn_scratch.engines.choice import COMPILE_SECONDS, SAVED_PER_STEP, START_SECONDS, choose_engine
from sknn_scratch.links import LINKS, HeadsLink, IdentityLink, Link
from sknn_scratch.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    GaussianNLL,
    Heads,
    Hinge,
    Huber,
    LogLoss,
    Loss,
    Quantile,
    SquaredError,
    TweedieDeviance,
)
from sknn_scratch.network import Network
from sknn_scratch.optimizers import OPTIMIZERS, SGD, Adam, Optimizer

try:
    from sknn_scratch.engines import numba_codes, numba_engine, numba_training
except ImportError:
    numba_engine = None

needs_numba = pytest.mark.skipif(numba_engine is None, reason="numba is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Relative to the largest number of an array.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}

OBJECTS = {"loss": [LogLoss(label_smoothing=0.2)], "activation": [LeakyReLU(0.3), ELU(0.5)]}


def assert_close(actual, desired, dtype=np.float64):
    assert_allclose(actual, desired, rtol=0, atol=TOLERANCE[dtype] * max(1e-3, np.abs(desired).max()))


def network(engine, activation, loss, n_outputs, dtype, **parameters):
    """Return one with two hidden layers and random parameters."""
    net = Network([6, 7, 5, n_outputs], [activation] * 2, loss, 0.1, dtype, engine, **parameters)
    net.parameters[...] = np.random.RandomState(1).randn(net.parameters.size)
    return net


def minibatch(loss, multiclass, n_targets, dtype, n_rows=12):
    rng = np.random.RandomState(0)
    X = rng.randn(n_rows, 6) * rng.randint(2, size=(n_rows, 6))
    if type(loss) is Heads:
        heads = zip(loss.losses, loss.widths, strict=True)
        y = np.hstack([labels(rng, one.multiclass, width, n_rows) for one, width in heads])
    elif type(loss) in CLASSIFIER_LOSSES.values():
        y = labels(rng, multiclass, n_targets, n_rows)
    else:
        y = rng.gamma(2.0, size=(n_rows, n_targets))
    return X.astype(dtype), y.astype(dtype), rng.rand(n_rows)


def labels(rng, multiclass, width, n_rows):
    return np.eye(width)[rng.randint(width, size=n_rows)] if multiclass else rng.randint(2, size=(n_rows, width))


def heads_of(*kinds):
    """Return the loss of a head for each loss, whether it is multiclass, and its width."""
    losses = [clone(loss) for loss, _, _ in kinds]
    for loss, (_, multiclass, _) in zip(losses, kinds, strict=True):
        loss.start(multiclass)
    return Heads(losses, [width for _, _, width in kinds])


def assert_same_gradient(loss, X, y, weight, dtype=np.float64, activation=None):
    """Compare objective and gradient of the two engines."""
    n_outputs, results = loss.n_raw_outputs(y.shape[1]), []
    for engine in (numpy_engine, numba_engine):
        net = network(engine, activation or Tanh(), loss, n_outputs, dtype)
        results.append((net.loss_and_gradient(X, y, weight), net.gradient))
    assert_close(results[1][0], results[0][0], dtype)
    assert_close(results[1][1], results[0][1], dtype)


LOSSES = [
    *((cls(), multiclass, 1 + 2 * multiclass) for cls in CLASSIFIER_LOSSES.values() for multiclass in (False, True)),
    (LogLoss(label_smoothing=0.2), False, 3),
    (LogLoss(label_smoothing=0.2), True, 3),
    *((cls(), False, n) for cls in REGRESSOR_LOSSES.values() for n in (1, 2)),
    (GaussianNLL(0.3), False, 2),
    (Huber(0.3), False, 1),
    (Quantile(0.9), False, 1),
    (Quantile([0.2]), False, 2),
    *((Quantile([0.1, 0.5, 0.8]), False, n) for n in (1, 2)),
    *((TweedieDeviance(power), False, 2) for power in (1, 2, 2.5)),
]


@needs_numba
def test_engines_have_the_same_functions():
    theirs = set(numba_engine.__all__) - {"is_ready"}
    assert theirs == set(numpy_engine.__all__)
    for name in theirs:
        assert inspect.signature(getattr(numba_engine, name)) == inspect.signature(getattr(numpy_engine, name)), name


@needs_numba
def test_every_built_in_component_is_known():
    assert set(numba_codes.ACTIVATION_CODES) == set(ACTIVATIONS.values())
    assert set(numba_codes.OPTIMIZER_CODES) == set(OPTIMIZERS.values())
    assert set(numba_codes.LOSS_CODES) == {*CLASSIFIER_LOSSES.values(), *REGRESSOR_LOSSES.values()}
    assert set(numba_codes.LINK_CODES) == {
        cls for cls in vars(links).values() if isinstance(cls, type) and issubclass(cls, Link)
    } - {Link, HeadsLink}


@needs_numba
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", [*ACTIVATIONS, *OBJECTS["activation"]], ids=str)
def test_gradient_for_each_activation(name, sparse, dtype):
    activation, loss = ACTIVATIONS[name]() if isinstance(name, str) else name, SquaredError()
    X, y, weight = minibatch(loss, False, 2, dtype)
    assert_same_gradient(loss, csr_matrix(X) if sparse else X, y, weight, dtype, activation)


@needs_numba
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "multiclass", "n_targets"), LOSSES, ids=str)
def test_gradient_for_each_loss(loss, multiclass, n_targets, weighted, dtype):
    loss = clone(loss)
    loss.start(multiclass)
    X, y, weight = minibatch(loss, multiclass, n_targets, dtype)
    assert numba_codes.describe_loss(loss, loss.n_raw_outputs(n_targets)) is not None
    assert_same_gradient(loss, X, y, weight if weighted else None, dtype)


@needs_numba
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_gradient_for_heads(name, dtype):
    loss = CLASSIFIER_LOSSES[name]()
    loss = heads_of((loss, True, 3), (loss, False, 1), (loss, True, 4), (loss, False, 1))
    X, y, weight = minibatch(loss, None, None, dtype)
    assert numba_codes.describe_loss(loss, 9) is not None
    assert_same_gradient(loss, X, y, weight, dtype)


@needs_numba
def test_gradient_for_different_heads():
    smoothed = LogLoss(label_smoothing=0.2)
    for other, known in [(LogLoss(), True), (Hinge(), False)]:
        loss = heads_of((smoothed, True, 3), (other, False, 1))
        assert (numba_codes.describe_loss(loss, 4) is not None) == known
        assert_same_gradient(loss, *minibatch(loss, None, None, np.float64))


@needs_numba
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("loss", [GaussianNLL(), GaussianNLL(0.5), Quantile([0.1, 0.5, 0.9])], ids=str)
@pytest.mark.parametrize("size", [10.0, 80.0, 1e4, np.inf, np.nan])
def test_large_raw_outputs(loss, size, dtype):
    """As many digits as the reference, and what is not finite is so in both."""
    loss = clone(loss)
    loss.start()
    n_outputs = loss.n_raw_outputs(1)
    raw_output = np.asfortranarray(size * np.random.RandomState(0).uniform(-1, 1, size=(40, n_outputs)), dtype=dtype)
    y, relative_weight = np.linspace(-1, 1, 40, dtype=dtype)[:, np.newaxis], np.full(40, 1 / 40, dtype)
    results = []
    for engine in (numpy_engine, numba_engine):
        delta = np.empty_like(raw_output)
        with np.errstate(over="ignore", invalid="ignore"):
            value = engine.output_delta(loss, y, raw_output.copy(order="F"), relative_weight, delta)
        results.append((value, delta))
    assert_allclose(results[1][0], results[0][0], rtol=TOLERANCE[dtype])
    # Of the smallest normal number, as digits are lost below.
    assert_allclose(results[1][1], results[0][1], rtol=10 * TOLERANCE[dtype], atol=np.finfo(dtype).tiny)


@needs_numba
@pytest.mark.parametrize("link", LINKS)
def test_gradient_for_each_link(link):
    loss = SquaredError()
    loss.link = LINKS[link]()
    assert_same_gradient(loss, *minibatch(loss, False, 2, np.float64))


@needs_numba
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    "optimizer", [*(cls() for cls in OPTIMIZERS.values()), SGD(nesterovs_momentum=False), SGD(0)], ids=str
)
def test_updates(optimizer, l1_ratio, dtype):
    n_parameters, n_weights = 10000, 9000
    rng = np.random.RandomState(0)
    start, gradients = rng.randn(n_parameters).astype(dtype), rng.randn(4, n_parameters).astype(dtype)
    start[::7] = 0
    results = []
    for engine in (numpy_engine, numba_engine):
        own, parameters = clone(optimizer), start.copy()
        own.start(n_parameters, np.dtype(dtype), n_weights)
        penalties = [engine.update(own, parameters, g.copy(), 0.01, n_weights, 0.1, l1_ratio) for g in gradients]
        assert own.n_updates == 4
        results.append([penalties, parameters, *own.vectors])
    for mine, reference in zip(results[1], results[0], strict=True):
        assert_close(mine, reference, dtype)


def fit_both(model, X, y, *args):
    """Return the model as each engine fits it."""
    fitted = [clone(model).set_params(engine=name).fit(X, y, *args) for name in ("numpy", "numba")]
    assert [model.engine_ for model in fitted] == ["numpy", "numba"]
    return fitted


def assert_same_fit(fitted, dtype=np.float64):
    reference, ours = fitted
    assert_allclose(ours.loss_curve_, reference.loss_curve_, rtol=100 * TOLERANCE[dtype])
    for a, b in zip(ours.coefs_ + ours.intercepts_, reference.coefs_ + reference.intercepts_, strict=True):
        assert a.dtype == dtype
        assert_close(a / 100, b / 100, dtype)


SOLVERS = ["lbfgs", *OPTIMIZERS]


@needs_numba
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("small", [True, False], ids=["whole epochs", "single steps"])
def test_fits(monkeypatch, small, task, solver):
    if not small:
        monkeypatch.setattr(Network, "is_small", lambda self, n_rows: False)
    X, y = make_task(task)
    model = our_estimator(task, solver=solver, max_iter=4, batch_size=32 if solver != "lbfgs" else "auto")
    assert_same_fit(fit_both(model, X, y))


@needs_numba
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_whole_epochs_for_each_activation(activation, dtype):
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", activation=activation, max_iter=3, batch_size=40, alpha=0.1, l1_ratio=0.3)
    assert_same_fit(fit_both(model, X.astype(dtype), y), dtype)


@needs_numba
@pytest.mark.parametrize(("loss", "multiclass", "n_targets"), LOSSES, ids=str)
@pytest.mark.parametrize("small", [True, False], ids=["small", "not small"])
def test_whole_epochs_for_each_loss(monkeypatch, small, loss, multiclass, n_targets):
    X, y = make_task("multiclass" if multiclass else "binary")
    cls = MLPFromScratchClassifier
    if type(loss) in REGRESSOR_LOSSES.values():
        cls = MLPFromScratchRegressor
        y = np.abs(X[:, :n_targets]) + 0.1
        y = y.ravel() if n_targets == 1 else y
    in_whole_epochs(monkeypatch, small)
    assert_same_fit(fit_both(cls(hidden_layer_sizes=4, loss=loss, max_iter=3, random_state=0, batch_size=40), X, y))


def in_whole_epochs(monkeypatch, small):
    """Have every network taken for small or not, and no step be made outside of compiled epochs."""
    monkeypatch.setattr(Network, "is_small", lambda self, n_rows: small)
    step = Network.step

    def numpy_step(self, *args):
        assert self.engine is numpy_engine
        return step(self, *args)

    monkeypatch.setattr(Network, "step", numpy_step)


@needs_numba
@pytest.mark.parametrize("parameters", [{}, {"max_grad_norm": 0.05}, {"dtype": np.float32}, {"sparse": True}], ids=str)
@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
@pytest.mark.parametrize("small", [True, False], ids=["small", "not small"])
def test_whole_epochs_for_several_classification_targets(monkeypatch, small, name, parameters):
    X, y = make_task("multiclass")
    y = np.column_stack([y, X[:, 0] > 0, np.digitize(X[:, 1], [-1, 0, 1])])
    dtype, sparse = parameters.get("dtype", np.float64), "sparse" in parameters
    parameters = {key: value for key, value in parameters.items() if key not in ("dtype", "sparse")}
    weight = np.random.RandomState(0).randint(3, size=len(y)).astype(float)
    in_whole_epochs(monkeypatch, small)
    model = our_estimator("multiclass", loss=name, max_iter=3, batch_size=40, **parameters)
    X = X.astype(dtype)
    assert_same_fit(fit_both(model, csr_matrix(X) if sparse else X, y, weight), dtype)


@needs_numba
@pytest.mark.parametrize(
    "parameters",
    [
        {"max_grad_norm": 0.05},
        {"fit_intercept": False},
        {"shuffle": False},
        {"early_stopping": True},
        {"hidden_layer_sizes": ()},
        {"dropout": 0.3},
        {"input_noise": 0.1},
        {"average": 2},
        {"solver": "adamw", "weight_decay": 0.5},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("small", [True, False], ids=["whole epochs", "single steps"])
def test_options(monkeypatch, small, parameters):
    if not small:
        monkeypatch.setattr(Network, "is_small", lambda self, n_rows: False)
    X, y = make_task("multiclass")
    weight = np.random.RandomState(0).randint(3, size=len(y)).astype(float)
    weight[:60] = 0
    assert_same_fit(fit_both(our_estimator("multiclass", max_iter=4, batch_size=16, **parameters), X, y, weight))


@needs_numba
@pytest.mark.parametrize("form", [csr_matrix, np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2]])
def test_layouts(form):
    X, y = make_task("binary")
    assert_same_fit(fit_both(our_estimator("binary", max_iter=3), form(X), y))


@needs_numba
@pytest.mark.parametrize("parameters", [{}, {"hidden_layer_sizes": 100}, {"dropout": 0.1}], ids=str)
def test_weights_that_are_read_only(parameters):
    """As those of a pandas Series are."""
    X, y = make_task("binary")
    weight = np.arange(1.0, len(y) + 1)
    weight.flags.writeable = False
    assert_same_fit(fit_both(our_estimator("binary", max_iter=3, **parameters), X, y, weight))


@needs_numba
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_unusual_sparse_samples(solver):
    """Indices of two types, and arrays that are not contiguous."""
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=3, solver=solver)
    mixed, strided = csr_matrix(X), csr_matrix(X)
    mixed.indptr = mixed.indptr.astype(np.int64)
    strided.data = np.repeat(strided.data, 2)[::2]
    for samples in (mixed, strided):
        fitted = fit_both(model, samples, y)
        assert_same_fit(fitted)
        assert_allclose(*(estimator.predict_proba(samples) for estimator in fitted))


@needs_numba
def test_wide_sparse_samples():
    X = csr_matrix((np.random.RandomState(0).rand(200, 500) > 0.98).astype(float))
    y = np.asarray(X[:, :20].sum(axis=1)).ravel() > 0
    for parameters in ({"hidden_layer_sizes": (30,)}, {"hidden_layer_sizes": ()}):
        model = MLPFromScratchClassifier(max_iter=4, random_state=0, **parameters)
        assert_same_fit(fit_both(model, X, y))
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    assert_same_fit(fit_both(model, X, y))


# Components of one's own ----------------------------------------------------------------------------------------------


class Sine(Activation):
    def value(self, z):
        return np.sin(z)

    def derivative(self, z):
        return np.cos(z)


class SteeperTanh(Tanh):
    def apply(self, z, out):
        np.tanh(2 * z, out=out)

    def multiply_derivative(self, delta, z, a):
        delta *= 2 * (1 - a * a)


class CubedError(Loss):
    def value(self, y, raw_output):
        return (np.abs(raw_output - y) ** 3).sum(axis=1)

    def derivative(self, y, raw_output):
        return 3 * (raw_output - y) * np.abs(raw_output - y)


class HalfHuber(Huber):
    def value(self, y, raw_output):
        return 0.5 * super().value(y, raw_output)

    def derivative(self, y, raw_output):
        return 0.5 * super().derivative(y, raw_output)


class SignDescent(Optimizer):
    def update(self, parameters, gradient, learning_rate):
        parameters -= learning_rate * np.sign(gradient)


class SlowAdam(Adam):
    def update(self, parameters, gradient, learning_rate):
        super().update(parameters, gradient, 0.1 * learning_rate)


class OwnLink(IdentityLink):
    def inverse(self, raw_output, out):
        np.multiply(raw_output, 2, out=out)

    def multiply_derivative(self, gradient, prediction):
        gradient *= 2


class DoubledSquaredError(SquaredError):
    link = OwnLink()


@needs_numba
@pytest.mark.parametrize(
    "parameters",
    [
        {"activation": Sine()},
        {"activation": SteeperTanh()},
        {"activation": ["relu", Sine()]},
        {"loss": CubedError()},
        {"loss": HalfHuber()},
        {"loss": DoubledSquaredError()},
        {"solver": SignDescent()},
        {"solver": SlowAdam()},
    ],
    ids=str,
)
def test_components_of_ones_own_fall_back(parameters):
    X, y = make_task("multioutput")
    assert_same_fit(fit_both(our_estimator("multioutput", max_iter=4, batch_size=20, **parameters), X, y))


class HalfLogLoss(LogLoss):
    def losses_and_gradient(self, y, raw_output, gradient):
        losses = super().losses_and_gradient(y, raw_output, gradient)
        gradient *= 0.5
        return 0.5 * losses


@needs_numba
def test_heads_with_a_loss_of_ones_own_fall_back():
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", max_iter=4, batch_size=20, loss=HalfLogLoss())
    assert_same_fit(fit_both(model, X, np.column_stack([y, X[:, 0] > 0])))


# Which engine ---------------------------------------------------------------------------------------------------------

FEW, SOME, MANY = (
    int(seconds / SAVED_PER_STEP) for seconds in (START_SECONDS / 2, COMPILE_SECONDS / 2, COMPILE_SECONDS * 2)
)
SMALL_NETWORK = Network([2, 3, 1], [Tanh()], LogLoss(), 0.1, np.float64)


def chosen(name, n_steps, *, ready=None, monkeypatch=None):
    if ready is not None:
        monkeypatch.setattr(numba_engine, "is_ready", lambda network, batch_size: ready)
    engine_name, engine = choose_engine(name, n_steps, SMALL_NETWORK, 10)
    assert engine is {"numpy": numpy_engine, "numba": numba_engine}[engine_name]
    return engine_name


@needs_numba
def test_auto_goes_by_the_time_it_saves(monkeypatch):
    assert chosen("numpy", MANY) == "numpy"
    assert chosen("numba", 1) == "numba"
    for ready, n_steps, expected in [
        (False, FEW, "numpy"),
        (False, SOME, "numpy"),
        (False, MANY, "numba"),
        (True, FEW, "numpy"),
        (True, SOME, "numba"),
    ]:
        assert chosen("auto", n_steps, ready=ready, monkeypatch=monkeypatch) == expected


@needs_numba
@pytest.mark.parametrize("missing", ["lead", "follow"])
def test_ready_means_that_nothing_has_to_be_compiled(monkeypatch, missing):
    """Also for two threads, if the code was compiled for one."""
    monkeypatch.setattr(numba_training, "is_compiled", lambda function, _: function.__name__ != missing)
    assert not numba_engine.is_ready(Network([64, 100, 10], [Tanh()], LogLoss(), 0.1, np.float64), 200)
    assert numba_engine.is_ready(SMALL_NETWORK, 10)


BROKEN = {
    "not installed": (None, "ModuleNotFoundError: import of numba halted"),
    "an empty folder": (ModuleType("numba"), "ImportError: cannot import name"),
    "with a fault of its own": (SimpleNamespace(), "SystemError: initialization of _internal failed"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_without_a_numba_that_works(monkeypatch, broken):
    numba, cause = BROKEN[broken]
    monkeypatch.delitem(sys.modules, choice.COMPILED, raising=False)
    monkeypatch.setattr(sknn_scratch.engines, "numba_engine", None, raising=False)
    for name in [name for name in sys.modules if name.startswith(("numba", "sknn_scratch.engines.numba"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", numba)
    if broken == "with a fault of its own":
        monkeypatch.setattr(choice, "import_module", fail_as_an_extension_does)
    X, y = make_task("binary")
    model = MLPFromScratchClassifier(engine="numba")
    with pytest.raises(ImportError, match="engine='numba' needs numba") as error_info:
        model.fit(X, y)
    assert cause in str(error_info.value)
    assert re.search(r"pip install 'sknn-scratch\[fast\]'.*'auto'", str(error_info.value))
    assert vars(model) == model.get_params()
    for began_with in (None, "numba"):
        assert choose_engine("auto", MANY, SMALL_NETWORK, 10, began_with) == ("numpy", numpy_engine)
    assert our_estimator("binary", max_iter=2).fit(X, y).engine_ == "numpy"


def fail_as_an_extension_does(name):
    raise SystemError("initialization of _internal failed without raising an exception")


@needs_numba
def test_with_numbas_compiler_switched_off():
    """As it is where the coverage of compiled code is measured."""
    script = (
        "from sklearn.datasets import make_classification\n"
        "from sknn_scratch import MLPFromScratchClassifier\n"
        "X, y = make_classification(20_000, random_state=0)\n"
        "model = MLPFromScratchClassifier(2, max_iter=10_000, tol=1e9, n_iter_no_change=1, random_state=0)\n"
        "print(model.fit(X, y).engine_)\n"
        "model.set_params(engine='numba').fit(X, y)"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == "numpy"
    assert (
        result.stderr.strip()
        .splitlines()[-1]
        .startswith("ImportError: engine='numba' needs numba's compiler, which NUMBA_DISABLE_JIT=1 has switched off.")
    )


def test_partial_fit_goes_on_with_the_engine_it_began_with(monkeypatch):
    X, y = make_task("binary")
    asked = []

    def choose(name, n_steps, network, batch_size, began_with):
        asked.append((name, began_with))
        return "numpy", numpy_engine

    monkeypatch.setattr("sknn_scratch.base.choose_engine", choose)
    model = our_estimator("binary")
    for _ in range(3):
        model.partial_fit(X, y, classes=[10, 20])
    model.set_params(warm_start=True, max_iter=2).fit(X, y)
    model.set_params(engine="numba").partial_fit(X, y)
    assert asked == [("auto", None), ("auto", "numpy"), ("auto", "numpy"), ("auto", None), ("numba", "numpy")]
    assert choose_engine("auto", MANY, SMALL_NETWORK, 10, "numpy") == ("numpy", numpy_engine)


@needs_numba
def test_what_began_compiled_goes_on_so(monkeypatch):
    monkeypatch.setattr(numba_engine, "is_ready", lambda network, batch_size: False)
    assert choose_engine("auto", 1, SMALL_NETWORK, 10, "numba") == ("numba", numba_engine)


@needs_numba
def test_predictions_after_pickling():
    X, y = make_task("binary")
    model = our_estimator("binary", engine="numba", max_iter=3).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.engine_ == clone(model).engine == "numba"
    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    for estimator in (copy, model):
        estimator.set_params(warm_start=True).fit(X, y)
    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


@needs_numba
def test_partial_fit_carries_on_between_engines():
    X, y = make_task("multiclass")
    for solver in OPTIMIZERS:
        models = []
        for engines in (["numpy"] * 4, ["numba", "numpy", "numba", "numba"]):
            model = our_estimator("multiclass", solver=solver, batch_size=50)
            for engine in engines:
                model.set_params(engine=engine).partial_fit(X, y, classes=np.unique(y))
            models.append(model)
        assert_same_fit(models)


@needs_numba
@pytest.mark.parametrize("batch_size", [10, 150])
def test_fits_in_threads_do_not_disturb_each_other(batch_size):
    X, y = make_task("multiclass")
    models = [
        our_estimator("multiclass", engine="numba", random_state=i, batch_size=batch_size, max_iter=20)
        for i in range(6)
    ]
    expected = [clone(model).fit(X, y).coefs_ for model in models]
    with ThreadPoolExecutor(3) as pool:
        fitted = list(pool.map(lambda model: model.fit(X, y), models))
    for model, coefs in zip(fitted, expected, strict=True):
        for a, b in zip(model.coefs_, coefs, strict=True):
            assert_array_equal(a, b)


# The cache ------------------------------------------------------------------------------------------------------------

SCRIPT = """
import numpy as np
from sknn_scratch.engines import numba_cache, numba_steps
add = numba_cache.compiled(numba_steps.add_to_columns, np.dtype("f8"))
z = np.zeros((2, 3))
add(np.array([1.0, 2.0]), z)
print(z.sum(), sum(add.stats.cache_hits.values()), sum(add.stats.cache_misses.values()), add.stats.cache_path)
"""


def run_copy(folder, **environment):
    """Run the script with a copy of the package in the folder; return what it prints."""
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    env.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(maxsplit=3)


@pytest.fixture
def package_copy(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(sknn_scratch.__file__).parent, tmp_path / "sknn_scratch", ignore=ignored)
    return tmp_path


@needs_numba
def test_code_is_cached_on_disk(package_copy):
    first, second = run_copy(package_copy), run_copy(package_copy)
    assert first[:3] == ["9.0", "0", "1"]
    assert second[:3] == ["9.0", "1", "0"]
    assert Path(second[3].strip()) == package_copy / "sknn_scratch" / "engines" / "__pycache__"


@needs_numba
def test_changed_code_is_compiled_again_and_takes_the_place_of_the_old(package_copy):
    run_copy(package_copy)
    engines = package_copy / "sknn_scratch" / "engines"
    (called,) = engines.glob("numba_updates.py")
    called.write_text(called.read_text() + "\n# changed\n")
    assert run_copy(package_copy)[:3] == ["9.0", "0", "1"]
    assert run_copy(package_copy)[:3] == ["9.0", "1", "0"]
    assert len(list((engines / "__pycache__").glob("*add_to_columns*.nbi"))) == 1


@needs_numba
@pytest.mark.parametrize("home", ["home", "file/home"], ids=["cached for the user", "not cached"])
def test_read_only_installation(package_copy, home):
    # A file where the folder of the cache would be keeps out even the root user, whom permissions do not stop.
    (package_copy / "sknn_scratch" / "engines" / "__pycache__").touch()
    (package_copy / "file").touch()
    place = str(package_copy / home)
    environment = {"HOME": place, "XDG_CACHE_HOME": place}
    first, second = run_copy(package_copy, **environment), run_copy(package_copy, **environment)
    assert first[0] == second[0] == "9.0"
    if home == "home":
        assert second[1:3] == ["1", "0"]
        assert second[3].startswith(place)
    else:
        assert second[1:] == ["0", "1", "None\n"]
