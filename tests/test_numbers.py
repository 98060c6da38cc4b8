"""Any kind of number is a number: whole ones and NumPy's do the same as Python's floats and ints, wherever they stand.

Where a parameter takes whole numbers only, 127 is tried: the largest int8, with which every sum or product overflows.
"""

import inspect
import pickle
from functools import cache
from itertools import cycle
from numbers import Integral

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from tasks import estimator_pair, make_task, our_estimator
from test_parity import assert_same_model

from sknn_scratch import (
    EarlyStopping,
    LeakyReLU,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    ModelCheckpoint,
    Quantile,
    Step,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.initializers import INITIALIZERS
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, Adam
from sknn_scratch.catalogue.schedules import SCHEDULES
from sknn_scratch.estimators.constraints import Boolean, Number
from sknn_scratch.estimators.parameters import SHARED_PARAMETERS, Use, ignored_parameters

try:
    import numba
except ImportError:
    numba = None

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WHOLE, FRACTIONS = (int, np.int8, np.int64), (np.float32, np.float64)
# Parameters of which 1 is out of range, and those that cannot be whole at all.
BELOW_ONE = {"beta_1", "beta_2", "label_smoothing", "rho"}
NEVER_WHOLE = {"q", "rise", "validation_fraction"}
AT_LEAST_ONE = {"end_factor", "power", "start_factor"}
BESIDE = {"low": {"high": 2.0}}  # which must not be smaller

ESTIMATOR_NUMBERS = [name for name, row in SHARED_PARAMETERS.items() if isinstance(row.constraint, Number)]
COMPONENTS = {
    "activation": ACTIVATIONS,
    "solver": OPTIMIZERS,
    "learning_rate": SCHEDULES,
    "weight_init": INITIALIZERS,
    "bias_init": {name: cls for name, cls in INITIALIZERS.items() if name != "orthogonal"},
    "loss": CLASSIFIER_LOSSES | REGRESSOR_LOSSES,
}
# The ways to train a network: parameters, whether its products are made by loops, and the dtype of X.
WAYS = {
    "numpy": ({"engine": "numpy"}, True, np.float64),
    "numpy, float32": ({"engine": "numpy"}, True, np.float32),
    "lbfgs": ({"engine": "numpy", "solver": "lbfgs"}, True, np.float64),
    "numba, lbfgs": ({"engine": "numba", "solver": "lbfgs"}, True, np.float64),
    "numba, small": ({"engine": "numba"}, True, np.float64),
    "numba, shared": ({"engine": "numba"}, False, np.float64),
    "numba, dropout": ({"engine": "numba", "dropout": 0.2}, False, np.float64),
}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Return parameters of a way to train, and the dtype of the samples."""
    parameters, small, dtype = WAYS[request.param]
    if parameters["engine"] == "numba" and numba is None:
        pytest.skip("numba is not installed")
    if numba is not None:
        monkeypatch.setattr("sknn_scratch.engines.compiled.run.TINY", 2**30 if small else 0)
    return parameters, dtype


def numbers(name, whole):
    """Return the number to try, of every type, for a parameter that has to be ``whole`` or need not be."""
    if whole:
        return [kind(127) for kind in WHOLE]
    fraction = 1.3 if name in AT_LEAST_ONE else 0.3
    given = [kind(fraction) for kind in FRACTIONS]
    if name not in NEVER_WHOLE:
        given += [kind(name not in BELOW_ONE) for kind in WHOLE + FRACTIONS]
    return given


def where_it_acts(name):
    """Return parameters with which a number of the estimator has an effect."""
    for role, registry in (("learning_rate", SCHEDULES), ("solver", {"adam": Adam} | OPTIMIZERS)):
        for key, cls in registry.items():
            if name in inspect.signature(cls).parameters:
                return {"solver": "sgd", role: key}
    return {"early_stopping": True} if name == "validation_fraction" else {}


def fit(parameters, dtype, task="multiclass"):
    X, y = make_task(task)
    return our_estimator(task, **{"max_iter": 3} | parameters).fit(X.astype(dtype), y)


def assert_same_fit(model, expected):
    assert model.loss_curve_ == expected.loss_curve_
    for mine, other in zip(model.coefs_ + model.intercepts_, expected.coefs_ + expected.intercepts_, strict=True):
        assert mine.dtype == other.dtype
        assert_array_equal(mine, other)


@pytest.mark.parametrize("name", ESTIMATOR_NUMBERS)
def test_numbers_of_the_estimators(name, way):
    parameters, dtype = way
    parameters = where_it_acts(name) | parameters
    estimator = our_estimator("multiclass", **parameters)
    refused = parameters.get("solver") == "lbfgs" and SHARED_PARAMETERS[name].use is Use.MINIBATCHES
    if refused or name in ignored_parameters(estimator):
        pytest.skip("the solver does not use it")
    whole = SHARED_PARAMETERS[name].constraint.kind is Integral
    plain = cache(lambda number: fit(parameters | {name: number}, dtype))
    for given in numbers(name, whole):
        model = fit(parameters | {name: given}, dtype)
        assert model.get_params()[name] is given
        if name != "validation_fraction":  # with scikit-learn's, see below
            assert_same_fit(model, plain(int(given) if whole else float(given)))
        assert type(clone(model).get_params()[name]) is type(given)


def component_numbers():
    """Go through the numbers of all components, each with NumPy's formula in float32, and with another way in turns."""
    others = cycle(name for name in WAYS if name != "numpy, float32")
    for role, registry in COMPONENTS.items():
        for cls in registry.values():
            for name, parameter in inspect.signature(cls).parameters.items():
                if not isinstance(parameter.default, int | float) or isinstance(parameter.default, bool):
                    continue
                not_for_lbfgs = role in ("solver", "learning_rate")
                other = next(way for way in others if not (not_for_lbfgs and "lbfgs" in way))
                for way in ("numpy, float32", other):
                    yield pytest.param(role, cls, name, way, id=f"{role}-{cls.__name__}-{name}-{way}")


@pytest.mark.parametrize(("role", "cls", "name", "way"), component_numbers(), indirect=["way"])
def test_numbers_of_the_components(role, cls, name, way):
    parameters, dtype = way
    task = "poisson" if cls in REGRESSOR_LOSSES.values() else "multiclass"
    whole = isinstance(inspect.signature(cls).parameters[name].default, int)
    beside = BESIDE.get(name, {})
    plain = cache(lambda number: fit(parameters | {role: cls(**{name: number}, **beside)}, dtype, task))
    for given in numbers(name, whole):
        component = cls(**{name: given}, **beside)
        model = fit(parameters | {role: component}, dtype, task)
        assert component.get_params()[name] is given
        assert_same_fit(model, plain(int(given) if whole else float(given)))


@pytest.mark.parametrize(
    "name", [name for name, row in SHARED_PARAMETERS.items() if isinstance(row.constraint, Boolean)]
)
@pytest.mark.parametrize("value", [True, False])
def test_truth_values_of_numpy(name, value, way, capsys):
    parameters, dtype = way
    if parameters.get("solver") == "lbfgs" and name in ("shuffle", "early_stopping", "nesterovs_momentum"):
        pytest.skip("L-BFGS does not use it")
    if name == "nesterovs_momentum":
        parameters = parameters | {"solver": "sgd"}
    assert_same_fit(fit(parameters | {name: np.bool_(value)}, dtype), fit(parameters | {name: value}, dtype))


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"hidden_layer_sizes": np.int8(9)}, {"hidden_layer_sizes": 9}),
        ({"hidden_layer_sizes": [np.int8(120), np.int64(9)]}, {"hidden_layer_sizes": [120, 9]}),
        ({"hidden_layer_sizes": np.array([120, 9], dtype=np.int8)}, {"hidden_layer_sizes": [120, 9]}),
        ({"random_state": np.int8(7)}, {"random_state": 7}),
        ({"random_state": np.uint32(2**32 - 1)}, {"random_state": 2**32 - 1}),
        ({"dropout": np.float32(0.25)}, {"dropout": 0.25}),
        ({"dropout": np.array(0.25)}, {"dropout": 0.25}),
        ({"dropout": 0}, {"dropout": 0.0}),
        ({"dropout": [0, np.int8(0), np.float32(0.25)]}, {"dropout": [0.0, 0.0, 0.25]}),
        ({"dropout": np.array([0, 0.25, 0.5], dtype=np.float32)}, {"dropout": [0.0, 0.25, 0.5]}),
        ({"class_weight": {10: np.int8(100), 20: np.float32(0.25)}}, {"class_weight": {10: 100.0, 20: 0.25}}),
        ({"n_iter_no_change": np.float32(np.inf)}, {"n_iter_no_change": np.inf}),
        ({"learning_rate": lambda epoch: np.float32(0.25)}, {"learning_rate": lambda epoch: 0.25}),
        ({"learning_rate": lambda epoch: np.int8(1)}, {"learning_rate": lambda epoch: 1.0}),
        ({"activation": [LeakyReLU(0), LeakyReLU(np.float32(0.5))]}, {"activation": [LeakyReLU(0.0), LeakyReLU(0.5)]}),
    ],
)
@pytest.mark.filterwarnings("ignore:solver='lbfgs' does not use")
def test_other_parameters_that_hold_numbers(given, plain, way):
    parameters, dtype = way
    if parameters.get("solver") == "lbfgs" and "dropout" in given:
        pytest.skip("L-BFGS has no dropout")
    assert_same_fit(fit(parameters | given, dtype), fit(parameters | plain, dtype))


