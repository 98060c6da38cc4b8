"""The compiled engine: the operations of ``numpy_engine``, with the cheap arithmetic of each in one loop.

Matrix products of arrays and transcendental functions stay NumPy's, for which numba has nothing faster. A component is
looked up by its exact type, so one of your own, also if it is derived from one of ours, is left to NumPy.

A kernel is compiled when it is first needed, for float32 or float64, and cached on disk, in the package's folder or,
where that is read-only, in one of the user's that numba finds or NUMBA_CACHE_DIR names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from numbers import Real
from types import FunctionType
from typing import Any

import numpy as np
from numba import boolean, float32, float64, int32, int64, njit, types
from numba.core.caching import FunctionCache
from numba.core.registry import cpu_target
from numpy.typing import NDArray
from scipy.special import ndtr

from sknn_scratch import activations, links, losses, optimizers
from sknn_scratch.activations import Activation
from sknn_scratch.engines import numba_kernels as kernels
from sknn_scratch.engines import numpy_engine
from sknn_scratch.engines.numpy_engine import add_penalty, bias_gradient
from sknn_scratch.losses import Loss
from sknn_scratch.optimizers import Optimizer

__all__ = [
    "activate",
    "add_penalty",
    "affine",
    "bias_gradient",
    "epoch_function",
    "hidden_delta",
    "is_ready",
    "output_delta",
    "update",
    "weight_gradient",
]

# What numba_kernels calls the components, and the ufuncs of the two transcendental stages of an activation.
ACTIVATION_CODES: dict[type[Activation], int] = {
    activations.ELU: kernels.ELU,
    activations.GELU: kernels.GELU,
    activations.HardSigmoid: kernels.HARD_SIGMOID,
    activations.HardTanh: kernels.HARD_TANH,
    activations.Identity: kernels.IDENTITY,
    activations.LeakyReLU: kernels.LEAKY_RELU,
    activations.Logistic: kernels.LOGISTIC,
    activations.Mish: kernels.MISH,
    activations.ReLU: kernels.RELU,
    activations.ReLU6: kernels.RELU6,
    activations.SELU: kernels.SELU,
    activations.SiLU: kernels.SILU,
    activations.Softplus: kernels.SOFTPLUS,
    activations.Softsign: kernels.SOFTSIGN,
    activations.Tanh: kernels.TANH,
}
FUNCTIONS: dict[int, Sequence[np.ufunc]] = {
    kernels.ELU: [np.expm1],
    kernels.GELU: [ndtr],
    kernels.LOGISTIC: [np.exp],
    kernels.MISH: [np.exp],
    kernels.SELU: [np.expm1],
    kernels.SILU: [np.exp],
    kernels.SOFTPLUS: [np.exp, np.log1p],
    kernels.TANH: [np.tanh],
}
SLOPE_FUNCTIONS = {kernels.MISH: np.exp, kernels.SILU: np.exp, kernels.SOFTPLUS: np.expm1}
LINK_CODES: dict[type[links.Link], int] = {
    links.ExpLink: kernels.LINK_EXP,
    links.IdentityLink: kernels.LINK_IDENTITY,
    links.LogisticLink: kernels.LINK_LOGISTIC,
    links.SoftmaxLink: kernels.LINK_SOFTMAX,
    links.TanhLink: kernels.LINK_TANH,
}
LOSS_CODES: dict[type[Loss], int] = {
    losses.AbsoluteError: kernels.ABSOLUTE,
    losses.BrierLoss: kernels.SQUARED,
    losses.FocalLoss: kernels.FOCAL,
    losses.GammaDeviance: kernels.GAMMA,
    losses.Hinge: kernels.HINGE,
    losses.Huber: kernels.HUBER,
    losses.LogCosh: kernels.LOG_COSH,
    losses.LogLoss: kernels.LOG_LOSS,
    losses.PoissonDeviance: kernels.POISSON,
    losses.Quantile: kernels.QUANTILE,
    losses.SquaredError: kernels.SQUARED,
    losses.SquaredHinge: kernels.SQUARED_HINGE,
    losses.TweedieDeviance: kernels.TWEEDIE,
}
LOSS_SETTINGS = {
    kernels.FOCAL: "gamma",
    kernels.HUBER: "delta",
    kernels.LOG_LOSS: "label_smoothing",
    kernels.QUANTILE: "q",
    kernels.TWEEDIE: "power",
}
OPTIMIZER_CODES: dict[type[Optimizer], int] = {
    optimizers.SGD: kernels.SGD,
    optimizers.Adagrad: kernels.ADAGRAD,
    optimizers.Adam: kernels.ADAM,
    optimizers.AdamW: kernels.ADAM,
    optimizers.Nadam: kernels.NADAM,
    optimizers.RMSprop: kernels.RMSPROP,
}

# Compiling ------------------------------------------------------------------------------------------------------------


def _signatures(dtype: np.dtype) -> dict[Callable[..., Any], tuple[types.Type, ...]]:
    """Return the kernels with the types of their arguments."""
    real = float32 if dtype == np.float32 else float64
    vector, matrix = types.Array(real, 1, "C"), types.Array(real, 2, "C")
    any_matrix = types.Array(real, 2, "A", readonly=True)
    data, index = (types.Array(item, 1, "C", readonly=True) for item in (real, int32))
    counts, settings = types.Array(int64, 1, "C"), types.Array(float64, 1, "C")
    hyper = (int64, float64, float64, float64, float64, int64, float64, float64)
    loss = (int64, int64, boolean, float64)
    return {
        kernels.activation_argument: (int64, float64, matrix, vector, matrix),
        kernels.activation_result: (int64, float64, matrix, matrix),
        kernels.add_to_columns: (vector, matrix),
        kernels.link_argument: (int64, matrix, matrix),
        kernels.losses_and_delta: (*loss, any_matrix, matrix, matrix, vector),
        kernels.multiply_slope: (int64, float64, matrix, matrix, matrix, vector),
        kernels.slope_argument: (int64, matrix, matrix),
        kernels.sparse_product: (data, index, index, matrix, matrix),
        kernels.sparse_weight_gradient: (data, index, index, matrix, matrix),
        kernels.train_epoch: (
            *(any_matrix, any_matrix, settings, counts, int64, counts, counts, settings),
            *(*loss, float64, float64, float64, boolean),
            *(*hyper, vector, vector, vector, vector),
        ),
        kernels.update: (*hyper, vector, vector, vector, vector, int64, float64, float64),
    }


_compiled: dict[tuple[Callable[..., Any], np.dtype], Callable[..., Any]] = {}
_compiling = threading.Lock()


def _kernel(function: Callable[..., Any], dtype: np.dtype) -> Callable[..., Any]:
    """Return a kernel, compiled for arrays of this dtype."""
    try:
        return _compiled[function, dtype]
    except KeyError:
        with _compiling:
            if (function, dtype) not in _compiled:
                _compiled[function, dtype] = _compile(function, dtype)
        return _compiled[function, dtype]


def _named(function: Any, dtype: np.dtype) -> Any:
    """Return the function under a name, and so with a file in the cache, for each dtype.

    Two processes that compile at once may write the same file, and then have to agree on its content.
    """
    named = FunctionType(function.__code__, function.__globals__)
    named.__module__, named.__qualname__ = function.__module__, f"{function.__name__}_{dtype}"
    return named


def _compile(function: Any, dtype: np.dtype) -> Callable[..., Any]:
    """Compile, or load from the cache."""
    signature: Any = _signatures(dtype)[function]
    options: Any = {"error_model": "numpy", "nogil": True}
    try:
        return njit(signature, cache=True, **options)(_named(function, dtype))
    except (RuntimeError, OSError):  # there is no folder to write to
        return njit(signature, **options)(_named(function, dtype))


def is_ready(dtype: np.dtype, small: bool) -> bool:
    """Return whether the largest kernel for a network, small or not, is compiled, in this process or on disk."""
    function = kernels.train_epoch if small else kernels.losses_and_delta
    if (function, dtype) in _compiled:
        return True
    try:
        cache = FunctionCache(_named(function, dtype))
    except RuntimeError:  # there is no folder for a cache
        return False
    return cache.load_overload(_signatures(dtype)[function], cpu_target.target_context) is not None


# Operations -----------------------------------------------------------------------------------------------------------


def _product(inputs: Any, weights: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights``, in C or Fortran order."""
    if isinstance(inputs, np.ndarray):
        if out.flags.c_contiguous:
            np.dot(inputs, weights, out=out)
        else:
            np.dot(weights.T, inputs.T, out=out.T)
    elif out.flags.c_contiguous and inputs.indices.dtype == np.int32:
        _kernel(kernels.sparse_product, out.dtype)(inputs.data, inputs.indices, inputs.indptr, weights, out)
    else:
        out[...] = inputs @ weights


