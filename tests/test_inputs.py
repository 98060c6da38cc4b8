"""Kinds of arrays that can be fitted: containers, dtypes, memory layouts."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fitted(task, X, y, **parameters):
    return our_estimator(task, **{"max_iter": 4, "batch_size": 40, **parameters}).fit(X, y)


def assert_same_fit(first, second, rtol=1e-10):
    for a, b in zip(first.coefs_ + first.intercepts_, second.coefs_ + second.intercepts_, strict=True):
        assert_allclose(a, b, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "parameters", [{"solver": "adam"}, {"solver": "adam", "early_stopping": True}, {"solver": "lbfgs"}], ids=str
)
@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "readonly", "memmap", "list"])
def test_memory_layout(layout, parameters, shuffle, tmp_path):
    X, y = make_task("multiclass")
    if parameters["solver"] == "lbfgs":
        parameters = parameters | {"batch_size": "auto"}
        shuffle = True
    expected = fitted("multiclass", X, y, shuffle=shuffle, **parameters)
    if layout == "memmap":
        path = tmp_path / "X.npy"
        np.save(path, X)
    given = {
        "fortran": lambda: np.asfortranarray(X),
        "strided": lambda: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2],
        "reversed": lambda: X[::-1, ::-1].copy()[::-1, ::-1],
        "readonly": lambda: X,
        "memmap": lambda: np.load(path, mmap_mode="r"),
        "list": lambda: X.tolist(),
    }[layout]()
    model = fitted("multiclass", given, y.tolist() if layout == "list" else y, shuffle=shuffle, **parameters)
    assert_same_fit(model, expected, rtol=1e-6 if parameters["solver"] == "lbfgs" else 1e-10)
    assert_allclose(model.predict_proba(given), expected.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("task", TASKS)
def test_data_frames(task, frame):
    X, y = make_task(task)
    names = [f"column {i}" for i in range(X.shape[1])]
    X_frame = frame(dict(zip(names, X.T, strict=True)))
    y_given = y
    if y.ndim == 1:
        y_given = (pd.Series if frame is pd.DataFrame else pl.Series)(y.tolist())
    else:
        y_given = frame({str(i): column for i, column in enumerate(y.T)})
    model = fitted(task, X_frame, y_given)
    assert_same_fit(model, fitted(task, X, y))
    if hasattr(StandardScaler().fit(X_frame), "feature_names_in_"):  # not with scikit-learn 1.7 and polars 2
        assert_array_equal(model.feature_names_in_, names)
    assert_allclose(model.predict(X_frame), fitted(task, X, y).predict(X))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.float16])
def test_other_dtypes_become_float64(dtype):
    X, y = make_task("regression")
    X = (3 * X).astype(dtype)
    model = fitted("regression", X, y)
    assert_same_fit(model, fitted("regression", X.astype(np.float64), y))
    assert model.coefs_[0].dtype == model.predict(X).dtype == np.float64


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("task", TASKS)
def test_float32_is_kept(task, solver):
    X, y = make_task(task)
    batch_size = "auto" if solver == "lbfgs" else 40
    model = fitted(task, X.astype(np.float32), y, solver=solver, batch_size=batch_size)
    assert {array.dtype for array in model.coefs_ + model.intercepts_} == {np.dtype(np.float32)}
    assert model._raw_output(X.astype(np.float32)).dtype == np.float32
    assert model._raw_output(X).dtype == np.float64
    if task in CLASSIFICATION:
        assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
        assert model.predict_log_proba(X.astype(np.float32)).dtype == np.float32
    else:
        assert model.predict(X.astype(np.float32)).dtype == np.float32


def test_a_model_keeps_its_dtype_when_trained_further():
    X, y = make_task("regression")
    for first, second in ((np.float32, np.float64), (np.float64, np.float32)):
        model = our_estimator("regression").partial_fit(X.astype(first), y)
        model.partial_fit(X.astype(second), y)
        assert model.coefs_[0].dtype == first


@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_sparse_formats(dtype, kind, layout):
    X, y = make_task("binary")
    X = np.where(np.abs(X) > 1, np.round(2 * X), 0).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparse.SparseEfficiencyWarning)
        X_sparse = getattr(sparse, f"{layout}_{kind}")(X)
    model = fitted("binary", X_sparse, y)
    assert_same_fit(model, fitted("binary", X, y), rtol=1e-4 if dtype == np.float32 else 1e-10)
    assert_allclose(model.predict_proba(X_sparse), model.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_sparse_samples_are_never_made_dense(monkeypatch, shuffle, early_stopping):
    X, y = make_task("binary")
    X_sparse = sparse.csr_matrix(np.where(np.abs(X) > 1, X, 0))

    def refuse(*args, **kwargs):
        raise AssertionError("a sparse matrix was made dense")

    for name in ("toarray", "todense"):
        for cls in (sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.csc_array):
            monkeypatch.setattr(cls, name, refuse)
    for container in (sparse.csr_matrix, sparse.csc_matrix):
        fitted("binary", container(X_sparse), y, shuffle=shuffle, early_stopping=early_stopping).predict(
            container(X_sparse)
        )
    fitted("binary", X_sparse, y, solver="lbfgs", batch_size="auto")


def test_samples_and_targets_are_not_changed():
    for task in TASKS:
        X, y = (array.copy() for array in make_task(task))
        weight = np.linspace(0.5, 2, len(X))
        for parameters in ({"shuffle": False}, {}, {"solver": "lbfgs", "batch_size": "auto"}):
            model = our_estimator(task, **{"max_iter": 3, "batch_size": 40, **parameters})
            model.fit(X, y, sample_weight=weight)
            model.predict(X)
        assert_array_equal(X, make_task(task)[0])
        assert_array_equal(y, make_task(task)[1])
        assert_array_equal(weight, np.linspace(0.5, 2, len(X)))


def test_a_number_as_weight_is_the_same_for_all():
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=3)
    one = clone(model).fit(X, y, sample_weight=2)
    assert_same_fit(one, clone(model).fit(X, y, sample_weight=np.full(len(X), 2.0)))


@pytest.mark.parametrize("task", CLASSIFICATION)
def test_predictions_in_chunks(monkeypatch, task):
    X, y = make_task(task)
    model = fitted(task, X, y)
    expected = model.predict_proba(X)
    monkeypatch.setattr("sknn_scratch.network.CHUNK_SIZE", 100)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-12)
    assert_allclose(model.predict_proba(X[:1]), expected[:1], rtol=1e-12)


def test_predict_log_proba_is_finite_and_precise():
    X, y = make_task("multiclass")
    for task in CLASSIFICATION:
        X, y = make_task(task)
        model = fitted(task, X, y, max_iter=30)
        assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)), rtol=1e-10)
        far = 1e8 * X
        assert np.isfinite(model.predict_log_proba(far)).all()
        assert (model.predict_proba(far) > 0).all()
        assert_allclose(model.predict_log_proba(far), np.log(model.predict_proba(far)), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("of_indptr", [np.int32, np.int64])
@pytest.mark.parametrize("of_indices", [np.int32, np.int64])
@pytest.mark.parametrize(
    "parameters", [{}, {"early_stopping": True}, {"solver": "lbfgs", "batch_size": "auto"}], ids=str
)
def test_indices_of_any_type(parameters, of_indices, of_indptr):
    """Some versions of SciPy cannot take rows where the two arrays of indices have different types."""
    X, y = make_task("binary")
    expected = fitted("binary", sparse.csr_array(X), y, **parameters)
    samples = sparse.csr_array(X)
    samples.indices, samples.indptr = samples.indices.astype(of_indices), samples.indptr.astype(of_indptr)
    model = fitted("binary", samples, y, **parameters)
    assert_same_fit(model, expected)
    assert_array_equal(model.predict(samples), expected.predict(X))
    assert (samples.indices.dtype, samples.indptr.dtype) == (of_indices, of_indptr)
