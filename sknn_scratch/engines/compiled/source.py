"""From the graph of a formula to the text of a loop over numbers.

An array of ``n_rows`` rows has row ``r`` from ``r * stride`` on. Parameters are float64; what is computed from numbers
alone is, too, once before the loops, and then rounded to the dtype of the arrays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from sknn_scratch.catalogue.expressions import ITEM, LEAVES, NUMBER, Expression, NoGraphError, walk
from sknn_scratch.catalogue.rewriting import in_terms_of

# How operations are written, others being expressed by these; what is named here stands in ``elementary``, in ``math``,
# or is one of the constants.
_TEXTS = {
    "absolute": "abs({0})",
    "add": "{0} + {1}",
    "arcsinh": "math.asinh({0})",
    "arctan": "math.atan({0})",
    "arctan2": "math.atan2({0}, {1})",
    "arctanh": "math.atanh({0})",
    "ceil": "np.ceil({0})",
    "cos": "math.cos({0})",
    "divide": "{0} / {1}",
    "equal": "{0} == {1}",
    "erf": "math.erf({0})",
    "erfc": "math.erfc({0})",
    "exp": "exp({0})",
    "expit": "ONE / (ONE + exp(-{0}))",
    "expm1": "expm1({0})",
    "floor": "np.floor({0})",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "log": "log({0})",
    "log1p": "log1p({0})",
    "log_expit": "choose({0} < ZERO, {0}, ZERO) - log1p(exp(-abs({0})))",
    # The difference of two infinite numbers is NaN.
    "logaddexp": "choose({0} > {1}, {0}, {1}) + log1p(exp(-choose({0} == {1}, ZERO, abs({0} - {1}))))",
    "logical_and": "{0} & {1}",
    "logical_not": "not {0}",
    "logical_or": "{0} | {1}",
    # A NaN goes through, as in NumPy.
    "maximum": "choose(({0} < {1}) | ({1} != {1}), {1}, {0})",
    "minimum": "choose(({0} > {1}) | ({1} != {1}), {1}, {0})",
    "multiply": "{0} * {1}",
    "ndtr": "HALF * math.erfc(-{0} * ROOT_HALF)",
    "negative": "-{0}",
    "positive": "{0}",
    "power": "{0} ** {1}",
    "sign": "choose({0} > ZERO, ONE, choose({0} < ZERO, -ONE, {0}))",
    "sin": "math.sin({0})",
    "sqrt": "math.sqrt({0})",
    "subtract": "{0} - {1}",
    "tanh": "tanh({0})",
    "where": "choose({0}, {1}, {2})",
    "xlogy": "{0} * log(choose(({0} == ZERO) & ({1} == {1}), ONE, {1}))",
}
_OVER_COLUMNS = ("sum", "max", "min")
_WHOLE_POWERS = {
    -2: "ONE / ({0} * {0})",
    -1: "ONE / {0}",
    0.5: "math.sqrt({0})",
    2: "{0} * {0}",
    3: "{0} * {0} * {0}",
}

_FUNCTION = """\
import numpy as np
from numba import types

from sknn_scratch.engines.compiled.calls import at
from sknn_scratch.engines.compiled.{module} import {name}
from sknn_scratch.engines.compiled.team import work_type

work_at = at(work_type(np.{dtype}))
signature = types.void(*[types.int64] * {n_arguments})


def kernel(job, {arguments}):
    {name}(work_at(job), {arguments})
