"""Bad input raises an error that names what is at fault, and leaves the estimator as it was."""

import copy
import datetime
import re
import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import NotFittedError as SameNotFittedError
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import (
    Huber,
    LeakyReLU,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    TabularMLPClassifier,
    TabularMLPRegressor,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.losses import REGRESSOR_LOSSES
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, Adam
from sknn_scratch.catalogue.schedules import Step
from sknn_scratch.estimators.constraints import Number
from sknn_scratch.estimators.parameters import SHARED_PARAMETERS, Use

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ESTIMATORS = (MLPFromScratchClassifier, MLPFromScratchRegressor)
X, y = make_task("binary")
NAN, INF = X.copy(), X.copy()
NAN[3, 2], INF[3, 2] = np.nan, np.inf


def state(estimator):
    return copy.deepcopy(estimator.__getstate__())


def assert_same_state(now, before):
    assert now.keys() == before.keys()
    for name, value in before.items():
        if name == "_hidden_activations":
            assert repr(now[name]) == repr(value)
        elif isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            for a, b in zip(now[name], value, strict=True):
                assert_array_equal(a, b)
        elif isinstance(value, np.ndarray | int | float | str | tuple | list | type(None)):
            assert_array_equal(now[name], value)
        elif name == "_optimizer":
            assert_same_state(vars(now[name]), vars(value))


def assert_raises(estimator, call, message, error=(ValueError, TypeError)):
    """Call on a new estimator and on a fitted one; neither may change."""
    task = "binary" if isinstance(estimator, MLPFromScratchClassifier) else "regression"
    trained = copy.deepcopy(estimator)
    trained.set_params(**type(estimator)(max_iter=2, random_state=0).get_params()).fit(*make_task(task))
    trained.set_params(**estimator.get_params())
    for candidate in (estimator, trained):
        before = state(candidate)
        with pytest.raises(error, match=message):
            call(candidate)
        assert_same_state(candidate.__getstate__(), before)


# Parameters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hidden_layer_sizes", "dropout"])
def test_values_of_a_dict_are_no_list(name):
    with pytest.raises(ValueError, match=rf"The parameter '{name}' of .* got dict_values"):
        MLPFromScratchRegressor(**{name: {}.values()}).fit(X, y)


WRONG = {
    "hidden_layer_sizes": [
        0,
        -1,
        (5, 0),
        (5, -3),
        "10",
        (2.5,),
        2.0,
        None,
        [[3, 4]],
        (3, "4"),
        {3: 4},
        True,
        np.array([1.5]),
        np.array([[3, 4]]),
        10**30,
    ],
    "activation": ["foo", None, 3, "ReLU"],
    "solver": ["foo", None, 1, ["adam"], Adam],
    "alpha": [-1, "1", None, np.nan, np.inf, True],
    "batch_size": [0, -5, 2.5, "all", None],
    "learning_rate": ["foo", 0.1, None, ["step"], Step],
    "l1_ratio": [-0.1, 1.1, "0.5", None],
    "weight_init": ["foo", None, 0.1],
    "bias_init": ["foo", None, 0],
    "fit_intercept": [None, 1, "yes"],
    "weight_decay": [-0.1, "0.1", None],
    "max_grad_norm": [0, -1, "1", np.inf],
    "dropout": [1, -0.1, "0.5", None, [0.1, 1.0], [0.1, "0.1"], np.nan],
    "input_noise": [-0.1, "0.1", None, np.inf],
    "average": [0, -1, 2.5, "5", None, True],
    "scoring": ["foo", 1, ["accuracy"]],
    "engine": ["fast", None, 1],
    "device": ["gpu", "cuda:", "cuda:-1", None, 0],
    "learning_rate_init": [0, -0.1, "0.1", None, np.nan, np.inf],
    "power_t": [-1, "1", None],
    "max_iter": [0, -1, 2.5, "10", None],
    "shuffle": [None, "yes", 2],
    "random_state": [-1, "seed", 1.5, 2**32],
    "tol": [-1, "1", None, -np.inf, np.nan],
    "verbose": [None, "yes", -1],
    "warm_start": [None, "yes", 1],
    "momentum": [-0.1, 1.1, "0.9", None],
    "nesterovs_momentum": [None, "yes"],
    "early_stopping": [None, "yes", 1],
    "validation_fraction": [-0.1, 1.0, 2, "0.1", None],
    "beta_1": [-0.1, 1.0, None],
    "beta_2": [-0.1, 1.0, "0.9"],
    "epsilon": [0, -1e-8, None],
    "n_iter_no_change": [0, -1, 2.5, None, -np.inf],
    "max_fun": [0, -1, 2.5, None],
    "loss": ["foo", None, 1, ["log_loss"]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_wrong_parameter(cls, name, value):
    message = rf"The parameter '{name}' of {cls.__name__} must be .*; got {re.escape(repr(value))}"
    assert_raises(cls(**{name: value}), lambda e: e.fit(X, (y > 10) + 0.0), message, ValueError)
    with pytest.raises(TypeError, match=message):
        cls(**{name: value}).fit(X, y)


def test_every_parameter_is_checked():
    for cls in ESTIMATORS:
        assert set(cls().get_params()) == set(cls._parameters)
        assert set(WRONG) == set(cls._parameters) - {"class_weight", "output_activation", "target_transform"}


HINTS = [
    (MLPFromScratchClassifier, {"activation": "rleu"}, "Did you mean 'relu'?"),
    (MLPFromScratchClassifier, {"activation": "ReLU"}, "Did you mean 'relu'?"),
    (MLPFromScratchClassifier, {"activation": ["relu", "sigmoid"]}, "Did you mean 'logistic'?"),
    (
        MLPFromScratchClassifier,
        {"activation": 50},
        "The sizes of several layers are one tuple: hidden_layer_sizes=(100, 50).",
    ),
    (MLPFromScratchClassifier, {"activation": LeakyReLU}, "Pass an instance: LeakyReLU() instead of the class."),
    (MLPFromScratchClassifier, {"solver": "ADAMW"}, "Did you mean 'adamw'?"),
    (MLPFromScratchClassifier, {"learning_rate": 0.01}, "The rate itself is learning_rate_init."),
    (MLPFromScratchClassifier, {"loss": "cross_entropy"}, "Did you mean 'log_loss'?"),
    (MLPFromScratchClassifier, {"loss": "huber"}, "'huber' is for MLPFromScratchRegressor."),
    (MLPFromScratchClassifier, {"loss": Huber(2.0)}, "Huber(delta=2.0) is for MLPFromScratchRegressor."),
    (MLPFromScratchClassifier, {"scoring": "acuracy"}, "Did you mean 'accuracy'?"),
    (MLPFromScratchClassifier, {"class_weight": "balance"}, "Did you mean 'balanced'?"),
    (MLPFromScratchClassifier, {"verbose": "bars"}, "Did you mean 'bar'?"),
    (MLPFromScratchClassifier, {"engine": "nunba"}, "Did you mean 'numba'?"),
    (MLPFromScratchRegressor, {"loss": "mse"}, "Did you mean 'squared_error'?"),
    (MLPFromScratchRegressor, {"loss": "log_loss"}, "'log_loss' is for MLPFromScratchClassifier."),
    (MLPFromScratchRegressor, {"loss": (100, 50)}, "The second parameter is hidden_layer_sizes: pass it by name."),
    (MLPFromScratchRegressor, {"loss": 100}, "The second parameter is hidden_layer_sizes: pass it by name."),
]


@pytest.mark.parametrize(("cls", "parameters", "hint"), HINTS)
def test_what_was_probably_meant(cls, parameters, hint):
    with pytest.raises(ValueError, match=rf"; got .*\. {re.escape(hint)}"):
        cls(**parameters).fit(X, y)


def test_count_of_hidden_layers_in_a_message():
    for sizes, layers in ((10, "1 hidden layer"), ((10, 5), "2 hidden layers")):
        with pytest.raises(ValueError, match=rf"activation has 3 entries, but hidden_layer_sizes=.* makes {layers}\.$"):
            MLPFromScratchClassifier(sizes, ["relu"] * 3).fit(X, y)


@pytest.mark.parametrize("value", ["foo", None, {}, "softmax_cross"], ids=repr)
def test_no_guess_where_nothing_is_like_it(value):
    with pytest.raises(ValueError, match=rf"; got {re.escape(repr(value))}\.$"):
        MLPFromScratchClassifier(activation=value).fit(X, y)


def relu(z):
    return np.maximum(z, 0)


@pytest.mark.parametrize(
    ("parameter", "value", "hint"),
    [
        ("loss", lambda y, output: (y - output) ** 2, "A formula of your own is an instance of a subclass of Loss."),
        ("activation", relu, "Did you mean 'relu'?"),
        ("activation", np.tanh, "Did you mean 'tanh'?"),
        ("activation", ["relu", np.sin], "A formula of your own is an instance of a subclass of Activation."),
        ("solver", lambda gradient: gradient, "A formula of your own is an instance of a subclass of Optimizer."),
        ("scoring", "rmse", "Did you mean 'neg_root_mean_squared_error'?"),
        ("scoring", "AUC", "Did you mean 'roc_auc'?"),
        ("scoring", "val_loss", "Did you mean 'loss'?"),
        ("scoring", "roc_acu", "Did you mean 'roc_auc'?"),
    ],
)
def test_functions_and_scores_of_elsewhere_lead_to_what_there_is(parameter, value, hint):
    with pytest.raises(ValueError, match=re.escape(hint) + "$"):
        MLPFromScratchRegressor(**{parameter: value}).fit(X, y)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("hiden_layer_sizes", "hidden_layer_sizes"), ("lr", "learning_rate_init"), ("callbacks", "set_callbacks")],
)
def test_what_parameter_was_probably_meant(typed, meant):
    with pytest.raises(TypeError, match=f"has no parameter '{typed}'. Did you mean '{meant}'\\? Valid parameters are"):
        MLPFromScratchClassifier(**{typed: 1})
    with pytest.raises(TypeError, match=r"has no parameter 'foo'\. Valid parameters are"):
        MLPFromScratchClassifier(foo=1)


@pytest.mark.parametrize("value", ["foo", "softmax", 1, ["tanh"]], ids=repr)
def test_wrong_output_activation(value):
    message = (
        r"The parameter 'output_activation' of MLPFromScratchRegressor must be one of 'exp', .*'tanh' or None; got"
    )
    with pytest.raises(ValueError, match=message):
        MLPFromScratchRegressor(output_activation=value).fit(X, y)
    with pytest.raises(ValueError, match="output_activation='tanh' is only for loss='squared_error', got loss='huber'"):
        MLPFromScratchRegressor(loss="huber", output_activation="tanh").fit(X, y)


@pytest.mark.parametrize("value", ["log", "standardise", True, StandardScaler()], ids=repr)
def test_wrong_target_transform(value):
    message = r"The parameter 'target_transform' of MLPFromScratchRegressor must be one of 'standardize' or None; got"
    with pytest.raises(ValueError, match=message) as error:
        MLPFromScratchRegressor(target_transform=value).fit(X, y)
    assert ("Did you mean 'standardize'?" in str(error.value)) == (value == "standardise")


@pytest.mark.parametrize("value", ["foo", 1, [1, 2], {10: -1}, {10: "1"}, {10: None}], ids=repr)
def test_wrong_class_weight(value):
    message = "The parameter 'class_weight' of MLPFromScratchClassifier must be None, 'balanced' or a dict"
    with pytest.raises(ValueError, match=message):
        MLPFromScratchClassifier(class_weight=value).fit(X, y)


@pytest.mark.parametrize("label", [(1, 2), (0, 1, 2), frozenset([1]), b"0", None, 1j, 10**400, "0", np.nan])
@pytest.mark.parametrize("task", CLASSIFICATION)
def test_class_weight_of_a_label_that_does_not_occur(task, label):
    message = f"class_weight has labels {re.escape(str([label]))} that are not among the classes"
    with pytest.raises(ValueError, match=message):
        our_estimator(task, class_weight={label: 3}).fit(*make_task(task))


TOO_LARGE = 10**400  # larger than every float, and yet an integer


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_integers_beyond_all_floats(cls, sign):
    refused = []
    for name, row in cls._parameters.items():
        if isinstance(row.constraint, Number):
            with pytest.raises(ValueError, match=f"The parameter '{name}' of {cls.__name__} must be .*; got "):
                cls(**{name: sign * TOO_LARGE}).fit(X, y)
            refused.append(name)
    assert len(refused) > 15
    with pytest.raises(ValueError, match="The parameter 'dropout' of"):
        cls(dropout=[0, sign * TOO_LARGE]).fit(X, y)


def test_integers_beyond_all_floats_in_arrays_and_weights():
    values = [TOO_LARGE] * len(X)
    for given, name in (
        ({"X": [[TOO_LARGE] * 8] * len(X)}, "X"),
        ({"y": values}, "y"),
        ({"sample_weight": values}, "sample_weight"),
        ({"sample_weight": TOO_LARGE}, "sample_weight"),
        ({"X_val": [[TOO_LARGE] * 8] * 2, "y_val": [0, 1]}, "X_val"),
        ({"X_val": X, "y_val": values}, "y_val"),
    ):
        with pytest.raises(ValueError, match=f"^{name} cannot be used: int too large"):
            MLPFromScratchRegressor(max_iter=1).fit(**{"X": X, "y": y + 0.0, **given})
    with pytest.raises(ValueError, match="'class_weight' of MLPFromScratchClassifier must be"):
        MLPFromScratchClassifier(class_weight={10: TOO_LARGE}).fit(X, y)


def test_as_many_epochs_averaged_as_an_integer_can_say():
    MLPFromScratchRegressor(average=10**30, max_iter=2).fit(X, y)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "multioutput"])
