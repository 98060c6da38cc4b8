"""ONNX graphs of scikit-learn's meta-estimators around ours: the same as in Python, or an error; never something else.

Where scikit-learn's perceptron can stand in the place of ours, it does so too, and is converted as well.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, RFECV, SelectFromModel
from sklearn.linear_model import LinearRegression, LogisticRegression, RANSACRegressor
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor, Quantile
from sknn_scratch.onnx import to_onnx

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 6, "learning_rate_init": 0.05, "random_state": 0}


@pytest.fixture(scope="module", autouse=True)
def onnxruntime():
    pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    return pytest.importorskip("onnxruntime", reason="needs onnxruntime")


@pytest.fixture
def run(onnxruntime):
    """Return a function that converts a model and runs the graph on samples."""

    def convert_and_run(model, X, **parameters):
        options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
        graph = to_onnx(model, X[:1], **{"options": options, **parameters})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # to start further ones takes longer than the graph
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: X})

    return convert_and_run


def search(model):
    return GridSearchCV(model, {}, cv=2)


def mean_weight(model):
    return abs(model.coefs_[0]).sum(axis=1)


def ours(**parameters):
    return MLPFromScratchClassifier(**SMALL, **parameters)


def stack(method, final=None, **parameters):
    """Return a function that makes a stack of a classifier and a linear model."""
    return lambda model: StackingClassifier(
        [("model", model), ("linear", LogisticRegression())],
        final_estimator=final,
        cv=2,
        stack_method=method,
        **parameters,
    )


def vote(voting, **parameters):
    return lambda model: VotingClassifier(
        [("model", model), ("scaled", make_pipeline(StandardScaler(), LogisticRegression()))],
        voting=voting,
        flatten_transform=False,
        **parameters,
    )


# The classifiers of a meta-estimator --------------------------------------------------------------------------------

MEMBERS = {
    "ours": ours,
    "ours without probabilities": lambda: ours(loss="hinge"),
    "ours in a pipeline": lambda: make_pipeline(StandardScaler(), ours()),
    "ours in a search": lambda: search(ours()),
    "ours in a search in a pipeline": lambda: make_pipeline(StandardScaler(), search(ours())),
    "scikit-learn's": lambda: MLPClassifier(**SMALL),
    "scikit-learn's in a pipeline": lambda: make_pipeline(StandardScaler(), MLPClassifier(**SMALL)),
}
TASKS = {
    "two numbers": [10, 20],
    "two names": ["yes", "no"],
    "three numbers": [0, 1, 2],
    "four names": ["red", "green", "blue", "ochre"],
}


def data(task, dtype=np.float32):
    names = np.array(TASKS[task])
    X, y = make_classification(
        80, 6, n_informative=4, n_redundant=0, n_classes=len(names), class_sep=0.5, random_state=1
    )
    return X.astype(dtype), names[y]


def scores_of(model, X):
    """Return what the second output of a graph holds, or None for what scikit-learn does not tell."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    return in_columns(model.decision_function(X)) if hasattr(model, "decision_function") else None


def in_columns(scores):
    return np.column_stack([-scores, scores]) if scores.ndim == 1 else scores


def assert_same_classification(outputs, model, X, tolerance=1e-5):
    expected = scores_of(model, X)
    if expected is not None:
        assert outputs[1].shape == expected.shape
        assert_allclose(outputs[1], expected, rtol=tolerance, atol=tolerance)
    labels = model.predict(X)
    assert_array_equal(outputs[0].reshape(labels.shape), labels)


CONVERTED = {
    "pipeline": lambda model: make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), model)),
    "search": search,
    "columns": lambda model: make_pipeline(
        ColumnTransformer([("left", StandardScaler(), [0, 1, 2]), ("right", MinMaxScaler(), [3, 4, 5])]), model
    ),
    "union": lambda model: make_pipeline(FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())]), model),
    "calibrated": lambda model: CalibratedClassifierCV(model, cv=2),
    "calibrated once": lambda model: CalibratedClassifierCV(model, cv=2, ensemble=False),
    "hard vote": vote("hard", weights=np.array([2.0, 1.0])),
    "soft vote": vote("soft"),
    "one against the rest": OneVsRestClassifier,
    "stack": stack("auto"),
    "stack with the features": stack("auto", passthrough=True),
    "stack in ours": stack("auto", ours()),
    "stack in a search": stack("predict_proba", search(ours())),
    "bag": lambda model: BaggingClassifier(model, 2, random_state=0),
    "bag of features": lambda model: BaggingClassifier(model, 2, max_features=4, random_state=0),
}
# For at least three classes.
CONVERTED_BY_DECISION_FUNCTION = {
    "one against one": OneVsOneClassifier,
    "stack by decision_function": stack("decision_function"),
    "stack by decision_function in ours": stack("decision_function", ours(), passthrough=True),
}


