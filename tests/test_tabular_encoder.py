"""TabularEncoder: what becomes of numbers, categories and gaps."""

import datetime
import pickle
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, RobustScaler, SplineTransformer

from sknn_scratch import MLPFromScratchRegressor, TabularEncoder
from sknn_scratch.estimators.tabular.columns import read_columns

PLAIN = {"n_bins": None, "min_frequency": 1}


def numbers(n_samples=200, n_features=3, seed=0):
    return np.random.RandomState(seed).standard_t(3, (n_samples, n_features))


def frame(n_repeats=10):
    """Return a frame with a column of each kind, three samples repeated."""
    return pd.DataFrame(
        {
            "float": [1.5, np.nan, 4.0] * n_repeats,
            "int": [1, 2, 3] * n_repeats,
            "nullable": pd.array([1, None, 3] * n_repeats, dtype="Int64"),
            "object": pd.Series([1, None, 2.5] * n_repeats, dtype=object),
            "text": ["a", "b", None] * n_repeats,
            "bool": [True, False, True] * n_repeats,
            "maybe": pd.array([True, None, False] * n_repeats, dtype="boolean"),
            "category": pd.Categorical(["u", "v", "w"] * n_repeats),
            "interval": pd.cut([1.0, 5.0, 9.0] * n_repeats, 3),
        }
    )


def test_numbers_are_scaled_robustly_and_clipped_smoothly():
    X = numbers()
    scaled = RobustScaler().fit_transform(X)
    clipped = scaled / np.sqrt(1 + (scaled / 3) ** 2)
    assert_allclose(TabularEncoder(n_bins=None).fit_transform(X), clipped - clipped.mean(axis=0), atol=1e-12)


def test_where_half_of_the_numbers_are_equal_the_unit_is_half_their_range():
    X = np.zeros((100, 1))
    X[0] = 4.0
    assert_allclose(TabularEncoder(n_bins=None, sparse_output=True).fit_transform(X).max(), 2 / np.sqrt(1 + 4 / 9))


def test_codes_are_piecewise_linear_between_quantiles():
    X = numbers(n_features=1)
    encoder = TabularEncoder(n_bins=4).fit(X)
    codes = encoder.transform(X)[:, -encoder.n_codes_ :]
    edges = np.quantile(X, np.linspace(0, 1, 5))
    expected = np.column_stack([np.clip((X - low) / (high - low), 0, 1) for low, high in pairwise(edges)])
    assert_allclose(codes, expected - expected.mean(axis=0), atol=1e-12)


def test_codes_span_the_linear_splines_of_scikit_learn():
    X = numbers(n_features=1)
    codes = TabularEncoder(n_bins=8).fit_transform(X)[:, 1:]
    spline = SplineTransformer(n_knots=9, degree=1, knots="quantile").fit_transform(X)
    of_both = np.column_stack([codes, np.ones(len(X)), spline])
    assert np.linalg.matrix_rank(of_both, tol=1e-8) == np.linalg.matrix_rank(spline, tol=1e-8) == 9


def test_few_values_are_the_edges_themselves():
    X = np.repeat([[0.0], [1.0], [5.0]], 10, axis=0)
    codes = TabularEncoder().fit(X).transform([[0.0], [0.5], [1.0], [3.0], [9.0]])[:, 1:]
    assert_allclose(codes - codes[0], [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1]])
    assert TabularEncoder().fit(X[:20]).n_codes_ == 0  # of two, the number itself says all


@pytest.mark.parametrize(("n_bins", "n_codes"), [(4, 4), (16, 16), (64, 16)])
def test_a_frequent_value_leaves_bins_to_the_others(n_bins, n_codes):
    X = np.concatenate([np.zeros((900, 1)), np.exp(numbers(100, 1))])
    encoder = TabularEncoder(n_bins=n_bins, sparse_output=True).fit(X)
    codes = encoder.transform(X).toarray()[:, 1:]
    assert codes.shape[1] == n_codes
    in_bin = np.bincount(np.ceil(codes.sum(axis=1)).astype(int))  # 0 of zeros, k of those within the bin k
    assert in_bin[0] == 900
    assert in_bin[1:].max() < 2.5 * 100 / n_codes