def test_score_names_its_arrays(task):
    X, y = make_task(task)
    model = our_estimator(task, max_iter=1).fit(X, y)
    n, ones = len(X), np.ones(len(X))
    strings_beside_numbers = [
        (np.full(n, "a"), None, "y cannot be used: "),
        (["a", 1] * (n // 2), None, "y cannot be used: "),
    ]
    if task in ("binary", "multiclass"):
        with suppress(ValueError, TypeError):
            accuracy_score(np.full(n, "a"), y)  # scikit-learn 1.7 finds that none is right
            strings_beside_numbers = []
    for y_given, weights, message in (
        (y[:5], None, "X has 150 samples, but y has 5"),
        (y.tolist()[:5], None, "X has 150 samples, but y has 5"),
        (None, None, "y must be an array"),
        (3, None, "y must be an array"),
        (np.full(y.shape, np.nan), None, "y cannot be used: "),
        *strings_beside_numbers,
        (np.zeros((n, 2, 2)), None, "y cannot be used: "),
        (np.zeros((n, 7)), None, "y cannot be used: "),
        (y, ones[:3], "X has 150 samples, but sample_weight has 3"),
        (y, np.full(n, np.nan), "Input sample_weight contains NaN"),
        (y, np.full(n, "a"), "sample_weight cannot be used: could not convert"),
        (y, np.ones((n, 2)), r"sample_weight must have shape \(n_samples,\), got \(150, 2\)"),
        (y, 0 * ones, "sample_weight must be positive for at least one sample"),
        (y, 2.0, "sample_weight must be an array"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"^{message}"):
            model.score(X, y_given, weights)
    with pytest.raises(ValueError, match=r"\bX\b"):
        model.score(X[:, 1:], y)
    assert model.score(X, y.tolist(), list(ones)) == model.score(X, y)


def test_messages_list_the_allowed_names():
    for model, wrong, names, base in (
        (MLPFromScratchClassifier(), {"activation": "gelo"}, ACTIVATIONS, "Activation"),
        (MLPFromScratchClassifier(), {"solver": "adm"}, [*OPTIMIZERS, "lbfgs"], "Optimizer"),
        (MLPFromScratchRegressor(), {"loss": "log_loss"}, REGRESSOR_LOSSES, "Loss"),
    ):
        allowed = ", ".join(map(repr, sorted(names)))
        with pytest.raises(ValueError, match=f"one of {allowed}, or an instance of {base}"):
            model.set_params(**wrong).fit(X, y)
    with pytest.raises(ValueError, match=r"Valid parameters are: .*'hidden_layer_sizes'"):
        MLPFromScratchClassifier().set_params(hidden_layers=(5,))
    with pytest.raises(TypeError, match=r"no parameter 'hidden_layers'.* Valid parameters are: .*'hidden_layer_sizes'"):
        MLPFromScratchClassifier(hidden_layers=(5,))


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden_layer_sizes": np.int64(3)},
        {"hidden_layer_sizes": range(2, 4)},
        {"hidden_layer_sizes": np.array(3)},
        {"hidden_layer_sizes": pd.Series([3, 2])},
        {"n_iter_no_change": np.inf},
        {"n_iter_no_change": np.float64(np.inf)},
        {"alpha": np.float32(0.1), "max_iter": np.int32(3), "shuffle": np.bool_(True)},
        {"random_state": np.random.RandomState(0)},
        {"momentum": 1, "alpha": 0, "solver": "sgd"},
        {"verbose": 0},
    ],
    ids="-".join,
)
def test_unusual_but_right_parameters(parameters):
    MLPFromScratchClassifier(**{"max_iter": 2, **parameters}).fit(X, y)


# Samples -------------------------------------------------------------------------------------------------------------

BAD_SAMPLES = {
    "nan": (NAN, "Input X contains NaN"),
    "inf": (INF, "Input X contains infinity"),
    "huge for float64": ([["1e400"]] * 5, "Input X contains infinity"),
    "1-d": (X[:, 0], "X cannot be used: Expected 2D array"),
    "3-d": (X.reshape(-1, 4, 2), r"X.*dim 3"),
    "scalar": (3.0, "X cannot be used: Expected 2D array"),
    "none": (None, "X cannot be used"),
    "no rows": (X[:0], "X.*0 sample"),
    "no columns": (X[:, :0], "X.*0 feature"),
    "complex": (X + 1j, "X cannot be used: Complex data not supported"),
    "text": (np.full(X.shape, "a"), "X cannot be used: .*could not convert"),
    "objects": (np.full(X.shape, {}, dtype=object), "X cannot be used"),
    "ragged": ([[1, 2], [3]], "X cannot be used"),
    "sparse nan": (sparse.csr_matrix(NAN), "Input X contains NaN"),
    "sparse complex": (sparse.csr_matrix(X + 1j), "X cannot be used: Complex data"),
    "sparse 1-d": (sparse.coo_array(X[:, 0]), "X"),
    "text column": (np.array([["1", "x"]] * 150, dtype=object), "X cannot be used: .*could not convert"),
}


@pytest.mark.parametrize("case", BAD_SAMPLES)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "predict_proba", "predict_log_proba"])
def test_bad_samples(case, method):
    samples, message = BAD_SAMPLES[case]
    estimator = MLPFromScratchClassifier(max_iter=2, random_state=0)
    if method.startswith("predict"):
        estimator.fit(X, y)
        before = state(estimator)
        with pytest.raises((ValueError, TypeError), match=message):
            getattr(estimator, method)(samples)
        assert_same_state(estimator.__getstate__(), before)
        return
    arguments = {"classes": [10, 20]} if method == "partial_fit" else {}
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(estimator, method)(samples, y, **arguments)
    assert not hasattr(estimator, "n_features_in_")
    with pytest.raises((ValueError, TypeError), match=message):
        MLPFromScratchRegressor().fit(samples, y)


