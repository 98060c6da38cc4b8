"""What goes wrong around the engines: damaged caches, broken imports, forks, interrupts, no threads, bad matrices."""

import gc
import importlib.metadata
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from long import random_configurations
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.base import clone
from tasks import make_task, our_estimator
from test_engines import make_job, needs_numba

from sknn_scratch import MLPFromScratchRegressor, Quantile, TabularMLPClassifier, TabularMLPRegressor
from sknn_scratch.__main__ import _jobs
from sknn_scratch.engines import threads
from sknn_scratch.engines.compiled import kernels
from sknn_scratch.engines.compiled.source import FUNCTIONS, function_source
from sknn_scratch.engines.compiled.sources import sources_of
from sknn_scratch.estimators.tabular import members

try:
    from sknn_scratch.engines.compiled import run as compiled_run
except ImportError:
    compiled_run = None

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ENGINES = ["numpy", pytest.param("numba", marks=needs_numba)]

# The cache ------------------------------------------------------------------------------------------------------------

SOURCE = "def kernel(x):\n    return x + 1\n\n\nfrom numba import types\nsignature = types.float64(types.float64)\n"
NAME = kernels.module_name(SOURCE)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Make an empty folder for compiled code; return what compiles, or loads, a function anew and calls it."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    kernels.folder.cache_clear()

    def load(value=1.0):
        kernels._done.clear()
        return kernels.kernel(SOURCE).ctypes(value)

    before = dict(kernels._done)
    yield load
    kernels._done.clear()
    kernels._done.update(before)
    kernels.folder.cache_clear()


def flipped(content):
    """Return the bytes with one bit turned, somewhere in the second half, where the machine code is."""
    middle = 3 * len(content) // 4
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "foreign": lambda content: b"\xff\xfesomething else",
    "one bit": flipped,
}


@needs_numba
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc", ".py", ".compiled"])
def test_what_is_damaged_in_the_cache_is_made_anew(own_cache, tmp_path, suffix, damage):
    assert own_cache() == 2
    files = {file: file.read_bytes() for file in tmp_path.rglob(f"*{NAME}*{suffix}")}
    assert len(files) == 1
    (file,) = files
    file.write_bytes(damage(files[file]))
    assert own_cache() == 2
    (place,) = {file.parent for file in tmp_path.rglob(f"*{NAME}*.nbi")}
    assert kernels.is_whole(kernels.folder() / f"{NAME}.compiled", place)
    assert file.stat().st_size >= len(files[file]) // 2


@needs_numba
@pytest.mark.parametrize("suffix", [".nbi", ".nbc", ".py", ".compiled"])
@pytest.mark.parametrize("is_full", [False, True])
def test_a_folder_in_place_of_a_file_is_gone_around(own_cache, tmp_path, suffix, is_full):
    own_cache()
    (file,) = tmp_path.rglob(f"*{NAME}*{suffix}")
    file.unlink()
    file.mkdir()
    if is_full:
        (file / "something").touch()
    assert own_cache() == 2
    assert own_cache() == 2


@needs_numba
def test_a_full_disk_costs_the_cache_only(own_cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("numba.core.caching.IndexDataCacheFile._save_index", full)
        patch.setattr(Path, "write_bytes", full)
        patch.setattr(Path, "write_text", full)
        assert own_cache() == 2
        assert not kernels.is_kept(SOURCE)
    assert own_cache() == 2
    assert kernels.is_kept(SOURCE)


@needs_numba
def test_without_a_folder_nothing_is_kept(own_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "a file"))
    (tmp_path / "a file").touch()
    kernels.folder.cache_clear()
    assert kernels.folder() is None
    assert own_cache() == 2
    assert not kernels.is_kept(SOURCE)


@needs_numba
def test_without_sources_nothing_is_kept(own_cache, tmp_path, monkeypatch):
    """In an archive or a frozen program, code of another release could not be told."""
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "archive.zip" / "kernels.py"))
    kernels.folder.cache_clear()
    assert kernels.folder() is None
    assert own_cache() == 2
    assert not kernels.is_kept(SOURCE)


