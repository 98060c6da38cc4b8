"""Beyond one process: searches on Dask and Ray, studies of Optuna, and data in chunks with dask-ml."""

import os
import re
import secrets

import joblib
import numpy as np
import pytest
from networks import assert_same_network, classifier, load, regressor
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknn_scratch import Activation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def dask():
    """Start a Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed", reason="distributed, Dask's scheduler, is not installed")
    # Its page of status on any free port: several test processes may each have a cluster.
    address = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **address)
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def ray():
    """Start a Ray cluster of two processes, with a token of its own, which Ray would else keep at the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray = pytest.importorskip("ray", reason="ray is not installed")
        from ray.util.joblib import register_ray

        register_ray()
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield ray
        ray.shutdown()


@pytest.fixture(params=["dask", "ray"])
def backend(request):
    """Return the name of a backend of joblib whose cluster is running."""
    request.getfixturevalue(request.param)
    return request.param


def score_and_process():
    """Return a scorer that also says in which process it ran; a lambda, so that workers need not import this file."""
    return lambda model, X, y: {"score": model.score(X, y), "process": os.getpid()}


def assert_same_results(search, expected):
    """Compare what two searches found; the one was done by other processes."""
    for name, values in expected.cv_results_.items():
        if "test_score" in name:
            assert_array_equal(search.cv_results_[name], values)
    assert search.best_params_ == expected.best_params_
    processes = {search.cv_results_[f"split{k}_test_process"][i] for k in range(3) for i in range(3)}
    assert os.getpid() not in processes


def test_an_activation_of_ones_own(backend):
    """A class that workers cannot import, as that of a script or a notebook."""

    class Cube(Activation):
        def value(self, z):
            return z + 0.01 * z**3

        def derivative(self, z):
            return 1 + 0.03 * z**2

    X, y = load("wine")
    model = make_pipeline(StandardScaler(), classifier(activation=Cube()))
    grid = {"mlpfromscratchclassifier__alpha": [1e-4, 1.0, 300.0]}
    search, expected = (
        GridSearchCV(model, grid, cv=3, error_score="raise", scoring=score_and_process(), refit="score")
        for _ in range(2)
    )
    with joblib.parallel_config(backend=backend, n_jobs=2):
        search.fit(X, y)
    assert_same_results(search, expected.fit(X, y))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_grid_search(backend, task):
    """The scores, and the network found, are those of a search in this process."""
    X, y = load("wine" if task == "classification" else "diabetes")
    model = make_pipeline(StandardScaler(), classifier() if task == "classification" else regressor())
    grid = {f"{model.steps[-1][0]}__alpha": [1e-4, 1.0, 300.0]}
    search, expected = (
        GridSearchCV(model, grid, cv=3, error_score="raise", scoring=score_and_process(), refit="score")
        for _ in range(2)
    )
    with joblib.parallel_config(backend=backend, n_jobs=2):
        search.fit(X, y)
    assert_same_results(search, expected.fit(X, y))
    assert_same_network(search.best_estimator_[-1], expected.best_estimator_[-1])


def test_randomized_search(backend):
    X, y = load("wine")
    search, expected = (
        RandomizedSearchCV(
            classifier(),
            {"alpha": loguniform(1e-4, 1e3), "activation": ["relu", "silu"]},
            n_iter=3,
            cv=3,
            random_state=0,
            error_score="raise",
            scoring=score_and_process(),
            refit="score",
        )
        for _ in range(2)
    )
    with joblib.parallel_config(backend=backend, n_jobs=2):
        search.fit(X, y)
    assert_same_results(search, expected.fit(X, y))
    assert search.best_score_ > 0.9


