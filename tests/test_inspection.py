"""What can be seen of a fitted network."""

import copy
import pickle
from itertools import cycle, pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPRegressor
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import (
    ActivationDisplay,
    LeakyReLU,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    Quantile,
    to_sklearn,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.links import LogisticLink
from sknn_scratch.perceptron import Perceptron

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fitted(task, **parameters):
    X, y = make_task(task)
    return our_estimator(task, max_iter=10, learning_rate_init=0.02, **parameters).fit(X, y), X, y


@pytest.mark.parametrize("task", TASKS)
def test_hidden_activations(task):
    model, X, _ = fitted(task, activation=["tanh", LeakyReLU(0.2)])
    first = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    second = first @ model.coefs_[1] + model.intercepts_[1]
    second = np.where(second > 0, second, 0.2 * second)
    for layer, expected in ((0, first), (1, second), (-1, second), (-2, first)):
        assert_allclose(model.hidden_activations(X, layer), expected, atol=1e-14)
        assert_allclose(model.hidden_activations(sparse.csr_matrix(X), layer), expected, atol=1e-14)
    assert_array_equal(model.hidden_activations(X), model.hidden_activations(X, 1))
    many = np.tile(X, (200, 1))
    assert_allclose(model.hidden_activations(many), np.tile(second, (200, 1)), atol=1e-14)
    assert model.hidden_activations(X.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("layer", [2, -3, 0.0, None, "last"])
def test_no_such_layer(layer):
    model, X, _ = fitted("binary")
    with pytest.raises(ValueError, match="layer must be the number of one of the 2 hidden layers, from 0; got"):
        model.hidden_activations(X, layer)
    with pytest.raises(ValueError, match="one of the 0 hidden layers"):
        fitted("binary", hidden_layer_sizes=())[0].hidden_activations(X)


def outputs(model, task, X, return_std):
    """Return the outputs whose derivatives are asked for, as columns."""
    if task in CLASSIFICATION:
        return model.decision_function(X).reshape(len(X), -1)
    if return_std:
        return np.column_stack(model.predict(X, return_std=True))
    return model.predict(X).reshape(len(X), -1)


SMOOTH = [name for name in ACTIVATIONS if name not in ("relu", "relu6", "hard_tanh")]
OUTPUTS = [
    *((task, {}) for task in TASKS),
    ("multiclass", {"hidden_layer_sizes": ()}),
    ("regression", {"output_activation": "tanh"}),
    ("regression", {"loss": Quantile([0.1, 0.6])}),
    ("multioutput", {"loss": Quantile([0.1, 0.6])}),
    ("multioutput", {"loss": "gaussian_nll"}),
]


# Each kind of output with three activations, in turns.
@pytest.mark.parametrize(
    ("task", "parameters", "activation"),
    [(*output, activation) for output, activation in zip(3 * OUTPUTS, cycle(SMOOTH), strict=False)],
    ids=str,
)
def test_input_gradients_are_central_differences(task, parameters, activation):
    model, X, _ = fitted(task, activation=activation, **parameters)
    X, std = X[:20], parameters.get("loss") == "gaussian_nll"
    gradients = model.input_gradients(X)
    expected = np.empty((20, model.n_outputs_, 8))
    for feature, step in enumerate(1e-5 * np.eye(8)):
        above, below = (outputs(model, task, X + s, std) for s in (step, -step))
        expected[:, :, feature] = (above - below) / 2e-5
    assert gradients.shape == ((20, 8) if model.n_outputs_ == 1 else (20, model.n_outputs_, 8))
    assert_allclose(gradients, expected.reshape(gradients.shape), atol=1e-6 * max(1, np.abs(expected).max()))
    assert_allclose(model.input_gradients(sparse.csr_matrix(X)), gradients, atol=1e-12)
    assert_allclose(model.input_gradients(np.tile(X, (1500, 1)))[-20:], gradients, atol=1e-12)


@pytest.mark.parametrize(
    "parameters", [{}, {"alpha": 5.0, "l1_ratio": 0.3}, {"dropout": 0.5, "input_noise": 1.0}], ids=str
)
@pytest.mark.parametrize("task", TASKS)
def test_loss_gradient_is_what_training_descends(task, parameters):
    """Plain gradient descent takes one step against it."""
    model, X, y = fitted(task, solver="sgd", momentum=0, batch_size=150, **parameters)
    weight = np.arange(1.0, 151)
    coefs_gradient, intercepts_gradient = model.loss_gradient(X, y, weight)
    if "dropout" in parameters:
        again = model.loss_gradient(X, y, weight)
        assert_array_equal(again[0][0], coefs_gradient[0])
        return
    before = model.coefs_, model.intercepts_
    model.partial_fit(X, y, weight)
    for old, new, gradient in zip(before[0], model.coefs_, coefs_gradient, strict=True):
        assert_allclose(old - new, 0.02 * gradient, rtol=1e-9, atol=1e-14)
    for old, new, gradient in zip(before[1], model.intercepts_, intercepts_gradient, strict=True):
        assert_allclose(old - new, 0.02 * gradient, rtol=1e-9, atol=1e-14)


def test_loss_gradient_leaves_the_model_alone():
    model, X, y = fitted("binary")
    before = model.coefs_[0].copy()
    for gradient in model.loss_gradient(X, y)[0]:
        gradient[...] = 7
    assert_array_equal(model.coefs_[0], before)


def test_loss_gradient_weighs_classes():
    model, X, y = fitted("binary")
    expected = model.loss_gradient(X, y, np.where(y == 10, 3.0, 1.0))
    weighed = model.set_params(class_weight={10: 3.0}).loss_gradient(X, y)
    assert_allclose(weighed[0][0], expected[0][0], rtol=1e-12)
    # Biases that were trained count, whatever the parameter now says.
    of_biases = model.set_params(class_weight=None).loss_gradient(X, y)[1]
    assert_array_equal(model.set_params(fit_intercept=False).loss_gradient(X, y)[1][0], of_biases[0])


@pytest.mark.parametrize("activation", ["logistic", "relu"])
def test_no_warnings_for_huge_samples(activation):
    model, X, y = fitted("poisson", activation=activation)
    model.hidden_activations(1e6 * X)
    model.input_gradients(1e6 * X)
    model.loss_gradient(1e6 * X, y)
    ActivationDisplay.from_estimator(model, 1e6 * X)


def test_bad_input():
    X, y = make_task("binary")
    model, poisson = our_estimator("binary"), fitted("poisson")[0]
    for call in (
        lambda: model.hidden_activations(X),
        lambda: model.input_gradients(X),
        lambda: model.loss_gradient(X, y),
    ):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(ValueError, match="X has 7 features"):
        poisson.input_gradients(X[:, :7])
    with pytest.raises(ValueError, match="y must not be negative"):
        poisson.loss_gradient(X, -np.ones(150))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_coefs_and_intercepts_are_views_of_the_network(solver):
    X, y = make_task("binary")
    model = our_estimator("binary", solver=solver, max_iter=5).fit(X, y)
    network = model.perceptron
    layers = [*model.coefs_, *model.intercepts_]
    assert all(np.shares_memory(layer, network.parameters) for layer in layers)
    assert_array_equal(np.concatenate([layer.ravel() for layer in layers]), network.parameters)
    model.coefs_[-1][...] = 0
    model.intercepts_[-1][...] = 3
    assert_allclose(model.decision_function(X), 3)
    assert not network.weights[-1].any()


@pytest.mark.parametrize("task", TASKS)
def test_coefs_and_intercepts_can_be_replaced(task):
    """As a whole, or layer by layer: prediction, inspection and further training go by the new ones."""
    model, X, y = fitted(task, warm_start=True)
    weights, biases = [2 * layer for layer in model.coefs_], [layer + 1 for layer in model.intercepts_]
    one_by_one = copy.deepcopy(model)
    model.coefs_, model.intercepts_ = weights, biases
    assert model.coefs_ is weights
    assert model.intercepts_ is biases
    for l in range(len(weights)):
        one_by_one.coefs_[l], one_by_one.intercepts_[l] = weights[l], biases[l]
    hidden = X
    for l, activation in enumerate(model.perceptron.activations):
        hidden = activation.value(hidden @ weights[l] + biases[l])
    stored = pickle.loads(pickle.dumps(model))
    for changed in (model, one_by_one, stored):
        assert_allclose(changed.perceptron.raw_output(X), hidden @ weights[-1] + biases[-1], atol=1e-12)
        assert_allclose(changed.hidden_activations(X), hidden, atol=1e-12)
        assert_array_equal(changed.loss_gradient(X, y)[0][0], model.loss_gradient(X, y)[0][0])
    further = [changed.fit(X, y).coefs_[0] for changed in (one_by_one, stored)]
    assert_array_equal(*further)
    assert_array_equal(model.fit(X, y).coefs_[0], further[0])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("coefs_", lambda old: old[:1], r"coefs_ must be a list of 3 arrays, got 1"),
        ("coefs_", lambda old: [layer[1:] for layer in old], r"coefs_\[0\] must have \d+ rows, got shape"),
        ("coefs_", lambda old: [layer.T for layer in old], r"coefs_\[-1\] must be for \d outputs, got shape"),
        ("coefs_", lambda old: [old[0], old[2], old[1]], r"coefs_\[-1\] must be for \d outputs, got shape"),
        ("coefs_", lambda old: [old[0], old[1][:-1], old[2]], r"coefs_\[1\] must have \d+ rows, got shape"),
        ("coefs_", lambda old: [layer[0] for layer in old], r"coefs_\[0\] must have 2 dimensions"),
        ("coefs_", lambda old: [old[0][:, :0], old[1][:0], old[2]], r"coefs_\[0\] must .* at least one unit"),
        ("coefs_", lambda old: [layer + 0j for layer in old], r"coefs_ must be a list of 3 arrays of real numbers"),
        ("coefs_", lambda old: None, r"coefs_ must be a list of 3 arrays of real numbers"),
        ("intercepts_", lambda old: [*old, old[-1]], r"intercepts_ must be a list of 3 arrays, got 4"),
        ("intercepts_", lambda old: [0.0, 0.0, 0.0], r"intercepts_\[0\] must have 1 dimensions .* got shape \(\)"),
        ("intercepts_", lambda old: [*old[:2], old[0]], r"intercepts_\[-1\] must be for \d outputs, got shape"),
        ("intercepts_", lambda old: [["a"]] * 3, r"intercepts_ must be a list of 3 arrays of real numbers"),
    ],
)
def test_layers_that_cannot_replace_others(name, change, message):
    model, X, _ = fitted("multiclass", hidden_layer_sizes=(7, 4))
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match=message):
        setattr(model, name, change(getattr(model, name)))
    assert_array_equal(model.predict_proba(X), before)