RECORDS = {
    "columns": ({"a": [1.0, 2.0, 3.0], "b": np.ones(3)}, "X"),
    "rows": ([{"a": 1.0, "b": 2.0}] * 3, "X"),
    "row": ({"a": 1.0, "b": 2.0}, "[X]"),
    "array": (np.ones(3, dtype=[("a", float), ("b", float)]), "X"),
}


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("cls", [*ESTIMATORS, TabularMLPClassifier, TabularMLPRegressor])
def test_records_are_refused_with_advice_that_works(cls, kind):
    X, advice = RECORDS[kind]
    model = cls(max_iter=1).fit(pd.DataFrame({"a": [1.0, 2.0, 0.0], "b": [2.0, 1.0, 1.0]}), [0, 1, 0])
    for call in (lambda: model.fit(X, [0, 1, 0]), lambda: model.predict(X)):
        with pytest.raises(TypeError, match=rf"^X is no table.*{re.escape(f'pandas.DataFrame({advice})')}"):
            call()
    model.predict(pd.DataFrame([X] if advice == "[X]" else X))


MIXED = pd.DataFrame(
    {
        "number": [1.0, 2.0],
        "text": ["a", "b"],
        "digits": ["1", "2"],
        "date": pd.date_range("2020", periods=2),
        "category": pd.Categorical(["a", "b"]),
        "nullable": pd.array([1, 2], dtype="Int64"),
    }
)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (["number", "text"], "column 'text': there are"),
        (["digits", "text", "nullable", "category"], "columns 'text', 'category': there are"),
    ],
)
def test_columns_without_numbers_are_named(columns, named):
    message = f"X cannot be used: {named} other things than numbers.* OneHotEncoder in a ColumnTransformer"
    with pytest.raises((ValueError, TypeError), match=message):
        MLPFromScratchClassifier().fit(MIXED[columns], [0, 1])


