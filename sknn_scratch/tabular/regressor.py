"""The tabular regressor: targets to a common scale and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from sknn_scratch.callbacks import with_callbacks
from sknn_scratch.losses import Loss, SquaredError
from sknn_scratch.names import EngineName, VerboseName
from sknn_scratch.tabular.base import BaseTabularMLP, mean_of_copies
from sknn_scratch.tabular.weights import Criterion, SquaredErrorCriterion
from sknn_scratch.validation import check_numeric_targets

__all__ = ["TabularMLPRegressor"]

# Groups of similar targets that are spread evenly over the folds.
N_STRATA = 10


class TabularMLPRegressor(RegressorMixin, BaseTabularMLP):
    """Regressor for tables that needs no preparation and no tuning: numbers, categories and gaps.

    The table is encoded by ``TabularEncoder`` and seen in two views, with piecewise-linear codes and without; the
    targets are standardised. For each view ``n_members`` multi-layer perceptrons are trained, each on all but one fold
    of the samples, in step with each other. As each sample is held out from one of them, one epoch is chosen for all by
    their pooled out-of-fold squared error; and so are the weights of the two views, by non-negative least squares.

    Parameters
    ----------
    n_members : int, default=8
        Networks of each view, and folds, at least 2. With fewer than 5 samples for each there are fewer.
    hidden_layer_sizes : int or array-like of int, default=(128, 128)
        Units of the hidden layers, ReLU.
    max_iter : int, default=None
        Epochs, of which the best is kept. None means 32 for up to 10,000 samples, and ``32 * sqrt(10000 / n_samples)``,
        at least 8, for more.
    learning_rate_init : float, default=0.012
        Highest rate of Adam, to which it rises in the first sixteenth of the epochs and from which it falls along a
        cosine.
    dropout : float, default=0.0
        Share of the hidden units that are dropped in each step, in [0, 1).
    weight_decay : float, default=0.2
        Decoupled decay: before a step of rate ``r`` the weights are multiplied by ``1 - r * weight_decay``.
    n_bins : int or None, default=64
        The most piecewise-linear codes of a number, at least 4; None for no codes. See ``TabularEncoder``.
    categorical_features : None, 'from_dtype' or array-like, default='from_dtype'
        Which columns are categorical. 'from_dtype': those of a data frame with categories, strings, booleans or
        objects, and columns of objects or strings in an array. Otherwise the names or positions of columns, or a mask
        of shape (n_features,); None for no column.
    engine : {'auto', 'numba', 'numpy'}, default='auto'
        What computes.
    n_jobs : int or None, default=None
        Threads that train members at the same time; None is 1, unless ``joblib.parallel_config`` says otherwise, and -1
        is one for each core. What is learnt does not depend on it, to the last bit.
    random_state : int, RandomState or None, default=None
        For folds, starting weights, order and dropout. What is learnt does not depend on the order of the samples.
    verbose : bool, int or 'bar', default=False
        Whether to print the out-of-fold loss after each epoch; 'bar' shows one progress bar for all views instead, with
        that loss and the time that is left at most.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if the columns have names.
    encoder_ : TabularEncoder
        Fitted.
    oof_score_ : float
        R2 for the training samples, each as predicted by the members that were not trained on it.
    oof_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        What ``predict`` would give for the training samples, out of fold. NaN for samples of weight 0.
    oof_loss_curve_ : dict of str to list of float
        For each view, 'coded' and 'plain', the out-of-fold mean squared error of the standardised targets after each
        epoch.
    best_epoch_ : dict of str to int
        For each view, the epoch that was kept, from 1 on.
    calibration_ : dict of str to float
        For each view, by what its outputs are multiplied before they are added.
    n_iter_ : int
        Epochs trained, of all views together.
    engine_ : str
        The engine that trained: 'numba' or 'numpy'.

    See Also
    --------
    TabularMLPClassifier : For class labels.
    MLPFromScratchRegressor : One network, all of whose settings are parameters.

    Notes
    -----
    Predictions are not smaller than the smallest target of the training samples, nor larger than the largest.

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    NeurIPS 2024, arXiv:2407.04491. Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular
    deep learning", NeurIPS 2022, arXiv:2203.05556. Breiman, "Stacked regressions", Machine Learning 24, 1996.
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv:1711.05101.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sknn_scratch import TabularMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> regressor = TabularMLPRegressor(random_state=0).fit(X, y)
    >>> regressor.oof_score_ > 0.4
    True
    """

    _max_codes: ClassVar[int] = 2048

    # scikit-learn makes these at run time, and tells type checkers that they return None.
    set_fit_request: Callable[..., Self]
    set_score_request: Callable[..., Self]

    def __init__(
        self,
        n_members: int = 8,
        *,
        hidden_layer_sizes: int | Sequence[int] | NDArray = (128, 128),
        max_iter: int | None = None,
        learning_rate_init: float = 0.012,
        dropout: float = 0.0,
        weight_decay: float = 0.2,
        n_bins: int | None = 64,
        categorical_features: Any = "from_dtype",
        engine: EngineName | str = "auto",
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int | VerboseName | str = False,
    ):
        self.n_members = n_members
        self.hidden_layer_sizes = hidden_layer_sizes
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.n_bins = n_bins
        self.categorical_features = categorical_features
        self.engine = engine
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to a table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Numbers and categories, some of which may be missing (NaN, None, NA).
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; equal by default. Whole numbers that sum to at most 1,000 are counts:
            a sample of weight 2 is the same as two samples.

        Returns
        -------
        self : TabularMLPRegressor

        Raises
        ------
        ValueError, TypeError
            If a parameter or array cannot be used, or if training diverges. The estimator stays as it was.
        """
        return self._fit(X, y, sample_weight)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the targets.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        return self._prediction(self._raw_output(X))

    def _prediction(self, output: NDArray) -> NDArray:
        """Return what ``predict`` gives for raw outputs."""
        with np.errstate(over="ignore"):
            prediction = output * self._target_scale + self._target_mean
        prediction = np.clip(prediction, self._target_min, self._target_max)
        return prediction[:, 0] if self._one_target else prediction

    def _check_targets(self, y: Any, n_samples: int) -> NDArray:
        return check_numeric_targets(self, y, n_samples, np.float64)

    def _learn_targets(self, y: NDArray, sample_weight: NDArray | None) -> tuple[NDArray, NDArray | None, NDArray]:
        self._one_target = y.ndim == 1
        y = y.reshape(len(y), -1)
        self._target_min, self._target_max = y.min(axis=0), y.max(axis=0)
        largest = np.abs(y).max(axis=0)
        self._target_unit = unit = np.where(largest > 0, largest, 1.0)  # squares of y / unit do not overflow
        mean = np.average(y / unit, axis=0, weights=sample_weight)
        variance = np.average((y / unit - mean) ** 2, axis=0, weights=sample_weight)
        self._target_mean = mean * unit
        self._target_scale = np.where(self._target_min < self._target_max, np.sqrt(variance) * unit, 1.0)
        standard = (y / unit - mean) / (self._target_scale / unit)
        ranks = standard.sum(axis=1).argsort(kind="stable").argsort(kind="stable")
        return standard, sample_weight, ranks * N_STRATA // len(y)

    def _make_loss(self) -> Loss:
        loss = SquaredError()
        loss.start()
        return loss

    def _make_criterion(self, y: NDArray, sample_weight: NDArray | None) -> Criterion:
        return SquaredErrorCriterion(y, sample_weight)

    def _keep_out_of_fold(
        self, output: NDArray, y: NDArray, sample_weight: NDArray | None, rows: NDArray, n_samples: int
    ) -> None:
        prediction = self._prediction(output)
        of_both = (array.reshape(len(y), -1) / self._target_unit for array in (y, prediction))
        self.oof_score_ = float(r2_score(*of_both, sample_weight=sample_weight))
        self.oof_prediction_ = mean_of_copies(rows, prediction, n_samples)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
