"""Losses: how wrong the raw output of each sample is, and the derivative of that with respect to the raw output.

The raw output ``z`` is what the last layer computes before any output activation. The loss owns the link from there to
a prediction ``p`` (probabilities, a positive mean, ...), so that link and loss can be computed together and stably, and
so that nothing outside this folder depends on which two go together. In the formulas ``y`` is the target, and sums over
``k`` run over the output columns.

A new loss is one class in ``regression.py`` or ``classification.py``, one line in the registry there and its name in
``sknn_scratch/estimators/constructors.py``.
"""

from sknn_scratch.catalogue.losses.base import Loss
from sknn_scratch.catalogue.losses.classification import (
    CLASSIFIER_LOSSES,
    BrierLoss,
    FocalLoss,
    Heads,
    Hinge,
    LogLoss,
    SquaredHinge,
)
from sknn_scratch.catalogue.losses.regression import (
    REGRESSOR_LOSSES,
    AbsoluteError,
    GammaDeviance,
    GaussianNLL,
    Huber,
    LogCosh,
    PoissonDeviance,
    Quantile,
    SquaredError,
    TweedieDeviance,
)


def is_of_sklearn(loss: Loss) -> bool:
    """Return whether it is a loss that scikit-learn's perceptrons have, too; each of several heads counts."""
    parts = loss.losses if isinstance(loss, Heads) else [loss]
    return all(type(part) in (LogLoss, PoissonDeviance, SquaredError) for part in parts)
