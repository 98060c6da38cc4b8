"""Where the time of a training step goes: its operations on one thread, in both engines, and their matrix products.

What lies between an engine and the bare products is all that another engine could still save. The compiled engine makes
whole epochs, so its steps are not taken apart.

    python benchmarks/bench_step.py                        a minute
    python benchmarks/bench_step.py --output benchmarks    writes RESULTS.md and a picture
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
from common import ENGINES, conditions, draw_dots, make_parser, seconds, table, write_results
from threadpoolctl import threadpool_limits

from sknn_scratch.activations import ReLU
from sknn_scratch.engines import numpy_engine
from sknn_scratch.losses import LogLoss
from sknn_scratch.network import Network
from sknn_scratch.optimizers import Adam
from sknn_scratch.threads import threads_for

PROBLEMS = {
    "digits 64-100-10": ([64, 100, 10], np.float64),
    "digits 64-100-10, float32": ([64, 100, 10], np.float32),
    "784-256-128-10, float32": ([784, 256, 128, 10], np.float32),
}
BATCH_SIZE, N_SAMPLES, CALLS = 200, 2000, 20
OPERATIONS = ["read the minibatch", "forward", "output delta", "hidden deltas", "gradients", "update"]


class Problem:
    """A network in the middle of training, a minibatch, and the functions to time."""

    def __init__(self, units: list[int], dtype: type):
        rng = np.random.RandomState(0)
        self.units = units
        self.network = Network(units, [ReLU()] * (len(units) - 2), LogLoss(), 1e-4, dtype)
        self.network.loss.start(multiclass=True)
        self.network.parameters[...] = 0.1 * rng.randn(self.network.parameters.size)
        self.optimizer = Adam()
        self.optimizer.start(self.network.parameters.size, np.dtype(dtype), self.network.n_weights)
        self.X = rng.rand(N_SAMPLES, units[0]).astype(dtype)
        self.y = np.eye(units[-1], dtype=dtype)[rng.randint(units[-1], size=N_SAMPLES)]
        self.rows = rng.permutation(N_SAMPLES)[:BATCH_SIZE]

    def products(self) -> dict[str, Callable]:
        """Return the matrix products of each operation."""
        rng, dtype, units = np.random.RandomState(0), self.X.dtype, self.units
        a = [rng.rand(BATCH_SIZE, width).astype(dtype) for width in units]
        weights = self.network.weights
        z, below, gradients = ([np.empty_like(array) for array in arrays] for arrays in (a[1:], a, weights))

        def forward():
            for inputs, w, out in zip(a[:-1], weights, z, strict=True):
                np.dot(inputs, w, out=out)

        def hidden_deltas():
            for delta, w, out in zip(a[2:], weights[1:], below[1:-1], strict=True):
                np.dot(delta, w.T, out=out)

        def compute_gradients():
            for inputs, delta, out in zip(a[:-1], a[1:], gradients, strict=True):
                np.dot(inputs.T, delta, out=out)

        return {"forward": forward, "hidden deltas": hidden_deltas, "gradients": compute_gradients}

    def in_numpy(self) -> dict[str, Callable]:
        """Return the operations of the NumPy engine."""
        network, optimizer = self.network, self.optimizer
        X, y = self.X[self.rows], np.asfortranarray(self.y[self.rows])
        X_out, y_out, uniform = np.empty_like(X), np.empty_like(self.y[self.rows]), np.full(BATCH_SIZE, 1 / BATCH_SIZE)
        network.forward(X)
        buffers, uniform = network._buffers_for(BATCH_SIZE), uniform.astype(X.dtype)
        a, W, last = [X, *buffers.hidden], network.weights, len(network.weights) - 1

        def read():
            self.X.take(self.rows, 0, X_out, "clip")
            self.y.take(self.rows, 0, y_out, "clip")

        def hidden_deltas():
            for layer in range(last, 0, -1):
                below = network.activations[layer - 1], buffers.z[layer - 1], buffers.hidden[layer - 1]
                numpy_engine.hidden_delta(buffers.delta[layer], W[layer], *below, buffers.delta[layer - 1])

        def gradients():
            for layer in range(last + 1):
                numpy_engine.weight_gradient(a[layer], buffers.delta[layer], out=network.weight_gradients[layer])
                of_bias = network.bias_gradients[layer]
                numpy_engine.bias_gradient(buffers.delta[layer], buffers.ones, out=of_bias)

        of_update = optimizer, network.parameters, network.gradient, 1e-3, network.n_weights, 1e-6, 0.0
        output = network.loss, y, buffers.z[last], uniform
        return {
            "read the minibatch": read,
            "forward": partial(network.forward, X),
            "output delta": partial(numpy_engine.output_delta, *output, out=buffers.delta[last]),
            "hidden deltas": hidden_deltas,
            "gradients": gradients,
            "update": partial(numpy_engine.update, *of_update),
        }

    def epoch_in_numba(self, stack: ExitStack) -> Callable:
        """Return a function that makes the steps of an epoch in compiled code."""
        from sknn_scratch.engines import numba_engine

        X, y = self.X, self.y
        training = numba_engine.epoch_function(self.network, self.optimizer, X, y, None, BATCH_SIZE, None)
        return partial(stack.enter_context(training), None, 1e-3)


def best(functions: dict[str, Callable], rounds: int, calls: int = CALLS) -> dict[str, float]:
    """Return the microseconds of a call of each, the best of several rounds in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(lambda: [function() for _ in range(calls)]) / calls * 1e6)  # noqa: B023
    return {name: min(of_function) for name, of_function in times.items()}


