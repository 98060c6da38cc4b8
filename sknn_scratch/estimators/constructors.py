"""The constructors of the estimators: names, types and defaults of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.catalogue.activations import Activation
from sknn_scratch.catalogue.initializers import Initializer
from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.catalogue.optimizers import Optimizer
from sknn_scratch.catalogue.schedules import Schedule

# The names that parameters can have, those of the registries, so that editors complete them. The signatures allow any
# other ``str`` too, as a name out of a list or a file is nothing more for a type checker; ``fit`` finds one that is
# wrong, and knows what was probably meant.
ActivationName = Literal[
    "elu", "gelu", "hard_sigmoid", "hard_tanh", "identity", "leaky_relu", "logistic", "mish", "relu", "relu6", "selu",
    "silu", "softplus", "softsign", "tanh",
]  # fmt: skip
BatchSizeName = Literal["auto"]
ClassWeightName = Literal["balanced"]
ClassifierLossName = Literal["focal", "hinge", "log_loss", "squared_error", "squared_hinge"]
EngineName = Literal["auto", "numba", "numpy", "torch"]
InitializerName = Literal[
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform", "normal",
    "orthogonal", "uniform", "zeros",
]  # fmt: skip
LinkName = Literal["exp", "identity", "logistic", "tanh"]
RegressorLossName = Literal[
    "absolute_error", "gamma", "gaussian_nll", "huber", "log_cosh", "poisson", "quantile", "squared_error", "tweedie"
]
ScheduleName = Literal["adaptive", "constant", "cosine", "exponential", "invscaling", "one_cycle", "step"]
SolverName = Literal["adagrad", "adam", "adamw", "lbfgs", "nadam", "rmsprop", "sgd"]
TargetTransformName = Literal["standardize"]
VerboseName = Literal["bar"]


@dataclass(repr=False, eq=False, kw_only=True)
class Constructor:
    """The parameters that both estimators take by name."""

    solver: SolverName | str | Optimizer = "adam"
    alpha: float = 0.0001
    batch_size: int | BatchSizeName | str = "auto"
    learning_rate: ScheduleName | str | Schedule | Callable[[int], float] = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: int | np.random.RandomState | None = None
    tol: float = 1e-4
    verbose: bool | int | VerboseName | str = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    l1_ratio: float = 0.0
    weight_init: InitializerName | str | Initializer = "glorot_uniform"
    bias_init: InitializerName | str | Initializer = "glorot_uniform"
    fit_intercept: bool = True
    weight_decay: float = 0.01
    max_grad_norm: float | None = None
    dropout: float | Sequence[float] = 0.0
    input_noise: float = 0.0
    average: int = 1
    scoring: str | Callable[..., float] | None = None
    engine: EngineName | str = "auto"
    device: str = "cpu"


@dataclass(repr=False, eq=False)
class ClassifierConstructor(Constructor):
    """The parameters of ``MLPFromScratchClassifier``."""

    hidden_layer_sizes: int | Sequence[int] | NDArray[Any] = (100,)
    activation: ActivationName | str | Activation | Sequence[ActivationName | str | Activation] = "relu"
    _: KW_ONLY
    loss: ClassifierLossName | str | Loss = "log_loss"
    class_weight: Mapping[Any, float] | ClassWeightName | str | None = None


@dataclass(repr=False, eq=False)
class RegressorConstructor(Constructor):
    """The parameters of ``MLPFromScratchRegressor``."""

    loss: RegressorLossName | str | Loss = "squared_error"
    hidden_layer_sizes: int | Sequence[int] | NDArray[Any] = (100,)
    activation: ActivationName | str | Activation | Sequence[ActivationName | str | Activation] = "relu"
    _: KW_ONLY
    output_activation: LinkName | str | None = None
    target_transform: TargetTransformName | str | None = None


@dataclass(repr=False, eq=False)
class TabularConstructor:
    """The parameters that both estimators for tables take."""

    n_members: int = 8
    _: KW_ONLY
    hidden_layer_sizes: int | Sequence[int] | NDArray[Any] = (128, 128)
    max_iter: int | None = None
    learning_rate_init: float = 0.012
    dropout: float = 0.0
    weight_decay: float = 0.0
    n_bins: int | None = 64
    categorical_features: Any = "from_dtype"
    engine: EngineName | str = "auto"
    n_jobs: int | None = None
    random_state: int | np.random.RandomState | None = None
    verbose: bool | int | VerboseName | str = False
    device: str = "cpu"


@dataclass(repr=False, eq=False, kw_only=True)
class TabularClassifierConstructor(TabularConstructor):
    """The parameters of ``TabularMLPClassifier``."""

    dropout: float = 0.15
    n_bins: int | None = 16
    class_weight: Mapping[Any, float] | ClassWeightName | str | None = None


@dataclass(repr=False, eq=False, kw_only=True)
class TabularRegressorConstructor(TabularConstructor):
    """The parameters of ``TabularMLPRegressor``."""

    weight_decay: float = 0.2
    loss: RegressorLossName | str | Loss = "squared_error"
