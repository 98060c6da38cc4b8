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


def choose_engine(
    name: str, n_steps: int, network: Any, batch_size: int, began_with: str | None = None
) -> tuple[str, ModuleType]:
    """Return the engine for a job, and what it is called.

    'auto' takes the compiled engine if it saves more time than it needs to start, a cold start being counted unless the
    kernels are compiled in this process or on disk. Whether it is already imported does not count: a fit should not
    depend, by rounding, on what the process did before. What goes on goes on with the engine that it began with, as
    rounding is not the same in both. Where numba cannot be used, 'auto' is the reference in any case.

    Parameters
    ----------
    name : {'auto', 'numba', 'numpy'}
    n_steps : int
        Steps of the job, or more if training stops early.
    network : Network
    batch_size : int
    began_with : str, default=None
        The engine that the network was trained with so far, if this job goes on with that.

    Raises
    ------
    ImportError
        If the compiled engine is asked for by name and cannot be used.
    """
    if name == "numpy":
        return "numpy", numpy_engine
    if name == "numba":
        return "numba", _import_compiled()
    saved = n_steps * (SAVED_PER_STEP + SAVED_PER_PARAMETER * network.parameters.size)
    if began_with == "numpy" or (began_with is None and saved <= START_SECONDS):
        return "numpy", numpy_engine
    try:
        engine = _import_compiled()
    except ImportError:  # there is no numba, or none that works
        return "numpy", numpy_engine
    if began_with is not None or saved > COMPILE_SECONDS or engine.is_ready(network, batch_size):
        return "numba", engine
    return "numpy", numpy_engine


def _import_compiled() -> ModuleType:
    """Return the compiled engine; raise ImportError, with the cause, wherever it cannot work.

    A numba that does not suit the rest of an installation fails in other ways, too, as it is imported.
    """
    try:
        numba = import_module("numba")
        engine = import_module(COMPILED)
    except Exception as error:
        raise ImportError(
            f"engine='numba' needs numba, which cannot be imported ({type(error).__name__}: {error}). Install it with "
            "pip install 'sknn-scratch[fast]', or use engine='auto' or 'numpy'."
        ) from error
    if numba.config.DISABLE_JIT:
        raise ImportError(
            "engine='numba' needs numba's compiler, which NUMBA_DISABLE_JIT=1 has switched off. Unset it, or use "
            "engine='auto' or 'numpy'."
        )
    return engine
