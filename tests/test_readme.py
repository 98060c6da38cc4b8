"""The Python in README.md and CONTRIBUTING.md runs as it stands there, block after block; docs has tests of its own."""

import re
from pathlib import Path

import numpy as np
import pytest
from networks import load
from numpy.testing import assert_array_equal
from sklearn.neural_network import MLPClassifier

import sknn_scratch
from sknn_scratch import Activation, Loss, MLPFromScratchClassifier, MLPFromScratchRegressor, check_gradients

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
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    monkeypatch.chdir(tmp_path)
    left = run_blocks(ROOT / "README.md")
    X, y = left["X"], left["y"]
    assert left["search"].best_score_ > 0.93
    assert left["model"].set_params(random_state=0).fit(*load("diabetes")).score(*load("diabetes")) > 0.5
    assert isinstance(left["theirs"], MLPClassifier)
    assert left["network"].score(X, y) > 0.9
    assert_array_equal(left["network"].predict(X), left["theirs"].predict(X))
    assert [output.name for output in left["graph"].graph.output] == ["label", "probabilities"]


def test_the_swap():
    """The lines that take the place of an import of scikit-learn's perceptrons."""
    names = {}
    for line in re.findall(r"^\+(.*)", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        exec(line, names)
    assert names["MLPClassifier"] is sknn_scratch.MLPFromScratchClassifier
    assert names["MLPRegressor"] is sknn_scratch.MLPFromScratchRegressor


def test_contributing():
    """Both components that are shown there belong to their derivatives."""
    left = run_blocks(ROOT / "CONTRIBUTING.md", np=np, Activation=Activation, Loss=Loss)
    X, y = load("wine")
    activated = MLPFromScratchClassifier(5, activation=left["Sine"]())
    assert check_gradients(activated, X[:50], y[:50], verbose=False) < 1e-6
    X, y = load("diabetes")
    quartic = MLPFromScratchRegressor(left["Quartic"](), 5)
    assert check_gradients(quartic, X[:50], y[:50], verbose=False) < 1e-6
