"""The engine of PyTorch: the reference's numbers, on its CPU device and, where there is a GPU, by CUDA graphs."""

import gc
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator
from test_engines import LOSSES, Sorted, assert_limits_huge_gradients, coded, make_job, train

from sknn_scratch import (
    MLPFromScratchClassifier,
    ModelCheckpoint,
    TabularMLPClassifier,
    TabularMLPRegressor,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS, Activation, LeakyReLU, ReLU
from sknn_scratch.catalogue.links import LINKS
from sknn_scratch.catalogue.losses import LogLoss, Loss, SquaredError
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer
from sknn_scratch.catalogue.rewriting import BY_OTHERS
from sknn_scratch.engines import choose, draws, missing, policy
from sknn_scratch.engines.compiled.source import _TEXTS
from sknn_scratch.engines.numpy.run import NumpyRun

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from sknn_scratch.engines.torch import arrays, formulas  # noqa: E402
from sknn_scratch.engines.torch import run as torch_run  # noqa: E402
from sknn_scratch.engines.torch.arrays import compute  # noqa: E402
from sknn_scratch.engines.torch.run import TorchRun  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available")
# Relative to the largest number of an array.
TOLERANCE = {np.float64: 1e-9, np.float32: 1e-3}
DTYPES = list(TOLERANCE)


@pytest.fixture(autouse=True, scope="module")
def settings_of_pytorch():
    """Have no TF32, and no threads that wait for each other where there are more of them than cores."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_num_threads(before[0])
    torch.set_float32_matmul_precision(before[1])


def assert_close(actual, expected, dtype=np.float64):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * max(1e-3, np.abs(expected).max()))


def assert_same_training(*, dtype=np.float64, n_epochs=3, start=TorchRun, **settings):
    """Train a job with the reference and with PyTorch."""
    jobs = [make_job(dtype=dtype, **settings) for _ in range(2)]
    runs = [NumpyRun(jobs[0]), start(jobs[1])]
    if jobs[0].batch_size >= jobs[0].X.shape[0]:
        values = [run.loss_and_gradient() for run in runs]
        assert_close(values[1], values[0], dtype)
        assert_close(runs[1].gradient, runs[0].gradient, dtype)
    reference, ours = (train(run, job, n_epochs) for run, job in zip(runs, jobs, strict=True))
    for expected, actual in zip(reference, ours, strict=True):
        assert_close(actual, expected, dtype)
    assert jobs[0].optimizer.n_updates == jobs[1].optimizer.n_updates


# The same numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*ACTIVATIONS, LeakyReLU(0.3)], ids=str)
def test_activations(name, dtype):
    assert_same_training(activation=ACTIVATIONS[name]() if isinstance(name, str) else name, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "multiclass", "n_targets"), LOSSES, ids=str)
def test_losses(loss, multiclass, n_targets, weighted, dtype):
    settings = {"loss": loss, "multiclass": multiclass, "n_targets": n_targets, "weighted": weighted}
    assert_same_training(dtype=dtype, **settings)
    assert_same_training(dtype=dtype, batch_size=90, n_epochs=1, alpha=0.1, **settings)


@pytest.mark.parametrize("name", LINKS)
def test_links(monkeypatch, name):
    monkeypatch.setattr(SquaredError, "link", LINKS[name]())
    assert_same_training()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("optimizer", [*(cls() for cls in OPTIMIZERS.values()), SGD(0, False)], ids=str)
def test_optimizers(optimizer, l1_ratio, dtype):
    assert_same_training(optimizer=optimizer, alpha=0.1, l1_ratio=l1_ratio, dtype=dtype)


OPTIONS = [
    {"dropout": [0.0, 0.3, 0.2]},
    {"dropout": [0.4, 0.0, 0.3], "activation": ACTIVATIONS["silu"]()},
    {"input_noise": 0.3, "dropout": [0.2, 0.0, 0.0]},
    {"max_grad_norm": 4.0},  # as it is in the mean
    {"fit_intercept": False},
    {"hidden": ()},
    {"alpha": 0.1, "max_grad_norm": 0.1, "optimizer": AdamW(weight_decay=0.1)},
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [1, 32, 90])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options(options, batch_size, weighted, dtype):
    """With single rows, many minibatches have no weight at all."""
    assert_same_training(weighted=weighted, batch_size=batch_size, dtype=dtype, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_gradients_are_limited(dtype):
    assert_limits_huge_gradients(TorchRun, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_are_dense_on_the_device(monkeypatch, dtype):
    assert_same_training(form=coded, dtype=dtype)
    assert_same_training(form=coded, dtype=dtype, n_rows=900, start=partial(start_with_least_memory, monkeypatch))


def test_rows_as_they_come():
    jobs = [make_job(batch_size=25) for _ in range(2)]
    runs = NumpyRun(jobs[0]), TorchRun(jobs[1])
    losses = [run.epoch(None, np.full(4, 0.01)) for run in runs]
    assert_close(losses[1], losses[0])
    assert_close(jobs[1].network.parameters, jobs[0].network.parameters)


@pytest.mark.parametrize(
    ("most", "piece_bytes", "n_steps"), [(1, 2**28, 1), (4, 2**28, 4), (64, 6000, 3), (64, 2**28, 64)]
)
def test_steps_in_pieces_of_all_lengths(monkeypatch, most, piece_bytes, n_steps):
    """Of which those of up to 64 steps each read their own rows, coefficients, keys and draws."""
    monkeypatch.setattr(policy, "STEPS_AT_ONCE", most)
    monkeypatch.setattr(policy, "PIECE_BYTES", piece_bytes)
    settings = {"batch_size": 3, "n_rows": 256, "dropout": [0.1, 0.2, 0.0], "input_noise": 0.1, "alpha": 0.1}
    assert len(TorchRun(make_job(**settings))._numbers) == n_steps
    assert_same_training(**settings)


@pytest.mark.parametrize(("seed", "step", "layer"), [(0, 1, 0), (2**63 - 1, 12345, 3), (77, 2**31, draws.INPUT_NOISE)])
def test_draws_are_the_same(seed, step, layer):
    """Beyond 2**32 numbers the counter begins again, as one of 32 bits does."""
    pair, index = draws.keys(seed, step, layer), np.array([*range(7000), 2**31, 2**32 - 1], dtype=np.uint32)
    tensors = [torch.tensor(int(key)) for key in pair], torch.tensor(index.tolist())
    assert_array_equal(draws.bits(*tensors, torch_run.lower_half), draws.bits(pair, index))
    again = tensors[1] + 2**32
    assert_array_equal(draws.bits(tensors[0], again, torch_run.lower_half), draws.bits(pair, index))
    noise = compute(lambda i, *keys: draws.normal(keys, i, torch_run.lower_half), tensors[1], *tensors[0])
    assert_allclose(noise, draws.normal(pair, index), rtol=1e-9, atol=1e-12)


class PlainReLU(ReLU):
    pass


class PlainLogLoss(LogLoss):
    pass


class PlainAdam(Adam):
    pass


@pytest.mark.parametrize("dtype", DTYPES)
def test_second_forms_are_the_formulas(dtype, monkeypatch):
    """A subclass is computed by the formula."""
    monkeypatch.setattr(formulas, "BLOCKS", {"cpu": 7})
    settings = {"multiclass": True, "n_targets": 4, "dtype": dtype, "weighted": True}
    jobs = [
        make_job(activation(), loss(), optimizer=optimizer(), **settings)
        for activation, loss, optimizer in [(ReLU, LogLoss, Adam), (PlainReLU, PlainLogLoss, PlainAdam)]
    ]
    ours, plain = (train(TorchRun(job), job) for job in jobs)
    for actual, expected in zip(ours, plain, strict=True):
        assert_allclose(actual, expected, rtol=0, atol=(1e-12 if dtype == np.float64 else 1e-5))


# Formulas of a user's own ---------------------------------------------------------------------------------------------


class Bent(Activation):
    def __init__(self, knee=0.5):
        self.knee = knee

    def value(self, z):
        return np.where(np.abs(z) < self.knee, z, np.sign(z) * (self.knee + np.log1p(np.abs(z) - self.knee)))

    def derivative(self, z):
        return 1 / np.maximum(1, 1 + np.abs(z) - self.knee) + 0.1 * (z > 1) - (z > 1) / 10.0


class OfRows(Loss):
    """With more of NumPy than elementwise functions."""

    def value(self, y, raw_output):
        weights = np.array([1.0, 2.0])
        return (weights * np.square(raw_output - y)).mean(axis=1) + np.max(raw_output, axis=1, keepdims=True)[:, 0]

    def derivative(self, y, raw_output):
        slope = np.array([1.0, 2.0]) * (raw_output - y)
        largest = (raw_output == np.maximum.reduce(raw_output, axis=1, keepdims=True)).astype(raw_output.dtype)
        slope[:, :1] += largest[:, :1]
        return slope + np.concatenate([np.zeros_like(y[:, :1]), largest[:, 1:]], axis=1)


class Heavy(Optimizer):
    vector_names = ("pace",)

    def coefficients(self, t, r):
        return r / np.sqrt(t), 0.9 ** np.minimum(t, 3.0)

    def move(self, w, g, pace, rate, share):
        pace = share * pace - rate * np.tanh(g)
        return w + pace, pace


class Queue(Optimizer):
    """Whose vectors change places, and one is the parameters as they were."""

    vector_names = ("last", "last_but_one", "before")

    def move(self, w, g, last, last_but_one, before, rate):
        return w - rate * (g + last / 2 + last_but_one / 4 - before / 8), g + 0.1 * (g > 0), last, w


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [Heavy(), Queue()], ids=str)
def test_formulas_of_a_users_own(optimizer, dtype):
    assert_same_training(activation=Bent(), loss=OfRows(), optimizer=optimizer, dtype=dtype)


ELEMENTWISE = {
    name: function
    for name in sorted({*BY_OTHERS, *_TEXTS})
    if isinstance(function := getattr(np, name, None) or getattr(special, name, None), np.ufunc)
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_what_is_compiled_is_computed_with_tensors(name):
    function, rng = ELEMENTWISE[name], np.random.RandomState(0)
    given = rng.uniform(0.1, 0.9, (function.nin, 5, 3))
    given = given > 0.5 if name.startswith(("bitwise", "logical", "invert")) else given
    assert_allclose(compute(function, *map(torch.from_numpy, given)), function(*given), rtol=1e-13)


class Written(SGD):
    def update(self, parameters, gradient, learning_rate):
        parameters -= learning_rate * gradient


class Looking(Activation):
    def value(self, z):
        return z if (z > 0).all() else np.tanh(z)

    def derivative(self, z):
        return 1 - np.tanh(z) ** 2


class Choosing(Looking):
    def value(self, z):
        z = z.copy()
        z[z < 0] = 0
        return z


class Spread(Looking):
    """With a method whose meaning is another in PyTorch."""

    def value(self, z):
        return z / z.std(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"form": csr_matrix}, "X is sparse"),
        ({"optimizer": Written()}, "Written writes into arrays"),
        ({"activation": Looking()}, "Looking cannot be computed with tensors"),
        ({"activation": Choosing()}, r"Choosing cannot .*chooses numbers by an array"),
        ({"activation": Sorted()}, r"Sorted cannot .*np.sort"),
        ({"activation": Spread()}, r"Spread cannot .*value gives other numbers than with arrays"),
    ],
    ids=str,
)
def test_what_it_cannot_do_is_named(settings, reason):
    job = make_job(**settings)
    assert reason.partition(" cannot .*")[0] in missing("torch", job)
    with pytest.raises(ValueError, match=rf"engine='torch' cannot be used: {reason}.*engine='auto'"):
        choose("torch", job, 1)


def test_it_misses_nothing_of_ours():
    for activation in ACTIVATIONS.values():
        assert missing("torch", make_job(activation())) is None
    for loss, multiclass, n_targets in LOSSES:
        assert missing("torch", make_job(loss=loss, multiclass=multiclass, n_targets=n_targets)) is None
    for optimizer in OPTIMIZERS.values():
        assert missing("torch", make_job(optimizer=optimizer())) is None
    on_mac = make_job()
    on_mac.device = "mps"
    assert "float64" in missing("torch", on_mac)


# Memory ---------------------------------------------------------------------------------------------------------------


def start_with_least_memory(monkeypatch, job, start=TorchRun):
    """Return a run with so little memory that X stays on the host, and pieces have four steps."""
    row_bytes = (job.X.shape[1] + job.y.shape[1] + 6 * job.network.layer_units[-1]) * job.X.dtype.itemsize
    monkeypatch.setattr(policy, "PIECE_BYTES", 4 * job.batch_size * row_bytes)
    for free in range(30_000, 10**6, 10_000):
        monkeypatch.setattr(torch_run, "free_bytes", lambda device, free=free: free)
        try:
            run = start(job)
        except MemoryError:
            continue
        assert run._all_X is None
        return run
    raise AssertionError("no memory suffices")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"batch_size": 7}, {"batch_size": 60, "alpha": 0.1}, {"batch_size": 8, "dropout": [0.1, 0.2, 0.3]}],
    ids=str,
)
def test_samples_that_do_not_fit_are_streamed(monkeypatch, options, weighted):
    start = partial(start_with_least_memory, monkeypatch)
    assert_same_training(weighted=weighted, n_rows=1500, start=start, **options)


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_of_all_samples_is_the_sum_of_its_pieces(monkeypatch, weighted):
    monkeypatch.setattr(policy, "GRADIENT_ROWS", 20)
    monkeypatch.setattr(policy, "STEPS_AT_ONCE", 1)
    jobs = [make_job(batch_size=90, alpha=0.1, weighted=weighted) for _ in range(2)]
    for job in jobs:
        job.optimizer = None
    runs = [NumpyRun(jobs[0]), TorchRun(jobs[1])]
    expected, value = (run.loss_and_gradient() for run in runs)
    assert_close(value, expected)
    assert_close(runs[1].gradient, runs[0].gradient)


def test_too_little_memory_is_an_error_that_names_the_bytes(monkeypatch):
    monkeypatch.setattr(torch_run, "free_bytes", lambda device: 10_000)
    X, y = make_task("binary")
    model = MLPFromScratchClassifier(engine="torch")
    with pytest.raises(MemoryError, match=r"device='cpu' needs [\d,]+ bytes.* 9,000 may be used. Lower batch_size"):
        model.fit(X, y)
    assert vars(model) == model.get_params()


def test_a_device_that_computes_wrongly_with_integers_is_refused(monkeypatch):
    """Masks would be others there, as where integers become float32 on the way."""
    assert torch_run.problem("cpu") is None
    monkeypatch.setattr(torch_run, "lower_half", lambda x: (x & 0xFFFFFFFF).float().long())
    with pytest.raises(ValueError, match="engine='torch' cannot be used: it computes wrongly with integers"):
        choose("torch", make_job(), 1)


def test_jobs_of_the_same_samples_have_them_once():
    one, same, other = make_job(), make_job(), make_job()
    same.X = one.X
    first = TorchRun(one)
    second, third = TorchRun(same, first), TorchRun(other, first)
    assert second._all_X is first._all_X
    assert third._all_X is not first._all_X


# Estimators -----------------------------------------------------------------------------------------------------------


def fit_both(task, call=None, **parameters):
    """Return models of both engines, fitted alike."""
    X, y = make_task(task)
    sizes = {} if parameters.get("solver") == "lbfgs" else {"batch_size": 32}
    models = [our_estimator(task, engine=name, max_iter=4, **sizes, **parameters) for name in ("numpy", "torch")]
    for model in models:
        call(model, X, y) if call else model.fit(X, y)
    assert [model.engine_ for model in models] == ["numpy", "torch"]
    return models


def assert_same_fit(models, X):
    reference, ours = models
    assert_close(ours.loss_curve_, reference.loss_curve_)
    assert ours.n_iter_ == reference.n_iter_
    assert ours.validation_scores_ is None or ours.validation_scores_ == pytest.approx(reference.validation_scores_)
    for a, b in zip(ours.coefs_ + ours.intercepts_, reference.coefs_ + reference.intercepts_, strict=True):
        assert type(a) is np.ndarray
        assert_close(a, b)
    assert_close(ours._raw_output(X), reference._raw_output(X))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": True, "validation_fraction": 0.2},
        {"solver": "lbfgs", "alpha": 0.1},
        {"average": 3, "dropout": 0.2},
        {"solver": "sgd", "learning_rate": "cosine", "shuffle": False},
    ],
    ids=str,
)
def test_fits_are_the_same(task, parameters):
    assert_same_fit(fit_both(task, **parameters), make_task(task)[0])


def weighted(model, X, y):
    weights = np.random.RandomState(0).randint(3, size=len(X)).astype(float)
    weights[:64] = 0
    model.set_params(shuffle=False).fit(X, y, weights)


def validated(model, X, y):
    model.set_params(early_stopping=True).fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])


def increments(model, X, y):
    more = {"classes": np.unique(y)} if isinstance(model, MLPFromScratchClassifier) and y.ndim == 1 else {}
    more = {"classes": np.arange(y.shape[1])} if isinstance(model, MLPFromScratchClassifier) and y.ndim > 1 else more
    for rows in (slice(0, 70), slice(70, 150)):
        model.partial_fit(X[rows], y[rows], **more)


def twice(model, X, y):
    model.set_params(warm_start=True).fit(X, y).fit(X, y)


@pytest.mark.parametrize("call", [weighted, validated, increments, twice])
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_ways_to_fit(task, call):
    assert_same_fit(fit_both(task, call), make_task(task)[0])


@pytest.mark.parametrize("task", CLASSIFICATION)
def test_class_weights(task):
    assert_same_fit(fit_both(task, class_weight="balanced"), make_task(task)[0])


@pytest.mark.parametrize("order", ["C", "F", "reversed", "read-only", "mapped"])
def test_samples_in_any_memory(order, tmp_path):
    X, y = make_task("multiclass")
    expected = our_estimator("multiclass", engine="torch", max_iter=3).fit(X, y)
    given = {"C": X.copy(), "F": np.asfortranarray(X), "reversed": X[::-1].copy()[::-1], "read-only": X}.get(order)
    if order == "mapped":
        np.save(tmp_path / "X.npy", X)
        given = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = our_estimator("multiclass", engine="torch", max_iter=3).fit(given, y)
    assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_autocast_is_for_others():
    X, y = make_task("multiclass")
    models = [our_estimator("multiclass", engine="torch", max_iter=3) for _ in range(2)]
    models[0].fit(X.astype(np.float32), y)
    with torch.autocast("cpu"):
        models[1].fit(X.astype(np.float32), y)
        assert torch.is_autocast_enabled("cpu")
    assert_array_equal(models[1].coefs_[0], models[0].coefs_[0])


class Watching:
    """Halves the first weights after an epoch, and remembers what it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, estimator):
        self.seen.append(estimator.coefs_[0].copy())
        estimator.coefs_[0][...] *= 0.5


