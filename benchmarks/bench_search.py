"""Time of a grid search, first in a new process and then again: ours and scikit-learn's.

``GridSearchCV`` with two jobs over three strengths of the penalty, three widths and three folds. Each run is a process
of its own, in turns, which searches twice: the first time includes the start of the workers and whatever they load or
compile, the second does not.

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
from common import conditions, draw_bars, make_parser, seconds, table, write_results
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknn_scratch import MLPFromScratchClassifier

DATA = {"breast cancer": load_breast_cancer, "digits": load_digits}


def search_twice(library: str, name: str, epochs: int) -> None:
    """Search, and print the seconds of the first and the second time, and the scores, as JSON."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    cls = MLPClassifier if library == "scikit-learn" else MLPFromScratchClassifier
    engine = {} if library in ("scikit-learn", "ours") else {"engine": library}
    X, y = DATA[name](return_X_y=True)
    model = cls(max_iter=epochs, random_state=0, **engine)
    grid = {"mlp__alpha": [1e-4, 1e-2, 1.0], "mlp__hidden_layer_sizes": [(25,), (50,), (100,)]}
    pipeline = make_pipeline(StandardScaler(), model)
    pipeline.steps[1] = ("mlp", model)
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2)
    times = [seconds(lambda: search.fit(X, y)) for _ in range(2)]
    print(json.dumps({"times": times, "scores": search.cv_results_["mean_test_score"].tolist()}))


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
    lines, names, first, warm = [], [], [], []
    for name in DATA:
        best: dict = {}
        for _ in range(rounds):
            for library in ("ours", "scikit-learn"):
                # Warnings of the workers, that training has not ended, are of no interest here.
                command = [sys.executable, "-W", "ignore", __file__, "--child", library, name, str(epochs)]
                environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
                result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                run = json.loads(result.stdout)
                times = np.minimum(run["times"], best.get(library, {"times": [np.inf] * 2})["times"])
                best[library] = {"times": times, "scores": run["scores"]}
        ours, theirs = best["ours"], best["scikit-learn"]
        difference = np.abs(np.subtract(ours["scores"], theirs["scores"])).max()
        names.append(name)
        first.append(theirs["times"][0] / ours["times"][0])
        warm.append(theirs["times"][1] / ours["times"][1])
        figures = [f"{t:.2f}" for t in (ours["times"][0], theirs["times"][0], ours["times"][1], theirs["times"][1])]
        lines.append([name, *figures, f"{first[-1]:.2f}", f"{warm[-1]:.2f}", f"{difference:.0e}"])
        print(f"... {name}: first {first[-1]:.2f}, warm {warm[-1]:.2f}", flush=True)
    columns = ["data", "ours, first", "scikit-learn, first", "ours, warm", "scikit-learn, warm"]
    columns += ["ratio, first", "ratio, warm", "scores differ by"]
    text = (
        f"GridSearchCV, n_jobs=2, 3 alphas x 3 widths x 3 folds, at most {epochs} epochs. Seconds, best of {rounds} "
        f"interleaved runs.\n\n{table(columns, lines)}"
    )
    print(f"\n{text}")
    if options.output:
        bars = {"first run": first, "warm": warm}
        picture = options.output / "bench_search.png"
        draw_bars(names, bars, "Grid search: time of scikit-learn / ours", "times as fast", picture)
        write_results("bench_search", "Time of a grid search", text, options.output)


if __name__ == "__main__":
    main()
