"""What the benchmarks share: rounds in turns, the conditions, tables, pictures and the file of results."""

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy
import sklearn
from threadpoolctl import threadpool_info

from sknn_scratch.plotting.drawing import LINE_COLORS, plain_log_axis

HERE = Path(__file__).parent
MARKERS = "osD^"
ENGINES = ["numpy", "numba"] if find_spec("numba") else ["numpy"]


def folder(name: str) -> Path:
    """Return a folder, which is made at once: what was measured for half an hour should not be lost."""
    path = Path(name)
    path.mkdir(parents=True, exist_ok=True)
    return path


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller problems")
    parser.add_argument("--rounds", type=int, help="rounds of each row")
    parser.add_argument("--threads", type=int, help="limit of BLAS threads (default: as the environment has it)")
    parser.add_argument(
        "--output", type=folder, help="folder for RESULTS.md and the picture (default: none is written)"
    )
    return parser


def seconds(function: Callable) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turns(
    contenders: dict[str, Callable], rounds: int, before: dict[str, Callable] | None = None
) -> dict[str, list[float]]:
    """Call each contender once a round, one after the other, so that a slow moment of the machine hits them all.

    The pause lets the threads of the one before fall asleep: those of BLAS spin for a tenth of a second, and take the
    core that threads of the next one would be given. What is to be called ``before`` is not timed.
    """
    times: dict = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            time.sleep(0.15)
            if before is not None:
                before[name]()
            times[name].append(seconds(run))
    return times


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Keep one core busy with another process."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def conditions() -> str:
    """Describe what the figures depend on."""
    versions = {"Python": platform.python_version(), "NumPy": np.__version__, "SciPy": scipy.__version__}
    versions["scikit-learn"] = sklearn.__version__
    for name in ("numba", "torch"):
        if find_spec(name):
            versions[name] = __import__(name).__version__
    blas = {info["internal_api"] + " " + str(info["version"]): info["num_threads"] for info in threadpool_info()}
    return (
        ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; {os.cpu_count()} cores, {processor()}; threads: "
        + ", ".join(f"{name}: {n}" for name, n in blas.items())
    )


def processor() -> str:
    """Return the processor's name, where the system tells."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def geometric_mean(values) -> float:
    """Return the geometric mean of those that are not None."""
    return float(np.exp(np.mean(np.log([value for value in values if value is not None]))))


def draw_dots(
    names: list[str],
    groups: dict[str, list[float | None]],
    title: str,
    label: str,
    path: Path,
    reference: float | None = 1,
) -> None:
    """Draw a row for each name with a dot for each group, on a logarithmic axis with a line at the reference.

    With a single group, its numbers stand beside the dots.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib for a picture.")
        return
    figure, ax = plt.subplots(figsize=(8, 1.5 + 0.32 * len(names)), layout="constrained")
    known = [value for values in groups.values() for value in values if value is not None]
    in_view = known if reference is None else [*known, reference]
    low, high = min(in_view), max(in_view)
    margin = (high / low) ** 0.08
    rows = np.arange(len(names))
    heights = 0.14 * (np.arange(len(groups)) - (len(groups) - 1) / 2)  # equal ones do not cover each other
    for (group, values), height, color, marker in zip(groups.items(), heights, LINE_COLORS, MARKERS, strict=False):
        numbers = np.array([np.nan if value is None else value for value in values])
        ax.plot(numbers, rows + height, marker, color=color, markersize=8, markeredgecolor="white", label=group)
        if len(groups) == 1:
            for row, number in enumerate(numbers):
                text = f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
                ax.annotate(text, (number, row), (8, 0), textcoords="offset points", va="center", fontsize=9)
            margin = (high / low) ** 0.12
    if reference is not None:
        ax.axvline(reference, color="black", linewidth=1)
    ax.set(xscale="log", xlim=(low / margin, high * margin), ylim=(len(names) - 0.4, -0.6))
    plain_log_axis(ax.xaxis, low, high)
    ax.set(xlabel=f"{label} (logarithmic)", title=title, yticks=rows, yticklabels=names)
    ax.grid(alpha=0.4)
    ax.set_axisbelow(True)
    ax.spines[["top", "left", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    if len(groups) > 1:
        figure.legend(loc="outside lower center", ncols=len(groups), frameon=False)
    figure.savefig(path, dpi=150)
    print(f"The picture is in {path}.")


def write_results(name: str, title: str, text: str, folder: Path) -> None:
    """Put a benchmark's results into its section of RESULTS.md, with date and conditions."""
    path = folder / "RESULTS.md"
    content = (
        path.read_text() if path.exists() else "# Results of the benchmarks\n\nWritten by the scripts beside it.\n"
    )
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    today = datetime.datetime.now(tz=datetime.UTC).date()
    picture = f"![{title}]({name}.png)\n\n" if (folder / f"{name}.png").exists() else ""
    section = f"{start}\n\n## {title}\n\n{today}. {conditions()}.\n\n{text}\n\n{picture}{end}\n"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end) + "\n", re.DOTALL)
    content = pattern.sub(lambda _: section, content) if pattern.search(content) else f"{content}\n{section}"
    path.write_text(content)
    print(f"The results are in {path}.")
