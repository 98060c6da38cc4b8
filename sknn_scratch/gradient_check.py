"""Backpropagation against central differences, to tell whether a derivative, ours or a user's own, is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils import check_random_state

from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.estimators.base import BaseMLP
from sknn_scratch.estimators.building import build_untrained_job
from sknn_scratch.perceptron import Perceptron, layer_views


def central_differences(run: NumpyRun, *, indices: NDArray | None = None, step: float = 1e-5) -> NDArray:
    """Differentiate the objective numerically: ``(C(w + step) - C(w - step)) / (2 step)`` for each parameter ``w``.

    The run's job is in float64. ``indices`` are those of the flat vector that are wanted, by default all.
    """
    if indices is None:
        indices = np.arange(run.job.network.parameters.size)
    slopes = []
    for index in indices.tolist():
        above, below = _objectives_at(run, index, step, -step)
        slopes.append((above - below) / (2 * step))
    return np.array(slopes)


def _objectives_at(run: NumpyRun, index: int, *shifts: float) -> list[float]:
    """Return the objective with one parameter shifted by each of these."""
    parameters = run.job.network.parameters
    parameter, values = parameters[index], []
    for shift in shifts:
        parameters[index] = parameter + shift
        values.append(_objective(run))
    parameters[index] = parameter
    return values


def _objective(run: NumpyRun) -> float:
    """Return what is descended: where a loss reports the mean over the outputs, their sum instead."""
    value, job = run.loss_and_gradient(), run.job
    if not job.loss.averages_outputs:
        return value
    alpha, job.alpha = job.alpha, 0.0
    loss = run.loss_and_gradient()
    job.alpha = alpha
    return loss * job.y.shape[1] + (value - loss)


def check_gradients(
    estimator: BaseMLP,
    X: Any,
    y: Any,
    sample_weight: ArrayLike | None = None,
    *,
    tolerance: float = 1e-6,
    step: float = 1e-5,
    max_parameters: int = 1000,
    random_state: int = 0,
    verbose: bool = True,
) -> float:
    """Compare backpropagation with central differences at the initial parameters of an estimator.

    Meant for a loss or an activation of your own, and right for any configuration. Where they differ, much closer
    points are tried; if the slopes to the left and to the right differ there too, and backpropagation lies between
    them, the parameter is at a kink, such as the ReLU's, and counts as right.

    Parameters
    ----------
    estimator : MLPFromScratchClassifier or MLPFromScratchRegressor
        Is cloned, not changed.
    X, y, sample_weight
        As for ``fit``; a few dozen samples are enough. Computed in float64.
    tolerance : float, default=1e-6
        Largest error allowed, relative to the largest component of the gradient (or to 1, if that is larger).
    step : float, default=1e-5
        Half the distance of the two points of a difference.
    max_parameters : int, default=1000
        In larger networks, so many parameters are checked, chosen at random.
    random_state : int, default=0
        Draws the initial parameters and that choice.
    verbose : bool, default=True
        Whether to print the worst parameter.

    Returns
    -------
    error : float
        Largest relative error.

    Raises
    ------
    ValueError
        If an error is larger than ``tolerance``: the message names the layer, the parameter and both derivatives. If
        ``tolerance``, ``step`` or ``max_parameters`` is not greater than 0.
    TypeError
        If ``estimator`` is none of the two.

    Examples
    --------
    >>> import numpy as np
    >>> from sknn_scratch import MLPFromScratchRegressor, check_gradients
    >>> X, y = np.random.RandomState(0).randn(2, 20, 3)
    >>> error = check_gradients(MLPFromScratchRegressor(activation="tanh"), X, y, verbose=False)
    >>> error < 1e-6
    True
    """
    for name, value in (("tolerance", tolerance), ("step", step), ("max_parameters", max_parameters)):
        if not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value!r}.")
    if not isinstance(estimator, BaseMLP):
        raise TypeError(f"estimator must be a MLPFromScratchClassifier or MLPFromScratchRegressor, got {estimator!r}.")
    model, rng = clone(estimator), check_random_state(random_state)
    run = NumpyRun(build_untrained_job(model, X, y, sample_weight, rng))
    network = run.job.network
    # Without intercepts, the biases are no parameters.
    indices = np.arange(network.parameters.size if run.job.fit_intercept else network.n_weights)
    if len(indices) > max_parameters:
        indices = np.sort(rng.choice(indices, max_parameters, replace=False))
    run.loss_and_gradient()
    gradient = run.gradient[indices]
    expected = central_differences(run, indices=indices, step=step)
    scale = max(1.0, np.abs(expected).max())
    errors = np.abs(gradient - expected) / scale
    for position in np.flatnonzero(~(errors <= tolerance)):
        closer = _closer_look(run, indices[position], gradient[position], step / 100, tolerance * scale)
        errors[position] = min(errors[position], closer / scale)
    worst = int(np.argmax(errors))  # the first NaN, if there is one
    message = (
        f"{_describe(network, indices[worst])}: backpropagation gives {gradient[worst]:.10g}, central differences "
        f"{expected[worst]:.10g}, a relative error of {errors[worst]:.1e}"
    )
    if not errors[worst] <= tolerance:
        raise ValueError(f"Wrong gradient in {message} (tolerance {tolerance:.0e}).")
    if verbose:
        print(f"Largest error of {len(indices)} parameters in {message}.")
    return float(errors[worst])


def _closer_look(run: NumpyRun, index: int, slope: float, step: float, tolerance: float) -> float:
    """Return the error of one component of the gradient, with a small step, and 0 at a kink."""
    below, here, above = _objectives_at(run, index, -step, 0.0, step)
    left, right = (here - below) / step, (above - here) / step
    between = min(left, right) - tolerance <= slope <= max(left, right) + tolerance
    if abs(left - right) > tolerance and between:
        return 0.0
    return abs(slope - (left + right) / 2)


def _describe(network: Perceptron, index: int) -> str:
    """Return the layer and position of a parameter of the flat vector."""
    numbers = layer_views(np.arange(network.parameters.size), network.layer_units)
    for name, layers in zip(("coefs_", "intercepts_"), numbers, strict=True):
        for layer, array in enumerate(layers):
            for position in np.argwhere(array == index):
                return f"layer {layer}, {name}[{layer}]{position.tolist()}"
    raise IndexError(index)
