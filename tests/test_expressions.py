"""Formulas as graphs of operations, and operations by way of others."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special

from sknn_scratch import Activation
from sknn_scratch.expressions import BY_OTHERS, ITEM, NoGraphError, in_terms_of, trace_formula, walk

DIFFERENCES = {"erfc", "logaddexp", "ndtr"}  # near 0, of numbers that are not


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BY_OTHERS)
def test_operations_by_way_of_others_are_what_numpy_computes(name, dtype):
    ufunc = getattr(np, name, None) or getattr(special, name)
    tiny, largest = np.logspace(-30, -1, 30), np.logspace(1, 30, 30)
    x = np.concatenate([np.linspace(-40, 40, 8001), np.linspace(-1, 1, 2001), tiny, -tiny, largest, -largest])
    x = np.append(x, [0, np.inf, -np.inf, np.nan]).astype(dtype)
    if name.startswith(("bitwise", "invert")):
        x = x > 0
    arguments = (x, np.random.RandomState(0).permutation(x))[: ufunc.nin]
    expected, got = ufunc(*arguments), BY_OTHERS[name](*arguments)
    assert got.dtype == expected.dtype
    eps = np.finfo(dtype).eps
    assert_allclose(got, expected, rtol=10 * eps, atol=4 * eps if name in DIFFERENCES else 0)


def test_arithmetic_with_truths_is_logic():
    class Window(Activation):
        def value(self, z):
            inside = (z > 0) * (z < 6)
            outside = (z < -7) + (z > 7)
            return inside.astype(z.dtype) + outside.astype(z.dtype)

    (result,), _ = trace_formula(Window(), ["value"], {"z": ITEM}, np.float64)
    operations = [node.operation for node in walk([result])]
    assert operations.count("logical_and") == operations.count("logical_or") == 1


def test_only_known_operations_are_left():
    class Own(Activation):
        def value(self, z):
            return np.sinh(z) + special.log_expit(z) * special.ndtr(z)

    (result,), _ = trace_formula(Own(), ["value"], {"z": ITEM}, np.float64)
    known = {"absolute", "add", "erf", "exp", "log", "maximum", "minimum", "multiply", "negative", "subtract"}
    (result,) = in_terms_of({*known, "tanh"}, [result])
    assert {node.operation for node in walk([result]) if node.arguments} == {*known, "tanh"}
    with pytest.raises(NoGraphError, match="there is no way to compute 'tanh'"):
        in_terms_of(known, [result])
