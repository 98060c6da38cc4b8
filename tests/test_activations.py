"""The activations as functions, and as parameters of the estimators."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from tasks import TASKS, make_task, our_estimator

from sknn_scratch.catalogue import activations
from sknn_scratch.catalogue.activations import ACTIVATIONS, ELU, Activation, LeakyReLU, Tanh
from sknn_scratch.engines.numpy.in_place import activate, multiply_slope

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
Z = np.array([[-800.0, -7.5, -3.0, -1.0, -0.25, 0.0, 0.3, 1.0, 2.0, 6.0, 40.0, 800.0]])

REFERENCE = {
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: 0.5 * z * special.erfc(-z / np.sqrt(2)),
    "hard_sigmoid": lambda z: np.minimum(np.maximum(z + 3, 0), 6) / 6,
    "hard_tanh": lambda z: np.minimum(np.maximum(z, -1), 1),
    "identity": lambda z: z,
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "logistic": special.expit,
    "mish": lambda z: z * np.tanh(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))),
    "relu": lambda z: np.maximum(z, 0),
    "relu6": lambda z: np.minimum(np.maximum(z, 0), 6),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0))),
    "silu": lambda z: z * special.expit(z),
    "softplus": lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives(name, dtype):
    """Finite over the whole range, of the dtype given, the reference's values and, off the kinks, its slope."""
    f, z = ACTIVATIONS[name](), Z.astype(dtype)
    with np.errstate(over="ignore"):
        value, slope = f.value(z), f.derivative(z)
    assert value.dtype == slope.dtype == dtype
    assert_allclose(value, REFERENCE[name](Z), rtol=100 * np.finfo(dtype).eps, atol=1e-30)
    assert np.isfinite(slope).all()
    if dtype == np.float64:
        z = np.random.RandomState(0).uniform(-8, 8, (20, 5))
        expected = (REFERENCE[name](z + 1e-6) - REFERENCE[name](z - 1e-6)) / 2e-6
        assert_allclose(f.derivative(z), expected, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_far_out_are_those_where_the_function_is_straight(name, dtype):
    derivative = ACTIVATIONS[name]().derivative
    far, further = np.array([[[-800, 800]], [[-1e30, 1e30]]], dtype=dtype)
    with np.errstate(over="ignore"):
        assert_allclose(derivative(further), derivative(far), atol=1e-5)


def test_every_activation_has_a_reference():
    assert set(REFERENCE) == set(ACTIVATIONS)


def test_parameters():
    assert_allclose(LeakyReLU(0.2).value(Z), np.maximum(Z, 0.2 * Z))
    assert ELU(3.0).value(Z)[0, 0] == -3


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("task", TASKS)
def test_by_name_and_as_object(task, name):
    X, y = make_task(task)
    by_name = our_estimator(task, activation=name, max_iter=3).fit(X, y)
    as_object = our_estimator(task, activation=ACTIVATIONS[name](), max_iter=3).fit(X, y)
    assert_array_equal(by_name.coefs_[0], as_object.coefs_[0])
    assert np.isfinite(by_name.predict(X)).all()


def test_one_for_each_layer():
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", activation=["tanh", LeakyReLU(0.1)], max_iter=5).fit(X, y)
    hidden = np.tanh(X @ model.coefs_[0] + model.intercepts_[0]) @ model.coefs_[1] + model.intercepts_[1]
    raw_output = np.maximum(hidden, 0.1 * hidden) @ model.coefs_[2] + model.intercepts_[2]
    assert_allclose(model.predict_proba(X), special.softmax(raw_output, axis=1), rtol=1e-12)
    assert_array_equal(clone(model).fit(X, y).coefs_[0], model.coefs_[0])
    alike = our_estimator("multiclass", activation=("tanh", "tanh"), max_iter=5).fit(X, y)
    assert_array_equal(alike.coefs_[0], our_estimator("multiclass", activation="tanh", max_iter=5).fit(X, y).coefs_[0])


def test_wrong_number_of_layers():
    X, y = make_task("binary")
    with pytest.raises(ValueError, match=r"activation has 3 entries, but hidden_layer_sizes=\(6, 5\) makes 2 hidden"):
        our_estimator("binary", activation=["tanh"] * 3).fit(X, y)


def test_grid_over_a_parameter_of_the_activation():
    X, y = make_task("binary")
    search = GridSearchCV(
        our_estimator("binary", activation=LeakyReLU(), max_iter=3), {"activation__negative_slope": [0.0, 0.5]}, cv=2
    ).fit(X, y)
    assert search.best_estimator_.activation.negative_slope in (0.0, 0.5)
    assert len(set(search.cv_results_["mean_test_score"])) == 2


def test_an_activation_of_ones_own():
    class Sine(Activation):
        def value(self, z):
            return np.sin(z)

        def derivative(self, z):
            return np.cos(z)

    X, y = make_task("regression")
    model = our_estimator("regression", activation=Sine(), solver="lbfgs", max_iter=50).fit(X, y)
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("formula", ["value", "derivative", "derivative_from_output"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda z: 1.0, r"return an array of shape \(2, 6\) for an input of shape \(2, 6\); got shape \(\)"),
        (lambda z: z.mean(axis=1), r"return an array of shape \(2, 6\) for .*; got shape \(2,\)"),
        (lambda z: z[:, :1], r"return an array of shape \(2, 6\) for .*; got shape \(2, 1\)"),
        (lambda z: z + 0j, "return real numbers; got dtype complex"),
        (lambda z: (z, 1.0), r"return an array of shape \(2, 6\) for .*; got a tuple"),
        (lambda z: None, r"return an array of shape \(2, 6\) for .*; got shape \(\)"),
    ],
)
def test_formulas_of_ones_own_are_for_each_unit(formula, wrong, message, solver, engine):
    if engine == "numba":
        pytest.importorskip("numba")
    right = {"value": lambda self, z: 2 * z, "derivative": lambda self, z: np.full_like(z, 2)}
    if formula == "derivative_from_output":
        del right["derivative"]
    own = type("Own", (Activation,), right | {formula: lambda self, z: wrong(z)})()
    model = our_estimator("regression", activation=own, engine=engine, solver=solver)
    with pytest.raises(ValueError, match=rf"Own\.{formula} must {message}"):
        model.fit(*make_task("regression"))
    assert not hasattr(model, "coefs_")