def measure(units: list[int], dtype: type, rounds: int) -> tuple[list[list[str]], dict[str, float]]:
    """Return the lines of the table, and how much longer a step takes than its products on as many threads."""
    problem = Problem(units, dtype)
    with threadpool_limits(1, user_api="blas"):
        numpy_times = best(problem.in_numpy(), rounds)
        products = best(problem.products(), rounds)
    lines = [
        [name, f"{numpy_times[name]:.1f}", f"{products[name]:.1f}" if name in products else ""] for name in OPERATIONS
    ]
    total = sum(products.values())
    lines.append(["**all**, NumPy", f"{sum(numpy_times.values()):.1f}", f"{total:.1f}"])
    ratios = {"NumPy, one thread": sum(numpy_times.values()) / total}
    for n_threads in (1, 2) if "numba" in ENGINES else ():
        problem = Problem(units, dtype)
        with threadpool_limits(n_threads, user_api="blas"):
            total = sum(best(problem.products(), rounds).values())
            largest = problem.network.largest_product(BATCH_SIZE)
            with ExitStack() as stack:
                helpers = stack.enter_context(threads_for(largest))
                stack.enter_context(problem.network.helped_by(*helpers))
                epoch = problem.epoch_in_numba(stack)
                step = best({"epoch": epoch}, rounds, 10 * CALLS)["epoch"] / (N_SAMPLES // BATCH_SIZE)
        name = f"numba, {n_threads} thread{'s' * (n_threads > 1)}"
        lines.append([f"**all**, {name}", f"{step:.1f}", f"{total:.1f}"])
        ratios[name] = step / total
    return lines, ratios


def main() -> None:
    """Print the tables."""
    options = make_parser(__doc__).parse_args()
    rounds = options.rounds or (3 if options.quick else 20)
    print(conditions(), flush=True)
    text, dots = f"Microseconds, batches of {BATCH_SIZE}, Adam, the best of {rounds} rounds.", {}
    for name, (units, dtype) in PROBLEMS.items():
        lines, dots[name] = measure(units, dtype, rounds)
        text += f"\n\n{table([name, 'time', 'of it matrix products'], lines)}"
    print(f"\n{text}")
    if options.output:
        groups = {group: [of_problem[group] for of_problem in dots.values()] for group in next(iter(dots.values()))}
        title = "A step / its matrix products on as many threads"
        draw_dots(list(PROBLEMS), groups, title, "times as long as the products", options.output / "bench_step.png")
        write_results("bench_step", "Where the time of a step goes", text, options.output)


if __name__ == "__main__":
    main()
