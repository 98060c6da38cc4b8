"""Multi-layer perceptrons for scikit-learn, written from the chain rule up.

``MLPFromScratchClassifier`` and ``MLPFromScratchRegressor`` take the place of scikit-learn's ``MLPClassifier`` and
``MLPRegressor``: same parameters, same attributes and, with the same ``random_state``, the same coefficients, faster.
``TabularMLPClassifier`` and ``TabularMLPRegressor`` take a table as it is, with categories and gaps, and are
ready without tuning; ``TabularEncoder`` is what they see it through.
``check_gradients`` and the components, such as ``Huber(delta=2.0)`` for the parameter ``loss``, are here too.
"""

from sknn_scratch.catalogue.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    HardSigmoid,
    HardTanh,
    Identity,
    LeakyReLU,
    Logistic,
    Mish,
    ReLU,
    ReLU6,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from sknn_scratch.catalogue.initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LecunNormal,
    LecunUniform,
    Normal,
    Orthogonal,
    Uniform,
    Zeros,
)
from sknn_scratch.catalogue.links import ExpLink, IdentityLink, Link, LogisticLink, SoftmaxLink, TanhLink
from sknn_scratch.catalogue.losses import (
    AbsoluteError,
    BrierLoss,
    FocalLoss,
    GammaDeviance,
    GaussianNLL,
    Hinge,
    Huber,
    LogCosh,
    LogLoss,
    Loss,
    PoissonDeviance,
    Quantile,
    SquaredError,
    SquaredHinge,
    TweedieDeviance,
)
from sknn_scratch.catalogue.optimizers import SGD, Adagrad, Adam, AdamW, Nadam, Optimizer, RMSprop
from sknn_scratch.catalogue.schedules import (
    Adaptive,
    Constant,
    Cosine,
    Exponential,
    Function,
    InverseScaling,
    OneCycle,
    Schedule,
    Step,
)
from sknn_scratch.estimators.classifier import MLPFromScratchClassifier
from sknn_scratch.estimators.regressor import MLPFromScratchRegressor
from sknn_scratch.estimators.tabular.classifier import TabularMLPClassifier
from sknn_scratch.estimators.tabular.encoder import TabularEncoder
from sknn_scratch.estimators.tabular.regressor import TabularMLPRegressor
from sknn_scratch.exchange.conversion import from_sklearn, to_sklearn
from sknn_scratch.exchange.trusted_types import skops_types
from sknn_scratch.gradient_check import check_gradients
from sknn_scratch.plotting import ActivationDisplay, LossCurveDisplay, NetworkDisplay, WeightsDisplay
from sknn_scratch.training.callbacks import EarlyStopping, EpochCallback, ModelCheckpoint

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "SGD",
    "AbsoluteError",
    "Activation",
    "ActivationDisplay",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adaptive",
    "BrierLoss",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "EpochCallback",
    "ExpLink",
    "Exponential",
    "FocalLoss",
    "Function",
    "GammaDeviance",
    "GaussianNLL",
    "GlorotNormal",
    "GlorotUniform",
    "HardSigmoid",
    "HardTanh",
    "HeNormal",
    "HeUniform",
    "Hinge",
    "Huber",
    "Identity",
    "IdentityLink",
    "Initializer",
    "InverseScaling",
    "LeakyReLU",
    "LecunNormal",
    "LecunUniform",
    "Link",
    "LogCosh",
    "LogLoss",
    "Logistic",
    "LogisticLink",
    "Loss",
    "LossCurveDisplay",
    "MLPFromScratchClassifier",
    "MLPFromScratchRegressor",
    "Mish",
    "ModelCheckpoint",
    "Nadam",
    "NetworkDisplay",
    "Normal",
    "OneCycle",
    "Optimizer",
    "Orthogonal",
    "PoissonDeviance",
    "Quantile",
    "RMSprop",
    "ReLU",
    "ReLU6",
    "Schedule",
    "SiLU",
    "SoftmaxLink",
    "Softplus",
    "Softsign",
    "SquaredError",
    "SquaredHinge",
    "Step",
    "TabularEncoder",
    "TabularMLPClassifier",
    "TabularMLPRegressor",
    "Tanh",
    "TanhLink",
    "TweedieDeviance",
    "Uniform",
    "WeightsDisplay",
    "Zeros",
    "check_gradients",
    "from_sklearn",
    "skops_types",
    "to_sklearn",
]
__version__ = "0.1.0"
