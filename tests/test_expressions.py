"""Formulas as graphs, and the loops that are made of them: the numbers are NumPy's."""

import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_allclose

from sknn_scratch.catalogue.activations import Activation
from sknn_scratch.catalogue.expressions import ITEM, NoGraphError, trace_formula, walk
from sknn_scratch.catalogue.optimizers import Optimizer
from sknn_scratch.catalogue.rewriting import BY_OTHERS, in_terms_of
from sknn_scratch.engines.compiled import source
from sknn_scratch.engines.compiled.sources import _of_optimizer

try:
    from numba import cfunc
except ImportError:
    cfunc = None

needs_numba = pytest.mark.skipif(cfunc is None, reason="numba is not installed")
DTYPES = [np.float64, np.float32]


class Formulas:
    """A component whose formula has many results."""

    def __init__(self, formulas, **parameters):
        self.formulas = formulas
        vars(self).update(parameters)

    def all(self, *arguments):
        return tuple(formula(*arguments) for formula in self.formulas)


def compiled(text):
    """Return a kernel as a function of arrays and whole numbers."""
    space = {}
    exec(text, space)
    kernel = cfunc(space["signature"], error_model="numpy")(space["kernel"])

    def call(*arrays_and_numbers):
        return kernel.ctypes(
            *(np.ctypeslib.as_ctypes(a) if isinstance(a, np.ndarray) else a for a in arrays_and_numbers)
        )

    return call


def computed(formulas, dtype, *arrays):
    """Return what compiled code makes of two arrays, for each formula of two numbers."""
    w, g = (np.array(array, dtype=dtype) for array in arrays)
    results, _ = trace_formula(Formulas(formulas), ["all"], {"w": ITEM, "g": ITEM}, dtype)
    kernel = compiled(source.optimizer_source([results[0], *results], [f"v{k}" for k in range(len(results))]))
    state = np.zeros((len(results), w.size), dtype=dtype)
    kernel(w, g, state.ravel(), w.size, w.size, np.zeros(1))
    return state


def expected(formulas, dtype, *arrays):
    with np.errstate(all="ignore"):
        return [np.broadcast_to(f(*(np.array(a, dtype=dtype) for a in arrays)), len(arrays[0])) for f in formulas]


# Operations -----------------------------------------------------------------------------------------------------------

# Those that are not NumPy's or scipy.special's functions of these names, called with one or two numbers.
CALLED_OTHERWISE = {
    "where": lambda a, b: np.where(a > b, a, 2 * b),
    "invert": lambda a, b: ~(a > b),
    "bitwise_and": lambda a, b: (a > 0) & (b > 0),
    "bitwise_or": lambda a, b: (a > 0) | (b > 0),
    "bitwise_xor": lambda a, b: (a > 0) ^ (b > 0),
    "power": lambda a, b: np.abs(a) ** b,
}


# Those that have a text of their own, and those that are written by these and just as exact.
OPERATIONS = [
    *source._TEXTS,
    *("bitwise_and", "bitwise_or", "bitwise_xor", "cosh", "fabs", "invert", "isfinite", "isinf", "isnan"),
    *("logical_xor", "not_equal", "reciprocal", "sinh", "square", "tan"),
]


def formula_of(operation):
    if operation in CALLED_OTHERWISE:
        return CALLED_OTHERWISE[operation]
    function = getattr(np, operation, None) or getattr(scipy.special, operation)
    return function if function.nin == 2 else lambda a, b: function(a)


NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 3.0, 1e-3, -0.3, 12.0, np.inf, -np.inf, np.nan]
FIRST, SECOND = (grid.ravel() for grid in np.meshgrid(NUMBERS, NUMBERS))


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
def test_operations(dtype):
    """Infinite numbers and NaN included, on any pair of which each operation is tried."""
    formulas = [formula_of(operation) for operation in OPERATIONS]
    actual, desired = computed(formulas, dtype, FIRST, SECOND), expected(formulas, dtype, FIRST, SECOND)
    eps = np.finfo(dtype).eps
    for operation, ours, numpys in zip(OPERATIONS, actual, desired, strict=True):
        assert_allclose(ours, numpys, rtol=20 * eps, atol=eps, err_msg=operation)


