"""Random use of scikit-learn's own parameters does here what it does in scikit-learn, step by step.

A draw is an estimator and a sequence of fit, partial_fit and set_params, with samples, targets and weights in any form
that users have them in. ``PARITY_DRAWS=500 python -m pytest -n 2 tests/test_random_parity.py`` makes so many.
"""

import os
import warnings
from copy import deepcopy

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from tasks import CLASSIFICATION, TASKS, make_task
from test_parity import TOLERANCE, assert_close, assert_same_model

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor

try:
    import numba
except ImportError:
    numba = None

N_DRAWS = int(os.environ.get("PARITY_DRAWS", "48"))
ENGINES = ["auto", "numpy", "numba"] if numba else ["auto", "numpy"]

# Not drawn: random_state=None, as the two could not be compared, and verbose, whose output test_parity.py compares.
# Values with which steps amplify rounding (a large rate, a small beta_2), so that no digits would be left to compare.
PARAMETERS = {
    "hidden_layer_sizes": [(), (4,), (6, 5), 3, [5], np.array([4, 3]), (np.int8(7), 2)],
    "activation": ["identity", "logistic", "tanh", "relu"],
    "solver": ["adam", "sgd", "lbfgs"],
    "alpha": [0, 1e-4, 0.1, 10, np.float32(0.01), np.int8(1)],
    "batch_size": ["auto", 7, 32, np.int64(64), 1000],
    "learning_rate": ["constant", "invscaling", "adaptive"],
    "learning_rate_init": [1e-4, 0.001, 0.01, np.float64(0.03)],
    "power_t": [0, 0.3, 0.5, 1],
    "max_iter": [1, 2, np.int8(4), 8],
    "shuffle": [True, False, np.bool_(True)],
    "random_state": [0, np.int64(7), np.random.RandomState(1)],
    "tol": [0, 1e-4, 0.01, np.float32(0.1), 10],
    "warm_start": [False, True],
    "momentum": [0, 0.5, np.float32(0.9), 1],
    "nesterovs_momentum": [True, False],
    "early_stopping": [False, True],
    "validation_fraction": [0.1, np.float32(0.2), 0.5],
    "beta_1": [0, 0.5, np.float64(0.95)],
    "beta_2": [0.9, 0.999],
    "epsilon": [1e-8, 1e-3, 1],
    "n_iter_no_change": [1, np.int64(3), 10],
    "max_fun": [3, 10, np.int64(15000)],
}
WRONG_PARAMETERS = {
    "hidden_layer_sizes": [0, (3, -1)],
    "activation": ["rely", None, 3],
    "solver": ["adams", None],
    "alpha": [-1, "0.1", None, np.float32(-1)],
    "batch_size": [0, -5, 2.5, "all", None],
    "learning_rate": ["constants", None, 0.1],
    "learning_rate_init": [0, -0.1, None],
    "power_t": [-1, None],
    "max_iter": [0, 2.5, np.int8(-3)],
    "shuffle": ["yes", None],
    "random_state": ["seed", -1],
    "tol": [-1, None],
    "momentum": [-0.1, 1.5],
    "validation_fraction": [-0.1, 1, 2],
    "beta_1": [1, -0.1],
    "beta_2": [1.5, np.int64(1)],
    "epsilon": [0, -1],
    "n_iter_no_change": [0, None],
    "max_fun": [0, 0.5],
}
# What the optimiser is built with.
OF_THE_OPTIMIZER = (
    *("solver", "learning_rate", "learning_rate_init", "power_t"),
    *("momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon"),
)