@pytest.mark.parametrize("meta", CONVERTED)
@pytest.mark.parametrize("task", TASKS)
def test_classifiers(task, meta, run):
    X, y = data(task)
    for model in (ours(), MLPClassifier(**SMALL)) if task in ("two names", "three numbers") else (ours(),):
        fitted = CONVERTED[meta](model).fit(X, y)
        assert_same_classification(run(fitted, X), fitted, X)


@pytest.mark.parametrize("member", ["ours in a pipeline", "ours in a search in a pipeline"])
@pytest.mark.parametrize("meta", CONVERTED | CONVERTED_BY_DECISION_FUNCTION)
def test_pipelines_and_searches_as_members(meta, member, run):
    """skl2onnx asks the pipeline for raw scores, and a search never."""
    X, y = data("three numbers")
    fitted = (CONVERTED | CONVERTED_BY_DECISION_FUNCTION)[meta](MEMBERS[member]()).fit(X, y)
    assert_same_classification(run(fitted, X), fitted, X)


@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
@pytest.mark.parametrize("meta", CONVERTED_BY_DECISION_FUNCTION)
def test_members_by_decision_function(meta, loss, run):
    X, y = data("three numbers")
    fitted = CONVERTED_BY_DECISION_FUNCTION[meta](ours(loss=loss)).fit(X, y)
    assert_same_classification(run(fitted, X), fitted, X)


@pytest.mark.parametrize("meta", ["pipeline", "search", "calibrated", "hard vote"])
@pytest.mark.parametrize("task", ["two names", "three numbers"])
def test_members_without_probabilities(task, meta, run):
    X, y = data(task)
    fitted = CONVERTED[meta](MEMBERS["ours without probabilities"]()).fit(X, y)
    assert_same_classification(run(fitted, X), fitted, X)


@pytest.mark.parametrize("meta", ["calibrated", "bag", "one against the rest", "stack in ours", "one against one"])
def test_float64(meta, run):
    X, y = data("three numbers", np.float64)
    fitted = (CONVERTED | CONVERTED_BY_DECISION_FUNCTION)[meta](MEMBERS["ours in a pipeline"]()).fit(X, y)
    assert_same_classification(run(fitted, X), fitted, X, tolerance=1e-10)


@pytest.mark.parametrize("outer", ["calibrated", "stack by decision_function", "one against one"])
@pytest.mark.parametrize("inner", ["bag", "stack in a search", "one against the rest"])
def test_meta_estimators_in_meta_estimators(inner, outer, run):
    """The one inside is asked for raw scores, and hands the request on."""
    X, y = data("three numbers")
    every = CONVERTED | CONVERTED_BY_DECISION_FUNCTION
    fitted = every[outer](every[inner](MEMBERS["ours in a search"]())).fit(X, y)
    assert_same_classification(run(fitted, X), fitted, X)


@pytest.mark.parametrize("task", ["two numbers", "four names"])
def test_boosting(task, run):
    X, y = data(task)
    for model in ours(), ours(loss="hinge"), MLPClassifier(**SMALL):
        fitted = AdaBoostClassifier(model, n_estimators=3, random_state=0).fit(X, y)
        assert_same_classification(run(fitted, X), fitted, X)


@pytest.mark.parametrize("selector", [RFE, RFECV, SelectFromModel])
def test_selection_of_features(selector, run):
    X, y = data("four names")
    parameters = {} if selector is SelectFromModel else {"step": 3}
    for model in ours(), MLPClassifier(**SMALL):
        fitted = make_pipeline(selector(model, importance_getter=mean_weight, **parameters), model).fit(X, y)
        assert_same_classification(run(fitted, X), fitted, X)


