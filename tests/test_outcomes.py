"""What is said after training: models of no use say so, others do not, and every warning points at the caller."""

import copy
import pickle
import warnings
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import (
    AbsoluteError,
    LogLoss,
    Loss,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    Quantile,
    SquaredError,
)
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, Heads
from sknn_scratch.catalogue.schedules import SCHEDULES, Schedule
from sknn_scratch.estimators import outcomes
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.data import TrainingData
from sknn_scratch.training.progress import Progress

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def said_of_use(train):
    """Train, and return what was said about the use of the model: not that training was too short."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train()
    messages = [str(w.message) for w in caught]
    return [m for m in messages if m.startswith(("Training diverged", "The model is no better"))]


# Models of no use ----------------------------------------------------------------------------------------------------


def raw_targets(factor=1.0):
    rng = np.random.RandomState(0)
    return factor * rng.randn(2000, 30), 180_000 + 80_000 * rng.randn(2000)


USELESS = {
    "the loss stays huge": (1, {"solver": "sgd"}),
    "all units are dead, and the best epoch is a constant": (10, {"solver": "sgd", "early_stopping": True}),
}


@pytest.mark.parametrize("case", USELESS)
def test_raw_targets(case):
    factor, parameters = USELESS[case]
    X, y = raw_targets(factor)
    model = MLPFromScratchRegressor(hidden_layer_sizes=(64, 64), max_iter=300, random_state=0, **parameters)
    with pytest.warns(ConvergenceWarning, match=r"no better than a constant: .* Scale the features of X \(and y"):
        model.fit(X, y)
    assert model.n_iter_ < 300
    assert model.score(X, y) < 0


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True, "scoring": "loss"}, {"solver": "lbfgs"}], ids=str)
def test_targets_so_small_that_tol_ends_training_at_once(parameters):
    X, y = make_task("regression")
    with pytest.warns(ConvergenceWarning, match="no better than a constant"):
        model = our_estimator("regression", **parameters).fit(X, 1e-5 * y)
    assert model.score(X, 1e-5 * y) < 0


@pytest.mark.parametrize("early_stopping", [False, True])
def test_classifier_on_raw_features(early_stopping):
    X, y = load_wine(return_X_y=True)
    model = MLPFromScratchClassifier(
        32, solver="sgd", learning_rate_init=0.1, random_state=0, early_stopping=early_stopping
    )
    with pytest.warns(ConvergenceWarning, match=r"no better than a constant|Training diverged"):
        model.fit(100 * X, y)


def test_divergence_that_stays_finite():
    # scikit-learn's fit returns without a word: the loss grows to 1e96, all units die, and no epoch is an improvement.
    X, y = load_diabetes(return_X_y=True)
    model = MLPFromScratchRegressor(solver="sgd", learning_rate_init=10, random_state=0)
    message = r"Training diverged: .* is .*e\+9\d and was 1\.54e\+04 before .* lower learning_rate_init \(now 10\)"
    with pytest.warns(ConvergenceWarning, match=message):
        model.fit(X, y)


@pytest.mark.parametrize("max_iter", [1, 2, 5])
def test_divergence_of_few_epochs_is_told_beside_the_limit(max_iter):
    X, y = make_task("regression")
    model = our_estimator("regression", solver="sgd", learning_rate_init=3.0, max_iter=max_iter, batch_size=50)
    with (
        pytest.warns(ConvergenceWarning, match=r"Training diverged: .* \(now 3\)"),
        pytest.warns(ConvergenceWarning, match=r"^Stochastic Optimizer: Maximum iterations .* hasn't converged yet\.$"),
    ):
        model.fit(X, y)


def test_divergence_of_a_warm_start():
    X, y = make_task("regression")
    model = our_estimator("regression", solver="sgd", learning_rate_init=0.01, warm_start=True, max_iter=400)
    assert not said_of_use(lambda: model.fit(X, y))
    for _ in range(3):  # about the optimum
        assert not said_of_use(lambda: model.set_params(max_iter=1).fit(X, y))
    model.set_params(learning_rate_init=10.0, batch_size=10, max_iter=2, n_iter_no_change=50)
    assert "Training diverged" in said_of_use(lambda: model.fit(X, y))[0]


def test_a_model_of_equal_targets_may_waver():
    X, _ = make_task("regression")
    y = np.full(len(X), 2.5)
    model = our_estimator("regression", learning_rate_init=0.05, warm_start=True, max_iter=100, batch_size=7, tol=0)
    assert not said_of_use(lambda: model.fit(X, y))
    for _ in range(10):  # the loss of the best constant is 0
        assert not said_of_use(lambda: model.set_params(max_iter=1).fit(X, y))
    model.set_params(solver="sgd", learning_rate_init=3.0)
    assert "Training diverged" in said_of_use(lambda: model.fit(X, y))[0]


# What is far from unit scale -----------------------------------------------------------------------------------------

FEATURES = "The features are far from unit scale: column 1, 'income', has mean 5e+04 and standard deviation 1e+04."
TARGETS = "The targets are far from unit scale: y has mean 1.78e+05 and standard deviation 7.9e+04."


def all_that_is_said(train):
    """Train, and return the messages of all warnings and of an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            train()
        except ValueError as error:
            return [*(str(w.message) for w in caught), str(error)]
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(
    ("end", "parameters"),
    [
        ("Stochastic Optimizer: Maximum iterations", {"max_iter": 2}),
        ("The model is no better than a constant", {"solver": "sgd", "max_iter": 300}),
        ("Training diverged: the loss on the", {"solver": "sgd", "learning_rate_init": 0.01, "max_iter": 3}),
        ("Training diverged in epoch", {"solver": "sgd", "activation": "identity"}),
        ("lbfgs failed to converge", {"solver": "lbfgs", "max_iter": 2}),
    ],
    ids=["max_iter", "a constant", "divergence", "an error", "lbfgs"],
)
def test_scale_is_described_once(end, parameters):
    X, y = raw_targets()
    model = MLPFromScratchRegressor(hidden_layer_sizes=(64, 64), random_state=0).set_params(**parameters)
    messages = all_that_is_said(lambda: model.fit(X, y))
    assert [TARGETS in m for m in messages if m.startswith(end)] == [True]
    assert sum("unit scale" in m for m in messages) == 1
    assert FEATURES[:40] not in " ".join(messages)