@pytest.mark.parametrize(("n_features", "n_codes"), [(1, 16), (10, 100), (30, 0)])
def test_codes_are_shared_out_and_left_out_where_they_would_be_few(n_features, n_codes):
    encoder = TabularEncoder(n_bins=16, max_codes=100).fit(numbers(n_features=n_features))
    assert encoder.n_codes_ == n_codes
    assert encoder.n_features_out_ == n_features + n_codes


def test_categories_are_those_of_one_hot():
    levels = np.random.RandomState(0).choice(["a", "b", "c", "d", "e"], 200, p=[0.4, 0.4, 0.18, 0.01, 0.01])
    X = levels[:, np.newaxis].astype(object)
    theirs = OneHotEncoder(min_frequency=5, sparse_output=False).fit(X)
    expected = theirs.transform(X)
    encoder = TabularEncoder().fit(X)
    assert_allclose(encoder.transform(X), expected - expected.mean(axis=0), atol=1e-12)
    assert list(encoder.get_feature_names_out()) == ["x0_a", "x0_b", "x0_c", "x0_rare"]
    assert_array_equal(encoder.transform([["unseen"]]), encoder.transform([["e"]]))


def test_what_was_not_seen_is_the_average_where_nothing_was_rare():
    X = pd.DataFrame({"two": ["a", "b"] * 10, "three": [1, 2, 3, 3] * 5}).astype("category")
    encoder = TabularEncoder().fit(X)
    unseen = pd.DataFrame({"two": ["c", None], "three": [7, None]}).astype("category")
    assert_allclose(encoder.transform(unseen), 0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"sparse_output": True}, {"dtype": np.float32}], ids=str)
def test_levels_that_are_kept_as_positions_are_the_same_columns(monkeypatch, options):
    X = frame().assign(many=np.arange(30) % 7, rare=np.arange(30) // 4, constant="x", none=None)
    names = ["many", "rare", "constant", "text", "bool", "maybe", "category", "interval", "none"]
    unseen = X[:6].assign(many=[9, 0, 9, None, 1, 6], text="new", bool=None, maybe=None, category=None)
    results = []
    for many in (np.inf, 0):
        monkeypatch.setattr("sknn_scratch.estimators.tabular.encoder.MANY_LEVELS", many)
        encoder = TabularEncoder(n_bins=4, categorical_features=names, **options).fit(X)
        results += [encoder.transform(X), encoder.transform(unseen)]
    columns = encoder.encode(read_columns(encoder, X, is_categorical=encoder.is_categorical_), np.float64)
    assert columns.plain.shape[1] < columns.edges.shape[1]
    for one, other in zip(results[:2], results[2:], strict=True):
        one, other = (Z.toarray() if hasattr(Z, "toarray") else Z for Z in (one, other))
        assert_allclose(other, one, atol=1e-6 if options.get("dtype") is np.float32 else 1e-14)


def test_two_levels_take_one_column():
    Z = TabularEncoder().fit_transform(pd.DataFrame({"a": [True, False, False, False] * 5}))
    assert_allclose(Z[:4], [[0.75], [-0.25], [-0.25], [-0.25]])


def test_only_the_most_frequent_levels_are_kept():
    X = np.repeat(np.array([["a"], ["b"], ["c"], ["d"]], dtype=object), [5, 9, 7, 6], axis=0)
    assert list(TabularEncoder(max_categories=2).fit(X).categories_[0]) == ["b", "c"]


def test_missing_numbers_are_the_median_and_marked():
    X = np.array([[1.0], [2.0], [np.nan], [4.0], [5.0]])
    encoder = TabularEncoder(**PLAIN).fit(X)
    assert list(encoder.get_feature_names_out()) == ["x0", "x0_missing"]
    as_median = encoder.transform([[3.0]])[0]
    assert_allclose(encoder.transform([[np.nan]])[0] - as_median, [0, 1])


def test_first_missing_when_predicting_is_the_median():
    encoder = TabularEncoder(**PLAIN).fit([[1.0], [2.0], [3.0]])
    assert_array_equal(encoder.transform([[np.nan]]), encoder.transform([[2.0]]))


def test_frames_of_pandas_and_polars_are_the_same():
    X = frame().drop(columns=["object", "interval"])
    of_pandas, of_polars = TabularEncoder(), TabularEncoder()
    Z = of_pandas.fit_transform(X)
    assert_array_equal(of_polars.fit_transform(pl.from_pandas(X)), Z)
    if hasattr(of_polars, "feature_names_in_"):  # scikit-learn 1.7 does not read those of polars 2
        assert_array_equal(of_polars.get_feature_names_out(), of_pandas.get_feature_names_out())
    assert list(X.columns[of_pandas.is_categorical_]) == ["text", "bool", "maybe", "category"]


def test_a_frame_of_numbers_is_read_at_once(monkeypatch):
    X = pd.DataFrame(numbers() * 100, columns=list("abc"))
    X = X.assign(a=X["a"].astype(int), b=X["b"].astype(np.float32), c=X["c"].mask(X["c"] > 50))
    encoder = TabularEncoder().fit(X)
    by_columns = encoder.transform(X.astype("Float64"))
    monkeypatch.setattr("sknn_scratch.estimators.tabular.columns.columns_of", None)
    assert_array_equal(encoder.transform(X), by_columns)
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(X[["b", "a", "c"]])


def test_every_kind_of_column_is_told_by_its_type():
    X = frame()
    encoder = TabularEncoder().fit(X)
    assert list(X.columns[~encoder.is_categorical_]) == ["float", "int", "nullable", "object"]
    assert np.isfinite(encoder.transform(X)).all()
    assert len(set(encoder.get_feature_names_out())) == encoder.n_features_out_
    assert {"float_missing", "text_None", "category_v", "bool_True"} <= set(encoder.get_feature_names_out())


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([Decimal("1.5"), None, Decimal("3.0")] * 5, dtype=object),
        pl.Series([Decimal("1.5"), None, Decimal("3.0")] * 5),
        pl.Series([1.5, None, 3] * 5, dtype=pl.Object),
    ],
    ids=["decimal in pandas", "decimal in polars", "objects in polars"],
)
def test_numbers_of_any_kind_are_numbers(column):
    make = pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame
    encoder = TabularEncoder(n_bins=None).fit(make({"a": column}))
    assert list(encoder.get_feature_names_out(["a"])) == ["a", "a_missing"]