def test_callbacks_see_and_change_the_parameters():
    X, y = make_task("binary")
    watchers, models = [Watching(), Watching()], []
    for name, watcher in zip(("numpy", "torch"), watchers, strict=True):
        model = our_estimator("binary", engine=name, max_iter=3).set_callbacks(watcher)
        models.append(model.fit(X, y))
    assert_close(watchers[1].seen, watchers[0].seen)
    assert_same_fit(models, X)


def test_checkpoints_hold_all_that_training_goes_on_from(tmp_path):
    X, y = make_task("multiclass")
    settings = {"solver": "nadam", "max_iter": 6, "early_stopping": True, "dropout": 0.2, "average": 2}
    model = our_estimator("multiclass", engine="torch", **settings)
    whole = clone(model).fit(X, y)
    clone(model).set_params(max_iter=3).set_callbacks(ModelCheckpoint(tmp_path / "file")).fit(X, y)
    resumed = clone(model).fit(X, y, resume_from=tmp_path / "file")
    assert_array_equal(resumed.coefs_[0], whole.coefs_[0])
    # Elsewhere, where nothing says that it is to be PyTorch again, training goes on with what is fastest there.
    elsewhere = clone(model).set_params(engine="auto").fit(X, y, resume_from=tmp_path / "file")
    assert elsewhere.engine_ == "numpy"
    assert_close(elsewhere.coefs_[0], whole.coefs_[0])


