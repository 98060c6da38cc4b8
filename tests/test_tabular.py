"""TabularMLPClassifier and TabularMLPRegressor: from a table to predictions."""

import pickle
import tracemalloc
from importlib.util import find_spec

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_regression
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import BOTH, same_fit, small, table, targets

from sknn_scratch import (
    MLPFromScratchClassifier,
    TabularEncoder,
    TabularMLPClassifier,
    TabularMLPRegressor,
    skops_types,
)
from sknn_scratch.estimators.tabular.folds import canonical_order, groups_of_copies, make_folds, training_rows
from sknn_scratch.estimators.tabular.weights import LogLossCriterion, SquaredErrorCriterion


@parametrize_with_checks([small(cls, max_iter=15, random_state=None) for cls in BOTH])
def test_sklearn_compatible(estimator, check):
    check(estimator)


# How good it is -------------------------------------------------------------------------------------------------------


def test_classifier_is_better_than_boosting():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    ours = TabularMLPClassifier(n_members=4, random_state=0, engine="numpy").fit(X_train, y_train)
    theirs = HistGradientBoostingClassifier(early_stopping=True, random_state=0).fit(X_train, y_train)
    ours, theirs = (log_loss(y_test, model.predict_proba(X_test)) for model in (ours, theirs))
    assert ours < 0.8 * theirs


def test_regressor_is_better_than_boosting():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
    ours = TabularMLPRegressor(n_members=4, random_state=0, engine="numpy").fit(X_train, y_train)
    theirs = HistGradientBoostingRegressor(early_stopping=True, random_state=0).fit(X_train, y_train)
    assert ours.score(X_test, y_test) > theirs.score(X_test, y_test)


@pytest.mark.parametrize("cls", BOTH)
def test_categories_and_gaps_are_used(cls):
    X, y = table(400)
    y = targets(cls, y)
    assert small(cls).fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.9


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", BOTH)
def test_score_names_its_arrays(cls):
    X, y = table(80)
    y = targets(cls, y)
    model = small(cls, max_iter=2).fit(X, y)
    for given, message in (
        ((y[:3],), "X has 80 samples, but y has 3"),
        ((None,), "y must be an array with one entry per sample, got None"),
        ((np.full(80, np.nan),), "y cannot be used: Input .*contains NaN"),
        ((y, np.ones(3)), "X has 80 samples, but sample_weight has 3"),
        ((y, np.zeros(80)), "sample_weight must be positive for at least one sample"),
    ):
        with pytest.raises(ValueError, match=message):
            model.score(X, *given)


@pytest.mark.parametrize("cls", BOTH)
def test_unknown_parameters_and_arguments_are_explained(cls):
    with pytest.raises(TypeError, match=f"{cls.__name__} has no parameter 'epochs'. Did you mean 'max_iter'"):
        cls(epochs=3)
    for name, meant in {"n_estimators": "n_members", "l2_regularization": "weight_decay", "max_bins": "n_bins"}.items():
        with pytest.raises(TypeError, match=f"'{name}'. Did you mean '{meant}'"):
            cls(**{name: 3})
    with pytest.raises(TypeError, match=r"'early_stopping'\. It is not needed: the best epoch .* Valid parameters are"):
        cls(early_stopping=True)
    with pytest.raises(TypeError, match=f"{cls.__name__} takes n_members without a name, and 2 values were given"):
        cls(8, (3,))
    X, y = table(80)
    for name, message in (
        ("max_iter", "max_iter is a parameter of the estimator"),
        *((name, "It is not needed: the best epoch") for name in ("eval_set", "eval_metric", "X_val")),
        ("callbacks", r"Did you mean set_callbacks\(...\)"),
    ):
        with pytest.raises(TypeError, match=f"{cls.__name__}.fit has no argument '{name}'. {message}"):
            small(cls).fit(X, targets(cls, y), **{name: 1})


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", BOTH)
def test_frames_of_pandas_and_polars_are_the_same(cls):
    X, y = table()
    y = targets(cls, y)
    a, b = small(cls).fit(X, y), small(cls).fit(pl.from_pandas(X), y)
    assert_array_equal(a.predict(X), b.predict(pl.from_pandas(X)))
    assert list(a.feature_names_in_) == list(a.encoder_.feature_names_in_) == ["a", "b", "c"]


