"""Update rules and schedules, over their registries."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tasks import make_task, our_estimator

from sknn_scratch.blas import BLOCK_SIZE
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, Nadam, Optimizer, RMSprop
from sknn_scratch.catalogue.schedules import (
    SCHEDULES,
    Adaptive,
    Constant,
    Cosine,
    Exponential,
    Function,
    InverseScaling,
    OneCycle,
    Schedule,
    Step,
)

VARIANTS = [
    SGD(momentum=0),
    SGD(nesterovs_momentum=False),
    AdamW(weight_decay=0),
    *(optimizer() for name, optimizer in OPTIMIZERS.items() if name != "adamw"),
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
    learning_rate = 1.0 if isinstance(optimizer, Adagrad) else 0.02
    w = minimize(optimizer, lambda w: scale * (w - [3, -2]), [0, 0], learning_rate, 2000)
    # RMSprop ends in steps of the learning rate around the minimum.
    assert_allclose(w, [3, -2], atol=0.02 if isinstance(optimizer, RMSprop) else 1e-3)


@pytest.mark.parametrize("optimizer", VARIANTS, ids=repr)
def test_rosenbrock(optimizer):
    def gradient(w):
        x, y = w
        return np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])

    learning_rate = {SGD: 1e-3, Adagrad: 0.5, RMSprop: 1e-3}.get(type(optimizer), 0.01)
    w = minimize(optimizer, gradient, [-1.0, 1.5], learning_rate, 8000)
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
    assert all(vector.dtype == dtype for vector in whole.state)


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
    for vector, was in zip(first.state, before.state, strict=True):
        assert_array_equal(vector, was)


def test_adam_first_steps():
    """By hand: the first step is the learning rate in the direction of the gradient's sign."""
    w = minimize(Adam(epsilon=1e-12), lambda w: np.array([5.0, -0.01]), [0, 0], 0.1, 1)
    assert_allclose(w, [-0.1, 0.1], rtol=1e-6)


def test_adamw_shrinks_weights_but_not_biases():
    w, plain = np.ones(6), np.ones(6)
    with_decay, without = AdamW(weight_decay=0.5), Adam()
    with_decay.start(6, w.dtype, n_weights=4)
    without.start(6, w.dtype)
    with_decay.update(w, np.arange(6.0), 0.1)
    without.update(plain, np.arange(6.0), 0.1)
    assert_allclose(w - plain, [-0.05] * 4 + [0] * 2, atol=1e-12)


# Three steps of PyTorch's optimisers from (1, -2, 0.5) with these gradients; the next test makes sure of that.
GRADIENTS = np.array([[0.5, -1.0, 2.0], [0.25, 3.0, -1.0], [-2.0, 0.125, 0.5]])
REFERENCE = {
    "SGD": (SGD(0.9, False), {"momentum": 0.9}),
    "SGD, Nesterov": (SGD(0.9, True), {"momentum": 0.9, "nesterov": True}),
    "Adam": (Adam(0.8, 0.99, 1e-13), {"betas": (0.8, 0.99), "eps": 1e-13}),
    "AdamW": (AdamW(0.8, 0.99, 1e-13, 0.3), {"betas": (0.8, 0.99), "eps": 1e-13, "weight_decay": 0.3}),
    "NAdam": (Nadam(0.8, 0.99, 1e-3), {"betas": (0.8, 0.99), "eps": 1e-3}),
    "RMSprop": (RMSprop(0.9, 1e-3), {"alpha": 0.9, "eps": 1e-3}),
    "Adagrad": (Adagrad(1e-3), {"eps": 1e-3}),
}
TRAJECTORY_ENDS = {
    "SGD": [1.0170000000000001, -2.3115, 0.09799999999999995],
    "SGD, Nesterov": [1.1403, -2.49285, -0.011800000000000047],
    "Adam": [0.8588776364141426, -1.9968521964870594, 0.34841575862956115],
    "AdamW": [0.7802054180384006, -1.8264716994455057, 0.3112956697736207],
    "NAdam": [0.9479577891349987, -2.0074193866053673, 0.4020934740305393],
    "RMSprop": [0.8451839454790292, -1.9991946502267202, 0.2561464140838002],
    "Adagrad": [0.9518204263743201, -1.9988867542607658, 0.4229390741339698],
}


def test_every_optimizer_has_a_reference():
    assert {type(optimizer) for optimizer, _ in REFERENCE.values()} == set(OPTIMIZERS.values())


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_trajectory(name):
    gradients = iter(GRADIENTS)
    w = minimize(REFERENCE[name][0], lambda w: next(gradients), [1.0, -2.0, 0.5], 0.1, 3)
    # PyTorch keeps the product of NAdam's momenta in float32.
    assert_allclose(w, TRAJECTORY_ENDS[name], rtol=1e-8 if name == "NAdam" else 1e-10)


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_trajectory_is_pytorchs(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; the frozen numbers are used")
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, name.partition(",")[0])([w], lr=0.1, **REFERENCE[name][1])
    for gradient in GRADIENTS:
        w.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    assert_allclose(w.detach().numpy(), TRAJECTORY_ENDS[name], rtol=1e-10)


