"""The kernels of a job's components, made from their formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sknn_scratch.activations import Activation
from sknn_scratch.engines.compiled.kernels import Kernel, kernel_of, kernel_of_function
from sknn_scratch.engines.compiled.row_losses import gaussian_nll, increasing_quantiles
from sknn_scratch.engines.compiled.source import loss_source, optimizer_source, slope_source, value_source
from sknn_scratch.expressions import ITEM, NoGraphError, trace_formula
from sknn_scratch.job import Job
from sknn_scratch.losses import GaussianNLL, Heads, Loss, Quantile
from sknn_scratch.optimizers import Optimizer

__all__ = ["CompiledActivation", "CompiledLoss", "CompiledOptimizer", "missing"]


@dataclass
class CompiledActivation:
    """``f`` and ``f'`` of a hidden layer, and their parameters."""

    value: Kernel
    slope: Kernel
    settings: list[float]
    in_place: bool

    @classmethod
    def of(cls, activation: Activation, dtype: np.dtype) -> CompiledActivation:
        """Compile an activation."""
        in_place, argument = not activation.needs_input, {"z": ITEM}
        derivative = "derivative_from_output" if in_place else "derivative"
        values, settings = trace_formula(activation, ["value"], argument, dtype)
        slopes, slope_settings = trace_formula(activation, [derivative], argument, dtype)
        # A formula that looks at its parameters has them as constants, and then needs none.
        value, slope = kernel_of(value_source(values[0], in_place)), kernel_of(slope_source(slopes[0]))
        return cls(value, slope, settings or slope_settings, in_place)


@dataclass
class CompiledLoss:
    """A loss of one head: its columns, and how much scratch space it takes, for a sample and for each output."""

    kernel: Kernel
    settings: list[float]
    width: int
    target_width: int
    scratch: tuple[int, int]

    @classmethod
    def of(cls, loss: Loss, width: int, target_width: int, dtype: np.dtype) -> CompiledLoss:
        """Compile a loss."""
        if type(loss) is GaussianNLL:
            return cls(kernel_of_function(gaussian_nll, dtype), [loss.min_std], width, target_width, (0, 0))
        if type(loss) is Quantile and loss.several:
            settings = [float(len(loss.quantiles)), *loss.quantiles]
            return cls(kernel_of_function(increasing_quantiles, dtype), settings, width, target_width, (0, 0))
        if width != target_width:
            raise NoGraphError("it has not as many raw outputs as targets")
        results, settings = trace_formula(loss, ["value", "derivative"], {"y": ITEM, "z": ITEM}, dtype)
        source, *scratch = loss_source(*results)
        return cls(kernel_of(source), settings, width, target_width, (scratch[0], scratch[1]))


@dataclass
class CompiledOptimizer:
    """How a parameter moves."""

    kernel: Kernel
    settings: list[float]
    n_coefficients: int

    @classmethod
    def of(cls, optimizer: Optimizer, dtype: np.dtype) -> CompiledOptimizer:
        """Compile an optimiser."""
        if type(optimizer).update is not Optimizer.update or type(optimizer).apply is not Optimizer.apply:
            raise NoGraphError("it writes into arrays")
        n = optimizer.n_coefficients
        arguments = dict.fromkeys(("w", "g", *optimizer.vector_names), ITEM)
        results, settings = trace_formula(optimizer, ["move"], arguments, dtype, more=n)
        return cls(kernel_of(optimizer_source(results, optimizer.vector_names)), settings, n)


def heads_of(job: Job) -> list[tuple[Loss, int, int]]:
    """Return the losses with their numbers of raw outputs and targets."""
    if type(job.loss) is Heads:
        return [(loss, width, width) for loss, width in zip(job.loss.losses, job.loss.widths, strict=True)]
    return [(job.loss, job.network.layer_units[-1], job.y.shape[1])]


def compile_components(
    job: Job,
) -> tuple[list[CompiledActivation], list[CompiledLoss], CompiledOptimizer | None]:
    """Compile all components of a job.

    Raises
    ------
    NoGraphError
        If one of them cannot be compiled; the message names it.
    """
    dtype = job.network.dtype
    activations = [_named(CompiledActivation.of, activation, dtype) for activation in job.network.activations]
    losses = [_named(CompiledLoss.of, *head, dtype) for head in heads_of(job)]
    optimizer = None if job.optimizer is None else _named(CompiledOptimizer.of, job.optimizer, dtype)
    return activations, losses, optimizer


def _named(compile_: Any, component: Any, *arguments: Any) -> Any:
    try:
        return compile_(component, *arguments)
    except NoGraphError as error:
        raise NoGraphError(f"{type(component).__name__} cannot be compiled: {error}") from error


def missing(job: Job) -> str | None:
    """Return why a job cannot be compiled, or None."""
    try:
        compile_components(job)
    except NoGraphError as error:
        return str(error)
    return None