def test_partial_fit_goes_on_where_it_is_told_to():
    X, y = make_task("binary")
    model = our_estimator("binary", engine="torch").partial_fit(X, y, classes=[10, 20])
    assert model.engine_ == "torch"
    model = pickle.loads(pickle.dumps(model)).set_params(engine="auto").partial_fit(X, y)
    assert model.engine_ == "numpy"
    assert model._optimizer.n_updates == 2


TABLES = {TabularMLPClassifier: load_iris, TabularMLPRegressor: load_diabetes}


@pytest.mark.parametrize("cls", TABLES)
def test_tables(cls):
    X, y = TABLES[cls](return_X_y=True, as_frame=True)
    models = [
        cls(2, hidden_layer_sizes=(16,), n_bins=8, max_iter=4, random_state=0, engine=name, n_jobs=n_jobs).fit(X, y)
        for name, n_jobs in [("numpy", 1), ("torch", 1), ("torch", 2)]
    ]
    predictions = [model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X) for model in models]
    assert_close(predictions[1], predictions[0], np.float32)
    assert_array_equal(predictions[2], predictions[1])


# Prediction, and models that are elsewhere ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_predictions_of_a_device(monkeypatch, dtype):
    monkeypatch.setattr(policy, "DEVICE_CHUNK_BYTES", 1000)
    job = make_job(ACTIVATIONS["gelu"](), dtype=dtype)
    rows = np.random.RandomState(0).randint(90, size=50)
    for chosen in (None, rows):
        ours = torch_run.raw_output(job.network, job.X, chosen, "cpu", True)
        assert ours.dtype == dtype
        assert_close(ours, job.network.raw_output(job.X, chosen), dtype)
    for wrong in (np.nan, np.inf):
        job.X[70, 2] = wrong
        assert torch_run.raw_output(job.network, job.X, None, "cpu", True) is None


