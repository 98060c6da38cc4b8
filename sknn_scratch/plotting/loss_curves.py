"""The loss of every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sknn_scratch.plotting.drawing import LINE_COLORS, check_network, count_in_integers, new_axes_unless_given

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

__all__ = ["LossCurveDisplay"]

# The axes of validation scores are known by this label when another fit is drawn into the same axes.
SCORE_AXES = "validation score of LossCurveDisplay"


class LossCurveDisplay:
    """The loss of every epoch, of one fit or of several, with the validation curves where there are such.

    Losses are on the left axis, training's as a solid line and validation's as a dashed one; validation scores are
    dotted, on an axis at the right. A dot marks the best epoch.

    Parameters
    ----------
    train_loss : list of array-like of shape (n_epochs,)
        A curve for each fit.
    validation_loss, validation_score : list of (array-like of shape (n_epochs,) or None), default=None
        A curve for each fit that has one. A curve shorter than that of the training loss belongs to the last epochs.
    name : list of str, default=None
        Name of each fit; by default 'fit 1', 'fit 2', ... unless there is only one.

    Attributes
    ----------
    best_epoch : list of int
        For each fit the epoch, counted from 1, with the largest validation score; without one, with the smallest
        validation loss; without that, with the smallest training loss.
    ax_ : matplotlib Axes
        Axes with the losses.
    score_ax_ : matplotlib Axes or None
        Axes with the validation scores, if any.
    figure_ : matplotlib Figure
        Figure of the axes.
    lines_ : list of matplotlib Line2D
        The curves, in the order of the fits: training loss, validation loss, validation score.
    best_ : list of matplotlib Line2D
        The dots, one for each fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sknn_scratch import LossCurveDisplay, MLPFromScratchClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> fits = {
    ...     a: MLPFromScratchClassifier(10, a, learning_rate_init=0.02, tol=0.01, random_state=0).fit(X, y)
    ...     for a in ("relu", "tanh")
    ... }
    >>> display = LossCurveDisplay.from_estimator(fits)
    >>> [line.get_label().partition(" (")[0] for line in display.lines_]
    ['relu: training loss', 'tanh: training loss']
    """

    def __init__(
        self,
        *,
        train_loss: Sequence[ArrayLike],
        validation_loss: Sequence[ArrayLike | None] | None = None,
        validation_score: Sequence[ArrayLike | None] | None = None,
        name: Sequence[str] | None = None,
    ):
        n_fits = len(train_loss)
        given = {"validation_loss": validation_loss, "validation_score": validation_score, "name": name}
        for parameter, value in given.items():
            if value is not None and len(value) != n_fits:
                raise ValueError(f"{parameter} has {len(value)} entries, but train_loss has {n_fits}.")
        self.train_loss = train_loss
        self.validation_loss = [None] * n_fits if validation_loss is None else validation_loss
        self.validation_score = [None] * n_fits if validation_score is None else validation_score
        self.name = name
        self.best_epoch = [self._find_best(fit) for fit in range(n_fits)]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | Sequence[str] | None = None,
        ax: Axes | None = None,
        mark_best: bool = True,
        line_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the curves of one fitted estimator or of several.

        Parameters
        ----------
        estimator : estimator, list of estimators or dict of str to estimator
            Fitted. The keys of a dict are the names of the fits.
        name : str or list of str, default=None
            Names of the fits, where ``estimator`` is no dict.
        ax : matplotlib Axes, default=None
            Axes to draw into, which may have the curves of other fits already; new ones by default.
        mark_best : bool, default=True
            Whether to mark the best epoch.
        line_kw : dict, default=None
            Passed to ``Axes.plot`` for every curve.

        Returns
        -------
        display : LossCurveDisplay
        """
        if isinstance(estimator, Mapping):
            name, fits = list(estimator), list(estimator.values())
        else:
            fits = list(estimator) if isinstance(estimator, list | tuple) else [estimator]
        for fit in fits:
            check_network(fit)
            if not hasattr(fit, "loss_curve_"):
                raise ValueError(f"{fit!r} has no loss_curve_: scikit-learn records none with solver='lbfgs'.")
        display = cls(
            train_loss=[fit.loss_curve_ for fit in fits],
            validation_loss=[getattr(fit, "validation_loss_curve_", None) for fit in fits],
            validation_score=[getattr(fit, "validation_scores_", None) for fit in fits],
            name=[name] if isinstance(name, str) else name,
        )
        return display.plot(ax, mark_best=mark_best, line_kw=line_kw)

    def plot(self, ax: Axes | None = None, *, mark_best: bool = True, line_kw: Mapping[str, Any] | None = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into, which may have the curves of other fits already; new ones by default.
        mark_best : bool, default=True
            Whether to mark the best epoch.
        line_kw : dict, default=None
            Passed to ``Axes.plot`` for every curve.

        Returns
        -------
        display : LossCurveDisplay
        """
        self.ax_ = ax = new_axes_unless_given(ax, (6.4, 4.2))
        self.figure_: Figure | SubFigure = ax.figure
        if not ax.lines:
            ax.set_prop_cycle(color=LINE_COLORS)
            ax.set(xlabel="epoch", ylabel="loss")
            count_in_integers(ax.xaxis)
            ax.grid(alpha=0.3)
        self.score_ax_ = self._score_axes(ax)
        self.lines_: list[Line2D] = []
        self.best_: list[Line2D] = []
        for fit in range(len(self.train_loss)):
            self._plot_fit(fit, mark_best, dict(line_kw or {}))
        self._add_legend()
        return self

    def _curves(self, fit: int) -> list[tuple[str, NDArray, NDArray]]:
        """Return what each curve of a fit is called, its epochs and its values."""
        curves: dict[str, Any] = {
            "training loss": self.train_loss[fit],
            "validation loss": self.validation_loss[fit],
            "validation score": self.validation_score[fit],
        }
        n_epochs = len(self.train_loss[fit])  # type: ignore[arg-type]
        return [
            (what, np.arange(n_epochs - len(curve), n_epochs) + 1, np.asarray(curve, dtype=float))
            for what, curve in curves.items()
            if curve is not None
        ]

    def _find_best(self, fit: int) -> int:
        what, epochs, values = self._curves(fit)[-1]
        if not len(values):
            raise ValueError(f"The curve of the {what} has no epochs.")
        return int(epochs[values.argmax() if what == "validation score" else values.argmin()])

    def _score_axes(self, ax: Axes) -> Any:
        """Return the axes for scores: those that an earlier fit made, new ones, or None if they are not needed."""
        for other in ax.figure.axes:
            if other.get_label() == SCORE_AXES and other.bbox.bounds == ax.bbox.bounds:
                return other
        if all(score is None for score in self.validation_score):
            return None
        score_ax = ax.twinx()
        score_ax.set(label=SCORE_AXES, ylabel="validation score (dotted)")
        return score_ax

    def _plot_fit(self, fit: int, mark_best: bool, line_kw: dict[str, Any]) -> None:
        prefix = ""
        if self.name is not None:
            prefix = f"{self.name[fit]}: "
        elif len(self.train_loss) > 1:
            prefix = f"fit {fit + 1}: "
        curves = self._curves(fit)
        for what, epochs, values in curves:
            ax = self.score_ax_ if what == "validation score" else self.ax_
            assert ax is not None
            if what != "training loss":
                line_kw = {"color": self.lines_[-1].get_color()} | line_kw
            style = {"training loss": "-", "validation loss": "--", "validation score": ":"}[what]
            # A single epoch would be a line without length.
            marker = "." if len(values) == 1 else ""
            kwargs = {"linestyle": style, "marker": marker, "label": prefix + what} | line_kw
            (line,) = ax.plot(epochs, values, **kwargs)
            self.lines_.append(line)
        if mark_best:
            best = self.best_epoch[fit]
            line.set_label(f"{line.get_label()} (best: epoch {best})")
            (dot,) = ax.plot(best, values[epochs == best], "o", color=line.get_color(), markeredgecolor="white")
            dot.set_label("_best epoch")
            self.best_.append(dot)

    def _add_legend(self) -> None:
        """Put one legend for both axes where falling losses and rising scores leave room."""
        handles = self.ax_.get_legend_handles_labels()[0]
        if self.score_ax_ is None:
            self.ax_.legend(handles=handles, loc="upper right", fontsize="small")
            return
        handles += self.score_ax_.get_legend_handles_labels()[0]
        # Each fit's score after its losses.
        colors = [line.get_color() for line in handles]
        handles.sort(key=lambda line: colors.index(line.get_color()))
        # On the upper axes, so that no line crosses it.
        self.score_ax_.legend(handles=handles, loc="center right", fontsize="small")
