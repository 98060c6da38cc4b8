"""Fitted models of scikit-learn turned into ours, and ours into scikit-learn's."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any, overload

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.losses import Heads, LogLoss, PoissonDeviance, SquaredError
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, Optimizer
from sknn_scratch.catalogue.schedules import Schedule
from sknn_scratch.estimators.building import FittedModel, become_fitted, fitted_model
from sknn_scratch.estimators.classifier import MLPFromScratchClassifier
from sknn_scratch.estimators.labels import describe_classes
from sknn_scratch.estimators.parameters import OF_SKLEARN, make_component, make_schedule, python_parameters
from sknn_scratch.estimators.regressor import MLPFromScratchRegressor
from sknn_scratch.perceptron import Perceptron, layer_views
from sknn_scratch.training.progress import ATTRIBUTES, progress_of

PAIRS: list[tuple[type[Any], type[Any]]] = [
    (MLPClassifier, MLPFromScratchClassifier),
    (MLPRegressor, MLPFromScratchRegressor),
]
THEIR_ACTIVATIONS = ("identity", "logistic", "relu", "tanh")
THEIR_SOLVERS = ("adam", "lbfgs", "sgd")
# Parameters of ours that, with these solvers, change neither what a model predicts nor how it is trained further.
WITHOUT_CONSEQUENCE = {"device", "engine", "n_jobs", "verbose", "weight_decay"}


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
    reached = progress_of(mlp)
    progress = reached.next_run(early_stopping=model.early_stopping and model.solver != "lbfgs")
    progress.n_iter, progress.loss_curve = reached.n_iter, list(reached.loss_curve)
    become_fitted(
        model,
        [layer.copy() for layer in mlp.coefs_],
        [layer.copy() for layer in mlp.intercepts_],
        _describe_their_targets(mlp),
        progress,
        *_their_optimizer_and_schedule(mlp, model),
    )
    if mlp.out_activation_ != model.out_activation_:
        raise ValueError(
            f"out_activation_ of this {type(mlp).__name__} was changed to {mlp.out_activation_!r}; for its loss it is "
            f"{model.out_activation_!r}."
        )
    _copy_feature_names(mlp, model)
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
    fitted = fitted_model(model)
    if reasons := list(_what_they_lack(model, fitted, theirs)):
        raise ValueError(f"scikit-learn has no counterpart for this {type(model).__name__}: {'; '.join(reasons)}.")
    parameters = clone(model).get_params(deep=False)
    mlp = theirs(**{name: parameters[name] for name in inspect.signature(theirs).parameters})
    mlp.set_params(verbose=bool(model.verbose))
    if fitted.network.activations or mlp.activation not in THEIR_ACTIVATIONS:
        mlp.set_params(activation=_common_activation(fitted.network) or "identity")
    if isinstance(mlp, MLPRegressor):
        mlp.set_params(loss="poisson" if isinstance(fitted.loss, PoissonDeviance) else "squared_error")
    _make_fitted(mlp, model, fitted)
    return mlp


def _counterpart(estimator: Any, pairs: list[tuple[type[Any], type[Any]]]) -> type[Any]:
    for cls, counterpart in pairs:
        if isinstance(estimator, cls):
            return counterpart
    expected = " or ".join(cls.__name__ for cls, _ in pairs)
    raise TypeError(f"Only a fitted {expected} can be converted, got {type(estimator).__name__}.")


def _copy_feature_names(source: Any, target: Any) -> None:
    if hasattr(source, "feature_names_in_"):
        target.feature_names_in_ = source.feature_names_in_.copy()


def _their_vectors(solver: str) -> dict[str, str]:
    """Return the names of the vectors of our optimiser, each with that of scikit-learn's."""
    return {"first_moment": "ms", "second_moment": "vs"} if solver == "adam" else {"velocity": "velocities"}


# From scikit-learn ----------------------------------------------------------------------------------------------------