def test_a_model_of_a_gpu_predicts_without_one(monkeypatch):
    monkeypatch.setattr(policy, "WORTH_A_DEVICE", 0)
    X, y = make_task("binary")
    model = our_estimator("binary", engine="torch", max_iter=3).fit(X, y)
    expected = model.predict_proba(X)
    for device in {"cuda:99", "mps"} - ({"mps"} if torch.backends.mps.is_available() else set()):
        assert_array_equal(model.set_params(device=device).predict_proba(X), expected)


def test_a_pickle_is_read_without_pytorch(tmp_path):
    X, y = make_task("binary")
    model = our_estimator("binary", engine="torch", max_iter=3).fit(X, y).set_params(device="cuda")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((model, X, model.predict_proba(X))))
    script = f"""
        import pickle, sys
        class Missing:
            def find_spec(name, path, target=None):
                if name == "torch":
                    raise ModuleNotFoundError("No module named 'torch'")
        sys.meta_path.insert(0, Missing)
        import numpy as np
        from sknn_scratch.engines import policy
        policy.WORTH_A_DEVICE = 0
        model, X, expected = pickle.load(open({str(tmp_path / "model.pickle")!r}, "rb"))
        np.testing.assert_array_equal(model.predict_proba(X), expected)
        try:
            model.fit(X, X[:, 0] > 0)
        except ImportError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.startswith("device='cuda' needs PyTorch, which cannot be used (ModuleNotFoundError")
    assert "pip install 'sknn-scratch[gpu]'" in done.stdout


@pytest.mark.parametrize("cls", [MLPFromScratchClassifier, *TABLES])
def test_models_from_before_there_were_devices(cls):
    X, y = load_iris(return_X_y=True)
    small = {"n_members": 2} if cls in TABLES else {}
    model = cls(max_iter=2, hidden_layer_sizes=(4,), engine="numpy", random_state=0, **small).fit(X, y)
    state = model.__getstate__()
    del state["device"]
    old = cls.__new__(cls)
    old.__setstate__(state)
    assert old.device == "cpu"
    assert_array_equal(old.predict(X), model.predict(X))
    assert clone(old).fit(X, y).device == "cpu"


@pytest.mark.parametrize("cls", [MLPFromScratchClassifier, *TABLES])
@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"device": "gpu"}, "The parameter 'device' .* must be 'cpu', 'cuda', .* got 'gpu'. A GPU of NVIDIA is 'cuda'"),
        ({"device": "cuda:x"}, "The parameter 'device'"),
        ({"device": None}, "The parameter 'device'"),
        (
            {"device": "cuda:99"},
            "device='cuda:99' cannot be used: PyTorch .* says: .* Use device='cpu'",
        ),
        ({"device": "cuda", "engine": "numpy"}, "engine='numpy' runs on the CPU only; use engine='auto'"),
    ],
    ids=str,
)
def test_devices_that_cannot_be_used(cls, parameters, reason):
    X, y = load_iris(return_X_y=True)
    model = cls(**parameters)
    with pytest.raises(ValueError, match=reason):
        model.fit(X, y)
    assert vars(model) == parameters | model.get_params()


# Graphs ---------------------------------------------------------------------------------------------------------------


class CountingKernels(TorchDispatchMode):
    """Counts what is a kernel on a GPU: every operation but views."""

    n_kernels = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n_kernels += not function.is_view
        return function(*args, **(kwargs or {}))


def test_vectors_begin_where_kernels_read_several_numbers_at_once():
    run = TorchRun(make_job(dtype=np.float32, hidden=(5,)))
    assert len(run._w) % 4
    assert not any(vector.data_ptr() % 16 for vector in (run._w, run._g, *run._vectors))


class WatchingBiases(TorchDispatchMode):
    """Notes of each product with biases added whether they are a vector that begins at a multiple of 16 bytes."""

    def __init__(self):
        super().__init__()
        self.aligned = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "addmm" in str(function):
            self.aligned.append(args[0].dim() == 1 and args[0].data_ptr() % 16 == 0)
            assert self.aligned[-1] or args[0].dim() == 2
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("hidden", "aligned"), [((8, 4), [True] * 3), ((4, 5), [True, True, False])], ids=str)
def test_biases_begin_where_products_read_several_numbers_at_once(hidden, aligned):
    """Or else are a matrix, as kernels that add a vector may not look where it begins."""
    job = make_job(dtype=np.float32, hidden=hidden, n_targets=4)
    run = TorchRun(job)
    with WatchingBiases() as watching:
        run._make_steps(job.batch_size, train=True)
    assert watching.aligned == aligned


@pytest.mark.parametrize(("options", "n_kernels"), [({}, 13), ({"alpha": 0.1}, 15), ({"dropout": [0.0, 0.5]}, 15)])
def test_kernels_of_a_step(options, n_kernels):
    """Their number is the time of a small step: it is not to grow by accident."""
    job = make_job(ReLU(), LogLoss(), multiclass=True, n_targets=4, dtype=np.float32, hidden=(5,), **options)
    run, counts = TorchRun(job), []
    train(run, job, 1)
    for n_steps in (2, 3):
        with CountingKernels() as counting:
            run._make_steps(n_steps * job.batch_size, train=True)
        counts.append(counting.n_kernels)
    assert counts[1] - counts[0] == n_kernels


# What would wait for a GPU, or copy from the host, which the recording of a graph does not allow.
WAITING = ("_local_scalar_dense", "nonzero", "index.Tensor", "index_put", "lift_fresh", "equal.default")


class EmulatedGraph(TorchDispatchMode):
    """A CUDA graph on the CPU: what is asked for while it records is done only by a replay, with the same tensors.

    What memory that is allotted meanwhile holds between replays is not known: other graphs may have it, too. Other
    memory that it reads is kept by the run, or for good.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.made, self.before = [], set(), {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert not any(part in str(function) for part in WAITING), function
        kwargs = kwargs or {}
        for tensor in self._tensors(args, kwargs):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.made | self.before.keys():
                self.before[storage.data_ptr()] = storage, storage.clone()
        result = function(*args, **kwargs)
        self.made |= {one.untyped_storage().data_ptr() for one in self._tensors(result)} - self.before.keys()
        self.calls.append((function, args, kwargs, result))
        return result

    def __enter__(self):
        assert not gc.isenabled()  # another graph would be destroyed
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        for storage, copy in self.before.values():
            storage.copy_(copy)
        caches = [one for cache in (formulas._infinity, arrays._constant) for one in gc.get_referents(cache)]
        kept = self._tensors(vars(self.run), [one for one in caches if isinstance(one, dict)])
        assert self.before.keys() <= {one.untyped_storage().data_ptr() for one in kept}
        self.spoil()

    def spoil(self):
        for one in self._tensors([result for *_, result in self.calls]):
            if one.untyped_storage().data_ptr() in self.made:
                one.untyped_storage().fill_(255)  # NaN

    def replay(self):
        for function, args, kwargs, result in self.calls:
            for old, new in zip(self._tensors(result), self._tensors(function(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        self.spoil()

    @staticmethod
    def _tensors(*given):
        return [one for one in tree_leaves(given) if isinstance(one, torch.Tensor)]


class EmulatedStream:
    def synchronize(self):
        pass


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=needs_cuda)])
def start_with_graphs(request, monkeypatch):
    """Give a function that starts a run with CUDA graphs, and notes in ``start.log`` what is done with them."""

    def start(job):
        job.device = "cpu" if request.param == "emulated" else "cuda"
        run = TorchRun(job)
        run._stream = EmulatedStream() if request.param == "emulated" else run._stream
        EmulatedGraph.run = run
        return run

    def noted(name, function):
        return lambda *args, **kwargs: (start.log.append(name), function(*args, **kwargs))[1]

    start.log = []
    monkeypatch.setattr(policy, "STEPS_AT_ONCE", 8)
    if request.param == "emulated":
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "CUDAGraph", EmulatedGraph)
        monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
        monkeypatch.setattr(torch.cuda, "graph", lambda graph, **settings: graph)
    monkeypatch.setattr(torch.cuda, "graph", noted("record", torch.cuda.graph))
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", noted("replay", torch.cuda.CUDAGraph.replay))
    return start


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 16, "n_rows": 600}, *OPTIONS], ids=str)
def test_graphs_are_the_steps(start_with_graphs, options, weighted, dtype):
    assert_same_training(start=start_with_graphs, weighted=weighted, n_epochs=4, dtype=dtype, **options)
    assert "replay" in start_with_graphs.log


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "multiclass", "n_targets"), LOSSES, ids=str)
def test_graphs_of_all_losses(start_with_graphs, loss, multiclass, n_targets, weighted):
    settings = {"loss": loss, "multiclass": multiclass, "n_targets": n_targets, "weighted": weighted}
    assert_same_training(start=start_with_graphs, dtype=np.float32, **settings)


