"""The engines at the seam: the same numbers from every run of a job, and which engine a job gets."""

import copy
import os
import pickle
import re
import shutil
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.base import clone
from tasks import TASKS, make_task, our_estimator

import sknn_scratch
from sknn_scratch import MLPFromScratchClassifier, ModelCheckpoint, engines
from sknn_scratch.catalogue.activations import ACTIVATIONS, ELU, Activation, LeakyReLU, Tanh
from sknn_scratch.catalogue.links import LINKS, IdentityLink
from sknn_scratch.catalogue.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    FocalLoss,
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
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, SGD, Adam, Optimizer
from sknn_scratch.engines import choose, missing, policy
from sknn_scratch.engines.compiled import kernels
from sknn_scratch.engines.compiled.source import function_source
from sknn_scratch.engines.compiled.sources import sources_of
from sknn_scratch.engines.numpy import in_place
from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.coded_matrix import CodedMatrix, Coding
from sknn_scratch.training.job import Job

try:
    import numba

    from sknn_scratch.engines.compiled import elementary
    from sknn_scratch.engines.compiled import run as compiled_run
except ImportError:
    compiled_run = None

needs_numba = pytest.mark.skipif(compiled_run is None, reason="numba is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Relative to the largest number of an array, for one step; a few epochs may add up to a hundred times as much.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}
DTYPES = [np.float64, np.float32]


def assert_close(actual, desired, dtype=np.float64, factor=1):
    size = max(1e-3, np.abs(desired).max())
    assert_allclose(actual, desired, rtol=0, atol=factor * TOLERANCE[dtype] * size)


# The same numbers -----------------------------------------------------------------------------------------------------


def make_targets(rng, loss, n_targets, n_rows):
    """Return targets in the form in which a loss takes them; a loss of Heads has columns for each."""
    if type(loss) is Heads:
        pairs = zip(loss.losses, loss.widths, strict=True)
        return np.hstack([make_targets(rng, one, width, n_rows) for one, width in pairs])
    if isinstance(loss, tuple(CLASSIFIER_LOSSES.values())):
        multiclass = np.eye(n_targets)[rng.randint(n_targets, size=n_rows)]
        return multiclass if loss.multiclass else rng.randint(2, size=(n_rows, n_targets)).astype(float)
    return rng.gamma(2.0, size=(n_rows, n_targets))


def make_job(
    activation=None,
    loss=None,
    *,
    multiclass=False,
    n_targets=2,
    optimizer=None,
    dtype=np.float64,
    form=None,
    weighted=False,
    hidden=(7, 5),
    n_rows=90,
    batch_size=32,
    **options,
):
    """Return a job with random samples, some of them zero, and parameters, always the same."""
    rng, loss = np.random.RandomState(0), clone(loss or SquaredError())
    if type(loss) is not Heads:
        loss.start(multiclass)
    X = rng.randn(n_rows, 6) * rng.randint(2, size=(n_rows, 6))
    y = make_targets(rng, loss, sum(loss.widths) if type(loss) is Heads else n_targets, n_rows)
    weight = rng.randint(3, size=n_rows).astype(dtype) if weighted else None
    X = X.astype(dtype)
    samples = X if form is None else form(X)
    units = [samples.shape[1], *hidden, loss.n_raw_outputs(y.shape[1])]
    network = Perceptron(units, [activation or Tanh()] * len(hidden), loss.link, dtype)
    network.parameters[...] = 0.4 * rng.randn(network.parameters.size)
    optimizer = clone(optimizer or Adam())
    optimizer.start(network.parameters.size, network.dtype, network.n_weights)
    y = np.asfortranarray(y, dtype=dtype)
    return Job(network, loss, samples, y, weight, batch_size, optimizer, **options)


def coded(X):
    """Return samples with as many columns, of which all but the first are the codes of three features."""
    n_bins = np.array([1, 3, 1])
    starts = np.array([0, *np.cumsum(n_bins)])
    fractions, bins = np.modf(np.clip(np.abs(X[:, 1:4]), 0, n_bins - 1e-3))
    edges = (bins + starts[:-1] + np.arange(3)).astype(np.int32)
    return CodedMatrix(X[:, :1], edges, fractions, Coding(starts, np.linspace(0, 0.5, 5).astype(X.dtype)))


def train(run, job, n_epochs=3):
    """Return the losses of some epochs, the parameters and the state of the optimiser."""
    rng, losses = np.random.RandomState(1), []
    for _ in range(n_epochs):
        order = rng.permutation(job.X.shape[0])
        losses.append(run.epoch(order, np.linspace(0.01, 0.02, job.count_steps(order))))
    run.close()
    return np.array(losses), job.network.parameters, *job.optimizer.state


def assert_same_training(n_parts=1, *, dtype=np.float64, **settings):
    """Train a job with both engines; the compiled one cuts it into parts."""
    jobs = [make_job(dtype=dtype, **settings) for _ in range(2)]
    runs = [NumpyRun(jobs[0]), compiled_run.CompiledRun(jobs[1], n_parts)]
    # A gradient without a step first, which shows an error before it is spread.
    values = [run.loss_and_gradient() if jobs[0].batch_size >= jobs[0].X.shape[0] else 0.0 for run in runs]
    assert_close(values[1], values[0], dtype, 10)
    assert_close(runs[1].gradient, runs[0].gradient, dtype, 10)
    reference, ours = (train(run, job) for run, job in zip(runs, jobs, strict=True))
    for expected, actual in zip(reference, ours, strict=True):
        assert_close(actual, expected, dtype, 100)
    assert jobs[0].optimizer.n_updates == jobs[1].optimizer.n_updates


@pytest.fixture(params=["loops", "BLAS"])
def products(request, monkeypatch):
    """Have all products of a network made by plain loops, as those of small ones are, or by BLAS."""
    monkeypatch.setattr(compiled_run, "TINY", 2**30 if request.param == "loops" else 0)
    monkeypatch.setattr(compiled_run, "NARROW", 0)
    monkeypatch.setattr(compiled_run, "NARROW_IF_SHARED", 0)


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*ACTIVATIONS, LeakyReLU(0.3), ELU(0.5)], ids=str)
def test_activations(products, name, dtype):
    assert_same_training(activation=ACTIVATIONS[name]() if isinstance(name, str) else name, dtype=dtype)