def test_replaced_layers_may_be_lists_and_have_other_widths():
    model, X, _ = fitted("regression", hidden_layer_sizes=5)
    model.coefs_ = [weights.astype(np.int64).tolist() for weights in (np.eye(X.shape[1])[:, :2], np.ones((2, 1)))]
    for use in (model.predict, model.hidden_activations, lambda X: model.perceptron):
        with pytest.raises(ValueError, match=r"intercepts_\[0\] has shape \(5,\), and coefs_\[0\] \(\d+, 2\)"):
            use(X)
    model.intercepts_ = [[1e3, 1e3], [3]]
    assert_allclose(model.predict(X), X[:, 0] + X[:, 1] + 2003)
    assert {layer.dtype for layer in model.coefs_ + model.intercepts_} == {X.dtype}


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_replaced_layers_of_another_width_begin_with_a_new_optimiser(solver):
    model, X, y = fitted("regression", hidden_layer_sizes=5, solver=solver)
    model.coefs_, model.intercepts_ = [np.ones((X.shape[1], 9)), np.ones((9, 1))], [np.ones(9), np.ones(1)]
    theirs = to_sklearn(model)
    assert_allclose(theirs.predict(X), model.predict(X))
    for twin in (model, theirs):
        twin.set_params(hidden_layer_sizes=9).partial_fit(X, y)
    assert_allclose(theirs.coefs_[0], model.coefs_[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_layers_of_another_dtype_in_the_place_of_the_models_are_kept_saved_and_trained(dtype, tmp_path):
    model, X, y = fitted("multiclass")
    twin = copy.deepcopy(model)
    for layers in (twin.coefs_, twin.intercepts_):
        layers[:] = [np.rint(4 * layer) / 4 for layer in layers]
    for ours, exact in ((model.coefs_, twin.coefs_), (model.intercepts_, twin.intercepts_)):
        ours[1:] = [layer.astype(dtype) for layer in exact[1:]]
        ours[0] = exact[0].astype(np.float16)
    stored = pickle.loads(pickle.dumps(model))
    assert [layer.dtype for layer in stored.coefs_] == [np.float16, dtype, dtype]
    stored.save_weights(tmp_path / "weights.npz")
    loaded = clone(model).load_weights(tmp_path / "weights.npz")
    for other in (model, stored, loaded):
        assert_array_equal(other.predict_proba(X), twin.predict_proba(X))
    for ours, exact in zip(model.loss_gradient(X, y)[0], twin.loss_gradient(X, y)[0], strict=True):
        assert_array_equal(ours, exact)
    loss = twin.partial_fit(X, y).loss_
    for other in (model, stored):
        assert_allclose(other.partial_fit(X, y).loss_, loss, rtol=1e-6)


def test_layers_that_replace_all_are_of_the_dtype_of_the_model():
    model, _, _ = fitted("binary")
    for name in ("coefs_", "intercepts_"):
        exact = [layer.copy() for layer in getattr(model, name)]
        getattr(model, name)[0] = exact[0].astype(np.float16)
        setattr(model, name, exact)
        assert [layer.dtype for layer in getattr(model, name)] == [np.float64] * len(exact)


def test_the_last_layer_that_is_left_has_no_activation():
    model, X, _ = fitted("multioutput")
    first, second = model.coefs_[:2]
    expected = np.maximum(X @ first + model.intercepts_[0], 0) @ second + model.intercepts_[1]
    del model.coefs_[2:], model.intercepts_[2:]  # an encoder, say
    assert_allclose(model.predict(X), expected, atol=1e-12)


def test_a_copy_of_a_network_is_its_own():
    model, X, _ = fitted("binary")
    network = Perceptron.of_layers(model.coefs_, model.intercepts_, model.perceptron.activations, LogisticLink())
    twin = network.copy()
    assert_array_equal(twin.raw_output(X), model.perceptron.raw_output(X))
    assert twin.link is network.link
    assert_array_equal(twin.parameters, model.perceptron.parameters)
    twin.parameters[...] = 0
    assert model.coefs_[0].any()


def sample_network(n_outputs, hidden=(4, 3)):
    rng, units = np.random.RandomState(0), (5, *hidden, n_outputs)
    return [rng.randn(*shape) for shape in pairwise(units)], [rng.randn(width) for width in units[1:]], rng.randn(20, 5)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_regressor_is_made_of_layers_without_a_fit(n_outputs):
    weights, biases, X = sample_network(n_outputs)
    ours, theirs = (cls(hidden_layer_sizes=(4, 3)) for cls in (MLPFromScratchRegressor, MLPRegressor))
    for model in (ours, theirs):
        model.coefs_, model.intercepts_ = weights, biases
        model.n_layers_, model.out_activation_ = 4, "identity"
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-12)
    ours.partial_fit(X, np.zeros((20, n_outputs)).squeeze())
    assert ours.t_ == 20
    assert_allclose(ours.coefs_[0], weights[0], atol=0.0011)  # a step of Adam, from these


@pytest.mark.parametrize("loss", ["gaussian_nll", Quantile([0.1, 0.9])], ids=str)
def test_of_layers_the_loss_says_how_many_targets_they_are_for(loss):
    weights, biases, X = sample_network(4)
    model = MLPFromScratchRegressor(loss, (4, 3))
    model.coefs_, model.intercepts_ = weights, biases
    assert model.predict(X).shape[:2] == (20, 2)
    model.partial_fit(X, np.zeros((20, 2)))


@pytest.mark.parametrize("classes", [["no", "yes"], [2, 3, 5]])
def test_a_classifier_is_made_of_layers_and_classes_without_a_fit(classes):
    weights, biases, X = sample_network(1 if len(classes) == 2 else 3)
    model = MLPFromScratchClassifier((4, 3), warm_start=True, max_iter=1)
    model.classes_ = np.array(classes)
    model.coefs_ = weights
    model.intercepts_ = biases
    z = model.perceptron.raw_output(X)
    expected = (z > 0).astype(int)[:, 0] if len(classes) == 2 else z.argmax(axis=1)
    assert_array_equal(model.predict(X), np.array(classes)[expected])
    model.fit(X, np.array(classes)[np.arange(20) % len(classes)])
    assert_allclose(model.coefs_[0], weights[0], atol=0.0011)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: [], "coefs_ must be a list of matrices"),
        (lambda weights: weights[0], "coefs_ must be a list of matrices: Expected 2D array"),
        (lambda weights: [weights[0], weights[2]], r"coefs_\[1\] must have 4 rows"),
        (lambda weights: [weights[0][:, :3], weights[1][:3], weights[2]], r"hidden layers of \[3, 3\] units"),
        (lambda weights: [np.full((5, 4), np.nan), *weights[1:]], "coefs_ contains NaN"),
    ],
)
def test_layers_that_no_model_is_made_of(change, message):
    weights, _, _ = sample_network(1)
    model = MLPFromScratchRegressor(hidden_layer_sizes=(4, 3))
    with pytest.raises(ValueError, match=message):
        model.coefs_ = change(weights)
    assert not hasattr(model, "coefs_")
    with pytest.raises(ValueError, match="target_transform"):
        model.set_params(target_transform="standardize").coefs_ = weights
    classifier = MLPFromScratchClassifier((4, 3))
    classifier.classes_ = [1, 0]
    with pytest.raises(ValueError, match="classes_0 are not labels in order"):
        classifier.coefs_ = weights


def test_the_output_activation_of_a_fitted_model_stays():
    model = our_estimator("regression", max_iter=1)
    model.out_activation_ = "softmax"  # of which fit knows nothing, as in scikit-learn
    model.fit(*make_task("regression"))
    model.out_activation_ = "identity"
    with pytest.raises(ValueError, match="must stay 'identity', for its loss; got 'relu'"):
        model.out_activation_ = "relu"


def test_there_is_no_network_before_the_fit():
    model = our_estimator("binary")
    for name in ("perceptron", "coefs_", "intercepts_"):
        assert not hasattr(model, name)
    with pytest.raises(AttributeError, match="This MLPFromScratchClassifier is not fitted yet"):
        model.coefs_ = [np.ones((2, 1))]
