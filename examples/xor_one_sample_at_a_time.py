"""XOR, one sample at a time: a 2-4-1 network of logistic units; the first of the networks this project began from.

Forward, with ``s(z) = 1 / (1 + exp(-z))``::

    z0 = x W0 + b0      h = s(z0)      z1 = h W1 + b1      p = s(z1)

The error of a sample is ``C = (p - y)**2 / 2``. By the chain rule, with ``s' = s (1 - s)``::

    d1 = dC/dz1 = (p - y) p (1 - p)           losses, BrierLoss: the loss and its link
    d0 = dC/dz0 = (d1 W1^T) h (1 - h)        engines/numpy/run.py, equation (2); activations.py, Logistic
    dC/dW1 = h^T d1,  dC/db1 = d1            the same, equations (3) and (4)
    dC/dW0 = x^T d0,  dC/db0 = d0

and each parameter moves against its derivative, ``w -= 0.1 dC/dw``: a learning rate of 0.1 on the half, which is 0.05
on the whole square. There are 2*4 + 4 + 4*1 + 1 = 17 parameters.

The notebook had a slip: it moved each bias inside the loop over the incoming weights, so as often as there are weights.
``SlippedSGD`` does the same, to show that it makes learning a little faster and changes nothing else.

    python examples/xor_one_sample_at_a_time.py            ten seconds
    python examples/xor_one_sample_at_a_time.py --quick    a few seconds, without learning to the end
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sknn_scratch import SGD, MLPFromScratchClassifier, Normal

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([0, 1, 1, 0])


class SlippedSGD(SGD):
    """Gradient descent that moves each bias once for every incoming weight: hidden ones twice, the last four times."""

    def update(self, parameters, gradient, learning_rate):
        """Change the parameters: 8 + 4 weights, then 4 + 1 biases."""
        gradient[12:16] *= 2
        gradient[16] *= 4
        super().update(parameters, gradient, learning_rate)


def make_network(seed: int, epochs: int, solver: SGD | None = None, engine: str = "auto") -> MLPFromScratchClassifier:
    """Return the notebook's network."""
    return MLPFromScratchClassifier(
        engine=engine,
        hidden_layer_sizes=4,
        activation="logistic",
        loss="squared_error",
        solver=solver or SGD(momentum=0),
        learning_rate_init=0.1,
        batch_size=1,
        shuffle=False,
        alpha=0,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=np.inf,
        weight_init=Normal(0.1),
        bias_init="zeros",
        warm_start=True,
        random_state=seed,
    )


def sum_of_squares(model: MLPFromScratchClassifier) -> float:
    """Return the sum of the squared errors of the four samples."""
    return float(((model.predict_proba(X)[:, 1] - y) ** 2).sum())


def main() -> None:
    """Train, print what the notebook printed, and draw both curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the epochs")
    parser.add_argument("--seed", type=int, default=1, help="of the initial weights")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # it trains to its last epoch on purpose
    epochs = 2_000 if options.quick else 20_000

    model = make_network(options.seed, epochs).fit(X, y)
    n_parameters = sum(array.size for array in model.coefs_ + model.intercepts_)
    print(f"A 2-4-1 network of {n_parameters} parameters")
    for epoch in range(0, epochs, 1000):
        # loss_curve_ holds the mean over four samples of half the square.
        print(f"epoch {epoch:>6}: sum of squared errors {8 * model.loss_curve_[epoch]:.6f}")
    print(f"epoch {epochs:>6}: sum of squared errors {sum_of_squares(model):.6f}\n")
    for sample, output, prediction, truth in zip(X, model.predict_proba(X)[:, 1], model.predict(X), y, strict=True):
        print(f"input {sample.astype(int)}   output {output:.4f}   prediction {prediction}   truth {truth}")

    if not options.quick:
        model.set_params(max_iter=1000)
        while sum_of_squares(model) > 0.0032 and len(model.loss_curve_) < 200_000:
            model.fit(X, y)
        print(f"\nepoch {len(model.loss_curve_):>6}: sum of squared errors {sum_of_squares(model):.6f}")
    # The slip depends on where a number stands, which no formula of one number says: it is not for the compiled engine.
    slipped = make_network(options.seed, len(model.loss_curve_), SlippedSGD(momentum=0), engine="numpy").fit(X, y)
    draw({"correct": model.loss_curve_, "with the notebook's slip": slipped.loss_curve_}, options.output)


def draw(curves: dict[str, list[float]], folder: Path) -> None:
    """Draw the learning curves."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib for a picture of the curves.")
        return
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for (label, curve), colour in zip(curves.items(), ("#0072B2", "#D55E00"), strict=True):
        ax.plot(8 * np.array(curve), label=label, color=colour)
    ax.set(xlabel="epoch", ylabel="sum of squared errors", yscale="log", title="XOR, one sample at a time")
    ax.set_ylim(0.001, 2)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid(alpha=0.3)
    ax.legend()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "xor_one_sample_at_a_time.png"
    figure.savefig(path, dpi=150)
    print(f"\nThe learning curves are in {path}.")


if __name__ == "__main__":
    main()
