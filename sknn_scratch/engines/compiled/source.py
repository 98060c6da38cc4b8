"""From the graph of a formula to the text of a loop over numbers.

An array of ``n_rows`` rows has row ``r`` from ``r * stride`` on. Parameters are float64; what is computed from numbers
alone is, too, once before the loop, and then rounded to the dtype of the arrays.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from sknn_scratch.catalogue.expressions import ITEM, LEAVES, NUMBER, Expression, NoGraphError, walk
from sknn_scratch.catalogue.rewriting import in_terms_of

__all__ = ["loss_source", "optimizer_source", "slope_source", "value_source"]

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
    "cosh": "HALF * (exp({0}) + exp(-{0}))",
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
    "logical_xor": "{0} != {1}",
    # A NaN goes through, as in NumPy.
    "maximum": "choose(({0} < {1}) | ({1} != {1}), {1}, {0})",
    "minimum": "choose(({0} > {1}) | ({1} != {1}), {1}, {0})",
    "multiply": "{0} * {1}",
    "ndtr": "HALF * math.erfc(-{0} * ROOT_HALF)",
    "negative": "-{0}",
    "not_equal": "{0} != {1}",
    "positive": "{0}",
    "power": "{0} ** {1}",
    "sign": "choose({0} > ZERO, ONE, choose({0} < ZERO, -ONE, {0}))",
    "sin": "math.sin({0})",
    "sinh": "HALF * (expm1({0}) - expm1(-{0}))",
    "sqrt": "math.sqrt({0})",
    "subtract": "{0} - {1}",
    "tan": "math.tan({0})",
    "tanh": "tanh({0})",
    "where": "choose({0}, {1}, {2})",
    "xlogy": "{0} * log(choose(({0} == ZERO) & ({1} == {1}), ONE, {1}))",
}
# Of these an operation that is needed in several loops is kept rather than computed again.
_COSTLY = {
    *("cosh", "erf", "exp", "expit", "expm1", "log", "log1p", "log_expit", "logaddexp"),
    *("ndtr", "power", "sinh", "tanh", "xlogy"),
}
_OVER_COLUMNS = ("sum", "max", "min")
# What formulas of numbers alone, which are float64, have in place of constants of the arrays' dtype.
_IN_FLOAT64 = {"ROOT_HALF": repr(math.sqrt(0.5)), "HALF": "0.5", "ONE": "1.0", "ZERO": "0.0"}
_WHOLE_POWERS = {
    -2: "ONE / ({0} * {0})",
    -1: "ONE / {0}",
    0.5: "math.sqrt({0})",
    2: "{0} * {0}",
    3: "{0} * {0} * {0}",
}

_HEAD = """\
import math

import numpy as np
from numba import types

from sknn_scratch.engines.compiled.elementary import choose, exp, expm1, log, log1p, tanh

real = np.{dtype}
ZERO, ONE, HALF, ROOT_HALF = real(0), real(1), real(0.5), real(math.sqrt(0.5))
{constants}
pointer, numbers, integer = types.CPointer(types.{dtype}), types.CPointer(types.float64), types.int64
signature = types.{result}({arguments})


def kernel({names}):
"""


def _power(node: Expression) -> str:
    exponent = node.arguments[1]
    if exponent.operation == "constant":
        return _WHOLE_POWERS.get(exponent.value, _TEXTS["power"])
    return _TEXTS["power"]


class _Text:
    """The statements of a kernel, and the names of what they compute."""

    def __init__(self, results: Sequence[Expression]):
        self.results = in_terms_of({*_TEXTS, *_OVER_COLUMNS, *LEAVES}, results)
        self.nodes = list(walk(self.results))
        self.dtype = results[0].dtype
        self.index = {id(node): number for number, node in enumerate(self.nodes)}
        self.constants: list[str] = []
        self.lines: list[str] = []

    def refuse_columns(self) -> None:
        """Refuse a formula in which a number depends on others than those in its own place."""
        if any(node.operation in (*_OVER_COLUMNS, "n_columns") for node in self.nodes):
            raise NoGraphError("a number depends on those in other columns")

    def numbers(self, at: str = "p") -> None:
        """Write what is computed from numbers alone."""
        for node in self.nodes:
            if node.kind != NUMBER:
                continue
            i = self.index[id(node)]
            if node.operation == "constant":
                self.constants.append(f"C{i} = real({self._literal(node.value)})")
                continue
            if node.operation == "parameter":
                text = f"{at}[{node.value}]"
            elif node.operation == "n_columns":
                text = "float(n_outputs)"
            else:
                names = [
                    self._literal(a.value) if a.operation == "constant" else f"n{self.index[id(a)]}"
                    for a in node.arguments
                ]
                template = _power(node) if node.operation == "power" else _TEXTS[node.operation]
                text = re.sub("|".join(_IN_FLOAT64), lambda found: _IN_FLOAT64[found[0]], template).format(*names)
            self.lines.append(f"    n{i} = {text}")
            if not node.is_truth:
                self.lines.append(f"    c{i} = real(n{i})")

    @staticmethod
    def _literal(value: float) -> str:
        text = repr(value) if np.isfinite(value) else f"np.{abs(value)}"
        return f"(-{text.removeprefix('-')})" if np.signbit(float(value)) and not np.isnan(value) else text

    def name(self, node: Expression) -> str:
        """Return the name of a node's value."""
        i = self.index[id(node)]
        if node.kind == NUMBER:
            if node.operation == "constant":
                return repr(node.value) if node.is_truth else f"C{i}"
            return f"n{i}" if node.is_truth else f"c{i}"
        return f"t{i}"

    def statement(self, node: Expression) -> str:
        """Return ``t = ...`` for a node that is not a number."""
        names = [self.name(argument) for argument in node.arguments]
        template = _power(node) if node.operation == "power" else _TEXTS[node.operation]
        return f"{self.name(node)} = {template.format(*names)}"

    def read(self, node: Expression, place: str) -> str:
        """Return ``t = ...`` for what has been kept; truths are kept as 0 and 1."""
        return f"{self.name(node)} = {place}" + (" != ZERO" if node.is_truth else "")

    def whole(self, result: str, arguments: Sequence[tuple[str, str]]) -> str:
        """Return the text of the module."""
        head = _HEAD.format(
            dtype=self.dtype.name,
            constants="\n".join(self.constants),
            result=result,
            arguments=", ".join(type_ for type_, _ in arguments),
            names=", ".join(name for _, name in arguments),
        )
        return head + "\n".join(self.lines) + "\n"


