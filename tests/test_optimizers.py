"""Update rules, schedules and initialisers, over their registries."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sknn_scratch.blas import BLOCK_SIZE
from sknn_scratch.initializers import INITIALIZERS
from sknn_scratch.optimizers import OPTIMIZERS, SGD, Adam
from sknn_scratch.schedules import SCHEDULES, Adaptive, InverseScaling

VARIANTS = [
    SGD(momentum=0),
    SGD(nesterovs_momentum=False),
    *(optimizer() for optimizer in OPTIMIZERS.values()),
]


def minimize(optimizer, gradient, start, learning_rate, n_steps):
    w = np.array(start, dtype=float)
    optimizer = copy.deepcopy(optimizer)
    optimizer.start(w.size, w.dtype)
    for _ in range(n_steps):
        optimizer.update(w, gradient(w), learning_rate)
    return w


@pytest.mark.parametrize("optimizer", VARIANTS, ids=repr)
def test_parabola(optimizer):
    scale = np.array([1.0, 10.0])
    w = minimize(optimizer, lambda w: scale * (w - [3, -2]), [0, 0], 0.02, 2000)
    assert_allclose(w, [3, -2], atol=1e-3)


@pytest.mark.parametrize("optimizer", VARIANTS, ids=repr)
def test_rosenbrock(optimizer):
    def gradient(w):
        x, y = w
        return np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])

    w = minimize(optimizer, gradient, [-1.0, 1.5], 3e-4 if isinstance(optimizer, SGD) else 0.01, 40_000)
    assert_allclose(w, [1, 1], atol=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", VARIANTS, ids=repr)
def test_blocks_and_dtype(optimizer, dtype):
    """A vector of several blocks moves as its parts do, in its own dtype."""
    rng = np.random.RandomState(0)
    size = 2 * BLOCK_SIZE + 5
    w, gradients = rng.randn(size).astype(dtype), rng.randn(3, size).astype(dtype)
    parts = [slice(0, 5), slice(5, None)]
    together, apart = w.copy(), w.copy()
    whole, *pieces = (copy.deepcopy(optimizer) for _ in range(3))
    whole.start(size, w.dtype)
    for piece, part in zip(pieces, parts, strict=True):
        piece.start(w[part].size, w.dtype)
    for g in gradients:
        whole.update(together, g, 0.1)
        for piece, part in zip(pieces, parts, strict=True):
            piece.update(apart[part], g[part], 0.1)
    # BLAS fuses multiplication and addition except in the last few numbers of a vector.
    assert_allclose(together, apart, rtol=0, atol=8 * np.finfo(dtype).eps)
    assert not np.array_equal(together, w)
    assert all(vector.dtype == dtype for vector in whole.vectors)


@pytest.mark.parametrize("optimizer", VARIANTS, ids=repr)
def test_resume_copies_the_state(optimizer):
    first, second = copy.deepcopy(optimizer), copy.deepcopy(optimizer)
    w = np.ones(4)
    first.start(4, w.dtype)
    first.update(w, np.arange(4.0), 0.1)
    first = pickle.loads(pickle.dumps(first))
    second.start(4, w.dtype)
    second.resume(first)
    before = copy.deepcopy(first)
    second.update(w, np.arange(4.0), 0.1)
    assert second.n_updates == 2
    assert first.n_updates == 1
    for vector, was in zip(first.vectors, before.vectors, strict=True):
        assert_array_equal(vector, was)


def test_adam_first_steps():
    """By hand: the first step is the learning rate in the direction of the gradient's sign."""
    w = minimize(Adam(epsilon=1e-12), lambda w: np.array([5.0, -0.01]), [0, 0], 0.1, 1)
    assert_allclose(w, [-0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES.values())
def test_schedule_starts_at_its_initial_rate(schedule):
    assert schedule(0.25).learning_rate == 0.25


def test_inverse_scaling():
    schedule = InverseScaling(0.5, power_t=0.25)
    schedule.epoch_ended(15)
    assert schedule.learning_rate == pytest.approx(0.5 / 16**0.25)
    assert schedule.plateau_reached() == (True, "Stopping.")


def test_adaptive():
    schedule = Adaptive(1e-5)
    assert schedule.plateau_reached() == (False, "Setting learning rate to 0.000002")
    assert not schedule.plateau_reached()[0]
    assert schedule.learning_rate == pytest.approx(4e-7)
    assert schedule.plateau_reached() == (True, "Learning rate too small. Stopping.")
    assert Adaptive(1e-6).plateau_reached()[0]


@pytest.mark.parametrize("initializer", INITIALIZERS.values())
def test_initializer_draws_from_the_given_source(initializer):
    draws = []
    for _ in range(2):
        rng = np.random.RandomState(5)
        draws.append((initializer().weights(30, 40, rng), initializer().biases(30, 40, rng)))
    for first, second in zip(*draws, strict=True):
        assert_array_equal(first, second)
    weights, biases = draws[0]
    assert weights.shape == (30, 40)
    assert biases.shape == (40,)
    assert weights.dtype == biases.dtype == np.float64


@pytest.mark.parametrize("factor", [2.0, 6.0])
def test_glorot_uniform(factor):
    weights = INITIALIZERS["glorot_uniform"](factor).weights(200, 100, np.random.RandomState(0))
    bound = np.sqrt(factor / 300)
    assert np.abs(weights).max() <= bound
    assert_allclose(weights.std(), bound / np.sqrt(3), rtol=0.02)
    assert_allclose(weights.mean(), 0, atol=0.01 * bound)
