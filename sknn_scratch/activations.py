"""Hidden-layer activation functions: ``a = f(z)`` and ``f'(z)``, one small class each.

A new activation is one class below and one line in ``ACTIVATIONS``; the gradient tests find it there. Those that are
computed in every step of most networks work in place; the others say their formulas and leave that to the base class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr
from sklearn.base import BaseEstimator

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "HardSigmoid",
    "HardTanh",
    "Identity",
    "LeakyReLU",
    "Logistic",
    "Mish",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Softplus",
    "Softsign",
    "Tanh",
]


class Activation(BaseEstimator):
    """An elementwise function ``f`` between two layers.

    An activation of your own is a subclass with two formulas in NumPy, ``value(z)`` and ``derivative(z)``. Where speed
    matters, write ``apply`` and ``multiply_derivative``, which work in place, instead: either pair follows from the
    other. ``z`` is an array of shape (n_samples, width).

    Attributes
    ----------
    needs_input : bool
        Whether ``f'`` is computed from the layer's input ``z``. A class whose derivative follows from the output
        ``a = f(z)`` alone sets it to False, and then ``a`` overwrites ``z``.
    glorot_factor : float
        ``factor`` of the default initialisation, uniform in ``+-sqrt(factor / (fan_in + fan_out))``.
    """

    needs_input = True
    glorot_factor = 6.0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls).keys()
        if "derivative" in own and not {"multiply_derivative", "needs_input"} & own:
            cls.needs_input = True
        for formula, in_place in (("value", "apply"), ("derivative", "multiply_derivative")):
            # What a subclass says takes the place of what its base class says about the same.
            if formula in own and in_place not in own:
                setattr(cls, in_place, getattr(Activation, in_place))
            elif in_place in own and formula not in own:
                setattr(cls, formula, getattr(Activation, formula))

    def value(self, z: NDArray) -> NDArray:
        """Return ``f(z)``."""
        self._require("value", "apply")
        a = np.empty_like(z)
        self.apply(z, a)
        return a

    def derivative(self, z: NDArray) -> NDArray:
        """Return ``f'(z)``."""
        self._require("derivative", "multiply_derivative")
        slope = np.ones_like(z)
        self.multiply_derivative(slope, z, self.value(z))
        return slope

    def apply(self, z: NDArray, out: NDArray) -> None:
        """Write ``f(z)`` into ``out``, which may be ``z`` itself."""
        out[...] = self.value(z)

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        """Multiply ``delta`` by ``f'(z)`` in place.

        Parameters
        ----------
        delta : ndarray of shape (n_samples, width)
            Derivative of the loss with respect to ``a``; becomes the derivative with respect to ``z``.
        z : ndarray of shape (n_samples, width)
            Input of the activation; unless ``needs_input``, it may have been overwritten with ``a``.
        a : ndarray of shape (n_samples, width)
            Output of the activation. It is not needed again and may be used as scratch space.
        """
        np.multiply(delta, self.derivative(z), out=delta)

    def _require(self, formula: str, in_place: str) -> None:
        """Raise TypeError if the class has the other formula neither.

        Not when the class is made: pickled by value, a class is made first, and gets its methods one by one.
        """
        cls = type(self)
        if getattr(cls, in_place) is getattr(Activation, in_place):
            raise TypeError(f"{cls.__name__} must define {formula}(z) or {in_place}, got neither.")


# scikit-learn's -------------------------------------------------------------------------------------------------------


class Identity(Activation):
    """``f(z) = z``: a linear layer, ``f'(z) = 1``."""

    needs_input = False

    def apply(self, z: NDArray, out: NDArray) -> None:
        if out is not z:
            out[...] = z

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        pass


class Logistic(Activation):
    """The logistic sigmoid ``f(z) = 1 / (1 + exp(-z))``, ``f'(z) = a (1 - a)``."""

    needs_input = False
    glorot_factor = 2.0

    def apply(self, z: NDArray, out: NDArray) -> None:
        # exp overflows to inf for z below -709 (float64), and 1 / (1 + inf) is the right limit, 0.
        np.negative(z, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        np.reciprocal(out, out=out)

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        np.multiply(delta, a, out=delta)
        np.subtract(1, a, out=a)
        np.multiply(delta, a, out=delta)


class Tanh(Activation):
    """The hyperbolic tangent ``f(z) = tanh(z)``, ``f'(z) = 1 - a**2``."""

    needs_input = False

    def apply(self, z: NDArray, out: NDArray) -> None:
        np.tanh(z, out=out)

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        np.multiply(a, a, out=a)
        np.subtract(1, a, out=a)
        np.multiply(delta, a, out=delta)


class ReLU(Activation):
    """The rectified linear unit ``f(z) = max(0, z)``; ``f'(z)`` is 1 where ``z > 0``, else 0 (also at the kink)."""

    needs_input = False

    def apply(self, z: NDArray, out: NDArray) -> None:
        # A row of zeros keeps the comparison vectorised; against the scalar 0 it takes twice as long.
        np.maximum(z, np.zeros(z.shape[1], dtype=z.dtype), out=out)

    def multiply_derivative(self, delta: NDArray, z: NDArray, a: NDArray) -> None:
        a[...] = (a > 0).view(np.int8)  # bytes become floats faster than booleans do
        np.multiply(delta, a, out=delta)


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

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def value(self, z: NDArray) -> NDArray:
        return np.where(z > 0, z, self.negative_slope * z)

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

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def value(self, z: NDArray) -> NDArray:
        return np.where(z > 0, z, self.alpha * np.expm1(np.minimum(z, 0)))

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
        return self.scale * np.where(z > 0, z, self.alpha * np.expm1(np.minimum(z, 0)))

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

    References
    ----------
    Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020, arXiv:1908.08681.
    """

    def value(self, z: NDArray) -> NDArray:
        return z * np.tanh(np.logaddexp(0, z))

    def derivative(self, z: NDArray) -> NDArray:
        t = np.tanh(np.logaddexp(0, z))
        return t + z * expit(z) * (1 - t * t)


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