def test_a_cache_without_numba_or_a_home(monkeypatch, tmp_path):
    """As a container runs with any user; 'auto' asks for the cache before it imports numba."""
    for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    def nobody(*args):
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    try:
        kernels.folder.cache_clear()
        kernels.code_version.cache_clear()
        assert not kernels.is_kept("nothing")
    finally:
        kernels.folder.cache_clear()
        kernels.code_version.cache_clear()


@needs_numba
@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("name", ["work", "pass_rows", "move_parameters", "drop", "nothing"])
def test_seconds_of_compiling_are_announced_unless_the_code_is_kept(monkeypatch, capsys, name):
    """Of what only some jobs need none takes a second."""
    sources = {function: f"the text of {function}" for function in FUNCTIONS}
    monkeypatch.setattr(kernels, "_compile", lambda text: text)
    monkeypatch.setattr(kernels, "is_kept", lambda text: text != f"the text of {name}")
    kernels._done.clear()
    kernels.functions(sources, np.dtype(np.float64))
    said = "sknn_scratch: compiling for float64, some 5 seconds, once on this machine\n"
    assert capsys.readouterr().err == ("" if name in ("drop", "nothing") else said)
    kernels._done.clear()
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "folder", lambda: None)
        kernels.functions(sources, np.dtype(np.float64))
    said = said.replace("once on this machine", "in each process, as code cannot be kept")
    assert capsys.readouterr().err == ("" if name in ("drop", "nothing") else said)


def test_all_functions_are_compiled_beforehand():
    texts = {text for job in _jobs() for text in sources_of(job).texts()}
    for dtype in map(np.dtype, (np.float32, np.float64)):
        assert {function_source(name, dtype) for name in FUNCTIONS} <= texts


@pytest.mark.parametrize(
    "model", [TabularMLPClassifier(), TabularMLPRegressor(), TabularMLPRegressor(loss=Quantile([0.1, 0.9]))], ids=repr
)
def test_what_the_tabular_estimators_train_is_compiled_beforehand(monkeypatch, model):
    jobs = []
    monkeypatch.setattr(members, "choose", lambda name, job, n_steps: jobs.append(job) or "numpy")
    X = np.random.default_rng(0).normal(size=(40, 2))
    for n_classes in (2, 3):
        clone(model).set_params(n_members=2, max_iter=1).fit(X, np.arange(40) % n_classes)
    beforehand = {text for job in _jobs() for text in sources_of(job).texts()}
    assert len(jobs) == 4
    assert {text for job in jobs for text in sources_of(job).texts()} <= beforehand


# Imports and compiling that are disturbed -----------------------------------------------------------------------------


def run_script(script, *arguments):
    """Run a script in a process of its own; return what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


INTERRUPTED_IMPORT = """
    import os, signal, sys, warnings
    import numpy as np
    from sknn_scratch import MLPFromScratchClassifier
    warnings.simplefilter("ignore")

    class Interrupter:
        # Sends Ctrl-C when a module is looked for.
        def __init__(self, module):
            self.module = module

        def find_spec(self, name, path=None, target=None):
            if name == self.module:
                os.kill(os.getpid(), signal.SIGINT)

    def interrupt(module):
        X = np.random.RandomState(0).randn(60, 3)
        model = MLPFromScratchClassifier(3, max_iter=2, engine="numba", random_state=0)
        sys.meta_path.insert(0, Interrupter(module))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            model.fit(X, X[:, 0] > 0)
        except KeyboardInterrupt:
            print("interrupted", vars(model) == model.get_params())
        sys.meta_path.pop(0)
        print(model.fit(X, X[:, 0] > 0).engine_, flush=True)

    assert "numba" not in sys.modules
    for module in sys.argv[1:]:  # in a process of its own, in which numba is still to be imported
        child = os.fork()
        if child == 0:
            interrupt(module)
            os._exit(0)
        os.waitpid(child, 0)
