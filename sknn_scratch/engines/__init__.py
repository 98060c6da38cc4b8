"""The engines, and the seam to them.

An engine is given a job and answers two questions: what it misses to do it, and how it goes, a run. ``run.epoch(order,
learning_rates)`` trains for an epoch and returns the mean loss of its minibatches; ``run.loss_and_gradient()`` computes
the objective of all samples and fills ``run.gradient``; ``run.close()`` ends it. All that decides about training stands
above.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from sknn_scratch.engines import policy
from sknn_scratch.engines.compiled import cache as compiled_cache
from sknn_scratch.engines.compiled.sources import sources_of
from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.expressions import NoGraphError
from sknn_scratch.job import Job
from sknn_scratch.threads import blas_threads, one_blas_thread, threads_for

__all__ = ["choose", "missing", "start"]


def missing(name: str, job: Job) -> str | None:
    """Return why an engine cannot do a job, or None.

    Parameters
    ----------
    name : {'numba', 'numpy'}
    job : Job
    """
    if name == "numpy":
        return None
    if _import_error() is not None:
        return f"numba cannot be used: {_import_error()}"
    if getattr(job.X, "nnz", 0) >= 2**31:
        return "the compiled engine has indices of 32 bits, and X has too many entries for them"
    try:
        sources_of(job)
    except NoGraphError as error:
        return str(error)
    return None


def choose(name: str, job: Job, n_steps: int) -> str:
    """Return the engine for a job.

    'auto' takes the compiled engine where its code is on disk and the job is more than a trifle, and where it is not, if
    the job alone saves more time than compiling takes. What this process did before does not count: a fit should not
    depend, by rounding, on that.

    Parameters
    ----------
    name : {'auto', 'numba', 'numpy'}
    job : Job
    n_steps : int
        Steps that it will take, as far as that is known.

    Returns
    -------
    name : {'numba', 'numpy'}

    Raises
    ------
    ImportError
        If numba is asked for and cannot be imported.
    """
    if name == "numpy":
        return "numpy"
    if name == "auto":
        saved = n_steps * (policy.SAVED_PER_STEP + policy.SAVED_PER_PARAMETER * job.network.parameters.size)
        if saved < policy.WORTH_LOADING or (saved < policy.COMPILE_SECONDS and not _is_on_disk(job)):
            return "numpy"
        if _import_error() is not None:
            return "numpy"
    elif _import_error() is not None:
        raise ImportError(
            f"engine='numba' needs numba, which cannot be used ({_import_error()}). Install it with "
            "pip install 'sknn-scratch[fast]', or use engine='auto' or 'numpy'."
        )
    reason = missing("numba", job)
    if reason is not None:
        warnings.warn(f"Training runs on NumPy: {reason}.", UserWarning, stacklevel=7)
        return "numpy"
    return "numba"


@contextmanager
def start(name: str, job: Job) -> Iterator[Any]:
    """Give, for a ``with`` block, a run of a job.

    Parameters
    ----------
    name : {'numba', 'numpy'}
    job : Job
    """
    if name == "numpy":
        with threads_for(job.network.largest_product(job.batch_size)) as (pool, n_helpers):
            yield NumpyRun(job, pool, n_helpers)
        return
    from sknn_scratch.engines.compiled.run import CompiledRun

    n_parts = policy.parts(job.batch_size, job.network.n_weights, blas_threads())
    with one_blas_thread():
        run = CompiledRun(job, n_parts)
        try:
            yield run
        finally:
            run.close()


def _is_on_disk(job: Job) -> bool:
    """Return whether all compiled code that a job needs is on disk."""
    try:
        return compiled_cache.is_complete(sources_of(job), job.network.dtype)
    except NoGraphError:
        return True  # nothing is to be compiled; the warning about it is for whoever asks


@cache
def _import_error() -> str | None:
    """Return why numba cannot be used, or None."""
    try:
        import numba

        switched_off = numba.config.DISABLE_JIT
        if not switched_off:
            import_module("sknn_scratch.engines.compiled.run")
    except Exception as error:  # whatever a broken installation raises
        return f"{type(error).__name__}: {error}"
    return "NUMBA_DISABLE_JIT is set" if switched_off else None
