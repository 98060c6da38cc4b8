"""The tabular regressor: targets to a common scale and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, Loss, Quantile, SquaredError
from sknn_scratch.estimators.arrays import check_numeric_targets
from sknn_scratch.estimators.constraints import Component
from sknn_scratch.estimators.constructors import TabularRegressorConstructor
from sknn_scratch.estimators.parameters import Parameter, make_component
from sknn_scratch.estimators.regressor import LossRegressorMixin
from sknn_scratch.estimators.scaling import standardisation
from sknn_scratch.estimators.tabular.base import BaseTabularMLP
from sknn_scratch.estimators.tabular.weights import Criterion, LossCriterion, QuantileCalibration, SquaredErrorCriterion

# Groups of similar targets that are spread evenly over the folds.
N_STRATA = 10
# With an R2 below it next to nothing is learnt; a target so many standard deviations from the mean may be why.
NEXT_TO_NOTHING, FAR_AWAY = 0.02, 10


class TabularMLPRegressor(LossRegressorMixin, TabularRegressorConstructor, BaseTabularMLP):
    """Regressor for tables that needs no preparation and no tuning: numbers, categories and gaps.

    The table is encoded by ``TabularEncoder`` and seen in two views, with piecewise-linear codes and without; the
    targets are standardised. For each view ``n_members`` multi-layer perceptrons are trained, each on all but one fold
    of the samples, in step with each other. As each sample is held out from one of them, one epoch is chosen for all by
    their pooled out-of-fold loss; and so are the weights of the two views, which are not negative.

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
        Highest rate of Adam: it rises in the first sixteenth of the epochs, and then falls along a cosine.
    dropout : float, default=0.0
        Share of the hidden units that are dropped in each step, in [0, 1).
    weight_decay : float, default=0.2
        Decoupled decay: before a step of rate ``r`` the weights are multiplied by ``1 - r * weight_decay``.
    n_bins : int or None, default=64
        The most piecewise-linear codes of a number, at least 4; None for no codes. All numbers together have at most
        2,048: beyond 512 numbers there are no codes, and the view without them only. See ``TabularEncoder``.
    categorical_features : None, 'from_dtype' or array-like, default='from_dtype'
        Which columns are categorical: by their dtype, or names, positions or a mask of them. See ``TabularEncoder``.
    engine : {'auto', 'numba', 'numpy', 'torch'}, default='auto'
        What computes.
    n_jobs : int or None, default=None
        Threads that train members at the same time; None is 1, unless ``joblib.parallel_config`` says otherwise, and -1
        is one for each core. What is learnt does not depend on it.
    random_state : int, RandomState or None, default=None
        For folds, starting weights, order and dropout. What is learnt does not depend on the order of the samples.
    verbose : bool, int or 'bar', default=False
        Whether to print the out-of-fold loss after each epoch; 'bar' shows one progress bar for all views instead.
    device : str, default='cpu'
        Where members are trained: 'cuda', 'cuda:1' and so on for a GPU of NVIDIA, 'mps' for that of a Mac. It takes
        PyTorch (the extra ``gpu``). See :doc:`/guide/gpu`.
    loss : str or Loss, default='squared_error'
        What the members are trained for, and epoch and weights are chosen by: 'squared_error', 'poisson', 'gamma' and
        'tweedie' for the conditional mean, 'huber' and 'log_cosh' for something between mean and median,
        'absolute_error' for the median, 'quantile' or ``Quantile([0.05, 0.5, 0.95])`` for one quantile or several,
        which never cross, 'gaussian_nll' for mean and standard deviation, see ``predict``. As for
        ``MLPFromScratchRegressor``; formulas are in ``sknn_scratch.catalogue.losses``. A class of your own works too:
        see ``Loss``. Losses are of the standardised targets, so ``Huber(delta)`` and ``GaussianNLL(min_std)`` are in
        standard deviations; those with ``p = exp(z)`` are of the targets over their mean; and those with any other
        link but the identity, of the targets as they are.

    Attributes
    ----------
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        The latter only if the columns have names.
    encoder_ : TabularEncoder
    oof_score_ : float
        ``score`` for the training samples, each as predicted by the members that were not trained on it.
    oof_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        What ``predict`` would give for the training samples, out of fold, with a further axis for several quantiles.
        NaN for samples of weight 0.
    oof_std_ : ndarray of shape (n_samples,) or (n_samples, n_targets), or None
        The standard deviations that ``predict`` would give them, with 'gaussian_nll'; else None.
    oof_loss_curve_ : dict of str to list of float
        For each view, 'coded' and 'plain', the out-of-fold loss after each epoch; of 'squared_error' without the half.
    best_epoch_ : dict of str to int
        For each view, the epoch that was kept, from 1 on.
    calibration_ : dict of str to float
        For each view, by what its outputs are multiplied before they are added. With 'gaussian_nll' the weights are
        relative, and the variance is divided by their sum.
    n_iter_ : int
        Epochs trained, of all views together.
    engine_ : str
        The engine that trained: 'numba', 'numpy' or 'torch'.

    See Also
    --------
    TabularMLPClassifier : For class labels.
    MLPFromScratchRegressor : One network, all of whose settings are parameters.

    Notes
    -----
    Predictions, quantiles too, are not smaller than the smallest target of the training samples, nor larger than the
    largest; standard deviations are not bounded.

    What the members predict is averaged, with 'gaussian_nll' mean and standard deviation. With 'poisson', 'gamma' and
    'tweedie' the weights multiply the logarithm of that, and a constant is added to it, such that the out-of-fold loss
    is least. With 'poisson', predictions then sum to the targets out of fold.

    The quantiles of networks are too narrow for samples that they have not seen. So they are drawn apart, by a factor
    on their distance from their mean (of several quantiles), and shifted, such that the out-of-fold pinball loss is
    least; then as many of these samples lie below each quantile as it says.

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

    oof_std_: NDArray[Any] | None
    _max_codes: ClassVar[int] = 2048
    _quantiles: QuantileCalibration | None
    _parameters: ClassVar[dict[str, Parameter]] = {
        **BaseTabularMLP._parameters,
        "loss": Parameter(Component(REGRESSOR_LOSSES, Loss, excluded=CLASSIFIER_LOSSES, excluded_for="classifiers")),
    }

    def _prediction(self, raw_output: NDArray) -> tuple[NDArray, NDArray | None]:
        loss, n_targets = self._loss, len(self._target_min)
        prediction = self._to_targets(raw_output)
        point, std = loss.point_prediction(prediction, n_targets), loss.standard_deviation(prediction, n_targets)
        if self._quantiles is not None:
            point = self._quantiles(point.reshape(len(point), n_targets, -1)).reshape(point.shape)
        # A further axis is that of quantiles.
        low, high = (end.reshape(n_targets, *[1] * (point.ndim - 2)) for end in (self._target_min, self._target_max))
        point = np.clip(point, low, high)
        if self._one_target:
            return point[:, 0], None if std is None else std[:, 0]
        return point, std

    def _to_targets(self, raw_output: NDArray) -> NDArray:
        """Return the link's prediction, in units of the targets as they were given."""
        shift, factor = self._target_scaling
        with np.errstate(over="ignore"):
            return shift + factor * self._loss.link.inverse(raw_output)

    def _check_targets(self, y: Any, n_samples: int) -> NDArray:
        return check_numeric_targets(self, y, n_samples, np.float64)

    def _learn_targets(self, y: NDArray, sample_weight: NDArray | None) -> tuple[NDArray, NDArray | None, NDArray]:
        self._one_target = y.ndim == 1
        y = y.reshape(len(y), -1)
        self._loss = make_component(self.loss, REGRESSOR_LOSSES)
        self._loss.start()
        self._loss.check_targets(y)
        self._target_min, self._target_max = y.min(axis=0), y.max(axis=0)
        mean, scale, self._target_scaling = self._find_scale(y, sample_weight)
        unit = np.maximum(np.abs(mean), scale)  # differences of y / unit do not overflow
        scaled = (y / unit - mean / unit) / (scale / unit)
        ranks = scaled.sum(axis=1).argsort(kind="stable").argsort(kind="stable")
        return scaled, sample_weight, ranks * N_STRATA // len(y)

    def _find_scale(
        self, y: NDArray, sample_weight: NDArray | None
    ) -> tuple[NDArray, NDArray, tuple[NDArray | float, NDArray | float]]:
        """Return by what targets are made smaller and divided for training, and what turns predictions back.

        They are standardised if the link allows it; else divided by their means; else nothing.
        """
        link, n_columns = self._loss.link, self._loss.n_raw_outputs(y.shape[1])
        mean, scale = standardisation(y, sample_weight)
        if (back := link.follow_targets(mean, scale, n_columns)) is not None:
            return mean, scale, back
        zero, one = np.zeros_like(mean), np.ones_like(mean)
        positive = np.where(mean > 0, mean, one)
        if (back := link.follow_targets(zero, positive, n_columns)) is not None:
            return zero, positive, back
        return zero, one, (0.0, 1.0)

    def _advice(self) -> str:
        if type(self._loss) is not SquaredError or self.oof_score_ >= NEXT_TO_NOTHING:
            return ""
        mean, scale = self._target_scaling
        with np.errstate(over="ignore"):
            farthest = np.max(np.maximum(self._target_max - mean, mean - self._target_min) / scale)
        if farthest < FAR_AWAY:
            return ""
        return (
            f"Next to nothing was learnt (R2 {self.oof_score_:.2g} out of fold): a few targets, up to {farthest:.0f} "
            "standard deviations from the mean, count for more in the squared error than all the others. Learn the "
            "logarithm of y, with sklearn.compose.TransformedTargetRegressor, or choose another loss, such as "
            "'absolute_error' or 'tweedie'."
        )

    def _make_criterion(self, y: NDArray, sample_weight: NDArray | None) -> Criterion:
        if type(self._loss) is SquaredError:
            return SquaredErrorCriterion(y, sample_weight)
        return LossCriterion(self._loss, y, sample_weight)

    def _keep_out_of_fold(
        self, output: NDArray, y: NDArray, sample_weight: NDArray | None, for_samples: Callable[[NDArray], NDArray]
    ) -> None:
        truth = y.reshape(len(y), -1)
        self._quantiles = None
        if isinstance(self._loss, Quantile):
            p = self._to_targets(output).reshape(*truth.shape, -1)
            self._quantiles = QuantileCalibration.fit(self._loss, truth, p, sample_weight)
        prediction, std = self._prediction(output)
        unit = np.maximum(np.abs(self._target_min), np.abs(self._target_max))
        unit = np.where(unit > 0, unit, 1.0)  # squares of y / unit do not overflow
        point = prediction.reshape(*truth.shape, *prediction.shape[y.ndim :])
        point = point / unit.reshape(len(unit), *[1] * (point.ndim - 2))
        self.oof_score_ = float(self._loss.score(truth / unit, point, sample_weight))
        self.oof_prediction_ = for_samples(prediction)
        self.oof_std_ = None if std is None else for_samples(std)
