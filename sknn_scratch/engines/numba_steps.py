"""The operations of a single step that the numba engine compiles; products of arrays and ufuncs come between them."""

from __future__ import annotations

from sknn_scratch.engines.numba_activations import (
    finish_activation,
    multiply_by_slope,
    prepare_activation,
    prepare_slope,
)
from sknn_scratch.engines.numba_losses import prepare_links, turn_into_delta
from sknn_scratch.engines.numba_updates import coefficients, move, penalise_and_move


def activation_argument(code, parameter, z, biases, out):
    """Add the biases to ``z``, of shape (n_samples, width), and prepare ``out`` for the transcendental function."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += biases[j]
    prepare_activation(code, parameter, z.reshape(z.size), out.reshape(out.size))


def activation_result(code, parameter, z, out):
    """Finish the activation after the transcendental function."""
    finish_activation(code, parameter, z.reshape(z.size), out.reshape(out.size))


def slope_argument(code, z, a):
    """Prepare ``a`` for the transcendental function of the derivative."""
    prepare_slope(code, z.reshape(z.size), a.reshape(a.size))


def multiply_slope(code, parameter, delta, z, a, bias_gradient):
    """Multiply ``delta`` by the activation's derivative; write its column sums into ``bias_gradient`` if not empty."""
    multiply_by_slope(code, parameter, delta.reshape(delta.size), z.reshape(z.size), a.reshape(a.size))
    bias_gradient[:] = 0
    if bias_gradient.size > 0:
        for i in range(delta.shape[0]):
            for j in range(delta.shape[1]):
                bias_gradient[j] += delta[i, j]


def link_argument(heads, z, out):
    """Prepare ``out`` for the transcendental function of the link."""
    prepare_links(heads, z, out)


def losses_and_delta(heads, settings, y, z, out, relative_weight):
    """Finish the link, compute the loss, and replace ``out`` by the delta; return the weighted mean loss."""
    return turn_into_delta(heads, settings, y, z, out, relative_weight)


def update(code, h0, h1, h2, weight_decay, t, product, rate, w, g, first, second, n_weights, l1, l2):
    """Penalise and move the parameters; return the value of the penalty and Nadam's product.

    The first ``n_weights`` of them are penalised, and decay by the share ``weight_decay`` times the learning rate.
    """
    c, product = coefficients(code, (h0, h1, h2), t, product, rate)
    n, strengths = n_weights, (l1, l2)
    penalty = penalise_and_move(code, c, rate * weight_decay, strengths, w[:n], g[:n], first[:n], second[:n])
    move(code, c, 0.0, w[n:], g[n:], first[n:], second[n:])
    return penalty, product


def sparse_product(data, indices, starts, weights, out):
    """``out = inputs @ weights`` for a CSR matrix in its three arrays."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = 0
        for position in range(starts[i], starts[i + 1]):
            value, k = data[position], indices[position]
            for j in range(out.shape[1]):
                out[i, j] += value * weights[k, j]


def sparse_weight_gradient(data, indices, starts, delta, out):
    """``out = inputs.T @ delta`` for a CSR matrix in its three arrays."""
    out[:] = 0
    for i in range(delta.shape[0]):
        for position in range(starts[i], starts[i + 1]):
            value, k = data[position], indices[position]
            for j in range(out.shape[1]):
                out[k, j] += value * delta[i, j]


def add_to_columns(biases, z):
    """Add one bias to each row of ``z``, of shape (n_outputs, n_samples)."""
    for k in range(z.shape[0]):
        for i in range(z.shape[1]):
            z[k, i] += biases[k]
