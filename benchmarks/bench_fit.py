"""Time of one training step: ours with each engine, scikit-learn's, PyTorch's, and the bare matrix products of it.

Each round fits every contender once, one after the other, so that a slow moment of the machine hits all of them; the
best round of each counts. A step is one minibatch: the whole time of ``fit`` divided by the number of minibatches. Both
estimators get the same data, parameters and seed, and the table shows by how much the coefficients of the fastest
engine differ from scikit-learn's. Code is compiled, or loaded, before the first round. PyTorch runs eagerly on the CPU,
with the same network, optimiser and minibatches. The last column is the time with another process on one of the cores,
divided by the time without. What is not installed is left out.

    python benchmarks/bench_fit.py                        about ten minutes
    python benchmarks/bench_fit.py --quick                within a minute
    python benchmarks/bench_fit.py --output benchmarks    writes RESULTS.md and a picture
    python benchmarks/bench_fit.py --threads 1 --rows digits
"""

import math
import random
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
from common import (
    ENGINES,
    busy_neighbour,
    conditions,
    draw_dots,
    geometric_mean,
    in_turns,
    make_parser,
    seconds,
    table,
    write_results,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_limits

from sknn_scratch import Activation, MLPFromScratchClassifier


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


def texts():
    """Like counts of words: 2,000 samples with 20,000 features, of which 0.5 % are not zero, and ten classes."""
    rng = np.random.RandomState(0)
    X = sparse.random(2000, 20_000, density=0.005, format="csr", random_state=rng)
    return X, rng.randint(10, size=2000)


class OwnReLU(Activation):
    """The rectified linear unit, as a user would write it."""

    def value(self, z):
        """Return ``f(z)``."""
        return np.maximum(z, 0)

    def derivative(self, z):
        """Return ``f'(z)``."""
        return (z > 0).astype(z.dtype)


@dataclass
class Row:
    """A problem of the table; ``ours`` are parameters that scikit-learn does not have, and which it goes without."""

    name: str
    load: Callable
    epochs: int
    parameters: dict = field(default_factory=dict)
    dtype: type = np.float64
    ours: dict = field(default_factory=dict)

    def data(self):
        """Return samples and labels."""
        X, y = self.load()
        return X.astype(self.dtype), y

    def estimator(self, cls, **more):
        """Return an estimator that trains for all epochs."""
        lasting = {"max_iter": self.epochs, "tol": 0, "n_iter_no_change": self.epochs, "random_state": 0}
        ours = self.ours if cls is MLPFromScratchClassifier else {}
        return cls(**lasting | self.parameters | ours | more)


ROWS = [
    Row(
        "XOR 2-4-1, batch 1, sgd",
        xor,
        3000,
        {"hidden_layer_sizes": 4, "activation": "logistic", "solver": "sgd", "batch_size": 1},
    ),
    Row("iris 4-10-3, batch 32", scaled(load_iris), 400, {"hidden_layer_sizes": 10, "batch_size": 32}),
    Row("breast cancer 30-100-1", scaled(load_breast_cancer), 600),
    Row("digits 64-100-10", digits, 200),
    Row("digits 64-100-10, tanh", digits, 200, {"activation": "tanh"}),
    Row("digits 64-100-10, float32", digits, 200, dtype=np.float32),
    Row("digits, dropout 0.2", digits, 200, ours={"dropout": 0.2}),
    Row("digits, own activation", digits, 200, ours={"activation": OwnReLU()}),
    Row("784-256-128-10, float32", gaussians(4000, 784), 12, {"hidden_layer_sizes": (256, 128)}, np.float32),
    Row("784-256-128-10", gaussians(4000, 784), 8, {"hidden_layer_sizes": (256, 128)}),
    Row("100-512-512-10, float32", gaussians(4000, 100), 10, {"hidden_layer_sizes": (512, 512)}, np.float32),
    Row("sparse 20000-100-10", texts, 8),
]


def matrix_products(row: Row, X, y) -> tuple[Callable, int]:
    """Return a function that does the matrix products of the whole fit, and the number of steps."""
    is_sparse = sparse.issparse(X)
    n_classes = len(np.unique(y))
    hidden = np.atleast_1d(row.parameters.get("hidden_layer_sizes", 100)).tolist()
    units = [X.shape[1], *hidden, 1 if n_classes == 2 else n_classes]
    batch = row.parameters.get("batch_size", min(200, X.shape[0]))
    rng = np.random.RandomState(0)

    def arrays(n_rows):
        a = [X[:n_rows] if is_sparse else rng.randn(n_rows, units[0]).astype(X.dtype)]
        a += [rng.randn(n_rows, width).astype(X.dtype) for width in units[1:]]
        return a, [np.empty((n_rows, width), X.dtype) for width in units[1:]]

    weights = [rng.randn(*shape).astype(X.dtype) for shape in pairwise(units)]
    gradients = [np.empty_like(w) for w in weights]
    sizes = [batch] * (X.shape[0] // batch) + [X.shape[0] % batch] * bool(X.shape[0] % batch)
    buffers = {size: arrays(size) for size in set(sizes)}

    def multiply(a, b, out):
        if isinstance(a, np.ndarray):
            np.dot(a, b, out=out)
        else:
            a @ b

    def run():
        for _ in range(row.epochs):
            for size in sizes:
                a, out = buffers[size]
                for layer, w in enumerate(weights):
                    multiply(a[layer], w, out[layer])
                for layer in range(len(weights) - 1, -1, -1):
                    multiply(a[layer].T, a[layer + 1], gradients[layer])
                    if layer:
                        multiply(a[layer + 1], weights[layer].T, out[layer - 1])

    return run, len(sizes) * row.epochs


def plain_loops(row: Row, X, y) -> Callable:
    """Return a function that trains XOR as the first notebooks do: Python loops over the neurons, one sample a step."""
    n_hidden, rate = 4, 0.001
    rng = random.Random(0)
    w0 = [[rng.gauss(0, 0.5) for _ in range(n_hidden)] for _ in range(2)]
    b0, w1 = [0.0] * n_hidden, [rng.gauss(0, 0.5) for _ in range(n_hidden)]
    samples = list(zip(X.tolist(), y.tolist(), strict=True))

    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    def run():
        b1 = 0.0
        for _ in range(row.epochs):
            for x, target in samples:
                h = [sigmoid(b0[j] + sum(x[i] * w0[i][j] for i in range(2))) for j in range(n_hidden)]
                delta = sigmoid(b1 + sum(h[j] * w1[j] for j in range(n_hidden))) - target
                for j in range(n_hidden):
                    hidden_delta = delta * w1[j] * h[j] * (1 - h[j])
                    w1[j] -= rate * delta * h[j]
                    b0[j] -= rate * hidden_delta
                    for i in range(2):
                        w0[i][j] -= rate * hidden_delta * x[i]
                b1 -= rate * delta

    return run


def torch_fit(row: Row, X, y) -> Callable | None:
    """Return a function that trains the same network eagerly in PyTorch, unless it cannot."""
    if not find_spec("torch") or sparse.issparse(X):
        return None
    import torch

    n_classes = len(np.unique(y))
    hidden = np.atleast_1d(row.parameters.get("hidden_layer_sizes", 100)).tolist()
    units = [X.shape[1], *hidden, 1 if n_classes == 2 else n_classes]
    batch = row.parameters.get("batch_size", min(200, X.shape[0]))
    activation = {"tanh": torch.nn.Tanh, "logistic": torch.nn.Sigmoid}.get(
        row.parameters.get("activation"), torch.nn.ReLU
    )
    layers: list = []
    for fan_in, fan_out in pairwise(units):
        layers += [torch.nn.Linear(fan_in, fan_out), activation()]
    samples = torch.from_numpy(X)
    model = torch.nn.Sequential(*layers[:-1]).to(samples.dtype)
    decay = 0.0001 / batch
    if row.parameters.get("solver") == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, nesterov=True, weight_decay=decay)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.001, weight_decay=decay)
    if n_classes == 2:
        loss, targets = torch.nn.BCEWithLogitsLoss(), torch.from_numpy(y.astype(X.dtype))[:, None]
    else:
        loss, targets = torch.nn.CrossEntropyLoss(), torch.from_numpy(y.astype(np.int64))

    def run():
        for _ in range(row.epochs):
            order = torch.randperm(len(samples))
            for start in range(0, len(samples), batch):
                rows = order[start : start + batch]
                optimizer.zero_grad(set_to_none=True)
                loss(model(samples[rows]), targets[rows]).backward()
                optimizer.step()

    return run


