"""What is random in the forward pass of training: dropped units, and noise on the input.

Both keep a network from relying on single units or on the exact values of single features. Neither acts at prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TrainingNoise"]


class TrainingNoise:
    """Draws what is dropped, and adds noise to the input, anew for every minibatch.

    Dropout is inverted: a unit is set to 0 with probability ``rate`` and otherwise multiplied by ``1 / (1 - rate)``, so
    that its mean stays and nothing has to be scaled at prediction.

    Parameters
    ----------
    rates : sequence of float
        Dropout rate of the input and of each hidden layer, in [0, 1).
    input_noise : float
        Standard deviation of the Gaussian noise that is added to every feature, in its units, at least 0.
    seed : sequence of int
        All draws follow from it.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", Journal of Machine Learning Research 15, 2014. Bishop, "Training with noise is equivalent to Tikhonov
    regularization", Neural Computation 7, 1995.
    """

    def __init__(self, rates: Sequence[float], input_noise: float, seed: Sequence[int]):
        self.rates = list(rates)
        self.input_noise = input_noise
        self._seed = list(seed)
        self.restart()

    def restart(self) -> None:
        """Begin again with the first draw."""
        self._generator = np.random.default_rng(self._seed)

    @property
    def state(self) -> Mapping[str, Any]:
        """Where the generator is, from which the next draws follow."""
        return self._generator.bit_generator.state

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self._generator.bit_generator.state = state

    def draw_mask(self, layer: int, out: NDArray) -> None:
        """Fill ``out`` with the factors 0 and ``1 / (1 - rate)`` of layer ``layer``, of which 0 is the input."""
        rate = self.rates[layer]
        self._generator.random(out=out, dtype=out.dtype.type)
        np.greater_equal(out, rate, out=out)
        np.multiply(out, 1 / (1 - rate), out=out)

    def disturb(self, X: Any) -> Any:
        """Return a minibatch of samples with noise added and features dropped; ``X`` itself is not changed.

        Of a CSR matrix only the stored values are dropped, which is the same, and noise cannot be added.
        """
        if self.input_noise:
            noise = self._generator.standard_normal(X.shape, dtype=X.dtype.type)
            X = X + X.dtype.type(self.input_noise) * noise
        if self.rates[0]:
            kept = X.copy()
            values = kept if isinstance(kept, np.ndarray) else kept.data
            mask = np.empty(values.shape, dtype=values.dtype)
            self.draw_mask(0, mask)
            np.multiply(values, mask, out=values)
            X = kept
        return X
