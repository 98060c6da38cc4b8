"""How many threads BLAS uses.

For the small products of a small network a second thread gains little, and it costs a lot when another process keeps
its core busy: the threads of a product spin until all of them have had their turn.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from threadpoolctl import LibController, ThreadpoolController

__all__ = [
    "MIN_SHARE",
    "SINGLE_THREADED_ANYWAY",
    "SMALL",
    "WORTH_THREADS",
    "for_each_in_threads",
    "one_blas_thread_if_small",
    "threads_for",
    "threads_worth",
]

# In multiplications. OpenBLAS does products below the first on one thread anyway. Up to the second, measured on two
# cores, one thread is as quick as two of our own that share the rows and are called anew for each step; BLAS's own
# would take off a tenth to a third of a step, and a busy neighbour makes theirs five to twenty times slower.
SINGLE_THREADED_ANYWAY = 2**18
SMALL = 2**23
# With more threads, or fewer rows of a minibatch for each, its products would become inefficient.
MOST_HELPED, MIN_SHARE = 4, 32
# Predictions wake other threads from here on, half a millisecond of work. BLAS's own would take off as much, but cost
# a hundred times that where a neighbour keeps a core busy.
WORTH_THREADS = 2**23

_limited = threading.Lock()
# The libraries that are held to one thread, with the numbers of threads that they had.
_before: list[tuple[LibController, int]] = []


@cache
def _controller() -> ThreadpoolController:
    """Find the loaded libraries; it takes milliseconds, so once."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread.

    The limit is the process's. One block at a time sets it, and lifts it again at its end; a block that overlaps, in
    another thread or inside, leaves it alone. A process that is forked meanwhile is not held to it.
    """
    lock = _limited
    if not lock.acquire(blocking=False):
        yield
        return
    try:
        _before.extend(
            (library, library.num_threads) for library in _controller().select(user_api="blas").lib_controllers
        )
        for library, _ in _before:
            _set_num_threads(library, 1)
        yield
    finally:
        if lock is _limited:  # not so in a forked process, which has its threads back already
            _lift_limit()
        lock.release()


def _lift_limit() -> None:
    """Give the libraries back the numbers of threads that they had."""
    while _before:
        library, n_threads = _before.pop()
        _set_num_threads(library, n_threads)


def _set_num_threads(library: LibController, n_threads: int) -> None:
    """Set the number of threads of a library, whichever thread we are in.

    threadpoolctl 3.8 lets one thread control OpenBLAS until it ends or gives up, and silently ignores all others.
    """
    give_up_control = getattr(library, "clear_controlling_thread", lambda force: None)
    give_up_control(force=True)
    library.set_num_threads(n_threads)
    give_up_control(force=True)


def _after_fork() -> None:
    """Begin anew in a forked process, which has no thread that lifts the limit, and none of the pool."""
    global _limited
    _limited = threading.Lock()
    _lift_limit()
    _pool.cache_clear()


@contextmanager
def one_blas_thread_if_small(largest_product: int) -> Iterator[None]:
    """Hold BLAS to one thread if the largest matrix product in the block is small.

    Parameters
    ----------
    largest_product : int
        Number of multiplications, ``n_rows * fan_in * fan_out``.
    """
    if SINGLE_THREADED_ANYWAY < largest_product < SMALL:
        with one_blas_thread():
            yield
    else:
        yield


@contextmanager
def threads_for(largest_product: int) -> Iterator[tuple[Executor | None, int]]:
    """Hold BLAS to one thread, and yield threads that may share the work of a step out instead.

    The threads of BLAS spin until all have had their turn at each product, so that a busy neighbour on one of the cores
    costs many times its share. Threads that each do a part of a whole step meet but once or twice.

    Parameters
    ----------
    largest_product : int
        Number of multiplications, ``n_rows * fan_in * fan_out``.

    Yields
    ------
    pool : Executor or None
    n_helpers : int
        Its number of threads: one less than BLAS may use. BLAS is left alone instead where it may use many, and where
        no more threads are to be had.
    """
    n_threads = 1 if largest_product < SMALL else blas_threads()
    pool = _started_pool(n_threads - 1) if 1 < n_threads <= MOST_HELPED else None
    if pool is None:
        with one_blas_thread_if_small(largest_product):
            yield None, 0
    else:
        with one_blas_thread(), pool:
            yield pool, n_threads - 1


def _started_pool(n_threads: int) -> ThreadPoolExecutor | None:
    """Return threads that run already, or None where no more are to be had: the system's, or as the program ends.

    A pool that has to start a thread for what it is given, and cannot, keeps it for those that it has.
    """
    pool, all_started = ThreadPoolExecutor(n_threads, thread_name_prefix="sknn_scratch"), threading.Event()
    try:
        for _ in range(n_threads):
            pool.submit(all_started.wait)
    except RuntimeError:
        pool.shutdown(wait=False)
        return None
    finally:
        all_started.set()
    return pool


def blas_threads() -> int:
    """Return how many threads BLAS may use: 1 where threadpoolctl knows none, as where NumPy has Apple's Accelerate."""
    libraries = _controller().lib_controllers
    return min((library.num_threads for library in libraries if library.user_api == "blas"), default=1)


def threads_worth(n_multiplications: int) -> int:
    """Return how many threads are worth waking for so many multiplications of float64, of those that BLAS may use."""
    if n_multiplications < WORTH_THREADS:
        return 1
    return min(blas_threads(), 2 * n_multiplications // WORTH_THREADS)


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Return threads that stay, asleep, for the next prediction: to start one takes as long as a few hundred rows."""
    pool = _started_pool(n_threads)
    if pool is None:
        raise RuntimeError("no more threads are to be had")
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def for_each_in_threads(function: Callable[[Any], None], items: Sequence[Any], n_multiplications: int) -> None:
    """Call a function for each item, in as many threads as BLAS may use and there is enough to do for.

    BLAS is held to one thread all the while: the threads wait for each other but once, at the end, and share the work
    around the products too. Each takes the next item when it is done with one, and those that have not come by the end
    are not waited for.

    Parameters
    ----------
    function : callable
        Releases Python's lock most of the time, as NumPy does.
    items : sequence
    n_multiplications : int
        In the matrix products of all calls together, in float64; in float32, two count as one.
    """
    n_helpers = min(len(items), threads_worth(n_multiplications)) - 1
    n_in_pool = blas_threads() - 1
    remaining = deque(items)

    def work() -> None:
        while remaining:
            try:
                item = remaining.popleft()
            except IndexError:  # another thread was quicker
                return
            function(item)

    with one_blas_thread():
        others: list[Future[None]] = []
        with suppress(RuntimeError):  # no more threads are to be had: the system's, or as the program ends
            while len(others) < n_helpers:
                others.append(_pool(n_in_pool).submit(work))
        try:
            work()
        finally:
            remaining.clear()
            others = [other for other in others if not other.cancel()]
            wait(others)
        for other in others:
            other.result()
