"""Fitted models as ONNX graphs, by way of skl2onnx, which also converts the pipelines around them.

The graph computes what prediction does: for each layer a product, a sum and the activation, at the end the loss's link.
This is the only module that imports skl2onnx and onnx, and it does so only when something is converted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sknn_scratch.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    HardSigmoid,
    HardTanh,
    Identity,
    LeakyReLU,
    Logistic,
    Mish,
    ReLU,
    ReLU6,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from sknn_scratch.classifier import MLPFromScratchClassifier
from sknn_scratch.links import (
    ExpLink,
    GaussianLink,
    IdentityLink,
    IncreasingLink,
    Link,
    LogisticLink,
    SoftmaxLink,
    TanhLink,
)
from sknn_scratch.onnx_nesting import refuse_wrong_conversions, wants_raw_scores
from sknn_scratch.regressor import MLPFromScratchRegressor

__all__ = ["register_converters", "to_onnx"]


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


def to_onnx(model: Any, X: Any = None, **parameters: Any) -> Any:
    """Convert a fitted model, or a pipeline with one, to ONNX.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : array-like of shape (n_samples, n_features), default=None
        A few samples, of whose type the graph's inputs are to be: float32 or float64 (where 'gelu' takes ten
        times as long as another activation, and 23 times the memory: onnxruntime lacks its error function).
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
    ImportError
        If skl2onnx is missing.
    NotImplementedError
        For an activation or a link that is not of this package, for dicts of several targets, and for what skl2onnx
        would convert wrongly around the model, such as a ``TunedThresholdClassifierCV``, whose threshold it leaves out.
    ValueError
        If ``return_std`` and the loss learns no standard deviation.
    """
    register_converters()
    if _has_several_targets(model):
        parameters.setdefault("options", {MLPFromScratchClassifier: {"zipmap": False}})
    return _import_skl2onnx().to_onnx(model, X, **parameters)


def _import_skl2onnx() -> Any:
    try:
        import skl2onnx
    except ImportError as error:
        raise ImportError("Conversion to ONNX needs skl2onnx: pip install 'sknn-scratch[onnx]'.") from error
    return skl2onnx


class _Graph:
    """The graph that one estimator becomes, written node by node with the operators of ONNX.

    ``graph(name_of_operator, input, ...)`` adds a node and returns the name of its output.
    """

    def __init__(self, scope: Any, operator: Any, container: Any):
        from skl2onnx.common.data_types import guess_proto_type
        from skl2onnx.proto import onnx_proto

        self._scope, self._container = scope, container
        self.n_outputs = operator.raw_operator.n_outputs_
        self.types = onnx_proto.TensorProto
        given = guess_proto_type(operator.inputs[0].type)
        self.is_double = given == self.types.DOUBLE
        self.float_type = self.types.DOUBLE if self.is_double else self.types.FLOAT

    def __call__(
        self, operator: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any
    ) -> str:
        output = output or self._scope.get_unique_variable_name("value")
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, list(inputs), [output], op_domain=domain, name=name, **attributes)
        return output

    def constant(self, values: Any, onnx_type: int | None = None) -> str:
        """Add an array or a number, of the graph's floating type by default."""
        name, array = self._scope.get_unique_variable_name("constant"), np.asarray(values)
        onnx_type = self.float_type if onnx_type is None else onnx_type
        self._container.add_initializer(name, onnx_type, list(array.shape), array.ravel().tolist())
        return name

    def columns(self, array: str, start: int, stop: int) -> str:
        """Add a slice of an array's columns."""
        return self("Slice", array, *(self.constant([i], self.types.INT64) for i in (start, stop, 1)))


# Each adds nodes for an activation or link and its input, and returns the name of the output.
_Nodes = Callable[[_Graph, Any, str], str]


def _clip(graph: _Graph, z: str, low: float, high: float) -> str:
    return graph("Min", graph("Max", z, graph.constant(low)), graph.constant(high))


def _halves(graph: _Graph, right: float, left: str, z: str) -> str:
    """``right * max(z, 0) + left``, where ``left`` is 0 for positive ``z``."""
    return graph("Add", graph("Mul", graph("Relu", z), graph.constant(right)), left)


def _leaky(graph: _Graph, negative_slope: float, z: str) -> str:
    negative = graph("Min", z, graph.constant(0.0))
    return _halves(graph, 1.0, graph("Mul", negative, graph.constant(negative_slope)), z)


def _elu(graph: _Graph, scale: float, alpha: float, z: str) -> str:
    exponential = graph("Exp", graph("Min", z, graph.constant(0.0)))
    left = graph("Mul", graph("Sub", exponential, graph.constant(1.0)), graph.constant(scale * alpha))
    return _halves(graph, scale, left, z)


