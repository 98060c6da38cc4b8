"""The loss of every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from sknn_scratch.plotting.drawing import (
    check_network,
    count_in_integers,
    has_layout_engine,
    inches,
    line_colors,
    new_axes_unless_given,
    plain_log_axis,
    unwrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

# Labels by which a call finds what an earlier one has drawn into the same axes.
SCORE_AXES = "validation score of LossCurveDisplay"
LEGEND = "legend of LossCurveDisplay"
# By parameter of the display, what a line shows, and its style; in this order, the last decides about the best epoch.
CURVES = {
    "train_loss": ("training loss", "-"),
    "oof_loss": ("out-of-fold loss", "-"),
    "validation_loss": ("validation loss", "--"),
    "validation_score": ("validation score", ":"),
}
# Between the axes and the legends, in inches.
GAP = 0.1
# Share of the width that legends outside leave to the axes.
LEAST_SHARE = 0.3


@dataclass(frozen=True)
class _Curve:
    """What a line shows."""

    what: str
    fit: str
    best_epoch: int | None
    stands_for_fit: bool


# The lines that displays have drawn, for later ones in the same axes.
_DRAWN: WeakKeyDictionary[Line2D, _Curve] = WeakKeyDictionary()


class LossCurveDisplay:
    """The loss of every epoch, of one fit or of several, with the validation curves where there are such.

    Each fit has a colour. Losses are on the left axis, training's as a solid line and validation's as a dashed one;
    validation scores are dotted, on an axis at the right, unless they are the validation loss negated. A dot marks the
    best epoch. Of an estimator for tables, each view has a colour, and the out-of-fold loss is a solid line. Two
    legends at the right of the axes say which colour is which fit, and which style is which curve; narrow axes have one
    inside.

    Parameters
    ----------
    train_loss : list of (array-like of shape (n_epochs,) or None)
        A curve for each fit, unless it has one in ``oof_loss``.
    validation_loss, validation_score : list of (array-like of shape (n_epochs,) or None), default=None
        A curve for each fit that has one. A curve shorter than that of the training loss belongs to the last epochs.
    name : list of str, default=None
        Name of each fit; by default 'fit 1', 'fit 2', ... unless there is only one.
    oof_loss : list of (array-like of shape (n_epochs,) or None), default=None
        Out-of-fold loss of each fit that has one.

    Attributes
    ----------
    best_epoch : list of int
        For each fit the epoch, counted from 1, with the largest validation score; without one, with the smallest
        validation loss; without that, with the smallest out-of-fold or training loss.
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
    legends_ : list of matplotlib Legend
        That of the fits, unless there is a single one without a name, and that of the curves; or one for both.

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
    >>> [text.get_text().partition(" (")[0] for text in display.legends_[0].get_texts()]
    ['relu', 'tanh']
    """

    def __init__(
        self,
        *,
        train_loss: Sequence[ArrayLike | None],
        validation_loss: Sequence[ArrayLike | None] | None = None,
        validation_score: Sequence[ArrayLike | None] | None = None,
        name: Sequence[str] | None = None,
        oof_loss: Sequence[ArrayLike | None] | None = None,
    ):
        n_fits = len(train_loss)
        if not n_fits:
            raise ValueError("train_loss must have an entry for at least one fit.")
        self.train_loss = train_loss
        self.validation_loss = [None] * n_fits if validation_loss is None else validation_loss
        self.validation_score = [None] * n_fits if validation_score is None else validation_score
        self.name = name
        self.oof_loss = [None] * n_fits if oof_loss is None else oof_loss
        for parameter in ("validation_loss", "validation_score", "name", "oof_loss"):
            value = getattr(self, parameter)
            if value is not None and len(value) != n_fits:
                raise ValueError(f"{parameter} has {len(value)} entries, but train_loss has {n_fits}.")
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
        yscale: str | None = None,
    ) -> Self:
        """Draw the curves of one fitted estimator or of several.

        Parameters
        ----------
        estimator : estimator, list of estimators or dict of object to estimator
            Fitted; a pipeline or a search stands for the network in it. The keys of a dict are the names of the fits.
        name : str or list of str, default=None
            Names of the fits, where ``estimator`` is no dict.
        ax : matplotlib Axes, default=None
            Axes to draw into, which may have the curves of other fits already; new ones by default.
        mark_best : bool, default=True
            Whether to mark the best epoch.
        line_kw : dict, default=None
            Passed to ``Axes.plot`` for every curve.
        yscale : {'linear', 'log'}, default=None
            Scale of the losses, which with 'log' must be positive. By default that of the axes; new ones are linear.

        Returns
        -------
        display : LossCurveDisplay
        """
        if isinstance(estimator, Mapping):
            name, estimator = list(estimator), list(estimator.values())
        fits = [unwrapped(fit) for fit in (estimator if isinstance(estimator, list | tuple) else [estimator])]
        names = [name] if isinstance(name, str) else name
        if names is None:
            of_views = len(fits) > 1 and any(hasattr(fit, "n_members") for fit in fits)
            names = [f"fit {k}" if of_views else "" for k in range(1, len(fits) + 1)]
        if len(names) != len(fits):
            raise ValueError(f"name has {len(names)} entries, but there are {len(fits)} estimators.")
        named = [pair for own, fit in zip(names, fits, strict=True) for pair in _named_curves(str(own), fit)]
        labels = [label for label, _ in named]
        curves: dict[str, Any] = {parameter: [given.get(parameter) for _, given in named] for parameter in CURVES}
        display = cls(**curves, name=labels if any(labels) else None)
        return display.plot(ax, mark_best=mark_best, line_kw=line_kw, yscale=yscale)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        mark_best: bool = True,
        line_kw: Mapping[str, Any] | None = None,
        yscale: str | None = None,
    ) -> Self:
        """Draw the curves, with the parameters of ``from_estimator``, and return the display."""
        self._check_scale(yscale)
        is_new = ax is None
        self.ax_ = ax = new_axes_unless_given(ax, (7.6, 4.2))
        self.figure_: Figure | SubFigure = ax.figure
        n_before = sum(curve.stands_for_fit for curve in _curves_in(ax).values())
        if not n_before:
            ax.set_prop_cycle(color=line_colors(len(self.train_loss)))
            ax.set(xlabel="epoch", ylabel="loss")
            count_in_integers(ax.xaxis)
            ax.grid(alpha=0.3)
        self.score_ax_ = self._score_axes(ax)
        self.lines_: list[Line2D] = []
        self.best_: list[Line2D] = []
        self.legends_: list[Legend] = []
        for fit in range(len(self.train_loss)):
            name = f"fit {n_before + fit + 1}" if self.name is None else self.name[fit]
            self._plot_fit(fit, name, mark_best, line_kw or {})
        if yscale is not None:
            ax.set_yscale(yscale)
        if yscale == "log":
            values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
            values = values[values > 0]  # as matplotlib does with what else was drawn here
            if values.size:
                plain_log_axis(ax.yaxis, values.min(), values.max())
        self._add_legends(is_new)
        return self

    def _check_scale(self, yscale: str | None) -> None:
        if yscale not in (None, "linear", "log"):
            raise ValueError(f"yscale must be 'linear', 'log' or None, got {yscale!r}.")
        curves = [curve for fit in range(len(self.train_loss)) for curve in self._curves(fit)]
        smallest = min((float(values.min()) for what, _, values in curves if "loss" in what), default=math.inf)
        if yscale == "log" and smallest <= 0:
            raise ValueError(f"yscale='log' needs positive losses, but the smallest is {smallest:g}.")

    def _curves(self, fit: int) -> list[tuple[str, NDArray, NDArray]]:
        """Return name, epochs and values of each curve of a fit."""
        curves = [(what, getattr(self, parameter)[fit]) for parameter, (what, _) in CURVES.items()]
        given = [(what, np.asarray(values, dtype=float)) for what, values in curves if values is not None]
        n_epochs = max((len(values) for _, values in given), default=0)
        return [(what, np.arange(n_epochs - len(values), n_epochs) + 1, values) for what, values in given]

    def _find_best(self, fit: int) -> int:
        if not (curves := self._curves(fit)):
            raise ValueError(f"The fit at position {fit} has no curve in train_loss or oof_loss.")
        what, epochs, values = curves[-1]
        if not len(values):
            raise ValueError(f"The curve of the {what} has no epochs.")
        goodness = values if what == "validation score" else -values
        return int(epochs[np.nan_to_num(goodness, nan=-np.inf).argmax()])

    def _score_axes(self, ax: Axes) -> Any:
        """Return the axes for scores: those that an earlier fit made, new ones, or None if they are not needed."""
        for other in ax.figure.axes:
            if other.get_label() == SCORE_AXES and other.bbox.bounds == ax.bbox.bounds:
                return other
        if all(score is None for score in self.validation_score):
            return None
        score_ax = ax.twinx()
        score_ax.set(label=SCORE_AXES, ylabel="validation score")
        return score_ax

    def _plot_fit(self, fit: int, name: str, mark_best: bool, line_kw: Mapping[str, Any]) -> None:
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D

        given = normalize_kwargs(dict(line_kw), Line2D)  # which may have short names
        best = self.best_epoch[fit] if mark_best else None
        styles = dict(CURVES.values())
        for position, (what, epochs, values) in enumerate(self._curves(fit)):
            ax = self.score_ax_ if what == "validation score" else self.ax_
            assert ax is not None
            if position:
                given = {"color": self.lines_[-1].get_color()} | given
            # A single epoch would be a line without length.
            marker = "." if len(values) == 1 else ""
            kwargs = {"linestyle": styles[what], "marker": marker, "label": f"{name}: {what}"} | given
            (line,) = ax.plot(epochs, values, **kwargs)
            _DRAWN[line] = _Curve(what, name, best, stands_for_fit=position == 0)
            self.lines_.append(line)
        if best is not None:
            (dot,) = ax.plot(best, values[epochs == best], "o", color=line.get_color(), markeredgecolor="white")
            dot.set_label("_best epoch")
            self.best_.append(dot)

    def _add_legends(self, is_new: bool) -> None:
        """Say which colour is which fit, and which style is which curve: at the right of the axes if there is room."""
        ax, dpi = self.ax_, self.figure_.dpi
        right = self._remove_legends()
        fits, curves = self._handles()
        box = None if self.score_ax_ is None else self.score_ax_.yaxis.get_tightbbox()
        left = GAP + (0 if box is None else (box.x1 - ax.bbox.x1) / dpi)
        self._legends_outside(left, fits, curves)
        width = left + max(inches(legend)[0] for legend in self.legends_)
        room = (right - ax.get_window_extent().x0) / dpi
        if is_new:
            figure: Any = self.figure_
            figure.set_size_inches(max(7.6, 5.2 + width), figure.get_figheight())
        elif room - width < LEAST_SHARE * room:
            self._remove_legends()
            # In the axes for scores, no curve crosses it.
            self.legends_ = [_legend(self.score_ax_ or ax, [*fits, *curves], loc="best")]
        elif not has_layout_engine(ax):
            _move_right_edge(ax, right - width * dpi)

    def _remove_legends(self) -> float:
        """Remove those of an earlier call, and return where they, or the axes, ended at the right, in pixels."""
        right = self.ax_.get_window_extent().x1
        for ax in (self.ax_, self.score_ax_):
            for artist in [] if ax is None else (*ax.artists, ax.get_legend()):
                if artist is not None and artist.get_label() == LEGEND:
                    right = max(right, artist.get_window_extent().x1)
                    artist.remove()
        return right

    def _legends_outside(self, left: float, fits: list[Any], curves: list[Line2D]) -> None:
        """Draw one legend or two, ``left`` inches from the axes."""
        from matplotlib.transforms import ScaledTranslation

        ax = self.ax_
        shift = ScaledTranslation(left, 0, self.figure_.dpi_scale_trans)
        kwargs: Any = {"borderaxespad": 0, "bbox_transform": ax.transAxes + shift}
        of_curves = _legend(ax, curves, loc="lower left", bbox_to_anchor=(1, 0), **kwargs)
        self.legends_ = [of_curves]
        if fits:
            ax.add_artist(of_curves)
            height = inches(of_curves)[1]
            n_rows = int((inches(ax)[1] - height - GAP) / height * len(curves) - 0.5)
            n_columns = math.ceil(len(fits) / max(n_rows, 4))
            self.legends_.insert(
                0, _legend(ax, fits, loc="upper left", bbox_to_anchor=(1, 1), ncols=n_columns, **kwargs)
            )

    def _handles(self) -> tuple[list[Any], list[Line2D]]:
        """Return handles of the fits in the axes and of what the user has drawn there; and of the kinds of curves."""
        from matplotlib.lines import Line2D

        fits: list[Any] = []
        styles: dict[str, tuple[Any, Any]] = {}
        drawn = _curves_in(self.ax_, self.score_ax_)
        for line, curve in drawn.items():
            styles[curve.what] = line.get_linestyle(), line.get_marker()
            if curve.stands_for_fit:
                best = "" if curve.best_epoch is None else f" (best: epoch {curve.best_epoch})"
                style: Any = {"color": line.get_color(), "linewidth": line.get_linewidth()}
                fits.append(Line2D([], [], label=f"{curve.fit}{best}", **style))
        fits += [handle for handle in self.ax_.get_legend_handles_labels()[0] if handle not in _DRAWN]
        is_alone = len(fits) == 1 and self.name is None
        if any(curve.best_epoch is not None for curve in drawn.values()):
            styles[f"best epoch: {self.best_epoch[0]}" if is_alone else "best epoch"] = "", "o"
        curves = [Line2D([], [], color="0.5", label=what, ls=ls, marker=mark) for what, (ls, mark) in styles.items()]
        return [] if is_alone else fits, curves


def _named_curves(name: str, fit: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a name and the curves of a fitted estimator; of one for tables, of each view."""
    if hasattr(fit, "n_members"):
        check_is_fitted(fit)
        for view, oof_loss in fit.oof_loss_curve_.items():
            yield f"{name}, {view}" if name else view, {"oof_loss": oof_loss}
        return
    check_network(fit)
    if not hasattr(fit, "loss_curve_"):
        raise ValueError(f"{fit!r} has no loss_curve_: scikit-learn records none with solver='lbfgs'.")
    attributes = {"validation_loss": "validation_loss_curve_", "validation_score": "validation_scores_"}
    validation = {parameter: getattr(fit, attribute, None) for parameter, attribute in attributes.items()}
    loss, score = (validation[parameter] or [] for parameter in attributes)
    if len(loss) == len(score) and np.array_equal(np.negative(loss), score):
        del validation["validation_score"]  # the same curve, upside down
    yield name, {"train_loss": fit.loss_curve_, **validation}


def _curves_in(*axes: Axes | None) -> dict[Line2D, _Curve]:
    """Return the lines that displays have drawn into axes."""
    return {line: _DRAWN[line] for ax in axes if ax is not None for line in ax.lines if line in _DRAWN}


def _legend(ax: Axes, handles: Sequence[Any], **kwargs: Any) -> Legend:
    """Return a legend of the axes, in which labels may also begin with an underscore."""
    labels = [str(handle.get_label()) for handle in handles]
    legend = ax.legend(handles, [f" {label}" for label in labels], fontsize="small", **kwargs)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
    legend.set_label(LEGEND)
    return legend


def _move_right_edge(ax: Axes, x: float) -> None:
    """Make axes, and their twin, end at ``x`` pixels, but leave something of them."""
    box, figure = ax.get_position(original=True), ax.figure.bbox
    width = max((x - figure.x0) / figure.width - box.x0, LEAST_SHARE * box.width)
    ax.set_position((box.x0, box.y0, width, box.height))
    ax.set_in_layout(True)  # set_position hides axes from a later tight_layout()
