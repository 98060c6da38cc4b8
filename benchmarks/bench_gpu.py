"""Training on a GPU: whether its numbers are the reference's, and what a step and a large fit take.

A step of ours, a whole epoch with all transfers divided by its minibatches, stands beside the usual loop of PyTorch
(autograd, fused Adam, the samples on the GPU); the same step written by hand for this one network and captured as a
graph, which is what can be had; its bare matrix products as a graph; and scikit-learn and the compiled engine on the
cores of the machine. In the first row, an epoch of digits, only eight steps share the transfers. Then comes a fit of
1,000,000 x 100 samples, with the samples on the GPU and streamed to it, and its predictions. Samples are float32, as
TF32 is off. At the end stands what was asked for and missed.

    python benchmarks/bench_gpu.py                        under four minutes on a GPU
    python benchmarks/bench_gpu.py --quick                within a minute; always so without a GPU
    python benchmarks/bench_gpu.py --output benchmarks    writes RESULTS.md
    python benchmarks/bench_gpu.py --only checks
"""

import time
import traceback
import warnings
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from common import ENGINES, conditions, make_parser, seconds, table, write_results
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch.optim.adam import adam

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor
from sknn_scratch.catalogue.activations import ACTIVATIONS, ReLU
from sknn_scratch.catalogue.losses import LogLoss
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, Adam
from sknn_scratch.engines import start
from sknn_scratch.engines.torch import predict
from sknn_scratch.engines.torch import run as torch_run
from sknn_scratch.perceptron import Perceptron, layer_views
from sknn_scratch.training.job import Job

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
SELECT = {"device": "cuda"} if ON_GPU else {"engine": "torch"}
PROBLEMS = [  # layers, rows of a minibatch, minibatches of an epoch, whether it is timed on the cores too
    ([64, 100, 10], 200, 8, False),
    ([64, 100, 10], 200, 100, True),
    ([784, 256, 128, 10], 200, 100, True),
    ([100, 512, 512, 10], 200, 100, True),
    ([100, 512, 512, 10], 4096, 40, True),
    ([1000, 2048, 2048, 10], 1024, 20, False),
]
QUICK = [([64, 100, 10], 200, 8, True), ([100, 64, 64, 10], 512, 4, True)]
# What is asked for: the largest ratio of our step to the one by hand, the least of the usual loop's to ours up to so
# wide a layer, and the least of scikit-learn's large fit to ours. The first is asked of epochs of so many steps.
MOST_OF_BY_HAND, LEAST_OF_LOOP, UP_TO_WIDTH, LEAST_OF_FIT, MANY_STEPS = 1.3, 4.0, 512, 30.0, 20
missed: list[str] = []


def ask(holds: bool, what: str) -> None:
    """Note what does not hold, if it was asked of this machine."""
    if not holds and ON_GPU:
        missed.append(what)


def synchronize() -> None:
    """Wait for the GPU."""
    if ON_GPU:
        torch.cuda.synchronize()


def microseconds(run, n_steps: int, rounds: int) -> float:
    """Return the time of a step in the best round, after three rounds in which graphs are captured."""
    for _ in range(3):
        run()
    synchronize()

    def timed() -> None:
        run()
        synchronize()

    return min(seconds(timed) for _ in range(rounds)) / n_steps * 1e6


def graph_of(run):
    """Return a function that replays what a function does, or the function where there are no graphs."""
    if not ON_GPU:
        return run
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


# The numbers ----------------------------------------------------------------------------------------------------------


