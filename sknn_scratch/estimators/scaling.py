"""The scale of features and targets: targets are standardised, and what is far from unit scale is described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, issparse
from sklearn.utils.sparsefuncs import mean_variance_axis


def standardisation(y: NDArray, sample_weight: NDArray | None = None) -> tuple[NDArray, NDArray]:
    """Return mean and standard deviation of each column, weighted, in float64; the scale of a constant is 1.

    ``y`` of shape (n_samples, n_targets) has finite numbers of any size; weights are not all zero.
    """
    y = y.astype(np.float64, copy=False)
    if sample_weight is not None:
        counts = sample_weight > 0
        y, sample_weight = y[counts], sample_weight[counts].astype(np.float64, copy=False)
    low, high = y.min(axis=0), y.max(axis=0)
    constant = low == high
    # In units of the largest number, squares neither overflow nor vanish.
    unit = np.maximum(np.abs(low), np.abs(high))
    unit[unit == 0] = 1
    z = y / unit
    mean = np.average(z, axis=0, weights=sample_weight)
    scale = np.sqrt(np.average((z - mean) ** 2, axis=0, weights=sample_weight))
    # Rounding would make of equal numbers some that differ.
    return np.where(constant, low, mean * unit), np.where(constant, 1.0, scale * unit)


# A column whose mean or deviation is larger saturates the units; rows of a smaller norm hardly move them, and losses of
# such targets are within the usual tol of each other. The norm counts, as texts have many columns of small numbers.
LARGE, SMALL_NORM = 100.0, 0.1
# More entries than these tell no more about a scale.
ENOUGH_ENTRIES, FEWEST_ROWS = 200_000, 100


def describe_scale(X: Any, y: NDArray | None = None, feature_names: Sequence[str] | None = None) -> str:
    """Return what to say where features or targets are so far from unit scale that training hardly works, or nothing.

    ``y``, of shape (n_samples, n_targets), are the targets of a regressor as its network sees them.
    """
    parts = []
    if far := _farthest(X):
        column, described = far
        parts.append(
            f"The features are far from unit scale: {_name(column, feature_names)} has {described}. Scale X, for "
            "example with StandardScaler in a pipeline."
        )
    if y is not None and (far := _farthest(y)):
        column, described = far
        which = "y" if y.shape[1] == 1 else f"column {column} of y"
        parts.append(
            f"The targets are far from unit scale: {which} has {described}. Use target_transform='standardize', or "
            "scale y."
        )
    return " ".join(parts)


def _farthest(array: Any) -> tuple[int, str] | None:
    """Return the column that is farthest from unit scale, and its mean and deviation; None if no column is far."""
    sample = _some_rows(array).astype(np.float64)
    if issparse(sample):
        mean, variance = mean_variance_axis(csr_array(sample), axis=0)
        deviation = np.sqrt(variance)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = sample.mean(axis=0), sample.std(axis=0)
    size = np.maximum(np.abs(mean), deviation)
    column = int(np.argmax(size))
    with np.errstate(over="ignore"):
        norm = np.linalg.norm(size)
    if size[column] == 0 or (size[column] <= LARGE and norm >= SMALL_NORM):
        return None
    return column, f"mean {mean[column]:.3g} and standard deviation {deviation[column]:.3g}"


def _some_rows(array: Any) -> Any:
    """Return rows at equal distances, enough to tell the scale of each column."""
    n_rows = max(FEWEST_ROWS, ENOUGH_ENTRIES // array.shape[1])
    return array[:: max(1, array.shape[0] // n_rows)]


def _name(column: int, feature_names: Sequence[str] | None) -> str:
    return f"column {column}" if feature_names is None else f"column {column}, {feature_names[column]!r},"


# A validation set on another scale ------------------------------------------------------------------------------------

# Fewer rows than these say nothing about their scale.
ROWS_THAT_SAY_SOMETHING = 10
# Distance of the medians, in standard deviations of the training samples, and ratio of the spreads, above which a
# column is on another scale; where few columns are, only above the larger pair.
DISTANCE, RATIO = 2.5, 10.0
DISTANCE_ALONE, RATIO_ALONE = 30.0, 1000.0


def describe_other_scale(X: Any, X_val: Any, feature_names: Sequence[str] | None = None) -> str:
    """Return what to say where a validation set seems not to have been scaled as the training samples were, or nothing.

    Robust to outliers (quartiles are compared, of sparse samples the mean of what is not zero), to columns with few
    values other than one, and to validation sets that are small or moderately shifted.
    """
    if min(X.shape[0], X_val.shape[0]) < ROWS_THAT_SAY_SOMETHING:
        return ""
    compare = _compare_entries if issparse(X) or issparse(X_val) else _compare_quartiles
    share = min(1.0, X_val.shape[0] / X.shape[0])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        compared, far, far_alone, sizes, sizes_val = compare(_some_rows(X), _some_rows(X_val), share)
    n_compared, n_far = np.count_nonzero(compared), np.count_nonzero(far)
    if not (far_alone.any() or (n_far >= 3 and 2 * n_far >= n_compared)):
        return ""
    column = int(np.argmax(far_alone if far_alone.any() else far))
    return (
        f"X_val seems to be on another scale than X: {_name(column, feature_names)} is around {sizes_val[column]:.3g} "
        f"in X_val and around {sizes[column]:.3g} in X; so it is with {n_far} of {n_compared} columns."
    )


_Comparison = tuple[NDArray, NDArray, NDArray, NDArray, NDArray]


def _compare_quartiles(X: NDArray, X_val: NDArray, share: float) -> _Comparison:
    """Return, per column, whether it can be compared, whether it is far, and far by itself, and both medians."""
    low, median, high = np.percentile(X, [25, 50, 75], axis=0)
    low_val, median_val, high_val = np.percentile(X_val, [25, 50, 75], axis=0)
    # Of one value for the most part, a column says nothing. Outliers make the deviation large, and so the test careful.
    compared = (high > low) & (high_val > low_val)
    deviation = np.where(compared, X.std(axis=0, dtype=np.float64), 1)
    spread, spread_val = np.where(compared, high - low, 1), np.where(compared, high_val - low_val, 1)
    distance = np.abs(median_val - median) / deviation
    # The last rows of a time series have a small part of its spread.
    ratio = np.maximum(spread_val / deviation, share * spread / spread_val)
    far = compared & ((distance > DISTANCE) | (ratio > RATIO))
    return compared, far, compared & ((distance > DISTANCE_ALONE) | (ratio > RATIO_ALONE)), median, median_val


def _compare_entries(X: Any, X_val: Any, share: float) -> _Comparison:
    """Return the same as ``_compare_quartiles`` for sparse samples; the mean size of entries stands for the median."""
    (sizes, counts), (sizes_val, counts_val) = map(_entries, (X, X_val))
    compared = (sizes > 0) & (sizes_val > 0)
    ratio = np.where(compared, sizes_val, 1) / np.where(compared, sizes, 1)
    ratio = np.maximum(ratio, share / ratio)
    enough = np.minimum(counts, counts_val) >= ROWS_THAT_SAY_SOMETHING
    return compared, ratio > RATIO, enough & (ratio > RATIO_ALONE), sizes, sizes_val


def _entries(X: Any) -> tuple[NDArray, NDArray]:
    """Return the mean absolute value of the entries of each column that are not zero, and their number."""
    entries = coo_array(X)
    n_columns = entries.shape[1]
    counts = np.bincount(entries.col, minlength=n_columns)
    sums = np.bincount(entries.col, np.abs(entries.data).astype(np.float64), minlength=n_columns)
    return sums / np.maximum(counts, 1), counts
