"""Losses for classification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from sknn_scratch.catalogue.links import HeadsLink, Link, LogisticLink, SoftmaxLink, heads
from sknn_scratch.catalogue.losses.base import Loss, column_means, half_squares


class _ProbabilityLoss(Loss):
    """A loss on probabilities: of each column on its own (logistic), or of one class among several (softmax)."""

    link: Link = LogisticLink()
    gives_probabilities = True

    def start(self, multiclass: bool = False) -> None:
        super().start(multiclass)
        self.link = SoftmaxLink() if multiclass else LogisticLink()

    def _raw_output_of(self, probability: NDArray) -> NDArray:
        """Return a raw output that the link turns into these probabilities."""
        p = np.clip(probability, np.finfo(np.float32).tiny, 1 - np.finfo(np.float64).eps)
        return np.log(p) if self.multiclass else np.log(p) - np.log1p(-p)


class _MarginLoss(Loss):
    """A loss on how clearly the true class wins, which gives no probabilities.

    The margin of a column is ``m_k = s_k z_k`` with ``s_k = 2 y_k - 1`` of +-1; for multiclass targets there is one
    margin a sample, that of the true class over the best of the others.
    """

    def of_margin(self, margin: NDArray) -> NDArray:
        """Return the loss as a function of the margin."""
        raise NotImplementedError

    def slope(self, margin: NDArray) -> NDArray:
        """Return the derivative of ``of_margin``."""
        raise NotImplementedError

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        if self.multiclass:
            return self.of_margin(self._margin(y, raw_output)).sum(axis=1)
        return self.of_margin((2 * y - 1) * raw_output).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        if not self.multiclass:
            sign = 2 * y - 1
            return self.slope(sign * raw_output) * sign
        rival = ((y < 0.5) & (raw_output == self._rival(y, raw_output))).astype(raw_output.dtype)
        # Of rivals that are equally good each takes a share.
        return self.slope(self._margin(y, raw_output)) * (y - rival / rival.sum(axis=1, keepdims=True))

    @staticmethod
    def _rival(y: NDArray, raw_output: NDArray) -> NDArray:
        """Return the largest output of a class that is not the true one, of shape (n_samples, 1)."""
        return np.where(y > 0.5, -np.inf, raw_output).max(axis=1, keepdims=True)

    def _margin(self, y: NDArray, raw_output: NDArray) -> NDArray:
        true_output = np.where(y > 0.5, raw_output, 0).sum(axis=1, keepdims=True)
        return true_output - self._rival(y, raw_output)


class LogLoss(_ProbabilityLoss):
    """The negative log-likelihood of the true classes; derivative ``p - y``.

    ``-sum_k y_k log(p_k)`` for multiclass targets, otherwise ``-sum_k y_k log(p_k) + (1 - y_k) log(1 - p_k)``. In the
    reported value, not in the derivative, probabilities are clipped to [eps, 1 - eps] with the eps of the dtype, as
    scikit-learn does.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share ``s`` of each target that is spread over all ``K`` classes, in [0, 1): ``y`` becomes
        ``(1 - s) y + s / K`` (with ``K = 2`` but for multiclass targets). Keeps probabilities from growing extreme.

    References
    ----------
    Bishop, "Pattern Recognition and Machine Learning", 2006, sections 4.3.2 and 4.3.4. Szegedy, Vanhoucke, Ioffe,
    Shlens and Wojna, "Rethinking the Inception architecture for computer vision", CVPR 2016, arXiv:1512.00567.
    """

    ranges = {"label_smoothing": "[0, 1)"}

    def __init__(self, label_smoothing: float = 0.0):
        self.label_smoothing = label_smoothing

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        p, eps = self.link.inverse(raw_output), np.finfo(raw_output.dtype).eps
        if self.label_smoothing:
            y, p = self._smoothed(y), np.clip(p, eps, 1 - eps)
            return -(y * np.log(p) + (0 if self.multiclass else (1 - y) * np.log(1 - p))).sum(axis=1)
        if self.multiclass:
            return -np.log(np.clip((p * y).sum(axis=1), eps, 1 - eps))
        # 1 - p has few digits near p = 1, but it is what scikit-learn reports, and by which it stops.
        return -np.log(np.clip(np.where(y > 0.5, p, 1 - p), eps, 1 - eps)).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return self.link.inverse(raw_output) - (self._smoothed(y) if self.label_smoothing else y)

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        means = column_means(y, sample_weight)
        return self._raw_output_of(self._smoothed(means[np.newaxis])[0] if self.label_smoothing else means)

    def _smoothed(self, y: NDArray) -> NDArray:
        n_classes = y.shape[1] if self.multiclass else 2
        return (1 - self.label_smoothing) * y + self.label_smoothing / n_classes


class FocalLoss(_ProbabilityLoss):
    """Log-loss that turns away from what is easy: ``-(1 - p_true)**gamma * log(p_true)``, summed over the columns.

    Its derivative with respect to ``p_true`` is ``gamma (1 - p_true)**(gamma - 1) log(p_true) - (1 - p_true)**gamma /
    p_true``. For data in which most samples belong to one class.

    Parameters
    ----------
    gamma : float, default=2.0
        At least 0; with 0 it is the log-loss.

    References
    ----------
    Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017, arXiv:1708.02002.
    """

    ranges = {"gamma": "[0, inf)"}

    def __init__(self, gamma: float = 2.0):
        self.gamma = gamma

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        log_p, p_other = self._log_of_truth_and_others(y, raw_output)
        return -(p_other**self.gamma * log_p).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        log_p, p_other = self._log_of_truth_and_others(y, raw_output)
        gamma, p_true = self.gamma, np.exp(log_p)
        # dC/dp_true times p_true; dp_true/dz is p_true (y - p) with softmax, and p_true p_other sign without.
        slope = gamma * p_true * p_other ** (gamma - 1) * log_p - p_other**gamma
        if self.multiclass:
            return (y - self.link.inverse(raw_output)) * slope
        return (2 * y - 1) * p_other * slope

    def _log_of_truth_and_others(self, y: NDArray, raw_output: NDArray) -> tuple[NDArray, NDArray]:
        """Return ``log(p_true)`` and ``1 - p_true``, of one column if only one of several classes is true."""
        tiny = np.finfo(raw_output.dtype).tiny
        if self.multiclass:
            p = self.link.inverse(raw_output)
            p_true, p_other = ((p * part).sum(axis=1, keepdims=True) for part in (y, 1 - y))
        else:
            margin = (2 * y - 1) * raw_output
            p_true, p_other = expit(margin), expit(-margin)
        return np.log(np.maximum(p_true, tiny)), np.maximum(p_other, tiny)


class BrierLoss(_ProbabilityLoss):
    """Half the squared error of the probabilities, ``sum_k (p_k - y_k)**2 / 2``.

    The loss with which backpropagation is usually taught. The derivative ``p - y`` with respect to ``p`` passes through
    the link's own, so it vanishes where a prediction is confidently wrong: log-loss learns faster.

    References
    ----------
    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.
    """

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return half_squares(self.link.inverse(raw_output) - y)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        p = self.link.inverse(raw_output)
        return self.link.pull_back(p - y, p)

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        return self._raw_output_of(column_means(y, sample_weight))


class Hinge(_MarginLoss):
    """``max(0, 1 - m)`` of the margins ``m``: nothing is left to learn once every margin is 1.

    For multiclass targets that of Crammer and Singer; the derivative with respect to a margin is -1 below 1, else 0.

    References
    ----------
    Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based vector machines", Journal of
    Machine Learning Research 2, 2001.
    """

    def of_margin(self, margin: NDArray) -> NDArray:
        return np.maximum(1 - margin, 0)

    def slope(self, margin: NDArray) -> NDArray:
        return -(margin < 1).astype(margin.dtype)

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        if self.multiclass:
            return super().constant(y, sample_weight)
        return np.where(column_means(y, sample_weight) > 0.5, 1.0, -1.0)


class SquaredHinge(_MarginLoss):
    """``max(0, 1 - m)**2`` of the margins ``m``, derivative ``-2 max(0, 1 - m)``: see Hinge."""

    def of_margin(self, margin: NDArray) -> NDArray:
        return np.maximum(1 - margin, 0) ** 2

    def slope(self, margin: NDArray) -> NDArray:
        return -2 * np.maximum(1 - margin, 0)


class Heads(Loss):
    """The sum of the losses of several targets at once, each with columns of its own: a head of the network.

    The losses are started. ``widths`` is how many columns each has: one for two classes, else one for each class.
    """

    def __init__(self, losses: list[Loss], widths: list[int]):
        self.losses = losses
        self.widths = widths
        self.link = HeadsLink([loss.link for loss in losses], widths)
        self.gives_probabilities = losses[0].gives_probabilities

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return sum(loss.value(*columns) for loss, *columns in self._heads(y, raw_output))

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.hstack([loss.derivative(*columns) for loss, *columns in self._heads(y, raw_output)])

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        return np.concatenate([loss.best_constant(columns, sample_weight) for loss, columns in self._heads(y)])

    def _heads(self, *arrays: NDArray) -> Iterator[Any]:
        return heads(self.losses, self.widths, *arrays)


CLASSIFIER_LOSSES: dict[str, type[Loss]] = {
    "focal": FocalLoss,
    "hinge": Hinge,
    "log_loss": LogLoss,
    "squared_error": BrierLoss,
    "squared_hinge": SquaredHinge,
}