def check() -> list[list[str]]:
    """Return the largest difference between the coefficients of both engines, relative to the largest of a layer."""
    rng = np.random.RandomState(0)
    X, labels = rng.randn(1000, 20), rng.randint(5, size=1000)
    weights, targets = rng.randint(3, size=1000).astype(float), np.exp(0.3 * X[:, :2])
    weights[:200] = 0  # some minibatches have no weight at all
    cases = [(MLPFromScratchClassifier, {"activation": name}) for name in ACTIVATIONS]
    cases += [(MLPFromScratchClassifier, {"solver": name}) for name in [*OPTIMIZERS, "lbfgs"]]
    cases += [
        (MLPFromScratchClassifier, {"loss": name}) for name in ("hinge", "focal", "squared_error", "squared_hinge")
    ]
    cases += [
        (MLPFromScratchRegressor, {"loss": name})
        for name in ("squared_error", "poisson", "gamma", "tweedie", "huber", "log_cosh", "quantile", "gaussian_nll")
    ]
    cases += [
        (MLPFromScratchClassifier, options)
        for options in (
            {"dropout": 0.2, "input_noise": 0.1},
            {"alpha": 0.1, "l1_ratio": 0.5, "max_grad_norm": 0.1},
            {"early_stopping": True, "average": 2, "shuffle": False},
        )
    ]
    rows = []
    for dtype, most in ((np.float64, 1e-9), (np.float32, 1e-3)):
        worst, which = 0.0, ""
        for cls, options in cases:
            y = labels if cls is MLPFromScratchClassifier else targets
            sizes = {"max_iter": 5} if options.get("solver") == "lbfgs" else {"max_iter": 4, "batch_size": 30}
            settings = {"hidden_layer_sizes": (30, 20), "random_state": 0, **sizes, **options}
            models = [cls(**settings, **selected) for selected in ({"engine": "numpy"}, SELECT)]
            for model in models:
                model.fit(X.astype(dtype), y.astype(dtype) if y is targets else y, weights)
            for a, b in zip(*(model.coefs_ for model in models), strict=True):
                difference = float(np.abs(a - b).max() / np.abs(a).max())
                worst, which = max((worst, which), (difference, f"{cls.__name__}, {options}"))
        ask(worst <= most, f"numbers of {np.dtype(dtype)} differ by {worst:.0e} ({which})")
        rows.append([np.dtype(dtype).name, str(len(cases)), f"{worst:.0e}", which])
    return rows


# A step ---------------------------------------------------------------------------------------------------------------


def ours(units, batch_size, n_steps, alpha, engine="torch"):
    """Return a function that trains for an epoch, and the run."""
    rng, n_rows = np.random.RandomState(0), n_steps * batch_size
    loss = LogLoss()
    loss.start(multiclass=True)
    network = Perceptron(units, [ReLU() for _ in units[2:]], loss.link, np.float32)
    network.parameters[...] = rng.uniform(-0.05, 0.05, network.parameters.size)
    optimizer = Adam()
    optimizer.start(network.parameters.size, network.dtype, network.n_weights)
    X, y = rng.randn(n_rows, units[0]).astype(np.float32), np.eye(units[-1], dtype=np.float32)
    y = np.asfortranarray(y[rng.randint(units[-1], size=n_rows)])
    device = str(DEVICE) if engine == "torch" else "cpu"
    job = Job(network, loss, X, y, None, batch_size, optimizer, alpha=alpha, device=device)
    order, rates = rng.permutation(n_rows).astype(np.int32), np.full(n_steps, 1e-3)
    return start(engine, job), lambda run: run.epoch(order, rates)


