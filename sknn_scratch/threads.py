"""How many threads BLAS uses.

For the small products of a small network a second thread gains little, and it costs a lot when another process keeps
its core busy: the threads of a product spin until all of them have had their turn.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread_if_small"]

# In multiplications. OpenBLAS does products below the first on one thread anyway. At the second, measured on two cores,
# a second thread takes off a tenth of a step, and a busy neighbour makes a step on two threads twenty times slower.
SINGLE_THREADED_ANYWAY = 2**18
SMALL = 2**21

_limited = threading.Lock()


@cache
def _controller() -> ThreadpoolController:
    """Find the loaded libraries; it takes milliseconds, so once."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread_if_small(largest_product: int) -> Iterator[None]:
    """Hold BLAS to one thread if the largest matrix product in the block is small.

    The limit is the process's. One block at a time sets it, and lifts it again at its end; a block that overlaps, in
    another thread or inside, leaves it alone.

    Parameters
    ----------
    largest_product : int
        Number of multiplications, ``n_rows * fan_in * fan_out``.
    """
    if not SINGLE_THREADED_ANYWAY < largest_product < SMALL or not _limited.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _limited.release()
