"""Fitted models of scikit-learn turned into ours, and ours into scikit-learn's."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.activations import ACTIVATIONS, Activation
from sknn_scratch.classifier import MLPFromScratchClassifier
from sknn_scratch.losses import Heads, LogLoss, PoissonDeviance, SquaredError
from sknn_scratch.parameters import make_optimizer, make_schedule
from sknn_scratch.perceptron import layer_views
from sknn_scratch.regressor import MLPFromScratchRegressor

__all__ = ["from_sklearn", "to_sklearn"]

PAIRS: list[tuple[type[Any], type[Any]]] = [
    (MLPClassifier, MLPFromScratchClassifier),
    (MLPRegressor, MLPFromScratchRegressor),
]
THEIR_ACTIVATIONS = ("identity", "logistic", "relu", "tanh")
THEIR_SOLVERS = ("adam", "lbfgs", "sgd")
THEIR_SCHEDULES = ("adaptive", "constant", "invscaling")
# Parameters of ours that, with these solvers, change neither what a model predicts nor how it is trained further.
WITHOUT_CONSEQUENCE = {"engine", "n_jobs", "verbose", "weight_decay"}
# What both libraries call by the same name and mean by it.
SHARED_ATTRIBUTES = (
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
)


@overload
def from_sklearn(mlp: MLPClassifier) -> MLPFromScratchClassifier: ...


@overload
def from_sklearn(mlp: MLPRegressor) -> MLPFromScratchRegressor: ...  # type: ignore[overload-cannot-match] # no stubs


def from_sklearn(mlp: MLPClassifier | MLPRegressor) -> MLPFromScratchClassifier | MLPFromScratchRegressor:
    """Return a model of ours that predicts what a fitted perceptron of scikit-learn does, and learns on as it would.

    Parameters
    ----------
    mlp : MLPClassifier or MLPRegressor
        Fitted. It is not changed, and shares nothing with the result.

    Returns
    -------
    model : MLPFromScratchClassifier or MLPFromScratchRegressor
        Fitted, with the same parameters, coefficients and learning curves; the state of the optimiser is carried over
        too, so that ``partial_fit`` makes the same steps.

    See Also
    --------
    to_sklearn : The other direction.
    """
    ours = _counterpart(mlp, PAIRS)
    check_is_fitted(mlp, "coefs_")
    # clone copies what get_params would share, such as a RandomState.
    parameters = clone(mlp).get_params(deep=False)
    known = inspect.signature(ours).parameters
    for name, parameter in inspect.signature(type(mlp)).parameters.items():
        if name not in known and parameters.pop(name) != parameter.default:
            raise ValueError(f"{ours.__name__} has no parameter {name!r}, which is {getattr(mlp, name)!r} here.")
    model = ours(**parameters)
    weights = [layer.copy() for layer in mlp.coefs_]
    biases = [layer.copy() for layer in mlp.intercepts_]
    model._become_fitted(weights, biases, _describe_their_targets(mlp))
    _copy_attributes(mlp, model)
    if model.early_stopping and model.solver != "lbfgs":
        model.validation_loss_curve_ = []
    their_optimizer = getattr(mlp, "_optimizer", None)
    if model.solver != "lbfgs" and their_optimizer is not None:
        model._optimizer = make_optimizer(model._python_parameters)
        vector = np.concatenate([layer.ravel() for layer in weights + biases])
        model._optimizer.start(vector.size, vector.dtype, sum(layer.size for layer in weights))
        for name, theirs in _their_vectors(model.solver).items():
            getattr(model._optimizer, name)[...] = np.concatenate(
                [part.ravel() for part in getattr(their_optimizer, theirs)]
            )
        model._optimizer.n_updates = getattr(their_optimizer, "t", len(mlp.loss_curve_))
        model._schedule = make_schedule(model._python_parameters)
        model._schedule.n_epochs = len(mlp.loss_curve_)
        if model.solver == "sgd":
            model._schedule.learning_rate = their_optimizer.learning_rate
    return model


@overload
def to_sklearn(model: MLPFromScratchClassifier) -> MLPClassifier: ...


@overload
def to_sklearn(model: MLPFromScratchRegressor) -> MLPRegressor: ...


def to_sklearn(model: MLPFromScratchClassifier | MLPFromScratchRegressor) -> MLPClassifier | MLPRegressor:
    """Return a perceptron of scikit-learn that predicts what a fitted model of ours does, and learns on as it would.

    Parameters
    ----------
    model : MLPFromScratchClassifier or MLPFromScratchRegressor
        Fitted. It is not changed, and shares nothing with the result.

    Returns
    -------
    mlp : MLPClassifier or MLPRegressor
        Fitted, with the same parameters, coefficients and learning curves; the state of the optimiser is carried over
        too, so that ``partial_fit`` makes the same steps. Where the model has a ``target_transform``, which
        scikit-learn has not, the last layer takes it over: predictions are the same, but the objective is another,
        that of the targets as they are, so further training begins with a new optimiser.

    Raises
    ------
    ValueError
        If scikit-learn has nothing like one of the model's parts, such as an activation, the loss or the solver; all of
        them are named.

    See Also
    --------
    from_sklearn : The other direction.
    """
    theirs = _counterpart(model, [(ours, theirs) for theirs, ours in PAIRS])
    check_is_fitted(model)
    if reasons := list(_what_they_lack(model, theirs)):
        raise ValueError(f"scikit-learn has no counterpart for this {type(model).__name__}: {'; '.join(reasons)}.")
    parameters = clone(model).get_params(deep=False)
    mlp = theirs(**{name: parameters[name] for name in inspect.signature(theirs).parameters})
    mlp.set_params(verbose=bool(model.verbose))
    if model.perceptron.activations or mlp.activation not in THEIR_ACTIVATIONS:
        mlp.set_params(activation=_common_activation(model) or "identity")
    if isinstance(mlp, MLPRegressor):
        mlp.set_params(loss="poisson" if isinstance(model._loss, PoissonDeviance) else "squared_error")
    _make_fitted(mlp, model)
    return mlp


def _counterpart(estimator: Any, pairs: list[tuple[type[Any], type[Any]]]) -> type[Any]:
    for cls, counterpart in pairs:
        if isinstance(estimator, cls):
            return counterpart
    expected = " or ".join(cls.__name__ for cls, _ in pairs)
    raise TypeError(f"Only a fitted {expected} can be converted, got {type(estimator).__name__}.")


def _copy_attributes(source: Any, target: Any) -> None:
    """Copy the course of training and the names of the features."""
    for name in SHARED_ATTRIBUTES:
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, list(value) if isinstance(value, list) else value)
    if hasattr(source, "feature_names_in_"):
        target.feature_names_in_ = source.feature_names_in_.copy()


def _their_vectors(solver: str) -> dict[str, str]:
    """Return the names of the vectors of our optimiser, each with that of scikit-learn's."""
    return {"first_moment": "ms", "second_moment": "vs"} if solver == "adam" else {"velocity": "velocities"}


