"""The classifier: class labels to target columns and back, probabilities."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from sknn_scratch.base import BaseMLP
from sknn_scratch.constraints import Constraint, OneOf
from sknn_scratch.losses import CLASSIFIER_LOSSES, Loss
from sknn_scratch.validation import check_labels

__all__ = ["MLPFromScratchClassifier"]


class MLPFromScratchClassifier(ClassifierMixin, BaseMLP):
    """DOC"""

    _constraints: ClassVar[dict[str, Constraint]] = {**BaseMLP._constraints, "loss": OneOf(CLASSIFIER_LOSSES)}

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        loss="log_loss",
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model to training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training samples. float32 and float64 are kept and not copied; other types become float64.
        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_labels)
            Class labels, or for multilabel targets a matrix of 0 and 1.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; equal by default.

        Returns
        -------
        self : MLPFromScratchClassifier
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter or array cannot be used, or if training diverges. The estimator stays as it was.
        """
        return self._fit(X, y, sample_weight)

    @available_if(BaseMLP._check_stochastic)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on the given data, carrying on from where the model is.

        The optimiser's state is kept between calls. Not available with ``solver="lbfgs"``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training samples.
        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_labels)
            Class labels, or for multilabel targets a matrix of 0 and 1.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; equal by default.
        classes : array-like of shape (n_classes,), default=None
            All labels that can ever occur (for multilabel targets, the column numbers). Required in the first call of
            an estimator that was not fitted.

        Returns
        -------
        self : MLPFromScratchClassifier
            The estimator.
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X: Any) -> NDArray:
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,), or ndarray or sparse matrix of shape (n_samples, n_labels)
            The most probable class, or every label with a probability above 0.5; sparse if the training labels were.
        """
        return self._labels(self._prediction(X))

    def predict_proba(self, X: Any) -> NDArray:
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            One column per entry of ``classes_``; they sum to 1 unless the targets are multilabel.
        """
        probability = self._prediction(X)
        return np.hstack([1 - probability, probability]) if self.n_outputs_ == 1 else probability

    def predict_log_proba(self, X: Any) -> NDArray:
        """Predict logarithms of class probabilities, from the raw output: finite also where a probability rounds to 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
            One column per entry of ``classes_``.
        """
        raw_output = self._raw_output(X)
        if self.n_outputs_ == 1:
            raw_output = np.hstack([-raw_output, raw_output])
        return self._loss.link.log_inverse(raw_output)

    def _labels(self, probability: NDArray) -> NDArray:
        if self.n_outputs_ == 1:
            probability = probability.ravel()
        return self._label_binarizer.inverse_transform(probability)

    def _encode_targets(
        self, X: NDArray, y: Any, *, carry_on: bool, incremental: bool, classes: ArrayLike | None
    ) -> NDArray:
        y, target_type = check_labels(self, y, X.shape[0])
        if not carry_on:
            if incremental and classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._learn_classes(y, target_type, classes)
        self._check_known(y, target_type, classes, all_classes=carry_on and not incremental)
        if target_type == "multilabel-indicator":
            dense = y.toarray(order="F") if hasattr(y, "toarray") else y
            return np.asarray(dense, dtype=X.dtype)
        return self._one_hot(y, X.dtype)

    def _learn_classes(self, y: NDArray, target_type: str, classes: ArrayLike | None) -> None:
        """Set the classes of a model that is trained from the start."""
        labels: Any = y
        if classes is not None and target_type != "multilabel-indicator":
            labels = np.asarray(classes)
            if labels.ndim != 1 or type_of_target(labels) not in ("binary", "multiclass"):
                raise ValueError(f"classes must be a 1-d array of class labels, got {classes!r}.")
        self._label_binarizer = LabelBinarizer().fit(labels)
        self.classes_ = unique_labels(labels if classes is None else classes)

    def _check_known(self, y: NDArray, target_type: str, classes: ArrayLike | None, *, all_classes: bool) -> None:
        """Raise ValueError unless the targets suit ``classes_``; with ``all_classes``, unless every class occurs."""
        fitted_type = self._label_binarizer.y_type_
        if (target_type == "multilabel-indicator") != (fitted_type == "multilabel-indicator"):
            raise ValueError(f"y is {target_type}, but the model was fitted on {fitted_type} targets.")
        if classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(f"classes={classes!r} is not the same as on the first call, {self.classes_}.")
        found = unique_labels(y)
        unknown = np.setdiff1d(found, self.classes_)
        if unknown.size:
            raise ValueError(f"y has classes {unknown} that are not in classes_, {self.classes_}.")
        if all_classes and len(found) < len(self.classes_):
            raise ValueError(
                f"warm_start can only be used where y has the same classes as before, {self.classes_}; it lacks "
                f"{np.setdiff1d(self.classes_, found)}."
            )

    def _one_hot(self, y: NDArray, dtype: Any) -> NDArray:
        """Return a column of 0 and 1 per class, or for two classes one column for the second."""
        _, codes = np.unique(y, return_inverse=True)
        columns = np.searchsorted(self.classes_, unique_labels(y))[codes]
        if len(self.classes_) <= 2:
            return columns.astype(dtype)[:, np.newaxis]
        encoded = np.zeros((len(y), len(self.classes_)), dtype=dtype, order="F")
        encoded[np.arange(len(y)), columns] = 1
        return encoded

    def _make_loss(self) -> Loss:
        return CLASSIFIER_LOSSES[self.loss](multiclass=self._label_binarizer.y_type_ == "multiclass")

    def _decisions(self, probability: NDArray) -> NDArray:
        """Return what ``predict`` decides for each sample, as numbers instead of labels."""
        if self._label_binarizer.y_type_ == "multiclass":
            return probability.argmax(axis=1)
        return (probability > 0.5) & (len(self.classes_) > 1)

    def _score_raw_output(self, y: NDArray, raw_output: NDArray, sample_weight: NDArray | None) -> float:
        self._make_loss().link.inverse(raw_output, out=raw_output)
        return accuracy_score(self._decisions(y), self._decisions(raw_output), sample_weight=sample_weight)

    def _stratify(self, y: NDArray) -> NDArray | None:
        return y[:, 0] if y.shape[1] == 1 else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
