"""Losses: how wrong the raw output of each sample is, and the derivative of that with respect to the raw output.

The raw output ``z`` is what the last layer computes before any output activation. The loss owns the link from there to
a prediction ``p`` (probabilities, a positive mean, ...), so that link and loss can be computed together and stably, and
so that nothing outside this file depends on which two go together. In the formulas ``y`` is the target, and sums over
``k`` run over the output columns.

A new loss is one class below and one line in ``CLASSIFIER_LOSSES`` or ``REGRESSOR_LOSSES``.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, xlogy
from sklearn.base import BaseEstimator

__all__ = [
    "CLASSIFIER_LOSSES",
    "REGRESSOR_LOSSES",
    "BrierLoss",
    "ExpLink",
    "IdentityLink",
    "Link",
    "LogLoss",
    "LogisticLink",
    "Loss",
    "PoissonDeviance",
    "SoftmaxLink",
    "SquaredError",
]


# Links ----------------------------------------------------------------------------------------------------------------


class Link(BaseEstimator):
    """The function from raw output ``z`` to prediction ``p``.

    ``name`` is what the fitted estimator shows as ``out_activation_``.
    """

    name = ""

    def inverse(self, raw_output: NDArray, out: NDArray) -> None:
        """Write ``p`` into ``out``, which may be ``raw_output`` itself."""
        raise NotImplementedError

    def log_inverse(self, raw_output: NDArray) -> NDArray:
        """Return ``log(p)``, computed from the raw output so that it stays finite where ``p`` rounds to 0."""
        raise NotImplementedError

    def multiply_derivative(self, gradient: NDArray, prediction: NDArray) -> None:
        """Turn ``gradient``, the derivative with respect to ``p``, into the one with respect to ``z``, in place."""
        raise NotImplementedError


class IdentityLink(Link):
    """``p = z``: any real number."""

    name = "identity"

    def inverse(self, raw_output: NDArray, out: NDArray) -> None:
        if out is not raw_output:
            out[...] = raw_output

    def multiply_derivative(self, gradient: NDArray, prediction: NDArray) -> None:
        pass


class ExpLink(Link):
    """``p = exp(z)``: a positive number, ``dp/dz = p``."""

    name = "exp"

    def inverse(self, raw_output: NDArray, out: NDArray) -> None:
        np.exp(raw_output, out=out)

    def log_inverse(self, raw_output: NDArray) -> NDArray:
        return raw_output.copy()

    def multiply_derivative(self, gradient: NDArray, prediction: NDArray) -> None:
        np.multiply(gradient, prediction, out=gradient)


class LogisticLink(Link):
    """``p_k = 1 / (1 + exp(-z_k))``: an independent probability per column, ``dp/dz = p (1 - p)``.

    scipy's function is quick for the few columns of an output. For those of a hidden layer, which are many, the
    activation of this name takes a third of its time.
    """

    name = "logistic"

    def inverse(self, raw_output: NDArray, out: NDArray) -> None:
        expit(raw_output, out=out)

    def log_inverse(self, raw_output: NDArray) -> NDArray:
        return log_expit(raw_output)

    def multiply_derivative(self, gradient: NDArray, prediction: NDArray) -> None:
        np.multiply(gradient, prediction, out=gradient)
        np.multiply(gradient, 1 - prediction, out=gradient)


class SoftmaxLink(Link):
    """``p_k = exp(z_k) / sum_j exp(z_j)``: probabilities that sum to 1 over the columns.

    ``dp_j/dz_k = p_j (1[j = k] - p_k)``; a gradient ``g`` with respect to ``p`` becomes ``p_k (g_k - sum_j g_j p_j)``.
    """

    name = "softmax"

    def inverse(self, raw_output: NDArray, out: NDArray) -> None:
        np.subtract(raw_output, np.maximum.reduce(raw_output, axis=1, keepdims=True), out=out)
        np.exp(out, out=out)
        np.divide(out, np.add.reduce(out, axis=1, keepdims=True), out=out)

    def log_inverse(self, raw_output: NDArray) -> NDArray:
        return log_softmax(raw_output, axis=1)

    def multiply_derivative(self, gradient: NDArray, prediction: NDArray) -> None:
        inner = np.einsum("ij,ij->i", gradient, prediction)
        np.subtract(gradient, inner[:, np.newaxis], out=gradient)
        np.multiply(gradient, prediction, out=gradient)


# Losses ---------------------------------------------------------------------------------------------------------------


class Loss(BaseEstimator):
    """A loss per sample; averaging over a minibatch, with or without weights, is left to the engine.

    Attributes
    ----------
    link : Link
        From raw output to prediction.
    averages_outputs : bool
        For gradient checks: True where the loss is the *mean* over the output columns but the gradient that of their
        *sum*. That is how scikit-learn reports and descends the squared error, and so only SquaredError does it.
    """

    link: Link
    averages_outputs = False

    def check_targets(self, y: NDArray) -> None:
        """Raise ValueError where a target, an array of shape (n_samples, n_outputs), is outside the loss's domain."""

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
        raise NotImplementedError