SAMPLES = {
    "array": np.ascontiguousarray,
    "float32": np.float32,
    "float16": np.float16,
    "Fortran order": np.asfortranarray,
    "every other row of a larger array": lambda X: np.repeat(X, 2, axis=0)[::2],
    "whole numbers": lambda X: np.round(2 * X).astype(int),
    "objects": lambda X: X.astype(object),
    "list": lambda X: X.tolist(),
    "pandas": lambda X: pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]),
    "pandas, float32": lambda X: pd.DataFrame(X.astype(np.float32), columns=[f"x{i}" for i in range(X.shape[1])]),
    "polars": lambda X: pl.DataFrame(X, schema=[f"x{i}" for i in range(X.shape[1])]),
    "CSR matrix": sparse.csr_matrix,
    "CSR array of float32": lambda X: sparse.csr_array(X.astype(np.float32)),
    "CSC array": sparse.csc_array,
    "COO matrix": sparse.coo_matrix,
    "unscaled": lambda X: 50 * X + 20,
}
WRONG_SAMPLES = {
    "NaN": lambda X: np.where(np.arange(X.size).reshape(X.shape) == 5, np.nan, X),
    "infinity": lambda X: np.where(np.arange(X.size).reshape(X.shape) == 5, np.inf, X),
    "one dimension": lambda X: X[:, 0],
    "three dimensions": lambda X: X[np.newaxis],
    "a row too few": lambda X: X[1:],
    "no rows": lambda X: X[:0],
    "text": lambda X: np.full(X.shape, "a"),
}
LABELS = {
    "array": np.asarray,
    "list": lambda y: y.tolist(),
    "floats": np.float64,
    "int8": np.int8,
    "strings": lambda y: np.array([f"label {label}" for label in y]),
    "objects": lambda y: np.array([f"label {label}" for label in y], dtype=object),
    "list of strings": lambda y: [f"label {label}" for label in y],
    "pandas": pd.Series,
    "a column": lambda y: y.reshape(-1, 1),
}
INDICATORS = {
    "array": np.asarray,
    "list": lambda y: y.tolist(),
    "bool": np.bool_,
    "float32": np.float32,
    "pandas": pd.DataFrame,
    "CSR matrix": sparse.csr_matrix,
    "CSC array": sparse.csc_array,
}
TARGETS_OF_NUMBERS = {
    "array": np.asarray,
    "list": lambda y: y.tolist(),
    "float32": np.float32,
    "whole numbers": lambda y: np.round(y).astype(int),
    "pandas": lambda y: pd.Series(y) if y.ndim == 1 else pd.DataFrame(y),
    "a column": lambda y: y.reshape(-1, 1) if y.ndim == 1 else y,
    "Fortran order": np.asfortranarray,
}
# scikit-learn sums weights of float32 in float32: eighths have exact sums. A minibatch in which no weight is positive
# is a ZeroDivisionError there.
WEIGHTS = {
    "none": lambda n: None,
    "array": lambda n: np.linspace(0.1, 2, n),
    "list": lambda n: np.linspace(0.1, 2, n).tolist(),
    "whole numbers": lambda n: 1 + np.arange(n) % 3,
    "float32": lambda n: ((1 + np.arange(n) % 9) / 8).astype(np.float32),
    "pandas": lambda n: pd.Series(np.linspace(0.1, 2, n)),
    "every other zero": lambda n: np.arange(n) % 2,
    "a number": lambda n: 2.0,
}
WRONG_TARGETS = {
    "NaN": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 5, np.nan, y),
    "one too few": lambda y: y[1:],
    "three dimensions": lambda y: y.reshape(-1, 1, 1),
    "none": lambda y: None,
}
WRONG_WEIGHTS = {
    "one too few": lambda n: np.ones(n - 1),
    "NaN": lambda n: np.full(n, np.nan),
    "2-d": lambda n: np.ones((n, 2)),
}