def heads_of(*kinds):
    """Return a head for each loss, whether it is multiclass, and its width."""
    losses = [clone(loss) for loss, _, _ in kinds]
    for loss, (_, multiclass, _) in zip(losses, kinds, strict=True):
        loss.start(multiclass)
    return Heads(losses, [width for _, _, width in kinds])


LOSSES = [
    *((cls(), multiclass, 1 + 2 * multiclass) for cls in CLASSIFIER_LOSSES.values() for multiclass in (False, True)),
    (LogLoss(label_smoothing=0.2), False, 3),
    (LogLoss(label_smoothing=0.2), True, 3),
    (FocalLoss(0.7), True, 4),
    *((cls(), False, n) for cls in REGRESSOR_LOSSES.values() for n in (1, 2)),
    (GaussianNLL(0.3), False, 2),
    (Huber(0.3), False, 1),
    (Quantile(0.9), False, 1),
    (Quantile([0.2]), False, 2),
    *((Quantile([0.1, 0.5, 0.8]), False, n) for n in (1, 2)),
    *((TweedieDeviance(power), False, 2) for power in (1, 2, 2.5)),
    (heads_of((LogLoss(), True, 3), (LogLoss(0.2), False, 1), (Hinge(), True, 4)), False, 8),
]


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "multiclass", "n_targets"), LOSSES, ids=str)
def test_losses(loss, multiclass, n_targets, weighted, dtype):
    settings = {"loss": loss, "multiclass": multiclass, "n_targets": n_targets, "weighted": weighted}
    assert_same_training(dtype=dtype, **settings)
    assert_same_training(n_parts=2, batch_size=90, **settings)


@needs_numba
@pytest.mark.parametrize("name", LINKS)
def test_links(monkeypatch, name):
    monkeypatch.setattr(SquaredError, "link", LINKS[name]())
    assert_same_training()


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    "optimizer", [*(cls() for cls in OPTIMIZERS.values()), SGD(nesterovs_momentum=False), SGD(0)], ids=str
)
def test_optimizers(optimizer, l1_ratio, dtype):
    assert_same_training(optimizer=optimizer, alpha=0.1, l1_ratio=l1_ratio, dtype=dtype)


class NaNAtZero(Activation):
    """Its derivative is NaN at an output of 0, which no unit has unless it is dropped."""

    def value(self, z):
        return 1 + 1 / (1 + np.exp(-z))

    def derivative_from_output(self, a):
        return (a - 1) * (2 - a) * (a / a)


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "gelu", NaNAtZero()], ids=str)
@pytest.mark.parametrize("width", [1, 2, 3, 16, 17])
def test_layers_of_few_units_between_large_ones(width, activation, dtype):
    """Their products are loops, the others BLAS's; some units of all are dropped."""
    activation = ACTIVATIONS[activation]() if isinstance(activation, str) else activation
    settings = {"hidden": (90, width, 60), "n_rows": 900, "batch_size": 700, "dropout": [0.0, 0.3, 0.1, 0.5]}
    assert_same_training(n_parts=2, activation=activation, dtype=dtype, **settings)


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [95, 96, 97, 199, 200])
def test_parts_of_large_minibatches_have_all_rows(batch_size, dtype):
    """Those of 96 rows of float64, or 192 of float32, begin with a cache line; the last minibatch is smaller."""
    assert_same_training(n_parts=2, dtype=dtype, n_rows=2 * batch_size + 97, batch_size=batch_size)