def test_truths_are_categories_also_as_objects():
    X = pd.DataFrame({"a": pd.Series([True, None, False] * 5, dtype=object)})
    assert TabularEncoder().fit(X).is_categorical_ == [True]


def test_lists_are_no_values():
    with pytest.raises(TypeError, match="lists or structures in column 'a'"):
        TabularEncoder().fit(pl.DataFrame({"a": [[1], [2]]}))


@pytest.mark.parametrize("nan", [None, np.nan, np.float64("nan"), np.float32("nan"), Decimal("nan"), pd.NA, pd.NaT])
def test_any_nan_is_missing(nan):
    column = pd.Series(["u", "v", nan] * 5, dtype=object)
    for X in (column.to_frame(), column.to_numpy()[:, np.newaxis]):
        assert list(TabularEncoder().fit(X).categories_[0]) == ["u", "v", None]


OF_OBJECTS = [np.array(given, dtype=object) for given in (["c", "a"], [np.int64(0), 2], [True, np.False_, True])]


@pytest.mark.parametrize("given", [["a", "c"], [0, 2], [True, False, True], np.array([0, 2]), *OF_OBJECTS])
def test_categorical_features_by_name_position_or_mask(given):
    X = pd.DataFrame({"a": [1, 2, 3] * 5, "b": [1.0, 2.0, 3.0] * 5, "c": ["x", "y", "z"] * 5})
    assert_array_equal(TabularEncoder(categorical_features=given).fit(X).is_categorical_, [True, False, True])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nobody"], "names 'nobody', which is not a column"),
        ([5], "has 5; X has the columns 0 to 2"),
        ([-1], "has -1; X has the columns 0 to 2"),
        ([True], "mask of 1 columns, but X has 3"),
        ("from_type", "must be None, 'from_dtype'"),
        ([0.5], "must be None, 'from_dtype'"),
        ([0, "a"], r"all of one kind; got \[0, 'a'\]"),
        ([True, 2, False], "all of one kind"),
        (np.array(["a", 0], dtype=object), "all of one kind"),
        (["a"], "other things than numbers in column 'c'"),
        (None, "other things than numbers in column 'c'"),
    ],
)
def test_categorical_features_that_cannot_be(given, message):
    X = pd.DataFrame({"a": [1, 2], "b": [1.0, 2.0], "c": ["x", "y"]})
    with pytest.raises(ValueError, match=message):
        TabularEncoder(categorical_features=given).fit(X)


