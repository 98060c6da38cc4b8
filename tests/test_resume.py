"""Training that goes on as if it had never stopped, to the last bit."""

import copy
import functools
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import log_loss, make_scorer
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import (
    SGD,
    Adam,
    Cosine,
    EarlyStopping,
    EpochCallback,
    FocalLoss,
    LeakyReLU,
    MLPFromScratchClassifier,
    ModelCheckpoint,
)
from sknn_scratch.catalogue.optimizers import OPTIMIZERS
from sknn_scratch.catalogue.schedules import SCHEDULES, Schedule
from sknn_scratch.training import checkpoints
from sknn_scratch.training.run import MinibatchTraining, TrainingState

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ATTRIBUTES = (
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "validation_loss_curve_",
    "best_validation_score_",
    "_no_improvement_count",
)


def assert_same(model, other):
    for name in ATTRIBUTES:
        assert getattr(model, name) == getattr(other, name), name
    for mine, theirs in zip(model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert_array_equal(mine, theirs)
    for mine, theirs in zip(model._optimizer.state, other._optimizer.state, strict=True):
        assert_array_equal(mine, theirs)


CONFIGURATIONS = [
    {},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1},
    {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0.7},
    {"solver": "nadam", "learning_rate": "exponential", "shuffle": False},
    {"solver": "rmsprop", "early_stopping": True, "n_iter_no_change": 3},
    {"solver": "adagrad", "early_stopping": True, "shuffle": False},
    {"solver": "adamw", "dropout": [0.1, 0.3, 0.3], "input_noise": 0.1},
    {"average": 3},
    {"average": 4, "early_stopping": True, "dropout": 0.2, "batch_size": 7},
    {"random_state": None, "dropout": 0.2},
    {"random_state": np.random.RandomState(3), "max_grad_norm": 0.5},
]


@pytest.mark.parametrize("parameters", CONFIGURATIONS, ids=["-".join(c) or "default" for c in CONFIGURATIONS])
@pytest.mark.parametrize("task", TASKS)
def test_resumed_is_uninterrupted(task, parameters, tmp_path):
    X, y = make_task(task)
    path = tmp_path / "checkpoint"
    model = our_estimator(task, max_iter=9, learning_rate_init=0.01, **{"tol": 0, **parameters})
    if model.random_state is None:  # both runs have to begin in the same way
        model.set_params(random_state=np.random.RandomState(8))
    state = model.random_state.get_state() if isinstance(model.random_state, np.random.RandomState) else None
    uninterrupted = clone(model).fit(X, y)
    first = clone(model).set_params(max_iter=4)
    if state is not None:
        first.random_state.set_state(state)
    first.set_callbacks(ModelCheckpoint(path)).fit(X, y)
    resumed = clone(model)
    if parameters.get("random_state", 0) is None:
        resumed.set_params(random_state=None)
    assert_same(resumed.fit(X, y, resume_from=path), uninterrupted)


@pytest.mark.parametrize("make", [sparse.csr_matrix, np.float32], ids=["sparse", "float32"])
def test_other_samples_and_a_validation_set(make, tmp_path):
    X, y = make_task("multiclass")
    X, path, weight = make(X), tmp_path / "checkpoint", np.arange(1.0, 101)
    given = {"sample_weight": weight, "X_val": X[100:], "y_val": y[100:]}
    model = our_estimator("multiclass", max_iter=8, early_stopping=True, scoring="loss", learning_rate=Cosine())
    uninterrupted = clone(model).fit(X[:100], y[:100], **given)
    stopped = clone(model).set_callbacks(ModelCheckpoint(path, every=2), lambda model: model.n_iter_ == 5)
    stopped.fit(X[:100], y[:100], **given)
    resumed = clone(model).fit(X[:100], y[:100], **given, resume_from=path)
    assert_same(resumed, uninterrupted)
    assert len(resumed.loss_curve_) == 8