@pytest.mark.parametrize("max_iter", [2, 100])
def test_scale_of_features_is_described_by_name(max_iter):
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"age": rng.rand(200), "income": 5e4 + 1e4 * scale(rng.randn(200))})
    model = MLPFromScratchClassifier(5, random_state=0, max_iter=max_iter, tol=1e-9)
    (message,) = all_that_is_said(lambda: model.fit(X, X["age"] > 0.5))
    assert message.endswith(f"{FEATURES} Scale X, for example with StandardScaler in a pipeline.")


@pytest.mark.parametrize(
    ("loss", "parameters"),
    [
        ("squared_error", {"target_transform": "standardize"}),
        ("poisson", {}),
        ("squared_error", {"output_activation": "exp"}),
    ],
    ids=["standardised", "positive", "by an exponential"],
)
def test_scale_of_targets_is_not_described_where_it_is_no_fault(loss, parameters):
    X, y = raw_targets()
    model = MLPFromScratchRegressor(loss, 5, max_iter=2, random_state=0, **parameters)
    messages = all_that_is_said(lambda: model.fit(X, np.abs(y)))
    assert any(m.endswith("the optimization hasn't converged yet.") for m in messages)
    assert not any("unit scale" in m for m in messages)


def test_rare_classes_are_no_small_targets():
    X, _ = raw_targets()
    model = MLPFromScratchClassifier(5, loss="hinge", max_iter=1, random_state=0)
    (message,) = all_that_is_said(lambda: model.fit(X, np.arange(len(X)) == 0))
    assert message.endswith("hasn't converged yet.")


