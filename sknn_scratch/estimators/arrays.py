"""Checks of the arrays given to fit and predict. Every error names the array that is at fault."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import validate_data

from sknn_scratch.estimators.tables import (
    columns_of,
    has_gaps,
    has_only_numbers,
    is_missing,
    named_columns,
    refuse_records,
    refuse_times_among,
    times_in,
)
from sknn_scratch.warn import warn

FLOAT_DTYPES = (np.float64, np.float32)
_FLOAT_DTYPES = {np.dtype(dtype) for dtype in FLOAT_DTYPES}  # in the machine's byte order
# Of which float64 is made among objects, but for NumPy's durations, which are whole numbers to it.
_NUMBERS = (int, float, np.integer, np.bool_, np.float16, np.float32)


@contextmanager
def naming(array_name: str) -> Iterator[None]:
    """Put the array's name before any error message that lacks it."""
    try:
        yield
    except (OverflowError, TypeError, ValueError) as error:
        if re.search(rf"\b{array_name}\b", str(error)):
            raise
        error_type = TypeError if isinstance(error, TypeError) else ValueError
        reason = re.sub(r"^\w+ cannot be used: ", "", str(error))
        raise error_type(f"{array_name} cannot be used: {reason}") from error


def _is_sound(array: Any, ndim: int) -> bool:
    """Return, quickly, whether an array is one of floats that are certainly finite, so that no check finds anything."""
    if type(array) is not np.ndarray or array.ndim != ndim or array.dtype not in _FLOAT_DTYPES or not array.size:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(array.sum())


def check_samples(estimator: BaseEstimator, X: Any, *, reset: bool, dtype: DTypeLike | tuple = FLOAT_DTYPES) -> NDArray:
    """Return ``X`` as a float array, or CSR matrix if sparse, without a copy where that is possible.

    ``n_features_in_`` and ``feature_names_in_`` of the estimator are set if ``reset``, otherwise compared. ``X`` keeps
    its dtype if it is among those of ``dtype``, and otherwise gets the first.
    """
    if not reset and _is_sound(X, 2) and dtype in (X.dtype, FLOAT_DTYPES) and ready_samples(estimator, X) is not None:
        return X
    with naming("X"):
        refuse_records(X)
        refuse_times_among(X)
        try:
            return _checked_csr(validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=dtype))
        except (TypeError, ValueError) as error:
            if "contains NaN" in str(error):
                raise ValueError(_missing_values(estimator, X)) from error
            named = named_columns(X, lambda column: not has_only_numbers(column))
            if not named or "feature names" in str(error):
                raise
            error_type = TypeError if isinstance(error, TypeError) else ValueError
            raise error_type(
                f"{named}: there are other things than numbers. Make numbers of them first, with TabularEncoder or, "
                "say, OneHotEncoder in a ColumnTransformer. TabularMLPClassifier and TabularMLPRegressor take such "
                f"tables as they are. ({error})"
            ) from error


def _missing_values(estimator: BaseEstimator, X: Any) -> str:
    """Return what to say about samples with gaps: where they are, and how to fill them."""
    named = named_columns(X, has_gaps)
    where, model = f" in {named}" if named else "", type(estimator).__name__
    return (
        f"Input X contains NaN{where}, and {model} needs numbers everywhere. Fill the gaps in a pipeline: "
        f"make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), {model}()) takes the mean and tells the "
        "network what was missing (sklearn.impute); or drop these rows. TabularMLPClassifier and TabularMLPRegressor "
        "take gaps as they are."
    )


def _checked_csr(X: Any) -> Any:
    """Return a CSR matrix whose indices are all within it, in two arrays of one dtype; an array stays as it is.

    SciPy and compiled code would follow others out of the arrays; SciPy 1.11 cannot take rows with two index dtypes.
    """
    if not issparse(X):
        return X
    twin, index_type = copy.copy(X), np.result_type(X.indices, X.indptr)
    twin.indices, twin.indptr = X.indices.astype(index_type, copy=False), X.indptr.astype(index_type, copy=False)
    try:
        twin.check_format(full_check=True)
    except ValueError as error:
        raise ValueError(f"it is not a CSR matrix that can be read: {error}") from error
    return twin