@pytest.mark.parametrize("kind", [list, np.array])
def test_several_quantiles(kind, way):
    parameters, dtype = way
    given = Quantile(kind([np.float32(0.25), np.float32(0.5)]))
    expected = fit(parameters | {"loss": Quantile([0.25, 0.5])}, dtype, "regression")
    assert_same_fit(fit(parameters | {"loss": given}, dtype, "regression"), expected)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize(
    "parameters", [{"alpha": 1, "l1_ratio": 0}, {"solver": Adam(beta_1=0), "alpha": np.float32(1)}]
)
def test_partial_fit_and_the_gradient(engine, parameters):
    if engine == "numba":
        pytest.importorskip("numba")
    X, y = make_task("multiclass")
    models = [our_estimator("multiclass", engine=engine, batch_size=50, **parameters)]
    models.append(clone(models[0]).set_params(**{name: float(v) for name, v in parameters.items() if name != "solver"}))
    if "solver" in parameters:
        models[1].set_params(solver__beta_1=0.0)
    for model in models:
        for _ in range(3):
            model.partial_fit(X, y, classes=[10, 20, 30])
    assert_same_fit(*models)
    for mine, other in zip(*(model.loss_gradient(X, y)[0] for model in models), strict=True):
        assert_array_equal(mine, other)