# Models that are all right -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_iter", [1, 2, 10, 150])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "sgd"},
        {"solver": "lbfgs"},
        {"early_stopping": True, "n_iter_no_change": 30},
        {"dropout": 0.5},
        {"alpha": 10.0},
    ],
    ids=str,
)
def test_healthy_fits_are_left_in_peace(parameters, max_iter):
    for load in (load_iris, load_wine, load_breast_cancer, load_diabetes):
        X, y = load(return_X_y=True)
        cls, y = (MLPFromScratchRegressor, scale(y)) if load is load_diabetes else (MLPFromScratchClassifier, y)
        model = cls(hidden_layer_sizes=20, max_iter=max_iter, random_state=0, batch_size=32, **parameters)
        assert not said_of_use(lambda model=model, X=X, y=y: model.fit(scale(X), y)), load.__name__


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_healthy_tasks(task, weighted):
    X, y = make_task(task)
    weight = np.random.RandomState(0).choice([0.0, 0.1, 3.0], len(X)) if weighted else None
    for parameters in ({"max_iter": 1}, {"learning_rate_init": 0.02, "max_iter": 100}, {"solver": "lbfgs"}):
        assert not said_of_use(lambda p=parameters: our_estimator(task, **p).fit(X, y, sample_weight=weight))


@pytest.mark.parametrize("max_iter", [3, 300])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_where_a_constant_is_all_there_is_to_learn(solver, max_iter):
    X, y = make_task("regression")
    same = np.full_like(y, 3.0)
    assert not said_of_use(lambda: our_estimator("regression", solver=solver, max_iter=max_iter).fit(X, same))
    same = np.full(len(X), "a")
    assert not said_of_use(lambda: our_estimator("binary", solver=solver, max_iter=max_iter).fit(X, same))


def test_chunks_of_a_stream():
    rng = np.random.RandomState(0)
    for n_rows in (1, 5, 64):
        model = MLPFromScratchRegressor(hidden_layer_sizes=10, random_state=0)

        def call(model=model, n_rows=n_rows):
            X = rng.randn(n_rows, 6)
            model.partial_fit(X, X[:, 0] + 0.5 * rng.randn(n_rows))

        assert not any(said_of_use(call) for _ in range(60))
    X = rng.randn(1, 6)
    assert not said_of_use(lambda: model.partial_fit(X, [1000.0]))  # one sample says nothing
    model.set_params(learning_rate_init=100.0)
    messages = {message for _ in range(5) for message in said_of_use(call)}
    assert len(messages) == 1  # so that Python shows it once
    assert messages.pop().startswith("Training diverged: the loss has grown many times over")


@quiet
def test_the_marks_cost_little_and_change_nothing(monkeypatch):
    """At most a few rows are looked at before training, and some thousands after it if it ended by itself."""
    rows, raw_output = [], Perceptron.raw_output

    def count(network, X, of_rows):
        rows.append(len(of_rows))
        return raw_output(network, X, of_rows)

    monkeypatch.setattr(Perceptron, "raw_output", count)
    X = np.random.RandomState(0).randn(30_000, 3)
    model = MLPFromScratchRegressor(hidden_layer_sizes=3, max_iter=2, batch_size=1000, random_state=0).fit(X, X[:, 0])
    assert max(rows) <= 100
    rows.clear()
    watched = model.set_params(tol=1e9, n_iter_no_change=1, max_iter=9).fit(X, X[:, 0]).coefs_[0]
    assert sorted(rows) == [100, 100, 10_000]
    monkeypatch.setattr(Perceptron, "raw_output", lambda network, X, rows: np.zeros((len(rows), 1)))
    assert_array_equal(model.fit(X, X[:, 0]).coefs_[0], watched)


# The best constant ---------------------------------------------------------------------------------------------------


class Quartic(Loss):
    """A loss of one's own."""

    def value(self, y, raw_output):
        return ((raw_output - y) ** 4).sum(axis=1)

    def derivative(self, y, raw_output):
        return 4 * (raw_output - y) ** 3