def ready_samples(estimator: Any, X: Any) -> Any:
    """Return what ``check_samples`` returns if all numbers are finite, or None where only that can tell.

    Quick, as the whole validation takes several times as long as the prediction of one row. For plain arrays, lists or
    tuples of rows, CSR matrices, and data frames of NumPy's types with the columns of the training samples.
    """
    names = getattr(estimator, "feature_names_in_", None)
    kept = {np.dtype(np.float64)} if type(X) in (list, tuple) else _FLOAT_DTYPES
    samples: Any = None
    try:
        if names is None and type(X) in (np.ndarray, list, tuple):
            samples = np.asarray(X)
        elif names is None:
            samples = _checked_csr(X) if issparse(X) and X.format == "csr" else None
        else:
            is_plain = np.array_equal(X.columns, names) and all(isinstance(dtype, np.dtype) for dtype in X.dtypes)
            samples = X.to_numpy() if is_plain else None
    except (AttributeError, TypeError, ValueError):  # rows of different lengths, no data frame, or a name is missing
        return None
    if samples is None or samples.ndim != 2 or samples.shape[1] != estimator.n_features_in_ or samples.shape[0] == 0:
        return None
    if samples.dtype in kept:
        return samples
    try:
        if samples.dtype == object:
            kinds = set(map(type, samples.ravel()))
            are_numbers = np.timedelta64 not in kinds and all(issubclass(kind, _NUMBERS) for kind in kinds)
        else:
            are_numbers = samples.dtype.kind in "biuf" and samples.dtype.itemsize <= 8
        return samples.astype(np.float64) if are_numbers else None
    except (AttributeError, OverflowError):  # sparse objects, and whole numbers among objects
        return None


def check_length(name: str, array: Any, n_samples: int) -> None:
    """Raise ValueError unless an array has an entry for each sample."""
    if array.shape[0] != n_samples:
        raise ValueError(f"X has {n_samples} samples, but {name} has {array.shape[0]}.")


def _require_targets(estimator: BaseEstimator, y: Any) -> None:
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None. "
            "Pass an array with one entry per row of X."
        )


def _flatten_column(y: NDArray) -> NDArray:
    """Turn a single column into a vector, with scikit-learn's DataConversionWarning, at the user's line."""
    if y.ndim != 2 or y.shape[1] != 1:
        return y
    flat = column_or_1d(y)
    warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples, ), for "
        "example using ravel().",
        DataConversionWarning,
    )
    return flat


def cast_targets(y: NDArray, dtype: DTypeLike) -> NDArray:
    """Return regression targets with the dtype of the samples, copied only if they have another."""
    with np.errstate(over="ignore"):
        cast = y.astype(dtype, copy=False)
    if not np.isfinite(cast).all():
        too_large = f"values too large for {np.dtype(dtype)}, the dtype of X: {np.abs(y).max():g}"
        raise ValueError(f"y has {'NaN' if np.isnan(cast).any() else too_large}.")
    return cast


def check_numeric_targets(estimator: BaseEstimator, y: Any, n_samples: int, dtype: DTypeLike) -> NDArray:
    """Return regression targets as a float array of shape (n_samples,) or (n_samples, n_outputs)."""
    _require_targets(estimator, y)
    with naming("y"):
        if not _is_sound(y, 1):
            refuse_times(y)
            y = check_array(y, ensure_2d=False, dtype=FLOAT_DTYPES, input_name="y")
        if y.ndim not in (1, 2) or y.size == 0:
            raise ValueError(f"y must have shape (n_samples,) or (n_samples, n_outputs), got {y.shape}.")
        y = _flatten_column(y)
    check_length("y", y, n_samples)
    return cast_targets(y, dtype)


def refuse_times(y: Any) -> None:
    """Raise TypeError for dates and durations: cast to float, they are counts of an unnamed unit, and NaT is -9e18."""
    for column in [column for _, column in columns_of(y)] or [y]:
        if found := times_in(column):
            raise TypeError(
                f"y must be numbers, got dates or durations ({found}). Make numbers of them in a unit of your choice, "
                "for example durations in days: y / np.timedelta64(1, 'D'), where a date is first made the duration "
                "since another: y - y.min()."
            )


def are_plain_labels(y: Any) -> bool:
    """Return whether this is a vector of truths, whole numbers or strings, about which there is nothing to find out."""
    return type(y) is np.ndarray and y.ndim == 1 and y.size > 0 and y.dtype.kind in "biuU" and y.dtype.isnative


