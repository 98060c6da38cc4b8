"""What is called between epochs: scikit-learn's callbacks and ours."""

import contextlib
import copy
import io
import pickle
import re
import sys
import warnings

import cloudpickle
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tasks import TASKS, make_task, our_estimator

from sknn_scratch import EarlyStopping, EpochCallback, ModelCheckpoint
from sknn_scratch.__main__ import main
from sknn_scratch.training import callbacks

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Recorder(EpochCallback):
    """Notes what it is told."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self, estimator):
        self.calls.append("begin")

    def on_epoch_end(self, estimator):
        self.calls.append((estimator.n_iter_, estimator.loss_curve_[-1], estimator.coefs_[0].copy()))

    def on_train_end(self, estimator):
        self.calls.append("end")


@quiet
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("task", TASKS)
def test_calls(task, solver):
    X, y = make_task(task)
    recorder = Recorder()
    model = our_estimator(task, max_iter=4, solver=solver).set_callbacks(recorder).fit(X, y)
    assert recorder.calls[0] == "begin"
    assert recorder.calls[-1] == "end"
    epochs = recorder.calls[1:-1]
    assert [epoch for epoch, _, _ in epochs] == [1, 2, 3, 4]
    assert [loss for _, loss, _ in epochs] == model.loss_curve_
    assert_array_equal(epochs[-1][2], model.coefs_[0])
    assert (epochs[0][2] != epochs[1][2]).any()
    plain = our_estimator(task, max_iter=4, solver=solver).fit(X, y)
    assert_array_equal(plain.coefs_[0], model.coefs_[0])
    assert vars(plain).keys() == vars(model).keys() - {"_skl_callbacks"}


@quiet
def test_partial_fit_is_one_epoch():
    X, y = make_task("regression")
    recorder = Recorder()
    model = our_estimator("regression").set_callbacks(recorder)
    for _ in range(2):
        model.partial_fit(X, y)
        assert [type(call) for call in recorder.calls] == [str, tuple, str]
        recorder.calls.clear()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("task", TASKS)
def test_a_function_stops_training(task, solver):
    X, y = make_task(task)
    model = our_estimator(task, solver=solver).set_callbacks(lambda estimator: estimator.n_iter_ == 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    with pytest.warns(ConvergenceWarning):
        expected = our_estimator(task, solver=solver, max_iter=3).fit(X, y)
    assert_array_equal(model.coefs_[0], expected.coefs_[0])


@quiet
def test_the_estimator_predicts_while_it_learns():
    X, y = make_task("binary")
    scores = []
    model = our_estimator("binary", max_iter=5).set_callbacks(lambda model: scores.append(model.score(X, y)))
    model.fit(X, y)
    assert len(scores) == 5
    assert scores[-1] == model.score(X, y)


@quiet
def test_a_callback_that_fails():
    X, y = make_task("binary")
    recorder = Recorder()

    def fail(model):
        if model.n_iter_ == 2:
            raise RuntimeError("so it is")

    model = our_estimator("binary", max_iter=4).fit(X, y)
    before = dict(vars(model))
    model.set_callbacks(recorder, fail)
    with pytest.raises(RuntimeError, match="so it is"):
        model.fit(X, y)
    assert recorder.calls[-1] == "end"
    assert len(recorder.calls) == 4
    model.set_callbacks()
    assert vars(model) == before
    with pytest.raises(ValueError, match="X"):
        model.set_callbacks(recorder).fit(X[:0], y[:0])
    assert recorder.calls[-2:] == ["begin", "end"]


def test_what_is_no_callback():
    hints = {
        "; got 3.": 3,
        "; got 'loss'.": "loss",
        "one after the other as in set_callbacks(a, b); got a list.": [EarlyStopping()],
        "pass EarlyStopping() instead of the class.": EarlyStopping,
        "pass Recorder() instead of the class.": Recorder,
    }
    for hint, wrong in hints.items():
        with pytest.raises(TypeError, match=f"callbacks must be instances .*{re.escape(hint)}$"):
            our_estimator("binary").set_callbacks(Recorder(), wrong)


@quiet
def test_clones_and_pickles_keep_their_callbacks():
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=9).set_callbacks(EarlyStopping("loss", patience=1, min_delta=10))
    for twin in (clone(model), pickle.loads(pickle.dumps(model)), pickle.loads(pickle.dumps(clone(model).fit(X, y)))):
        assert twin.fit(X, y).n_iter_ == 2
    model.set_callbacks(lambda model: model.n_iter_ == 3)
    assert pickle.loads(cloudpickle.dumps(model)).fit(X, y).n_iter_ == 3
    search = GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.n_iter_ == 3


# EarlyStopping --------------------------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("restore_best", [False, True])
@pytest.mark.parametrize("monitor", ["loss", "validation_loss", "validation_score"])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_early_stopping(task, monitor, restore_best):
    X, y = make_task(task)
    X, X_val, y, y_val = X[:90], X[90:], y[:90], y[90:]
    stopper = EarlyStopping(monitor, patience=4, min_delta=0.001, restore_best=restore_best)
    parameters = {"max_iter": 400, "learning_rate_init": 0.1, "tol": 0, "n_iter_no_change": np.inf, "alpha": 0}
    recorder = Recorder()
    model = our_estimator(task, **parameters).set_callbacks(recorder, stopper)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.n_iter_ < 400
    assert stopper.stopped_
    sign, curve = {
        "loss": (1, model.loss_curve_),
        "validation_loss": (1, model.validation_loss_curve_),
        "validation_score": (-1, model.validation_scores_),
    }[monitor]
    assert stopper.best_epoch_ == model.n_iter_ - 4
    assert stopper.best_ == curve[stopper.best_epoch_ - 1]
    assert all(sign * value >= sign * stopper.best_ - 0.001 for value in curve[stopper.best_epoch_ :])
    expected = recorder.calls[stopper.best_epoch_ if restore_best else model.n_iter_][2]
    assert_array_equal(model.coefs_[0], expected)
    again = clone(model).fit(X, y, X_val=X_val, y_val=y_val)
    assert_array_equal(again.coefs_[0], model.coefs_[0])


class Measuring(EpochCallback):
    def on_epoch_end(self, estimator):
        self.size = len(pickle.dumps(estimator))


@quiet
def test_what_a_callback_pickles_does_not_hold_the_samples():
    X = np.random.RandomState(0).randn(2000, 50)
    measuring = Measuring()
    model = our_estimator("regression", early_stopping=True, max_iter=2).set_callbacks(measuring)
    model.fit(X, X[:, 0])
    assert measuring.size < 1.2 * len(pickle.dumps(model)) < X.nbytes / 10


def test_early_stopping_needs_its_curve():
    X, y = make_task("binary")
    model = our_estimator("binary").set_callbacks(EarlyStopping())
    with pytest.raises(ValueError, match=r"EarlyStopping\(monitor='validation_loss'\) needs a validation set"):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")
    model.set_params(early_stopping=True, max_iter=50, learning_rate_init=0.02)
    assert model.fit(X, y).n_iter_ <= 50


@pytest.mark.parametrize(
    ("kept", "message"), [(None, "had restore_best=False"), (np.zeros(6), "the parameters of another network")]
)
@quiet
def test_early_stopping_does_not_go_on_without_its_best_parameters(kept, message):
    model, stop = our_estimator("binary", max_iter=2).fit(*make_task("binary")), EarlyStopping(restore_best=True)
    state = {"monitor": stop.monitor, "n_iter": 3, "value": 1.0, "epoch": 2, "parameters": kept}
    with pytest.raises(ValueError, match=message):
        stop.load_state_dict(model, state)


@quiet
def test_a_checkpoint_every_few_epochs(monkeypatch, tmp_path):
    epochs = []
    monkeypatch.setattr(callbacks, "save_checkpoint", lambda path, estimator: epochs.append(estimator.n_iter_))
    model = our_estimator("binary", max_iter=7).set_callbacks(ModelCheckpoint(tmp_path / "file", every=3))
    model.fit(*make_task("binary"))
    assert epochs == [3, 6]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"monitor": "accuracy"},
            "monitor must be one of 'loss', 'validation_loss', 'validation_score'; got 'accuracy'",
        ),
        ({"monitor": ["loss"]}, r"monitor must be one of .*; got \['loss'\]"),
        ({"patience": 0}, "patience must be an integer of at least 1; got 0"),
        ({"patience": 2.5}, "patience must be an integer of at least 1; got 2.5"),
        ({"patience": True}, "patience must be an integer of at least 1; got True"),
        ({"min_delta": -1}, "min_delta must be a number of at least 0; got -1"),
        ({"min_delta": "small"}, "min_delta must be a number of at least 0; got 'small'"),
    ],
)
def test_wrong_parameters_of_early_stopping(parameters, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**parameters)


def test_a_callback_that_fails_at_the_beginning_is_not_hidden_by_others():
    class Failing(EpochCallback):
        def on_train_begin(self, estimator):
            raise RuntimeError("so it is")

    with pytest.raises(RuntimeError, match="so it is"):
        our_estimator("binary").set_callbacks(Failing(), EarlyStopping("loss")).fit(*make_task("binary"))


# verbose="bar" --------------------------------------------------------------------------------------------------------


def in_terminal_with(installed, monkeypatch):
    """Have a terminal, and of the libraries of bars only this one, if any."""
    if installed:
        pytest.importorskip(installed)
    monkeypatch.setattr("sknn_scratch.training.bars.find_spec", lambda name: name == installed or None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


@quiet
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("installed", ["tqdm", "rich", ""])
def test_bar(monkeypatch, capsys, installed, early_stopping):
    in_terminal_with(installed, monkeypatch)
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=30, verbose="bar", early_stopping=early_stopping, n_iter_no_change=50)
    model.fit(X, y)
    printed, shown = capsys.readouterr()
    assert not printed
    assert f"loss {model.loss_:.4g}" in shown
    assert "learning rate 0.001" in shown
    assert ("validation score" in shown) == early_stopping
    assert "30" in shown
    if not installed:
        assert len(shown.splitlines()) == 10
        assert shown.splitlines()[0].startswith("epoch 3 of at most 30, loss ")


@quiet
def test_plain_lines_where_nobody_looks_on(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setitem(sys.modules, "ipykernel", sys)  # a script may have imported it
    X, y = make_task("binary")
    our_estimator("binary", max_iter=30, verbose="bar").fit(X, y)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("epoch ") for line in lines)
    monkeypatch.setattr(sys, "stderr", type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})())
    our_estimator("binary", max_iter=30, verbose="bar").fit(X, y)
    assert "30/30" in sys.stderr.getvalue()


def test_bar_of_partial_fit_is_that_of_one_epoch(capsys):
    our_estimator("regression", verbose="bar").partial_fit(*make_task("regression"))
    assert capsys.readouterr().err.startswith("epoch 1 of at most 1, loss ")


@quiet
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("installed", ["tqdm", "rich", ""])
def test_bar_is_full_where_training_ends_before_max_iter_but_not_where_it_fails(monkeypatch, capsys, installed, fails):
    in_terminal_with(installed, monkeypatch)

    def end(model):
        if fails and model.n_iter_ == 7:
            raise RuntimeError("ended")
        return model.n_iter_ == 7

    model = our_estimator("binary", max_iter=100, verbose="bar").set_callbacks(end)
    with pytest.raises(RuntimeError, match="ended") if fails else contextlib.nullcontext():
        model.fit(*make_task("binary"))
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", capsys.readouterr().err).rstrip())
    if installed:
        assert ("7/100" if fails else "7/7") in lines[-1]
    else:
        assert lines[-1].startswith("epoch 7 of at most 100, loss ")
        assert ("ended after" in lines[-1]) == (not fails)
        assert "left" not in lines[-1]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_compiling_beforehand_writes_a_bar_in_a_terminal_only(monkeypatch, capsys, is_terminal):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr("sknn_scratch.engines.choose", lambda *_: "numpy")  # compiles nothing
    main(["compile"])
    shown = capsys.readouterr().err
    assert ("\r" in shown) == is_terminal
    if is_terminal:
        assert "100%" in shown
        assert "component" in shown
    else:
        assert len(shown.splitlines()) == 10
        assert all(line.startswith("component ") for line in shown.splitlines())


@quiet
def test_bar_of_lbfgs_and_after_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    X, y = make_task("binary")
    our_estimator("binary", solver="lbfgs", max_iter=5, verbose="bar").fit(X, y)
    assert "5/5" in capsys.readouterr().err
    model = our_estimator("binary", verbose="bar", solver="sgd", learning_rate_init=1e10)
    with pytest.raises(ValueError, match="diverged"):
        model.fit(1e10 * X, y)


# scikit-learn's own ---------------------------------------------------------------------------------------------------


def test_a_callback_for_epochs_is_refused_by_what_has_none():
    """Nobody would call it."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    pipeline, recorder = make_pipeline(StandardScaler(), our_estimator("binary", max_iter=2)), Recorder()
    for callback in recorder, EarlyStopping("loss"):
        for around in pipeline, GridSearchCV(pipeline, {}, cv=2):
            refusal = f"{type(callback).__name__} is called between epochs, and {type(around).__name__} has none"
            with pytest.raises(TypeError, match=refusal):
                around.set_callbacks(callback).fit(*make_task("binary"))
    assert not recorder.calls


