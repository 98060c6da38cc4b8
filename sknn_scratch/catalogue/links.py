"""Links: the functions from the raw output ``z`` of the last layer to a prediction ``p``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax

from sknn_scratch.catalogue.component import Component


class Link(Component):
    """The function from raw output ``z`` to prediction ``p``, both of shape (n_samples, n_outputs).

    ``name`` is what the fitted estimator shows as ``out_activation_``.
    """

    name = ""

    def inverse(self, raw_output: NDArray) -> NDArray:
        """Return ``p``."""
        raise TypeError(f"{type(self).__name__} must define inverse(raw_output).")

    def log_inverse(self, raw_output: NDArray) -> NDArray:
        """Return ``log(p)``; a formula of its own stays finite where ``p`` rounds to 0."""
        return np.log(self.inverse(raw_output))

    def pull_back(self, gradient: NDArray, prediction: NDArray) -> NDArray:
        """Return the derivative with respect to ``z``, given ``gradient``, the one with respect to ``p``."""
        raise TypeError(f"{type(self).__name__} must define pull_back(gradient, prediction).")

    def follow_targets(self, mean: NDArray, scale: NDArray, n_columns: int) -> tuple[NDArray, NDArray] | None:
        """Return how a prediction changes where each target ``y`` becomes ``mean + scale * y``, with ``scale > 0``.

        It becomes ``shift + factor * p``, of which this returns ``shift`` and ``factor`` for each of its columns; None,
        the default, where that is not so, as ``p`` has bounds.
        """
        return None

    def averaged_form(self, raw_output: NDArray) -> NDArray:
        """Return what of several networks is averaged, and multiplied by weights: the raw output by default."""
        return raw_output

    def from_averaged_form(self, averaged: NDArray) -> NDArray:
        """Return the raw output of which this is the averaged form."""
        return averaged

    def mean_of_networks(self, raw_output: NDArray) -> NDArray:
        """Return the averaged form for raw outputs of shape (n_samples, n_networks, n_outputs)."""
        n_samples, n_networks, n_outputs = raw_output.shape
        each = self.averaged_form(raw_output.reshape(-1, n_outputs))
        return each.reshape(n_samples, n_networks, -1).mean(axis=1)


class IdentityLink(Link):
    """``p = z``: any real number."""

    name = "identity"

    def inverse(self, raw_output: NDArray) -> NDArray:
        return raw_output

    def pull_back(self, gradient: NDArray, prediction: NDArray) -> NDArray:
        return gradient

    def follow_targets(self, mean: NDArray, scale: NDArray, n_columns: int) -> tuple[NDArray, NDArray] | None:
        # With more columns than targets, only the loss knows what they mean.
        return (mean, scale) if n_columns == len(mean) else None


class ExpLink(Link):
    """``p = exp(z)``: a positive number, ``dp/dz = p``."""

    name = "exp"

    def inverse(self, raw_output: NDArray) -> NDArray:
        return np.exp(raw_output)

    def pull_back(self, gradient: NDArray, prediction: NDArray) -> NDArray:
        return gradient * prediction

    def follow_targets(self, mean: NDArray, scale: NDArray, n_columns: int) -> tuple[NDArray, NDArray] | None:
        return None if mean.any() or n_columns != len(mean) else (mean, scale)

    def mean_of_networks(self, raw_output: NDArray) -> NDArray:
        """Return the logarithm of the mean prediction, than which the mean of the logarithms is smaller."""
        return np.logaddexp.reduce(raw_output, axis=1) - np.log(raw_output.shape[1])


class LogisticLink(Link):
    """``p_k = 1 / (1 + exp(-z_k))``: an independent probability per column, ``dp/dz = p (1 - p)``."""

    name = "logistic"

    def inverse(self, raw_output: NDArray) -> NDArray:
        return expit(raw_output)

    def log_inverse(self, raw_output: NDArray) -> NDArray:
        return log_expit(raw_output)

    def pull_back(self, gradient: NDArray, prediction: NDArray) -> NDArray:
        return gradient * prediction * (1 - prediction)


class SoftmaxLink(Link):
    """``p_k = exp(z_k) / sum_j exp(z_j)``: probabilities that sum to 1 over the columns.

    ``dp_j/dz_k = p_j (1[j = k] - p_k)``; a gradient ``g`` with respect to ``p`` becomes ``p_k (g_k - sum_j g_j p_j)``.
    """

    name = "softmax"

    def inverse(self, raw_output: NDArray) -> NDArray:
        exponentials = np.exp(raw_output - raw_output.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def log_inverse(self, raw_output: NDArray) -> NDArray:
        return log_softmax(raw_output, axis=1)

    def pull_back(self, gradient: NDArray, prediction: NDArray) -> NDArray:
        return prediction * (gradient - (gradient * prediction).sum(axis=1, keepdims=True))


class TanhLink(Link):
    """``p = tanh(z)``: a number between -1 and 1, ``dp/dz = 1 - p**2``."""

    name = "tanh"

    def inverse(self, raw_output: NDArray) -> NDArray:
        return np.tanh(raw_output)

    def pull_back(self, gradient: NDArray, prediction: NDArray) -> NDArray:
        return gradient * (1 - prediction * prediction)


class IncreasingLink(Link):
    """Numbers in increasing order: ``p_1 = z_1`` and ``p_k = p_(k - 1) + log(1 + exp(z_k))``.

    ``dp_k/dz_1 = 1``, and for ``1 < j <= k`` ``dp_k/dz_j`` is the logistic sigmoid of ``z_j``, which is
    ``1 - exp(p_(j - 1) - p_j)``. There may be several groups of ``n_columns`` that are in order, side by side.
    """

    name = "increasing"

    def __init__(self, n_columns: int):
        self.n_columns = n_columns

    def inverse(self, raw_output: NDArray) -> NDArray:
        groups = self._groups(raw_output)
        steps = np.concatenate([groups[..., :1], np.logaddexp(0, groups[..., 1:])], axis=2)
        return np.cumsum(steps, axis=2).reshape(raw_output.shape)

    def pull_back(self, gradient: NDArray, prediction: NDArray) -> NDArray:
        p = self._groups(prediction)
        return self.pull_back_by_slopes(gradient, -np.expm1(p[..., :-1] - p[..., 1:]))

    def follow_targets(self, mean: NDArray, scale: NDArray, n_columns: int) -> tuple[NDArray, NDArray]:
        return np.repeat(mean, self.n_columns), np.repeat(scale, self.n_columns)

    def averaged_form(self, raw_output: NDArray) -> NDArray:
        """Return the predictions, whose means are in order, too."""
        return self.inverse(raw_output)

    def from_averaged_form(self, averaged: NDArray) -> NDArray:
        p = self._groups(averaged)
        steps = np.diff(p, axis=2)
        # The inverse of log(1 + exp(z)).
        z = steps + np.log(-np.expm1(-np.maximum(steps, np.finfo(steps.dtype).tiny)))
        return np.concatenate([p[..., :1], z], axis=2).reshape(averaged.shape)

    def slopes(self, raw_output: NDArray) -> NDArray:
        """Return the derivative of each step from one column of a group to the next, of shape (n_samples, -1, n - 1).

        From the raw output it is exact; differences of large predictions have few digits.
        """
        return expit(self._groups(raw_output)[..., 1:])

    def pull_back_by_slopes(self, gradient: NDArray, slopes: NDArray) -> NDArray:
        """Return the derivative with respect to ``z``, given the one with respect to ``p`` and ``slopes``."""
        of_z = np.flip(np.cumsum(np.flip(self._groups(gradient), 2), axis=2), 2).copy()
        of_z[..., 1:] *= slopes
        return of_z.reshape(gradient.shape)

    def _groups(self, columns: NDArray) -> NDArray:
        return columns.reshape(len(columns), -1, self.n_columns)


class GaussianLink(Link):
    """Means, ``p = z``, in the first half of the columns, and standard deviations in the second.

    Those are ``p = min_std + exp(z)``, ``dp/dz = p - min_std``.
    """

    name = "gaussian"

    def __init__(self, min_std: float):
        self.min_std = min_std

    def inverse(self, raw_output: NDArray) -> NDArray:
        half = raw_output.shape[1] // 2
        return np.hstack([raw_output[:, :half], np.exp(raw_output[:, half:]) + self.min_std])

    def pull_back(self, gradient: NDArray, prediction: NDArray) -> NDArray:
        half = gradient.shape[1] // 2
        return np.hstack([gradient[:, :half], gradient[:, half:] * (prediction[:, half:] - self.min_std)])

    def follow_targets(self, mean: NDArray, scale: NDArray, n_columns: int) -> tuple[NDArray, NDArray]:
        return np.concatenate([mean, np.zeros_like(mean)]), np.tile(scale, 2)

    def averaged_form(self, raw_output: NDArray) -> NDArray:
        """Return means, standard deviations, and ones, by which what was multiplied by weights is divided again.

        The larger the sum of the weights, the surer: by it the variance is divided, as if by a temperature. Products of
        the densities would follow the one network that is far too sure; the variance of their mixture is too large, as
        that of single networks, which the weights were found for, has the difference between networks in it.
        """
        prediction = self.inverse(raw_output)
        return np.hstack([prediction, np.ones_like(prediction[:, :1])])

    def from_averaged_form(self, averaged: NDArray) -> NDArray:
        weight = averaged[:, -1:]
        mean, std = np.hsplit(averaged[:, :-1] / weight, 2)
        excess = np.maximum(std / np.sqrt(weight) - self.min_std, np.finfo(std.dtype).tiny)
        return np.hstack([mean, np.log(excess)])


class HeadsLink(Link):
    """Several links side by side, each for columns of its own, as many as ``widths`` says."""

    def __init__(self, links: list[Link], widths: list[int]):
        self.links = links
        self.widths = widths
        self.name = ", ".join(dict.fromkeys(link.name for link in links))

    def inverse(self, raw_output: NDArray) -> NDArray:
        return np.hstack([link.inverse(z) for link, z in heads(self.links, self.widths, raw_output)])


def heads(parts: Sequence[Any], widths: Sequence[int], *arrays: NDArray) -> Iterator[Any]:
    """Go through the parts of a network with several heads, each with its own columns of the arrays."""
    stops = np.cumsum(widths)[:-1]
    return zip(parts, *(np.split(array, stops, axis=1) for array in arrays), strict=True)


# Those that may take the place of a regression loss's own.
LINKS: dict[str, type[Link]] = {
    "exp": ExpLink,
    "identity": IdentityLink,
    "logistic": LogisticLink,
    "tanh": TanhLink,
}