class Draws:
    """Draws what a user might do; the same for the same number."""

    def __init__(self, number):
        self._rng = np.random.RandomState(number)

    def one_in(self, n):
        return self._rng.randint(n) == 0

    def one_of(self, options):
        """Return one of the options; of a dict, its name and itself."""
        options = list(options.items()) if isinstance(options, dict) else options
        return options[self._rng.randint(len(options))]

    def parameters(self, names, wrong=False):
        """Return values for these parameters; with ``wrong``, one value is not allowed."""
        chosen = {name: self.one_of(PARAMETERS[name]) for name in sorted(names)}
        if wrong:
            name, values = self.one_of(WRONG_PARAMETERS)
            chosen[name] = self.one_of(values)
        return chosen

    def data(self, task, sample_kinds, make_target):
        """Return some samples, targets and weights, the names of what they are like, and whether one is wrong."""
        X, y = make_task(task)
        n_rows = self.one_of([150, 150, 100, 40, 12])
        first = self.one_of([0, 150 - n_rows])
        X, y = X[first : first + n_rows], y[first : first + n_rows]
        samples, weights = self.one_of(sample_kinds), self.one_of(WEIGHTS)
        targets, wrong = (
            ("right", make_target),
            self.one_of(["samples", "targets", "weights"]) if self.one_in(15) else "",
        )
        if wrong == "samples":
            samples = self.one_of(WRONG_SAMPLES)
        elif wrong == "targets":
            targets = self.one_of(WRONG_TARGETS)
        elif wrong == "weights":
            weights = self.one_of(WRONG_WEIGHTS)
        names = n_rows, *(name for name, _ in (samples, targets, weights))
        return samples[1](X), targets[1](y), weights[1](n_rows), names, bool(wrong)


class Twins:
    """An estimator of ours and its scikit-learn counterpart, to which the same is done."""

    def __init__(self, task, engine, parameters):
        self.classifies = task in CLASSIFICATION
        if task == "poisson":
            parameters = {**parameters, "loss": "poisson"}
        ours = MLPFromScratchClassifier if self.classifies else MLPFromScratchRegressor
        self.ours = ours(**deepcopy(parameters), engine=engine)
        self.theirs = (MLPClassifier if self.classifies else MLPRegressor)(**deepcopy(parameters))
        self.tolerance, self.optimizer = 0.0, None

    def set_params(self, parameters):
        self.ours.set_params(**deepcopy(parameters))
        self.theirs.set_params(**deepcopy(parameters))

    def call(self, method, **arguments):
        """Call a method of both; return the errors and the warnings of each."""
        errors, caught = [], []
        for estimator in (self.ours, self.theirs):
            with warnings.catch_warnings(record=True) as record, np.errstate(all="ignore"):
                warnings.simplefilter("always")
                try:
                    getattr(estimator, method)(**arguments)
                    errors.append(None)
                except Exception as error:  # which of them it may be is what is tested
                    errors.append(error)
            caught.append({w.category for w in record} & {ConvergenceWarning, DataConversionWarning})
        return errors, caught

    def do(self, method, arguments, kinds, wrong_parameters, wrong_data):
        """Call a method of both and compare what it did; return whether their ways are the same from here on, too."""
        parameters = self.theirs.get_params()
        print(type(self.ours).__name__, self.ours.engine, method, kinds, parameters)
        optimizer = {name: parameters[name] for name in OF_THE_OPTIMIZER}
        if method == "partial_fit" and self.optimizer not in (None, optimizer):
            return False  # after set_params it follows the parameters here, and in scikit-learn does not
        best = getattr(self.theirs, "best_validation_score_", None)
        errors, caught = self.call(method, **arguments)
        if any(errors):
            print(errors)
            assert all(errors) or is_documented(*errors, self, method, wrong_parameters)
            assert errors[0] is None or isinstance(errors[0], ValueError | TypeError | AttributeError)
            return False  # after an error scikit-learn's estimator is half changed
        assert not wrong_data
        if np.isnan(self.theirs.loss_):
            return False  # the Poisson loss divides by predictions that have become 0 there
        assert caught[1] <= caught[0]  # there are more ConvergenceWarnings here
        if parameters["solver"] != "lbfgs":
            self.optimizer = optimizer
            if parameters["warm_start"] and best is not None and best == self.theirs.best_validation_score_:
                return False  # without an improvement, scikit-learn overwrites the weights that were the best
        self.tolerance = max(self.tolerance, TOLERANCE[parameters["solver"]], 1e-3 * ("float32" in kinds[1]))
        if kinds[1] == "unscaled" and parameters["solver"] == "sgd":
            return False  # steps amplify rounding
        if kinds[1] == "unscaled" and self.tolerance == 1e-3:
            return False  # log-loss is cut off at the eps of the model's dtype here, and there at that of X
        self.assert_same(arguments["X"])
        # With L-BFGS a model of float32 becomes one of float64 there.
        return not (self.tolerance == 1e-3 and parameters["solver"] == "lbfgs")

    def assert_same(self, X):
        ours, theirs = self.ours, self.theirs
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* feature names", UserWarning)  # of samples unlike the first
            assert_same_model(ours, theirs, X, self.tolerance)
            if self.classifies:
                assert_close(np.exp(ours.predict_log_proba(X)), theirs.predict_proba(X), 10 * self.tolerance)


