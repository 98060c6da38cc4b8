"""The texts of a job's kernels. Nothing here needs numba, so that asking for an engine does not load it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from sknn_scratch.catalogue.activations import Activation
from sknn_scratch.catalogue.component import Component
from sknn_scratch.catalogue.expressions import ITEM, NUMBER, NoGraphError, Trace, trace_formula
from sknn_scratch.catalogue.losses import GaussianNLL, Loss, Quantile
from sknn_scratch.catalogue.optimizers import Optimizer
from sknn_scratch.engines.compiled.source import (
    FOR_ALL_JOBS,
    function_source,
    loss_source,
    optimizer_source,
    row_loss_source,
    slope_source,
    value_source,
)
from sknn_scratch.training.coded_matrix import CodedMatrix
from sknn_scratch.training.job import Job


class Kernels(NamedTuple):
    """Those of a component: their texts (``f`` and ``f'`` of an activation), and the parameters they are called with.

    Of an optimiser these are its coefficients, which change from step to step, and then the parameters.
    Losses take scratch space, so many numbers for each sample.
    """

    texts: list[str]
    settings: list[float]
    scratch: int = 0


class Sources(NamedTuple):
    """What a job is compiled from: kernels of its components, and functions by their names in the job's record."""

    activations: list[Kernels]
    losses: list[Kernels]
    optimizer: Kernels | None
    functions: dict[str, str]

    def texts(self) -> Iterator[str]:
        """Go through all of them."""
        yield from self.functions.values()
        for kernels in (*self.activations, *self.losses, self.optimizer):
            yield from kernels.texts if kernels is not None else ()


def sources_of(job: Job) -> Sources:
    """Return the kernels of a job; raise NoGraphError, which names it, if a component cannot be compiled."""
    dtype = job.network.dtype
    activations = [_named(_of_activation, activation, dtype) for activation in job.network.activations]
    losses = [_named(_of_loss, *head, dtype) for head in job.heads]
    optimizer = None if job.optimizer is None else _named(_of_optimizer, job.optimizer, dtype)
    functions = {name: function_source(function, dtype) for name, function in _functions(job).items()}
    return Sources(activations, losses, optimizer, functions)


def _functions(job: Job) -> dict[str, str]:
    """Return the functions that a job needs, by their names in its record, where also what trains has a name."""
    named = {name: name for name in FOR_ALL_JOBS}
    if job.input_noise or any(job.dropout):
        named |= {"drop": "drop", "drop_deltas": "drop_deltas"}
    kind = "sparse" if issparse(job.X) else "coded" if isinstance(job.X, CodedMatrix) else None
    if kind is not None:
        named |= {"product": f"{kind}_product", "gradient": f"{kind}_gradient", "keep_delta": "keep_delta"}
    if kind == "coded":
        named["sum_up"] = "sum_up"
    return named


# Kernels by component: tracing takes as long as some steps, and partial_fit makes a job in each call. Formulas of one's
# own are traced in each job, as a class, or what its formulas refer to, may have been changed since the last.
_made: dict[Any, Any] = {}
_MOST_MADE = 1000


def _named(make: Any, component: Any, *arguments: Any) -> Any:
    key = make, _identity(component), arguments
    try:
        if key not in _made:
            if len(_made) >= _MOST_MADE:
                _made.clear()
            _made[key] = make(component, *arguments)
        return _made[key]
    except NoGraphError as error:
        raise NoGraphError(f"{type(component).__name__} cannot be compiled ({error})") from error


def _identity(component: Component) -> Any:
    """Return what the formulas of a component depend on: its class, its attributes, and its link if it has one."""
    link = getattr(component, "link", None)
    if not (component.is_ours and (link is None or link.is_ours)):
        return object()  # nothing else is like it
    attributes = component.get_params(deep=False) if isinstance(component, Optimizer) else vars(component)
    return pickle.dumps((type(component), attributes, link))


def _of_activation(activation: Activation, dtype: np.dtype) -> Kernels:
    in_place, argument = not activation.needs_input, {"z": ITEM}
    derivative = "derivative_from_output" if in_place else "derivative"
    (value,), settings = trace_formula(activation, ["value"], argument, dtype)
    (slope,), of_slope = trace_formula(activation, [derivative], argument, dtype)
    # A formula that looks at its parameters has them as constants, and then needs none.
    return Kernels([value_source(value, in_place), slope_source(slope)], settings or of_slope)


def _of_loss(loss: Loss, width: int, target_width: int, dtype: np.dtype) -> Kernels:
    if type(loss) is GaussianNLL:
        return Kernels([row_loss_source("gaussian_nll", dtype)], [loss.min_std])
    if type(loss) is Quantile and loss.several:
        settings = [float(len(loss.quantiles)), *map(float, loss.quantiles)]
        return Kernels([row_loss_source("increasing_quantiles", dtype)], settings)
    if width != target_width:
        raise NoGraphError("it has not as many raw outputs as targets")
    results, settings = trace_formula(loss, ["value", "derivative"], {"y": ITEM, "z": ITEM}, dtype)
    text, n_rows, n_items = loss_source(*results)
    return Kernels([text], settings, n_rows + n_items * width)


def _of_optimizer(optimizer: Optimizer, dtype: np.dtype) -> Kernels:
    if type(optimizer).update is not Optimizer.update or type(optimizer).apply is not Optimizer.apply:
        raise NoGraphError("it writes into arrays")
    n, optimizer = optimizer.n_coefficients, copy.copy(optimizer)
    # It changes from step to step, and so is refused in the formula.
    optimizer.n_updates = Trace(dtype).node("n_updates", (), None, NUMBER)  # type: ignore[assignment]
    arguments = dict.fromkeys(("w", "g", *optimizer.vector_names), ITEM)
    results, settings = trace_formula(optimizer, ["move"], arguments, dtype, more=n)
    return Kernels([optimizer_source(results, optimizer.vector_names)], [0.0] * n + settings)
