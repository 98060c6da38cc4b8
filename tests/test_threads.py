"""Threads: those of BLAS, and those among which predictions and the steps of training are shared out."""

import ctypes
import gc
import math
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cache
from itertools import pairwise
from queue import SimpleQueue
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse
from sklearn.base import clone
from tasks import make_task, our_estimator
from test_engines import make_job, train
from threadpoolctl import ThreadpoolController

from sknn_scratch import MLPFromScratchClassifier
from sknn_scratch.catalogue.activations import Activation
from sknn_scratch.catalogue.losses import Quantile
from sknn_scratch.engines import missing, policy, start, threads
from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.engines.policy import (
    AWAKE_SECONDS,
    FEWEST_ROWS,
    FIRST_PAUSE,
    LONG_STREAM,
    LONG_VECTOR,
    LONGEST_PAUSE,
    MOST_HELPED,
    PATIENCE_SECONDS,
    ROWS_LEFT_TO_BLAS,
    ROWS_TO_PREPARE,
    SHORTEST_PART,
    SINGLE_THREADED_ANYWAY,
    SLOWEST,
    SMALL,
    WORTH_THREADS,
)
from sknn_scratch.engines.threads import (
    for_each_in_threads,
    one_blas_thread,
    one_blas_thread_for,
    threads_for,
    threads_worth,
)
from sknn_scratch.perceptron import _multiply, _slices

try:
    import numba

    from sknn_scratch.engines.compiled import epoch, kernels, team
    from sknn_scratch.engines.compiled import run as compiled_run
except ImportError:
    compiled_run = None

needs_numba = pytest.mark.skipif(compiled_run is None, reason="numba is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BLAS = ThreadpoolController().select(user_api="blas")


def blas_threads():
    return [info["num_threads"] for info in BLAS.info()]


@pytest.fixture(autouse=True)
def _two_threads():
    with BLAS.limit(limits=2):
        yield


@pytest.mark.parametrize(
    ("product", "n_parameters", "limited"),
    [(10, 10, False), (SINGLE_THREADED_ANYWAY + 1, 10, True), (10, LONG_VECTOR + 1, True), (SMALL, 10, True)],
)
def test_limit_goes_by_size_and_is_lifted(product, n_parameters, limited):
    before = blas_threads()
    for block in (one_blas_thread_for, threads_for):
        with block(product, n_parameters):
            assert blas_threads() == ([1] * len(before) if limited else before)
        assert blas_threads() == before
        with pytest.raises(KeyError), block(product, n_parameters):
            raise KeyError
        assert blas_threads() == before


def test_many_threads_are_left_to_blas():
    with BLAS.limit(limits=MOST_HELPED + 1):
        before = blas_threads()
        with threads_for(SMALL, SMALL) as (n_parts, n_threads):
            assert (n_parts, n_threads, blas_threads()) == (1, 1, before)


class OfOpenMP:
    """A BLAS of which each thread has its own number of threads."""

    user_api, threading_layer = "blas", "openmp"

    def __init__(self):
        self.own = threading.local()
        self.limited = set()

    @property
    def num_threads(self):
        return getattr(self.own, "number", 4)

    def set_num_threads(self, number):
        self.own.number = number
        if number == 1:
            self.limited.add(threading.get_ident())


@pytest.mark.parametrize("engine", [None, "numpy", pytest.param("numba", marks=needs_numba)])
def test_threads_of_ours_limit_a_blas_of_openmp(monkeypatch, engine):
    library = OfOpenMP()
    monkeypatch.setattr(threads, "_blas_libraries", lambda: [library])
    monkeypatch.setattr(threads, "_pool", threads._pool.__wrapped__)
    if engine is None:
        seen, barrier = [], threading.Barrier(4)
        for_each_in_threads(
            lambda item: (barrier.wait(10), seen.append(library.num_threads)), range(4), WORTH_THREADS * 4
        )
        assert seen == [1] * 4
    else:
        if engine == "numba":
            monkeypatch.setattr(compiled_run, "WORTH_STARTING", 0)
        X = np.random.RandomState(0).randn(400, 300)
        MLPFromScratchClassifier(200, max_iter=2, engine=engine, batch_size=400).fit(X, X[:, 0] > 0)
    # Those that train, and it may be others that predict.
    assert len(library.limited) >= 4
    assert library.num_threads == 4


def test_a_lower_limit_of_the_user_stays():
    with BLAS.limit(limits=1):
        with one_blas_thread():
            pass
        assert set(blas_threads()) == {1}


def test_the_last_of_overlapping_blocks_lifts_the_limit():
    before, inside, leave = blas_threads(), threading.Event(), threading.Event()

    def overlap():
        with one_blas_thread():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=overlap)
    with one_blas_thread():
        thread.start()
        inside.wait(10)
        with one_blas_thread():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {1}
    leave.set()
    thread.join(10)
    assert blas_threads() == before
    with one_blas_thread():
        assert set(blas_threads()) == {1}


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


def test_any_thread_limits():
    """Whichever did so first; and everybody else may go on to set what they like."""
    before = blas_threads()

    def limit(_):
        with one_blas_thread():
            return blas_threads()

    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            limits = [*pool.map(limit, [None]), limit(None)]
            assert limits == [[1] * len(before)] * 2
            assert blas_threads() == before
        with BLAS.limit(limits=1):
            assert set(blas_threads()) == {1}
            assert set(*pool.map(limit, [None])) == {1}
            assert set(blas_threads()) == {1}
        assert blas_threads() == before


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("engine", "width", "limited"),
    [
        ("numpy", 4, False),
        ("numpy", 150, True),
        ("numpy", 2000, True),
        pytest.param("numba", 4, False, marks=needs_numba),
        pytest.param("numba", 2000, True, marks=needs_numba),
    ],
)
def test_fit(engine, width, limited, solver):
    before, seen = blas_threads(), []
    X = np.random.RandomState(0).randn(100, 100)
    model = MLPFromScratchClassifier(width, max_iter=1, solver=solver, engine=engine)
    model.set_callbacks(lambda estimator: seen.append(blas_threads())).fit(X, X[:, 0] > 0)
    assert seen[0] == ([1] * len(before) if limited else before)
    assert blas_threads() == before


