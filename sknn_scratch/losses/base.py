"""What a loss is: the base class of all losses."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.base import BaseEstimator

from sknn_scratch.links import IdentityLink, Link

__all__ = ["Loss", "column_means", "half_squares", "is_number"]

# Samples that tell well enough where the best constant is.
_ENOUGH_SAMPLES = 1000


class Loss(BaseEstimator):
    """A loss per sample; averaging over a minibatch, with or without weights, is left to the engine.

    A loss of your own is a subclass with two formulas in NumPy, ``value(y, raw_output)`` and ``derivative(y,
    raw_output)``, and a ``link``. Where the two share work, write ``losses_and_gradient`` instead.

    Attributes
    ----------
    link : Link
        From raw output to prediction; the identity by default.
    averages_outputs : bool
        For gradient checks: True where the loss is the *mean* over the output columns but the gradient that of their
        *sum*. That is how scikit-learn reports and descends the squared error, and so only SquaredError does it.
    gives_probabilities : bool
        For classifiers: whether the link makes probabilities. If not, a prediction is positive above 0.
    """

    link: Link = IdentityLink()
    averages_outputs = False
    gives_probabilities = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls).keys()
        if "losses_and_gradient" in own:
            cls._in_one = cls.losses_and_gradient  # type: ignore[method-assign]
            # What a subclass says takes the place of all that its base class says about the same.
            for name in {"value", "derivative"} - own:
                setattr(cls, name, getattr(Loss, name))
        elif {"value", "derivative"} & own:
            cls.losses_and_gradient = Loss.losses_and_gradient  # type: ignore[method-assign]
        if {"value", "derivative", "losses_and_gradient"} & own and "best_constant" not in own:
            cls.best_constant = Loss.best_constant  # type: ignore[method-assign]
        in_one = cls.losses_and_gradient is not Loss.losses_and_gradient
        if not in_one and (cls.value is Loss.value or cls.derivative is Loss.derivative):
            raise TypeError(f"{cls.__name__} must define value and derivative, or losses_and_gradient.")

    def start(self, multiclass: bool = False) -> None:
        """Check the loss's parameters, and prepare for targets of this kind."""

    def check_targets(self, y: NDArray) -> None:
        """Raise ValueError where a target, an array of shape (n_samples, n_targets), is outside the loss's domain."""

    def n_raw_outputs(self, n_targets: int) -> int:
        """Return how many raw outputs it takes for so many target columns; as many, by default."""
        return n_targets

    def point_prediction(self, prediction: NDArray, n_targets: int) -> NDArray:
        """Return what ``predict`` gives, of shape (n_samples, n_targets, ...), from what the link gives."""
        return prediction

    def standard_deviation(self, prediction: NDArray, n_targets: int) -> NDArray | None:
        """Return the spread of each target, of shape (n_samples, n_targets), if the loss learns that too."""
        return None

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        """Return the loss of each sample, of shape (n_samples,)."""
        return self._in_one(y, raw_output.copy(), np.empty_like(raw_output))

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        """Return the derivative of each sample's loss, of shape (n_samples, n_outputs)."""
        gradient = np.empty_like(raw_output)
        self._in_one(y, raw_output.copy(), gradient)
        return gradient

    def _in_one(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        """``losses_and_gradient`` of the nearest class that writes it, for ``super().value`` in classes below it."""
        raise NotImplementedError

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        """Compute the loss of each sample and its derivative with respect to the sample's raw output.

        Parameters
        ----------
        y : ndarray of shape (n_samples, n_targets)
            Targets; one column of 0 and 1 per class (one column in all for two classes) in classification.
        raw_output : ndarray of shape (n_samples, n_outputs)
            Output of the last layer, ``n_raw_outputs(n_targets)`` columns. It is not needed again and may be used as
            scratch space.
        gradient : ndarray of shape (n_samples, n_outputs)
            Filled with the derivatives.

        Returns
        -------
        losses : ndarray of shape (n_samples,)
        """
        gradient[...] = self.derivative(y, raw_output)
        return self.value(y, raw_output)

    def best_constant(self, y: NDArray, sample_weight: NDArray | None = None) -> NDArray:
        """Return the raw output that, if it is the same for every sample, has the least mean loss.

        Found by descent unless the class that writes the loss has a formula for it, so it may fall a little short.

        Parameters
        ----------
        y : ndarray of shape (n_samples, n_targets)
        sample_weight : ndarray of shape (n_samples,), default=None
            Positive.

        Returns
        -------
        raw_output : ndarray of shape (n_outputs,)
        """
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        step = -(-len(y) // _ENOUGH_SAMPLES)
        y, weights = y[::step], weights[::step]
        relative_weight, n_outputs = weights / weights.sum(), self.n_raw_outputs(y.shape[1])
        n_added = n_outputs if self.averages_outputs else 1

        def mean_loss(constant: NDArray) -> tuple[float, NDArray]:
            raw_output = np.tile(constant.astype(y.dtype), (len(y), 1))
            gradient = np.empty_like(raw_output)
            losses = self.losses_and_gradient(y, raw_output, gradient)
            return float(relative_weight @ losses), (relative_weight @ gradient).astype(np.float64) / n_added

        starts = [np.zeros(n_outputs)]
        if n_outputs == y.shape[1]:
            starts += [column_means(y, weights), np.median(y, axis=0).astype(np.float64)]
        with np.errstate(all="ignore"):
            losses = np.array([mean_loss(start)[0] for start in starts])
            start = starts[np.nan_to_num(losses, nan=np.inf).argmin()]
            return minimize(mean_loss, start, method="L-BFGS-B", jac=True).x

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        """Raise ValueError unless a condition on a parameter holds."""
        if not holds:
            raise ValueError(
                f"The parameter {name!r} of {type(self).__name__} must be {allowed}; got {getattr(self, name)!r}."
            )


def is_number(value: Any) -> bool:
    """Return whether a parameter is a finite number."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def half_squares(difference: NDArray) -> NDArray:
    """Return ``sum_k difference_k**2 / 2`` of each row."""
    return 0.5 * np.add.reduce(difference * difference, axis=1)


def column_means(y: NDArray, sample_weight: NDArray | None) -> NDArray:
    """Return the mean of each column, in float64."""
    return np.average(y.astype(np.float64, copy=False), axis=0, weights=sample_weight)
