"""The classifier: class labels to target columns and back, probabilities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Never, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from sknn_scratch.catalogue.links import Link, LogisticLink
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, Heads, Loss
from sknn_scratch.engines.numpy.in_place import link_inverse
from sknn_scratch.estimators.arrays import check_labels, naming, naming_scored
from sknn_scratch.estimators.base import BaseMLP, available_if
from sknn_scratch.estimators.constraints import ClassWeight, Component
from sknn_scratch.estimators.constructors import ClassifierConstructor
from sknn_scratch.estimators.fit_kind import FitKind
from sknn_scratch.estimators.labels import (
    LabelCoder,
    MultiOutputCoder,
    coder_from_description,
    describe_classes,
    describe_coder,
    weigh_classes,
)
from sknn_scratch.estimators.parameters import Parameter, make_component
from sknn_scratch.training.callbacks import with_callbacks

# An array, or with several targets a list of arrays. Any stands for the list: otherwise type checkers would ask all
# users which of the two they have.
ArrayOrList = NDArray[Any] | Any


def _gives_probabilities(classifier: Any) -> bool:
    """Raise AttributeError, so that ``hasattr`` says no to ``predict_proba``, if the loss gives no probabilities."""
    given = getattr(classifier, "loss", "log_loss")  # those for tables have no other
    loss: Any = CLASSIFIER_LOSSES.get(given) if isinstance(given, str) else given
    loss = getattr(classifier, "_loss", loss)  # that of the fit, if there was one
    if not getattr(loss, "gives_probabilities", False):
        raise AttributeError(f"loss={given!r} gives no probabilities; use decision_function.")
    return True


def _of_one_target(raw_output: NDArray, link: Link, log: bool) -> NDArray:
    """Return the probabilities of one target, or finite logarithms, out of the raw output, which is used up."""
    with np.errstate(over="ignore", divide="ignore"):
        if raw_output.shape[1] == 1 and type(link) is not LogisticLink:
            p = link.inverse(raw_output)
            result = np.hstack([1 - p, p])
            result = np.log(result) if log else result
        else:
            if raw_output.shape[1] == 1:
                raw_output = np.hstack([-raw_output, raw_output])  # 1 - p(z) is p(-z), which has more digits
            result = link.log_inverse(raw_output) if log else link_inverse(link, raw_output, out=raw_output)
    smallest = np.finfo(result.dtype).tiny
    return np.maximum(result, np.log(smallest) if log else smallest, out=result)


class LabelClassifierMixin(ClassifierMixin):
    """What raw outputs say of labels, and how often that is right, of all classifiers."""

    _raw_output: Callable[[Any], NDArray]

    @abstractmethod
    def _labels(self, raw_output: NDArray) -> NDArray:
        """Return what ``predict`` gives for raw outputs, which are used up, as by the following."""

    @abstractmethod
    def _decision(self, raw_output: NDArray) -> ArrayOrList:
        """Return what ``decision_function`` gives."""

    @abstractmethod
    def _probabilities(self, raw_output: NDArray, log: bool = False) -> ArrayOrList:
        """Return what ``predict_proba`` or, with ``log``, ``predict_log_proba`` gives."""

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            As for ``fit``.

        Returns
        -------
        y : {ndarray, sparse matrix} of shape (n_samples,), (n_samples, n_targets) or (n_samples, n_labels)
            The most probable class of each target, or every label with a probability above 0.5; sparse if the training
            labels were.
        """
        return self._labels(self._raw_output(X))

    def decision_function(self, X: Any) -> ArrayOrList:
        """Return by what classes are told apart.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            As for ``fit``.

        Returns
        -------
        score : ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
            Of ``MLPFromScratchClassifier`` the raw output of the network: for two classes, positive for the second; for
            several, largest for the class predicted; for multilabel targets, positive for the labels predicted. With
            several targets, a list of such arrays. Of ``TabularMLPClassifier`` the logarithms of the probabilities; for
            two classes that of the odds of the second, and 0 for a single class, of shape (n_samples,).
        """
        return self._decision(self._raw_output(X))

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> ArrayOrList:
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            As for ``fit``.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            One column per entry of ``classes_`` (of ``MLPFromScratchClassifier`` two if there is but one); they sum to
            1 unless the targets are multilabel. Where a probability would round to 0 it is the smallest normal number
            instead, so that its logarithm is finite. With several targets, a list of such arrays.
        """
        return self._probabilities(self._raw_output(X))

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> ArrayOrList:
        """Predict logarithms of class probabilities, computed from the raw output and always finite.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            As for ``fit``.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
            One column per entry of ``classes_``; with several targets, a list of such arrays.
        """
        return self._probabilities(self._raw_output(X), log=True)

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of samples whose prediction is right, in all labels or targets if there are several.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), (n_samples, n_targets) or (n_samples, n_labels)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        accuracy : float
        """
        labels = self.predict(X)
        with naming_scored(y, sample_weight, labels.shape[0]):
            return self._accuracy(y, labels, sample_weight)

    def _accuracy(self, truth: Any, labels: Any, sample_weight: ArrayLike | None) -> float:
        """Return the share of samples with the right labels, of several targets in all of them."""
        return accuracy_score(truth, labels, sample_weight=sample_weight)