def test_no_blas_is_known(monkeypatch):
    """As on a Mac, where NumPy has Apple's Accelerate."""
    monkeypatch.setattr(threads, "_blas_libraries", list)
    X, y = make_task("multiclass")
    X, y = np.tile(X, (3, 1)), np.tile(y, 3)
    for solver in ("adam", "lbfgs"):
        model = our_estimator("multiclass", hidden_layer_sizes=(300, 300), max_iter=1, solver=solver)
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


class CtrlC:
    """Ctrl-C, heard the n-th time that Python listens: as a function begins, or one of C has returned.

    But not as ``with`` has taken a lock, where Python 3.11 to 3.13 do not listen, and 3.14 would leave it taken.
    """

    def __init__(self, n):
        self.left = n

    def __enter__(self):
        sys.setprofile(self._listen)
        return self

    def __exit__(self, error_type, *_):
        sys.setprofile(None)
        return error_type is KeyboardInterrupt

    def _listen(self, frame, event, argument):
        if event == "call" and frame.f_code is CtrlC.__exit__.__code__:
            return
        if event == "call" or (event == "c_return" and argument.__name__ != "__enter__"):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("block", [one_blas_thread, lambda: threads.blas_threads_if_free(1, worth_waking=True)])
def test_ctrl_c_lifts_the_limit_whenever_it_is_heard(block):
    """All of NumPy would be held to one thread for the rest of the process."""
    for n in range(1, 1000):
        with CtrlC(n) as interrupt, block():
            pass
        assert set(blas_threads()) == {threads.usual_blas_threads()} == {2}
        with threads.blas_threads_if_free(1, worth_waking=True):
            assert set(blas_threads()) == {2}
        if interrupt.left > 0:
            break
    assert n > 10


# Prediction -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Nothing is known of neighbours, and time passes when ``clock.now`` is changed."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(threads, "_neighbours", threads._Neighbours())
    return clock


def threads_found(clock, seconds=0.0):
    """Return how many threads BLAS has in a block that may take 10 ms and takes so many seconds, within a stream."""
    for _ in range(LONG_STREAM):
        with threads.blas_threads_if_free(0.01, False):
            pass
    with threads.blas_threads_if_free(0.01, False):
        clock.now += seconds
        return set(blas_threads())


def test_blas_keeps_its_threads_until_they_wait_twice(clock):
    """Then it is held to one, twice as long each time they wait again, but not for ever, and half as long if not."""
    limit, free, held = 0.01 + PATIENCE_SECONDS, {2}, {1}

    def found(seconds=0.0):
        with threads.blas_threads_if_free(0.01, False):
            clock.now += seconds
            return set(blas_threads())

    assert [found() for _ in range(LONG_STREAM)] == [held] * LONG_STREAM  # they may sleep
    for seconds in (0.99 * limit, 1.01 * limit, 0.99 * limit, 1.01 * limit, 1.01 * limit):
        assert found(seconds) == free
    pause, pauses = FIRST_PAUSE, []
    while pause not in pauses:
        pauses.append(pause)
        clock.now += 0.9 * pause
        assert found() == found() == held
        clock.now += 0.11 * pause
        assert [found() for _ in range(LONG_STREAM)] == [held] * LONG_STREAM
        assert found(1.01 * limit) == free
        pause = min(2 * pause, LONGEST_PAUSE)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    clock.now += 1.01 * LONGEST_PAUSE
    assert [found() for _ in range(LONG_STREAM)] == [held] * LONG_STREAM
    assert found() == found(1.01 * limit) == found(1.01 * limit) == free
    clock.now += 0.49 * LONGEST_PAUSE
    assert found() == found() == held
    clock.now += 0.02 * LONGEST_PAUSE
    assert [found() for _ in range(LONG_STREAM)] == [held] * LONG_STREAM
    assert found() == free


def test_threads_of_blas_are_woken_only_where_that_pays(clock):
    def found(worth_waking=False):
        with threads.blas_threads_if_free(0.01, worth_waking):
            return set(blas_threads())

    def found_in_turn(gap):
        seen = []
        for _ in range(LONG_STREAM + 2):
            clock.now += gap
            seen += found()
        return seen

    stream = [1] * LONG_STREAM + [2, 2]
    assert found_in_turn(0.0) == stream
    assert found_in_turn(0.9 * AWAKE_SECONDS) == [2] * (LONG_STREAM + 2)
    clock.now += AWAKE_SECONDS
    assert found_in_turn(0.9 * AWAKE_SECONDS) == stream
    assert found_in_turn(1.1 * AWAKE_SECONDS) == [1] * (LONG_STREAM + 2)
    assert found(worth_waking=True) == {2}


@pytest.mark.parametrize("n_rows", [1, FEWEST_ROWS, FEWEST_ROWS + 1])
def test_the_fewest_rows_wake_the_threads_of_blas(monkeypatch, clock, n_rows):
    X, y = make_task("multiclass")
    model, found = our_estimator("multiclass", hidden_layer_sizes=(301, 200), max_iter=1).fit(X, y), set()
    monkeypatch.setattr("sknn_scratch.perceptron.SINGLE_THREADED_ANYWAY", 0)
    monkeypatch.setattr("sknn_scratch.perceptron.activate", lambda *args: found.update(blas_threads()))
    model.predict(X[:n_rows])
    assert found == ({2} if n_rows <= FEWEST_ROWS else {1})


def test_small_predictions_are_left_to_blas_whatever_their_rows(monkeypatch, clock):
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(301, 200), max_iter=1).fit(X, y)
    n_rows, found = ROWS_LEFT_TO_BLAS + 1, set()
    threads_found(clock)
    monkeypatch.setattr("sknn_scratch.perceptron.activate", lambda *args: found.update(blas_threads()))
    for work, expected in ((0, {1}), (-1, {2})):
        limit = n_rows * sum(weights.size for weights in model.coefs_) - 1 - work
        monkeypatch.setattr("sknn_scratch.perceptron.WORK_LEFT_TO_BLAS", limit)
        model.predict(X[:n_rows])
        assert found == expected
        found.clear()


