"""Threads: how many BLAS may use, and those of ours that take their place.

BLAS's threads wait for each other in every product, in a loop that keeps their cores busy. For small products a second
thread gains little, and costs a lot where another process uses its core.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from queue import SimpleQueue
from typing import Any

from threadpoolctl import LibController, ThreadpoolController

from sknn_scratch.engines.policy import (
    AWAKE_SECONDS,
    FIRST_PAUSE,
    LONG_STREAM,
    LONG_VECTOR,
    LONGEST_PAUSE,
    MOST_HELPED,
    PATIENCE_SECONDS,
    SINGLE_THREADED_ANYWAY,
    SMALL,
    WORTH_THREADS,
)


class _Limit:
    """Holds BLAS to one thread as long as anything in this process wants it; Ctrl-C may end each method early."""

    def __init__(self) -> None:
        self._lock, self._holders = threading.Lock(), set[object]()
        # While it is held to one: how many threads each library, and BLAS as a whole, may use otherwise.
        self._before: list[tuple[LibController, int]] = []
        self._n_before: int | None = None

    def n_usual(self) -> int:
        """Return how many threads BLAS may use without this limit."""
        with self._lock:
            return self._n_before or blas_threads()

    def take(self, holder: object) -> int:
        """Return how many threads may work instead of BLAS's, for this holder."""
        with self._lock:
            n_free = 1
            if not self._holders:
                n_free = self._n_before = blas_threads()
                self._before = [(library, library.num_threads) for library in _blas_libraries()]
                for library, _ in self._before:
                    _set_num_threads(library, 1)
            self._holders.add(holder)
            return n_free

    def release(self, holder: object) -> None:
        """Lift it unless another holder wants it; a second time, this does nothing."""
        with self._lock:
            self._holders.discard(holder)
            if not self._holders:
                self._lift()

    def give_up(self) -> None:
        """Lift it in a forked process, which lacks the threads that hold it; to release it then does nothing."""
        self._lock, self._holders = threading.Lock(), set()
        self._lift()

    def _lift(self) -> None:
        for library, n_threads in self._before:
            _set_num_threads(library, n_threads)
        self._before, self._n_before = [], None


def _set_num_threads(library: LibController, n_threads: int) -> None:
    """Set the number of threads of a library, whichever thread we are in.

    threadpoolctl 3.8 lets one thread control OpenBLAS until it ends or gives up, and silently ignores all others.
    """
    give_up_control = getattr(library, "clear_controlling_thread", lambda force: None)
    give_up_control(force=True)
    library.set_num_threads(n_threads)
    give_up_control(force=True)


_limit = _Limit()


@cache
def _blas_libraries() -> list[LibController]:
    """Return the loaded libraries of BLAS, looked for once, as that takes milliseconds.

    There is none where threadpoolctl knows none, as where NumPy has Apple's Accelerate.
    """
    return ThreadpoolController().select(user_api="blas").lib_controllers


@contextmanager
def one_blas_thread() -> Iterator[int]:
    """Hold BLAS to one thread, and yield how many of ours may work instead: 1 where another block holds it already.

    The limit holds for the process: of blocks that overlap, nested or in several threads, the first sets it and the
    last lifts it, so that it holds in all of them. A process that is forked meanwhile is free of it. For a BLAS of
    OpenMP it holds in the thread that set it and, by ``one_blas_thread_here``, in threads of ours.
    """
    limit, holder = _limit, object()
    try:
        yield limit.take(holder)
    finally:
        try:
            limit.release(holder)
        finally:  # once more, as Ctrl-C may have ended it early
            limit.release(holder)


def one_blas_thread_here() -> None:
    """Hold a BLAS of OpenMP to one thread in this thread, one of ours, for as long as it lives.

    There the number of threads belongs to the thread that sets it, and a new thread begins with the usual one.
    """
    for library in _blas_libraries():
        if getattr(library, "threading_layer", "") == "openmp":
            _set_num_threads(library, 1)