REGRESSION_LOSSES = [
    *(cls() for cls in REGRESSOR_LOSSES.values()),
    Quantile([0.2, 0.5, 0.9]),
    Quartic(),
]
CLASSIFICATION_LOSSES = [*(cls() for cls in CLASSIFIER_LOSSES.values()), LogLoss(label_smoothing=0.2)]


def losses_and_targets():
    rng = np.random.RandomState(0)
    for loss in REGRESSION_LOSSES:
        loss.start()
        yield loss, 5 + 3 * rng.gamma(2.0, size=(101, 2))
    for multiclass in (False, True):
        for loss in CLASSIFICATION_LOSSES:
            loss = copy.deepcopy(loss)
            loss.start(multiclass=multiclass)
            classes = rng.choice(3, size=101, p=[0.2, 0.5, 0.3])
            yield loss, np.eye(3)[classes] if multiclass else (rng.uniform(size=(101, 2)) < (0.2, 0.7)).astype(float)
    log_losses = [LogLoss(), LogLoss()]
    log_losses[0].start(multiclass=True)
    yield Heads(log_losses, [3, 1]), np.c_[np.eye(3)[rng.choice(3, size=101)], rng.randint(2, size=101)].astype(float)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "y"), list(losses_and_targets()), ids=lambda x: str(x) if isinstance(x, Loss) else "")
def test_best_constant(loss, y, weighted):
    """No other constant that a search finds is better."""
    weight = np.random.RandomState(1).uniform(0.1, 3, len(y)) if weighted else None

    def mean_loss(constant):
        return np.average(loss.value(y, np.tile(constant, (len(y), 1))), weights=weight)

    found = loss.best_constant(y, weight)
    assert found.shape == (loss.n_raw_outputs(y.shape[1]),)
    for start in (found, np.zeros_like(found)):
        other = minimize(mean_loss, start, method="Nelder-Mead", options={"maxiter": 1500, "maxfev": 1500}).fun
        assert mean_loss(found) <= other + 1e-5 * abs(other)
    assert_allclose(mean_loss(loss.best_constant(y.astype(np.float32), weight)), mean_loss(found), rtol=1e-3)


def test_a_formula_of_ones_own_has_a_best_constant_of_its_own():
    class PulledError(AbsoluteError):
        def value(self, y, raw_output):
            return ((raw_output - 7) ** 2).sum(axis=1)

        def derivative(self, y, raw_output):
            return 2 * (raw_output - 7)

    assert_allclose(PulledError().best_constant(np.zeros((20, 1))), 7, rtol=1e-4)


@quiet
def test_a_loss_that_knows_no_constants_is_left_in_peace():
    class Picky(Quartic):
        def value(self, y, raw_output):
            losses = super().value(y, raw_output)
            return losses if np.ptp(raw_output) else np.full(len(y), np.nan)

    X, y = make_task("regression")
    assert not said_of_use(lambda: our_estimator("regression", loss=Picky(), tol=100.0).fit(X, y))


# Early stopping that diverges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate_init", [10.0, 30.0])
def test_early_stopping_goes_back_to_the_best_epoch_before_divergence(learning_rate_init):
    """As scikit-learn's does, which goes on with NaN for some epochs first."""
    X, y = make_task("regression")
    parameters = {"hidden_layer_sizes": (6, 5), "solver": "sgd", "learning_rate_init": learning_rate_init}
    parameters |= {"early_stopping": True, "random_state": 7, "batch_size": 20, "max_iter": 300}
    model = MLPFromScratchRegressor(**parameters)
    with pytest.warns(ConvergenceWarning, match=r"diverged in epoch \d+: .* best validation score, .* \(now [13]0\)"):
        model.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MLPRegressor(**parameters).fit(X, y)
    assert_allclose(model.coefs_[0], theirs.coefs_[0], rtol=1e-9)
    assert model.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    assert len(model.loss_curve_) == len(model.validation_scores_) == model.n_iter_
    assert np.isfinite(model.loss_curve_).all()
    model.set_params(early_stopping=False, learning_rate_init=1e-9).partial_fit(X, y)  # with moments that are finite
    assert_allclose(model.coefs_[0], theirs.coefs_[0], rtol=1e-3)