def affine(inputs: Any, weights: NDArray, biases: NDArray, out: NDArray) -> None:
    """``out = inputs @ weights + biases``; ``inputs`` may be a CSR matrix, ``out`` in C or Fortran order."""
    _product(inputs, weights, out)
    if out.flags.f_contiguous:
        _kernel(kernels.add_to_columns, out.dtype)(biases, out.T)
    else:
        np.add(out, biases, out=out)


def activate(inputs: Any, weights: NDArray, biases: NDArray, activation: Activation, z: NDArray, out: NDArray) -> None:
    """``z = inputs @ weights + biases`` and ``out = f(z)``."""
    code = ACTIVATION_CODES.get(type(activation))
    # A prediction has one array for both, but the loops for these activations need two.
    if code is None or (z is out and code > kernels.LAST_IN_PLACE):
        affine(inputs, weights, biases, out=z)
        activation.apply(z, out)
        return
    _product(inputs, weights, z)
    setting = _activation_setting(activation)
    _kernel(kernels.activation_argument, z.dtype)(code, setting, z, biases, out)
    if code in FUNCTIONS:
        for ufunc in FUNCTIONS[code]:
            ufunc(out, out=out)
        if code != kernels.TANH:
            _kernel(kernels.activation_result, z.dtype)(code, setting, z, out)


