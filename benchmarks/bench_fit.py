"""Time of one training step: ours with each engine, scikit-learn's, and the bare matrix products of the same step.

Each round fits every contender once, one after the other, so that a slow moment of the machine hits all of them; the
best round of each counts. A step is one minibatch: the whole time of ``fit`` divided by the number of minibatches. Both
estimators get the same data, parameters and seed, and the table shows by how much the coefficients of the fastest
engine differ from scikit-learn's. Code is compiled, or loaded, before the first round. Where numba is not installed its
columns are missing.

    python benchmarks/bench_fit.py            a few minutes
    python benchmarks/bench_fit.py --quick    within a minute
    python benchmarks/bench_fit.py --threads 1
"""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import scipy
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_info, threadpool_limits

from sknn_scratch import MLPFromScratchClassifier

ENGINES = ["numpy", "numba"] if find_spec("numba") else ["numpy"]


def xor():
    """Return the four samples."""
    return np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])


def digits():
    """Return the images as they come, pixels from 0 to 16."""
    return load_digits(return_X_y=True)


def scaled(loader: Callable) -> Callable:
    """Return a function that loads a data set and standardises its features."""

    def load():
        X, y = loader(return_X_y=True)
        return scale(X), y

    return load


def gaussians(n_samples: int, n_features: int) -> Callable:
    """Ten random classes of pure noise: for the time of a step it does not matter what there is to learn."""

    def load():
        rng = np.random.RandomState(0)
        return rng.randn(n_samples, n_features), rng.randint(10, size=n_samples)

    return load


@dataclass
class Row:
    """A problem of the table."""

    name: str
    load: Callable
    epochs: int
    parameters: dict = field(default_factory=dict)
    dtype: type = np.float64

    def data(self):
        """Return samples and labels."""
        X, y = self.load()
        return X.astype(self.dtype), y

    def estimator(self, cls, **more):
        """Return an estimator that trains for all epochs."""
        lasting = {"max_iter": self.epochs, "tol": 0, "n_iter_no_change": self.epochs, "random_state": 0}
        return cls(**lasting, **self.parameters, **more)


ROWS = [
    Row(
        "XOR 2-4-1, batch 1, sgd",
        xor,
        800,
        {"hidden_layer_sizes": 4, "activation": "logistic", "solver": "sgd", "batch_size": 1},
    ),
    Row("iris 4-10-3, batch 32", scaled(load_iris), 400, {"hidden_layer_sizes": 10, "batch_size": 32}),
    Row("breast cancer 30-100-1", scaled(load_breast_cancer), 150),
    Row("digits 64-100-10", digits, 60),
    Row("digits 64-100-10, tanh", digits, 60, {"activation": "tanh"}),
    Row("digits 64-100-10, float32", digits, 60, dtype=np.float32),
    Row("784-256-128-10, float32", gaussians(4000, 784), 3, {"hidden_layer_sizes": (256, 128)}, np.float32),
    Row("784-256-128-10", gaussians(4000, 784), 2, {"hidden_layer_sizes": (256, 128)}),
    Row("100-512-512-10, float32", gaussians(4000, 100), 3, {"hidden_layer_sizes": (512, 512)}, np.float32),
]


