"""From the graph of a formula to operators of ONNX.

onnxruntime has few of ONNX's functions in float64, so formulas become elementary operators, and what is lacking is
expressed by those. An activation, also one of a user's own, needs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from sknn_scratch.catalogue.activations import Softplus
from sknn_scratch.catalogue.expressions import ITEM, LEAVES, NUMBER, Expression, NoGraphError, trace_formula, walk
from sknn_scratch.catalogue.links import GaussianLink, IncreasingLink, Link, SoftmaxLink
from sknn_scratch.catalogue.rewriting import in_terms_of


class Graph:
    """The graph of one estimator; ``graph(operator, input, ...)`` adds a node and returns the name of its output."""

    def __init__(self, scope: Any, operator: Any, container: Any):
        from skl2onnx.common.data_types import guess_proto_type
        from skl2onnx.proto import onnx_proto

        self._scope, self._container = scope, container
        self.n_outputs = operator.raw_operator.n_outputs_
        self.types = onnx_proto.TensorProto
        self.is_double = any(guess_proto_type(given.type) == self.types.DOUBLE for given in operator.inputs)
        self.float_type = self.types.DOUBLE if self.is_double else self.types.FLOAT
        self.dtype = np.dtype(np.float64 if self.is_double else np.float32)

    def __call__(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node."""
        output = output or self._scope.get_unique_variable_name("value")
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, list(inputs), [output], name=name, **attributes)
        return output

    def constant(self, values: Any, onnx_type: int | None = None) -> str:
        """Add an array or a number, of the graph's floating type by default."""
        name = self._scope.get_unique_variable_name("constant")
        with np.errstate(over="ignore"):
            array = np.asarray(values, dtype=self.dtype if onnx_type is None else None)
        onnx_type = self.float_type if onnx_type is None else onnx_type
        self._container.add_initializer(name, onnx_type, list(array.shape), array.ravel().tolist())
        return name

    def columns(self, array: str, start: int, stop: int) -> str:
        """Add a slice of an array's columns."""
        return self("Slice", array, *(self.constant([i], self.types.INT64) for i in (start, stop, 1)))

    def over_columns(self, operator: str, since: int, array: str) -> str:
        """Add a sum, maximum or minimum over the columns, of shape (n_samples, 1)."""
        if self._container.target_opset_any_domain("") < since:
            return self(operator, array, axes=[1])
        return self(operator, array, self.constant([1], self.types.INT64))


# Formulas -------------------------------------------------------------------------------------------------------------

# Operations that are operators of ONNX, and those that onnxruntime has in float32 only (Cos in float64 since 1.30).
_OPERATORS = {
    "absolute": "Abs", "add": "Add", "ceil": "Ceil", "divide": "Div", "equal": "Equal", "exp": "Exp",
    "floor": "Floor", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "log": "Log", "logical_and": "And", "logical_not": "Not", "logical_or": "Or",
    "maximum": "Max", "minimum": "Min", "multiply": "Mul", "negative": "Neg", "positive": "Identity", "power": "Pow",
    "rint": "Round", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "subtract": "Sub", "tanh": "Tanh", "where": "Where",
}  # fmt: skip
_IN_FLOAT32 = {"arctan": "Atan", "cos": "Cos", "erf": "Erf"}
# Over the columns, with the version of ONNX since which the columns are an input instead of an attribute.
_OVER_COLUMNS = {"max": ("ReduceMax", 18), "min": ("ReduceMin", 18), "sum": ("ReduceSum", 13)}


def apply_formula(graph: Graph, component: Any, method: str, z: str, n_columns: int) -> str:
    """Add the operators of a formula of ``z`` and return the name of the result, an array of the same shape."""
    operators = _OPERATORS if graph.is_double else _OPERATORS | _IN_FLOAT32
    try:
        (result,), settings = trace_formula(component, [method], {"z": ITEM}, graph.dtype)
        if result.kind != ITEM:
            result = result + 0.0 * result.trace.argument("z")
        (result,) = in_terms_of({*operators, *_OVER_COLUMNS, *LEAVES}, [result])
    except NoGraphError as error:
        raise NotImplementedError(f"{component!r} cannot be converted to ONNX: {error}.") from error
    numbers: dict[int, Any] = {}
    names: dict[int, str] = {}

    def cast(node: Expression, to_truth: bool) -> str:
        """Return the name of a node's value, as a truth or as a number."""
        if id(node) not in names:
            names[id(node)] = graph.constant(numbers[id(node)], graph.types.BOOL if node.is_truth else None)
        if node.is_truth == to_truth:
            return names[id(node)]
        return graph("Cast", names[id(node)], to=graph.types.BOOL if to_truth else graph.float_type)

    for node in walk([result]):
        operation = node.operation
        if operation == "argument":
            names[id(node)] = z
        elif node.kind == NUMBER:
            known = [numbers[id(argument)] for argument in node.arguments]
            numbers[id(node)] = _number(node, known, settings, n_columns)
        elif operation in _OVER_COLUMNS:
            names[id(node)] = graph.over_columns(*_OVER_COLUMNS[operation], cast(node.arguments[0], False))
        else:
            truths = operation.startswith("logical"), operation.startswith(("logical", "where"))
            inputs = [cast(argument, truths[i == 0]) for i, argument in enumerate(node.arguments)]
            names[id(node)] = graph(operators[operation], *inputs)
    return cast(result, False)


def _number(node: Expression, arguments: list[Any], settings: list[float], n_columns: int) -> Any:
    """Return what does not depend on the samples, in float64."""
    if node.operation == "parameter":
        return settings[node.value]
    if node.operation in ("constant", "n_columns"):
        return n_columns if node.operation == "n_columns" else node.value
    with np.errstate(all="ignore"):
        return (getattr(np, node.operation, None) or getattr(special, node.operation))(*arguments)


# Links that put columns together, or for which ONNX has an operator.


def _increasing(graph: Graph, link: IncreasingLink, z: str, n_columns: int) -> str:
    """Take the first of each group of columns as it is, the logarithms of the others, and sum up along the groups."""
    n = link.n_columns
    n_groups = n_columns // n
    is_first = np.tile(np.arange(n) == 0, n_groups)
    others = apply_formula(graph, Softplus(), "value", z, n_columns)
    steps = graph("Where", graph.constant(is_first, graph.types.BOOL), z, others)
    return graph("MatMul", steps, graph.constant(np.kron(np.eye(n_groups), np.triu(np.ones((n, n))))))


def _gaussian(graph: Graph, link: GaussianLink, z: str, n_columns: int) -> str:
    """Take the means as they are, and the standard deviations from their logarithms."""
    half = n_columns // 2
    deviations = graph("Add", graph("Exp", graph.columns(z, half, 2 * half)), graph.constant(link.min_std))
    return graph("Concat", graph.columns(z, 0, half), deviations, axis=1)


_LINKS: dict[type[Link], Callable[[Graph, Any, str, int], str]] = {
    GaussianLink: _gaussian,
    IncreasingLink: _increasing,
    SoftmaxLink: lambda graph, link, z, n_columns: graph("Softmax", z, axis=1),
}


def apply_link(graph: Graph, link: Link, z: str, n_columns: int) -> str:
    """Add the operators of a link, from so many columns of raw output to predictions."""
    # Exactly of the class: a subclass may compute something else.
    if type(link) in _LINKS:
        return _LINKS[type(link)](graph, link, z, n_columns)
    return apply_formula(graph, link, "inverse", z, n_columns)
