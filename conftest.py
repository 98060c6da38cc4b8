"""Without numba, or PyTorch, the files that import it have no docstring examples to collect."""

from importlib.util import find_spec

NEEDED = {"compiled": "numba", "torch": "torch"}
collect_ignore_glob = [
    f"sknn_scratch/engines/{folder}/*.py" for folder, library in NEEDED.items() if not find_spec(library)
]