"""


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_an_interrupt_while_numba_is_imported_is_heard_and_does_no_harm():
    modules = ["numba.core.types", "numba.np.ufunc", "sknn_scratch.engines.compiled.run"]
    assert run_script(INTERRUPTED_IMPORT, *modules) == ["interrupted", "True", "numba"] * len(modules)


@needs_numba
def test_an_interrupt_while_threads_are_ended_keeps_the_model(monkeypatch):
    from sknn_scratch.engines.compiled.run import CompiledRun

    close = CompiledRun.close

    def interrupted(run):
        close(run)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(CompiledRun, "close", interrupted)
    X, y = make_task("binary")
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        assert our_estimator("binary", engine="numba", max_iter=3).fit(X, y).n_iter_ == 3


def test_an_interrupt_is_heard_at_the_end_of_a_block():
    from sknn_scratch.engines.whole import whole_on_interrupts

    before, done = signal.getsignal(signal.SIGINT), []

    def interrupted():
        with whole_on_interrupts():
            signal.raise_signal(signal.SIGINT)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyError), whole_on_interrupts():
        raise KeyError
    assert signal.getsignal(signal.SIGINT) is before
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: whole_on_interrupts().__enter__()).result()
    assert signal.getsignal(signal.SIGINT) is before


@needs_numba
def test_an_interrupt_while_code_is_compiled_is_heard_and_does_no_harm(own_cache, tmp_path, monkeypatch):
    """At several moments of it, each time in another function of numba's."""
    for target in ("lowering.Lower.lower", "typeinfer.TypeInferer.propagate", "caching.IndexDataCacheFile._save_data"):
        with monkeypatch.context() as patch:

            def interrupted(*args, **kwargs):
                signal.raise_signal(signal.SIGINT)

            patch.setattr(f"numba.core.{target}", interrupted)
            with pytest.raises(KeyboardInterrupt):
                own_cache()
        assert own_cache() == 2
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        kernels.folder.cache_clear()


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_waits_for_what_another_thread_compiles(own_cache, monkeypatch):
    begun, compile_ = threading.Event(), kernels._compile

    def slow(*args):
        begun.set()
        time.sleep(0.3)
        return compile_(*args)

    monkeypatch.setattr(kernels, "_compile", slow)
    with ThreadPoolExecutor(1) as pool:
        compiled = pool.submit(own_cache)
        begun.wait(10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forks beside threads
            child = multiprocessing.get_context("fork").Process(target=own_cache)
            child.start()
        assert compiled.done() or compiled.result(timeout=10) == 2
    child.join(60)
    assert child.exitcode == 0


# No threads -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_threads(monkeypatch):
    """Let so many threads be started, and no more."""
    start, started = threading.Thread.start, []

    def allow(n):
        def refuse(thread):
            if len(started) >= n:
                raise RuntimeError("can't start new thread")
            started.append(thread)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)

    threads._pool.cache_clear()
    yield allow
    threads._pool.cache_clear()


@pytest.fixture
def four_threads(monkeypatch):
    """Have BLAS say that it may use four threads unless it is held to one."""
    monkeypatch.setattr(threads, "blas_threads", lambda: 1 if threads._limit._holders else 4)


@pytest.mark.parametrize("n_allowed", [0, 1])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_where_no_thread_can_be_started_training_goes_on_alone(
    no_threads, four_threads, monkeypatch, engine, solver, n_allowed
):
    monkeypatch.setattr(compiled_run, "WORTH_STARTING", 0)
    monkeypatch.setattr("sknn_scratch.engines.threads.SMALL", 0)
    monkeypatch.setattr("sknn_scratch.engines.numpy.run.SMALL", 0)
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(60, 40), engine=engine, solver=solver, max_iter=3)
    expected = clone(model).fit(X, y)
    no_threads(n_allowed)
    model.fit(X, y)
    assert_array_equal(model.coefs_[0], expected.coefs_[0])
    assert model.loss_curve_ == expected.loss_curve_


@pytest.mark.parametrize("n_allowed", [0, 1, 2])
def test_where_no_thread_can_be_started_predictions_go_on_alone(no_threads, four_threads, monkeypatch, n_allowed):
    monkeypatch.setattr(threads, "WORTH_THREADS", 2**10)
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", hidden_layer_sizes=(60, 40), max_iter=3).fit(X, y)
    many = np.tile(X, (20, 1))
    expected = model.predict_proba(many)
    threads._pool.cache_clear()
    no_threads(n_allowed)
    for _ in range(3):
        assert_array_equal(model.predict_proba(many), expected)


