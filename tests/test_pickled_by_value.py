"""Components of one's own, as a script or a notebook has them: they reach other processes by value.

Classes within functions are pickled by cloudpickle in the way of those of ``__main__``: no process can import them.
"""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from sknn_scratch import (
    Activation,
    EarlyStopping,
    EpochCallback,
    IdentityLink,
    Loss,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    Optimizer,
    Tanh,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.initializers import INITIALIZERS
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sknn_scratch.catalogue.optimizers import OPTIMIZERS
from sknn_scratch.catalogue.schedules import SCHEDULES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
cloudpickle = pytest.importorskip("cloudpickle", reason="needs cloudpickle")


def data():
    X = StandardScaler().fit_transform(np.random.RandomState(0).randn(60, 4))
    return X, (X[:, 0] + X[:, 1] > 0).astype(int) + 1


def classifier(**parameters):
    return MLPFromScratchClassifier(3, max_iter=4, random_state=0, engine="numpy", **parameters)


def regressor(**parameters):
    return MLPFromScratchRegressor(hidden_layer_sizes=3, max_iter=4, random_state=0, engine="numpy", **parameters)


def subclass(cls):
    """Return an object of a class of one's own that changes nothing."""

    class Own(cls):
        pass

    return Own()


def of_every_class():
    """Yield an estimator with a subclass of each registered component, and one with the component itself."""
    for parameter, registry, make in (
        ("activation", ACTIVATIONS, regressor),
        ("loss", CLASSIFIER_LOSSES, classifier),
        ("loss", REGRESSOR_LOSSES, regressor),
        ("solver", OPTIMIZERS, regressor),
        ("learning_rate", SCHEDULES, regressor),
        ("weight_init", INITIALIZERS, regressor),
    ):
        for cls in registry.values():
            yield make(**{parameter: subclass(cls)}), make(**{parameter: cls()})


def with_formulas():
    """Return estimators with a formula of one's own of each kind."""

    class Cube(Activation):
        def value(self, z):
            return z + 0.01 * z**3

        def derivative(self, z):
            return 1 + 0.03 * z**2

    class SteepTanh(Tanh):
        def __init__(self, slope=2.0):
            self.slope = slope

        def value(self, z):
            return np.tanh(self.slope * z)

        def derivative(self, z):
            return self.slope * (1 - np.tanh(self.slope * z) ** 2)

    class SteeperTanh(SteepTanh):
        def value(self, z):
            return 2 * super().value(z)

        def derivative(self, z):
            return 2 * super().derivative(z)

    class OwnLink(IdentityLink):
        name = "own"

    class Quartic(Loss):
        link = OwnLink()

        def value(self, y, raw_output):
            return ((raw_output - y) ** 4).sum(axis=1)

        def derivative(self, y, raw_output):
            return 4 * (raw_output - y) ** 3

    class Sign(Optimizer):
        def update(self, parameters, gradient, learning_rate):
            parameters -= learning_rate * np.sign(gradient)

    class Thrice(EpochCallback):
        def on_epoch_end(self, estimator):
            return estimator.n_iter_ == 3

    class Patient(EarlyStopping):
        pass

    def rate(epoch):
        return 0.1 / (1 + epoch)

    return [
        regressor(activation=Cube()),
        classifier(activation=SteepTanh(3.0)),
        regressor(activation=SteeperTanh()),
        regressor(loss=Quartic()),
        regressor(solver=Sign()),
        regressor(learning_rate=rate),
        regressor(learning_rate=lambda epoch: 0.1),
        regressor(early_stopping=True, scoring=lambda model, X, y: -abs(model.predict(X) - y).max()),
        regressor().set_callbacks(Thrice(), Patient("loss"), lambda model: model.n_iter_ == 2),
    ]


def test_another_process_learns_the_same():
    """A process that knows nothing but the package reads the estimators, fits them, and trains fitted ones further."""
    X, y = data()
    given = with_formulas()
    given += [own for own, _ in of_every_class()]
    script = (
        "import pickle, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "new, fitted, X, y = pickle.load(sys.stdin.buffer)\n"
        "coefs = [[model.fit(X, y).coefs_ for model in models] for models in (new, fitted)]\n"
        "sys.stdout.buffer.write(pickle.dumps(coefs))\n"
    )
    fitted = [clone(model).set_params(warm_start=True).fit(X, y) for model in given]
    sent = cloudpickle.dumps((given, fitted, X, y))
    result = subprocess.run([sys.executable, "-c", script], input=sent, capture_output=True, check=False)
    assert not result.returncode, result.stderr.decode()
    new, further = pickle.loads(result.stdout)
    for model, coefs in zip(fitted, new, strict=True):
        assert_same_arrays(model.coefs_, coefs)
    for model, coefs in zip(fitted, further, strict=True):
        assert_same_arrays(model.fit(X, y).coefs_, coefs)


def assert_same_arrays(some, others):
    for array, other in zip(some, others, strict=True):
        assert_array_equal(array, other)


def test_subclasses_that_change_nothing():
    """But for rounding: the reference computes the hottest classes in place, but not what is derived from them."""
    X, y = data()
    for own, original in of_every_class():
        for mine, other in zip(own.fit(X, y).coefs_, original.fit(X, y).coefs_, strict=True):
            assert_allclose(mine, other, rtol=0, atol=1e-12)


def test_cross_validation_in_two_processes():
    X, y = data()
    model = with_formulas()[0]
    assert_array_equal(cross_val_score(model, X, y, cv=2, n_jobs=2), cross_val_score(model, X, y, cv=2))
