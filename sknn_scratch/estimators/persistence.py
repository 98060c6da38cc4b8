"""How an estimator is stored: its weights in a file, and its state by pickle and its relatives."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from inspect import Parameter
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator

from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.estimators.building import become_fitted, fitted_model
from sknn_scratch.estimators.parameters import check_estimator_parameters, defaults
from sknn_scratch.files.arrays import naming_file
from sknn_scratch.files.weights import read_weights, write_weights
from sknn_scratch.perceptron import Perceptron

# To be raised whenever a fitted attribute, or a parameter of the same name, changes its meaning.
STATE_VERSION = 2  # since 2, the layers of a regressor may be those for scaled targets
STATE_KEY = "_sknn_scratch_state_version"


@contextmanager
def unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Give the estimator its attributes back if the block raises.

    The block replaces attributes; but lists may be appended to, and a RandomState given as ``random_state`` drawn from.
    """
    before = dict(vars(estimator))
    lengths = [(value, len(value)) for value in before.values() if isinstance(value, list)]
    rng: Any = before.get("random_state")
    rng_state = rng.get_state() if isinstance(rng, np.random.RandomState) else None
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        for value, length in lengths:
            del value[length:]
        if rng_state is not None:
            rng.set_state(rng_state)
        raise


def _describe(component: BaseEstimator) -> str:
    """Return class and parameters; unlike ``repr``, in the same way whatever scikit-learn's configuration says."""
    parameters = sorted(component.get_params(deep=False).items())
    return f"{type(component).__name__}({', '.join(f'{name}={value!r}' for name, value in parameters)})"


def _whole_numbers_alike(described: Any) -> str:
    """Return a description with 1 for each 1.0: a parameter may have been given as either."""
    return re.sub(r"(?<=\d)\.0\b", "", str(described))


class VersionedState(BaseEstimator):
    """Pickles that tell the version of the state in them, which may be older than this one."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), STATE_KEY: STATE_VERSION}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take over a state of this version or an older one: parameters that were unknown then get their defaults."""
        state = dict(state)
        version = state.pop(STATE_KEY, 0)
        if version > STATE_VERSION:
            weights = "; or let the newer one write the weights with save_weights, and read them here with load_weights"
            raise ValueError(
                f"This {type(self).__name__} was stored by a newer sknn_scratch: its state has version {version}, and "
                f"the installed one reads versions up to {STATE_VERSION}. Update sknn_scratch"
                f"{weights if hasattr(self, 'load_weights') else ''}."
            )
        for cls in type(self).__mro__:
            if "__init__" in vars(cls) and (issubclass(cls, BaseEstimator) or is_dataclass(cls)):
                known = {name: value for name, value in defaults(cls).items() if value is not Parameter.empty}
                state = known | state
        super().__setstate__(self._restored(state, version))

    def _restored(self, state: dict[str, Any], version: int) -> dict[str, Any]:
        """Return the attributes for a state of this version."""
        return state


class PersistenceMixin(VersionedState, ABC):
    """Files of weights, and pickles in which a network is two lists of arrays, for the two estimators."""

    _kind: ClassVar[str]
    # What a fitted model cannot do without, beside its layers.
    _learnt: ClassVar[tuple[str, ...]] = (
        "_loss",
        "_hidden_activations",
        "_optimizer",
        "_schedule",
        "t_",
        "loss_curve_",
    )
    _network: Perceptron

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in ("_training", "_validation_data"):  # with all samples, where a callback keeps a copy
            state.pop(name, None)
        if (network := state.pop("_network", None)) is not None:
            state |= {"coefs_": network.weights, "intercepts_": network.biases}
            state["_hidden_activations"] = network.activations
        if "loss_curve_" in state:
            state["loss_curve_"] = list(state["loss_curve_"])  # partial_fit appends to it; a copy has one of its own
        return state

    def _restored(self, state: dict[str, Any], version: int) -> dict[str, Any]:
        if "coefs_" not in state:
            return state
        lacking = [name for name in self._learnt if name not in state]
        if version < STATE_VERSION and lacking:
            raise ValueError(
                f"This {type(self).__name__} was fitted by an older sknn_scratch and lacks {', '.join(lacking)}. Fit "
                "it again, or use the version that fitted it."
            )
        state["_network"] = Perceptron.of_layers(
            state.pop("coefs_"), state.pop("intercepts_"), state.pop("_hidden_activations"), state["_loss"].link
        )
        return state

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write weights and biases, with the names of classes and features, to a .npz file.

        Nothing in the file is pickled. Parameters, optimiser and learning curves are not in it: to keep those, pickle
        the estimator.

        Parameters
        ----------
        path : path-like
            Name of the file, by convention ending in '.npz'; an existing one is replaced once all is written.
        """
        model = fitted_model(self)
        network = model.network.copy()  # all of one dtype, whatever has been put in the place of a layer
        facts = {"feature_names": self.feature_names_in_} if hasattr(self, "feature_names_in_") else {}
        write_weights(
            path,
            weights=network.weights,
            biases=network.biases,
            kind=self._kind,
            activations=[_describe(activation) for activation in model.network.activations],
            link=_describe(model.network.link),
            **facts,
            **model.targets,
        )

    def load_weights(self, path: str | os.PathLike[str]) -> Self:
        """Become a fitted model with the weights of a file that ``save_weights`` wrote.

        Whatever was fitted before is replaced. ``partial_fit``, and ``fit`` with ``warm_start``, train the weights
        further, with a new optimiser and new learning curves.

        Parameters
        ----------
        path : path-like
            Name of the file.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If the file is damaged or of another version, or if its hidden layers, activations or output are not those
            of this estimator's parameters. The estimator stays as it was.
        """
        content = read_weights(path)
        with unchanged_on_error(self):
            check_estimator_parameters(self)
            found = str(content.pop("kind"))
            if found != self._kind:
                raise ValueError(f"{path} has the weights of a {found}, and {type(self).__name__} is a {self._kind}.")
            weights, biases = content.pop("weights"), content.pop("biases")
            names = content.pop("feature_names", None)
            activations, link = [str(name) for name in content.pop("activations")], str(content.pop("link"))
            with naming_file(path, "cannot be loaded"):
                become_fitted(self, weights, biases, content)
            for what, stored, own in (
                ("hidden activations", activations, [_describe(f) for f in self._network.activations]),
                ("the link", link, _describe(self._network.link)),
            ):
                if _whole_numbers_alike(stored) != _whole_numbers_alike(own):
                    raise ValueError(f"{path} is of a network with {what} {stored}, and this one has {own}.")
            if names is not None:
                self.feature_names_in_ = names.astype(object)
        return self

    # What subclasses provide ------------------------------------------------------------------------------------------

    @abstractmethod
    def _describe_targets(self) -> dict[str, Any]:
        """Return what a model has learnt about its targets besides the weights, as values that a file can hold."""

    @abstractmethod
    def _learn_targets(self, described: Mapping[str, Any]) -> int:
        """Take over what ``_describe_targets`` has returned; return how many columns the encoded targets have."""

    @abstractmethod
    def _make_loss(self) -> Loss:
        """Return the loss for the targets last learnt."""
