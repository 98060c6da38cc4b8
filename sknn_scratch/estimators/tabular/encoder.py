"""The encoder: a table with numbers, categories and gaps to a matrix that a network learns well from."""

from __future__ import annotations

from collections import Counter
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse import csr_array, vstack
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.estimators.constraints import Boolean, Constraint, Number, check_parameters
from sknn_scratch.estimators.persistence import unchanged_on_error
from sknn_scratch.estimators.tabular.columns import Columns, read_columns, warn_of_rare_levels
from sknn_scratch.training.coded_matrix import CodedMatrix, Coding
from sknn_scratch.warn import warn

# Numbers of a chunk of rows, small enough for the cache.
CHUNK_SIZE = 2**17
# Where so many values should be known, and none is, that is not by chance.
FEWEST_KNOWN = 10
# With more levels than so many for each category, they are kept as their positions, not as columns of 0 and 1.
MANY_LEVELS = 16
# In the place of a column: all of them are at their means.
UNKNOWN = -2
# With fewer bins the codes say little that the scaled number does not.
FEWEST_BINS = 4
# So many bins a number has, if it may, also where a frequent value leaves fewer quantiles.
ENOUGH_BINS = 16
# Where the smooth clip ends, in interquartile ranges, and from where on it is as good as there.
CLIP, AT_CLIP = 3.0, 1e6
# What infinity counts as, beside quarters of the finite numbers: differences of it are finite, too.
INFINITY = np.finfo(np.float64).max / 2