@pytest.mark.parametrize("batch_size", [10, "auto"])
def test_without_an_epoch_to_go_back_to_divergence_is_an_error(batch_size):
    X, y = make_task("regression")
    model = our_estimator("regression", solver="sgd", learning_rate_init=1e200, early_stopping=True)
    model.set_params(batch_size=batch_size)
    with pytest.raises(ValueError, match=f"Training diverged in epoch {1 if batch_size == 10 else 2}"):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")


# Early stopping by the loss ------------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        *(("classifier", loss) for loss in CLASSIFIER_LOSSES),
        *(("regressor", loss) for loss in REGRESSOR_LOSSES),
    ],
    ids=str,
)
def test_losses_that_scikit_learn_lacks_are_stopped_by(kind, loss):
    X, y = make_task("binary" if kind == "classifier" else "poisson")
    y = y if kind == "classifier" else y + 1
    model = our_estimator("binary" if kind == "classifier" else "regression", early_stopping=True, max_iter=5)
    model.set_params(loss=loss).fit(X, y)
    of_sklearn = loss == "log_loss" if kind == "classifier" else loss in ("squared_error", "poisson")
    assert (model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]) != of_sklearn
    model.set_params(scoring="accuracy" if kind == "classifier" else "neg_max_error").fit(X, y)
    assert model.validation_scores_ != [-loss for loss in model.validation_loss_curve_]


@quiet
def test_a_loss_of_ones_own_is_stopped_by():
    class Own(LogLoss):
        """Not scikit-learn's any more, though its child."""

    for task, loss in (("regression", Quartic()), ("multiclass", Own())):
        model = our_estimator(task, loss=loss, early_stopping=True, max_iter=5).fit(*make_task(task))
        assert model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]


@quiet
def test_several_targets_keep_accuracy():
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", early_stopping=True, max_iter=5).fit(X, np.c_[y, y == 10])
    assert all(0 <= score <= 1 for score in model.validation_scores_)


@quiet
def test_scores_of_different_losses_are_not_compared():
    X, y = make_task("regression")
    model = our_estimator("regression", early_stopping=True, max_iter=5, warm_start=True, learning_rate_init=0.02)
    assert model.fit(X, y).best_validation_score_ == max(model.validation_scores_)
    model.set_params(loss="huber").fit(X, y)
    assert model.best_validation_score_ == max(model.validation_scores_[5:]) < 0


@quiet
def test_intervals_of_gaussian_likelihood_cover_what_they_say():
    rng = np.random.RandomState(0)
    X = rng.randn(900, 60)
    y = scale(X[:, 0] + 0.5 * X[:, 1] ** 2 + np.exp(0.5 * X[:, 2]) * 0.5 * rng.randn(900))
    model = MLPFromScratchRegressor("gaussian_nll", early_stopping=True, n_iter_no_change=30, random_state=0)
    mean, std = model.fit(X[:600], y[:600]).predict(X[600:], return_std=True)
    assert 0.65 < np.mean(np.abs(y[600:] - mean) < 1.2816 * std) < 0.9


# Schedules with a planned end ----------------------------------------------------------------------------------------


class ToZero(Schedule):
    """A schedule of one's own that has a planned end."""

    has_planned_end = True

    def rate(self, n_epochs, n_samples_seen):
        return self.learning_rate_init * (1 - n_epochs / self.max_iter)


