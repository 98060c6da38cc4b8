"""Every example and benchmark runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(*command, cwd):
    result = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    printed = run(path, "--quick", cwd=tmp_path)
    assert printed
    assert [picture.stat().st_size > 1000 for picture in tmp_path.glob("*.png")] == [True]


def test_comparison_finds_no_difference(tmp_path):
    printed = run(ROOT / "examples" / "compare_with_sklearn.py", "--quick", cwd=tmp_path)
    differences = [float(line.split()[-1]) for line in printed.splitlines() if "largest relative difference" in line]
    assert len(differences) == 3
    assert max(differences) < 1e-9


def test_bench_fit(tmp_path):
    printed = run(ROOT / "benchmarks" / "bench_fit.py", "--rounds", 1, "--rows", "iris", "--threads", 1, cwd=tmp_path)
    assert "| iris 4-10-3, batch 32 |" in printed
    assert "geometric mean" in printed