def _half_squares(difference: NDArray) -> NDArray:
    """Return ``sum_k difference_k**2 / 2`` of each row."""
    return 0.5 * np.add.reduce(difference * difference, axis=1)


class SquaredError(Loss):
    """Half the squared error ``(z - y)**2 / 2`` for regression; derivative ``z - y``.

    With several outputs the loss is the mean over them while the derivative is that of the sum, as in scikit-learn.
    """

    link = IdentityLink()
    averages_outputs = True

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        np.subtract(raw_output, y, out=gradient)
        return _half_squares(gradient) / y.shape[1]


class PoissonDeviance(Loss):
    """Half the Poisson deviance ``sum_k y_k log(y_k / p_k) - y_k + p_k`` with ``p = exp(z)``; derivative ``p - y``.

    For counts and other non-negative targets whose variance grows with their mean.

    References
    ----------
    McCullagh and Nelder, "Generalized Linear Models", 2nd edition, 1989, section 2.3.
    """

    link = ExpLink()

    def check_targets(self, y: NDArray) -> None:
        if (y < 0).any():
            raise ValueError(f"y must not be negative with loss='poisson', got a minimum of {y.min():g}.")

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        self.link.inverse(raw_output, out=gradient)
        losses = np.add.reduce(xlogy(y, y) - y * raw_output - y + gradient, axis=1)
        np.subtract(gradient, y, out=gradient)
        return losses


class _ClassifierLoss(Loss):
    """A loss on class probabilities.

    Attributes
    ----------
    multiclass : bool
        Whether each sample belongs to exactly one of three or more classes, one column each (softmax). Otherwise each
        column is a yes-or-no question of its own (logistic): one for two classes, several for multilabel targets.
    """

    multiclass = False
    link: Link = LogisticLink()

    def use_softmax(self) -> Self:
        """Turn to multiclass targets."""
        self.multiclass, self.link = True, SoftmaxLink()
        return self


# Smallest and largest probability with which a loss is reported, as arrays: cheaper for NumPy than numbers.
_CLIPPED = {
    np.dtype(t): (np.array(np.finfo(t).eps, t), np.array(1 - np.finfo(t).eps, t)) for t in (np.float32, np.float64)
}


class LogLoss(_ClassifierLoss):
    """The negative log-likelihood of the true classes; derivative ``p - y``.

    ``-log(p_true)`` for multiclass targets, otherwise ``-sum_k y_k log(p_k) + (1 - y_k) log(1 - p_k)``. In the reported
    value, not in the derivative, probabilities are clipped to [eps, 1 - eps] with the eps of the dtype, as
    scikit-learn does.

    References
    ----------
    Bishop, "Pattern Recognition and Machine Learning", 2006, sections 4.3.2 and 4.3.4.
    """

    def losses_and_gradient(self, y: NDArray, raw_output: NDArray, gradient: NDArray) -> NDArray:
        self.link.inverse(raw_output, out=gradient)
        if self.multiclass:
            p_true = np.add.reduce(gradient * y, axis=1)
        else:
            # 1 - p has few digits near p = 1, but it is what scikit-learn reports, and by which it stops.
            p_true = np.where(y > 0.5, gradient, 1 - gradient)
        smallest, largest = _CLIPPED[gradient.dtype]
        np.maximum(p_true, smallest, out=p_true)
        np.minimum(p_true, largest, out=p_true)
        log_likelihood = np.log(p_true, out=p_true)
        np.subtract(gradient, y, out=gradient)
        return -log_likelihood if self.multiclass else -np.add.reduce(log_likelihood, axis=1)


class BrierLoss(_ClassifierLoss):
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


CLASSIFIER_LOSSES: dict[str, type[_ClassifierLoss]] = {
    "log_loss": LogLoss,
    "squared_error": BrierLoss,
}

REGRESSOR_LOSSES: dict[str, type[Loss]] = {
    "poisson": PoissonDeviance,
    "squared_error": SquaredError,
}