def test_formulas_of_ones_own_may_give_truths_and_other_floats():
    """They are rounded to the numbers of the network."""
    formulas = {"value": lambda self, z: np.maximum(z, 0).astype(np.float64), "derivative": lambda self, z: z > 0}
    X, y = make_task("regression")
    for dtype in (np.float32, np.float64):
        own, built_in = (
            our_estimator("regression", activation=activation, engine="numpy", max_iter=5).fit(X.astype(dtype), y)
            for activation in (type("Own", (Activation,), formulas)(), "relu")
        )
        assert_array_equal(own.coefs_[0], built_in.coefs_[0])


@pytest.mark.parametrize(("given", "lacking"), [("value", "derivative"), ("derivative", "value")])
def test_an_activation_that_lacks_a_formula(given, lacking):
    half = type("Half", (Activation,), {given: lambda self, z: z})
    model = our_estimator("regression", activation=half())
    with pytest.raises(TypeError, match=rf"Half must define {lacking}\(z\)"):
        model.fit(*make_task("regression"))
    assert not hasattr(model, "coefs_")


def test_classes_are_exported():
    assert isinstance(activations.ACTIVATIONS["tanh"](), Tanh)


def test_what_a_subclass_says_counts():
    """A formula takes the place of all that the base class says about the same."""

    class Triple(ACTIVATIONS["tanh"]):
        def value(self, z):
            return 3 * z

        def derivative(self, z):
            return np.full_like(z, 3)

    class Doubled(ACTIVATIONS["gelu"]):
        def value(self, z):
            return 2 * z

        def derivative_from_output(self, a):
            return np.full_like(a, 2)

    z = np.random.RandomState(0).randn(4, 3)
    for activation, factor in ((Triple(), 3), (Doubled(), 2)):
        delta, a = np.ones_like(z), np.empty_like(z)
        activate(activation, z, out=a)
        multiply_slope(activation, delta, z, a)
        assert_array_equal(a, factor * z)
        assert_array_equal(delta, np.full_like(z, factor))
    assert Triple().needs_input
    assert not Doubled().needs_input


def test_activations_are_the_models_own():
    X, y = make_task("regression")
    model = our_estimator("regression", activation=LeakyReLU(0.1), solver="lbfgs", max_iter=20, tol=1).fit(X, y)
    before = model.predict(X)
    model.set_params(**{"activation__" + next(iter(LeakyReLU().get_params())): 0.9})
    assert_array_equal(model.predict(X), before)