@pytest.mark.parametrize("cls", BOTH)
def test_what_was_not_seen_in_fit_is_predicted_for(cls):
    X, y = table()
    model = small(cls).fit(X, targets(cls, y))
    unseen = pd.DataFrame({"a": [np.nan, 1e30], "b": [np.nan, -1e30], "c": ["z", None]}).astype({"c": "category"})
    assert len(model.predict(unseen)) == 2


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(
    "X",
    [
        np.full((20, 2), np.nan),
        np.ones((20, 1)),
        np.full((20, 1), 1e30),
        np.eye(20, 500),
        np.array([["a"], ["b"]] * 10, dtype=object),
        np.array([[1e308], [-1e308]] * 10),
    ],
    ids=["missing", "constant", "huge", "wide", "categories", "largest"],
)
def test_odd_tables_are_fitted(cls, X):
    model = small(cls, max_iter=3).fit(X, targets(cls, np.tile([0.0, 1.0], 10)))
    assert len(model.predict(X)) == 20


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("n_samples", [2, 3, 10, 49])
def test_a_few_samples_are_enough(cls, n_samples):
    y = targets(cls, np.arange(n_samples) % 2)
    model = small(cls, n_members=8, max_iter=3).fit(np.arange(n_samples)[:, np.newaxis], y)
    assert len(model._views["plain"].parameters) == max(2, min(8, n_samples // 5))


def test_a_class_may_have_one_sample():
    y = np.array([0] * 20 + [1] * 20 + [2])
    probability = small().fit(np.arange(41)[:, np.newaxis], y).predict_proba([[3.0]])
    assert (probability > 0).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("label", ["a", 1, True])
def test_one_class_is_predicted_with_certainty(label):
    X = np.arange(10)[:, np.newaxis]
    model = small(max_iter=2).fit(X, [label] * 10)
    assert_array_equal(model.predict(X), [label] * 10)
    assert_array_equal(model.predict_proba(X), 1)
    assert_array_equal(model.predict_log_proba(X), 0)
    assert_array_equal(model.decision_function(X), np.zeros(10))
    assert model.score(X, [label] * 10) == model.oof_score_ == 1
    assert_array_equal(MLPFromScratchClassifier(max_iter=50).fit(X, [label] * 10).predict(X), model.predict(X))


def test_a_class_whose_samples_have_no_weight_is_known_and_not_predicted():
    X, y = np.arange(40)[:, np.newaxis], np.arange(40) % 2
    model = small().fit(X, y, sample_weight=y)
    assert_array_equal(model.classes_, [0, 1])
    assert_array_equal(model.predict(X[1::2]), 1)
    assert model.predict_proba(X)[:, 0].min() < 1e-9
    assert_array_equal(np.isnan(model.oof_decision_function_), y == 0)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("n_columns", [500, 5000])
def test_many_columns(cls, n_columns):
    X = np.random.RandomState(0).normal(size=(100, n_columns)).astype(np.float32)
    y = targets(cls, 2 * X[:, 0])
    model = small(cls, max_iter=3).fit(X, y)
    assert model.predict(X).shape == (100,)
    assert model.oof_score_ > -1


def test_many_classes():
    y = np.arange(2000) % 1000
    rng = np.random.RandomState(0)
    X = rng.normal(size=(1000, 8))[y] + 0.01 * rng.normal(size=(2000, 8))
    model = small(hidden_layer_sizes=(64,), n_bins=None, dropout=0.0, max_iter=8).fit(X, y)
    assert model.predict_proba(X).shape == (2000, 1000)
    assert model.oof_score_ > 0.05


@pytest.mark.parametrize("cls", BOTH)
def test_duplicates(cls):
    """Of rows, with the same target or another, and of columns."""
    X, y = np.tile([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]], (20, 1)), np.tile([0.0, 1.0, 0.0], 20)
    model = small(cls, n_members=4).fit(X, targets(cls, y))
    middle = model.predict_proba([[1.0, 1.0]])[0, 0] if cls is TabularMLPClassifier else model.predict([[1.0, 1.0]])[0]
    assert abs(middle - 0.5) < 0.1
    assert len(set(model.predict(X)[1::3])) == 1


@pytest.mark.parametrize("cls", BOTH)
def test_infinity_is_learnt_from(cls):
    """As boosting does, from ratios, say; also without codes."""
    ratio = np.random.RandomState(0).choice([1 / 3, 1 / 2, 1, np.inf], 200)
    X, y = pd.DataFrame({"ratio": ratio}), np.isinf(ratio).astype(float)
    boosting = HistGradientBoostingClassifier if cls is TabularMLPClassifier else HistGradientBoostingRegressor
    for model in (small(cls), small(cls, n_bins=None), boosting()):
        assert model.fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize(
    ("cls", "regressor"), [(TabularMLPClassifier, "Tabular"), (MLPFromScratchClassifier, "MLPFrom")]
)
def test_numbers_as_labels_are_sent_to_the_regressor(cls, regressor):
    with pytest.raises(ValueError, match=f"for continuous targets use {regressor}\\w*Regressor"):
        cls().fit(np.arange(10)[:, np.newaxis], np.linspace(0.1, 0.7, 10))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "labels", [["b", "a"], [2.0, -1.0], [True, False], np.array(["x", "yy"], dtype=object)], ids=str
)
def test_labels_come_back_as_they_were(labels):
    """As the classifier with a single network returns them."""
    X, y = np.arange(30)[:, np.newaxis], np.array(labels)[np.arange(30) % 2]
    ours, single = small(max_iter=2).fit(X, y), MLPFromScratchClassifier(max_iter=1).fit(X / 30, y)
    assert_array_equal(ours.classes_, single.classes_)
    assert ours.classes_.dtype == single.classes_.dtype
    assert ours.predict(X).dtype == single.predict(X / 30).dtype


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"n_members": 1}, "'n_members' of TabularMLP.* must be an integer"),
        ({"n_jobs": 0}, "'n_jobs' of TabularMLP.* must not be 0"),
        ({"dropout": 1.0}, "'dropout' of TabularMLP.* must be"),
        ({"engine": "nump"}, "Did you mean 'numpy'"),
        ({"learning_rate_init": 1e30}, "Training diverged"),
        ({"categorical_features": ["nobody"]}, "names 'nobody'"),
    ],
)
@pytest.mark.parametrize("cls", BOTH)
def test_a_failed_fit_leaves_the_model_as_it_was(cls, parameter, message):
    X, y = table(50)
    y = targets(cls, y)
    model = small(cls, max_iter=2).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match=message):
        model.set_params(**parameter).fit(X, y)
    assert_array_equal(model.predict(X), before)


