"""The estimators as scikit-learn's tools meet them."""

import copy
import inspect
import io
import pickle
import re

import cloudpickle
import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr, get_tags
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
PAIRS = [(MLPFromScratchClassifier, MLPClassifier), (MLPFromScratchRegressor, MLPRegressor)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_signature_is_scikit_learns(ours, theirs):
    """Same names, order, defaults and kinds; what is ours comes last and by keyword only."""
    mine = list(inspect.signature(ours).parameters.values())
    other = list(inspect.signature(theirs).parameters.values())
    assert [(p.name, p.kind, p.default) for p in mine[: len(other)]] == [(p.name, p.kind, p.default) for p in other]
    assert all(p.kind is p.KEYWORD_ONLY for p in mine[len(other) :])
    for method in ("fit", "partial_fit", "predict", "predict_proba", "predict_log_proba", "score"):
        if hasattr(theirs, method):
            mine = list(inspect.signature(getattr(ours(), method)).parameters.values())
            other = list(inspect.signature(getattr(theirs(), method)).parameters.values())
            assert [(p.name, p.kind, p.default) for p in mine[: len(other)]] == [
                (p.name, p.kind, p.default) for p in other
            ]
            # What catches arguments of other libraries takes nothing.
            added = [p for p in mine[len(other) :] if (p.name, p.kind) != ("unknown", p.VAR_KEYWORD)]
            assert all(p.kind is p.KEYWORD_ONLY and p.default in (None, False) for p in added)


def fitted_attributes(model):
    return {name for name in dir(model) if name.endswith("_") and not name.startswith("_")}


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_attributes_are_scikit_learns(ours, theirs, solver):
    X, y = make_task("binary")

    def public(estimator):
        return {*estimator.get_params(), *fitted_attributes(estimator.fit(X, y))}

    own = set(ours().get_params()) - set(theirs().get_params()) | {"engine_", "validation_loss_curve_"}
    if "target_transform" in own:
        own |= {"target_mean_", "target_scale_"}
    assert public(ours(solver=solver, max_iter=2)) == public(theirs(solver=solver, max_iter=2)) | own
    # L-BFGS fills the curves too.
    assert public(ours(solver="lbfgs", max_iter=2)) == public(ours(max_iter=2))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_every_attribute_and_parameter_is_documented(ours, theirs):
    X, y = make_task("binary")
    model = ours(max_iter=2).fit(X, y)
    for name in (*vars(model), *fitted_attributes(model)):
        # Python 3.13 takes the indentation away.
        entry = rf"^ *(\w+, )*{name}(, \w+)* : "
        assert name.startswith("_") or re.search(entry, ours.__doc__, re.MULTILINE), name


@pytest.mark.parametrize(
    "copier",
    [
        lambda e: pickle.loads(pickle.dumps(e)),
        lambda e: pickle.loads(cloudpickle.dumps(e)),
        copy.deepcopy,
        lambda e: (lambda f: (joblib.dump(e, f), f.seek(0), joblib.load(f))[-1])(io.BytesIO()),
    ],
    ids=["pickle", "cloudpickle", "deepcopy", "joblib"],
)
@pytest.mark.parametrize("task", TASKS)
def test_copies_predict_and_carry_on_the_same(task, copier):
    X, y = make_task(task)
    model = our_estimator(task, max_iter=4, random_state=np.random.RandomState(0)).fit(X, y)
    twin = copier(model)
    for _ in range(2):
        assert_array_equal(twin.predict(X), model.predict(X))
        model.partial_fit(X, y)
        assert not np.array_equal(twin.coefs_[0], model.coefs_[0])
        twin.partial_fit(X, y)
        assert_array_equal(twin.coefs_[0], model.coefs_[0])


def test_a_shallow_copy_has_a_curve_of_its_own():
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=4).fit(X, y)
    twin = copy.copy(model)
    model.partial_fit(X, y)
    assert (len(model.loss_curve_), len(twin.loss_curve_)) == (5, 4)


@pytest.mark.parametrize("cls", [MLPFromScratchClassifier, MLPFromScratchRegressor])
def test_clone_repr_and_html(cls):
    model = cls(hidden_layer_sizes=(3, 2), alpha=0.5)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert repr(model) == f"{cls.__name__}(alpha=0.5, hidden_layer_sizes=(3, 2))"
    assert cls.__name__ in estimator_html_repr(model)
    assert cls.__name__ in model._repr_html_()
    assert cls().set_params(alpha=3).alpha == 3