class Powers:
    def __init__(self, n):
        self.n = n

    def all(self, w):
        return w * (-2) ** self.n, w * np.exp(-np.inf * self.n), w * (3 - self.n) / -4


@needs_numba
def test_constants_beside_parameters():
    results, settings = trace_formula(Powers(2.0), ["all"], {"w": ITEM}, np.float64)
    w, state = np.ones(1), np.zeros(2)
    compiled(source.optimizer_source(results, ["a", "b"]))(w, w, state, 1, 1, np.array(settings))
    assert [*w, *state] == [4.0, 0.0, -0.25]


@needs_numba
def test_operations_on_parameters_alone():
    """They are computed once, in float64 whatever the dtype of the arrays."""

    class OfParameters(Formulas):
        def all(self, w, g):
            return tuple(0 * w + formula(self.a, self.b) for formula in self.formulas)

    traced = OfParameters([formula_of(operation) for operation in OPERATIONS], a=1.0, b=1.0)
    results, settings = trace_formula(traced, ["all"], {"w": ITEM, "g": ITEM}, np.float64)
    assert settings == [1.0, 1.0]
    kernel = compiled(source.optimizer_source([results[0], *results], [f"v{k}" for k in range(len(results))]))
    w, state, ours = np.zeros(1), np.zeros(len(results)), []
    for a, b in zip(FIRST, SECOND, strict=True):
        w[0] = 0
        kernel(w, w, state, 1, 1, np.array([a, b]))
        ours.append(state.copy())
    for operation, column, formula in zip(OPERATIONS, np.transpose(ours), traced.formulas, strict=True):
        with np.errstate(all="ignore"):
            numpys = [formula(np.float64(a), np.float64(b)) for a, b in zip(FIRST, SECOND, strict=True)]
        assert_allclose(column, numpys, rtol=1e-14, err_msg=operation)


WAYS_TO_SAY_IT = [
    *(lambda z, g, n=n: z**n for n in (0, 1, 2, 3, 4, 5, -1, -2, -3, 0.5, 1.5, -0.5)),
    lambda z, g: np.square(z) + abs(z) + np.abs(-z),
    lambda z, g: np.where(z > 0, 1, 0),
    lambda z, g: np.where(z, 2.0, 3.0),
    lambda z, g: np.where(z > 0, z > 1, g > 1) * 3.0,
    lambda z, g: np.full_like(z, 3) + np.ones_like(z) + np.zeros_like(g),
    lambda z, g: np.full_like(z, g),
    lambda z, g: z.clip(-1, 1) + z.clip(min=0) + z.clip(max=0.5),
    lambda z, g: np.clip(z, -1, 1),
    lambda z, g: np.clip(z, None, g),
    lambda z, g: np.clip(z, a_min=-1, a_max=None),
    lambda z, g: (z > 0) * z + z * (z < 1),
    lambda z, g: ((z > 0) + (g > 0)) * 1.0,
    lambda z, g: ((z > 0) * (g > 0)) * 1.0,
    lambda z, g: np.maximum(z > 0, g > 0) + 0.5,
    lambda z, g: ((z > 0) == (g > 0)) + 0.0,
    lambda z, g: (z > 0).astype(z.dtype) - (z < 0).astype(float) - (g < 0).astype(int),
    lambda z, g: np.where(z.astype(bool) & ~(g > 0) | True, z, g),
    lambda z, g: np.where(np.logical_and(z, g > 0), z.copy(), -g),
    lambda z, g: z * np.finfo(z.dtype).eps + np.float64(3) + np.array(2.0),
    lambda z, g: 1 / np.where(z > 0, 0.0, -0.0),
    lambda z, g: np.where(z > np.inf, -np.inf, np.where(z < -1, np.nan, -3)),
    lambda z, g: -z + +g - 2 / z,
]  # fmt: skip


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
def test_ways_to_say_it(dtype):
    actual, desired = computed(WAYS_TO_SAY_IT, dtype, FIRST, SECOND), expected(WAYS_TO_SAY_IT, dtype, FIRST, SECOND)
    eps = np.finfo(dtype).eps
    for n, (ours, numpys) in enumerate(zip(actual, desired, strict=True)):
        assert_allclose(ours, numpys, rtol=20 * eps, atol=eps, err_msg=f"number {n}")