def test_a_checkpoint_of_a_training_that_was_over(tmp_path):
    X, y = make_task("binary")
    path = tmp_path / "checkpoint"
    model = our_estimator("binary", tol=1.0, n_iter_no_change=2).set_callbacks(ModelCheckpoint(path))
    over = clone(model).fit(X, y)
    assert over.n_iter_ < 10
    assert_same(clone(model).set_callbacks().fit(X, y, resume_from=path), over)
    model = our_estimator("binary", max_iter=3).set_callbacks(ModelCheckpoint(path))
    over = clone(model).fit(X, y)
    assert_same(clone(model).fit(X, y, resume_from=path), over)


def test_resumed_twice(tmp_path):
    X, y = make_task("regression")
    path = tmp_path / "checkpoint"
    model = our_estimator("regression").set_callbacks(ModelCheckpoint(path))
    clone(model).set_params(max_iter=2).fit(X, y)
    clone(model).set_params(max_iter=5).fit(X, y, resume_from=path)
    resumed = clone(model).set_callbacks().fit(X, y, resume_from=path)
    assert_same(resumed, clone(model).set_callbacks().fit(X, y))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    "parameters",
    [{"solver": name} for name in OPTIMIZERS]
    + [{"solver": "sgd", "learning_rate": name} for name in SCHEDULES]
    + [{"solver": name, "engine": "numba", "dropout": 0.1} for name in ("adam", "sgd")],
    ids=lambda parameters: "-".join(map(str, parameters.values())),
)
def test_every_optimizer_and_schedule(parameters, tmp_path):
    if "engine" in parameters:
        pytest.importorskip("numba", reason="needs numba")
    X, y = make_task("multiclass")
    path = tmp_path / "checkpoint"
    model = our_estimator("multiclass", max_iter=9, tol=0, **parameters)
    uninterrupted = clone(model).fit(X, y)
    clone(model).set_callbacks(ModelCheckpoint(path), lambda model: model.n_iter_ == 4).fit(X, y)
    assert_same(clone(model).fit(X, y, resume_from=path), uninterrupted)


class Warming(Schedule):
    """Has a state of its own, which follows from all that was before."""

    def start(self, learning_rate_init, max_iter):
        self.rates_so_far = []
        self.rng = np.random.default_rng(0)
        super().start(learning_rate_init, max_iter)

    def rate(self, n_epochs, n_samples_seen):
        rate = 0.01 + sum(self.rates_so_far) / 10 * self.rng.random()
        self.rates_so_far.append(rate)
        return rate


class SlowSGD(SGD):
    """Has numbers, arrays, generators and another optimiser beside the vectors of the state."""

    vector_names = ("velocity", "slow")

    def start(self, n_parameters, dtype, n_weights=None):
        super().start(n_parameters, dtype, n_weights)
        self.steps = {"all": np.float32(0), "kept": [None, (1, "x")]}
        self.sums = np.zeros(3)
        self.rng = np.random.RandomState(0)
        self.inner = Adam()
        self.inner.start(n_parameters, dtype)

    def update(self, parameters, gradient, learning_rate):
        self.steps["all"] += np.float32(0.1)
        self.sums[self.n_updates % 3] += gradient[0]
        noise = self.rng.uniform(0.5, 1.5)
        super().update(parameters, gradient, learning_rate * noise / (1 + self.steps["all"] + abs(self.sums.sum())))
        self.inner.update(parameters, gradient, learning_rate)

    def move(self, w, g, velocity, slow, r):
        w, velocity = super().move(w, g, velocity, r)
        return w, velocity, slow + w


def slow_in(n_epochs, epochs):
    return 0.001 if n_epochs in epochs else 0.01


def of_a_module(n_epochs):
    return 0.01 / (n_epochs + 1)


