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
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import validate_data

__all__ = [
    "check_labels",
    "check_numeric_targets",
    "check_sample_weight",
    "check_samples",
    "is_ready",
    "naming",
    "naming_scored",
]

FLOAT_DTYPES = (np.float64, np.float32)
_FLOAT_DTYPES = {np.dtype(dtype) for dtype in FLOAT_DTYPES}  # in the machine's byte order


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


def check_samples(estimator: BaseEstimator, X: Any, *, reset: bool, dtype: DTypeLike | tuple = FLOAT_DTYPES) -> NDArray:
    """Return ``X`` as a float array, or CSR matrix if sparse, without a copy where that is possible.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and ``feature_names_in_`` if ``reset``, otherwise has them compared.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
    reset : bool
    dtype : dtype or tuple of dtypes
        Kept if ``X`` has one of them, otherwise converted to the first.

    Raises
    ------
    TypeError, ValueError
        If ``X`` is not a non-empty, finite, real, two-dimensional table, or not the same columns as before.
    """
    with naming("X"):
        try:
            return _with_one_index_type(validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=dtype))
        except (TypeError, ValueError) as error:
            names = _columns_without_numbers(X)
            if not names or "feature names" in str(error):
                raise
            error_type = TypeError if isinstance(error, TypeError) else ValueError
            named = f"{'column' if len(names) == 1 else 'columns'} {', '.join(names)}"
            raise error_type(
                f"{named}: there are other things than numbers. Make numbers of them first, for example with "
                f"OneHotEncoder in a ColumnTransformer. ({error})"
            ) from error


def _with_one_index_type(X: Any) -> Any:
    """Return a CSR matrix whose two arrays of indices have one dtype: SciPy 1.11 cannot take rows of others."""
    if not issparse(X) or X.indices.dtype == X.indptr.dtype:
        return X
    twin, index_type = copy.copy(X), np.result_type(X.indices, X.indptr)
    twin.indices, twin.indptr = X.indices.astype(index_type), X.indptr.astype(index_type)
    return twin


def _columns_without_numbers(X: Any, at_most: int = 5) -> list[str]:
    """Return the names, for an array the positions, of columns with values that no number can be made of."""
    if hasattr(X, "columns"):
        columns = ((repr(name), X[name]) for name in X.columns)
    elif isinstance(X, np.ndarray) and X.ndim == 2:
        columns = ((str(position), column) for position, column in enumerate(X.T))
    else:
        return []
    found = (name for name, column in columns if not _has_only_numbers(column))
    return [name if position < at_most else "..." for position, name in zip(range(at_most + 1), found, strict=False)]


def _has_only_numbers(column: Any) -> bool:
    """Return whether all values are numbers, or missing, or texts that say a number."""
    if getattr(getattr(column, "dtype", None), "kind", "O") in "biufc":
        return True
    for value in np.asarray(column, dtype=object).ravel():
        try:
            float(value)
        except (TypeError, ValueError):
            if value is not None and type(value).__name__ != "NAType":
                return False
    return True


def is_ready(estimator: Any, X: Any) -> bool:
    """Return whether ``check_samples`` would return ``X`` as it is, if all its numbers are finite.

    A quick yes for plain arrays, since the whole validation takes several times as long as the prediction of one row; a
    no means that it has to find out.
    """
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype in _FLOAT_DTYPES
        and X.shape[1] == estimator.n_features_in_
        and len(X) > 0
        and not hasattr(estimator, "feature_names_in_")
    )


def _check_length(name: str, array: Any, n_samples: int) -> None:
    if array.shape[0] != n_samples:
        raise ValueError(f"X has {n_samples} samples, but {name} has {array.shape[0]}.")


def _require_targets(estimator: BaseEstimator, y: Any) -> None:
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None. "
            "Pass an array with one entry per row of X."
        )


def _flatten_column(y: NDArray) -> NDArray:
    """Turn a single column into a vector, with scikit-learn's DataConversionWarning."""
    if y.ndim == 2 and y.shape[1] == 1:
        return column_or_1d(y, warn=True)
    return y


def _cast(name: str, array: NDArray, dtype: DTypeLike) -> NDArray:
    """Return the array with this dtype, copied only if it has another."""
    with np.errstate(over="ignore"):
        cast = array.astype(dtype, copy=False)
    if not np.isfinite(cast).all():
        raise ValueError(f"{name} has values too large for {np.dtype(dtype)}, the dtype of X: {np.abs(array).max():g}.")
    return cast


