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
from sknn_scratch.engines import numba_arithmetic as codes
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

# The ufuncs of FUNCTIONS are called one after the other.
ACTIVATION_CODES: dict[type[Activation], int] = {
    activations.ELU: codes.ELU,
    activations.GELU: codes.GELU,
    activations.HardSigmoid: codes.HARD_SIGMOID,
    activations.HardTanh: codes.HARD_TANH,
    activations.Identity: codes.IDENTITY,
    activations.LeakyReLU: codes.LEAKY_RELU,
    activations.Logistic: codes.LOGISTIC,
    activations.Mish: codes.MISH,
    activations.ReLU: codes.RELU,
    activations.ReLU6: codes.RELU6,
    activations.SELU: codes.SELU,
    activations.SiLU: codes.SILU,
    activations.Softplus: codes.SOFTPLUS,
    activations.Softsign: codes.SOFTSIGN,
    activations.Tanh: codes.TANH,
}
FUNCTIONS: dict[int, Sequence[np.ufunc]] = {
    codes.ELU: [np.expm1],
    codes.GELU: [ndtr],
    codes.LOGISTIC: [np.exp],
    codes.MISH: [np.exp],
    codes.SELU: [np.expm1],
    codes.SILU: [np.exp],
    codes.SOFTPLUS: [np.exp, np.log1p],
    codes.TANH: [np.tanh],
}
SLOPE_FUNCTIONS = {codes.MISH: np.exp, codes.SILU: np.exp, codes.SOFTPLUS: np.expm1}
LINK_CODES: dict[type[links.Link], int] = {
    links.ExpLink: codes.LINK_EXP,
    links.GaussianLink: codes.LINK_GAUSSIAN,
    links.IdentityLink: codes.LINK_IDENTITY,
    links.IncreasingLink: codes.LINK_INCREASING,
    links.LogisticLink: codes.LINK_LOGISTIC,
    links.SoftmaxLink: codes.LINK_SOFTMAX,
    links.TanhLink: codes.LINK_TANH,
}
LINK_FUNCTIONS: dict[int, np.ufunc] = {
    codes.LINK_EXP: np.exp,
    codes.LINK_GAUSSIAN: np.exp,
    codes.LINK_INCREASING: np.exp,
    codes.LINK_LOGISTIC: np.exp,
    codes.LINK_SOFTMAX: np.exp,
    codes.LINK_TANH: np.tanh,
}
LOSS_CODES: dict[type[Loss], int] = {
    losses.AbsoluteError: codes.ABSOLUTE,
    losses.BrierLoss: codes.SQUARED,
    losses.FocalLoss: codes.FOCAL,
    losses.GammaDeviance: codes.GAMMA,
    losses.GaussianNLL: codes.GAUSSIAN,
    losses.Hinge: codes.HINGE,
    losses.Huber: codes.HUBER,
    losses.LogCosh: codes.LOG_COSH,
    losses.LogLoss: codes.LOG_LOSS,
    losses.PoissonDeviance: codes.POISSON,
    losses.Quantile: codes.QUANTILE,
    losses.SquaredError: codes.SQUARED,
    losses.SquaredHinge: codes.SQUARED_HINGE,
    losses.TweedieDeviance: codes.TWEEDIE,
}
LOSS_SETTINGS = {
    codes.FOCAL: "gamma",
    codes.GAUSSIAN: "min_std",
    codes.HUBER: "delta",
    codes.LOG_LOSS: "label_smoothing",
    codes.QUANTILE: "quantiles",
    codes.TWEEDIE: "power",
}
OPTIMIZER_CODES: dict[type[Optimizer], int] = {
    optimizers.SGD: codes.SGD,
    optimizers.Adagrad: codes.ADAGRAD,
    optimizers.Adam: codes.ADAM,
    optimizers.AdamW: codes.ADAM,
    optimizers.Nadam: codes.NADAM,
    optimizers.RMSprop: codes.RMSPROP,
}


def activation_setting(activation: Any) -> float:
    """Return the activation's parameter; 0 if it has none."""
    if type(activation) is activations.LeakyReLU:
        return float(activation.negative_slope)
    return float(activation.alpha) if type(activation) is activations.ELU else 0.0


def describe_loss(loss: Any, n_outputs: int) -> tuple[NDArray, NDArray] | None:
    """Return the heads and their settings, as ``numba_arithmetic`` describes them; a loss that is not Heads is one.

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
    if len({LINK_FUNCTIONS.get(head[codes.LINK]) for head in heads}) > 1:
        return None
    return np.array(heads, dtype=np.int64), np.array(settings, dtype=np.float64).reshape(len(heads), -1)


def describe_optimizer(optimizer: Any) -> tuple[int, float, float, float, float] | None:
    """Return the optimiser's code, three parameters and weight decay."""
    code = OPTIMIZER_CODES.get(type(optimizer))
    if code is None:
        return None
    if code == codes.SGD:
        return code, optimizer.momentum, float(optimizer.nesterovs_momentum), 0.0, 0.0
    if code == codes.RMSPROP:
        return code, optimizer.rho, 0.0, optimizer.epsilon, 0.0
    if code == codes.ADAGRAD:
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
