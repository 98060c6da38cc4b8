"""Models of other packages for bench_tabular.py: gradient boosting, and a network that needs PyTorch.

``pip install catboost lightgbm xgboost pytabkit``; each is taken where it is installed. Nothing is tuned. Each gets a
table as it takes it: all know the categories, and gaps are filled where it refuses them. Boosting comes with its own
defaults, and as four models, each stopped by the fold that it does not see. RealMLP, of Holzmüller, Grinsztajn and
Steinwart (https://arxiv.org/abs/2407.04491), is an ensemble by 4 folds, too, stops by the log-loss and does not smooth
labels, as its authors advise for probabilities; as it comes, its log-loss is far worse.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import LabelEncoder


class OtherModel:
    """A model of another package, which gets frames as it takes them, and labels as numbers from 0 on."""

    def __init__(self, make: Callable[..., Any], fills: tuple[str, ...] = ()):
        self._make, self._fills = make, fills

    def fit(self, X: pd.DataFrame, y: pd.Series) -> "OtherModel":
        """Learn."""
        is_category = make_column_selector(dtype_exclude="number")
        steps = {
            "numbers": (
                SimpleImputer(strategy="median", keep_empty_features=True),
                make_column_selector(dtype_include="number"),
            ),
            "categories": (SimpleImputer(strategy="constant", fill_value="missing"), is_category),
        }
        self._filled = ColumnTransformer(
            [(name, *steps[name]) for name in self._fills], remainder="passthrough", verbose_feature_names_out=False
        ).set_output(transform="pandas")
        self._filled.fit(X)
        self._model = self._make(is_category(X))
        if hasattr(self._model, "predict_proba"):
            labels = LabelEncoder().fit(y)
            self.classes_, y = labels.classes_, labels.transform(y)
        self._model.fit(self._filled.transform(X), np.asarray(y))
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Return labels, or numbers."""
        predicted = np.ravel(self._model.predict(self._filled.transform(X)))
        return self.classes_[predicted.astype(int)] if hasattr(self, "classes_") else predicted

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Return the probabilities of the classes, which float32 does not make sum to 1."""
        p = self._model.predict_proba(self._filled.transform(X)).astype(float)
        return p / p.sum(axis=1, keepdims=True)


class Folds:
    """Four models, each stopped by the fold that it is not trained on, which predict the mean of what they say."""

    def __init__(self, make: Callable[[], Any], stopped_by: Callable[..., dict]):
        self._make, self._stopped_by = make, stopped_by
        if hasattr(make(), "predict_proba"):
            self.predict_proba = partial(self._mean, "predict_proba")

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> None:
        """Learn."""
        splitter = (StratifiedKFold if hasattr(self, "predict_proba") else KFold)(4, shuffle=True, random_state=0)
        self._models = [
            self._make().fit(X.iloc[rows], y[rows], **self._stopped_by(X.iloc[held_out], y[held_out]))
            for rows, held_out in splitter.split(X, y)
        ]

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Return classes, from 0 on, or numbers."""
        return self.predict_proba(X).argmax(axis=1) if hasattr(self, "predict_proba") else self._mean("predict", X)

    def _mean(self, method: str, X: pd.DataFrame) -> np.ndarray:
        return np.mean([getattr(model, method)(X) for model in self._models], axis=0)


def catboost(kind: str, seed: int, *, stopped: bool = False) -> OtherModel:
    """Return CatBoost."""
    cls = getattr(import_module("catboost"), f"CatBoost{kind}")
    settings = {"random_seed": seed, "thread_count": 1, "verbose": 0, "allow_writing_files": False}

    def make(categories: list[str]) -> Any:
        one = partial(cls, cat_features=categories, **settings)
        return Folds(one, lambda X, y: {"eval_set": (X, y), "early_stopping_rounds": 100}) if stopped else one()

    return OtherModel(make, ("categories",))


def lightgbm(kind: str, seed: int, *, stopped: bool = False) -> OtherModel:
    """Return LightGBM."""
    package = import_module("lightgbm")
    one = partial(getattr(package, f"LGBM{kind}"), random_state=seed, n_jobs=1, verbose=-1)
    stop = {"callbacks": [package.early_stopping(20, verbose=False)]}
    return OtherModel(lambda _: Folds(one, lambda X, y: {"eval_set": [(X, y)], **stop}) if stopped else one())


def xgboost(kind: str, seed: int, *, stopped: bool = False) -> OtherModel:
    """Return XGBoost."""
    cls = getattr(import_module("xgboost"), f"XGB{kind}")
    one = partial(cls, random_state=seed, n_jobs=1, enable_categorical=True)
    stopping = partial(one, early_stopping_rounds=20)
    options = {"verbose": False}
    return OtherModel(lambda _: Folds(stopping, lambda X, y: {"eval_set": [(X, y)], **options}) if stopped else one())


def realmlp(kind: str, seed: int) -> OtherModel:
    """Return RealMLP."""
    cls = getattr(import_module("pytabkit"), f"RealMLP_TD_{kind}")
    settings = {"n_cv": 4, "random_state": seed, "device": "cpu", "n_threads": 1, "verbosity": 0}
    if kind == "Classifier":
        settings |= {"val_metric_name": "cross_entropy", "use_ls": False}
    return OtherModel(lambda _: cls(**settings), ("numbers", "categories"))


# Of each the package that it takes, and what makes it, given "Classifier" or "Regressor" and a seed.
KNOWN: dict[str, tuple[str, Callable[[str, int], OtherModel]]] = {
    "CatBoost, 4 folds": ("catboost", partial(catboost, stopped=True)),
    "LightGBM, 4 folds": ("lightgbm", partial(lightgbm, stopped=True)),
    "XGBoost, 4 folds": ("xgboost", partial(xgboost, stopped=True)),
    "RealMLP, 4 folds": ("pytabkit", realmlp),
    "CatBoost": ("catboost", catboost),
    "LightGBM": ("lightgbm", lightgbm),
    "XGBoost": ("xgboost", xgboost),
}


def other_models(kind: str) -> dict[str, Callable[[int], OtherModel]]:
    """Return what makes those that are installed, for a seed; ``kind`` is "Classifier" or "Regressor"."""
    return {name: partial(make, kind) for name, (package, make) in KNOWN.items() if find_spec(package)}


def versions() -> str:
    """Return the versions of the packages that are installed."""
    packages = dict.fromkeys(package for package, _ in KNOWN.values())
    return ", ".join(f"{package} {version(package)}" for package in packages if find_spec(package))
