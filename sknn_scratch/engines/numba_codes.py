"""What compiled code is told of the components: codes and numbers.

A component is looked up by its exact type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from sknn_scratch import activations, links, losses, optimizers
from sknn_scratch.activations import Activation
from sknn_scratch.engines import numba_activations, numba_losses, numba_updates
from sknn_scratch.losses import Loss
from sknn_scratch.optimizers import Optimizer

__all__ = [
    "ACTIVATION_CODES",
    "FUNCTIONS",
    "LINK_CODES",
    "LINK_FUNCTIONS",
    "LOSS_CODES",
    "OPTIMIZER_CODES",
    "SLOPE_FUNCTIONS",
    "activation_setting",
    "describe_loss",
    "describe_optimizer",
    "next_step",
    "steps_made",
    "two_vectors",
]

ACTIVATION_CODES: dict[type[Activation], int] = {
    activations.ELU: numba_activations.ELU,
    activations.GELU: numba_activations.GELU,
    activations.HardSigmoid: numba_activations.HARD_SIGMOID,
    activations.HardTanh: numba_activations.HARD_TANH,
    activations.Identity: numba_activations.IDENTITY,
    activations.LeakyReLU: numba_activations.LEAKY_RELU,
    activations.Logistic: numba_activations.LOGISTIC,
    activations.Mish: numba_activations.MISH,
    activations.ReLU: numba_activations.RELU,
    activations.ReLU6: numba_activations.RELU6,
    activations.SELU: numba_activations.SELU,
    activations.SiLU: numba_activations.SILU,
    activations.Softplus: numba_activations.SOFTPLUS,
    activations.Softsign: numba_activations.SOFTSIGN,
    activations.Tanh: numba_activations.TANH,
}
# Called one after the other.
FUNCTIONS: dict[int, Sequence[np.ufunc]] = {
    numba_activations.ELU: [np.expm1],
    numba_activations.GELU: [ndtr],
    numba_activations.LOGISTIC: [np.exp],
    numba_activations.MISH: [np.exp],
    numba_activations.SELU: [np.expm1],
    numba_activations.SILU: [np.exp],
    numba_activations.SOFTPLUS: [np.exp, np.log1p],
    numba_activations.TANH: [np.tanh],
}
SLOPE_FUNCTIONS = {numba_activations.MISH: np.exp, numba_activations.SILU: np.exp, numba_activations.SOFTPLUS: np.expm1}
LINK_CODES: dict[type[links.Link], int] = {
    links.ExpLink: numba_losses.LINK_EXP,
    links.GaussianLink: numba_losses.LINK_GAUSSIAN,
    links.IdentityLink: numba_losses.LINK_IDENTITY,
    links.IncreasingLink: numba_losses.LINK_INCREASING,
    links.LogisticLink: numba_losses.LINK_LOGISTIC,
    links.SoftmaxLink: numba_losses.LINK_SOFTMAX,
    links.TanhLink: numba_losses.LINK_TANH,
}
LINK_FUNCTIONS: dict[int, np.ufunc] = {
    numba_losses.LINK_EXP: np.exp,
    numba_losses.LINK_GAUSSIAN: np.exp,
    numba_losses.LINK_INCREASING: np.exp,
    numba_losses.LINK_LOGISTIC: np.exp,
    numba_losses.LINK_SOFTMAX: np.exp,
    numba_losses.LINK_TANH: np.tanh,
}
LOSS_CODES: dict[type[Loss], int] = {
    losses.AbsoluteError: numba_losses.ABSOLUTE,
    losses.BrierLoss: numba_losses.SQUARED,
    losses.FocalLoss: numba_losses.FOCAL,
    losses.GammaDeviance: numba_losses.GAMMA,
    losses.GaussianNLL: numba_losses.GAUSSIAN,
    losses.Hinge: numba_losses.HINGE,
    losses.Huber: numba_losses.HUBER,
    losses.LogCosh: numba_losses.LOG_COSH,
    losses.LogLoss: numba_losses.LOG_LOSS,
    losses.PoissonDeviance: numba_losses.POISSON,
    losses.Quantile: numba_losses.QUANTILE,
    losses.SquaredError: numba_losses.SQUARED,
    losses.SquaredHinge: numba_losses.SQUARED_HINGE,
    losses.TweedieDeviance: numba_losses.TWEEDIE,
}
LOSS_SETTINGS = {
    numba_losses.FOCAL: "gamma",
    numba_losses.GAUSSIAN: "min_std",
    numba_losses.HUBER: "delta",
    numba_losses.LOG_LOSS: "label_smoothing",
    numba_losses.QUANTILE: "quantiles",
    numba_losses.TWEEDIE: "power",
}
OPTIMIZER_CODES: dict[type[Optimizer], int] = {
    optimizers.SGD: numba_updates.SGD,
    optimizers.Adagrad: numba_updates.ADAGRAD,
    optimizers.Adam: numba_updates.ADAM,
    optimizers.AdamW: numba_updates.ADAM,
    optimizers.Nadam: numba_updates.NADAM,
    optimizers.RMSprop: numba_updates.RMSPROP,
}


def activation_setting(activation: Any) -> float:
    """Return the activation's parameter; 0 if it has none."""
    if type(activation) is activations.LeakyReLU:
        return float(activation.negative_slope)
    return float(activation.alpha) if type(activation) is activations.ELU else 0.0


