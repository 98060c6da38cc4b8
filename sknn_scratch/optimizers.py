"""Update rules of the stochastic solvers, on the flat parameter vector.

In the formulas ``w`` is the parameter vector, ``g`` its gradient, ``r`` the learning rate of the current epoch.
``scal(c, x)`` is BLAS's ``x *= c`` and ``axpy(x, y, a=c)`` its ``y += c * x``, in one pass and in place.

A new optimiser is one class below and one line in ``OPTIMIZERS``.
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from sknn_scratch.blas import BLOCK_SIZE, in_blocks, scal_and_axpy

__all__ = ["OPTIMIZERS", "SGD", "Adagrad", "Adam", "AdamW", "Nadam", "Optimizer", "RMSprop"]


class Optimizer(BaseEstimator):
    """A rule that moves the parameters against their gradient.

    What training changes, and a copy has to take over to carry on, is in attributes made by ``start``: the vectors
    named by ``vector_names``, each as long as the parameter vector, ``n_updates``, and what a subclass adds to them.
    """

    vector_names: tuple[str, ...] = ()

    def start(self, n_parameters: int, dtype: np.dtype, n_weights: int | None = None) -> None:
        """Make a fresh state for a parameter vector of this length and dtype.

        Its first ``n_weights`` numbers, by default all, are weights, the others biases.
        """
        self.n_updates = 0
        self.n_weights = n_parameters if n_weights is None else n_weights
        for name in self.vector_names:
            setattr(self, name, np.zeros(n_parameters, dtype=dtype))

    @property
    def vectors(self) -> list[NDArray]:
        """The vectors of the state."""
        return [getattr(self, name) for name in self.vector_names]

    def resume(self, previous: Optimizer) -> None:
        """Take over a copy of the state of ``previous``, an optimiser of the same class: all but its parameters."""
        own = {*self.get_params(deep=False), *self.vector_names}
        state = {name: value for name, value in vars(previous).items() if name not in own}
        for name, value in copy.deepcopy(state).items():
            setattr(self, name, value)
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
        _, axpy = scal_and_axpy(parameters.dtype)
        self.n_updates += 1
        rate = learning_rate * (1 - self.beta_2**self.n_updates) ** 0.5 / (1 - self.beta_1**self.n_updates)
        scratch = np.empty(min(parameters.size, BLOCK_SIZE), dtype=parameters.dtype)
        for w, g, m, v in in_blocks(parameters, gradient, self.first_moment, self.second_moment):
            step = scratch[: w.size]
            self._move_moments(g, m, v, step)
            _divide_by_root(m, v, self.epsilon, step)
            axpy(step, w, a=-rate)

    def _move_moments(self, g: NDArray, m: NDArray, v: NDArray, scratch: NDArray) -> None:
        """Update both moments of a block."""
        scal, axpy = scal_and_axpy(g.dtype)
        scal(self.beta_1, m)
        axpy(g, m, a=1 - self.beta_1)
        scal(self.beta_2, v)
        np.multiply(g, g, out=scratch)
        axpy(scratch, v, a=1 - self.beta_2)


class AdamW(Adam):
    """Adam with decoupled weight decay.

    Before each step of Adam, the weights shrink: ``w *= 1 - r * weight_decay``. Unlike the penalty ``alpha``, this does
    not pass through the moments, and it does not depend on the size of the minibatch. Biases do not decay.

    Parameters
    ----------
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        As for Adam.
    weight_decay : float, default=0.01
        Strength of the decay, at least 0.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv:1711.05101.
    """

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, weight_decay: float = 0.01):
        super().__init__(beta_1, beta_2, epsilon)
        self.weight_decay = weight_decay

    def update(self, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
        scal, _ = scal_and_axpy(parameters.dtype)
        for (w,) in in_blocks(parameters[: self.n_weights]):
            scal(1 - learning_rate * self.weight_decay, w)
        super().update(parameters, gradient, learning_rate)


class Nadam(Adam):
    """Adam with Nesterov's momentum.

    With the momentum schedule ``u[t] = beta_1 * (1 - 0.5 * 0.96**(0.004 * t))`` and ``U[t]`` the product of its values
    up to ``t``, after ``t`` updates::

        first_moment  = beta_1 * first_moment  + (1 - beta_1) * g
        second_moment = beta_2 * second_moment + (1 - beta_2) * g**2
        ahead = u[t + 1] / (1 - U[t + 1]) * first_moment + (1 - u[t]) / (1 - U[t]) * g
        w -= r * ahead / (sqrt(second_moment / (1 - beta_2**t)) + epsilon)

    Parameters
    ----------
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the two moments, in [0, 1).
    epsilon : float, default=1e-8
        Keeps the division finite, greater than 0.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.
    """

    def _momentum(self, t: int) -> float:
        return self.beta_1 * (1 - 0.5 * 0.96 ** (0.004 * t))

    def start(self, n_parameters: int, dtype: np.dtype, n_weights: int | None = None) -> None:
        super().start(n_parameters, dtype, n_weights)
        self.momentum_product = 1.0

    def update(self, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
        scal, axpy = scal_and_axpy(parameters.dtype)
        self.n_updates += 1
        now, following = self._momentum(self.n_updates), self._momentum(self.n_updates + 1)
        self.momentum_product *= now
        of_moment = following / (1 - self.momentum_product * following)
        of_gradient = (1 - now) / (1 - self.momentum_product)
        scale = (1 - self.beta_2**self.n_updates) ** -0.5
        scratch = np.empty(2 * min(parameters.size, BLOCK_SIZE), dtype=parameters.dtype)
        for w, g, m, v in in_blocks(parameters, gradient, self.first_moment, self.second_moment):
            root, ahead = scratch[: w.size], scratch[w.size : 2 * w.size]
            self._move_moments(g, m, v, root)
            np.sqrt(v, out=root)
            scal(scale, root)
            np.add(root, self.epsilon, out=root)
            np.multiply(m, of_moment, out=ahead)
            axpy(g, ahead, a=of_gradient)
            np.divide(ahead, root, out=ahead)
            axpy(ahead, w, a=-learning_rate)


class RMSprop(Optimizer):
    """Steps divided by the root of a moving mean of the squared gradients.

    ::

        mean_square = rho * mean_square + (1 - rho) * g**2
        w -= r * g / (sqrt(mean_square) + epsilon)

    Parameters
    ----------
    rho : float, default=0.9
        Decay rate of the mean, in [0, 1).
    epsilon : float, default=1e-8
        Keeps the division finite, greater than 0.

    References
    ----------
    Tieleman and Hinton, "Lecture 6.5: RMSProp", Neural Networks for Machine Learning, Coursera, 2012.
    """

    vector_names = ("mean_square",)
    mean_square: NDArray

    def __init__(self, rho: float = 0.9, epsilon: float = 1e-8):
        self.rho = rho
        self.epsilon = epsilon

    def update(self, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
        scal, axpy = scal_and_axpy(parameters.dtype)
        self.n_updates += 1
        scratch = np.empty(min(parameters.size, BLOCK_SIZE), dtype=parameters.dtype)
        for w, g, v in in_blocks(parameters, gradient, self.mean_square):
            step = scratch[: w.size]
            scal(self.rho, v)
            np.multiply(g, g, out=step)
            axpy(step, v, a=1 - self.rho)
            _divide_by_root(g, v, self.epsilon, step)
            axpy(step, w, a=-learning_rate)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients: large for features that are seldom active.

    ::

        sum_of_squares += g**2
        w -= r * g / (sqrt(sum_of_squares) + epsilon)

    Parameters
    ----------
    epsilon : float, default=1e-8
        Keeps the division finite, greater than 0.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization", Journal of
    Machine Learning Research 12, 2011.
    """

    vector_names = ("sum_of_squares",)
    sum_of_squares: NDArray

    def __init__(self, epsilon: float = 1e-8):
        self.epsilon = epsilon

    def update(self, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
        _, axpy = scal_and_axpy(parameters.dtype)
        self.n_updates += 1
        scratch = np.empty(min(parameters.size, BLOCK_SIZE), dtype=parameters.dtype)
        for w, g, v in in_blocks(parameters, gradient, self.sum_of_squares):
            step = scratch[: w.size]
            np.multiply(g, g, out=step)
            np.add(v, step, out=v)
            _divide_by_root(g, v, self.epsilon, step)
            axpy(step, w, a=-learning_rate)


def _divide_by_root(numerator: NDArray, square: NDArray, epsilon: float, out: NDArray) -> None:
    """``out = numerator / (sqrt(square) + epsilon)``."""
    np.sqrt(square, out=out)
    np.add(out, epsilon, out=out)
    np.divide(numerator, out, out=out)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "rmsprop": RMSprop,
    "sgd": SGD,
}
