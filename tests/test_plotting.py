"""The displays, by the data of what they draw, and scikit-learn's own displays with our estimators."""

import itertools
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.legend import Legend
from matplotlib.text import Text
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.inspection import DecisionBoundaryDisplay, PartialDependenceDisplay, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tasks import make_task, our_estimator

from sknn_scratch import (
    ActivationDisplay,
    LossCurveDisplay,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    NetworkDisplay,
    TabularMLPRegressor,
    WeightsDisplay,
)
from sknn_scratch.plotting.drawing import LINE_COLORS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


drawn = []  # the figures of the test that runs


@pytest.fixture(autouse=True)
def close_figures():
    yield
    # Drawing for real finds what only a renderer does, such as a label that cannot be laid out.
    try:
        for figure in map(plt.figure, plt.get_fignums()):
            if figure not in drawn:
                draw(figure)
    finally:
        drawn.clear()
        plt.close("all")


def draw(figure):
    figure.canvas.draw()
    drawn.append(figure)


def fitted(task="multiclass", **parameters):
    X, y = make_task(task)
    return our_estimator(task, **{"max_iter": 6, **parameters}).fit(X, y)


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def assert_nothing_is_cut_off(figure):
    draw(figure)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) > -0.02
    assert box.x1 < width + 0.02
    assert box.y1 < height + 0.02


def ticks_in_view(axis):
    """Return the labels of an axis that are drawn, with their places."""
    draw(axis.get_figure())
    low, high = sorted(axis.get_view_interval())
    ticks = [(float(tick.get_loc()), tick.label1.get_text()) for tick in axis.get_major_ticks()]
    return {place: label for place, label in ticks if low <= place <= high and label}


# Loss curves ----------------------------------------------------------------------------------------------------------


def test_loss_curve():
    model = fitted()
    display = LossCurveDisplay.from_estimator(model)
    (line,), (dot,) = display.lines_, display.best_
    assert_array_equal(line.get_xdata(), np.arange(1, 7))
    assert_array_equal(line.get_ydata(), model.loss_curve_)
    assert dot.get_xdata() == [np.argmin(model.loss_curve_) + 1] == display.best_epoch
    assert dot.get_ydata() == [min(model.loss_curve_)]
    assert display.score_ax_ is None
    assert display.figure_ is display.ax_.figure
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "loss")
    (legend,) = display.legends_
    assert texts(legend) == ["training loss", "best epoch: 6"]
    assert line.get_label() == "fit 1: training loss"


def test_loss_curve_with_validation():
    model = fitted(early_stopping=True, max_iter=9)
    model.validation_loss_curve_ = [1 / (1 + epoch) for epoch in range(9)]
    model.validation_scores_[4] = 2.0
    display = LossCurveDisplay.from_estimator(model, name="mine", line_kw={"linewidth": 3})
    expected = [model.loss_curve_, model.validation_loss_curve_, model.validation_scores_]
    for line, values, style in zip(display.lines_, expected, ["-", "--", ":"], strict=True):
        assert_array_equal(line.get_ydata(), values)
        assert line.get_linestyle() == style
        assert line.get_color() == LINE_COLORS[0]
        assert line.get_linewidth() == 3
    assert [line.axes for line in display.lines_] == [display.ax_, display.ax_, display.score_ax_]
    assert display.best_epoch == [5]
    assert display.best_[0].axes is display.score_ax_
    assert_array_equal(display.best_[0].get_xydata(), [[5, 2.0]])
    of_fits, of_curves = display.legends_
    assert texts(of_fits) == ["mine (best: epoch 5)"]
    assert texts(of_curves) == ["training loss", "validation loss", "validation score", "best epoch"]
    assert [line.get_linestyle() for line in of_curves.get_lines()] == ["-", "--", ":", "None"]
    del model.validation_scores_
    assert LossCurveDisplay.from_estimator(model).best_epoch == [9]
    assert not LossCurveDisplay.from_estimator(model, mark_best=False).best_


def test_a_score_that_is_the_loss_upside_down_is_not_drawn():
    model = fitted(early_stopping=True, scoring="loss", max_iter=9)
    display = LossCurveDisplay.from_estimator(model)
    assert display.score_ax_ is None
    assert texts(display.legends_[0])[:2] == ["training loss", "validation loss"]
    assert display.best_epoch == [int(np.argmax(model.validation_scores_)) + 1]


def test_an_epoch_whose_value_is_nan_is_not_the_best():
    loss, values = [[3.0, 2.0, 1.0]], [[0.2, np.nan, 0.5]]
    assert LossCurveDisplay(train_loss=loss, validation_score=values).best_epoch == [3]
    assert LossCurveDisplay(train_loss=loss, validation_loss=values).best_epoch == [1]