@needs_numba
@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize("form", [None, csr_matrix, csr_array, coded])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": [0.0, 0.3, 0.2]},
        {"dropout": [0.4, 0.0, 0.3], "activation": ACTIVATIONS["silu"]()},
        {"max_grad_norm": 5.0},  # as it is in the mean
        {"fit_intercept": False},
        {"weighted": True, "batch_size": 3},
        {"hidden": ()},
        {"input_noise": 0.3},
        {"input_noise": 0.3, "dropout": [0.2, 0.0, 0.0]},
    ],
    ids=str,
)
def test_options(products, options, form, n_parts):
    if form is not None and "input_noise" in options:
        pytest.skip("noise is for dense samples")
    settings = {"form": form, "seed": 123456789, "n_rows": 200, "batch_size": 64, **options}
    if form is coded and any(options.get("dropout", [])[:1]):
        assert "codes" in missing("numba", make_job(**settings))
    else:
        assert_same_training(n_parts, **settings)


def make_coded_job(dense, dtype=np.float64, n_rows=300, **settings):
    """Return a job with as many levels and bins as tables have, or the same with the dense matrix."""
    rng, n_bins = np.random.RandomState(0), np.array([30, 3, 64, 5, 1, 30])
    starts = np.array([0, *np.cumsum(n_bins)])
    bins = np.floor(rng.uniform(size=(n_rows, 6)) * n_bins)
    fractions = rng.uniform(size=bins.shape).clip(0.1, 0.9) * 1.25 - 0.125  # some at the edges
    fractions[:, :2] = bins[:, :2] == n_bins[:2] - 1  # the last level is not known
    means = rng.uniform(size=starts[-1])
    X = CodedMatrix(
        rng.standard_normal((n_rows, 3)).astype(dtype),
        (bins + starts[:-1] + np.arange(6)).astype(np.int32),
        fractions.clip(0, 1).astype(dtype),
        Coding(starts, means.astype(dtype), 2),
    )
    settings = {"hidden": (40, 30), "batch_size": 64, **settings}
    return make_job(form=lambda _: X.toarray() if dense else X, n_rows=n_rows, dtype=dtype, **settings)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options", [{}, {"weighted": True}, {"dropout": [0.2, 0.3, 0.0]}, {"input_noise": 0.3}, {"hidden": ()}], ids=str
)
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_codes_are_trained_on_as_the_dense_matrix_is(engine, options, dtype):
    jobs = [make_coded_job(dense, dtype, seed=1, **options) for dense in (True, False)]
    if missing(engine, jobs[1]):
        pytest.skip("the engine says that it misses it")
    start = NumpyRun if engine == "numpy" else lambda job: compiled_run.CompiledRun(job, 3)
    expected, actual = (train(start(job), job, n_epochs=6) for job in jobs)
    for one, other in zip(expected, actual, strict=True):
        assert_allclose(other, one, rtol=0, atol=(1e-10 if dtype == np.float64 else 5e-4) * max(1, np.abs(one).max()))
    outputs = [job.network.raw_output(jobs[k].X, rows) for k, job in enumerate(jobs) for rows in (None, np.arange(9))]
    assert_close(outputs[2], outputs[0], dtype, 1e4)
    assert_close(outputs[3], outputs[2][:9], dtype)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_gradient_of_codes_is_the_limit_of_differences(engine):
    if engine == "numba" and compiled_run is None:
        pytest.skip("numba is not installed")
    job = make_coded_job(False, n_rows=50, batch_size=50, n_targets=1)
    run = NumpyRun(job) if engine == "numpy" else compiled_run.CompiledRun(job, 2)
    run.loss_and_gradient()
    w, gradient = job.network.parameters, run.gradient.copy()
    for place in np.random.RandomState(0).randint(136 * 40, size=60):
        differences = []
        for step in (1e-5, -1e-5):
            w[place] += step
            differences.append(run.loss_and_gradient() / (2 * step))
            w[place] -= step
        assert_allclose(gradient[place], sum(differences), rtol=1e-6, atol=1e-9)
    run.close()


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=needs_numba)])
@pytest.mark.parametrize("multiclass", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_targets_in_bytes_are_the_same_numbers(dtype, multiclass, engine):
    def start(batch_size, kind):
        job = make_job(loss=LogLoss(), multiclass=multiclass, n_targets=3, batch_size=batch_size, dtype=dtype)
        job.y = job.y.astype(kind)
        return (compiled_run.CompiledRun(job, 2) if engine == "numba" else NumpyRun(job)), job

    of_numbers, of_bytes = (
        [
            *train(*start(32, kind)),
            start(32, kind)[0].epoch(None, np.full(3, 0.01)),
            start(90, kind)[0].loss_and_gradient(),
        ]
        for kind in (dtype, np.uint8)
    )
    for one, other in zip(of_bytes, of_numbers, strict=True):
        assert_array_equal(one, other)


@needs_numba
@pytest.mark.parametrize("make", [make_job, partial(make_coded_job, False)], ids=["dense", "codes"])
@pytest.mark.parametrize(("n_parts", "max_grad_norm"), [(2, None), (5, 0.5)])
def test_parts_are_the_same_to_the_last_bit_whoever_computes_them(monkeypatch, make, n_parts, max_grad_norm):
    found = []
    for worth_starting in (0, 2**60):
        monkeypatch.setattr(compiled_run, "WORTH_STARTING", worth_starting)
        settings = {"n_rows": 300, "batch_size": 60, "hidden": (40, 30), "dropout": [0.0, 0.2, 0.0]}
        job = make(max_grad_norm=max_grad_norm, **settings)
        found.append(train(compiled_run.CompiledRun(job, n_parts), job, n_epochs=5))
    for alone, together in zip(*found, strict=True):
        assert_array_equal(alone, together)


def assert_limits_huge_gradients(start, dtype):
    """Gradients whose squares are too large for the dtype: a limit of them is no step of length 0."""
    job = make_job(dtype=dtype, optimizer=SGD(0), batch_size=90, max_grad_norm=0.5, activation=LeakyReLU())
    job.X[...] *= np.sqrt(np.sqrt(np.finfo(dtype).max)) * 100
    run, before = start(job), job.network.parameters.copy()
    run.loss_and_gradient()
    assert np.isfinite(run.gradient).all()
    assert np.abs(run.gradient).max() > np.sqrt(np.finfo(dtype).max)
    with np.errstate(over="ignore"):  # as fit has it
        run.epoch(None, np.ones(1))
    run.close()
    assert np.linalg.norm(job.network.parameters - before) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_parts", [0, pytest.param(1, marks=needs_numba), pytest.param(3, marks=needs_numba)])
def test_huge_gradients_are_limited(n_parts, dtype):
    """By NumPy, and by compiled code in one part or several."""
    assert_limits_huge_gradients(partial(compiled_run.CompiledRun, n_parts=n_parts) if n_parts else NumpyRun, dtype)


@needs_numba
@pytest.mark.parametrize("options", [{"alpha": 50.0, "l1_ratio": 1.0}, {"max_grad_norm": 0.01}], ids=str)
def test_the_gradient_at_zero_has_no_side_and_no_limit(options):
    """The penalty's absolute value has a kink at 0, and only steps are limited."""
    gradients = []
    for start in (NumpyRun, partial(compiled_run.CompiledRun, n_parts=2)):
        job = make_job(batch_size=90, **options)
        job.network.parameters[::3] = 0
        run = start(job)
        run.loss_and_gradient()
        run.close()
        gradients.append(run.gradient)
    assert_close(gradients[1], gradients[0])


@needs_numba
def test_rows_for_the_codes_of_a_feature_are_not_shared_out():
    run = compiled_run.CompiledRun(make_coded_job(False), 1)
    first_rows = run._begins(0, 136)
    assert [first_rows[row] for row in (2, 3, 32, 33, 36, 99, 103, 135, 136)] == [2, 3, 3, 33, 36, 36, 100, 106, 136]
    assert run._begins(1, 4) == [0, 10, 20, 30, 40]


@needs_numba
@pytest.mark.parametrize(
    "loss", [GaussianNLL(), GaussianNLL(0.5), Quantile([0.1, 0.5, 0.9]), LogLoss(), Hinge()], ids=str
)
@pytest.mark.parametrize("size", [10.0, 80.0, 1e4])
def test_large_raw_outputs(loss, size):
    """As many digits as the reference."""
    jobs = [make_job(loss=loss, hidden=(), batch_size=90, multiclass=True, n_targets=3) for _ in range(2)]
    results = []
    for cls, job in zip((NumpyRun, lambda job: compiled_run.CompiledRun(job, 1)), jobs, strict=True):
        job.network.parameters *= size
        run = cls(job)
        with np.errstate(over="ignore", invalid="ignore"):
            results.append((run.loss_and_gradient(), run.gradient))
    (value, gradient), (actual_value, actual) = results
    assert_allclose(actual_value, value, rtol=1e-12)
    size = np.abs(gradient[np.isfinite(gradient)]).max(initial=0)
    assert_allclose(actual, gradient, rtol=1e-12, atol=1e-12 * size)


@needs_numba
@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_loss(engine, bad):
    for loss, multiclass, n_targets in LOSSES:
        job = make_job(loss=loss, multiclass=multiclass, n_targets=n_targets, batch_size=90)
        job.network.weights[1][...] = bad
        run = NumpyRun(job) if engine == "numpy" else compiled_run.CompiledRun(job, 1)
        with np.errstate(all="ignore"):
            value = run.loss_and_gradient()
        assert not (np.isfinite(value) and np.isfinite(run.gradient).all()), loss


# Estimators -----------------------------------------------------------------------------------------------------------


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
        assert_close(a, b, dtype, 100)


@needs_numba
@pytest.mark.parametrize("solver", ["lbfgs", *OPTIMIZERS])
@pytest.mark.parametrize("task", TASKS)
def test_fits(task, solver):
    X, y = make_task(task)
    model = our_estimator(task, solver=solver, max_iter=4, batch_size=32 if solver != "lbfgs" else "auto")
    assert_same_fit(fit_both(model, X, y))


@needs_numba
@pytest.mark.parametrize(
    "parameters",
    [
        {"shuffle": False},
        {"early_stopping": True},
        {"average": 2},
        {"solver": "adamw", "weight_decay": 0.5},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
        {"dropout": 0.3, "learning_rate": "cosine"},
    ],
    ids=str,
)
def test_parameters(parameters):
    X, y = make_task("multiclass")
    weight = np.random.RandomState(0).randint(3, size=len(y)).astype(float)
    weight[:60] = 0
    assert_same_fit(fit_both(our_estimator("multiclass", max_iter=4, batch_size=16, **parameters), X, y, weight))


@needs_numba
@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_several_classification_targets(name):
    X, y = make_task("multiclass")
    y = np.column_stack([y, X[:, 0] > 0, np.digitize(X[:, 1], [-1, 0, 1])])
    assert_same_fit(fit_both(our_estimator("multiclass", loss=name, max_iter=3, batch_size=40), X, y))


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


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=needs_numba)])
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_samples_are_not_copied(solver, engine):
    X = np.random.RandomState(0).randn(4000, 500)
    y = X[:, 0] > 0
    model = MLPFromScratchClassifier(2, solver=solver, max_iter=2, engine=engine).fit(X[:10], y[:10])
    tracemalloc.start()
    try:
        model.fit(X, y)
        assert tracemalloc.get_traced_memory()[1] < X.nbytes / 3
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", [np.ascontiguousarray, np.asfortranarray, lambda X: np.repeat(X, 2, axis=0)[::2]])
@needs_numba
def test_all_samples_at_once_in_any_order(make):
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=40, solver="lbfgs", max_iter=5)
    fitted = fit_both(model, make(X), y)
    assert_same_fit(fitted)
    assert_array_equal(fitted[1].coefs_[0], fit_both(model, X, y)[1].coefs_[0])


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