def _describe_their_targets(mlp: Any) -> dict[str, Any]:
    if isinstance(mlp, MLPRegressor):
        return {"n_targets": mlp.coefs_[-1].shape[1]}
    multilabel = mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1
    # What it returns for multilabel targets is sparse if those that it was fitted on were.
    sample = np.zeros((1, mlp.coefs_[0].shape[0]), dtype=mlp.coefs_[0].dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the sample has no names of features
        sparse_labels = multilabel and issparse(mlp.predict(sample))
    return describe_classes(mlp.classes_.copy(), multilabel, sparse_labels)


def _their_optimizer_and_schedule(mlp: Any, model: Any) -> tuple[Optimizer | None, Schedule | None]:
    """Return optimiser and schedule of ``model`` in the state of scikit-learn's, or None twice if it has no such."""
    theirs = getattr(mlp, "_optimizer", None)
    if model.solver == "lbfgs" or theirs is None:
        return None, None
    parameters = python_parameters(model)
    optimizer, schedule = make_component(model.solver, OPTIMIZERS, parameters), make_schedule(parameters)
    n_weights = sum(layer.size for layer in mlp.coefs_)
    optimizer.start(n_weights + sum(layer.size for layer in mlp.intercepts_), mlp.coefs_[0].dtype, n_weights)
    for name, vectors in _their_vectors(model.solver).items():
        getattr(optimizer, name)[...] = np.concatenate([part.ravel() for part in getattr(theirs, vectors)])
    optimizer.n_updates = getattr(theirs, "t", len(mlp.loss_curve_))
    schedule.n_epochs = len(mlp.loss_curve_)
    if model.solver == "sgd":
        schedule.learning_rate = theirs.learning_rate
    return optimizer, schedule


# To scikit-learn ------------------------------------------------------------------------------------------------------


def _common_activation(network: Perceptron) -> str | None:
    """Return the name that scikit-learn has for the activation of all hidden layers, if there is one."""
    names = {cls: name for name, cls in ACTIVATIONS.items() if name in THEIR_ACTIVATIONS}
    found = {names.get(type(activation)) for activation in network.activations}
    return found.pop() if len(found) == 1 else None


def _what_they_lack(model: Any, fitted: FittedModel, theirs: type[Any]) -> Iterator[str]:
    """Yield what of a fitted model scikit-learn cannot express."""
    if fitted.network.activations and _common_activation(fitted.network) is None:
        yield f"the activation is {model.activation!r}, not one of {THEIR_ACTIVATIONS} for all hidden layers"
    loss = fitted.loss
    if isinstance(loss, Heads):
        yield f"there are {len(loss.losses)} targets"
    elif theirs is MLPClassifier:
        if type(loss) is not LogLoss or loss.label_smoothing:
            yield f"the loss is {loss!r}, not log-loss"
    elif type(loss) not in (SquaredError, PoissonDeviance):
        yield f"the loss is {loss!r}, not squared_error or poisson"
    elif type(loss) is SquaredError and model.out_activation_ != "identity":
        yield f"the output activation is {model.out_activation_!r}, not 'identity'"
    for name, allowed in (("solver", THEIR_SOLVERS), ("learning_rate", OF_SKLEARN)):
        value = getattr(model, name)
        if not (isinstance(value, str) and value in allowed):
            yield f"{name} is {value!r}, not one of {allowed}"
    checked = {*inspect.signature(theirs).parameters, "loss", "output_activation", "target_transform"}
    checked |= WITHOUT_CONSEQUENCE
    for name, parameter in inspect.signature(type(model)).parameters.items():
        value = getattr(model, name)
        if name not in checked and not np.array_equal(value, parameter.default):
            yield f"{name} is {value!r}, not {parameter.default!r}"


def _make_fitted(mlp: Any, model: Any, fitted: FittedModel) -> None:
    """Give one of scikit-learn's estimators the fitted attributes of ours.

    What scikit-learn needs besides the public attributes, it makes itself, by fitting a few samples of zeros.
    """
    y = _sample_targets(model, fitted)
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
    mlp.coefs_ = [layer.copy() for layer in fitted.network.weights]
    mlp.intercepts_ = [layer.copy() for layer in fitted.network.biases]
    for name, attribute in ATTRIBUTES.items():
        value = getattr(fitted.progress, name)
        if hasattr(mlp, attribute):
            setattr(mlp, attribute, list(value) if isinstance(value, list) else value)
    _copy_feature_names(model, mlp)
    if fitted.target_scaling is not None:
        shift, factor = fitted.target_scaling
        mlp.coefs_[-1] *= factor
        mlp.intercepts_[-1] *= factor
        mlp.intercepts_[-1] += shift
        # Losses from here on are in other units.
        mlp._no_improvement_count, mlp.best_loss_ = 0, None if mlp.best_loss_ is None else np.inf
    # What a warm start with early stopping goes back to if no epoch is better.
    mlp._best_coefs = [layer.copy() for layer in mlp.coefs_]
    mlp._best_intercepts = [layer.copy() for layer in mlp.intercepts_]
    optimizer, schedule = fitted.optimizer, fitted.schedule
    n_parameters = sum(layer.size for layer in mlp.coefs_ + mlp.intercepts_)
    is_for_other_layers = optimizer is not None and optimizer.state.shape[1] != n_parameters  # wider ones replaced them
    if optimizer is None or schedule is None or is_for_other_layers or fitted.target_scaling is not None:
        del mlp._optimizer
        return
    for name, theirs in _their_vectors(model.solver).items():
        weights, biases = layer_views(getattr(optimizer, name).copy(), fitted.network.layer_units)
        setattr(mlp._optimizer, theirs, weights + biases)
    if model.solver == "adam":
        mlp._optimizer.t = optimizer.n_updates
    else:
        mlp._optimizer.learning_rate = schedule.learning_rate


def _sample_targets(model: Any, fitted: FittedModel) -> Any:
    """Return targets of every kind that the model was fitted on."""
    if isinstance(model, MLPFromScratchRegressor):
        return np.ones((2, model.n_outputs_)) if model.n_outputs_ > 1 else np.ones(2)
    if not fitted.targets["multilabel"]:
        return model.classes_
    each = np.eye(len(model.classes_), dtype=int)
    return csr_array(each) if fitted.targets["sparse_labels"] else each