def test_one_thread_at_a_time_predicts_with_the_threads_of_blas(clock):
    assert threads_found(clock) == {2}
    with ThreadPoolExecutor(1) as pool, threads.blas_threads_if_free(1, False):
        assert pool.submit(threads_found, clock).result() == {1}
        assert set(blas_threads()) == {2}
    assert threads_found(clock) == {2}


def test_a_block_with_an_error_tells_nothing(clock):
    def fail():
        clock.now += 1
        raise KeyError

    assert threads_found(clock) == {2}
    with pytest.raises(KeyError), threads.blas_threads_if_free(0.01, False):
        fail()
    assert threads_found(clock) == {2}


def neighbours_become_busy(clock):
    threads_found(clock)
    for _ in range(2):
        with threads.blas_threads_if_free(0.01, False):
            clock.now += 1
    assert threads_found(clock) == {1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_knows_nothing_of_neighbours(clock):
    neighbours_become_busy(clock)
    with ThreadPoolExecutor(1) as pool, threads.blas_threads_if_free(1, False):
        assert pool.submit(in_fork, lambda: threads_found(clock)).result() == "{2}"
    assert threads_found(clock) == {1}


@pytest.mark.parametrize("n_rows", [1, FEWEST_ROWS, FEWEST_ROWS + 1, ROWS_LEFT_TO_BLAS, ROWS_LEFT_TO_BLAS + 1])
@pytest.mark.parametrize("busy", [False, True])
def test_few_rows_are_predicted_with_the_threads_of_blas(monkeypatch, clock, n_rows, busy):
    """Unless these would wait; then and where there are more rows, ours share the work, but for the fewest."""
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(301, 200), max_iter=1).fit(X, y)
    found, seconds, shared = set(), [], []

    def note(allowed, worth_waking):
        seconds.append(allowed)
        return threads.blas_threads_if_free(allowed, worth_waking)

    monkeypatch.setattr("sknn_scratch.perceptron.SINGLE_THREADED_ANYWAY", 0)
    monkeypatch.setattr("sknn_scratch.perceptron.WORK_LEFT_TO_BLAS", 0)
    monkeypatch.setattr("sknn_scratch.perceptron.TO_CALL", 2**6)
    monkeypatch.setattr("sknn_scratch.perceptron.activate", lambda *args: found.update(blas_threads()))
    monkeypatch.setattr("sknn_scratch.perceptron.share_out", lambda *args: shared.append(threads.share_out(*args)))
    monkeypatch.setattr("sknn_scratch.perceptron.blas_threads_if_free", note)
    threads_found(clock)
    if busy:
        neighbours_become_busy(clock)
    model.predict(X[:n_rows])
    few = n_rows <= ROWS_LEFT_TO_BLAS
    assert found == ({2} if few and not busy else {1})
    assert bool(shared) == (n_rows > FEWEST_ROWS and (busy or not few))
    n_weights = sum(weights.size for weights in model.coefs_)
    assert seconds == ([pytest.approx((n_rows + ROWS_TO_PREPARE) * n_weights / SLOWEST)] if few else [])


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
    with BLAS.limit(limits=1):
        threads.clear()
        for_each_in_threads(lambda item: threads.add(threading.get_ident()), range(6), WORTH_THREADS)
        assert threads == {threading.get_ident()}


def test_another_thread_takes_the_limit_meanwhile(monkeypatch):
    """Between any two looks at how many threads BLAS may use."""
    for n_looks in range(4):
        left = [2] * n_looks
        monkeypatch.setattr(threads, "blas_threads", lambda left=left: left.pop() if left else 1)
        done = []
        for_each_in_threads(done.append, range(6), WORTH_THREADS)
        assert sorted(done) == list(range(6))


def test_an_error_in_a_thread():
    before = blas_threads()

    def fail(item):
        raise KeyError(item)

    with pytest.raises(KeyError):
        for_each_in_threads(fail, range(6), WORTH_THREADS)
    assert blas_threads() == before


@pytest.mark.parametrize("by_helper", [True, False])
def test_an_error_ends_the_work_of_the_other_threads(by_helper):
    main, failing = threading.get_ident(), threading.Event()
    done = []

    def fail(item):
        if (threading.get_ident() != main) == by_helper:
            failing.set()
            raise KeyError(item)
        failing.wait(10)
        time.sleep(0.005)
        done.append(item)

    with pytest.raises(KeyError):
        for_each_in_threads(fail, range(400), WORTH_THREADS)
    assert len(done) < 200


def test_ctrl_c_leaves_the_other_threads_whenever_it_is_heard(monkeypatch):
    pool = threads.Helpers(1)
    monkeypatch.setattr(threads, "_pool", lambda n_threads: pool)
    pool.call(lambda: None, 1)  # starts a thread, in which Python's own library must not be interrupted
    for n in range(1, 1000):
        with CtrlC(n) as interrupt:
            threads.share_out(lambda item: time.sleep(0.001), range(4), 2)
        answered = threading.Event()
        pool.call(answered.set, 1)
        assert answered.wait(10)
        if interrupt.left > 0:
            break
    assert n > 20
    pool.close()


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("make", [np.asarray, csr_matrix])
def test_many_rows_are_predicted_like_few(monkeypatch, task, make):
    monkeypatch.setattr("sknn_scratch.engines.threads.WORTH_THREADS", 2**21)
    X, y = make_task(task)
    model = our_estimator(task, hidden_layer_sizes=(200, 100), solver="lbfgs", max_iter=5, tol=1).fit(X, y)
    many = np.tile(X, (40, 1))
    assert len(many) * sum(w.size for w in model.coefs_) > 2**21
    method = model.predict_proba if task == "multiclass" else model.predict
    assert_allclose(method(make(many)), np.concatenate([method(X)] * 40), rtol=1e-12)
    with np.errstate(over="raise", invalid="raise"):
        model.predict(make(1e200 * many))


