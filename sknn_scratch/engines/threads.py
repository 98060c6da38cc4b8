"""How many threads BLAS uses.

For the small products of a small network a second thread gains little, and it costs a lot when another process keeps
its core busy: the threads of a product spin until all of them have had their turn.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

from threadpoolctl import LibController, ThreadpoolController

from sknn_scratch.engines.policy import MOST_HELPED, SINGLE_THREADED_ANYWAY, SMALL, WORTH_THREADS

__all__ = [
    "blas_threads",
    "for_each_in_threads",
    "for_each_with",
    "one_blas_thread",
    "one_blas_thread_if_small",
    "threads_for",
    "threads_worth",
    "usual_blas_threads",
]


class _Limit:
    """Holds BLAS to one thread as long as anything in this process wants it.

    Attributes
    ----------
    n_before : int or None
        How many threads BLAS may use otherwise, while it is held to one.
    """

    def __init__(self) -> None:
        self._lock, self._n_holding = threading.Lock(), 0
        self._before: list[tuple[LibController, int]] = []
        self.n_before: int | None = None

    def n_usual(self) -> int:
        """Return how many threads BLAS may use when it is not held; nobody takes or releases it meanwhile."""
        with self._lock:
            return self.n_before or blas_threads()

    def take(self) -> None:
        with self._lock:
            if self._n_holding == 0:
                self.n_before = blas_threads()
                self._before = [(library, library.num_threads) for library in _blas_libraries()]
                for library, _ in self._before:
                    _set_num_threads(library, 1)
            self._n_holding += 1

    def release(self) -> None:
        with self._lock:
            self._n_holding -= 1
            if self._n_holding == 0:
                self._lift()

    def give_up(self) -> None:
        """Lift it, in a forked process, which lacks the other threads; to release it then does nothing."""
        self._lock, self._n_holding = threading.Lock(), 0
        self._lift()

    def _lift(self) -> None:
        while self._before:
            _set_num_threads(*self._before.pop())
        self.n_before = None


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
def _controller() -> ThreadpoolController:
    """Find the loaded libraries; it takes milliseconds, so once."""
    return ThreadpoolController()


def _blas_libraries() -> list[LibController]:
    """Return those of BLAS: none where threadpoolctl knows none, as where NumPy has Apple's Accelerate."""
    return [library for library in _controller().lib_controllers if library.user_api == "blas"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread.

    The limit is the process's: the first of several blocks that overlap, in other threads or inside each other, sets
    it, and the last lifts it. So what is computed in a block does not depend on what others do. A process that is
    forked meanwhile is not held to it.
    """
    limit = _limit
    limit.take()
    try:
        yield
    finally:
        limit.release()


def _after_fork() -> None:
    """Begin anew in a forked process, which has no thread that lifts the limit, and none of the pool."""
    global _limit
    _limit.give_up()
    _limit = _Limit()
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
        None also where other threads hold BLAS to one and so have the cores.
    n_parts : int
        Into how many parts a large step is cut: as many as BLAS may use threads when nothing of ours holds it. BLAS is
        left alone instead where these are many.
    """
    n_parts = 1 if largest_product < SMALL else usual_blas_threads()
    if n_parts == 1 or n_parts > MOST_HELPED:
        with one_blas_thread_if_small(largest_product):
            yield None, 1
        return
    n_helpers = min(n_parts, blas_threads()) - 1
    with one_blas_thread(), ThreadPoolExecutor(n_helpers) if n_helpers else nullcontext() as pool:
        yield pool, n_parts


def blas_threads() -> int:
    """Return how many threads BLAS may use; 1 where threadpoolctl knows no BLAS."""
    return min((library.num_threads for library in _blas_libraries()), default=1)


def usual_blas_threads() -> int:
    """Return how many threads BLAS may use when nothing of ours holds it to one."""
    return _limit.n_usual()


def threads_worth(n_multiplications: int) -> int:
    """Return how many threads are worth waking for so many multiplications of float64.

    At most as many as BLAS may use when nothing of ours holds it to one; they need not be free.
    """
    if n_multiplications < WORTH_THREADS:
        return 1
    return min(usual_blas_threads(), 2 * n_multiplications // WORTH_THREADS)


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Return threads that stay, asleep, for the next prediction: to start one takes as long as a few hundred rows."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="sknn_scratch")


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
    n_free = blas_threads()  # once: another thread may hold BLAS to one at any moment
    n_helpers = min(len(items), threads_worth(n_multiplications), n_free) - 1
    pool = _pool(n_free - 1) if n_helpers > 0 else None
    with one_blas_thread():
        for_each_with(pool, n_helpers, function, items)


def for_each_with(pool: Executor | None, n_helpers: int, function: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call a function for each item, in this thread and in so many of a pool, as far as they are to be had.

    Parameters
    ----------
    pool : Executor or None
    n_helpers : int
    function : callable
    items : sequence

    Raises
    ------
    BaseException
        The first that a call has raised; no further item is begun then.
    """
    remaining, changed, errors = deque(items), threading.Condition(), list[BaseException]()
    n_at_work = 0

    def take_items() -> None:
        while remaining:
            try:
                item = remaining.popleft()
            except IndexError:  # another thread was quicker
                return
            function(item)

    def help_out() -> None:
        nonlocal n_at_work
        with changed:
            if not remaining:  # nobody waits for those that come so late
                return
            n_at_work += 1
        try:
            take_items()
        except BaseException as error:  # is raised by the thread that waits
            errors.append(error)
        finally:
            with changed:
                n_at_work -= 1
                changed.notify_all()

    # Where no thread can be started, an executor raises, and keeps what it was given for one that may come free.
    with suppress(RuntimeError):
        while pool is not None and n_helpers > 0:
            pool.submit(help_out)
            n_helpers -= 1
    try:
        take_items()
    finally:
        with changed:
            remaining.clear()
            changed.wait_for(lambda: n_at_work == 0)
    if errors:
        raise errors[0]
