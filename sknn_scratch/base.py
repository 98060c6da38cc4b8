"""The scikit-learn face shared by both estimators: parameters, validation, fit, partial_fit, predict."""

from __future__ import annotations

import copy
import inspect
import math
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.metrics import check_scoring
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.activations import Activation
from sknn_scratch.blas import row_major
from sknn_scratch.callbacks import CallbackMixin, Events
from sknn_scratch.checkpoints import Checkpoint, load_checkpoint
from sknn_scratch.constraints import Constraint
from sknn_scratch.engines import choose
from sknn_scratch.engines.numpy.in_place import link_inverse
from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.inspection import InspectionMixin
from sknn_scratch.job import Job
from sknn_scratch.losses import Loss, is_of_sklearn
from sknn_scratch.optimizers import Optimizer
from sknn_scratch.outcomes import Advice, Judge, after_lbfgs, after_minibatches, with_scale
from sknn_scratch.parameters import (
    SHARED_CONSTRAINTS,
    check_estimator_parameters,
    defaults,
    dropout_rates,
    hidden_sizes,
    make_activations,
    make_initializers,
    make_optimizer,
    make_schedule,
    python_parameters,
)
from sknn_scratch.perceptron import Perceptron, layer_views, predict_raw
from sknn_scratch.persistence import PersistenceMixin, unchanged_on_error
from sknn_scratch.scaling import describe_other_scale, describe_scale
from sknn_scratch.schedules import Schedule
from sknn_scratch.splitting import split_rows
from sknn_scratch.suggestions import did_you_mean, where_it_belongs
from sknn_scratch.training import (
    DIVERGED,
    Listener,
    MinibatchSettings,
    MinibatchTraining,
    Progress,
    TrainingData,
    TrainingDivergedError,
    train_lbfgs,
)
from sknn_scratch.validation import FLOAT_DTYPES, check_sample_weight, check_samples, naming, ready_samples
from sknn_scratch.warn import warn

__all__ = ["BaseMLP"]


class _Listener:
    """Shows an estimator's progress on the estimator before others are told."""

    def __init__(self, estimator: BaseMLP, progress: Progress, events: Events):
        self._estimator, self._progress, self._events = estimator, progress, events

    def epoch_begins(self) -> None:
        self._estimator._keep_progress(self._progress)
        self._events.epoch_begins()

    def epoch_ended(self) -> bool:
        self._estimator._keep_progress(self._progress)
        return self._events.epoch_ended()