@pytest.mark.parametrize(
    "parameters",
    [
        {"learning_rate": Warming(), "solver": "sgd"},
        {"solver": SlowSGD(momentum=0.5)},
        {"learning_rate": of_a_module, "solver": SlowSGD()},
        {"learning_rate": functools.partial(pow, 0.5), "solver": "sgd"},
        {"scoring": make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")},
        {"class_weight": {20: 0.5, 10: 2.0}},
    ],
)
def test_own_components_and_functions(parameters, tmp_path):
    X, y = make_task("binary")
    path = tmp_path / "checkpoint"
    given = {"X_val": X, "y_val": y} if "scoring" in parameters else {}
    model = our_estimator("binary", max_iter=8, tol=0, **parameters)
    uninterrupted = clone(model).fit(X, y, **given)
    clone(model).set_params(max_iter=4).set_callbacks(ModelCheckpoint(path)).fit(X, y, **given)
    assert_same(clone(model).fit(X, y, **given, resume_from=path), uninterrupted)


# Callbacks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restore_best", [False, True])
@pytest.mark.parametrize("epochs_before_the_end", [30, 4, 1, 0, -1])
def test_callbacks_go_on_where_they_were(epochs_before_the_end, restore_best, tmp_path):
    """With none, the checkpoint is that of the epoch in which the callback ends training; with four, of the best."""
    X, y = make_task("binary")
    path = tmp_path / "checkpoint"
    model = our_estimator("binary", max_iter=60, learning_rate_init=0.5, tol=0)

    def stopping(*others):
        stop = EarlyStopping("loss", patience=4, restore_best=restore_best)
        return stop, clone(model).set_callbacks(*others, stop)

    expected, uninterrupted = stopping()
    uninterrupted.fit(X, y)
    assert 30 < uninterrupted.n_iter_ < 60
    # The checkpoint is written last, although it is named first.
    _, first = stopping(ModelCheckpoint(path))
    first.set_params(max_iter=uninterrupted.n_iter_ - epochs_before_the_end).fit(X, y)
    stop, resumed = stopping()
    resumed.fit(X, y, resume_from=path)
    assert_same(resumed, uninterrupted)
    assert (stop.best_, stop.best_epoch_, stop.stopped_) == (expected.best_, expected.best_epoch_, True)


class Counting(EpochCallback):
    def on_train_begin(self, estimator):
        self.names = []

    def on_epoch_end(self, estimator):
        self.names.append(f"epoch {estimator.n_iter_}")

    def state_dict(self, estimator):
        return {"names": self.names, "now": np.arange(estimator.n_iter_)}

    def load_state_dict(self, estimator, state):
        assert_array_equal(state["now"], np.arange(estimator.n_iter_))
        assert len(estimator.loss_curve_) == estimator.n_iter_
        self.names += state["names"]


def test_several_callbacks_have_each_its_own_state(tmp_path):
    X, y = make_task("binary")
    path = tmp_path / "checkpoint"
    counting, loss, score = Counting(), EarlyStopping("loss"), EarlyStopping("validation_loss")
    model = our_estimator("binary", max_iter=3, early_stopping=True)
    clone(model).set_callbacks(counting, loss, ModelCheckpoint(path), score).fit(X, y)
    model.set_params(max_iter=5)
    resumed = Counting(), EarlyStopping("loss"), EarlyStopping("validation_loss")
    clone(model).set_callbacks(*resumed).fit(X, y, resume_from=path)
    assert resumed[0].names == [f"epoch {n}" for n in range(1, 6)]
    uninterrupted = EarlyStopping("loss"), EarlyStopping("validation_loss")
    clone(model).set_callbacks(*uninterrupted).fit(X, y)
    assert [stop.best_ for stop in resumed[1:]] == [stop.best_ for stop in uninterrupted]
    with pytest.warns(UserWarning, match="has the state of EarlyStopping, which the model now lacks") as caught:
        clone(model).set_callbacks(*resumed[:2]).fit(X, y, resume_from=path)
    assert Path(caught[-1].filename).name == "test_resume.py"
    with pytest.raises(ValueError, match="had monitor='loss', which now is 'validation_loss'"):
        clone(model).set_callbacks(EarlyStopping()).fit(X, y, resume_from=path)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from sknn_scratch import EpochCallback, MLPFromScratchClassifier, ModelCheckpoint

X = np.random.RandomState(0).randn(300, 5)
y = (X[:, 0] * X[:, 1] > 0).astype(int)
model = MLPFromScratchClassifier(20, max_iter=12, tol=0, dropout=0.2, random_state=1)

class Kill(EpochCallback):
    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch" and estimator.loss_curve_ and len(estimator.loss_curve_) == 7:
            os.kill(os.getpid(), signal.SIGKILL)

path = Path(sys.argv[1])
child = os.fork()
if child == 0:
    model.set_callbacks(ModelCheckpoint(path), Kill()).fit(X, y)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
path.with_name(".checkpoint.half").write_bytes(path.read_bytes()[:1000])
for place in path, None:
    model.fit(X, y, resume_from=place)
    print(model.n_iter_, *(w.tobytes().hex() for w in model.coefs_))
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_process_that_is_killed(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path / "checkpoint"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    status, resumed, uninterrupted = result.stdout.splitlines()
    assert status == "-9"
    assert resumed.startswith("12 ")
    assert resumed == uninterrupted


def test_partial_fit_in_another_process(tmp_path):
    """With a RandomState, which is pickled with the estimator; and one engine, as 'auto' may differ by process."""
    models = {}
    for task in TASKS:
        X, y = make_task(task)
        arguments = {}
        if task in CLASSIFICATION:
            arguments["classes"] = np.unique(y) if y.ndim == 1 else range(3)
        seeded = {"random_state": np.random.RandomState(0), "engine": "numpy"}
        models[task] = our_estimator(task, dropout=0.2, solver="adamw", **seeded)
        for _ in range(3):
            models[task].partial_fit(X, y, **arguments)
    file = tmp_path / "models.pickle"
    file.write_bytes(pickle.dumps({task: (model, *make_task(task)) for task, model in models.items()}))
    script = (
        "import pickle, sys; path = sys.argv[1]; models = pickle.load(open(path, 'rb'))\n"
        "for model, X, y in models.values():\n"
        "    for _ in range(4): model.partial_fit(X, y)\n"
        "pickle.dump({task: model for task, (model, *_) in models.items()}, open(path, 'wb'))"
    )
    subprocess.run([sys.executable, "-c", script, file], check=True)
    elsewhere = pickle.loads(file.read_bytes())
    for task, model in models.items():
        for _ in range(4):
            model.partial_fit(*make_task(task))
        assert_same(elsewhere[task], model)


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    X, y = make_task("binary")
    path = tmp_path / "checkpoint"
    our_estimator("binary", max_iter=2).set_callbacks(ModelCheckpoint(path)).fit(X, y)
    return path


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0.5}, "written with alpha=0.0001, which now is 0.5. Only .*max_iter"),
        ({"hidden_layer_sizes": (6, 6)}, r"written with hidden_layer_sizes=\(6, 5\), which now is \(6, 6\)"),
        ({"solver": "sgd"}, "written with solver='adam', which now is 'sgd'"),
        ({"tol": 0.1}, "written with tol=0.0001, which now is 0.1"),
    ],
)
def test_other_parameters(written, parameters, message):
    X, y = make_task("binary")
    model = our_estimator("binary", **parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, resume_from=written)
    assert not hasattr(model, "coefs_")


