"""What training keeps, stops at and gives up, where scikit-learn's behaviour is mended, and the memory it takes."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor
from sknn_scratch.catalogue.losses import SquaredError
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, SGD, RMSprop
from sknn_scratch.catalogue.schedules import SCHEDULES, Cosine, Step
from sknn_scratch.engines.numpy.run import NumpyRun, _Part
from sknn_scratch.estimators.parameters import make_schedule

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Stopping ------------------------------------------------------------------------------------------------------------


def test_convergence_warnings():
    X, y = make_task("regression")
    with pytest.warns(ConvergenceWarning, match=r"Stochastic Optimizer: Maximum iterations \(3\) reached"):
        MLPFromScratchRegressor(max_iter=3).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"lbfgs failed to converge after 3 iterations: .* max_iter \(now 3\)"):
        MLPFromScratchRegressor(solver="lbfgs", max_iter=3).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"max_fun \(now 2\)"):
        MLPFromScratchRegressor(solver="lbfgs", max_fun=2).fit(X, y)
    MLPFromScratchRegressor(max_iter=3).partial_fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_keyboard_interrupt_keeps_what_was_learnt(monkeypatch, solver, early_stopping):
    if early_stopping and solver == "lbfgs":
        pytest.skip("lbfgs has no early stopping")
    X, y = make_task("binary")
    parameters = {"solver": solver, "early_stopping": early_stopping, "random_state": 0, "engine": "numpy"}
    compute, calls = _Part.loss_and_gradient, []

    def interrupt(self, *args):
        calls.append(None)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return compute(self, *args)

    monkeypatch.setattr(_Part, "loss_and_gradient", interrupt)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = MLPFromScratchClassifier(**parameters).fit(X, y)
    monkeypatch.undo()
    assert 0 < model.n_iter_ < 7
    assert len(model.loss_curve_) == model.n_iter_
    with pytest.warns(ConvergenceWarning):
        expected = MLPFromScratchClassifier(max_iter=model.n_iter_, **parameters).fit(X, y)
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-12)


def test_keyboard_interrupt_in_the_first_step(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_Part, "loss_and_gradient", interrupt)
    X, y = make_task("binary")
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = MLPFromScratchClassifier(engine="numpy").fit(X, y)
    assert model.n_iter_ == 0
    assert model.loss_curve_ == []
    assert model.predict_proba(X).shape == (150, 2)


@quiet
def test_lbfgs_fills_the_loss_curve_and_prints_it(capsys):
    X, y = make_task("regression")
    model = MLPFromScratchRegressor(solver="lbfgs", max_iter=7, verbose=True, random_state=0).fit(X, y)
    assert len(model.loss_curve_) == model.n_iter_ == 7
    assert model.loss_curve_[-1] == model.loss_ == model.best_loss_
    assert np.all(np.diff(model.loss_curve_) < 0)
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"Iteration {i}, loss = {loss:.8f}" for i, loss in enumerate(model.loss_curve_, 1)]


@quiet
def test_lbfgs_loss_curve_ends_at_the_loss_of_a_failed_line_search():
    X, y = load_wine(return_X_y=True)
    model = MLPFromScratchClassifier(20, solver="lbfgs", random_state=0, max_iter=100).fit(X, y)
    assert model.loss_curve_[-1] == model.loss_ == model.best_loss_


@quiet
def test_lbfgs_without_an_iteration_leaves_the_curve_of_the_fit_before():
    X, y = make_task("regression")
    model = our_estimator("regression", solver="lbfgs", tol=0.1, warm_start=True).fit(X, y)
    curve = list(model.loss_curve_)
    model.set_params(tol=100).fit(X, y + 1)
    assert model.n_iter_ == 0
    assert model.loss_curve_ == curve


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.filterwarnings("ignore:solver='lbfgs' does not use")
@quiet
def test_a_stochastic_solver_carries_on_after_lbfgs(solver):
    X, y = make_task("regression")
    model = our_estimator("regression", solver="lbfgs", max_iter=60, warm_start=True).fit(X, y)
    model.set_params(solver=solver, max_iter=9, learning_rate_init=1e-5).fit(X, y)
    assert model.n_iter_ == 9
    assert len(model.loss_curve_) == 69
    model.set_params(solver="lbfgs").fit(X, y)
    model.set_params(solver="sgd", learning_rate="adaptive").partial_fit(X, y)
    assert model._schedule.learning_rate == 1e-5


@pytest.mark.parametrize("parameters", [{"max_iter": 3}, {"solver": "lbfgs", "max_iter": 3}], ids=str)
def test_a_warning_that_is_an_error_does_not_lose_the_model(parameters):
    X, y = make_task("binary")
    model = MLPFromScratchClassifier(random_state=0, **parameters)
    with pytest.raises(ConvergenceWarning):
        model.fit(X, y)  # warnings are errors in these tests
    assert model.n_iter_ == 3
    assert model.predict(X).shape == (150,)


@quiet
def test_a_failed_warm_start_changes_nothing():
    X, y = make_task("regression")
    model = MLPFromScratchRegressor(solver="sgd", max_iter=3, warm_start=True, random_state=0)
    model.fit(X, y, X_val=X, y_val=y)
    kept = (
        model.loss_curve_.copy(),
        model.validation_scores_.copy(),
        model.best_validation_score_,
        model.coefs_[0].copy(),
    )
    model.set_params(learning_rate_init=30.0, max_iter=50)
    with pytest.raises(ValueError, match=r"Training diverged in epoch [2-9]"):
        model.fit(X, y, X_val=X, y_val=y)
    assert kept[:3] == (model.loss_curve_, model.validation_scores_, model.best_validation_score_)
    assert_array_equal(model.coefs_[0], kept[3])


def test_a_failed_fit_does_not_advance_the_random_state():
    X, y = make_task("regression")
    rng = np.random.RandomState(3)
    with pytest.raises(ValueError, match="Training diverged"):
        MLPFromScratchRegressor(solver="sgd", learning_rate_init=1e100, random_state=rng).fit(X, y)
    assert rng.randint(10**6) == np.random.RandomState(3).randint(10**6)


class InterruptingError(SquaredError):
    """Raises KeyboardInterrupt at one of its calls."""

    def __init__(self, at=0):
        self.at, self.n_calls = at, 0

    def value(self, y, raw_output):
        self.n_calls += 1
        if self.n_calls == self.at:
            raise KeyboardInterrupt
        return super().value(y, raw_output)


@quiet
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_keyboard_interrupt_after_training_keeps_what_was_learnt(solver):
    """The network is looked at before training and after it, as long as the loss is computed."""
    X, y = make_task("regression")
    model = our_estimator("regression", solver=solver, max_iter=2, engine="numpy")
    n_calls = model.set_params(loss=InterruptingError()).fit(X, y)._loss.n_calls
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(loss=InterruptingError(1)).fit(X, y)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        interrupted = clone(model).set_params(loss=InterruptingError(n_calls)).fit(X, y)
    assert interrupted.loss_curve_ == model.loss_curve_
    assert_array_equal(interrupted.predict(X), model.predict(X))


def test_keyboard_interrupt_before_training_rolls_back(monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("sknn_scratch.estimators.validation_set.split_rows", interrupt)
    model = MLPFromScratchClassifier(early_stopping=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*make_task("binary"))
    assert not hasattr(model, "classes_")
    assert not hasattr(model, "n_features_in_")


# Mended --------------------------------------------------------------------------------------------------------------


@quiet
def test_best_weights_are_restored_by_warm_start_without_improvement():
    X, y = make_task("binary")
    model = MLPFromScratchClassifier(
        early_stopping=True, warm_start=True, max_iter=30, random_state=0, learning_rate_init=0.05
    )
    model.fit(X, y)
    best, score = [array.copy() for array in model.coefs_], model.best_validation_score_
    model.set_params(learning_rate_init=5.0, max_iter=3).fit(X, y)
    assert model.best_validation_score_ == score
    for array, kept in zip(model.coefs_, best, strict=True):
        assert_array_equal(array, kept)


@quiet
@pytest.mark.parametrize("early_stopping", [(False, True), (True, False)])
def test_early_stopping_can_be_switched_between_warm_starts(early_stopping):
    X, y = make_task("binary")
    model = MLPFromScratchClassifier(early_stopping=early_stopping[0], warm_start=True, max_iter=3).fit(X, y)
    model.set_params(early_stopping=early_stopping[1]).fit(X, y)
    assert len(model.loss_curve_) == 6
    assert (model.validation_scores_ is not None) == early_stopping[1]
    assert (model.best_loss_ is None) == early_stopping[1]


@quiet
@pytest.mark.parametrize("task", TASKS)
def test_warm_start_with_other_layers(task):
    X, y = make_task(task)
    model = our_estimator(task, warm_start=True, max_iter=2).fit(X, y)
    before = model.coefs_[0].copy()
    model.set_params(hidden_layer_sizes=(7, 5))
    with pytest.raises(
        ValueError, match=r"layers of \[8, 6, 5, \d\] .* one of \[8, 7, 5, \d\] units: keep hidden_layer_sizes"
    ):
        model.fit(X, y)
    with pytest.raises(ValueError, match="keep hidden_layer_sizes"):
        model.partial_fit(X, y)
    model.set_params(hidden_layer_sizes=(6, 5))
    if task not in CLASSIFICATION:
        with pytest.raises(ValueError, match=r"y has \d columns, but the model was fitted on \d"):
            model.fit(X, np.column_stack([np.abs(y), np.abs(y)]))
    elif task == "binary":
        with pytest.raises(ValueError, match="warm_start can only be used where y has the same classes"):
            model.fit(X, np.full(150, 10))
        with pytest.raises(ValueError, match=r"warm_start can only .* same classes as before.*; it has \[30\]"):
            model.fit(X, np.where(y == 10, 30, y))
        with pytest.raises(ValueError, match=r"y has classes \[30\] that are not in classes_"):
            model.partial_fit(X, np.where(y == 10, 30, y))
    assert_array_equal(model.coefs_[0], before)


@quiet
def test_partial_fit_on_multilabel_targets():
    X, y = make_task("multilabel")
    for targets in (y, sparse.csr_matrix(y)):
        model = MLPFromScratchClassifier(random_state=0)
        model.partial_fit(X, targets, classes=range(3)).partial_fit(X, targets)
        assert model.predict_proba(X).shape == y.shape
        with pytest.raises(ValueError, match="y"):
            model.partial_fit(X, np.column_stack([y, y]))
    whole = MLPFromScratchClassifier(random_state=0, max_iter=1).fit(X, y)
    part = MLPFromScratchClassifier(random_state=0).partial_fit(X, y, classes=range(3))
    assert_array_equal(whole.coefs_[0], part.coefs_[0])


@quiet
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_minibatches_without_weight_are_skipped(task, early_stopping):
    X, y = make_task(task)
    weight = np.ones(len(X))
    weight[40:120] = 0
    model = our_estimator(task, shuffle=False, batch_size=40, max_iter=3, early_stopping=early_stopping)
    model.fit(X, y, sample_weight=weight)
    assert np.isfinite(model.loss_curve_).all()
    if not early_stopping and task not in CLASSIFICATION:
        rows = np.r_[0:40, 120:150]
        expected = our_estimator(task, shuffle=False, batch_size=40, max_iter=3).fit(X[rows], y[rows])
        assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-10)
        assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-10)


@quiet
def test_partial_fit_after_lbfgs_starts_a_new_optimiser():
    X, y = make_task("regression")
    model = our_estimator("regression", max_iter=2).fit(X, y)
    model.set_params(solver="lbfgs", hidden_layer_sizes=(3,)).fit(X, y)
    model.set_params(solver="adam").partial_fit(X, y)
    assert model._optimizer.n_updates == 1


@quiet
def test_partial_fit_follows_changed_parameters():
    X, y = make_task("regression")
    model = MLPFromScratchRegressor(random_state=0, solver="sgd", learning_rate="adaptive").fit(X, y)
    before = model.coefs_[0].copy()
    model.set_params(learning_rate_init=1e-12, momentum=0).partial_fit(X, y)
    assert_allclose(model.coefs_[0], before, atol=1e-9)
    model.set_params(solver="adam", learning_rate="constant", momentum=0.9).partial_fit(X, y)
    assert type(model._optimizer).__name__ == "Adam"


# Memory --------------------------------------------------------------------------------------------------------------


def peak_of_fit(model, X, y, **arguments):
    """Return the most memory, in bytes, that fit had allocated at one time."""
    model.fit(X[:300], y[:300])  # imports and caches
    tracemalloc.start()
    model.fit(X, y, **arguments)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@quiet
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_memory_of_a_large_network(solver, early_stopping, order):
    """At most six parameter vectors, the buffers of a minibatch and an encoded copy of the targets; dtypes in turns."""
    dtype = (np.float32, np.float64)[((solver == "sgd") + early_stopping + (order == "F")) % 2]
    rng = np.random.RandomState(0)
    X = np.asarray(rng.randn(1000, 600), dtype=dtype, order=order)
    y = rng.randint(3, size=1000)
    model = MLPFromScratchClassifier(800, solver=solver, early_stopping=early_stopping, max_iter=2, batch_size=50)
    vector = (600 * 800 + 800 * 3 + 800 + 3) * X.itemsize
    minibatch = 50 * (600 + 2 * 800 + 3 * 3) * X.itemsize
    targets = 1000 * 3 * X.itemsize
    assert peak_of_fit(model, X, y) < 6 * vector + minibatch + targets


@quiet
@pytest.mark.parametrize("layout", ["C", "F", "strided", "csr"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_samples_are_not_copied(task, early_stopping, layout):
    rng = np.random.RandomState(0)
    X = rng.randn(20_000, 100)
    y = rng.randint(4, size=20_000) if task == "multiclass" else X[:, 0].copy()
    X = {
        "C": lambda: X,
        "F": lambda: np.asfortranarray(X),
        "strided": lambda: np.repeat(X, 2, axis=1)[:, ::2],
        "csr": lambda: sparse.random(*X.shape, density=0.5, format="csr", random_state=rng),
    }[layout]()
    size = X.data.nbytes if layout == "csr" else X.nbytes
    model = our_estimator(task, max_iter=2, early_stopping=early_stopping)
    targets = len(y) * (4 if task == "multiclass" else 1) * 8
    assert peak_of_fit(model, X, y) < 0.4 * size + targets


@quiet
def test_memory_does_not_grow_with_epochs():
    X, y = make_task("multiclass")
    few, many = (
        peak_of_fit(our_estimator("multiclass", max_iter=n, tol=0, n_iter_no_change=n), X, y) for n in (5, 205)
    )
    assert many - few < 200 * 100  # a number of each curve per epoch


# Solvers and schedules of our own ------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("solver", [*OPTIMIZERS, RMSprop(rho=0.99), SGD(momentum=0)], ids=repr)
@pytest.mark.parametrize("task", TASKS)
def test_every_solver_learns(task, solver):
    X, y = make_task(task)
    model = our_estimator(task, solver=solver, learning_rate_init=0.02, max_iter=40)
    model.fit(X, y)
    assert model.loss_curve_[-1] < 0.9 * model.loss_curve_[0]
    model.partial_fit(X, y)
    assert model._optimizer.n_updates == 41
    twin = clone(model).fit(X, y)
    assert twin.loss_curve_[-1] == model.loss_curve_[-2]


@quiet
def test_a_solver_as_object_is_not_changed():
    X, y = make_task("binary")
    solver = RMSprop(rho=0.5)
    model = our_estimator("binary", solver=solver, max_iter=2).fit(X, y)
    assert vars(solver) == vars(RMSprop(rho=0.5))
    assert_array_equal(model.coefs_[0], clone(model).fit(X, y).coefs_[0])
    by_name = our_estimator("binary", solver="rmsprop", max_iter=2).fit(X, y)
    assert not np.array_equal(model.coefs_[0], by_name.coefs_[0])
    search = GridSearchCV(model, {"solver__rho": [0.5, 0.9]}, cv=2).fit(X, y)
    assert search.best_estimator_.solver.rho in (0.5, 0.9)


@quiet
def test_weight_decay_reaches_adamw():
    X, y = make_task("binary")
    sizes = [
        np.abs(our_estimator("binary", solver="adamw", weight_decay=decay, max_iter=20).fit(X, y).coefs_[0]).sum()
        for decay in (0, 50.0)
    ]
    assert sizes[1] < 0.7 * sizes[0]


@quiet
@pytest.mark.parametrize(
    "learning_rate",
    [*SCHEDULES, Cosine(warm_up=2), lambda epoch: 0.01 / (epoch + 1)],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
@pytest.mark.parametrize("solver", ["sgd", "adamw", "adam"])
def test_schedules_move_the_rate(monkeypatch, solver, learning_rate):
    if solver == "adam" and learning_rate in ("adaptive", "constant", "invscaling"):
        pytest.skip("Adam ignores these, as in scikit-learn")
    used, epoch = [], NumpyRun.epoch

    def record(self, order, learning_rates):
        used.extend(learning_rates)
        return epoch(self, order, learning_rates)

    monkeypatch.setattr(NumpyRun, "epoch", record)
    X, y = make_task("binary")
    rate = {"learning_rate": learning_rate, "learning_rate_init": 0.01}
    our_estimator("binary", solver=solver, max_iter=6, engine="numpy", **rate).fit(X, y)
    schedule = make_schedule(
        our_estimator("binary", solver="sgd", learning_rate=learning_rate, learning_rate_init=0.01, max_iter=6)
    )
    expected = []
    for epoch in range(6):
        expected.append(schedule.learning_rate)
        schedule.epoch_ended(150 * (epoch + 1))
    assert_allclose(used, expected)


@quiet
def test_partial_fit_carries_the_schedule_on():
    X, y = make_task("binary")
    model = our_estimator("binary", solver="sgd", learning_rate=Step(2, 0.1), learning_rate_init=0.5)
    rates = [model.partial_fit(X, y, classes=[10, 20])._schedule.learning_rate for _ in range(5)]
    assert_allclose(rates, [0.5, 0.05, 0.05, 0.005, 0.005])
    assert model.set_params(learning_rate_init=0.2).partial_fit(X, y)._schedule.learning_rate == 0.2


@quiet
def test_max_grad_norm():
    X, y = make_task("regression")
    steps = []
    for limit in (None, 1e9, 1e-3):
        model = our_estimator("regression", solver=SGD(0), learning_rate_init=1.0, max_grad_norm=limit, max_iter=1)
        start = our_estimator("regression", solver=SGD(0), learning_rate_init=1e-300, max_iter=1).fit(X, y)
        model.fit(X, y)
        changes = [
            a - b for a, b in zip(model.coefs_ + model.intercepts_, start.coefs_ + start.intercepts_, strict=True)
        ]
        steps.append(np.sqrt(sum((change**2).sum() for change in changes)))
    assert steps[0] == steps[1] > 1e-3
    assert steps[2] == pytest.approx(1e-3)
    hot = {"solver": "sgd", "activation": "identity", "learning_rate_init": 10.0, "max_iter": 20}
    with pytest.raises(ValueError, match="Training diverged"):
        our_estimator("regression", **hot).fit(1e3 * X, y)
    our_estimator("regression", max_grad_norm=1e-3, **hot).fit(1e3 * X, y)
