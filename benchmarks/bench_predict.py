"""Time of predictions, of one row and of many: ours, scikit-learn's and the bare matrix products.

python benchmarks/bench_predict.py                        twenty minutes
python benchmarks/bench_predict.py --quick                seconds
python benchmarks/bench_predict.py --output benchmarks    writes RESULTS.md and a picture

Times are those within a stream of calls, of which the first are not timed: BLAS's threads sleep after a tenth of a
second, and to wake them can take milliseconds. A table of its own has calls that come one by one.
"""

import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from itertools import product

import numpy as np
from common import busy_neighbour, conditions, draw_dots, geometric_mean, in_turns, make_parser, table, write_results
from sklearn import config_context
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_limits

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor

# Name: data, hidden layers and method.
PROBLEMS = {
    "digits 64-100-10, predict_proba": (load_digits, (100,), "predict_proba"),
    "digits 64-100-10, predict": (load_digits, (100,), "predict"),
    "digits 64-512-512-10, predict_proba": (load_digits, (512, 512), "predict_proba"),
    "breast cancer 30-100-1, predict_proba": (load_breast_cancer, (100,), "predict_proba"),
    "diabetes 10-100-1, predict": (load_diabetes, (100,), "predict"),
}
CLASSIFIERS = MLPFromScratchClassifier, MLPClassifier
# What the scan goes over: features, hidden layers and outputs, and numbers of rows.
NETWORKS: dict[str, tuple[int, tuple, int]] = {
    "20-50-1": (20, (50,), 1),
    "64-100-10": (64, (100,), 10),
    "784-256-128-10": (784, (256, 128), 10),
    "64-512-512-10": (64, (512, 512), 10),
    "1000-2048-10": (1000, (2048,), 10),
    "100-1024-1024-1024-10": (100, (1024, 1024, 1024), 10),
    "784-2048-2048-10": (784, (2048, 2048), 10),
    "4000-1000-1": (4000, (1000,), 1),
}
ROWS = (1, 2, 3, 4, 8, 16, 32, 100, 300, 1000, 3000)
# Calls before those that are timed.
BEFORE = 25
# What a row may come as, from a float array.
FORMS: dict[str, Callable] = {
    "list": lambda row: row.tolist(),
    "whole numbers": lambda row: row.astype(int),
    "float32": lambda row: row.astype(np.float32),
}
if find_spec("pandas"):
    from pandas import DataFrame

    FORMS["data frame"] = lambda row: DataFrame(row).add_prefix("feature ")


def repeated(function: Callable, n: int) -> Callable:
    """Return a function that calls another n times."""

    def run():
        for _ in range(n):
            function()

    return run