def test_other_estimators(written):
    X, y = make_task("binary")
    with pytest.raises(
        ValueError, match="holds a MLPFromScratchClassifier, from which a MLPFromScratchRegressor cannot"
    ):
        our_estimator("regression").fit(X, y + 0.0, resume_from=written)
    with pytest.raises(ValueError, match="resume_from cannot be used with solver='lbfgs'"):
        our_estimator("binary", solver="lbfgs").fit(X, y, resume_from=written)
    with pytest.raises(ValueError, match="ModelCheckpoint cannot be used with solver='lbfgs'"):
        our_estimator("binary", solver="lbfgs").set_callbacks(ModelCheckpoint(written)).fit(X, y)
    with pytest.raises(ValueError, match="every must be an integer of at least 1; got 0"):
        ModelCheckpoint(written, every=0)


def swapped(array, i, j):
    twin = array.copy()
    twin[[i, j]] = array[[j, i]]
    return twin


X, Y = make_task("binary")
CHANGES = {
    "fewer samples": ({"X": X[:140], "y": Y[:140]}, "n_samples 150, which now is 140"),
    "fewer features": ({"X": X[:, :7]}, "n_features 8, which now is 7"),
    "labels": ({"y": Y > 10}, "classes_0 10 at position 0, where there now is False"),
    "a number": ({"X": np.where(np.arange(8) + 8 * np.arange(150)[:, None] == 700, 0.5, X)}, "other values of X"),
    "rows": ({"X": swapped(X, 3, 4), "y": swapped(Y, 3, 4)}, "other values of X"),
    "a label": ({"y": np.where(np.arange(150) == 149, 30 - Y, Y)}, "other values of y"),
    "single precision": ({"X": X.astype(np.float32)}, "dtype 'float64', which now is 'float32'"),
    "sparse": ({"X": sparse.csr_array(X)}, "kind 'dense', which now is 'sparse'"),
    "weights": ({"sample_weight": np.ones(150)}, "other values of sample_weight"),
    "feature names": ({"X": pd.DataFrame(X, columns=list("abcdefgh"))}, "feature_names None, which now is .'a', "),
    "a validation set": (
        {"X_val": X, "y_val": Y},
        "validation set 'missing', which now is 'given as X_val'",
    ),
}