@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("make", [np.asarray, csr_matrix])
def test_a_gap_that_one_thread_finds_is_not_overlooked_by_another(monkeypatch, make, row):
    """Both check a chunk at the same time, and the one whose chunk is sound is done later."""
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(200, 100), max_iter=1).fit(X, y)
    many, barrier, checked = np.tile(X, (40, 1)), threading.Barrier(2), []
    many[row, 0] = np.nan

    def isfinite(total):
        checked.append(total)
        barrier.wait(20)
        if math.isfinite(total):
            time.sleep(0.05)
        return math.isfinite(total)

    monkeypatch.setattr("sknn_scratch.engines.threads.WORTH_THREADS", 2**21)
    monkeypatch.setattr("sknn_scratch.perceptron.math", SimpleNamespace(**vars(math) | {"isfinite": isfinite}))
    with pytest.raises(ValueError, match="contains NaN"):
        model.predict(make(many))
    assert len(checked) > 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_rows", [33, 50, 601])
def test_threads_share_the_rows_or_columns_of_large_layers(monkeypatch, n_rows, dtype):
    """Also of a layer that has no multiple of what BLAS computes at once."""
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(301, 200), activation="gelu", solver="lbfgs", max_iter=3)
    model.fit(X.astype(dtype), y)
    samples = np.resize(X, (n_rows, X.shape[1])).astype(dtype)
    expected = model.predict_proba(samples)
    helped, barrier = [], threading.Barrier(2)

    def together(function, items, n_threads):
        """Have each part done by another thread, however busy the machine is."""

        def one(item):
            barrier.wait(20)
            helped.append(threading.get_ident())
            function(item)

        threads.share_out(one, items, n_threads)

    monkeypatch.setattr("sknn_scratch.perceptron.TO_CALL", 2**6)
    monkeypatch.setattr("sknn_scratch.perceptron.SINGLE_THREADED_ANYWAY", 0)
    monkeypatch.setattr("sknn_scratch.perceptron.WORK_LEFT_TO_BLAS", 0)
    monkeypatch.setattr("sknn_scratch.perceptron.share_out", together)
    tolerance = {np.float64: 1e-12, np.float32: 1e-5}[dtype]
    assert_allclose(model.predict_proba(samples), expected, rtol=tolerance)
    # Two threads for each of two hidden layers, and where there are many rows for the output, too.
    assert len(helped) == (6 if n_rows > 50 else 4)
    assert len(set(helped)) == 2
    with np.errstate(over="raise", invalid="raise"):
        model.predict(1e30 * samples)


class GoesByRows(Activation):
    """A formula that is given all columns of a row."""

    def value(self, z):
        return z / np.sqrt(np.mean(z * z, axis=1, keepdims=True) + 1)

    def derivative(self, z):
        return np.ones_like(z) / np.sqrt(np.mean(z * z, axis=1, keepdims=True) + 1)


@pytest.mark.parametrize("n_rows", [50, 601])
def test_a_formula_of_ones_own_is_given_whole_rows(monkeypatch, n_rows):
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(301, 200), activation=GoesByRows(), max_iter=1)
    samples = np.resize(X, (n_rows, X.shape[1]))
    expected = model.fit(X, y).predict_proba(samples)
    shared = []
    monkeypatch.setattr("sknn_scratch.perceptron.TO_CALL", 2**6)
    monkeypatch.setattr("sknn_scratch.perceptron.SINGLE_THREADED_ANYWAY", 0)
    monkeypatch.setattr("sknn_scratch.perceptron.WORK_LEFT_TO_BLAS", 0)
    monkeypatch.setattr(
        "sknn_scratch.perceptron.share_out", lambda *args: shared.append(args) or threads.share_out(*args)
    )
    assert_allclose(model.predict_proba(samples), expected, rtol=1e-12)
    assert len(shared) == (3 if n_rows > 50 else 2)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_columns", [128, 301, 1000, 2048])
def test_each_column_of_a_layer_is_computed_once(n_columns, order):
    """The first part is the largest, as the thread that calls the others begins before them."""
    rng = np.random.RandomState(0)
    inputs, weights = rng.randn(5, 7), rng.randn(7, n_columns)
    for n_threads in range(1, n_columns // SHORTEST_PART + 1):
        for lead in (0, 0.25):
            out = np.full((5, n_columns), np.nan, order=order)
            parts = _slices(n_columns, n_threads, lead)
            for columns in parts:
                assert np.isnan(out[:, columns]).all()
                _multiply(inputs, weights[:, columns], out[:, columns])
            assert_allclose(out, inputs @ weights, rtol=1e-12)
            assert len(parts) == n_threads
            sizes = [part.stop - part.start for part in parts]
            assert max(sizes) == sizes[0]
            assert all(size % 16 == 0 for size in sizes[1:])


def test_small_layers_are_not_shared_out(monkeypatch):
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(100, 50), max_iter=1).fit(X, y)
    monkeypatch.setattr("sknn_scratch.perceptron.share_out", lambda *args: pytest.fail("shared out"))
    for n_rows in (1, 4, len(X)):
        model.predict(X[:n_rows])


@pytest.mark.parametrize("make", [np.asarray, csr_matrix])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_number_of_rows_is_predicted_alike(dtype, make):
    """Few are passed one by one, more of them in layers that are written column by column."""
    X, y = make_task("multiclass")
    X = X.astype(dtype)
    model = our_estimator("multiclass", hidden_layer_sizes=(70, 30), activation=["relu", "gelu"]).fit(X, y)
    expected, tolerance = model.predict_proba(X), {np.float64: 1e-12, np.float32: 1e-4}[dtype]
    for n_rows in (1, 2, 3, 4, 5, 40, 129):
        assert_allclose(model.predict_proba(make(X[:n_rows])), expected[:n_rows], rtol=tolerance)


@pytest.mark.usefixtures("little_garbage")
def test_helpers_that_are_dropped_end():
    pool, met = threads.Helpers(2), threading.Barrier(3)
    pool.call(lambda: met.wait(20), 5)  # no more than there are
    met.wait(20)
    helpers = pool._threads.copy()
    assert len(helpers) == 2
    assert all(helper.is_alive() for helper in helpers)
    del pool
    gc.collect()
    for helper in helpers:
        helper.join(20)
        assert not helper.is_alive()


