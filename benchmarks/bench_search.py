"""Time of a grid search, first in a new process and then again: ours and scikit-learn's.

``GridSearchCV`` with two jobs over three strengths of the penalty, three widths and three folds. Each run is a process
of its own, in turns, which searches twice: the first time includes the start of the workers and what they load (what
numba compiles is on disk already), the second does not. Beside them stands half the time, as for two jobs, of the bare
matrix products of all the fits on one thread: no search could take less.

    python benchmarks/bench_search.py                        a few minutes
    python benchmarks/bench_search.py --quick                a minute
    python benchmarks/bench_search.py --output benchmarks    writes RESULTS.md and a picture
"""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
from bench_fit import Row, matrix_products
from common import ENGINES, conditions, draw_dots, make_parser, seconds, table, write_results
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sknn_scratch import MLPFromScratchClassifier

DATA = {"breast cancer": load_breast_cancer, "digits": load_digits}
GRID = {"alpha": [1e-4, 1e-2, 1.0], "hidden_layer_sizes": [25, 50, 100]}
LIBRARIES = [*ENGINES, "scikit-learn"]


def search_twice(library: str, name: str, epochs: int) -> None:
    """Search, and print the seconds of the first and the second time, and the scores, as JSON."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    cls = MLPClassifier if library == "scikit-learn" else MLPFromScratchClassifier
    engine = {} if library == "scikit-learn" else {"engine": library}
    X, y = DATA[name](return_X_y=True)
    model = cls(max_iter=epochs, random_state=0, **engine)
    grid = {f"{cls.__name__.lower()}__{name}": values for name, values in GRID.items()}
    search = GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=3, n_jobs=2)
    times = [seconds(lambda: search.fit(X, y)) for _ in range(2)]
    print(json.dumps({"times": times, "scores": search.cv_results_["mean_test_score"].tolist()}))


def products_of_a_job(name: str, epochs: int) -> float:
    """Return the seconds that the matrix products of all fits take on one thread, halved."""
    X, y = DATA[name](return_X_y=True)
    total = 0.0
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for train, _ in StratifiedKFold(3).split(X, y):
            samples, labels = StandardScaler().fit_transform(X[train]), y[train]
            for parameters in ParameterGrid(GRID):
                model = MLPFromScratchClassifier(max_iter=epochs, random_state=0, **parameters).fit(samples, labels)
                row = Row(name, DATA[name], model.n_iter_, parameters)
                products, _ = matrix_products(row, samples, labels)
                total += min(seconds(products) for _ in range(2))
    return total / 2


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--child", nargs=3, metavar=("LIBRARY", "DATA", "EPOCHS"), help="one run; used by the script")
    options = parser.parse_args()
    if options.child:
        library, name, epochs = options.child
        search_twice(library, name, int(epochs))
        return
    rounds = options.rounds or (1 if options.quick else 4)
    epochs = 20 if options.quick else 200
    print(conditions(), flush=True)
    lines: list[list[str]] = []
    dots: dict[str, list] = {f"{engine}, {when}": [] for engine in ENGINES for when in ("first", "warm")}
    for name in DATA:
        best: dict = {}
        for _ in range(rounds):
            for library in LIBRARIES:
                # Warnings of the workers, that training has not ended, are of no interest here.
                command = [sys.executable, "-W", "ignore", __file__, "--child", library, name, str(epochs)]
                environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
                result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                run = json.loads(result.stdout)
                times = np.minimum(run["times"], best.get(library, {"times": [np.inf] * 2})["times"])
                best[library] = {"times": times, "scores": run["scores"]}
        theirs, products = best["scikit-learn"], products_of_a_job(name, epochs)
        for library in LIBRARIES:
            times = best[library]["times"]
            ratios = theirs["times"] / times
            difference = np.abs(np.subtract(best[library]["scores"], theirs["scores"])).max()
            figures = [f"{number:.2f}" for number in (*times, *ratios, times[1] / products)]
            lines.append([f"{name}, {library}", *figures, f"{difference:.0e}"])
            if library in ENGINES:
                for when, value in zip(("first", "warm"), ratios, strict=True):
                    dots[f"{library}, {when}"].append(value)
        lines.append(
            [f"{name}, bare products", "", f"{products:.2f}", "", f"{theirs['times'][1] / products:.2f}", "", ""]
        )
        print(f"... {name}", flush=True)
    columns = ["", "first", "warm", "scikit-learn's / first", "scikit-learn's / warm", "warm / products"]
    text = (
        f"GridSearchCV, n_jobs=2, 3 alphas x 3 widths x 3 folds, at most {epochs} epochs. Seconds, best of {rounds} "
        f"interleaved runs.\n\n{table([*columns, 'scores differ by'], lines)}"
    )
    print(f"\n{text}")
    if options.output:
        picture = options.output / "bench_search.png"
        draw_dots(
            list(DATA), dots, "Grid search: time of scikit-learn / ours", "times as fast as scikit-learn", picture
        )
        write_results("bench_search", "Time of a grid search", text, options.output)


if __name__ == "__main__":
    main()