def peak_memory(function: Callable) -> float:
    """Return the most memory that is in use during a call beyond what was before, in MiB."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def measure(load: Callable, hidden: tuple, method: str, n_rows: int, rounds: int, calls: int) -> dict:
    """Return best times in microseconds, of so many calls for one row, and the memory that each takes."""
    X, y = load(return_X_y=True)
    X = scale(X)
    classify = load is not load_diabetes
    pair = CLASSIFIERS if classify else (MLPFromScratchRegressor, MLPRegressor)
    ours, theirs = (
        cls(hidden, max_iter=2, random_state=0) if classify else cls(hidden_layer_sizes=hidden, max_iter=2)
        for cls in pair
    )
    ours, theirs = (getattr(model.fit(X, y), method) for model in (ours, theirs))
    samples = np.ascontiguousarray(np.resize(X, (n_rows, X.shape[1])))
    weights = theirs.__self__.coefs_

    def products():
        a = samples
        for w in weights:
            a = a @ w

    n_calls = max(3, calls // n_rows) if n_rows < 10_000 else 1
    contenders = {"ours": lambda: ours(samples), "scikit-learn": lambda: theirs(samples), "products": products}
    memory = {name: peak_memory(contenders[name]) for name in ("ours", "scikit-learn")}

    def best(names: tuple, rounds: int) -> dict[str, float]:
        once = {name: contenders[name] for name in names}
        before = {name: repeated(call, BEFORE if n_calls > 1 else 1) for name, call in once.items()}
        times = in_turns({name: repeated(call, n_calls) for name, call in once.items()}, rounds, before)
        return {name: min(times[name]) / n_calls * 1e6 for name in names}

    result = best(tuple(contenders), rounds)
    with config_context(assume_finite=True):
        result["finite"] = best(("ours",), rounds)["ours"]
    with busy_neighbour():
        busy = best(("ours",), max(1, rounds // 2))["ours"]
    return result | {"memory": memory, "busy": busy / result["ours"]}


def measure_forms(rounds: int, calls: int) -> list[tuple[str, float, float]]:
    """Return best times in microseconds, of ours and of scikit-learn's, for one row of digits in each form."""
    X, y = load_digits(return_X_y=True)
    X, best = scale(X), []
    for form, change in FORMS.items():
        samples = change(X) if form == "data frame" else X
        ours, theirs = (cls((100,), max_iter=2, random_state=0).fit(samples, y) for cls in CLASSIFIERS)
        row = change(X[:1])
        for method in ("predict", "predict_proba"):
            methods = {name: getattr(model, method) for name, model in (("ours", ours), ("theirs", theirs))}
            contenders = {name: repeated(partial(call, row), calls) for name, call in methods.items()}
            times = in_turns(
                contenders, rounds, {name: repeated(partial(call, row), BEFORE) for name, call in methods.items()}
            )
            best.append((f"{method}, {form}", *(min(times[name]) / calls * 1e6 for name in ("ours", "theirs"))))
    return best


def scan(rounds: int, passes: int, networks: dict, rows: tuple, dtypes: tuple) -> list[list]:
    """Return ratios of best times, scikit-learn's / ours, for each network, method and dtype at each number of rows.

    All of it is gone over twice, as a slow minute of the machine can hide a whole row.
    """
    cells: dict[str, list[tuple[dict[str, Callable], ...]]] = {}
    for name, method, dtype in product(networks, ("predict_proba", "predict"), dtypes):
        n_features, hidden, n_outputs = networks[name]
        rng = np.random.RandomState(0)
        X, y = rng.randn(max(rows), n_features).astype(dtype), rng.randn(60, n_outputs).squeeze().astype(dtype)
        pair: tuple = (MLPFromScratchRegressor, MLPRegressor)
        if method == "predict_proba":
            pair, y = CLASSIFIERS, np.arange(60) % max(2, n_outputs)
        models = [cls(hidden_layer_sizes=hidden, max_iter=1, random_state=0).fit(X[:60], y) for cls in pair]
        row = cells[f"{name}, {method}, {dtype}"] = []
        for n_rows in rows:
            ours, theirs = (partial(getattr(model, method), X[:n_rows]) for model in models)
            once = {"ours": ours, "theirs": theirs}
            calls = max(3, int(0.01 / min(in_turns({"ours": ours}, 2)["ours"])))
            row.append(tuple({name: repeated(call, n) for name, call in once.items()} for n in (BEFORE, calls)))
    best: dict[tuple[str, int, str], float] = {}
    for number in range(passes):
        for label, row in cells.items():
            for i, (before, contenders) in enumerate(row):
                for who, times in in_turns(contenders, rounds, before).items():
                    best[label, i, who] = min(*times, best.get((label, i, who), np.inf))
            ratios = [best[label, i, "theirs"] / best[label, i, "ours"] for i in range(len(row))]
            print(f"... {label}, pass {number + 1} of {passes}: least {min(ratios):.2f}", flush=True)
    return [[label, *(best[label, i, "theirs"] / best[label, i, "ours"] for i in range(len(rows)))] for label in cells]


