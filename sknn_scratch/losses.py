"""Losses: how wrong the raw output of each sample is, and the derivative of that with respect to the raw output.

The raw output ``z`` is what the last layer computes before any output activation. The loss owns the link from there to
a prediction ``p`` (probabilities, a positive mean, ...), so that link and loss can be computed together and stably, and
so that nothing outside this file depends on which two go together. In the formulas ``y`` is the target, and sums over
``k`` run over the output columns.

A new loss is one class below and one line in ``CLASSIFIER_LOSSES`` or ``REGRESSOR_LOSSES``.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlogy
from sklearn.base import BaseEstimator

from sknn_scratch.links import ExpLink, IdentityLink, Link, LogisticLink, SoftmaxLink

__all__ = [
    "CLASSIFIER_LOSSES",
    "REGRESSOR_LOSSES",
    "AbsoluteError",
    "BrierLoss",
    "FocalLoss",
    "GammaDeviance",
    "Hinge",
    "Huber",
    "LogCosh",
    "LogLoss",
    "Loss",
    "PoissonDeviance",
    "Quantile",
    "SquaredError",
    "SquaredHinge",
    "TweedieDeviance",
]


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
        in_one = cls.losses_and_gradient is not Loss.losses_and_gradient
        if not in_one and (cls.value is Loss.value or cls.derivative is Loss.derivative):
            raise TypeError(f"{cls.__name__} must define value and derivative, or losses_and_gradient.")

    def start(self, multiclass: bool = False) -> None:
        """Check the loss's parameters, and prepare for targets of this kind."""

    def check_targets(self, y: NDArray) -> None:
        """Raise ValueError where a target, an array of shape (n_samples, n_outputs), is outside the loss's domain."""

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        """Return the loss of each sample, of shape (n_samples,)."""
        return self.losses_and_gradient(y, raw_output.copy(), np.empty_like(raw_output))

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        """Return the derivative of each sample's loss, of shape (n_samples, n_outputs)."""
        gradient = np.empty_like(raw_output)
        self.losses_and_gradient(y, raw_output.copy(), gradient)
        return gradient

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        """Compute the loss of each sample and its derivative with respect to the sample's raw output.

        Parameters
        ----------
        y : ndarray of shape (n_samples, n_outputs)
            Targets; one column of 0 and 1 per class (one column in all for two classes) in classification.
        raw_output : ndarray of shape (n_samples, n_outputs)
            Output of the last layer. It is not needed again and may be used as scratch space.
        gradient : ndarray of shape (n_samples, n_outputs)
            Filled with the derivatives.

        Returns
        -------
        losses : ndarray of shape (n_samples,)
        """
        gradient[...] = self.derivative(y, raw_output)
        return self.value(y, raw_output)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        """Raise ValueError unless a condition on a parameter holds."""
        if not holds:
            raise ValueError(
                f"The parameter {name!r} of {type(self).__name__} must be {allowed}; got {getattr(self, name)!r}."
            )


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _half_squares(difference: NDArray) -> NDArray:
    """Return ``sum_k difference_k**2 / 2`` of each row."""
    return 0.5 * np.add.reduce(difference * difference, axis=1)


# For regression -------------------------------------------------------------------------------------------------------


class SquaredError(Loss):
    """Half the squared error ``(p - y)**2 / 2`` for regression; derivative ``p - y`` times that of the link.

    The link is the identity unless the regressor's ``output_activation`` says otherwise. With several outputs the loss
    is the mean over them while the derivative is that of the sum, as in scikit-learn.
    """

    averages_outputs = True

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        self.link.inverse(raw_output, out=raw_output)
        np.subtract(raw_output, y, out=gradient)
        losses = _half_squares(gradient) / y.shape[1]
        self.link.multiply_derivative(gradient, raw_output)
        return losses


class PoissonDeviance(Loss):
    """Half the Poisson deviance ``sum_k y_k log(y_k / p_k) - y_k + p_k`` with ``p = exp(z)``; derivative ``p - y``.

    For counts and other non-negative targets whose variance grows with their mean.

    References
    ----------
    McCullagh and Nelder, "Generalized Linear Models", 2nd edition, 1989, section 2.3.
    """

    link = ExpLink()

    def check_targets(self, y: NDArray) -> None:
        _require_targets(y, "poisson", positive=False)

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        self.link.inverse(raw_output, out=gradient)
        losses = np.add.reduce(xlogy(y, y) - y * raw_output - y + gradient, axis=1)
        np.subtract(gradient, y, out=gradient)
        return losses


class AbsoluteError(Loss):
    """``sum_k |z_k - y_k|``, derivative ``sign(z - y)``: the prediction is the median, and outliers count little."""

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.abs(raw_output - y).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.sign(raw_output - y)


class Huber(Loss):
    """Half the squared error up to ``delta``, linear beyond: ``r**2 / 2``, else ``delta * (|r| - delta / 2)``.

    With ``r = z - y``, summed over the outputs; derivative ``r`` clipped to ``+-delta``.

    Parameters
    ----------
    delta : float, default=1.0
        In units of the target, greater than 0.

    References
    ----------
    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    """

    def __init__(self, delta: float = 1.0):
        self.delta = delta

    def start(self, multiclass: bool = False) -> None:
        self._require("delta", _is_number(self.delta) and self.delta > 0, "a number greater than 0")

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        size = np.abs(raw_output - y)
        inner = np.minimum(size, self.delta)
        return (inner * (size - 0.5 * inner)).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.clip(raw_output - y, -self.delta, self.delta)


