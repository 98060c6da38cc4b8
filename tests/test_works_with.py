"""The tools of scikit-learn take the estimators as they take its own: one test for each."""

import gc

import numpy as np
import pandas as pd
import pytest
from networks import SETTINGS, assert_same_network, classifier, imbalanced, load, regressor
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, StandardScaler, scale

from sknn_scratch import Quantile

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Composition ----------------------------------------------------------------------------------------------------------


def test_pipeline():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), classifier()).fit(X, y)
    assert_same_network(pipeline[-1], classifier().fit(StandardScaler().fit_transform(X), y))
    assert pipeline.score(X, y) > 0.95
    assert_array_equal(pipeline[:-1].transform(X), StandardScaler().fit_transform(X))
    pipeline.set_params(mlpfromscratchclassifier__alpha=1.0)
    assert pipeline[-1].alpha == 1.0


def people():
    """Return a data frame of 200 people with numbers, categories and a missing value, and what is to be predicted."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "age": rng.uniform(18, 80, 200),
            "city": rng.choice(["Oslo", "Lima", "Pune"], 200),
            "income": rng.lognormal(10, 1, 200),
        }
    )
    return frame, np.where((frame["city"] == "Lima") ^ (frame["age"] > 50), "yes", "no")


@pytest.mark.parametrize("sparse", [False, True])
def test_column_transformer(sparse):
    X, y = people()
    columns = make_column_transformer(
        (StandardScaler(), ["age", "income"]),
        (OneHotEncoder(sparse_output=sparse), ["city"]),
        sparse_threshold=float(sparse),
    )
    pipeline = make_pipeline(columns, classifier(max_iter=200)).fit(X, y)
    assert pipeline.score(X, y) > 0.95
    assert_same_network(pipeline[-1], classifier(max_iter=200).fit(columns.fit_transform(X), y))
    shuffled = X.sample(frac=1, random_state=0, axis=1)
    assert_array_equal(pipeline.predict(shuffled), pipeline.predict(X))


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(container):
    pytest.importorskip(container, reason=f"{container} is not installed")
    X, y = people()
    columns = make_column_transformer(
        (StandardScaler(), ["age", "income"]), (OneHotEncoder(sparse_output=False), ["city"])
    )
    expected = make_pipeline(clone(columns), classifier()).fit(X, y)
    try:
        clone(columns).set_output(transform=container).fit_transform(X)
    except ValueError as error:
        pytest.skip(f"ColumnTransformer alone fails with {container} here: {error}")
    pipeline = make_pipeline(columns, classifier()).set_output(transform=container).fit(X, y)
    assert_array_equal(pipeline[-1].feature_names_in_, columns.get_feature_names_out())
    assert not hasattr(expected[-1], "feature_names_in_")
    assert_array_equal(pipeline.predict_proba(X), expected.predict_proba(X))
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline[-1].predict(columns.transform(X)[columns.get_feature_names_out()[::-1]])


def test_feature_union():
    X, y = load("wine")
    union = make_union(StandardScaler(), PCA(2, random_state=0))
    pipeline = make_pipeline(union, classifier()).fit(X, y)
    both = np.hstack([StandardScaler().fit_transform(X), PCA(2, random_state=0).fit_transform(X)])
    assert pipeline[-1].n_features_in_ == 15
    assert_same_network(pipeline[-1], classifier().fit(both, y))


def test_transformed_target():
    X, y = load("diabetes")
    y = np.exp(y)
    model = TransformedTargetRegressor(regressor(), func=np.log, inverse_func=np.exp).fit(X, y)
    assert_allclose(model.predict(X), np.exp(regressor().fit(X, np.log(y)).predict(X)), rtol=1e-12)
    assert model.score(X, y) > 0.3


def test_transformed_target_of_several_quantiles():
    X, y = load("diabetes")
    quantiles = regressor(loss=Quantile([0.1, 0.9]))
    model = TransformedTargetRegressor(quantiles, transformer=StandardScaler()).fit(X, y)
    expected = y.mean() + y.std() * quantiles.fit(X, scale(y)).predict(X)
    assert_allclose(model.predict(X), expected, rtol=1e-12)


def test_frozen_estimator():
    X, y = load("wine")
    model = classifier().fit(X, y)
    frozen = clone(FrozenEstimator(model))
    pipeline = make_pipeline(StandardScaler(), frozen).fit(X, y[::-1])
    assert_array_equal(pipeline.predict_proba(X), model.predict_proba(scale(X)))
    assert pipeline[-1].estimator is model


# Search and validation ------------------------------------------------------------------------------------------------


def test_grid_search():
    X, y = load("wine")
    grid = {"alpha": [1e-4, 300.0], "hidden_layer_sizes": [(10,), (5, 5)]}
    search = GridSearchCV(classifier(), grid, cv=3, n_jobs=2, error_score="raise").fit(X, y)
    assert search.best_params_["alpha"] == 1e-4
    assert search.best_score_ > 0.95
    assert search.best_score_ == cross_val_score(classifier(**search.best_params_), X, y, cv=3).mean()
    assert_same_network(search.best_estimator_, classifier(**search.best_params_).fit(X, y))


def test_randomized_search():
    X, y = load("diabetes")
    distributions = {"alpha": loguniform(1e-5, 1e3), "loss": ["squared_error", "huber"]}
    search = RandomizedSearchCV(regressor(), distributions, n_iter=5, cv=3, random_state=0, error_score="raise")
    search.fit(X, y)
    assert search.best_score_ > 0.4
    assert_same_network(search.best_estimator_, regressor(**search.best_params_).fit(X, y))
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.01


@pytest.mark.parametrize(("resource", "limits"), [("n_samples", (50, 150)), ("max_iter", (5, 45))])
def test_halving_search(resource, limits):
    """The budget may be samples, or epochs."""
    X, y = load("wine")
    budget = {"resource": resource, "min_resources": limits[0], "max_resources": limits[1]}
    search = HalvingGridSearchCV(
        classifier(), {"alpha": [1e-4, 100.0, 300.0]}, cv=3, random_state=0, error_score="raise", **budget
    ).fit(X, y)
    assert search.n_resources_[0] == limits[0]
    assert search.n_iterations_ == 2
    assert search.best_params_["alpha"] == 1e-4
    assert search.score(X, y) > 0.95


def test_cross_val_predict():
    X, y = load("wine")
    folds = StratifiedKFold(3)
    probability = cross_val_predict(classifier(), X, y, cv=folds, method="predict_proba")
    for train, test in folds.split(X, y):
        assert_array_equal(probability[test], classifier().fit(X[train], y[train]).predict_proba(X[test]))
    assert log_loss(y, probability) < 0.2


@pytest.mark.parametrize("incremental", [False, True])
def test_learning_curve(incremental):
    """With ``exploit_incremental_learning``, through ``partial_fit``."""
    X, y = load("cancer")
    arguments = {"train_sizes": [0.1, 0.5, 1.0], "cv": 3, "exploit_incremental_learning": incremental}
    sizes, train, test = learning_curve(classifier(), X, y, error_score="raise", **arguments)
    assert_array_equal(sizes, [37, 189, 379])
    assert test.mean(axis=1)[-1] > test.mean(axis=1)[0]
    assert test.mean(axis=1)[-1] > 0.9
    expected = learning_curve(MLPClassifier(**SETTINGS), X, y, **arguments)
    assert_array_equal(train, expected[1])
    assert_array_equal(test, expected[2])


@pytest.mark.usefixtures("little_garbage")
@pytest.mark.parametrize("name", ["cancer", "diabetes"])
def test_partial_fit_leaves_no_garbage(name):
    """What a chunk needed is freed at once, not when Python next looks for cycles."""
    X, y = load(name)
    model = regressor() if name == "diabetes" else classifier().partial_fit(X, y, classes=[0, 1])
    model.partial_fit(X, y)
    unreachable = []
    gc.disable()
    try:
        for _ in range(3):  # other threads of this process may leave some
            gc.collect()
            model.partial_fit(X, y)
            unreachable.append(gc.collect())
    finally:
        gc.enable()
    assert min(unreachable) == 0


def test_validation_curve():
    X, y = load("diabetes")
    arguments = {"param_name": "alpha", "param_range": [1e-4, 1.0, 1e4], "cv": 3}
    train, test = validation_curve(regressor(), X, y, error_score="raise", **arguments)
    expected = validation_curve(MLPRegressor(**SETTINGS), X, y, **arguments)
    assert_allclose([train, test], expected, rtol=1e-8)
    assert train.mean(axis=1)[0] > train.mean(axis=1)[-1]


@pytest.mark.parametrize("frozen", [False, True])
def test_calibration(frozen):
    """Sigmoids over ``decision_function`` mend the probabilities of a network that knows its samples by heart."""
    X, y = load("cancer")
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.6, random_state=0)
    model = classifier(alpha=0, tol=0, n_iter_no_change=np.inf, max_iter=300).fit(X_train, y_train)
    if frozen:
        calibrated = CalibratedClassifierCV(FrozenEstimator(model)).fit(X_test[::2], y_test[::2])
        assert calibrated.calibrated_classifiers_[0].estimator.estimator is model
    else:
        calibrated = CalibratedClassifierCV(clone(model), cv=3).fit(X_train, y_train)
    X_test, y_test = X_test[1::2], y_test[1::2]
    before, after = log_loss(y_test, model.predict_proba(X_test)), log_loss(y_test, calibrated.predict_proba(X_test))
    assert after < 0.8 * before
    assert calibrated.score(X_test, y_test) > 0.93


def test_tuned_threshold():
    X_train, X_test, y_train, y_test = imbalanced()
    model = classifier()
    tuned = TunedThresholdClassifierCV(model, cv=3, random_state=0).fit(X_train, y_train)
    assert_same_network(tuned.estimator_, clone(model).fit(X_train, y_train))
    expected = tuned.estimator_.predict_proba(X_test)[:, 1] >= tuned.best_threshold_
    assert_array_equal(tuned.predict(X_test), expected)
    plain = balanced_accuracy_score(y_test, tuned.estimator_.predict(X_test))
    assert balanced_accuracy_score(y_test, tuned.predict(X_test)) > plain + 0.1


# Ensembles ------------------------------------------------------------------------------------------------------------


def test_bagging():
    X, y = load("wine")
    ours, theirs = (
        BaggingClassifier(model, n_estimators=3, max_features=0.8, random_state=0).fit(X, y)
        for model in (classifier(), MLPClassifier(**SETTINGS))
    )
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-8)
    assert ours.score(X, y) > 0.95


def test_adaboost():
    """Weak learners (few units and epochs) boosted through ``sample_weight``, or by resampling in regression."""
    X, y = load("wine")
    weak = {"hidden_layer_sizes": (2,), "max_iter": 10, "random_state": None}
    ours, theirs = (
        AdaBoostClassifier(model, n_estimators=5, random_state=0).fit(X, y)
        for model in (classifier(**weak), MLPClassifier(**SETTINGS | weak))
    )
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-8)
    assert ours.score(X, y) > classifier(**weak | {"random_state": 0}).fit(X, y).score(X, y)
    X, y = load("diabetes")
    ours, theirs = (
        AdaBoostRegressor(model, n_estimators=3, random_state=0).fit(X, y)
        for model in (regressor(random_state=None), MLPRegressor(**SETTINGS | {"random_state": None}))
    )
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-8)
    assert ours.score(X, y) > 0.4


def test_voting():
    X, y = load("wine")
    members = {"tanh": classifier(activation="tanh"), "relu": classifier(), "linear": LogisticRegression()}
    vote = VotingClassifier(list(members.items()), voting="soft").fit(X, y)
    probabilities = [clone(model).fit(X, y).predict_proba(X) for model in members.values()]
    assert_allclose(vote.predict_proba(X), np.mean(probabilities, axis=0), rtol=1e-12)
    assert vote.score(X, y) > 0.95
    X, y = load("diabetes")
    members = {"network": regressor(), "linear": Ridge()}
    vote = VotingRegressor(list(members.items())).fit(X, y)
    predictions = [clone(model).fit(X, y).predict(X) for model in members.values()]
    assert_allclose(vote.predict(X), np.mean(predictions, axis=0), rtol=1e-12)


def test_stacking():
    """Among the members and as the one that puts them together."""
    X, y = load("wine")
    stack = StackingClassifier(
        [("network", classifier()), ("linear", LogisticRegression())], final_estimator=classifier(max_iter=50), cv=3
    ).fit(X, y)
    assert stack.stack_method_ == ["predict_proba", "predict_proba"]
    assert_same_network(stack.estimators_[0], classifier().fit(X, y))
    assert stack.final_estimator_.n_features_in_ == 6
    assert stack.score(X, y) > 0.95
    X, y = load("diabetes")
    stack = StackingRegressor([("network", regressor())], final_estimator=regressor(hidden_layer_sizes=()), cv=3)
    stack.fit(X, y)
    out_of_fold = cross_val_predict(regressor(), X, y, cv=3)[:, None]
    assert_same_network(stack.final_estimator_, regressor(hidden_layer_sizes=()).fit(out_of_fold, y))


# Several targets or classes -------------------------------------------------------------------------------------------


def test_multioutput():
    X, y = load("wine")
    Y = np.column_stack([y, X[:, 0] > 0])
    several = MultiOutputClassifier(classifier()).fit(X, Y)
    for k, model in enumerate(several.estimators_):
        assert_same_network(model, classifier().fit(X, Y[:, k]))
    assert several.score(X, Y) > 0.9
    several = MultiOutputClassifier(classifier()).partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]])
    assert_same_network(several.estimators_[0], classifier().partial_fit(X, y, classes=[0, 1, 2]))
    X, y = load("diabetes")
    several = MultiOutputRegressor(regressor()).fit(X, np.column_stack([y, -y]))
    assert_same_network(several.estimators_[1], regressor().fit(X, -y))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_classifier_chain(method):
    X, y = load("wine")
    Y = np.column_stack([y == 0, y != 2]).astype(int)
    chain = ClassifierChain(classifier(), cv=3, chain_method=method, random_state=0).fit(X, Y)
    assert_same_network(chain.estimators_[0], classifier().fit(X, Y[:, 0]))
    link = cross_val_predict(classifier(), X, Y[:, 0], cv=3, method=method)
    link = link[:, 1] if link.ndim == 2 else link
    assert_same_network(chain.estimators_[1], classifier().fit(np.column_stack([X, link]), Y[:, 1]))
    assert chain.score(X, Y) > 0.95
    assert chain.predict_proba(X).shape == chain.decision_function(X).shape == Y.shape


def test_regressor_chain():
    X, y = load("diabetes")
    Y = np.column_stack([y, X[:, 0] - y])
    chain = RegressorChain(regressor()).fit(X, Y)
    assert_same_network(chain.estimators_[0], regressor().fit(X, y))
    assert_same_network(chain.estimators_[1], regressor().fit(np.column_stack([X, y]), X[:, 0] - y))
    assert chain.score(X, Y) > 0.4


def test_one_vs_rest():
    """And one against one."""
    X, y = load("wine")
    rest = OneVsRestClassifier(classifier()).fit(X, y)
    for label, model in enumerate(rest.estimators_):
        assert_same_network(model, classifier().fit(X, (y == label).astype(int)))
    assert rest.score(X, y) > 0.95
    rest.partial_fit(X, y, classes=[0, 1, 2])
    one = OneVsOneClassifier(classifier()).fit(X, y)
    assert_same_network(one.estimators_[0], classifier().fit(X[y < 2], y[y < 2]))
    assert one.score(X, y) > 0.95


# Selection of features ------------------------------------------------------------------------------------------------


def two_that_matter():
    """Return six features, of which the second and the fifth say all of y, by their product."""
    X = np.random.RandomState(0).normal(size=(300, 6))
    return X, (X[:, 1] * X[:, 4] > 0).astype(int)


def size_of_weights(model):
    """Return the sum of the first layer's weights, without signs, for each feature."""
    return np.abs(model.coefs_[0]).sum(axis=1)