@pytest.mark.parametrize(
    "times",
    [
        pd.date_range("2020", periods=2),
        pd.date_range("2020", periods=2, tz="Europe/Vienna"),
        pd.to_timedelta([1, 2], "D"),
        pd.period_range("2020", periods=2),
        [datetime.date(2020, 1, 1), None],
        pd.array(["2020-01-01", None], dtype="timestamp[s][pyarrow]"),
    ],
)
@pytest.mark.parametrize("beside", [["number"], ["text", "number"], []])
def test_dates_among_features_are_refused_with_advice(times, beside):
    """Also where there is nothing else, of which scikit-learn makes numbers such as 1.6e15."""
    message = "X cannot be used: column 'when': there are dates or durations. .*days since a date"
    frame = MIXED[beside].assign(when=times)
    with pytest.raises(TypeError, match=message):
        MLPFromScratchClassifier().fit(frame, [0, 1])
    with pytest.raises(TypeError, match=message):
        MLPFromScratchRegressor().partial_fit(frame, [0, 1])


def test_a_table_of_pyarrow_is_taken_for_an_array():
    samples = np.random.RandomState(0).randn(20, 2)
    table, y = pa.table({"a": samples[:, 0], "b": samples[:, 1]}), samples[:, 0]
    model = MLPFromScratchRegressor(max_iter=2, random_state=0)
    assert_array_equal(model.fit(table, y).predict(table), model.fit(samples, y).predict(samples))
    with pytest.raises(ValueError, match="Input X contains NaN in column 'a', and MLPFromScratchRegressor"):
        model.fit(pa.table({"a": np.full(20, np.nan)}), y)


WHENS = {
    "pyarrow dates": pa.table({"when": pa.array([datetime.date(2020, 1, 1), None])}),
    "pyarrow instants": pa.table({"a": [1.0, 2.0], "when": pa.array([datetime.datetime(2020, 1, 1)] * 2)}),
    "pyarrow durations": pa.record_batch({"when": pa.array([datetime.timedelta(1)] * 2)}),
    "pyarrow times": pa.table({"when": pa.array([datetime.time(1)] * 2)}),
    "pyarrow dictionary": pa.table({"when": pa.array([datetime.date(2020, 1, 1)] * 2).dictionary_encode()}),
    "pandas categories": pd.DataFrame({"when": pd.Categorical(pd.date_range("2020", periods=2))}),
    "pandas date32": pd.DataFrame(
        {"when": pd.Series([datetime.date(2020, 1, 1)] * 2, dtype=pd.ArrowDtype(pa.date32()))}
    ),
    "objects": np.array([[1, np.datetime64("2020")], [2, None]], dtype=object),
    "list": [[1.0, np.datetime64("2020")], [2.0, np.datetime64("2021")]],
    "list of durations": [[np.timedelta64(1, "D")], [np.timedelta64(2, "D")]],
    "list that begins with numbers": [[1.0, np.nan], [2.0, np.datetime64("2021")]],
    "tuple that begins with numbers": ((1, 0), (2, np.timedelta64(2, "D"))),
}


@pytest.mark.parametrize("case", WHENS)
def test_dates_are_refused_however_they_are_stored(case):
    """Of all these scikit-learn makes numbers."""
    message = "X cannot be used: column ('when'|[01]): there are dates or durations"
    with pytest.raises(TypeError, match=message):
        MLPFromScratchRegressor().fit(WHENS[case], [0.0, 1.0])
    fitted = MLPFromScratchClassifier(max_iter=1).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(TypeError, match=message):
        fitted.predict(WHENS[case])


def test_dates_of_arrays_and_polars_are_refused():
    days = np.array([["2020-01-01"], ["2020-01-02"]], dtype="datetime64[D]")
    with pytest.raises(TypeError, match="X cannot be used: column 0: there are dates or durations"):
        MLPFromScratchRegressor().fit(days, [0.0, 1.0])
    with pytest.raises(TypeError, match="X cannot be used: column 'when': there are dates or durations"):
        MLPFromScratchRegressor().fit(pl.DataFrame({"a": [1.0, 2.0], "when": days[:, 0]}), [0.0, 1.0])
    fitted = MLPFromScratchRegressor(max_iter=1).fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(TypeError, match="X cannot be used: column 0: there are dates or durations"):
        fitted.predict(days)


