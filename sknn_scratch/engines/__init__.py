"""The engines, and the seam to them.

An engine is given a job and answers two questions: what it misses to do it, and how it goes, a run. ``run.epoch(order,
learning_rates)`` trains for an epoch and returns the mean loss of its minibatches; ``run.loss_and_gradient()`` computes
the objective of all samples and fills ``run.gradient``; ``run.close()`` ends it. All that decides about training stands
above.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

import sknn_scratch.engines.policy as policy
from sknn_scratch.catalogue.expressions import NoGraphError
from sknn_scratch.engines.compiled.kernels import is_kept
from sknn_scratch.engines.compiled.sources import sources_of
from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.engines.threads import one_blas_thread_for, threads_for, usual_blas_threads
from sknn_scratch.engines.whole import whole_in_forks, whole_on_interrupts
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.coded_matrix import CodedMatrix
from sknn_scratch.training.job import Job
from sknn_scratch.warn import warn

ENGINES = ("numba", "numpy", "torch")


def missing(name: str, job: Job) -> str | None:
    """Return why an engine, 'numba', 'numpy' or 'torch', cannot do a job, or None."""
    if name == "numpy":
        return None
    if (reason := _what_prevents(name)) is not None:
        return f"{'PyTorch' if name == 'torch' else name} cannot be used: {reason}"
    if name == "torch":
        if issparse(job.X):
            return "X is sparse (X.toarray() is not)"
        if job.device == "mps" and job.network.dtype == np.float64:
            return "MPS has no float64 (X.astype('float32') is float32)"
        from sknn_scratch.engines.torch import formulas

        return formulas.obstacle(job)
    if (max(job.X.nnz, *job.X.shape) if issparse(job.X) else job.X.shape[0]) >= 2**31:
        return "X has more than 2**31 rows or, as it is sparse, columns or values"
    if isinstance(job.X, CodedMatrix) and (job.input_noise or any(job.dropout[:1])):
        return "the input has codes and is dropped or noisy"
    try:
        sources_of(job)
    except NoGraphError as error:
        return str(error)
    return None


def choose(name: str, job: Job, n_steps: int, began_with: str | None = None) -> str:
    """Return the engine for a job that will take so many steps, as far as that is known: one of ``ENGINES``.

    'auto' takes PyTorch where ``job.device`` is not the CPU. On it, training that goes on keeps the engine that it
    ``began_with``, as rounding differs, unless that was PyTorch, or is numba where that is lacking. Otherwise 'auto'
    takes the compiled engine where its code is on disk and the job is more than a trifle, and where some is not, if the
    job alone saves more time than compiling that takes. What this process did before does not count: a fit should not
    depend, by rounding, on that.

    Raises ImportError if numba or PyTorch is asked for and cannot be imported, ValueError if PyTorch cannot do the job,
    or not on this device.
    """
    if name == "torch" or job.device != "cpu":
        return _choose_torch(name, job)
    if name == "auto" and (began_with == "numpy" or (began_with == "numba" and _what_prevents("numba") is None)):
        name = began_with
    if name == "numpy":
        return "numpy"
    if name == "auto":
        saved = n_steps * (policy.SAVED_PER_STEP + policy.SAVED_PER_PARAMETER * job.network.parameters.size)
        if saved < policy.WORTH_LOADING or (saved < policy.COMPILE_SECONDS and saved < _seconds_to_compile(job)):
            return "numpy"
        if (reason := _what_prevents("numba")) is not None:
            if not reason.startswith(("ModuleNotFoundError", "NUMBA_DISABLE_JIT")):  # neither absent nor unwanted
                warn(f"Training runs on NumPy: numba, which would be faster, cannot be used ({reason}).")
            return "numpy"
    elif (reason := _what_prevents("numba")) is not None:
        raise ImportError(
            f"engine='numba' needs numba, which cannot be used ({reason}). Install it with "
            "pip install 'sknn-scratch[fast]', or use engine='auto' or 'numpy'."
        )
    reason = missing("numba", job)
    if reason is not None:
        warn(f"Training runs on NumPy: {reason}.")
        return "numpy"
    return "numba"


@contextmanager
def start(name: str, job: Job, beside: Any = None) -> Iterator[Any]:
    """Give, for a ``with`` block, a run of a job; one of the same engine ``beside`` it shares what both have."""
    if name == "torch":
        with closing(_on_torch().TorchRun(job, beside)) as on_device:
            yield on_device
        return
    size = job.network.largest_product(job.batch_size), job.network.parameters.size
    if name == "numpy":
        with threads_for(*size) as (n_parts, n_threads):
            yield NumpyRun(job, n_parts, n_threads)
        return
    from sknn_scratch.engines.compiled.run import CompiledRun

    n_parts = policy.parts(job.batch_size, job.network.n_weights, usual_blas_threads())
    # Where fits in other threads have the cores, this one does all parts itself.
    with one_blas_thread_for(*size) as n_free, closing(CompiledRun(job, n_parts, min(n_parts, n_free))) as run:
        yield run


def raw_output(
    network: Perceptron, X: Any, rows: NDArray | None = None, *, device: str = "cpu", check_finite: bool = False
) -> Any:
    """Pass samples forward, on a device where that is worth it and can be done; see ``Perceptron.raw_output``."""
    n_rows = X.shape[0] if rows is None else len(rows)
    # A model that was trained on a GPU predicts without one, too.
    if device != "cpu" and isinstance(X, np.ndarray) and n_rows * network.n_weights >= policy.WORTH_A_DEVICE:
        fits = device != "mps" or X.dtype == network.dtype == np.float32
        if fits and _what_prevents("torch") is None and _on_torch().problem(device) is None:
            return _on_torch().raw_output(network, X, rows, device, check_finite)
    return network.raw_output(X, rows, check_finite)


def _choose_torch(name: str, job: Job) -> str:
    what = "engine='torch'" if job.device == "cpu" else f"device={job.device!r}"
    if name not in ("auto", "torch"):
        raise ValueError(f"engine={name!r} runs on the CPU only; use engine='auto' with {what}.")
    if (reason := _what_prevents("torch")) is not None:
        raise ImportError(
            f"{what} needs PyTorch, which cannot be used ({reason}). Install it with pip install 'sknn-scratch[gpu]', "
            "or use device='cpu' and engine='auto'."
        )
    reason = _on_torch().problem(job.device) or missing("torch", job)
    if reason is not None:
        raise ValueError(f"{what} cannot be used: {reason}. Use device='cpu' and engine='auto' instead.")
    return "torch"


def _on_torch() -> Any:
    from sknn_scratch.engines.torch import run

    return run


def _seconds_to_compile(job: Job) -> float:
    """Return how long it takes to compile what a job needs and is not on disk."""
    try:
        sources = sources_of(job)
    except NoGraphError:
        return 0.0  # nothing is to be compiled; the warning about it is for whoever asks
    missing = {text for text in sources.texts() if not is_kept(text)}
    if not missing.isdisjoint(sources.functions.values()):
        return policy.COMPILE_SECONDS
    return len(missing) * policy.COMPILE_SECONDS_OF_KERNEL


@cache
def _what_prevents(name: str) -> str | None:
    """Return why the library of an engine cannot be used, or None."""
    # Half of it, left behind by Ctrl-C, could neither be used nor be imported again.
    with whole_in_forks(), whole_on_interrupts():
        try:
            if name == "numba" and import_module("numba").config.DISABLE_JIT:
                return "NUMBA_DISABLE_JIT is set"
            import_module(f"sknn_scratch.engines.{'compiled' if name == 'numba' else name}.run")
        except Exception as error:  # whatever a broken installation raises
            return f"{type(error).__name__}: {error}"
    return None
