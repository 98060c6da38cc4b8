"""What holds for all tests, those in the docstrings of the package included.

Without numba, or PyTorch, the files that import it have no docstring examples to collect.
"""

from importlib.util import find_spec

NEEDED = {"compiled": "numba", "torch": "torch"}
collect_ignore_glob = [
    f"sknn_scratch/engines/{folder}/*.py" for folder, library in NEEDED.items() if not find_spec(library)
]


def pytest_configure(config):
    """Let a worker that is done take over tests of another; pytest-xdist would share out most beforehand."""
    if config.getoption("dist", "no") == "load":
        config.option.dist = "worksteal"