class Bent(Activation):
    def __init__(self, bend=0.1):
        self.bend = bend

    def value(self, z):
        return z + self._bump(z)

    def derivative(self, z):
        return 1 + 2 * self.bend * z * np.exp(-(z**2)) * (1 - z**2)

    def _bump(self, z):
        return self.bend * z**2 * np.exp(-(z**2))


class SteeperTanh(Tanh):
    def value(self, z):
        return np.tanh(2 * z)

    def derivative_from_output(self, a):
        return 2 * (1 - a * a)


class CubedError(Loss):
    def value(self, y, raw_output):
        return (np.abs(raw_output - y) ** 3).sum(axis=1)

    def derivative(self, y, raw_output):
        return 3 * (raw_output - y) * np.abs(raw_output - y)


class Pull(Loss):
    """Of which the value tells other things than the derivative, which is an array as it was given."""

    def value(self, y, raw_output):
        return (raw_output * raw_output).sum(axis=1)

    def derivative(self, y, raw_output):
        return y


class Distance(Loss):
    """Euclidean, so that the columns of a sample depend on each other."""

    def value(self, y, raw_output):
        return np.sqrt(1 + ((raw_output - y) ** 2).sum(axis=1))

    def derivative(self, y, raw_output):
        return (raw_output - y) / np.sqrt(1 + ((raw_output - y) ** 2).sum(axis=1, keepdims=True))