def test_sequential_feature_selector():
    """Backwards, for either of the two alone says nothing."""
    X, y = two_that_matter()
    selector = SequentialFeatureSelector(classifier(max_iter=60), n_features_to_select=2, direction="backward", cv=2)
    assert_array_equal(np.flatnonzero(selector.fit(X, y).get_support()), [1, 4])


def test_select_from_model():
    """By the first layer; a network has no ``coef_`` of its own. Recursive elimination takes it likewise."""
    X, y = two_that_matter()
    model = classifier(max_iter=100, alpha=0.1, l1_ratio=1.0)
    selector = SelectFromModel(model, importance_getter=size_of_weights, threshold="mean").fit(X, y)
    assert_same_network(selector.estimator_, clone(model).fit(X, y))
    assert_array_equal(np.flatnonzero(selector.get_support()), [1, 4])
    eliminated = RFE(model, n_features_to_select=2, importance_getter=size_of_weights).fit(X, y)
    assert_array_equal(np.flatnonzero(eliminated.support_), [1, 4])


# Metadata routing -----------------------------------------------------------------------------------------------------


def test_metadata_routing():
    """Weights and a validation set find their way through a search and a pipeline, whose scaler takes both sets."""
    X, y = load("cancer")
    X, X_val, y, y_val = train_test_split(X, y, test_size=0.3, random_state=0)
    weight = np.where(y == 0, 3.0, 1.0)
    validation = {"X_val": X_val, "y_val": y_val, "sample_weight_val": np.where(y_val == 0, 3.0, 1.0)}
    with config_context(enable_metadata_routing=True):
        model = classifier(early_stopping=True)
        model.set_fit_request(sample_weight=True, X_val=True, y_val=True, sample_weight_val=True)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(scaler, model, transform_input=["X_val"])
        grid = {"mlpfromscratchclassifier__alpha": [1e-4, 1e3]}
        accuracy = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        search = GridSearchCV(pipeline, grid, cv=2, scoring=accuracy, error_score="raise")
        search.fit(X, y, sample_weight=weight, **validation)
    scaler = StandardScaler().fit(X, sample_weight=weight)
    validation["X_val"] = scaler.transform(X_val)
    expected = classifier(early_stopping=True).fit(scaler.transform(X), y, weight, **validation)
    assert search.best_params_["mlpfromscratchclassifier__alpha"] == 1e-4
    assert_same_network(search.best_estimator_[-1], expected)
    assert search.best_estimator_[-1].validation_scores_ == expected.validation_scores_
