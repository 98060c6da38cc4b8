"""Looking inside a fitted network: what its hidden layers say, and how its output follows the features."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import islice, pairwise, zip_longest
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.blas import row_major
from sknn_scratch.catalogue.links import IdentityLink
from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.engines.numpy.in_place import activate, affine, multiply_slope
from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.engines.policy import CHUNK_SIZE
from sknn_scratch.estimators.arrays import check_samples
from sknn_scratch.estimators.fit_kind import FitKind
from sknn_scratch.perceptron import Perceptron, layer_views
from sknn_scratch.training.data import TrainingData
from sknn_scratch.training.job import Job


def layer_values(network: Perceptron, X: Any) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield ``z[l]`` and ``a[l + 1]`` of each layer, both the raw output at the end; ``X`` may be a CSR matrix."""
    a = row_major(X)
    for weights, biases, activation in zip_longest(network.weights, network.biases, network.activations):
        z = np.empty((a.shape[0], len(biases)), dtype=np.result_type(a.dtype, network.dtype))
        with np.errstate(over="ignore", invalid="ignore"):
            affine(a, weights, biases, out=z)
            a = z if activation is None else activate(activation, z, np.empty_like(z))
        yield z, a


def _chunks(n_samples: int, width: int) -> Iterator[slice]:
    """Cut the samples into chunks that stay in the cache with layers of this width."""
    size = max(1, CHUNK_SIZE // width)
    return (slice(start, start + size) for start in range(0, n_samples, size))


def _layers_like(old: list[NDArray], given: Any, name: str, dtype: np.dtype) -> list[NDArray]:
    """Return arrays that are to replace weights or biases, if they can; hidden layers may be of another width.

    Arrays of the same dtype, and a list of such, are not copied.
    """
    n_layers, ndim = len(old), old[0].ndim
    try:
        layers = [np.asarray(layer).astype(dtype, casting="same_kind", copy=False) for layer in given]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a list of {n_layers} arrays of real numbers: {error}") from error
    if len(layers) != n_layers:
        raise ValueError(f"{name} must be a list of {n_layers} arrays, got {len(layers)}.")
    for l, layer in enumerate(layers):
        if layer.ndim != ndim or not layer.size:
            raise ValueError(f"{name}[{l}] must have {ndim} dimensions and at least one unit, got shape {layer.shape}.")
    if layers[-1].shape[-1] != old[-1].shape[-1]:
        raise ValueError(f"{name}[-1] must be for {old[-1].shape[-1]} outputs, got shape {layers[-1].shape}.")
    return given if isinstance(given, list) and all(map(operator.is_, given, layers)) else layers


def check_chain(weights: list[NDArray], n_features: int) -> None:
    """Raise ValueError unless each layer of weights has a row for each unit of the one before."""
    for l, (before, layer) in enumerate(pairwise([np.empty((0, n_features)), *weights])):
        if len(layer) != before.shape[1]:
            raise ValueError(f"coefs_[{l}] must have {before.shape[1]} rows, got shape {layer.shape}.")


def check_biases(network: Perceptron) -> None:
    """Raise ValueError where biases, replaced or not, are not for the units of the weights."""
    for l, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True)):
        if biases.shape != weights.shape[1:]:
            raise ValueError(
                f"intercepts_[{l}] has shape {biases.shape}, and coefs_[{l}] {weights.shape}: a bias for each column."
            )


