"""How time and memory of training grow with samples, features, width and batch size: ours and scikit-learn's.

One of the four is doubled several times while the others stay; the slope is that of the logarithms, so 1 is
proportional. Memory is the most that is in use during ``fit`` beyond the data.

    python benchmarks/bench_scaling.py                        a few minutes
    python benchmarks/bench_scaling.py --quick                seconds
    python benchmarks/bench_scaling.py --output benchmarks    writes RESULTS.md and a picture
"""

import tracemalloc
import warnings
from contextlib import nullcontext

import numpy as np
from common import MARKERS, conditions, in_turns, make_parser, table, write_results
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from sknn_scratch import MLPFromScratchClassifier
from sknn_scratch.plotting.drawing import LINE_COLORS, plain_log_axis

BASE = {"samples": 4000, "features": 50, "width": 100, "batch size": 200}
SERIES = {
    "samples": [2000, 4000, 8000, 16_000, 32_000],
    "features": [25, 50, 100, 200, 400],
    "width": [50, 100, 200, 400, 800],
    "batch size": [25, 50, 100, 200, 400, 800],
}
LIBRARIES = {"ours": MLPFromScratchClassifier, "scikit-learn": MLPClassifier}


def measure(size: dict, rounds: int) -> dict:
    """Return for each library the best milliseconds of an epoch, and the peak memory of fit in MiB."""
    rng = np.random.RandomState(0)
    X, y = rng.randn(size["samples"], size["features"]), rng.randint(10, size=size["samples"])
    models = {
        name: cls((size["width"],), batch_size=size["batch size"], max_iter=3, random_state=0)
        for name, cls in LIBRARIES.items()
    }
    times = in_turns({name: lambda model=model: model.fit(X, y) for name, model in models.items()}, rounds)
    result = {name: {"ms": min(values) / 3 * 1e3} for name, values in times.items()}
    for name, model in models.items():
        tracemalloc.start()
        model.fit(X, y)
        result[name]["MiB"] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    return result


def slope(x: list, values: list) -> float:
    """Return the slope of the logarithms, of the upper half of the series."""
    half = len(x) // 2
    return float(np.polyfit(np.log(x[half:]), np.log(values[half:]), 1)[0])


def draw(results: dict, path) -> None:
    """Draw time and memory against each of the four."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import NullLocator
    except ImportError:
        print("Install matplotlib for a picture.")
        return
    figure, axes = plt.subplots(2, len(results), figsize=(3.2 * len(results), 6), layout="constrained", sharex="col")
    for column, (what, (x, measured)) in zip(axes.T, results.items(), strict=True):
        for ax, unit in zip(column, ("ms", "MiB"), strict=True):
            values = [m[name][unit] for m in measured for name in LIBRARIES]
            for name, color, marker in zip(LIBRARIES, LINE_COLORS, MARKERS, strict=False):
                ax.loglog(x, [m[name][unit] for m in measured], color=color, marker=marker, label=name)
            plain_log_axis(ax.yaxis, min(values), max(values))
            ax.set_xticks(x, [f"{value:,}" for value in x], rotation=45)
            ax.xaxis.set_minor_locator(NullLocator())
            ax.grid(alpha=0.4)
        column[1].set_xlabel(what)
    axes[0, 0].set_ylabel("milliseconds per epoch")
    axes[1, 0].set_ylabel("peak memory of fit, MiB")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=150)
    print(f"The picture is in {path}.")


def main() -> None:
    """Print the table."""
    options = make_parser(__doc__).parse_args()
    rounds = options.rounds or (1 if options.quick else 5)
    warnings.simplefilter("ignore", ConvergenceWarning)  # three epochs are not meant to converge
    results, lines, slopes = {}, [], []
    base = BASE | ({"samples": 1000} if options.quick else {})
    with threadpool_limits(options.threads) if options.threads else nullcontext():
        print(conditions(), flush=True)
        for what, values in SERIES.items():
            x = values[:3] if options.quick else values
            print(f"... {what}", flush=True)
            results[what] = x, [measure({**base, what: value}, rounds) for value in x]
    for what, (x, measured) in results.items():
        for value, m in zip(x, measured, strict=True):
            figures = [m[name][unit] for unit in ("ms", "MiB") for name in LIBRARIES]
            lines.append([f"{what} {value:,}", *(f"{figure:.2f}" for figure in figures)])
        by = {unit: [slope(x, [m[name][unit] for m in measured]) for name in LIBRARIES] for unit in ("ms", "MiB")}
        slopes.append(
            f"- {what}: time grows with the power {by['ms'][0]:.2f} (scikit-learn {by['ms'][1]:.2f}), memory "
            f"with {by['MiB'][0]:.2f} ({by['MiB'][1]:.2f})"
        )
    columns = ["one changed", *(f"{name}, {unit}" for unit in ("ms per epoch", "MiB") for name in LIBRARIES)]
    usual = ", ".join(f"{name} {value:,}" for name, value in base.items())
    text = f"Where nothing else is said: {usual}; ten classes.\n\n{table(columns, lines)}\n\n" + "\n".join(slopes)
    print(f"\n{text}")
    if options.output:
        draw(results, options.output / "bench_scaling.png")
        write_results("bench_scaling", "Growth of time and memory", text, options.output)


if __name__ == "__main__":
    main()
