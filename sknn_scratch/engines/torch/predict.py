"""Prediction on a device of PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sknn_scratch.engines.policy import DEVICE_CHUNK_BYTES
from sknn_scratch.engines.torch.arrays import compute
from sknn_scratch.engines.torch.devices import computing
from sknn_scratch.engines.torch.samples import upload
from sknn_scratch.perceptron import Perceptron


def raw_output(
    network: Perceptron, X: NDArray, rows: NDArray | None, device: str, check_finite: bool
) -> NDArray | None:
    """Pass samples forward on a device, a chunk of rows at a time; see ``Perceptron.raw_output``."""
    place, dtype = torch.device(device), np.result_type(X.dtype, network.dtype)
    n_samples = len(X) if rows is None else len(rows)
    out = np.empty((n_samples, network.layer_units[-1]), dtype=dtype)
    n_at_once = max(1, DEVICE_CHUNK_BYTES // (max(network.layer_units) * dtype.itemsize))
    finite = torch.ones((), dtype=torch.bool, device=place)
    with computing:
        W, b = ([upload(layer, place, dtype) for layer in layers] for layers in (network.weights, network.biases))
        for start in range(0, n_samples, n_at_once):
            chunk = slice(start, start + n_at_once)
            a = upload(X[chunk] if rows is None else X[rows[chunk]], place, dtype)
            if check_finite:
                finite &= torch.isfinite(a.sum())
            for l, f in enumerate(network.activations):
                a = compute(f.value, torch.addmm(b[l], a, W[l])).to(a.dtype)
            torch.from_numpy(out[chunk]).copy_(torch.addmm(b[-1], a, W[-1]))
    return out if bool(finite) else None