class HalfHuber(Huber):
    def value(self, y, raw_output):
        return 0.5 * super().value(y, raw_output)

    def derivative(self, y, raw_output):
        return 0.5 * super().derivative(y, raw_output)


class OwnLink(IdentityLink):
    def inverse(self, raw_output):
        return 2 * raw_output

    def pull_back(self, gradient, prediction):
        return 2 * gradient


class DoubledSquaredError(SquaredError):
    link = OwnLink()


class SignDescent(Optimizer):
    def move(self, w, g, r):
        return w - r * np.sign(g)


class Lion(Optimizer):
    vector_names = ("momentum",)

    def __init__(self, beta=0.9):
        self.beta = beta

    def coefficients(self, t, r):
        return r, 1 / np.sqrt(t)

    def move(self, w, g, momentum, r, share):
        return w - r * np.sign(momentum + share * g), self.beta * momentum + (1 - self.beta) * g


class Sorted(Activation):
    """Has no graph."""

    def value(self, z):
        return z + 0.01 * np.sort(z, axis=1)

    def derivative(self, z):
        return np.ones_like(z)


class InPlace(Optimizer):
    """Written as it need not be."""

    def update(self, parameters, gradient, learning_rate):
        self.n_updates += 1
        parameters -= learning_rate * np.sign(gradient)


COMPILED = [
    {"activation": Sine()},
    {"activation": Bent(0.2)},
    {"activation": SteeperTanh()},
    {"activation": ["relu", Sine()]},
    {"loss": CubedError()},
    {"loss": Distance()},
    {"loss": Pull()},
    {"loss": HalfHuber()},
    {"loss": DoubledSquaredError()},
    {"solver": SignDescent()},
    {"solver": Lion()},
]


@needs_numba
@pytest.mark.parametrize("parameters", COMPILED, ids=str)
def test_components_of_ones_own_are_compiled(parameters):
    X, y = make_task("multioutput")
    fitted = fit_both(our_estimator("multioutput", max_iter=4, batch_size=20, **parameters), X, y)
    assert_same_fit(fitted)
    assert fitted[1].loss_curve_[-1] != fitted[1].loss_curve_[0]


