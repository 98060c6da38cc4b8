"""Warnings of columns of categories that were probably meant as something else: numbers, dates, identifiers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from numbers import Real
from typing import Any

from numpy.typing import NDArray

from sknn_scratch.estimators.arrays import WHAT_DATES_TELL, is_missing
from sknn_scratch.warn import warn

# A column is as good as lost where fewer of its values than this share belong to levels that are kept.
LOST = 0.1
# With fewer values for each one that a level needs, that levels are rare says little.
FEWEST_VALUES = 10
# So many numbers beside one text are numbers with a sign for gaps.
FEWEST_NUMBERS = 10
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}")


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