def test_line_styles_by_short_names():
    display = LossCurveDisplay.from_estimator(fitted(early_stopping=True), line_kw={"c": "red", "ls": "-.", "lw": 3})
    assert len(display.lines_) > 1
    assert {(line.get_color(), line.get_linestyle(), line.get_linewidth()) for line in display.lines_} == {
        ("red", "-.", 3)
    }


def test_losses_that_are_all_nan_have_no_scale():
    assert LossCurveDisplay(train_loss=[[np.nan]]).plot(yscale="log").ax_.get_yscale() == "log"


@pytest.mark.parametrize("given", ["dict", "list", "one by one"])
def test_loss_curves_overlaid(given):
    """Each fit has a colour of its own, the styles are said once, and all scores share one axis."""
    fits = {
        "first": fitted(early_stopping=True),
        "second": fitted(random_state=1),
        "third": fitted(early_stopping=True, max_iter=1),
    }
    ax = plt.figure().add_subplot()
    if given == "one by one":
        lines = []
        for name, fit in fits.items():
            display = LossCurveDisplay.from_estimator(fit, name=name, ax=ax)
            lines += display.lines_
    else:
        display = LossCurveDisplay.from_estimator(fits if given == "dict" else list(fits.values()), ax=ax)
        lines = display.lines_
    names = ["fit 1", "fit 2", "fit 3"] if given == "list" else list(fits)
    assert display.ax_ is ax
    assert len(ax.figure.axes) == 2
    assert [line.get_color() for line in lines] == [LINE_COLORS[i] for i in (0, 0, 0, 1, 2, 2, 2)]
    assert_array_equal(lines[-3].get_ydata(), fits["third"].loss_curve_)
    assert lines[-3].get_marker() == "."
    first, third = (int(np.argmax(fits[name].validation_scores_)) + 1 for name in ("first", "third"))
    of_fits, of_curves = display.legends_
    assert texts(of_fits) == [
        f"{names[0]} (best: epoch {first})",
        f"{names[1]} (best: epoch 6)",
        f"{names[2]} (best: epoch {third})",
    ]
    assert [line.get_color() for line in of_fits.get_lines()] == list(LINE_COLORS[:3])
    assert texts(of_curves) == ["training loss", "validation loss", "validation score", "best epoch"]
    assert len({line.get_color() for line in of_curves.get_lines()}) == 1
    assert sorted(map(id, ax.findobj(Legend))) == sorted(map(id, display.legends_)), "older legends are gone"


def test_names_of_fits_may_be_numbers():
    display = LossCurveDisplay.from_estimator({0: fitted(), 0.5: fitted()})
    assert [text.partition(" ")[0] for text in texts(display.legends_[0])] == ["0", "0.5"]


def draw_losses(layout, **kwargs):
    fits = {f"name {seed}": fitted(early_stopping=seed < 2, random_state=seed) for seed in range(3)}
    figure = plt.figure(figsize=(13, 4), layout=layout)
    for place in (1, 2):
        ax = figure.add_subplot(1, 2, place)
        right = ax.bbox.x1
        display = LossCurveDisplay.from_estimator(fits, ax=ax, **kwargs)
    return figure, display, right


@pytest.mark.parametrize("layout", [None, "none", "constrained", "tight"])
def test_legends_stand_outside_the_axes(layout):
    figure, display, right = draw_losses(layout)
    assert_nothing_is_cut_off(figure)
    boxes = [legend.get_window_extent() for legend in display.legends_]
    assert not boxes[0].overlaps(boxes[1])
    for box in boxes:
        assert not box.overlaps(display.ax_.bbox)
        assert not box.overlaps(display.score_ax_.yaxis.get_tightbbox())
    if layout in (None, "none"):
        assert max(box.x1 for box in boxes) == pytest.approx(right), "the place that the axes had is not left"


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_narrow_axes_have_one_legend_inside(layout):
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout=layout)
    fits = {name: fitted(early_stopping=True) for name in ("relu", "tanh")}
    for ax in axes:
        for _ in range(2):
            display = LossCurveDisplay.from_estimator(fits, ax=ax)
            (legend,) = display.legends_
            assert ax.bbox.x0 < legend.get_window_extent().x0
        assert len(texts(legend)) == 2 * 2 + 4
    assert_nothing_is_cut_off(figure)
    assert len(figure.findobj(Legend)) == 3


