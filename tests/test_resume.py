"""Training that goes on as if it had never stopped, to the last bit."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import Cosine, MLPFromScratchClassifier, ModelCheckpoint

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
    for mine, theirs in zip(model._optimizer.vectors, other._optimizer.vectors, strict=True):
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
    {"random_state": None},
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


def test_resumed_twice_and_loaded_by_hand(tmp_path):
    X, y = make_task("regression")
    path = tmp_path / "checkpoint"
    model = our_estimator("regression").set_callbacks(ModelCheckpoint(path))
    clone(model).set_params(max_iter=2).fit(X, y)
    clone(model).set_params(max_iter=5).fit(X, y, resume_from=path)
    checkpoint = pickle.loads(path.read_bytes())
    assert checkpoint.estimator.n_iter_ == 5
    expected = clone(model).set_callbacks().set_params(max_iter=5).fit(X, y)
    assert_array_equal(checkpoint.estimator.predict(X), expected.predict(X))
    assert not hasattr(checkpoint.estimator, "_training")
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


KILLED = """
import os, signal, sys
import numpy as np
from sknn_scratch import EpochCallback, MLPFromScratchClassifier, ModelCheckpoint

X = np.random.RandomState(0).randn(300, 5)
y = (X[:, 0] * X[:, 1] > 0).astype(int)
model = MLPFromScratchClassifier(20, max_iter=12, tol=0, dropout=0.2, random_state=1)

class Kill(EpochCallback):
    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch" and estimator.loss_curve_ and len(estimator.loss_curve_) == 7:
            os.kill(os.getpid(), signal.SIGKILL)

path = sys.argv[1]
if sys.argv[2] == "killed":
    model.set_callbacks(ModelCheckpoint(path), Kill()).fit(X, y)
model.fit(X, y, resume_from=path if sys.argv[2] == "resumed" else None)
np.save(sys.argv[3], np.concatenate([w.ravel() for w in model.coefs_]))
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_process_that_is_killed(tmp_path):
    script, path = tmp_path / "script.py", tmp_path / "checkpoint"
    script.write_text(KILLED)

    def run(how):
        command = [sys.executable, "-W", "ignore", script, path, how, tmp_path / f"{how}.npy"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("killed").returncode == -9
    (tmp_path / ".checkpoint.half").write_bytes(path.read_bytes()[:1000])
    for how in ("resumed", "uninterrupted"):
        result = run(how)
        assert result.returncode == 0, result.stderr
    assert_array_equal(np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "uninterrupted.npy"))


@pytest.mark.parametrize("task", TASKS)
def test_partial_fit_in_another_process(task, tmp_path):
    """With a RandomState, which is pickled with the estimator; and one engine, as 'auto' may differ by process."""
    X, y = make_task(task)
    arguments = {}
    if task in CLASSIFICATION:
        arguments["classes"] = np.unique(y) if y.ndim == 1 else range(3)
    seeded = {"random_state": np.random.RandomState(0), "engine": "numpy"}
    model = our_estimator(task, dropout=0.2, solver="adamw", **seeded)
    for _ in range(3):
        model.partial_fit(X, y, **arguments)
    file = tmp_path / "model.pickle"
    file.write_bytes(pickle.dumps((model, X, y)))
    script = (
        "import pickle, sys; path = sys.argv[1]; model, X, y = pickle.load(open(path, 'rb'))\n"
        "for _ in range(4): model.partial_fit(X, y)\n"
        "pickle.dump(model, open(path, 'wb'))"
    )
    subprocess.run([sys.executable, "-c", script, file], check=True)
    for _ in range(4):
        model.partial_fit(X, y)
    assert_same(pickle.loads(file.read_bytes()), model)


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
    ],
)
def test_other_parameters(written, parameters, message):
    X, y = make_task("binary")
    model = our_estimator("binary", **parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, resume_from=written)
    assert not hasattr(model, "coefs_")


def test_other_data_and_estimators(written):
    X, y = make_task("binary")
    with pytest.raises(ValueError, match="written with 150 samples, X has 140"):
        our_estimator("binary").fit(X[:140], y[:140], resume_from=written)
    with pytest.raises(ValueError, match="written with n_features_in_ 8, which now is 7"):
        our_estimator("binary").fit(X[:, :7], y, resume_from=written)
    with pytest.raises(ValueError, match=r"written with classes_ .*20.*, which now is .*True"):
        our_estimator("binary").fit(X, y > 10, resume_from=written)
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


def test_files_that_are_no_checkpoints(written, tmp_path):
    X, y = make_task("binary")
    model = MLPFromScratchClassifier()
    with pytest.raises(FileNotFoundError):
        model.fit(X, y, resume_from=tmp_path / "nothing")
    whole = written.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "is not a checkpoint that can be read"),
        (b"something else", "is not a checkpoint that can be read"),
        (pickle.dumps({"a": 1}), "holds a dict, not a checkpoint"),
    ):
        written.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, resume_from=written)
    later = pickle.loads(whole)
    later.format = 2
    written.write_bytes(pickle.dumps(later))
    with pytest.raises(ValueError, match="is a checkpoint of format 2; this version reads format 1"):
        model.fit(X, y, resume_from=written)


def test_a_folder_that_is_missing(tmp_path):
    epochs = []
    path = tmp_path / "missing" / "checkpoint"
    model = our_estimator("binary").set_callbacks(ModelCheckpoint(path), lambda model: epochs.append(model.n_iter_))
    with pytest.raises(FileNotFoundError, match=r"checkpoint cannot be written: there is no folder .*missing\.$"):
        model.fit(*make_task("binary"))
    assert epochs == []


def test_a_file_that_cannot_be_written(tmp_path):
    X, y = make_task("binary")
    path = tmp_path / "checkpoint"
    path.write_bytes(b"the last one")
    model = our_estimator("binary", learning_rate=lambda epoch: 0.01).set_callbacks(ModelCheckpoint(path))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        model.fit(X, y)
    assert path.read_bytes() == b"the last one"
    assert len(list(tmp_path.iterdir())) == 1
    assert not hasattr(model, "coefs_")
