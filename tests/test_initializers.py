"""Starting values of the parameters."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.model_selection import GridSearchCV
from tasks import TASKS, make_task, our_estimator

from sknn_scratch.catalogue.activations import Tanh
from sknn_scratch.catalogue.initializers import (
    INITIALIZERS,
    GlorotUniform,
    Initializer,
    Normal,
    Orthogonal,
    Uniform,
    Zeros,
)
from sknn_scratch.perceptron import Perceptron

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FAN_IN, FAN_OUT = 200, 100
DISTRIBUTIONS = {
    "glorot_normal": stats.norm(0, np.sqrt(2 / 300)),
    "glorot_uniform": stats.uniform(-np.sqrt(6 / 300), 2 * np.sqrt(6 / 300)),
    "he_normal": stats.norm(0, np.sqrt(2 / 200)),
    "he_uniform": stats.uniform(-np.sqrt(6 / 200), 2 * np.sqrt(6 / 200)),
    "lecun_normal": stats.norm(0, np.sqrt(1 / 200)),
    "lecun_uniform": stats.uniform(-np.sqrt(3 / 200), 2 * np.sqrt(3 / 200)),
    "normal": stats.norm(0, 0.05),
    "uniform": stats.uniform(-0.05, 0.1),
}


@pytest.mark.parametrize("initializer", INITIALIZERS.values())
def test_draws_come_from_the_given_source(initializer):
    rngs = [np.random.RandomState(5) for _ in range(2)]
    first, second = (initializer().draw(30, 40, (30, 40), rng) for rng in rngs)
    assert_array_equal(first, second)
    assert first.shape == (30, 40)
    assert first.dtype == np.float64
    if initializer is not Orthogonal:
        assert initializer().draw(30, 40, (40,), rngs[0]).shape == (40,)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name):
    """Kolmogorov and Smirnov find no difference."""
    rng = np.random.RandomState(0)
    for shape in ((FAN_IN, FAN_OUT), (FAN_OUT,)):
        sample = np.ravel([INITIALIZERS[name]().draw(FAN_IN, FAN_OUT, shape, rng) for _ in range(5)])
        assert stats.kstest(sample, DISTRIBUTIONS[name].cdf).pvalue > 0.001


def test_every_initializer_is_tested():
    assert set(DISTRIBUTIONS) | {"orthogonal", "zeros"} == set(INITIALIZERS)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
def test_orthogonal(shape):
    weights = Orthogonal(gain=2.0).draw(*shape, shape, np.random.RandomState(0))
    product = weights.T @ weights if shape[0] >= shape[1] else weights @ weights.T
    assert_allclose(product, 4 * np.eye(min(shape)), atol=1e-12)
    with pytest.raises(ValueError, match="bias_init cannot be orthogonal"):
        Orthogonal().draw(*shape, shape[1:], np.random.RandomState(0))


def test_parameters_of_initializers():
    rng = np.random.RandomState(0)
    assert np.abs(GlorotUniform(2.0).draw(50, 50, (50, 50), rng)).max() <= np.sqrt(2 / 100)
    assert Normal(3.0).draw(100, 100, (100, 100), rng).std() == pytest.approx(3, rel=0.02)
    sample = Uniform(1.0, 1.5).draw(100, 100, (100, 100), rng)
    assert sample.min() >= 1
    assert sample.max() < 1.5


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("task", TASKS)
def test_by_name_and_as_object(task, name):
    X, y = make_task(task)
    bias_init = "zeros" if name == "orthogonal" else name
    parameters = {
        "weight_init": name,
        "bias_init": bias_init,
        "learning_rate_init": 1e-300,
        "solver": "sgd",
        "max_iter": 1,
    }
    model = our_estimator(task, random_state=3, **parameters).fit(X, y)
    rng = np.random.RandomState(3)
    for weights, biases in zip(model.coefs_, model.intercepts_, strict=True):
        assert_allclose(weights, INITIALIZERS[name]().draw(*weights.shape, weights.shape, rng), atol=1e-250)
        assert_allclose(biases, INITIALIZERS[bias_init]().draw(*weights.shape, biases.shape, rng), atol=1e-250)
    if name != "glorot_uniform":
        parameters |= {"weight_init": INITIALIZERS[name]()}
        assert_array_equal(our_estimator(task, random_state=3, **parameters).fit(X, y).coefs_[1], model.coefs_[1])


def test_the_ends_of_uniform_are_in_order():
    model = our_estimator("binary", weight_init=Uniform(low=0.2))
    with pytest.raises(ValueError, match=r"'low' of Uniform must be at most its high, 0\.05; got 0\.2\."):
        model.fit(*make_task("binary"))


def test_bias_init_cannot_be_orthogonal():
    model = our_estimator("binary", bias_init="orthogonal")
    with pytest.raises(ValueError, match="bias_init cannot be orthogonal"):
        model.fit(*make_task("binary"))
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize("role", ["weight_init", "bias_init"])
@pytest.mark.parametrize(("drawn", "got"), [(np.float64(0.1), r"\(\)"), (np.full(1, 0.1), r"\(1,\)")])
def test_what_is_drawn_has_the_shape_that_was_asked_for(role, drawn, got):
    own = type("Own", (Initializer,), {"draw": lambda self, fan_in, fan_out, shape, rng: drawn})()
    with pytest.raises(ValueError, match=rf"Own\.draw must return an array of shape \(.+\); got shape {got}"):
        our_estimator("binary", **{role: own}).fit(*make_task("binary"))


def test_an_initialiser_of_ones_own_lacks_its_formula():
    with pytest.raises(TypeError, match=r"Own must define draw\(fan_in, fan_out, shape, rng\)"):
        our_estimator("binary", weight_init=type("Own", (Initializer,), {})()).fit(*make_task("binary"))


def test_grid_over_a_scale():
    X, y = make_task("binary")
    model = our_estimator("binary", weight_init=Normal(), bias_init=Zeros(), max_iter=3)
    search = GridSearchCV(model, {"weight_init__scale": [0.01, 2.0]}, cv=2).fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) == 2


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop", "lbfgs"])
@pytest.mark.parametrize("task", TASKS)
def test_without_biases(task, solver):
    X, y = make_task(task)
    model = our_estimator(task, solver=solver, fit_intercept=False, max_iter=5, warm_start=True).fit(X, y)
    assert not any(biases.any() for biases in model.intercepts_)
    assert not model._raw_output(np.zeros_like(X)).any()
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    model.intercepts_[0][...] = 1
    assert not any(biases.any() for biases in model.fit(X, y).intercepts_)


def test_biases_are_not_drawn_where_there_are_none(monkeypatch):
    shapes, draw = [], Normal.draw
    monkeypatch.setattr(Normal, "draw", lambda *args: shapes.append(args[3]) or draw(*args))
    parameters = {"weight_init": Normal(), "bias_init": Normal(), "fit_intercept": False, "max_iter": 1}
    our_estimator("binary", **parameters).fit(*make_task("binary"))
    assert {len(shape) for shape in shapes} == {2}
    assert Perceptron([2, 3, 1], [Tanh()]).biases[0].tolist() == [0, 0, 0]