@pytest.mark.parametrize(("changes", "message"), CHANGES.values(), ids=CHANGES)
def test_other_data(written, changes, message):
    model = our_estimator("binary")
    with pytest.raises(ValueError, match=f"checkpoint cannot be resumed: it was written with {message}"):
        model.fit(**{"X": X, "y": Y, **changes}, resume_from=written)
    assert not hasattr(model, "coefs_")


def test_other_validation_sets_and_weights(tmp_path):
    path = tmp_path / "checkpoint"
    model = our_estimator("binary", max_iter=2, early_stopping=True)
    given = {"X_val": X[:50], "y_val": Y[:50], "sample_weight": np.arange(150.0)}
    clone(model).set_callbacks(ModelCheckpoint(path)).fit(X, Y, **given)
    for changes, message in (
        ({"X_val": None, "y_val": None}, "validation set 'given as X_val', which now is 'to be held out'"),
        ({"X_val": X[:49], "y_val": Y[:49]}, r"n_samples \(validation\) 50, which now is 49"),
        ({"X_val": X[1:51]}, r"other values of X \(validation\)"),
        ({"y_val": Y[1:51]}, r"other values of y \(validation\)"),
        ({"sample_weight_val": np.ones(50)}, r"other values of sample_weight \(validation\)"),
        ({"sample_weight": None}, "other values of sample_weight"),
        ({"sample_weight": np.arange(150.0)[::-1]}, "other values of sample_weight"),
    ):
        with pytest.raises(ValueError, match=message):
            clone(model).fit(X, Y, **{**given, **changes}, resume_from=path)
    clone(model).set_callbacks(ModelCheckpoint(path)).fit(X, Y)
    with pytest.raises(ValueError, match="validation set 'to be held out', which now is 'given as X_val'"):
        clone(model).fit(X, Y, X_val=X, y_val=Y, resume_from=path)


def test_two_swapped_names_among_many(tmp_path):
    path, names = tmp_path / "checkpoint", [f"name {i}" for i in range(1500)]
    table = np.random.RandomState(0).randn(20, 1500)
    model = our_estimator("regression", max_iter=1)
    clone(model).set_callbacks(ModelCheckpoint(path)).fit(pd.DataFrame(table, columns=names), table[:, 0])
    names[700], names[701] = names[701], names[700]
    with pytest.raises(ValueError, match="feature_names 'name 700' at position 700, where there now is 'name 701'"):
        model.fit(pd.DataFrame(table, columns=names), table[:, 0], resume_from=path)