def test_further_fits_find_the_same_place():
    """With each call, axes and legends share the place that the axes had in the beginning."""
    ax = plt.figure(figsize=(9, 4)).add_subplot()
    right = ax.bbox.x1
    for seed in range(3):
        display = LossCurveDisplay.from_estimator(fitted(random_state=seed), ax=ax)
        ends = [legend.get_window_extent().x1 for legend in display.legends_]
        assert max(ends) == pytest.approx(right)
        assert ax.bbox.x1 < right - 20
    assert texts(display.legends_[0]) == [f"fit {k} (best: epoch 6)" for k in (1, 2, 3)]


def test_what_the_user_has_drawn_is_in_the_legend():
    ax = plt.figure().add_subplot()
    ax.axhline(0.5, color="black", label="the loss to beat")
    display = LossCurveDisplay.from_estimator(fitted(), ax=ax, name="_mine")
    assert texts(display.legends_[0]) == ["_mine (best: epoch 6)", "the loss to beat"]
    assert ax.get_xlabel() == "epoch"


@pytest.mark.parametrize("n_epochs", [1, 2, 7, 1000])
@pytest.mark.parametrize("width", [2.4, 7])
def test_epochs_are_whole_numbers(n_epochs, width):
    ax = plt.figure(figsize=(width, 3), layout="constrained").add_subplot()
    LossCurveDisplay(train_loss=[1 / np.arange(1, n_epochs + 1)]).plot(ax)
    ticks = ticks_in_view(ax.xaxis)
    assert ticks
    for place, label in ticks.items():
        assert int(label) == place


@pytest.mark.parametrize(("largest", "smallest"), [(2, 1.6), (2, 0.9), (40, 3), (2, 1e-2), (10, 1e-7)])
def test_losses_on_a_logarithmic_axis_have_plain_numbers(largest, smallest):
    curve = np.geomspace(largest, smallest, 20)
    display = LossCurveDisplay(train_loss=[curve]).plot(yscale="log")
    assert display.ax_.get_yscale() == "log"
    ticks = ticks_in_view(display.ax_.yaxis)
    assert 2 <= len(ticks) <= 12
    for place, label in ticks.items():
        assert float(label) == pytest.approx(place)
    assert not any(label.get_text() for label in display.ax_.yaxis.get_minorticklabels())


def test_the_scale_of_given_axes_stays():
    ax = plt.figure(figsize=(8, 4)).add_subplot()
    display = LossCurveDisplay.from_estimator(fitted(), ax=ax, yscale="log")
    ax.axhline(-1)
    assert display.plot(ax).ax_.get_yscale() == "log"
    assert display.plot(ax, yscale="log").ax_.get_yscale() == "log"
    assert display.plot(ax, yscale="linear").ax_.get_yscale() == "linear"


def test_many_fits_have_many_colours():
    display = LossCurveDisplay(train_loss=[[1 / (k + 1), 1 / (k + 2)] for k in range(24)]).plot()
    assert len({tuple(np.round(line.get_color(), 4)) for line in display.lines_}) == 24
    assert_nothing_is_cut_off(display.figure_)
    assert not display.legends_[0].get_window_extent().overlaps(display.legends_[1].get_window_extent())


def test_scores_that_begin_later_end_with_the_losses():
    X, y = make_task("binary")
    model = our_estimator("binary", max_iter=3, warm_start=True).fit(X, y)
    model.set_params(early_stopping=True, max_iter=2).fit(X, y)
    display = LossCurveDisplay.from_estimator(model)
    loss, validation_loss, score = display.lines_
    assert_array_equal(loss.get_xdata(), [1, 2, 3, 4, 5])
    assert_array_equal(validation_loss.get_xdata(), [4, 5])
    assert_array_equal(score.get_xdata(), [4, 5])


def tabular(**parameters):
    X, y = make_task("regression")
    parameters = {"max_iter": 4, "n_members": 2, "hidden_layer_sizes": 4, "random_state": 0, **parameters}
    return TabularMLPRegressor(**parameters).fit(X, y)


def test_out_of_fold_loss_of_each_view():
    model = tabular()
    display = LossCurveDisplay.from_estimator(model)
    assert [line.get_ydata().tolist() for line in display.lines_] == list(model.oof_loss_curve_.values())
    assert display.best_epoch == list(model.best_epoch_.values())
    assert [dot.get_xdata()[0] for dot in display.best_] == display.best_epoch
    fits, curves = ([text.get_text() for text in legend.get_texts()] for legend in display.legends_)
    assert fits == [f"{view} (best: epoch {epoch})" for view, epoch in model.best_epoch_.items()]
    assert curves == ["out-of-fold loss", "best epoch"]
    assert_nothing_is_cut_off(display.figure_)


