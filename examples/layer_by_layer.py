"""Layer by layer: one sample forward and one gradient backward through a fitted network.

Forward, with a row vector ``a0`` for the sample, a dense layer and an activation in turn::

    z0 = a0 W0 + b0    a1 = tanh(z0)    z1 = a1 W1 + b1    a2 = tanh(z1)    z2 = a2 W2 + b2    p = softmax(z2)

and backward, from the derivative of the loss with respect to the raw output ``z2``, by the four equations that head
``sknn_scratch/engines/numpy/run.py``::

    (1)  delta2 = p - y                          the output, log-loss and softmax together
    (3)  dC/dW2 = a2^T delta2    (4)  dC/db2 = delta2
    (2)  delta1 = (delta2 W2^T) * (1 - a2**2)    through the dense layer, then through tanh
    (3)  dC/dW1 = a1^T delta1    (4)  dC/db1 = delta1
    (2)  delta0 = (delta1 W1^T) * (1 - a1**2)
    (3)  dC/dW0 = a0^T delta0    (4)  dC/db0 = delta0

Every matrix is printed with its shape, and compared with what the package computes: ``hidden_activations``,
``decision_function``, ``predict_proba``, ``loss_gradient`` and ``input_gradients``.

    python examples/layer_by_layer.py
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale

from sknn_scratch import MLPFromScratchClassifier


def show(name: str, matrix: np.ndarray, meaning: str = "") -> None:
    """Print a matrix with its name and shape."""
    print(f"\n{name}  {' x '.join(map(str, matrix.shape))}  {meaning}")
    print(np.array2string(matrix, precision=4, suppress_small=True, max_line_width=100))


def agree(what: str, by_hand: np.ndarray, by_package: np.ndarray) -> None:
    """Say that a matrix is the package's too, or fail."""
    np.testing.assert_allclose(by_hand, by_package, rtol=1e-9, atol=1e-12)
    print(f"    = {what}")


def walk(model: MLPFromScratchClassifier, sample: np.ndarray, label: int) -> tuple[list, list]:
    """Print the way forward and back; return the layers' outputs and the gradients of their weights."""
    W, b = model.coefs_, model.intercepts_

    print("FORWARD")
    a = [sample]
    show("a0", a[0], "the sample")
    for layer in (0, 1):
        show(f"W{layer}", W[layer])
        show(f"b{layer}", b[layer])
        z = a[layer] @ W[layer] + b[layer]
        show(f"z{layer}", z, f"a{layer} W{layer} + b{layer}")
        a.append(np.tanh(z))
        show(f"a{layer + 1}", a[-1], f"tanh(z{layer})")
        agree(f"model.hidden_activations(sample, {layer})", a[-1], model.hidden_activations(sample, layer))
    show("W2", W[2])
    show("b2", b[2])
    z = a[2] @ W[2] + b[2]
    show("z2", z, "a2 W2 + b2, the raw output")
    agree("model.decision_function(sample)", z, model.decision_function(sample))
    p = np.exp(z) / np.exp(z).sum()
    show("p", p, "softmax(z2)")
    agree("model.predict_proba(sample)", p, model.predict_proba(sample))
    y = (model.classes_ == label)[np.newaxis].astype(float)
    show("y", y, "the truth")
    print(f"\nloss = -log(p[truth]) = {-np.log(p[y == 1][0]):.6f}")

    print("\nBACKWARD")
    coefs_gradient, intercepts_gradient = model.loss_gradient(sample, [label])
    delta = p - y
    show("delta2", delta, "(1) p - y")
    gradients = [np.empty(0)] * 3
    for layer in (2, 1, 0):
        gradients[layer] = a[layer].T @ delta
        show(f"dC/dW{layer}", gradients[layer], f"(3) a{layer}^T delta{layer}")
        agree(f"model.loss_gradient(sample, label)[0][{layer}]", gradients[layer], coefs_gradient[layer])
        show(f"dC/db{layer}", delta[0], f"(4) delta{layer}")
        agree(f"model.loss_gradient(sample, label)[1][{layer}]", delta[0], intercepts_gradient[layer])
        if layer:
            delta = (delta @ W[layer].T) * (1 - a[layer] ** 2)
            show(f"delta{layer - 1}", delta, f"(2) (delta{layer} W{layer}^T) * (1 - a{layer}**2)")

    slopes = (W[0] * (1 - a[1] ** 2)) @ (W[1] * (1 - a[2] ** 2)) @ W[2]
    show("dz2/da0", slopes.T, "how the raw output follows the features: the same walk from z2 instead of the loss")
    agree("model.input_gradients(sample)[0]", slopes.T, model.input_gradients(sample)[0])
    return a, gradients


def draw(model: MLPFromScratchClassifier, a: list, gradients: list, folder: Path) -> None:
    """Draw the weights, and below them their gradients."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib for a picture of the weights and their gradients.")
        return
    figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
    for row, (matrices, name) in enumerate(((model.coefs_, "W{}"), (gradients, "dC/dW{}"))):
        limit = max(np.abs(matrix).max() for matrix in matrices)
        for layer, (ax, matrix) in enumerate(zip(axes[row], matrices, strict=True)):
            image = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.set(title=name.format(layer), xticks=range(matrix.shape[1]), yticks=range(matrix.shape[0]))
            ax.set(xlabel=f"unit of layer {layer}", ylabel="feature" if layer == 0 else f"unit of layer {layer - 1}")
        figure.colorbar(image, ax=axes[row])
    figure.suptitle("Weights of a 4-5-4-3 network, and the gradient of one sample")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "layer_by_layer.png"
    figure.savefig(path, dpi=150)
    print(f"\nA picture of weights and gradients is in {path}.")


def main() -> None:
    """Fit a small network to the irises and walk through it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does nothing: it takes a second anyway")
    parser.add_argument("--sample", type=int, default=70, help="which of the 150 irises, from 0")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    X, y = load_iris(return_X_y=True)
    X = scale(X)
    model = MLPFromScratchClassifier((5, 4), "tanh", solver="lbfgs", alpha=0, max_iter=30, tol=0.01, random_state=0)
    model.fit(X, y)
    print(f"{model.score(X, y):.1%} of the irises are recognised. Now number {options.sample}, layer by layer.\n")
    a, gradients = walk(model, X[[options.sample]], y[options.sample])
    draw(model, a, gradients, options.output)


if __name__ == "__main__":
    main()