@pytest.mark.parametrize("kinds", [(int, str), (str, float), (bool, str)])
def test_categories_of_another_type_than_in_fit_are_warned_of(kinds):
    first, second = kinds
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0] * 5, "size": [first(1), first(0), None] * 5}, dtype=object)
    other = X.assign(size=[second(1), second(0), None] * 5).astype(object)
    encoder = TabularEncoder(categorical_features=["size"]).fit(X)
    with pytest.warns(
        UserWarning, match=f"Column 'size' .* {second.__name__}, and in fit .* {first.__name__},"
    ) as seen:
        encoder.transform(pd.concat([other] * 300))
    assert len(seen) == 1
    encoder.transform(other.assign(size=None))
    encoder.transform(pd.concat([X.head(1), other]))


def test_numbers_that_are_equal_are_the_same_category():
    X = pd.DataFrame({"size": [1, 2, 3] * 5, "yes": [True, False, True] * 5})
    encoder = TabularEncoder(categorical_features=[True, True]).fit(X)
    assert_array_equal(encoder.transform(X.astype(float)), encoder.transform(X))
    encoder.transform(X.head(5) * 7)  # unknown, but numbers, too


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_categories_that_are_written_otherwise_than_in_fit_are_warned_of(make):
    city, age = ["Rome", "Oslo", "Bern", "Bern"] * 10, np.arange(40.0)
    rare = [f"customer {i}" if i % 3 else "again" for i in range(40)]
    encoder = TabularEncoder().fit(make({"age": age, "city": city, "who": rare}))
    upper = [name.upper() for name in city]
    for other in (upper, [f"{name} " for name in city]):
        with pytest.warns(UserWarning, match="(city|x1)' of X holds no value .*'B(ERN|ern )', .*'Bern'"):
            encoder.transform(make({"age": age, "city": other, "who": rare}))
    for other, who in [(["Paris"] * 40, rare), ([*city[:1], *upper[1:]], rare), ([None] * 40, ["new"] * 40)]:
        encoder.transform(make({"age": age, "city": other, "who": who}))
    encoder.transform(make({"age": age[:9], "city": upper[:9], "who": ["new", "newer", "newest"] * 3}))
    for one in (encoder, TabularEncoder(sparse_output=True).fit(make({"age": age, "city": city, "who": rare}))):
        one.transform(make({"age": age[:20], "city": city[:20], "who": ["new", "newer"] * 10}))


@pytest.mark.parametrize("column", [[5.0] * 8, [np.nan] * 8, ["a"] * 8, [None] * 8])
def test_a_column_that_does_not_vary_is_one_of_zeros(column):
    X = pd.DataFrame({"varies": range(8), "constant": column})
    encoder = TabularEncoder(**PLAIN).fit(X)
    assert list(encoder.get_feature_names_out())[:1] == ["varies"]
    assert encoder.n_features_out_ == 2
    other = X.assign(constant=["b"] * 8 if encoder.is_categorical_[1] else [1e30] * 8)
    assert_array_equal(encoder.transform(other)[:, 1], 0)


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1e30, 1e307])
def test_the_unit_of_a_number_does_not_matter(factor):
    X = numbers()
    assert_allclose(TabularEncoder().fit_transform(X / 20 * factor), TabularEncoder().fit_transform(X), atol=1e-9)


