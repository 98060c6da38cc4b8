"""A validation set of one's own, and what it is scored with."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context, metrics
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from tasks import TASKS, make_task, our_estimator

from sknn_scratch import LogLoss, MLPFromScratchClassifier
from sknn_scratch.estimators.fit_kind import FitKind

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def split(task):
    X, y = make_task(task)
    return X[:110], y[:110], X[110:], y[110:]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_curves(task, early_stopping):
    X, y, X_val, y_val = split(task)
    parameters = {"max_iter": 12, "learning_rate_init": 0.02, "early_stopping": early_stopping}
    model = our_estimator(task, **parameters).fit(X, y, X_val=X_val, y_val=y_val)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_ == 12
    assert model.best_validation_score_ == max(model.validation_scores_)
    if early_stopping:
        assert model.best_loss_ is None
        assert model.score(X_val, y_val) == pytest.approx(model.best_validation_score_)
    else:
        # Looking on changes nothing.
        assert_array_equal(model.coefs_[0], our_estimator(task, **parameters).fit(X, y).coefs_[0])
        assert model.best_loss_ == min(model.loss_curve_)
        assert model.score(X_val, y_val) == pytest.approx(model.validation_scores_[-1])
        encoded = clone(model).fit(X_val, y_val)._check_data(X_val, y_val, None, FitKind.WARM)
        losses = model._loss.value(encoded.y, model._raw_output(X_val))
        assert model.validation_loss_curve_[-1] == pytest.approx(losses.mean())


def test_validation_loss_is_the_metric():
    X, y, X_val, y_val = split("multiclass")
    weight = np.random.RandomState(0).uniform(1, 3, len(X_val))
    model = our_estimator("multiclass", max_iter=5, alpha=10).fit(
        X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight
    )
    probability = model.predict_proba(X_val)
    assert model.validation_loss_curve_[-1] == pytest.approx(metrics.log_loss(y_val, probability, sample_weight=weight))
    assert model.validation_scores_[-1] == pytest.approx(model.score(X_val, y_val, weight))
    held_out = our_estimator("multiclass", max_iter=5, early_stopping=True).fit(X, y)
    assert len(held_out.validation_loss_curve_) == 5
    assert our_estimator("multiclass", max_iter=2).fit(X, y).validation_loss_curve_ is None
    assert our_estimator("multiclass", max_iter=2).fit(X, y).validation_scores_ is None


@pytest.mark.parametrize("task", TASKS)
def test_same_rows_as_the_split_gives_the_same_model(task):
    """Early stopping with the rows that it would hold out itself."""
    X, y = make_task(task)
    model = our_estimator(task, max_iter=15, early_stopping=True, learning_rate_init=0.02, shuffle=False)
    expected = clone(model).fit(X, y)
    rng = np.random.RandomState(7)
    clone(model).set_params(random_state=rng, early_stopping=False, max_iter=1).fit(X, y)  # draws the parameters
    train, val = train_test_split(
        np.arange(150), test_size=0.1, random_state=rng, stratify=y if task == "binary" else None
    )
    model.fit(X[train], y[train], X_val=X[val], y_val=y[val])
    assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-10)
    assert_allclose(model.validation_scores_, expected.validation_scores_)
    assert_allclose(model.validation_loss_curve_, expected.validation_loss_curve_)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_stopping_by_the_loss(task, own):
    X, y, X_val, y_val = split(task)
    model = our_estimator(task, scoring="loss", early_stopping=True, max_iter=300, learning_rate_init=0.05)
    model.fit(X, y, **({"X_val": X_val, "y_val": y_val} if own else {}))
    assert_array_equal(model.validation_scores_, -np.array(model.validation_loss_curve_))
    assert model.n_iter_ < 300


SCORERS = {
    "binary": ["roc_auc", "neg_brier_score", "f1_macro"],
    "multiclass": ["roc_auc_ovr", "neg_log_loss", "balanced_accuracy"],
    "multilabel": ["average_precision", "roc_auc"],
    "regression": ["neg_mean_absolute_error", metrics.make_scorer(metrics.max_error, greater_is_better=False)],
    "multioutput": ["r2", "neg_root_mean_squared_error"],
    "poisson": ["neg_mean_poisson_deviance"],
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("task", "scoring"), [(task, s) for task, scorers in SCORERS.items() for s in scorers], ids=str
)
def test_scorers(task, scoring, own, weighted):
    if weighted and not isinstance(scoring, str):
        pytest.skip("max_error knows no weights")
    X, y, X_val, y_val = split(task)
    model = our_estimator(task, scoring=scoring, early_stopping=True, max_iter=10, learning_rate_init=0.05)
    if not own:
        model.set_params(validation_fraction=0.3)
    weights = {"sample_weight": np.arange(1.0, 111)} if weighted else {}
    given = {"X_val": X_val, "y_val": y_val} if own else {}
    if own and weighted:
        given["sample_weight_val"] = np.arange(1.0, 41)
    model.fit(X, y, **weights, **given)
    assert len(set(model.validation_scores_)) > 1
    if own:
        scorer = metrics.get_scorer(scoring) if isinstance(scoring, str) else scoring
        weights = {"sample_weight": np.arange(1.0, 41)} if weighted else {}
        assert scorer(model, X_val, y_val, **weights) == pytest.approx(model.best_validation_score_)


def test_scorer_as_a_function_sees_a_fitted_model():
    X, y, X_val, y_val = split("binary")
    frame, seen = pd.DataFrame(X, columns=list("abcdefgh")), []

    def scorer(estimator, X, y):
        seen.append(estimator.predict(X))
        assert_array_equal(y, y_val)
        return len(seen)

    model = our_estimator("binary", scoring=scorer, early_stopping=True, max_iter=4)
    model.fit(frame, y, X_val=pd.DataFrame(X_val, columns=list("abcdefgh")), y_val=y_val)
    assert model.validation_scores_ == [1, 2, 3, 4]
    assert_array_equal(seen[-1], model.predict(pd.DataFrame(X_val, columns=list("abcdefgh"))))
    assert list(model.feature_names_in_) == list("abcdefgh")


def test_class_weight_weighs_the_validation_set_too():
    X, y, X_val, y_val = split("binary")
    model = our_estimator("binary", class_weight={10: 5.0}, max_iter=3).fit(X, y, X_val=X_val, y_val=y_val)
    expected = metrics.accuracy_score(y_val, model.predict(X_val), sample_weight=np.where(y_val == 10, 5.0, 1.0))
    assert model.validation_scores_[-1] == pytest.approx(expected)


@pytest.mark.parametrize("as_given", [sparse.csr_matrix, np.asfortranarray, np.ndarray.tolist, pd.DataFrame])
def test_kinds_of_samples(as_given):
    X, y, X_val, y_val = split("multiclass")
    expected = our_estimator("multiclass", max_iter=4).fit(X, y, X_val=X_val, y_val=y_val)
    model = our_estimator("multiclass", max_iter=4).fit(as_given(X), y, X_val=as_given(X_val), y_val=y_val)
    assert_allclose(model.validation_loss_curve_, expected.validation_loss_curve_, rtol=1e-10)


def test_warm_start_goes_on():
    X, y, X_val, y_val = split("multiclass")
    model = our_estimator("multiclass", max_iter=4, warm_start=True).fit(X, y, X_val=X_val, y_val=y_val)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == len(model.loss_curve_) == 8
    model.set_params(early_stopping=True).fit(X, y, X_val=X_val, y_val=y_val)
    assert len(model.validation_scores_) == 12
    assert model.fit(X, y).best_loss_ is None
    model.set_params(early_stopping=False).fit(X, y)
    assert model.validation_scores_ is model.validation_loss_curve_ is model.best_validation_score_ is None


def test_routing_through_a_pipeline():
    X, y, X_val, y_val = split("binary")
    with config_context(enable_metadata_routing=True):
        model = our_estimator("binary", max_iter=4).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
        search = GridSearchCV(pipeline, {"mlpfromscratchclassifier__alpha": [0.1, 1.0]}, cv=2, error_score="raise")
        search.fit(X, y, X_val=X_val, y_val=y_val)
    scaler = StandardScaler().fit(X)
    expected = clone(model).fit(scaler.transform(X), y, X_val=scaler.transform(X_val), y_val=y_val)
    assert_array_equal(pipeline[-1].validation_scores_, expected.validation_scores_)
    assert len(search.best_estimator_[-1].validation_loss_curve_) == 4


@pytest.mark.parametrize(
    ("before", "other"),
    [
        (OneHotEncoder(sparse_output=False), {"job": ["a", "b"] * 10}),
        (SimpleImputer(), {"age": [1.0, np.nan] * 10, "income": [2.0, 1.0] * 10}),
        (PolynomialFeatures(2), {"age": [1.0, 3.0] * 10, "income": [2.0, 1.0] * 10}),
    ],
    ids=["words", "gaps", "other columns"],
)
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_what_goes_past_the_steps_of_a_pipeline_is_told_how_it_does_not(before, other):
    X, y = pd.DataFrame(other), [0, 1] * 10
    pipeline = make_pipeline(before, MLPFromScratchClassifier(4, max_iter=2))
    with pytest.raises(ValueError, match=r"X_val .*steps of a pipeline do so with .*transform_input=\['X_val'\]"):
        pipeline.fit(X, y, mlpfromscratchclassifier__X_val=X, mlpfromscratchclassifier__y_val=y)
    with pytest.raises(ValueError, match=r"X_val cannot be used: .* contains NaN") as caught:
        MLPFromScratchClassifier().fit(np.ones((20, 1)), y, X_val=np.full((2, 1), np.nan), y_val=[0, 1])
    assert "transform_input" not in str(caught.value)


BAD = {
    "one sample": ({"X_val": np.ones((1, 8)), "y_val": [10]}, "X_val has 1 sample; at least 2 are needed"),
    "no y": ({"X_val": 1}, "y_val is missing"),
    "no X": ({"y_val": 1}, "X_val is missing"),
    "weights alone": ({"sample_weight_val": 1}, "X_val is missing"),
    "features": ({"X_val": np.ones((5, 3)), "y_val": [10] * 5}, "X_val cannot be used: X has 3 features"),
    "nan": ({"X_val": np.full((5, 8), np.nan), "y_val": [10] * 5}, "X_val cannot be used: Input X contains NaN"),
    "lengths": ({"X_val": np.ones((5, 8)), "y_val": [10] * 4}, "y_val cannot be used: X has 5 samples, but y has 4"),
    "classes": ({"X_val": np.ones((5, 8)), "y_val": [10] * 4 + [11]}, r"y_val cannot be used: .*\[11\]"),
    "weights": (
        {"X_val": np.ones((5, 8)), "y_val": [10] * 5, "sample_weight_val": [-1] * 5},
        "sample_weight_val cannot be used: sample_weight must not be negative",
    ),
}


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_bad_validation_sets(given, message):
    X, y = make_task("binary")
    model = our_estimator("binary")
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, **given)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("average", [1, 3])
def test_scores_that_are_nan_say_nothing(average):
    """The parameters are then those of the last epoch, not the initial ones."""
    X, y, X_val, y_val = split("regression")
    model = our_estimator(
        "regression", early_stopping=True, scoring=lambda e, X, y: np.nan, max_iter=5, average=average
    )
    with pytest.warns(UserWarning, match="early_stopping had nothing to go by: every validation score was NaN"):
        model.fit(X, y, X_val=X_val, y_val=y_val)
    expected = our_estimator("regression", max_iter=5, average=average).fit(X, y)
    assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_the_first_of_equal_epochs_is_kept():
    X, y, X_val, y_val = split("regression")
    model = our_estimator("regression", early_stopping=True, scoring=lambda e, X, y: 1.0, max_iter=5)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert_array_equal(model.coefs_[0], our_estimator("regression", max_iter=1).fit(X, y).coefs_[0])


def test_a_scorer_that_takes_no_weights():
    X, y, X_val, y_val = split("binary")
    model = our_estimator("binary", scoring=lambda e, X, y: e.score(X, y), class_weight="balanced", max_iter=5)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.validation_scores_[-1] == model.score(X_val, y_val)


def test_best_scores_of_another_kind_are_forgotten():
    """A loss of -0.3 is no worse than an accuracy of 0.9."""
    X, y, X_val, y_val = split("binary")
    given = {"X_val": X_val, "y_val": y_val}
    model = our_estimator("binary", early_stopping=True, warm_start=True, max_iter=10, learning_rate_init=0.02)
    model.fit(X, y, **given)
    before = model.coefs_[0].copy()
    model.set_params(scoring="loss").fit(X, y, **given)
    assert (model.coefs_[0] != before).any()
    assert model.best_validation_score_ == max(model.validation_scores_[10:]) < 0
    # One that was only watched is none of those whose parameters are kept.
    model = our_estimator("binary", warm_start=True, max_iter=30, learning_rate_init=0.1).fit(X, y, **given)
    model.set_params(early_stopping=True, learning_rate_init=1.0, max_iter=3).fit(X, y, **given)
    assert model.score(X_val, y_val) == pytest.approx(model.best_validation_score_)


def test_the_best_value_of_another_loss_is_forgotten():
    """Half a squared error of 0.02 is no better than an absolute error of 0.1: training would end at once."""
    X, y, X_val, y_val = split("regression")
    model = our_estimator("regression", warm_start=True, max_iter=200, learning_rate_init=0.01).fit(X, y)
    n_first = model.n_iter_
    model.set_params(loss="absolute_error").fit(X, y)
    assert model.n_iter_ > 10
    assert model.best_loss_ == min(model.loss_curve_[n_first:]) > min(model.loss_curve_)
    model = clone(model).set_params(early_stopping=True, scoring="loss", loss="squared_error")
    n_first = model.fit(X, y, X_val=X_val, y_val=y_val).n_iter_
    model.set_params(loss="absolute_error").fit(X, y, X_val=X_val, y_val=y_val)
    assert model.best_validation_score_ == max(model.validation_scores_[n_first:]) < max(model.validation_scores_)


def test_scores_of_sparse_multilabel_targets():
    X, y, X_val, y_val = split("multilabel")
    model = our_estimator("multilabel", scoring="roc_auc", max_iter=5)
    model.fit(X, sparse.csr_matrix(y), X_val=X_val, y_val=sparse.csr_matrix(y_val))
    assert model.validation_scores_[-1] == pytest.approx(metrics.roc_auc_score(y_val, model.predict_proba(X_val)))


def test_dtype_is_that_of_the_training_samples():
    X, y, X_val, y_val = split("regression")
    model = our_estimator("regression", max_iter=3)
    expected = model.fit(X.astype(np.float32), y, X_val=X_val.astype(np.float32), y_val=y_val).validation_loss_curve_
    assert model.fit(X.astype(np.float32), y, X_val=X_val, y_val=y_val).validation_loss_curve_ == expected


def test_other_errors():
    X, y, X_val, y_val = split("binary")
    with pytest.warns(UserWarning, match="solver='lbfgs' does not use early_stopping=True, scoring='loss'"):
        our_estimator("binary", solver="lbfgs", early_stopping=True, scoring="loss", tol=1).fit(X, y)
    our_estimator("binary", scoring="loss").partial_fit(X, y, classes=[10, 20])
    with pytest.raises(ValueError, match="X_val cannot be used with solver='lbfgs'"):
        our_estimator("binary", solver="lbfgs").fit(X, y, X_val=X_val, y_val=y_val)
    with pytest.warns(UserWarning, match="scoring='roc_auc' has no effect without early_stopping=True or X_val"):
        our_estimator("binary", max_iter=2, scoring="roc_auc").fit(X, y)
    with pytest.warns(
        UserWarning, match=r"validation_fraction=0.2 has no effect without early_stopping=True\."
    ) as caught:
        our_estimator("binary", max_iter=2, validation_fraction=0.2).fit(X, y)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"validation_fraction=0.2 has no effect where X_val is given\."):
        our_estimator("binary", max_iter=2, validation_fraction=0.2).fit(X, y, X_val=X_val, y_val=y_val)
    model = our_estimator("binary", scoring="roc_auc", loss=LogLoss(), early_stopping=True, max_iter=2)
    with pytest.raises(ValueError, match="multi_class must be in"):
        model.fit(*make_task("multiclass"))
    assert not hasattr(model, "coefs_")
    X, y, X_val, _ = split("poisson")
    with pytest.raises(ValueError, match="y_val cannot be used: y must not be negative with loss='poisson'"):
        our_estimator("poisson").fit(X, y, X_val=X_val, y_val=-np.ones(40))


@pytest.mark.parametrize(
    ("scoring", "reason"),
    [("neg_log_loss", "y_true and y_prob contain different number of classes"), (lambda *given: "good", "float")],
    ids=["a class is missing", "no number"],
)
def test_errors_of_a_scorer_name_scoring(scoring, reason):
    X, y = make_task("multiclass")
    model = our_estimator("multiclass", scoring=scoring)
    few = np.flatnonzero(y != y.max())[:10]
    with pytest.raises(ValueError, match=rf"^scoring cannot be used: .*{reason}"):
        model.fit(X, y, X_val=X[few], y_val=y[few])
    assert not hasattr(model, "coefs_")
