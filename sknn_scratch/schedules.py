"""Learning-rate schedules: how the step size changes between epochs.

A new schedule is one class below and one line in ``SCHEDULES``.
"""

from __future__ import annotations

from sklearn.base import BaseEstimator

__all__ = ["SCHEDULES", "Adaptive", "Constant", "InverseScaling", "Schedule"]


class Schedule(BaseEstimator):
    """The learning rate of the current epoch, in ``learning_rate``.

    Parameters
    ----------
    learning_rate_init : float, default=0.001
        Learning rate of the first epoch, greater than 0.
    """

    def __init__(self, learning_rate_init: float = 0.001):
        self.learning_rate_init = learning_rate_init
        self.learning_rate = float(learning_rate_init)

    def epoch_ended(self, n_samples_seen: int) -> None:
        """Adjust the rate after an epoch; ``n_samples_seen`` counts the training rows of all epochs so far."""

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
        """Take over the rate that ``previous``, a schedule with equal parameters, had reached."""
        self.learning_rate = previous.learning_rate


class Constant(Schedule):
    """The rate stays ``learning_rate_init``."""


class InverseScaling(Schedule):
    """The rate is ``learning_rate_init / (t + 1)**power_t`` once ``t`` samples have been seen.

    Parameters
    ----------
    learning_rate_init : float, default=0.001
        Learning rate of the first epoch.
    power_t : float, default=0.5
        Exponent, at least 0.
    """

    def __init__(self, learning_rate_init: float = 0.001, power_t: float = 0.5):
        super().__init__(learning_rate_init)
        self.power_t = power_t

    def epoch_ended(self, n_samples_seen: int) -> None:
        self.learning_rate = self.learning_rate_init / (n_samples_seen + 1) ** self.power_t


class Adaptive(Schedule):
    """The rate is divided by 5 at each plateau; training stops at the first plateau with a rate of 1e-6 or less."""

    def plateau_reached(self) -> tuple[bool, str]:
        if self.learning_rate <= 1e-6:
            return True, "Learning rate too small. Stopping."
        self.learning_rate /= 5.0
        return False, f"Setting learning rate to {self.learning_rate:f}"


SCHEDULES: dict[str, type[Schedule]] = {
    "adaptive": Adaptive,
    "constant": Constant,
    "invscaling": InverseScaling,
}