def check_labels(
    estimator: BaseEstimator,
    y: Any,
    n_samples: int,
    multioutput: bool = False,
    regressor: str = "",
    are_known: bool = False,
) -> tuple[NDArray, str]:
    """Return classification targets, an array or if multilabel perhaps a CSR matrix, and their ``type_of_target``.

    With ``multioutput`` columns of labels are several targets, also if they happen to hold but two different labels.
    ``regressor`` is the estimator for those who have numbers as targets. Where the labels of one target ``are_known``,
    the type of plain ones is not found out, but called "multiclass".
    """
    _require_targets(estimator, y)
    if are_known and are_plain_labels(y):
        check_length("y", y, n_samples)
        return y, "multiclass"
    _check_label_types(y)
    with naming("y"):
        y = check_array(y, ensure_2d=False, dtype=None, accept_sparse="csr", input_name="y")
        if y.ndim <= 2:
            y = _flatten_column(y)
        target_type = type_of_target(y, input_name="y")
    check_length("y", y, n_samples)
    if target_type not in ("binary", "multiclass", "multilabel-indicator", "multiclass-multioutput"):
        hint = f"for continuous targets use {regressor}"
        if y.dtype == np.dtype(object):
            hint = "labels that are numbers need a numeric dtype, such as that of y.astype(int)"
        raise ValueError(
            f"Unknown label type: y is {target_type}, of shape {y.shape} and dtype {y.dtype}. A classifier takes class "
            f"labels, or for multilabel targets a matrix of 0 and 1; {hint}."
        )
    if target_type == "multilabel-indicator":
        values = np.unique(y.data if issparse(y) else y)
        if multioutput or np.count_nonzero(values) > 1:
            target_type = "multiclass-multioutput"
    if target_type == "multiclass-multioutput" and issparse(y):
        raise ValueError("y is a sparse matrix, which must be one of 0 and 1: several targets are a dense array.")
    return y, target_type


def _check_label_types(y: Any) -> None:
    """Raise TypeError for labels of which some are missing, or some are strings and some are not."""
    if isinstance(y, list | tuple):
        labels = list(y)  # an array would turn a mixture into strings
    elif not issparse(y) and np.asarray(y).dtype == object:
        labels = np.asarray(y).ravel().tolist()
    else:
        return
    several = [label for label in labels if isinstance(label, list | tuple | AbstractSet)]
    is_table = isinstance(y, list | tuple) and len({len(part) for part in several}) == 1 and len(several) == len(labels)
    if several and not (is_table and isinstance(several[0], list | tuple)):
        raise ValueError(
            "y has several labels for a sample. For multilabel targets make a matrix of 0 and 1 of them, for example "
            "with scikit-learn's MultiLabelBinarizer."
        )
    if several:
        labels = [label for row in several for label in row]
    for label in filter(is_missing, labels):
        raise TypeError(f"y contains {label}; every sample needs a label.")
    n_strings = sum(isinstance(label, str) for label in labels)
    if 0 < n_strings < len(labels):
        types = sorted({type(label).__name__ for label in labels})
        raise TypeError(f"y mixes labels of different types: {', '.join(types)}. Use either strings or numbers.")


@contextmanager
def naming_scored(y: Any, sample_weight: ArrayLike | None, n_samples: int) -> Iterator[None]:
    """Check what is given to ``score`` besides ``X``; what metrics raise in the block gets the name of ``y``."""
    given: dict[str, Any] = {"y": y} if sample_weight is None else {"y": y, "sample_weight": sample_weight}
    for name, array in given.items():
        with naming(name):
            if not hasattr(array, "shape"):
                array = np.asarray(array)
            if not array.shape:
                raise ValueError(f"{name} must be an array with one entry per sample, got {array}.")
            check_length(name, array, n_samples)
    if sample_weight is not None:
        _weights(sample_weight, n_samples, FLOAT_DTYPES)
    with naming("y"), np.errstate(invalid="ignore"):  # NaN is an error, not a warning
        yield


def _weights(sample_weight: ArrayLike, n_samples: int, dtype: DTypeLike | tuple) -> NDArray:
    """Return weights as floats, of which there is one for each sample, and not all are zero."""
    with naming("sample_weight"):
        weights = check_array(sample_weight, ensure_2d=False, dtype=dtype, input_name="sample_weight")
    if weights.ndim != 1:
        raise ValueError(f"sample_weight must have shape (n_samples,), got {weights.shape}.")
    check_length("sample_weight", weights, n_samples)
    if not weights.any():
        raise ValueError("sample_weight must be positive for at least one sample, got only zeros.")
    return weights


def check_sample_weight(sample_weight: ArrayLike | float | None, X: Any) -> NDArray | None:
    """Return the weights of the rows of ``X`` as a float vector, or None for None; a number stands for equal weights.

    They are computed with in the more precise of their dtype and that of ``X``.
    """
    if sample_weight is None:
        return None
    n_samples = X.shape[0]
    if isinstance(sample_weight, Number):
        with naming("sample_weight"):
            sample_weight = np.full(n_samples, sample_weight)
    weights = _weights(sample_weight, n_samples, FLOAT_DTYPES if X.dtype == np.float32 else np.float64)
    if weights.min() < 0:
        raise ValueError(f"sample_weight must not be negative, got a minimum of {weights.min():g}.")
    with np.errstate(over="ignore"):
        if not np.isfinite(weights.sum()):
            raise ValueError(f"sample_weight must have a finite sum, got a maximum of {weights.max():g}.")
    return weights
