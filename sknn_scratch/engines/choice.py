"""Which engine does a job."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from sknn_scratch.engines import numpy_engine

__all__ = ["choose_engine"]

# Seconds that the compiled engine takes off a step, and off a step for each parameter: about what two cores showed.
SAVED_PER_STEP, SAVED_PER_PARAMETER = 20e-6, 4e-9
# Seconds to import numba and load the first kernel from disk, and to compile the kernels that a fit needs.
START_SECONDS, COMPILE_SECONDS = 0.5, 15.0

COMPILED = "sknn_scratch.engines.numba_engine"


def choose_engine(name: str, n_steps: int, network: Any, batch_size: int) -> tuple[str, ModuleType]:
    """Return the engine for a job, and what it is called.

    'auto' takes the compiled engine if it saves more time than it needs to start, a cold start being counted unless the
    kernels are compiled in this process or on disk. Whether it is already imported does not count: a fit should not
    depend, by rounding, on what the process did before.

    Parameters
    ----------
    name : {'auto', 'numba', 'numpy'}
    n_steps : int
        Steps of the job, or more if training stops early.
    network : Network
    batch_size : int
    """
    if name == "numpy":
        return "numpy", numpy_engine
    if name == "numba":
        return "numba", _import_compiled()
    saved = n_steps * (SAVED_PER_STEP + SAVED_PER_PARAMETER * network.parameters.size)
    if saved > START_SECONDS:
        try:
            engine = _import_compiled()
        except ImportError:
            return "numpy", numpy_engine
        if saved > COMPILE_SECONDS or engine.is_ready(network, batch_size):
            return "numba", engine
    return "numpy", numpy_engine


def _import_compiled() -> ModuleType:
    try:
        return import_module(COMPILED)
    except ImportError as error:
        raise ImportError(
            f"engine='numba' needs numba, which cannot be imported ({error}). Install it with "
            "pip install 'sknn-scratch[fast]', or use engine='auto' or 'numpy'."
        ) from error