def test_a_column_may_have_the_name_of_an_attribute():
    """PyArrow's tables have ``column_names``, by which they are known."""
    frame = pd.DataFrame({"column_names": [1.0, 2.0, 3.0], "when": pd.date_range("2026-01-01", periods=3)})
    with pytest.raises(TypeError, match=r"columns? 'when': there are dates"):
        MLPFromScratchClassifier().fit(frame, [0, 1, 0])


def test_columns_without_numbers_of_arrays_and_of_validation_sets():
    with pytest.raises(ValueError, match=r"X cannot be used: columns 0, 1, 2, 3, 4, \.\.\.: there are other things"):
        MLPFromScratchClassifier().fit(np.full((2, 7), "a"), [0, 1])
    with pytest.raises(ValueError, match="X cannot be used: column 1: there are other things"):
        MLPFromScratchClassifier().fit(np.array([[1, "a"], [None, 2]], dtype=object), [0, 1])
    repeated = pd.concat([MIXED[["number"]], MIXED[["text"]].set_axis(["number"], axis=1)], axis=1)
    with pytest.raises(ValueError, match="X cannot be used: column 'number': there are other things"):
        MLPFromScratchClassifier().fit(repeated, [0, 1])
    held_out = MIXED[["text"]].set_axis(["number"], axis=1)
    with pytest.raises(ValueError, match="X_val cannot be used: column 'number': there are other things"):
        MLPFromScratchClassifier(max_iter=2).fit(MIXED[["number"]], [0, 1], X_val=held_out, y_val=[0, 1])
    # What is missing is another matter, of which scikit-learn tells.
    with pytest.raises(ValueError, match="Input X contains NaN"):
        MLPFromScratchClassifier().fit(pd.DataFrame({"a": [1, None]}, dtype="Int64"), [0, 1])


GAPS = {
    "array": (NAN, "in column 2, and"),
    "many columns": (np.full((2, 7), np.nan), r"in columns 0, 1, 2, 3, 4, \.\.\., and"),
    "frame": (pd.DataFrame({"age": [1.0, 2.0], "income": [np.nan, 1.0]}), "in column 'income', and"),
    "nullable frame": (pd.DataFrame({"age": [1, None], "size": [None, 1]}, dtype="Int64"), "in columns 'age', 'size',"),
    "objects": (np.array([[1, None], [2, 3]], dtype=object), "in column 1, and"),
    "polars": (pl.DataFrame({"age": [1.0, 2.0], "income": [None, 1.0]}), "in column 'income', and"),
    "sparse": (sparse.csr_array(NAN), "NaN, and"),
    "list": ([[1.0, np.nan], [1.0, 2.0]], "NaN, and"),
}


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("kind", GAPS)
def test_what_to_do_about_gaps(kind, cls):
    samples, where = GAPS[kind]
    message = rf"Input X contains NaN.*{where}.* make_pipeline\(SimpleImputer\(.*, {cls.__name__}\(\)\)"
    with pytest.raises(ValueError, match=message.replace("NaN.*NaN", "NaN")):
        cls().fit(samples, np.arange(samples.shape[0] if hasattr(samples, "shape") else 2) % 2)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_the_recipe_for_gaps_works(cls):
    recipe = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), cls(max_iter=2))
    assert np.isfinite(recipe.fit(NAN, y).predict(NAN)).all()


MISPLACED = {
    "eval_set": [(X, y)],
    "validation_data": (X, y),
    "valid_sets": [(X, y)],
    "validation_split": 0.1,
    "callbacks": [],
    "early_stopping_rounds": 5,
    "epochs": 10,
    "batch_size": 32,
    "eval_metric": "auc",
    "sample_weights": None,
    "X_valid": X,
    "Xval": X,
    "foo": 1,
}
SAID = {
    **dict.fromkeys(
        ("eval_set", "validation_data", "valid_sets", "X_valid"), "It is passed as X_val and y_val: fit(X, y, X_val="
    ),
    "validation_split": "Did you mean early_stopping=True and validation_fraction=...?",
    "callbacks": "Did you mean set_callbacks(...)?",
    "early_stopping_rounds": "Did you mean early_stopping=True and n_iter_no_change=...?",
    "epochs": "Did you mean 'max_iter'? It is a parameter of the estimator, for its constructor or set_params.",
    "batch_size": "batch_size is a parameter of the estimator, for its constructor or set_params.",
    "eval_metric": "Did you mean 'scoring'? It is a parameter of the estimator",
    "sample_weights": "Did you mean 'sample_weight'?",
    "Xval": "Did you mean 'X_val'?",
    "foo": "Its arguments are X, y, sample_weight, X_val, y_val, sample_weight_val, resume_from.",
}


@pytest.mark.parametrize("name", MISPLACED)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_arguments_that_fit_has_elsewhere(cls, name):
    message = f"^{cls.__name__}.fit has no argument {name!r}. .*{re.escape(SAID[name])}"
    assert_raises(cls(), lambda e: e.fit(X, y, **{name: MISPLACED[name]}), message, TypeError)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_arguments_that_partial_fit_has_not(cls):
    with pytest.raises(
        TypeError, match=r"partial_fit has no argument 'eval_set'. Its arguments are X, y, sample_weight"
    ):
        cls().partial_fit(X, y, eval_set=[(X, y)])
    with pytest.raises(
        TypeError, match=r"partial_fit has no argument 'epochs'. Did you mean 'max_iter'\? It is a param"
    ):
        cls().partial_fit(X, y, epochs=3)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_other_features_than_in_fit():
    names = pd.DataFrame(X, columns=list("abcdefgh"))
    estimator = MLPFromScratchClassifier(max_iter=2).fit(names, y)
    for call in (estimator.predict, estimator.predict_proba, lambda A: estimator.partial_fit(A, y)):
        with pytest.raises(ValueError, match="X has 7 features, but MLPFromScratchClassifier is expecting 8"):
            call(X[:, :7])
        with pytest.raises(ValueError, match=r"(?s)X cannot be used: The feature names .*\bz\b"):
            call(names.rename(columns={"a": "z"}))
    estimator.set_params(warm_start=True)
    with pytest.raises(ValueError, match="X has 7 features"):
        estimator.fit(X[:, :7], y)
    estimator.set_params(warm_start=False).fit(X[:, :7], y)
    assert estimator.n_features_in_ == 7
    assert not hasattr(estimator, "feature_names_in_")


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_predict_before_fit(cls):
    assert NotFittedError is SameNotFittedError
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(cls, method):
            with pytest.raises(NotFittedError, match=cls.__name__):
                getattr(cls(), method)(X)
    with pytest.raises(NotFittedError, match=cls.__name__):
        cls().score(X, y)