@quiet
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_progress_bar(capsys, solver):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    pytest.importorskip("rich")
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=5, solver=solver).set_callbacks(callback.ProgressBar())
    model.fit(X, y)
    shown = capsys.readouterr().out
    assert "MLPFromScratchClassifier - fit" in shown
    assert "100%" in shown


@quiet
def test_progress_bar_in_a_search(capsys):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    pytest.importorskip("rich")
    X, y = make_task("binary")
    pipeline = make_pipeline(StandardScaler(), our_estimator("binary", max_iter=3))
    search = GridSearchCV(pipeline, {"mlpfromscratchclassifier__alpha": [0.1, 1.0]}, cv=2, error_score="raise")
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    shown = capsys.readouterr().out
    assert "GridSearchCV - fit" in shown
    assert "MLPFromScratchClassifier" in shown
    pipeline.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    assert "MLPFromScratchClassifier" in capsys.readouterr().out


@quiet
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["binary", "multioutput"])
def test_scoring_monitor(task, weighted):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    X, y = make_task(task)
    monitor, recorder = callback.ScoringMonitor(scoring="accuracy" if task == "binary" else "r2"), Recorder()
    weight = np.arange(1.0, 151) if weighted else None
    model = our_estimator(task, max_iter=4).set_callbacks(monitor, recorder).fit(X, y, weight)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in rows] == [0, 1, 2, 3]
    scores = [row["accuracy" if task == "binary" else "r2"] for row in rows]
    assert scores[-1] == pytest.approx(model.score(X, y, weight))
    assert len(set(scores)) > 1


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
@pytest.mark.parametrize("replace", ["all", "one"])
def test_layers_cannot_be_replaced_while_they_are_trained(replace, name, solver):
    """Training would go on with the others, and the model would end with these. They may be changed in place."""

    def callback(model):
        layers = getattr(model, name)
        if replace == "all":
            setattr(model, name, [layer.copy() for layer in layers])
        else:
            layers[1] = layers[1].copy()

    X, y = make_task("binary")
    model = our_estimator("binary", solver=solver, max_iter=3)
    with pytest.raises(RuntimeError, match=r"A callback has replaced layers.* in place: coefs_\[0\]\[\.\.\.\] = new"):
        model.set_callbacks(callback).fit(X, y)
    assert not hasattr(model, "coefs_")


@quiet
@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"early_stopping": True}])
@pytest.mark.parametrize("when", ["as it stops training", "after training"])
def test_layers_can_be_replaced_at_the_end(when, options):
    """A callback that keeps the best epoch gives its layers back there."""

    class Keeper(EpochCallback):
        def on_epoch_end(self, model):
            if model.n_iter_ == 1:
                self.kept = copy.deepcopy((model.coefs_, model.intercepts_))
            return when == "as it stops training" and model.n_iter_ == 3 and self.give_back(model)

        def on_train_end(self, model):
            if when == "after training":
                self.give_back(model)

        def give_back(self, model):
            model.coefs_, model.intercepts_ = self.kept
            return True

    X, y = make_task("binary")
    keeper = Keeper()
    model = our_estimator("binary", max_iter=4, **options).set_callbacks(keeper)
    model.fit(X, y)
    for layers, kept in zip((model.coefs_, model.intercepts_), keeper.kept, strict=True):
        assert layers is kept
