"""Update rules of the stochastic solvers, on the flat parameter vector.

In the formulas ``w`` is the parameter vector, ``g`` its gradient, ``r`` the learning rate of the current epoch.
``scal(c, x)`` is BLAS's ``x *= c`` and ``axpy(x, y, a=c)`` its ``y += c * x``, in one pass and in place.

A new optimiser is one class below and one line in ``OPTIMIZERS``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from sknn_scratch.blas import BLOCK_SIZE, in_blocks, scal_and_axpy

__all__ = ["OPTIMIZERS", "SGD", "Adam", "Optimizer"]


class Optimizer(BaseEstimator):
    """A rule that moves the parameters against their gradient.

    What training changes, and a copy has to take over to carry on, is in the vectors named by ``vector_names``, each as
    long as the parameter vector, and in ``n_updates``.
    """

    vector_names: tuple[str, ...] = ()

    def start(self, n_parameters: int, dtype: np.dtype) -> None:
        """Make a fresh state for a parameter vector of this length and dtype."""
        self.n_updates = 0
        for name in self.vector_names:
            setattr(self, name, np.zeros(n_parameters, dtype=dtype))

    @property
    def vectors(self) -> list[NDArray]:
        """The vectors of the state."""
        return [getattr(self, name) for name in self.vector_names]

    def resume(self, previous: Optimizer) -> None:
        """Take over a copy of the state of ``previous``, an optimiser of the same class."""
        self.n_updates = previous.n_updates
        for mine, other in zip(self.vectors, previous.vectors, strict=True):
            mine[...] = other

    def update(self, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
        """Change ``parameters`` in place by one step."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    ::

        velocity = momentum * velocity - r * g
        w += velocity                              # classical momentum
        w += momentum * velocity - r * g           # Nesterov's

    Parameters
    ----------
    momentum : float, default=0.9
        Share of the last step that is carried on, in [0, 1]; 0 is plain gradient descent.
    nesterovs_momentum : bool, default=True
        Whether to look ahead along the velocity.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    vector_names = ("velocity",)
    velocity: NDArray

    def __init__(self, momentum: float = 0.9, nesterovs_momentum: bool = True):
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum

    def update(self, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
        (scal, axpy), momentum = scal_and_axpy(parameters.dtype), self.momentum
        self.n_updates += 1
        for w, g, velocity in in_blocks(parameters, gradient, self.velocity):
            scal(momentum, velocity)
            axpy(g, velocity, a=-learning_rate)
            if self.nesterovs_momentum:
                axpy(velocity, w, a=momentum)
                axpy(g, w, a=-learning_rate)
            else:
                np.add(w, velocity, out=w)


class Adam(Optimizer):
    """Adaptive moment estimation.

    After ``t`` updates::

        first_moment  = beta_1 * first_moment  + (1 - beta_1) * g
        second_moment = beta_2 * second_moment + (1 - beta_2) * g**2
        w -= r * sqrt(1 - beta_2**t) / (1 - beta_1**t) * first_moment / (sqrt(second_moment) + epsilon)

    Parameters
    ----------
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the two moments, in [0, 1).
    epsilon : float, default=1e-8
        Keeps the division finite, greater than 0.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv:1412.6980 (the efficient form at the
    end of section 2).
    """

    vector_names = ("first_moment", "second_moment")
    first_moment: NDArray
    second_moment: NDArray

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def update(self, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
        (scal, axpy), beta_1, beta_2 = scal_and_axpy(parameters.dtype), self.beta_1, self.beta_2
        self.n_updates += 1
        rate = learning_rate * (1 - beta_2**self.n_updates) ** 0.5 / (1 - beta_1**self.n_updates)
        scratch = np.empty(min(parameters.size, BLOCK_SIZE), dtype=parameters.dtype)
        for w, g, m, v in in_blocks(parameters, gradient, self.first_moment, self.second_moment):
            step = scratch[: w.size]
            scal(beta_1, m)
            axpy(g, m, a=1 - beta_1)
            scal(beta_2, v)
            np.multiply(g, g, out=step)
            axpy(step, v, a=1 - beta_2)
            np.sqrt(v, out=step)
            np.add(step, self.epsilon, out=step)
            np.divide(m, step, out=step)
            axpy(step, w, a=-rate)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "sgd": SGD,
}
