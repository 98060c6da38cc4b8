"""What was probably meant by a name that does not exist here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, ClassVar, Self


def _each(names: dict[str, str]) -> dict[str, str]:
    """Return ours for each name elsewhere, given the latter for ours."""
    return {elsewhere: ours for ours, others in names.items() for elsewhere in others.split()}


# What other libraries call a parameter, and what they call an activation, a loss and so on.
NAMES_ELSEWHERE = _each(
    {
        "set_callbacks": "callbacks",
        "categorical_features": "cat_features categorical_feature",
        "max_grad_norm": "clipnorm global_clipnorm",
        "loss": "criterion",
        "max_iter": "epochs max_epochs n_epochs",
        "weight_init": "kernel_initializer",
        "weight_decay": "l2_regularization",
        "learning_rate_init": "learning_rate lr",
        "n_bins": "max_bins",
        "n_members": "n_estimators",
        "solver": "optimizer",
        "n_iter_no_change": "patience",
        "random_state": "seed",
        "fit_intercept": "use_bias",
        "log_loss": "binary_crossentropy categorical_crossentropy cross_entropy crossentropy",
        "he_normal": "kaiming_normal",
        "he_uniform": "kaiming_uniform",
        "lbfgs": "l-bfgs",
        "identity": "linear",
        "absolute_error": "mae mean_absolute_error",
        "squared_error": "mean_squared_error mse",
        "quantile": "pinball",
        "logistic": "sigmoid",
        "silu": "swish",
        "glorot_normal": "xavier_normal",
        "glorot_uniform": "xavier_uniform",
    }
)
SCORERS_ELSEWHERE = _each(
    {
        "roc_auc": "auc auroc",
        "neg_log_loss": "log_loss logloss",
        "neg_mean_absolute_error": "mae mean_absolute_error",
        "neg_mean_absolute_percentage_error": "mape",
        "neg_mean_squared_error": "mean_squared_error mse",
        "neg_root_mean_squared_error": "rmse",
        "loss": "val_loss",
    }
)
VALIDATION_SET = "Did you mean a validation set? It is passed as X_val and y_val: fit(X, y, X_val=..., y_val=...)."
# What other libraries take in fit, and what there is here.
ARGUMENTS_ELSEWHERE = {
    **dict.fromkeys(
        ["eval_set", "valid_set", "valid_sets", "validation_data", "validation_set", "x_val", "x_valid"], VALIDATION_SET
    ),
    "validation_split": (
        "Did you mean early_stopping=True and validation_fraction=...? They are parameters of the estimator."
    ),
    "callbacks": "Did you mean set_callbacks(...)?",
    "eval_metric": "Did you mean 'scoring'? It is a parameter of the estimator, not of fit.",
    "early_stopping_rounds": (
        "Did you mean early_stopping=True and n_iter_no_change=...? They are parameters of the estimator."
    ),
}
# From 0 to 1; low enough that 'rleu' is taken for 'relu'.
LIKENESS = 0.7


def did_you_mean(name: Any, options: Iterable[str]) -> str:
    """Return a question that names the option that is meant, or nothing if none is like it, or it is no string."""
    if not isinstance(name, str):
        return ""
    ours, name = {option.lower(): option for option in options}, name.lower()
    elsewhere = NAMES_ELSEWHERE.get(name)
    same = name if name in ours else elsewhere
    likely = [same] if same in ours else get_close_matches(name, ours, n=1, cutoff=LIKENESS)
    return f" Did you mean {ours[likely[0]]!r}?" if likely else ""


# Kept, as a search asks for each candidate.
_parameters_of: Callable[[Any], Mapping[str, inspect.Parameter]] = cache(lambda cls: inspect.signature(cls).parameters)


class HelpfulSignaturesMixin:
    """Errors about unknown parameters, of the constructor or of training, that say what was probably meant."""

    # What to say of parameters that relatives of the estimator have.
    _says_of_parameters: ClassVar[Mapping[str, str]] = {}

    def __new__(cls, *args: Any, **parameters: Any) -> Self:
        """Make an estimator; Python's own errors name another class, and no parameters that there are."""
        known = _parameters_of(cls)
        unknown = sorted(set(parameters) - set(known))
        if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            meant = cls._says_of_parameters.get(unknown[0]) or did_you_mean(unknown[0], [*known, "set_callbacks"])
            raise TypeError(
                f"{cls.__name__} has no parameter {unknown[0]!r}.{meant} Valid parameters are: {sorted(known)}."
            )
        first = [name for name, parameter in known.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        if len(args) > len(first) and not any(p.kind is p.VAR_POSITIONAL for p in known.values()):
            raise TypeError(
                f"{cls.__name__} takes {', '.join(first) or 'nothing'} without a name, and {len(args)} values were "
                "given: write the names of the others."
            )
        return super().__new__(cls)

    def _refuse(self, unknown: Mapping[str, Any], method: Callable[..., Any]) -> None:
        """Raise TypeError for an argument that ``fit`` or ``partial_fit`` does not have, and say where it belongs."""
        for name in unknown:
            arguments = [p.name for p in inspect.signature(method).parameters.values() if p.kind != p.VAR_KEYWORD]
            parameters = list(_parameters_of(type(self)))
            elsewhere = ARGUMENTS_ELSEWHERE.get(name.lower())
            if elsewhere is not None and name != "callbacks":  # the others are about when to stop
                elsewhere = self._says_of_parameters.get("early_stopping", elsewhere).strip()
            of_estimator = "a parameter of the estimator, for its constructor or set_params."
            if name in parameters:
                says = f" {name} is {of_estimator}"
            elif elsewhere is not None and (elsewhere != VALIDATION_SET or "X_val" in arguments):
                says = f" {elsewhere}"
            elif meant := did_you_mean(name, arguments):
                says = meant
            elif meant := did_you_mean(name, parameters):
                says = f"{meant} It is {of_estimator}"
            else:
                says = f" Its arguments are {', '.join(arguments)}."
            raise TypeError(f"{type(self).__name__}.{method.__name__} has no argument {name!r}.{says}")