"""
# Functions that are given the record of a job: where they stand, and their further arguments.
FUNCTIONS = {
    "work": ("epoch", "part, first_row, last_row"),
    "pass_rows": ("phases", "part"),
    "move_parameters": ("phases", "part"),
    "drop": ("inputs", "l, low, high"),
    "drop_deltas": ("inputs", "l, low, high"),
    "keep_delta": ("inputs", "low, high"),
    "sparse_product": ("inputs", "low, high"),
    "sparse_gradient": ("inputs", "low, high"),
    "coded_product": ("inputs", "low, high"),
    "coded_gradient": ("inputs", "low, high"),
    "sum_up": ("inputs", "part"),
}
FOR_ALL_JOBS = "work", "pass_rows", "move_parameters"


@cache
def function_source(name: str, dtype: np.dtype) -> str:
    """Return the text of a function that is called with the address of a job's record."""
    module, arguments = FUNCTIONS[name]
    # The epoch does not depend on the dtype: code for one does for the other.
    dtype_name = "float64" if name == "work" else dtype.name
    n_arguments = 2 + arguments.count(",")
    return _FUNCTION.format(module=module, name=name, dtype=dtype_name, arguments=arguments, n_arguments=n_arguments)


_HEAD = """\
import math

import numpy as np
from numba import types

from sknn_scratch.engines.compiled import row_losses
from sknn_scratch.engines.compiled.elementary import choose, exp, expm1, log, log1p, tanh

real = np.{dtype}
ZERO, ONE, HALF, ROOT_HALF = real(0), real(1), real(0.5), real(math.sqrt(0.5))
pointer, numbers, integer = types.CPointer(types.{dtype}), types.CPointer(types.float64), types.int64
signature = types.void({types})


def kernel({names}):
"""


def _module(dtype: np.dtype, arguments: tuple[str, str, str], lines: Sequence[str]) -> str:
    """Return the text of a module with a kernel, whose arguments are pointers, integers and pointers to float64."""
    of_kinds = list(zip(("pointer", "integer", "numbers"), map(str.split, arguments), strict=True))
    types = ", ".join(kind for kind, names in of_kinds for _ in names)
    names = ", ".join(name for _, names in of_kinds for name in names)
    return _HEAD.format(dtype=dtype.name, types=types, names=names) + "\n".join(lines) + "\n"


class _Text:
    """The statements of a kernel, and the names of what they compute."""

    def __init__(self, results: Sequence[Expression]):
        self.results = in_terms_of({*_TEXTS, *_OVER_COLUMNS, *LEAVES}, results)
        self.nodes = list(walk(self.results))
        self.index = {id(node): number for number, node in enumerate(self.nodes)}
        self.place: dict[int, str] = {}  # where a value is kept, or read
        self.lines: list[str] = []

    def numbers(self) -> None:
        """Write what is computed from numbers alone: ``n`` in float64, and ``c`` in the dtype of the arrays."""
        for node in self.nodes:
            if node.kind != NUMBER:
                continue
            i = self.index[id(node)]
            if node.operation == "constant":
                text = re.sub("inf|nan", r"np.\g<0>", repr(node.value))
            elif node.operation == "parameter":
                text = f"p[{node.value}]"
            elif node.operation == "n_columns":
                text = "float(n_outputs)"
            else:
                text = self._template(node).format(*(f"n{self.index[id(a)]}" for a in node.arguments))
            self.lines.append(f"    n{i} = {text}")
            if not node.is_truth:
                self.lines.append(f"    c{i} = real(n{i})")

    def name(self, node: Expression) -> str:
        """Return the name of a node's value."""
        kind = "t" if node.kind != NUMBER else "n" if node.is_truth else "c"
        return f"{kind}{self.index[id(node)]}"

    def block(self, depth: int, nodes: Sequence[Expression], wanted: Sequence[Expression] = ()) -> str:
        """Write statements for nodes, after reading what else they need, or is wanted; return their indent."""
        indent, own = "    " * depth, {id(node) for node in nodes}
        known = {id(node) for node in self.nodes if node.kind == NUMBER}
        for node in (*nodes, *wanted):
            for needed in node.arguments if id(node) in own else (node,):
                if id(needed) not in known:
                    known.add(id(needed))
                    # Truths are kept as 0 and 1.
                    truth = " != ZERO" if needed.is_truth else ""
                    self.lines.append(f"{indent}{self.name(needed)} = {self.place[id(needed)]}{truth}")
            if id(node) not in known:
                known.add(id(node))
                text = self._template(node).format(*map(self.name, node.arguments))
                self.lines.append(f"{indent}{self.name(node)} = {text}")
                if id(node) in self.place:
                    self.lines.append(f"{indent}{self.place[id(node)]} = {self.name(node)}")
        return indent

    @staticmethod
    def _template(node: Expression) -> str:
        if node.operation == "power" and node.arguments[1].operation == "constant":
            return _WHOLE_POWERS.get(node.arguments[1].value, _TEXTS["power"])
        return _TEXTS[node.operation]