@pytest.mark.usefixtures("little_garbage")
def test_helpers_end_though_ctrl_c_is_heard_as_they_are_started(monkeypatch):
    start, started = threading.Thread.start, []

    def start_and_interrupt(thread):
        start(thread)
        started.append(thread)
        if len(started) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_and_interrupt)
    pool = threads.Helpers(2)
    with pytest.raises(KeyboardInterrupt):
        pool.call(lambda: None, 2)
    pool.call(lambda: None, 2)
    del pool
    gc.collect()
    assert len(started) == 3
    for helper in started:
        helper.join(20)
        assert not helper.is_alive()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say")
def test_helpers_leave_the_core_of_the_thread_that_calls_them(monkeypatch):
    cores = os.sched_getaffinity(0)
    monkeypatch.setattr(threads.Helpers, "_core", lambda self=None: min(cores))
    with closing(threads.Helpers(1)) as pool:
        for _ in range(2):  # before the first call there is none
            pool.leave_this_core()
            found = SimpleQueue[set[int]]()
            pool.call(lambda: found.put(os.sched_getaffinity(0)), 1)  # noqa: B023
            helper = found.get(timeout=20)
        assert helper == (cores - {min(cores)} or cores)
    assert os.sched_getaffinity(0) == cores


def test_parts_follow_the_work():
    """As many as there are threads, but none of few rows or little work."""
    rows, work = policy.ROWS_PER_PART, policy.PER_PART
    assert [policy.parts(10**6, 10**6, n_threads) for n_threads in (1, 2, 16)] == [1, 2, 16]
    assert [policy.parts(n_rows, work, 16) for n_rows in (1, rows, 2 * rows - 1, 2 * rows, 5 * rows)] == [1, 1, 1, 2, 5]
    assert [policy.parts(100 * rows, n * work // (100 * rows) + 1, 16) for n in (0, 1, 3)] == [1, 1, 3]


def test_threads_follow_the_work():
    with BLAS.limit(limits=2):
        assert [threads_worth(work) for work in (0, WORTH_THREADS - 1, WORTH_THREADS, 2**40)] == [1, 1, 2, 2]
    with BLAS.limit(limits=1):
        assert threads_worth(2**40) == 1


# Training: the same numbers, whoever computes them --------------------------------------------------------------------


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


class Witness(Activation):
    """The hyperbolic tangent, which notes which thread computes it for how many rows, and how many BLAS may use."""

    seen: ClassVar[set] = set()

    def value(self, z):
        if len(z) > 2:  # else the formula is being checked
            self.seen.add((threading.get_ident(), z.shape[0], *blas_threads()))
        return np.tanh(z)

    def derivative(self, z):
        return 1 - np.tanh(z) ** 2


@pytest.fixture
def _each_part_in_its_thread(monkeypatch):
    """Have each part of a minibatch done by another thread, however busy the machine is."""

    def together(function, items, n_threads):
        barrier = threading.Barrier(len(items))

        def one(item):
            barrier.wait(20)
            function(item)

        threads.share_out(one, items, n_threads)

    monkeypatch.setattr("sknn_scratch.engines.numpy.run.share_out", together)


@pytest.mark.usefixtures("_each_part_in_its_thread")
@pytest.mark.parametrize(
    ("task", "weighted", "make", "parameters"),
    [
        ("multiclass", False, np.asarray, {}),
        ("regression", True, csr_matrix, {}),
        ("multilabel", True, np.asarray, {"solver": "sgd", "fit_intercept": False}),
        ("multiclass", False, csr_matrix, {"solver": "sgd", "fit_intercept": False}),
        ("regression", False, np.asarray, {"activation": [Witness(), "gelu"], "alpha": 0.1}),
        ("multilabel", True, csr_matrix, {"activation": [Witness(), "gelu"], "alpha": 0.1}),
        ("multiclass", True, np.asarray, {"max_grad_norm": 0.1}),
        ("multilabel", False, csr_matrix, {"max_grad_norm": 0.1}),
        ("multiclass", True, csr_matrix, {"dropout": [0.2, 0.3, 0.1]}),
        ("regression", False, np.asarray, {"dropout": [0.2, 0.3, 0.1]}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_rows_are_shared_out(monkeypatch, task, weighted, make, parameters):
    """A thread for each half of the rows: the same sums in another order, and the same draws."""
    monkeypatch.setattr("sknn_scratch.perceptron.WORK_LEFT_TO_BLAS", 0)  # as a fit predicts in between
    model, X, y = large(task, engine="numpy", **{"activation": Witness(), **parameters})
    assert SMALL < 250 * 300 * 120
    weight = np.arange(1.0, 601) if weighted else None
    with BLAS.limit(limits=1):
        alone = clone(model).fit(make(X), y, weight)
    before, Witness.seen = blas_threads(), set()
    model.fit(make(X), y, weight)
    # What a formula returns is looked at for up to three samples before.
    in_training = [seen for seen in Witness.seen if seen[1] > 3]
    idents, n_rows, *limits = (set(column) for column in zip(*in_training, strict=True))
    assert len(idents) == 2
    assert n_rows == {125, 100}  # the last minibatch is too small
    assert limits == [{1}] * len(before)
    for a, b in zip(model.coefs_ + model.intercepts_, alone.coefs_ + alone.intercepts_, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert_allclose(model.loss_curve_, alone.loss_curve_, rtol=1e-12)
    assert blas_threads() == before


@pytest.mark.usefixtures("_each_part_in_its_thread")
def test_noise_is_the_same_in_shared_rows():
    model, X, y = large("regression", engine="numpy", activation=Witness(), input_noise=0.5)
    with BLAS.limit(limits=1):
        alone = clone(model).fit(X, y)
    Witness.seen = set()
    shared = model.fit(X, y)
    assert len({thread for thread, *_ in Witness.seen}) == 2
    assert_allclose(shared.coefs_[0], alone.coefs_[0], rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("_each_part_in_its_thread")
def test_lbfgs_is_shared_out():
    model, X, y = large("multiclass", solver="lbfgs", max_iter=5, batch_size="auto", engine="numpy")
    model.set_params(activation=Witness())
    with BLAS.limit(limits=1):
        alone = clone(model).fit(X, y)
    Witness.seen = set()
    assert_allclose(model.fit(X, y).coefs_[0], alone.coefs_[0], rtol=1e-7, atol=1e-9)
    assert len({thread for thread, n_rows, *limits in Witness.seen if n_rows == 300 and set(limits) == {1}}) == 2


FORMS = [(np.asarray, False), (np.asfortranarray, True), (csr_matrix, True)]
OPTIONS = [
    {},
    {"solver": "sgd", "fit_intercept": False, "hidden_layer_sizes": ()},
    {"activation": "gelu", "alpha": 0.1, "l1_ratio": 0.5},
    {"activation": ["silu", "relu"], "max_grad_norm": 0.1, "dtype": np.float32},
    {"solver": "nadam", "early_stopping": True, "hidden_layer_sizes": (7, 3)},
    # The last minibatch has fewer rows than there are threads.
    {"solver": "adamw", "activation": "mish", "shuffle": False, "batch_size": 199},
    {"dropout": [0.2, 0.3, 0.1]},
    {"solver": "lbfgs", "batch_size": "auto"},
]


@needs_numba
@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("option", range(len(OPTIONS)))
def test_compiled_epochs_are_shared_out(monkeypatch, option, form):
    """Each option with each form of the samples and with each task, and each form with each task."""
    parameters, (make, weighted) = OPTIONS[option], FORMS[form]
    task = ("multiclass", "regression", "multilabel")[(option + form) % 3]
    parameters = {"hidden_layer_sizes": (30, 12), "dtype": np.float64, **parameters}
    dtype = parameters.pop("dtype")
    model, X, y = large(task, **parameters)
    assert_shared_out(monkeypatch, model, make(X.astype(dtype)), y, np.arange(600.0) // 250 if weighted else None)


@needs_numba
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
    """One to four parts: the same sums in another order, and to the last bit so whoever does them."""

    def fit(engine, n_parts, worth_starting=0):
        with monkeypatch.context() as patch:
            patch.setattr(policy, "parts", lambda *args: n_parts)
            patch.setattr(compiled_run, "WORTH_STARTING", worth_starting)
            fitted = clone(model).set_params(engine=engine).fit(X, y, weight)
        assert fitted.engine_ == engine
        return [*fitted.coefs_, *fitted.intercepts_, np.array(fitted.loss_curve_)]

    rtol = 1e-9 if X.dtype == np.float64 else 1e-3
    reference = fit("numpy", 1)
    for n_parts in (1, 2, 3, 4):
        shared = fit("numba", n_parts)
        for a, b in zip(shared, reference, strict=True):
            assert_allclose(a, b, rtol=rtol, atol=rtol / 100)
        for a, b in zip(shared, fit("numba", n_parts, np.inf), strict=True):
            assert_array_equal(a, b)


# Training: threads begin, take part and end ---------------------------------------------------------------------------


@pytest.fixture
def followers(monkeypatch):
    """Note the threads that are started, and start them however little there is to do."""
    started, begin = [], threading.Thread.start

    def note(thread):
        started.append(thread)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    if compiled_run is not None:
        monkeypatch.setattr(compiled_run, "WORTH_STARTING", 0)
    return started


def an_epoch(run, job, order=None):
    return run.epoch(order, np.full(job.count_steps(order), 0.01))


@needs_numba
def test_threads_of_compiled_epochs_end_with_the_fit(followers):
    model, X, y = large("multiclass", engine="numba", max_iter=20)
    alive = []
    model.set_callbacks(lambda estimator: alive.append([thread.is_alive() for thread in followers]))
    model.fit(X, y)
    assert alive == [[True]] * 20
    assert followers[0].daemon
    assert not followers[0].is_alive()


@needs_numba
def test_threads_of_compiled_epochs_start_when_there_is_enough_to_do(monkeypatch, followers):
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=100)
    monkeypatch.setattr(compiled_run, "WORTH_STARTING", 600 * 1100 * 3)
    for _ in range(4):
        model.partial_fit(X, y, classes=np.unique(y))
    assert followers == []
    model.set_params(max_iter=2).fit(X, y)
    assert followers == []
    model.set_params(max_iter=4).fit(X, y)
    assert len(followers) == 1


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=needs_numba)])
def test_a_fit_leaves_the_cores_to_others_that_have_them(followers, engine):
    model, X, y = large("multiclass", engine=engine)
    with one_blas_thread():
        model.fit(X, y)
    assert followers == []


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=needs_numba)])
def test_no_more_threads_are_to_be_had(monkeypatch, engine):
    model, X, y = large("multiclass", engine=engine, max_iter=5)
    expected = clone(model).fit(X, y)
    many = np.tile(X, (40, 1))
    predicted = expected.predict_proba(many)
    begin, n_more = threading.Thread.start, 0

    def fail(thread):
        nonlocal n_more
        n_more -= 1
        if n_more < 0:
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    monkeypatch.setattr("sknn_scratch.engines.threads._pool", threads._pool.__wrapped__)
    assert_array_equal(model.fit(X, y).coefs_[0], expected.coefs_[0])
    assert_array_equal(expected.predict_proba(many), predicted)
    for n_threads in (2, 3, 4):
        n_more, n_before = n_threads - 2, threading.active_count()
        done = []
        with BLAS.limit(limits=n_threads), threads_for(SMALL, SMALL) as shares:
            assert shares == (n_threads, n_threads)
            threads.share_out(done.append, range(n_threads), n_threads)
        assert sorted(done) == list(range(n_threads))
        n_more, done = n_threads - 2, []
        with BLAS.limit(limits=n_threads):
            for_each_in_threads(done.append, range(6), WORTH_THREADS)
        assert sorted(done) == list(range(6))
        for _ in range(1000):
            if threading.active_count() == n_before:
                break
            time.sleep(0.01)
        assert threading.active_count() == n_before


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=needs_numba)])
def test_an_error_between_epochs_ends_the_threads(monkeypatch, followers, engine):
    """Those of the compiled engine; NumPy's are kept for whatever comes next."""
    pool = cache(threads.Helpers)
    monkeypatch.setattr(threads, "_pool", pool)
    model, X, y = large("multiclass", engine=engine, max_iter=5)

    def fail(estimator):
        raise KeyError("from a callback")

    before = blas_threads()
    with pytest.raises(KeyError, match="from a callback"):
        model.set_callbacks(fail).fit(X, y)
    assert len(followers) == 1
    if engine == "numpy":
        assert pool(1)._threads == followers
        pool(1).close()
    assert not followers[0].is_alive()
    assert blas_threads() == before


