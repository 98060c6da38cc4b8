"""The names that parameters can have, as types, so that editors complete them.

The signatures of the estimators allow any other ``str`` too, as a name out of a list or a file is nothing more for a
type checker; one that is wrong is found by ``fit``, which knows what was probably meant. The names are those of the
registries, as a test sees to.
"""

from typing import Literal

ActivationName = Literal[
    "elu",
    "gelu",
    "hard_sigmoid",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "logistic",
    "mish",
    "relu",
    "relu6",
    "selu",
    "silu",
    "softplus",
    "softsign",
    "tanh",
]
BatchSizeName = Literal["auto"]
ClassWeightName = Literal["balanced"]
ClassifierLossName = Literal["focal", "hinge", "log_loss", "squared_error", "squared_hinge"]
EngineName = Literal["auto", "numba", "numpy", "torch"]
InitializerName = Literal[
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "orthogonal",
    "uniform",
    "zeros",
]
LinkName = Literal["exp", "identity", "logistic", "tanh"]
RegressorLossName = Literal[
    "absolute_error",
    "gamma",
    "gaussian_nll",
    "huber",
    "log_cosh",
    "poisson",
    "quantile",
    "squared_error",
    "tweedie",
]
ScheduleName = Literal["adaptive", "constant", "cosine", "exponential", "invscaling", "one_cycle", "step"]
SolverName = Literal["adagrad", "adam", "adamw", "lbfgs", "nadam", "rmsprop", "sgd"]
TargetTransformName = Literal["standardize"]
VerboseName = Literal["bar"]
