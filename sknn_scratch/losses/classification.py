"""Losses for classification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from sknn_scratch.links import Link, LogisticLink, SoftmaxLink
from sknn_scratch.losses.base import Loss, column_means, half_squares, is_number

__all__ = [
    "CLASSIFIER_LOSSES",
    "BrierLoss",
    "FocalLoss",
    "Hinge",
    "LogLoss",
    "SquaredHinge",
]


class _ProbabilityLoss(Loss):
    """A loss on probabilities: of each column on its own (logistic), or of one class among several (softmax)."""

    link: Link = LogisticLink()
    gives_probabilities = True
    multiclass = False

    def start(self, multiclass: bool = False) -> None:
        self.multiclass = multiclass
        self.link = SoftmaxLink() if multiclass else LogisticLink()

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        raise NotImplementedError

    def _raw_output_of(self, probability: NDArray) -> NDArray:
        """Return a raw output that the link turns into these probabilities."""
        p = np.clip(probability, np.finfo(np.float32).tiny, 1 - np.finfo(np.float64).eps)
        return np.log(p) if self.multiclass else np.log(p) - np.log1p(-p)


class _MarginLoss(Loss):
    """A loss on how clearly the true class wins, which gives no probabilities.

    The margin of a column is ``m_k = s_k z_k`` with ``s_k = 2 y_k - 1`` of +-1; for multiclass targets there is one
    margin a sample, that of the true class over the best of the others.
    """

    multiclass = False

    def start(self, multiclass: bool = False) -> None:
        self.multiclass = multiclass

    def _of_margin(self, margin: NDArray) -> tuple[NDArray, NDArray]:
        """Return value and derivative of the loss as a function of the margin."""
        raise NotImplementedError

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        if not self.multiclass:
            sign = 2 * y - 1
            losses, slope = self._of_margin(sign * raw_output)
            np.multiply(slope, sign, out=gradient)
            return losses.sum(axis=1)
        rows, truth = np.arange(len(y)), y.argmax(axis=1)
        true_output = raw_output[rows, truth]
        raw_output[rows, truth] = -np.inf
        rival = raw_output.argmax(axis=1)
        losses, slope = self._of_margin(true_output - raw_output[rows, rival])
        gradient[...] = 0
        gradient[rows, truth] = slope
        gradient[rows, rival] = -slope
        return losses


# Smallest and largest probability with which a loss is reported, as arrays: cheaper for NumPy than numbers.
_CLIPPED = {
    np.dtype(t): (np.array(np.finfo(t).eps, t), np.array(1 - np.finfo(t).eps, t)) for t in (np.float32, np.float64)
}


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

    def __init__(self, label_smoothing: float = 0.0):
        self.label_smoothing = label_smoothing

    def start(self, multiclass: bool = False) -> None:
        super().start(multiclass)
        smoothing = self.label_smoothing
        self._require("label_smoothing", is_number(smoothing) and 0 <= smoothing < 1, "a number in [0, 1)")

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        self.link.inverse(raw_output, out=gradient)
        if self.label_smoothing:
            y = self._smooth(y)
            losses = self._cross_entropy(y, gradient)
        else:
            losses = self._negative_log_of_truth(y, gradient)
        np.subtract(gradient, y, out=gradient)
        return losses

    def best_constant(self, y: NDArray, sample_weight: NDArray | None = None) -> NDArray:
        return self._raw_output_of(self._smooth(column_means(y, sample_weight)))

    def _smooth(self, y: NDArray) -> NDArray:
        n_classes = y.shape[-1] if self.multiclass else 2
        return (1 - self.label_smoothing) * y + self.label_smoothing / n_classes

    def _negative_log_of_truth(self, y: NDArray, probability: NDArray) -> NDArray:
        """Return the losses for targets of 0 and 1, with one logarithm for each."""
        if self.multiclass:
            p_true = np.add.reduce(probability * y, axis=1)
        else:
            # 1 - p has few digits near p = 1, but it is what scikit-learn reports, and by which it stops.
            p_true = np.where(y > 0.5, probability, 1 - probability)
        smallest, largest = _CLIPPED[probability.dtype]
        np.maximum(p_true, smallest, out=p_true)
        np.minimum(p_true, largest, out=p_true)
        log_likelihood = np.log(p_true, out=p_true)
        return -log_likelihood if self.multiclass else -np.add.reduce(log_likelihood, axis=1)

    def _cross_entropy(self, y: NDArray, probability: NDArray) -> NDArray:
        """Return the losses for any targets between 0 and 1."""
        p = np.clip(probability, *_CLIPPED[probability.dtype])
        terms = y * np.log(p) if self.multiclass else y * np.log(p) + (1 - y) * np.log(1 - p)
        return -terms.sum(axis=1)


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

    def __init__(self, gamma: float = 2.0):
        self.gamma = gamma

    def start(self, multiclass: bool = False) -> None:
        super().start(multiclass)
        self._require("gamma", is_number(self.gamma) and self.gamma >= 0, "a number of at least 0")

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        tiny, gamma = np.finfo(gradient.dtype).tiny, self.gamma
        self.link.inverse(raw_output, out=gradient)
        if self.multiclass:
            p_true = np.add.reduce(gradient * y, axis=1, keepdims=True)
            p_other = np.add.reduce(gradient * (1 - y), axis=1, keepdims=True)
        else:
            sign = 2 * y - 1
            p_true, p_other = expit(sign * raw_output), expit(-sign * raw_output)
        log_p, p_other = np.log(np.maximum(p_true, tiny)), np.maximum(p_other, tiny)
        # dC/dp_true times p_true; dp_true/dz is p_true (y - p) with softmax, and p_true p_other sign without.
        slope = gamma * p_true * p_other ** (gamma - 1) * log_p - p_other**gamma
        if self.multiclass:
            np.subtract(y, gradient, out=gradient)
            np.multiply(gradient, slope, out=gradient)
        else:
            np.multiply(sign * p_other, slope, out=gradient)
        return np.add.reduce(-(p_other**gamma) * log_p, axis=1)


class BrierLoss(_ProbabilityLoss):
    """Half the squared error of the probabilities, ``sum_k (p_k - y_k)**2 / 2``.

    The loss with which backpropagation is usually taught. The derivative ``p - y`` with respect to ``p`` passes through
    the link's own, so it vanishes where a prediction is confidently wrong: log-loss learns faster.

    References
    ----------
    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.
    """

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        link = self.link
        link.inverse(raw_output, out=raw_output)
        np.subtract(raw_output, y, out=gradient)
        losses = half_squares(gradient)
        link.multiply_derivative(gradient, raw_output)
        return losses

    def best_constant(self, y: NDArray, sample_weight: NDArray | None = None) -> NDArray:
        return self._raw_output_of(column_means(y, sample_weight))


class Hinge(_MarginLoss):
    """``max(0, 1 - m)`` of the margins ``m``: nothing is left to learn once every margin is 1.

    For multiclass targets that of Crammer and Singer; the derivative with respect to a margin is -1 below 1, else 0.

    References
    ----------
    Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based vector machines", Journal of
    Machine Learning Research 2, 2001.
    """

    def _of_margin(self, margin: NDArray) -> tuple[NDArray, NDArray]:
        lacking = np.maximum(1 - margin, 0)
        return lacking, -np.sign(lacking)

    def best_constant(self, y: NDArray, sample_weight: NDArray | None = None) -> NDArray:
        if self.multiclass:
            return super().best_constant(y, sample_weight)
        return np.where(column_means(y, sample_weight) > 0.5, 1.0, -1.0)


class SquaredHinge(_MarginLoss):
    """``max(0, 1 - m)**2`` of the margins ``m``, derivative ``-2 max(0, 1 - m)``: see Hinge."""

    def _of_margin(self, margin: NDArray) -> tuple[NDArray, NDArray]:
        lacking = np.maximum(1 - margin, 0)
        return lacking**2, -2 * lacking


CLASSIFIER_LOSSES: dict[str, type[Loss]] = {
    "focal": FocalLoss,
    "hinge": Hinge,
    "log_loss": LogLoss,
    "squared_error": BrierLoss,
    "squared_hinge": SquaredHinge,
}