def test_divergence_and_errors_in_a_helper(monkeypatch):
    model, X, y = large("regression", solver="sgd", learning_rate_init=1e6, activation="identity", engine="numpy")
    before = blas_threads()
    with pytest.raises(ValueError, match="Training diverged in epoch"):
        model.fit(X, y)
    main, helped = threading.get_ident(), threading.Event()

    def fail(activation, z):
        if threading.get_ident() != main:
            helped.set()
            raise KeyError("in a helper")
        helped.wait(0.2)  # or this thread might do it all
        return np.tanh(z)

    monkeypatch.setattr(Witness, "value", fail)
    with pytest.raises(KeyError, match="in a helper"):
        model.set_params(learning_rate_init=0.001, activation=Witness()).fit(X, y)
    assert blas_threads() == before
    assert not hasattr(model, "coefs_")


# The seam -------------------------------------------------------------------------------------------------------------


def runs_of(job, n_parts=2):
    """Return a run of a job on each engine."""
    yield NumpyRun(job)
    if compiled_run is not None:
        yield compiled_run.CompiledRun(job, n_parts)


def test_without_an_order_rows_come_as_they_are_whatever_the_order_before():
    """Also after an epoch of some of the rows only."""
    for n in range(2 if compiled_run else 1):
        jobs = [make_job(n_rows=90, batch_size=90) for _ in range(2)]
        one, other = ([*runs_of(job)][n] for job in jobs)
        an_epoch(one, jobs[0], np.array([5, 3, 5]))
        jobs[0].network.parameters[...] = jobs[1].network.parameters
        assert one.loss_and_gradient() == other.loss_and_gradient()
        assert_array_equal(one.gradient, other.gradient)
        jobs[0].optimizer.resume(jobs[1].optimizer)
        assert an_epoch(one, jobs[0]) == an_epoch(other, jobs[1])
        one.close()