def check_numeric_targets(estimator: BaseEstimator, y: Any, n_samples: int, dtype: DTypeLike) -> NDArray:
    """Return regression targets as a float array of shape (n_samples,) or (n_samples, n_outputs)."""
    _require_targets(estimator, y)
    with naming("y"):
        y = check_array(y, ensure_2d=False, dtype=FLOAT_DTYPES, input_name="y")
        if y.ndim not in (1, 2) or y.size == 0:
            raise ValueError(f"y must have shape (n_samples,) or (n_samples, n_outputs), got {y.shape}.")
        y = _flatten_column(y)
    _check_length("y", y, n_samples)
    return _cast("y", y, dtype)


def check_labels(estimator: BaseEstimator, y: Any, n_samples: int, multioutput: bool = False) -> tuple[NDArray, str]:
    """Return classification targets and their type.

    With ``multioutput`` columns of labels are several targets, also if they happen to hold but two different labels.

    Returns
    -------
    y : ndarray of shape (n_samples,) or (n_samples, n_targets), or ndarray or CSR matrix of shape (n_samples, n_labels)
    target_type : {"binary", "multiclass", "multilabel-indicator", "multiclass-multioutput"}
    """
    _require_targets(estimator, y)
    _check_label_types(y)
    with naming("y"):
        y = check_array(y, ensure_2d=False, dtype=None, accept_sparse="csr", input_name="y")
        if y.ndim <= 2:
            y = _flatten_column(y)
        target_type = type_of_target(y, input_name="y")
    _check_length("y", y, n_samples)
    if target_type not in ("binary", "multiclass", "multilabel-indicator", "multiclass-multioutput"):
        hint = "for continuous targets use MLPFromScratchRegressor"
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
    for label in labels:
        if label is None or (isinstance(label, float) and math.isnan(label)) or type(label).__name__ == "NAType":
            raise TypeError(f"y contains {label}; every sample needs a label.")
    n_strings = sum(isinstance(label, str) for label in labels)
    if 0 < n_strings < len(labels):
        types = sorted({type(label).__name__ for label in labels})
        raise TypeError(f"y mixes labels of different types: {', '.join(types)}. Use either strings or numbers.")


@contextmanager
def naming_scored(y: Any, sample_weight: ArrayLike | None, n_samples: int) -> Iterator[None]:
    """Check what is given to ``score`` besides ``X``, as far as scikit-learn's metrics would not name it.

    What they find in the block is put down to ``y``.
    """
    given: dict[str, Any] = {"y": y, "sample_weight": sample_weight}
    for name, array in given.items():
        if array is None and name == "sample_weight":
            continue
        with naming(name):
            if not hasattr(array, "shape"):
                array = np.asarray(array)
            if np.ndim(array) == 0 and not issparse(array):
                raise ValueError(f"{name} must be an array with one entry per sample, got {array}.")
            _check_length(name, array, n_samples)
    if sample_weight is not None:
        with naming("sample_weight"):
            weights = check_array(sample_weight, ensure_2d=False, dtype=FLOAT_DTYPES, input_name="sample_weight")
            if weights.ndim != 1:
                raise ValueError(f"sample_weight must have shape (n_samples,), got {weights.shape}.")
            if not weights.any():
                raise ValueError("sample_weight must not be zero for every sample.")
    with naming("y"), np.errstate(invalid="ignore"):  # NaN is an error, not a warning
        yield


def check_sample_weight(sample_weight: ArrayLike | float | None, n_samples: int) -> NDArray | None:
    """Return the weights as a float vector, or None for None; a number stands for equal weights.

    Raises
    ------
    TypeError, ValueError
        If there is not one finite, non-negative number per sample, at least one of them positive.
    """
    if sample_weight is None:
        return None
    with naming("sample_weight"):
        if isinstance(sample_weight, Number):
            sample_weight = np.full(n_samples, sample_weight)
        weights = check_array(sample_weight, ensure_2d=False, dtype=FLOAT_DTYPES, input_name="sample_weight")
    if weights.ndim != 1:
        raise ValueError(f"sample_weight must have shape (n_samples,), got {weights.shape}.")
    _check_length("sample_weight", weights, n_samples)
    if weights.min() < 0:
        raise ValueError(f"sample_weight must not be negative, got a minimum of {weights.min():g}.")
    with np.errstate(over="ignore"):
        if not np.isfinite(weights.sum()):
            raise ValueError(f"sample_weight must have a finite sum, got a maximum of {weights.max():g}.")
    if not weights.any():
        raise ValueError("sample_weight must be positive for at least one sample, got only zeros.")
    return weights
