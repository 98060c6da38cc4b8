"""The regressor: numeric targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Never, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin

from sknn_scratch.catalogue.links import LINKS
from sknn_scratch.catalogue.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    GammaDeviance,
    Loss,
    PoissonDeviance,
    SquaredError,
    TweedieDeviance,
)
from sknn_scratch.estimators.arrays import cast_targets, check_numeric_targets, naming_scored, refuse_times
from sknn_scratch.estimators.base import BaseMLP, available_if
from sknn_scratch.estimators.constraints import Component, OneOf
from sknn_scratch.estimators.constructors import RegressorConstructor
from sknn_scratch.estimators.fit_kind import FitKind
from sknn_scratch.estimators.parameters import Parameter, make_component
from sknn_scratch.estimators.scaling import standardisation
from sknn_scratch.training.callbacks import with_callbacks


class LossRegressorMixin(RegressorMixin):
    """Predictions of the kind that the loss was made for, of all regressors."""

    loss: Any
    _loss: Loss
    _raw_output: Callable[[Any], NDArray]

    @abstractmethod
    def _prediction(self, raw_output: NDArray) -> tuple[NDArray, NDArray | None]:
        """Return what ``predict`` gives for raw outputs, and standard deviations if the loss learns them."""

    @overload
    def predict(self, X: Any, *, return_std: Literal[False] = False) -> NDArray[Any]: ...

    @overload
    def predict(self, X: Any, *, return_std: Literal[True]) -> tuple[NDArray[Any], NDArray[Any]]: ...

    @overload
    def predict(self, X: Any, *, return_std: bool) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...

    def predict(self, X: Any, *, return_std: bool = False) -> NDArray | tuple[NDArray, NDArray]:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            As for ``fit``.
        return_std : bool, default=False
            Whether to return standard deviations too, for ``loss="gaussian_nll"``.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions, of ``MLPFromScratchRegressor`` float32 if model and samples are, otherwise float64. With
            several quantiles there is a further axis at the end with one entry for each.
        y_std : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Standard deviations of the targets, only if ``return_std``.

        Raises
        ------
        ValueError
            If ``return_std`` and the loss learns no standard deviation.
        """
        point, std = self._prediction(self._raw_output(X))
        if not return_std:
            return point
        if std is None:
            raise ValueError(f"return_std=True needs loss='gaussian_nll'; the model was fitted with {self._loss!r}.")
        return point, std

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the coefficient of determination R2, or with several quantiles its cousin for these.

        That is D2, the share of the pinball loss of the best constants that is avoided, in the mean over the quantiles
        (``sklearn.metrics.d2_pinball_score``). Both are 1 at best and 0 for a constant.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            True targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
        """
        prediction = self.predict(X)
        refuse_times(y)
        with naming_scored(y, sample_weight, len(prediction)):
            return self._loss.score(y, prediction, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        loss = REGRESSOR_LOSSES.get(self.loss) if isinstance(self.loss, str) else type(self.loss)
        tags.target_tags.positive_only = loss in (PoissonDeviance, GammaDeviance, TweedieDeviance)
        return tags


class MLPFromScratchRegressor(LossRegressorMixin, RegressorConstructor, BaseMLP):
    """Multi-layer perceptron regressor: scikit-learn's ``MLPRegressor``, faster.

    Takes the same parameters, has the same attributes and finds the same coefficients. One target or several.

    Parameters
    ----------
    loss : str or Loss, default='squared_error'
        What the output is judged by; the penalty is added to its mean over the samples. For the conditional mean

        - 'squared_error': half the squared error
        - 'poisson', 'gamma', 'tweedie': half the deviance, with the exponential of the output as the prediction; for
          targets that are not negative ('gamma': positive)

        for something between mean and median, which outliers move little

        - 'huber', 'log_cosh': half the squared error near the target, linear far from it

        for the median or another quantile

        - 'absolute_error': the absolute error
        - 'quantile': the pinball loss, by default of the median; several quantiles at once with
          ``Quantile([0.1, 0.5, 0.9])``

        and for a mean with its uncertainty

        - 'gaussian_nll': negative log-likelihood of a normal distribution, whose standard deviation is learnt too; see
          ``predict``

        Formulas are in ``sknn_scratch.catalogue.losses``. An object from there brings its parameters, such as
        ``Huber(delta=2.0)``; or write a class of your own: see ``Loss``.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Widths of the hidden layers, each at least 1. ``()`` gives a linear model.
    activation : str, Activation or list of these, default='relu'
        Activation of the hidden layers; a list has an entry for each of them. By name 'identity', 'logistic', 'relu' or
        'tanh', as in scikit-learn, or 'elu', 'gelu', 'hard_sigmoid', 'hard_tanh', 'leaky_relu', 'mish', 'relu6',
        'selu', 'silu', 'softplus' or 'softsign', whose formulas are in ``sknn_scratch.catalogue.activations``. As an
        object, such as ``LeakyReLU(0.1)``, or of a class of your own: see ``Activation``.
    solver : str or Optimizer, default='adam'
        How the objective is minimised. scikit-learn's are

        - 'adam': minibatches, with step sizes adapted to the moments of each gradient component [1]_
        - 'lbfgs': a quasi-Newton method on all samples at once [2]_; often best for a few thousand samples
        - 'sgd': minibatches, gradient descent with momentum [3]_

        and there are 'adagrad', 'adamw', 'nadam' and 'rmsprop'. An object, such as ``RMSprop(rho=0.99)``, brings its
        own parameters. Formulas are in ``sknn_scratch.catalogue.optimizers``.
    alpha : float, default=0.0001
        Strength of the L2 penalty ``alpha / 2 * sum(W**2)`` on the weights (not the biases), at least 0. Like the
        loss, it is divided by the number of samples, or the sum of their weights, of the minibatch.
    batch_size : int or 'auto', default='auto'
        Samples per minibatch, at least 1, and with a warning no more than there are; 'auto' is ``min(200, n_samples)``.
        Not used by 'lbfgs'.
    learning_rate : str, Schedule or callable, default='constant'
        Schedule of the learning rate. scikit-learn's, which 'adam' ignores as it does there, are

        - 'adaptive': ``learning_rate_init``, divided by 5 whenever ``n_iter_no_change`` epochs bring no improvement
        - 'constant': ``learning_rate_init``
        - 'invscaling': ``learning_rate_init / (t + 1)**power_t`` after ``t`` samples

        and for every solver but 'lbfgs' there are 'cosine', 'exponential', 'one_cycle' and 'step', objects, such as
        ``Cosine(warm_up=5)``, and functions from the number of epochs that have ended to the rate of the next. 'cosine'
        and 'one_cycle' plan for ``max_iter`` epochs, all of which are trained: only ``early_stopping`` ends it before.
        Formulas are in ``sknn_scratch.catalogue.schedules``.
    learning_rate_init : float, default=0.001
        Initial learning rate, greater than 0. Not used by 'lbfgs'.
    power_t : float, default=0.5
        Exponent of 'invscaling', at least 0.
    max_iter : int, default=200
        Most epochs (for 'lbfgs', iterations), at least 1.
    shuffle : bool, default=True
        Whether to shuffle the samples before each epoch. Not used by 'lbfgs'.
    random_state : int, RandomState instance or None, default=None
        Source of the initial parameters, the validation split and the shuffling. With the same int, every call finds
        the same result, and scikit-learn's estimator the same coefficients.
    tol : float, default=0.0001
        Smallest improvement of the loss or validation score that counts, at least 0; for 'lbfgs', the largest gradient
        component at which to stop. Does not end a ``learning_rate`` that has a planned end.
    verbose : bool, int or 'bar', default=False
        Whether to print the loss of each epoch or iteration; 'bar' shows one progress bar instead.
    warm_start : bool, default=False
        Whether ``fit`` carries on from the parameters of the previous call.
    momentum : float, default=0.9
        Momentum of 'sgd', in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's momentum instead of the classical one.
    early_stopping : bool, default=False
        Whether to hold out ``validation_fraction`` of the samples (or take ``X_val``), stop when their score, see
        ``scoring``, no longer improves, and keep the parameters of the best epoch. Not used by 'lbfgs'.
    validation_fraction : float, default=0.1
        Share of the samples held out with ``early_stopping``, in [0, 1).
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the first and second moment of 'adam', 'adamw' and 'nadam', in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator by all stochastic solvers but 'sgd', greater than 0.
    n_iter_no_change : int or inf, default=10
        Training stops when more than this many epochs in a row bring no improvement of ``tol``, at least 1.
        Not used by 'lbfgs'.
    max_fun : int, default=15000
        Most evaluations of the objective by 'lbfgs', at least 1.
    l1_ratio : float, default=0.0
        Share of the absolute values in the penalty, which is ``alpha * (l1_ratio * sum(|W|) + (1 - l1_ratio) / 2 *
        sum(W**2))``, in [0, 1].
    weight_init, bias_init : str or Initializer, default='glorot_uniform'
        How weights and biases start: 'glorot_normal', 'glorot_uniform', 'he_normal', 'he_uniform', 'lecun_normal',
        'lecun_uniform', 'normal', 'orthogonal' (weights only), 'uniform' or 'zeros', or an object, such as
        ``Normal(scale=0.1)``; formulas are in ``sknn_scratch.catalogue.initializers``. The default is scikit-learn's
        [4]_, uniform in ``+-sqrt(6 / (fan_in + fan_out))``, with 2 instead of 6 for 'logistic'.
    fit_intercept : bool, default=True
        Whether the network has biases; otherwise ``intercepts_`` are zero.
    weight_decay : float, default=0.01
        Strength of the weight decay of 'adamw', at least 0.
    max_grad_norm : float or None, default=None
        If not None, a minibatch's gradient is shortened to this Euclidean length where it is longer; greater than 0.
        Not for 'lbfgs'.
    dropout : float or list of float, default=0.0
        Share of the units that is dropped in training, drawn anew for every minibatch and sample, in [0, 1): one rate
        for all hidden layers, or a list with one for the input and one for each hidden layer. What is kept is divided
        by ``1 - dropout``; prediction uses all units [5]_. Not for 'lbfgs'.
    input_noise : float, default=0.0
        Standard deviation of Gaussian noise that is added to the features in training, in their units, at least 0. Not
        for 'lbfgs' and sparse samples.
    average : int, default=1
        The fitted parameters are the mean of those at the end of each of the last ``average`` epochs [6]_, at least 1.
        Validation scores are those of such means. Not for 'lbfgs' and ``partial_fit``.
    scoring : str, callable or None, default=None
        How a validation set is scored: 'loss' for the negative loss, the name of a scikit-learn scorer, or a function
        ``scorer(estimator, X, y)``; the larger the better. None is R2, as in scikit-learn, with the losses that it has,
        'squared_error' and 'poisson'; with any other, also one of your own, None is 'loss'.
    engine : {'auto', 'numba', 'numpy', 'torch'}, default='auto'
        What does the arithmetic: NumPy, code compiled by numba, which is faster, or PyTorch; results differ by
        rounding. 'auto' takes numba, where it is installed, for all but the shortest fits if its code is in its cache
        on disk, and otherwise if the fit saves more time than compiling takes, for which it reckons with 8 seconds.
    device : str, default='cpu'
        Where training, and prediction of many rows, is computed: 'cuda', 'cuda:1' and so on for a GPU of NVIDIA, 'mps'
        for that of a Mac. Takes PyTorch (the extra ``gpu``) and dense X. Fitted arrays are NumPy's, and a pickle can be
        read, and predicts, without PyTorch or a GPU. See :doc:`/guide/gpu`.
    output_activation : {'exp', 'identity', 'logistic', 'tanh'} or None, default=None
        Function from the last layer to the prediction with ``loss="squared_error"``, for targets that are positive, or
        between 0 and 1, or -1 and 1. None is 'identity'. Other losses have one of their own.
    target_transform : {'standardize'} or None, default=None
        'standardize' trains the network on ``(y - target_mean_) / target_scale_``, column by column, and turns what it
        predicts back; needed where ``y`` is far from unit scale, such as prices, unless it is scaled outside. Mean and
        standard deviation are those of the ``y`` of ``fit``, weighted by ``sample_weight``; ``partial_fit`` and
        ``warm_start`` keep those of the first call. Losses (``loss_``, ``loss_curve_``, ``validation_loss_curve_``,
        ``scoring="loss"``) are then those of the standardised targets, and ``Huber(delta)`` and
        ``GaussianNLL(min_std)`` are in standard deviations; scores are those of the targets as given. For losses whose
        prediction can be any number, not for 'poisson', 'gamma', 'tweedie' and ``output_activation``.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray of shape (fan_in, fan_out), of shape (fan_out,)
        Weights and biases of each layer.
    loss_ : float or None
        Objective of the last epoch: mean over its minibatches, each before its update, penalty included. None if
        training was interrupted before the end of the first epoch.
    loss_curve_ : list of float
        ``loss_`` after each epoch or iteration. ``partial_fit`` appends to it.
    best_loss_ : float or None
        Smallest ``loss_`` of the epochs without ``early_stopping``; None with it.
    validation_scores_, validation_loss_curve_ : list of float or None
        Score, and loss without the penalty, on the validation set after each epoch; None if there is no such set.
    best_validation_score_ : float or None
        Largest entry of ``validation_scores_``.
    n_iter_ : int
        Epochs or iterations of the last call.
    t_ : int
        Training samples seen since training began anew, each counted as often as it was used; 0 with 'lbfgs'.
    n_layers_, n_outputs_ : int
        Number of layers, input and output included, and of output units: one for each
        target, or for each of its quantiles, or two for 'gaussian_nll'.
    engine_ : str
        The engine of the last call: 'numba', 'numpy' or 'torch'.
    out_activation_ : str
        Name of the function from the last layer to the prediction: 'identity', or 'exp' with the losses 'poisson',
        'gamma' and 'tweedie', 'increasing' for several quantiles and 'gaussian' for 'gaussian_nll', unless
        ``output_activation`` names another.
    target_mean_, target_scale_ : float64 ndarray of shape (n_targets,), or None
        By what the targets are standardised (a constant target has the scale 1); None without ``target_transform``.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where ``X`` had names that are all strings.

    See Also
    --------
    MLPFromScratchClassifier : The same for class labels.
    sklearn.neural_network.MLPRegressor : The estimator that this one takes the place of.

    Notes
    -----
    The four equations of backpropagation are in ``sknn_scratch/engines/numpy/run.py``. A parameter that the solver does
    not use and that is not at its default causes a warning. A ``ConvergenceWarning`` says that training was too short,
    as in scikit-learn; that it has diverged; or that it has ended, because nothing improved any more, with a model that
    is no better on the training data than a constant.

    References
    ----------
    .. [1] Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv:1412.6980.
    .. [2] Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Math. Prog. 45, 1989.
    .. [3] Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    .. [4] Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    .. [5] Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    .. [6] Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018,
       arXiv:1803.05407.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.preprocessing import scale
    >>> from sknn_scratch import MLPFromScratchRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(scale(X), scale(y), random_state=0)
    >>> regressor = MLPFromScratchRegressor(
    ...     hidden_layer_sizes=20, activation="tanh", solver="lbfgs", alpha=10, tol=0.001, random_state=0
    ... )
    >>> regressor = regressor.fit(X_train, y_train)
    >>> round(regressor.score(X_test, y_test), 1)
    0.4
    """

    target_mean_: NDArray[Any] | None
    target_scale_: NDArray[Any] | None
    _kind = "regressor"
    _learnt = (*BaseMLP._learnt, "_n_targets")
    _parameters: ClassVar[dict[str, Parameter]] = {
        **BaseMLP._parameters,
        "loss": Parameter(
            Component(
                REGRESSOR_LOSSES,
                Loss,
                excluded=CLASSIFIER_LOSSES,
                excluded_for="MLPFromScratchClassifier",
                instead_of_numbers="The second parameter is hidden_layer_sizes: pass it by name.",
            )
        ),
        "output_activation": Parameter(OneOf(LINKS, none=True)),
        "target_transform": Parameter(OneOf(("standardize",), none=True)),
    }

    @available_if(BaseMLP._check_stochastic)
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None, **unknown: Never) -> Self:
        """Train for one epoch on the given data, carrying on from where the model is.

        The optimiser's state is kept between calls. Not available with ``solver="lbfgs"``.

        Parameters
        ----------
        X, y, sample_weight, **unknown
            As for ``fit``.

        Returns
        -------
        self : MLPFromScratchRegressor
            The estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter or array cannot be used, or if training diverges. The estimator stays as it was.
        """
        self._refuse(unknown, self.partial_fit)
        return self._fit(X, y, sample_weight, FitKind.of_partial_fit(self))

    def _prediction(self, raw_output: NDArray) -> tuple[NDArray, NDArray | None]:
        prediction = self._link_inverse(raw_output)
        return self._point(prediction), self._one_or_all(self._loss.standard_deviation(prediction, self._n_targets))

    def _point(self, prediction: NDArray) -> NDArray:
        """Return what ``predict`` gives, out of the link's prediction."""
        return self._one_or_all(self._loss.point_prediction(prediction, self._n_targets))

    def _one_or_all(self, of_targets: NDArray | None) -> Any:
        """Return a column for each target, or a vector for one."""
        return of_targets[:, 0] if of_targets is not None and self._n_targets == 1 else of_targets

    def _encode_targets(
        self, X: NDArray, y: Any, kind: FitKind, classes: Any = None, sample_weight: NDArray | None = None
    ) -> NDArray:
        scaled = self.target_transform is not None
        # Standardised before it is rounded, where X is float32.
        y = check_numeric_targets(self, y, X.shape[0], np.float64 if scaled else X.dtype).reshape(X.shape[0], -1)
        if not kind.continues_model:
            self._n_targets = y.shape[1]
            self.target_mean_, self.target_scale_ = standardisation(y, sample_weight) if scaled else (None, None)
        elif y.shape[1] != self._n_targets:
            raise ValueError(f"y has {y.shape[1]} columns, but the model was fitted on {self._n_targets}.")
        self._check_same_transform("A model fitted", "cannot be trained further")
        if (standard := self._standard()) is None:
            return y
        mean, scale = standard
        return cast_targets((y - mean) / scale, X.dtype)

    def _standard(self) -> tuple[NDArray, NDArray] | None:
        """Return mean and scale of the targets, if they are standardised; models of older versions lack both."""
        mean, scale = getattr(self, "target_mean_", None), getattr(self, "target_scale_", None)
        return None if mean is None or scale is None else (mean, scale)

    def _check_same_transform(self, model: str, cannot: str) -> None:
        """Raise ValueError if ``target_transform`` is not that of the model, whose outputs are in other units then."""
        fitted = None if self._standard() is None else "standardize"
        if fitted != self.target_transform:
            raise ValueError(
                f"{model} with target_transform={fitted!r} {cannot} with target_transform={self.target_transform!r}."
            )

    def _target_scaling(self) -> tuple[NDArray, NDArray] | None:
        standard = self._standard()
        return None if standard is None else self._loss.link.follow_targets(*standard, self.n_outputs_)

    def _describe_targets(self) -> dict[str, Any]:
        described: dict[str, Any] = {"n_targets": self._n_targets}
        if (standard := self._standard()) is not None:
            described["target_mean"], described["target_scale"] = standard
        return described

    def _targets_of(self, n_outputs: int) -> dict[str, Any]:
        return {"n_targets": n_outputs // make_component(self.loss, REGRESSOR_LOSSES).n_raw_outputs(1)}

    def _learn_targets(self, described: Mapping[str, Any]) -> int:
        self._n_targets = int(described["n_targets"])
        self.target_mean_, self.target_scale_ = (described.get(f"target_{name}") for name in ("mean", "scale"))
        for known in self._standard() or ():
            if known.shape != (self._n_targets,):
                raise ValueError(f"Of {self._n_targets} targets, {known.shape} means or scales are stored.")
        self._check_same_transform("The weights are of a model fitted", "and cannot be those of one")
        return self._n_targets

    def _make_loss(self) -> Loss:
        loss = make_component(self.loss, REGRESSOR_LOSSES)
        loss.start()
        if self.output_activation is not None:
            if not isinstance(loss, SquaredError):
                raise ValueError(
                    f"output_activation={self.output_activation!r} is only for loss='squared_error', got "
                    f"loss={self.loss!r}, which has an output activation of its own."
                )
            loss.link = LINKS[self.output_activation]()
        if self.target_transform is not None and not self._can_scale_targets(loss):
            raise ValueError(
                f"target_transform={self.target_transform!r} is for losses whose prediction can be any number, and "
                f"loss={self.loss!r} predicts by {loss.link.name or type(loss.link).__name__!r}, from the targets "
                "as they are. Use target_transform=None."
            )
        return loss

    def _can_scale_targets(self, loss: Loss) -> bool:
        n_columns = loss.n_raw_outputs(self._n_targets)
        moved = loss.link.follow_targets(np.ones(self._n_targets), np.ones(self._n_targets), n_columns)
        return moved is not None

    def _decode_targets(self, y: NDArray) -> NDArray:
        if (standard := self._standard()) is not None:
            mean, scale = standard
            deviations = scale * y
            # What is zero but for rounding was zero: scorers may refuse targets that are negative.
            rounding = 4 * np.finfo(y.dtype).eps * (np.abs(mean) + np.abs(deviations))
            y = mean + deviations
            y[np.abs(y) < rounding] = 0
        return y[:, 0] if y.shape[1] == 1 else y

    def _score_prediction(self, truth: NDArray, prediction: NDArray, sample_weight: NDArray | None) -> float:
        if not np.isfinite(prediction).all():
            return np.nan
        return self._loss.score(truth, self._point(prediction), sample_weight)
