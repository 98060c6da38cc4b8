"""Whatever is allowed together works together: random configurations fit, predict finite numbers and clone."""

import pickle
import warnings

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from tasks import CLASSIFICATION, TASKS, make_task

from sknn_scratch import (
    ELU,
    SGD,
    Adam,
    Cosine,
    FocalLoss,
    GaussianNLL,
    Huber,
    LeakyReLU,
    LogLoss,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    Normal,
    Quantile,
    Step,
    TweedieDeviance,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.initializers import INITIALIZERS
from sknn_scratch.catalogue.links import LINKS
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sknn_scratch.catalogue.optimizers import OPTIMIZERS
from sknn_scratch.catalogue.schedules import SCHEDULES

ACTIVATION = st.sampled_from([*ACTIVATIONS, LeakyReLU(0.2), ELU(0.5)])
RATE = st.floats(0, 0.6)
OF_MINIBATCHES = {
    "solver": st.sampled_from([*OPTIMIZERS, SGD(momentum=0.5), Adam(beta_1=0.5)]),
    "learning_rate": st.sampled_from([*SCHEDULES, Cosine(n_cycles=2), Step(2), lambda epoch: 0.001 / (1 + epoch)]),
    "learning_rate_init": st.floats(1e-5, 3e-3),
    "batch_size": st.sampled_from(["auto", 1, 7, 60]),
    "shuffle": st.booleans(),
    "early_stopping": st.booleans(),
    "validation_fraction": st.floats(0.1, 0.5),
    "n_iter_no_change": st.integers(1, 5),
    "max_grad_norm": st.none() | st.floats(0.1, 10),
    "average": st.integers(1, 4),
    "input_noise": st.sampled_from([0.0, 0.3]),
    "scoring": st.sampled_from([None, "loss"]),
}
SHARED = {
    "alpha": st.floats(0, 10),
    "l1_ratio": st.floats(0, 1),
    "max_iter": st.integers(1, 4),
    "weight_init": st.sampled_from([*INITIALIZERS, Normal(0.3)]),
    "bias_init": st.sampled_from([name for name in INITIALIZERS if name != "orthogonal"]),
    "fit_intercept": st.booleans(),
    "warm_start": st.booleans(),
    "random_state": st.integers(0, 2**32 - 1),
}


@st.composite
def configurations(draw, task):
    """Draw parameters that are allowed together."""
    widths = draw(st.lists(st.integers(1, 12), max_size=3))
    parameters = {name: draw(values) for name, values in SHARED.items()}
    if draw(st.integers(0, 4)):
        parameters |= {name: draw(values) for name, values in OF_MINIBATCHES.items()}
        parameters["dropout"] = draw(RATE | st.lists(RATE, min_size=len(widths) + 1, max_size=len(widths) + 1))
    else:
        parameters["solver"] = "lbfgs"
    layers = st.lists(ACTIVATION, min_size=len(widths), max_size=len(widths))
    parameters |= {"hidden_layer_sizes": widths, "activation": draw(ACTIVATION | layers)}
    if task in CLASSIFICATION:
        parameters["loss"] = draw(st.sampled_from([*CLASSIFIER_LOSSES, LogLoss(0.2), FocalLoss(0.5)]))
        parameters["class_weight"] = draw(st.sampled_from([None, "balanced"]))
    else:
        tweedie = TweedieDeviance(1.2)
        losses = [*REGRESSOR_LOSSES, Huber(0.1), Quantile([0.1, 0.9]), tweedie, GaussianNLL(0.5)]
        parameters["loss"] = draw(st.sampled_from(losses))
        if parameters["loss"] == "squared_error":
            parameters["output_activation"] = draw(st.none() | st.sampled_from(list(LINKS)))
        takes_any_target = parameters["loss"] not in ("gamma", "poisson", "tweedie", tweedie)
        if takes_any_target and parameters.get("output_activation") in (None, "identity"):
            parameters["target_transform"] = draw(st.sampled_from([None, "standardize"]))
    return parameters


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_fits_predicts_and_clones(task, data):
    parameters = data.draw(configurations(task))
    X, y = (array[:60] for array in make_task(task))
    if task not in CLASSIFICATION:
        y = np.abs(y) + 0.1  # which every loss takes
    dtype = data.draw(st.sampled_from([np.float64, np.float32]))
    kinds = [np.asarray, np.asfortranarray]
    if not parameters.get("input_noise"):
        kinds += [sparse.csr_matrix, sparse.csc_array]
    X = data.draw(st.sampled_from(kinds))(X.astype(dtype))
    weight = data.draw(st.none() | st.just(np.arange(1.0, 61)))
    model = (MLPFromScratchClassifier if task in CLASSIFICATION else MLPFromScratchRegressor)(**parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters that are not used, and training that is not over
        try:
            model.fit(X, y, weight)
        except ValueError as error:
            assert "Training diverged" in str(error)  # noqa: PT017
            reject()
        twin = clone(model).fit(X, y, weight)
    prediction = model.predict(X)
    assert prediction.shape[: y.ndim] == y.shape
    if task in CLASSIFICATION:
        assert np.isfinite(model.decision_function(X)).all()
        assert np.isin(prediction, np.unique(y)).all()
    else:
        assert np.isfinite(prediction).all()
        assert prediction.dtype == dtype
    for mine, other in zip(model.coefs_ + model.intercepts_, twin.coefs_ + twin.intercepts_, strict=True):
        assert mine.dtype == dtype
        assert_array_equal(mine, other)
    assert np.isfinite(model.score(X, y, weight))
    assert_array_equal(pickle.loads(cloudpickle.dumps(model)).predict(X), prediction)