@pytest.mark.parametrize(
    "order", [np.asfortranarray, lambda X: np.ascontiguousarray(X[::-1])[::-1], lambda X: X.tolist()]
)
def test_the_layout_of_the_data_may_differ(written, order):
    our_estimator("binary").fit(order(X), Y.tolist(), resume_from=written)


def test_zeros_and_the_order_of_indices_in_a_sparse_matrix_may_differ(tmp_path):
    path, table = tmp_path / "checkpoint", np.where(X > 0.5, X, 0)
    model = our_estimator("binary", max_iter=2)
    clone(model).set_callbacks(ModelCheckpoint(path)).fit(sparse.csr_array(table), Y)
    other = sparse.csr_array(table)
    for start, end in zip(other.indptr, other.indptr[1:], strict=False):
        other.indices[start:end] = other.indices[start:end][::-1].copy()
        other.data[start:end] = other.data[start:end][::-1].copy()
    other.has_sorted_indices = False
    before = other.indices.copy()
    clone(model).fit(other, Y, resume_from=path)
    assert_array_equal(other.indices, before)


EQUAL = {
    "alpha": (0.1, np.float64(0.1)),
    "hidden_layer_sizes": ((6, 5), np.array([6, 5])),
    "batch_size": (50, np.int32(50)),
    "shuffle": (True, np.True_),
    "tol": (0, 0.0),
    "class_weight": ({10: 1, 20: 2}, {np.int64(20): 2.0, 10.0: 1}),
    "activation": (["tanh", LeakyReLU(0.2)], ("tanh", LeakyReLU(np.float64(0.2)))),
    "learning_rate": (Cosine(warm_up=1), Cosine(warm_up=np.int64(1))),
    "solver": (SGD(momentum=0.5), SGD(momentum=np.float64(0.5))),
}
UNEQUAL = {
    "alpha": (0.1, np.float32(0.1)),
    "hidden_layer_sizes": ((6, 5), (5, 6)),
    "class_weight": ({10: 1, 20: 2}, {10: 2, 20: 1}),
    "activation": (LeakyReLU(0.2), LeakyReLU(0.3)),
    "learning_rate": (Cosine(warm_up=1), Cosine(warm_up=2)),
    "solver": (SGD(momentum=0.5), SlowSGD(momentum=0.5)),
    "scoring": ("accuracy", make_scorer(log_loss)),
    "loss": (FocalLoss(1.0), FocalLoss(2.0)),
}


@pytest.mark.filterwarnings("ignore:.* no effect:UserWarning")
@pytest.mark.parametrize(("name", "values"), [*EQUAL.items(), *UNEQUAL.items()])
def test_parameters_are_compared_by_value(name, values, tmp_path):
    path = tmp_path / "checkpoint"
    before, now = values
    given = {"early_stopping": name == "scoring"}
    our_estimator("binary", max_iter=2, **given, **{name: before}).set_callbacks(ModelCheckpoint(path)).fit(X, Y)
    model = our_estimator("binary", max_iter=4, **given, **{name: now})
    if values is EQUAL.get(name):
        assert model.fit(X, Y, resume_from=path).n_iter_ == 4
    else:
        with pytest.raises(ValueError, match=f"it was written with {name}=.*, which now is "):
            model.fit(X, Y, resume_from=path)


def test_functions_are_compared_by_name(tmp_path):
    path, epochs = tmp_path / "checkpoint", []

    def local(n_epochs):
        return 0.01

    for function in (lambda n_epochs: 0.01, local, functools.partial(local)):
        model = our_estimator("binary", learning_rate=function)
        model.set_callbacks(ModelCheckpoint(path), lambda model: epochs.append(model.n_iter_))
        with pytest.raises(
            ValueError, match=r"Training with learning_rate=.* has no checkpoints: .* cannot be compared"
        ):
            model.fit(X, Y)
    assert epochs == []
    our_estimator("binary", max_iter=2, learning_rate=of_a_module).set_callbacks(ModelCheckpoint(path)).fit(X, Y)
    with pytest.raises(
        ValueError, match=r"written with learning_rate=<function of_a_module .*, which now is .*partial"
    ):
        our_estimator("binary", learning_rate=functools.partial(of_a_module)).fit(X, Y, resume_from=path)
    with pytest.raises(ValueError, match="cannot be compared unless"):
        our_estimator("binary", learning_rate=local).fit(X, Y, resume_from=path)