@needs_numba
def test_the_gradient_is_that_of_all_samples():
    job = make_job(n_rows=90, batch_size=32)
    with pytest.raises(ValueError, match="a minibatch has 32 of 90 samples, not all of them"):
        compiled_run.CompiledRun(job, 1).loss_and_gradient()


@needs_numba
def test_a_closed_run_goes_on_with_the_leader_alone(followers):
    job, twin = (make_job(n_rows=90, batch_size=90) for _ in range(2))
    run, expected = compiled_run.CompiledRun(job, 3), compiled_run.CompiledRun(twin, 3)
    for _ in range(3):
        assert an_epoch(run, job) == an_epoch(expected, twin)
        run.close()
    assert run.loss_and_gradient() == expected.loss_and_gradient()
    expected.close()
    assert len(followers) == 4
    assert not any(thread.is_alive() for thread in followers)


@needs_numba
@pytest.mark.usefixtures("little_garbage")
def test_threads_of_a_run_that_is_dropped_end_and_its_memory_lasts_until_then(followers):
    job = make_job(n_rows=90, batch_size=90)
    parameters = weakref.ref(job.network.parameters)
    run = compiled_run.CompiledRun(job, 3)
    an_epoch(run, job)
    told = weakref.ref(run._counters)
    del run, job
    gc.collect()
    for thread in followers:
        thread.join(10)
        assert not thread.is_alive()
    gc.collect()
    assert parameters() is None
    assert told() is None


@needs_numba
def test_a_run_is_closed_whatever_happens(followers):
    def interrupted():
        with start("numba", make_job(n_rows=300, batch_size=300, hidden=(100, 20))) as run:
            run.loss_and_gradient()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(followers) == 1
    assert not followers[0].is_alive()


def test_sparse_samples_are_not_copied():
    """Neither all of them nor those of a minibatch become dense."""
    X = random_sparse(400, 10_000, density=1e-3, format="csr", random_state=0)
    for engine in ("numpy", "numba") if compiled_run else ("numpy",):
        model = MLPFromScratchClassifier(2, engine=engine, max_iter=1, random_state=0)
        model.fit(X, np.arange(400) % 2)
        tracemalloc.start()
        model.fit(X, np.arange(400) % 2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 200 * 10_000 * 8 / 2


@needs_numba
def test_more_sparse_values_than_indices_of_32_bits_tell():
    job = make_job()
    job.X = csr_matrix((1, 2**31))
    assert missing("numba", job) == "X has more than 2**31 rows or, as it is sparse, columns or values"
    assert missing("numpy", job) is None


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """Note each call of compiled code by the leader; the last two arguments are the rows that it is to train on."""
    noted, functions = [], compiled_run.functions

    def with_notes(sources, dtype):
        compiled = functions(sources, dtype)
        work = compiled["work"].ctypes

        def call(job, part, *rows):
            if part == 0:
                noted.append(rows)
                if calls_until_ctrl_c and len(noted) == calls_until_ctrl_c[0]:
                    raise KeyboardInterrupt
            return work(job, part, *rows)

        return compiled | {"work": SimpleNamespace(ctypes=call)}

    calls_until_ctrl_c = []
    noted_and_limit = SimpleNamespace(noted=noted, until_ctrl_c=calls_until_ctrl_c)
    monkeypatch.setattr(compiled_run, "functions", with_notes)
    return noted_and_limit


@needs_numba
def test_compiled_code_returns_now_and_then_for_ctrl_c(monkeypatch, calls, followers):
    model, X, y = large("multiclass", engine="numba", random_state=0)
    monkeypatch.setattr(compiled_run, "MOST_AT_ONCE", 1)
    calls.until_ctrl_c.append(5)  # of three minibatches in each epoch
    before = blas_threads()
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, y)
    assert model.n_iter_ == 1
    assert len(calls.noted) == 5
    assert len(followers) == 1
    assert not followers[0].is_alive()
    assert blas_threads() == before


