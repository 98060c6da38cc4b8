"""What is in the columns of a table, whichever library it is of: numbers, gaps, dates; and what is no table."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from scipy.sparse import issparse

# For messages: what a network can learn from, where it cannot from a date itself.
WHAT_DATES_TELL = "days since a date, the year, the month or the weekday"


def is_frame(X: Any) -> bool:
    """Return whether samples are a data frame, as of pandas or polars; a table of PyArrow is taken for an array."""
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def columns_of(X: Any) -> Iterator[tuple[Any, Any]]:
    """Yield name and values of each column of a data frame, as of pandas or polars, or of a table of PyArrow."""
    if is_frame(X):  # ``items`` of pandas is faster than ``iloc``, which shows where one row is predicted
        yield from X.items() if hasattr(X, "items") else zip(X.columns, X, strict=True)
    elif hasattr(X, "column_names"):  # of PyArrow
        yield from zip(X.column_names, X.columns, strict=True)


def named_columns(X: Any, is_meant: Callable[[Any], Any], at_most: int = 5) -> str:
    """Return such as 'columns 3, 5', of a data frame by name, for those that are meant; nothing if none is."""
    columns: Iterable[tuple[str, Any]] = ((repr(name), column) for name, column in columns_of(X))
    if isinstance(X, np.ndarray) and X.ndim == 2:
        columns = ((str(position), column) for position, column in enumerate(X.T))
    found = [name for name, column in columns if is_meant(column)]
    if not found:
        return ""
    named = found if len(found) <= at_most else [*found[:at_most], "..."]
    return f"{'column' if len(named) == 1 else 'columns'} {', '.join(named)}"


def is_missing(value: Any) -> bool:
    """Return whether a value stands for none: None, NaN and NaT, which differ from themselves, or NA of pandas."""
    if value is None or type(value).__name__ == "NAType":
        return True
    differs = value != value
    return differs is True or (type(differs) is np.bool_ and bool(differs))


def has_gaps(column: Any) -> bool:
    """Return whether some values of a column are missing."""
    values = np.asarray(column)
    if values.dtype.kind == "f":
        return bool(np.isnan(values).any())
    return values.dtype.kind == "O" and any(map(is_missing, values.ravel()))


def has_only_numbers(column: Any) -> bool:
    """Return whether all values are numbers, or missing, or texts that say a number."""
    if _is_of_numbers(getattr(column, "dtype", None)):
        return True
    for value in np.asarray(column, dtype=object).ravel():
        try:
            float(value)
        except (TypeError, ValueError):
            if not is_missing(value):
                return False
    return True


def _is_of_numbers(dtype: Any) -> bool:
    """Return whether a type of NumPy, pandas or polars is certainly one of numbers or truths."""
    return dtype.is_numeric() if hasattr(dtype, "is_numeric") else getattr(dtype, "kind", "O") in tuple("biufc")


def is_of_times(dtype: Any) -> bool:
    """Return whether a type of NumPy, pandas or polars is one of dates or durations."""
    return dtype.is_temporal() if hasattr(dtype, "is_temporal") else getattr(dtype, "kind", "") in tuple("mM")


def times_in(column: Any) -> str:
    """Return the name of a type of dates, times or durations that are among the values of a column, if any is."""
    dtype = getattr(column, "dtype", None)
    if _is_of_numbers(dtype):
        return ""
    if is_of_times(dtype):
        return str(dtype)
    values = np.asarray(column)  # of objects, of categories, or of PyArrow
    if values.dtype.kind in "mM":
        return str(values.dtype)
    return time_among(set(map(type, values.ravel()))) if values.dtype == object else ""


def time_among(types: set[type]) -> str:
    """Return the name of a class of dates, times or durations; most of pandas' are subclasses of Python's."""
    times = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
    return next((cls.__name__ for cls in types if issubclass(cls, times) or cls.__name__ == "Period"), "")


def refuse_records(X: Any) -> None:
    """Raise TypeError, with advice, for dicts and arrays of named fields, which are no tables to NumPy."""
    is_dict = isinstance(X, Mapping) and not issparse(X)  # SciPy's dictionary of keys is both
    first = X[0] if isinstance(X, list | tuple) and X else None
    if is_dict or isinstance(first, Mapping) or getattr(getattr(X, "dtype", None), "names", None):
        what = type(X).__name__ if first is None else f"{type(X).__name__} of {type(first).__name__}"
        table = "[X]" if is_dict and not any(map(np.ndim, X.values())) else "X"
        raise TypeError(f"X is no table, but a {what}. Make one of it: pandas.DataFrame({table}).")


def refuse_times_among(X: Any) -> None:
    """Raise TypeError for columns of dates and durations, of which NumPy would make counts of an unnamed unit."""
    if all(map(_is_of_numbers, X.dtypes if is_frame(X) else [getattr(X, "dtype", None)])):
        return
    if isinstance(X, list | tuple):
        with suppress(TypeError, ValueError):  # rows that make no matrix are refused later
            X = X if np.asarray(X).dtype.kind in tuple("biufc") else np.array(X, dtype=object)
    if named := named_columns(X, times_in):
        raise TypeError(
            f"{named}: there are dates or durations. Make columns of numbers of them that can tell something: "
            f"{WHAT_DATES_TELL}."
        )