# Targets -------------------------------------------------------------------------------------------------------------

BAD_LABELS = {
    "continuous": (X[:, 0], "Unknown label type: y is continuous"),
    "several continuous": (X[:, :2], "Unknown label type: y is continuous-multioutput"),
    "too long": (np.append(y, 10), "X has 150 samples, but y has 151"),
    "none": (None, "requires y to be passed, but the target y is None"),
    "nan": (np.where(y == 10, np.nan, 1.0), "Input y contains NaN"),
    "inf": (np.where(y == 10, np.inf, 1.0), "Input y contains infinity"),
    "missing": ([None, *y[1:]], "y contains None"),
    "missing object": (np.array([None, *y[1:]], dtype=object), "y contains None"),
    "missing string": (np.array([np.nan, *["a"] * 149], dtype=object), "y contains nan"),
    "missing pandas string": (pd.Series([None, *["a"] * 149], dtype="string"), "y contains <NA>"),
    "mixed frame": (pd.DataFrame({"y": ["a", *y[1:]]}), "y mixes labels"),
    "numbers as objects": (y.astype(object), "Unknown label type: y is unknown.*numeric dtype"),
    "sparse labels 1 and 2": (
        sparse.csr_matrix(np.tile([[1, 2]], (150, 1))),
        "y is a sparse matrix, which must be one of",
    ),
    "mixed": (["a", *y[1:]], "y mixes labels of different types: .*int.*, str"),
    "mixed object": (np.array(["a", *y[1:]], dtype=object), "y mixes labels"),
    "mixed rows": ([["a", 1], ["b", 2], ["c", 1]] * 50, "y mixes labels of different types: int, str"),
    "missing in a row": ([["a", "d"], ["b", None], ["c", "d"]] * 50, "y contains None"),
    "lists of labels": ([["a", "b"], ["a"], []] * 50, "y has several labels for a sample.*MultiLabelBinarizer"),
    "sets of labels": ([{"a"}, {"b"}, {"c"}] * 50, "y has several labels for a sample.*MultiLabelBinarizer"),
    "column of lists": (pd.Series([["a", "b"], ["a", "c"]] * 75), "y has several labels for a sample"),
    "3-d": (np.zeros((150, 1, 1)), "y"),
    "3-d list": (np.zeros((150, 1, 1)).tolist(), "y"),
    "empty": ([], "y"),
    "complex": (y + 1j, "y cannot be used: Complex data"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(case):
    labels, message = BAD_LABELS[case]
    assert_raises(MLPFromScratchClassifier(), lambda e: e.fit(X, labels), message)
    assert_raises(MLPFromScratchClassifier(), lambda e: e.partial_fit(X, labels, classes=[10, 20]), message)


BAD_NUMBERS = {
    "nan": (NAN[:, 2], "Input y contains NaN"),
    "inf": (INF[:, 2], "Input y contains infinity"),
    "too short": (X[:9, 0], "X has 150 samples, but y has 9"),
    "none": (None, "requires y to be passed, but the target y is None"),
    "text": (["a"] * 150, "y cannot be used: could not convert string"),
    "complex": (X[:, 0] + 1j, "y cannot be used: Complex data"),
    "3-d": (np.zeros((150, 1, 1)), "y"),
    "no columns": (np.zeros((150, 0)), "y"),
    "scalar": (1.0, "y"),
    "sparse": (sparse.csr_matrix(X), "y"),
}


@pytest.mark.parametrize("case", BAD_NUMBERS)
def test_bad_numbers(case):
    targets, message = BAD_NUMBERS[case]
    assert_raises(MLPFromScratchRegressor(), lambda e: e.fit(X, targets), message)
    assert_raises(MLPFromScratchRegressor(), lambda e: e.partial_fit(X, targets), message)


DATES = pd.Series(pd.date_range("2020-01-01", periods=150))
DURATIONS = DATES - DATES[0]
DAYS = [datetime.timedelta(days=i) for i in range(150)]
TIMES = {
    "datetime64": DATES.to_numpy(),
    "timedelta64": DURATIONS.to_numpy(),
    "column of datetime64": DATES.to_numpy().reshape(-1, 1),
    "list of timedelta64": list(DURATIONS.to_numpy()),
    "objects of datetime64": np.array([*DATES.to_numpy(), None], dtype=object)[:-1],
    "objects of timedelta64": np.array([*DURATIONS.to_numpy().astype("m8[D]"), None], dtype=object)[:-1],
    "Python dates": [datetime.date(2020, 1, 1) + days for days in DAYS],
    "Python datetimes": np.array([datetime.datetime(2020, 1, 1) + days for days in DAYS], dtype=object),
    "Python times": [datetime.time(i % 24) for i in range(150)],
    "Python timedeltas": DAYS,
    "pandas dates": DATES,
    "pandas dates with NaT": DATES.mask(DATES.index == 3),
    "pandas durations": DURATIONS,
    "pandas durations with NaT": DURATIONS.mask(DATES.index == 3),
    "pandas numbers with NaT": pd.Series([1.0, pd.NaT, *range(148)], dtype=object),
    "pandas time zone": DATES.dt.tz_localize("UTC"),
    "pandas periods": DATES.dt.to_period("D"),
    "pandas index": pd.DatetimeIndex(DATES),
    "pandas categories": DATES.astype("category"),
    "pandas frame": pd.DataFrame({"a": DATES}),
    "pandas frame of durations and numbers": pd.DataFrame({"a": DURATIONS, "b": np.arange(150.0)}),
    "arrow dates": DATES.astype("timestamp[ns][pyarrow]"),
    "arrow durations": DURATIONS.astype("duration[ns][pyarrow]"),
    "pyarrow dates": pa.array(DATES),
    "pyarrow table": pa.table({"a": pa.array(DURATIONS), "b": np.arange(150.0)}),
    "polars dates": pl.Series(DATES.to_numpy()).cast(pl.Date),
    "polars durations": pl.Series(DURATIONS.to_numpy()),
    "polars times": pl.Series([datetime.time(i % 24) for i in range(150)]),
    "polars frame of dates and numbers": pl.DataFrame({"a": DATES.to_numpy(), "b": np.arange(150.0)}),
}


@pytest.mark.parametrize("kind", TIMES)
def test_dates_and_durations_are_no_numbers(kind):
    times, message = TIMES[kind], r"y must be numbers, got dates or durations \(.+\)\. Make numbers of them"
    assert_raises(MLPFromScratchRegressor(), lambda e: e.fit(X, times), f"^{message}", TypeError)
    assert_raises(MLPFromScratchRegressor(), lambda e: e.partial_fit(X, times), f"^{message}", TypeError)
    own = {"X_val": X, "y_val": times}
    with pytest.raises(TypeError, match=f"^y_val cannot be used: {message}"):
        MLPFromScratchRegressor().fit(X, np.arange(150.0), **own)
    model = MLPFromScratchRegressor(max_iter=1).fit(X, np.arange(150.0))
    assert_raises(model, lambda e: e.score(X, times), f"^{message}", TypeError)


def test_durations_in_a_unit_are_numbers():
    """What the error says to do works."""
    for numbers in (DURATIONS / np.timedelta64(1, "D"), (DATES - DATES.min()) / np.timedelta64(1, "D")):
        model = MLPFromScratchRegressor(max_iter=2, random_state=0).fit(X, numbers)
        expected = MLPFromScratchRegressor(max_iter=2, random_state=0).fit(X, np.arange(150.0))
        assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_too_large_for_the_dtype_of_the_samples():
    with pytest.raises(ValueError, match=r"y has values too large for float32, the dtype of X: 1e\+39"):
        MLPFromScratchRegressor().fit(X.astype(np.float32), np.full(150, 1e39))


def test_gaps_in_targets_that_scikit_learn_was_told_not_to_look_for():
    with config_context(assume_finite=True), pytest.raises(ValueError, match="y has NaN"):
        MLPFromScratchRegressor().fit(X, np.where(y > 0, np.nan, y))


def test_negative_counts():
    for method in ("fit", "partial_fit"):
        message = "y must not be negative with loss='poisson', got a minimum of -2"
        assert_raises(
            MLPFromScratchRegressor(loss="poisson"), lambda e, m=method: getattr(e, m)(X, np.arange(150) - 2), message
        )


# Weights -------------------------------------------------------------------------------------------------------------

BAD_WEIGHTS = {
    "nan": (np.where(y == 10, np.nan, 1), "Input sample_weight contains NaN"),
    "inf": (np.where(y == 10, np.inf, 1), "Input sample_weight contains infinity"),
    "negative": (np.where(y == 10, -1.5, 1), "sample_weight must not be negative, got a minimum of -1.5"),
    "zero": (np.zeros(150), "sample_weight must be positive for at least one sample"),
    "short": (np.ones(149), "X has 150 samples, but sample_weight has 149"),
    "2-d": (np.ones((150, 1)), r"sample_weight must have shape \(n_samples,\), got \(150, 1\)"),
    "text": (["a"] * 150, "sample_weight cannot be used: could not convert"),
    "string": ("balanced", "sample_weight"),
    "complex": (np.ones(150) + 1j, "sample_weight cannot be used: Complex data"),
    "infinite sum": (np.full(150, 1e307), r"sample_weight must have a finite sum, got a maximum of 1e\+307"),
    "negative number": (-1, "sample_weight must not be negative"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_bad_weights(cls, case):
    weight, message = BAD_WEIGHTS[case]
    assert_raises(cls(), lambda e: e.fit(X, y, sample_weight=weight), message)
    classes = {"classes": [10, 20]} if cls is MLPFromScratchClassifier else {}
    assert_raises(cls(), lambda e: e.partial_fit(X, y, sample_weight=weight, **classes), message)


# partial_fit ---------------------------------------------------------------------------------------------------------


def test_partial_fit_without_classes():
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        MLPFromScratchClassifier().partial_fit(X, y)
    X_multi, y_multi = make_task("multilabel")
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        MLPFromScratchClassifier().partial_fit(X_multi, y_multi)


def test_partial_fit_with_other_classes():
    estimator = MLPFromScratchClassifier().partial_fit(X, y, classes=[10, 20])
    before = state(estimator)
    with pytest.raises(ValueError, match=r"y has classes \[30\] that are not in classes_, \[10 20\]"):
        estimator.partial_fit(X, y + 10)
    with pytest.raises(ValueError, match=r"classes=\[10, 30\] is not the same as on the first call, \[10 20\]"):
        estimator.partial_fit(X, y, classes=[10, 30])
    with pytest.raises(ValueError, match="y is multilabel-indicator, but the model was fitted on binary targets"):
        estimator.partial_fit(*make_task("multilabel"))
    assert_same_state(estimator.__getstate__(), before)
    with pytest.raises(ValueError, match=r"y has classes \[20\] that are not in classes_, \[10 11\]"):
        MLPFromScratchClassifier().partial_fit(X, y, classes=[10, 11])


@pytest.mark.parametrize("classes", [[[10, 20]], [0.5, 1.5], 3, [[10], [20]]], ids=str)
def test_partial_fit_with_malformed_classes(classes):
    with pytest.raises(ValueError, match="classes must be a 1-d array of class labels"):
        MLPFromScratchClassifier().partial_fit(X, y, classes=classes)


@pytest.mark.parametrize(
    "classes",
    [
        [1, "a"],
        [None, 1],
        [np.nan, 1.0],
        [],
        "ab",
        {10: 1},
        [[10, 20], [1]],
        [b"a", b"b"],
        [1j, 2],
        [np.inf, 1.0],
        [10**400, 1],
        pd.Series(["a", None], dtype=object),
        object(),
    ],
    ids=lambda classes: str(classes)[:20],
)
def test_classes_that_cannot_be_used_are_named(classes):
    message = r"^classes (cannot be used: |must be a 1-d array of class labels)"
    model = MLPFromScratchClassifier()
    with pytest.raises((ValueError, TypeError), match=message):
        model.partial_fit(X, y, classes=classes)
    model.partial_fit(X, y, classes=[10, 20])
    with pytest.raises((ValueError, TypeError), match=r"^classes ?(cannot be used: |=.* is not the same as)"):
        model.partial_fit(X, y, classes=classes)


def test_other_targets_are_not_put_down_to_classes():
    model = MLPFromScratchClassifier().partial_fit(X, y, classes=[10, 20])
    with pytest.raises(ValueError, match=r"^y is multilabel-indicator, but the model was fitted on binary targets"):
        model.partial_fit(*make_task("multilabel"), classes=[10, 20])


@pytest.mark.parametrize("classes", [range(2), range(4)])
def test_partial_fit_with_other_columns_than_classes(classes):
    with pytest.raises(ValueError, match=f"y has 3 columns, but there are {len(classes)} classes"):
        MLPFromScratchClassifier().partial_fit(*make_task("multilabel"), classes=classes)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_partial_fit_with_lbfgs(cls):
    assert not hasattr(cls(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        cls(solver="lbfgs").partial_fit(X, y)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_partial_fit_with_early_stopping(cls):
    assert_raises(
        cls(early_stopping=True), lambda e: e.partial_fit(X, y), "partial_fit does not support early_stopping"
    )


# Validation split ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "fraction", "n"),
    [
        (MLPFromScratchRegressor, 0.1, 10),
        (MLPFromScratchRegressor, 0.0, 150),
        (MLPFromScratchRegressor, 0.99, 2),
        (MLPFromScratchClassifier, 0.1, 10),
        (MLPFromScratchClassifier, 0.99, 20),
    ],
)
def test_validation_split_too_small(cls, fraction, n):
    estimator = cls(early_stopping=True, validation_fraction=fraction)
    message = f"validation_fraction={fraction} of {n} samples leaves"
    assert_raises(estimator, lambda e: e.fit(X[:n], np.arange(n) % 2), message)


@pytest.mark.parametrize(
    ("often", "rare", "dtype"),
    [
        (0, 1, int),
        (1, 2, int),
        (1.0, 2.0, float),
        (True, False, bool),
        ("ok", "fraud", np.str_),
        ("fraud", "ok", object),
    ],
)
def test_validation_split_with_a_rare_class(often, rare, dtype):
    labels = np.array([often] * 149 + [rare], dtype=dtype)
    message = f"validation_fraction=0.1 of 150 samples cannot be held out .*: the class {rare!r} has only 1 sample"
    estimator = MLPFromScratchClassifier(early_stopping=True)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, labels)
    assert not hasattr(estimator, "coefs_")


def test_validation_split_without_weight():
    estimator = MLPFromScratchRegressor(early_stopping=True, random_state=0)
    weight = np.zeros(150)
    weight[0] = 1
    assert_raises(
        estimator, lambda e: e.fit(X, y, weight), "sample_weight is zero for every sample of the validation set"
    )
    weight[:] = 0
    from sklearn.model_selection import train_test_split

    rng = np.random.RandomState(0)
    rng.uniform(size=8 * 100 + 100 + 100 + 1)
    _, held_out = train_test_split(np.arange(150), test_size=0.1, random_state=rng)
    weight[held_out] = 1
    assert_raises(
        estimator, lambda e: e.fit(X, y, weight), "sample_weight is zero for every sample of the training set"
    )


# Divergence ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_features_of_huge_magnitude(task, solver):
    X, y = make_task(task)
    estimator = our_estimator(
        task, solver=solver, activation="relu", learning_rate_init=1.0 if solver != "lbfgs" else 0.001
    )
    with pytest.raises(ValueError, match=r"Training diverged in .*Scale the features of X"):
        estimator.fit(X * 1e200, y)
    assert not hasattr(estimator, "coefs_")


def test_divergence_is_noticed_in_its_epoch(capsys):
    X, y = make_task("regression")
    estimator = MLPFromScratchRegressor(solver="sgd", learning_rate_init=1e3, verbose=True, random_state=0)
    message = (
        r"epoch 4: the loss is inf\. Scale the features of X.*learning_rate_init \(now 1000\) or set max_grad_norm"
    )
    with pytest.raises(ValueError, match=message):
        estimator.fit(1e3 * X, y)
    assert capsys.readouterr().out.count("Iteration") == 3
    fitted = MLPFromScratchRegressor(max_iter=3, random_state=0, solver="sgd").fit(X, y)
    before = state(fitted)
    fitted.set_params(learning_rate_init=1e150)
    for _ in range(2):
        with pytest.raises(ValueError, match="Training diverged in epoch 1"):
            fitted.partial_fit(1e150 * X, y)
    fitted.set_params(learning_rate_init=0.001)
    assert_same_state(fitted.__getstate__(), before)


def test_divergence_of_lbfgs():
    X, y = make_task("poisson")
    with pytest.raises(ValueError, match=r"Training diverged in iteration 0 of lbfgs: .*Scale the features of X"):
        MLPFromScratchRegressor("poisson", solver="lbfgs", random_state=0).fit(1e5 * np.abs(X), y)


def test_ignored_parameters_warn():
    for parameters, message in (
        ({"learning_rate": "adaptive"}, "solver='adam' does not use learning_rate='adaptive'"),
        (
            {"momentum": 0.5, "nesterovs_momentum": False},
            "solver='adam' does not use momentum=0.5, nesterovs_momentum=False",
        ),
        ({"solver": "sgd", "beta_1": 0.5}, "solver='sgd' does not use beta_1=0.5"),
        ({"solver": "lbfgs", "early_stopping": True}, "solver='lbfgs' does not use early_stopping=True"),
    ):
        for cls in ESTIMATORS:
            with pytest.warns(UserWarning, match=re.escape(message)):
                cls(max_iter=2, **parameters).fit(X, y)


@pytest.mark.parametrize(
    "name", [name for name, row in SHARED_PARAMETERS.items() if row.use not in (Use.ALL, Use.MINIBATCHES)]
)
@pytest.mark.parametrize("solver", ["lbfgs", *OPTIMIZERS])
def test_every_parameter_that_is_ignored_warns(solver, name):
    other = {"batch_size": 50, "learning_rate": "adaptive", "shuffle": False, "nesterovs_momentum": False}
    other |= {"early_stopping": True, "n_iter_no_change": 3, "max_fun": 99, "validation_fraction": 0.2, "power_t": 0.4}
    other["scoring"] = "loss"
    estimator = MLPFromScratchClassifier(solver=solver, max_iter=2, **{name: other.get(name, 0.5)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, y)
    ignored = any("does not use" in str(w.message) for w in caught)
    use = SHARED_PARAMETERS[name].use
    if solver == "lbfgs" or use is Use.LBFGS:
        assert ignored == (solver != "lbfgs" or use is not Use.LBFGS)
    elif use is Use.SCHEDULE:
        assert ignored == (solver == "adam")
    elif use is Use.OPTIMIZER:
        assert ignored == (name not in OPTIMIZERS[solver]().get_params())
    else:
        assert not ignored


def test_predictions_for_huge_samples_do_not_warn():
    for cls in ESTIMATORS:
        cls(max_iter=2).fit(X, y).predict(1e300 * X)
    MLPFromScratchRegressor(loss="poisson", max_iter=2).fit(X, y).predict(1e10 * X)


@pytest.mark.parametrize("task", CLASSIFICATION)
def test_unknown_solver_is_named_by_partial_fit_too(task):
    assert not hasattr(our_estimator(task, solver="foo"), "partial_fit")