def rates(schedule, n_epochs, learning_rate_init=0.5, max_iter=10):
    """Return the rate of each epoch, in each of which 10 samples are seen."""
    schedule.start(learning_rate_init, max_iter)
    found = []
    for epoch in range(n_epochs):
        found.append(schedule.learning_rate)
        schedule.epoch_ended(10 * (epoch + 1))
    return found


class Shift(Optimizer):
    """Each vector is what the one before it was."""

    vector_names = ("last", "last_but_one", "parameters_before")

    def move(self, w, g, last, last_but_one, parameters_before, rate):
        return w - rate * g, g, last, w


def test_vectors_can_be_made_of_each_other():
    optimizer, w = Shift(), np.zeros(3)
    optimizer.start(3, w.dtype)
    for gradient in (1.0, 2.0, 4.0):
        optimizer.update(w, np.full(3, gradient), 0.5)
    assert_array_equal(optimizer.state[:, 0], [4.0, 2.0, -1.5])
    assert_array_equal(w, np.full(3, -3.5))


def half_cosine(n):
    """Return numbers from 1 to just above 0."""
    return (1 + np.cos(np.pi * np.arange(n) / n)) / 2


# The first rates, where the initial one is 0.5 and there are at most 10 epochs, beyond which partial_fit may go.
RATES = [
    (Constant(), [0.5] * 3),
    (InverseScaling(power_t=0.25), [0.5, 0.5 / 11**0.25, 0.5 / 21**0.25]),
    (Adaptive(), [0.5] * 2),
    (Step(2, 0.1), [0.5, 0.5, 0.05, 0.05, 0.005]),
    (Exponential(0.5), [0.5, 0.25, 0.125]),
    (Function(lambda epoch: 1 / (epoch + 1)), [1, 1 / 2, 1 / 3]),
    (Cosine(), [*(0.5 * half_cosine(10)), 0.5]),
    (Cosine(min_rate=0.1), 0.1 + 0.4 * half_cosine(10)),
    (Cosine(n_cycles=2), 0.5 * np.tile(half_cosine(5), 3)),
    (Cosine(warm_up=3), [0.125, 0.25, 0.375, *(0.5 * half_cosine(7))]),
    (Cosine(warm_up=10), [*(0.5 * np.arange(1, 11) / 11), 0.5, 0.5]),
    (OneCycle(1 / 3, 10, 5), [0.05, 0.1625, 0.3875, *(0.1 + 0.4 * half_cosine(6)), 0.1, 0.1]),
]


@pytest.mark.parametrize(("schedule", "expected"), RATES, ids=[str(schedule)[:40] for schedule, _ in RATES])
def test_rates(schedule, expected):
    assert_allclose(rates(schedule, len(expected)), expected, rtol=1e-12)


def test_every_schedule_has_known_rates():
    assert {type(schedule) for schedule, _ in RATES} == {*SCHEDULES.values(), Function}


def test_rates_beyond_all_floats():
    """Python raises OverflowError for such powers. With an infinite rate training diverges, and says so."""
    assert rates(Exponential(10.0), 400)[-1] == rates(Step(1, 10.0), 400)[-1] == np.inf
    assert rates(Exponential(0.1), 400)[-1] == rates(InverseScaling(1000.0), 3)[-1] == 0


@pytest.mark.parametrize("schedule", SCHEDULES.values())
def test_schedules_stay_positive_and_can_be_resumed(schedule):
    whole = rates(schedule(), 12)  # also beyond max_iter, as partial_fit may go
    assert min(whole) >= 0
    assert min(whole[:9]) > 0
    first, second = schedule(), schedule()
    rates(first, 5)
    second.start(0.5, 10)
    second.resume(first)
    for epoch, expected in enumerate(whole[5:], 6):
        assert second.learning_rate == pytest.approx(expected)
        second.epoch_ended(10 * epoch)


@pytest.mark.parametrize("schedule", [schedule() for name, schedule in SCHEDULES.items() if name != "adaptive"])
def test_most_schedules_stop_at_a_plateau(schedule):
    assert schedule.plateau_reached() == (True, "Stopping.")


def test_adaptive():
    schedule = Adaptive()
    schedule.start(1e-5, 10)
    assert schedule.plateau_reached() == (False, "Setting learning rate to 0.000002")
    schedule.epoch_ended(10)
    assert schedule.learning_rate == pytest.approx(2e-6)
    assert not schedule.plateau_reached()[0]
    assert schedule.plateau_reached() == (True, "Learning rate too small. Stopping.")
    schedule.start(1e-6, 10)
    assert schedule.plateau_reached()[0]


@pytest.mark.parametrize("value", [0, -1.0, np.inf, "0.1", None])
def test_function_must_return_a_rate(value):
    with pytest.raises(ValueError, match=r"learning_rate must return a number greater than 0, got .* for epoch 0"):
        Function(lambda epoch: value).start(0.1, 10)


# Formulas of one's own ------------------------------------------------------------------------------------------------