def one_by_one(rounds: int, networks: dict) -> list[list[str]]:
    """Return median and mean times in microseconds of single calls after a pause, ours and scikit-learn's."""
    rows = []
    for name, (n_features, hidden, n_outputs) in networks.items():
        X, y = np.random.RandomState(0).randn(60, n_features), np.arange(60) % max(2, n_outputs)
        models = [cls(hidden, max_iter=1, random_state=0).fit(X, y) for cls in CLASSIFIERS]
        for n_rows in (1, 16):
            contenders = {str(i): partial(model.predict_proba, X[:n_rows]) for i, model in enumerate(models)}
            times = [1e6 * np.array(values) for values in in_turns(contenders, rounds).values()]
            figures = [f"{statistic(values):.0f}" for statistic in (np.median, np.mean) for values in times]
            rows.append([f"{name}, {n_rows} row{'s' * (n_rows > 1)}", *figures])
            print(f"... one by one, {rows[-1]}", flush=True)
    return rows


def main() -> None:
    """Print the table."""
    options = make_parser(__doc__).parse_args()
    rounds, calls = options.rounds or (2 if options.quick else 9), 200 if options.quick else 2000
    problems = dict(list(PROBLEMS.items())[:: 4 if options.quick else 1])
    warnings.simplefilter("ignore", ConvergenceWarning)  # what the models have learnt does not matter
    lines, names, ratios = [], [], []
    with threadpool_limits(options.threads) if options.threads else nullcontext():
        print(conditions(), flush=True)
        for name, problem in problems.items():
            for n_rows in (1, 1000) if options.quick else (1, 1000, 100_000):
                t = measure(*problem, n_rows, rounds, calls)
                names.append(f"{name}, {n_rows:,} rows".replace(", 1 rows", ", 1 row"))
                ratios.append(t["scikit-learn"] / t["ours"])
                micros = [f"{t[key]:.1f}" for key in ("ours", "finite", "scikit-learn", "products")]
                mib = [f"{t['memory'][key]:.1f}" for key in ("ours", "scikit-learn")]
                lines.append([names[-1], *micros, f"{ratios[-1]:.2f}", f"{t['busy']:.2f}", *mib])
                print(f"... {names[-1]}: {ratios[-1]:.2f}", flush=True)
        forms = measure_forms(rounds, calls // 4)
        sizes = (1, 50, 1000) if options.quick else ROWS
        networks = {"1000-2048-10": NETWORKS["1000-2048-10"]} if options.quick else NETWORKS
        dtypes = ("float64",) if options.quick else ("float64", "float32")
        single = one_by_one(3 if options.quick else 20, networks)
        scanned = scan(max(2, rounds // 4), 1 if options.quick else 2, networks, sizes, dtypes)
    columns = ["problem", "ours", "ours, assume_finite", "scikit-learn", "bare products", "scikit-learn / ours"]
    columns += ["busy / quiet", "ours, MiB", "scikit-learn, MiB"]
    text = f"Microseconds, best of {rounds} interleaved rounds; peak memory of a call.\n\n{table(columns, lines)}\n"
    rows = [[name, f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.2f}"] for name, ours, theirs in forms]
    columns = ["one row, digits 64-100-10", "ours", "scikit-learn", "scikit-learn / ours"]
    text += f"\n{table(columns, rows)}\n"
    columns = ["scikit-learn / ours, by rows", *(f"{n:,}" for n in sizes)]
    text += f"\n{table(columns, [[name, *(f'{ratio:.2f}' for ratio in ratios)] for name, *ratios in scanned])}\n"
    columns = ["microseconds, calls one by one", "ours, median", "scikit-learn", "ours, mean", "scikit-learn"]
    text += f"\n{table(columns, single)}\n"
    names += [f"one row, {name}" for name, _, _ in forms]
    ratios += [theirs / ours for _, ours, theirs in forms]
    text += f"\n- scikit-learn / ours: geometric mean {geometric_mean(ratios):.2f}, least {min(ratios):.2f}"
    cells = [ratio for _, *row in scanned for ratio in row]
    text += f"; by rows {geometric_mean(cells):.2f}, least {min(cells):.2f}"
    print(f"\n{text}")
    if options.output:
        dots = {"scikit-learn / ours": ratios}
        picture = options.output / "bench_predict.png"
        draw_dots(names, dots, "Prediction: time of scikit-learn / ours", "times as fast as scikit-learn", picture)
        write_results("bench_predict", "Time of predictions", text, options.output)


if __name__ == "__main__":
    main()