class BaseMLP(InspectionMixin, CallbackMixin, PersistenceMixin):
    """Multi-layer perceptron; a subclass says what the targets are.

    Subclasses define ``loss`` among their parameters and the abstract methods below.
    """

    _constraints: ClassVar[dict[str, Constraint]] = SHARED_CONSTRAINTS

    _loss: Loss
    coefs_: list[NDArray[Any]]
    intercepts_: list[NDArray[Any]]
    _optimizer: Optimizer | None
    _schedule: Schedule | None
    # scikit-learn makes these at run time, and tells type checkers that they return None.
    set_fit_request: Callable[..., Self]
    set_partial_fit_request: Callable[..., Self]
    set_score_request: Callable[..., Self]

    def __new__(cls, *args: Any, **parameters: Any) -> Self:
        """Make an estimator; Python's own error for an unknown parameter does not say which ones there are."""
        known = inspect.signature(cls).parameters
        unknown = sorted(set(parameters) - set(known))
        if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            meant = did_you_mean(unknown[0], [*known, "set_callbacks"])
            raise TypeError(
                f"{cls.__name__} has no parameter {unknown[0]!r}.{meant} Valid parameters are: {sorted(known)}."
            )
        return super().__new__(cls)

    def _refuse(self, unknown: Mapping[str, Any], method: Callable[..., Any]) -> None:
        """Raise TypeError for an argument that ``fit`` or ``partial_fit`` does not have, and say where it belongs."""
        for name in unknown:
            arguments = [
                known.name for known in inspect.signature(method).parameters.values() if known.kind != known.VAR_KEYWORD
            ]
            raise TypeError(
                f"{type(self).__name__}.{method.__name__} has no argument {name!r}. "
                + where_it_belongs(name, arguments, inspect.signature(type(self)).parameters)
            )

    # What a subclass provides ----------------------------------------------------------------------------------------

    @abstractmethod
    def _encode_targets(
        self,
        X: NDArray,
        y: Any,
        *,
        carry_on: bool,
        incremental: bool,
        classes: ArrayLike | None,
        sample_weight: NDArray | None = None,
    ) -> NDArray:
        """Check ``y`` and return it as a float array of shape (n_samples, n_outputs) with the dtype of ``X``.

        ``carry_on`` says that a fitted model is trained further, so the targets have to suit it; ``incremental``, that
        the call is one of ``partial_fit``, the only one with ``classes``. ``sample_weight`` counts where something is
        learnt from the targets.
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

    @abstractmethod
    def _stratify(self, y: NDArray) -> NDArray | None:
        """Return the encoded targets by which a validation split is stratified, if any.

        Raises ValueError, with the labels as they were given, where they cannot be split.
        """

    # Fitting ---------------------------------------------------------------------------------------------------------

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        *,
        incremental: bool = False,
        classes: ArrayLike | None = None,
        validation: tuple[Any, Any, ArrayLike | None] = (None, None, None),
        resume_from: str | os.PathLike | None = None,
    ) -> Self:
        """Fit, or with ``incremental`` train one epoch further.

        ``validation`` holds ``X_val``, ``y_val`` and ``sample_weight_val``.
        """
        checkpoint = None if resume_from is None else load_checkpoint(resume_from)
        if checkpoint is not None and self.solver == "lbfgs":
            raise ValueError("resume_from cannot be used with solver='lbfgs', which has no checkpoints.")
        check_estimator_parameters(self, self._constraints)
        # Before the block, so that callbacks that were told of the beginning are told of the end, too.
        events = Events(self, "iteration" if self.solver == "lbfgs" else "epoch", X, y, sample_weight)
        with unchanged_on_error(self), closing(events):
            if incremental and self.early_stopping:
                raise ValueError(
                    "partial_fit does not support early_stopping=True: it is given one chunk of the data at a time and "
                    "cannot hold out a validation set."
                )
            if incremental and self.average > 1:
                raise ValueError(f"partial_fit trains for one epoch and cannot average the last {self.average}.")
            carry_on = hasattr(self, "coefs_") and (self.warm_start or incremental) and checkpoint is None
            data = self._check_data(X, y, sample_weight, carry_on=carry_on, incremental=incremental, classes=classes)
            validation_data = self._check_validation_data(*validation, data.X)
            if self.solver != "lbfgs" and not incremental:
                self._warn_of_idle_validation(validation_data)
            if checkpoint is not None:
                checkpoint.check(self, data, validation_data)
            events.train_begins()
            advice = self._train(data, validation_data, carry_on, incremental, events, checkpoint)
            events.train_ended()
        # Outside the block: where warnings are errors, what was learnt is kept all the same.
        for message, category in advice:
            warn(message, category)
        return self

    def _warn_of_idle_validation(self, validation_data: TrainingData | None) -> None:
        """Warn of parameters that have no effect as there is nothing to be scored, or to be held out."""
        fraction = self.validation_fraction
        if self.scoring is not None and validation_data is None and not self.early_stopping:
            warn(f"scoring={self.scoring!r} has no effect without early_stopping=True or X_val.")
        if fraction != 0.1 and (validation_data is not None or not self.early_stopping):
            reason = "without early_stopping=True" if validation_data is None else "where X_val is given"
            warn(f"validation_fraction={fraction} has no effect {reason}.")

    def _check_data(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        *,
        carry_on: bool,
        incremental: bool,
        classes: ArrayLike | None,
    ) -> TrainingData:
        """Validate and encode what was given to ``fit`` or ``partial_fit``."""
        X = check_samples(self, X, reset=not carry_on, dtype=self.coefs_[0].dtype if carry_on else FLOAT_DTYPES)
        weights = check_sample_weight(sample_weight, X)
        encoded = self._encode_targets(
            X, y, carry_on=carry_on, incremental=incremental, classes=classes, sample_weight=weights
        )
        return TrainingData(X, encoded, self._weigh_classes(encoded, weights, incremental)).in_fixed_order()

    def _check_validation_data(
        self, X_val: Any, y_val: Any, sample_weight_val: ArrayLike | None, X: Any
    ) -> TrainingData | None:
        """Validate and encode the validation set given to ``fit`` beside the checked ``X``, if there is one."""
        if X_val is None and y_val is None and sample_weight_val is None:
            return None
        if X_val is None or y_val is None:
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"{missing} is missing: a validation set is passed as X_val and y_val.")
        if self.solver == "lbfgs":
            raise ValueError("X_val cannot be used with solver='lbfgs', which has no epochs to validate.")
        with naming("X_val"):
            X_val = check_samples(self, X_val, reset=False, dtype=X.dtype)
        if X_val.shape[0] < 2:
            raise ValueError("X_val has 1 sample; at least 2 are needed.")
        with naming("y_val"):
            encoded = self._encode_targets(X_val, y_val, carry_on=True, incremental=True, classes=None)
        with naming("sample_weight_val"):
            weights = check_sample_weight(sample_weight_val, X_val)
        if described := describe_other_scale(X, X_val, getattr(self, "feature_names_in_", None)):
            warn(
                f"{described} What is done to X before, such as scaling, has to be done to X_val; steps of a pipeline "
                "do so with make_pipeline(..., transform_input=['X_val'])."
            )
        return TrainingData(X_val, encoded, self._weigh_classes(encoded, weights, incremental=False)).in_fixed_order()

    def _weigh_classes(self, y: NDArray, sample_weight: NDArray | None, incremental: bool) -> NDArray | None:
        """Return the weights of the samples, multiplied by those of their classes where there are such."""
        return sample_weight

    def _build_network(self, data: TrainingData, carry_on: bool, rng: np.random.RandomState) -> Perceptron:
        """Return the network for these samples, with initial parameters or those that were fitted before."""
        fitted_loss: Any = getattr(self, "_loss", None)
        self._loss = self._make_loss()
        self._loss.check_targets(data.y)
        n_outputs = self._loss.n_raw_outputs(data.y.shape[1])
        layer_units = [data.X.shape[1], *hidden_sizes(self), n_outputs]
        activations = make_activations(self, n_hidden=len(layer_units) - 2)
        network = Perceptron(layer_units, activations[:-1], self._loss.link, data.X.dtype)
        if carry_on:
            self._check_same_outputs(fitted_loss)
            self._check_same_layers(layer_units)
            biases = self.intercepts_ if self.fit_intercept else [np.zeros_like(b) for b in self.intercepts_]
            network.set_layers(self.coefs_, biases)
        else:
            of_weights, of_biases = (
                make_initializers(given, activations) for given in (self.weight_init, self.bias_init)
            )
            network.initialize(of_weights, of_biases if self.fit_intercept else None, rng)
        if self.input_noise and not isinstance(data.X, np.ndarray):
            raise ValueError(f"input_noise={self.input_noise!r} is not for sparse X, which it would make dense.")
        return network

    def _make_job(self, network: Perceptron, data: TrainingData, rng: np.random.RandomState, carry_on: bool) -> Job:
        """Return what is to be trained, on all samples at once."""
        parameters = self._python_parameters
        job = Job(
            network,
            self._loss,
            *(data.X, data.y, data.sample_weight, data.n_rows),
            alpha=parameters.alpha,
            l1_ratio=parameters.l1_ratio,
            max_grad_norm=parameters.max_grad_norm,
            fit_intercept=parameters.fit_intercept,
            dropout=dropout_rates(parameters, len(network.activations)),
            input_noise=parameters.input_noise,
        )
        if job.is_noisy:  # with one seed, other draws after t_ samples than before
            job.seed = int(rng.randint(2**31)) * 2**31 + (self.t_ if carry_on else 0) % 2**31
        return job

    def _train(
        self,
        data: TrainingData,
        validation_data: TrainingData | None,
        carry_on: bool,
        incremental: bool,
        events: Events,
        checkpoint: Checkpoint | None,
    ) -> list[Advice]:
        """Build the network, train it, and make what it learnt the estimator's own."""
        rng = check_random_state(self.random_state)
        network = self._build_network(data, carry_on, rng)
        job = self._make_job(network, data, rng, carry_on)
        self._keep_layers(network.weights, network.biases, network.activations)
        progress = self._make_progress(carry_on, incremental, validated=validation_data is not None)
        listener = _Listener(self, progress, events) if events.listened_to else None
        # Overflow shows in the loss or the parameters, which the trainers check.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            try:
                if self.solver == "lbfgs":
                    advice = self._run_lbfgs(job, data, progress, listener)
                else:
                    advice = self._run_minibatches(
                        job, data, validation_data, progress, rng, carry_on, incremental, listener, checkpoint
                    )
            except TrainingDivergedError as error:
                raise ValueError(f"{error} {self._describe_scale(data)}".rstrip()) from None
        self._keep_progress(progress)
        # In a stream each chunk has numbers of its own, and so Python would show each warning anew.
        return advice if incremental else with_scale(advice, lambda: self._describe_scale(data))

    def _describe_scale(self, data: TrainingData) -> str:
        """Return what to say where samples or targets are so far from unit scale that training hardly works."""
        y = data.y if self._can_scale_targets(self._loss) else None
        return describe_scale(data.X, y, getattr(self, "feature_names_in_", None))

    def _choose_engine(self, job: Job, n_rows: int, carry_on: bool, incremental: bool, checkpoint: Any) -> str:
        """Return the engine for the job.

        What goes on, by ``partial_fit`` or from a checkpoint, goes on with the engine that it began with: rounding is
        not the same in both.
        """
        name, parameters = self.engine, self._python_parameters
        if name == "auto" and (checkpoint is not None or (incremental and carry_on)):
            name = self.engine_ if checkpoint is None else checkpoint.engine
        n_epochs = 1 if incremental else parameters.max_iter
        if self.early_stopping:  # which ends most fits long before
            n_epochs = min(n_epochs, 2 * parameters.n_iter_no_change)
        return choose(name, job, int(n_epochs * n_rows // job.batch_size))

    def _run_minibatches(
        self,
        job: Job,
        data: TrainingData,
        validation_data: TrainingData | None,
        progress: Progress,
        rng: np.random.RandomState,
        carry_on: bool,
        incremental: bool,
        listener: Listener | None,
        checkpoint: Checkpoint | None,
    ) -> list[Advice]:
        network, parameters = job.network, self._python_parameters
        job.optimizer = self._start_optimizer(parameters, network, incremental)
        schedule = self._start_schedule(parameters, incremental)
        if self.early_stopping and validation_data is None:
            if checkpoint is None:
                data, validation_data = self._hold_out(data, rng)
            else:
                data, validation_data = (replace(data, rows=part) for part in checkpoint.split(data))
        self._validation_data = validation_data
        job.batch_size = self._batch_size(parameters.batch_size, data.n_rows)
        self._optimizer, self._schedule = job.optimizer, schedule
        settings = MinibatchSettings(
            max_iter=1 if incremental else parameters.max_iter,
            shuffle=parameters.shuffle,
            tol=parameters.tol,
            n_iter_no_change=parameters.n_iter_no_change,
            verbose=self._prints_lines,
            average=parameters.average,
        )
        validate = None if validation_data is None else self._make_validation(network, validation_data)
        judge = Judge(network, self._loss, data, progress, incremental)
        self.engine_ = self._choose_engine(job, data.n_rows, carry_on, incremental, checkpoint)
        self._training = MinibatchTraining(job, data, self.engine_, schedule, progress, settings, rng)
        if checkpoint is not None:
            checkpoint.restore(self._training, self)
        outcome = self._training.run(validate, listener)
        if outcome == DIVERGED:
            self._optimizer = None
        advice = after_minibatches(self, self._training, outcome, judge, incremental)
        del self._training, self._validation_data
        return advice

    def _run_lbfgs(self, job: Job, data: TrainingData, progress: Progress, listener: Listener | None) -> list[Advice]:
        self._optimizer, self._schedule = None, None
        parameters = self._python_parameters
        judge = Judge(job.network, self._loss, data, progress)
        self.engine_ = choose(self.engine, job, parameters.max_iter)
        outcome, message = train_lbfgs(
            job,
            self.engine_,
            progress,
            max_iter=parameters.max_iter,
            max_fun=parameters.max_fun,
            tol=parameters.tol,
            verbose=self._prints_lines,
            listener=listener,
        )
        return after_lbfgs(self, outcome, message, progress, judge)

    def _hold_out(self, data: TrainingData, rng: np.random.RandomState) -> tuple[TrainingData, TrainingData]:
        """Split off a validation set, as rows rather than as copies."""
        n_samples = data.n_rows
        described = f"validation_fraction={self.validation_fraction} of {n_samples} samples"
        try:
            # As scikit-learn counts, also for a float32, with which 0.2 * 100 is 20 and not a little more.
            n_held_out = math.ceil(self.validation_fraction * n_samples)
            train_rows, validation_rows = split_rows(n_samples, n_held_out, rng, self._stratify(data.y))
        except ValueError as error:
            raise ValueError(f"{described} cannot be held out for early stopping: {error}") from error
        if len(validation_rows) < 2:
            raise ValueError(
                f"{described} leaves a validation set of {len(validation_rows)}, too small for early stopping: at "
                "least 2 are needed. Increase validation_fraction or the size of your dataset."
            )
        weights = data.sample_weight
        for part, rows in {"training": train_rows, "validation": validation_rows}.items():
            if weights is not None and not weights[rows].any():
                raise ValueError(f"sample_weight is zero for every sample of the {part} set ({described}).")
        return replace(data, rows=train_rows), replace(data, rows=validation_rows)

    def _make_validation(self, network: Perceptron, held_out: TrainingData) -> Callable[[], tuple[float, float]]:
        """Return a function that computes loss and score of the network's parameters on the validation set."""
        rows = slice(None) if held_out.rows is None else held_out.rows
        y = held_out.y[rows]
        weights = None if held_out.sample_weight is None else held_out.sample_weight[rows]
        if held_out.rows is None:
            with naming("y_val"):
                self._loss.check_targets(y)
        truth, scoring = self._decode_targets(y), self._stops_by()[1]
        scorer = None if scoring in (None, "loss") else self._make_scorer(held_out.X, rows, truth, weights)

        def validate() -> tuple[float, float]:
            raw_output = network.raw_output(held_out.X, held_out.rows)
            loss = float(np.average(self._loss.value(y, raw_output), weights=weights))
            if scoring == "loss":
                return loss, -loss
            if scorer is not None:
                return loss, scorer()
            return loss, self._score_prediction(truth, self._link_inverse(raw_output), weights)

        return validate

    def _make_scorer(self, X: Any, rows: NDArray | slice, truth: Any, weights: NDArray | None) -> Callable[[], float]:
        """Return what the scorer that is ``scoring`` says about the validation set."""
        # Has the same coefs_, the network's own, but no names of features, which X lacks by now.
        model = copy.copy(self)
        if hasattr(model, "feature_names_in_"):
            del model.feature_names_in_
        scorer, X = check_scoring(model, self.scoring), X[rows]
        if issparse(truth):
            truth = np.asarray(truth.todense())
        takes_weights = any(
            p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in inspect.signature(scorer).parameters.values()
        )
        parameters = {"sample_weight": weights} if takes_weights and weights is not None else {}
        return lambda: float(scorer(model, X, truth, **parameters))

    def _check_stochastic(self) -> bool:
        """Raise AttributeError, so that ``hasattr`` says no to ``partial_fit``, if the solver has no single steps."""
        if self.solver == "lbfgs" or not self._constraints["solver"].allows(self.solver):
            raise AttributeError(f"partial_fit is only available for stochastic solvers, got solver={self.solver!r}.")
        return True

    # Building the parts ----------------------------------------------------------------------------------------------

    @property
    def _python_parameters(self) -> Any:
        """The parameters that parts are made of."""
        return python_parameters(self, self._constraints)

    def _check_same_layers(self, layer_units: list[int]) -> None:
        fitted = [self.coefs_[0].shape[0], *(weights.shape[1] for weights in self.coefs_)]
        if layer_units == fitted:
            return
        raise ValueError(
            f"A model with layers of {fitted} units cannot be trained further as one of {layer_units} units: keep "
            "hidden_layer_sizes and the number of outputs of y, or start anew with fit and warm_start=False."
        )

    def _check_same_outputs(self, fitted_loss: Loss) -> None:
        """Raise ValueError if the outputs mean something else with the loss than with that of the last fit."""
        counts = self._loss.n_raw_outputs(1), fitted_loss.n_raw_outputs(1)
        if counts != (1, 1) and (counts[0] != counts[1] or type(self._loss) is not type(fitted_loss)):
            raise ValueError(
                f"A model fitted with {fitted_loss!r} cannot be trained further with {self._loss!r}: their outputs "
                "mean different things. Start anew with fit and warm_start=False."
            )

    def _batch_size(self, batch_size: int | str, n_rows: int) -> int:
        if isinstance(batch_size, str):
            return min(200, n_rows)
        if batch_size > n_rows:
            warn(f"batch_size={batch_size} is larger than the {n_rows} training samples and will be clipped.")
        return min(batch_size, n_rows)

    def _start_optimizer(self, parameters: Any, network: Perceptron, incremental: bool) -> Optimizer:
        """Return a new optimiser; in ``partial_fit``, one that carries on from the state of the last one."""
        optimizer = make_optimizer(parameters)
        optimizer.start(network.parameters.size, network.dtype, network.n_weights)
        previous: Any = getattr(self, "_optimizer", None)
        if incremental and type(previous) is type(optimizer):
            optimizer.resume(previous)
        return optimizer

    def _start_schedule(self, parameters: Any, incremental: bool) -> Schedule:
        """Return a new schedule; in ``partial_fit``, one that carries on from the last one unless it was changed."""
        schedule = make_schedule(parameters)
        previous: Any = getattr(self, "_schedule", None)
        unchanged = type(previous) is type(schedule) and all(
            getattr(previous, name) == getattr(schedule, name)
            for name in [*defaults(type(schedule)), "learning_rate_init"]
        )
        if incremental and unchanged:
            schedule.resume(previous)
        return schedule

    def _stops_by(self) -> tuple[bool, Any]:
        """Return whether there is early stopping, and how a validation set is scored."""
        by_loss = self.scoring is None and not is_of_sklearn(self._loss)
        return bool(self.early_stopping) and self.solver != "lbfgs", "loss" if by_loss else self.scoring

    def _make_progress(self, carry_on: bool, incremental: bool, validated: bool) -> Progress:
        stops_by = self._stops_by()
        comparable = getattr(self, "_scored_by", stops_by) == stops_by
        self._scored_by = stops_by
        early_stopping = stops_by[0]
        if not carry_on:
            return Progress().next_run(early_stopping, validated)
        return Progress(
            t=self.t_,
            loss=self.loss_,
            # A copy would make each call of partial_fit take longer than the one before.
            loss_curve=self.loss_curve_ if incremental else list(self.loss_curve_),
            best_loss=self.best_loss_,
            validation_scores=self.validation_scores_,
            validation_loss_curve=self.validation_loss_curve_,
            best_validation_score=self.best_validation_score_ if comparable else None,
            no_improvement_count=self._no_improvement_count,
        ).next_run(early_stopping, validated)

    @property
    def _prints_lines(self) -> bool:
        """Whether each epoch is printed in scikit-learn's way."""
        return bool(self.verbose) and self.verbose != "bar"

    def _keep_layers(self, weights: list[NDArray], biases: list[NDArray], activations: list[Activation]) -> None:
        self.coefs_, self.intercepts_ = weights, biases
        self.n_layers_ = len(weights) + 1
        self.n_outputs_ = len(biases[-1])
        self.out_activation_ = self._loss.link.name
        self._hidden_activations = activations

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
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)  # raises; it takes longer than the prediction of one row
        model = self.coefs_, self.intercepts_, self._hidden_activations
        samples = ready_samples(self, X)
        if samples is not None:
            raw_output = predict_raw(samples, *model, check_finite=not get_config()["assume_finite"])
            if raw_output is not None:
                return raw_output
        return predict_raw(check_samples(self, X, reset=False), *model)

    def _link_inverse(self, raw_output: NDArray) -> NDArray:
        """Turn raw output into predictions, in place."""
        with np.errstate(over="ignore"):
            link_inverse(self._loss.link, raw_output, out=raw_output)
            if (scaling := self._target_scaling()) is not None:
                shift, factor = (array.astype(raw_output.dtype) for array in scaling)
                raw_output *= factor
                raw_output += shift
        return raw_output

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
        X = check_samples(self, X, reset=False, dtype=self.coefs_[0].dtype)
        encoded = self._encode_targets(X, y, carry_on=True, incremental=True, classes=None)
        self._loss.check_targets(encoded)
        weights = self._weigh_classes(encoded, check_sample_weight(sample_weight, X), incremental=False)
        data = TrainingData(row_major(X), encoded, weights).in_fixed_order()
        parameters = self._python_parameters
        layer_units = [X.shape[1], *(layer.shape[1] for layer in self.coefs_)]
        network = Perceptron(layer_units, self._hidden_activations, self._loss.link, X.dtype)
        network.set_layers(self.coefs_, self.intercepts_)
        run = NumpyRun(
            Job(
                network,
                self._loss,
                *(data.X, data.y, data.sample_weight, data.n_rows),
                alpha=parameters.alpha,
                l1_ratio=parameters.l1_ratio,
                fit_intercept=parameters.fit_intercept or any(biases.any() for biases in self.intercepts_),
            )
        )
        run.loss_and_gradient()
        return layer_views(run.gradient, layer_units)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.input_noise
        return tags