# Reductions -----------------------------------------------------------------------------------------------------------


def row(a):
    return a.sum(axis=1)


REDUCTIONS = [
    (lambda y, z: np.sum(z, axis=1), lambda y, z: z - np.sum(z, axis=-1, keepdims=True)),
    (lambda y, z: np.max(z, 1), lambda y, z: z - z.max(axis=1, keepdims=True) + y.min(axis=1, keepdims=True)),
    (lambda y, z: z.mean(axis=1), lambda y, z: z - np.mean(z, axis=1, keepdims=True)),
    (lambda y, z: z.sum(axis=1) / z.shape[1], lambda y, z: z / z.shape[-1]),
    (lambda y, z: np.add.reduce(z, axis=1), lambda y, z: z * np.maximum.reduce(y, axis=1, keepdims=True)),
    (lambda y, z: np.amin(z * y, axis=1), lambda y, z: z * (z > 0).sum(axis=1, keepdims=True)),
    (lambda y, z: np.sum(z > y, axis=1), lambda y, z: z),
    (lambda y, z: 1.0 * (z.max(axis=1) > y.max(axis=1)), lambda y, z: z),
    (
        lambda y, z: np.log(np.exp(z).sum(axis=1)) - (y * z).sum(axis=1),
        lambda y, z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - y,
    ),
    (
        lambda y, z: np.where((z.max(axis=1) > 0) & (y.min(axis=1) < 1), row(z), row(y)),
        lambda y, z: np.where((z.sum(axis=1, keepdims=True) > 0) & (z > z.mean(axis=1, keepdims=True)), z, y),
    ),
    (
        lambda y, z: z.sum(axis=1, keepdims=True).sum(axis=1),
        lambda y, z: z * z.sum(axis=1, keepdims=True).mean(axis=1, keepdims=True),
    ),
    (
        lambda y, z: ((z - z.mean(axis=1, keepdims=True)) ** 2).sum(axis=1),
        lambda y, z: (z - ((z - z.mean(axis=1, keepdims=True)) ** 2).sum(axis=1, keepdims=True)).clip(-1, 1),
    ),
]  # fmt: skip


@needs_numba
@pytest.mark.parametrize(
    ("formulas", "dtype"),
    [*((formulas, np.float64) for formulas in REDUCTIONS), *((formulas, np.float32) for formulas in REDUCTIONS[::3])],
    ids=[*range(len(REDUCTIONS)), *(f"{n}-float32" for n in range(0, len(REDUCTIONS), 3))],
)
def test_reductions_over_columns(formulas, dtype):
    rng, n, n_columns, stride = np.random.RandomState(0), 7, 3, 9
    y, z = rng.rand(n, n_columns).astype(dtype), rng.randn(n, n_columns).astype(dtype)
    weight = rng.rand(n).astype(dtype)
    results, settings = trace_formula(Formulas(formulas), ["all"], {"y": ITEM, "z": ITEM}, dtype)
    text, rows, items = source.loss_source(*results)
    places = [np.zeros((n_columns, stride), dtype=dtype) for _ in range(3)]
    places[0][:, :n], places[1][:, :n] = y.T, z.T
    scratch = np.full(n * (rows + items * n_columns) + 1, 77, dtype=dtype)
    total, settings = np.array([3.0]), np.array([*settings, 0.0])
    compiled(text)(*(a.ravel() for a in places), weight, scratch, n, n_columns, stride, total, settings)
    value, derivative = (formula(y, z) for formula in formulas)
    assert scratch[-1] == 77
    assert total[0] - 3 == pytest.approx(float((weight * value).sum()), rel=20 * float(np.finfo(dtype).eps))
    assert_allclose(
        places[2][:, :n].T, weight[:, None] * derivative, rtol=50 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps
    )
    assert not places[2][:, n:].any()


# Parameters -----------------------------------------------------------------------------------------------------------


