"""Losses for regression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from sklearn.metrics import d2_pinball_score

from sknn_scratch.catalogue.links import ExpLink, GaussianLink, IdentityLink, IncreasingLink
from sknn_scratch.catalogue.losses.base import Loss, column_means, half_squares

_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class SquaredError(Loss):
    """Half the squared error ``(p - y)**2 / 2`` for regression; derivative ``p - y`` times that of the link.

    The link is the identity unless the regressor's ``output_activation`` says otherwise. With several outputs the loss
    is the mean over them while the derivative is that of the sum, as in scikit-learn.
    """

    averages_outputs = True

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return half_squares(self.link.inverse(raw_output) - y) / y.shape[1]

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        p = self.link.inverse(raw_output)
        return self.link.pull_back(p - y, p)

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        if isinstance(self.link, IdentityLink):
            return column_means(y, sample_weight)
        return super().constant(y, sample_weight)


class _Deviance(Loss):
    """Of a distribution of numbers that are not negative, with the prediction ``p = exp(z)``."""

    link = ExpLink()
    name: str
    is_for_zeros = True

    def check_targets(self, y: NDArray) -> None:
        smallest = y.min()
        if smallest < 0 or (smallest == 0 and not self.is_for_zeros):
            what = "must not be negative" if self.is_for_zeros else "must be positive"
            raise ValueError(f"y {what} with loss={self.name!r}, got a minimum of {smallest:g}.")

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        return np.log(np.maximum(column_means(y, sample_weight), np.finfo(np.float32).tiny))


class PoissonDeviance(_Deviance):
    """Half the Poisson deviance ``sum_k y_k log(y_k / p_k) - y_k + p_k`` with ``p = exp(z)``; derivative ``p - y``.

    For counts and other non-negative targets whose variance grows with their mean.

    References
    ----------
    McCullagh and Nelder, "Generalized Linear Models", 2nd edition, 1989, section 2.3.
    """

    name = "poisson"

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return (xlogy(y, y) - y * raw_output - y + np.exp(raw_output)).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.exp(raw_output) - y


class AbsoluteError(Loss):
    """``sum_k |z_k - y_k|``, derivative ``sign(z - y)``: the prediction is the median, and outliers count little."""

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.abs(raw_output - y).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return np.sign(raw_output - y)

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        return _quantiles(y, sample_weight, [0.5])[:, 0]


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

    ranges = {"delta": "(0, inf)"}

    def __init__(self, delta: float = 1.0):
        self.delta = delta

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
    """The pinball loss: ``q * (y - p)`` where ``p < y``, else ``(1 - q) * (p - y)``, summed over the outputs.

    The prediction ``p`` is the ``q``-quantile of the target, below which it falls with probability ``q``. Of several
    quantiles, the first is a raw output and each further one lies above the one before by ``log(1 + exp(z))``, so they
    never cross; ``predict`` then has a column for each.

    Parameters
    ----------
    q : float or list of float, default=0.5
        In (0, 1); several in increasing order.

    References
    ----------
    Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.
    """

    def __init__(self, q: float | Sequence[float] = 0.5):
        self.q = q

    @property
    def quantiles(self) -> list[float]:
        """``q`` as a list."""
        return [self.q] if np.ndim(self.q) == 0 else list(self.q)  # type: ignore[arg-type, list-item]

    @property
    def several(self) -> bool:
        """Whether there is more than one quantile."""
        return len(self.quantiles) > 1

    def start(self, multiclass: bool = False) -> None:
        q: list[Any] = self.quantiles
        are_numbers = all(isinstance(one, Real) and not isinstance(one, bool) for one in q)
        if not (are_numbers and q and q[0] > 0 and q[-1] < 1 and all(a < b for a, b in pairwise(q))):
            raise ValueError(
                "The parameter 'q' of Quantile must be a number in (0, 1), or a list of such numbers in increasing "
                f"order; got {self.q!r}."
            )
        self.link = IncreasingLink(len(q)) if self.several else IdentityLink()

    def n_raw_outputs(self, n_targets: int) -> int:
        return n_targets * len(self.quantiles)

    def point_prediction(self, prediction: NDArray, n_targets: int) -> NDArray:
        return prediction.reshape(len(prediction), n_targets, -1) if self.several else prediction

    def score(self, y: Any, point: NDArray, sample_weight: Any = None) -> float:
        """Return R2, or of several quantiles the mean of their D2, the share of the pinball loss that is avoided."""
        if not self.several:
            return super().score(y, point, sample_weight)
        scores = [
            d2_pinball_score(y, point[..., k], alpha=q, sample_weight=sample_weight)
            for k, q in enumerate(self.quantiles)
        ]
        return float(np.mean(scores))

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        excess = self.link.inverse(raw_output) - self._for_each_quantile(y)
        return (self._slope(excess) * excess).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        slope = self._slope(self.link.inverse(raw_output) - self._for_each_quantile(y))
        if not isinstance(self.link, IncreasingLink):
            return slope
        return self.link.pull_back_by_slopes(slope, self.link.slopes(raw_output))

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        return self.link.from_averaged_form(_quantiles(y, sample_weight, self.quantiles).reshape(1, -1))[0]

    def _slope(self, excess: NDArray) -> NDArray:
        """Return the derivative with respect to the predictions, given by how much they exceed the target."""
        q: Any = self.quantiles[0]
        if self.several:
            q = np.tile(self.quantiles, excess.shape[1] // len(self.quantiles)).astype(excess.dtype)
        return np.where(excess < 0, -q, 1 - q).astype(excess.dtype)

    def _for_each_quantile(self, y: NDArray) -> NDArray:
        return np.repeat(y, len(self.quantiles), axis=1) if self.several else y


class GaussianNLL(Loss):
    """The negative log-likelihood of a normal distribution whose mean ``m`` and standard deviation ``s`` are learnt.

    ``log(s) + (y - m)**2 / (2 s**2) + log(2 pi) / 2``, summed over the targets, with derivatives ``(m - y) / s**2`` and
    ``1 / s - (y - m)**2 / s**3``. There are two raw outputs for each target: the means, then the ``z`` of ``s =
    min_std + exp(z)``. ``predict(X, return_std=True)`` returns both.

    Parameters
    ----------
    min_std : float, default=1e-6
        The least standard deviation, in units of the target, greater than 0. Without a bound the likelihood of a sample
        that is predicted exactly has none either.

    References
    ----------
    Nix and Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994.
    """

    ranges = {"min_std": "(0, inf)"}

    def __init__(self, min_std: float = 1e-6):
        self.min_std = min_std

    def start(self, multiclass: bool = False) -> None:
        self.link = GaussianLink(self.min_std)

    def n_raw_outputs(self, n_targets: int) -> int:
        return 2 * n_targets

    def point_prediction(self, prediction: NDArray, n_targets: int) -> NDArray:
        return prediction[:, :n_targets]

    def standard_deviation(self, prediction: NDArray, n_targets: int) -> NDArray:
        return prediction[:, n_targets:]

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        standardised, std = self._standardised(y, raw_output)
        losses = (np.log(std) + standardised**2 / 2).sum(axis=1) + y.shape[1] * _HALF_LOG_2_PI
        return losses.astype(raw_output.dtype, copy=False)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        standardised, std = self._standardised(y, raw_output)
        # The share, times the standard deviation, is its derivative with respect to its raw output.
        share = 1 - self.min_std / std  # also of an infinite one
        return np.hstack([standardised / std, share - standardised * (standardised * share)])

    def constant(self, y: NDArray, sample_weight: NDArray | None) -> NDArray:
        mean = column_means(y, sample_weight)
        std = np.sqrt(column_means((y - mean) ** 2, sample_weight))
        return np.concatenate([mean, np.log(np.maximum(std - self.min_std, np.finfo(np.float32).tiny))])

    def _standardised(self, y: NDArray, raw_output: NDArray) -> tuple[NDArray, NDArray]:
        """Return ``(m - y) / s`` and ``s``."""
        prediction, n_targets = self.link.inverse(raw_output), y.shape[1]
        mean, std = prediction[:, :n_targets], prediction[:, n_targets:]
        return (mean - y) / std, std


class GammaDeviance(_Deviance):
    """Half the gamma deviance ``sum_k log(p_k / y_k) + y_k / p_k - 1`` with ``p = exp(z)``; derivative ``1 - y / p``.

    For positive targets whose standard deviation grows with their mean.

    References
    ----------
    McCullagh and Nelder, "Generalized Linear Models", 2nd edition, 1989, chapter 8.
    """

    name, is_for_zeros = "gamma", False

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return (raw_output - np.log(y) + y * np.exp(-raw_output) - 1).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return 1 - y * np.exp(-raw_output)


class TweedieDeviance(_Deviance):
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

    name = "tweedie"
    ranges = {"power": "[1, inf)"}

    def __init__(self, power: float = 1.5):
        self.power = power

    @property
    def is_for_zeros(self) -> bool:  # type: ignore[override]
        return self.power < 2

    def value(self, y: NDArray, raw_output: NDArray) -> NDArray:
        d = self.power
        if d == 1:
            return PoissonDeviance().value(y, raw_output)
        if d == 2:
            return GammaDeviance().value(y, raw_output)
        of_prediction = self._sum_of_powers(y, raw_output, 1 / (d - 1), 1 / (2 - d))
        return (y ** (2 - d) / ((1 - d) * (2 - d)) + of_prediction).sum(axis=1)

    def derivative(self, y: NDArray, raw_output: NDArray) -> NDArray:
        return self._sum_of_powers(y, raw_output, -1.0, 1.0)

    def _sum_of_powers(self, y: NDArray, raw_output: NDArray, a: float, b: float) -> NDArray:
        """Return ``a y p**(1 - d) + b p**(2 - d)``, its limit where both powers overflow or ``y`` is 0."""
        d = self.power
        if d > 2:
            return np.exp((2 - d) * raw_output) * (a * y * np.exp(-raw_output) + b)
        return np.where(y > 0, a * y * np.exp((1 - d) * raw_output), 0) + b * np.exp((2 - d) * raw_output)


def _quantiles(y: NDArray, sample_weight: NDArray | None, q: Sequence[float]) -> NDArray:
    """Return the quantiles of each column, of shape (n_columns, n_quantiles)."""
    order = np.argsort(y, axis=0)
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    shares = np.cumsum(weights[order], axis=0, dtype=np.float64)
    found = [
        column[np.searchsorted(below, np.multiply(q, below[-1])).clip(max=len(y) - 1)]
        for column, below in zip(np.take_along_axis(y, order, axis=0).T, shares.T, strict=True)
    ]
    return np.array(found, dtype=np.float64)


REGRESSOR_LOSSES: dict[str, type[Loss]] = {
    "absolute_error": AbsoluteError,
    "gamma": GammaDeviance,
    "gaussian_nll": GaussianNLL,
    "huber": Huber,
    "log_cosh": LogCosh,
    "poisson": PoissonDeviance,
    "quantile": Quantile,
    "squared_error": SquaredError,
    "tweedie": TweedieDeviance,
}