def _softplus(graph: _Graph, z: str) -> str:
    exponential = graph("Exp", graph("Neg", graph("Abs", z)))
    return graph("Add", graph("Relu", z), graph("Log", graph("Add", exponential, graph.constant(1.0))))


def _softsign(graph: _Graph, z: str) -> str:
    return graph("Div", z, graph("Add", graph("Abs", z), graph.constant(1.0)))


def _hard_sigmoid(graph: _Graph, z: str) -> str:
    line = graph("Add", graph("Mul", z, graph.constant(1 / 6)), graph.constant(0.5))
    return _clip(graph, line, 0.0, 1.0)


def _erf(graph: _Graph, x: str) -> str:
    """``erf(x)``; in float64, where onnxruntime lacks it, as a Fourier series.

    A square wave of half period P, smoothed by a Gaussian, is ``erf(x)`` for ``|x| < P - 6`` to the last digit. It is
    ``4 / pi * sum_n exp(-(w_n / 2)**2) * sin(w_n * x) / n`` over the odd ``n``, with ``w_n = n * pi / P``; for P = 12,
    the 24th term is 1e-18. Beyond 6, ``erf`` is 1 to the last digit.
    """
    if graph.float_type == graph.types.FLOAT:
        return graph("Erf", x)
    n = np.arange(1, 47, 2)
    w = n * np.pi / 12
    as_column = graph("Reshape", _clip(graph, x, -6.0, 6.0), graph.constant([0, 0, 1], graph.types.INT64))
    sines = graph("Sin", graph("Mul", as_column, graph.constant(w)))
    return graph("MatMul", sines, graph.constant(4 / np.pi * np.exp(-((w / 2) ** 2)) / n))


def _gelu(graph: _Graph, z: str) -> str:
    erf = _erf(graph, graph("Mul", z, graph.constant(np.sqrt(0.5))))
    return graph("Mul", z, graph("Mul", graph("Add", erf, graph.constant(1.0)), graph.constant(0.5)))


# Of elementary operators: onnxruntime has most activations of ONNX's own in float32 only.
ACTIVATION_NODES: dict[type[Activation], _Nodes] = {
    ELU: lambda graph, f, z: _elu(graph, 1.0, f.alpha, z),
    GELU: lambda graph, f, z: _gelu(graph, z),
    HardSigmoid: lambda graph, f, z: _hard_sigmoid(graph, z),
    HardTanh: lambda graph, f, z: _clip(graph, z, -1.0, 1.0),
    Identity: lambda graph, f, z: z,
    LeakyReLU: lambda graph, f, z: _leaky(graph, f.negative_slope, z),
    Logistic: lambda graph, f, z: graph("Sigmoid", z),
    Mish: lambda graph, f, z: graph("Mul", z, graph("Tanh", _softplus(graph, z))),
    ReLU: lambda graph, f, z: graph("Relu", z),
    ReLU6: lambda graph, f, z: _clip(graph, z, 0.0, 6.0),
    SELU: lambda graph, f, z: _elu(graph, f.scale, f.alpha, z),
    SiLU: lambda graph, f, z: graph("Mul", z, graph("Sigmoid", z)),
    Softplus: lambda graph, f, z: _softplus(graph, z),
    Softsign: lambda graph, f, z: _softsign(graph, z),
    Tanh: lambda graph, f, z: graph("Tanh", z),
}


def _increasing(graph: _Graph, link: Link, z: str) -> str:
    """Take the first of each group of columns as it is, the logarithms of the others, and sum up along the groups."""
    n = link.n_columns
    n_groups = graph.n_outputs // n
    is_first = np.tile(np.arange(n) == 0, n_groups).astype(float)
    steps = graph(
        "Add",
        graph("Mul", z, graph.constant(is_first)),
        graph("Mul", _softplus(graph, z), graph.constant(1 - is_first)),
    )
    return graph("MatMul", steps, graph.constant(np.kron(np.eye(n_groups), np.triu(np.ones((n, n))))))


def _gaussian(graph: _Graph, link: Link, z: str) -> str:
    """Take the means as they are, and the standard deviations from their logarithms."""
    half = graph.n_outputs // 2
    deviations = graph("Add", graph("Exp", graph.columns(z, half, 2 * half)), graph.constant(link.min_std))
    return graph("Concat", graph.columns(z, 0, half), deviations, axis=1)


