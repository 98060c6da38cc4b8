"""Links: the functions from the raw output ``z`` of the last layer to a prediction ``p``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax
from sklearn.base import BaseEstimator

__all__ = ["LINKS", "ExpLink", "IdentityLink", "Link", "LogisticLink", "SoftmaxLink", "TanhLink"]


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


class TanhLink(Link):
    """``p = tanh(z)``: a number between -1 and 1, ``dp/dz = 1 - p**2``."""

    name = "tanh"

    def inverse(self, raw_output: NDArray, out: NDArray) -> None:
        np.tanh(raw_output, out=out)

    def multiply_derivative(self, gradient: NDArray, prediction: NDArray) -> None:
        np.multiply(gradient, 1 - prediction * prediction, out=gradient)


# Those that may take the place of a regression loss's own.
LINKS: dict[str, type[Link]] = {
    "exp": ExpLink,
    "identity": IdentityLink,
    "logistic": LogisticLink,
    "tanh": TanhLink,
}