@pytest.mark.parametrize("name", [*ACTIVATIONS, *OPTIMIZERS])
def test_graphs_of_all_activations_and_optimizers(start_with_graphs, name):
    settings = {"activation": ACTIVATIONS[name]()} if name in ACTIVATIONS else {"optimizer": OPTIMIZERS[name]()}
    assert_same_training(start=start_with_graphs, alpha=0.1, l1_ratio=0.5, **settings)


def test_graphs_of_formulas_of_a_users_own(start_with_graphs):
    assert_same_training(start=start_with_graphs, activation=Bent(), loss=OfRows(), optimizer=Heavy())


def test_graphs_of_samples_that_do_not_fit(start_with_graphs, monkeypatch):
    start = partial(start_with_least_memory, monkeypatch, start=start_with_graphs)
    assert_same_training(start=start, n_rows=1500, batch_size=8)


def test_a_graph_of_the_gradient_of_all_samples(start_with_graphs):
    jobs = [make_job(batch_size=90, alpha=0.1) for _ in range(2)]
    runs = NumpyRun(jobs[0]), start_with_graphs(jobs[1])
    for factor in (1.0, 0.5, 2.0, -1.0):
        for job in jobs:
            job.network.parameters *= factor
        values = [run.loss_and_gradient() for run in runs]
        assert_close(values[1], values[0])
        assert_close(runs[1].gradient, runs[0].gradient)
    assert start_with_graphs.log == ["record", *["replay"] * 3]


