"""Dropout, noise on the input, and the mean of the last epochs."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags
from tasks import TASKS, make_task, our_estimator

from sknn_scratch import EarlyStopping, check_gradients
from sknn_scratch.engines.draws import bits, keys, normal
from sknn_scratch.engines.numpy.run import NumpyRun, _Part

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Statistics -----------------------------------------------------------------------------------------------------------


INDEX = np.arange(100_000, dtype=np.uint32).reshape(400, 250)


def test_draws_are_uniform_and_independent():
    """Over the bits, along rows and columns, and between steps, layers and seeds."""
    draws, n = bits(keys(1, 1, 1), INDEX), INDEX.size
    for bit in range(32):
        assert abs(((draws >> np.uint32(bit)) & 1).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(n)
    counts = np.bincount(draws.ravel() >> np.uint32(24), minlength=256)
    assert ((counts - n / 256) ** 2).sum() / (n / 256) < 255 + 5 * np.sqrt(2 * 255)
    others = [(draws[:, 1:], draws[:, :-1]), (draws[1:], draws[:-1])]
    others += [(draws, bits(keys(*place), INDEX)) for place in ((2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 0))]
    for one, other in others:
        correlation = np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1]
        assert abs(correlation) < 4.5 / np.sqrt(one.size)


def test_draws_are_functions_of_where_and_when():
    assert_array_equal(bits(keys(7, 3, 1), INDEX)[100:], bits(keys(7, 3, 1), INDEX[100:]))
    assert bits(keys(0, 0, 0), np.array([0, 1, 2], dtype=np.uint32)).dtype == np.uint32
    assert bits(keys(2**63 - 1, 10**9, 50), INDEX).shape == INDEX.shape


def test_noise_is_gaussian():
    noise = normal(keys(3, 1, -1), INDEX)
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(1, rel=0.01)
    assert np.mean(np.abs(noise) < 1) == pytest.approx(0.6827, abs=0.01)
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 4 / np.sqrt(noise.size)


# In training ----------------------------------------------------------------------------------------------------------


# Each pair of values once.
@pytest.mark.parametrize("n_activation", range(3))
@pytest.mark.parametrize("n_task", range(len(TASKS)))
def test_gradients_with_everything_random(n_task, n_activation):
    task, activation = TASKS[n_task], ("relu", "tanh", "gelu")[n_activation]
    dropout = (0.5, [0.2, 0.0, 0.3], [0.3, 0.0, 0.0])[(n_task + n_activation) % 3]
    X, y = make_task(task)
    estimator = our_estimator(task, activation=activation, alpha=0.5, dropout=dropout, input_noise=0.2)
    assert check_gradients(estimator, X, y, np.arange(1.0, 151), verbose=False) < 1e-6


def test_gradients_with_dropout_of_sparse_features():
    X, y = make_task("multiclass")
    estimator = our_estimator("multiclass", activation="tanh", dropout=[0.5, 0.0, 0.2])
    assert check_gradients(estimator, sparse.csr_matrix(X), y, verbose=False) < 1e-6


@pytest.mark.parametrize(("weights", "shuffle"), [(True, False), (False, True)])
@pytest.mark.parametrize("task", TASKS)
def test_training_with_dropout_learns_repeatably(task, weights, shuffle):
    X, y = make_task(task)
    model = our_estimator(
        task,
        hidden_layer_sizes=40,
        dropout=0.3,
        input_noise=0.1,
        learning_rate_init=0.02,
        max_iter=100,
        shuffle=shuffle,
    )
    weight = np.arange(1.0, 151) if weights else None
    before = X.copy()
    model.fit(X, y, weight)
    assert_array_equal(X, before)
    assert model.score(X, y) > (0.4 if task == "poisson" else 0.7)
    assert_array_equal(model.predict(X), model.predict(X))
    assert_array_equal(clone(model).fit(X, y, weight).coefs_[0], model.coefs_[0])
    plain = clone(model).set_params(dropout=0.0, input_noise=0.0).fit(X, y, weight)
    assert model.loss_curve_[0] != plain.loss_curve_[0]


def test_a_rate_of_zero_changes_nothing():
    X, y = make_task("multiclass")
    plain = our_estimator("multiclass", max_iter=5).fit(X, y)
    for dropout in (0, [0, 0, 0]):
        assert_array_equal(
            our_estimator("multiclass", max_iter=5, dropout=dropout).fit(X, y).coefs_[0], plain.coefs_[0]
        )


@pytest.mark.parametrize(("dropout", "expected"), [([0.1, 0.6, 0.3], (0.1, 0.6, 0.3)), (0.4, (0, 0.4, 0.4))], ids=str)
def test_every_layer_has_its_own_rate(monkeypatch, dropout, expected):
    dropped = {0: [], 1: [], 2: []}
    mask_of = _Part._mask_of

    def spy(part, index, step, layer, dtype):
        mask = mask_of(part, index, step, layer, dtype)
        dropped[layer].append((mask == 0).mean())
        return mask

    monkeypatch.setattr(_Part, "_mask_of", spy)
    X, y = make_task("binary")
    our_estimator("binary", hidden_layer_sizes=(20, 30), dropout=dropout, max_iter=10, engine="numpy").fit(X, y)
    for layer, rate in enumerate(expected):
        assert (np.mean(dropped[layer]) if dropped[layer] else 0) == pytest.approx(rate, abs=0.02)


def test_a_feature_of_sparse_samples_is_dropped_where_it_is_of_dense_ones():
    X, y = make_task("multiclass")
    X = X * (X > 0)
    models = [
        our_estimator("multiclass", dropout=[0.4, 0.2, 0.0], max_iter=5, engine="numpy").fit(samples, y)
        for samples in (X, sparse.csr_matrix(X), sparse.csr_array(X))
    ]
    for model in models[1:]:
        assert_allclose(model.coefs_[0], models[0].coefs_[0], rtol=1e-9, atol=1e-12)


def test_dropout_of_one_layer_only():
    """A single rate is that of the hidden layers; a list starts with the input."""
    X, y = make_task("multiclass")
    one, by_hand, other = (
        our_estimator("multiclass", max_iter=5, dropout=dropout).fit(X, y).coefs_[0]
        for dropout in (0.3, [0.0, 0.3, 0.3], [0.3, 0.3, 0.3])
    )
    assert_array_equal(one, by_hand)
    assert (one != other).any()


def test_calls_of_partial_fit_draw_other_masks():
    """Also with an integer seed, which restarts scikit-learn's own stream in every call."""
    X, y = make_task("binary")
    model = our_estimator("binary", dropout=0.5, learning_rate_init=1e-12, batch_size=150, shuffle=False)
    losses = [model.partial_fit(X, y, classes=[10, 20]).loss_ for _ in range(4)]
    assert np.diff(np.sort(losses)).min() > 1e-6
    twin = our_estimator("binary", dropout=0.5, learning_rate_init=1e-12, batch_size=150, shuffle=False)
    assert [twin.partial_fit(X, y, classes=[10, 20]).loss_ for _ in range(4)] == losses