class _Neighbours:
    """Whether BLAS's own threads are awake and find free cores, as far as is known."""

    def __init__(self) -> None:
        self._users = set[object]()
        self._awake_until, self._busy_until, self._pause = 0.0, 0.0, FIRST_PAUSE
        self._have_waited, self._n_in_stream = False, 0

    @contextmanager
    def blas_threads_if_free(self, seconds: float, worth_waking: bool) -> Iterator[int]:
        start, user = time.monotonic(), object()
        self._n_in_stream = self._n_in_stream + 1 if start < self._awake_until else 0
        asleep = self._n_in_stream < LONG_STREAM
        try:
            self._users.add(user)
            if start < self._busy_until or (asleep and not worth_waking) or len(self._users) > 1:
                with one_blas_thread() as n_free:
                    yield n_free
                self._awake_until = time.monotonic() + AWAKE_SECONDS
                return
            yield 1
        finally:
            self._users.discard(user)
        end = time.monotonic()
        self._awake_until = end + AWAKE_SECONDS
        if end - start <= seconds + PATIENCE_SECONDS:
            self._have_waited, self._pause = False, max(self._pause / 2, FIRST_PAUSE)
        elif not self._have_waited:  # perhaps only to be woken
            self._have_waited = True
        else:
            self._busy_until, self._pause = end + self._pause, min(self._pause * 2, LONGEST_PAUSE)


_neighbours = _Neighbours()


def blas_threads_if_free(seconds: float, worth_waking: bool) -> AbstractContextManager[int]:
    """Return a block in which BLAS uses its own threads, or ``one_blas_thread`` where these would have to wait.

    They wait for a core where two such blocks in turn took longer than they may, as another process uses it; and to be
    woken, where there were not many such blocks just before. While another thread is in such a block, they would wait
    for each other. The block yields how many threads of ours may work instead of BLAS's.

    Parameters
    ----------
    seconds : float
        How long the block may take.
    worth_waking : bool
        Whether to wake them pays.
    """
    return _neighbours.blas_threads_if_free(seconds, worth_waking)


def _after_fork() -> None:
    """Begin anew in a forked process, which has no thread that lifts the limit, and none of the pool."""
    global _limit, _neighbours
    _limit.give_up()
    _limit, _neighbours = _Limit(), _Neighbours()
    _pool.cache_clear()


def one_blas_thread_for(largest_product: int, n_parameters: int) -> AbstractContextManager[int]:
    """Return ``one_blas_thread`` for a training run, or a block that does nothing where BLAS uses one thread anyway."""
    if largest_product <= SINGLE_THREADED_ANYWAY and n_parameters <= LONG_VECTOR:
        return nullcontext(blas_threads())
    return one_blas_thread()


@contextmanager
def threads_for(largest_product: int, n_parameters: int) -> Iterator[tuple[int, int]]:
    """Hold BLAS to one thread; yield the number of parts of a step, and of threads of ours that share them instead.

    BLAS's threads wait for each other in each product, so that a busy neighbour on one core costs many times its share;
    threads that do a part of the whole step wait once or twice. There are as many parts as BLAS would use threads;
    where these are many, BLAS is left to use them, and there is one part. Where fits in other threads use the cores,
    one thread does all parts.
    """
    n_parts = 1 if largest_product < SMALL else usual_blas_threads()
    if n_parts > MOST_HELPED:
        yield 1, 1
        return
    with one_blas_thread_for(largest_product, n_parameters) as n_free:
        yield n_parts, min(n_parts, n_free)


def blas_threads() -> int:
    """Return how many threads BLAS may use; 1 where threadpoolctl knows no BLAS."""
    return min((library.num_threads for library in _blas_libraries()), default=1)


def usual_blas_threads() -> int:
    """Return how many threads BLAS may use when nothing of ours holds it to one."""
    return _limit.n_usual()


