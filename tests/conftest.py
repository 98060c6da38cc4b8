"""One BLAS thread per test process: the arrays here are small, and threads of several processes would only wait."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
