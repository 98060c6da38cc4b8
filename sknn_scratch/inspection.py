"""Looking inside a fitted network: what its hidden layers say, and how its output follows the features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.activations import Activation
from sknn_scratch.blas import row_major
from sknn_scratch.engines.numpy.in_place import activate, affine, multiply_slope
from sknn_scratch.links import Link
from sknn_scratch.losses import Loss
from sknn_scratch.perceptron import CHUNK_SIZE
from sknn_scratch.validation import check_samples

__all__ = ["InspectionMixin", "hidden_activations", "input_gradients"]


def _chunks(n_samples: int, width: int) -> Iterator[slice]:
    """Cut the samples into chunks that stay in the cache with layers of this width."""
    size = max(1, CHUNK_SIZE // width)
    return (slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size))


def hidden_activations(
    X: Any, weights: Sequence[NDArray], biases: Sequence[NDArray], activations: Sequence[Activation], layer: int
) -> NDArray:
    """Return the output of hidden layer ``layer``, of shape (n_samples, width).

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    weights, biases : sequence of ndarray
        One entry per layer.
    activations : sequence of Activation
        One for each hidden layer.
    layer : int
        The first hidden layer is 0.
    """
    widths = [w.shape[1] for w in weights[: layer + 1]]
    dtype = np.result_type(X.dtype, weights[0].dtype)
    result = np.empty((X.shape[0], widths[-1]), dtype=dtype)
    for rows in _chunks(len(result), max(widths)):
        a = row_major(X[rows])
        for l, width in enumerate(widths):
            z = np.empty((a.shape[0], width), dtype=dtype)
            affine(a, weights[l], biases[l], out=z)
            a = activate(activations[l], z, out=z)
        result[rows] = a
    return result


def input_gradients(
    X: Any,
    weights: Sequence[NDArray],
    biases: Sequence[NDArray],
    activations: Sequence[Activation],
    link: Link | None = None,
) -> NDArray:
    """Return the derivative of each output with respect to each feature, for every sample.

    Backpropagation with the output itself in the place of the loss: ``delta[L - 1]`` is 1 for the output in question
    and 0 for the others, times the derivative of the link; equation (2) of backpropagation takes it to ``delta[0]``,
    and ``delta[0] @ W[0].T`` to the features.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    weights, biases : sequence of ndarray
        One entry per layer.
    activations : sequence of Activation
        One for each hidden layer.
    link : Link, default=None
        From the raw output to the output that is derived; by default, it is the raw output.

    Returns
    -------
    gradients : ndarray of shape (n_samples, n_outputs, n_features)

    References
    ----------
    Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image classification models and
    saliency maps", ICLR workshop 2014, arXiv:1312.6034.
    """
    (n_features, _), n_outputs = weights[0].shape, weights[-1].shape[1]
    dtype = np.result_type(X.dtype, weights[0].dtype)
    gradients = np.empty((X.shape[0], n_outputs, n_features), dtype=dtype)
    widths = [w.shape[1] for w in weights]
    for rows in _chunks(len(gradients), max(widths)):
        a, z, hidden = row_major(X[rows]), [], []
        for l, width in enumerate(widths):
            z.append(np.empty((a.shape[0], width), dtype=dtype))
            affine(a, weights[l], biases[l], out=z[l])
            if l < len(activations):
                a = activate(activations[l], z[l], out=np.empty_like(z[l]))
                hidden.append(a)
        prediction = z[-1] if link is None else link.inverse(z[-1])
        for output in range(n_outputs):
            delta = np.zeros_like(z[-1])
            delta[:, output] = 1
            if link is not None:
                delta = link.pull_back(delta, prediction)
            for l in range(len(weights) - 1, 0, -1):
                below = delta @ weights[l].T
                multiply_slope(activations[l - 1], below, z[l - 1], hidden[l - 1], scratch=None)
                delta = below
            gradients[rows, output] = delta @ weights[0].T
    return gradients


class InspectionMixin:
    """The methods of an estimator that look inside its fitted network."""

    coefs_: list[NDArray]
    intercepts_: list[NDArray]
    n_outputs_: int
    _hidden_activations: list[Activation]
    _loss: Loss
    _target_scaling: Callable[[], tuple[NDArray, NDArray] | None]

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
        n_hidden = len(self._hidden_activations)
        if not isinstance(layer, int | np.integer) or not -n_hidden <= layer < n_hidden:
            raise ValueError(f"layer must be the number of one of the {n_hidden} hidden layers, from 0; got {layer!r}.")
        X = check_samples(self, X, reset=False)
        return hidden_activations(X, self.coefs_, self.intercepts_, self._hidden_activations, layer % n_hidden)

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
        """
        check_is_fitted(self)
        X = check_samples(self, X, reset=False)
        link = self._loss.link if is_regressor(self) else None
        with np.errstate(over="ignore", invalid="ignore"):
            gradients = input_gradients(X, self.coefs_, self.intercepts_, self._hidden_activations, link)
        if (scaling := self._target_scaling()) is not None:
            _, factor = scaling
            gradients *= factor[:, np.newaxis].astype(gradients.dtype)
        return gradients[:, 0] if self.n_outputs_ == 1 else gradients
