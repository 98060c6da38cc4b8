"""The picture at the head of the README: the same curve, in less time, with more losses to choose from.

python benchmarks/overview.py --output benchmarks    writes overview.png

The times are those of ``RESULTS.md``, as bench_fit.py wrote them there; the curves are fitted anew.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from common import HERE, folder
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor, Quantile

ROWS = {
    "iris 4-10-3, batch 32": "4-10-3\nbatch 32",
    "breast cancer 30-100-1": "30-100-1",
    "digits 64-100-10": "64-100-10",
    "784-256-128-10, float32": "784-256-128-10\nfloat32",
}
GREY, ORANGE, BLUE = "0.65", "#E69F00", "#0072B2"


def times() -> dict[str, list[float]]:
    """Return the microseconds of a step for each row: numpy, numba, scikit-learn."""
    lines = (HERE / "RESULTS.md").read_text().partition("<!-- end of bench_fit -->")[0].splitlines()
    return {
        row: [float(cell) for cell in line.split("|")[2:5]]
        for row in ROWS
        for line in lines
        if line.startswith(f"| {row} |")
    }


def draw_curves(ax) -> None:
    """Draw the training loss of both libraries."""
    X, y = load_digits(return_X_y=True)
    theirs = MLPClassifier(random_state=0, tol=0.001).fit(X / 16, y)
    ours = MLPFromScratchClassifier(random_state=0, tol=0.001).fit(X / 16, y)
    ax.plot(theirs.loss_curve_, color=GREY, linewidth=6, label="scikit-learn")
    ax.plot(ours.loss_curve_, color=BLUE, linewidth=1.5, label="sknn_scratch")
    ax.set(xlabel="epoch", ylabel="training loss of digits", yscale="log", title="The same network ...")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.legend()


def draw_times(ax) -> None:
    """Draw the time of a step relative to scikit-learn's."""
    height, positions = 0.26, np.arange(len(ROWS))
    columns = np.array(list(times().values())).T
    for k, (values, name, colour) in enumerate(
        [(columns[2], "scikit-learn", GREY), (columns[0], "NumPy", ORANGE), (columns[1], "with numba", BLUE)]
    ):
        shares = values / columns[2]
        bars = ax.barh(positions + (k - 1) * height, shares, height, color=colour, label=name)
        if k:
            ax.bar_label(bars, [f"{share:.0%}" for share in shares], padding=2, fontsize=8)
    ax.set(yticks=positions, yticklabels=ROWS.values(), xlabel="time of a training step", xlim=(0, 1.75))
    ax.set(xticks=[0, 0.5, 1], xticklabels=["0", "50 %", "100 %"], title="... in less time ...")
    ax.invert_yaxis()
    ax.legend(loc="center right", fontsize=8)


def draw_quantiles(ax) -> None:
    """Draw what one loss that scikit-learn lacks learns."""
    rng = np.random.RandomState(0)
    X = rng.uniform(0, 3, (800, 1))
    y = np.sin(2 * X[:, 0]) + (0.05 + 0.2 * X[:, 0]) * rng.randn(800)
    model = MLPFromScratchRegressor(
        Quantile([0.1, 0.5, 0.9]),
        30,
        "tanh",
        learning_rate_init=0.01,
        batch_size=50,
        max_iter=500,
        tol=0.001,
        n_iter_no_change=20,
        random_state=0,
    ).fit(X, y)
    grid = np.linspace(0, 3, 200)[:, np.newaxis]
    low, median, high = model.predict(grid).T
    ax.plot(X[:, 0], y, ".", color=GREY, markersize=3)
    ax.fill_between(grid[:, 0], low, high, color=BLUE, alpha=0.25)
    ax.plot(grid[:, 0], median, color=BLUE)
    ax.set(xlabel="feature", ylabel="target", title="... and more: Quantile([0.1, 0.5, 0.9])")


def main() -> None:
    """Draw the three panels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=folder, default=".", help="folder for the picture")
    options = parser.parse_args()
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    draw_curves(axes[0])
    draw_times(axes[1])
    draw_quantiles(axes[2])
    figure.savefig(options.output / "overview.png", dpi=110)
    print(f"The picture is in {options.output / 'overview.png'}.")


if __name__ == "__main__":
    main()