def describe_loss(loss: Any, n_outputs: int) -> tuple[NDArray, NDArray] | None:
    """Return the heads and their settings, as ``numba_losses`` describes them; a loss that is not Heads is one.

    The number of raw outputs is that of the network.
    """
    parts, widths = (loss.losses, loss.widths) if type(loss) is losses.Heads else ([loss], [n_outputs])
    heads, settings = [], []
    for part, width in zip(parts, widths, strict=True):
        code, link = LOSS_CODES.get(type(part)), LINK_CODES.get(type(part.link))
        if code is None or link is None:
            return None
        heads.append((code, link, getattr(part, "multiclass", False), width))
        settings.append(getattr(part, LOSS_SETTINGS[code]) if code in LOSS_SETTINGS else part.averages_outputs)
    # Those of a classifier have the same kind of loss, and so the same function.
    if len({LINK_FUNCTIONS.get(head[numba_losses.LINK]) for head in heads}) > 1:
        return None
    return np.array(heads, dtype=np.int64), np.array(settings, dtype=np.float64).reshape(len(heads), -1)


def describe_optimizer(optimizer: Any) -> tuple[int, float, float, float, float] | None:
    """Return the optimiser's code, three parameters and weight decay."""
    code = OPTIMIZER_CODES.get(type(optimizer))
    if code is None:
        return None
    if code == numba_updates.SGD:
        return code, optimizer.momentum, float(optimizer.nesterovs_momentum), 0.0, 0.0
    if code == numba_updates.RMSPROP:
        return code, optimizer.rho, 0.0, optimizer.epsilon, 0.0
    if code == numba_updates.ADAGRAD:
        return code, 0.0, 0.0, optimizer.epsilon, 0.0
    weight_decay = optimizer.weight_decay if type(optimizer) is optimizers.AdamW else 0.0
    return code, optimizer.beta_1, optimizer.beta_2, optimizer.epsilon, weight_decay


def two_vectors(optimizer: Optimizer) -> tuple[NDArray, NDArray]:
    """Return the vectors of the state; if there is but one, twice."""
    vectors = optimizer.vectors
    return vectors[0], vectors[-1]


def next_step(optimizer: Any) -> tuple[int, float]:
    """Return the number of the next step, and Nadam's product of momenta."""
    return optimizer.n_updates + 1, getattr(optimizer, "momentum_product", 1.0)


def steps_made(optimizer: Any, n_updates: int, momentum_product: float) -> None:
    """Tell the optimiser how many steps it has made, and Nadam the product of its momenta."""
    optimizer.n_updates = n_updates
    if type(optimizer) is optimizers.Nadam:
        optimizer.momentum_product = momentum_product