LINK_NODES: dict[type[Link], _Nodes] = {
    GaussianLink: _gaussian,
    IncreasingLink: _increasing,
    ExpLink: lambda graph, link, z: graph("Exp", z),
    IdentityLink: lambda graph, link, z: z,
    LogisticLink: lambda graph, link, z: graph("Sigmoid", z),
    SoftmaxLink: lambda graph, link, z: graph("Softmax", z, axis=1),
    TanhLink: lambda graph, link, z: graph("Tanh", z),
}


def _nodes_of(component: Any, known: dict[Any, _Nodes]) -> _Nodes:
    # Exactly of the class: a subclass may compute something else.
    if type(component) not in known:
        names = ", ".join(sorted(cls.__name__ for cls in known))
        raise NotImplementedError(f"{component!r} cannot be converted to ONNX; what can be: {names}.")
    return known[type(component)]


def _raw_output(graph: _Graph, operator: Any) -> str:
    """Add the forward pass and return the name of the raw output."""
    a = graph("Cast", operator.inputs[0].full_name, to=graph.float_type)
    network = operator.raw_operator.perceptron
    last = len(network.weights) - 1
    for l, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True)):
        a = graph("Add", graph("MatMul", a, graph.constant(weights)), graph.constant(biases))
        if l < last:
            activation = network.activations[l]
            a = _nodes_of(activation, ACTIVATION_NODES)(graph, activation, a)
    return a


def _apply_link(graph: _Graph, link: Link, raw_output: str) -> str:
    return _nodes_of(link, LINK_NODES)(graph, link, raw_output)


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
    gives_std = isinstance(model.perceptron.link, GaussianLink)
    if len(operator.outputs) == 2 and not gives_std:
        raise ValueError(f"return_std=True needs loss='gaussian_nll'; the model was fitted with {model._loss!r}.")
    for output in operator.outputs:
        output.type = _float_type(operator)([None, _n_predictions(model)])


def _n_predictions(model: MLPFromScratchRegressor) -> int:
    """Return how many columns of predictions there are, without the standard deviations."""
    return model.n_outputs_ // 2 if isinstance(model.perceptron.link, GaussianLink) else model.n_outputs_


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    graph, model = _Graph(scope, operator, container), operator.raw_operator
    link = model.perceptron.link
    refuse_wrong_conversions(scope, container, model, graph.is_double, _n_predictions(model))
    prediction = _apply_link(graph, link, _raw_output(graph, operator))
    if (scaling := model._target_scaling()) is not None:
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
    if model._coder.multilabel:
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
    graph, model = _Graph(scope, operator, container), operator.raw_operator
    refuse_wrong_conversions(scope, container, model, graph.is_double)
    raw = wants_raw_scores(scope, container, model)
    raw_output, link = _raw_output(graph, operator), IdentityLink() if raw else model.perceptron.link
    labels, scores = (output.full_name for output in operator.outputs)
    if model._coder.multilabel:
        graph("Identity", _apply_link(graph, link, raw_output), output=scores)
        threshold = graph.constant(0.5 if model._loss.gives_probabilities and not raw else 0.0)
        graph("Cast", graph("Greater", scores, threshold), output=labels, to=graph.types.INT64)
        return
    classes, is_text = _classes(scope, model)
    if not _has_several_targets(model):
        label, score = _classify(graph, link, raw_output, classes[0], is_text)
        graph("Reshape", label, graph.constant([-1], graph.types.INT64), output=labels)
        graph("Identity", score, output=scores)
        return
    each, stop = [], 0
    for names, link_of_head, width in zip(classes, model.perceptron.link.links, model._loss.widths, strict=True):
        start, stop = stop, stop + width
        head = graph.columns(raw_output, start, stop)
        each.append(_classify(graph, link if raw else link_of_head, head, names, is_text))
    graph("Concat", *(label for label, _ in each), output=labels, axis=1)
    graph("SequenceConstruct", *(score for _, score in each), output=scores)


def _classify(graph: _Graph, link: Link, raw_output: str, classes: NDArray, is_text: bool) -> tuple[str, str]:
    """Add a column with the labels of one target, and the scores of its classes."""
    if len(classes) <= 2:
        raw_output = graph("Concat", graph("Neg", raw_output), raw_output, axis=1)
    scores = _apply_link(graph, link, raw_output)
    # With a single class there is one column more than there are classes.
    names = graph.constant(
        np.resize(classes, max(2, len(classes))), graph.types.STRING if is_text else graph.types.INT64
    )
    return graph("Gather", names, graph("ArgMax", scores, axis=1, keepdims=1), axis=0), scores


def _float_type(operator: Any) -> Any:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    return DoubleTensorType if isinstance(operator.inputs[0].type, DoubleTensorType) else FloatTensorType


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