def test_tables_beside_a_single_network():
    fits = [tabular(n_bins=None), fitted("regression")]
    display = LossCurveDisplay.from_estimator(fits)
    assert display.name == ["fit 1, plain", "fit 2"]
    assert display.lines_[0].get_color() != display.lines_[1].get_color()
    assert LossCurveDisplay.from_estimator(fits, name=["a", "b"]).name == ["a, plain", "b"]
    assert LossCurveDisplay.from_estimator({"a": fits[0]}, ax=display.ax_).name == ["a, plain"]
    with pytest.raises(ValueError, match="name has 1 entries, but there are 2 estimators"):
        LossCurveDisplay.from_estimator(fits, name=["a"])
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(TabularMLPRegressor())
    with pytest.raises(ValueError, match="fit at position 0 has no curve"):
        LossCurveDisplay(train_loss=[None])
    with pytest.raises(TypeError, match="must have a single network, and TabularMLPRegressor has many"):
        NetworkDisplay.from_estimator(fits[0])
    plt.close("all")


def test_loss_curve_errors():
    X, y = make_task("binary")
    with pytest.raises(TypeError, match=r"got LogisticRegression\."):
        LossCurveDisplay.from_estimator(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y))
    with pytest.raises(TypeError, match=r"got Pipeline\. .* itself: model\[-1\] of a pipeline"):
        ActivationDisplay.from_estimator(make_pipeline(MLPFromScratchClassifier(3, max_iter=1)).fit(X, y), X)
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator([MLPFromScratchClassifier()])
    with pytest.raises(ValueError, match="no loss_curve_"):
        LossCurveDisplay.from_estimator(MLPClassifier(solver="lbfgs", max_iter=3).fit(X, y))
    with pytest.raises(ValueError, match="name has 2 entries, but train_loss has 1"):
        LossCurveDisplay(train_loss=[[1.0]], name=["a", "b"])
    with pytest.raises(ValueError, match="at least one fit"):
        LossCurveDisplay.from_estimator([])
    with pytest.raises(ValueError, match="training loss has no epochs"):
        LossCurveDisplay(train_loss=[[]])
    with pytest.raises(ValueError, match="yscale must be 'linear', 'log' or None, got 'symlog'"):
        LossCurveDisplay.from_estimator(fitted(), yscale="symlog")
    with pytest.raises(ValueError, match="needs positive losses, but the smallest is -1"):
        LossCurveDisplay(train_loss=[[1.0], [2.0]], validation_loss=[None, [-1.0]]).plot(yscale="log")
    assert not plt.get_fignums()


def test_pipelines_and_searches_stand_for_the_network_in_them():
    X, y = make_task("binary")
    pipeline = make_pipeline(StandardScaler(), our_estimator("binary", max_iter=3))
    search = GridSearchCV(pipeline, {"mlpfromscratchclassifier__alpha": [1e-4, 1e-3]}, cv=2).fit(X, y)
    network = search.best_estimator_[-1]
    for wrapped in (search, search.best_estimator_, make_pipeline(search.best_estimator_)):
        for display in (LossCurveDisplay.from_estimator(wrapped), LossCurveDisplay.from_estimator({"a": wrapped})):
            assert display.lines_[0].get_ydata().tolist() == network.loss_curve_
        assert NetworkDisplay.from_estimator(wrapped).coefs[0] is network.coefs_[0]
        assert WeightsDisplay.from_estimator(wrapped, image_shape=(2, 4)).weights is network.coefs_[0]
        plt.close("all")
    for unfitted in (pipeline, clone(search)):
        with pytest.raises(NotFittedError):
            NetworkDisplay.from_estimator(unfitted)


# Networks -------------------------------------------------------------------------------------------------------------


def test_network_as_lines():
    model = fitted("binary")
    display = NetworkDisplay.from_estimator(model)
    assert not display.axes_
    for edges, weights in zip(display.edges_, model.coefs_, strict=True):
        strength = np.asarray(edges.get_array())
        assert_array_equal(np.sort(strength), np.sort(weights.ravel()))
        assert (np.diff(np.abs(strength)) >= 0).all()
        assert (np.diff(edges.get_linewidths()) >= 0).all()
        assert edges.norm.vmax == -edges.norm.vmin == display.edges_[0].norm.vmax >= np.abs(weights).max()
    for units, n in zip(display.units_, [8, 6, 5, 1], strict=True):
        assert len(units.get_offsets()) == n
    for units, biases in zip(display.units_[1:], model.intercepts_, strict=True):
        assert_array_equal(units.get_array(), biases)
    # The line of the weight from the third feature to the second unit joins the two.
    index = np.flatnonzero(np.asarray(display.edges_[0].get_array()) == model.coefs_[0][2, 1])[0]
    ends = display.edges_[0].get_segments()[index]
    assert_allclose(ends, [display.units_[0].get_offsets()[2], display.units_[1].get_offsets()[1]])
    assert display.units_[0].get_offsets()[0][1] > display.units_[0].get_offsets()[1][1]
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == [
        "input\n8 features",
        "hidden 1\n6 units\nrelu",
        "hidden 2\n5 units\nrelu",
        "output\n1 unit\nlogistic",
    ]
    assert [text.get_text() for text in display.ax_.texts] == [f"x{i}" for i in range(8)] + ["20"]