def test_largest_floats_stay_finite():
    largest = np.finfo(np.float64).max
    X = np.column_stack([[-largest, -1.0, 0.0, 1e-308, 1.0, largest], [0, 0, 0, 0, 0, largest]])
    Z = TabularEncoder(n_bins=4).fit_transform(X)
    assert np.isfinite(Z).all()
    assert np.abs(Z).max() <= 6


def of_infinity(encoder, make):
    """Encode numbers that were not in ``fit``, around one that was, and infinity."""
    return encoder.transform(make(np.array([[-np.inf], [-1e300], [0.5], [1e300], [np.inf]])))


@pytest.mark.parametrize("make", [list, np.array, pd.DataFrame, pl.DataFrame], ids=lambda make: make.__name__)
def test_infinity_is_as_far_away_as_can_be(make):
    encoder = TabularEncoder(n_bins=4, sparse_output=True).fit(make(numbers(n_features=1)))
    Z = of_infinity(encoder, make).toarray()
    assert_allclose(Z[[0, -1]], Z[[1, -2]], rtol=1e-9)
    assert_allclose(Z[[0, -1], 0], [-3, 3], rtol=1e-9)


@pytest.mark.parametrize("n_infinite", [1, 100, 2000])
@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_in_fit_leaves_the_scale_and_has_a_bin_of_its_own(n_infinite, sign):
    X = sign * numbers(n_features=1)
    without = TabularEncoder(n_bins=4, sparse_output=True).fit(X)
    encoder = clone(without).fit(np.concatenate([X, np.full((n_infinite, 1), sign * np.inf)]))
    Z, expected = of_infinity(encoder, list).toarray(), of_infinity(without, list).toarray()
    own, others = (5, slice(1, 5)) if sign > 0 else (1, slice(2, 6))
    assert_allclose(Z[:, 0], expected[:, 0])
    assert_allclose(Z[:, others], expected[:, 1:])
    assert_allclose(Z[:, own], [0, 0, 0, 0, 1] if sign > 0 else [0, 1, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ([1, np.inf], [0, 1]),
        ([-np.inf, np.inf], [0, 1]),
        ([-np.inf, 1, np.inf], [0, 1, 2]),
        ([1, np.nan, np.inf], [0, 0, 1]),
        ([np.inf, np.inf], [0, 0]),
    ],
)
@pytest.mark.parametrize("n_bins", [4, None])
def test_of_few_numbers_infinity_is_told_from_the_others(values, order, n_bins):
    Z = TabularEncoder(n_bins=n_bins, sparse_output=True).fit_transform([[value] for value in values] * 5).toarray()
    assert np.isfinite(Z).all()
    assert_array_equal(np.unique(Z[: len(order), 0], return_inverse=True)[1], order)


@pytest.mark.parametrize(
    "column",
    [
        pd.date_range("2020-01-01", periods=3),
        pd.to_timedelta([1, 2, 3], "D"),
        pd.period_range("2020", periods=3, freq="M"),
        [datetime.date(2020, 1, day) for day in (1, 2, 3)],
        pd.Series([np.timedelta64(1, "D"), np.timedelta64(2, "h"), None], dtype=object),
        pd.Series([np.datetime64("NaT", "D"), np.datetime64("2020-01-01"), None], dtype=object),
        pd.Series(pd.period_range("2020", periods=3), dtype=object),
        pl.Series([datetime.date(2020, 1, day) for day in (1, 2, 3)]),
    ],
)
def test_dates_are_refused_with_advice(column):
    make = pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame
    with pytest.raises(TypeError, match=r"dates or durations in column 'when'.*days since"):
        TabularEncoder().fit(make({"when": column}))
    encoder = TabularEncoder().fit(make({"when": [1.0, 2.0, 3.0]}))
    with pytest.raises(TypeError, match=r"dates or durations in column 'when'.*days since"):
        encoder.transform(make({"when": column}))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize(
    ("written", "advice"),
    [
        (lambda i: f"customer {i}", "Leave it out"),
        (lambda i: str(datetime.date(2020, 1, 1) + datetime.timedelta(i)), "They are dates"),
        (lambda i: f"{1 + i % 28}/{1 + i % 12}/{1900 + i}", "They are dates"),
        (lambda i: f"{i / 7:.2f}", "They are numbers:"),
        (lambda i: f"{i / 7:.2f} %", "They are numbers with other signs"),
        (lambda i: f"-${1000 * i:,}.50", "They are numbers with other signs"),
        (lambda i: f"{i} months", "They are numbers with other signs"),
        (lambda i: f"N{i}", "Leave it out"),
        (lambda i: f"{i} Main Street", "Leave it out"),
    ],
)
def test_text_of_which_hardly_a_value_recurs_is_warned_of(written, advice, make):
    text = [written(i) for i in range(150)] + [written(0)] * 5
    X = {"a": np.arange(155.0), "text": text, "kind": ["x", "y", "z", "x", "y"] * 31}
    named = "(text|x1)"  # scikit-learn 1.7 does not read the names of polars 2
    with pytest.warns(UserWarning, match=rf"Column '{named}' of X holds 150 categories in 155 .*{advice}") as seen:
        encoder = TabularEncoder().fit(make(X))
    assert ["rare to be told apart" in str(warning.message) for warning in seen].count(True) == 1
    encoder.transform(make(X))