def test_a_thread_that_comes_too_late_finds_nothing_to_do(monkeypatch):
    """A thread that comes free when the others have done all must not begin anything that nobody waits for."""

    class Late:
        def __init__(self):
            self.kept = []

        def leave_this_core(self):
            self.told = True

        def call(self, function, n_times):
            self.kept += [function] * n_times

    pool, done = Late(), []
    monkeypatch.setattr(threads, "_pool", lambda n_threads: pool)
    threads.share_out(done.append, range(5), 4)
    assert done == [*range(5)]
    assert len(pool.kept) == 3
    assert pool.told
    for function in pool.kept:
        function()
    assert done == [*range(5)]


# Runs that nobody closes ----------------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.usefixtures("little_garbage")
def test_a_run_that_is_dropped_ends_its_threads_and_frees_its_arrays(monkeypatch):
    monkeypatch.setattr(compiled_run, "WORTH_STARTING", 0)
    job = make_job(batch_size=90)
    run = compiled_run.CompiledRun(job, 3)
    run.epoch(None, np.full(1, 0.01))
    followers, arrays = list(run._followers._threads), [weakref.ref(job.X), weakref.ref(run.gradient)]
    assert all(thread.is_alive() for thread in followers)
    del job
    gc.collect()
    run.epoch(None, np.full(1, 0.01))
    del run
    gc.collect()
    for thread in followers:
        thread.join(10)
        assert not thread.is_alive()
    del followers, thread
    gc.collect()
    assert [array() for array in arrays] == [None, None]


# Matrices that are none -----------------------------------------------------------------------------------------------


def broken(how, kind=csr_matrix):
    X = kind(np.random.RandomState(0).randn(20, 6))
    if how == "a column too far":
        X.indices[7] = 6
    elif how == "a negative column":
        X.indices[7] = -1
    elif how == "rows that go back":
        X.indptr[3] = X.indptr[2] - 4
    elif how == "more than there is":
        X.indptr[-1] += 50
    else:
        X.indptr[0] = 1
    return X


HOW = ["a column too far", "a negative column", "rows that go back", "more than there is", "a first row that is cut"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", [csr_matrix, csr_array])
@pytest.mark.parametrize("engine", ENGINES)
def test_indices_that_lead_out_of_a_matrix_are_an_error(engine, kind, how):
    X, y = broken(how, kind), np.arange(20.0)
    model = MLPFromScratchRegressor(hidden_layer_sizes=4, engine=engine, max_iter=2, random_state=0)
    with pytest.raises(ValueError, match=r"^X cannot be used: it is not a CSR matrix that can be read"):
        model.fit(X, y)
    assert vars(model) == model.get_params()
    good = kind(np.random.RandomState(0).randn(20, 6))
    model.fit(good, y)
    for call in (lambda: model.predict(X), lambda: model.score(X, y), lambda: model.partial_fit(X, y)):
        with pytest.raises(ValueError, match=r"^X cannot be used: it is not a CSR matrix"):
            call()
    with pytest.raises(ValueError, match=r"^X_val cannot be used: it is not a CSR matrix"):
        model.fit(good, y, X_val=X, y_val=y)


def test_a_matrix_that_is_looked_at_stays_as_it_is():
    X = csr_matrix(np.random.RandomState(0).randn(20, 6))
    X.indices = X.indices.astype(np.int64)
    X.data, X.indices = np.append(X.data, 5.0), np.append(X.indices, 3)  # room behind the values
    before = [array.copy() for array in (X.data, X.indices, X.indptr)]
    MLPFromScratchRegressor(hidden_layer_sizes=4, max_iter=2, random_state=0).fit(X, np.arange(20.0)).predict(X)
    for array, kept in zip((X.data, X.indices, X.indptr), before, strict=True):
        assert_array_equal(array, kept)
        assert array.dtype == kept.dtype


@needs_numba
def test_random_configurations_agree_in_both_engines():
    counts = Counter()
    random_configurations.check(rounds=15, seed_of_draws=0, counts=counts)
    assert counts.total() == 15
    assert counts["the same losses"] >= 13
    assert "diverged in one" not in counts
