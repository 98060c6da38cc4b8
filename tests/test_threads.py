"""The limit of BLAS threads during fit."""

import ctypes
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sknn_scratch.network import Network
from tasks import make_task, our_estimator
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from sknn_scratch import MLPFromScratchClassifier
from sknn_scratch.losses import Quantile
from sknn_scratch.threads import (
    SINGLE_THREADED_ANYWAY,
    SMALL,
    WORTH_THREADS,
    for_each_in_threads,
    one_blas_thread,
    one_blas_thread_if_small,
    threads_worth,
)

try:
    from sknn_scratch.engines import c_functions, numba_epoch, numba_team, numba_training
except ImportError:
    numba_training = None

needs_numba = pytest.mark.skipif(numba_training is None, reason="numba is not installed")

INSIDE = (SINGLE_THREADED_ANYWAY + SMALL) // 2


def blas_threads():
    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def _two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield


@pytest.mark.parametrize(("product", "limited"), [(10, False), (INSIDE, True), (SMALL, False)])
def test_limit_goes_by_size_and_is_lifted(product, limited):
    before = blas_threads()
    with one_blas_thread_if_small(product):
        assert blas_threads() == ([1] * len(before) if limited else before)
    assert blas_threads() == before
    with pytest.raises(KeyError), one_blas_thread_if_small(product):
        raise KeyError
    assert blas_threads() == before


def test_a_lower_limit_of_the_user_stays():
    with threadpool_limits(1, user_api="blas"):
        with one_blas_thread_if_small(INSIDE):
            pass
        assert set(blas_threads()) == {1}