class Leaky(Activation):
    """Looks at a parameter, has one as part of a helper's formula, and another that is no number."""

    def __init__(self, slope=0.1, steep=True, order=1):
        self.slope, self.steep, self.order = slope, steep, order

    def value(self, z):
        return self._bend(z)

    def derivative(self, z):
        return np.where(z > 0, 1.0, self.slope)

    def _bend(self, z):
        return np.where(z > 0, z, self.slope * z) * (2 if self.steep else 1)


class Branching(Leaky):
    def value(self, z):
        return z if self.order == 1 else super().value(z) ** int(self.order)


def trace(component, method="value"):
    return trace_formula(component, [method], {"z": ITEM}, np.float64)


def test_parameters_stay_parameters_unless_the_formula_looks_at_them():
    texts = [source.value_source(trace(Leaky(slope))[0][0], False) for slope in (0.1, 0.3)]
    assert texts[0] == texts[1]
    assert trace(Leaky(0.3))[1] == [0.3, 1.0]
    assert texts[0] != source.value_source(trace(Leaky(0.1, steep=False))[0][0], False)
    assert trace(Branching())[1] == []
    assert trace(Branching())[0][0].operation == "argument"
    baked = [source.value_source(trace(Branching(slope, order=3))[0][0], False) for slope in (0.1, 0.3)]
    assert baked[0] != baked[1]


def test_formulas_need_no_file():
    space = {"Activation": Activation, "np": np}
    exec(
        "class Typed(Activation):\n"
        "    def value(self, z):\n        return np.sinh(z)\n"
        "    def derivative(self, z):\n        return np.cosh(z)\n",
        space,
    )
    (result,), _ = trace(space["Typed"]())
    assert "expm1" in source.value_source(result, False)


def test_the_same_operation_is_there_once():
    (result,), _ = trace_formula(Formulas([lambda z: np.exp(z) + np.exp(z)]), ["all"], {"z": ITEM}, np.float64)
    assert result.arguments[0] is result.arguments[1]


# What has no graph ----------------------------------------------------------------------------------------------------


def masked(z):
    out = np.zeros_like(z)
    out[z > 0] = 1
    return out


def in_place(z):
    z += 1
    return z


def branching(z):
    return z if z > 0 else -z


REFUSED = [
    (masked, "the formula looks at single values or writes into an array"),
    (branching, "the formula looks at single values or writes into an array"),
    (lambda z: z[:, 0], "the formula looks at single values or writes into an array"),
    (lambda z: next(iter(z)), "the formula looks at single values or writes into an array"),
    (lambda z: np.asarray(z), "the formula looks at single values or writes into an array"),
    (in_place, "add writes into an array"),
    (lambda z: np.exp(z, out=np.empty(3)), "exp writes into an array"),
    (lambda z: np.sort(z, axis=1), "sort has no graph"),
    (lambda z: np.cumsum(z, axis=1), "cumsum has no graph"),
    (lambda z: np.array([1.0, 2.0]) * z, "an array or ndarray stands in the formula"),
    (lambda z: z + "1", "an array or str stands in the formula"),
    (lambda z: z.T, r"\.T has no graph"),
    (lambda z: z.reshape(-1), r"\.reshape has no graph"),
    (lambda z: z.sum(), "sum over axis None"),
    (lambda z: z.sum(axis=0), "sum over axis 0"),
    (lambda z: np.sum(z, axis=1, where=[True]), "TypeError: .* unexpected keyword argument 'where'"),
    (lambda z: np.add.reduce(z, axis=1, initial=5), "TypeError: .* unexpected keyword argument 'initial'"),
    (lambda z: np.add.reduce(z), "sum over axis None"),
    (lambda z: np.sum(z, 1, None, np.empty(3)), "TypeError: .* positional arguments"),
    (lambda z: np.add.accumulate(z), r"add.accumulate with"),
    (lambda z: np.exp(z, dtype=np.float32), r"exp.__call__ with \['dtype'\]"),
    (lambda z: z + z.sum(axis=1), "one value a sample meets one a column; keepdims=True is missing"),
    (lambda z: z.astype(int), "numbers become int64"),
    (lambda z: ~z, "invert of numbers"),
    (lambda z: z & 1, "bitwise_and of numbers"),
    (lambda z: (z > 0) - (z < 0), "subtract of True and False"),
    (lambda z: np.exp(z > 0), "exp of True and False"),
    (lambda z: z * 1j, "TypeError"),
    (lambda z: np.zeros_like(z, dtype=int), "zeros_like with dtype"),
    (lambda z: z.undefined(), r"\.undefined has no graph"),
    (lambda z: 1 / 0, "ZeroDivisionError: division by zero"),
    # These have a graph, but no loop for single numbers.
    (lambda z: z / z.shape[0], "n_samples cannot be expressed"),
    (lambda z: np.gcd(z, z), "gcd cannot be expressed"),
    (lambda z: z @ z, "matmul cannot be expressed"),
    (lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), "a number depends on those in other columns"),
    (lambda z: z / z.shape[1], "a number depends on those in other columns"),
]