def is_documented(ours, theirs, twins, method, wrong):
    """Return whether it is a difference listed in the README that only one of the estimators has raised an error."""
    estimator, message = twins.theirs, str(ours)
    return (
        # bad parameters: some pass silently in scikit-learn
        (theirs is None and wrong and isinstance(ours, ValueError | TypeError | AttributeError))
        # training that diverges is an error in the epoch in which it happens
        or "Training diverged" in message
        # partial_fit with multilabel targets fails in scikit-learn before 1.9
        or (method == "partial_fit" and "multilabel" in str(theirs))
        # partial_fit of the regressor with L-BFGS
        or (method == "partial_fit" and estimator.solver == "lbfgs" and isinstance(ours, AttributeError))
        # a model of other layers is not trained further
        or "cannot be trained further" in message
        # early_stopping switched on or off for a model that is trained further
        or (isinstance(theirs, TypeError) and "NoneType" in str(theirs))
        or (isinstance(theirs, AttributeError) and "NoneType" in str(theirs))
        # a stochastic solver that trains a model of L-BFGS further, which has no curve there
        or (isinstance(theirs, AttributeError) and "loss_curve_" in str(theirs))
        # early_stopping with labels that are strings fails in scikit-learn before 1.9
        or (isinstance(theirs, TypeError) and estimator.early_stopping and "isnan" in str(theirs))
        # a minibatch whose weights are all zero
        or isinstance(theirs, ZeroDivisionError)
    )


@pytest.mark.parametrize("number", range(N_DRAWS))
def test_draw(number):
    draws = Draws(number)
    task = draws.one_of(TASKS)
    y = make_task(task)[1]
    wrong = draws.one_in(12)
    names = {"max_iter", "random_state"} | {name for name in PARAMETERS if draws.one_in(2)}
    twins = Twins(task, draws.one_of(ENGINES), draws.parameters(names, wrong))
    sample_kinds = {"array": SAMPLES["array"]} | dict(draws.one_of(SAMPLES) for _ in range(2))
    kinds_of_targets = TARGETS_OF_NUMBERS if task not in CLASSIFICATION else LABELS if y.ndim == 1 else INDICATORS
    _, make_target = draws.one_of(kinds_of_targets)
    for _ in range(draws.one_of([1, 1, 2, 3, 4])):
        if hasattr(twins.theirs, "coefs_") and draws.one_in(2):
            wrong = draws.one_in(12)
            twins.set_params(draws.parameters([draws.one_of([*PARAMETERS])], wrong))
        method = draws.one_of(["fit", "fit", "partial_fit"])
        X, target, weight, kinds, wrong_data = draws.data(task, sample_kinds, make_target)
        arguments = {"X": X, "y": target, "sample_weight": weight}
        if method == "partial_fit" and twins.classifies and not draws.one_in(12):
            arguments["classes"] = np.unique(np.asarray(make_target(y))) if y.ndim == 1 else np.arange(y.shape[1])
        if not twins.do(method, arguments, kinds, wrong, wrong_data):
            return