# Of these scikit-learn computes other numbers, such as 1 - beta**t, in which an int8 overflows and a float32 rounds.
COMPUTED_WITH = {"batch_size", "beta_1", "beta_2", "power_t"}


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize(
    "name",
    [name for name in ESTIMATOR_NUMBERS if name in inspect.signature(estimator_pair("binary")[1].__init__).parameters],
)
def test_scikit_learn_does_the_same(name, task):
    X, y = make_task(task)
    acts = {"solver": "lbfgs"} if name == "max_fun" else {"batch_size": 40} | where_it_acts(name)
    # With beta_2=0, steps are divided by gradients as small as rounding.
    parameters = {"max_iter": 2 if name == "beta_2" else 6} | acts
    whole = SHARED_PARAMETERS[name].constraint.kind is Integral
    for given in numbers(name, whole):
        ours, theirs = estimator_pair(task, **parameters | {name: given})
        if name in COMPUTED_WITH:
            theirs.set_params(**{name: int(given) if whole else float(given)})
        assert_same_model(ours.fit(X, y), theirs.fit(X, y), X, 1e-5 if ours.solver == "lbfgs" else 1e-9)


@pytest.mark.parametrize("n_samples", [100, 149, 150])
@pytest.mark.parametrize("fraction", [np.float32(0.2), np.float32(0.1), np.float64(0.2), np.float16(0.3), 0.2])
def test_validation_fraction_holds_out_as_many_as_in_scikit_learn(fraction, n_samples):
    X, y = (array[:n_samples] for array in make_task("binary"))
    ours, theirs = estimator_pair("binary", early_stopping=True, validation_fraction=fraction, max_iter=5)
    assert_same_model(ours.fit(X, y), theirs.fit(X, y), X, 1e-9)


