"""How out-of-fold outputs are judged, and weighted."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import logsumexp

__all__ = ["Criterion", "LogLossCriterion", "SquaredErrorCriterion"]

# Of an output: with it probabilities are 0 and 1 to rounding wherever they can be.
LARGEST_WEIGHT = 100.0


class Criterion(ABC):
    """Judges the raw outputs of members for samples that they were not trained on.

    Parameters
    ----------
    y : ndarray of shape (n_samples, n_targets)
    sample_weight : ndarray of shape (n_samples,) or None
    """

    def __init__(self, y: NDArray, sample_weight: NDArray | None):
        self._y = y
        self._share = np.full(len(y), 1 / len(y)) if sample_weight is None else sample_weight / sample_weight.sum()

    @abstractmethod
    def loss(self, output: NDArray) -> float:
        """Return the loss of outputs of shape (n_samples, n_outputs), by which epochs are compared."""

    @abstractmethod
    def weigh(self, outputs: list[NDArray]) -> NDArray:
        """Return the weights, at least 0, with which the sum of several outputs has the least loss."""


class LogLossCriterion(Criterion):
    """The log-loss of ``softmax(output / T)``, with the temperature ``T`` that makes it least.

    With it an epoch is judged by how well classes are told apart, not by whether the probabilities are too extreme,
    which can be mended afterwards. The weights of several outputs are such temperatures, too.

    References
    ----------
    Berta, Holzmueller, Jordan and Bach, "Rethinking early stopping: refine, then calibrate", 2025, arXiv:2501.19195.
    """

    def __init__(self, y: NDArray, sample_weight: NDArray | None):
        super().__init__(y, sample_weight)
        self._truth = _for_each_class(y) if y.shape[1] > 1 else np.column_stack([1 - y, y])
        self._start = np.ones(1)

    def loss(self, output: NDArray) -> float:
        """Return the log-loss at the best temperature."""
        if not np.isfinite(output).all():
            return np.inf
        self._start, value = self._minimise([output], self._start)
        return value

    def weigh(self, outputs: list[NDArray]) -> NDArray:
        """Return the weights by L-BFGS; the loss is a convex function of them."""
        return self._minimise(outputs, np.full(len(outputs), 1 / len(outputs)))[0]

    def _minimise(self, outputs: list[NDArray], start: NDArray) -> tuple[NDArray, float]:
        stacked = np.array([_for_each_class(output) for output in outputs], dtype=np.float64)

        def mean_loss(weights: NDArray) -> tuple[float, NDArray]:
            score = np.tensordot(weights, stacked, axes=1)
            log_p = score - logsumexp(score, axis=1, keepdims=True)
            gradient = np.tensordot(stacked, self._share[:, np.newaxis] * (np.exp(log_p) - self._truth), axes=2)
            return float(-self._share @ (log_p * self._truth).sum(axis=1)), gradient

        bounds = [(0, LARGEST_WEIGHT)] * len(outputs)
        result = minimize(mean_loss, start, method="L-BFGS-B", jac=True, bounds=bounds)
        return result.x, float(result.fun)


class SquaredErrorCriterion(Criterion):
    """The mean squared error, over samples and targets."""

    def loss(self, output: NDArray) -> float:
        """Return the mean squared error."""
        value = float(self._share @ np.square(output - self._y, dtype=np.float64).mean(axis=1))
        return value if np.isfinite(value) else np.inf

    def weigh(self, outputs: list[NDArray]) -> NDArray:
        """Return the weights by non-negative least squares, without an intercept."""
        root = np.sqrt(self._share)[:, np.newaxis]
        return nnls(np.column_stack([(root * output).ravel() for output in outputs]), (root * self._y).ravel())[0]


def _for_each_class(output: NDArray) -> NDArray:
    """Return a column for each class: of two, the first has 0."""
    return output if output.shape[1] > 1 else np.column_stack([np.zeros_like(output), output])