def test_warm_starts_draw_other_masks():
    X, y = make_task("binary")
    model = our_estimator("binary", dropout=0.5, learning_rate_init=1e-12, batch_size=150, shuffle=False)
    model.set_params(warm_start=True, max_iter=1)
    losses = [model.fit(X, y).loss_ for _ in range(4)]
    assert np.diff(np.sort(losses)).min() > 1e-6


@pytest.mark.parametrize("noise", [{"dropout": [0.4]}, {"input_noise": 0.8}], ids=str)
def test_noise_on_a_linear_model_is_a_ridge(noise):
    """In the mean over all draws, dropout of features penalises ``w_k**2 sum(x_k**2)``, and noise ``w_k**2``."""
    X, y = make_task("regression")
    parameters = {"hidden_layer_sizes": (), "alpha": 0, "fit_intercept": False, "solver": "sgd", "average": 400}
    model = our_estimator("regression", max_iter=800, tol=0, n_iter_no_change=np.inf, **parameters, **noise)
    model.set_params(learning_rate_init=0.01).fit(X, y)
    gram = X.T @ X
    penalty = np.diag(np.diag(gram)) * 0.4 / 0.6 if "dropout" in noise else np.eye(8) * 0.8**2 * len(X)
    expected, plain = (np.linalg.solve(gram + p, X.T @ y) for p in (penalty, 0 * penalty))
    assert_allclose(model.coefs_[0][:, 0], expected, atol=0.01)
    assert np.abs(plain - expected).max() > 0.1


