"""Where the time of a training step goes: its operations on one thread, in both engines, and their matrix products.

What lies between an engine and the bare products is all that another engine could still save. The compiled engine makes
whole epochs, so its steps are not taken apart.

    python benchmarks/bench_step.py                        a minute
    python benchmarks/bench_step.py --output benchmarks    writes RESULTS.md and a picture
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from common import ENGINES, conditions, draw_dots, make_parser, seconds, table, write_results
from threadpoolctl import threadpool_limits

from sknn_scratch.catalogue.activations import ReLU
from sknn_scratch.catalogue.losses import LogLoss
from sknn_scratch.catalogue.optimizers import Adam
from sknn_scratch.engines import start
from sknn_scratch.engines.numpy import in_place
from sknn_scratch.engines.numpy.run import NumpyRun
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.job import Job

PROBLEMS = {
    "digits 64-100-10": ([64, 100, 10], np.float64),
    "digits 64-100-10, float32": ([64, 100, 10], np.float32),
    "784-256-128-10, float32": ([784, 256, 128, 10], np.float32),
}
BATCH_SIZE, N_SAMPLES = 200, 2000
OPERATIONS = ["read the minibatch", "forward", "output delta", "hidden deltas", "gradients", "update"]


class Problem:
    """A network in the middle of training, a minibatch, and the functions to time."""

    def __init__(self, units: list[int], dtype: type):
        rng = np.random.RandomState(0)
        self.units = units
        loss = LogLoss()
        loss.start(multiclass=True)
        self.network = Perceptron(units, [ReLU()] * (len(units) - 2), loss.link, dtype)
        self.network.parameters[...] = 0.1 * rng.randn(self.network.parameters.size)
        optimizer = Adam()
        optimizer.start(self.network.parameters.size, np.dtype(dtype), self.network.n_weights)
        self.X = rng.rand(N_SAMPLES, units[0]).astype(dtype)
        self.y = np.asfortranarray(np.eye(units[-1])[rng.randint(units[-1], size=N_SAMPLES)], dtype=dtype)
        self.job = Job(self.network, loss, self.X, self.y, None, BATCH_SIZE, optimizer, alpha=1e-4)
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
        job, network, run = self.job, self.network, NumpyRun(self.job)
        run.epoch(None, np.full(N_SAMPLES // BATCH_SIZE, 1e-3))
        part, X, y = run._parts[0], self.X[self.rows], np.asfortranarray(self.y[self.rows])
        buffers, uniform = part._buffers_for(BATCH_SIZE), np.full(BATCH_SIZE, 1 / BATCH_SIZE, X.dtype)
        a, W, last = [X, *buffers.fed], network.weights, len(network.weights) - 1

        def hidden_deltas():
            for l in range(last, 0, -1):
                np.dot(buffers.delta[l], W[l].T, out=buffers.delta[l - 1])
                below = buffers.delta[l - 1], buffers.z[l - 1], buffers.hidden[l - 1]
                in_place.multiply_slope(network.activations[l - 1], *below)

        def gradients():
            for l in range(last + 1):
                np.dot(a[l].T, buffers.delta[l], out=part._weight_gradients[l])
                np.dot(buffers.ones, buffers.delta[l], out=part._bias_gradients[l])

        def update():
            weights, gradient = run._penalised
            in_place.add_penalty(weights, 1e-6, 0.0, gradient)
            in_place.update(job.optimizer, network.parameters, run.gradient, 1e-3, [1e-3])

        output = job.loss, y, buffers.z[last], uniform
        return {
            "read the minibatch": partial(run._read, self.rows),
            "forward": partial(part._forward, X, 1, 0),
            "output delta": partial(in_place.loss_and_delta, *output, out=buffers.delta[last]),
            "hidden deltas": hidden_deltas,
            "gradients": gradients,
            "update": update,
        }


def best(functions: dict[str, Callable], rounds: int, calls: int) -> dict[str, float]:
    """Return the microseconds of a call of each, the best of several rounds in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(lambda: [function() for _ in range(calls)]) / calls * 1e6)  # noqa: B023
    return {name: min(of_function) for name, of_function in times.items()}


def measure(units: list[int], dtype: type, rounds: int, calls: int) -> tuple[list[list[str]], dict[str, float]]:
    """Return the lines of the table, and how much longer a step takes than its products on as many threads."""
    problem = Problem(units, dtype)
    with threadpool_limits(1, user_api="blas"):
        numpy_times = best(problem.in_numpy(), rounds, calls)
        products = best(problem.products(), rounds, calls)
    lines = [
        [name, f"{numpy_times[name]:.1f}", f"{products[name]:.1f}" if name in products else ""] for name in OPERATIONS
    ]
    total = sum(products.values())
    lines.append(["**all**, NumPy", f"{sum(numpy_times.values()):.1f}", f"{total:.1f}"])
    ratios = {"NumPy, one thread": sum(numpy_times.values()) / total}
    for n_threads in (1, 2) if "numba" in ENGINES else ():
        problem = Problem(units, dtype)
        with threadpool_limits(n_threads, user_api="blas"):
            total = sum(best(problem.products(), rounds, calls).values())
            rates = np.full(N_SAMPLES // BATCH_SIZE, 1e-3)
            with start("numba", problem.job) as run:
                epoch = partial(run.epoch, None, rates)
                step = best({"epoch": epoch}, rounds, 10 * calls)["epoch"] / len(rates)
        name = f"numba, {n_threads} thread{'s' * (n_threads > 1)}"
        lines.append([f"**all**, {name}", f"{step:.1f}", f"{total:.1f}"])
        ratios[name] = step / total
    return lines, ratios


def main() -> None:
    """Print the tables."""
    options = make_parser(__doc__).parse_args()
    rounds, calls = options.rounds or (3 if options.quick else 20), 1 if options.quick else 20
    print(conditions(), flush=True)
    text, dots = f"Microseconds, batches of {BATCH_SIZE}, Adam, the best of {rounds} rounds.", {}
    for name, (units, dtype) in PROBLEMS.items():
        lines, dots[name] = measure(units, dtype, rounds, calls)
        text += f"\n\n{table([name, 'time', 'of it matrix products'], lines)}"
    print(f"\n{text}")
    if options.output:
        groups = {group: [of_problem[group] for of_problem in dots.values()] for group in next(iter(dots.values()))}
        title = "A step / its matrix products on as many threads"
        draw_dots(list(PROBLEMS), groups, title, "times as long as the products", options.output / "bench_step.png")
        write_results("bench_step", "Where the time of a step goes", text, options.output)


if __name__ == "__main__":
    main()