def test_tags():
    for cls in (MLPFromScratchClassifier, MLPFromScratchRegressor):
        tags = get_tags(cls())
        assert tags.input_tags.sparse
        assert not tags.input_tags.allow_nan
        assert tags.target_tags.required
        assert not tags.non_deterministic
    assert get_tags(MLPFromScratchClassifier()).classifier_tags.multi_label
    assert get_tags(MLPFromScratchClassifier()).classifier_tags.multi_class
    for cls in (MLPFromScratchClassifier, MLPFromScratchRegressor):
        assert get_tags(cls()).target_tags.multi_output
        assert get_tags(cls()).target_tags.single_output
    assert get_tags(MLPFromScratchRegressor(loss="poisson")).target_tags.positive_only
    assert not get_tags(MLPFromScratchRegressor()).target_tags.positive_only


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_weights_are_routed(task):
    X, y = make_task(task)
    weight = np.arange(len(X)) % 3
    with config_context(enable_metadata_routing=True):
        model = (
            our_estimator(task, max_iter=5).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model).fit(
            X, y, sample_weight=weight
        )
        cross_validate(model, X, y, params={"sample_weight": weight}, cv=2, error_score="raise")
        model.set_partial_fit_request(sample_weight=True)
    expected = clone(model).fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
    assert_array_equal(pipeline[-1].coefs_[0], expected.coefs_[0])


@pytest.mark.parametrize("task", TASKS)
def test_grid_search_in_a_pipeline(task):
    X, y = make_task(task)
    pipeline = make_pipeline(StandardScaler(), our_estimator(task, max_iter=3))
    name = pipeline.steps[-1][0]
    grid = {f"{name}__alpha": [1e-4, 1.0], f"{name}__hidden_layer_sizes": [(4,), (3, 3)]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(X, y) == search.best_estimator_.score(X, y)


@pytest.mark.parametrize("task", TASKS)
def test_score_uses_weights(task):
    X, y = make_task(task)
    model = our_estimator(task, max_iter=3).fit(X, y)
    weight = np.zeros(len(X))
    weight[:40] = 1
    assert model.score(X, y, sample_weight=weight) == pytest.approx(model.score(X[:40], y[:40]))


@pytest.mark.parametrize("task", CLASSIFICATION)
def test_squared_error_on_probabilities(task):
    X, y = make_task(task)
    model = (
        our_estimator(task, solver="lbfgs", max_iter=500, alpha=0, activation="tanh")
        .set_params(loss="squared_error")
        .fit(X, y)
    )
    probability = model.predict_proba(X)
    indicator = y if task == "multilabel" else (y[:, np.newaxis] == model.classes_)
    squares = ((probability - indicator) ** 2).sum(axis=1).mean() / 2
    # Two classes share one output unit, whose square is counted once.
    assert model.loss_ == pytest.approx(squares / 2 if task == "binary" else squares)
    assert model.score(X, y) > 0.85
    if task != "multilabel":
        np.testing.assert_allclose(probability.sum(axis=1), 1)


def test_xor():
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), [0, 1, 1, 0]
    model = MLPFromScratchClassifier(4, "logistic", solver="lbfgs", loss="squared_error", alpha=0, random_state=1)
    assert_array_equal(model.fit(X, y).predict(X), y)


@pytest.mark.parametrize("task", TASKS)
def test_coefficients_can_be_replaced(task):
    """As with scikit-learn, predictions follow coefs_ and intercepts_."""
    X, y = make_task(task)
    model = our_estimator(task, max_iter=2).fit(X, y)
    model.coefs_ = [np.zeros_like(array) for array in model.coefs_]
    model.intercepts_ = [np.zeros_like(array) for array in model.intercepts_]
    assert not model._raw_output(X).any()


def test_parameters_set_after_fit_take_effect_at_the_next_fit():
    X, y = make_task("binary")
    model = MLPFromScratchClassifier(max_iter=5, random_state=0).fit(X, y)
    before = model.predict_proba(X)
    model.set_params(activation="tanh", loss="squared_error")
    assert_array_equal(model.predict_proba(X), before)


def test_subclasses_with_other_parameters():
    class Small(MLPFromScratchClassifier):
        def __init__(self, width=3, random_state=None):
            super().__init__(hidden_layer_sizes=width, max_iter=5, random_state=random_state)
            self.width = width

    class WithOption(MLPFromScratchRegressor):
        def __init__(self, option=None, solver="sgd", momentum=0.5):
            super().__init__(solver=solver, momentum=momentum, max_iter=5)
            self.option = option

    X, y = make_task("binary")
    assert clone(Small(4)).fit(X, y).coefs_[0].shape == (8, 4)
    assert WithOption("something").fit(X, y).partial_fit(X, y).n_iter_ == 1