class LogCosh(Loss):
    """``sum_k log(cosh(r_k))`` with ``r = z - y``, derivative ``tanh(r)``: a smooth cousin of Huber's loss.

    About ``r**2 / 2`` near zero and ``|r| - log(2)`` far from it.
    """

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        size = np.abs(raw_output - y)
        return (size + np.log1p(np.exp(-2 * size)) - np.log(2).astype(size.dtype)).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.tanh(raw_output - y)


class Quantile(Loss):
    """The pinball loss: ``q * (y - z)`` where ``z < y``, else ``(1 - q) * (z - y)``, summed over the outputs.

    The prediction is the ``q``-quantile of the target, below which it falls with probability ``q``.

    Parameters
    ----------
    q : float, default=0.5
        In (0, 1).

    References
    ----------
    Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.
    """

    def __init__(self, q: float = 0.5):
        self.q = q

    def start(self, multiclass: bool = False) -> None:
        self._require("q", _is_number(self.q) and 0 < self.q < 1, "a number in (0, 1)")

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        excess = raw_output - y
        return np.maximum(-self.q * excess, (1 - self.q) * excess).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.where(raw_output < y, -self.q, 1 - self.q).astype(raw_output.dtype)


class GammaDeviance(Loss):
    """Half the gamma deviance ``sum_k log(p_k / y_k) + y_k / p_k - 1`` with ``p = exp(z)``; derivative ``1 - y / p``.

    For positive targets whose standard deviation grows with their mean.

    References
    ----------
    McCullagh and Nelder, "Generalized Linear Models", 2nd edition, 1989, chapter 8.
    """

    link = ExpLink()

    def check_targets(self, y: NDArray) -> None:
        _require_targets(y, "gamma", positive=True)

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return (raw_output - np.log(y) + y * np.exp(-raw_output) - 1).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return 1 - y * np.exp(-raw_output)


class TweedieDeviance(Loss):
    """Half the Tweedie deviance of power ``d``, with ``p = exp(z)`` and summed over the outputs.

    ``y**(2 - d) / ((1 - d) (2 - d)) - y p**(1 - d) / (1 - d) + p**(2 - d) / (2 - d)``, in the limit for ``d = 1``
    (Poisson) and ``d = 2`` (gamma); derivative ``p**(2 - d) - y p**(1 - d)``. Between 1 and 2 it suits amounts that are
    often exactly zero.

    Parameters
    ----------
    power : float, default=1.5
        At least 1. Targets must not be negative, and from 2 on positive.

    References
    ----------
    Jorgensen, "The Theory of Dispersion Models", 1997.
    """

    link = ExpLink()

    def __init__(self, power: float = 1.5):
        self.power = power

    def start(self, multiclass: bool = False) -> None:
        self._require("power", _is_number(self.power) and self.power >= 1, "a number of at least 1")

    def check_targets(self, y: NDArray) -> None:
        _require_targets(y, "tweedie", positive=self.power >= 2)

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        d = self.power
        if d == 1:
            return PoissonDeviance().value(y, raw_output)
        if d == 2:
            return GammaDeviance().value(y, raw_output)
        terms = y ** (2 - d) / ((1 - d) * (2 - d)) - y * np.exp((1 - d) * raw_output) / (1 - d)
        return (terms + np.exp((2 - d) * raw_output) / (2 - d)).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        d = self.power
        return np.exp((2 - d) * raw_output) - y * np.exp((1 - d) * raw_output)


def _require_targets(y: NDArray, loss: str, *, positive: bool) -> None:
    """Raise ValueError for targets that are negative or, if they have to be positive, zero."""
    smallest = y.min()
    if smallest < 0 or (positive and smallest == 0):
        what = "must be positive" if positive else "must not be negative"
        raise ValueError(f"y {what} with loss={loss!r}, got a minimum of {smallest:g}.")


# For classification ---------------------------------------------------------------------------------------------------


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
        self._require("label_smoothing", _is_number(smoothing) and 0 <= smoothing < 1, "a number in [0, 1)")

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        self.link.inverse(raw_output, out=gradient)
        if self.label_smoothing:
            n_classes = y.shape[1] if self.multiclass else 2
            y = (1 - self.label_smoothing) * y + self.label_smoothing / n_classes
            losses = self._cross_entropy(y, gradient)
        else:
            losses = self._negative_log_of_truth(y, gradient)
        np.subtract(gradient, y, out=gradient)
        return losses

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
        self._require("gamma", _is_number(self.gamma) and self.gamma >= 0, "a number of at least 0")

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
        losses = _half_squares(gradient)
        link.multiply_derivative(gradient, raw_output)
        return losses


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

REGRESSOR_LOSSES: dict[str, type[Loss]] = {
    "absolute_error": AbsoluteError,
    "gamma": GammaDeviance,
    "huber": Huber,
    "log_cosh": LogCosh,
    "poisson": PoissonDeviance,
    "quantile": Quantile,
    "squared_error": SquaredError,
    "tweedie": TweedieDeviance,
}
