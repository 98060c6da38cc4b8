"""L-BFGS on all samples at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sknn_scratch.engines import start
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.job import Job
from sknn_scratch.training.progress import (
    Listener,
    Outcome,
    Progress,
    TrainingDivergedError,
    what_is_not_finite,
    what_to_try,
)


class _Calls:
    """What scipy's minimiser calls."""

    def __init__(self, run: Any, network: Perceptron, progress: Progress, verbose: bool, listener: Listener | None):
        self._run, self._network, self._progress = run, network, progress
        self._verbose, self._listener = verbose, listener
        self._latest_loss = np.inf
        self.reached = network.parameters.astype(np.float64)  # at the end of the last iteration
        self.stopped = False  # by the listener

    def objective(self, parameters: NDArray) -> tuple[float, NDArray]:
        """Return loss and gradient over all samples."""
        self._network.parameters[...] = parameters
        self._latest_loss = self._run.loss_and_gradient()
        return self._latest_loss, self._run.gradient.astype(np.float64)

    def iteration_ended(self, parameters: NDArray) -> None:
        """Record an iteration; raise StopIteration, which ends the minimiser, if the listener says so."""
        # The last evaluation of a line search is the one at the point that it accepts.
        self._progress.add_epoch(self._latest_loss, None, tol=-np.inf)  # none stalls: scipy decides when to stop
        self.reached[...] = parameters
        if self._verbose:
            print(f"Iteration {self._progress.n_iter}, loss = {self._latest_loss:.8f}")
        if self._listener is not None:
            self._listener.epoch_begins()
            if self._listener.epoch_ended():
                self.stopped = True
                raise StopIteration


def train_lbfgs(
    job: Job, engine: str, progress: Progress, settings: Any, listener: Listener | None = None
) -> tuple[Outcome, str]:
    """Train with scipy's L-BFGS on the objective over all samples; return how it ended, and why in scipy's words.

    ``settings`` has ``max_iter``, ``max_fun``, ``tol`` and ``verbose``, as the estimators' parameters; ``progress`` is
    from ``Progress.next_run(False)``. It and the parameters of the job's network are changed in place. Raises
    TrainingDivergedError if the loss or a parameter ends infinite or NaN.

    References
    ----------
    Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical Programming 45,
    1989.
    """
    network = job.network
    with start(engine, job) as run:
        calls = _Calls(run, network, progress, settings.verbose, listener)
        try:
            result = minimize(
                calls.objective,
                calls.reached.copy(),
                method="L-BFGS-B",
                jac=True,
                callback=calls.iteration_ended,
                options={"maxiter": settings.max_iter, "maxfun": settings.max_fun, "gtol": settings.tol},
            )
        except KeyboardInterrupt:
            network.parameters[...] = calls.reached
            return Outcome.INTERRUPTED, "interrupted"
    network.parameters[...] = result.x
    progress.loss = float(result.fun)
    assert progress.best_loss is not None
    if progress.n_iter:
        # A line search that fails ends at its best point, of which the callback is not told.
        progress.loss_curve[-1] = progress.loss
        progress.best_loss = min(progress.best_loss, progress.loss)
    progress.n_iter = result.nit
    not_finite = what_is_not_finite(progress.loss, [network.parameters])
    if not_finite:
        raise TrainingDivergedError(
            f"Training diverged in iteration {progress.n_iter} of lbfgs: {not_finite}. {what_to_try()}."
        )
    if calls.stopped:
        return Outcome.STOPPED, "stopped by a callback"
    return Outcome.CONVERGED if result.status == 0 else Outcome.MAX_ITER_REACHED, str(result.message)