@pytest.mark.parametrize("kind", ["lines", "heatmap"])
def test_a_large_bias_does_not_make_the_weights_pale(kind):
    model = fitted("regression")
    largest = max(np.abs(weights).max() for weights in model.coefs_)
    for bias, extend in ((0.0, "neither"), (100 * largest, "both")):
        for biases in model.intercepts_:
            biases[:] = bias
        display = NetworkDisplay.from_estimator(model, kind=kind)
        assert display.colorbar_.norm.vmax <= largest
        assert display.colorbar_.extend == (extend if kind == "lines" else "both")


def test_network_as_heat_maps():
    model = fitted("multioutput", hidden_layer_sizes=(40, 3), activation=["tanh", "gelu"])
    figure, axes = plt.subplots(1, 2, layout="constrained")
    display = NetworkDisplay.from_estimator(model, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not display.edges_
    assert len(display.axes_) == 3
    for image, biases, b, weights in zip(
        display.images_, display.bias_images_, model.intercepts_, model.coefs_, strict=True
    ):
        assert_array_equal(image.get_array(), weights)
        assert_array_equal(biases.get_array(), b[np.newaxis])
    assert display.axes_[0].get_ylabel() == "input: 8 features"
    assert [ax.get_xlabel() for ax in display.ax_.child_axes[1::2]] == [
        "hidden 1\n40 units\ntanh",
        "hidden 2\n3 units\ngelu",
        "output\n2 units\nidentity",
    ]
    assert NetworkDisplay.from_estimator(model, kind="lines").edges_
    assert display.plot(kind="lines").edges_
    assert not display.images_


@pytest.mark.parametrize("n_hidden", [1, 200])
@pytest.mark.parametrize("kind", ["lines", "heatmap"])
def test_labels_do_not_overlap(n_hidden, kind):
    display = NetworkDisplay.from_estimator(fitted(hidden_layer_sizes=n_hidden), kind=kind)
    draw(display.figure_)
    written = [*display.ax_.texts, display.colorbar_.ax.yaxis.label]
    if kind == "lines":
        written += display.ax_.get_xticklabels()
    written += [ax.xaxis.label for ax in display.ax_.child_axes[1::2]]
    boxes = [text.get_window_extent() for text in written]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :]), written[i]
    assert_nothing_is_cut_off(display.figure_)


def overlapping(texts):
    boxes = {text: text.get_window_extent().padded(-0.5) for text in texts if text.get_text() and text.get_visible()}
    return [(a, b) for a, b in itertools.combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]


@pytest.mark.parametrize("figsize", [(7, 4.8), (3.4, 3)])
@pytest.mark.parametrize("kind", ["lines", "heatmap"])
def test_names_shrink_or_are_left_out_where_there_is_little_room(kind, figsize):
    """Of features, of classes and of layers."""
    rng = np.random.RandomState(0)
    model = MLPFromScratchClassifier(4, max_iter=2, random_state=0)
    model.fit(rng.rand(30, 20), np.resize(["no", "yes", "a long name of a class with $ and $"], 30))
    names = [f"prefix__column_{k}_with_a_very_long_name_{k}" for k in range(20)]
    ax = plt.figure(figsize=figsize).add_subplot()
    display = NetworkDisplay.from_estimator(model, feature_names=names, kind=kind, ax=ax)
    draw(display.figure_)
    if kind == "lines":
        written = [*ax.texts, *ax.get_xticklabels()]
        for text in written:
            box = text.get_window_extent()
            assert ax.bbox.x0 - 3 < box.x0
            assert box.x1 < ax.bbox.x1 + 3
        assert not overlapping(written)
        assert bool(ax.texts) == (figsize == (7, 4.8))
    else:
        assert not overlapping(display.axes_[0].get_yticklabels())
        assert not overlapping(display.bias_images_[-1].axes.get_xticklabels())


