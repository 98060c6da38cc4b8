"""``target_transform="standardize"``: the network sees targets of unit scale, the user those that were given."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler, scale
from tasks import make_task, our_estimator

from sknn_scratch import (
    Huber,
    Loss,
    MLPFromScratchRegressor,
    ModelCheckpoint,
    Quantile,
    check_gradients,
    from_sklearn,
    to_sklearn,
)
from sknn_scratch.catalogue.links import LINKS, LogisticLink
from sknn_scratch.catalogue.losses import REGRESSOR_LOSSES
from sknn_scratch.estimators.building import fitted_model
from sknn_scratch.estimators.scaling import standardisation
from sknn_scratch.onnx import to_onnx

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
REFUSED = {"gamma", "poisson", "tweedie"}
ACCEPTED = [loss() for name, loss in REGRESSOR_LOSSES.items() if name not in REFUSED] + [Quantile([0.1, 0.5, 0.9])]
FAR = {"regression": (5e4, 3e3), "multioutput": (np.array([5e4, -0.2]), np.array([3e3, 1e-4]))}


def far_task(task="regression"):
    """Return samples, and targets far from unit scale."""
    X, y = make_task(task)
    mean, spread = FAR[task]
    return X, mean + spread * y


def model_of(task="regression", **parameters):
    return our_estimator(task, **{"max_iter": 8, "target_transform": "standardize", **parameters})


def by_hand(model, X, y, sample_weight=None, **parameters):
    """Return the same model fitted on targets that were standardised outside, and their mean and scale."""
    scaler = StandardScaler().fit(y.reshape(len(y), -1), sample_weight=sample_weight)
    inner = clone(model).set_params(target_transform=None, **parameters)
    inner.fit(X, scaler.transform(y.reshape(len(y), -1)).reshape(y.shape), sample_weight)
    return inner, scaler.mean_, scaler.scale_


# What it does ---------------------------------------------------------------------------------------------------------


def test_raw_targets_are_learnt():
    """From worse than the mean to as good as with targets that were scaled outside."""
    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(scale(X), 1000 * y, random_state=0)
    model = MLPFromScratchRegressor(solver="adam", alpha=10, max_iter=100, random_state=0)
    assert model.fit(X_train, y_train).score(X_test, y_test) < -3
    model.set_params(target_transform="standardize").fit(X_train, y_train)
    outside = TransformedTargetRegressor(clone(model).set_params(target_transform=None), transformer=StandardScaler())
    assert model.score(X_test, y_test) > 0.3
    assert model.score(X_test, y_test) == pytest.approx(outside.fit(X_train, y_train).score(X_test, y_test))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("task", FAR)
@pytest.mark.parametrize("loss", ACCEPTED, ids=repr)
def test_same_as_standardised_outside(loss, task, solver):
    X, y = far_task(task)
    model = model_of(task, loss=loss, solver=solver).fit(X, y)
    inner, mean, spread = by_hand(model, X, y)
    rtol = 1e-9 if solver == "adam" else 1e-5
    for ours, expected in zip(model.coefs_, inner.coefs_, strict=True):
        assert_allclose(ours, expected, rtol=rtol, atol=rtol)
    assert_allclose(model.loss_curve_, inner.loss_curve_, rtol=rtol)
    assert_allclose(model.target_mean_, mean)
    assert_allclose(model.target_scale_, spread)
    standardised = ((y.reshape(len(y), -1) - mean) / spread).reshape(y.shape)
    if y.ndim == 1 or not (isinstance(loss, Quantile) and loss.several):
        assert model.score(X, y) == pytest.approx(inner.score(X, standardised), rel=1e-4)
    if y.ndim == 1:
        mean, spread = mean[0], spread[0]
    elif isinstance(loss, Quantile) and loss.several:
        mean, spread = mean[:, np.newaxis], spread[:, np.newaxis]
    assert_allclose(model.predict(X), mean + spread * inner.predict(X), rtol=10 * rtol)
    if REGRESSOR_LOSSES["gaussian_nll"] is type(loss):
        point, deviation = model.predict(X, return_std=True)
        assert_allclose(point, model.predict(X))
        assert_allclose(deviation, spread * inner.predict(X, return_std=True)[1], rtol=10 * rtol)


def test_without_it_nothing_changes():
    X, y = make_task("regression")
    model = our_estimator("regression", max_iter=3).fit(X, y)
    assert model.target_transform is model.target_mean_ is model.target_scale_ is None


def test_weights_count():
    X, y = far_task()
    weight = np.random.RandomState(0).uniform(0, 3, len(X))
    weight[:5], outliers = 0, y.copy()
    outliers[:5] = 1e12
    model = model_of().fit(X, outliers, weight)
    _, mean, spread = by_hand(model, X[5:], y[5:], weight[5:])
    assert_allclose(model.target_mean_, mean)
    assert_allclose(model.target_scale_, spread)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1e-300, 1e-5, 1.0, 1e300])
@pytest.mark.parametrize("offset", [0, 1, 1e6])
def test_mean_and_scale_of_any_size(size, offset, weighted):
    y = np.random.RandomState(0).randn(50, 3) + offset
    y[:, 2] = 0.1
    weight = np.arange(50.0) if weighted else None
    mean, spread = standardisation(y * size, weight)
    reference = StandardScaler().fit(y, sample_weight=weight)
    assert_allclose(mean / size, reference.mean_, rtol=1e-12, atol=1e-14)
    assert_allclose(spread[:2] / size, reference.scale_[:2], rtol=1e-9)
    assert spread[2] == 1
    assert mean[2] == 0.1 * size
    if weighted:
        y[0, 2] = 100.0  # which does not count
        assert_array_equal(standardisation(y * size, weight), (mean, spread))


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll"])
def test_constant_targets(loss):
    X, _ = make_task("regression")
    model = model_of(loss=loss, solver="lbfgs", max_iter=200).fit(X, np.full(len(X), 7e5))
    assert_array_equal(model.target_scale_, [1])
    assert_allclose(model.predict(X), 7e5, rtol=1e-6)


@pytest.mark.parametrize("y_dtype", [np.float32, np.float64])
def test_float32(y_dtype):
    X, y = make_task("regression")
    y = (1e6 + y).astype(y_dtype)
    model = model_of().fit(X.astype(np.float32), y)
    assert model.coefs_[0].dtype == model.predict(X.astype(np.float32)).dtype == np.float32
    assert model.predict(X).dtype == np.float64
    assert model.target_mean_.dtype == model.target_scale_.dtype == np.float64
    inner, _, _ = by_hand(model, X.astype(np.float32), y.astype(np.float64))
    assert_allclose(model.coefs_[0], inner.coefs_[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", sorted(REFUSED))
def test_losses_of_positive_targets_refuse(loss):
    X, y = far_task()
    model = our_estimator("regression", loss=loss, target_transform="standardize")
    for call in (model.fit, model.partial_fit):
        with pytest.raises(
            ValueError, match=f"target_transform='standardize' is for losses .* loss='{loss}' predicts by"
        ):
            call(X, y)
    assert not hasattr(model, "coefs_")
    assert not hasattr(model, "target_scale_")


@pytest.mark.parametrize("link", sorted(LINKS))
def test_output_activations(link):
    X, y = far_task()
    model = model_of(output_activation=link)
    if link == "identity":
        assert model.fit(X, y).predict(X).mean() > 1e4
        return
    with pytest.raises(ValueError, match="target_transform='standardize' is for losses whose prediction can be any"):
        model.fit(X, y)


class Cubic(Loss):
    def value(self, y, raw_output):
        return (np.abs(raw_output[:, : y.shape[1]] - y) ** 3).sum(axis=1)

    def derivative(self, y, raw_output):
        difference = raw_output - y
        return 3 * difference * np.abs(difference)


class Bounded(Cubic):
    link = LogisticLink()


class TwoOutputs(Cubic):
    def n_raw_outputs(self, n_targets):
        return 2 * n_targets


def test_losses_of_ones_own():
    X, y = far_task()
    model = model_of(loss=Cubic()).fit(X, y)
    inner, mean, spread = by_hand(model, X, y)
    assert_allclose(model.predict(X), mean + spread * inner.predict(X))
    for loss in (Bounded(), TwoOutputs()):
        with pytest.raises(ValueError, match=r"loss=(Bounded|TwoOutputs)\(\) predicts by '(logistic|identity)', from"):
            model_of(loss=loss).fit(X, y)


def test_parameters_of_losses_are_in_standard_deviations():
    X, y = far_task()
    assert model_of(loss=Huber(1.5)).fit(X, y).loss_ < 10


# Training on ----------------------------------------------------------------------------------------------------------


def test_what_is_trained_on_keeps_the_scale_of_the_first_call():
    X, y = far_task()
    for model, again in (
        (model_of().partial_fit(X[:50], y[:50]), lambda model: model.partial_fit(X, 3 * y)),
        (model_of(warm_start=True).fit(X[:50], y[:50]), lambda model: model.fit(X, 3 * y)),
    ):
        mean, spread = model.target_mean_, model.target_scale_
        assert_allclose(mean, y[:50].mean())
        again(model)
        assert (model.target_mean_ is mean, model.target_scale_ is spread) == (True, True)
        assert model.set_params(warm_start=False).fit(X, 3 * y).target_mean_ == pytest.approx(3 * y.mean())


def test_chunks_make_the_same_steps_as_outside():
    X, y = far_task()
    model, inner = model_of(), our_estimator("regression", max_iter=8)
    for rows in (slice(0, 50), slice(50, 100), slice(100, 150)):
        model.partial_fit(X[rows], y[rows])
        inner.partial_fit(X[rows], (y[rows] - y[:50].mean()) / y[:50].std())
    assert_allclose(model.coefs_[0], inner.coefs_[0], rtol=1e-9)


@pytest.mark.parametrize(("before", "after"), [(None, "standardize"), ("standardize", None)])
def test_it_cannot_change_between_warm_starts(before, after):
    X, y = far_task()
    model = model_of(target_transform=before, warm_start=True, solver="lbfgs").fit(X, y)
    expected, message = model.predict(X), f"fitted with target_transform={before!r} cannot be trained further with "
    model.set_params(target_transform=after)
    assert_array_equal(model.predict(X), expected)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    with pytest.raises(ValueError, match=message):
        model.set_params(solver="adam").partial_fit(X, y)
    assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("scoring", "metric"), [(None, r2_score), ("neg_mean_absolute_error", lambda y, p: -mean_absolute_error(y, p))]
)
def test_validation_scores_are_those_of_the_targets_as_given(scoring, metric, own):
    X, y = far_task()
    model = model_of(early_stopping=True, scoring=scoring, max_iter=30, learning_rate_init=0.05)
    if own:
        model.fit(X[:110], y[:110], X_val=X[110:], y_val=y[110:])
        assert metric(y[110:], model.predict(X[110:])) == pytest.approx(model.best_validation_score_)
    else:
        model.fit(X, y)
        inner, _, spread = by_hand(model, X, y)
        factor = 1 if scoring is None else spread[0]
        assert_allclose(model.validation_scores_, factor * np.array(inner.validation_scores_), rtol=1e-7)
        assert_allclose(model.validation_loss_curve_, inner.validation_loss_curve_, rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("task", FAR)
def test_zeros_are_zeros_to_a_scorer(task, dtype):
    X, y = far_task(task)
    y = np.maximum(y - y.mean(axis=0), 0)

    def scorer(estimator, X, truth):
        assert_array_equal(truth == 0, y[:40] == 0)
        assert_allclose(truth, y[:40], rtol=1e-5 if dtype == np.float32 else 1e-12)
        return estimator.score(X, truth)

    X = X.astype(dtype)
    model = model_of(task, scoring=scorer, max_iter=2).fit(X[40:], y[40:], X_val=X[:40], y_val=y[:40])
    assert len(model.validation_scores_) == 2


def test_training_goes_on_from_a_checkpoint(tmp_path):
    X, y = far_task()
    path = tmp_path / "checkpoint"
    model_of(max_iter=4).set_callbacks(ModelCheckpoint(path)).fit(X, y)
    resumed, expected = model_of().fit(X, y, resume_from=path), model_of().fit(X, y)
    assert_array_equal(resumed.predict(X), expected.predict(X))
    with pytest.raises(ValueError, match="cannot be resumed: it was written with target_mean"):
        model_of().fit(X, y + 1, resume_from=path)
    with pytest.raises(ValueError, match="it was written with target_transform='standardize', which now is N"):
        model_of(target_transform=None).fit(X, y, resume_from=path)


# Derivatives ----------------------------------------------------------------------------------------------------------


def test_loss_gradient_is_that_of_training():
    X, y = far_task("multioutput")
    model = model_of("multioutput").fit(X, y)
    inner, mean, spread = by_hand(model, X, y)
    for ours, expected in zip(
        model.loss_gradient(X, y)[0], inner.loss_gradient(X, (y - mean) / spread)[0], strict=True
    ):
        assert_allclose(ours, expected, rtol=1e-6, atol=1e-9)
    check_gradients(model_of("multioutput", activation="tanh"), X[:20], y[:20], verbose=False)


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", Quantile([0.2, 0.8])], ids=repr)
@pytest.mark.parametrize("task", FAR)
def test_input_gradients_are_those_of_the_prediction(task, loss):
    X, y = far_task(task)
    model = model_of(task, loss=loss, activation="tanh").fit(X, y)

    def columns(X):
        parts = model.predict(X, return_std=True) if loss == "gaussian_nll" else [model.predict(X)]
        return np.column_stack([part.reshape(len(X), -1) for part in parts])

    gradients, step = model.input_gradients(X).reshape(len(X), -1, 8), np.zeros(8)
    step[3] = 1e-4
    slopes = (columns(X + step) - columns(X - step)) / 2e-4
    assert_allclose(gradients[:, :, 3], slopes, rtol=1e-4, atol=1e-5 * np.abs(slopes).max(axis=0).min())


# In and out -----------------------------------------------------------------------------------------------------------


def test_files_of_weights(tmp_path):
    X, y = far_task("multioutput")
    path, model = tmp_path / "weights.npz", model_of("multioutput").fit(X, y)
    model.save_weights(path)
    with np.load(path, allow_pickle=False) as file:
        assert file["version"] == 2  # one that knows no target_mean must not read it
    loaded = clone(model).load_weights(path)
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert_array_equal(loaded.partial_fit(X, y).target_mean_, model.target_mean_)
    with pytest.raises(
        ValueError, match="are of a model fitted with target_transform='standardize' and cannot be those"
    ):
        our_estimator("multioutput").load_weights(path)
    with np.load(path, allow_pickle=False) as file:
        damaged = {**file, "target_mean": np.zeros(3)}
    np.savez(path, **damaged)
    with pytest.raises(ValueError, match=r"Of 2 targets, \(3,\) means or scales are stored"):
        clone(model).load_weights(path)
    our_estimator("multioutput", max_iter=2).fit(X, y).save_weights(path)
    with pytest.raises(
        ValueError, match="are of a model fitted with target_transform=None and cannot be those of one w"
    ):
        clone(model).load_weights(path)


def test_pickles_and_older_ones():
    X, y = far_task()
    model = model_of().fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    old = our_estimator("regression", max_iter=2, warm_start=True).fit(X, y)
    state = old.__getstate__()
    for name in ("target_transform", "target_mean_", "target_scale_"):
        del state[name]
    twin = MLPFromScratchRegressor.__new__(MLPFromScratchRegressor)
    twin.__setstate__({**state, "_sknn_scratch_state_version": 1})
    assert_array_equal(twin.predict(X), old.predict(X))
    assert_array_equal(twin.input_gradients(X), old.input_gradients(X))
    assert_array_equal(twin.partial_fit(X, y).coefs_[0], old.partial_fit(X, y).coefs_[0])
    assert fitted_model(twin).targets == {"n_targets": 1}


def test_skops(tmp_path):
    io = pytest.importorskip("skops.io", reason="needs skops")
    X, y = far_task()
    model, path = model_of().fit(X, y), tmp_path / "model.skops"
    io.dump(model, path)
    types = io.get_untrusted_types(file=path)
    assert all(name.startswith("sknn_scratch.") for name in types)
    assert_array_equal(io.load(path, trusted=types).predict(X), model.predict(X))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", Quantile([0.2, 0.8])], ids=repr)
@pytest.mark.parametrize("task", FAR)
def test_onnx(task, loss, dtype, rtol):
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    X, y = far_task(task)
    X = X.astype(dtype)
    model = model_of(task, loss=loss).fit(X, y)
    gives_std = loss == "gaussian_nll"
    graph = to_onnx(model, X[:1], options={id(model): {"return_std": gives_std}})
    found = runtime.InferenceSession(graph.SerializeToString()).run(None, {"X": X})
    expected = model.predict(X, return_std=True) if gives_std else [model.predict(X)]
    for ours, reference in zip(found, expected, strict=True):
        assert_allclose(ours.reshape(reference.shape), reference, rtol=rtol)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", FAR)
def test_to_sklearn_the_last_layer_takes_it_over(task, early_stopping):
    X, y = far_task(task)
    model = model_of(task, warm_start=True, early_stopping=early_stopping).fit(X, y)
    before = [layer.copy() for layer in model.coefs_]
    theirs = to_sklearn(model)
    assert type(theirs) is MLPRegressor
    assert_allclose(theirs.predict(X), model.predict(X), rtol=1e-10)
    assert_array_equal(model.coefs_[-1], before[-1])
    back = from_sklearn(theirs)
    assert back.target_transform is back.target_mean_ is None
    assert_allclose(back.predict(X), model.predict(X), rtol=1e-10)
    if not early_stopping:
        theirs.partial_fit(X, y)
        # Losses of the targets as given are no worse than those of the standardised ones: they cannot be compared.
        assert theirs.set_params(n_iter_no_change=2, learning_rate_init=1e-4).fit(X, y).n_iter_ == 8
    with pytest.raises(ValueError, match=r"the loss is Huber\(\), not squared_error"):
        to_sklearn(model_of(task, loss="huber").fit(X, y))
