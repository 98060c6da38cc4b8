"""Kinds of arrays that can be fitted: containers, dtypes, memory layouts."""

import warnings
from importlib.util import find_spec

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import perceptron
from sknn_scratch.engines.numpy import run

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


ENGINES = ["numpy", "numba"] if find_spec("numba") else ["numpy"]


def fitted(task, X, y, **parameters):
    return our_estimator(task, **{"max_iter": 4, "batch_size": 40, **parameters}).fit(X, y)


def assert_same_fit(first, second, rtol=1e-10):
    for a, b in zip(first.coefs_ + first.intercepts_, second.coefs_ + second.intercepts_, strict=True):
        assert_allclose(a, b, rtol=rtol, atol=1e-12)


# Memory order ---------------------------------------------------------------------------------------------------------


def unaligned(array):
    """Return a copy whose numbers begin one byte after a multiple of their size."""
    memory = np.zeros(array.nbytes + 1, dtype=np.uint8)
    copy = memory[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert not copy.flags.aligned
    return copy


def read_only(array):
    copy = array.copy()
    copy.setflags(write=False)
    return copy


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "strided": lambda array: (
        np.repeat(np.repeat(array, 2, axis=0), 2, axis=-1)[::2, ..., ::2]
        if array.ndim == 2
        else np.repeat(array, 2)[::2]
    ),
    "part of a wider one": lambda array: np.hstack([array, array])[:, : array.shape[1]] if array.ndim == 2 else array,
    "reversed": lambda array: array[::-1].copy()[::-1],
    "unaligned": unaligned,
    "read-only": read_only,
    "list": lambda array: array.tolist(),
    "pandas": lambda array: pd.DataFrame(array).add_prefix("x") if array.ndim == 2 else pd.Series(array),
    "polars": lambda array: pl.DataFrame(array) if array.ndim == 2 else pl.Series(array),
}
WAYS = {
    "adam": {},
    "sgd, rows in order": {"solver": "sgd", "shuffle": False},
    "early stopping": {"early_stopping": True},
    "lbfgs": {"solver": "lbfgs", "batch_size": "auto"},
    "single steps": {"dropout": 0.2, "input_noise": 0.1},
    "wide": {"hidden_layer_sizes": (70, 90)},
}


def learnt(model, task, X, y, weight):
    """Return all that a model learns from samples and says about them, if possible with a validation set and chunks."""
    model, steps = clone(model), model.solver != "lbfgs" and not model.early_stopping
    model.fit(X, y, weight, **({"X_val": X, "y_val": y, "sample_weight_val": weight} if steps else {}))
    results = [*model.coefs_, *model.intercepts_, model.validation_scores_, model.loss_curve_]
    if steps:
        model.partial_fit(X, y, weight).partial_fit(X, y)
    results += [*model.coefs_, *model.intercepts_, model.hidden_activations(X), model.input_gradients(X)]
    results += [model.predict(X), *(array for layers in model.loss_gradient(X, y, weight) for array in layers)]
    if task == "multiclass":
        results += [model.predict_proba(X), model.decision_function(X)]
    return results


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", ["multiclass", "multioutput"])
def test_memory_order_changes_nothing(monkeypatch, task, way):
    """To the last bit, whichever kernels BLAS takes; engines in turns, so that each pair of values is tried."""
    engine = ENGINES[([*WAYS].index(way) + (task == "multiclass")) % len(ENGINES)]
    monkeypatch.setattr("sknn_scratch.perceptron.FEW_ROWS", 50)
    monkeypatch.setattr("sknn_scratch.perceptron.CHUNK_SIZE", 100)
    orders = note_orders(monkeypatch)
    X, y = make_task(task)
    weight = np.random.RandomState(0).rand(len(X)) + 0.1
    model = our_estimator(task, **{"max_iter": 3, "batch_size": 40, "engine": engine, **WAYS[way]})
    expected = learnt(model, task, X, y, weight)
    for layout, change in LAYOUTS.items():
        for actual, desired in zip(learnt(model, task, *map(change, (X, y, weight))), expected, strict=True):
            assert_array_equal(actual, desired, layout)
    assert orders == {True}


def note_orders(monkeypatch):
    """Note whether the samples that are passed forward are in C order, which these kernels of BLAS may not tell."""
    orders = set()

    for module, name in ((perceptron, "_multiply"), (run, "affine")):
        product = getattr(module, name)

        def note(X, *others, product=product, **out):
            if X.shape[1] == 8:  # not a hidden layer, which may be in any order
                orders.add(X.flags.c_contiguous and X.flags.aligned)
            product(X, *others, **out)

        monkeypatch.setattr(module, name, note)
    return orders


