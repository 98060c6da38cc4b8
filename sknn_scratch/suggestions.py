"""What was probably meant by a name that does not exist here."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean"]

# What other libraries call a parameter, and what they call an activation, a loss and so on.
NAMES_ELSEWHERE = {
    "callbacks": "set_callbacks",
    "clipnorm": "max_grad_norm",
    "criterion": "loss",
    "epochs": "max_iter",
    "global_clipnorm": "max_grad_norm",
    "kernel_initializer": "weight_init",
    "lr": "learning_rate_init",
    "max_epochs": "max_iter",
    "n_epochs": "max_iter",
    "optimizer": "solver",
    "patience": "n_iter_no_change",
    "seed": "random_state",
    "use_bias": "fit_intercept",
    "binary_crossentropy": "log_loss",
    "categorical_crossentropy": "log_loss",
    "cross_entropy": "log_loss",
    "crossentropy": "log_loss",
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "l-bfgs": "lbfgs",
    "linear": "identity",
    "mae": "absolute_error",
    "mean_absolute_error": "absolute_error",
    "mean_squared_error": "squared_error",
    "mse": "squared_error",
    "pinball": "quantile",
    "sigmoid": "logistic",
    "swish": "silu",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
}
# From 0 to 1; low enough that 'rleu' is taken for 'relu'.
LIKENESS = 0.7


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return a question that names the option that is meant, or nothing if none is like it."""
    options, name = list(options), name.lower()
    elsewhere = NAMES_ELSEWHERE.get(name)
    likely = [elsewhere] if elsewhere in options else get_close_matches(name, options, n=1, cutoff=LIKENESS)
    return f" Did you mean {likely[0]!r}?" if likely else ""