def output_delta(loss: Loss, y: NDArray, raw_output: NDArray, relative_weight: NDArray, out: NDArray) -> float:
    """``out`` = derivative of the weighted mean loss with respect to the raw output; returns that mean."""
    description = _describe_loss(loss)
    if description is None:
        return numpy_engine.output_delta(loss, y, raw_output, relative_weight, out)
    code, link, multiclass, setting = description
    _kernel(kernels.link_argument, out.dtype)(link, raw_output.T, out.T)
    if link == kernels.LINK_TANH:
        np.tanh(out, out=out)
    elif link != kernels.LINK_IDENTITY:
        np.exp(out, out=out)
    return _kernel(kernels.losses_and_delta, out.dtype)(
        code, link, multiclass, setting, y.T, raw_output.T, out.T, relative_weight
    )


def weight_gradient(inputs: Any, delta: NDArray, out: NDArray) -> None:
    """``out = inputs.T @ delta``; ``inputs`` may be a CSR matrix."""
    sparse = not isinstance(inputs, np.ndarray)
    if sparse and delta.flags.c_contiguous and inputs.indices.dtype == np.int32:
        _kernel(kernels.sparse_weight_gradient, out.dtype)(inputs.data, inputs.indices, inputs.indptr, delta, out)
    else:
        numpy_engine.weight_gradient(inputs, delta, out)


def hidden_delta(
    delta: NDArray,
    weights: NDArray,
    activation: Activation,
    z: NDArray,
    a: NDArray,
    out: NDArray,
    mask: NDArray | None = None,
    ones: NDArray | None = None,
    bias_gradient: NDArray | None = None,
) -> None:
    """``out = (delta @ weights.T) * f'(z)``, times the dropout's ``mask``, and ``bias_gradient`` = its column sums.

    ``a = f(z)`` is used up. Mask and bias gradient are optional; the latter needs a vector of ``ones``.
    """
    code = ACTIVATION_CODES.get(type(activation))
    if code is None:
        numpy_engine.hidden_delta(delta, weights, activation, z, a, out, mask, ones, bias_gradient)
        return
    np.dot(delta, weights.T, out=out)
    if mask is not None:
        np.multiply(out, mask, out=out)
    if code in SLOPE_FUNCTIONS:
        _kernel(kernels.slope_argument, out.dtype)(code, z, a)
        SLOPE_FUNCTIONS[code](a, out=a)
    sums = np.empty(0, out.dtype) if bias_gradient is None else bias_gradient
    _kernel(kernels.multiply_slope, out.dtype)(code, _activation_setting(activation), out, z, a, sums)


def update(
    optimizer: Optimizer,
    parameters: NDArray,
    gradient: NDArray,
    learning_rate: float,
    n_weights: int,
    strength: float,
    l1_ratio: float,
) -> float:
    """Add the penalty as ``add_penalty`` does, make a step of the optimiser, and return the penalty's value."""
    described = _describe_optimizer(optimizer)
    if described is None:
        return numpy_engine.update(optimizer, parameters, gradient, learning_rate, n_weights, strength, l1_ratio)
    penalty, product = _kernel(kernels.update, parameters.dtype)(
        *described,
        *_next_step(optimizer),
        learning_rate,
        parameters,
        gradient,
        *_two_vectors(optimizer),
        n_weights,
        strength * l1_ratio,
        strength * (1 - l1_ratio),
    )
    _steps_made(optimizer, optimizer.n_updates + 1, product)
    return penalty