def _elementwise(
    results: Sequence[Expression],
    places: dict[str, str],
    targets: Sequence[str],
    loops: Sequence[str],
    arguments: Sequence[tuple[str, str]],
) -> str:
    """Return a kernel that computes arrays from others, number by number.

    Parameters
    ----------
    results : sequence of Expression
    places : dict
        From an argument of the formula to where it is read.
    targets : sequence of str
        What becomes of each result, such as ``"a[i] = {}"``.
    loops : sequence of str
        That lead to ``i``.
    arguments : sequence of tuple
        Types and names; the last has the parameters.
    """
    text = _Text(results)
    text.refuse_columns()
    text.numbers(arguments[-1][1])
    text.lines += ["    " * depth + loop for depth, loop in enumerate(loops, start=1)]
    indent = "    " * (len(loops) + 1)
    for node in text.nodes:
        if node.operation == "argument":
            text.lines.append(f"{indent}{text.name(node)} = {places[node.value]}")
        elif node.kind != NUMBER:
            text.lines.append(f"{indent}{text.statement(node)}")
    text.lines += [indent + how.format(text.name(one)) for how, one in zip(targets, text.results, strict=True)]
    return text.whole("void", arguments)


_ROWS = "for r in range(n_rows):", "for i in range(r * stride, r * stride + n_columns):"
_SHAPE = *(("integer", name) for name in ("n_rows", "n_columns", "stride")), ("numbers", "p")


def value_source(result: Expression, in_place: bool) -> str:
    """Return ``kernel(z, a, n_rows, n_columns, stride, p)`` for ``a = f(z)``, or without ``z`` in place of ``a``."""
    pointers = [("pointer", name) for name in ("a" if in_place else "za")]
    return _elementwise([result], {"z": f"{pointers[0][1]}[i]"}, ["a[i] = {}"], _ROWS, [*pointers, *_SHAPE])


def slope_source(result: Expression) -> str:
    """Return ``kernel(z, delta, n_rows, n_columns, stride, p)`` for ``delta *= f'(z)``; ``z`` may stand for ``a``."""
    pointers = [("pointer", name) for name in ("z", "delta")]
    return _elementwise([result], {"z": "z[i]"}, ["delta[i] *= {}"], _ROWS, [*pointers, *_SHAPE])


def optimizer_source(results: Sequence[Expression], names: Sequence[str]) -> str:
    """Return ``kernel(w, g, state, n, stride, c)``, which moves ``n`` parameters and their state.

    Vector ``k`` of the state begins at ``k * stride``; ``c`` has the coefficients of the step, then the parameters.
    """
    places = {"w": "w[i]", "g": "g[i]"} | {name: f"state[{k} * stride + i]" for k, name in enumerate(names)}
    targets = [f"{places[name]} = {{}}" for name in ("w", *names)]
    arguments = [*(("pointer", name) for name in ("w", "g", "state")), ("integer", "n"), ("integer", "stride")]
    return _elementwise(results, places, targets, ["for i in range(n):"], [*arguments, ("numbers", "c")])


