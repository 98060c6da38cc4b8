"""Learning-rate schedules: how the step size changes from epoch to epoch, or from step to step.

In the formulas ``r0`` is ``learning_rate_init``, ``k`` the number of epochs that have ended and ``N`` the most there
can be, ``max_iter``.

A new schedule is one class below and one line in ``SCHEDULES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.catalogue.component import Component

_NUMBER = int | float | np.integer | np.floating


def power(base: float, exponent: float) -> float:
    """Return ``base**exponent``, infinity where that is too large."""
    try:
        return float(base) ** exponent
    except OverflowError:
        return math.inf


class Schedule(Component):
    """The learning rate of the current epoch, in ``learning_rate``.

    A subclass says ``rate``; the training loop calls ``start`` and, after each epoch, ``epoch_ended``.

    Attributes
    ----------
    has_planned_end : bool
        Whether the rates are laid out over the ``N`` epochs. Then training goes through all of them, unless early
        stopping ends it: a plateau does not, and to reach ``max_iter`` is no failure to converge.
    by_step : bool
        Whether the rate changes within an epoch, too: ``rate`` then takes fractions of epochs.
    """

    has_planned_end = False
    by_step = False

    def start(self, learning_rate_init: float, max_iter: int) -> None:
        """Begin with the first of at most ``max_iter`` epochs."""
        self.learning_rate_init = float(learning_rate_init)
        self.max_iter = max_iter
        self.n_epochs = 0
        self.learning_rate = self._rate(0, 0)

    def _rate(self, n_epochs: float, n_samples_seen: int) -> float:
        """Return ``rate``, of a schedule of one's own checked."""
        rate: Any = self.rate(n_epochs, n_samples_seen)
        if self.is_ours:
            return rate
        number = rate.item() if isinstance(rate, np.ndarray) and rate.ndim == 0 else rate  # as np.where returns it
        if not (isinstance(number, _NUMBER) and 0 <= number < math.inf):
            name = type(self).__name__
            raise ValueError(f"{name}.rate must return a number of at least 0, got {rate!r} for epoch {n_epochs}.")
        return float(number)

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        """Return the rate of the epoch that follows ``n_epochs``, in which training saw this many samples."""
        raise TypeError(f"{type(self).__name__} must define rate(n_epochs, n_samples_seen).")

    def step_rates(self, n_steps: int) -> NDArray:
        """Return the rate of each of ``n_steps`` steps of the current epoch."""
        if not self.by_step:
            return np.full(n_steps, self.learning_rate)
        return np.array([self._rate(self.n_epochs + step / n_steps, 0) for step in range(n_steps)])

    def epoch_ended(self, n_samples_seen: int) -> None:
        """Set the rate of the next epoch; ``n_samples_seen`` counts the training rows of all epochs so far."""
        self.n_epochs += 1
        self.learning_rate = self._rate(self.n_epochs, n_samples_seen)

    def plateau_reached(self) -> tuple[bool, str]:
        """Decide what to do when the loss or score has stopped improving.

        Returns
        -------
        stop : bool
            Whether training ends here.
        message : str
            What is done, for ``verbose`` output.
        """
        return True, "Stopping."

    def resume(self, previous: Schedule) -> None:
        """Take over what ``previous``, a started schedule of the same class, had reached: all but what it was given."""
        self._take_over(previous, but={"learning_rate_init", "max_iter"})


# scikit-learn's -------------------------------------------------------------------------------------------------------


class Constant(Schedule):
    """The rate stays ``r0``."""

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        return self.learning_rate_init


class InverseScaling(Schedule):
    """The rate is ``r0 / (t + 1)**power_t`` once ``t`` samples have been seen.

    Parameters
    ----------
    power_t : float, default=0.5
        Exponent, at least 0.
    """

    ranges = {"power_t": "[0, inf)"}

    def __init__(self, power_t: float = 0.5):
        self.power_t = power_t

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        return self.learning_rate_init / power(n_samples_seen + 1, self.power_t)


class Adaptive(Schedule):
    """The rate is divided by 5 at each plateau; training stops at the first plateau with a rate of 1e-6 or less."""

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        return self.learning_rate if n_epochs else self.learning_rate_init

    def plateau_reached(self) -> tuple[bool, str]:
        if self.learning_rate <= 1e-6:
            return True, "Learning rate too small. Stopping."
        self.learning_rate /= 5.0
        return False, f"Setting learning rate to {self.learning_rate:f}"


# Ours -----------------------------------------------------------------------------------------------------------------