@needs_numba
@pytest.mark.parametrize(("n_minibatches", "rows"), [(1, [100] * 6), (2, [200] * 3), (5, [500, 100]), (6, [600])])
def test_long_epochs_are_cut_between_minibatches(monkeypatch, calls, n_minibatches, rows):
    model, X, y = large("multiclass", engine="numba", hidden_layer_sizes=100, batch_size=100, solver="nadam")
    model.set_params(dropout=0.2)
    whole = clone(model).fit(X, y)
    assert len(calls.noted) == 3
    calls.noted.clear()
    monkeypatch.setattr(compiled_run, "MOST_AT_ONCE", n_minibatches * 100 * 1100)
    cut = clone(model).fit(X, y)
    assert [last - first for first, last in calls.noted] == 3 * rows
    assert_array_equal(cut.coefs_[0], whole.coefs_[0])
    assert_allclose(cut.loss_curve_, whole.loss_curve_, rtol=1e-14)


# Several threads, several processes -----------------------------------------------------------------------------------


@needs_numba
def test_two_threads_that_need_the_same_code_compile_it_once(monkeypatch):
    compiled = []

    def compile_(text):
        time.sleep(0.05)
        compiled.append(text)
        return object()

    monkeypatch.setattr(kernels, "_compile", compile_)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: kernels.kernel("of a test"), range(8)))
    assert compiled == ["of a test"]
    assert found == {kernels._done.pop("of a test")}


PROGRAM = """
import atexit, os, sys, threading, time, warnings
import numpy as np
from threadpoolctl import threadpool_info
from sknn_scratch import MLPFromScratchClassifier
warnings.simplefilter("ignore")
X = np.random.RandomState(0).randn(2000, 64)
y, epochs, engine = X[:, 0] > 0, [], sys.argv[1]
model = MLPFromScratchClassifier(300, engine=engine, max_iter=2, tol=0, random_state=0).fit(X, y)
forever = MLPFromScratchClassifier(300, engine=engine, max_iter=10**6, n_iter_no_change=10**6, batch_size=1000)

def blas_threads():
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}

def child_works():
    if not hasattr(os, "fork"):
        return 0
    child = os.fork()
    if child == 0:
        same = model.coefs_[0].tobytes()
        os._exit(0 if blas_threads() == {2} and model.fit(X, y).coefs_[0].tobytes() == same else 1)
    return os.waitpid(child, 0)[1]

def note(estimator):
    epochs.append(1)
    if len(epochs) == 5:
        print("from a callback:", child_works(), flush=True)

threading.Thread(target=forever.set_callbacks(note).fit, args=(X, y), daemon=True).start()
while len(epochs) < 10:
    time.sleep(0.01)
print("beside training:", child_works(), blas_threads())

@atexit.register
def at_exit():
    print("at the end:", model.predict(np.tile(X, (30, 1))).shape, model.set_params(max_iter=10).fit(X, y).n_iter_)
"""


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=needs_numba)])
def test_a_program_that_forks_and_ends_during_training(engine):
    """A fork has its BLAS threads back, and trains as its parent does.

    The program does not wait for training in a daemon, and what it does last may still train and predict.
    """
    command = [sys.executable, "-c", PROGRAM, engine]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    forks, end = "from a callback: 0\nbeside training: 0 {1}\n", "at the end: (60000,) 10\n"
    assert done.stdout == forks + end


# How the threads of the compiled engine wait for each other -----------------------------------------------------------


@needs_numba
def test_every_part_of_every_phase_is_done_once(followers):
    job = make_job(n_rows=200, batch_size=64, max_grad_norm=0.1)
    run = compiled_run.CompiledRun(job, 3)
    train(run, job, n_epochs=5)
    counters = run._counters
    n_phases = 5 * 4 * 3
    assert counters[team.PHASE] == n_phases
    assert counters[team.DONE] == 3 * n_phases
    assert counters[team.STOP] == 1


@needs_numba
def test_a_thread_begins_its_part_if_the_leader_has_not(monkeypatch):
    monkeypatch.setattr(compiled_run, "WORTH_STARTING", np.inf)
    job = make_job()
    run = compiled_run.CompiledRun(job, 2)
    an_epoch(run, job)
    counters = run._counters
    done, phase = counters[team.DONE], counters[team.PHASE]
    run._start_followers()
    time.sleep(0.05)
    assert counters[team.DONE] == done
    counters[team.PHASE] = phase + 1
    for _ in range(1000):
        time.sleep(0.01)
        if counters[team.DONE] > done:
            break
    time.sleep(0.05)
    assert counters[team.DONE] == done + 1
    assert counters[team.BEGUN :: team.LINE].tolist() == [phase, phase + 1]
    run.close()


@needs_numba
def test_the_leader_goes_on_alone_after_long_waits():
    run = compiled_run.CompiledRun(make_job(), 2)
    step, learn = run._told["step"], numba.njit(epoch.learn.py_func)

    def phases_alone():
        learn(True, step)
        n = 0
        while step["left_alone"] > 0 and n < 10000:
            learn(False, step)
            n += 1
        return n

    assert [phases_alone() for _ in range(8)] == [64, 128, 256, 512, 1024, 2048, 4096, 4096]
    for _ in range(4096):
        learn(False, step)
    assert step["next_alone"] == 64


@needs_numba
def test_phases_that_the_leader_does_alone_are_the_same(followers):
    found = []
    for alone in (0, 10**6):
        job = make_job(n_rows=200, batch_size=64)
        run = compiled_run.CompiledRun(job, 3)
        run._told["step"]["left_alone"] = alone
        found.append(train(run, job))
    for a, b in zip(*found, strict=True):
        assert_array_equal(a, b)


@needs_numba
def test_a_thread_without_work_sleeps_longer_and_longer(monkeypatch, followers):
    naps = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    def note(duration):
        naps.append(duration)
        return 0

    give_way, *_ = compiled_run.waiting()
    monkeypatch.setattr(compiled_run, "waiting", lambda: (give_way, note, 1000))
    job = make_job()
    run = compiled_run.CompiledRun(job, 2)
    for _ in range(2):
        n_before = len(naps)
        an_epoch(run, job)
        while len(naps) < n_before + 10**5 and (len(naps) < n_before + 50 or naps[-1] < 1000):
            time.sleep(0.001)
    run.close()
    assert (naps[0], max(naps)) == (50, 1000)
    assert all(after in (50, min(before + before // 8, 1000)) for before, after in pairwise(naps))