def test_overlapping_blocks():
    before, inside, leave = blas_threads(), threading.Event(), threading.Event()

    def overlap():
        with one_blas_thread_if_small(INSIDE):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=overlap)
    with one_blas_thread_if_small(INSIDE):
        thread.start()
        inside.wait(10)
        with one_blas_thread_if_small(INSIDE):
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == before
    leave.set()
    thread.join(10)
    assert blas_threads() == before
    with one_blas_thread_if_small(INSIDE):
        assert set(blas_threads()) == {1}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_in_threads_do_not_disturb_each_other():
    X = np.random.RandomState(0).randn(200, 100)
    models = [MLPFromScratchClassifier(80, max_iter=4, random_state=seed) for seed in range(6)]
    before = blas_threads()
    expected = [clone(model).fit(X, X[:, 0] > 0).coefs_[0] for model in models]
    with ThreadPoolExecutor(3) as pool:
        fitted = list(pool.map(lambda model: model.fit(X, X[:, 0] > 0), models))
    for model, coefs in zip(fitted, expected, strict=True):
        assert_allclose(model.coefs_[0], coefs, rtol=1e-9)
    assert blas_threads() == before


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(("width", "limited"), [(4, False), (150, True), (2000, True)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit(monkeypatch, width, limited, solver):
    seen, compute = [], Network.backward

    def record(self, *args):
        seen.append(blas_threads())
        return compute(self, *args)

    monkeypatch.setattr(Network, "backward", record)
    before = blas_threads()
    X = np.random.RandomState(0).randn(100, 100)
    MLPFromScratchClassifier(width, max_iter=1, solver=solver).fit(X, X[:, 0] > 0)
    assert seen[0] == ([1] * len(before) if limited else before)
    assert blas_threads() == before


def test_no_blas_is_known(monkeypatch):
    """As on a Mac, where NumPy has Apple's Accelerate."""
    others = ThreadpoolController().select(user_api="openmp")
    monkeypatch.setattr("sknn_scratch.threads._controller", lambda: others)
    X, y = make_task("multiclass")
    X, y = np.tile(X, (10, 1)), np.tile(y, 10)
    for solver in ("adam", "lbfgs"):
        model = our_estimator("multiclass", hidden_layer_sizes=(300, 300), max_iter=1, solver=solver)
        with pytest.warns(ConvergenceWarning):
            model.fit(X, y)
        assert model.predict(X).shape == y.shape
    assert threads_worth(2**40) == 1


def in_fork(function):
    """Return what a function returns in a forked process, as text."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forks beside threads
        process = os.fork()
    if process == 0:
        try:
            os.write(writing, str(function()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        result = pipe.read()
    os.waitpid(process, 0)
    return result


def limited_and_lifted():
    """Return the numbers of threads, and those within and after a block."""
    before = blas_threads()
    with one_blas_thread():
        within = blas_threads()
    return set(before), set(within), set(blas_threads())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize("in_another_thread", [True, False])
def test_a_forked_process_has_its_threads_back(in_another_thread):
    """Whether it is forked by the thread that holds BLAS to one, or by another."""
    with one_blas_thread():
        if in_another_thread:
            with ThreadPoolExecutor(1) as pool:
                seen = pool.submit(in_fork, limited_and_lifted).result()
        else:
            seen = in_fork(limited_and_lifted)
        assert set(blas_threads()) == {1}
    assert seen == "({2}, {1}, {2})"
    assert set(blas_threads()) == {2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_process_forked_inside_a_block_can_leave_it():
    with ExitStack() as block:
        block.enter_context(one_blas_thread())
        assert in_fork(lambda: (block.close(), limited_and_lifted())) == "(None, ({2}, {1}, {2}))"
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {2}


# Prediction -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", [10, WORTH_THREADS])
def test_for_each_in_threads(work):
    before, threads, limits = blas_threads(), set(), set()

    def note(item):
        threads.add(threading.get_ident())
        limits.update(blas_threads())
        done.append(item)
        barrier.wait(10)

    barrier = threading.Barrier(2 if work >= WORTH_THREADS else 1)
    done = []
    for_each_in_threads(note, range(6), work)
    assert sorted(done) == list(range(6))
    assert len(threads) == (2 if work >= WORTH_THREADS else 1)
    assert limits == {1}
    assert blas_threads() == before
    with threadpool_limits(1, user_api="blas"):
        threads.clear()
        for_each_in_threads(lambda item: threads.add(threading.get_ident()), range(6), WORTH_THREADS)
        assert threads == {threading.get_ident()}


def test_an_error_in_a_thread():
    before = blas_threads()

    def fail(item):
        raise KeyError(item)

    with pytest.raises(KeyError):
        for_each_in_threads(fail, range(6), WORTH_THREADS)
    assert blas_threads() == before


def test_an_error_ends_the_work_of_the_other_threads():
    main, others = threading.get_ident(), threading.Event()
    done = []

    def fail(item):
        if threading.get_ident() == main:
            others.wait(10)
            raise KeyError(item)
        others.set()
        time.sleep(0.005)
        done.append(item)

    with pytest.raises(KeyError):
        for_each_in_threads(fail, range(400), WORTH_THREADS)
    assert len(done) < 200


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("make", [np.asarray, csr_matrix])
def test_many_rows_are_predicted_like_few(monkeypatch, task, make):
    monkeypatch.setattr("sknn_scratch.threads.WORTH_THREADS", 2**21)
    X, y = make_task(task)
    model = our_estimator(task, hidden_layer_sizes=(200, 100), solver="lbfgs", max_iter=5, tol=1).fit(X, y)
    many = np.tile(X, (40, 1))
    assert len(many) * sum(w.size for w in model.coefs_) > 2**21
    method = model.predict_proba if task == "multiclass" else model.predict
    assert_allclose(method(make(many)), np.concatenate([method(X)] * 40), rtol=1e-12)
    with np.errstate(over="raise", invalid="raise"):
        model.predict(make(1e200 * many))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_rows", [1, 7, 50])
def test_columns_of_wide_layers_are_shared_out(monkeypatch, n_rows, dtype):
    """Where there are too few rows for each thread."""
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(301, 200), activation="gelu", solver="lbfgs", max_iter=3)
    with pytest.warns(ConvergenceWarning):
        model.fit(X.astype(dtype), y)
    expected = model.predict_proba(X[:n_rows].astype(dtype))
    threads, barrier = set(), threading.Barrier(2)

    def together(function, items, work):
        """Have two parts done by two threads, however busy the machine is."""

        def one(item):
            if len(items) == 2:
                barrier.wait(20)
            threads.add(threading.get_ident())
            function(item)

        return for_each_in_threads(one, items, work)

    monkeypatch.setattr("sknn_scratch.threads.WORTH_THREADS", 2**16)
    monkeypatch.setattr("sknn_scratch.network.for_each_in_threads", together)
    tolerance = {np.float64: 1e-12, np.float32: 1e-5}[dtype]
    assert_allclose(model.predict_proba(X[:n_rows].astype(dtype)), expected, rtol=tolerance)
    assert len(threads) == 2
    with np.errstate(over="raise", invalid="raise"):
        model.predict(1e30 * X[:n_rows].astype(dtype))


def test_threads_follow_the_work():
    with threadpool_limits(2, user_api="blas"):
        assert [threads_worth(work) for work in (0, WORTH_THREADS - 1, WORTH_THREADS, 2**40)] == [1, 1, 2, 2]
    with threadpool_limits(1, user_api="blas"):
        assert threads_worth(2**40) == 1


# Training of large networks -------------------------------------------------------------------------------------------


def large(task, **parameters):
    """Return a model whose products are not small, and its data."""
    X, y = make_task(task)
    X, y = np.tile(X, (4, 1)) + 0.1 * np.random.RandomState(0).randn(600, 8), np.concatenate([y] * 4)
    parameters = {
        "hidden_layer_sizes": (300, 120),
        "max_iter": 3,
        "batch_size": 250,
        "activation": "tanh",
        **parameters,
    }
    return our_estimator(task, **parameters), X, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "parameters",
    [{}, {"solver": "sgd", "fit_intercept": False}, {"activation": "gelu", "alpha": 0.1}, {"max_grad_norm": 0.1}],
    ids=str,
)
@pytest.mark.parametrize("make", [np.asarray, csr_matrix])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["multiclass", "regression", "multilabel"])
def test_rows_are_shared_out(monkeypatch, task, weighted, make, parameters):
    """A thread for each half of the rows: the same sums in another order."""
    model, X, y = large(task, engine="numpy", **parameters)
    assert SMALL < 250 * 300 * 120
    weight = np.arange(1.0, 601) if weighted else None
    threads = set()
    backward = Network.backward

    def spy(network, X, *args):
        threads.add((threading.get_ident(), X.shape[0]))
        assert set(blas_threads()) == {1}
        return backward(network, X, *args)

    with threadpool_limits(1, user_api="blas"):
        alone = clone(model).fit(make(X), y, weight)
    before = blas_threads()
    monkeypatch.setattr(Network, "backward", spy)
    model.fit(make(X), y, weight)
    assert len({thread for thread, _ in threads}) == 2
    assert {n for _, n in threads} == {125, 100}  # the last minibatch is too small
    for a, b in zip(model.coefs_ + model.intercepts_, alone.coefs_ + alone.intercepts_, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert_allclose(model.loss_curve_, alone.loss_curve_, rtol=1e-12)
    assert blas_threads() == before


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "sgd", "fit_intercept": False, "hidden_layer_sizes": ()},
        {"activation": "gelu", "alpha": 0.1, "l1_ratio": 0.5},
        {"activation": ["silu", "relu"], "max_grad_norm": 0.1, "dtype": np.float32},
        {"solver": "nadam", "early_stopping": True, "hidden_layer_sizes": (7, 3)},
        # The last minibatch has fewer rows than there are threads.
        {"solver": "adamw", "activation": "mish", "shuffle": False, "batch_size": 199},
    ],
    ids=str,
)
@pytest.mark.parametrize(("make", "weighted"), [(np.asarray, False), (np.asfortranarray, True), (csr_matrix, True)])
@pytest.mark.parametrize("task", ["multiclass", "regression", "multilabel"])
def test_compiled_epochs_are_shared_out(monkeypatch, task, weighted, make, parameters):
    parameters = {"hidden_layer_sizes": (30, 12), "dtype": np.float64, **parameters}
    dtype = parameters.pop("dtype")
    model, X, y = large(task, **parameters)
    assert_shared_out(monkeypatch, model, make(X.astype(dtype)), y, np.arange(600.0) // 250 if weighted else None)


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("make", "weighted"), [(np.asarray, False), (csr_matrix, True)])
@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("regression", "gaussian_nll"),
        ("multioutput", "gaussian_nll"),
        ("multioutput", Quantile([0.1, 0.5, 0.9])),
        ("multiclass", "log_loss"),
        ("multiclass", "hinge"),
    ],
    ids=str,
)
def test_heads_and_raw_outputs_are_shared_out(monkeypatch, task, loss, make, weighted):
    """With more raw outputs than targets, or several classification targets."""
    model, X, y = large(task, loss=loss, hidden_layer_sizes=(30, 12))
    if task == "multiclass":
        y = np.column_stack([y, X[:, 0] > 0])
    assert_shared_out(monkeypatch, model, make(X), y, np.arange(600.0) // 250 if weighted else None)


def assert_shared_out(monkeypatch, model, X, y, weight):
    """Two, three or four parts: the same sums in another order, and to the last bit so whoever does them."""
    monkeypatch.setattr(Network, "is_small", lambda self, n_rows: False)

    def fit(engine, n_threads, worth_starting=0):
        with monkeypatch.context() as patch:
            patch.setattr("sknn_scratch.base.threads_for", lambda _: nullcontext((None, n_threads - 1)))
            patch.setattr(numba_training, "WORTH_STARTING", worth_starting)
            fitted = clone(model).set_params(engine=engine).fit(X, y, weight)
        return [*fitted.coefs_, *fitted.intercepts_, np.array(fitted.loss_curve_)]

    rtol = 1e-9 if X.dtype == np.float64 else 1e-3
    reference = fit("numpy", 1)
    for n_threads in (1, 2, 3, 4):
        shared = fit("numba", n_threads)
        for a, b in zip(shared, reference, strict=True):
            assert_allclose(a, b, rtol=rtol, atol=rtol / 100)
        for a, b in zip(shared, fit("numba", n_threads, np.inf), strict=True):
            assert_array_equal(a, b)


@needs_numba
def test_threads_of_compiled_epochs_take_part_and_end(monkeypatch):
    """Every part of every phase is begun once, mostly by the thread whose part it is."""
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=300, max_iter=20)
    teams, make = [], numba_training._team

    def remember(*args):
        teams.append(make(*args))
        return teams[-1]

    monkeypatch.setattr(numba_training, "_team", remember)
    n_threads = threading.active_count()
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert threading.active_count() == n_threads
    (team,) = teams
    n_phases = 20 * 3 * 2
    assert team.n_parts == 2
    assert team.counters[numba_team.PHASE] == n_phases
    assert team.counters[numba_team.DONE] == 2 * n_phases
    assert team.counters[numba_team.STOP] == 1


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_compiled_code_returns_now_and_then_for_ctrl_c(monkeypatch):
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=30, random_state=0)
    at_once = clone(model).fit(X, y)
    monkeypatch.setattr(numba_training, "MOST_AT_ONCE", 1)
    in_pieces = clone(model).fit(X, y)
    assert_array_equal(in_pieces.coefs_[0], at_once.coefs_[0])
    assert_allclose(in_pieces.loss_curve_, at_once.loss_curve_, rtol=1e-14)

    n_calls, compile_or_load = 0, numba_training.compiled

    def interrupted(function, dtype):
        run = compile_or_load(function, dtype)

        def call(*args):
            nonlocal n_calls
            n_calls += function is numba_epoch.lead
            if n_calls == 5:  # of three minibatches in each epoch
                raise KeyboardInterrupt
            return run(*args)

        return call

    monkeypatch.setattr(numba_training, "compiled", interrupted)
    n_threads, before = threading.active_count(), blas_threads()
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, y)
    assert model.n_iter_ == 1
    assert n_calls == 5
    assert threading.active_count() == n_threads
    assert blas_threads() == before


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_thread_begins_its_part_if_the_leader_has_not(monkeypatch):
    model, X, y = large("multiclass", engine="numba")
    teams, make, threads = [], numba_training._team, []
    monkeypatch.setattr(numba_training, "_team", lambda *args: teams.append(make(*args)) or teams[-1])
    monkeypatch.setattr(numba_training, "_start", threads.extend)
    model.fit(X, y)
    counters, begun = teams[0].counters, numba_team.BEGUN
    done, phase = counters[numba_team.DONE], counters[numba_team.PHASE]
    counters[numba_team.STOP] = 0
    threads[0].start()
    time.sleep(0.05)
    assert counters[numba_team.DONE] == done
    counters[numba_team.PHASE] = phase + 1
    for _ in range(1000):
        time.sleep(0.01)
        if counters[numba_team.DONE] > done:
            break
    time.sleep(0.05)
    assert counters[numba_team.DONE] == done + 1
    assert counters[begun : begun + 2 * numba_team.LINE : numba_team.LINE].tolist() == [phase, phase + 1]
    counters[numba_team.STOP] = 1
    threads[0].join(10)
    assert not threads[0].is_alive()


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_long_epochs_are_cut_between_minibatches(monkeypatch):
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=100, batch_size=100, solver="nadam")
    whole = clone(model).fit(X, y)
    calls, steps_made = [], numba_training.steps_made
    monkeypatch.setattr(numba_training, "steps_made", lambda *args: calls.append(steps_made(*args)))
    monkeypatch.setattr(numba_training, "MOST_AT_ONCE", 250 * 1100)
    cut = clone(model).fit(X, y)
    assert len(calls) == 3 * 3
    assert_array_equal(cut.coefs_[0], whole.coefs_[0])
    assert_allclose(cut.loss_curve_, whole.loss_curve_, rtol=1e-14)


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sparse_samples_are_not_copied(monkeypatch):
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=100)
    memories, make = [], numba_training._memory
    monkeypatch.setattr(numba_training, "_memory", lambda *args: memories.append(make(*args)) or memories[-1])
    for samples in (csr_matrix(X), X):
        model.fit(samples, y)
    assert [memory.a.size for memory in memories] == [250 * 100, 250 * (100 + 8)]


@needs_numba
def test_the_leader_goes_on_alone_after_long_waits():
    team, learn = numba_training._team(2, np.dtype(float), 10**6), numba_epoch._learn.py_func
    left, following = numba_team.LEFT_ALONE, numba_team.NEXT_ALONE

    def phases_alone():
        learn(True, team)
        n = 0
        while team.job[left] > 0 and n < 10000:
            learn(False, team)
            n += 1
        return n

    assert [phases_alone() for _ in range(8)] == [64, 128, 256, 512, 1024, 2048, 4096, 4096]
    for _ in range(4096):
        learn(False, team)
    assert team.job[following] == 64


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_thread_without_work_sleeps_longer_and_longer(monkeypatch):
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=10, max_iter=1)
    naps = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    def note(duration):
        naps.append(duration)
        return 0

    def wait(estimator):
        while len(naps) < 10**5 and (len(naps) < 50 or naps[-1] < 1000):
            time.sleep(0.001)

    monkeypatch.setattr("sknn_scratch.base.threads_for", lambda _: nullcontext((None, 1)))
    monkeypatch.setattr(numba_training, "WORTH_STARTING", 0)
    monkeypatch.setattr(numba_training, "nap", lambda: (ctypes.cast(note, ctypes.c_void_p).value, 1000))
    model.set_callbacks(wait).fit(X, y)
    assert (naps[0], max(naps)) == (50, 1000)
    assert all(after in (50, min(before + before // 8, 1000)) for before, after in pairwise(naps))


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_threads_of_compiled_epochs_start_when_there_is_enough_to_do(monkeypatch):
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=100)
    started, start = [], threading.Thread.start

    def note(thread):
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    monkeypatch.setattr(numba_training, "WORTH_STARTING", 600 * 1100 * 3)
    for _ in range(4):
        model.partial_fit(X, y, classes=np.unique(y))
    assert started == []
    model.set_params(max_iter=2).fit(X, y)
    assert started == []
    model.set_params(max_iter=4).fit(X, y)
    assert len(started) == 1
    assert started[0].daemon


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_more_threads_are_to_be_had(monkeypatch):
    model, X, y = large("multiclass", engine="numba", max_iter=20)
    expected = clone(model).fit(X, y)
    many = np.tile(X, (40, 1))
    predicted = expected.predict_proba(many)

    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    monkeypatch.setattr("sknn_scratch.threads._pool", lambda n_threads: ThreadPoolExecutor(n_threads))
    assert_array_equal(model.fit(X, y).coefs_[0], expected.coefs_[0])
    assert_array_equal(model.predict_proba(many), predicted)


ENDING = """
import atexit, sys, threading, time, warnings
import numpy as np
from sknn_scratch import MLPFromScratchClassifier
warnings.simplefilter("ignore")
X = np.random.RandomState(0).randn(2000, 64)
y, epochs = X[:, 0] > 0, []
model = MLPFromScratchClassifier(100, engine="numba", max_iter=2, tol=0).fit(X, y)
forever = MLPFromScratchClassifier(100, engine="numba", max_iter=10**6, n_iter_no_change=10**6)
forever.set_callbacks(lambda estimator: epochs.append(1))
threading.Thread(target=forever.fit, args=(X, y), daemon=True).start()
while len(epochs) < 10:
    time.sleep(0.01)

@atexit.register
def at_exit():
    print(model.predict(np.tile(X, (30, 1))).shape, model.set_params(max_iter=10).fit(X, y).n_iter_)
"""


@needs_numba
def test_a_program_that_ends():
    """It does not wait for training in a daemon, and what it does last may still train and predict."""
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "(60000,) 10\n"), done.stderr


@needs_numba
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_single_steps_where_the_loops_of_ufuncs_are_not_found(monkeypatch):
    with pytest.raises(NotImplementedError, match="lays out a ufunc in another way: <ufunc 'add'>"):
        c_functions.ufunc_loop(np.add, np.dtype(float))
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=30)
    expected = clone(model).fit(X, y)
    steps, step = [], Network.step

    def fail(ufunc, dtype):
        raise NotImplementedError

    monkeypatch.setattr(numba_training, "_loop", fail)
    monkeypatch.setattr(Network, "step", lambda *args: steps.append(1) or step(*args))
    assert_allclose(model.fit(X, y).coefs_[0], expected.coefs_[0], rtol=1e-9)
    assert len(steps) == 9


@needs_numba
def test_an_error_between_epochs_ends_the_threads():
    model, X, y = large("multiclass", engine="numba", max_iter=5)

    def fail(estimator):
        raise KeyError("from a callback")

    n_threads, before = threading.active_count(), blas_threads()
    with pytest.raises(KeyError, match="from a callback"):
        model.set_callbacks(fail).fit(X, y)
    assert threading.active_count() == n_threads
    assert blas_threads() == before


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_lbfgs_is_shared_out():
    model, X, y = large("multiclass", solver="lbfgs", max_iter=5, batch_size="auto")
    with threadpool_limits(1, user_api="blas"):
        alone = clone(model).fit(X, y)
    assert_allclose(model.fit(X, y).coefs_[0], alone.coefs_[0], rtol=1e-7, atol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_draws_of_dropout_are_not_shared_out():
    model, X, y = large("multiclass", dropout=0.3, max_iter=2)
    with threadpool_limits(1, user_api="blas"):
        alone = clone(model).fit(X, y)
    assert_allclose(model.fit(X, y).coefs_[0], alone.coefs_[0], rtol=1e-9, atol=1e-12)


def test_divergence_and_errors_in_a_helper(monkeypatch):
    model, X, y = large("regression", solver="sgd", learning_rate_init=1e6, activation="identity", engine="numpy")
    before = blas_threads()
    with pytest.raises(ValueError, match="Training diverged in epoch"):
        model.fit(X, y)
    main, backward = threading.get_ident(), Network.backward

    def fail(network, *args):
        if threading.get_ident() != main:
            raise KeyError("in a helper")
        return backward(network, *args)

    monkeypatch.setattr(Network, "backward", fail)
    with pytest.raises(KeyError, match="in a helper"):
        model.set_params(learning_rate_init=0.001).fit(X, y)
    assert blas_threads() == before
    assert not hasattr(model, "coefs_")
