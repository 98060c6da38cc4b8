"""What both estimators share: from a table to weighted views, and back to raw outputs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Never, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.estimators.arrays import check_sample_weight
from sknn_scratch.estimators.constraints import Number
from sknn_scratch.estimators.outcomes import INTERRUPTED
from sknn_scratch.estimators.parameters import (
    SHARED_PARAMETERS,
    Parameter,
    check_by_table,
    hidden_sizes,
    python_parameters,
)
from sknn_scratch.estimators.persistence import VersionedState, unchanged_on_error
from sknn_scratch.estimators.suggestions import HelpfulSignaturesMixin
from sknn_scratch.estimators.tabular.columns import read_columns
from sknn_scratch.estimators.tabular.encoder import FEWEST_BINS, TabularEncoder
from sknn_scratch.estimators.tabular.folds import (
    SAMPLES_PER_FOLD,
    canonical_order,
    given_groups,
    groups_of_copies,
    make_folds,
    training_rows,
)
from sknn_scratch.estimators.tabular.members import Training, View
from sknn_scratch.estimators.tabular.weights import Criterion
from sknn_scratch.training.callbacks import CallbackMixin, Events, with_callbacks
from sknn_scratch.training.coded_matrix import CodedMatrix
from sknn_scratch.training.progress import Outcome
from sknn_scratch.warn import warn

# Epochs for up to so many samples; for more, fewer, down to a minimum: steps grow with the root of the samples.
EPOCHS, MANY_SAMPLES, FEWEST_EPOCHS = 32, 10_000, 8
CODED, PLAIN = "coded", "plain"
# Parameters that may be what they may be for the other estimators.
SHARED = ("hidden_layer_sizes", "learning_rate_init", "weight_decay", "engine", "random_state", "verbose", "device")


class BaseTabularMLP(HelpfulSignaturesMixin, CallbackMixin, VersionedState):
    """An ensemble of multi-layer perceptrons for tables; a subclass says what the targets are."""

    _parameters: ClassVar[dict[str, Parameter]] = {
        "n_members": Parameter(Number(Integral, "[2, inf)")),
        "max_iter": Parameter(Number(Integral, "[1, inf)", (None,))),
        "dropout": Parameter(Number(Real, "[0, 1)")),
        "n_bins": Parameter(Number(Integral, f"[{FEWEST_BINS}, inf)", (None,))),
        "n_jobs": Parameter(Number(Integral, "(-inf, inf)", (None,))),
        **{name: SHARED_PARAMETERS[name] for name in SHARED},
    }
    _says_of_parameters: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("early_stopping", "n_iter_no_change", "scoring", "tol", "validation_fraction"),
        " It is not needed: the best epoch is always found, by the samples that each network does not train on.",
    )
    _max_codes: ClassVar[int]

    n_features_in_: int
    oof_loss_curve_: dict[str, list[float]]
    _loss: Loss
    _views: dict[str, View]
    _level: NDArray | float = 0.0  # in pickles of older versions
    # scikit-learn makes these at run time, and tells type checkers that they return None.
    set_fit_request: Callable[..., Self]
    set_score_request: Callable[..., Self]

    # What a subclass provides ----------------------------------------------------------------------------------------

    @abstractmethod
    def _check_targets(self, y: Any, n_samples: int) -> NDArray:
        """Check ``y`` and return it in numbers, one or a row for each sample."""

    @abstractmethod
    def _learn_targets(self, y: NDArray, sample_weight: NDArray | None) -> tuple[NDArray, NDArray | None, NDArray]:
        """Return encoded targets, final weights, and strata to be spread over folds; set ``_loss``, started."""

    def _learns_by(self, view: str) -> tuple[Loss, str]:
        """Return the loss that members of a view are trained with, started, and their activation."""
        return self._loss, "relu"

    @abstractmethod
    def _make_criterion(self, y: NDArray, sample_weight: NDArray | None) -> Criterion:
        """Return what compares epochs and weighs the views."""

    @abstractmethod
    def _keep_out_of_fold(
        self, output: NDArray, y: NDArray, sample_weight: NDArray | None, for_samples: Callable[[NDArray], NDArray]
    ) -> None:
        """Keep score and prediction of the training rows' raw outputs; ``for_samples`` makes of rows those of fit."""

    def _advice(self) -> str:
        """Return what there is to say to whoever has fitted the estimator, if anything."""
        return ""

    # Fitting ---------------------------------------------------------------------------------------------------------

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        **unknown: Never,
    ) -> Self:
        """Fit to a table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Numbers and categories, some of which may be missing (NaN, None, NA).
        y : array-like of shape (n_samples,), or of shape (n_samples, n_targets) for a regressor
            Class labels (if there is a single class, it is predicted with certainty), or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; equal by default. Whole numbers that sum to at most 1,000, and are at
            most 5 in the mean, are counts: a sample of weight 2 is the same as two samples.
        groups : array-like of shape (n_samples,), default=None
            Labels of what belongs together, such as the customer or the day; at least 2. The samples of a group are
            held out together, so that out-of-fold values are as for a new group. There are no more networks of a view
            than groups. By default copies of a sample are a group.
        **unknown
            Nothing; for what other libraries take here, the TypeError says where it belongs.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError, TypeError
            If a parameter or array cannot be used, or if training diverges. The estimator stays as it was.

        Warns
        -----
        ConvergenceWarning
            If next to nothing was learnt by the squared error because of a few targets that are far from the others.
        """
        self._refuse(unknown, self.fit)
        check_by_table(self)
        if self.n_jobs == 0:
            raise ValueError(f"The parameter 'n_jobs' of {type(self).__name__} must not be 0.")
        # Made before the block: closing it tells the callbacks of the end, also when the fit fails.
        most_epochs = self._epochs_of_each_view(1) * (1 if self.n_bins is None else 2)  # of a small table
        events = Events(self, "epoch", most_epochs, X, y, sample_weight)
        with unchanged_on_error(self), closing(events):
            outcome = self._fit_table(X, y, sample_weight, groups, events)
        if outcome is Outcome.INTERRUPTED:
            warn(*INTERRUPTED)
        if advice := self._advice():
            warn(advice, ConvergenceWarning)
        return self

    def _fit_table(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, groups: ArrayLike | None, events: Events
    ) -> Outcome:
        """Fit to checked parameters, and return how training ended."""
        columns = read_columns(self, X, categorical_features=self.categorical_features)
        n_samples = len(columns.numbers)
        if n_samples < 2:
            raise ValueError(f"X has {n_samples} sample, n_samples = 1; at least 2 are needed.")
        given = self._check_targets(y, n_samples)
        rows, weights = training_rows(n_samples, check_sample_weight(sample_weight, columns.numbers))
        if len(rows) < 2:
            raise ValueError("sample_weight leaves 1 sample with a positive weight; at least 2 are needed.")
        together = None if groups is None else given_groups(groups, n_samples, rows)
        self.encoder_ = TabularEncoder(
            self.n_bins, max_codes=self._max_codes, categorical_features=self.categorical_features
        )
        self.encoder_.n_features_in_ = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            self.encoder_.feature_names_in_ = self.feature_names_in_
        columns = columns.take(rows)
        Z = self.encoder_.learn(columns).encode(columns, np.float32)
        del columns  # training needs the memory
        order = canonical_order(Z.plain, Z.edges, Z.fractions, given[rows], *([] if weights is None else [weights]))
        rows, Z, weights = rows[order], Z[order], None if weights is None else weights[order]
        if together is None:
            together, fewest = groups_of_copies([Z.plain, Z.edges, Z.fractions], given[rows]), SAMPLES_PER_FOLD
        else:
            together, fewest = together[order], 1
        encoded, weights, strata = self._learn_targets(given[rows], weights)
        criterion = self._make_criterion(encoded, weights)

        def keep(trainings: dict[str, Training]) -> None:
            if any(training.best is not None for training in trainings.values()):
                output = self._keep_best(trainings, criterion)
                self._keep_out_of_fold(output, given[rows], weights, partial(_mean_of_copies, rows, n_samples))

        rng = check_random_state(self.random_state)
        folds = make_folds(strata, together, int(self.n_members), rng, fewest)
        return self._train(Z, encoded, weights, folds, criterion, keep, events, rng)

    def _train(
        self,
        Z: CodedMatrix,
        y: NDArray,
        weights: NDArray | None,
        folds: NDArray,
        criterion: Criterion,
        keep: Callable[[dict[str, Training]], None],
        events: Events,
        rng: np.random.RandomState,
    ) -> Outcome:
        """Train the members of each view, and return how that ended; ``keep`` sets the attributes that predict."""
        y = np.asfortranarray(y, dtype=np.float32)
        names = [CODED, PLAIN] if self.encoder_.n_codes_ else [PLAIN]
        max_iter = self._epochs_of_each_view(len(Z))
        events.most_epochs = len(names) * max_iter
        trainings: dict[str, Training] = {}

        def show() -> None:
            self._keep_curves(trainings)
            if events.has_callbacks:  # the bar needs no more
                keep(trainings)

        listener = events.listener(show)
        events.train_begins()
        for name in names:
            seen = self._of_view(name, Z)
            loss, activation = self._learns_by(name)
            settings = python_parameters(self)
            settings.hidden_layer_sizes, settings.activation = hidden_sizes(self), activation
            settings.max_iter, settings.verbose = max_iter, self._prints_lines
            trainings[name] = Training(name, seen, y, weights, folds, loss, criterion, settings, rng)
            outcome = trainings[name].run(listener)
            if outcome in (Outcome.STOPPED, Outcome.INTERRUPTED):
                break
        if all(training.best is None for training in trainings.values()):
            raise KeyboardInterrupt
        self._keep_curves(trainings)
        keep(trainings)
        events.train_ended()
        return outcome

    def _keep_curves(self, trainings: dict[str, Training]) -> None:
        """Set the fitted attributes that say how far training is."""
        self.oof_loss_curve_ = {
            name: training.loss_curve for name, training in trainings.items() if training.loss_curve
        }
        self.n_iter_ = sum(map(len, self.oof_loss_curve_.values()))
        self.engine_ = next(reversed(trainings.values())).engine

    def _keep_best(self, trainings: dict[str, Training], criterion: Criterion) -> NDArray:
        """Set the fitted attributes that predict, and return the weighted out-of-fold output."""
        best = {name: training.best for name, training in trainings.items() if training.best is not None}
        outputs = [self._loss.link.averaged_form(one.output) for one in best.values()]
        calibration = criterion.weigh(outputs)
        self._level = criterion.level
        self._views = {name: one.view for name, one in best.items()}
        self.calibration_ = dict(zip(best, map(float, calibration), strict=True))
        self.best_epoch_ = {name: one.epoch for name, one in best.items()}
        return self._loss.link.from_averaged_form(np.tensordot(calibration, np.stack(outputs), axes=1)) + self._level

    def _epochs_of_each_view(self, n_samples: int) -> int:
        if self.max_iter is not None:
            return int(self.max_iter)
        return max(FEWEST_EPOCHS, int(EPOCHS * math.sqrt(min(1, MANY_SAMPLES / n_samples))))

    def _describe_epoch(self) -> str:
        name, curve = next(reversed(self.oof_loss_curve_.items()))
        return f"{name}, out-of-fold loss {curve[-1]:.4g}"

    def _of_view(self, name: str, Z: CodedMatrix) -> NDArray | CodedMatrix:
        """Return the columns that the members of a view are given."""
        return Z if name == CODED else Z.without_bins()

    # Predicting ------------------------------------------------------------------------------------------------------

    def _raw_output(self, X: Any) -> NDArray:
        """Return the weighted raw output of shape (n_samples, n_outputs)."""
        check_is_fitted(self)
        Z = self.encoder_.encode(read_columns(self, X, is_categorical=self.encoder_.is_categorical_), np.float64)
        link = self._loss.link
        total: Any = 0.0
        for name, weight in self.calibration_.items():
            total = total + weight * link.mean_of_networks(self._views[name].outputs(self._of_view(name, Z)))
        return link.from_averaged_form(total) + self._level

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags


def _mean_of_copies(rows: NDArray, n_samples: int, prediction: NDArray) -> NDArray:
    """Return a prediction for each sample given: the mean over its copies, NaN where its weight was 0."""
    counts = np.bincount(rows, minlength=n_samples)
    sums = np.zeros((n_samples, *prediction.shape[1:]))
    np.add.at(sums, rows, prediction)
    with np.errstate(invalid="ignore"):
        return (sums.T / counts).T