@pytest.mark.parametrize("value", [10**400, np.float32(np.nan), np.float32(np.inf), np.int8(-1), np.bool_(True), True])
def test_numbers_that_are_not_allowed(value):
    for Estimator in (MLPFromScratchClassifier, MLPFromScratchRegressor):
        with pytest.raises(ValueError, match=r"The parameter 'alpha' of .* must be a number in"):
            Estimator(alpha=value).fit([[0.0], [1.0]], [0, 1])


def test_callbacks_take_numbers_of_numpy(tmp_path):
    X, y = make_task("binary")
    stop = EarlyStopping("loss", patience=np.int8(2), min_delta=np.float32(10))
    our_estimator("binary").set_callbacks(stop, ModelCheckpoint(tmp_path / "file", every=np.int64(2))).fit(X, y)
    assert stop.best_epoch_ == 1
    assert (tmp_path / "file").exists()


def test_training_goes_on_with_the_same_number_of_another_type(tmp_path):
    X, y = make_task("binary")
    model = our_estimator("binary", alpha=1, batch_size=np.int64(50), max_iter=2)
    model.set_callbacks(ModelCheckpoint(tmp_path / "file")).fit(X, y)
    twin = our_estimator("binary", alpha=np.float32(1), batch_size=50, max_iter=4)
    twin.fit(X, y, resume_from=tmp_path / "file")
    assert_same_fit(twin, clone(model).set_params(max_iter=4).fit(X, y))
    with pytest.raises(ValueError, match=r"written with alpha=1, which now is np.float64\(1\.5\)\."):
        twin.set_params(alpha=np.float64(1.5)).fit(X, y, resume_from=tmp_path / "file")


@pytest.mark.parametrize("slopes", [(1, 1.0), (1.0, 1), (0.5, np.float32(0.5))], ids=str)
def test_weights_are_loaded_whatever_the_type_of_a_number(slopes, tmp_path):
    X, y = make_task("binary")
    saved, loaded = (our_estimator("binary", activation=LeakyReLU(slope), max_iter=2) for slope in slopes)
    saved.fit(X, y).save_weights(tmp_path / "file.npz")
    assert_array_equal(loaded.load_weights(tmp_path / "file.npz").predict_proba(X), saved.predict_proba(X))


def test_weights_written_where_whole_numbers_were_kept_are_loaded(tmp_path):
    X, y = make_task("binary")
    model = our_estimator("binary", activation=LeakyReLU(1), max_iter=2).fit(X, y)
    model.save_weights(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as content:
        arrays = {
            name: np.char.replace(array, "=1.0)", "=1)") if array.dtype.kind == "U" else array
            for name, array in content.items()
        }
    assert any("negative_slope=1)" in str(array) for array in arrays.values())
    np.savez(tmp_path / "old.npz", **arrays)
    twin = clone(model).load_weights(tmp_path / "old.npz")
    assert_array_equal(twin.predict_proba(X), model.predict_proba(X))


def test_the_parts_of_a_fitted_model_hold_plain_numbers():
    """So that a pickle, a repr and a converter need not know NumPy's."""
    X, y = make_task("regression")
    model = our_estimator(
        "regression", activation=LeakyReLU(np.float32(0.5)), solver=Adam(beta_1=0), learning_rate=Step(np.int8(3))
    )
    model = pickle.loads(pickle.dumps(model.fit(X, y)))
    for part in (*model.perceptron.activations, model._optimizer, model._schedule):
        assert {type(value) for value in part.get_params().values()} <= {int, float}