def test_sets_are_compared_by_their_members(tmp_path):
    """Their order depends on how they were filled and, of strings, on the process."""
    path = tmp_path / "checkpoint"
    slow, same = (functools.partial(slow_in, epochs=set(members)) for members in ([0, 8], [8, 0]))
    assert list(slow.keywords["epochs"]) != list(same.keywords["epochs"])
    our_estimator("binary", max_iter=2, learning_rate=slow).set_callbacks(ModelCheckpoint(path)).fit(X, Y)
    assert our_estimator("binary", max_iter=3, learning_rate=same).fit(X, Y, resume_from=path).n_iter_ == 3
    other = functools.partial(slow_in, epochs={0, 16})
    with pytest.raises(ValueError, match=r"it was written with learning_rate=.*, which now is "):
        our_estimator("binary", learning_rate=other).fit(X, Y, resume_from=path)


def test_a_state_that_cannot_be_stored(tmp_path):
    class Holding(Counting):
        def state_dict(self, estimator):
            return {"a set": {1, 2}}

    model = our_estimator("binary").set_callbacks(Holding(), ModelCheckpoint(tmp_path / "checkpoint"))
    with pytest.raises(TypeError, match=r"\{1, 2\} cannot be stored without pickle: it is a set"):
        model.fit(X, Y)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_checkpoints(written, tmp_path):
    model = MLPFromScratchClassifier()
    with pytest.raises(FileNotFoundError):
        model.fit(X, Y, resume_from=tmp_path / "nothing")
    whole = written.read_bytes()
    our_estimator("binary", max_iter=2).fit(X, Y).save_weights(written)
    weights = written.read_bytes()
    written.write_bytes(whole)
    arrays = dict(np.load(written))
    with written.open("wb") as file:
        np.savez(file, **arrays | {"version": np.array(4)})
    for content, message in (
        (written.read_bytes(), "has version 4 of the format for a checkpoint, and the installed .* reads versions 3"),
        (whole[: len(whole) // 2], "is not a checkpoint, or it is damaged: File is not a zip file"),
        (whole.replace(b"numpy", b"numba"), "is not a checkpoint, or it is damaged: Bad CRC-32"),
        (b"something else", "is not a checkpoint, or it is damaged"),
        (pickle.dumps({"a": 1}), "is not a checkpoint, or it is damaged"),
        (weights, "is not a checkpoint, .*: it does not say that it is one"),
    ):
        written.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, resume_from=written)
        assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("order", [[0] * 150, [*range(149), 150], [-1, *range(149)], [*range(150), 0]])
def test_an_order_of_rows_that_are_not_there(order, engine, written, monkeypatch):
    """As in a file whose checksum is right, made by somebody else."""
    if engine == "numba":
        pytest.importorskip("numba", reason="needs numba")
    state = MinibatchTraining.state
    monkeypatch.setattr(
        MinibatchTraining, "state", lambda training: replace(state(training), order=np.array(order, dtype=np.int64))
    )
    our_estimator("binary", max_iter=2).set_callbacks(ModelCheckpoint(written)).fit(X, Y)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"checkpoint cannot be resumed: (there are 150 rows|the order of the rows)"):
        our_estimator("binary", engine=engine).fit(X, Y, resume_from=written)


@pytest.mark.parametrize("rows", [[-1, 3], [3, 150], [3, 3], [[3, 4]], [3.0, 4.0]])
def test_held_out_rows_that_are_not_there(rows, written):
    def held_out(model):
        model._validation_data = replace(model._validation_data, rows=np.array(rows))

    model = our_estimator("binary", max_iter=2, early_stopping=True)
    clone(model).set_callbacks(held_out, ModelCheckpoint(written)).fit(X, Y)
    with pytest.raises(ValueError, match=r"checkpoint is damaged: (there are 150 rows|a row is held|rows are not)"):
        model.fit(X, Y, resume_from=written)