@pytest.mark.parametrize("n_again", [20, 150])
def test_rare_values_beside_frequent_ones_are_not_warned_of(n_again):
    X = pd.DataFrame({"a": [f"customer {i}" for i in range(150)] + ["again"] * n_again})
    TabularEncoder().fit(X)
    TabularEncoder().fit(X[:45])


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, lambda X: np.array([*X.values()], dtype=object).T])
def test_numbers_in_text_with_a_sign_for_gaps_are_warned_of(make):
    age = ["?" if i % 10 == 0 else str(20 + i % 20) for i in range(200)]
    X, name = make({"age": age}), "x0" if make not in (pd.DataFrame, pl.DataFrame) else "age"
    with pytest.warns(UserWarning, match=rf"Column '{name}' of X holds numbers but for '\?', .*'\?' stands for a gap"):
        TabularEncoder().fit(X)
    TabularEncoder(categorical_features=[0]).fit(X)
    TabularEncoder().fit(make({"age": [value if value != "?" else "7" for value in age]}))
    TabularEncoder().fit(make({"code": [f"{value}?" if i % 7 else value for i, value in enumerate(age)]}))
    TabularEncoder().fit(make({"age": [value if value != "?" else None for value in age]}))


def test_numbers_of_a_declared_category_are_not_warned_of():
    sizes = [*range(20), "one size"] * 5
    TabularEncoder().fit(pd.DataFrame({"size": pd.Categorical(sizes)}))
    with pytest.warns(UserWarning, match="Column 'size' of X holds numbers but for 'one size'"):
        TabularEncoder().fit(pd.DataFrame({"size": pd.Series(sizes, dtype=object)}))


def test_nothing_is_learnt_when_fit_fails():
    encoder = TabularEncoder().fit(numbers())
    before = pickle.dumps(encoder)
    with pytest.raises(TypeError, match="dates"):
        encoder.fit([[datetime.date(2020, 1, 1), 1.0]])
    assert pickle.dumps(encoder) == before


def test_the_table_of_fit_is_asked_for():
    X = frame()
    encoder = TabularEncoder()
    with pytest.raises(NotFittedError):
        encoder.transform(X)
    encoder.fit(X)
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(X.rename(columns={"int": "other"}))
    with pytest.raises(ValueError, match="other things than numbers in column 'int'"):
        encoder.transform(X.assign(int="three"))


@pytest.mark.parametrize(
    "parameter",
    [
        {"n_bins": 3},
        {"n_bins": 4.5},
        {"max_codes": -1},
        {"min_frequency": 0},
        {"dtype": "int64"},
        {"dtype": "double precision"},
        {"dtype": None},
    ],
)
def test_parameters_are_checked(parameter):
    with pytest.raises(ValueError, match=f"The parameter '{next(iter(parameter))}' of TabularEncoder must be"):
        TabularEncoder(**parameter).fit(numbers())


