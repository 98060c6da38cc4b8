"""Class labels to target columns of 0 and 1, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels

from sknn_scratch.estimators.arrays import are_plain_labels, naming

# Rows that are encoded at once: sorting labels takes many times their memory.
ROWS_AT_ONCE = 2**17


def weigh_classes(class_weight: Any, coder: Any, y: NDArray, sample_weight: NDArray | None) -> NDArray | None:
    """Return the weights of samples, multiplied by those of their classes where there are such; ``y`` is encoded."""
    if class_weight is None:
        return sample_weight
    weights = np.ones(len(y)) if sample_weight is None else sample_weight.astype(np.float64)
    weights = weights * coder.factors_of_classes(class_weight, y, weights)
    if not weights.any():
        raise ValueError(f"class_weight={class_weight!r} leaves no sample with a positive weight.")
    return weights


def _in_order(y: Any) -> NDArray:
    """Return the different labels in order, as ``unique_labels`` does, for plain ones in a fraction of the time."""
    if not are_plain_labels(y):
        return unique_labels(y)
    found = np.unique(y)
    return np.array(found.tolist()) if found.dtype.kind == "U" else found  # strings as short as they can be


class LabelCoder:
    """Codes one target: binary, multiclass or multilabel, as ``type_of_target`` says.

    It learns from ``y``, or from ``classes``, all labels that can occur, if ``y`` may lack some. The attribute
    ``classes`` has them in order, for multilabel targets the column numbers.
    """

    def __init__(self, y: Any, target_type: str, classes: ArrayLike | None = None):
        self.multilabel = target_type == "multilabel-indicator"
        if classes is not None and not self.multilabel:
            given = np.asarray(classes)
            if not are_plain_labels(given) and (
                given.ndim != 1 or not given.size or type_of_target(given) not in ("binary", "multiclass")
            ):
                raise ValueError(f"classes must be a 1-d array of class labels, got {classes!r}.")
        self._binarizer: Any = LabelBinarizer().fit(y) if self.multilabel else None
        self.classes = _in_order(y if classes is None else classes)

    @property
    def multiclass(self) -> bool:
        """Whether exactly one of several columns is 1."""
        return not self.multilabel and len(self.classes) > 2

    @property
    def n_columns(self) -> int:
        """Number of columns: one for two classes, else one for each."""
        return len(self.classes) if self.multilabel or self.multiclass else 1

    def check(self, y: Any, target_type: str, classes: ArrayLike | None, *, all_classes: bool) -> None:
        """Raise ValueError unless the targets suit the classes; with ``all_classes``, unless every class occurs."""
        if (target_type == "multilabel-indicator") != self.multilabel or target_type == "multiclass-multioutput":
            fitted = "multilabel-indicator" if self.multilabel else "multiclass" if self.multiclass else "binary"
            raise ValueError(f"y is {target_type}, but the model was fitted on {fitted} targets.")
        if classes is not None:
            with naming("classes"), np.errstate(invalid="ignore"):  # NaN is an error, not a warning
                given = _in_order(classes)
            if not np.array_equal(given, self.classes):
                raise ValueError(f"classes={classes!r} is not the same as on the first call, {self.classes}.")
        found = _in_order(y)
        if np.array_equal(found, self.classes):
            return
        if self.multilabel and len(found) != len(self.classes):
            raise ValueError(f"y has {len(found)} columns, but there are {len(self.classes)} classes, {self.classes}.")
        unknown, missing = np.setdiff1d(found, self.classes), np.setdiff1d(self.classes, found)
        if all_classes and (unknown.size or missing.size):
            difference = f"it has {unknown} besides" if unknown.size else f"it lacks {missing}"
            raise ValueError(
                f"warm_start can only be used where y has the same classes as before, {self.classes}; {difference}."
            )
        if unknown.size:
            raise ValueError(f"y has classes {unknown} that are not in classes_, {self.classes}.")

    def encode(self, y: Any) -> NDArray:
        """Return the columns of 0 and 1, as bytes, of shape (n_samples, n_columns)."""
        if self.multilabel:
            dense = y.toarray() if hasattr(y, "toarray") else y
            return (dense != 0).view(np.uint8)
        return self.encode_positions(self.positions(y))

    def positions(self, y: NDArray) -> NDArray:
        """Return where among the classes each label of one target stands."""
        found = np.empty(len(y), dtype=np.min_scalar_type(len(self.classes)))
        for start in range(0, len(y), ROWS_AT_ONCE):
            labels = y[start : start + ROWS_AT_ONCE]
            if are_plain_labels(labels):
                places = np.searchsorted(self.classes, labels)
            else:
                _, codes = np.unique(labels, return_inverse=True)
                places = np.searchsorted(self.classes, unique_labels(labels))[codes]
            found[start : start + ROWS_AT_ONCE] = places
        return found

    def encode_positions(self, positions: NDArray) -> NDArray:
        """Return the columns of 0 and 1, as bytes, for places among the classes."""
        columns = np.arange(self.n_columns, dtype=positions.dtype) if self.multiclass else np.ones(1, positions.dtype)
        return (columns[:, np.newaxis] == positions).view(np.uint8).T

    def decode(self, columns: NDArray, threshold: float = 0.5) -> Any:
        """Return the label of the largest column, or those of all columns above the threshold."""
        if self.multilabel:
            return self._binarizer.inverse_transform(columns, threshold=threshold)
        if self.multiclass:
            return self.classes.take(columns.argmax(axis=1))
        return self.classes.take(columns.ravel() > threshold, mode="clip")  # which is the first if there is one only

    def split(self, columns: NDArray) -> list[NDArray]:
        """Return the columns of each target, of which there is one."""
        return [columns]

    def factors_of_classes(self, class_weight: Any, y: NDArray, weights: NDArray) -> NDArray:
        """Return by what 'balanced' or a mapping of labels multiplies the weights of samples; ``y`` is encoded."""
        labels = self.classes.tolist()
        of_labels: Any = None
        if isinstance(class_weight, Mapping):
            known = set(labels)
            if unknown := [label for label in class_weight if label not in known]:
                raise ValueError(f"class_weight has labels {unknown} that are not among the classes {self.classes}.")
            of_labels = np.array([float(class_weight.get(label, 1.0)) for label in labels])
        if not self.multilabel:
            positions = y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
            if of_labels is None:
                sums = np.bincount(positions, weights, minlength=len(labels))
                of_labels = sums.sum() / (np.count_nonzero(sums) * np.where(sums > 0, sums, 1))
            return of_labels[positions]
        factors = np.ones(len(y))
        for k, has_label in enumerate(y.T > 0):  # each column counts as two classes
            share = np.average(has_label, weights=weights)
            balanced = 0.5 / max(share, 1e-300), 0.5 / max(1 - share, 1e-300)
            factors *= np.where(has_label, *(balanced if of_labels is None else (of_labels[k], 1.0)))
        return factors


class MultiOutputCoder:
    """Codes several targets, of shape (n_samples, n_targets), side by side, with a ``LabelCoder`` for each."""

    multilabel = False

    def __init__(self, y: NDArray, classes: Any = None):
        given = self._one_each(classes, y.shape[1])
        self.coders = [LabelCoder(column, "multiclass", c) for column, c in zip(y.T, given, strict=True)]

    def _one_each(self, classes: Any, n_targets: int) -> list[Any]:
        """Return ``classes`` as a list with an entry, perhaps None, for each target."""
        if classes is None:
            return [None] * n_targets
        if not isinstance(classes, list | tuple) or len(classes) != n_targets:
            raise ValueError(f"classes must be a list of {n_targets} arrays, one for each target; got {classes!r}.")
        return list(classes)

    @property
    def classes(self) -> list[NDArray]:
        """Labels of each target in order."""
        return [coder.classes for coder in self.coders]

    @property
    def widths(self) -> list[int]:
        """Number of columns of each target."""
        return [coder.n_columns for coder in self.coders]

    @property
    def n_columns(self) -> int:
        """Number of columns of all targets."""
        return sum(self.widths)

    def check(self, y: Any, target_type: str, classes: Any, *, all_classes: bool) -> None:
        """Raise ValueError unless the targets suit the classes; with ``all_classes``, unless every class occurs."""
        n_targets = len(self.coders)
        if getattr(y, "ndim", 1) != 2 or y.shape[1] != n_targets:
            raise ValueError(f"y is {target_type} of shape {y.shape}, but the model was fitted on {n_targets} columns.")
        given = self._one_each(classes, n_targets)
        for position, (coder, column, c) in enumerate(zip(self.coders, y.T, given, strict=True)):
            try:
                coder.check(column, "multiclass", c, all_classes=all_classes)
            except ValueError as error:
                raise ValueError(f"In column {position} of y: {error}") from error

    def encode(self, y: Any) -> NDArray:
        """Return the columns of 0 and 1, as bytes, of all targets."""
        return np.hstack([coder.encode(column) for coder, column in zip(self.coders, y.T, strict=True)])

    def decode(self, columns: NDArray, threshold: float = 0.5) -> NDArray:
        """Return the labels, of shape (n_samples, n_targets)."""
        parts = zip(self.coders, self.split(columns), strict=True)
        return np.column_stack([coder.decode(part, threshold) for coder, part in parts])

    def split(self, columns: NDArray) -> list[NDArray]:
        """Return the columns of each target."""
        return np.split(columns, np.cumsum(self.widths)[:-1], axis=1)

    def factors_of_classes(self, class_weight: Any, y: NDArray, weights: NDArray) -> NDArray:
        """Return by what 'balanced' multiplies the weights of samples: the product over the targets."""
        if not isinstance(class_weight, str):
            raise ValueError(
                f"class_weight={class_weight!r} does not say which of the {len(self.coders)} targets it is for; "
                "with several targets it must be None or 'balanced'."
            )
        parts = zip(self.coders, self.split(y), strict=True)
        return np.prod([coder.factors_of_classes(class_weight, part, weights) for coder, part in parts], axis=0)


def describe_coder(coder: LabelCoder | MultiOutputCoder) -> dict[str, Any]:
    """Return what it takes to make the same coder again, as values that can be stored without pickle."""
    parts = coder.coders if isinstance(coder, MultiOutputCoder) else [coder]
    facts: dict[str, Any] = {
        "n_targets": len(parts),
        "several_targets": isinstance(coder, MultiOutputCoder),
        "multilabel": coder.multilabel,
        # What labels are decoded to, as they were such.
        "sparse_labels": isinstance(coder, LabelCoder) and coder.multilabel and bool(coder._binarizer.sparse_input_),
    }
    return facts | {f"classes_{target}": part.classes for target, part in enumerate(parts)}


def describe_classes(classes: NDArray, multilabel: bool = False, sparse_labels: bool = False) -> dict[str, Any]:
    """Return what ``describe_coder`` returns, of a coder of one target that is yet to be made."""
    flags = {"several_targets": False, "multilabel": multilabel, "sparse_labels": sparse_labels}
    return {"n_targets": 1, **flags, "classes_0": classes}


def coder_from_description(facts: Mapping[str, Any]) -> LabelCoder | MultiOutputCoder:
    """Return the coder that ``describe_coder`` has described; raises KeyError or ValueError for other facts."""
    n_targets = int(facts["n_targets"])
    several, multilabel, sparse = (_flag(facts, name) for name in ("several_targets", "multilabel", "sparse_labels"))
    classes = [np.asarray(facts[f"classes_{target}"]) for target in range(n_targets)]
    if not classes or (len(classes) > 1 and not several) or (multilabel and several):
        raise ValueError(f"n_targets is {n_targets}, which the other facts about the targets contradict")
    for target, labels in enumerate(classes):
        if labels.ndim != 1 or not labels.size or not np.array_equal(np.unique(labels), labels):
            raise ValueError(f"classes_{target} are not labels in order")
    if multilabel:
        n_labels = len(classes[0])
        if n_labels < 2 or not np.array_equal(classes[0], np.arange(n_labels)):
            raise ValueError("classes_0 are not the numbers of several columns")
        # A coder learns their number, and a single sample tells it that.
        one = np.zeros((1, n_labels), dtype=int)
        return LabelCoder(csr_array(one) if sparse else one, "multilabel-indicator")
    if several:
        return MultiOutputCoder(np.empty((0, len(classes))), classes)
    return LabelCoder(classes[0], "multiclass")


def _flag(facts: Mapping[str, Any], name: str) -> bool:
    flag = np.asarray(facts[name])
    if flag.shape != () or flag.dtype.kind != "b":
        raise ValueError(f"{name} is neither True nor False")
    return bool(flag)