def test_memory_mapped_samples(tmp_path):
    X, y = make_task("multiclass")
    np.save(tmp_path / "X.npy", np.asfortranarray(X))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model, expected = fitted("multiclass", mapped, y), fitted("multiclass", X, y)
    assert_array_equal(model.coefs_[0], expected.coefs_[0])
    assert_array_equal(model.predict_proba(mapped), expected.predict_proba(X))


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
    monkeypatch.setattr("sknn_scratch.perceptron.FEW_ROWS", 16)
    monkeypatch.setattr("sknn_scratch.perceptron.CHUNK_SIZE", 100)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-12)
    assert_allclose(model.predict_proba(X[:1]), expected[:1], rtol=1e-12)


# One row --------------------------------------------------------------------------------------------------------------

ROW = [[0.5, -1.0, 2.0, 0.25, 3.0, -0.5, 0.0, 1.0]]
ROWS = {
    "list": ROW,
    "list of whole numbers": [[1, 2, 3, 4, 5, 6, 7, 8]],
    "list of truth values": [[True, False] * 4],
    "list of an array": [np.array(ROW[0], dtype=np.float32)],
    "tuple": (tuple(ROW[0]),),
    "whole numbers": np.arange(8)[np.newaxis],
    "small whole numbers": np.arange(8, dtype=np.uint8)[np.newaxis],
    "truth values": np.array([[True, False] * 4]),
    "float32": np.array(ROW, dtype=np.float32),
    "float16": np.array(ROW, dtype=np.float16),
    "other byte order": np.array(ROW, dtype=">f8"),
    "texts of numbers": [[str(number) for number in ROW[0]]],
    "Python objects": np.array(ROW, dtype=object),
    "objects of many kinds": np.array([[True, 2, 2.5, np.int8(3), np.float32(0.5), np.True_, 0, -1.5]], dtype=object),
}
WRONG = {
    "no rows": [],
    "empty rows": [[]],
    "one dimension": ROW[0],
    "three dimensions": [ROW],
    "too few columns": [ROW[0][:-1]],
    "too few columns of whole numbers": np.arange(7)[np.newaxis],
    "rows of two lengths": [ROW[0], ROW[0][:-1]],
    "NaN": [[float("nan")] * 8],
    "infinity": [[float("inf")] * 8],
    "complex": [[1j] * 8],
    "None": [[None] * 8],
    "words": [["a"] * 8],
    "too large": [[10**400] * 8],
    "NaN among objects": np.array([[float("nan"), 1, *ROW[0][2:]]], dtype=object),
    "durations among objects": np.array([[np.timedelta64(1, "D"), *ROW[0][1:]]], dtype=object),
    "dates among objects": np.array([[np.datetime64("2026-01-01"), *ROW[0][1:]]], dtype=object),
}


@pytest.fixture(scope="module")
def models():
    """Return scikit-learn's and our model, of an array, and ours of a frame."""
    X, y = make_task("multiclass")
    frame = pd.DataFrame(X).add_prefix("x")
    theirs = MLPClassifier((6, 5), max_iter=4, random_state=7).fit(X, y)
    return theirs, fitted("multiclass", X, y, batch_size="auto"), fitted("multiclass", frame, y)


@pytest.mark.parametrize("form", ROWS)
def test_a_row_in_any_form(models, form):
    theirs, ours, _ = models
    for method in ("predict", "predict_proba", "decision_function"):
        result = getattr(ours, method)(ROWS[form])
        assert_array_equal(result, getattr(ours, method)(np.asarray(ROWS[form]).astype(float)))
        if hasattr(theirs, method) and form != "texts of numbers":  # which theirs does not take
            assert_allclose(result, getattr(theirs, method)(ROWS[form]), rtol=1e-9)