def test_each_column_has_a_name_of_its_own():
    X = pd.DataFrame({"age": [1.0, None] * 6, "age_missing": [0.0, 1.0] * 6})
    X["word"] = pd.Series([*["rare"] * 5, *["None"] * 5, None, None], dtype=object)
    names = TabularEncoder(n_bins=None).fit(X).get_feature_names_out()
    assert list(names) == ["age", "age_missing", "age_missing_", "word_None", "word_rare", "word_rare_"]
    Z = TabularEncoder(n_bins=None).set_output(transform="polars").fit_transform(X)
    assert Z.columns == list(names)


def test_a_frame_that_is_not_yet_computed_is_refused():
    with pytest.raises(ValueError, match=r"X cannot be used: a LazyFrame .* pass X.collect\(\)"):
        TabularEncoder().fit(pl.DataFrame({"a": [1.0, 2.0]}).lazy())


def test_a_column_may_have_the_name_of_a_method():
    X = pd.DataFrame(numbers(), columns=["collect", "dtype", "items"])
    assert_array_equal(TabularEncoder().fit_transform(X), TabularEncoder().fit_transform(X.to_numpy()))


def test_output_is_a_frame_if_it_is_asked_for():
    X = frame()
    Z = TabularEncoder(dtype=np.float32).set_output(transform="pandas").fit_transform(X)
    assert list(Z.columns) == list(TabularEncoder().fit(X).get_feature_names_out())
    assert (Z.dtypes == np.float32).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_output_is_the_dense_one_without_the_means(dtype):
    X = frame(2000)
    dense = TabularEncoder(dtype=dtype).fit(X).transform(X)
    encoder = TabularEncoder(dtype=dtype, sparse_output=True).fit(X)
    Z = encoder.transform(X)
    assert Z.format == "csr"
    assert Z.dtype == dtype
    assert_allclose(Z.toarray() - Z.toarray().mean(axis=0, dtype=np.float64), dense, atol=1e-6)
    of_levels = [
        name.split("_")[0] in {"text", "bool", "maybe", "category"} for name in encoder.get_feature_names_out()
    ]
    assert set(np.unique(Z.toarray()[:, of_levels])) == {0, 1}
    unknown = encoder.transform(X[:1].assign(category="unseen")).toarray()[0]
    assert_array_equal(unknown[["category" in name for name in encoder.get_feature_names_out()]], 0)
    model = make_pipeline(encoder, MLPFromScratchRegressor(solver="lbfgs", max_iter=2000, random_state=0))
    assert model.fit(X, X["int"] ** 2).score(X, X["int"] ** 2) > 0.99


def test_sparse_output_of_levels_is_as_small_as_that_of_scikit_learn():
    X = np.random.RandomState(0).randint(100, size=(1000, 3)).astype(str).astype(object)
    ours = TabularEncoder(sparse_output=True, min_frequency=1).fit_transform(X)
    assert ours.nnz == OneHotEncoder().fit_transform(X).nnz


def test_rows_are_encoded_alike_whoever_is_beside_them():
    X = frame(2000)
    encoder = TabularEncoder().fit(X)
    assert_array_equal(encoder.transform(X)[3001:3002], encoder.transform(X.iloc[3001:3002]))


def test_copies_are_the_same():
    X = frame()
    encoder = TabularEncoder().fit(X)
    for copy in (pickle.loads(pickle.dumps(encoder)), clone(encoder).fit(X)):
        assert_array_equal(copy.transform(X), encoder.transform(X))


def test_a_linear_model_learns_a_bent_function_from_it():
    X = numbers(500, 1)
    y = np.abs(X[:, 0]) + (X[:, 0] > 1)
    bins = make_pipeline(KBinsDiscretizer(16, quantile_method="averaged_inverted_cdf"), Ridge(1e-3)).fit(X, y)
    codes = make_pipeline(TabularEncoder(16), Ridge(1e-3)).fit(X, y)
    assert codes.score(X, y) > 0.95 > bins.score(X, y)


def test_it_is_a_step_before_the_drop_in():
    X, y = frame(), np.tile([1.0, 2.0, 4.0], 10)
    model = make_pipeline(TabularEncoder(), MLPFromScratchRegressor(solver="lbfgs", random_state=0)).fit(X, y)
    assert model.score(X, y) > 0.99
