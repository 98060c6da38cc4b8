"""Hidden-layer activation functions: ``a = f(z)`` and ``f'(z)``, one small class each.

A new activation is one class below and one line in ``ACTIVATIONS``; the engines, ONNX and the tests find it there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.special import expit, ndtr

from sknn_scratch.catalogue.component import Component


class Activation(Component):
    """An elementwise function ``f`` between two layers.

    An activation of your own is a subclass with two formulas in NumPy, ``value(z)`` and ``derivative(z)``, where ``z``
    is an array of shape (n_samples, width). They are computed by NumPy or, where they consist of NumPy's elementwise
    functions, compiled. A class whose derivative follows from ``a = f(z)`` alone writes ``derivative_from_output(a)``
    instead; then ``a`` takes the place of ``z`` and a layer needs half the memory.

    Attributes
    ----------
    glorot_factor : float
        ``factor`` of the default initialisation, uniform in ``+-sqrt(factor / (fan_in + fan_out))``.
    """

    glorot_factor = 6.0

    def value(self, z: NDArray) -> NDArray:
        """Return ``f(z)``."""
        raise TypeError(f"{type(self).__name__} must define value(z).")

    def derivative(self, z: NDArray) -> NDArray:
        """Return ``f'(z)``."""
        return self.derivative_from_output(self.value(z))

    def derivative_from_output(self, a: NDArray) -> NDArray:
        """Return ``f'(z)``, given ``a = f(z)``."""
        raise TypeError(f"{type(self).__name__} must define derivative(z) or derivative_from_output(a).")

    def check_formulas(self, width: int, dtype: DTypeLike) -> None:
        """Raise ValueError where a formula does not return a number for each sample and unit."""
        z = np.full((3 if width == 2 else 2, width), 0.5, dtype)  # not as many samples as units
        given = f"an input of shape {z.shape}"
        a = self.check_formula("value", [z], z.shape, given)
        if self.needs_input:
            self.check_formula("derivative", [z], z.shape, given)
        else:
            self.check_formula("derivative_from_output", [np.asarray(a, dtype)], z.shape, given)

    @property
    def needs_input(self) -> bool:
        """Whether the derivative takes ``z``: the nearest class that defines one of the two defines ``derivative``."""
        nearest = self._nearest_class_with("derivative", "derivative_from_output")
        return nearest is Activation or "derivative_from_output" not in vars(nearest)


# scikit-learn's -------------------------------------------------------------------------------------------------------


class Identity(Activation):
    """``f(z) = z``: a linear layer, ``f'(z) = 1``."""

    def value(self, z: NDArray) -> NDArray:
        return z

    def derivative_from_output(self, a: NDArray) -> NDArray:
        return np.ones_like(a)


class Logistic(Activation):
    """The logistic sigmoid ``f(z) = 1 / (1 + exp(-z))``, ``f'(z) = a (1 - a)``."""

    glorot_factor = 2.0

    def value(self, z: NDArray) -> NDArray:
        return 1 / (1 + np.exp(-z))

    def derivative_from_output(self, a: NDArray) -> NDArray:
        return a * (1 - a)


class Tanh(Activation):
    """The hyperbolic tangent ``f(z) = tanh(z)``, ``f'(z) = 1 - a**2``."""

    def value(self, z: NDArray) -> NDArray:
        return np.tanh(z)

    def derivative_from_output(self, a: NDArray) -> NDArray:
        return 1 - a * a


class ReLU(Activation):
    """The rectified linear unit ``f(z) = max(0, z)``; ``f'(z)`` is 1 where ``z > 0``, else 0 (also at the kink)."""

    def value(self, z: NDArray) -> NDArray:
        return np.maximum(z, 0)

    def derivative_from_output(self, a: NDArray) -> NDArray:
        return (a > 0).astype(a.dtype)


# Relatives of the ReLU ------------------------------------------------------------------------------------------------


class LeakyReLU(Activation):
    """``f(z) = z`` where ``z > 0``, else ``negative_slope * z``: no unit is ever quite dead.

    Parameters
    ----------
    negative_slope : float, default=0.01
        Slope of the left half, at least 0.

    References
    ----------
    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013.
    """

    ranges = {"negative_slope": "[0, inf)"}

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def value(self, z: NDArray) -> NDArray:
        return np.maximum(z, 0) + self.negative_slope * np.minimum(z, 0)

    def derivative(self, z: NDArray) -> NDArray:
        return np.where(z > 0, 1, self.negative_slope).astype(z.dtype)


class ELU(Activation):
    """The exponential linear unit: ``f(z) = z`` where ``z > 0``, else ``alpha * (exp(z) - 1)``.

    Parameters
    ----------
    alpha : float, default=1.0
        Minus the limit on the left, greater than 0.

    References
    ----------
    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential linear units", ICLR
    2016, arXiv:1511.07289.
    """

    ranges = {"alpha": "(0, inf)"}

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def value(self, z: NDArray) -> NDArray:
        return np.maximum(z, 0) + self.alpha * np.expm1(np.minimum(z, 0))

    def derivative(self, z: NDArray) -> NDArray:
        return np.where(z > 0, 1, self.alpha * np.exp(np.minimum(z, 0)))