def outcome(predict, X):
    """Return what comes out, an error or an array, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = predict(X)
        except (OverflowError, TypeError, ValueError) as error:
            result = type(error), str(error)
    return str(result), [str(warning.message) for warning in caught]


def assert_same_without_shortcut(monkeypatch, model, X):
    quick = outcome(model.predict_proba, X)
    with monkeypatch.context() as patch:
        patch.setattr("sknn_scratch.estimators.base.ready_samples", lambda estimator, X: None)
        assert outcome(model.predict_proba, X) == quick
    return quick


@pytest.mark.parametrize("form", WRONG)
def test_a_wrong_row_in_any_form(monkeypatch, models, form):
    (result, _) = assert_same_without_shortcut(monkeypatch, models[1], WRONG[form])
    assert "Error" in result
    assert "X" in result


FRAMES = {
    "as it was": lambda frame: frame,
    "whole numbers": lambda frame: frame.astype(int),
    "mixed": lambda frame: frame.astype({"x0": "float32", "x1": "int8", "x2": "uint16"}),
    "float32": lambda frame: frame.astype("float32"),
    "with truth values": lambda frame: frame.astype({"x0": bool}),
    "pandas' own types": lambda frame: frame.astype("Float64"),
    "sparse": lambda frame: frame.astype(pd.SparseDtype(float, 0.0)),
    "objects": lambda frame: frame.iloc[0].astype(object).to_frame().T,
}


@pytest.mark.parametrize("form", FRAMES)
def test_a_frame_of_a_row(models, form):
    frame = FRAMES[form](pd.DataFrame(ROW).add_prefix("x"))
    expected = models[2].predict_proba(pd.DataFrame(frame.astype(float).to_numpy()).add_prefix("x"))
    assert_allclose(models[2].predict_proba(frame), expected, rtol=1e-6)


def test_frames_with_other_columns(monkeypatch, models):
    _, unnamed, named = models
    frame = pd.DataFrame(ROW).add_prefix("x")
    for wrong, message in (
        (frame[frame.columns[::-1]], "feature names should match"),
        (frame.add_prefix("a"), "feature names should match"),
        (frame.drop(columns="x3"), "feature names should match"),
        (frame.set_axis([pd.NA, *frame.columns[1:]], axis=1), "eature names"),
        (frame.set_axis([None, *frame.columns[1:]], axis=1), "eature names"),
        (frame.set_axis(range(8), axis=1), "feature names"),
        (frame * np.nan, "NaN"),
        (frame["x0"], "2-dimensional"),
        (ROW, "does not have valid feature names"),
        (np.array(ROW), "does not have valid feature names"),
        (np.arange(8)[np.newaxis], "does not have valid feature names"),
    ):
        result, caught = assert_same_without_shortcut(monkeypatch, named, wrong)
        assert message in result or message in caught[0]
    _, caught = assert_same_without_shortcut(monkeypatch, unnamed, frame)
    assert "X has feature names" in caught[0]


def csr(row=ROW, dtype=float, **changed):
    """Return a CSR matrix of a row, with other arrays in it than belong there."""
    matrix = sparse.csr_matrix(np.array(row, dtype=dtype))
    vars(matrix).update(changed)
    return matrix


# Of scikit-learn 1.7's or SciPy's words, those that all versions have.
SPARSE_ROWS = {
    "floats": (csr(), None),
    "float32": (csr(dtype=np.float32), None),
    "whole numbers": (csr(dtype=np.int8), None),
    "an array": (sparse.csr_array(np.array(ROW)), None),
    "another format": (sparse.coo_matrix(np.array(ROW)), None),
    "nothing but zeros": (sparse.csr_matrix((2, 8)), None),
    "no rows": (sparse.csr_matrix((0, 8)), "0 sample"),
    "too few columns": (csr([ROW[0][:-1]]), "7 features"),
    "NaN": (csr([[np.nan] * 8]), "NaN"),
    "infinity": (csr([[np.inf] * 8]), "infinity"),
    "complex": (csr([[1j] * 8], complex), "Complex"),
    "a column that is not there": (csr(indices=np.arange(7, dtype=np.int32) + 3), "not a CSR matrix"),
    "more values than there are": (csr(indptr=np.array([0, 99], dtype=np.int32)), "not a CSR matrix"),
}


@pytest.mark.parametrize("form", SPARSE_ROWS)
def test_a_sparse_row(monkeypatch, models, form):
    row, message = SPARSE_ROWS[form]
    result, caught = assert_same_without_shortcut(monkeypatch, models[1], row)
    assert caught == []
    if message is None:
        assert_allclose(models[1].predict_proba(row), models[1].predict_proba(row.toarray()), rtol=1e-6)
    else:
        assert "Error" in result
        assert message in result
    _, caught = assert_same_without_shortcut(monkeypatch, models[2], csr())
    assert "does not have valid feature names" in caught[0]


def test_a_row_is_not_validated_slowly(models, monkeypatch):
    """The whole validation takes several times as long as the prediction."""
    monkeypatch.setattr("sknn_scratch.estimators.base.check_samples", None)
    for form in (
        "list",
        "list of whole numbers",
        "list of truth values",
        "whole numbers",
        "truth values",
        "float32",
        "Python objects",
        "objects of many kinds",
        "float16",
        "other byte order",
    ):
        models[1].predict(ROWS[form])
    models[1].predict(tuple(map(tuple, ROW)))
    for form in ("floats", "float32", "whole numbers", "an array", "nothing but zeros"):
        models[1].predict(SPARSE_ROWS[form][0])
    for form in ("as it was", "whole numbers", "mixed", "float32", "objects"):
        models[2].predict(FRAMES[form](pd.DataFrame(ROW).add_prefix("x")))


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