def usual_loop(units, batch_size, n_steps):
    """Return a function that trains for an epoch as one usually writes it."""
    layers = [m for i, o in pairwise(units) for m in (torch.nn.Linear(i, o), torch.nn.ReLU())]
    net = torch.nn.Sequential(*layers[:-1]).to(DEVICE)
    optimizer, loss_function = torch.optim.Adam(net.parameters(), fused=True), torch.nn.CrossEntropyLoss()
    n_rows = n_steps * batch_size
    X = torch.randn(n_rows, units[0], device=DEVICE)
    y = torch.randint(0, units[-1], (n_rows,), device=DEVICE)

    def run() -> None:
        order, total = torch.randperm(n_rows, device=DEVICE), torch.zeros((), device=DEVICE)
        for rows in order.split(batch_size):
            optimizer.zero_grad()
            loss = loss_function(net(X[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item()

    return run


def by_hand(units, batch_size, n_steps):
    """Return a function that makes the steps of an epoch, written for this network alone, and one of its products."""
    n_rows, n_layers = n_steps * batch_size, len(units) - 1
    size = sum((i + 1) * o for i, o in pairwise(units))
    w, g, m, v = (torch.zeros(size, device=DEVICE) for _ in range(4))
    w.uniform_(-0.05, 0.05)
    (W, b), (gW, gb) = layer_views(w, units), layer_views(g, units)
    X, order = torch.randn(n_rows, units[0], device=DEVICE), torch.randperm(n_rows, device=DEVICE)
    Y = torch.nn.functional.one_hot(torch.randint(0, units[-1], (n_rows,)), units[-1]).to(DEVICE, torch.float32)
    total, t, rate = (torch.full((), value, device=DEVICE) for value in (0.0, 0.0, 1e-3))

    def step(rows) -> None:
        a, y = [X.index_select(0, rows)], Y.index_select(0, rows)
        for l in range(n_layers):
            z = torch.addmm(b[l], a[-1], W[l])
            a.append(z.relu_() if l < n_layers - 1 else z)
        log_p = torch.log_softmax(a[-1], 1)
        total.sub_((log_p * y).sum() / batch_size)
        delta = (log_p.exp() - y) / batch_size
        for l in reversed(range(n_layers)):
            torch.mm(a[l].T, delta, out=gW[l])
            torch.sum(delta, 0, out=gb[l])
            if l:
                delta = (delta @ W[l].T) * (a[l] > 0)
        adam(
            *([w], [g], [m], [v], [], [t]),
            **{"fused": True, "amsgrad": False, "beta1": 0.9, "beta2": 0.999, "lr": rate, "weight_decay": 0.0},
            **{"eps": 1e-8, "maximize": False},
        )

    def products() -> None:
        a = [torch.empty(batch_size, width, device=DEVICE) for width in units]
        for _ in range(n_steps):
            for l in range(n_layers):
                torch.mm(a[l], W[l], out=a[l + 1])
            for l in reversed(range(n_layers)):
                torch.mm(a[l].T, a[l + 1], out=gW[l])
                if l:
                    torch.mm(a[l + 1], W[l].T, out=a[l])

    return lambda: [step(rows) for rows in order.split(batch_size)], products


def sklearn_steps(units, batch_size, n_steps) -> float:
    """Return scikit-learn's microseconds a step on the cores of the machine."""
    n_steps, rng = min(n_steps, 20), np.random.RandomState(0)
    X, y = rng.randn(n_steps * batch_size, units[0]).astype(np.float32), rng.randint(10, size=n_steps * batch_size)
    model = MLPClassifier(units[1:-1], batch_size=batch_size, max_iter=2, tol=0)
    return min(seconds(lambda: model.fit(X, y)) for _ in range(2)) / (2 * n_steps) * 1e6


def measure_steps(problems, rounds: int) -> list[list[str]]:
    """Return the rows of the table of steps."""
    rows = []
    for units, batch_size, n_steps, on_cores in problems:
        times = {"usual loop": microseconds(usual_loop(units, batch_size, n_steps), n_steps, rounds)}
        with torch.no_grad():
            times |= {
                name: microseconds(graph_of(run), n_steps, rounds)
                for name, run in zip(("by hand", "products"), by_hand(units, batch_size, n_steps), strict=True)
            }
        for name, alpha in (("ours", 0.0), ("ours, alpha", 1e-4)):
            started, epoch = ours(units, batch_size, n_steps, alpha)
            with started as run:
                times[name] = microseconds(lambda run=run, epoch=epoch: epoch(run), n_steps, rounds)
        if on_cores:
            times["scikit-learn"] = sklearn_steps(units, batch_size, n_steps)
            started, epoch = ours(units, batch_size, n_steps, 0.0, ENGINES[-1])
            with started as run:
                times["cores"] = min(seconds(lambda run=run, epoch=epoch: epoch(run)) for _ in range(3)) / n_steps * 1e6
        name = f"{'-'.join(map(str, units))}, batch {batch_size}, {n_steps} steps"
        of_hand, of_loop = times["ours"] / times["by hand"], times["usual loop"] / times["ours"]
        ask(of_hand <= MOST_OF_BY_HAND or n_steps < MANY_STEPS, f"{name}: {of_hand:.2f} times the step by hand")
        least, loop_of_hand = (
            LEAST_OF_LOOP if max(units[1:]) <= UP_TO_WIDTH else 1,
            times["usual loop"] / times["by hand"],
        )
        ask(of_loop >= least, f"{name}: usual loop / ours {of_loop:.1f}, usual loop / by hand {loop_of_hand:.1f}")
        columns = ("usual loop", "by hand", "products", "ours", "ours, alpha", "scikit-learn", "cores")
        rows.append(
            [name, *(f"{times[c]:,.0f}" if c in times else "" for c in columns), f"{of_hand:.2f}", f"{of_loop:.1f}"]
        )
        print(rows[-1], flush=True)
    return rows


# A large fit ----------------------------------------------------------------------------------------------------------


def measure_fit(quick: bool) -> list[list[str]]:
    """Return the rows of the table of a large fit."""
    n_rows, hidden, batch_size, n_epochs = (20_000, (64, 64), 1000, 2) if quick else (10**6, (512, 512), 4096, 3)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 100), dtype=np.float32)
    y = (X[:, :10] + 0.5 * rng.standard_normal((n_rows, 10), dtype=np.float32)).argmax(1)
    settings = {
        "hidden_layer_sizes": hidden,
        "batch_size": batch_size,
        "max_iter": n_epochs,
        "random_state": 0,
        "tol": 0,
    }
    contenders = {
        "on the device": MLPFromScratchClassifier(**settings, **SELECT),
        "streamed": MLPFromScratchClassifier(**settings, **SELECT),
        f"cores, {ENGINES[-1]}": MLPFromScratchClassifier(**settings, engine=ENGINES[-1]),
        "scikit-learn": MLPClassifier(**settings),
    }
    times, rows = {}, []
    for name, model in contenders.items():
        fit = partial(fit_streamed, model) if name == "streamed" else model.fit
        times[name] = seconds(partial(fit, X, y))
        score = float(np.mean(model.predict(X[:10_000]) == y[:10_000]))
        rows.append([f"fit, {name}", f"{times[name]:.2f}", f"{score:.4f}", f"{model.loss_:.6f}"])
        print(rows[-1], flush=True)
    ratio = times["scikit-learn"] / times["on the device"]
    ask(ratio >= LEAST_OF_FIT, f"scikit-learn's fit takes {ratio:.1f} times ours, {LEAST_OF_FIT:.0f} wanted")
    model = contenders["on the device"]
    network = model.perceptron
    outputs = {}
    for name, run in {
        "on the device": lambda: predict.raw_output(network, X, None, str(DEVICE), True),
        "cores": lambda: network.raw_output(X, check_finite=True),
    }.items():
        run()
        began = time.perf_counter()
        outputs[name] = run()
        rows.append([f"predict, {name}", f"{time.perf_counter() - began:.3f}", "", ""])
    difference = np.abs(np.subtract(*outputs.values())).max() / np.abs(outputs["cores"]).max()
    ask(difference < 1e-4, f"predictions differ by {difference:.0e}")
    rows.append(["predictions differ by", f"{difference:.0e}", "", ""])
    return rows


def fit_streamed(model, X, y) -> None:
    """Fit with the least memory of the device that suffices, too little for all of X."""
    free_bytes = torch_run.free_bytes
    try:
        for eighths in range(4, 80):
            torch_run.free_bytes = lambda device, n=eighths: min(free_bytes(device), n * X.nbytes // 8)
            try:
                model.fit(X, y)
                return
            except MemoryError:
                continue
    finally:
        torch_run.free_bytes = free_bytes


def main() -> None:
    """Run what the command line says."""
    parser = make_parser(__doc__)
    parser.add_argument("--only", choices=["checks", "steps", "fit"], help="a part of it")
    arguments = parser.parse_args()
    quick, began = arguments.quick or not ON_GPU, time.perf_counter()
    warnings.simplefilter("ignore", ConvergenceWarning)
    if not ON_GPU:
        torch.set_num_threads(1)  # on a busy machine several wait for each other
    torch.set_float32_matmul_precision("highest")  # some installations have TF32 on
    name = torch.cuda.get_device_name() if ON_GPU else "PyTorch's CPU device, as there is no GPU"
    text = f"{conditions()} GPU: {name}; CUDA {torch.version.cuda}.\n"
    print(text, flush=True)
    columns = ["usual loop", "by hand, graph", "products, graph", "ours", "ours, alpha=1e-4", "scikit-learn"]
    columns = ["microseconds a step", *columns, ENGINES[-1], "ours / by hand", "usual loop / ours"]
    rounds = arguments.rounds or (3 if quick else 10)
    parts = {
        "checks": (["numbers", "models", "differ by", "most"], check),
        "steps": (columns, partial(measure_steps, QUICK if quick else PROBLEMS, rounds)),
        "fit": (["seconds", "takes", "accuracy", "loss"], partial(measure_fit, quick)),
    }
    for part in [arguments.only] if arguments.only else parts:
        header, measure = parts[part]
        try:
            text += "\n" + table(header, measure()) + "\n"
        except Exception as error:  # a GPU is lent for minutes, and the other parts are of use too
            traceback.print_exc()
            missed.append(f"{part}: {type(error).__name__}: {error}")
    text += "\n" + "\n".join(f"- missed: {one}" for one in missed or ["nothing" if ON_GPU else "not asked here"])
    print(f"{text}\n\n{time.perf_counter() - began:.0f} seconds")
    if arguments.output is not None:
        write_results("bench_gpu", "Training on a GPU", text, arguments.output)


if __name__ == "__main__":
    main()