def test_grid_over_dropout():
    X, y = make_task("binary")
    grid = {"dropout": [0.0, 0.5, [0.1, 0.0, 0.4]], "input_noise": [0.0, 0.2], "average": [1, 3]}
    search = GridSearchCV(our_estimator("binary", max_iter=5), grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 12


@pytest.mark.parametrize("dropout", [[0.5], [0.1, 0.2], []], ids=str)
def test_wrong_number_of_rates(dropout):
    X, y = make_task("binary")
    with pytest.raises(
        ValueError, match=rf"dropout has {len(dropout)} entries, but hidden_layer_sizes=\(6, 5\) needs 3"
    ):
        our_estimator("binary", dropout=dropout).fit(X, y)


@pytest.mark.parametrize(
    "parameters",
    [{"dropout": 0.5}, {"dropout": [0.1, 0, 0]}, {"input_noise": 0.1}, {"average": 2}, {"max_grad_norm": 1.0}],
)
def test_not_with_lbfgs(parameters):
    X, y = make_task("binary")
    with pytest.raises(ValueError, match=f"{next(iter(parameters))}=.* cannot be used with solver='lbfgs'"):
        our_estimator("binary", solver="lbfgs", **parameters).fit(X, y)
    our_estimator("binary", solver="lbfgs", dropout=[0, 0, 0], input_noise=0, average=1).fit(X, y)


def test_no_hidden_layers_to_drop_from():
    X, y = make_task("binary")
    with pytest.warns(UserWarning, match=r"dropout=0.5 has no effect without hidden layers; \[0.5\] drops features"):
        our_estimator("binary", hidden_layer_sizes=(), dropout=0.5, max_iter=2).fit(X, y)
    our_estimator("binary", dropout=np.array([0.1, 0.2, 0.3]), max_iter=2).fit(X, y)


def test_tags():
    assert get_tags(our_estimator("binary")).input_tags.sparse
    assert not get_tags(our_estimator("binary", input_noise=0.1)).input_tags.sparse


def test_no_noise_on_sparse_samples():
    X, y = make_task("binary")
    with pytest.raises(ValueError, match=r"input_noise=0.1 is not for sparse X, which it would make dense"):
        our_estimator("binary", input_noise=0.1).fit(sparse.csr_matrix(X), y)


# Average --------------------------------------------------------------------------------------------------------------


def parameters_after_each_epoch(model, X, y, n_epochs):
    model = clone(model).set_params(average=1, early_stopping=False, max_iter=1, random_state=np.random.RandomState(7))
    coefs = []
    for _ in range(n_epochs):
        model.partial_fit(X, y, classes=np.unique(y))
        coefs.append(copy.deepcopy(model.coefs_))
    return coefs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("average", [1, 3, 100])
def test_average_is_the_mean_of_the_last_epochs(average, dtype):
    X, y = make_task("multiclass")
    X = X.astype(dtype)
    model = our_estimator("multiclass", max_iter=8, average=average, learning_rate_init=0.01)
    expected = parameters_after_each_epoch(model, X, y, 8)[-average:]
    model.fit(X, y)
    for layer, weights in enumerate(model.coefs_):
        assert weights.dtype == dtype
        mean = np.mean([coefs[layer] for coefs in expected], axis=0)
        assert_allclose(weights, mean, rtol=1e-12 if dtype == np.float64 else 1e-5, atol=1e-7)
    # Only what is kept is averaged, not the way there.
    assert_array_equal(model.loss_curve_, clone(model).set_params(average=1).fit(X, y).loss_curve_)


def test_means_are_validated():
    X, y = make_task("regression")
    model = our_estimator("regression", max_iter=30, average=5, early_stopping=True, n_iter_no_change=50)
    model.set_params(learning_rate_init=0.02).fit(X, y, X_val=X[:40], y_val=y[:40])
    assert model.score(X[:40], y[:40]) == pytest.approx(model.best_validation_score_, abs=1e-12)
    assert model.best_validation_score_ == max(model.validation_scores_)
    plain = clone(model).set_params(average=1).fit(X, y, X_val=X[:40], y_val=y[:40])
    assert_array_equal(model.loss_curve_, plain.loss_curve_)
    assert model.validation_scores_[0] == plain.validation_scores_[0]
    assert model.validation_scores_[1] != plain.validation_scores_[1]


def test_callbacks_see_the_means():
    """Otherwise the parameters of the best epoch are others than those with its score."""
    X, y = make_task("regression")
    seen, stop = [], EarlyStopping("validation_score", patience=3, restore_best=True)
    model = our_estimator("regression", max_iter=200, average=4, learning_rate_init=0.05)
    model.set_callbacks(lambda model: seen.append(model.score(X[:40], y[:40])), stop)
    model.fit(X[40:], y[40:], X_val=X[:40], y_val=y[:40])
    assert_allclose(seen, model.validation_scores_, rtol=1e-12)
    assert 4 < stop.best_epoch_ < model.n_iter_ < 200
    assert model.score(X[:40], y[:40]) == pytest.approx(stop.best_, abs=1e-12)


def test_an_interrupt_in_the_first_epoch(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    X, y = make_task("regression")
    monkeypatch.setattr(NumpyRun, "epoch", interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        model = our_estimator("regression", average=3, engine="numpy").fit(X, y)
    assert np.isfinite(model.predict(X)).all()


def test_no_average_in_partial_fit():
    X, y = make_task("regression")
    with pytest.raises(ValueError, match="partial_fit trains for one epoch and cannot average the last 3"):
        our_estimator("regression", average=3).partial_fit(X, y)
