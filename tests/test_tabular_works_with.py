"""The tools of scikit-learn take the tabular estimators, and a table as it comes, as they take its own."""

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.metrics import accuracy_score, make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tables import BOTH, same_fit, small, table, targets

from sknn_scratch import (
    MLPFromScratchClassifier,
    Quantile,
    TabularEncoder,
    TabularMLPClassifier,
    TabularMLPRegressor,
    skops_types,
)

FEW = {"max_iter": 4}


def with_sum(X):
    return X.assign(sum=X["a"] + X["b"])


@pytest.mark.parametrize("cls", BOTH)
def test_pipeline(cls):
    X, y = table(80)
    y = targets(cls, y)
    pipeline = make_pipeline(FunctionTransformer(with_sum), small(cls, **FEW)).fit(X, y)
    same_fit(pipeline[-1], small(cls, **FEW).fit(with_sum(X), y), with_sum(X))
    assert list(pipeline[-1].feature_names_in_) == ["a", "b", "c", "sum"]
    assert pipeline.score(X, y) == pipeline[-1].score(with_sum(X), y)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(container):
    pytest.importorskip(container)
    X, y = table(80)
    pipeline = make_pipeline(TabularEncoder(), small(TabularMLPRegressor, **FEW)).set_output(transform=container)
    pipeline.fit(X, y)
    if not hasattr(StandardScaler().fit(pipeline[0].transform(X)), "feature_names_in_"):
        pytest.skip(f"this scikit-learn does not read the names of {container}")
    assert_array_equal(pipeline[-1].feature_names_in_, pipeline[0].get_feature_names_out())


@pytest.mark.parametrize("cls", BOTH)
def test_nullable_columns_are_as_others(cls):
    X, y = table(80)
    y = targets(cls, y)
    X["n"] = np.arange(80.0) % 7
    nullable = X.astype({"a": "Float64", "b": "Float64", "n": "Int64", "c": "string"})
    assert nullable["b"].isna().any()
    model = small(cls, **FEW).fit(nullable, y)
    same_fit(model, small(cls, **FEW).fit(X.astype({"c": object}), y), nullable)


NULLABLE = {
    "boolean": (np.bool_, [False, True]),
    "bool[pyarrow]": (np.bool_, [False, True]),
    "Int64": (np.int64, [0, 1]),
    "UInt8": (np.uint8, [0, 1]),
    "Float32": (np.float32, [0.0, 2.0]),
    "string": (np.str_, ["no", "yes"]),
    "category": (np.bool_, [False, True]),
}


@pytest.mark.parametrize("dtype", NULLABLE)
def test_labels_of_a_dtype_of_pandas_come_back_in_their_own_type(dtype):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    kind, labels = NULLABLE[dtype]
    X, y = table(80)
    labels = pd.Series([labels[one] for one in (y > np.median(y)).astype(int)], dtype=dtype)
    model = small(TabularMLPClassifier, **FEW).fit(X, labels)
    assert issubclass(model.classes_.dtype.type, kind)
    assert issubclass(model.predict(X).dtype.type, kind)
    assert model.score(X, labels) == np.mean(model.predict(X) == np.asarray(labels.tolist()))


@pytest.mark.parametrize("dtype", NULLABLE)
def test_the_drop_in_makes_of_labels_of_a_dtype_of_pandas_what_scikit_learn_does(dtype):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    X = np.array([[-1.0], [1.0]] * 10)
    labels = pd.Series(NULLABLE[dtype][1] * 10, dtype=dtype)
    few = {"solver": "lbfgs", "hidden_layer_sizes": 3, "random_state": 0}
    ours, theirs = (cls(**few).fit(X, labels) for cls in (MLPFromScratchClassifier, MLPClassifier))
    assert ours.classes_.dtype == theirs.classes_.dtype
    assert_array_equal(ours.predict(X), theirs.predict(X), strict=True)


@pytest.mark.parametrize("missing", [None, pd.NA])
def test_a_missing_label_of_a_nullable_dtype_is_an_error(missing):
    X, _ = table(80)
    labels = pd.Series([True, False, missing, True] * 20, dtype="boolean")
    with pytest.raises(TypeError, match="y contains <NA>; every sample needs a label"):
        small(TabularMLPClassifier).fit(X, labels)


@pytest.mark.parametrize("cls", BOTH)
def test_search_in_a_pipeline(cls):
    X, y = table(60)
    grid = {f"{cls.__name__.lower()}__hidden_layer_sizes": [4, (8, 8)]}
    pipeline = make_pipeline(TabularEncoder(), small(cls, **FEW))
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(X, targets(cls, y))
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


def test_search_over_losses():
    X, y = table(60)
    model = small(TabularMLPRegressor, loss=Quantile(0.9), **FEW)
    search = GridSearchCV(model, {"loss__q": [0.5, 0.9]}, scoring="neg_mean_absolute_error", cv=2, error_score="raise")
    assert search.fit(X, y).best_params_ == {"loss__q": 0.5}


