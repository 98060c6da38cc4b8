"""The Python in README.md and CONTRIBUTING.md runs as it stands there, block after block; docs has tests of its own."""

import re
from pathlib import Path

import numpy as np
from networks import load

import sknn_scratch
from sknn_scratch import (
    Activation,
    Loss,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    Optimizer,
    check_gradients,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.initializers import INITIALIZERS
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sknn_scratch.catalogue.optimizers import OPTIMIZERS
from sknn_scratch.catalogue.schedules import SCHEDULES

ROOT = Path(__file__).parents[1]


def run_blocks(path, **names):
    """Run all Python of a file in turn, and return the names that it leaves."""
    text = path.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        # Empty lines in front, so that a traceback tells the line of the file.
        code = "\n" * text[: block.start(1)].count("\n") + block[1]
        exec(compile(code, path, "exec"), names)
    return names


def test_readme(tmp_path, monkeypatch):
    """The search finds a good network, the loss of one's own trains, and the option is one that there is."""
    monkeypatch.chdir(tmp_path)
    left = run_blocks(ROOT / "README.md")
    X, y = left["X"], left["y"]
    assert left["search"].best_score_ > 0.93
    assert left["stopped"].fit(X, y).score(X, y) > 0.9
    regressor = left["regressor"].set_params(learning_rate="constant", tol=0.05, random_state=0).fit(X / 16, y)
    assert (regressor.predict(X / 16) < y).mean() < 0.3


def test_readme_fits_on_a_few_screens():
    """It has at most 150 lines, a picture within the first twenty, and leads to pages that exist."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    pictures = re.findall(r"^!\[[^]]+\]\(([^)]+)\)", "\n".join(text.splitlines()[:20]), flags=re.MULTILINE)
    assert pictures
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def cells_of(text):
    """Return the cells of all rows of Markdown tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_times_of_a_step_are_those_of_the_results():
    """Each number of the table under "Measured" is the one of the same row and column in RESULTS.md."""
    readme, results = (ROOT / "README.md").read_text(), (ROOT / "benchmarks/RESULTS.md").read_text()
    shown = cells_of(readme.partition("\n## Measured\n")[2].lower())
    measured = cells_of(results.partition("<!-- end of bench_fit -->")[0].lower())
    columns = [name.replace("matrix ", "") for name in shown[0][1:]]
    all_rows = {row[0]: dict(zip(measured[0], row, strict=True)) for row in measured}
    assert len(shown) > 2
    for name, *numbers in shown[2:]:
        assert [all_rows[name][column] for column in columns] == numbers


def test_errors_beside_others_are_those_of_the_results():
    """Each ratio and time of the table under "A table, ready" is, rounded, that in RESULTS.md."""
    named = {
        "CatBoost, four stopped by folds": "CatBoost, 4 folds",
        "LightGBM, the same": "LightGBM, 4 folds",
        "XGBoost, the same": "XGBoost, 4 folds",
        "CatBoost, defaults": "CatBoost",
        "RealMLP, a network in PyTorch, by four folds": "RealMLP, 4 folds",
        "HistGradientBoosting, early stopping": "boosting, early stopping",
        "MLP of scikit-learn, best of a grid of six": "MLP of scikit-learn, tuned",
        "logistic regression, ridge": "linear",
    }
    readme, results = (ROOT / "README.md").read_text(), (ROOT / "benchmarks/RESULTS.md").read_text()
    measured = {}  # of each model a row for classes, and one for numbers
    for name, *numbers in cells_of(results.partition("<!-- bench_tabular -->")[2]):
        if " of " in " ".join(numbers):
            measured.setdefault(name, []).append(re.sub(r" of \d+", "", " ".join(numbers)))
    shown = re.findall(r"^\| (.*?) \| (\d\.\d.*) \|$", readme.partition("## Start")[0], flags=re.MULTILINE)
    assert len(shown) == 8
    assert "| log-loss, 21 new | all 39 | RMSE, 10 new | all 21 |" in readme
    assert re.search(r" of 21 \| .* of 39 \|", results)
    assert re.search(r" of 10 \| .* of 21 \|", results)
    for name, cells in shown:
        classes, numbers = (list(map(float, row.split())) for row in measured[named.get(name, name)])
        expected = [*classes[2:6], *numbers[2:6], classes[-1], numbers[-1]]
        np.testing.assert_allclose(list(map(float, re.findall(r"[\d.]+", cells))), expected, rtol=0, atol=0.0051)


NUMBERS = [
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip


def test_pages_count_and_name_all_components():
    pages = [ROOT / "README.md", ROOT / "docs/differences.rst", ROOT / "docs/guide/loss.rst", ROOT / "docs/options.rst"]
    readme, differences, losses, options = (" ".join(page.read_text().split()) for page in pages)
    solvers = [*OPTIMIZERS, "lbfgs"]
    for what, registry in (
        ("activations", ACTIVATIONS),
        ("losses", CLASSIFIER_LOSSES | REGRESSOR_LOSSES),
        ("solvers", solvers),
        ("schedules", SCHEDULES),
        ("starting values", INITIALIZERS),
    ):
        assert f"{NUMBERS[len(registry)]} {what}" in readme
    for row, registry in (("activations", ACTIVATIONS), ("starting values", INITIALIZERS)):
        assert re.search(rf"\* - {row} - [^-]+ - {NUMBERS[len(registry)]}, ", differences), row
    for row, registry in (
        ("activations", ACTIVATIONS),
        ("losses of a classifier", CLASSIFIER_LOSSES),
        ("losses of a regressor", REGRESSOR_LOSSES),
        ("starting weights", INITIALIZERS),
        ("learning-rate schedules", SCHEDULES),
    ):
        assert re.search(rf"\* - {row} - [^-]+ - [^-]*\b{len(registry)}\b", options), row
    of_sklearn = {"adaptive", "constant", "invscaling"}
    for page, names in (
        (losses, [*CLASSIFIER_LOSSES, *REGRESSOR_LOSSES]),
        (differences, {*CLASSIFIER_LOSSES, *REGRESSOR_LOSSES, *solvers, *SCHEDULES} - {"log_loss", *of_sklearn}),
        (options, solvers),
    ):
        assert [name for name in names if not re.search(rf"\b{name}\b", page)] == []


def test_the_swap():
    """The lines that take the place of an import of scikit-learn's perceptrons."""
    names = {}
    for line in re.findall(r"^\+(.*)", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        exec(line, names)
    assert names["MLPClassifier"] is sknn_scratch.MLPFromScratchClassifier
    assert names["MLPRegressor"] is sknn_scratch.MLPFromScratchRegressor


def test_contributing():
    """The components that are shown there belong to their derivatives, and the optimiser goes downhill."""
    left = run_blocks(ROOT / "CONTRIBUTING.md", np=np, Activation=Activation, Loss=Loss, Optimizer=Optimizer)
    X, y = load("wine")
    activated = MLPFromScratchClassifier(5, activation=left["Sine"]())
    assert check_gradients(activated, X[:50], y[:50], verbose=False) < 1e-6
    X, y = load("diabetes")
    quartic = MLPFromScratchRegressor(left["Quartic"](), 5)
    assert check_gradients(quartic, X[:50], y[:50], verbose=False) < 1e-6
    model = MLPFromScratchRegressor(hidden_layer_sizes=5, solver=left["SignDescent"](), tol=0.01, random_state=0)
    assert model.fit(X, y).loss_ < 0.5 * model.loss_curve_[0]
