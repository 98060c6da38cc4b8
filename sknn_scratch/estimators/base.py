"""The scikit-learn face shared by both estimators: parameters, validation, fit, partial_fit, predict."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Never, Self, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.utils import check_array, check_random_state, metaestimators
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.catalogue.optimizers import Optimizer
from sknn_scratch.catalogue.schedules import Schedule
from sknn_scratch.engines import choose, raw_output
from sknn_scratch.engines.numpy.in_place import link_inverse
from sknn_scratch.estimators.arrays import FLOAT_DTYPES, check_sample_weight, check_samples, ready_samples
from sknn_scratch.estimators.building import (
    become_fitted,
    build_job,
    build_network,
    build_optimizer,
    build_progress,
    build_schedule,
    rows_per_batch,
)
from sknn_scratch.estimators.fit_kind import FitKind
from sknn_scratch.estimators.outcomes import Advice, Judge, after_lbfgs, after_minibatches, with_scale
from sknn_scratch.estimators.parameters import (
    SHARED_PARAMETERS,
    Parameter,
    check_estimator_parameters,
    python_parameters,
    warn_of_idle_validation,
)
from sknn_scratch.estimators.persistence import PersistenceMixin, unchanged_on_error
from sknn_scratch.estimators.scaling import describe_scale
from sknn_scratch.estimators.suggestions import HelpfulSignaturesMixin
from sknn_scratch.estimators.validation_set import check_validation_data, hold_out, make_validation
from sknn_scratch.inspection import InspectionMixin, check_biases, check_chain
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.callbacks import CallbackMixin, Events, with_callbacks
from sknn_scratch.training.checkpoints import Checkpoint, load_checkpoint
from sknn_scratch.training.data import TrainingData
from sknn_scratch.training.job import Job
from sknn_scratch.training.lbfgs import train_lbfgs
from sknn_scratch.training.progress import Listener, Outcome, Progress, TrainingDivergedError
from sknn_scratch.training.run import MinibatchTraining
from sknn_scratch.warn import warn

_Method = TypeVar("_Method", bound=Callable[..., Any])


def available_if(check: Callable[[Any], bool]) -> Callable[[_Method], _Method]:
    """Decorate a method that an estimator only has if ``check(estimator)`` is true, and raises no AttributeError."""

    def decorate(method: _Method) -> _Method:
        return cast(_Method, metaestimators.available_if(check)(method))

    return decorate


@dataclass(frozen=True)
class _Given:
    """What a call of ``fit`` or ``partial_fit`` was given, checked."""

    kind: FitKind
    data: TrainingData
    validation_data: TrainingData | None
    checkpoint: Checkpoint | None


class BaseMLP(InspectionMixin, HelpfulSignaturesMixin, CallbackMixin, PersistenceMixin):
    """Multi-layer perceptron; a subclass says what the targets are, and has ``loss`` among its parameters."""

    _parameters: ClassVar[dict[str, Parameter]] = SHARED_PARAMETERS

    _loss: Loss
    _network: Perceptron
    _optimizer: Optimizer | None
    _schedule: Schedule | None
    # scikit-learn makes these at run time, and tells type checkers that they return None.
    set_fit_request: Callable[..., Self]
    set_partial_fit_request: Callable[..., Self]
    set_score_request: Callable[..., Self]

    # What a subclass provides ----------------------------------------------------------------------------------------

    @abstractmethod
    def _encode_targets(
        self, X: NDArray, y: Any, kind: FitKind, classes: ArrayLike | None = None, sample_weight: NDArray | None = None
    ) -> NDArray:
        """Check ``y`` and return it, of shape (n_samples, n_outputs), in the dtype of ``X``, or in bytes if 0 and 1.

        ``FitKind.INCREMENT`` is also for targets that are only compared with predictions. ``sample_weight`` weighs what
        is learnt from the targets, such as their mean.
        """

    @abstractmethod
    def _decode_targets(self, y: NDArray) -> NDArray:
        """Return encoded targets in the form in which ``_score_prediction`` wants them."""

    def _target_scaling(self) -> tuple[NDArray, NDArray] | None:
        """Return ``shift`` and ``factor`` of each column by which the link's output becomes a prediction, if any."""
        return None

    def _can_scale_targets(self, loss: Loss) -> bool:
        """Return whether the targets are numbers that can as well be learnt on another scale."""
        return False

    @abstractmethod
    def _score_prediction(self, truth: NDArray, prediction: NDArray, sample_weight: NDArray | None) -> float:
        """Score predictions, in the form that ``_link_inverse`` gives them, for decoded targets: larger is better."""

    def _stratify(self, y: NDArray) -> NDArray | None:
        """Return the encoded targets by which a validation split is stratified, or None; raise where that cannot be."""
        return None

    @abstractmethod
    def _targets_of(self, n_outputs: int) -> Mapping[str, Any]:
        """Return what ``_learn_targets`` takes, for a network with these outputs that was not fitted here."""

    # Fitting ---------------------------------------------------------------------------------------------------------

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
        resume_from: str | os.PathLike[str] | None = None,
        **unknown: Never,
    ) -> Self:
        """Fit the model to training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training samples. float32 and float64 are kept and not copied; other types become float64, a CSC matrix CSR,
            and for 'lbfgs' another memory order C order. Results do not depend on the memory order.
        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_outputs)
            A classifier's labels: one for each sample, for multilabel targets a matrix of 0 and 1, for several targets
            a column each. A regressor's numbers: not negative with the losses 'poisson' and 'tweedie', positive with
            'gamma'.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; equal by default. The loss of a minibatch is divided by the sum of its
            weights, so ``batch_size`` should be such that each has several of the samples with large weights.
        X_val, y_val, sample_weight_val : default=None
            A validation set of one's own, like ``X``, ``y`` and ``sample_weight``. It fills ``validation_scores_`` and
            ``validation_loss_curve_``, and ``early_stopping`` goes by it instead of holding out samples. Not for
            'lbfgs'.
        resume_from : path, default=None
            A file of ``ModelCheckpoint``: training goes on where it was written, up to ``max_iter`` epochs in all, as
            if it had not stopped. All arrays and parameters must be the same as then, except ``max_iter``, ``verbose``,
            ``warm_start``, ``random_state``, ``engine`` and ``device``. Reading it runs no code that might be in it.
            Not for 'lbfgs'.
        **unknown
            Nothing; for what other libraries take here, the TypeError says where it belongs.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter or array cannot be used, or if the loss becomes infinite or NaN (with ``early_stopping`` a
            ConvergenceWarning, if there is a best epoch to go back to). The estimator stays as it was.
        """
        self._refuse(unknown, self.fit)
        kind, validation = FitKind.of_fit(self, resume_from), (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, kind, validation=validation, resume_from=resume_from)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        kind: FitKind,
        *,
        classes: ArrayLike | None = None,
        validation: tuple[Any, Any, ArrayLike | None] = (None, None, None),
        resume_from: str | os.PathLike | None = None,
    ) -> Self:
        """Check, build, train, keep: ``fit``, where ``validation`` is ``X_val`` and so on, and ``partial_fit``."""
        checkpoint = None if resume_from is None else load_checkpoint(resume_from)
        if checkpoint is not None and self.solver == "lbfgs":
            raise ValueError("resume_from cannot be used with solver='lbfgs', which has no checkpoints.")
        check_estimator_parameters(self)
        # Made before the block: closing it tells the callbacks of the end, also when the fit fails.
        task, most_epochs = "iteration" if self.solver == "lbfgs" else "epoch", int(self.max_iter)
        events = Events(self, task, 1 if kind.is_incremental else most_epochs, X, y, sample_weight)
        with unchanged_on_error(self), closing(events):
            if kind.is_incremental:
                self._check_partial_fit_parameters()
            data = self._check_data(X, y, sample_weight, kind, classes)
            validation_data = check_validation_data(self, *validation, data.X)
            if self.solver != "lbfgs" and not kind.is_incremental:
                warn_of_idle_validation(self, has_own_set=validation_data is not None)
            if checkpoint is not None:
                checkpoint.check(self, data, validation_data)
            events.train_begins()
            advice = self._train(_Given(kind, data, validation_data, checkpoint), events)
            events.train_ended()
        # After the block: where warnings are errors, the fitted model is kept all the same.
        for message, category in advice:
            warn(message, category)
        return self

    def _check_partial_fit_parameters(self) -> None:
        """Raise ValueError for parameters that only ``fit`` can use."""
        if self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True: it is given one chunk of the data at a time and "
                "cannot hold out a validation set."
            )
        if self.average > 1:
            raise ValueError(f"partial_fit trains for one epoch and cannot average the last {self.average}.")

    def _check_data(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, kind: FitKind, classes: ArrayLike | None = None
    ) -> TrainingData:
        """Validate and encode what was given to ``fit`` or ``partial_fit``."""
        known = kind.continues_model
        X = check_samples(self, X, reset=not known, dtype=self.perceptron.dtype if known else FLOAT_DTYPES)
        weights = check_sample_weight(sample_weight, X)
        encoded = self._encode_targets(X, y, kind, classes, weights)
        return TrainingData(X, encoded, self._weigh_classes(encoded, weights)).in_fixed_order()

    def _weigh_classes(self, y: NDArray, sample_weight: NDArray | None) -> NDArray | None:
        """Return the weights of the samples, multiplied by those of their classes where there are such."""
        return sample_weight

    def _train(self, given: _Given, events: Events) -> list[Advice]:
        """Build the network, train it, and make what it learnt the estimator's own."""
        rng = check_random_state(self.random_state)
        network = build_network(self, given.data, given.kind, rng)
        job = build_job(self, network, given.data, given.kind, rng)
        self._keep_network(network)
        progress = build_progress(self, given.kind, validated=given.validation_data is not None)
        listener = events.listener(lambda: self._keep_progress(progress), lambda: self._check_is_trained(network))
        if listener is not None:
            self._keep_progress(progress)
        # Overflow shows in the loss or the parameters, which the trainers check.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            try:
                if self.solver == "lbfgs":
                    advice = self._run_lbfgs(job, given.data, progress, listener)
                else:
                    advice = self._run_minibatches(job, given, progress, rng, listener)
            except TrainingDivergedError as error:
                raise ValueError(f"{error} {self._describe_scale(given.data)}".rstrip()) from None
        self._keep_progress(progress)
        # With the numbers of a chunk in it, Python would show the warning for each chunk.
        return advice if given.kind.is_incremental else with_scale(advice, lambda: self._describe_scale(given.data))

    def _describe_scale(self, data: TrainingData) -> str:
        """Return what to say where samples or targets are so far from unit scale that training hardly works."""
        y = data.y if self._can_scale_targets(self._loss) else None
        return describe_scale(data.X, y, getattr(self, "feature_names_in_", None))

    def _run_minibatches(
        self, job: Job, given: _Given, progress: Progress, rng: np.random.RandomState, listener: Listener | None
    ) -> list[Advice]:
        kind, parameters = given.kind, python_parameters(self)
        job.optimizer = self._optimizer = build_optimizer(self, parameters, job.network, kind)
        schedule = self._schedule = build_schedule(self, parameters, kind)
        data, self._validation_data = self._split(given, rng)
        job.batch_size = rows_per_batch(parameters.batch_size, data.n_rows)
        parameters.verbose = self._prints_lines
        if kind.is_incremental:
            parameters.max_iter = 1
        held_out = self._validation_data
        validate = None if held_out is None else make_validation(self, job.network, held_out)
        judge = Judge(job.network, self._loss, data, progress, kind)
        self.engine_ = self._choose_engine(job, data.n_rows, given, parameters)
        self._training = MinibatchTraining(job, data, self.engine_, schedule, progress, parameters, rng)
        if given.checkpoint is not None:
            given.checkpoint.restore(self._training, self)
        outcome = self._training.run(validate, listener)
        if outcome is Outcome.DIVERGED:
            self._optimizer = None
        advice = after_minibatches(self, self._training, outcome, judge, kind)
        del self._training, self._validation_data
        return advice

    def _split(self, given: _Given, rng: np.random.RandomState) -> tuple[TrainingData, TrainingData | None]:
        """Return what is trained on and what is validated on, if anything."""
        data = given.data
        if given.validation_data is not None or not self.early_stopping:
            return data, given.validation_data
        if given.checkpoint is None:
            return hold_out(self, data, rng)
        train_rows, validation_rows = given.checkpoint.split(data)
        return replace(data, rows=train_rows), replace(data, rows=validation_rows)

    def _choose_engine(self, job: Job, n_rows: int, given: _Given, parameters: Any) -> str:
        """Return the engine for the job; ``partial_fit`` and training from a checkpoint go on with that of before."""
        n_epochs, began_with = parameters.max_iter, None
        if given.checkpoint is not None:
            began_with = given.checkpoint.engine
        elif given.kind is FitKind.INCREMENT:
            began_with = self.engine_
        if self.early_stopping:  # which ends most fits long before
            n_epochs = min(n_epochs, 2 * parameters.n_iter_no_change)
        return choose(self.engine, job, int(n_epochs * n_rows // job.batch_size), began_with)

    def _run_lbfgs(self, job: Job, data: TrainingData, progress: Progress, listener: Listener | None) -> list[Advice]:
        self._optimizer, self._schedule = None, None
        parameters = python_parameters(self)
        judge = Judge(job.network, self._loss, data, progress)
        self.engine_ = choose(self.engine, job, parameters.max_iter)
        parameters.verbose = self._prints_lines
        outcome, message = train_lbfgs(job, self.engine_, progress, parameters, listener)
        return after_lbfgs(self, outcome, message, progress, judge)

    def _check_stochastic(self) -> bool:
        """Raise AttributeError, so that ``hasattr`` says no to ``partial_fit``, if the solver has no single steps."""
        if self.solver == "lbfgs" or not self._parameters["solver"].constraint.allows(self.solver):
            raise AttributeError(f"partial_fit is only available for stochastic solvers, got solver={self.solver!r}.")
        return True

    # Keeping ---------------------------------------------------------------------------------------------------------

    def _describe_epoch(self) -> str:
        text = f"loss {self.loss_:.4g}"
        if self.validation_scores_:
            text += f", validation score {self.validation_scores_[-1]:.4g}"
        if self._schedule is not None:
            text += f", learning rate {self._schedule.learning_rate:.3g}"
        return text

    def _copies_of_what_changes(self) -> dict[str, Any]:
        return {name: [array.copy() for array in getattr(self, name)] for name in ("coefs_", "intercepts_")}

    def _begin_with(self, weights: Any) -> None:
        """Become, without a fit, a model with these weights, and biases of zero."""
        try:
            layers = [check_array(layer, dtype=FLOAT_DTYPES, input_name="coefs_") for layer in weights]
            dtype = np.result_type(*layers)
        except (TypeError, ValueError) as error:
            raise ValueError(f"coefs_ must be a list of matrices: {error}") from error
        layers = [layer.astype(dtype, copy=False) for layer in layers]
        check_chain(layers, len(layers[0]))
        biases = [np.zeros(layer.shape[1], dtype) for layer in layers]
        with unchanged_on_error(self):
            check_estimator_parameters(self)
            become_fitted(self, layers, biases, self._targets_of(layers[-1].shape[1]))

    def _keep_network(self, network: Perceptron) -> None:
        self._network = network
        self.n_layers_ = len(network.layer_units)
        self.n_outputs_ = network.layer_units[-1]

    def _check_is_trained(self, network: Perceptron) -> None:
        """Raise RuntimeError where a callback has replaced layers of the network that is trained."""
        layers = [*self.coefs_, *self.intercepts_]
        if self._network is not network or any(layer.base is not network.parameters for layer in layers):
            raise RuntimeError(
                "A callback has replaced layers, which training would not go on with. Change the arrays in place: "
                "coefs_[0][...] = new."
            )

    def _keep_progress(self, progress: Progress) -> None:
        self.n_iter_ = progress.n_iter
        self.t_ = progress.t
        self.loss_ = progress.loss
        self.loss_curve_ = progress.loss_curve
        self.best_loss_ = progress.best_loss
        self.validation_scores_ = progress.validation_scores
        self.validation_loss_curve_ = progress.validation_loss_curve
        self.best_validation_score_ = progress.best_validation_score
        self._no_improvement_count = progress.no_improvement_count

    # Prediction ------------------------------------------------------------------------------------------------------

    def _raw_output(self, X: Any) -> NDArray:
        """Return the output of the last layer, before the link, of shape (n_samples, n_outputs)."""
        if not hasattr(self, "_network"):
            check_is_fitted(self)  # raises; it takes longer than the prediction of one row
        try:
            samples = ready_samples(self, X)
            if samples is not None:
                output = raw_output(
                    self._network, samples, device=self.device, check_finite=not get_config()["assume_finite"]
                )
                if output is not None:
                    return output
            return raw_output(self._network, check_samples(self, X, reset=False), device=self.device)
        except ValueError:
            check_biases(self._network)  # which may be the cause
            raise

    def _link_inverse(self, raw_output: NDArray) -> NDArray:
        """Turn raw output into predictions, in place."""
        with np.errstate(over="ignore"):
            link_inverse(self._network.link, raw_output, out=raw_output)
            if (scaling := self._target_scaling()) is not None:
                shift, factor = (array.astype(raw_output.dtype) for array in scaling)
                raw_output *= factor
                raw_output += shift
        return raw_output

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.input_noise
        return tags
