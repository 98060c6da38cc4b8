"""L-BFGS on all samples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sknn_scratch.engines import start
from sknn_scratch.job import Job
from sknn_scratch.progress import (
    CONVERGED,
    INTERRUPTED,
    MAX_ITER_REACHED,
    STOPPED,
    Listener,
    Progress,
    what_is_not_finite,
    what_to_try,
)

__all__ = ["train_lbfgs"]


def train_lbfgs(
    job: Job,
    engine: str,
    progress: Progress,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    verbose: bool,
    listener: Listener | None = None,
) -> tuple[str, str]:
    """Train with scipy's L-BFGS on the objective over all samples.

    Parameters
    ----------
    job : Job
        Its network's parameters are changed in place.
    engine : str
        Does the job.
    progress : Progress
        From ``Progress.next_run(False)``; changed in place.
    max_iter, max_fun : int
        Limits of iterations and of evaluations of the objective.
    tol : float
        The largest component of the gradient at which the solver stops.
    verbose : bool
        Whether to print the loss of each iteration.
    listener : Listener, default=None
        Is told of each iteration, and can stop training.

    Returns
    -------
    outcome : str
        CONVERGED, MAX_ITER_REACHED (any limit), STOPPED (by the listener) or INTERRUPTED (by KeyboardInterrupt).
    message : str
        scipy's own words on why it stopped.

    Raises
    ------
    ValueError
        If the loss or a parameter ends infinite or NaN.

    References
    ----------
    Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical Programming 45,
    1989.
    """
    network, latest_loss, stopped = job.network, np.inf, False
    reached = network.parameters.astype(np.float64)

    def iteration_ended(parameters: NDArray) -> None:
        nonlocal stopped
        # The last evaluation of a line search is the one at the point that it accepts.
        progress.add_iteration(latest_loss)
        reached[...] = parameters
        if verbose:
            print(f"Iteration {progress.n_iter}, loss = {latest_loss:.8f}")
        if listener is not None:
            listener.epoch_begins()
            if listener.epoch_ended():
                stopped = True
                raise StopIteration

    with start(engine, job) as run:

        def objective(parameters: NDArray) -> tuple[float, NDArray]:
            nonlocal latest_loss
            network.parameters[...] = parameters
            latest_loss = run.loss_and_gradient()
            return latest_loss, run.gradient.astype(np.float64)

        try:
            result = minimize(
                objective,
                reached.copy(),
                method="L-BFGS-B",
                jac=True,
                callback=iteration_ended,
                options={"maxiter": max_iter, "maxfun": max_fun, "gtol": tol},
            )
        except KeyboardInterrupt:
            network.parameters[...] = reached
            return INTERRUPTED, "interrupted"
    network.parameters[...] = result.x
    progress.loss = float(result.fun)
    if progress.loss_curve:
        # A line search that fails ends at its best point, of which the callback is not told.
        progress.loss_curve[-1] = progress.loss
        progress.best_loss = min(progress.loss_curve)
    progress.n_iter = result.nit
    not_finite = what_is_not_finite(progress.loss, [network.parameters])
    if not_finite:
        raise ValueError(f"Training diverged in iteration {progress.n_iter} of lbfgs: {not_finite}. {what_to_try()}.")
    if stopped:
        return STOPPED, "stopped by a callback"
    return CONVERGED if result.status == 0 else MAX_ITER_REACHED, str(result.message)
