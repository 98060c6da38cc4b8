"""Starting values of weights and biases.

A new initialiser is one class below and one line in ``INITIALIZERS``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.catalogue.component import Component


class Initializer(Component):
    """Draws the parameters of one layer, always as float64 and from ``rng`` alone, by ``draw``."""

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        """Return an array of this shape: (fan_in, fan_out) for weights, (fan_out,) for biases."""
        raise TypeError(f"{type(self).__name__} must define draw(fan_in, fan_out, shape, rng).")


def _uniform(variance: float, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
    bound = np.sqrt(3 * variance)
    return rng.uniform(-bound, bound, shape)


# Scaled by the size of the layer --------------------------------------------------------------------------------------


class GlorotUniform(Initializer):
    """Uniform in ``+-sqrt(factor / (fan_in + fan_out))``.

    Parameters
    ----------
    factor : float, default=6.0
        Greater than 0. 6 keeps the variance of signals and gradients level through layers whose slope at zero is 1
        (tanh); 2 is what scikit-learn takes for the logistic function.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """

    ranges = {"factor": "(0, inf)"}

    def __init__(self, factor: float = 6.0):
        self.factor = factor

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        bound = np.sqrt(self.factor / (fan_in + fan_out))
        return rng.uniform(-bound, bound, shape)


class GlorotNormal(Initializer):
    """Normal with variance ``2 / (fan_in + fan_out)``; see GlorotUniform."""

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        return rng.normal(0, np.sqrt(2 / (fan_in + fan_out)), shape)


class HeUniform(Initializer):
    """Uniform with variance ``2 / fan_in``, for layers before a ReLU, which halves the variance of signals.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers: surpassing human-level performance on ImageNet
    classification", ICCV 2015, arXiv:1502.01852.
    """

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        return _uniform(2 / fan_in, shape, rng)


class HeNormal(Initializer):
    """Normal with variance ``2 / fan_in``; see HeUniform."""

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        return rng.normal(0, np.sqrt(2 / fan_in), shape)


class LecunUniform(Initializer):
    """Uniform with variance ``1 / fan_in``: each unit's input has the variance of the signals that come in.

    References
    ----------
    LeCun, Bottou, Orr and Mueller, "Efficient BackProp", in "Neural Networks: Tricks of the Trade", 1998, section 4.6.
    """

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        return _uniform(1 / fan_in, shape, rng)


class LecunNormal(Initializer):
    """Normal with variance ``1 / fan_in``, as the SELU wants it; see LecunUniform."""

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        return rng.normal(0, np.sqrt(1 / fan_in), shape)


class Orthogonal(Initializer):
    """A random matrix with orthonormal columns (rows, if there are fewer of them), for weights only.

    Parameters
    ----------
    gain : float, default=1.0
        Factor of the matrix, greater than 0.

    References
    ----------
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", ICLR 2014, arXiv:1312.6120.
    """

    ranges = {"gain": "(0, inf)"}

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        if len(shape) != 2:
            raise ValueError("bias_init cannot be orthogonal: a vector has no columns to be orthogonal to each other.")
        tall = rng.normal(size=(max(shape), min(shape)))
        q, r = np.linalg.qr(tall)
        q *= np.sign(np.diag(r))  # makes the draw uniform over all such matrices
        return self.gain * (q if shape[0] >= shape[1] else q.T)


# The same for every layer ---------------------------------------------------------------------------------------------


class Normal(Initializer):
    """Normal with mean 0.

    Parameters
    ----------
    scale : float, default=0.05
        Standard deviation, at least 0.
    """

    ranges = {"scale": "[0, inf)"}

    def __init__(self, scale: float = 0.05):
        self.scale = scale

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        return rng.normal(0, self.scale, shape)


class Uniform(Initializer):
    """Uniform in [low, high).

    Parameters
    ----------
    low, high : float, default=-0.05, 0.05
        The ends, ``low`` at most ``high``.
    """

    ranges = {"low": "(-inf, inf)", "high": "(-inf, inf)"}

    def __init__(self, low: float = -0.05, high: float = 0.05):
        self.low = low
        self.high = high

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        if self.low > self.high:
            raise ValueError(f"The parameter 'low' of Uniform must be at most its high, {self.high}; got {self.low}.")
        return rng.uniform(self.low, self.high, shape)


class Zeros(Initializer):
    """Zeros: usual for biases. As weights of a hidden layer they would make all its units learn the same."""

    def draw(self, fan_in: int, fan_out: int, shape: tuple[int, ...], rng: np.random.RandomState) -> NDArray:
        return np.zeros(shape)


INITIALIZERS: dict[str, type[Initializer]] = {
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "normal": Normal,
    "orthogonal": Orthogonal,
    "uniform": Uniform,
    "zeros": Zeros,
}
