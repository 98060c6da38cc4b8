"""How out-of-fold outputs are judged, and weighted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar, nnls

from sknn_scratch.catalogue.links import ExpLink
from sknn_scratch.catalogue.losses import Loss, Quantile

# Of an output: with it probabilities are 0 and 1 to rounding wherever they can be.
LARGEST_WEIGHT = 100.0
# By which factor quantiles are drawn apart at most.
MOST_STRETCHED = 10.0


class Criterion(ABC):
    """Judges the raw outputs of members for samples that they were not trained on."""

    level: NDArray | float = 0.0  # to be added to the weighted raw output, where ``weigh`` has found one

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
        self._labels = y.argmax(axis=1) if y.shape[1] > 1 else y[:, 0].astype(int)
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
        if outputs[0].shape[1] == 1:  # of two classes, the first has 0
            outputs = [np.column_stack([np.zeros_like(output), output]) for output in outputs]
        stacked = np.array(outputs, dtype=np.float64)
        of_truth = stacked[:, np.arange(len(self._labels)), self._labels]

        def mean_loss(weights: NDArray) -> tuple[float, NDArray]:
            score = np.tensordot(weights, stacked, axes=1)
            largest = score.max(axis=1)
            score -= largest[:, np.newaxis]
            p = np.exp(score, out=score)
            total = p.sum(axis=1)
            losses = largest + np.log(total) - weights @ of_truth
            expected = np.einsum("vnc,nc->vn", stacked, p) / total
            return float(self._share @ losses), (expected - of_truth) @ self._share

        bounds = [(0, LARGEST_WEIGHT)] * len(outputs)
        result = minimize(mean_loss, start, method="L-BFGS-B", jac=True, bounds=bounds)
        return result.x, float(result.fun)


class LossCriterion(Criterion):
    """The mean of any loss, which is started."""

    def __init__(self, loss: Loss, y: NDArray, sample_weight: NDArray | None):
        super().__init__(y, sample_weight)
        self._loss = loss

    def loss(self, output: NDArray) -> float:
        """Return the mean loss."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value = float(self._share @ self._loss.value(self._y, output.astype(np.float64)))
        return value if np.isfinite(value) else np.inf

    def weigh(self, outputs: list[NDArray]) -> NDArray:
        """Return the weights by the method of Nelder and Mead, which needs no derivative; there are one or two.

        Where ``p = exp(z)``, a weight that makes differences smaller makes the mean of ``p`` smaller, too. So there a
        level for each output is found as well, and as that may be many, by L-BFGS.
        """
        stacked, n_weights = np.array(outputs, dtype=np.float64), len(outputs)
        n_levels = stacked.shape[2] if isinstance(self._loss.link, ExpLink) else 0

        def mean_loss(parameters: NDArray) -> float:
            with np.errstate(divide="ignore", invalid="ignore"):
                averaged = np.tensordot(parameters[:n_weights], stacked, axes=1)
                output = self._loss.link.from_averaged_form(averaged)
            return self.loss(output + parameters[n_weights:] if n_levels else output)

        start = np.r_[np.full(n_weights, 1 / n_weights), np.zeros(n_levels)]
        bounds = [(0, LARGEST_WEIGHT)] * n_weights + [(-LARGEST_WEIGHT, LARGEST_WEIGHT)] * n_levels
        method = "L-BFGS-B" if n_levels else "Nelder-Mead"
        found = minimize(mean_loss, start, method=method, bounds=bounds).x
        if n_levels:
            self.level = found[n_weights:]
        return found[:n_weights]


@dataclass
class QuantileCalibration:
    """Makes predicted quantiles hold for samples that were not trained on; what networks predict is too narrow.

    ``p`` becomes ``m + stretch * (p - m) + shift`` with ``m`` the mean over the quantiles, and is sorted.

    References
    ----------
    Romano, Patterson and Candes, "Conformalized quantile regression", NeurIPS 2019, arXiv:1905.03222. Chernozhukov,
    Fernandez-Val and Galichon, "Quantile and probability curves without crossing", Econometrica 78, 2010.
    """

    stretch: NDArray  # (n_targets, 1), at least 0
    shift: NDArray  # (n_targets, n_quantiles)

    @classmethod
    def fit(cls, loss: Quantile, y: NDArray, p: NDArray, sample_weight: NDArray | None) -> Self:
        """Find the stretch and the shifts with the least loss, given ``p`` as it was predicted out of fold."""
        targets = zip(y.T, p.swapaxes(0, 1), strict=True)
        found = [_stretch_and_shift(loss.quantiles, *target, sample_weight) for target in targets]
        return cls(np.array([[stretch] for stretch, _ in found]), np.array([shift for _, shift in found]))

    def __call__(self, p: NDArray) -> NDArray:
        """Return the quantiles, of shape (n_samples, n_targets, n_quantiles), that hold."""
        return np.sort(_stretched(p, self.stretch) + self.shift, axis=-1)


def _stretched(p: NDArray, stretch: NDArray | float) -> NDArray:
    mean = p.mean(axis=-1, keepdims=True)
    return mean + stretch * (p - mean)


def _stretch_and_shift(
    levels: list[float], y: NDArray, p: NDArray, sample_weight: NDArray | None
) -> tuple[float, NDArray]:
    """Return what is best for one target ``y``, given its quantiles ``p`` of shape (n_samples, n_quantiles)."""
    q = np.array(levels)

    def best_shift(stretch: float) -> tuple[NDArray, float]:
        residuals = y[:, np.newaxis] - _stretched(p, stretch)
        shift = np.array([Quantile(q[k]).best_constant(residuals[:, [k]], sample_weight)[0] for k in range(len(q))])
        excess = residuals - shift
        losses = np.maximum(q * excess, (q - 1) * excess).sum(axis=1)
        return shift, float(np.average(losses, weights=sample_weight))

    stretch = 1.0
    if len(q) > 1:
        search = minimize_scalar(lambda factor: best_shift(factor)[1], bounds=(0, MOST_STRETCHED), method="bounded")
        stretch = float(search.x)
    return stretch, best_shift(stretch)[0]


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