def epoch_function(
    network: Any,
    optimizer: Optimizer,
    X: Any,
    y: NDArray,
    sample_weight: NDArray | None,
    batch_size: int,
    max_grad_norm: float | None,
) -> Callable[[NDArray | None, float], float] | None:
    """Return a function of the rows in order (None: all) and the learning rate that trains a network for an epoch.

    It returns the mean of the minibatch losses. For a network that is not small, or has components that are not ours,
    None is returned: its steps have to be made one by one.
    """
    codes = [ACTIVATION_CODES.get(type(activation)) for activation in network.activations]
    loss, update = _describe_loss(network.loss), _describe_optimizer(optimizer)
    if (
        network.noise is not None
        or not network.is_small(batch_size)
        or not isinstance(X, np.ndarray)
        or None in (loss, update, *codes)
    ):
        return None
    assert loss is not None
    assert update is not None
    before = (
        batch_size,
        np.array(network.layer_units, dtype=np.int64),
        np.array(codes, dtype=np.int64),
        np.array([_activation_setting(activation) for activation in network.activations], dtype=np.float64),
        *loss,
        network.alpha,
        network.l1_ratio,
        max_grad_norm or 0.0,
        network.fit_intercept,
        *update,
    )
    arrays = network.parameters, network.gradient, *_two_vectors(optimizer)
    weights = np.empty(0) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    all_rows = np.arange(X.shape[0])
    train_epoch = _kernel(kernels.train_epoch, X.dtype)

    def run(rows: NDArray | None, learning_rate: float) -> float:
        rows = np.asarray(all_rows if rows is None else rows, dtype=np.int64)
        t, product = _next_step(optimizer)
        loss, t, product = train_epoch(X, y, weights, rows, *before, t, product, learning_rate, *arrays)
        _steps_made(optimizer, t - 1, product)
        return loss

    return run


# What the kernels are told of the components --------------------------------------------------------------------------


def _activation_setting(activation: Any) -> float:
    if type(activation) is activations.LeakyReLU:
        return float(activation.negative_slope)
    return float(activation.alpha) if type(activation) is activations.ELU else 0.0


def _describe_loss(loss: Any) -> tuple[int, int, bool, float] | None:
    """Return the codes of loss and link, whether targets are multiclass, and the loss's parameter."""
    code, link = LOSS_CODES.get(type(loss)), LINK_CODES.get(type(loss.link))
    if code is None or link is None:
        return None
    setting: Any = getattr(loss, LOSS_SETTINGS[code]) if code in LOSS_SETTINGS else loss.averages_outputs
    if not isinstance(setting, Real):  # several quantiles at once
        return None
    return code, link, getattr(loss, "multiclass", False), float(setting)


def _describe_optimizer(optimizer: Any) -> tuple[int, float, float, float, float] | None:
    """Return the optimiser's code, three parameters and weight decay."""
    code = OPTIMIZER_CODES.get(type(optimizer))
    if code is None:
        return None
    if code == kernels.SGD:
        return code, optimizer.momentum, float(optimizer.nesterovs_momentum), 0.0, 0.0
    if code == kernels.RMSPROP:
        return code, optimizer.rho, 0.0, optimizer.epsilon, 0.0
    if code == kernels.ADAGRAD:
        return code, 0.0, 0.0, optimizer.epsilon, 0.0
    weight_decay = optimizer.weight_decay if type(optimizer) is optimizers.AdamW else 0.0
    return code, optimizer.beta_1, optimizer.beta_2, optimizer.epsilon, weight_decay


def _two_vectors(optimizer: Optimizer) -> tuple[NDArray, NDArray]:
    """Return the vectors of the state; if there is but one, twice."""
    vectors = optimizer.vectors
    return vectors[0], vectors[-1]


def _next_step(optimizer: Any) -> tuple[int, float]:
    """Return the number of the next step, and Nadam's product of momenta."""
    return optimizer.n_updates + 1, getattr(optimizer, "momentum_product", 1.0)


def _steps_made(optimizer: Any, n_updates: int, momentum_product: float) -> None:
    optimizer.n_updates = n_updates
    if type(optimizer) is optimizers.Nadam:
        optimizer.momentum_product = momentum_product
