"""Larger than memory: train on a Parquet file, one row group at a time.

A million rows are generated and written in row groups, which are Parquet's own chunks. Then only one of them is in
memory at any time: a first pass over the file fits a ``StandardScaler`` with ``partial_fit``, and each further pass
hands the row groups, in a new order, to the network's ``partial_fit``. The last row groups are kept for testing. The
memory is measured: what NumPy and Python hold at most while a chunk is worked on (``tracemalloc``), and what Arrow,
which reads the file, has held at most.

    python examples/larger_than_memory.py            about ten seconds
    python examples/larger_than_memory.py --quick    with a tenth of the rows

It needs pyarrow, and matplotlib for the picture of memory and accuracy. The file is written to a temporary folder, and
is gone in the end.
"""

import argparse
import tempfile
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from sknn_scratch import MLPFromScratchClassifier

N_FEATURES = 20
N_TEST_GROUPS = 2
MEGABYTE = 1e6


def generate(n_rows: int, rng: np.random.RandomState) -> tuple[NDArray, NDArray]:
    """Return features, some on large scales, and labels, of which one in twenty is wrong."""
    X = rng.standard_normal((n_rows, N_FEATURES)).astype(np.float32)
    y = X[:, 0] * X[:, 1] + np.sin(2 * X[:, 2]) > 0
    y ^= rng.uniform(size=n_rows) < 0.05
    return X * np.geomspace(1, 1000, N_FEATURES, dtype=np.float32), y.astype(np.int8)


def write(path: Path, n_groups: int, rows_per_group: int) -> None:
    """Write a Parquet file, a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.RandomState(0)
    types = [(f"x{k}", pa.float32()) for k in range(N_FEATURES)]
    with pq.ParquetWriter(path, pa.schema([*types, ("y", pa.int8())]), use_dictionary=False) as writer:
        for _ in range(n_groups):
            X, y = generate(rows_per_group, rng)
            writer.write_table(pa.table([*X.T, y], schema=writer.schema), row_group_size=rows_per_group)


def read(path: Path, groups: Iterable[int]) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield features and labels of one row group after the other."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for group in groups:
            table = file.read_row_group(group)
            X = np.empty((table.num_rows, N_FEATURES), dtype=np.float32)
            for k in range(N_FEATURES):
                X[:, k] = table[f"x{k}"]
            yield X, table["y"].to_numpy()


def peak_memory() -> float:
    """Return the most megabytes of NumPy and Python since the last call, plus the most that Arrow ever held."""
    import pyarrow as pa

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    return (peak + pa.default_memory_pool().max_memory()) / MEGABYTE


def train(path: Path, n_groups: int, n_passes: int) -> tuple[MLPFromScratchClassifier, list[float], list[float]]:
    """Train, and return the network with the peak memory and the test accuracy after each chunk."""
    rng = np.random.RandomState(0)
    training, test = np.arange(n_groups - N_TEST_GROUPS), range(n_groups - N_TEST_GROUPS, n_groups)
    memory, accuracy = [], []
    tracemalloc.start()
    scaler = StandardScaler()
    for X, _ in read(path, training):
        scaler.partial_fit(X)
        memory.append(peak_memory())
    network = MLPFromScratchClassifier(hidden_layer_sizes=(64, 32), learning_rate_init=0.003, random_state=rng)
    for n in range(n_passes):
        for X, y in read(path, rng.permutation(training)):
            network.partial_fit(scaler.transform(X), y, classes=[0, 1])
            scores = [network.score(scaler.transform(X_test), y_test) for X_test, y_test in read(path, test)]
            accuracy.append(float(np.mean(scores)))
            memory.append(peak_memory())
        print(f"pass {n + 1}: test accuracy {accuracy[-1]:.2%}, of 95 % that are possible; peak {max(memory):.0f} MB")
    tracemalloc.stop()
    return network, memory, accuracy


def main() -> None:
    """Write the file, train, and say how much memory it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the picture")
    options = parser.parse_args()
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        print("Install pyarrow (pip install pyarrow) to write and read the Parquet file of this example.")
        return
    n_groups, rows_per_group = 40, 2_500 if options.quick else 25_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write(path, n_groups, rows_per_group)
        size = path.stat().st_size / MEGABYTE
        whole = n_groups * rows_per_group * (N_FEATURES * 4 + 1) / MEGABYTE
        print(f"{n_groups * rows_per_group:,} rows: {size:.0f} MB on disk, {whole:.0f} MB as arrays")
        _, memory, accuracy = train(path, n_groups, n_passes=2)
    print(f"Peak memory: {max(memory):.0f} MB, {max(memory) / whole:.0%} of what the arrays alone would take.")
    draw(memory, accuracy, whole, rows_per_group, options.output)


def draw(memory: list[float], accuracy: list[float], whole: float, rows_per_group: int, folder: Path) -> None:
    """Draw memory and accuracy over the rows that were read."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("Install matplotlib (pip install 'sknn-scratch[plot]') for a picture of memory and accuracy.")
        return
    rows = np.arange(1, len(memory) + 1) * rows_per_group / 1e6
    n_scaler = len(memory) - len(accuracy)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.plot(rows, memory, color="#0072B2", label="peak while a chunk is worked on")
    left.axhline(whole, color="black", linestyle="--", label="all rows as arrays")
    left.axvspan(0, rows[n_scaler - 1], color="0.92", label="first pass: the scaler")
    left.set(xlabel="million rows read", ylabel="megabytes", ylim=(0, 1.6 * whole), title="Memory")
    left.legend(loc="upper right")
    right.plot(rows[n_scaler:], accuracy, color="#D55E00")
    right.axhline(0.95, color="black", linestyle="--", label="the best possible")
    right.set(xlabel="million rows read", ylabel="accuracy on unseen rows", title="What is learnt meanwhile")
    right.set_xlim(left.get_xlim())
    right.legend(loc="lower right")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "larger_than_memory.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"The picture is in {path}.")


if __name__ == "__main__":
    main()