@pytest.mark.parametrize("kind", ["numbers", "names"])
def test_several_targets(kind, run):
    X, codes = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    X, codes = (X / 5).astype(np.float32), np.column_stack([codes.sum(axis=1) % 3, codes[:, 0]])
    y = codes if kind == "numbers" else np.array(["a", "b", "c"])[codes]
    for member in "ours", "ours in a search", "scikit-learn's":
        fitted = MultiOutputClassifier(MEMBERS[member]()).fit(X, y)
        labels, probabilities = run(fitted, X)
        assert_array_equal(labels, fitted.predict(X))
        for got, expected in zip(probabilities, fitted.predict_proba(X), strict=True):
            assert_allclose(got, expected, atol=1e-5)


def test_multilabel(run):
    X, y = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    X = (X / 5).astype(np.float32)
    for member in MEMBERS.keys() - {"ours without probabilities"}:
        fitted = OneVsRestClassifier(MEMBERS[member]()).fit(X, y)
        assert_same_classification(run(fitted, X), fitted, X)


@pytest.mark.parametrize("task", [*TASKS, "labels", "targets"])
def test_raw_scores(task, run):
    """By the option of that name, which linear classifiers of scikit-learn have, too."""
    X, y = (
        make_multilabel_classification(80, 6, n_classes=3, random_state=0)
        if task in {"labels", "targets"}
        else data(task)
    )
    y = np.column_stack([y.sum(axis=1) % 3, y[:, 0]]) if task == "targets" else y
    X = X.astype(np.float32)
    model = ours().fit(X, y)
    pipeline, grid = make_pipeline(StandardScaler(), ours()).fit(X, y), search(ours()).fit(X, y)
    for fitted, last in (model, model), (pipeline, pipeline[-1]), (grid, grid):
        labels, scores = run(fitted, X, options={id(last): {"raw_scores": True, "zipmap": False}})
        expected = fitted.decision_function(X)
        if task != "targets":
            scores, expected = [scores], [expected]
        for got, array in zip(scores, expected, strict=True):
            assert_allclose(got, in_columns(array), rtol=1e-5, atol=1e-5)
        assert_array_equal(labels, fitted.predict(X))


# Regressors -----------------------------------------------------------------------------------------------------------


def regressor(**parameters):
    return MLPFromScratchRegressor(**SMALL, **parameters)


REGRESSORS = {
    "ours": regressor,
    "ours with deviations": lambda: regressor(loss="gaussian_nll"),
    "ours in a pipeline": lambda: make_pipeline(StandardScaler(), regressor()),
    "ours in a search": lambda: search(regressor()),
    "scikit-learn's": lambda: MLPRegressor(**SMALL),
}
REGRESSIONS = {
    "vote": (lambda model: VotingRegressor([("model", model), ("linear", LinearRegression())]), 1),
    "stack": (lambda model: StackingRegressor([("m", model), ("l", LinearRegression())], cv=2), 1),
    "stack in ours": (
        lambda model: StackingRegressor(
            [("m", model), ("l", LinearRegression())], final_estimator=regressor(), passthrough=True, cv=2
        ),
        1,
    ),
    "bag": (lambda model: BaggingRegressor(model, 3, random_state=0), 1),
    "bag of features": (lambda model: BaggingRegressor(model, 3, max_features=3, random_state=0), 1),
    "boosting": (lambda model: AdaBoostRegressor(model, n_estimators=3, random_state=0), 1),
    "consensus": (lambda model: RANSACRegressor(model, min_samples=40, max_trials=2, random_state=0), 2),
    "several targets": (MultiOutputRegressor, 2),
    "search": (search, 2),
}


@pytest.mark.parametrize("meta", REGRESSIONS)
def test_regressors(meta, run):
    make, n_targets = REGRESSIONS[meta]
    X, y = make_regression(80, 5, n_targets=n_targets, random_state=0)
    y /= y.std()
    both = [(np.float32, 1e-5), (np.float64, 1e-10)]
    for place, member in enumerate(REGRESSORS):
        for dtype, tolerance in both if member == "ours" else [both[place % 2]]:
            given = X.astype(dtype)
            fitted = make(REGRESSORS[member]()).fit(given, y)
            (prediction,) = run(fitted, given)
            assert prediction.dtype == dtype
            assert_allclose(prediction.reshape(y.shape), fitted.predict(given), rtol=tolerance, atol=tolerance)


# What skl2onnx converts wrongly ---------------------------------------------------------------------------------------