def own_optimizer(move=None, coefficients=None, vector_names=("v",)):
    formulas = {"vector_names": vector_names} | ({} if move is None else {"move": lambda self, *given: move(*given)})
    if coefficients is not None:
        formulas["coefficients"] = lambda self, t, r: coefficients(t, r)
    return type("Own", (Optimizer,), formulas)()


def right_move(w, g, v, r):
    return w - r * g, v + g


WRONG_OPTIMIZERS = {
    "too many": (
        own_optimizer(lambda w, g, v, r: (w, v, v)),
        r"move must return w and the 1 of vector_names, w, v; got 3",
    ),
    "too few": (own_optimizer(lambda w, g, v, r: (w,)), "move must return w and the 1 of vector_names, w, v; got 1"),
    "no vectors": (own_optimizer(lambda w, g, v, r: w), "move must return w and the 1 of vector_names, w, v; got 1"),
    "none": (own_optimizer(lambda w, g, r: (w, g), vector_names=()), "move must return w; got 2 values"),
    "a number": (own_optimizer(lambda w, g, v, r: (w, 1.0)), r"move must return .* \(3,\) for v, .*; got shape \(\)"),
    "a mean": (
        own_optimizer(lambda w, g, v, r: (np.mean(w), v)),
        r"move must return .* \(3,\) for w, .*; got shape \(\)",
    ),
    "rows": (
        own_optimizer(lambda w, g, v, r: (w[np.newaxis], v)),
        r"move must return .* \(3,\) for w, .*; got shape \(1, 3\)",
    ),
    "complex": (own_optimizer(lambda w, g, v, r: (w + 0j, v)), "move must return real numbers; got dtype complex"),
    "nothing": (own_optimizer(lambda w, g, r: None, vector_names=()), r"move must return .*; got shape \(\)"),
    "coefficients alone": (
        own_optimizer(right_move, lambda t, r: r),
        "coefficients must return a tuple of arrays with a number for each step; got ndarray",
    ),
    "a coefficient": (
        own_optimizer(right_move, lambda t, r: (0.1,)),
        r"coefficients must return an array of shape \(2,\) for two steps; got shape \(\)",
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("name", WRONG_OPTIMIZERS)
def test_what_formulas_of_ones_own_return(name, engine):
    if engine == "numba":
        pytest.importorskip("numba")
    optimizer, message = WRONG_OPTIMIZERS[name]
    X, y = make_task("regression")
    model = our_estimator("regression", solver=optimizer, engine=engine)
    for train in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=rf"Own\.{message}"):
            train(X, y)
    assert not hasattr(model, "coefs_")
    fitted = our_estimator("regression", solver=own_optimizer(right_move), engine=engine, max_iter=2).fit(X, y)
    assert fitted._optimizer.n_updates == 2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_checking_formulas_leaves_the_state_alone():
    """Counters too; what ``update`` says takes the place of the formulas."""

    class Counting(Optimizer):
        vector_names = ("v",)

        def start(self, n_parameters, dtype, n_weights=None):
            super().start(n_parameters, dtype, n_weights)
            self.n_moves = 0

        def move(self, w, g, v, r):
            self.n_moves += 1
            return np.stack([w - r * g, v + g])

    class Updating(Optimizer):
        def update(self, parameters, gradient, learning_rate):
            parameters -= learning_rate * gradient

    X, y = make_task("regression")
    counting, updating = (
        our_estimator("regression", solver=solver, engine="numpy", max_iter=3).fit(X, y)
        for solver in (Counting(), Updating())
    )
    assert counting._optimizer.n_moves == counting._optimizer.n_updates == 3
    assert_array_equal(counting.coefs_[0], updating.coefs_[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_one_array_for_a_number_or_a_tuple(engine):
    """As NumPy's where and stack return it."""
    if engine == "numba":
        pytest.importorskip("numba")
    X, y = make_task("regression")
    models = []
    for rate, coefficients in ((float, lambda t, r: (r,)), (np.asarray, lambda t, r: np.stack([r]))):
        schedule = type("Own", (Schedule,), {"rate": lambda self, k, n, rate=rate: rate(0.01 / (1 + k))})()
        optimizer = own_optimizer(right_move, coefficients)
        models.append(our_estimator("regression", solver=optimizer, learning_rate=schedule, engine=engine, max_iter=3))
    usual, arrays = (model.fit(X, y) for model in models)
    assert_array_equal(arrays.coefs_[0], usual.coefs_[0])
    assert isinstance(arrays._schedule.learning_rate, float)


@pytest.mark.parametrize("rate", [None, "0.1", np.ones(2), np.nan, -1.0], ids=str)
@pytest.mark.parametrize(("by_step", "at"), [(False, 0), (False, 1), (True, 0.5)])
def test_rates_of_ones_own_schedule(by_step, at, rate):
    own = type("Own", (Schedule,), {"by_step": by_step, "rate": lambda self, k, n: rate if k == at else 0.01})()
    X, y = make_task("regression")
    with pytest.raises(ValueError, match=rf"Own\.rate must return a number of at least 0, got .* for epoch {at}"):
        our_estimator("regression", learning_rate=own, batch_size=75, max_iter=3).fit(X, y)
