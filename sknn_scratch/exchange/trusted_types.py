"""The types of this package that a stored model can hold, for skops, which loads only what it is told to trust."""

from __future__ import annotations

from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.initializers import INITIALIZERS
from sknn_scratch.catalogue.links import LINKS, GaussianLink, HeadsLink, IncreasingLink, SoftmaxLink
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, Heads
from sknn_scratch.catalogue.optimizers import OPTIMIZERS
from sknn_scratch.catalogue.schedules import SCHEDULES, Function
from sknn_scratch.estimators.classifier import MLPFromScratchClassifier
from sknn_scratch.estimators.labels import LabelCoder, MultiOutputCoder
from sknn_scratch.estimators.regressor import MLPFromScratchRegressor
from sknn_scratch.estimators.tabular.classifier import TabularMLPClassifier
from sknn_scratch.estimators.tabular.encoder import TabularEncoder
from sknn_scratch.estimators.tabular.members import View
from sknn_scratch.estimators.tabular.regressor import TabularMLPRegressor
from sknn_scratch.estimators.tabular.weights import QuantileCalibration
from sknn_scratch.training.callbacks import EarlyStopping, OnEpochEnd

_REGISTRIES = (ACTIVATIONS, CLASSIFIER_LOSSES, INITIALIZERS, LINKS, OPTIMIZERS, REGRESSOR_LOSSES, SCHEDULES)
# What stands in no registry: made by the estimators, or of which a user makes an object.
_OTHERS = (
    EarlyStopping,
    Function,
    GaussianLink,
    Heads,
    HeadsLink,
    IncreasingLink,
    LabelCoder,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    MultiOutputCoder,
    OnEpochEnd,
    QuantileCalibration,
    SoftmaxLink,
    TabularEncoder,
    TabularMLPClassifier,
    TabularMLPRegressor,
    View,
)


def skops_types() -> list[str]:
    """Return the names of all types of this package that a model can hold and that do no harm, sorted.

    They are what ``skops.io.load(file, trusted=skops_types())`` may be told to trust, whoever made the file. Do not
    trust whatever ``skops.io.get_untrusted_types`` names because it begins with ``sknn_scratch.``: a file can name
    anything that a module of this package has imported. ``ModelCheckpoint``, which writes files, is not among them, nor
    are functions and classes of your own, as schedules, callbacks or components: read their names in
    ``get_untrusted_types``, and add those that you know.

    Returns
    -------
    names : list of str
        Such as ``'sknn_scratch.catalogue.activations.ReLU'``.

    Examples
    --------
    >>> from sknn_scratch import skops_types
    >>> "sknn_scratch.catalogue.activations.ReLU" in skops_types()
    True
    """
    classes = {cls for registry in _REGISTRIES for cls in registry.values()}.union(_OTHERS)
    return sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in classes)