@pytest.mark.parametrize("kind", ["lines", "heatmap"])
def test_a_network_in_tiny_axes_is_upright(kind):
    display = NetworkDisplay.from_estimator(fitted(), kind=kind, ax=plt.figure(figsize=(1.2, 0.9)).add_subplot())
    draw(display.figure_)
    (bottom, top), box = display.ax_.get_ylim(), display.ax_.bbox
    assert bottom < top
    assert all(0 < ax.bbox.height < box.height and 0 < ax.bbox.width < box.width for ax in display.axes_)


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("kind", ["lines", "heatmap"])
@pytest.mark.parametrize("n_features", [20, 30])
def test_names_of_features_and_classes_are_not_cut_off(layout, kind, n_features):
    """In axes of the user, too, and however long a name is."""
    rng = np.random.RandomState(0)
    model = MLPFromScratchClassifier(4, max_iter=2, random_state=0)
    model.fit(rng.rand(30, n_features), np.resize(["no", "yes", "a long name of a class with $ and $"], 30))
    names = [f"prefix__column_{k}_with_a_very_long_name_{k}" for k in range(n_features)]
    figure, axes = plt.subplots(1, 2, figsize=(20, 6), layout=layout)
    slack = 3 if layout is None else 30  # a layout engine changes the axes later, and keeps what stands out in sight
    for ax in axes:
        NetworkDisplay.from_estimator(model, feature_names=names, kind=kind, ax=ax)
        draw(figure)
        boxes = {text.get_text(): text.get_window_extent() for text in ax.findobj(Text) if text.get_visible()}
        for k in range(n_features):
            box = boxes[f"prefix__col\N{HORIZONTAL ELLIPSIS}{names[k][-12:]}"]
            assert box.x0 > ax.bbox.x0 - slack
        assert boxes["a long name\N{HORIZONTAL ELLIPSIS}with $ and $"].x1 < ax.bbox.x1 + slack
        assert boxes["output\n3 units\nsoftmax"].y0 > ax.bbox.y0 - slack
    assert_nothing_is_cut_off(figure)


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_heat_maps_in_narrow_axes_leave_the_names_out(layout):
    _, axes = plt.subplots(1, 3, figsize=(12, 4), layout=layout)
    names = [f"a name, number {k}" for k in range(8)]
    display = NetworkDisplay.from_estimator(fitted(), feature_names=names, kind="heatmap", ax=axes[1])
    draw(display.figure_)
    assert display.axes_[-1].bbox.x1 < display.colorbar_.ax.bbox.x0
    assert "0" in ticks_in_view(display.axes_[0].yaxis).values()


def test_heat_maps_name_features_and_outputs():
    X, y = make_task("multiclass")
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(8)])
    model = MLPFromScratchClassifier(3, max_iter=2).fit(frame, y)
    display = NetworkDisplay.from_estimator(model, kind="heatmap")
    assert list(ticks_in_view(display.axes_[0].yaxis).values()) == list(frame.columns)
    assert ticks_in_view(display.bias_images_[-1].axes.xaxis) == {0: "10", 1: "20", 2: "30"}
    model = MLPFromScratchClassifier(3, max_iter=2).fit(np.tile(X, 5), y)
    display = NetworkDisplay.from_estimator(model, kind="heatmap")
    assert display.axes_[0].get_ylabel() == "input: 40 features"
    assert all(label == f"{place:.0f}" for place, label in ticks_in_view(display.axes_[0].yaxis).items())


@pytest.mark.parametrize("display", [ActivationDisplay, WeightsDisplay])
def test_other_displays_are_not_cut_off(display):
    X, _ = make_task("multiclass")
    kwargs = {"X": X} if display is ActivationDisplay else {"image_shape": (2, 4)}
    assert_nothing_is_cut_off(display.from_estimator(fitted(), **kwargs).figure_)


def test_network_names():
    X, y = make_task("multiclass")
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(8)])
    display = NetworkDisplay.from_estimator(MLPFromScratchClassifier(3, max_iter=2).fit(frame, y))
    assert display.input_names == list(frame.columns)
    assert display.output_names == ["10", "20", "30"]
    display = NetworkDisplay.from_estimator(
        fitted("multioutput"), feature_names=list("abcdefgh"), output_names=["left", "right"]
    )
    assert [text.get_text() for text in display.ax_.texts] == [*"abcdefgh", "left", "right"]
    with pytest.raises(ValueError, match="feature_names must have 8 entries, got 1"):
        NetworkDisplay.from_estimator(fitted(), feature_names=["a"])
    with pytest.raises(ValueError, match="kind must be 'auto', 'lines' or 'heatmap', got 'graph'"):
        NetworkDisplay.from_estimator(fitted(), kind="graph")