class InspectionMixin:
    """The fitted network of an estimator, and the methods that look inside."""

    n_outputs_: int
    _network: Perceptron
    _loss: Loss
    _target_scaling: Callable[[], tuple[NDArray, NDArray] | None]
    _check_data: Callable[..., TrainingData]
    _begin_with: Callable[[Any], None]
    alpha: float
    l1_ratio: float
    fit_intercept: bool

    @property
    def perceptron(self) -> Perceptron:
        """The fitted network, of which ``coefs_`` and ``intercepts_`` are the weights and biases.

        Raises AttributeError before the model is fitted, ValueError where these do not fit together.
        """
        network = self._own_network()
        check_biases(network)
        return network

    @property
    def coefs_(self) -> list[NDArray[Any]]:
        """Weights of each layer; may be changed, and replaced.

        Those given to an estimator that is not fitted make it a model that has seen no samples, with biases of zero. A
        classifier needs ``classes_`` before.
        """
        return self._own_network().weights

    @coefs_.setter
    def coefs_(self, weights: list[NDArray[Any]]) -> None:
        if not hasattr(self, "_network"):
            self._begin_with(weights)
            return
        old = self._own_network()
        weights = _layers_like(old.weights, weights, "coefs_", old.dtype)
        check_chain(weights, old.layer_units[0])
        self._network = Perceptron.of_layers(weights, old.biases, old.activations, old.link)

    @property
    def out_activation_(self) -> str:
        """Name of the function from the last layer to the prediction."""
        return self._own_network().link.name

    @out_activation_.setter
    def out_activation_(self, name: str) -> None:
        # Where there is no model yet, ``fit`` decides, as in scikit-learn.
        if hasattr(self, "_network") and name != self.out_activation_:
            raise ValueError(
                f"out_activation_ of a fitted model must stay {self.out_activation_!r}, for its loss; got {name!r}. A "
                "regressor has the parameter output_activation; decision_function gives a classifier's raw output."
            )

    @property
    def intercepts_(self) -> list[NDArray[Any]]:
        """Biases of each layer; may be changed, and replaced."""
        return self._own_network().biases

    @intercepts_.setter
    def intercepts_(self, biases: list[NDArray[Any]]) -> None:
        old = self._own_network()
        biases = _layers_like(old.biases, biases, "intercepts_", old.dtype)
        self._network = Perceptron.of_layers(old.weights, biases, old.activations, old.link)

    def _own_network(self) -> Perceptron:
        if (network := getattr(self, "_network", None)) is None:
            raise AttributeError(f"This {type(self).__name__} is not fitted yet; call fit first.")
        return network

    def hidden_activations(self, X: Any, layer: int = -1) -> NDArray:
        """Return what a hidden layer makes of the samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        layer : int, default=-1
            Which hidden layer, counted from 0; negative numbers count from the last, -1.

        Returns
        -------
        activations : ndarray of shape (n_samples, width)
            Output of the layer's activation function.

        Raises
        ------
        ValueError
            If there is no such hidden layer.
        """
        check_is_fitted(self)
        n_hidden = len(self.perceptron.activations)
        if not isinstance(layer, int | np.integer) or not -n_hidden <= layer < n_hidden:
            raise ValueError(f"layer must be the number of one of the {n_hidden} hidden layers, from 0; got {layer!r}.")
        X = check_samples(self, X, reset=False)
        network, layer = self.perceptron, layer % n_hidden
        widths = network.layer_units[1 : layer + 2]
        result = np.empty((X.shape[0], widths[-1]), dtype=np.result_type(X.dtype, network.dtype))
        for rows in _chunks(len(result), max(widths)):
            outputs = [a for _, a in islice(layer_values(network, X[rows]), layer + 1)]
            result[rows] = outputs[-1]
        return result

    def input_gradients(self, X: Any) -> NDArray:
        """Return the derivative of the output with respect to each feature, sample by sample.

        It tells which features a prediction hangs on, and in which direction. The output is the raw one
        (``decision_function``) of a classifier, and the prediction of a regressor.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        gradients : ndarray of shape (n_samples, n_features) or (n_samples, `n_outputs_`, n_features)
            The latter if there is more than one output unit.

        References
        ----------
        Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image classification models
        and saliency maps", ICLR workshop 2014, arXiv:1312.6034.
        """
        check_is_fitted(self)
        X = check_samples(self, X, reset=False)
        network = self.perceptron
        dtype = np.result_type(X.dtype, network.dtype)
        gradients = np.empty((X.shape[0], self.n_outputs_, network.layer_units[0]), dtype=dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in _chunks(len(gradients), max(network.layer_units[1:])):
                for output, slopes in enumerate(self._slopes_of_outputs(X[rows])):
                    gradients[rows, output] = slopes
        if (scaling := self._target_scaling()) is not None:
            _, factor = scaling
            gradients *= factor[:, np.newaxis].astype(gradients.dtype)
        return gradients[:, 0] if self.n_outputs_ == 1 else gradients

    def _slopes_of_outputs(self, X: Any) -> Iterator[NDArray]:
        """Yield the derivatives of each output with respect to the features, of shape (n_samples, n_features).

        Backpropagation with the output itself in the place of the loss: ``delta[L - 1]`` is 1 for the output in
        question and 0 for the others, times the derivative of the link; equation (2) of ``engines/numpy/run.py`` takes
        it to ``delta[0]``, and ``delta[0] @ W[0].T`` to the features.
        """
        network, link = self.perceptron, self.perceptron.link if is_regressor(self) else IdentityLink()
        z, a = zip(*layer_values(network, X), strict=True)
        prediction = link.inverse(z[-1])
        for output in range(self.n_outputs_):
            delta = np.zeros_like(prediction)
            delta[:, output] = 1
            delta = link.pull_back(delta, prediction)
            for l in range(len(network.activations), 0, -1):
                delta = delta @ network.weights[l].T
                multiply_slope(network.activations[l - 1], delta, z[l - 1], a[l - 1])
            yield delta @ network.weights[0].T

    def loss_gradient(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> tuple[list[NDArray], list[NDArray]]:
        """Return the gradient that training descends, at the fitted parameters, with all samples as one minibatch.

        The penalty is included, and ``class_weight``, as the parameters now are; nothing is dropped and no noise is
        added.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like
            Their targets, as for ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; equal by default.

        Returns
        -------
        coefs_gradient : list of ndarray of shape (fan_in, fan_out)
            Derivatives with respect to ``coefs_``.
        intercepts_gradient : list of ndarray of shape (fan_out,)
            Derivatives with respect to ``intercepts_``.
        """
        check_is_fitted(self)
        data = self._check_data(X, y, sample_weight, FitKind.INCREMENT)
        data.check_targets(self._loss)
        network = self.perceptron.copy()
        run = NumpyRun(
            Job(
                network,
                self._loss,
                *(row_major(data.X), data.y, data.sample_weight, data.n_rows),
                alpha=float(self.alpha),
                l1_ratio=float(self.l1_ratio),
                fit_intercept=bool(self.fit_intercept) or any(biases.any() for biases in network.biases),
            )
        )
        run.loss_and_gradient()
        return layer_views(run.gradient, network.layer_units)