def _elementwise(
    results: Sequence[Expression],
    places: dict[str, str],
    targets: Sequence[str],
    loops: Sequence[str],
    arguments: tuple[str, str, str],
) -> str:
    """Return a kernel that computes arrays from others, number by number.

    ``places`` says where each argument of the formula is read, ``targets`` what becomes of each result, such as
    ``"a[i] = {}"``; ``loops`` lead to ``i``, and ``arguments`` are those of ``_module``.
    """
    text = _Text(results)
    if any(node.operation in (*_OVER_COLUMNS, "n_columns") for node in text.nodes):
        raise NoGraphError("a number depends on those in other columns")
    text.numbers()
    text.lines += ["    " * depth + loop for depth, loop in enumerate(loops, start=1)]
    text.place = {id(node): places[node.value] for node in text.nodes if node.operation == "argument"}
    computed = [node for node in text.nodes if node.kind != NUMBER and node.operation != "argument"]
    indent = text.block(len(loops) + 1, computed, text.results)
    text.lines += [indent + how.format(text.name(one)) for how, one in zip(targets, text.results, strict=True)]
    return _module(results[0].dtype, arguments, text.lines)


_ROWS = "for r in range(n_rows):", "for i in range(r * stride, r * stride + n_columns):"
_SHAPE = "n_rows n_columns stride", "p"


def value_source(result: Expression, in_place: bool) -> str:
    """Return ``kernel(z, a, n_rows, n_columns, stride, p)`` for ``a = f(z)``; in place ``a`` itself is ``z``."""
    return _elementwise([result], {"z": "a[i]" if in_place else "z[i]"}, ["a[i] = {}"], _ROWS, ("z a", *_SHAPE))


def slope_source(result: Expression) -> str:
    """Return ``kernel(z, delta, n_rows, n_columns, stride, p)`` for ``delta *= f'(z)``; ``z`` may stand for ``a``."""
    return _elementwise([result], {"z": "z[i]"}, ["delta[i] *= {}"], _ROWS, ("z delta", *_SHAPE))


def optimizer_source(results: Sequence[Expression], names: Sequence[str]) -> str:
    """Return ``kernel(w, g, state, n, stride, p)``, which moves ``n`` parameters and their state.

    Vector ``k`` of the state begins at ``k * stride``; ``p`` has the coefficients of the step, then the parameters.
    """
    places = {"w": "w[i]", "g": "g[i]"} | {name: f"state[{k} * stride + i]" for k, name in enumerate(names)}
    targets = [f"{places[name]} = {{}}" for name in ("w", *names)]
    return _elementwise(results, places, targets, ["for i in range(n):"], ("w g state", "n stride", "p"))