class SELU(Activation):
    """The scaled exponential linear unit: ``1.0507 z`` where ``z > 0``, else ``1.0507 * 1.6733 * (exp(z) - 1)``.

    The constants make mean 0 and variance 1 a fixed point of a layer with weights drawn by ``lecun_normal``.

    References
    ----------
    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017, arXiv:1706.02515.
    """

    scale = 1.0507009873554805
    alpha = 1.6732632423543772

    def value(self, z: NDArray) -> NDArray:
        return self.scale * (np.maximum(z, 0) + self.alpha * np.expm1(np.minimum(z, 0)))

    def derivative(self, z: NDArray) -> NDArray:
        return self.scale * np.where(z > 0, 1, self.alpha * np.exp(np.minimum(z, 0)))


class ReLU6(Activation):
    """``f(z) = min(max(0, z), 6)``.

    References
    ----------
    Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010.
    """

    def value(self, z: NDArray) -> NDArray:
        return np.clip(z, 0, 6)

    def derivative(self, z: NDArray) -> NDArray:
        return ((z > 0) & (z < 6)).astype(z.dtype)


# Smooth, and not monotonic --------------------------------------------------------------------------------------------


class GELU(Activation):
    """The Gaussian error linear unit ``f(z) = z Phi(z)`` with the normal distribution function ``Phi``.

    ``f'(z) = Phi(z) + z phi(z)`` with the normal density ``phi``.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units", 2016, arXiv:1606.08415.
    """

    def value(self, z: NDArray) -> NDArray:
        return z * ndtr(z)

    def derivative(self, z: NDArray) -> NDArray:
        return ndtr(z) + z * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi).astype(z.dtype)


class SiLU(Activation):
    """The sigmoid linear unit, or swish, ``f(z) = z s`` with ``s = 1 / (1 + exp(-z))``; ``f'(z) = s (1 + z (1 - s))``.

    References
    ----------
    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function approximation in reinforcement
    learning", Neural Networks 107, 2018, arXiv:1702.03118.
    """

    def value(self, z: NDArray) -> NDArray:
        return z * expit(z)

    def derivative(self, z: NDArray) -> NDArray:
        s = expit(z)
        return s * (1 + z * (1 - s))


class Mish(Activation):
    """``f(z) = z t`` with ``t = tanh(log(1 + exp(z)))``; ``f'(z) = t + z s (1 - t**2)``, ``s`` the logistic function.

    With ``e = exp(z)`` and ``n = e (e + 2)``, ``t = n / (n + 2)`` and ``s (1 - t**2) = 4 e (e + 1) / (n + 2)**2``: one
    exponential, and no difference of close numbers. Beyond 20, where ``t`` is 1 to rounding, ``e`` could overflow.

    References
    ----------
    Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020, arXiv:1908.08681.
    """

    def value(self, z: NDArray) -> NDArray:
        e = np.exp(np.minimum(z, 20))
        n = e * (e + 2)
        return z * (n / (n + 2))

    def derivative(self, z: NDArray) -> NDArray:
        z = np.minimum(z, 20)
        e = np.exp(z)
        n = e * (e + 2)
        return (n + z * (4 * e * (e + 1)) / (n + 2)) / (n + 2)


class Softplus(Activation):
    """``f(z) = log(1 + exp(z))``: a smooth ReLU, whose derivative is the logistic function.

    References
    ----------
    Dugas, Bengio, Belisle, Nadeau and Garcia, "Incorporating second-order functional knowledge for better option
    pricing", NeurIPS 2000.
    """

    def value(self, z: NDArray) -> NDArray:
        return np.logaddexp(0, z)

    def derivative(self, z: NDArray) -> NDArray:
        return expit(z)


# Bounded --------------------------------------------------------------------------------------------------------------


class Softsign(Activation):
    """``f(z) = z / (1 + |z|)``, ``f'(z) = 1 / (1 + |z|)**2``: a tanh that saturates slowly.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """

    def value(self, z: NDArray) -> NDArray:
        return z / (1 + np.abs(z))

    def derivative(self, z: NDArray) -> NDArray:
        return (1 + np.abs(z)) ** -2


class HardTanh(Activation):
    """``f(z) = min(max(-1, z), 1)``: a tanh in three pieces.

    References
    ----------
    Collobert, "Large scale machine learning", PhD thesis, Universite Paris VI, 2004.
    """

    def value(self, z: NDArray) -> NDArray:
        return np.clip(z, -1, 1)

    def derivative(self, z: NDArray) -> NDArray:
        return (np.abs(z) < 1).astype(z.dtype)


class HardSigmoid(Activation):
    """``f(z) = min(max(0, z / 6 + 1/2), 1)``: a logistic function in three pieces.

    References
    ----------
    Courbariaux, Bengio and David, "BinaryConnect: training deep neural networks with binary weights during
    propagations", NeurIPS 2015; with the slope 1/6 of Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """

    def value(self, z: NDArray) -> NDArray:
        return np.clip(z / 6 + 0.5, 0, 1)

    def derivative(self, z: NDArray) -> NDArray:
        return (np.abs(z) < 3).astype(z.dtype) / 6


ACTIVATIONS: dict[str, type[Activation]] = {
    "elu": ELU,
    "gelu": GELU,
    "hard_sigmoid": HardSigmoid,
    "hard_tanh": HardTanh,
    "identity": Identity,
    "leaky_relu": LeakyReLU,
    "logistic": Logistic,
    "mish": Mish,
    "relu": ReLU,
    "relu6": ReLU6,
    "selu": SELU,
    "silu": SiLU,
    "softplus": Softplus,
    "softsign": Softsign,
    "tanh": Tanh,
}
