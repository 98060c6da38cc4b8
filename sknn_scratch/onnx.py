"""Fitted models as ONNX graphs, by way of skl2onnx, which also converts the pipelines around them.

The graph computes what prediction does: for each layer a product, a sum and the activation, at the end the loss's link.
Only this module and ``onnx_graph`` import skl2onnx, and they do so only when something is converted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.catalogue.links import GaussianLink, LogisticLink
from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.estimators.building import fitted_model
from sknn_scratch.estimators.classifier import MLPFromScratchClassifier
from sknn_scratch.estimators.regressor import MLPFromScratchRegressor
from sknn_scratch.estimators.tabular.classifier import TabularMLPClassifier
from sknn_scratch.estimators.tabular.encoder import TabularEncoder
from sknn_scratch.estimators.tabular.regressor import TabularMLPRegressor
from sknn_scratch.exchange.onnx_graph import Graph, apply_formula, apply_link
from sknn_scratch.exchange.onnx_nesting import refuse_wrong_conversions, wants_raw_scores

__all__ = ["register_converters", "to_onnx"]

CANNOT = "cannot be converted to ONNX"  # in each refusal of ours
STRING, DOUBLE = 8, 11  # in TensorProto.DataType of ONNX
FLOAT32_COLUMNS = (
    "Show it numbers in float32, of a data frame for example "
    "X.astype(dict.fromkeys(X.select_dtypes('number'), 'float32'))."
)


def register_converters() -> None:
    """Tell skl2onnx how to convert both estimators; from then on it does so also inside pipelines and searches.

    The classifier has the options of scikit-learn's: ``zipmap``, ``output_class_labels``, ``nocl`` for the numbers of
    the classes in the place of their names, and, as linear classifiers, ``raw_scores`` for the raw output in the place
    of probabilities, which is set by itself where a meta-estimator goes by ``decision_function``. The regressor has
    ``return_std``, as scikit-learn's Gaussian processes: a second output with the standard deviations that
    ``loss="gaussian_nll"`` learns.
    """
    skl2onnx = _import_skl2onnx()
    skl2onnx.update_registered_converter(
        MLPFromScratchClassifier,
        "SknnScratchMLPClassifier",
        _set_classifier_outputs,
        _convert_classifier,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [False, True],
            "raw_scores": [False, True],
        },
    )
    skl2onnx.update_registered_converter(
        MLPFromScratchRegressor,
        "SknnScratchMLPRegressor",
        _set_regressor_outputs,
        _convert_regressor,
        parser=_declare_regressor_outputs,
        options={"return_std": [False, True]},
    )
    for cls in TabularMLPClassifier, TabularMLPRegressor, TabularEncoder:
        skl2onnx.update_registered_converter(cls, f"SknnScratch{cls.__name__}", _refuse, _convert_regressor)


def to_onnx(model: Any, X: Any = None, **parameters: Any) -> Any:
    """Convert a fitted model, or a pipeline with one, to ONNX.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : ndarray or data frame of shape (n_samples, n_features), default=None
        A few samples, of whose type the graph's inputs are to be. It computes in float64 if they are, else in float32.
        Of a data frame, each column is an input of its own.
    **parameters : object
        Passed on to ``skl2onnx.to_onnx``, such as ``options={"zipmap": False}`` for probabilities as an array instead
        of a list of dicts, ``options={"raw_scores": True}`` for the raw output in the place of probabilities (of a
        pipeline, ``options={id(pipeline[-1]): {"raw_scores": True}}``), or ``options={"return_std": True}`` for
        standard deviations.

    Returns
    -------
    onnx_model : onnx.ModelProto
        Its outputs are those that skl2onnx gives scikit-learn's estimators: labels and probabilities of a classifier
        (its raw output, as two columns for two classes, where the loss gives no probabilities), the predictions of a
        regressor, of shape (n_samples, n_outputs): for several quantiles those of the first target, then those of the
        next; for 'gaussian_nll' the means, and with ``return_std`` a second output of the same shape. Labels that are
        bool or float become integers. A classifier of several targets gives labels of shape (n_samples, n_targets) and
        a sequence of arrays, as ``MultiOutputClassifier`` does; never dicts.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    ImportError
        If skl2onnx is missing.
    NotImplementedError
        For an activation or a link whose formula does what ONNX cannot, for dicts of several targets, of float64 or of
        a single class, for imputers in float64, and for what skl2onnx would convert wrongly around the model, such as a
        ``TunedThresholdClassifierCV``, whose threshold it leaves out; and for the tabular estimators.
    ValueError
        If ``return_std`` and the loss learns no standard deviation.
    """
    register_converters()
    check_is_fitted(model)
    if _has_several_targets(model):
        parameters.setdefault("options", {MLPFromScratchClassifier: {"zipmap": False}})
    try:
        onnx_model = _import_skl2onnx().to_onnx(model, X, **parameters)
    except RuntimeError as error:
        numbers = [dtype for dtype in getattr(X, "dtypes", []) if getattr(dtype, "kind", "") in "iuf"]
        if all(str(dtype).lower() == "float32" for dtype in numbers) or CANNOT in str(error):
            raise
        raise NotImplementedError(
            f"skl2onnx cannot convert this with columns of such types: {error} {FLOAT32_COLUMNS}"
        ) from error
    _refuse_what_cannot_be_run(model, onnx_model)
    return onnx_model


def _refuse_what_cannot_be_run(model: Any, onnx_model: Any) -> None:
    """Raise NotImplementedError for a graph that onnxruntime could not load, or whose dicts it could not fill."""
    graph = getattr(onnx_model, "graph", None)
    if graph is None:
        return
    operators = {node.op_type for node in graph.node}
    types = {given.type.tensor_type.elem_type for given in graph.input}
    reason = ""
    if "ZipMap" in operators and DOUBLE in types:
        reason = "onnxruntime has dicts of float32 only, and X is of float64"
    elif "ZipMap" in operators and len(model.classes_) == 1:
        reason = f"there are two columns, and the only class is {model.classes_.tolist()[0]!r}"
    if reason:
        raise NotImplementedError(
            f"The probabilities cannot become dicts: {reason}. Pass options={{'zipmap': False}} for an array."
        )
    if "Imputer" in operators and types - {STRING} == {DOUBLE}:
        raise NotImplementedError(f"onnxruntime imputes in float32 only, and X is of float64. {FLOAT32_COLUMNS}")


def _import_skl2onnx() -> Any:
    try:
        import skl2onnx
    except ImportError as error:
        raise ImportError("Conversion to ONNX needs skl2onnx: pip install 'sknn-scratch[onnx]'.") from error
    return skl2onnx


def _refuse(operator: Any) -> None:
    name = type(operator.raw_operator).__name__
    raise NotImplementedError(
        f"{name} {CANNOT}: it takes tables with columns of several types. A ColumnTransformer and one network can."
    )


def _raw_output(graph: Graph, operator: Any) -> str:
    """Add the forward pass and return the name of the raw output."""
    inputs = [graph("Cast", given.full_name, to=graph.float_type) for given in operator.inputs]
    a = inputs[0] if len(inputs) == 1 else graph("Concat", *inputs, axis=1)
    network = operator.raw_operator.perceptron
    last = len(network.weights) - 1
    for l, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True)):
        a = graph("Add", graph("MatMul", a, graph.constant(weights)), graph.constant(biases))
        if l < last:
            a = apply_formula(graph, network.activations[l], "value", a, len(biases))
    return a


# The functions that skl2onnx calls ------------------------------------------------------------------------------------


def _declare_regressor_outputs(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    from skl2onnx import get_model_alias
    from skl2onnx.common.data_types import guess_tensor_type

    operator = scope.declare_local_operator(get_model_alias(type(model)), model)
    operator.inputs = inputs
    names = ["variable", "std"] if scope.get_options(model, {"return_std": False})["return_std"] else ["variable"]
    for name in names:
        operator.outputs.append(scope.declare_local_variable(name, guess_tensor_type(inputs[0].type)))
    return operator.outputs


def _set_regressor_outputs(operator: Any) -> None:
    model = operator.raw_operator
    fitted = fitted_model(model)
    if len(operator.outputs) == 2 and not isinstance(fitted.network.link, GaussianLink):
        raise ValueError(f"return_std=True needs loss='gaussian_nll'; the model was fitted with {fitted.loss!r}.")
    for output in operator.outputs:
        output.type = _float_type(operator)([None, _n_predictions(model)])


def _n_predictions(model: MLPFromScratchRegressor) -> int:
    """Return how many columns of predictions there are, without the standard deviations."""
    return model.n_outputs_ // 2 if isinstance(model.perceptron.link, GaussianLink) else model.n_outputs_


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    graph, model = Graph(scope, operator, container), operator.raw_operator
    fitted = fitted_model(model)
    link = fitted.network.link
    refuse_wrong_conversions(scope, container, model, graph.is_double, _n_predictions(model))
    prediction = apply_link(graph, link, _raw_output(graph, operator), graph.n_outputs)
    if (scaling := fitted.target_scaling) is not None:
        shift, factor = scaling
        prediction = graph("Add", graph("Mul", prediction, graph.constant(factor)), graph.constant(shift))
    if isinstance(link, GaussianLink):
        half = graph.n_outputs // 2
        parts = [graph.columns(prediction, 0, half), graph.columns(prediction, half, 2 * half)]
    else:
        parts = [prediction]
    # Without return_std there is no second output.
    for part, output in zip(parts, operator.outputs, strict=False):
        graph("Identity", part, output=output.full_name)


def _set_classifier_outputs(operator: Any) -> None:
    from skl2onnx.common.data_types import Int64TensorType, SequenceType, StringTensorType

    model = operator.raw_operator
    labels, scores = operator.outputs
    if fitted_model(model).targets["multilabel"]:
        labels.type = Int64TensorType([None, model.n_outputs_])
        scores.type = _float_type(operator)([None, model.n_outputs_])
        return
    classes, is_text = _classes(operator.scope_inst, model)
    label_type = StringTensorType if is_text else Int64TensorType
    if not _has_several_targets(model):
        labels.type = label_type([None])
        scores.type = _float_type(operator)([None, max(2, model.n_outputs_)])
        return
    if operator.scope_inst.get_options(model, {"zipmap": True})["zipmap"]:
        raise NotImplementedError(
            "The probabilities of several targets cannot become dicts; pass options={'zipmap': False}."
        )
    labels.type = label_type([None, len(classes)])
    scores.type = SequenceType(_float_type(operator)([None, None]))


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    graph, model = Graph(scope, operator, container), operator.raw_operator
    refuse_wrong_conversions(scope, container, model, graph.is_double)
    raw, fitted = wants_raw_scores(scope, container, model), fitted_model(model)
    loss: Any = fitted.loss
    raw_output = _raw_output(graph, operator)
    labels, scores = (output.full_name for output in operator.outputs)
    if fitted.targets["multilabel"]:
        prediction = apply_link(graph, loss.link, raw_output, graph.n_outputs)
        graph("Identity", raw_output if raw else prediction, output=scores)
        graph("Cast", _is_positive(graph, loss, prediction), output=labels, to=graph.types.INT64)
        return
    classes, is_text = _classes(scope, model)
    if not _has_several_targets(model):
        label, score = _classify(graph, loss, raw, raw_output, graph.n_outputs, classes[0], is_text)
        graph("Reshape", label, graph.constant([-1], graph.types.INT64), output=labels)
        graph("Identity", score, output=scores)
        return
    each, stop = [], 0
    for names, loss_of_head, width in zip(classes, loss.losses, loss.widths, strict=True):
        start, stop = stop, stop + width
        head = graph.columns(raw_output, start, stop)
        each.append(_classify(graph, loss_of_head, raw, head, width, names, is_text))
    graph("Concat", *(label for label, _ in each), output=labels, axis=1)
    graph("SequenceConstruct", *(score for _, score in each), output=scores)


def _is_positive(graph: Graph, loss: Loss, prediction: str) -> str:
    return graph("Greater", prediction, graph.constant(0.5 if loss.gives_probabilities else 0.0))


def _classify(
    graph: Graph, loss: Loss, raw: bool, raw_output: str, width: int, classes: NDArray, is_text: bool
) -> tuple[str, str]:
    """Add a column with the labels of one target, and the scores of its classes."""
    prediction = apply_link(graph, loss.link, raw_output, width)
    as_raw = raw or not loss.gives_probabilities
    if width > 1:
        index, scores = graph("ArgMax", prediction, axis=1, keepdims=1), raw_output if as_raw else prediction
    else:
        index = graph("Cast", _is_positive(graph, loss, prediction), to=graph.types.INT64)
        scores = graph("Concat", graph("Neg", raw_output), raw_output, axis=1)
        if not as_raw and type(loss.link) is LogisticLink:
            scores = apply_link(graph, loss.link, scores, 2)
        elif not as_raw:
            scores = graph("Concat", graph("Sub", graph.constant(1.0), prediction), prediction, axis=1)
    # With a single class there is one column more than there are classes.
    names = graph.constant(
        np.resize(classes, max(2, len(classes))), graph.types.STRING if is_text else graph.types.INT64
    )
    return graph("Gather", names, index, axis=0), scores


def _float_type(operator: Any) -> Any:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    are_double = (isinstance(given.type, DoubleTensorType) for given in operator.inputs)
    return DoubleTensorType if any(are_double) else FloatTensorType


def _has_several_targets(model: Any) -> bool:
    # Pipelines and searches have the attribute, too.
    return isinstance(getattr(model, "classes_", None), list)


def _classes(scope: Any, model: MLPFromScratchClassifier) -> tuple[list[NDArray], bool]:
    """Return the classes of each target as strings or integers, and whether they are strings."""
    targets: Any = model.classes_ if _has_several_targets(model) else [model.classes_]
    if scope.get_options(model, {"nocl": False})["nocl"]:
        return [np.arange(len(classes)) for classes in targets], False
    if targets[0].dtype.kind not in "biuf":
        return [classes.astype(str) for classes in targets], True
    for classes in targets:
        if not np.array_equal(classes.astype(np.int64), classes):
            raise NotImplementedError(f"ONNX has labels that are integers or strings, got {classes}.")
    return [classes.astype(np.int64) for classes in targets], False