HINGE = ours(loss="hinge")
REFUSED = {
    "nearest of the thresholds": (
        lambda model: CalibratedClassifierCV(model, method="isotonic", cv=2),
        "three numbers",
        r"CalibratedClassifierCV cannot be converted to ONNX: .* has 'sigmoid', and this one has method='isotonic'",
    ),
    "no threshold": (
        lambda model: TunedThresholdClassifierCV(model, cv=2, thresholds=5),
        "two names",
        r"TunedThresholdClassifierCV cannot .* leaves the threshold out. Convert its esti.* best_threshold_, 0\.",
    ),
    "numbers instead of names": (
        OneVsOneClassifier,
        "four names",
        r"OneVsOneClassifier cannot .* the classes must be 0, 1, 2 and so on, at least three; they are \['blue",
    ),
    "two classes": (OneVsOneClassifier, "two numbers", "they are \\[10 20\\]"),
    "two columns of one": (
        stack("decision_function"),
        "two names",
        r"StackingClassifier cannot .* for two classes skl2onnx lacks the decision_function of members; pass stack_",
    ),
    "two columns beside one": (
        lambda model: StackingClassifier([("m", model), ("l", LinearSVC())], final_estimator=ours(), cv=2),
        "two names",
        r"StackingClassifier cannot .* for two classes skl2onnx lacks the decision_function of members",
    ),
    "labels as features": (stack("predict"), "three numbers", r"skl2onnx lacks stack_method='predict'"),
    "the mean of probabilities": (
        lambda model: OneVsRestClassifier(BaggingClassifier(model, 2, random_state=0)),
        "three numbers",
        r"OneVsRestClassifier cannot .* goes by the probabilities of its BaggingClassifier, not by its decision_func",
    ),
}


@pytest.mark.parametrize("member", ["ours", "ours in a search in a pipeline"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, member):
    make, task, message = REFUSED[case]
    X, y = data(task)
    fitted = search(make(MEMBERS[member]())).fit(X, y)
    for model in fitted.best_estimator_, fitted:
        with pytest.raises(NotImplementedError, match=message):
            to_onnx(model, X[:1])


@pytest.mark.parametrize(
    "make", [OneVsRestClassifier, lambda model: BaggingClassifier(model, 2)], ids=["OneVsRest", "Bagging"]
)
def test_refused_without_probabilities(make):
    X, y = data("three numbers")
    for model in HINGE, make_pipeline(StandardScaler(), HINGE), search(HINGE):
        with pytest.raises(NotImplementedError, match=r"its members give no probabilities, and skl2onnx would take"):
            to_onnx(make(model).fit(X, y), X[:1])


def test_refused_where_a_member_lacks_a_class():
    X, y = data("three numbers")
    without = np.flatnonzero(y < 2)
    folds = [(without, np.arange(80)), (np.arange(80), np.arange(80))]
    calibrated = CalibratedClassifierCV(ours(), cv=folds).fit(X, y)
    with pytest.raises(NotImplementedError, match=r"one of its members has seen 2 of the 3 classes"):
        to_onnx(calibrated, X[:1])


def test_refused_labels_of_raw_scores():
    X, y = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    fitted = OneVsRestClassifier(ours()).fit(X, y)
    with pytest.raises(NotImplementedError, match=r"takes labels with a raw score above 0\.5 instead of 0"):
        to_onnx(fitted, X[:1].astype(np.float32), options={id(fitted): {"raw_scores": True, "zipmap": False}})


def test_refused_boosting_in_float64():
    X, y = data("two numbers", np.float64)
    fitted = AdaBoostClassifier(ours(), n_estimators=2).fit(X, y)
    with pytest.raises(NotImplementedError, match=r"AdaBoostClassifier cannot .* in float32; pass an X of that type"):
        to_onnx(fitted, X[:1])


@pytest.mark.parametrize("make", [BaggingRegressor, MultiOutputRegressor])
def test_refused_regressors_of_several_columns(make):
    X, y = make_regression(80, 5, n_targets=2, random_state=0)
    model = regressor() if make is BaggingRegressor else regressor(loss=Quantile([0.1, 0.9]))
    for member in model, make_pipeline(StandardScaler(), model), search(model):
        with pytest.raises(
            NotImplementedError, match=rf"{make.__name__} cannot .* takes the 2 columns of each member for"
        ):
            to_onnx(make(member).fit(X, y), X[:1].astype(np.float32))
