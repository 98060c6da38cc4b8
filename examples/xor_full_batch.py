"""XOR, all samples at once: a 3-4-1 network without biases; the second of the networks this project began from.

A third input that is always 1 does the work of the hidden units' biases. Forward, with the four samples as the rows of
``X`` and ``s(z) = 1 / (1 + exp(-z))``::

    h = s(X W0)      p = s(h W1)      C = sum of (p - y)**2 over the samples

Backward, with ``s' = s (1 - s)``::

    d1 = 2 (p - y) p (1 - p)         losses, BrierLoss
    d0 = (d1 W1^T) h (1 - h)         numpy/run.py, equation (2)
    dC/dW1 = h^T d1                  numpy/run.py, equation (3)
    dC/dW0 = X^T d0

and ``W -= dC/dW``, a learning rate of 1 on the sum of squares. The objective here is the mean of half the squares,
``C / 8``, so the same step is a ``learning_rate_init`` of 8.

    python examples/xor_full_batch.py
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sknn_scratch import SGD, MLPFromScratchClassifier, Uniform

X = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
y = np.array([0, 1, 1, 0])


def make_network(seed: int) -> MLPFromScratchClassifier:
    """Return the notebook's network."""
    return MLPFromScratchClassifier(
        hidden_layer_sizes=4,
        activation="logistic",
        loss="squared_error",
        solver=SGD(momentum=0),
        learning_rate_init=8.0,
        batch_size=4,
        shuffle=False,
        alpha=0,
        max_iter=1500,
        tol=0,
        n_iter_no_change=np.inf,
        weight_init=Uniform(0.0, 1.0),
        fit_intercept=False,
        random_state=seed,
    )


def main() -> None:
    """Train, print the predictions and draw the loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="makes no difference: it takes a tenth of a second")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # it trains to its last iteration on purpose
    model = make_network(options.seed).fit(X, y)
    print(f"Sum of squared errors after {model.n_iter_} iterations: {8 * model.loss_:.6f}\n")
    print("   input    output  truth")
    for sample, output, truth in zip(X.astype(int), model.predict_proba(X)[:, 1], y, strict=True):
        print(f"{sample!s:>9}    {output:.4f}  {truth}")
    draw(model.loss_curve_, options.output)


def draw(curve: list[float], folder: Path) -> None:
    """Draw the learning curve."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("\nInstall matplotlib for a picture of the loss.")
        return
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    ax.plot(8 * np.array(curve), color="#0072B2")
    ax.set(xlabel="iteration", ylabel="sum of squared errors", title="XOR, all samples at once, without biases")
    ax.grid(alpha=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "xor_full_batch.png"
    figure.savefig(path, dpi=150)
    print(f"\nThe loss curve is in {path}.")


if __name__ == "__main__":
    main()
