"""Fitted models as ONNX graphs, run by onnxruntime."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import (
    Activation,
    GaussianNLL,
    LeakyReLU,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    Quantile,
    TabularEncoder,
    TabularMLPClassifier,
    TabularMLPRegressor,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.links import LINKS, IncreasingLink, Link
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, Loss
from sknn_scratch.catalogue.rewriting import BY_OTHERS
from sknn_scratch.exchange.onnx_graph import _OPERATORS
from sknn_scratch.onnx import to_onnx

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
WITHOUT_ZIPMAP = {"zipmap": False}


@pytest.fixture(scope="module", autouse=True)
def onnxruntime():
    pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    return pytest.importorskip("onnxruntime", reason="needs onnxruntime")


@pytest.fixture
def run_graph(onnxruntime):
    """Return a function that runs a graph on samples."""

    def run(graph, X):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # to start further ones takes longer than the graph
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: X})

    return run


@pytest.fixture
def run(run_graph):
    """Return a function that converts a model and runs the graph on samples."""

    def convert_and_run(model, X, **parameters):
        if isinstance(model, MLPFromScratchClassifier):
            parameters.setdefault("options", WITHOUT_ZIPMAP)
        return run_graph(to_onnx(model, X[:1], **parameters), X)

    return convert_and_run


def data(task, dtype=np.float32):
    X, y = make_task(task)
    return X.astype(dtype), y


def assert_same_probabilities(outputs, model, X, tolerance=1e-5):
    labels, probabilities = outputs
    expected = model.predict_proba(X)
    assert probabilities.shape == expected.shape
    assert probabilities.dtype == expected.dtype
    assert_allclose(probabilities, expected, atol=tolerance)
    assert_array_equal(labels, model.predict(X))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_and_tasks(activation, task, run):
    X, y = data(task)
    model = our_estimator(task, activation=activation, max_iter=20).fit(X, y)
    outputs = run(model, X)
    if task in CLASSIFICATION:
        assert_same_probabilities(outputs, model, X)
    else:
        (prediction,) = outputs
        assert prediction.dtype == np.float32
        assert prediction.shape == (len(X), model.n_outputs_)
        assert_allclose(prediction.reshape(y.shape), model.predict(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_far_from_zero(activation, dtype, tolerance, run):
    """A layer of its own that has each activation on a wide range, where exponentials overflow."""
    X = np.linspace(-200, 200, 40001, dtype=dtype).reshape(-1, 1)
    model = MLPFromScratchRegressor(hidden_layer_sizes=1, activation=activation, max_iter=1).fit(X[:9], X[:9].ravel())
    model.coefs_ = [np.ones((1, 1), dtype)] * 2
    model.intercepts_ = [np.zeros(1, dtype)] * 2
    (prediction,) = run(model, X)
    assert_allclose(prediction.ravel(), model.predict(X), rtol=tolerance, atol=tolerance)
    exact = ACTIVATIONS[activation]().value(X.astype(np.float64))
    assert_allclose(prediction, exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float64(activation, run):
    X, y = data("multiclass", np.float64)
    model = our_estimator("multiclass", activation=activation, max_iter=20).fit(X, y)
    assert_same_probabilities(run(model, X), model, X, tolerance=1e-12)


@pytest.mark.parametrize("dtypes", [["float32"] * 8, ["float32", "float64"] * 4], ids=["float32", "mixed"])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_columns_of_a_data_frame_are_inputs_of_their_own(task, dtypes, onnxruntime):
    X, y = data(task)
    frame = pd.DataFrame({f"x{i}": X[:, i].astype(dtype) for i, dtype in enumerate(dtypes)})
    model = our_estimator(task, max_iter=20).fit(frame, y)
    options = {} if task == "regression" else {"options": WITHOUT_ZIPMAP}
    graph = to_onnx(model, frame[:1], **options).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: frame[[name]].to_numpy() for name in frame})
    if task == "regression":
        assert_allclose(outputs[0].ravel(), model.predict(frame), rtol=1e-5, atol=1e-5)
    else:
        assert_allclose(outputs[1], model.predict_proba(frame), atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "classes", "reason"),
    [(np.float64, 3, "float32 only, and X is of float64"), (np.float32, 1, "the only class is 'label 0'")],
)
def test_dicts_that_onnxruntime_could_not_make_are_refused(dtype, classes, reason, run_graph):
    X = make_task("multiclass")[0].astype(dtype)
    y = [f"label {i % classes}" for i in range(len(X))]
    model = MLPFromScratchClassifier(4, max_iter=2).fit(X, y)
    for estimator in (model, make_pipeline(model)):
        with pytest.raises(
            NotImplementedError, match=rf"cannot become dicts: .*{reason}.*options=\{{'zipmap': False\}}"
        ):
            to_onnx(estimator, X[:1])
        outputs = run_graph(to_onnx(estimator, X[:1], options=WITHOUT_ZIPMAP), X)
        assert_same_probabilities(outputs, model, X)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("task", ["regression", "multioutput"])
def test_links_of_the_regressor(task, link, run):
    X, y = data(task)
    model = our_estimator(task, output_activation=link, max_iter=20).fit(X, y)
    assert model.out_activation_ == link
    assert_allclose(run(model, X)[0].reshape(y.shape), model.predict(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", ["regression", "multioutput"])
def test_several_quantiles_and_means_with_uncertainty(task, run):
    X, y = data(task)
    for loss, shape in ((Quantile([0.1, 0.5, 0.9]), (len(X), -1)), ("gaussian_nll", y.shape)):
        model = our_estimator(task, loss=loss, max_iter=20).fit(X, y)
        (prediction,) = run(model, X)
        assert_allclose(prediction.reshape(shape), model.predict(X).reshape(shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("task", ["regression", "multioutput"])
def test_standard_deviations(task, dtype, tolerance, run):
    X, y = data(task, dtype)
    model = our_estimator(task, loss=GaussianNLL(min_std=0.3), max_iter=20)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    expected = pipeline.predict(X, return_std=True)
    assert expected[1].std() > 0.01
    in_pipeline = run(pipeline, X, options={id(model): {"return_std": True}})
    X_scaled = pipeline[0].transform(X)
    for outputs in in_pipeline, run(model, X_scaled, options={"return_std": True}):
        for output, array in zip(outputs, expected, strict=True):
            assert output.dtype == dtype
            assert output.shape == (len(X), y.ndim)
            assert_allclose(output.reshape(y.shape), array, rtol=tolerance, atol=tolerance)
    assert len(run(model, X)) == 1


def test_standard_deviations_that_are_not_learnt():
    X, y = data("regression")
    model = our_estimator("regression", max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match=r"return_std=True needs loss='gaussian_nll'; the model was fitted with Squar"):
        to_onnx(model, X, options={"return_std": True})


@pytest.mark.parametrize("loss", REGRESSOR_LOSSES)
def test_losses_of_the_regressor(loss, run):
    X, y = data("poisson")
    model = our_estimator("regression", loss=loss, max_iter=10).fit(X, y + 1)
    assert_allclose(run(model, X)[0].ravel(), model.predict(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", CLASSIFIER_LOSSES)
@pytest.mark.parametrize("task", CLASSIFICATION)
def test_losses_of_the_classifier(task, loss, run):
    X, y = data(task)
    model = our_estimator(task, loss=loss, max_iter=20).fit(X, y)
    if hasattr(model, "predict_proba"):
        assert_same_probabilities(run(model, X), model, X)
        return
    labels, scores = run(model, X)
    decision = model.decision_function(X)
    if task == "binary":
        decision = np.column_stack([-decision, decision])
    assert_allclose(scores, decision, rtol=1e-5, atol=1e-5)
    assert_array_equal(labels, model.predict(X))


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"], [True, False], [2.0, 3.0, 5.0], [-4, 9], ["only"]])
def test_labels(labels, run):
    X, _ = data("binary")
    y = np.resize(labels, len(X))
    for given in (y, y.astype(object)) if y.dtype.kind == "U" else (y,):
        model = MLPFromScratchClassifier(3, max_iter=5).fit(X, given)
        assert_same_probabilities(run(model, X), model, X)


def test_probabilities_as_dicts(run):
    X, y = data("multiclass")
    model = our_estimator("multiclass", max_iter=5).fit(X, y)
    labels, probabilities = run(model, X, options=None)
    assert_array_equal(labels, model.predict(X))
    assert list(probabilities[0]) == [10, 20, 30]
    assert_allclose([list(row.values()) for row in probabilities], model.predict_proba(X), atol=1e-5)
    columns = run(model, X, options={"zipmap": "columns"})
    assert_allclose(np.column_stack(columns[1:]), model.predict_proba(X), atol=1e-5)


def test_options_of_labels(run):
    X, y = data("multiclass")
    names = np.array(["a", "b", "c"])
    model = our_estimator("multiclass", max_iter=5).fit(X, names[y // 10 - 1])
    labels = run(model, X, options={"nocl": True, "zipmap": False})[0]
    assert_array_equal(names[labels], model.predict(X))
    outputs = run(model, X, options={"output_class_labels": True, "zipmap": False})
    assert_array_equal(outputs[2], names)
    assert_same_probabilities(outputs[:2], model, X)


def test_pipelines_and_searches(run):
    X, y = data("multiclass")
    X = 100 * X + 5
    pipeline = make_pipeline(StandardScaler(), our_estimator("multiclass", max_iter=10))
    grid = {"mlpfromscratchclassifier__alpha": [0.1, 1]}
    for model in (pipeline.fit(X, y), GridSearchCV(pipeline, grid, cv=2).fit(X, y)):
        labels, probabilities = run(
            model, X, options={MLPFromScratchClassifier: WITHOUT_ZIPMAP, id(model): WITHOUT_ZIPMAP}
        )
        assert_allclose(probabilities, model.predict_proba(X), atol=1e-5)
        assert_array_equal(labels, model.predict(X))


@pytest.mark.parametrize("dtype", [np.int64, bool])
def test_integer_samples(dtype, run):
    X, y = make_task("binary")
    X = np.round(2 * X).astype(dtype)
    model = our_estimator("binary", max_iter=5).fit(X, y)
    labels, probabilities = run(model, X)
    assert_allclose(probabilities, model.predict_proba(X), atol=1e-5)
    assert_array_equal(labels, model.predict(X))


def test_no_hidden_layer_and_activation_objects(run):
    X, y = data("multiclass")
    for parameters in (
        {"hidden_layer_sizes": ()},
        {"activation": [LeakyReLU(0.3), "gelu"]},
        {"fit_intercept": False},
    ):
        model = our_estimator("multiclass", max_iter=10, **parameters).fit(X, y)
        assert_same_probabilities(run(model, X), model, X)


# Formulas -------------------------------------------------------------------------------------------------------------


def graph_of_an_activation(activation, dtype):
    """Return the ONNX graph, from one number to one, of a network that is this activation."""
    model = MLPFromScratchRegressor(hidden_layer_sizes=1, max_iter=1).fit([[0.0], [1.0]], [0.0, 1.0])
    model.coefs_, model.intercepts_ = [np.ones((1, 1), dtype)] * 2, [np.zeros(1, dtype)] * 2
    model.perceptron.activations = [activation]
    return to_onnx(model, np.zeros((1, 1), dtype))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("name", sorted({*_OPERATORS, *BY_OTHERS} - {"where"}))
def test_operations(name, dtype, tolerance, run_graph):
    ufunc = getattr(np, name, None) or getattr(special, name)

    class Own(Activation):
        def value(self, z):
            if name.startswith(("invert", "bitwise", "logical_xor")):
                return ufunc(*(z > 0, z < 6)[: ufunc.nin])
            return ufunc(*(z, 0.3 * z + 1)[: ufunc.nin])

    X = np.concatenate([np.linspace(-200, 200, 4001), [1e-20, -1e-20]], dtype=dtype).reshape(-1, 1)
    (got,) = run_graph(graph_of_an_activation(Own(), dtype), X)
    assert got.dtype == dtype
    assert_allclose(got, Own().value(X), rtol=tolerance, atol=tolerance)


class Bent(Activation):
    """A formula with parameters, of which it computes numbers, with truths, and with a choice."""

    def __init__(self, slope, knee=1.5):
        self.slope = slope
        self.knee = knee

    def value(self, z):
        left = np.where((z < -self.knee) | (z == 0), -1.0, self.slope * np.sqrt(self.knee) * z)
        return left + (z > self.knee) * np.log1p(np.abs(z)) + special.erf(self.knee) / z.shape[1]

    def derivative(self, z):
        return np.ones_like(z)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_activations_of_ones_own(dtype, tolerance, run):
    X, y = data("multiclass", dtype)
    model = our_estimator("multiclass", activation=[Bent(0.3), Bent(0.2, 0.7)], max_iter=5, engine="numpy").fit(X, y)
    assert_same_probabilities(run(model, X), model, X, tolerance)


def test_an_activation_that_is_a_constant(run_graph):
    constant = type("Constant", (Activation,), {"value": lambda self, z: 1 / 3})()
    for dtype in (np.float32, np.float64):
        (got,) = run_graph(graph_of_an_activation(constant, dtype), np.zeros((5, 1), dtype))
        assert_array_equal(got, np.full((5, 1), 1 / 3, dtype))


class CompetingLink(Link):
    """Shares that are largest where the others are small: computed from sums, maxima and minima over the columns."""

    def inverse(self, raw_output):
        low, high = raw_output.min(axis=1, keepdims=True), np.max(raw_output, axis=1, keepdims=True)
        ranks = 1 + (raw_output - low) / (1 + high - low)
        return ranks / ranks.sum(axis=1, keepdims=True)


class CauchyLink(Link):
    def inverse(self, raw_output):
        return np.arctan(raw_output) / np.pi + 0.5


class ComplementaryLogLogLink(Link):
    """Not symmetrical: ``1 - p(z)`` is not ``p(-z)``."""

    def inverse(self, raw_output):
        return -np.expm1(-np.exp(raw_output))


class OwnLoss(Loss):
    gives_probabilities = True

    def __init__(self, link):
        self.link = link

    def value(self, y, raw_output):
        return ((raw_output - y) ** 2).sum(axis=1)

    def derivative(self, y, raw_output):
        return 2 * (raw_output - y)


OWN_LINKS = [CauchyLink(), CompetingLink(), ComplementaryLogLogLink()]


@pytest.mark.parametrize("target_opset", [None, 15])
@pytest.mark.parametrize("link", OWN_LINKS, ids=lambda link: type(link).__name__)
@pytest.mark.parametrize("task", TASKS)
def test_losses_of_ones_own_with_links_of_their_own(task, link, target_opset, run):
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        X, y = data(task, dtype)
        model = our_estimator(task, loss=OwnLoss(link), max_iter=20).fit(X, y)
        outputs = run(model, X, target_opset=target_opset)
        if task not in CLASSIFICATION:
            assert_allclose(outputs[0].reshape(y.shape), model.predict(X), rtol=tolerance, atol=tolerance)
            continue
        assert_same_probabilities(outputs, model, X, tolerance)
        assert task == "multilabel" or type(link) is CompetingLink or len(np.unique(outputs[0])) > 1


def test_what_has_no_graph():
    class Sorted(Activation):
        def value(self, z):
            return np.sort(z, axis=1)

    class Gamma(Activation):
        def value(self, z):
            return special.gamma(z)

    class OwnLink(IncreasingLink):
        pass

    for activation, reason in ((Sorted(), "sort has no graph"), (Gamma(), "gamma cannot be expressed")):
        with pytest.raises(NotImplementedError, match=rf"\(\) cannot be converted to ONNX: {reason}\."):
            graph_of_an_activation(activation, np.float32)
    X, y = data("regression")
    model = our_estimator("regression", loss=Quantile([0.1, 0.9]), max_iter=2).fit(X, y)
    model.perceptron.link = OwnLink(2)
    with pytest.raises(
        NotImplementedError, match=r"OwnLink\(n_columns=2\) cannot be converted to ONNX: \.reshape has no graph"
    ):
        to_onnx(model, X)


def test_labels_that_are_no_integers():
    X, _ = data("regression")
    halves = np.resize([0.0, 0.5], len(X))
    classifier = MLPFromScratchClassifier(3, max_iter=2)
    classifier.fit(X, (2 * halves).astype(int)).classes_ = np.array([0.0, 0.5])
    with pytest.raises(NotImplementedError, match="labels that are integers or strings"):
        to_onnx(classifier, X, options=WITHOUT_ZIPMAP)


def several_targets(kind, X, y):
    """Return targets of 3, 2, 4 classes and one."""
    codes = np.column_stack([y, X[:, 0] > 0.3, np.arange(len(y)) % 4, np.full(len(y), 7)])
    if kind == "text":
        return np.array([f"class {code}" for code in codes.ravel()]).reshape(codes.shape)
    return codes.astype(kind)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("kind", ["text", "int", "float", "object"])
def test_several_targets(kind, dtype, tolerance, run_graph):
    X, y = data("multiclass", dtype)
    y = several_targets("text", X, y).astype(object) if kind == "object" else several_targets(kind, X, y)
    model = our_estimator("multiclass", max_iter=20)
    pipeline = make_pipeline(StandardScaler(), model)
    search = GridSearchCV(pipeline, {"mlpfromscratchclassifier__alpha": [0.1]}, cv=2)
    for fitted, last in ((pipeline.fit(X, y), model), (search.fit(X, y), search), (model.fit(X, y), model)):
        expected = fitted.predict(X)
        assert len(np.unique(expected)) > 5
        for options in ({}, {"options": {id(last): WITHOUT_ZIPMAP}}):
            graph = to_onnx(fitted, X[:1], **options)
            labels, probabilities = run_graph(graph, X)
            assert labels.shape == expected.shape
            assert_array_equal(labels, expected)
            for got, array in zip(probabilities, fitted.predict_proba(X), strict=True):
                assert got.dtype == dtype
                assert got.shape == array.shape
                assert_allclose(got, array, atol=tolerance)


@pytest.mark.parametrize("loss", CLASSIFIER_LOSSES)
def test_losses_of_several_targets(loss, run):
    X, y = data("multiclass")
    y = several_targets("int", X, y)[:, :3]
    model = our_estimator("multiclass", loss=loss, max_iter=20).fit(X, y)
    labels, scores = run(model, X)
    assert_array_equal(labels, model.predict(X))
    if hasattr(model, "predict_proba"):
        expected = model.predict_proba(X)
    else:
        expected = [np.column_stack([-z, z]) if z.ndim == 1 else z for z in model.decision_function(X)]
    for got, array in zip(scores, expected, strict=True):
        assert_allclose(got, array, rtol=1e-5, atol=1e-5)


def test_options_of_several_targets(run):
    X, y = data("multiclass")
    model = our_estimator("multiclass", max_iter=2).fit(X, several_targets("text", X, y))
    numbers = run(model, X, options={"nocl": True, "zipmap": False})[0]
    names = [classes[column] for classes, column in zip(model.classes_, numbers.T, strict=True)]
    assert_array_equal(np.column_stack(names), model.predict(X))
    with pytest.raises(NotImplementedError, match=r"cannot become dicts; pass options=\{'zipmap': False\}"):
        to_onnx(model, X, options={"zipmap": True})


@pytest.mark.usefixtures("onnxruntime")
def test_what_cannot_be_converted_says_so():
    X, y = data("binary")
    for model in our_estimator("binary"), make_pipeline(StandardScaler(), our_estimator("binary")):
        with pytest.raises(NotFittedError):
            to_onnx(model, X)
    for table in TabularMLPClassifier(2, max_iter=1), TabularMLPRegressor(2, max_iter=1), TabularEncoder():
        for model in table, make_pipeline(StandardScaler(), table):
            with pytest.raises(NotImplementedError, match=f"{type(table).__name__} cannot be converted to ONNX"):
                to_onnx(model.fit(X, y), X)
    frame = pd.DataFrame({"age": [20, 30, 41, 50] * 10})
    ours = our_estimator("binary", max_iter=2)
    for model in TabularMLPClassifier(2, max_iter=1), TunedThresholdClassifierCV(ours, cv=2):
        name = type(model).__name__
        with pytest.raises(NotImplementedError, match=f"^(This )?{name} cannot be converted to ONNX.*") as refusal:
            to_onnx(model.fit(frame, [0, 1] * 20), frame)
        assert "Show it numbers" not in str(refusal.value), "other columns would not help"


def test_data_frames(onnxruntime):
    """skl2onnx makes an input of each column of a data frame."""
    X, y = data("binary")
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(8)])
    model = our_estimator("binary", max_iter=5).fit(frame, y)
    graph = to_onnx(make_pipeline(StandardScaler().set_output(transform="pandas").fit(frame), model), frame[:1])
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {given.name: X[:, [i]] for i, given in enumerate(session.get_inputs())}
    pipeline_input = (frame - frame.mean()) / frame.std(ddof=0)
    assert_array_equal(session.run(None, inputs)[0], model.predict(pipeline_input))


def test_a_table_converts_in_float32_and_otherwise_an_error_says_so(onnxruntime):
    """skl2onnx cannot put whole numbers beside floats, nor onnxruntime fill the gaps of float64."""
    frame = pd.DataFrame(
        {"age": [20, 30, 41, 50] * 10, "income": [1.5, np.nan, 2.0, 3.0] * 10, "job": ["a", "b", "c", "a"] * 10}
    )
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = make_column_transformer((numbers, ["age", "income"]), (OneHotEncoder(), ["job"]), sparse_threshold=0)
    model = make_pipeline(encoder, MLPFromScratchClassifier(4, max_iter=2)).fit(frame, [0, 1] * 20)
    with pytest.raises(NotImplementedError, match=r"columns of such types: .*float32, of a data frame"):
        to_onnx(model, frame[:1], options=WITHOUT_ZIPMAP)
    with pytest.raises(NotImplementedError, match=r"imputes in float32 only, and X is of float64\. .*of a data frame"):
        to_onnx(model, frame[:1].astype({"age": float}), options=WITHOUT_ZIPMAP)
    frame = frame.astype(dict.fromkeys(frame.select_dtypes("number"), "float32"))
    graph = to_onnx(model, frame[:1], options=WITHOUT_ZIPMAP).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: frame[[name]].to_numpy() for name in frame})
    assert_allclose(outputs[1], model.predict_proba(frame), atol=1e-6)


def test_types_of_columns_are_not_blamed_for_what_they_do_not_cause(onnxruntime):
    """The indicators that skl2onnx loses, in a table of float32 and strings: its own error stands."""
    frame = pd.DataFrame({"income": np.float32([1.5, np.nan, 2.0, 3.0] * 10), "job": ["a", "b", "c", "a"] * 10})
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    encoder = make_column_transformer((numbers, ["income"]), (OneHotEncoder(), ["job"]), sparse_threshold=0)
    model = make_pipeline(encoder, MLPFromScratchClassifier(4, max_iter=2)).fit(frame, [0, 1] * 20)
    with pytest.raises(RuntimeError, match="Mismatch between expected shape") as caught:
        to_onnx(model, frame[:1], options=WITHOUT_ZIPMAP)
    assert "float32" not in str(caught.value)


def test_error_without_skl2onnx(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "skl2onnx"]:
        monkeypatch.setitem(sys.modules, name, None)
    expected = r"^Conversion to ONNX needs skl2onnx: pip install 'sknn-scratch\[onnx\]'\.$"
    with pytest.raises(ImportError, match=expected):
        to_onnx(None)