# The same numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["numpy", *["numba"] * bool(find_spec("numba"))])
@pytest.mark.parametrize("cls", BOTH)
def test_number_of_jobs_does_not_matter(cls, engine):
    X, y = table()
    y = targets(cls, y)
    parameters = {"engine": engine, "n_members": 4, "max_iter": 8, "dropout": 0.2}
    one, three = (small(cls, **parameters, n_jobs=n).fit(X, y) for n in (None, 3))
    same_fit(one, three, X)
    assert one.oof_loss_curve_ == three.oof_loss_curve_


@pytest.mark.skipif(not find_spec("numba"), reason="needs numba")
@pytest.mark.parametrize("cls", BOTH)
def test_engines_agree(cls):
    X, y = table()
    y = targets(cls, y)
    a, b = (small(cls, engine=engine, max_iter=3, dropout=0.2).fit(X, y) for engine in ("numpy", "numba"))
    assert_allclose(a._raw_output(X), b._raw_output(X), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cls", BOTH)
def test_order_of_the_samples_does_not_matter(cls):
    X, y = table()
    y, rng = targets(cls, y), np.random.RandomState(1)
    X, y, weight = X.iloc[[*range(len(X)), *range(50)]], np.r_[y, y[:50]], rng.rand(len(X) + 50)
    order = rng.permutation(len(y))
    for weights in (None, weight):
        a = small(cls).fit(X, y, weights)
        b = small(cls).fit(X.iloc[order], y[order], None if weights is None else weights[order])
        assert_allclose(a._raw_output(X), b._raw_output(X), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cls", BOTH)
def test_random_state_decides(cls):
    X, y = table()
    y = targets(cls, y)
    a, b, c = (small(cls, random_state=seed, max_iter=3).fit(X, y) for seed in (0, np.random.RandomState(0), 1))
    same_fit(a, b, X)
    assert not np.array_equal(a._raw_output(X), c._raw_output(X))


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", BOTH)
def test_whole_weights_are_counts(cls):
    X, y = table(100)
    y, counts = targets(cls, y), np.random.RandomState(0).randint(0, 4, 100)
    weighted = small(cls, max_iter=3).fit(X, y, sample_weight=counts)
    repeated = small(cls, max_iter=3).fit(X.loc[X.index.repeat(counts)], y.repeat(counts))
    same_fit(weighted, repeated, X)
    out_of_fold = weighted.oof_prediction_ if cls is TabularMLPRegressor else weighted.oof_decision_function_
    assert_array_equal(np.isnan(out_of_fold), counts == 0)


@pytest.mark.parametrize("cls", BOTH)
def test_samples_of_little_weight_hardly_count(cls):
    X, y = table(400)
    wrong = np.where(np.arange(400) % 2, -1000 * y, y)
    model = small(cls).fit(X, targets(cls, wrong), sample_weight=np.where(np.arange(400) % 2, 1e-12, 1.5))
    assert model.score(X, targets(cls, y)) > 0.9


@pytest.mark.parametrize("cls", BOTH)
def test_a_sample_without_weight_is_as_none(cls):
    X, y = table(120)
    y, weight = targets(cls, y), np.where(np.arange(120) % 3, 0.5, 0.0)
    weighted = small(cls, max_iter=3).fit(X, y, sample_weight=weight)
    same_fit(weighted, small(cls, max_iter=3).fit(X[weight > 0], y[weight > 0]), X)


def test_weights_of_training_rows_have_a_mean_of_one():
    rows, weights = training_rows(3, np.array([0.0, 0.1, 0.3]))
    assert_array_equal(rows, [1, 2])
    assert_allclose(weights, [0.5, 1.5])


def test_weights_of_classes_are_those_of_their_samples():
    X, y = table()
    labels = targets(TabularMLPClassifier, y)
    by_class = small(class_weight={"high": 2.5}, max_iter=3).fit(X, labels)
    by_sample = small(max_iter=3).fit(X, labels, sample_weight=np.where(labels == "high", 2.5, 1.0))
    assert_allclose(by_class.predict_proba(X), by_sample.predict_proba(X), rtol=1e-3, atol=1e-3)
    balanced = small(class_weight="balanced", max_iter=3).fit(X, labels)
    assert_allclose(balanced._class_frequencies, 0.5)
    with pytest.raises(ValueError, match="labels \\['other'\\]"):
        small(class_weight={"other": 1.0}).fit(X, labels)


# Out of fold ----------------------------------------------------------------------------------------------------------


def test_out_of_fold_prediction_is_that_of_members_that_did_not_see_the_sample():
    X, _ = table(300)
    noise = np.random.RandomState(3).normal(size=300)
    model = small(TabularMLPRegressor, weight_decay=0.0).fit(X, noise)
    assert model.oof_score_ == pytest.approx(r2_score(noise, model.oof_prediction_))
    assert model.oof_score_ < 0.05


@pytest.mark.parametrize("given", ["rows", "counts", "many counts"])
def test_copies_of_a_sample_are_held_out_together(given):
    rng = np.random.RandomState(3)
    X, noise, counts = rng.normal(size=(140, 3)), rng.normal(size=140), rng.randint(2, 5, 140)
    if given == "rows":
        X, noise, counts = X.repeat(counts, axis=0), noise.repeat(counts), None
    elif given == "many counts":
        counts = counts + 4
    model = small(TabularMLPRegressor, weight_decay=0.0, max_iter=20).fit(X, noise, sample_weight=counts)
    assert model.oof_score_ < 0.05


def test_copies_are_told_from_rows_that_are_alike_by_chance():
    X, y = np.arange(40.0)[:, np.newaxis], np.arange(40) % 3
    assert_array_equal(groups_of_copies([X], y), np.arange(40))
    twice = X.repeat(2, axis=0)
    assert_array_equal(groups_of_copies([twice], y.repeat(2)), np.arange(40).repeat(2))
    assert_array_equal(groups_of_copies([twice, -twice], y.repeat(2)), np.arange(40).repeat(2))
    assert_array_equal(groups_of_copies([twice // 8], y.repeat(2)), np.arange(80))  # few kinds of rows
    assert_array_equal(groups_of_copies([X.repeat(10, axis=0)], y.repeat(10)), np.arange(400))  # many of each
    assert_array_equal(groups_of_copies([twice], np.arange(80) % 2), np.arange(80))  # with targets of their own


def test_zeros_of_either_sign_are_the_same_number():
    zeros = np.array([[-0.0, 2.0], [0.0, 1.0], [-0.0, 0.0]])
    assert_array_equal(canonical_order(zeros), canonical_order(np.abs(zeros)))


def test_classifier_keeps_what_it_says_out_of_fold():
    X, y = load_iris(return_X_y=True)
    model = small().fit(X, y)
    assert model.oof_decision_function_.shape == (150, 3)
    assert model.oof_score_ == accuracy_score(y, model.oof_decision_function_.argmax(axis=1)) > 0.85
    assert set(model.oof_loss_curve_) == set(model.best_epoch_) == set(model.calibration_) == {"coded", "plain"}
    assert [view.activation for view in model._views.values()] == ["relu", "mish"]
    for name, curve in model.oof_loss_curve_.items():
        assert model.best_epoch_[name] == np.argmin(curve) + 1


def test_best_epoch_is_kept():
    X, y = table()
    y = y + 2 * np.random.RandomState(1).normal(size=len(y))
    model = small(TabularMLPRegressor, n_bins=None, learning_rate_init=0.05, weight_decay=0.0).fit(X, y)
    (curve,), (best,) = model.oof_loss_curve_.values(), model.best_epoch_.values()
    assert best == np.argmin(curve) + 1 < len(curve)
    output = (model.oof_prediction_ - y.mean()) / y.std() / model.calibration_["plain"]
    assert_allclose(((output - (y - y.mean()) / y.std()) ** 2).mean(), curve[best - 1], rtol=1e-5)


def test_folds_are_stratified():
    strata = np.repeat([0, 1, 2], [50, 30, 4])
    folds = make_folds(strata, np.arange(84), 4, np.random.RandomState(0))
    counts = np.array([np.bincount(folds[strata == stratum], minlength=4) for stratum in range(3)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert (counts.sum(axis=0) == 21).all()


def test_folds_of_groups_have_strata_in_like_shares():
    groups, strata = np.repeat(np.arange(12), 5), np.repeat([0, 1], 30)
    strata[::5] = 1  # of each group of the first stratum one sample
    for seed in range(5):
        folds = make_folds(strata, groups, 3, np.random.RandomState(seed), fewest=1)
        assert_array_equal(folds, folds[::5].repeat(5))
        assert_array_equal(np.bincount(folds), 20)
        assert_array_equal(np.bincount(folds, strata), 12)
    sizes, strata = np.repeat([2, 1], 12), np.repeat([1, 2], [24, 12])  # what a group sums to does not tell its stratum
    folds = make_folds(strata, np.repeat(np.arange(24), sizes), 3, np.random.RandomState(0), fewest=1)
    assert_array_equal(np.bincount(folds[strata == 1]), 8)


def grouped_table():
    """Targets that are the same for all samples of a group, and cannot be known for another."""
    rng, groups = np.random.RandomState(0), np.arange(200) % 20
    X = rng.normal(size=(20, 3))[groups] + 0.001 * rng.normal(size=(200, 3))
    return X, rng.normal(size=20)[groups], groups


@pytest.mark.parametrize("form", [np.asarray, lambda groups: [f"customer {g}" for g in groups], pd.Series])
@pytest.mark.parametrize(("cls", "by_chance"), [(TabularMLPClassifier, 0.7), (TabularMLPRegressor, 0.3)])
def test_samples_of_a_group_are_held_out_together(cls, by_chance, form):
    X, y, groups = grouped_table()
    y = targets(cls, y + 0.5 - np.median(y))
    assert small(cls).fit(X, y).oof_score_ > 0.85
    assert small(cls).fit(X, y, groups=form(groups)).oof_score_ < by_chance


def test_what_is_learnt_of_groups_does_not_depend_on_the_order_of_samples():
    X, y, groups = grouped_table()
    X, order = X.round(1), np.random.RandomState(1).permutation(200)  # with copies
    groups[::7] = 19
    models = [small(TabularMLPRegressor).fit(X[rows], y[rows], groups=groups[rows]) for rows in (np.arange(200), order)]
    assert_allclose(models[0].predict(X), models[1].predict(X), rtol=1e-9)
    assert_allclose(models[0].oof_prediction_[order], models[1].oof_prediction_, rtol=1e-9)


def test_there_are_no_more_members_than_groups():
    X, y, groups = grouped_table()
    model = small(TabularMLPRegressor, n_members=4).fit(X, y, groups=groups // 4, sample_weight=groups < 12)
    assert {len(view.parameters) for view in model._views.values()} == {3}
    assert_array_equal(np.isnan(model.oof_prediction_), groups >= 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda groups: groups[1:], "X has 200 samples, but groups has 199"),
        (lambda groups: groups * 0 + 3, "groups must have at least 2 different labels, got .*3"),
        (lambda groups: np.where(groups > 3, np.nan, groups), "groups contains NaN"),
        (lambda groups: np.stack([groups, groups], axis=1), "groups cannot be used"),
    ],
)
def test_groups_that_are_none(change, message):
    X, y, groups = grouped_table()
    model = small(TabularMLPRegressor)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, groups=change(groups))
    assert not hasattr(model, "n_features_in_")


def test_groups_are_routed_through_cross_validation():
    X, y, groups = grouped_table()
    with config_context(enable_metadata_routing=True):
        model = small(TabularMLPRegressor).set_fit_request(groups=True)
        found = cross_validate(model, X, y, cv=GroupKFold(2), params={"groups": groups}, return_estimator=True)
    assert all(model.oof_score_ < 0.3 for model in found["estimator"])


def test_strata_of_numbers_are_those_of_similar_size():
    y = np.random.RandomState(0).normal(size=60)
    strata = small(TabularMLPRegressor)._learn_targets(y, None)[2]
    assert_array_equal(strata[y.argsort()], np.arange(60) // 6)


def test_views_that_are_copies_share_the_weight_of_one():
    rng = np.random.RandomState(0)
    y = rng.normal(size=(100, 2))
    output = 0.5 * y + 0.1 * rng.normal(size=y.shape)
    criterion = SquaredErrorCriterion(y, None)
    assert_allclose(criterion.weigh([output, output]).sum(), (output * y).sum() / (output**2).sum())
    assert_array_equal(criterion.weigh([-output]), 0)
    assert_allclose(criterion.loss(output), ((output - y) ** 2).mean())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_log_loss_does_not_depend_on_the_temperature(n_classes, weighted):
    rng = np.random.RandomState(0)
    labels = rng.randint(n_classes, size=200)
    y = np.eye(n_classes)[labels] if n_classes > 2 else labels[:, np.newaxis].astype(float)
    output = y + rng.normal(size=y.shape)
    sample_weight = rng.uniform(size=200) ** 8 if weighted else None
    criterion = LogLossCriterion(y, sample_weight)
    assert_allclose(criterion.loss(output), criterion.loss(7 * output), rtol=1e-5)
    weight = criterion.weigh([output])
    for other in (0.9 * weight, 1.1 * weight):
        scores = np.hstack([np.zeros((200, int(n_classes == 2))), other * output])
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        assert log_loss(labels, p, sample_weight=sample_weight) > criterion.loss(output)


# Predictions ----------------------------------------------------------------------------------------------------------


def test_smoothed_labels_leave_no_trace_in_the_probabilities():
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, (1500, 1))
    p = expit(6 * X[:, 0])
    model = small(n_bins=None).fit(X, rng.uniform(size=1500) < p)
    assert model.calibration_["plain"] > 1.1  # smoothing makes logits small
    assert abs(model.predict_proba(X)[:, 1] - p).mean() < 0.03


def test_probabilities_and_decisions_say_the_same():
    for y in (load_iris().target, load_iris().target == 1):
        X = load_iris().data
        model = small().fit(X, y)
        p, decision = model.predict_proba(X), model.decision_function(X)
        assert_allclose(p.sum(axis=1), 1)
        assert_allclose(np.log(p), model.predict_log_proba(X))
        assert_array_equal(model.classes_[p.argmax(axis=1)], model.predict(X))
        assert_allclose(decision, np.log(p[:, 1] / p[:, 0]) if decision.ndim == 1 else np.log(p), rtol=1e-6)
        smallest = np.bincount(y) / len(y) / (len(y) + 1)
        assert (p >= smallest * (1 - 1e-9)).all()


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30, 1e300])
def test_unit_of_the_target_does_not_matter(scale):
    X, y = make_regression(100, 5, n_targets=2, random_state=0)
    model = small(TabularMLPRegressor, max_iter=5).fit(X, y)
    scaled = small(TabularMLPRegressor, max_iter=5).fit(X, y / 500 * scale)
    assert model.predict(X).shape == (100, 2)
    assert_allclose(scaled.predict(X) / scale, model.predict(X) / 500, rtol=1e-2, atol=1e-2)


def test_predictions_stay_between_the_targets():
    X, y = table()
    prediction = small(TabularMLPRegressor).fit(X, y).predict(X.assign(a=100 * X["a"]))
    assert y.min() <= prediction.min() <= prediction.max() <= y.max()


def test_a_constant_target_is_predicted():
    X, _ = table(30)
    assert_array_equal(small(TabularMLPRegressor, max_iter=2).fit(X, np.full(30, 7.1)).predict(X), 7.1)


# With others ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", BOTH)
def test_copies_are_the_same(cls, tmp_path):
    import skops.io

    X, y = table()
    model = small(cls, max_iter=3).fit(X, targets(cls, y))
    skops.io.dump(model, tmp_path / "model.skops")
    for copy in (
        pickle.loads(pickle.dumps(model)),
        skops.io.load(tmp_path / "model.skops", trusted=skops_types()),
        clone(model).fit(X, targets(cls, y)),
    ):
        same_fit(copy, model, X)


@pytest.mark.parametrize("cls", BOTH)
def test_search_over_parameters(cls):
    X, y = table(60)
    search = GridSearchCV(small(cls, max_iter=2), {"n_bins": [None, 4]}, cv=2).fit(X, targets(cls, y))
    assert search.best_params_["n_bins"] in (None, 4)


# What it costs --------------------------------------------------------------------------------------------------------


def many_numbers(n_samples, n_features=10):
    X = np.random.RandomState(0).standard_normal((n_samples, n_features))
    return X, X[:, 0] + np.abs(X[:, 1])


def many_levels(n_samples):
    """Return a frame of categories with many levels, another with two, and a number."""
    rng = np.random.RandomState(0)
    level = rng.randint(200 if n_samples > 1000 else 40, size=(2, n_samples))
    X = pd.DataFrame({"level": level[0].astype(str), "size": level[1].astype(str), "two": level[0] > 9})
    return X.assign(number=rng.standard_normal(n_samples)), (level[0] % 3 + level[1] % 2) / 3


@pytest.mark.parametrize("cls", BOTH)
def test_sample_is_predicted_alike_alone_and_among_others(cls):
    X, y = many_numbers(400)
    model = small(cls).fit(X, targets(cls, y > 0.5))
    predict = getattr(model, "predict_proba", model.predict)
    together = predict(X)
    assert_allclose(np.concatenate([predict(X[i : i + 1]) for i in range(400)]), together, rtol=1e-12)
    assert_allclose(predict(X[::-1])[::-1], together, rtol=1e-12)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_codes_are_used_as_the_dense_matrix_would_be(monkeypatch, cls, engine):
    if engine == "numba" and find_spec("numba") is None:
        pytest.skip("numba is not installed")
    X, y = many_numbers(300)
    y, model = targets(cls, y > 0.5), small(cls, engine=engine, max_iter=4)
    ours = clone(model).fit(X, y)
    monkeypatch.setattr(cls, "_of_view", lambda self, name, Z: Z.toarray() if name == "coded" else Z.plain)
    dense = clone(model).fit(X, y)
    assert_allclose(ours.oof_loss_curve_["coded"], dense.oof_loss_curve_["coded"], rtol=5e-4)
    assert_allclose(ours._raw_output(X[:99]), dense._raw_output(X[:99]), rtol=0, atol=5e-4)


@pytest.mark.parametrize("columns", [["level", "two", "number"], ["level", "size"]], ids=["mixed", "levels only"])
@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_many_levels_are_used_as_their_columns_would_be(monkeypatch, cls, engine, columns):
    if engine == "numba" and find_spec("numba") is None:
        pytest.skip("numba is not installed")
    X, y = many_levels(300)
    X, y, model = X[columns], targets(cls, y > 0.5), small(cls, engine=engine, max_iter=4)
    ours = clone(model).fit(X, y)
    monkeypatch.setattr(cls, "_of_view", lambda self, name, Z: (Z if name == "coded" else Z.without_bins()).toarray())
    dense = clone(model).fit(X, y)
    assert max(map(len, ours.encoder_.categories_)) > 32
    for view, curve in dense.oof_loss_curve_.items():
        assert_allclose(ours.oof_loss_curve_[view], curve, rtol=5e-4)
    X = X[:99].assign(level="unseen")
    assert_allclose(ours._raw_output(X), dense._raw_output(X), rtol=0, atol=5e-4)


@pytest.mark.parametrize("make", [many_numbers, many_levels])
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_no_dense_matrix(make, engine):
    if engine == "numba" and find_spec("numba") is None:
        pytest.skip("numba is not installed")
    X, y = make(6000)
    model = TabularMLPRegressor(n_members=2, hidden_layer_sizes=4, max_iter=1, engine=engine)
    model.fit(X[:1000], y[:1000])  # what is kept from the first fit on
    tracemalloc.start()
    try:
        model.fit(X, y).predict(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(X) * model.encoder_.n_features_out_ * 4 / 2


@pytest.mark.parametrize("estimator", [TabularEncoder(), small(TabularMLPRegressor, max_iter=1)])
def test_a_wide_table_is_copied_seldom(estimator):
    X = np.random.RandomState(0).normal(size=(3000, 600))
    estimator.fit(X[:100, :2], X[:100, 0])  # what is kept from the first fit on
    tracemalloc.start()
    try:
        estimator.fit(X, X[:, 0])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.75 * X.nbytes


def test_pickle_holds_what_predicting_needs():
    X, y = many_numbers(300, 20)
    model = TabularMLPRegressor(max_iter=1, engine="numpy").fit(X, y)
    before = pickle.dumps(model)
    expected = model.predict(X)
    assert len(before) < 5 * 2**20
    assert len(pickle.dumps(model)) == len(before)
    assert_array_equal(pickle.loads(before).predict(X), expected)
