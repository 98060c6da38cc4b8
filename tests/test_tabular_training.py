"""The training of the tabular estimators as it is seen from outside: callbacks, progress, Ctrl-C."""

import pickle
import sys

import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from tables import BOTH, same_fit, small, table, targets

from sknn_scratch import EarlyStopping, EpochCallback, ModelCheckpoint, TabularMLPRegressor
from sknn_scratch.estimators.tabular import members
from sknn_scratch.estimators.tabular.weights import SquaredErrorCriterion


class Recorder(EpochCallback):
    """Notes what it is told."""

    def __init__(self, look=lambda model: model.n_iter_):
        self.calls, self.look = [], look

    def on_train_begin(self, estimator):
        self.calls.append("begin")

    def on_epoch_end(self, estimator):
        self.calls.append(self.look(estimator))

    def on_train_end(self, estimator):
        self.calls.append("end")


# Callbacks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", BOTH)
def test_callbacks_see_view_epoch_and_loss(cls):
    X, y = table(60)
    recorder = Recorder(lambda model: (model.n_iter_, *[(k, *v) for k, v in model.oof_loss_curve_.items()]))
    model = small(cls, max_iter=2).set_callbacks(recorder).fit(X, targets(cls, y))
    coded, plain = (model.oof_loss_curve_[view] for view in ("coded", "plain"))
    assert recorder.calls == [
        "begin",
        (1, ("coded", *coded[:1])),
        (2, ("coded", *coded)),
        (3, ("coded", *coded), ("plain", *plain[:1])),
        (4, ("coded", *coded), ("plain", *plain)),
        "end",
    ]
    alone = small(cls, max_iter=2).fit(X, targets(cls, y))
    same_fit(model, alone, X)
    assert vars(model).keys() - {"_skl_callbacks"} == vars(alone).keys()


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_callback_stops_training_and_has_seen_what_is_kept(cls, epoch):
    X, y = table(60)
    seen = {}

    def stop(model):
        seen.update(vars(model), output=model._raw_output(X), score=model.score(X, targets(cls, y)))
        return model.n_iter_ == epoch

    model = small(cls, max_iter=2).set_callbacks(stop).fit(X, targets(cls, y))
    assert model.n_iter_ == epoch
    assert list(model.calibration_) == ["coded", "plain"][: 1 + (epoch > 2)]
    assert_array_equal(model._raw_output(X), seen["output"])
    assert model.score(X, targets(cls, y)) == seen["score"]
    assert (model.oof_score_, model.best_epoch_) == (seen["oof_score_"], seen["best_epoch_"])


@pytest.mark.parametrize("cls", BOTH)
def test_a_callback_that_fails_leaves_the_model_as_it_was(cls):
    X, y = table(60)
    y = targets(cls, y)

    def fail(model):
        raise RuntimeError("so it is")

    model, recorder = small(cls, max_iter=2).fit(X, y), Recorder()
    before = dict(vars(model))
    with pytest.raises(RuntimeError, match="so it is"):
        model.set_callbacks(recorder, fail).fit(X, y)
    assert recorder.calls == ["begin", 1, "end"]
    assert vars(model.set_callbacks()) == before


@pytest.mark.parametrize("callback", [EarlyStopping("loss"), ModelCheckpoint("file")])
def test_callbacks_for_a_single_network_say_so(callback):
    X, y = table(60)
    model = small(TabularMLPRegressor).set_callbacks(callback)
    with pytest.raises(TypeError, match=f"{type(callback).__name__} follows a single network, and TabularMLPRegressor"):
        model.fit(X, y)
    assert not hasattr(model, "encoder_")


def stop_at_three(model):
    return model.n_iter_ == 3


@pytest.mark.parametrize("cls", BOTH)
def test_copies_keep_their_callbacks(cls):
    X, y = table(60)
    y = targets(cls, y)
    model = small(cls, max_iter=2).set_callbacks(stop_at_three).fit(X, y)
    for twin in (clone(model), pickle.loads(pickle.dumps(model))):
        assert twin.fit(X, y).n_iter_ == 3


def test_a_model_in_training_cannot_be_trained():
    X, y = table(60)
    model = small(TabularMLPRegressor, max_iter=1).set_callbacks(lambda model: model.fit(X, y))
    with pytest.raises(RuntimeError, match="is being trained already"):
        model.fit(X, y)


