"""Models of other packages for bench_tabular.py: gradient boosting, and a network that needs PyTorch.

``pip install catboost lightgbm xgboost pytabkit``; each is taken where it is installed. Nothing is tuned. Each gets a
table as it takes it: all know the categories, and gaps are filled where it refuses them. RealMLP, of Holzmüller,
Grinsztajn and Steinwart (https://arxiv.org/abs/2407.04491), is an ensemble by 4 folds, stops by the log-loss and does
not smooth labels, as its authors advise for probabilities; as it comes, its log-loss is far worse.
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
from sklearn.preprocessing import LabelEncoder


class OtherModel:
    """A model of another package, which gets frames as it takes them, and labels as numbers from 0 on."""

    def __init__(self, make: Callable[..., Any], fills: tuple[str, ...] = ()):
        self._make, self._fills = make, fills

    def fit(self, X: pd.DataFrame, y: pd.Series) -> "OtherModel":
        """Learn."""
        is_number, is_category = (make_column_selector(**{f"dtype_{way}": "number"}) for way in ("include", "exclude"))
        steps = {
            "numbers": (SimpleImputer(strategy="median", keep_empty_features=True), is_number),
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


def catboost(kind: str, seed: int) -> OtherModel:
    """Return CatBoost."""
    cls = getattr(import_module("catboost"), f"CatBoost{kind}")
    settings = {"random_seed": seed, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
    return OtherModel(lambda categories: cls(cat_features=categories, **settings), ("categories",))


def lightgbm(kind: str, seed: int) -> OtherModel:
    """Return LightGBM."""
    cls = getattr(import_module("lightgbm"), f"LGBM{kind}")
    return OtherModel(lambda _: cls(random_state=seed, n_jobs=1, verbose=-1))


def xgboost(kind: str, seed: int) -> OtherModel:
    """Return XGBoost."""
    cls = getattr(import_module("xgboost"), f"XGB{kind}")
    return OtherModel(lambda _: cls(random_state=seed, n_jobs=1, enable_categorical=True))


def realmlp(kind: str, seed: int) -> OtherModel:
    """Return RealMLP."""
    cls = getattr(import_module("pytabkit"), f"RealMLP_TD_{kind}")
    settings = {"n_cv": 4, "random_state": seed, "device": "cpu", "n_threads": 1, "verbosity": 0}
    if kind == "Classifier":
        settings |= {"val_metric_name": "cross_entropy", "use_ls": False}
    return OtherModel(lambda _: cls(**settings), ("numbers", "categories"))


KNOWN = {"CatBoost": catboost, "LightGBM": lightgbm, "XGBoost": xgboost, "RealMLP, 4 folds": realmlp}
PACKAGES = {name: "pytabkit" if make is realmlp else make.__name__ for name, make in KNOWN.items()}


def other_models(kind: str) -> dict[str, Callable[[int], OtherModel]]:
    """Return what makes those that are installed, for a seed; ``kind`` is "Classifier" or "Regressor"."""
    return {name: partial(make, kind) for name, make in KNOWN.items() if find_spec(PACKAGES[name])}


def versions() -> str:
    """Return the versions of the packages that are installed."""
    return ", ".join(f"{package} {version(package)}" for package in PACKAGES.values() if find_spec(package))