def measure(row: Row, rounds: int) -> dict:
    """Return the best time per step of each contender, in microseconds, and the difference of the coefficients."""
    X, y = row.data()
    products, n_steps = matrix_products(row, X, y)
    models = {engine: row.estimator(MLPFromScratchClassifier, engine=engine) for engine in ENGINES}
    for model in models.values():
        clone(model).set_params(max_iter=1).fit(X, y)
    models["scikit-learn"] = row.estimator(MLPClassifier)
    contenders = {name: partial(model.fit, X, y) for name, model in models.items()} | {"products": products}
    if in_torch := torch_fit(row, X, y):
        contenders["PyTorch"] = in_torch
    if row.name.startswith("XOR"):
        contenders["plain loops"] = plain_loops(row, X, y)
    best = {name: min(times) / n_steps * 1e6 for name, times in in_turns(contenders, rounds).items()}
    fastest = ENGINES[-1]
    with busy_neighbour():
        busy = min(seconds(contenders[fastest]) for _ in range(max(1, rounds // 2))) / n_steps * 1e6
    pairs = zip(models[fastest].coefs_, models["scikit-learn"].coefs_, strict=True)
    difference = max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)
    shown = {} if "dropout" in row.ours else {"difference": difference}
    return best | shown | {"busy": busy / best[fastest]}


def ratio(a: float | None, b: float | None) -> float | None:
    """Return a / b, if both are there."""
    return None if a is None or b is None else a / b


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", default="", help="only the rows whose name contains this")
    options = parser.parse_args()
    rows = [row for row in ROWS if options.rows in row.name]
    if not rows:
        parser.error(f"--rows {options.rows!r} is in none of {[row.name for row in ROWS]}")
    rounds = options.rounds or (2 if options.quick else 9)
    warnings.simplefilter("ignore", ConvergenceWarning)  # every fit runs to its last epoch on purpose
    others = ["scikit-learn", *(["PyTorch"] if find_spec("torch") else [])]
    rivals = {f"{other} / {engine}": (other, engine) for other in others for engine in ENGINES}
    rivals |= {f"{name} / products": (name, "products") for name in (*ENGINES, "scikit-learn")}
    measured = []
    with threadpool_limits(options.threads) if options.threads else nullcontext():
        print(conditions())
        for row in rows:
            print(f"... {row.name}", flush=True)
            measured.append(measure(row, rounds))
    ratios = {name: [ratio(t.get(a), t.get(b)) for t in measured] for name, (a, b) in rivals.items()}
    lines = []
    for k, (row, t) in enumerate(zip(rows, measured, strict=True)):
        micros = [f"{t[name]:.1f}" if name in t else "" for name in (*ENGINES, *others, "products")]
        shares = ["" if values[k] is None else f"{values[k]:.2f}" for values in ratios.values()]
        difference = f"{t['difference']:.0e}" if "difference" in t else ""
        lines.append([row.name, *micros, *shares, difference, f"{t['busy']:.2f}"])
    columns = ["problem", *ENGINES, *others, "bare products", *ratios, "coefficients differ by", "busy / quiet"]
    text = f"Microseconds per step, best of {rounds} interleaved rounds.\n\n{table(columns, lines)}\n"
    for name, values in ratios.items():
        if any(value is not None for value in values):
            numbers = [value for value in values if value is not None]
            text += f"\n- {name}: geometric mean {geometric_mean(values):.2f}, median {np.median(numbers):.2f}, "
            text += f"least {min(numbers):.2f}, largest {max(numbers):.2f}"
    for t in measured:
        if "plain loops" in t:
            text += f"\n- XOR in plain Python loops over the neurons: {t['plain loops']:.1f} microseconds a step"
    print(f"\n{text}")
    if options.output:
        dots = {name: values for name, values in ratios.items() if not name.endswith("products")}
        names = [row.name for row in rows]
        picture = options.output / "bench_fit.png"
        draw_dots(names, dots, "Training: time of others / ours", "ours, times as fast", picture)
        write_results("bench_fit", "Time of a training step", text, options.output)


if __name__ == "__main__":
    main()