class MLPFromScratchClassifier(LabelClassifierMixin, ClassifierConstructor, BaseMLP):
    """Multi-layer perceptron classifier: scikit-learn's ``MLPClassifier``, faster.

    Takes the same parameters, has the same attributes and finds the same coefficients. Two classes, several, or
    multilabel targets; here also several targets of two or more classes each (multiclass-multioutput), for which the
    network has a head each and whose losses add up.

    Parameters
    ----------
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
        ``scoring``, no longer improves, and keep the parameters of the best epoch. The split is stratified for two
        classes. Not used by 'lbfgs'.
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
        ``scorer(estimator, X, y)``; the larger the better. None is accuracy, as in scikit-learn, with the loss that it
        has, 'log_loss'; with any other, also one of your own, None is 'loss'.
    engine : {'auto', 'numba', 'numpy', 'torch'}, default='auto'
        What does the arithmetic: NumPy, code compiled by numba, which is faster, or PyTorch; results differ by
        rounding. 'auto' takes numba, where it is installed, for all but the shortest fits if its code is in its cache
        on disk, and otherwise if the fit saves more time than compiling takes, for which it reckons with 8 seconds.
    device : str, default='cpu'
        Where training, and prediction of many rows, is computed: 'cuda', 'cuda:1' and so on for a GPU of NVIDIA, 'mps'
        for that of a Mac. Takes PyTorch (the extra ``gpu``) and dense X. Fitted arrays are NumPy's, and a pickle can be
        read, and predicts, without PyTorch or a GPU. See :doc:`/guide/gpu`.
    loss : str or Loss, default='log_loss'
        What the output is judged by; the penalty is added to its mean over the samples.

        - 'focal': log-loss that turns away from samples that are easy
        - 'hinge', 'squared_hinge': how far margins fall short of 1; without probabilities, see ``decision_function``
        - 'log_loss': negative log-likelihood of the true classes
        - 'squared_error': half the squared difference of probabilities and 0 or 1, summed over the output units

        Formulas are in ``sknn_scratch.catalogue.losses``. An object from there brings its parameters, such as
        ``LogLoss(label_smoothing=0.1)``; or write a class of your own: see ``Loss``.
    class_weight : dict, 'balanced' or None, default=None
        Weights of the classes, by which those of their samples are multiplied: a dict from label to weight (1 for those
        that are left out), or 'balanced' for ``n_samples / (n_classes * n_samples_of_the_class)``, where with
        ``sample_weight`` samples count as often as that says. For multilabel targets each column counts as two classes,
        a dict from its number gives the weight of its ones, and a sample's weights are multiplied. 'balanced' is not
        for ``partial_fit``, which does not see all samples. With several targets 'balanced' multiplies the weights of
        all of them, and a dict is not allowed. A validation set is weighed in the same way.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of such arrays
        Class labels in order; for multilabel targets the column numbers; with several targets, an array for each.
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
        Number of layers, input and output included, and of output units.
    engine_ : str
        The engine of the last call: 'numba', 'numpy' or 'torch'.
    out_activation_ : str
        Name of the function from the last layer to the prediction: 'logistic' for two classes and multilabel
        targets, else 'softmax' (hinge losses: 'identity'); with several targets, all that are used.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where ``X`` had names that are all strings.

    See Also
    --------
    MLPFromScratchRegressor : The same for numeric targets.
    sklearn.neural_network.MLPClassifier : The estimator that this one takes the place of.

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
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sknn_scratch import MLPFromScratchClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    >>> classifier = MLPFromScratchClassifier(random_state=0, tol=0.005).fit(X_train, y_train)
    >>> classifier.predict(X_test[:5])
    array([2, 8, 2, 6, 6])
    >>> round(classifier.score(X_test, y_test), 2)
    0.97
    """

    classes_: ArrayOrList
    _coder: LabelCoder | MultiOutputCoder
    _kind = "classifier"
    _learnt = (*BaseMLP._learnt, "_coder")
    _parameters: ClassVar[dict[str, Parameter]] = {
        **BaseMLP._parameters,
        "loss": Parameter(
            Component(CLASSIFIER_LOSSES, Loss, excluded=REGRESSOR_LOSSES, excluded_for="MLPFromScratchRegressor")
        ),
        "class_weight": Parameter(ClassWeight()),
    }

    @available_if(BaseMLP._check_stochastic)
    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None, **unknown: Never
    ) -> Self:
        """Train for one epoch on the given data, carrying on from where the model is.

        The optimiser's state is kept between calls. Not available with ``solver="lbfgs"``.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.
        classes : array-like of shape (n_classes,), or list of such arrays, default=None
            All labels that can ever occur (for multilabel targets, the column numbers; with several targets, an array
            for each). Required in the first call of an estimator that was not fitted.
        **unknown
            As for ``fit``.

        Returns
        -------
        self : MLPFromScratchClassifier
            The estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter or array cannot be used, or if training diverges. The estimator stays as it was.
        """
        self._refuse(unknown, self.partial_fit)
        return self._fit(X, y, sample_weight, FitKind.of_partial_fit(self), classes=classes)

    def _labels(self, raw_output: NDArray) -> NDArray:
        return self._most_probable(self._link_inverse(raw_output))

    def _decision(self, raw_output: NDArray) -> ArrayOrList:
        heads = [z for z, _ in self._heads(raw_output)]
        return self._one_or_all([z.ravel() if z.shape[1] == 1 else z for z in heads])

    def _probabilities(self, raw_output: NDArray, log: bool = False) -> ArrayOrList:
        return self._one_or_all([_of_one_target(z, link, log) for z, link in self._heads(raw_output)])

    def _heads(self, raw_output: NDArray) -> Iterable[tuple[NDArray, Link]]:
        """Return the columns and the link of each target."""
        losses = self._loss.losses if isinstance(self._loss, Heads) else [self._loss]
        return zip(self._coder.split(raw_output), [loss.link for loss in losses], strict=True)

    def _one_or_all(self, results: list[NDArray]) -> NDArray | list[NDArray]:
        """Return a list for several targets only."""
        return results if isinstance(self._coder, MultiOutputCoder) else results[0]

    def _most_probable(self, probability: NDArray) -> NDArray:
        """Return the most probable class of each row, or the labels more probable than not."""
        return self._coder.decode(probability, threshold=0.5 if self._loss.gives_probabilities else 0)

    def _encode_targets(
        self, X: NDArray, y: Any, kind: FitKind, classes: Any = None, sample_weight: NDArray | None = None
    ) -> NDArray:
        with naming("classes"):
            several = isinstance(classes, list | tuple) and any(np.ndim(of_one) > 0 for of_one in classes)
        several = several or (kind.continues_model and isinstance(self._coder, MultiOutputCoder))
        are_known = kind.continues_model and not several and not self._coder.multilabel
        y, target_type = check_labels(self, y, X.shape[0], several, "MLPFromScratchRegressor", are_known)
        if not kind.continues_model:
            if kind.is_incremental and classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            several = target_type == "multiclass-multioutput"
            with naming("classes"), np.errstate(invalid="ignore"):  # NaN is an error, not a warning
                self._coder = MultiOutputCoder(y, classes) if several else LabelCoder(y, target_type, classes)
            self.classes_ = self._coder.classes
        self._coder.check(y, target_type, classes, all_classes=kind is FitKind.WARM)
        return self._coder.encode(y)

    def _check_partial_fit_parameters(self) -> None:
        super()._check_partial_fit_parameters()
        if isinstance(self.class_weight, str):
            raise ValueError("class_weight='balanced' is not for partial_fit; pass a dict of weights.")

    def _weigh_classes(self, y: NDArray, sample_weight: NDArray | None) -> NDArray | None:
        return weigh_classes(self.class_weight, self._coder, y, sample_weight)

    def _describe_targets(self) -> dict[str, Any]:
        return describe_coder(self._coder)

    def _targets_of(self, n_outputs: int) -> dict[str, Any]:
        if not hasattr(self, "classes_"):
            raise AttributeError(
                f"This {type(self).__name__} is not fitted yet; call fit, or set classes_, before coefs_."
            )
        return describe_classes(self.classes_)

    def _learn_targets(self, described: Mapping[str, Any]) -> int:
        self._coder = coder_from_description(described)
        self.classes_ = self._coder.classes
        return self._coder.n_columns

    def _make_loss(self) -> Loss:
        if isinstance(self._coder, MultiOutputCoder):
            return Heads([self._make_one_loss(coder.multiclass) for coder in self._coder.coders], self._coder.widths)
        return self._make_one_loss(self._coder.multiclass)

    def _make_one_loss(self, multiclass: bool) -> Loss:
        loss = make_component(self.loss, CLASSIFIER_LOSSES)
        loss.start(multiclass=multiclass)
        return loss

    def _decode_targets(self, y: NDArray) -> NDArray:
        return self._coder.decode(y)

    def _score_prediction(self, truth: NDArray, prediction: NDArray, sample_weight: NDArray | None) -> float:
        return self._accuracy(truth, self._most_probable(prediction), sample_weight)

    def _accuracy(self, truth: Any, labels: Any, sample_weight: ArrayLike | None) -> float:
        if not isinstance(self._coder, MultiOutputCoder):
            return super()._accuracy(truth, labels, sample_weight)
        if np.shape(truth) != labels.shape:
            raise ValueError(f"y must have shape {labels.shape}, one column for each target; got {np.shape(truth)}.")
        right = (np.asarray(truth) == labels).all(axis=1)
        return float(np.average(right, weights=None if sample_weight is None else np.asarray(sample_weight)))

    def _stratify(self, y: NDArray) -> NDArray | None:
        if y.shape[1] > 1:
            return None
        assert isinstance(self._coder, LabelCoder)
        classes = self._coder.classes
        rare = classes[np.bincount(y[:, 0], minlength=len(classes)) == 1].tolist()
        if rare:
            raise ValueError(
                f"the class {rare[0]!r} has only 1 sample, and at least 2 are needed, one to train "
                "on and one to validate with. Pass a validation set of your own as X_val and y_val, or train without "
                "early_stopping."
            )
        return y[:, 0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags
