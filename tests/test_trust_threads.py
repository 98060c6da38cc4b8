"""One configuration has the same bits whoever runs it, a model is trained by one at a time, and memory has bounds."""

import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from tasks import TASKS, make_task, our_estimator
from test_engines import needs_numba
from threadpoolctl import threadpool_limits

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor
from sknn_scratch.engines.policy import SMALL, parts
from sknn_scratch.engines.threads import blas_threads, one_blas_thread, usual_blas_threads
from sknn_scratch.training.callbacks import EpochCallback

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ENGINES = ["numpy", pytest.param("numba", marks=needs_numba)]


@pytest.fixture
def _two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield


def numbers(model):
    return np.concatenate([*(w.ravel() for w in model.coefs_ + model.intercepts_), model.loss_curve_])


# Same bits ------------------------------------------------------------------------------------------------------------


def large_model(engine, **parameters):
    """Return a model whose steps are cut into parts by either engine, and its data."""
    rng = np.random.RandomState(0)
    X, y = rng.randn(700, 100), rng.randint(3, size=700)
    settings = {"hidden_layer_sizes": (160, 90), "batch_size": 600, "max_iter": 2, "random_state": 0} | parameters
    assert SMALL < 600 * 100 * 160
    assert parts(600, 100 * 160 + 160 * 90 + 90 * 3, 2) == 2
    return MLPFromScratchClassifier(engine=engine, **settings), X, y


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("parameters", [{}, {"max_grad_norm": 0.1, "early_stopping": True}, {"dropout": 0.2}], ids=str)
def test_one_of_eight_threads_computes_the_same_bits(engine, parameters):
    model, X, y = large_model(engine, **parameters)
    expected = clone(model).fit(X, y)
    models = [clone(model) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        fitted = list(pool.map(lambda one: one.fit(X, y), models))
    for one in fitted:
        assert_array_equal(numbers(one), numbers(expected))
        assert one.validation_loss_curve_ == expected.validation_loss_curve_


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("_two_threads")
def test_a_fit_while_blas_is_held_elsewhere_computes_the_same_bits(engine):
    model, X, y = large_model(engine)
    expected = clone(model).fit(X, y)
    with one_blas_thread():
        assert (blas_threads(), usual_blas_threads()) == (1, 2)
        assert_array_equal(numbers(clone(model).fit(X, y)), numbers(expected))
    assert (blas_threads(), usual_blas_threads()) == (2, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_of_joblib_with_as_many_threads_computes_the_same_bits(engine):
    models = [large_model(engine)[0], our_estimator("binary", engine=engine, max_iter=3, batch_size=1, alpha=0.1)]
    data = [large_model(engine)[1:], make_task("binary")]
    with threadpool_limits(1, user_api="blas"):
        expected = [clone(model).fit(*given) for model, given in zip(models, data, strict=True)]
    with joblib.parallel_config("loky", n_jobs=1, inner_max_num_threads=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = joblib.Parallel(n_jobs=2)(
            joblib.delayed(clone(model).fit)(*given) for model, given in zip(models, data, strict=True)
        )
    for one, other in zip(fitted, expected, strict=True):
        assert_array_equal(numbers(one), numbers(other))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("batch_size", [1, 200])
def test_small_steps_have_the_same_bits_with_any_number_of_threads(engine, solver, batch_size):
    """Also where the vector of the parameters is long, and BLAS would share out its products with a vector."""
    rng = np.random.RandomState(0)
    X, y = rng.randn(20, 60), rng.randn(20)
    own = {} if solver == "lbfgs" else {"batch_size": min(batch_size, 20), "max_grad_norm": 0.1}
    model = MLPFromScratchRegressor(
        hidden_layer_sizes=(200,), engine=engine, solver=solver, max_iter=2, random_state=0, **own
    )
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads, user_api="blas"):
            found.append(numbers(clone(model).fit(X, y)))
    assert_array_equal(*found)


# Several threads, one model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
@pytest.mark.usefixtures("_two_threads")
def test_several_threads_predict_with_one_model(monkeypatch, task, kind):
    monkeypatch.setattr("sknn_scratch.engines.threads.WORTH_THREADS", 2**16)
    X, y = make_task(task)
    model = our_estimator(task, hidden_layer_sizes=(40, 30), max_iter=3).fit(X, y)
    chunks = [kind(np.tile(X[: 20 * k], (4, 1))) for k in (1, 3, 7)]
    expected = [model.predict(chunk) for chunk in chunks]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: model.predict(chunks[k % 3]), range(120)))
    for k, prediction in enumerate(found):
        assert_array_equal(prediction, expected[k % 3])


@pytest.mark.parametrize("second", ["fit", "partial_fit"])
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_a_model_is_trained_by_one_thread_at_a_time(first, second):
    X, y = make_task("binary")
    inside, leave, told = threading.Event(), threading.Event(), []

    class Slow(EpochCallback):
        def on_epoch_end(self, estimator):
            inside.set()
            leave.wait(10)

        def on_train_end(self, estimator):
            told.append("end")

    def train(model, how):
        return model.fit(X, y) if how == "fit" else model.partial_fit(X, y, classes=np.unique(y))

    model = our_estimator("binary", max_iter=1).set_callbacks(Slow())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train, model, first)
        assert inside.wait(10)
        before = dict(vars(model))
        with pytest.raises(RuntimeError, match=r"^This MLPFromScratchClassifier is being trained already"):
            train(model, second)
        assert all(vars(model)[name] is value for name, value in before.items())
        assert vars(model).keys() == before.keys()
        assert told == []
        leave.set()
        assert running.result() is model
    assert told == ["end"]
    alone = train(our_estimator("binary", max_iter=1), first)
    assert_array_equal(numbers(model), numbers(alone))
    train(model, second)  # when the first has ended, another may


def test_a_callback_cannot_train_the_model_that_it_watches():
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=1)

    class Meddling(EpochCallback):
        def on_epoch_end(self, estimator):
            estimator.partial_fit(X, y, classes=np.unique(y))

    class Comparing(EpochCallback):
        def on_epoch_end(self, estimator):
            clone(estimator).set_callbacks().fit(X, y)

    model.set_callbacks(Meddling())
    with pytest.raises(RuntimeError, match=r"around the callback that calls"):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")
    model.set_callbacks(Comparing()).fit(X, y)


# Memory ---------------------------------------------------------------------------------------------------------------

N_ROWS = 400_000
# Bytes for each row beyond what was given, with samples of float32. Counted: encoded targets, orders of the rows, those
# that are held out, weights of classes.
CASES = {
    "regression": (MLPFromScratchRegressor, {}, 1, 4 + 4 + 8),
    "regression, early stopping": (MLPFromScratchRegressor, {"early_stopping": True}, 1, 4 + 4 + 4 + 6),
    "binary": (MLPFromScratchClassifier, {}, 2, 22),
    "binary, early stopping": (MLPFromScratchClassifier, {"early_stopping": True}, 2, 22),
    "four classes, early stopping": (MLPFromScratchClassifier, {"early_stopping": True}, 4, 16 + 4 + 4 + 10),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("estimator", "parameters", "n_classes", "bytes_per_row"), CASES.values(), ids=CASES)
def test_memory_beyond_the_samples_is_a_few_bytes_for_each_row(
    monkeypatch, engine, estimator, parameters, n_classes, bytes_per_row
):
    monkeypatch.setattr("sknn_scratch.estimators.labels.ROWS_AT_ONCE", 2**13)
    X = np.random.RandomState(0).standard_normal((N_ROWS, 3)).astype(np.float32)
    y = X[:, 0].copy() if estimator is MLPFromScratchRegressor else np.digitize(X[:, 0], [-1, 0, 1]) % n_classes
    model = estimator(hidden_layer_sizes=2, max_iter=1, batch_size=2000, engine=engine, random_state=0, **parameters)
    clone(model).fit(X[:3000], y[:3000])  # what is made but once
    tracemalloc.start()
    try:
        model.fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / N_ROWS <= bytes_per_row