def test_a_state_that_is_not_whole(written, monkeypatch):
    encoded = checkpoints.encode

    def without_moments(value, arrays):
        stored = encoded(value, arrays)
        if isinstance(value, TrainingState):
            del stored["object"]["optimizer"]["object"]["state"]
        return stored

    monkeypatch.setattr(checkpoints, "encode", without_moments)
    our_estimator("binary", max_iter=2).set_callbacks(ModelCheckpoint(written)).fit(X, Y)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="cannot be resumed: the state of Adam lacks state"):
        our_estimator("binary").fit(X, Y, resume_from=written)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.parameters.fill(np.inf), "parameters are not finite"),
        (lambda state: state.recent.append(np.zeros(3)), "recent are not"),
        (lambda state: vars(state.optimizer).update(state=np.zeros(3)), "moments are not"),
        (lambda state: state.optimizer.state.fill(np.nan), "moments are not finite"),
        (lambda state: vars(state.optimizer).update(n_updates=-1), "n_updates is -1"),
        (lambda state: vars(state.schedule).update(n_epochs=0.5), "n_epochs is 0.5"),
        (lambda state: vars(state.schedule).update(learning_rate=np.nan), "the learning rate is nan"),
        (lambda state: vars(state.progress).update(t=0.5), "t is 0.5"),
        (lambda state: vars(state).update(seed=-1), "seed is -1"),
        (lambda state: vars(state).update(order=None), "the rows were shuffled in only one"),
        (
            lambda state: vars(state).update(best_parameters=state.parameters),
            "the best or recent parameters are those",
        ),
    ],
)
def test_a_state_that_cannot_be(change, message, written, monkeypatch):
    encoded = checkpoints.encode

    def changed(value, arrays):
        if isinstance(value, TrainingState):
            change(value := copy.deepcopy(value))
        return encoded(value, arrays)

    monkeypatch.setattr(checkpoints, "encode", changed)
    our_estimator("binary", max_iter=2).set_callbacks(ModelCheckpoint(written)).fit(X, Y)
    with pytest.raises(ValueError, match=f"cannot be resumed: {message}"):
        our_estimator("binary").fit(X, Y, resume_from=written)


@pytest.mark.parametrize("position", [-1, 625, 10**6])
def test_a_generator_that_would_read_beyond_its_numbers(position, written, monkeypatch):
    state = MinibatchTraining.state

    def with_position(training):
        rng_state = training._rng.get_state(legacy=False)
        rng_state["state"]["pos"] = position
        return replace(state(training), rng_state=rng_state)

    monkeypatch.setattr(MinibatchTraining, "state", with_position)
    our_estimator("binary", max_iter=2).set_callbacks(ModelCheckpoint(written)).fit(X, Y)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"a generator of random numbers has pos {position}"):
        our_estimator("binary").fit(X, Y, resume_from=written)


def test_a_folder_that_is_missing(tmp_path):
    epochs = []
    path = tmp_path / "missing" / "checkpoint"
    model = our_estimator("binary").set_callbacks(ModelCheckpoint(path), lambda model: epochs.append(model.n_iter_))
    with pytest.raises(FileNotFoundError, match=r"checkpoint cannot be written: there is no folder .*missing\.$"):
        model.fit(*make_task("binary"))
    assert epochs == []


def test_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    X, y = make_task("binary")
    path = tmp_path / "checkpoint"
    path.write_bytes(b"the last one")
    model = our_estimator("binary").set_callbacks(ModelCheckpoint(path))

    def half_way(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", half_way)
    with pytest.raises(OSError, match="disk full"):
        model.fit(X, y)
    assert path.read_bytes() == b"the last one"
    assert len(list(tmp_path.iterdir())) == 1
    assert not hasattr(model, "coefs_")