@dataclass(repr=False, eq=False)
class TabularEncoder(TransformerMixin, BaseEstimator):
    """Encode a table for a neural network: numbers, categories and gaps, without looking at the target.

    A number ``x`` with median ``m`` and interquartile range ``r`` becomes ``v / sqrt(1 + (v / 3)**2)`` with ``v = (x -
    m) / r``: scaled robustly, and outliers clipped smoothly to +-3. (Where ``r`` is 0 it is half the range.) Infinity
    counts as beyond all finite numbers, of which alone ``m`` and ``r`` are. Missing numbers become the median, and a
    column says where they were, if there were any in ``fit``.

    Unless it has but two values, it also becomes ``T`` piecewise-linear codes, with the quantiles ``e[0] < ... < e[T]``
    as edges: ``clip((x - e[t]) / (e[t + 1] - e[t]), 0, 1)``. Where a value is so frequent that they leave fewer than 16
    bins, quantiles of the distinct values fill up. A network on codes is, in each feature, a piecewise-linear function
    with kinks where the data are, and steps and sharp bends are as easy to learn as straight lines.

    A category becomes a column for each level that occurs often enough, and one for all rare ones; missing is a level.
    Of two levels one column is enough. What was not seen in ``fit`` counts as rare or, where nothing was rare, as the
    average of the training samples.

    At last the mean of each column is subtracted, so that 0 stands for nothing particular, unless the result is to be
    sparse. A column that does not vary in ``fit`` becomes one of zeros.

    Parameters
    ----------
    n_bins : int or None, default=64
        The most codes of a number, at least 4; None for no codes.
    max_codes : int, default=2048
        The most codes of all numbers together: with many columns, each has fewer bins, and where it would be fewer than
        4 there are no codes at all.
    categorical_features : None, 'from_dtype' or array-like, default='from_dtype'
        Which columns are categorical. 'from_dtype': those of a data frame with categories, strings, booleans or
        objects, and columns of objects or strings in an array. Otherwise the names or positions of columns, or a mask
        of shape (n_features,); None for no column.
    min_frequency : int, default=5
        In how many samples a level has to occur for a column of its own.
    max_categories : int, default=256
        The most levels of a column that are kept, the most frequent ones.
    dtype : dtype, default=float64
        Of the result: float64 or float32.
    sparse_output : bool, default=False
        Whether the result is a CSR matrix. No means are subtracted then, and levels that are neither known nor rare
        have zeros only. It is small where most columns are levels; a number has a code of 1 for each bin below it.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if the columns have names.
    is_categorical_ : ndarray of bool of shape (`n_features_in_`,)
    categories_ : list of ndarray
        The levels of each categorical column that are kept, in order; None stands for missing.
    n_features_out_ : int
    n_codes_ : int
        How many of the columns are codes. They are the last.

    References
    ----------
    Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning", NeurIPS 2022,
    arXiv:2203.05556 (piecewise-linear codes). Holzmueller, Grinsztajn and Steinwart, "Better by default: strong
    pre-tuned MLPs and boosted trees on tabular data", NeurIPS 2024, arXiv:2407.04491 (robust scaling, smooth clip).

    Examples
    --------
    >>> from sknn_scratch import TabularEncoder
    >>> X = [[1.0, "red"], [2.0, "blue"], [None, "red"], [4.0, "blue"], [5.0, "red"], [9.0, "blue"]]
    >>> encoder = TabularEncoder(n_bins=None, min_frequency=1).fit(X)
    >>> encoder.get_feature_names_out()
    array(['x0', 'x0_missing', 'x1_red'], dtype=object)
    >>> encoder.transform(X).shape
    (6, 3)
    """

    n_bins: int | None = 64
    _: KW_ONLY
    max_codes: int = 2048
    categorical_features: Any = "from_dtype"
    min_frequency: int = 5
    max_categories: int = 256
    dtype: DTypeLike = np.float64
    sparse_output: bool = False

    _constraints: ClassVar[dict[str, Constraint]] = {
        "n_bins": Number(Integral, f"[{FEWEST_BINS}, inf)", (None,)),
        "max_codes": Number(Integral, "[0, inf)"),
        "min_frequency": Number(Integral, "[1, inf)"),
        "max_categories": Number(Integral, "[1, inf)"),
        "sparse_output": Boolean(),
    }

    _levels_apart = False  # in pickles of older versions

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn medians, ranges, edges, levels and means.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
        y : None
            Not looked at.

        Returns
        -------
        self : TabularEncoder

        Raises
        ------
        ValueError, TypeError
            If a parameter or ``X`` cannot be used: it is sparse, or has dates, or, where numbers should be, other
            things. The encoder stays as it was.

        Warns
        -----
        UserWarning
            If nearly all values of a categorical column are too rare to be kept, as those of dates, numbers or
            identifiers written as text are, or if a column of text holds numbers but for one text, such as "?".
        """
        check_parameters(self, self._constraints)
        try:
            known = self.dtype is not None and np.dtype(self.dtype) in (np.float32, np.float64)
        except TypeError:
            known = False
        if not known:
            raise ValueError(f"The parameter 'dtype' of TabularEncoder must be float32 or float64; got {self.dtype!r}.")
        with unchanged_on_error(self):
            return self.learn(read_columns(self, X, categorical_features=self.categorical_features))

    def transform(self, X: Any) -> Any:
        """Encode a table with the columns of ``fit``.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray or CSR array of shape (n_samples, `n_features_out_`)
            The numbers, their indicators, the levels and then the codes.

        Warns
        -----
        UserWarning
            If no value of a categorical column is known from ``fit``, where that cannot be chance.
        """
        check_is_fitted(self)
        Z = self.encode(read_columns(self, X, is_categorical=self.is_categorical_), self.dtype)
        if not self.sparse_output:
            return Z.toarray()
        return vstack([csr_array(Z[rows].toarray()) for rows in _chunks(*Z.shape)], format="csr")

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray:
        """Return the names of the columns: ``age``, ``age_missing``, ``city_Rome``, ``city_rare``, ``age_code3``.

        Parameters
        ----------
        input_features : array-like of str of shape (`n_features_in_`,), default=None
            Names of the features, if they had none; otherwise they must be the same.

        Returns
        -------
        names : ndarray of str of shape (`n_features_out_`,)
            Of the same names, the later ones end in ``_``.
        """
        check_is_fitted(self)
        names = OneToOneFeatureMixin.get_feature_names_out(self, input_features)
        numbers, others = names[~self.is_categorical_], names[self.is_categorical_]
        result = [*numbers, *(f"{name}_missing" for name in numbers[self._with_gaps])]
        for name, levels, has_rare in zip(others, self.categories_, self._has_rare, strict=True):
            labels = [*levels, *["rare"] * has_rare]
            result += [f"{name}_{label}" for label in labels[-_n_columns(len(labels)) :]] or [str(name)]
        counts: Counter[str] = Counter()
        for name in numbers[self._coded].repeat(np.diff(self._code_starts)):
            result.append(f"{name}_code{counts[name]}")
            counts[name] += 1
        return np.array(_all_different(result), dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags

    # On columns that were read ---------------------------------------------------------------------------------------

    def learn(self, columns: Columns) -> Self:
        """Fit to columns that were read."""
        self.is_categorical_ = columns.is_categorical
        self._learn_numbers(columns.numbers)
        found = [self._frequent_levels(values) for values in columns.categories]
        self.categories_, self._has_rare = [levels for levels, _ in found], [has_rare for _, has_rare in found]
        self._warn_of_rare_levels(columns.categories)
        widths = [_n_columns(len(levels) + rare) for levels, rare in zip(self.categories_, self._has_rare, strict=True)]
        start = columns.numbers.shape[1] + len(self._with_gaps)
        self._starts = start + np.concatenate([[0], np.cumsum(widths, dtype=int)]).astype(int)
        self.n_codes_ = int(self._code_starts[-1])
        self.n_features_out_ = int(self._starts[-1]) + self.n_codes_
        self._levels_apart = sum(widths) > MANY_LEVELS * len(widths)
        self._means = np.zeros(self.n_features_out_)
        if not self.sparse_output:
            self._means = self.encode(columns, np.float64).mean()
        return self

    def encode(self, columns: Columns, dtype: DTypeLike) -> CodedMatrix:
        """Encode columns that were read."""
        self._warn_of_unknown_values(columns.categories)
        n_apart = len(columns.categories) if self._levels_apart else 0
        n_samples, n_plain = len(columns.numbers), int(self._starts[0 if n_apart else -1])
        plain = np.empty((n_samples, n_plain), dtype)
        edges = np.empty((n_samples, n_apart + len(self._coded)), np.int32)
        fractions = np.empty(edges.shape, dtype)
        starts = self._code_starts
        if n_apart:
            starts = np.concatenate([self._starts[:-1] - n_plain, self._starts[-1] - n_plain + starts])
        for rows in _chunks(n_samples, n_plain):
            some = columns.take(rows) if n_samples > 1 else columns
            x = _quarter(some.numbers)
            is_missing = np.isnan(x)
            x = np.where(is_missing, self._center, x)
            plain[rows] = self._encode_plain(x, is_missing, some.categories[n_apart:]) - self._means[:n_plain]
            for position in range(n_apart):
                edges[rows, position], fractions[rows, position] = self._place_levels(
                    position, some.categories[position]
                )
            edges[rows, n_apart:], fractions[rows, n_apart:] = self._place(x)
            edges[rows, n_apart:] += starts[n_apart] + n_apart
        return CodedMatrix(plain, edges, fractions, Coding(starts, self._means[n_plain:].astype(dtype), n_apart))

    def _warn_of_rare_levels(self, categories: list[NDArray]) -> None:
        """Warn of columns that are as good as lost."""
        names = OneToOneFeatureMixin.get_feature_names_out(self)[self.is_categorical_]
        for name, values, kept, has_rare in zip(names, categories, self.categories_, self._has_rare, strict=True):
            if has_rare:
                warn_of_rare_levels(name, values, kept, self.min_frequency)

    def _warn_of_unknown_values(self, categories: list[NDArray]) -> None:
        """Warn of columns that hold no value known from ``fit``: of other types, or written otherwise."""
        for position, (levels, values) in enumerate(zip(self.categories_, categories, strict=True)):
            then, now = (set(some.tolist()) - {None} for some in (levels, values))
            if not then or not now or not then.isdisjoint(now):
                continue
            name = OneToOneFeatureMixin.get_feature_names_out(self)[self.is_categorical_][position]
            types = [{type(value) for value in some} for some in (then, now)]
            known, found = ({_comparable(cls) for cls in of_one} for of_one in types)
            expected = sum(value is not None for value in values) * self._share_kept(position)
            if known.isdisjoint(found):
                once, here = (", ".join(sorted(cls.__name__ for cls in of_one)) for of_one in types)
                warn(
                    f"Column {name!r} of X holds values of type {here}, and in fit it held {once}, so all of them "
                    "count as unknown. Give it the type that it had."
                )
            elif len(now) > 1 and expected >= FEWEST_KNOWN:
                once, here = (min(some, key=_rank) for some in (then, now))
                warn(
                    f"Column {name!r} of X holds no value that is known from fit, but {here!r}, for example, where it "
                    f"held {once!r}, so all of them count as unknown. If they mean the same, write them alike."
                )

    def _share_kept(self, position: int) -> float:
        """Return which share of the values of a category were of levels that are kept, 0 where that is not known."""
        if not self._has_rare[position]:
            return 1.0
        rare = self._means[self._starts[position + 1] - 1]
        return 1 - rare if rare else 0.0  # of sparse output, means are not taken

    def _learn_numbers(self, numbers: NDArray) -> None:
        """Learn from numbers of shape (n_samples, n_numeric), NaN where missing: one column at a time, for memory."""
        n_present = np.count_nonzero(~np.isnan(numbers), axis=0)
        self._with_gaps = np.flatnonzero((n_present > 0) & (n_present < len(numbers)))
        self._center, self._scale, codable = np.zeros(len(n_present)), np.empty(len(n_present)), []
        for position, column in enumerate(numbers.T):
            values = _present(column)
            if len(finite := _finite(values)):
                self._center[position] = np.median(finite)
            self._scale[position] = _spread(values)
            if len(np.unique(values)) > 2:
                codable.append(position)
        n_bins = 0 if self.n_bins is None else min(self.n_bins, self.max_codes // max(1, len(codable)))
        edges = [_edges(_present(numbers[:, i]), n_bins) for i in codable] if n_bins >= FEWEST_BINS else []
        self._coded = np.array(codable[: len(edges)], dtype=int)
        self._code_starts = np.cumsum([0, *(len(e) - 1 for e in edges)])
        self._edges = np.concatenate([np.empty(0), *edges])

    def _frequent_levels(self, values: NDArray) -> tuple[NDArray, bool]:
        """Return the levels of a column that are kept, in order, and whether there are others."""
        counts = Counter(values.tolist())
        ordered = sorted(counts, key=_rank)
        frequent = [level for level in ordered if counts[level] >= self.min_frequency]
        if len(frequent) > self.max_categories:
            most = set(sorted(frequent, key=lambda level: -counts[level])[: self.max_categories])
            frequent = [level for level in frequent if level in most]
        kept = np.empty(len(frequent), dtype=object)
        kept[:] = frequent
        return kept, len(frequent) < len(ordered)

    def _encode_plain(self, x: NDArray, is_missing: NDArray, categories: list[NDArray]) -> NDArray:
        """Return numbers, indicators and levels of a few rows; their means are not yet subtracted."""
        n_numbers = x.shape[1]
        out = np.zeros((len(x), self._starts[len(categories)]))
        with np.errstate(over="ignore"):
            v = np.clip((x - self._center) / self._scale, -AT_CLIP, AT_CLIP)
            out[:, :n_numbers] = v / np.sqrt(1 + (v / CLIP) ** 2)
            out[:, n_numbers : self._starts[0]] = is_missing[:, self._with_gaps]
        for position, values in enumerate(categories):
            self._encode_category(out, position, values)
        return out

    def _place(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """Return for each coded number of a few rows the edge below it, counted over all, and the fraction above."""
        below, x = np.empty((len(x), len(self._coded)), dtype=int), x[:, self._coded]
        for j, (start, stop) in enumerate(pairwise(self._code_starts + np.arange(len(self._code_starts)))):
            # Beyond the edges a number counts to the outermost bin.
            below[:, j] = start + np.searchsorted(self._edges[start + 1 : stop - 1], x[:, j], side="right")
        low, high = self._edges[below], self._edges[below + 1]
        with np.errstate(over="ignore"):
            return below, np.clip((x - low) / (high - low), 0, 1)

    def _encode_category(self, out: NDArray, position: int, values: NDArray) -> None:
        """Fill the columns of a category."""
        first, stop = self._starts[position : position + 2]
        columns = self._columns_of(position, values)
        rows = np.flatnonzero(columns >= 0)
        out[rows, first + columns[rows]] = 1
        out[columns == UNKNOWN, first:stop] = self._means[first:stop]

    def _place_levels(self, position: int, values: NDArray) -> tuple[NDArray, NDArray]:
        """Return for each value of a category the edge below it, counted over all, and the fraction above."""
        first, stop = self._starts[position : position + 2]
        columns = self._columns_of(position, values)
        below = first - self._starts[0] + position + np.where(columns >= 0, columns, stop - first - 1)
        # A single column is 0 as far beyond its mean as that is from 1.
        beyond = 1 / (1 - self._means[first]) if stop - first == 1 else 1.0
        return below, np.where(columns >= 0, 0.0, np.where(columns == UNKNOWN, 1.0, beyond))

    def _columns_of(self, position: int, values: NDArray) -> NDArray:
        """Return for each value which column of its category is 1: -1 if none is, ``UNKNOWN`` if all are the mean."""
        levels, n_groups = self.categories_[position], len(self.categories_[position]) + self._has_rare[position]
        if n_groups < 2:
            return np.full(len(values), -1)
        skipped = n_groups - _n_columns(n_groups)  # of two groups, the first has no column
        columns = {level: k - skipped for k, level in enumerate(levels)}
        other = n_groups - 1 - skipped if self._has_rare[position] else UNKNOWN
        return np.array([columns.get(value, other) for value in values.tolist()])


def _comparable(cls: type) -> type:
    """Return a class whose values can be equal to those of this one."""
    return Real if issubclass(cls, (Real, Decimal, np.bool_)) else cls


def _chunks(n_rows: int, n_columns: int) -> list[slice]:
    """Return rows that are in the cache together."""
    size = max(1, CHUNK_SIZE // max(1, n_columns))
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def _quarter(numbers: NDArray) -> NDArray:
    """Return a quarter of the numbers: their differences are then finite, whatever they are, and the codes the same."""
    return np.clip(numbers * 0.25, -INFINITY, INFINITY)


def _present(column: NDArray) -> NDArray:
    """Return the quarters of the numbers of a column that are not missing."""
    return _quarter(column[~np.isnan(column)])


def _finite(values: NDArray) -> NDArray:
    """Return those of the quarters of numbers that were finite."""
    return values[np.abs(values) < INFINITY]


def _spread(values: NDArray) -> float:
    """Return the interquartile range, else half the range, of finite numbers, else of all; infinity for a constant."""
    for some in filter(len, (_finite(values), values)):
        low, high = np.quantile(some, [0.25, 0.75])
        if spread := (high - low) or np.ptp(some) / 2:
            return spread
    return np.inf


def _edges(values: NDArray, n_bins: int) -> NDArray:
    """Return the edges of at most ``n_bins`` bins: all distinct values if they are no more, otherwise quantiles.

    Infinity has a bin of its own beyond these. Where quantiles fall together, those of the distinct values fill up.
    """
    distinct = np.unique(values)
    if len(distinct) <= n_bins + 1:
        return distinct
    edges = np.union1d(np.quantile(_finite(values), np.linspace(0, 1, n_bins + 1)), distinct[[0, -1]])
    n_lacking = max(0, min(n_bins, ENOUGH_BINS) + 1 - len(edges))
    return np.union1d(edges, np.quantile(_finite(distinct), np.linspace(0, 1, n_lacking + 2)[1:-1]))


def _n_columns(n_groups: int) -> int:
    """Return how many columns so many groups of levels take; of two, one is enough, and a constant has one of zeros."""
    return 1 if n_groups <= 2 else n_groups


def _all_different(names: list[str]) -> list[str]:
    """Return the names, with as many ``_`` at the end as they need to be unique."""
    seen: dict[str, None] = {}
    for name in names:
        unique = name
        while unique in seen:
            unique += "_"
        seen[unique] = None
    return list(seen)


def _rank(level: Any) -> tuple[int, float, str]:
    """Return by what levels are ordered: numbers, then others by their names, then what is missing."""
    if isinstance(level, Real):
        return 0, float(level), ""
    return (2, 0.0, "") if level is None else (1, 0.0, f"{level}")