@pytest.mark.parametrize("learning_rate", [*SCHEDULES, ToZero()], ids=str)
@pytest.mark.parametrize("solver", ["sgd", "adamw"])
def test_planned_schedules_run_to_their_end(solver, learning_rate, capsys):
    X, y = make_task("binary")
    planned = getattr(SCHEDULES.get(str(learning_rate), learning_rate), "has_planned_end", False)
    assert planned == (str(learning_rate) in ("cosine", "one_cycle", "ToZero()"))
    rate = {"learning_rate": learning_rate, "learning_rate_init": 0.02}
    model = our_estimator("binary", solver=solver, max_iter=40, tol=10.0, n_iter_no_change=5, verbose=True, **rate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    goes_on = planned or learning_rate == "adaptive"
    assert model.n_iter_ == (40 if goes_on else 7)
    limit = any("Maximum iterations" in str(w.message) for w in caught)
    assert limit == (learning_rate == "adaptive")
    assert ("Going on to the planned end." in capsys.readouterr().out) == planned
    if planned:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The model is no better")
            model.set_params(early_stopping=True).fit(X, y)
        assert model.n_iter_ == 7


@pytest.mark.parametrize("learning_rate", [name for name, schedule in SCHEDULES.items() if schedule.has_planned_end])
def test_a_planned_end_no_better_than_a_constant_is_told(learning_rate):
    X, y = make_task("regression")
    our_estimator("regression", learning_rate=learning_rate, learning_rate_init=0.02, max_iter=10).fit(X, y)
    for max_iter in (1, 60):  # also where all epochs have improved, as no other warning tells of a planned end
        model = our_estimator("regression", solver="sgd", learning_rate=learning_rate, max_iter=max_iter)
        with pytest.warns(ConvergenceWarning, match=r"no better than a constant|Training diverged"):
            model.fit(*raw_targets())
        assert model.n_iter_ == max_iter
    model = our_estimator("regression", learning_rate=learning_rate, learning_rate_init=1e-6, max_iter=5)
    with pytest.warns(ConvergenceWarning, match="no better than a constant"):
        model.fit(X, y + 10)
    assert np.all(np.diff(model.loss_curve_) < 0)


@pytest.mark.parametrize("learning_rate", ["constant", "cosine"])
def test_next_to_nothing_is_no_better_than_a_constant(learning_rate):
    X, y = make_task("regression")
    model = MLPFromScratchRegressor(
        hidden_layer_sizes=(), weight_init="zeros", solver="sgd", learning_rate=learning_rate, learning_rate_init=1e-10
    )
    model.set_params(max_iter=60, bias_init="zeros", random_state=0)
    with pytest.warns(ConvergenceWarning, match="no better than a constant"):
        model.fit(X, y - y.mean())
    assert 0 < model.score(X, y - y.mean()) < 1e-6


def test_a_loss_that_has_grown_by_a_hundredth_is_no_divergence():
    X, y = np.ones((100, 1)), np.linspace(-1, 1, 100)[:, np.newaxis]
    for growth, n_said in ((0.009, 0), (0.011, 1)):
        network = Perceptron([1, 1], [])
        judge = outcomes.Judge(network, SquaredError(), TrainingData(X, y), Progress())
        network.biases[0][:] = np.sqrt(growth * np.mean(y**2))
        assert len(judge.advice(False)) == n_said


def test_samples_without_weight_are_not_looked_at():
    X = np.random.RandomState(0).randn(1000, 3)
    counts = np.arange(1000) % 10 == 5
    y = np.where(counts, X[:, 0], 1e6)
    model = MLPFromScratchRegressor(hidden_layer_sizes=3, max_iter=200, batch_size=100, tol=1e-3, random_state=0)
    assert not said_of_use(lambda: model.fit(X, y, sample_weight=counts.astype(float)))


def test_only_what_is_said_of_convergence_goes_on_about_the_scale():
    advice = [("by the user", UserWarning), ("not converged", ConvergenceWarning), ("again", ConvergenceWarning)]
    said = outcomes.with_scale(advice, lambda: "Scale X.")
    assert [message for message, _ in said] == ["by the user", "not converged Scale X.", "again"]


# Curves in partial_fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_partial_fit_appends_to_the_curve_instead_of_copying_it(task):
    X, y = make_task(task)
    classes = {"classes": range(3) if task == "multilabel" else np.unique(y)} if task in CLASSIFICATION else {}
    model = our_estimator(task).partial_fit(X, y, **classes).partial_fit(X, y)
    curve, twins = model.loss_curve_, [copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    model.partial_fit(X, y)
    assert model.loss_curve_ is curve
    assert len(curve) == 3
    for twin in twins:
        assert twin.loss_curve_ == curve[:2]
        assert twin.partial_fit(X, y).loss_curve_ == curve
    assert len(curve) == 3


def test_a_failed_partial_fit_takes_back_what_it_appended():
    X, y = make_task("regression")
    model = our_estimator("regression").partial_fit(X, y).partial_fit(X, y)
    curve, values = model.loss_curve_, list(model.loss_curve_)

    def fail(estimator):
        assert len(estimator.loss_curve_) == 3
        raise RuntimeError

    model.set_callbacks(fail)
    with pytest.raises(RuntimeError):
        model.partial_fit(X, y)
    assert model.loss_curve_ is curve
    assert curve == values
    assert len(model.set_callbacks().partial_fit(X, y).loss_curve_) == 3


@quiet
def test_fit_leaves_the_curve_of_the_fit_before_alone():
    X, y = make_task("regression")
    model = our_estimator("regression", max_iter=3, warm_start=True).fit(X, y)
    curve = model.loss_curve_
    model.fit(X, y)
    assert len(curve) == 3
    assert len(model.loss_curve_) == 6


# Where warnings point ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_iter": 2},
        {"solver": "lbfgs", "max_iter": 2},
        {"solver": "lbfgs", "tol": 5},
        {"batch_size": 1000, "max_iter": 2},
        {"beta_1": 0.5, "solver": "sgd"},
        {"dropout": 0.5, "hidden_layer_sizes": (), "max_iter": 2},
        {"scoring": "r2", "max_iter": 2},
        {"validation_fraction": 0.3, "max_iter": 2},
        {"solver": "sgd", "learning_rate_init": 3.0, "max_iter": 2, "batch_size": 50},
    ],
    ids=str,
)
def test_warnings_point_at_the_callers_line(parameters):
    X, y = make_task("regression")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        our_estimator("regression", **parameters).fit(X, y)
    assert caught
    assert {Path(warning.filename) for warning in caught} == {Path(__file__)}


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_the_warning_of_a_column_of_targets_points_at_the_callers_line(task):
    X, y = make_task(task)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_pipeline(StandardScaler(), our_estimator(task, max_iter=1)).fit(X, y.reshape(-1, 1))
    assert {warning.category for warning in caught} == {DataConversionWarning, ConvergenceWarning}
    assert {Path(warning.filename) for warning in caught} == {Path(__file__)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: make_pipeline(StandardScaler(), model),
        lambda model: GridSearchCV(model, {"alpha": [0.1]}, cv=2),
        lambda model: GridSearchCV(make_pipeline(StandardScaler(), model), {"mlpfromscratchregressor__tol": [0]}, cv=2),
        lambda model: BaggingRegressor(model, 2, n_jobs=1),
        lambda model: TransformedTargetRegressor(model),
        lambda model: model.set_callbacks(lambda fitted: None),
    ],
    ids=["pipeline", "search", "search over a pipeline", "bagging", "transformed target", "callback"],
)
def test_warnings_point_at_the_callers_line_through_scikit_learn(wrap):
    X, y = make_task("regression")
    model = wrap(our_estimator("regression", max_iter=2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    assert caught
    assert {Path(warning.filename) for warning in caught} == {Path(__file__)}


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: make_pipeline(StandardScaler(), model)])
def test_warnings_of_a_worker_point_at_the_package(wrap):
    """There is no line of the caller's, and one of ``multiprocessing`` or ``threading`` says nothing."""
    model = wrap(our_estimator("regression", max_iter=2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        worker = Thread(target=model.fit, args=make_task("regression"))
        worker.start()
        worker.join()
    assert caught
    assert {Path(warning.filename).parent.name for warning in caught} == {"estimators"}