def test_graphs_are_recorded_the_second_time_in_a_thread(start_with_graphs, monkeypatch):
    """The libraries prepare themselves for each thread, which a recording does not allow."""
    monkeypatch.setattr(policy, "STEPS_AT_ONCE", 2)
    job = make_job(n_rows=90, batch_size=10)  # four pieces of two steps, and a shorter one
    run = start_with_graphs(job)
    run.epoch(None, np.full(9, 0.01))
    assert start_with_graphs.log == ["record", *["replay"] * 3]
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(run.epoch, None, np.full(9, 0.01)).result()
        assert start_with_graphs.log[4:] == ["replay"] * 4
        elsewhere.submit(run.epoch, None, np.full(9, 0.01)).result()
    assert start_with_graphs.log[8:] == [*["replay"] * 4, "record", "replay"]
    stream = run._stream
    run.close()
    run.close()
    assert torch_run._idle_streams[run._device].count(stream) == 1


def test_a_piece_is_gathered_while_the_steps_of_the_one_before_are_made(monkeypatch):
    """In pinned memory: a copy from there waits for the steps, not the host before it gathers."""
    run = start_with_least_memory(monkeypatch, job := make_job(n_rows=1500, batch_size=7))
    log, made, X = [], run._make_steps, job.X

    class Noted:
        def __getitem__(self, rows):
            log.append("gather")
            return X[rows]

    monkeypatch.setattr(job, "X", Noted())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: (log.append("pin"), tensor)[1])
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(run, "_stream", EmulatedStream())
    monkeypatch.setattr(run, "_make_steps_at_once", lambda n_rows, train: (log.append("steps"), made(n_rows, train)))
    expected = NumpyRun(other := make_job(n_rows=1500, batch_size=7)).epoch(
        None, np.full(other.count_steps(None), 0.01)
    )
    assert_close(run.epoch(None, np.full(other.count_steps(None), 0.01)), expected)
    assert_close(job.network.parameters, other.network.parameters)
    assert len(log) > 30
    assert log == len(log) // 3 * ["gather", "pin", "steps"]


@needs_cuda
def test_runs_at_a_time_have_streams_of_their_own_and_later_ones_the_same():
    """PyTorch has 32, and may free what the products of a stream need with any graph of it."""
    jobs = [make_job() for _ in range(3)]
    for job in jobs:
        job.device = "cuda"
    first, second = map(TorchRun, jobs[:2])
    used = first._stream
    assert second._stream != used
    first.close()
    first.close()
    third = TorchRun(jobs[2])
    assert third._stream == used
    second.close()
    third.close()


@needs_cuda
def test_estimators_on_a_gpu():
    X, y = make_task("multiclass")
    models = [our_estimator("multiclass", device=device, max_iter=10, batch_size=32) for device in ("cpu", "cuda")]
    assert_same_fit([model.fit(X, y) for model in models], X)
    assert policy.WORTH_A_DEVICE > 0
