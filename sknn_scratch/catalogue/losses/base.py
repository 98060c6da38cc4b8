"""What a loss is: the base class of all losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.metrics import r2_score

from sknn_scratch.catalogue.component import Component
from sknn_scratch.catalogue.links import IdentityLink, Link

# Samples by which the best constant is searched for.
_ENOUGH_SAMPLES = 1000


class Loss(Component):
    """A loss per sample; averaging over a minibatch, with or without weights, is left to the engine.

    A loss of your own is a subclass with two formulas in NumPy, ``value(y, raw_output)`` and ``derivative(y,
    raw_output)``, and a ``link``. They are computed by NumPy or, where they consist of NumPy's elementwise functions
    and of sums, maxima and minima over the columns, compiled.

    Attributes
    ----------
    link : Link
        From raw output to prediction; the identity by default.
    averages_outputs : bool
        For gradient checks: True where the loss is the *mean* over the output columns but the gradient that of their
        *sum*. That is how scikit-learn reports and descends the squared error, and so only SquaredError does it.
    gives_probabilities : bool
        For classifiers: whether the link makes probabilities. If not, a prediction is positive above 0.
    multiclass : bool
        For classifiers: whether columns are classes of which each sample has one, once ``start`` has said so.
    """

    link: Link = IdentityLink()
    averages_outputs = False
    gives_probabilities = False
    multiclass = False

    def start(self, multiclass: bool = False) -> None:
        """Prepare for targets of this kind."""
        self.multiclass = multiclass

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

    def score(self, y: Any, point: NDArray, sample_weight: Any = None) -> float:
        """Return how good predictions are, 1 at best and 0 for the best constant; R2 by default.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        point : ndarray of shape (n_samples, ...)
            As ``predict`` gives it.
        sample_weight : array-like of shape (n_samples,), default=None
        """
        return r2_score(y, point, sample_weight=sample_weight)

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        """Return the loss of each sample.

        Parameters
        ----------
        y : ndarray of shape (n_samples, n_targets)
            Targets; one column of 0 and 1 per class (one column in all for two classes) in classification.
        raw_output : ndarray of shape (n_samples, n_outputs)
            Output of the last layer, ``n_raw_outputs(n_targets)`` columns.

        Returns
        -------
        losses : ndarray of shape (n_samples,)
        """
        raise TypeError(f"{type(self).__name__} must define value(y, raw_output).")

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        """Return the derivative of each sample's loss, of the shape of ``raw_output`` and with respect to it."""
        raise TypeError(f"{type(self).__name__} must define derivative(y, raw_output).")

    def check_formulas(self, y: NDArray, raw_output: NDArray) -> None:
        """Raise ValueError where a formula of the link, by which the loss may go, or of the loss is wrong in shape."""
        given = f"a raw output of shape {raw_output.shape}"
        self.link.check_formula("inverse", [raw_output], raw_output.shape, given)
        self.check_formula("value", [y, raw_output], raw_output.shape[:1], given)
        self.check_formula("derivative", [y, raw_output], raw_output.shape, given)

    def best_constant(self, y: NDArray, sample_weight: NDArray | None = None) -> NDArray:
        """Return the raw output that, if it is the same for every sample, has the least mean loss.

        It is of shape (n_outputs,). By ``constant``, but not by one that belongs to another ``value`` than the class
        has. Weights are positive.
        """
        nearest = self._nearest_class_with("constant", "value")
        return (nearest if "constant" in vars(nearest) else Loss).constant(self, y, sample_weight)

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        """Return the best constant: by a formula or, here, by descent on some samples, which may miss it a little."""
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        step = -(-len(y) // _ENOUGH_SAMPLES)
        y, weights = y[::step], weights[::step]
        relative_weight, n_outputs = weights / weights.sum(), self.n_raw_outputs(y.shape[1])
        n_added = n_outputs if self.averages_outputs else 1

        def mean_loss(constant: NDArray) -> tuple[float, NDArray]:
            raw_output = np.tile(constant.astype(y.dtype), (len(y), 1))
            gradient = relative_weight @ self.derivative(y, raw_output)
            return float(relative_weight @ self.value(y, raw_output)), gradient.astype(np.float64) / n_added

        starts = [np.zeros(n_outputs)]
        if n_outputs == y.shape[1]:
            starts += [column_means(y, weights), np.median(y, axis=0).astype(np.float64)]
        with np.errstate(all="ignore"):
            losses = np.array([mean_loss(start)[0] for start in starts])
            start = starts[np.nan_to_num(losses, nan=np.inf).argmin()]
            return minimize(mean_loss, start, method="L-BFGS-B", jac=True).x


def half_squares(difference: NDArray) -> NDArray:
    """Return ``sum_k difference_k**2 / 2`` of each row."""
    return 0.5 * (difference * difference).sum(axis=1)


def column_means(y: NDArray, sample_weight: NDArray | None) -> NDArray:
    """Return the mean of each column, in float64."""
    return np.average(y.astype(np.float64, copy=False), axis=0, weights=sample_weight)