class Step(Schedule):
    """The rate is ``r0 * gamma**floor(k / step_size)``.

    Parameters
    ----------
    step_size : int, default=30
        Epochs between two steps, at least 1.
    gamma : float, default=0.1
        Factor of each step, greater than 0.
    """

    ranges = {"step_size": "[1, inf)", "gamma": "(0, inf)"}

    def __init__(self, step_size: int = 30, gamma: float = 0.1):
        self.step_size = step_size
        self.gamma = gamma

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        return self.learning_rate_init * power(self.gamma, n_epochs // self.step_size)


class Exponential(Schedule):
    """The rate is ``r0 * gamma**k``.

    Parameters
    ----------
    gamma : float, default=0.98
        Factor of each epoch, greater than 0.
    """

    ranges = {"gamma": "(0, inf)"}

    def __init__(self, gamma: float = 0.98):
        self.gamma = gamma

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        return self.learning_rate_init * power(self.gamma, n_epochs)


class Cosine(Schedule):
    """The rate falls along half a cosine, ``min_rate + (r0 - min_rate) * (1 + cos(pi * x)) / 2``, ``x`` from 0 to 1.

    It changes with every step. Calls of ``partial_fit`` beyond ``max_iter`` begin a new cycle.

    Parameters
    ----------
    warm_up : int, default=0
        Epochs in which the rate first rises evenly, from ``r0 / (warm_up + 1)``, at least 0.
    n_cycles : int, default=1
        How often the cosine is run through in the epochs that are left, at least 1: the rate restarts at ``r0``.
    min_rate : float, default=0.0
        The rate at the end of a cycle, at least 0.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, arXiv:1608.03983.
    """

    ranges = {"warm_up": "[0, inf)", "n_cycles": "[1, inf)", "min_rate": "[0, inf)"}
    has_planned_end = True
    by_step = True

    def __init__(self, warm_up: int = 0, n_cycles: int = 1, min_rate: float = 0.0):
        self.warm_up = warm_up
        self.n_cycles = n_cycles
        self.min_rate = min_rate

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        if n_epochs < self.warm_up:
            return self.learning_rate_init * (n_epochs + 1) / (self.warm_up + 1)
        cycle = max(1.0, (self.max_iter - self.warm_up) / self.n_cycles)
        x = (n_epochs - self.warm_up) % cycle / cycle
        return self.min_rate + (self.learning_rate_init - self.min_rate) * ((1 + math.cos(math.pi * x)) / 2)


class OneCycle(Schedule):
    """The rate rises from ``r0 / start_factor`` to ``r0`` and falls to ``r0 / end_factor``, along half a cosine each.

    It changes with every step. Calls of ``partial_fit`` beyond ``max_iter`` keep the last rate.

    Parameters
    ----------
    rise : float, default=0.3
        Share of the ``N`` epochs in which the rate rises, in (0, 1).
    start_factor : float, default=25.0
        ``r0`` divided by the first rate, at least 1.
    end_factor : float, default=1e4
        ``r0`` divided by the last rate, at least 1.

    References
    ----------
    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018,
    arXiv:1708.07120.
    """

    ranges = {"rise": "(0, 1)", "start_factor": "[1, inf)", "end_factor": "[1, inf)"}
    has_planned_end = True
    by_step = True

    def __init__(self, rise: float = 0.3, start_factor: float = 25.0, end_factor: float = 1e4):
        self.rise = rise
        self.start_factor = start_factor
        self.end_factor = end_factor

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        top, position = self.learning_rate_init, min(1.0, n_epochs / max(1, self.max_iter - 1))
        if position < self.rise:
            other, x = top / self.start_factor, 1 - position / self.rise
        else:
            other, x = top / self.end_factor, (position - self.rise) / (1 - self.rise)
        return other + (top - other) * ((1 + math.cos(math.pi * x)) / 2)


class Function(Schedule):
    """The rate is that of a function of one's own.

    Parameters
    ----------
    function : callable
        Takes the number of epochs that have ended, ``k = 0, 1, ...``, and returns the rate of the next one, greater
        than 0. ``learning_rate_init`` has no say.
    """

    def __init__(self, function: Callable[[int], float]):
        self.function = function

    def rate(self, n_epochs: float, n_samples_seen: int) -> float:
        rate = self.function(int(n_epochs))
        if not (isinstance(rate, _NUMBER) and 0 < rate < math.inf):
            raise ValueError(f"learning_rate must return a number greater than 0, got {rate!r} for epoch {n_epochs}.")
        return float(rate)


SCHEDULES: dict[str, type[Schedule]] = {
    "adaptive": Adaptive,
    "constant": Constant,
    "cosine": Cosine,
    "exponential": Exponential,
    "invscaling": InverseScaling,
    "one_cycle": OneCycle,
    "step": Step,
}
