"""Update rules of the stochastic solvers.

In the formulas ``w`` is a parameter, ``g`` the derivative of the objective with respect to it, ``r`` the learning rate
of the step. A rule consists of two formulas: the coefficients of a step, which are numbers, and how a parameter moves.

A new optimiser is one class below and one line in ``OPTIMIZERS``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.blas import BLOCK_SIZE
from sknn_scratch.catalogue.component import Component


class Optimizer(Component):
    """A rule that moves the parameters against their gradient.

    An optimiser of your own is a subclass with ``vector_names`` and the formula ``move``; where a step needs numbers
    that change from step to step, with ``coefficients``, too. What no formula can say is written as ``update``, which
    changes the parameters in place and runs with NumPy.

    Attributes
    ----------
    vector_names : tuple of str
        What is kept for each parameter from step to step, such as a velocity. It begins with 0.
    decay_rate : float
        Before a step the weights, not the biases, are multiplied by ``1 - r * decay_rate``.
    n_updates : int
        Steps made so far.
    state : ndarray of shape (n_vectors, n_parameters)
        The vectors, which are attributes by their names as well.
    """

    vector_names: tuple[str, ...] = ()
    decay_rate = 0.0

    def start(self, n_parameters: int, dtype: np.dtype, n_weights: int | None = None) -> None:
        """Make a fresh state for a parameter vector of this length and dtype.

        Its first ``n_weights`` numbers, by default all, are weights, the others biases.
        """
        self.n_updates = 0
        self.n_weights = n_parameters if n_weights is None else n_weights
        self.state = np.zeros((len(self.vector_names), n_parameters), dtype=dtype)

    def __getattr__(self, name: str) -> Any:
        if name in type(self).vector_names and "state" in vars(self):
            return self.state[type(self).vector_names.index(name)]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def resume(self, previous: Optimizer) -> None:
        """Take over a copy of the state of ``previous``, an optimiser of the same class: all but its parameters."""
        self._take_over(previous, but={"state"})
        self.state[...] = previous.state

    def coefficients(self, t: NDArray, r: NDArray) -> tuple[NDArray, ...]:
        """Return what ``move`` is given after the vectors: by default the learning rate.

        Parameters
        ----------
        t : ndarray of shape (n_steps,)
            Numbers of the steps, of which the first ever made is 1.
        r : ndarray of shape (n_steps,)
            Their learning rates.

        Returns
        -------
        coefficients : tuple of ndarray of shape (n_steps,)
        """
        return (r,)

    def move(self, w: NDArray, g: NDArray, *vectors_and_coefficients: Any) -> Any:
        """Return ``w`` after a step and the new values of the vectors, as a tuple if there are any.

        Parameters
        ----------
        w, g : ndarray of shape (n,)
            Parameters and their gradient.
        *vectors_and_coefficients : ndarray of shape (n,), then float
            The vectors in the order of ``vector_names``, and the coefficients of the step.
        """
        raise TypeError(f"{type(self).__name__} must define move(w, g, ...).")

    def check_formulas(self, dtype: np.dtype) -> None:
        """Raise ValueError where ``coefficients`` or ``move`` returns other arrays than it should."""
        if type(self).update is not Optimizer.update or type(self).apply is not Optimizer.apply:
            return
        twin, name, returned = copy.copy(self), type(self).__name__, ("w", *self.vector_names)
        twin.start(3, dtype)  # three parameters, and two steps
        coefficients: Any = twin.next_coefficients(np.full(2, 0.001))
        if not (isinstance(coefficients, tuple | list) or np.ndim(coefficients) == 2):
            got = type(coefficients).__name__
            raise ValueError(
                f"{name}.coefficients must return a tuple of arrays with a number for each step; got {got}."
            )
        for one in coefficients:
            self.check_result("coefficients", one, (2,), "two steps")
        with np.errstate(all="ignore"):
            moved = twin.move(*np.ones((2, 3), dtype), *twin.state, *(float(one[0]) for one in coefficients))
        arrays = moved if isinstance(moved, tuple | list) or np.ndim(moved) == 2 else (moved,)
        if len(arrays) != len(returned):
            what = f"w and the {len(returned) - 1} of vector_names, {', '.join(returned)}" if returned[1:] else "w"
            raise ValueError(f"{name}.move must return {what}; got {len(arrays)} values.")
        for own, array in zip(returned, arrays, strict=True):
            self.check_result("move", array, (3,), f"{own}, of three parameters")

    @property
    def n_coefficients(self) -> int:
        """How many coefficients a step has."""
        twin = copy.copy(self)  # as a rule may keep what it was asked last
        return len(twin.coefficients(np.ones(1), np.ones(1)))

    def next_coefficients(self, learning_rates: NDArray) -> tuple[NDArray, ...]:
        """Return the ``coefficients`` of the next steps, which are then counted."""
        t = np.arange(self.n_updates + 1.0, self.n_updates + 1.0 + len(learning_rates))
        self.n_updates += len(learning_rates)
        return self.coefficients(t, learning_rates)

    def update(self, parameters: NDArray, gradient: NDArray, learning_rate: float) -> None:
        """Change ``parameters`` in place by one step."""
        coefficients = [float(c[0]) for c in self.next_coefficients(np.array([learning_rate]))]
        self.apply(parameters, gradient, learning_rate, coefficients)

    def apply(
        self, parameters: NDArray, gradient: NDArray, learning_rate: float, coefficients: Sequence[float]
    ) -> None:
        """Change ``parameters`` in place by a step with these coefficients."""
        if self.decay_rate:
            parameters[: self.n_weights] *= 1 - learning_rate * self.decay_rate
        for start in range(0, parameters.size, BLOCK_SIZE):
            block = slice(start, start + BLOCK_SIZE)
            vectors = self.state[:, block]
            moved = self.move(parameters[block], gradient[block], *vectors, *coefficients)
            if len(vectors):
                # A copy first, as some may be others of the old ones.
                parameters[block], vectors[...] = moved[0], np.array(moved[1:])
            else:
                parameters[block] = moved


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

    ranges = {"momentum": "[0, 1]", "nesterovs_momentum": "bool"}
    vector_names = ("velocity",)

    def __init__(self, momentum: float = 0.9, nesterovs_momentum: bool = True):
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum

    def move(self, w: NDArray, g: NDArray, velocity: NDArray, r: float) -> tuple[NDArray, ...]:
        velocity = self.momentum * velocity - r * g
        return w + (self.momentum * velocity - r * g if self.nesterovs_momentum else velocity), velocity


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

    ranges = {"beta_1": "[0, 1)", "beta_2": "[0, 1)", "epsilon": "(0, inf)"}
    vector_names = ("first_moment", "second_moment")

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def coefficients(self, t: NDArray, r: NDArray) -> tuple[NDArray, ...]:
        return (r * np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t),)

    def move(self, w: NDArray, g: NDArray, m: NDArray, v: NDArray, rate: float) -> tuple[NDArray, ...]:
        m, v = self._moments(g, m, v)
        return w - rate * (m / (np.sqrt(v) + self.epsilon)), m, v

    def _moments(self, g: NDArray, m: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:
        return self.beta_1 * m + (1 - self.beta_1) * g, self.beta_2 * v + (1 - self.beta_2) * (g * g)


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

    ranges = Adam.ranges | {"weight_decay": "[0, inf)"}

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, weight_decay: float = 0.01):
        super().__init__(beta_1, beta_2, epsilon)
        self.weight_decay = weight_decay

    @property
    def decay_rate(self) -> float:  # type: ignore[override]
        """``weight_decay``."""
        return self.weight_decay


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
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        As for Adam.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.
    """

    def start(self, n_parameters: int, dtype: np.dtype, n_weights: int | None = None) -> None:
        super().start(n_parameters, dtype, n_weights)
        self.momentum_product = 1.0

    def coefficients(self, t: NDArray, r: NDArray) -> tuple[NDArray, ...]:
        now, following = (self.beta_1 * (1 - 0.5 * 0.96 ** (0.004 * step)) for step in (t, t + 1))
        product = self.momentum_product * np.cumprod(now)
        self.momentum_product = float(product[-1]) if len(product) else self.momentum_product
        return (
            r * following / (1 - product * following),
            r * (1 - now) / (1 - product),
            1 / np.sqrt(1 - self.beta_2**t),
        )

    def move(  # type: ignore[override]
        self, w: NDArray, g: NDArray, m: NDArray, v: NDArray, of_moment: float, of_gradient: float, scale: float
    ) -> tuple[NDArray, ...]:
        m, v = self._moments(g, m, v)
        return w - (of_moment * m + of_gradient * g) / (scale * np.sqrt(v) + self.epsilon), m, v


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

    ranges = {"rho": "[0, 1)", "epsilon": "(0, inf)"}
    vector_names = ("mean_square",)

    def __init__(self, rho: float = 0.9, epsilon: float = 1e-8):
        self.rho = rho
        self.epsilon = epsilon

    def move(self, w: NDArray, g: NDArray, mean_square: NDArray, r: float) -> tuple[NDArray, ...]:
        mean_square = self.rho * mean_square + (1 - self.rho) * (g * g)
        return w - r * (g / (np.sqrt(mean_square) + self.epsilon)), mean_square


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

    ranges = {"epsilon": "(0, inf)"}
    vector_names = ("sum_of_squares",)

    def __init__(self, epsilon: float = 1e-8):
        self.epsilon = epsilon

    def move(self, w: NDArray, g: NDArray, sum_of_squares: NDArray, r: float) -> tuple[NDArray, ...]:
        sum_of_squares = sum_of_squares + g * g
        return w - r * (g / (np.sqrt(sum_of_squares) + self.epsilon)), sum_of_squares


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "rmsprop": RMSprop,
    "sgd": SGD,
}
