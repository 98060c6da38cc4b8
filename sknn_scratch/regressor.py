"""The regressor: numeric targets."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from sknn_scratch.base import BaseMLP
from sknn_scratch.constraints import Constraint, OneOf
from sknn_scratch.losses import REGRESSOR_LOSSES, Loss
from sknn_scratch.validation import check_numeric_targets

__all__ = ["MLPFromScratchRegressor"]


class MLPFromScratchRegressor(RegressorMixin, BaseMLP):
    """DOC"""

    _constraints: ClassVar[dict[str, Constraint]] = {**BaseMLP._constraints, "loss": OneOf(REGRESSOR_LOSSES)}

    def __init__(
        self,
        loss="squared_error",
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
    ):
        self.loss = loss
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

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model to training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training samples. float32 and float64 are kept and not copied; other types become float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; not negative with ``loss="poisson"``.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; equal by default.

        Returns
        -------
        self : MLPFromScratchRegressor
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter or array cannot be used, or if training diverges. The estimator stays as it was.
        """
        return self._fit(X, y, sample_weight)

    @available_if(BaseMLP._check_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one epoch on the given data, carrying on from where the model is.

        The optimiser's state is kept between calls. Not available with ``solver="lbfgs"``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; not negative with ``loss="poisson"``.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; equal by default.

        Returns
        -------
        self : MLPFromScratchRegressor
            The estimator.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> NDArray:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions: float32 if model and samples are, otherwise float64.
        """
        prediction = self._prediction(X)
        return prediction.ravel() if self.n_outputs_ == 1 else prediction

    def _encode_targets(
        self, X: NDArray, y: Any, *, carry_on: bool, incremental: bool, classes: ArrayLike | None
    ) -> NDArray:
        y = check_numeric_targets(self, y, X.shape[0], X.dtype)
        return y.reshape(len(y), -1)

    def _make_loss(self) -> Loss:
        return REGRESSOR_LOSSES[self.loss]()

    def _score_raw_output(self, y: NDArray, raw_output: NDArray, sample_weight: NDArray | None) -> float:
        self._make_loss().link.inverse(raw_output, out=raw_output)
        if not np.isfinite(raw_output).all():
            return np.nan
        return r2_score(y, raw_output, sample_weight=sample_weight)

    def _stratify(self, y: NDArray) -> None:
        return None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.positive_only = self.loss == "poisson"
        return tags
