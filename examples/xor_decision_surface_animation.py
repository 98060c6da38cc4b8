"""XOR as a film: the decision surface while a 2-4-1 network learns it, as an animated GIF.

Each frame trains a few epochs further with ``partial_fit`` and draws what ``DecisionBoundaryDisplay`` of scikit-learn
makes of ``predict_proba``; beside it is the loss so far. The last frame is saved as a PNG too.

    python examples/xor_decision_surface_animation.py
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.inspection import DecisionBoundaryDisplay

from sknn_scratch import MLPFromScratchClassifier

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([0, 1, 1, 0])


def make_network(seed: int) -> MLPFromScratchClassifier:
    """Return a network that learns XOR within a few hundred steps from most starting points."""
    return MLPFromScratchClassifier(4, "tanh", learning_rate_init=0.05, alpha=0, random_state=seed)


def draw_surface(ax: Any, model: MLPFromScratchClassifier) -> None:
    """Draw the probability of a 1, and the four samples with their labels."""
    ax.clear()
    corners = np.array([[0.0, 0.0], [1.0, 1.0]])
    display = DecisionBoundaryDisplay.from_estimator(
        model,
        corners,
        response_method="predict_proba",
        class_of_interest=1,
        eps=0.4,
        grid_resolution=80,
        plot_method="contourf",
        levels=np.linspace(0, 1, 21),
        cmap="RdBu_r",
        ax=ax,
    )
    ax.contour(display.xx0, display.xx1, display.response, levels=[0.5], colors="black", linewidths=1)
    for sample, truth in zip(X, y, strict=True):
        ax.text(*sample, truth, ha="center", va="center", bbox={"boxstyle": "circle", "facecolor": "white"})
    ax.set(title="probability of a 1", xlabel="first input", ylabel="second input", xticks=[0, 1], yticks=[0, 1])
    ax.set_aspect("equal")


def draw_loss(ax: Any, curve: list[float], n_epochs: int) -> None:
    """Draw the loss of the epochs so far."""
    ax.clear()
    ax.plot(range(1, len(curve) + 1), curve, color="#0072B2")
    ax.plot(len(curve), curve[-1], "o", color="#0072B2", clip_on=False)
    ax.set(
        title=f"epoch {len(curve)}", xlabel="epoch", ylabel="log-loss", xlim=(0, n_epochs), ylim=(0, 1.05 * max(curve))
    )
    ax.grid(alpha=0.3)


def main() -> None:
    """Train, print the predictions and write the animation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three frames only")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the pictures")
    options = parser.parse_args()
    n_frames, epochs_per_frame = (3, 60) if options.quick else (60, 3)
    model = make_network(options.seed)

    def train(n_epochs: int) -> None:
        for _ in range(n_epochs):
            model.partial_fit(X, y, classes=[0, 1])

    train(1)
    try:
        animate(model, train, n_frames, epochs_per_frame, options.output)
    except ImportError:
        train(n_frames * epochs_per_frame)
        print("Install matplotlib for the animation.\n")
    print("  input    probability of a 1  truth")
    for sample, output, truth in zip(X.astype(int), model.predict_proba(X)[:, 1], y, strict=True):
        print(f"  {sample!s:>6}  {output:18.4f}  {truth:5}")


def animate(model: MLPFromScratchClassifier, train: Any, n_frames: int, epochs_per_frame: int, folder: Path) -> None:
    """Write the animation and its last frame."""
    import matplotlib.pyplot as plt
    from matplotlib.animation import PillowWriter
    from matplotlib.cm import ScalarMappable

    figure, (surface_ax, loss_ax) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15)
    figure.colorbar(ScalarMappable(cmap="RdBu_r"), ax=surface_ax, shrink=0.9)
    writer = PillowWriter(fps=10)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "xor_decision_surface.gif"
    with writer.saving(figure, path, dpi=80):
        for frame in range(n_frames + 1):
            if frame:
                train(epochs_per_frame)
            draw_surface(surface_ax, model)
            draw_loss(loss_ax, model.loss_curve_, n_frames * epochs_per_frame + 1)
            if frame == 0:  # later ones keep its layout, so that nothing jumps
                figure.draw_without_rendering()
                figure.set_layout_engine("none")
            writer.grab_frame()
        for _ in range(10):  # the end stays for a second
            writer.grab_frame()
    figure.savefig(path.with_suffix(".png"), dpi=150)
    plt.close(figure)
    print(f"The animation is in {path}, its last frame in {path.with_suffix('.png')}.\n")


if __name__ == "__main__":
    main()