def threads_worth(n_multiplications: int) -> int:
    """Return how many threads, of those that BLAS may use otherwise, are worth waking for these multiplications."""
    if n_multiplications < WORTH_THREADS:
        return 1
    return min(usual_blas_threads(), 2 * n_multiplications // WORTH_THREADS)


class Helpers:
    """Threads, started when they are first called, that help the one that calls them, and leave its core to it.

    An executor of the standard library does the same, but takes twice as long to call one, and a large step or
    prediction has little more than that to gain.
    """

    # Of the C library, on Linux.
    _core = getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None

    def __init__(self, n_threads: int):
        self._n_threads, self._lock = n_threads, threading.Lock()
        self._threads, self._calls = list[threading.Thread](), SimpleQueue[Callable[[], None] | None]()
        self._left: tuple[int, int] | None = None
        weakref.finalize(self, _end, self._threads, self._calls)

    def call(self, function: Callable[[], None], n_times: int) -> None:
        """Have at most so many threads call a function, which must not raise: fewer if they cannot be started."""
        with self._lock, suppress(RuntimeError):
            while len(self._threads) < min(n_times, self._n_threads):
                thread = threading.Thread(target=_do, args=(self._calls,), name="sknn_scratch", daemon=True)
                thread.start()
                self._threads.append(thread)
        for _ in range(min(n_times, len(self._threads))):
            self._calls.put(function)

    def leave_this_core(self) -> None:
        """Have those that sleep wake up on other cores than that of this thread, as far as there are others.

        In a virtual machine a core that sleeps looks busy to the system, which then wakes a thread on the core of the
        one that called it: the two take turns for milliseconds, and two threads take as long as one.
        """
        if self._core is None or self._left == (here := (self._core(), len(self._threads))):
            return
        with suppress(OSError):  # where a sandbox forbids it
            cores = os.sched_getaffinity(0)
            others = cores - {here[0]} or cores
            for thread in self._threads:
                if thread.native_id is not None:
                    os.sched_setaffinity(thread.native_id, others)
        self._left = here

    def close(self) -> None:
        """End the threads, and wait until they have."""
        ending = self._threads.copy()
        _end(self._threads, self._calls)
        for thread in ending:
            thread.join()


def _do(calls: SimpleQueue) -> None:
    """Do what comes, with one thread of BLAS; None ends it, and then the others."""
    one_blas_thread_here()
    while (function := calls.get()) is not None:
        function()
        del function  # and with it the arrays of a prediction that is over
    calls.put(None)


def _end(threads: list[threading.Thread], calls: SimpleQueue) -> None:
    threads.clear()
    calls.put(None)  # also for one that Ctrl-C kept from the list as it was started


@cache
def _pool(n_threads: int) -> Helpers:
    """Return threads that are kept for the next step or prediction: to start one takes as long as some hundred rows."""
    return Helpers(n_threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def for_each_in_threads(function: Callable[[Any], None], items: Sequence[Any], n_multiplications: int) -> None:
    """Call a function for each item, in as many threads as BLAS may use and the work is worth.

    BLAS is held to one thread meanwhile. The function releases Python's lock most of the time, as NumPy does. The
    multiplications are those of all calls together, in float64; in float32, two count as one.
    """
    with one_blas_thread() as n_free:
        share_out(function, items, min(len(items), threads_worth(n_multiplications), n_free))


def share_out(function: Callable[[Any], None], items: Sequence[Any], n_threads: int) -> None:
    """Call a function for each item, in at most so many threads, of which this is one.

    Each thread takes the next item when it is done with one; a thread that has not begun when no item is left is not
    waited for. Raises the first exception that a call has raised; no further item is begun then.
    """
    remaining, places, done = deque(items), deque(range(1, n_threads)), SimpleQueue[BaseException | None]()

    def take_items() -> None:
        try:
            while remaining:
                try:
                    item = remaining.popleft()
                except IndexError:  # another thread was quicker
                    return
                function(item)
        finally:
            remaining.clear()

    def help_out() -> None:
        try:
            places.pop()
        except IndexError:  # too late: the caller goes on
            return
        try:
            take_items()
        except BaseException as error:  # is raised by the thread that waits
            done.put(error)
        else:
            done.put(None)

    if n_threads > 1:
        pool = _pool(usual_blas_threads() - 1)
        pool.leave_this_core()
        pool.call(help_out, n_threads - 1)
    try:
        take_items()
    finally:
        n_helpers = n_threads - 1
        with suppress(IndexError):
            while True:
                places.pop()
                n_helpers -= 1
        errors = [error for _ in range(n_helpers) if (error := done.get()) is not None]
    if errors:
        raise errors[0]
