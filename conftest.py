"""Without numba, the two files that import it have no docstring examples to collect."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("numba") else ["sknn_scratch/engines/compiled/*.py"]