def matrix_products(row: Row, X, y) -> tuple[Callable, int]:
    """Return a function that does the matrix products of the whole fit, and the number of steps."""
    n_classes = len(np.unique(y))
    hidden = np.atleast_1d(row.parameters.get("hidden_layer_sizes", 100)).tolist()
    units = [X.shape[1], *hidden, 1 if n_classes == 2 else n_classes]
    batch = row.parameters.get("batch_size", min(200, len(X)))
    rng = np.random.RandomState(0)

    def arrays(n_rows):
        a = [rng.randn(n_rows, width).astype(X.dtype) for width in units]
        return a, [np.empty_like(array) for array in a]

    weights = [rng.randn(*shape).astype(X.dtype) for shape in pairwise(units)]
    gradients = [np.empty_like(w) for w in weights]
    sizes = [batch] * (len(X) // batch) + [len(X) % batch] * bool(len(X) % batch)
    buffers = {size: arrays(size) for size in set(sizes)}

    def run():
        for _ in range(row.epochs):
            for size in sizes:
                a, out = buffers[size]
                for layer, w in enumerate(weights):
                    np.dot(a[layer], w, out=out[layer + 1])
                for layer in range(len(weights) - 1, -1, -1):
                    np.dot(a[layer].T, a[layer + 1], out=gradients[layer])
                    if layer:
                        np.dot(a[layer + 1], weights[layer].T, out=out[layer])

    return run, len(sizes) * row.epochs


def seconds(function: Callable) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(row: Row, rounds: int) -> dict:
    """Return the best time per step of each contender, in microseconds, and the difference of the coefficients."""
    X, y = row.data()
    products, n_steps = matrix_products(row, X, y)
    models = {engine: row.estimator(MLPFromScratchClassifier, engine=engine) for engine in ENGINES}
    for model in models.values():
        clone(model).set_params(max_iter=1).fit(X, y)
    models["scikit-learn"] = row.estimator(MLPClassifier)
    contenders = {name: partial(model.fit, X, y) for name, model in models.items()} | {"products": products}
    times: dict = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(seconds(run) / n_steps * 1e6)
    pairs = zip(models[ENGINES[-1]].coefs_, models["scikit-learn"].coefs_, strict=True)
    difference = max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)
    return {name: min(values) for name, values in times.items()} | {"difference": difference}


def conditions() -> str:
    """Describe what the figures depend on."""
    blas = {info["internal_api"] + " " + str(info["version"]): info["num_threads"] for info in threadpool_info()}
    return (
        f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, scikit-learn "
        f"{sklearn.__version__}, {os.cpu_count()} cores, {platform.machine()}; threads: "
        + ", ".join(f"{name}: {n}" for name, n in blas.items())
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--rounds", type=int, help="rounds per row (default 9, with --quick 3)")
    parser.add_argument("--threads", type=int, help="limit of BLAS threads (default: as the environment has it)")
    parser.add_argument("--rows", default="", help="only the rows whose name contains this")
    options = parser.parse_args()
    rows = [row for row in ROWS if options.rows in row.name]
    if not rows:
        parser.error(f"--rows {options.rows!r} is in none of {[row.name for row in ROWS]}")
    rounds = options.rounds or (3 if options.quick else 9)
    warnings.simplefilter("ignore", ConvergenceWarning)  # every fit runs to its last epoch on purpose
    with threadpool_limits(options.threads) if options.threads else nullcontext():
        print(conditions())
        print(f"Microseconds per step, best of {rounds} interleaved rounds\n")
        columns = ["problem", *ENGINES, "scikit-learn", "bare products"]
        columns += [f"scikit-learn / {engine}" for engine in ENGINES]
        columns += [f"{engine} / products" for engine in ENGINES] + ["coefficients differ by"]
        print("| " + " | ".join(columns) + " |")
        print("|---|" + "---:|" * (len(columns) - 1))
        ratios = []
        for row in rows:
            t = measure(row, rounds)
            ratios.append([t["scikit-learn"] / t[engine] for engine in ENGINES])
            micros = [f"{t[name]:.1f}" for name in (*ENGINES, "scikit-learn", "products")]
            shares = [f"{ratio:.2f}" for ratio in (*ratios[-1], *(t[engine] / t["products"] for engine in ENGINES))]
            print("| " + " | ".join([row.name, *micros, *shares, f"{t['difference']:.0e}"]) + " |", flush=True)
        means = dict(zip(ENGINES, np.exp(np.mean(np.log(ratios), axis=0)), strict=True))
        print("\nGeometric mean of " + ", ".join(f"scikit-learn / {name}: {mean:.2f}" for name, mean in means.items()))


if __name__ == "__main__":
    main()
