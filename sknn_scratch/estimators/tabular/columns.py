"""Tables to columns: data frames of pandas and polars, and arrays, to numbers and categories."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from sknn_scratch.estimators.arrays import naming
from sknn_scratch.estimators.tables import (
    WHAT_DATES_TELL,
    columns_of,
    is_frame,
    is_missing,
    is_of_times,
    refuse_records,
    time_among,
)
from sknn_scratch.warn import warn

# A column is as good as lost where fewer of its values than this share belong to levels that are kept.
LOST = 0.1
# With fewer values for each one that a level needs, that levels are rare says little.
FEWEST_VALUES = 10
# So many numbers beside one text are numbers with a sign for gaps.
FEWEST_NUMBERS = 10
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}")
# Such as "$1,234.50", "7 %" or "12 months".
NUMBER_WITH_SIGNS = re.compile(r"[^\w.]*(\d{1,3}([,.' ]\d{3})+|\d+)([.,]\d+)?\s*[^\d\s]*")


@dataclass
class Columns:
    """What a table holds."""

    is_categorical: NDArray  # (n_features,)
    numbers: NDArray  # (n_samples, n_numeric), float64, NaN where missing; in the order of the table
    categories: list[NDArray]  # each (n_samples,), Python objects, None where missing

    def take(self, rows: NDArray | slice) -> Columns:
        """Return these rows."""
        return Columns(self.is_categorical, self.numbers[rows], [column[rows] for column in self.categories])


def read_columns(
    estimator: BaseEstimator, X: Any, *, categorical_features: Any = None, is_categorical: NDArray | None = None
) -> Columns:
    """Check a table and return its columns; raises TypeError or ValueError if it is none, or not that of fit.

    In fit, ``categorical_features`` says which are categorical, as the user says it, and the estimator gets
    ``n_features_in_`` and ``feature_names_in_``; afterwards these are compared, and ``is_categorical`` is given.
    """
    reset = is_categorical is None
    if callable(getattr(X, "collect", None)):  # else a column of this name
        raise ValueError(f"X cannot be used: a {type(X).__name__} is not computed yet; pass X.collect().")
    refuse_records(X)
    with naming("X"), np.errstate(over="ignore", invalid="ignore"):  # scikit-learn adds up what may be huge
        if is_frame(X):
            validate_data(estimator, X, reset=reset, skip_check_array=True)
            if 0 in X.shape:
                raise ValueError(
                    f"Found a table with shape {X.shape}; at least 1 sample(s) and 1 feature(s) are needed."
                )
            if is_categorical is not None and not is_categorical.any() and all(map(_is_plain, X.dtypes)):
                return Columns(is_categorical, X.to_numpy(np.float64), [])  # of pandas, faster than by columns
            names = [str(name) for name in X.columns]
            columns = [column for _, column in columns_of(X)]
        else:
            dtype = np.float64 if issparse(X) or np.asarray(X).dtype.kind in "biufc" else object
            array = validate_data(estimator, X, reset=reset, dtype=dtype, ensure_all_finite=False)
            names = [f"x{i}" for i in range(array.shape[1])]
            columns = list(array.T)
    if is_categorical is None:
        is_categorical = _find_categorical(categorical_features, columns, names)
    if not is_frame(X) and array.dtype == np.float64 and not is_categorical.any():
        return Columns(is_categorical, array, [])
    both = list(zip(names, columns, is_categorical, strict=True))
    numbers = np.empty((len(columns[0]), len(columns) - int(is_categorical.sum())))
    for position, (name, column) in enumerate((name, column) for name, column, other in both if not other):
        numbers[:, position] = _to_numbers(column, name)
    categories = [_to_categories(column, name) for name, column, is_one in both if is_one]
    return Columns(is_categorical, numbers, categories)


# Which columns are categorical ----------------------------------------------------------------------------------------


def _find_categorical(given: Any, columns: Sequence[Any], names: Sequence[str]) -> NDArray:
    """Return a mask of the categorical columns."""
    n = len(columns)
    mask = np.zeros(n, dtype=bool)
    if given is None:
        return mask
    if isinstance(given, str) and given == "from_dtype":
        return np.array([_is_category(column, name) for column, name in zip(columns, names, strict=True)])
    chosen = np.asarray(given)
    is_list = chosen.ndim == 1 and (not chosen.size or chosen.dtype.kind in "biuUOT")
    # The array of a name and a position has two names, and that of a position and a truth value two positions.
    kinds = {_name_position_or_truth(one) for one in given} if is_list else set()
    if not is_list or len(kinds) > 1:
        raise ValueError(
            "categorical_features must be None, 'from_dtype', a list of names or of positions of columns, or a mask, "
            f"all of one kind; got {given!r}."
        )
    if kinds == {bool}:
        if len(chosen) != n:
            raise ValueError(f"categorical_features is a mask of {len(chosen)} columns, but X has {n}.")
        return chosen.astype(bool)
    for one in chosen.tolist():
        if isinstance(one, str):
            if one not in names:
                raise ValueError(f"categorical_features names {one!r}, which is not a column of X: {list(names)}.")
            mask[names.index(one)] = True
        elif isinstance(one, int | np.integer) and 0 <= one < n:
            mask[one] = True
        else:
            raise ValueError(f"categorical_features has {one!r}; X has the columns 0 to {n - 1}.")
    return mask


def _name_position_or_truth(one: Any) -> type:
    return str if isinstance(one, str) else bool if isinstance(one, bool | np.bool_) else int


def _is_category(column: Any, name: str) -> bool:
    """Return whether a column is to be categorical by its type, or, of a column of objects, by theirs."""
    by_type = _is_category_by_type(column, name)
    if by_type is None or str(column.dtype) == "String":  # the latter of polars
        warn_of_numbers_in_text(name, column)
    if by_type is not None:
        return by_type
    present = {type(value) for value in column if not is_missing(value)}
    booleans: tuple[type, ...] = (bool, np.bool_)
    return not present or not all(issubclass(cls, (Real, Decimal)) and cls not in booleans for cls in present)


def _is_category_by_type(column: Any, name: str) -> bool | None:
    """Return whether a column is one of categories by its type, and not one of numbers; None for objects."""
    dtype = column.dtype
    if is_of_times(dtype):
        raise _times(name, dtype)
    if hasattr(dtype, "is_nested"):  # of polars
        if dtype.is_nested():
            raise TypeError(f"X has lists or structures in column {name!r} ({dtype}); a cell is one value.")
        return None if str(dtype) == "Object" else not dtype.is_numeric()
    if str(dtype) == "category":
        return True
    kind = getattr(dtype, "kind", "O")
    if kind == "c":
        raise ValueError(f"Complex data not supported: column {name!r} of X is {dtype}.")
    return {"b": True, "i": False, "u": False, "f": False}.get(kind)


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iuf"


def _times(name: str, found: Any) -> TypeError:
    return TypeError(
        f"X has dates or durations in column {name!r} ({found}). Make columns of them that can tell something: "
        f"{WHAT_DATES_TELL} (numbers, or strings for categories)."
    )


# Values ---------------------------------------------------------------------------------------------------------------


def _to_numbers(column: Any, name: str) -> NDArray:
    """Return a column as float64, NaN where missing."""
    _is_category_by_type(column, name)  # refuses dates
    values = column.to_numpy() if hasattr(column, "to_numpy") else column
    if values.dtype.kind == "O":
        values = [np.nan if is_missing(value) else value for value in values]
        if time := time_among(set(map(type, values))):
            raise _times(name, time)
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"X has other things than numbers in column {name!r} ({error}), which is not among the categorical ones."
        ) from error
    return numbers


def _to_categories(column: Any, name: str) -> NDArray:
    """Return a column as Python objects, None where missing."""
    values = column.to_list() if hasattr(column, "to_list") else column.tolist()
    try:
        levels = {value: None if is_missing(value) else value for value in set(values)}
    except TypeError as error:
        raise TypeError(
            f"X has a value in column {name!r} that cannot be a category, as each argument must be a string or a "
            f"number: {error}."
        ) from error
    if time := time_among(set(map(type, levels.values()))):
        raise _times(name, time)
    result = np.empty(len(values), dtype=object)
    result[:] = [levels[value] for value in values]
    return result


# Columns that were probably meant as something else: numbers, dates, identifiers --------------------------------------


def warn_of_rare_levels(name: str, values: NDArray, kept: NDArray, min_frequency: int) -> None:
    """Warn of a column of categories of which nearly all occur too seldom to be kept."""
    counts = Counter(values.tolist())
    counts.pop(None, None)
    n_values, n_kept = counts.total(), sum(counts[level] for level in kept.tolist() if level is not None)
    if n_values < FEWEST_VALUES * min_frequency or n_kept >= LOST * n_values:
        return
    warn(
        f"Column {name!r} of X holds {len(counts)} categories in {n_values} samples, nearly all of them too rare to be "
        f"told apart: next to nothing is learnt from it. {_what_to_do(list(counts))}"
    )


def _what_to_do(levels: list[Any]) -> str:
    """Return advice for a column with these values."""
    if sum(map(_is_number, levels)) > 0.9 * len(levels):
        return "They are numbers: make it a column of those, of text for example by pandas.to_numeric."
    if sum(DATE.match(str(level)) is not None for level in levels) > 0.9 * len(levels):
        return f"They are dates: make columns of them that can tell something, such as {WHAT_DATES_TELL}."
    if sum(NUMBER_WITH_SIGNS.fullmatch(str(level)) is not None for level in levels) > 0.9 * len(levels):
        return "They are numbers with other signs: take those away, and make it a column of numbers."
    return "Leave it out, or make something of it that recurs."


def warn_of_numbers_in_text(name: str, values: Iterable[Any]) -> None:
    """Warn of a column that nobody called one of categories and that holds numbers but for one text, such as '?'."""
    numbers: set[Any] = set()
    others: set[Any] = set()
    try:
        for value in set(values):
            if not is_missing(value):
                (numbers if _is_number(value) else others).add(value)
            if len(others) > 1:
                return
    except TypeError:  # a value that is in no set is refused later
        return
    if others and len(numbers) >= FEWEST_NUMBERS:
        text = others.pop()
        warn(
            f"Column {name!r} of X holds numbers but for {text!r}, so that each is taken for a category. If {text!r} "
            "stands for a gap, make the column one of numbers with NaN there, for example by pandas.to_numeric with "
            "errors='coerce'; if they are codes, give it the dtype 'category', or name it in categorical_features."
        )


def _is_number(value: Any) -> bool:
    """Return whether this is a number, or a text that says one."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, Real) and not isinstance(value, bool)