@pytest.mark.parametrize("n_bins", [8, None])
@pytest.mark.parametrize("cls", BOTH)
def test_callbacks_of_sklearn(cls, n_bins, capsys):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    pytest.importorskip("rich")
    X, y = table(60)
    y = targets(cls, y)
    scoring = "r2" if cls is TabularMLPRegressor else "accuracy"
    monitor, planned = callback.ScoringMonitor(scoring=scoring), []
    counter = EpochCallback()
    counter.setup = lambda estimator, context: planned.append(context.max_subtasks)
    model = small(cls, max_iter=2, n_bins=n_bins).set_callbacks(monitor, callback.ProgressBar(), counter).fit(X, y)
    scores = [row[scoring] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert planned == [len(scores)] == [2 if n_bins is None else 4]
    assert scores[-1] == model.score(X, y)
    assert f"{cls.__name__} - fit" in capsys.readouterr().out


# Progress -------------------------------------------------------------------------------------------------------------


def test_progress_is_printed(capsys):
    X, y = table(50)
    model = small(TabularMLPRegressor, max_iter=2, verbose=True).fit(X, y)
    assert capsys.readouterr().out.splitlines() == [
        f"{view}, epoch {epoch}: out-of-fold loss = {model.oof_loss_curve_[view][epoch - 1]:.6f}"
        for view in ("coded", "plain")
        for epoch in (1, 2)
    ]


@pytest.mark.parametrize(
    ("n_bins", "columns", "views"),
    [(8, ["a", "c"], ["coded", "plain"]), (8, ["c"], ["plain"]), (None, ["a", "c"], ["plain"])],
)
def test_one_bar_for_all_views(monkeypatch, capsys, n_bins, columns, views):
    monkeypatch.setattr("sknn_scratch.training.bars.find_spec", lambda name: None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    X, y = table(50)
    model = small(TabularMLPRegressor, n_bins=n_bins, max_iter=5, verbose="bar").fit(X[columns], y)
    out, err = capsys.readouterr()
    expected = [
        f"epoch {place + 1} of at most {5 * len(views)}, {view}, out-of-fold loss {loss:.4g}, at most "
        for place, (view, loss) in enumerate((v, x) for v in views for x in model.oof_loss_curve_[v])
    ]
    assert [line.rpartition(" most ")[0] + " most " for line in err.splitlines()] == expected
    assert err.endswith(" s left\n")
    assert not out


def test_for_the_bar_views_are_weighed_once(monkeypatch):
    weigh, calls = SquaredErrorCriterion.weigh, []
    monkeypatch.setattr(SquaredErrorCriterion, "weigh", lambda self, outputs: calls.append(1) or weigh(self, outputs))
    X, y = table(50)
    small(TabularMLPRegressor, max_iter=2, verbose="bar").fit(X, y)
    assert len(calls) == 1
    small(TabularMLPRegressor, max_iter=2).set_callbacks(Recorder()).fit(X, y)
    assert len(calls) == 1 + 4 + 1


def test_wrong_verbose():
    with pytest.raises(ValueError, match="Did you mean 'bar'"):
        small(TabularMLPRegressor, verbose="bars").fit(*table(50))


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def interrupt_in_epoch(epoch, monkeypatch):
    """Let Ctrl-C come in an epoch of two members, counted over all views."""
    train_epoch, calls = members._Member.train_epoch, []

    def interrupted(self, run):
        calls.append(self)
        if len(calls) == 2 * epoch:
            raise KeyboardInterrupt
        return train_epoch(self, run)

    monkeypatch.setattr(members._Member, "train_epoch", interrupted)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("epoch", "views"), [(3, ["coded"]), (5, ["coded"]), (6, ["coded", "plain"])])
def test_interrupted_training_keeps_the_best_epoch(monkeypatch, cls, epoch, views):
    X, y = table(50)
    interrupt_in_epoch(epoch, monkeypatch)
    with pytest.warns(UserWarning, match="interrupted"):
        model = small(cls, max_iter=4).fit(X, targets(cls, y))
    assert list(model.oof_loss_curve_) == list(model.calibration_) == list(model.best_epoch_) == views
    assert model.n_iter_ == epoch - 1
    assert model.predict(X).shape == (50,)


def test_interrupted_while_the_second_view_is_compiled(monkeypatch):
    X, y = table(50)
    start, jobs = members.start, []

    def interrupted(engine, job, beside):
        jobs.append(job)
        if len(jobs) == 3:  # there are two members
            raise KeyboardInterrupt
        return start(engine, job, beside)

    monkeypatch.setattr(members, "start", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model = small(TabularMLPRegressor, max_iter=4).fit(X, y)
    assert list(model.calibration_) == ["coded"]
    assert model.predict(X).shape == (50,)


@pytest.mark.parametrize("cls", BOTH)
def test_interrupted_before_the_first_epoch_nothing_is_learnt(monkeypatch, cls):
    X, y = table(50)
    interrupt_in_epoch(1, monkeypatch)
    model = small(cls)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, targets(cls, y))
    assert not hasattr(model, "encoder_")


@pytest.mark.filterwarnings("error")
def test_where_warnings_are_errors_an_interrupted_model_is_kept_all_the_same(monkeypatch):
    X, y = table(50)
    interrupt_in_epoch(2, monkeypatch)
    model = small(TabularMLPRegressor)
    with pytest.raises(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert model.n_iter_ == 1