class _LossText(_Text):
    """The statements of a loss's kernel.

    A sum over the columns is known after the loop over them that adds it up, so there is a loop for each level of sums.
    Each value is computed in the first loop that can, and kept if a later one needs it.
    """

    def __init__(self, results: Sequence[Expression]):
        super().__init__(results)
        self.loop_of: dict[int, int] = {}
        level: dict[int, int] = {}
        for node in self.nodes:
            below = max((level[id(argument)] for argument in node.arguments), default=0)
            level[id(node)] = below + (node.operation in _OVER_COLUMNS)
            # Numbers for each sample follow after the loop before those for each column.
            self.loop_of[id(node)] = level[id(node)] if node.kind == ITEM else max(level[id(node)] - 1, 0)
        self.rows = [node for node in self.nodes if node.kind not in (NUMBER, ITEM)]
        self.place = {id(node): f"scratch[{k} * n + i]" for k, node in enumerate(self.rows)}
        items = {id(node): node for node in self.nodes if node.kind == ITEM}
        self.n_kept = 0
        for node in self.nodes:
            if node.operation == "argument":
                self.place[id(node)] = f"{node.value}[k * stride + i]"
            for item in (items[id(argument)] for argument in node.arguments if id(argument) in items):
                if id(item) not in self.place and self.loop_of[id(node)] > self.loop_of[id(item)]:
                    self.place[id(item)] = f"scratch[({len(self.rows)} + {self.n_kept} * n_outputs + k) * n + i]"
                    self.n_kept += 1

    def loop(self, loop: int) -> None:
        """Write a loop over the columns: what it computes and adds up, and in one of them the derivative."""
        nodes = [node for node in self.nodes if node.kind != NUMBER and self.loop_of[id(node)] == loop]
        added_up = [node for node in nodes if node.operation in _OVER_COLUMNS]
        starts = {"sum": "ZERO", "max": "real(-np.inf)", "min": "real(np.inf)"}
        for node in added_up:
            self.lines += ["    for i in range(n):", f"        {self.place[id(node)]} = {starts[node.operation]}"]
        derivative = [node for node in self.results[1:] if self.loop_of[id(node)] == loop]
        self.lines += ["    for k in range(n_outputs):", "        for i in range(n):"]
        items = [node for node in nodes if node.kind == ITEM and node.operation != "argument"]
        indent = self.block(3, items, [*(node.arguments[0] for node in added_up), *derivative])
        combine = {"sum": "{0} + {1}", "max": _TEXTS["maximum"], "min": _TEXTS["minimum"]}
        for node in added_up:
            place, item = self.place[id(node)], self.name(node.arguments[0])
            self.lines.append(f"{indent}{place} = {combine[node.operation].format(place, item)}")
        for node in derivative:
            self.lines.append(f"{indent}delta[k * stride + i] = weight[i] * {self.name(node)}")
        # What follows for each sample from what has been added up.
        own = [node for node in nodes if node.kind != ITEM and node.operation not in _OVER_COLUMNS]
        if own:
            self.lines.append("    for i in range(n):")
            self.block(2, own)


# Arguments of kernels of losses.
_OF_LOSS = "y z delta weight scratch", "n n_outputs stride", "loss p"


def loss_source(value: Expression, derivative: Expression) -> tuple[str, int, int]:
    """Return a kernel that computes a loss and its derivative, and how much scratch space it takes.

    ``kernel(y, z, delta, weight, scratch, n, n_outputs, stride, loss, p)`` fills ``delta`` for ``n`` samples and adds
    the sum of their losses to ``loss[0]``, both multiplied by ``weight``. Arrays have a row for each output. The
    scratch space is so many numbers for each sample, and so many for each sample and output.
    """
    if value.kind in (NUMBER, ITEM) or derivative.kind != ITEM:
        raise NoGraphError("value must be a number for each sample, derivative one for each sample and output")
    text = _LossText([value, derivative])
    text.numbers()
    for loop in range(max(text.loop_of.values()) + 1):
        text.loop(loop)
    text.lines += [
        "    total = 0.0",
        "    for i in range(n):",
        f"        total += float(weight[i]) * {text.place[id(text.results[0])]}",
        "    loss[0] += total",
    ]
    return _module(value.dtype, _OF_LOSS, text.lines), len(text.rows), text.n_kept


def row_loss_source(name: str, dtype: np.dtype) -> str:
    """Return such a kernel that is a function of ``row_losses``."""
    call = f"row_losses.{name}(y, z, delta, weight, n, n_outputs, stride, p)"
    return _module(dtype, _OF_LOSS, [f"    loss[0] += {call}"])