# From scikit-learn ----------------------------------------------------------------------------------------------------


def _describe_their_targets(mlp: Any) -> dict[str, Any]:
    if isinstance(mlp, MLPRegressor):
        return {"n_targets": mlp.n_outputs_}
    multilabel = mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1
    # What it returns for multilabel targets is sparse if those that it was fitted on were.
    sample = np.zeros((1, mlp.coefs_[0].shape[0]), dtype=mlp.coefs_[0].dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the sample has no names of features
        sparse_labels = multilabel and issparse(mlp.predict(sample))
    return {
        "n_targets": 1,
        "several_targets": False,
        "multilabel": multilabel,
        "sparse_labels": sparse_labels,
        "object_labels": [False],
        "classes_0": mlp.classes_.copy(),
    }


# To scikit-learn ------------------------------------------------------------------------------------------------------


def _common_activation(model: Any) -> str | None:
    """Return the name that scikit-learn has for the activation of all hidden layers, if there is one."""
    names = {cls: name for name, cls in ACTIVATIONS.items() if name in THEIR_ACTIVATIONS}
    found = {names.get(type(activation)) for activation in model.perceptron.activations}
    return found.pop() if len(found) == 1 else None


def _what_they_lack(model: Any, theirs: type[Any]) -> Iterator[str]:
    """Yield what of a fitted model scikit-learn cannot express."""
    activations: list[Activation] = model.perceptron.activations
    if activations and _common_activation(model) is None:
        yield f"the activation is {model.activation!r}, not one of {THEIR_ACTIVATIONS} for all hidden layers"
    loss = model._loss
    if isinstance(loss, Heads):
        yield f"there are {len(loss.losses)} targets"
    elif theirs is MLPClassifier:
        if type(loss) is not LogLoss or loss.label_smoothing:
            yield f"the loss is {loss!r}, not log-loss"
    elif type(loss) not in (SquaredError, PoissonDeviance):
        yield f"the loss is {loss!r}, not squared_error or poisson"
    elif type(loss) is SquaredError and model.out_activation_ != "identity":
        yield f"the output activation is {model.out_activation_!r}, not 'identity'"
    for name, allowed in (("solver", THEIR_SOLVERS), ("learning_rate", THEIR_SCHEDULES)):
        value = getattr(model, name)
        if not (isinstance(value, str) and value in allowed):
            yield f"{name} is {value!r}, not one of {allowed}"
    checked = {*inspect.signature(theirs).parameters, "loss", "output_activation", "target_transform"}
    checked |= WITHOUT_CONSEQUENCE
    for name, parameter in inspect.signature(type(model)).parameters.items():
        value = getattr(model, name)
        if name not in checked and not (value is parameter.default or value == parameter.default):
            yield f"{name} is {value!r}, not {parameter.default!r}"


def _make_fitted(mlp: Any, model: Any) -> None:
    """Give one of scikit-learn's estimators the fitted attributes of ours.

    What scikit-learn needs besides the public attributes, it makes itself, by fitting a few samples of zeros.
    """
    y = _sample_targets(model)
    X = np.zeros((y.shape[0], model.n_features_in_), dtype=model.coefs_[0].dtype)
    solver = "adam" if model.solver == "lbfgs" else model.solver
    given = mlp.get_params(deep=False)
    mlp.set_params(
        solver=solver,
        batch_size="auto",
        max_iter=1,
        early_stopping=False,
        random_state=0,
        warm_start=False,
        verbose=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlp.fit(X, y)
    mlp.set_params(**given)
    mlp.coefs_ = [layer.copy() for layer in model.coefs_]
    mlp.intercepts_ = [layer.copy() for layer in model.intercepts_]
    _copy_attributes(model, mlp)
    scaling = model._target_scaling()
    if scaling is not None:
        shift, factor = scaling
        mlp.coefs_[-1] *= factor
        mlp.intercepts_[-1] *= factor
        mlp.intercepts_[-1] += shift
        # Losses from here on are in other units.
        mlp._no_improvement_count, mlp.best_loss_ = 0, None if mlp.best_loss_ is None else np.inf
    # What a warm start with early stopping goes back to if no epoch is better.
    mlp._best_coefs = [layer.copy() for layer in mlp.coefs_]
    mlp._best_intercepts = [layer.copy() for layer in mlp.intercepts_]
    if model._optimizer is None or scaling is not None:
        del mlp._optimizer
        return
    for name, theirs in _their_vectors(model.solver).items():
        setattr(mlp._optimizer, theirs, _per_layer(getattr(model._optimizer, name), model))
    if model.solver == "adam":
        mlp._optimizer.t = model._optimizer.n_updates
    else:
        mlp._optimizer.learning_rate = model._schedule.learning_rate


def _per_layer(vector: NDArray, model: Any) -> list[NDArray]:
    """Return a copy of a flat vector, cut into arrays like those of the coefficients and then the intercepts."""
    weights, biases = layer_views(vector.copy(), model.perceptron.layer_units)
    return weights + biases


def _sample_targets(model: Any) -> Any:
    """Return targets of every kind that the model was fitted on."""
    if isinstance(model, MLPFromScratchRegressor):
        return np.ones((2, model.n_outputs_)) if model.n_outputs_ > 1 else np.ones(2)
    described = model._describe_targets()
    if not described["multilabel"]:
        return model.classes_
    each = np.eye(len(model.classes_), dtype=int)
    return csr_array(each) if described["sparse_labels"] else each