@pytest.mark.parametrize(("formula", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_compiled_says_why(formula, reason):
    def activation():
        (result,), _ = trace_formula(Formulas([formula]), ["all"], {"z": ITEM}, np.float64)
        source.value_source(result, False)

    def optimizer():
        results, _ = trace_formula(Formulas([formula]), ["all"], {"w": ITEM}, np.float64)
        source.optimizer_source(results, [])

    for make in (activation, optimizer):
        with pytest.raises(NoGraphError, match=f"^{reason}"):
            make()


def test_a_loss_has_a_value_for_each_sample_and_a_derivative_for_each_output():
    for value, derivative in [
        (lambda z: z, lambda z: z),
        (lambda z: 1.0, lambda z: z),
        (row, row),
        (row, lambda z: 1.0),
    ]:
        results, _ = trace_formula(Formulas([value, derivative]), ["all"], {"z": ITEM}, np.float64)
        with pytest.raises(NoGraphError, match="value must be a number for each sample"):
            source.loss_source(*results)


class Counting(Optimizer):
    def move(self, w, g, r):
        return w - r * g / self.n_updates


def test_an_optimizer_that_computes_with_what_changes():
    optimizer = Counting()
    optimizer.start(3, np.dtype(float))
    with pytest.raises(NoGraphError, match="n_updates cannot be expressed"):
        _of_optimizer(optimizer, np.dtype(float))


# Operations by way of others ------------------------------------------------------------------------------------------

DIFFERENCES = {"erfc", "logaddexp", "ndtr"}  # near 0, of numbers that are not


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BY_OTHERS)
def test_operations_by_way_of_others_are_what_numpy_computes(name, dtype):
    ufunc = getattr(np, name, None) or getattr(scipy.special, name)
    tiny, largest = np.logspace(-30, -1, 30), np.logspace(1, 30, 30)
    x = np.concatenate([np.linspace(-40, 40, 8001), np.linspace(-1, 1, 2001), tiny, -tiny, largest, -largest])
    x = np.append(x, [0, np.inf, -np.inf, np.nan]).astype(dtype)
    if name.startswith(("bitwise", "invert", "logical_xor")):
        x = x > 0
    arguments = (x, np.random.RandomState(0).permutation(x))[: ufunc.nin]
    expected, got = ufunc(*arguments), BY_OTHERS[name](*arguments)
    assert got.dtype == expected.dtype
    eps = np.finfo(dtype).eps
    assert_allclose(got, expected, rtol=10 * eps, atol=4 * eps if name in DIFFERENCES else 0)


def test_only_known_operations_are_left():
    class Own(Activation):
        def value(self, z):
            return np.sinh(z) + scipy.special.log_expit(z) * scipy.special.ndtr(z)

    (result,), _ = trace_formula(Own(), ["value"], {"z": ITEM}, np.float64)
    known = {
        "argument",
        "constant",
        "absolute",
        "add",
        "erf",
        "exp",
        "log",
        "maximum",
        "minimum",
        "multiply",
        "negative",
        "subtract",
    }
    (result,) = in_terms_of({*known, "tanh"}, [result])
    assert {node.operation for node in walk([result])} == {*known, "tanh"}
    with pytest.raises(NoGraphError, match="tanh cannot be expressed"):
        in_terms_of(known, [result])