@needs_numba
def test_formulas_of_ones_own_are_those_that_the_class_has_now(monkeypatch):
    X, y = make_task("multioutput")
    model = our_estimator("multioutput", max_iter=4, batch_size=20, activation=SteeperTanh())
    before = fit_both(model, X, y)
    monkeypatch.setattr(SteeperTanh, "value", lambda self, z: np.tanh(0.3 * z))
    monkeypatch.setattr(SteeperTanh, "derivative_from_output", lambda self, a: 0.3 * (1 - a * a))
    now = fit_both(model, X, y)
    assert_same_fit(now)
    assert now[1].loss_curve_ != before[1].loss_curve_


@needs_numba
@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"activation": Sorted()}, r"Sorted cannot be compiled \(sort has no graph\)"),
        ({"solver": InPlace()}, r"InPlace cannot be compiled \(it writes into arrays\)"),
    ],
    ids=str,
)
def test_what_cannot_be_compiled_runs_on_the_reference_and_says_so(parameters, reason):
    X, y = make_task("multioutput")
    model = our_estimator("multioutput", max_iter=4, batch_size=20, engine="numba", **parameters)
    with pytest.warns(UserWarning, match=f"^Training runs on NumPy: {reason}") as caught:
        model.fit(X, y)
    assert len([one for one in caught if one.category is UserWarning]) == 1
    assert model.engine_ == "numpy"
    reference = clone(model).set_params(engine="numpy").fit(X, y)
    assert_array_equal(model.coefs_[0], reference.coefs_[0])


# The reference's versions in place ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("name", ["identity", "relu", "tanh", "gelu"])
def test_activations_in_place(name, order, dtype):
    f, z = ACTIVATIONS[name](), np.asarray(3 * np.random.RandomState(0).randn(20, 6), dtype=dtype, order=order)
    z[0] = 0, -0.0, np.inf, -np.inf, np.nan, 1e30
    before, slopes = z.copy(), [np.ones_like(z), np.ones_like(z)]
    with np.errstate(all="ignore"):
        elsewhere, value, slope = in_place.activate(f, z, out=np.empty_like(z)), f.value(z), f.derivative(z)
        assert_array_equal(z, before)
        in_place.multiply_slope(f, slopes[0], z, elsewhere)
        assert_array_equal(in_place.activate(f, z, out=z), elsewhere)
        in_place.multiply_slope(f, slopes[1], before if f.needs_input else z, z)
    assert_allclose(elsewhere, value, rtol=4 * np.finfo(dtype).eps)
    for own in slopes:
        assert_allclose(own, slope, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "multiclass", "n_targets"), LOSSES, ids=str)
def test_losses_in_place(loss, multiclass, n_targets, dtype):
    job = make_job(loss=loss, multiclass=multiclass, n_targets=n_targets, dtype=dtype)
    rng, weight = np.random.RandomState(2), np.full(90, 1 / 90, dtype)
    raw_output = np.asfortranarray(rng.randn(90, job.network.layer_units[-1]), dtype=dtype)
    delta, eps = np.empty_like(raw_output), float(np.finfo(dtype).eps)
    value = in_place.loss_and_delta(job.loss, job.y, raw_output.copy(order="F"), weight, out=delta)
    assert value == pytest.approx(float(job.loss.value(job.y, raw_output).astype(float).mean()), rel=100 * eps)
    assert_allclose(delta, job.loss.derivative(job.y, raw_output) / 90, rtol=100 * eps, atol=eps)
    prediction = in_place.link_inverse(job.loss.link, raw_output, out=np.empty_like(raw_output))
    assert_allclose(prediction, job.loss.link.inverse(raw_output), rtol=10 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [cls() for cls in OPTIMIZERS.values()] + [SGD(0.5, False)], ids=str)