class _LossText(_Text):
    """The statements of a loss's kernel.

    A sum over the columns is known after the loop over them that adds it up, so there is a loop for each level of sums.
    What a column needs is computed in each loop that needs it, unless it is costly: then it is kept.
    """

    def __init__(self, results: Sequence[Expression]):
        super().__init__(results)
        _, derivative = self.results
        self.level: dict[int, int] = {}
        for node in self.nodes:
            below = max((self.level[id(argument)] for argument in node.arguments), default=0)
            self.level[id(node)] = below + (node.operation in _OVER_COLUMNS)
        reductions = [node for node in self.nodes if node.operation in _OVER_COLUMNS]
        # What each loop adds up, and the items that it computes last.
        self.added_up = [
            [node for node in reductions if self.level[id(node)] == loop + 1]
            for loop in range(max(self.level.values()) + 1)
        ]
        self.last_items = [[node.arguments[0] for node in nodes] for nodes in self.added_up]
        self.last_items[self.level[id(derivative)]].append(derivative)
        self.rows = [node for node in self.nodes if node.kind not in (NUMBER, ITEM)]
        self.place = {id(node): f"scratch[{k} * n + i]" for k, node in enumerate(self.rows)}
        uses = Counter(
            id(node)
            for items in self.last_items
            for node in walk(items, lambda node: node.kind == ITEM)
            if node.kind == ITEM and node.operation in _COSTLY
        )
        self.n_kept, self._is_kept = 0, set[int]()
        for identity, n_loops in uses.items():
            if n_loops > 1:
                self.place[identity] = f"scratch[({len(self.rows)} + {self.n_kept} * n_outputs + k) * n + i]"
                self.n_kept += 1

    def loop(self, loop: int) -> None:
        """Write a loop over the columns: what it adds up, and in one of them the derivative."""
        items, added_up = self.last_items[loop], self.added_up[loop]
        if items:
            starts = {"sum": "ZERO", "max": "real(-np.inf)", "min": "real(np.inf)"}
            for node in added_up:
                self.lines += ["    for i in range(n):", f"        {self.place[id(node)]} = {starts[node.operation]}"]
            self.lines += ["    for k in range(n_outputs):", "        for i in range(n):"]
            indent, kept = "            ", frozenset(self._is_kept)
            self._compute(items, lambda node: node.kind == ITEM and id(node) not in kept, indent)
            combine = {"sum": "{0} + {1}", "max": _TEXTS["maximum"], "min": _TEXTS["minimum"]}
            for node in added_up:
                place, item = self.place[id(node)], self.name(node.arguments[0])
                self.lines.append(f"{indent}{place} = {combine[node.operation].format(place, item)}")
            if len(items) > len(added_up):
                self.lines.append(f"{indent}delta[k * stride + i] = weight[i] * {self.name(items[-1])}")
        # What follows for each sample from what has been added up.
        own = [n for n in self.rows if n.operation not in _OVER_COLUMNS and max(1, self.level[id(n)]) == loop + 1]
        if own:
            identities = {id(node) for node in own}
            self.lines.append("    for i in range(n):")
            self._compute(own, lambda node: id(node) in identities, "        ")

    def _compute(self, results: Sequence[Expression], is_computed: Callable[[Expression], bool], indent: str) -> None:
        """Write statements for results; what is not computed, but no number, is read from where it is kept."""
        for node in walk(results, is_computed):
            if node.operation == "argument":
                self.lines.append(f"{indent}{self.name(node)} = {node.value}[k * stride + i]")
            elif is_computed(node):
                self.lines.append(f"{indent}{self.statement(node)}")
                if id(node) in self.place:
                    self.lines.append(f"{indent}{self.place[id(node)]} = {self.name(node)}")
                    self._is_kept.add(id(node))
            elif node.kind != NUMBER:
                self.lines.append(f"{indent}{self.read(node, self.place[id(node)])}")


def loss_source(value: Expression, derivative: Expression) -> tuple[str, int, int]:
    """Return a kernel that computes a loss and its derivative, and how much scratch space it takes.

    ``kernel(y, z, delta, weight, n, n_outputs, stride, scratch, p)`` fills ``delta`` for ``n`` samples and returns the
    sum of their losses, both multiplied by ``weight``. Arrays have a row for each output. The scratch space is so many
    numbers for each sample, and so many for each sample and output.
    """
    if value.kind in (NUMBER, ITEM) or derivative.kind != ITEM:
        raise NoGraphError("value must be a number for each sample, derivative one for each sample and output")
    text = _LossText([value, derivative])
    text.numbers()
    for loop in range(len(text.last_items)):
        text.loop(loop)
    text.lines += [
        "    total = 0.0",
        "    for i in range(n):",
        f"        total += float(weight[i]) * {text.place[id(text.results[0])]}",
        "    return total",
    ]
    arguments = [*(("pointer", name) for name in ("y", "z", "delta", "weight"))]
    arguments += [("integer", name) for name in ("n", "n_outputs", "stride")]
    source = text.whole("float64", [*arguments, ("pointer", "scratch"), ("numbers", "p")])
    return source, len(text.rows), text.n_kept