def test_network_with_several_targets():
    X, y = make_task("multiclass")
    targets = np.column_stack([y, np.resize([3, 5], len(X)), y])
    display = NetworkDisplay.from_estimator(our_estimator("multiclass", max_iter=2).fit(X, targets))
    assert display.output_names == ["0: 10", "0: 20", "0: 30", "1: 5", "2: 10", "2: 20", "2: 30"]
    assert NetworkDisplay.from_estimator(fitted("multilabel")).output_names == ["0", "1", "2"]


def test_network_without_weights_or_hidden_layers():
    model = fitted(hidden_layer_sizes=())
    assert len(NetworkDisplay.from_estimator(model).edges_) == 1
    model.coefs_ = [np.zeros_like(weights) for weights in model.coefs_]
    model.intercepts_ = [np.zeros_like(biases) for biases in model.intercepts_]
    for kind in ("lines", "heatmap"):
        assert NetworkDisplay.from_estimator(model, kind=kind).colorbar_.norm.vmax == 1


# Weights as images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_hidden", [1, 5, 200])
def test_weights_as_images(n_hidden):
    model = fitted(hidden_layer_sizes=n_hidden)
    display = WeightsDisplay.from_estimator(model, image_shape=(2, 4))
    mosaic = np.ma.filled(display.image_.get_array(), np.nan)
    n_columns = (mosaic.shape[1] + 1) // 5
    for unit in range(n_hidden):
        row, column = divmod(unit, n_columns)
        tile = mosaic[3 * row : 3 * row + 2, 5 * column : 5 * column + 4]
        assert_array_equal(tile, model.coefs_[0][:, unit].reshape(2, 4))
    assert np.isfinite(mosaic).sum() == 8 * n_hidden
    numbers = [int(label.get_text()) for label in display.ax_.get_yticklabels()]
    heights = display.ax_.get_yticks()
    assert numbers[0] == 0
    for number, height in zip(numbers, heights, strict=True):
        assert number % n_columns == 0
        assert height == 3 * (number // n_columns) + 0.5
    assert display.image_.norm.vmax == np.abs(model.coefs_[0]).max()


def test_weights_scaled_each():
    model = fitted(hidden_layer_sizes=4)
    model.coefs_[0][:, 2] = 0
    display = WeightsDisplay.from_estimator(model, image_shape=(4, 2), scale_each=True)
    mosaic = np.ma.filled(display.image_.get_array(), np.nan)
    largest = np.sort(np.nanmax(np.abs([mosaic[r : r + 4, c : c + 2] for r in (0,) for c in (0, 3, 6)]), axis=(1, 2)))
    assert_array_equal(largest, [0, 1, 1])
    assert display.image_.norm.vmax == 1


def test_weights_errors():
    with pytest.raises(ValueError, match="image_shape must be given: images of 8 pixels are not square"):
        WeightsDisplay.from_estimator(fitted())
    for wrong in ((3, 3), (-2, -4), (2.0, 4.0), 8, (1, 2, 4)):
        with pytest.raises(ValueError, match="two positive integers whose product is the number of features, 8, got"):
            WeightsDisplay.from_estimator(fitted(), image_shape=wrong)


# Activations ----------------------------------------------------------------------------------------------------------


def test_activations():
    X, _ = make_task("multiclass")
    model = fitted(activation=["relu", "tanh"])
    model.coefs_[0][:, 2], model.intercepts_[0][2] = 0, -1  # off for every sample
    model.coefs_[1][:, 1], model.intercepts_[1][1] = 100, 200  # tanh is 1 to the last digit, or nearly
    display = ActivationDisplay.from_estimator(model, X, bins=30)
    first = np.maximum(0, X @ model.coefs_[0] + model.intercepts_[0])
    second = np.tanh(first @ model.coefs_[1] + model.intercepts_[1])
    for found, expected in zip(display.activations, [first, second], strict=True):
        assert_allclose(found, expected, rtol=1e-12)
    for layer, found in enumerate(display.activations):
        assert_allclose(found, model.hidden_activations(X, layer), rtol=1e-12)
    assert [dead.tolist() for dead in display.dead_units] == [[2], [1]]
    assert_allclose(display.saturation[0], (first == 0).mean(axis=0))
    assert_allclose(display.saturation[1], (1 - second**2 < 0.05).mean(axis=0))
    edges = np.linspace(min(first.min(), second.min()), max(first.max(), second.max()), 31)
    for line, base, a in zip(display.lines_, [1, 0], [first, second], strict=True):
        counts = np.histogram(a, edges)[0]
        assert_allclose(line.get_xdata(), edges)
        assert_allclose(line.get_ydata()[:-1] - base, 0.7 * np.sqrt(counts / counts.max()), atol=1e-12)
    off = 100 * (first == 0).mean()
    assert display.texts_[0].get_text() == f"dead: 1 of 6 units, slope near 0: {off:.0f} %"
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [
        "hidden 2\ntanh\n5 units",
        "hidden 1\nrelu\n6 units",
    ]


def test_activations_of_sparse_samples_and_constant_layers():
    X, _ = make_task("multiclass")
    model = fitted(activation="identity")
    display = ActivationDisplay.from_estimator(model, sparse.csr_matrix(X))
    assert_allclose(display.activations[0], X @ model.coefs_[0] + model.intercepts_[0], rtol=1e-12)
    assert not np.concatenate(display.saturation).any()
    model.coefs_ = [np.zeros_like(weights) for weights in model.coefs_]
    model.intercepts_ = [np.zeros_like(biases) for biases in model.intercepts_]
    assert [len(dead) for dead in ActivationDisplay.from_estimator(model, X).dead_units] == [6, 5]


def test_activations_errors():
    X, _ = make_task("multiclass")
    for bins in (0, 2.5, "auto"):
        with pytest.raises(ValueError, match="bins must be an integer of at least 1, got"):
            ActivationDisplay.from_estimator(fitted(), X, bins=bins)
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        ActivationDisplay.from_estimator(fitted(), X[:1])
    with pytest.raises(ValueError, match="has no hidden layer"):
        ActivationDisplay.from_estimator(fitted(hidden_layer_sizes=()), X)
    with pytest.raises(ValueError, match="expecting 8 features"):
        ActivationDisplay.from_estimator(fitted(), X[:, :3])


# scikit-learn's -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_displays_accept_scikit_learns_estimators(solver):
    X, y = make_task("regression")
    parameters = {
        "hidden_layer_sizes": (5,),
        "max_iter": 5,
        "random_state": 0,
        "solver": solver,
        "activation": "logistic",
    }
    theirs, ours = MLPRegressor(**parameters).fit(X, y), MLPFromScratchRegressor(**parameters).fit(X, y)
    their_curve, our_curve = (LossCurveDisplay.from_estimator(model).lines_[0] for model in (theirs, ours))
    assert_allclose(their_curve.get_ydata(), our_curve.get_ydata(), rtol=1e-9)
    theirs_drawn, ours_drawn = (ActivationDisplay.from_estimator(model, X) for model in (theirs, ours))
    assert_allclose(theirs_drawn.activations[0], ours_drawn.activations[0], rtol=1e-9)
    assert NetworkDisplay.from_estimator(theirs).layer_names == NetworkDisplay.from_estimator(ours).layer_names
    assert_allclose(
        WeightsDisplay.from_estimator(theirs, image_shape=(2, 4)).weights,
        WeightsDisplay.from_estimator(ours, image_shape=(2, 4)).weights,
        rtol=1e-9,
    )


@pytest.mark.parametrize("response", ["predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_decision_boundary_display(task, response):
    X, y = make_task(task)
    model = our_estimator(task, max_iter=6).fit(X[:, :2], y)
    kwargs = {"class_of_interest": model.classes_[1]} if task == "multiclass" and response != "predict" else {}
    display = DecisionBoundaryDisplay.from_estimator(
        model, X[:, :2], response_method=response, grid_resolution=15, plot_method="pcolormesh", **kwargs
    )
    grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    expected = getattr(model, response)(grid)
    if response == "predict":
        expected = np.searchsorted(model.classes_, expected)
    elif expected.ndim == 2:
        expected = expected[:, 1]
    assert_allclose(display.response.ravel(), expected)
    assert_allclose(np.asarray(display.surface_.get_array()).ravel(), expected)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_partial_dependence_display(task):
    X, _ = make_task(task)
    model = fitted(task)
    display = PartialDependenceDisplay.from_estimator(model, X, [1, (0, 2)], grid_resolution=5)
    value = display.pd_results[0]["grid_values"][0][2]
    X = X.copy()
    X[:, 1] = value
    expected = model.predict_proba(X)[:, 1] if task == "binary" else model.predict(X)
    assert display.lines_[0, 0].get_ydata()[2] == pytest.approx(expected.mean())


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_permutation_importance(task):
    """A feature that the network does not look at has no importance, one that it lives by has."""
    X, y = make_task(task)
    model = fitted(task, max_iter=150)
    model.coefs_[0][3] = 0
    importance = permutation_importance(model, X, y, n_repeats=3, random_state=0).importances_mean
    assert importance[3] == 0
    assert importance.max() > 0.05


# matplotlib is optional -----------------------------------------------------------------------------------------------


def test_error_without_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"^Drawing needs matplotlib: pip install 'sknn-scratch\[plot\]'\.$"):
        LossCurveDisplay(train_loss=[[1.0, 0.5]]).plot()
