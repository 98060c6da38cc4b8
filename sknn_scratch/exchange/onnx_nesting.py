"""What stands around a model that skl2onnx converts, and what that needs of the model's graph.

skl2onnx converts scikit-learn's meta-estimators by itself. It asks for raw scores where an estimator goes by
``decision_function``, but the request gets lost in a pipeline or a search; and some conversions are wrong whatever the
member is. Nothing here imports skl2onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, BaggingRegressor, StackingClassifier
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline

# The last step, member or final estimator of these is asked for what they are asked for themselves.
_THAT_HAND_ON = (BaggingClassifier, GridSearchCV, OneVsRestClassifier, Pipeline, StackingClassifier)


def wants_raw_scores(scope: Any, container: Any, model: Any) -> bool:
    """Return whether the scores of a classifier are to be its raw output instead of probabilities.

    Either an option says so, of skl2onnx or of the user, or an estimator around the model does: those that take its
    ``decision_function``, and those that hand on what they are asked for themselves.
    """
    for where in (scope, container):  # skl2onnx writes some options here, some there
        if where.get_options(model, fail=False).get("raw_scores"):
            return True
    for parent in _parents(scope, model):
        if isinstance(parent, StackingClassifier) and model is not parent.final_estimator_:
            methods = zip(parent.estimators_, parent.stack_method_, strict=True)
            wants = any(member is model and method == "decision_function" for member, method in methods)
        elif isinstance(parent, _THAT_HAND_ON):
            wants = wants_raw_scores(scope, container, parent)
        else:
            wants = isinstance(parent, CalibratedClassifierCV | OneVsOneClassifier)
        if wants:
            return True
    return False


def refuse_wrong_conversions(scope: Any, container: Any, model: Any, is_double: bool, n_columns: int = 1) -> None:
    """Raise NotImplementedError if an estimator around the model is one that skl2onnx converts wrongly.

    Estimators are declared in the scope before those that they hold. ``n_columns`` is how many a regressor predicts.
    """
    for parent in _parents(scope, model):
        raw = wants_raw_scores(scope, container, model)
        reason = _why_wrong(parent, model, raw, is_double, n_columns)
        if reason:
            raise NotImplementedError(f"This {type(parent).__name__} cannot be converted to ONNX: {reason}")
        passes_on = isinstance(parent, GridSearchCV | Pipeline)
        refuse_wrong_conversions(scope, container, parent, is_double, n_columns if passes_on else 1)


def _parents(scope: Any, model: Any) -> list[Any]:
    """Return the estimators of the conversion that hold the model."""
    raw = {id(operator.raw_operator): operator.raw_operator for operator in scope.operators.values()}
    return [parent for parent in raw.values() if any(member is model for member in _members(parent))]


def _members(estimator: Any) -> Iterator[Any]:
    """Yield the fitted estimators that one holds."""
    attributes = getattr(estimator, "__dict__", {})
    yield from (attributes.get(name) for name in ("best_estimator_", "estimator_", "final_estimator_"))
    yield from attributes.get("estimators_", ())
    yield from (step for _, step in attributes.get("steps", ()))
    yield from (calibrated.estimator for calibrated in attributes.get("calibrated_classifiers_", ()))


def _why_wrong(parent: Any, model: Any, raw: bool, is_double: bool, n_columns: int) -> str | None:
    """Return why skl2onnx converts an estimator wrongly with this member, or None if it does not."""
    n_classes = len(getattr(parent, "classes_", ()))
    if isinstance(parent, BaggingClassifier | CalibratedClassifierCV) and len(model.classes_) < n_classes:
        return f"one of its members has seen {len(model.classes_)} of the {n_classes} classes."
    needs_probabilities = isinstance(parent, BaggingClassifier) or (isinstance(parent, OneVsRestClassifier) and not raw)
    if needs_probabilities and not hasattr(model, "predict_proba"):
        return "its members give no probabilities, and skl2onnx would take their raw scores for such."
    if isinstance(parent, BaggingRegressor | MultiOutputRegressor) and n_columns > 1:
        return f"skl2onnx takes the {n_columns} columns of each member for one."
    match parent:
        case OneVsRestClassifier() if raw and parent.multilabel_:
            return "skl2onnx takes labels with a raw score above 0.5 instead of 0."
        case OneVsRestClassifier() if not raw and isinstance(model, AdaBoostClassifier | BaggingClassifier):
            return f"skl2onnx goes by the probabilities of its {type(model).__name__}, not by its decision_function."
        case CalibratedClassifierCV() if parent.method != "sigmoid":
            return f"of the methods skl2onnx has 'sigmoid', and this one has method={parent.method!r}."
        case OneVsOneClassifier() if n_classes < 3 or not np.array_equal(parent.classes_, np.arange(n_classes)):
            return f"the classes must be 0, 1, 2 and so on, at least three; they are {parent.classes_}."
        case TunedThresholdClassifierCV():
            return (
                "skl2onnx leaves the threshold out. Convert its estimator_, and compare the scores with its "
                f"best_threshold_, {parent.best_threshold_}."
            )
        case AdaBoostClassifier() if is_double:
            return "its graph has to be in float32; pass an X of that type."
        case StackingClassifier() if "predict" in parent.stack_method_:
            return "skl2onnx lacks stack_method='predict'."
        case StackingClassifier() if n_classes == 2 and "decision_function" in parent.stack_method_:
            return "for two classes skl2onnx lacks the decision_function of members; pass stack_method='predict_proba'."
    return None
