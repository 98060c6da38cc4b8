"""Blocks that are done as a whole: no fork sees the middle of them, and Ctrl-C waits for their end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Python's locks of imports and numba's of its compiler are held in such blocks: a process that is forked meanwhile
# would wait for ever for threads that it does not have.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@contextmanager
def whole_in_forks() -> Iterator[None]:
    """Let only one thread at a time into such a block, and forks of the process wait for its end."""
    with _lock:
        yield


@contextmanager
def whole_on_interrupts() -> Iterator[None]:
    """Have Ctrl-C heard at the end of the block."""
    before, heard = signal.getsignal(signal.SIGINT), list[Any]()
    # Python interrupts the main thread only; and what was not made in Python could not be put back.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    signal.signal(signal.SIGINT, lambda *signalled: heard.append(signalled))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)
