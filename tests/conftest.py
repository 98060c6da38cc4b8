"""One thread per test process: the arrays here are small, and threads of several processes would only wait."""

import gc
import os
import signal
import warnings
from importlib.util import find_spec

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of gradient boosting
os.environ.setdefault("MPLBACKEND", "Agg")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell has it for what it runs in the background; there are tests of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# After the limits, which hold for libraries that are loaded later.
from sknn_scratch.engines import policy

# Small steps are shared among threads here: those of the tests are.
policy.PER_PART = 2**17


@pytest.fixture
def little_garbage():
    """Have gc.collect() go through what a test makes, not through all that there was before, which takes a second."""
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_collection_finish(session):
    """Have the first two workers compile for a dtype each, and not, in their first tests, for both of them."""
    dtype = {"gw0": "float64", "gw1": "float32"}.get(os.environ.get("PYTEST_XDIST_WORKER"))
    if dtype is None or find_spec("numba") is None or len(session.items) < 1000:
        return
    import numpy as np

    from sknn_scratch import MLPFromScratchRegressor

    X = np.linspace(0, 1, 20, dtype=dtype)[:, np.newaxis]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MLPFromScratchRegressor(hidden_layer_sizes=3, max_iter=1, engine="numba").fit(X, X[:, 0])


# Whole scripts and pages, first of all: what comes last should be quick, so that no worker waits for another.
LONG = ("test_examples.py", "docs/", "test_readme.py", "test_tabular", "test_plotting.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not any(part in item.nodeid for part in LONG))