def test_updates_in_place(optimizer, dtype):
    rng, size = np.random.RandomState(0), 20_000
    w, twins = rng.randn(size).astype(dtype), [clone(optimizer), clone(optimizer)]
    parameters = [w.copy(), w.copy()]
    for twin in twins:
        twin.start(size, w.dtype, size // 2)
    for _ in range(3):
        g = rng.randn(size).astype(dtype)
        coefficients = [float(c[0]) for c in twins[0].next_coefficients(np.array([0.1]))]
        in_place.update(twins[0], parameters[0], g, 0.1, coefficients)
        twins[1].update(parameters[1], g, 0.1)
    for ours, formula in zip([parameters[0], *twins[0].state], [parameters[1], *twins[1].state], strict=True):
        assert_allclose(ours, formula, rtol=0, atol=20 * np.finfo(dtype).eps * np.abs(formula).max())


# Elementary functions -------------------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh"])
def test_elementary_functions(name, dtype):
    """To two units in the last place, and where NumPy's are infinite or NaN, they are, too."""
    space = {"f": getattr(elementary, name)}
    exec("def run(x, out):\n    for i in range(x.size):\n        out[i] = f(x[i])", space)
    run, rng = numba.njit(error_model="numpy")(space["run"]), np.random.RandomState(0)
    x = np.concatenate([scale * rng.randn(2000) for scale in (1e-12, 1e-6, 1e-3, 0.1, 1, 20)]).astype(dtype)
    x = np.abs(x) if name.startswith("log") else x
    out = np.empty_like(x)
    run(x, out)
    expected = getattr(np, name)(x.astype(np.longdouble))
    assert_allclose(out.astype(np.longdouble), expected, rtol=2 * np.finfo(dtype).eps)
    x = np.array([0.0, np.inf, -np.inf, np.nan, 1e4, -1e4, np.finfo(dtype).tiny / 8, -0.5, 1.0], dtype=dtype)
    out = np.empty_like(x)
    run(x, out)
    with np.errstate(all="ignore"):
        assert_allclose(out, getattr(np, name)(x), rtol=4 * np.finfo(dtype).eps)


# Which engine ---------------------------------------------------------------------------------------------------------

FEW, SOME, MANY = (
    int(seconds / policy.SAVED_PER_STEP)
    for seconds in (policy.WORTH_LOADING / 2, policy.COMPILE_SECONDS / 2, policy.COMPILE_SECONDS * 2)
)
ENOUGH_FOR_A_KERNEL = int(2 * policy.COMPILE_SECONDS_OF_KERNEL / policy.SAVED_PER_STEP)


@needs_numba
def test_auto_goes_by_what_is_on_disk_and_by_the_time_it_saves(monkeypatch):
    job = make_job()
    assert choose("numpy", job, MANY) == "numpy"
    assert choose("numba", job, 1) == "numba"
    sources = sources_of(job)
    everything, kernel = set(sources.texts()), sources.losses[0].texts[0]
    for absent, n_steps, expected in [
        (everything, FEW, "numpy"),
        (everything, SOME, "numpy"),
        (everything, MANY, "numba"),
        ({kernel}, FEW, "numpy"),
        ({kernel}, ENOUGH_FOR_A_KERNEL // 3, "numpy"),
        ({kernel}, ENOUGH_FOR_A_KERNEL, "numba"),
        (set(), FEW, "numpy"),
        (set(), ENOUGH_FOR_A_KERNEL // 3, "numba"),
    ]:
        monkeypatch.setattr(engines, "is_kept", lambda text, absent=absent: text not in absent)
        assert choose("auto", job, n_steps) == expected


@needs_numba
def test_auto_expects_early_stopping_to_end_training(monkeypatch):
    monkeypatch.setattr(engines, "is_kept", lambda text: True)
    X, y = make_task("binary")
    for parameters, expected in [
        ({"max_iter": 10**9, "n_iter_no_change": 1}, "numba"),
        ({"max_iter": 10**9, "n_iter_no_change": 1, "early_stopping": True}, "numpy"),
        ({"max_iter": 1, "n_iter_no_change": 10**9, "early_stopping": True}, "numpy"),
    ]:
        assert our_estimator("binary", tol=1e9, **parameters).fit(X, y).engine_ == expected


@needs_numba
def test_the_compiled_engine_misses_nothing_of_ours():
    for activation in ACTIVATIONS.values():
        assert missing("numba", make_job(activation())) is None
    for loss, multiclass, n_targets in LOSSES:
        assert missing("numba", make_job(loss=loss, multiclass=multiclass, n_targets=n_targets)) is None
    for optimizer in OPTIMIZERS.values():
        assert missing("numba", make_job(optimizer=optimizer())) is None
    assert missing("numba", make_job(Sorted())).startswith("Sorted cannot be compiled")
    assert missing("numpy", make_job(Sorted())) is None


@pytest.fixture
def numba_is(monkeypatch):
    """Have another numba imported, or an error raised in its place."""

    def put(numba):
        monkeypatch.setitem(sys.modules, "numba", numba)
        engines._what_prevents.cache_clear()

    yield put
    engines._what_prevents.cache_clear()


class Failing:
    """As an extension module is that does not suit the interpreter."""

    def __getattr__(self, name):
        raise SystemError("initialization of _internal failed without raising an exception")


@pytest.mark.parametrize(
    ("numba", "cause"),
    [
        (None, "ModuleNotFoundError: import of numba halted"),
        (ModuleType("numba"), "AttributeError: module 'numba' has no attribute 'config'"),
        (Failing(), "SystemError: initialization of _internal failed"),
    ],
    ids=["not installed", "an empty folder", "with a fault of its own"],
)
def test_without_a_numba_that_works(numba_is, numba, cause):
    numba_is(numba)
    X, y = make_task("binary")
    model = MLPFromScratchClassifier(engine="numba")
    with pytest.raises(ImportError, match="engine='numba' needs numba") as error_info:
        model.fit(X, y)
    assert cause in str(error_info.value)
    assert re.search(r"pip install 'sknn-scratch\[fast\]'.*'auto'", str(error_info.value))
    assert vars(model) == model.get_params()
    said = nullcontext() if numba is None else pytest.warns(UserWarning, match="NumPy: numba, .* cannot be used")
    with said:
        assert choose("auto", make_job(), MANY) == "numpy"
    assert our_estimator("binary", max_iter=2).fit(X, y).engine_ == "numpy"


def test_where_numba_was_never_installed(numba_is, monkeypatch):
    """There, numba's version is not known either, which is part of the name of the folder for compiled code."""

    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    caches = kernels.code_version, kernels.folder
    for cached in caches:
        cached.cache_clear()
    try:
        numba_is(None)
        X, y = make_task("binary")
        assert choose("auto", make_job(), SOME) == choose("auto", make_job(), MANY) == "numpy"
        assert our_estimator("binary", max_iter=2).fit(X, y).engine_ == "numpy"
    finally:
        for cached in caches:
            cached.cache_clear()


@needs_numba
def test_with_numbas_compiler_switched_off_or_a_numba_that_cannot_be_imported(tmp_path):
    """As it is where the coverage of compiled code is measured, and with a NumPy that is too new for numba."""
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
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: engine='numba' needs numba, which cannot be used (NUMBA_DISABLE_JIT is set).")
    assert "Warning" not in result.stderr
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.4 or less')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == "numpy"
    assert result.stderr.count("NumPy: numba, which would be faster, cannot be used (ImportError: Numba needs") == 1


@needs_numba
def test_training_goes_on_with_the_engine_it_began_with_where_that_can_be_used(numba_is, monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "is_kept", lambda text: True)
    X, y = make_task("binary")
    models = []
    for name, other in [("numba", "numpy"), ("numpy", "numba")]:
        monkeypatch.setattr(policy, "WORTH_LOADING", np.inf if other == "numpy" else 0)
        assert our_estimator("binary", max_iter=2).fit(X, y).engine_ == other
        model = our_estimator("binary", engine=name, max_iter=2)
        model.set_callbacks(ModelCheckpoint(tmp_path / name)).fit(X, y)
        models.append(model.set_callbacks().set_params(engine="auto", max_iter=3, warm_start=True))
        assert model.partial_fit(X, y).engine_ == name
        assert clone(model).fit(X, y, resume_from=tmp_path / name).engine_ == name
    numba_is(None)
    assert copy.deepcopy(models[0]).partial_fit(X, y).engine_ == "numpy"
    assert clone(models[0]).fit(X, y, resume_from=tmp_path / "numba").engine_ == "numpy"
    with pytest.raises(ImportError, match="engine='numba' needs numba"):
        models[1].set_params(engine="numba").partial_fit(X, y)


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
        for names in (["numpy"] * 4, ["numba", "numpy", "numba", "numba"]):
            model = our_estimator("multiclass", solver=solver, batch_size=50)
            for engine in names:
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
import sys, warnings
import numpy as np
from sknn_scratch import MLPFromScratchClassifier
warnings.simplefilter("ignore")
X = np.random.RandomState(0).randn(60, 3)
for dtype in sys.argv[1:]:
    model = MLPFromScratchClassifier(3, max_iter=2, engine="numba", random_state=0).fit(X.astype(dtype), X[:, 0] > 0)
    print(model.engine_, repr(float(model.loss_)))
"""


def run_copy(folder, *dtypes):
    """Run the script with a copy of the package in the folder; return what it prints."""
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", SCRIPT, *dtypes], capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


# What passes rows forward and back takes seconds to compile. It may come from the cache of these tests.
LARGE = tuple(kernels.module_name(function_source("pass_rows", np.dtype(name))) for name in ("float32", "float64"))


@pytest.fixture
def package_copy(tmp_path):
    """Copy the package without its compiled code, but for the largest functions."""

    def ignored(folder, names):
        kept = (*LARGE, f"kernels-{kernels.code_version()}", "__pycache__") if "__pycache__" in folder else ("",)
        return [name for name in names if not name.startswith(kept)]

    shutil.copytree(Path(sknn_scratch.__file__).parent, tmp_path / "sknn_scratch", ignore=ignored)
    return tmp_path


@needs_numba
@pytest.mark.slow
def test_code_is_compiled_once_and_kept_on_disk(package_copy):
    first, said = run_copy(package_copy, "float64")
    assert first[0].startswith("numba")
    assert "compiling for float64" in said
    assert len(list(package_copy.rglob("*.compiled"))) >= 7
    # What cannot be read is compiled anew.
    keep = (*LARGE, kernels.module_name(function_source("move_parameters", np.dtype("float64"))))
    damaged = [file for file in package_copy.rglob("*.nb[ic]") if not file.name.startswith(keep)]
    assert len(damaged) >= 2 * 5
    for n, file in enumerate(sorted(damaged)):
        file.write_bytes([b"", file.read_bytes()[:100], b"something else"][n % 3])
    # No name is common to what is compiled here and what another process, in the same order, has of the other dtype.
    float32, float64 = run_copy(package_copy, "float32", "float64")[0]
    assert [float64] == first
    assert_allclose(float(float32.split()[1]), float(float64.split()[1]), rtol=1e-5)
    assert run_copy(package_copy, "float64") == (first, "")
