"""What is said of features and targets that are far from unit scale, and of a validation set that was not scaled."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor
from sknn_scratch.estimators.scaling import describe_other_scale, describe_scale

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SCALERS = [StandardScaler(), MinMaxScaler(), RobustScaler(), MaxAbsScaler()]
TABLES = {
    "iris": load_iris().data,
    "wine": load_wine().data,
    "breast cancer": load_breast_cancer().data,
    "diabetes": load_diabetes(scaled=False).data,
    "digits": load_digits().data,
}
rng = np.random.RandomState(0)
NORMAL = rng.randn(400, 5)
HONEST = {
    **TABLES,
    "normal": NORMAL,
    "one column": NORMAL[:, :1],
    "heavy tails": rng.standard_cauchy((400, 5)),
    "one column of heavy tails": np.exp(3 * rng.randn(400, 1)),
    "random walks": np.cumsum(NORMAL, axis=0),
    "trends": np.arange(400)[:, np.newaxis] + NORMAL,
    "one-hot": np.eye(6)[rng.randint(6, size=400)],
    "mostly zero": (rng.rand(400, 5) < 0.3) * np.exp(NORMAL),
    "constant": np.tile([0.0, 1e9], (400, 1)),
}


# A validation set on another scale ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_val", [2, 10, 40])
@pytest.mark.parametrize("name", HONEST)
def test_no_false_alarm(name, n_val):
    """Rows that were drawn, the last rows, and the rows with the largest values of a column of few outliers."""
    X = HONEST[name]
    splits = [np.random.RandomState(seed).permutation(len(X)) for seed in range(5)] + [np.arange(len(X))]
    if name in TABLES or name == "normal":
        splits += [np.argsort(column) for column in X.T[:5]]
    for order in splits:
        train, validation = X[order[n_val:]], X[order[:n_val]]
        assert not describe_other_scale(train, validation)
        assert not describe_other_scale(sparse.csr_array(train), sparse.csr_array(validation))
        assert not describe_other_scale(X[order[:-n_val]], X[order[-n_val:]])


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
@pytest.mark.parametrize("name", [*TABLES, "trends"])
def test_what_was_not_scaled_is_noticed(name, scaler):
    X = HONEST[name]
    order = np.random.RandomState(0).permutation(len(X))
    train, validation = X[order[40:]], X[order[:40]]
    scaled = scaler.fit_transform(train)
    assert describe_other_scale(scaled, validation)
    assert not describe_other_scale(scaled, scaler.transform(validation))


def test_one_column_among_many_is_enough_where_it_is_very_far():
    X = np.hstack([HONEST["one-hot"], 5e4 + 1e4 * NORMAL[:, :1]])
    scaled = X.copy()
    scaled[:, -1:] = StandardScaler().fit_transform(X[:, -1:])
    for kind in (np.asarray, sparse.csr_array):
        described = describe_other_scale(kind(scaled[:300]), kind(X[300:]))
        assert described.startswith("X_val seems to be on another scale than X: column 6 is around 5")
        assert not describe_other_scale(kind(scaled[:300]), kind(scaled[300:]))
    assert "column 6, 'income', is" in describe_other_scale(scaled[:300], X[300:], [*"abcdef", "income"])


def test_sparse_and_dense_are_compared():
    counts = rng.poisson(0.5, size=(200, 30)) * 50.0
    for train in (sparse.csr_array(MaxAbsScaler().fit_transform(counts)), MaxAbsScaler().fit_transform(counts)):
        assert describe_other_scale(train[:150], sparse.csr_array(counts[150:]))
        assert not describe_other_scale(train[:150], sparse.csr_array(train[150:]))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, pd.DataFrame])
@pytest.mark.parametrize("cls", [MLPFromScratchClassifier, MLPFromScratchRegressor])
def test_fit_warns(cls, kind):
    X, y = load_wine(return_X_y=True)
    scaler = MaxAbsScaler().fit(X)
    model = cls(max_iter=2, random_state=0)
    message = r"X_val seems to be on another scale than X: column .* transform_input=\['X_val'\]"
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(kind(scaler.transform(X)), y, X_val=kind(X[:20]), y_val=y[:20])
    assert caught[0].filename == __file__
    model.fit(kind(scaler.transform(X)), y, X_val=kind(scaler.transform(X[:20])), y_val=y[:20])


def test_a_pipeline_that_does_not_scale_the_validation_set():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), MLPFromScratchClassifier(max_iter=2))
    with pytest.warns(UserWarning, match="X_val seems to be on another scale than X"):
        pipeline.fit(X, y, mlpfromscratchclassifier__X_val=X[::5], mlpfromscratchclassifier__y_val=y[::5])
    with config_context(enable_metadata_routing=True):
        model = MLPFromScratchClassifier(max_iter=2).set_fit_request(X_val=True, y_val=True)
        make_pipeline(StandardScaler(), model, transform_input=["X_val"]).fit(X, y, X_val=X[::5], y_val=y[::5])


# Far from unit scale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_far_from_unit_scale_are_described(kind, dtype):
    X = NORMAL.astype(dtype)
    assert describe_scale(kind(X)) == ""
    far = X.copy()
    far[:, 3] = 3.2e5 * (X[:, 3] - X[:, 3].mean()) / X[:, 3].std()
    described = describe_scale(kind(far), feature_names=["a", "b", "c", "income", "e"])
    assert described.startswith("The features are far from unit scale: column 3, 'income', has mean ")
    assert "standard deviation 3.2e+05. Scale X, for example with StandardScaler in a pipeline." in described
    assert "column 3 has mean 1.7e+09 and" in describe_scale(kind(np.where(np.arange(5) == 3, 1.7e9, X)))
    assert "and standard deviation" in describe_scale(kind(1e-5 * X))
    many_small = kind(np.tile(0.02 * X, 40))
    assert describe_scale(many_small) == ""
    assert describe_scale(kind(np.zeros_like(X))) == ""


def test_targets_far_from_unit_scale_are_described():
    y = 5e4 + 3e3 * StandardScaler().fit_transform(NORMAL[:, :1])
    expected = (
        "The targets are far from unit scale: y has mean 5e+04 and standard deviation 3e+03. Use "
        "target_transform='standardize', or scale y."
    )
    assert describe_scale(NORMAL, y) == expected
    assert "column 1 of y has mean 5e+04" in describe_scale(NORMAL, np.hstack([NORMAL[:, :1], y]))
    assert describe_scale(1e6 * NORMAL, y).endswith(f"in a pipeline. {expected}")
    assert describe_scale(NORMAL, NORMAL[:, :1]) == ""


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_extreme_sizes_do_not_warn(size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert describe_scale(size * NORMAL)
        assert describe_other_scale(NORMAL, size * NORMAL)
        assert describe_other_scale(size * NORMAL, NORMAL)
