"""The tabular classifier: labels to columns, and raw outputs to probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit, log_softmax
from sklearn.metrics import accuracy_score

from sknn_scratch.catalogue.losses import LogLoss, Loss
from sknn_scratch.estimators.arrays import check_labels
from sknn_scratch.estimators.classifier import LabelClassifierMixin
from sknn_scratch.estimators.constraints import ClassWeight
from sknn_scratch.estimators.constructors import TabularClassifierConstructor
from sknn_scratch.estimators.labels import LabelCoder, weigh_classes
from sknn_scratch.estimators.parameters import Parameter
from sknn_scratch.estimators.tabular.base import PLAIN, BaseTabularMLP
from sknn_scratch.estimators.tabular.weights import Criterion, LogLossCriterion

# Label smoothing in the view without codes. The temperature, fitted to the labels as they are, undoes what it does to
# the probabilities. With Mish instead of ReLU there, log-losses on 24 public sets are 0.939 of what they were (0.05:
# 0.941, Mish alone: 0.975), most where classes are all but separable. Members on codes gain from neither.
SMOOTHING = 0.1


class TabularMLPClassifier(LabelClassifierMixin, TabularClassifierConstructor, BaseTabularMLP):
    """Classifier for tables that needs no preparation and no tuning: numbers, categories and gaps.

    The table is encoded by ``TabularEncoder`` and seen in two views, with piecewise-linear codes and without. For each
    view ``n_members`` multi-layer perceptrons are trained, each on all but one fold of the samples, in step with each
    other. As each sample is held out from one of them, one epoch is chosen for all by their pooled out-of-fold
    log-loss, at the best temperature; and so are the weights of the two views. Their logits are averaged.

    Parameters
    ----------
    n_members : int, default=8
        Networks of each view, and folds, at least 2. With fewer than 5 samples for each there are fewer.
    hidden_layer_sizes : int or array-like of int, default=(128, 128)
        Units of the hidden layers: ReLU in the view with codes, Mish in the one without.
    max_iter : int, default=None
        Epochs, of which the best is kept. None means 32 for up to 10,000 samples, and ``32 * sqrt(10000 / n_samples)``,
        at least 8, for more.
    learning_rate_init : float, default=0.012
        Highest rate of Adam: it rises in the first sixteenth of the epochs, and then falls along a cosine.
    dropout : float, default=0.15
        Share of the hidden units that are dropped in each step, in [0, 1).
    weight_decay : float, default=0.0
        Decoupled decay: before a step of rate ``r`` the weights are multiplied by ``1 - r * weight_decay``.
    n_bins : int or None, default=16
        The most piecewise-linear codes of a number, at least 4; None for no codes. All numbers together have at most
        1,024: beyond 256 numbers there are no codes, and the view without them only. See ``TabularEncoder``.
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
    class_weight : dict, 'balanced' or None, default=None
        Weights of the classes, by which those of their samples are multiplied. 'balanced' gives all classes the same
        sum: ``n_samples / (n_classes * count)``, where with ``sample_weight`` samples count as often as that says.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        In order. Labels of pandas' own dtypes stay booleans or whole numbers, of which scikit-learn makes floats.
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        The latter only if the columns have names.
    encoder_ : TabularEncoder
    oof_score_ : float
        Accuracy for the training samples, each as predicted by the members that were not trained on it.
    oof_decision_function_ : ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
        What ``decision_function`` would give for the training samples, out of fold. NaN for samples of weight 0.
    oof_loss_curve_ : dict of str to list of float
        For each view, 'coded' and 'plain', the out-of-fold log-loss after each epoch at the best temperature.
    best_epoch_ : dict of str to int
        For each view, the epoch that was kept, from 1 on.
    calibration_ : dict of str to float
        For each view, by what its logits are multiplied before they are added.
    n_iter_ : int
        Epochs trained, of all views together.
    engine_ : str
        The engine that trained: 'numba', 'numpy' or 'torch'.

    See Also
    --------
    TabularMLPRegressor : For numbers as targets.
    MLPFromScratchClassifier : One network, all of whose settings are parameters.

    Notes
    -----
    Members of the view without codes learn labels that are smoothed by 0.1: with ``K`` classes the true one counts
    ``0.9 + 0.1 / K``. Out-of-fold losses and ``calibration_`` are those of the labels as they are.

    With ``p`` the softmax of the weighted logits, ``n`` the number of training samples and ``f`` the frequencies of the
    classes among them, the probabilities are ``(n * p + f) / (n + 1)``: as if there were one sample more, of every
    class a little. None of a class that was trained on is then 0.

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    NeurIPS 2024, arXiv:2407.04491. Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular
    deep learning", NeurIPS 2022, arXiv:2203.05556. Berta, Holzmueller, Jordan and Bach, "Rethinking early stopping:
    refine, then calibrate", 2025, arXiv:2501.19195. Wolpert, "Stacked generalization", Neural Networks 5, 1992.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sknn_scratch import TabularMLPClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> classifier = TabularMLPClassifier(random_state=0).fit(X, y)
    >>> classifier.oof_score_ > 0.9
    True
    """

    _parameters: ClassVar[dict[str, Parameter]] = {
        **BaseTabularMLP._parameters,
        "class_weight": Parameter(ClassWeight()),
    }
    _max_codes = 1024

    def _labels(self, raw_output: NDArray) -> NDArray:
        return self.classes_[self._probabilities(raw_output, log=True).argmax(axis=1)]

    def _decision(self, raw_output: NDArray) -> NDArray:
        log_p = self._probabilities(raw_output, log=True)
        return log_p if len(self.classes_) > 2 else log_p[:, -1] - log_p[:, 0]  # 0 for a single class

    def _probabilities(self, raw_output: NDArray, log: bool = False) -> NDArray:
        if len(self.classes_) == 1:
            return np.full((len(raw_output), 1), 0.0 if log else 1.0)
        if raw_output.shape[1] == 1:
            log_p = np.hstack([log_expit(-raw_output), log_expit(raw_output)])
        else:
            log_p = log_softmax(raw_output, axis=1)
        n, smallest = self._n_training, np.log(np.finfo(np.float64).tiny)
        with np.errstate(divide="ignore"):  # a class without training samples
            log_p = np.logaddexp(log_p + np.log(n / (n + 1)), np.log(self._class_frequencies / (n + 1)))
        log_p = np.maximum(log_p, smallest)
        return log_p if log else np.exp(log_p)

    def _check_targets(self, y: Any, n_samples: int) -> NDArray:
        if not isinstance(getattr(y, "dtype", None), np.dtype | None):  # of pandas, of which scikit-learn makes floats
            values = np.asarray(y)
            y = values.tolist() if values.dtype == object else values
        y, target_type = check_labels(self, y, n_samples, regressor="TabularMLPRegressor")
        if target_type not in ("binary", "multiclass"):
            raise ValueError(
                f"y is {target_type}; {type(self).__name__} takes one label for each sample. For several, fit one for "
                "each with sklearn.multioutput.MultiOutputClassifier."
            )
        self._coder = LabelCoder(y, target_type)
        self.classes_ = self._coder.classes
        return self._coder.positions(y)

    def _learn_targets(self, y: NDArray, sample_weight: NDArray | None) -> tuple[NDArray, NDArray | None, NDArray]:
        encoded = self._coder.encode_positions(y)
        weights = weigh_classes(self.class_weight, self._coder, encoded, sample_weight)
        if weights is not sample_weight and weights is not None:
            weights = weights / weights.mean()
        per_class = np.bincount(y, weights, minlength=len(self.classes_))
        self._class_frequencies, self._n_training = per_class / per_class.sum(), len(y)
        self._loss = self._make_loss()
        return encoded, weights, y

    def _make_loss(self, label_smoothing: float = 0.0) -> LogLoss:
        loss = LogLoss(label_smoothing)
        loss.start(multiclass=len(self.classes_) > 2)
        return loss

    def _learns_by(self, view: str) -> tuple[Loss, str]:
        return (self._make_loss(SMOOTHING), "mish") if view == PLAIN else super()._learns_by(view)

    def _make_criterion(self, y: NDArray, sample_weight: NDArray | None) -> Criterion:
        return LogLossCriterion(y, sample_weight)

    def _keep_out_of_fold(
        self, output: NDArray, y: NDArray, sample_weight: NDArray | None, for_samples: Callable[[NDArray], NDArray]
    ) -> None:
        predicted = self._probabilities(output, log=True).argmax(axis=1)
        self.oof_score_ = float(accuracy_score(y, predicted, sample_weight=sample_weight))
        self.oof_decision_function_ = for_samples(self._decision(output))
