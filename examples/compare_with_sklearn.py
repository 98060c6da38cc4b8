"""Side by side with scikit-learn: the same searches with both libraries, on data that ships with scikit-learn.

For each data set the same pipeline (StandardScaler, perceptron) goes through the same GridSearchCV over ``alpha`` and
``hidden_layer_sizes``, once with each library. The table shows what both found, how well it predicts held-out samples,
how long the search took, and by how much the coefficients of the two winners differ.

    python examples/compare_with_sklearn.py            about a minute on two cores
    python examples/compare_with_sklearn.py --quick    a few seconds, with a smaller grid

With matplotlib installed, the loss curves of the winners are drawn to ``compare_with_sklearn.png`` in the folder given
by ``--output`` (default: the current one).
"""

import argparse
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor

CLASSIFIERS = {"sknn_scratch": MLPFromScratchClassifier, "scikit-learn": MLPClassifier}
REGRESSORS = {"sknn_scratch": MLPFromScratchRegressor, "scikit-learn": MLPRegressor}


@dataclass
class Result:
    """What a grid search found, and how long it took."""

    search: GridSearchCV
    seconds: float
    held_out: dict[str, float]

    @property
    def model(self):
        """The refitted winner."""
        return self.search.best_estimator_[-1]


def run_search(estimator, grid, data, describe) -> Result:
    """Search, refit, and describe the winner by the held-out samples."""
    X_train, X_test, y_train, y_test = data
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", estimator)])
    search = GridSearchCV(pipeline, {f"mlp__{name}": values for name, values in grid.items()}, cv=3)
    start = time.perf_counter()
    search.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    return Result(search, seconds, describe(search, X_test, y_test))


def describe_classifier(search, X, y) -> dict[str, float]:
    """Return accuracy and log-loss."""
    return {"accuracy": search.score(X, y), "log-loss": log_loss(y, search.predict_proba(X))}


def describe_regressor(search, X, y) -> dict[str, float]:
    """Return R2 and root mean squared error."""
    return {"R2": search.score(X, y), "RMSE": root_mean_squared_error(y, search.predict(X))}


def largest_difference(ours, theirs) -> float:
    """Return the largest difference of two networks' coefficients, relative to the largest coefficient of a layer."""
    if [w.shape for w in ours.coefs_] != [w.shape for w in theirs.coefs_]:
        return np.inf
    pairs = zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True)
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)


def compare(title, loader, estimators, grid, describe, parameters) -> dict[str, Result]:
    """Run the search with each library and print the comparison."""
    X, y = loader(return_X_y=True)
    if describe is describe_regressor:
        y = (y - y.mean()) / y.std()
    stratify = y if describe is describe_classifier else None
    data = train_test_split(X, y, test_size=0.25, random_state=0, stratify=stratify)
    n_fits = 3 * int(np.prod([len(values) for values in grid.values()])) + 1
    print(f"\n{title}: {len(data[0])} training and {len(data[1])} held-out samples, {X.shape[1]} features")
    results = {}
    for name, cls in estimators.items():
        print(f"  {name:<12} grid search, {n_fits} fits ...", end=" ", flush=True)
        results[name] = run_search(cls(random_state=0, **parameters), grid, data, describe)
        print(f"{results[name].seconds:.1f} s")
    print_table(results)
    ours, theirs = results.values()
    print(f"  time, scikit-learn / sknn_scratch: {theirs.seconds / ours.seconds:.2f}")
    difference = largest_difference(ours.model, theirs.model)
    print(f"  largest relative difference of the winners' coefficients: {difference:.1e}")
    return results


def print_table(results: dict[str, Result]) -> None:
    """Print a column per library."""
    rows = {"": list(results)}
    for name in next(iter(results.values())).search.best_params_:
        rows[f"best {name.removeprefix('mlp__')}"] = [str(r.search.best_params_[name]) for r in results.values()]
    rows["cross-validation score"] = [f"{r.search.best_score_:.6f}" for r in results.values()]
    for name in next(iter(results.values())).held_out:
        rows[f"held-out {name}"] = [f"{r.held_out[name]:.6f}" for r in results.values()]
    rows["epochs of the winner"] = [str(r.model.n_iter_) for r in results.values()]
    for label, values in rows.items():
        print(f"  {label:<24}" + "".join(f"{value:>16}" for value in values))


def draw(comparisons: dict[str, dict[str, Result]], path: Path) -> None:
    """Draw the loss curves of the winners, those of scikit-learn dashed on top of ours."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("\nInstall matplotlib (pip install 'sknn-scratch[plot]') for a picture of the loss curves.")
        return
    figure, axes = plt.subplots(1, len(comparisons), figsize=(4.2 * len(comparisons), 3.6), layout="constrained")
    for ax, (title, results) in zip(axes, comparisons.items(), strict=True):
        for (name, result), style in zip(results.items(), ("-", "--"), strict=True):
            width, colour = (5, "#E69F00") if style == "-" else (1.5, "black")
            losses = result.model.loss_curve_
            ax.plot(range(1, len(losses) + 1), losses, style, label=name, linewidth=width, color=colour)
        ax.set(title=title, xlabel="epoch", ylabel="training loss", ylim=(0, 1.08 * max(losses)))
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle("Training loss of the winners of both grid searches")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"\nThe loss curves are in {path}.")


def main() -> None:
    """Compare on three data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller grid and fewer epochs")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    grid = {"alpha": [1e-4, 1e-2, 1.0], "hidden_layer_sizes": [(30,), (100,), (50, 25)]}
    parameters = {"max_iter": 100}
    if options.quick:
        grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(30,), (60,)]}
        parameters = {"max_iter": 30}
    # So many epochs are enough for the comparison, not always for the stopping rule.
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("Every search runs one fit after the other; both libraries get the same data, grid and random_state.")
    comparisons = {
        "digits": compare("Digits", load_digits, CLASSIFIERS, grid, describe_classifier, parameters),
        "breast cancer": compare(
            "Breast cancer", load_breast_cancer, CLASSIFIERS, grid, describe_classifier, parameters
        ),
        "diabetes": compare(
            "Diabetes (regression, standardised target)",
            load_diabetes,
            REGRESSORS,
            grid,
            describe_regressor,
            parameters,
        ),
    }
    draw(comparisons, options.output / "compare_with_sklearn.png")


if __name__ == "__main__":
    main()
