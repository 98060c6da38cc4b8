"""One BLAS thread per test process: the arrays here are small, and threads of several processes would only wait."""

import gc
import os
import signal

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell has it for what it runs in the background; there are tests of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def little_garbage():
    """Have gc.collect() go through what a test makes, not through all that there was before, which takes a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