@pytest.mark.filterwarnings("ignore:`optuna.terminator` module has been deprecated:FutureWarning")
@pytest.mark.parametrize("pruning", [False, True])
def test_optuna(pruning):
    """With pruning, an epoch at a time through ``partial_fit``; bad trials end early."""
    reason = "optuna-integration, with optuna and scikit-learn's part, is not installed"
    optuna = pytest.importorskip("optuna", reason=reason)
    integration = pytest.importorskip("optuna_integration", reason=reason)
    X, y = load("wine")
    distributions = {
        "alpha": optuna.distributions.FloatDistribution(1e-5, 1e3, log=True),
        "activation": optuna.distributions.CategoricalDistribution(["relu", "tanh"]),
    }
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with pytest.warns(optuna.exceptions.ExperimentalWarning):
            search = integration.OptunaSearchCV(
                classifier(),
                distributions,
                n_trials=8,
                cv=3,
                random_state=0,
                error_score="raise",
                enable_pruning=pruning,
                max_iter=20,
                study=optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0)),
            )
        search.fit(X, y)
    finally:
        optuna.logging.set_verbosity(level)
    assert search.best_score_ > 0.95
    assert_same_network(search.best_estimator_, classifier(**search.best_params_).fit(X, y))
    ends = {trial.state.name for trial in search.study_.trials}
    assert ends == ({"COMPLETE", "PRUNED"} if pruning else {"COMPLETE"})


def test_a_callback_prunes_a_study_of_optuna():
    """As the guide shows; what was given up stays as it was."""
    optuna = pytest.importorskip("optuna", reason="optuna is not installed")
    X, y = load("wine")
    models = []

    def objective(trial):
        def report(model):
            trial.report(model.validation_loss_curve_[-1], step=model.n_iter_)
            if trial.should_prune():
                raise optuna.TrialPruned

        rate = trial.suggest_float("learning_rate_init", 1e-6, 1e-1, log=True)
        models.append(classifier(learning_rate_init=rate, max_iter=20).set_callbacks(report))
        return min(models[-1].fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2]).validation_loss_curve_)

    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    for rate in (1e-2, 1e-6):
        study.enqueue_trial({"learning_rate_init": rate})
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert [hasattr(model, "coefs_") for model in models] == [True, False]


def in_chunks(name, n_rows):
    """Return the data set as arrays of Dask."""
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    X, y = load(name)
    return da.from_array(X, chunks=(n_rows, X.shape[1])), da.from_array(y, chunks=n_rows)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_incremental(dask, task):
    """``dask_ml.wrappers.Incremental`` is one ``partial_fit`` for each chunk, in turn."""
    wrappers = pytest.importorskip("dask_ml.wrappers", reason="dask-ml is not installed")
    name, model, given = "diabetes", regressor(), {}
    if task == "classification":
        name, model, given = "cancer", classifier(), {"classes": [0, 1]}
    X, y = in_chunks(name, 100)
    incremental = wrappers.Incremental(model, shuffle_blocks=False).fit(X, y, **given)
    expected = type(model)(**model.get_params())
    for start in range(0, len(X), 100):
        rows = slice(start, start + 100)
        expected.partial_fit(load(name)[0][rows], load(name)[1][rows], **given)
    assert_same_network(incremental.estimator_, expected)
    assert_allclose(incremental.predict(X).compute(), expected.predict(load(name)[0]), rtol=1e-12)
    before = incremental.score(*load(name))
    for _ in range(5):
        incremental.partial_fit(X, y, **given)
    assert incremental.score(*load(name)) > max(before, 0.3)


def test_hyperband(dask):
    """dask-ml's search that gives promising networks more calls of ``partial_fit``."""
    selection = pytest.importorskip("dask_ml.model_selection", reason="dask-ml is not installed")
    X, y = in_chunks("wine", 60)

    def search(model):
        found = selection.HyperbandSearchCV(model, {"alpha": loguniform(1e-4, 1e3)}, max_iter=9, random_state=0)
        return found.fit(X, y, classes=[0, 1, 2])

    try:
        found = search(classifier())
    except RuntimeError as error:
        with pytest.raises(RuntimeError, match=re.escape(str(error))):
            search(MLPClassifier())
        pytest.skip(f"dask-ml fails with scikit-learn's own MLPClassifier too: {error}")
    assert found.best_params_["alpha"] < 100
    assert np.isfinite(found.cv_results_["test_score"]).all()