@pytest.mark.parametrize("loss", ["gaussian_nll", "poisson", Quantile([0.1, 0.9])], ids=str)
def test_files(loss, tmp_path):
    import skops.io

    X, y = table(60)
    model = small(TabularMLPRegressor, loss=loss, **FEW).fit(X, np.exp(y))
    joblib.dump(model, tmp_path / "model.joblib")
    skops.io.dump(model, tmp_path / "model.skops")
    assert not set(skops.io.get_untrusted_types(file=tmp_path / "model.skops")) - set(skops_types())
    loaded = skops.io.load(tmp_path / "model.skops", trusted=skops_types())
    for copy in (joblib.load(tmp_path / "model.joblib"), loaded):
        assert_array_equal(copy.predict(X), model.predict(X))


@pytest.mark.parametrize("cls", BOTH)
def test_weights_find_their_way(cls):
    """Through a search and a pipeline."""
    X, y = table(80)
    y, weight = targets(cls, y), np.where(np.arange(80) % 4, 1.5, 0.25)
    with config_context(enable_metadata_routing=True):
        model = small(cls, **FEW).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(with_sum), model)
        grid = {f"{cls.__name__.lower()}__n_bins": [8]}
        metric = accuracy_score if cls is TabularMLPClassifier else r2_score
        scoring = make_scorer(metric).set_score_request(sample_weight=True)
        search = GridSearchCV(pipeline, grid, cv=2, scoring=scoring, error_score="raise")
        search.fit(X, y, sample_weight=weight)
    expected = small(cls, **FEW).fit(with_sum(X), y, weight)
    same_fit(search.best_estimator_[-1], expected, with_sum(X))


@pytest.mark.parametrize("cls", BOTH)
def test_importance_and_partial_dependence(cls):
    plt = pytest.importorskip("matplotlib.pyplot")
    X, y = table(150)
    model = small(cls).fit(X, targets(cls, y))
    importance = permutation_importance(model, X, targets(cls, y), n_repeats=2, random_state=0)
    assert set(np.argsort(importance.importances_mean)[1:]) == {0, 2}
    display = PartialDependenceDisplay.from_estimator(
        model, X, ["a", "c"], categorical_features=["c"], grid_resolution=5
    )
    curve = display.pd_results[0]["average"][0]
    assert np.ptp(curve) > 0.1
    plt.close("all")


def test_calibration_and_threshold():
    X, y = table(80)
    y = targets(TabularMLPClassifier, y)
    model = small().fit(X, y)
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid").fit(X, y)
    order = np.argsort(model.decision_function(X))
    p = calibrated.predict_proba(X)[order, 1]
    assert (np.diff(p) <= 1e-12).all() or (np.diff(p) >= -1e-12).all()
    tuned = TunedThresholdClassifierCV(model, cv=2, scoring="balanced_accuracy").fit(X, y)
    assert tuned.score(X, y) > 0.5
    folds = CalibratedClassifierCV(small(**FEW), cv=2, ensemble=False).fit(X, y)
    assert folds.predict_proba(X).shape == (80, 2)


@pytest.mark.parametrize("cls", BOTH)
def test_frozen_estimator(cls):
    X, y = table(60)
    model = small(cls, **FEW).fit(X, targets(cls, y))
    frozen = clone(FrozenEstimator(model)).fit(X, targets(cls, -y))
    assert frozen.estimator is model
    assert_array_equal(frozen.predict(X), model.predict(X))


@pytest.mark.parametrize("cls", BOTH)
def test_voting_and_stacking(cls):
    X, y = table(60)
    y = targets(cls, y)
    members = [("a", small(cls, **FEW)), ("b", small(cls, random_state=1, **FEW))]
    if cls is TabularMLPClassifier:
        voting = VotingClassifier(members, voting="soft").fit(X, y)
        each = [clone(model).fit(X, y).predict_proba(X) for _, model in members]
        assert_allclose(voting.predict_proba(X), np.mean(each, axis=0), rtol=1e-6)
        stacking = StackingClassifier(members, cv=2).fit(X, y)
    else:
        voting = VotingRegressor(members).fit(X, y)
        each = [clone(model).fit(X, y).predict(X) for _, model in members]
        assert_allclose(voting.predict(X), np.mean(each, axis=0), rtol=1e-6)
        stacking = StackingRegressor(members, cv=2).fit(X, y)
    assert stacking.predict(X).shape == (60,)


def test_transformed_target():
    X, y = table(80)
    model = TransformedTargetRegressor(small(TabularMLPRegressor, **FEW), func=np.log, inverse_func=np.exp)
    expected = np.exp(small(TabularMLPRegressor, **FEW).fit(X, y).predict(X))
    assert_allclose(model.fit(X, np.exp(y)).predict(X), expected, rtol=1e-3)


@pytest.mark.parametrize("cls", BOTH)
def test_out_of_fold_predictions_are_like_those_of_cross_validation(cls):
    X, y = table(200)
    if cls is TabularMLPRegressor:
        model = small(cls, n_members=4).fit(X, y)
        outside = cross_val_predict(small(cls, n_members=4), X, y, cv=4)
        assert np.corrcoef(outside, model.oof_prediction_)[0, 1] > 0.9
    else:
        y = targets(cls, y)
        model = small(cls, n_members=4).fit(X, y)
        outside = cross_val_predict(small(cls, n_members=4), X, y, cv=4)
        assert (outside == model.classes_[(model.oof_decision_function_ > 0).astype(int)]).mean() > 0.9


def test_frames_in_another_order_are_an_error():
    X, y = table(60)
    model = small(TabularMLPRegressor, **FEW).fit(X, y)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X[["b", "a", "c"]])
