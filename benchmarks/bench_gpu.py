"""Training on a GPU: whether its numbers are the reference's, and what a step and a large fit take.

A step of ours, a whole epoch with all transfers divided by its minibatches, stands beside the usual loop of PyTorch
(autograd, fused Adam, the samples on the GPU); the same step written by hand for this one network and captured as a
graph, which is what can be had; its bare matrix products as a graph; and scikit-learn and the compiled engine on the
cores of the machine. In the first row, an epoch of digits, only eight steps share the transfers. Then comes a fit of
1,000,000 x 100 samples, with the samples on the GPU and streamed to it, and its predictions; on the cores, it is
extrapolated from some steps. Then the kernels that a step spends its time in. Samples are float32, as TF32 is off.

Each part ends after its seconds at the latest; what is measured until then, or until it fails, is printed and written
all the same. At the end stands what was asked for, and whether it was reached.

    python benchmarks/bench_gpu.py --output benchmarks    under four minutes on a GPU; writes RESULTS.md
    python benchmarks/bench_gpu.py --quick                all parts, small, within a minute; always so without a GPU
    python benchmarks/bench_gpu.py --only checks
"""

import faulthandler
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from common import ENGINES, conditions, make_parser, seconds, table, write_results
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor
from sknn_scratch.catalogue.activations import ACTIVATIONS, ReLU
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, LogLoss
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, Adam
from sknn_scratch.engines import start
from sknn_scratch.perceptron import Perceptron, layer_views
from sknn_scratch.training.job import Job

torch = import_module("torch") if find_spec("torch") else None  # --help goes without it
ON_GPU = torch is not None and torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
SELECT = {"device": "cuda"} if ON_GPU else {"engine": "torch"}
PROBLEMS = [  # layers, rows of a minibatch, minibatches of an epoch, whether it is timed on the cores too
    ([64, 100, 10], 200, 100, True),
    ([100, 512, 512, 10], 4096, 40, True),
    ([100, 512, 512, 10], 200, 100, True),
    ([784, 256, 128, 10], 200, 100, True),
    ([64, 100, 10], 200, 8, False),
    ([1000, 2048, 2048, 10], 1024, 100, False),
]
QUICK = [([64, 100, 10], 200, 8, True), ([100, 64, 64, 10], 512, 4, True)]
# What is asked for: the largest ratio of our step to the one by hand, the least of the usual loop's to ours up to so
# wide a layer, and the least of scikit-learn's large fit to ours. The first is asked of epochs of so many steps.
MOST_OF_BY_HAND, LEAST_OF_LOOP, UP_TO_WIDTH, LEAST_OF_FIT, MANY_STEPS = 1.3, 4.0, 512, 30.0, 20
SECONDS = {"checks": 40, "steps": 100, "fit": 60, "kernels": 20}
# Epochs of the large fit, and minibatches of an epoch from which it is extrapolated on the cores.
EPOCHS, SOME_STEPS = 10, 20


class Report:
    """What is measured: printed at once, and written to RESULTS.md after each part."""

    def __init__(self, head: str, folder: Path | None):
        self.texts, self.figures, self._folder = [head], [], folder
        print(head, flush=True)

    def ask(self, what: str, value: float, relation: str, limit: float) -> None:
        """Note a figure that is asked for of a GPU."""
        reached = value <= limit if relation == "at most" else value >= limit
        verdict = ("reached" if reached else "MISSED") if ON_GPU else "not asked here"
        self.figures.append([what, f"{value:.3g}", f"{relation} {limit:g}", verdict])
        print(f"    {' | '.join(self.figures[-1])}", flush=True)

    def measure(self, part: str, columns: list[str], rows: Iterator[list[str]]) -> None:
        """Make a table of a part, whose rows come one by one, until it ends, fails or has used up its time."""
        print(f"\n{part}: {' | '.join(columns)}", flush=True)
        began, got, note = time.perf_counter(), [], ""
        with_alarm = hasattr(signal, "setitimer")
        if with_alarm:
            signal.signal(signal.SIGALRM, partial(out_of_time, part))
            signal.setitimer(signal.ITIMER_REAL, SECONDS[part], 2)  # again, should it be caught elsewhere
        try:
            for row in rows:
                got.append(row)
                print("  " + " | ".join(row), flush=True)
        except Exception as error:  # a GPU is lent for minutes, and the other parts are of use too
            traceback.print_exc()
            note = f"\nThis part ended early: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}\n"
        finally:
            if with_alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)
            self.texts.append(f"{table(columns, got)}\n{note}")
            self.write()
        print(f"  ({time.perf_counter() - began:.0f} seconds)", flush=True)

    def write(self) -> None:
        """Write what is known so far, if it is to be written."""
        if self._folder is not None:
            write_results("bench_gpu", "Training on a GPU", self.text(), self._folder)

    def text(self) -> str:
        """Return all of it."""
        figures = table(["asked for", "got", "wanted", ""], self.figures)
        return "\n".join([*self.texts, figures if self.figures else "Nothing was compared."])


def out_of_time(part: str, *_) -> None:
    """End a part."""
    raise TimeoutError(f"{part} took more than {SECONDS[part]} seconds")


def synchronize() -> None:
    """Wait for the GPU."""
    if ON_GPU:
        torch.cuda.synchronize()


def microseconds(run: Callable, n_steps: int, rounds: int) -> float:
    """Return the time of a step in the best round, after three rounds in which graphs are captured."""
    for _ in range(3):
        run()
    synchronize()

    def timed() -> None:
        run()
        synchronize()

    return min(seconds(timed) for _ in range(rounds)) / n_steps * 1e6


def graph_of(run: Callable) -> Callable:
    """Return a function that replays what a function does, or the function where there are no graphs."""
    if not ON_GPU:
        return run
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        run()
    return graph.replay


# The numbers ----------------------------------------------------------------------------------------------------------


def check(report: Report) -> Iterator[list[str]]:
    """Yield the largest difference between the coefficients of both engines, relative to the largest of a layer."""
    rng = np.random.RandomState(0)
    X, labels = rng.randn(1000, 20), rng.randint(5, size=1000)
    weights, targets = rng.randint(3, size=1000).astype(float), np.exp(0.3 * X[:, :2])
    weights[:200] = 0  # some minibatches have no weight at all
    of_class, of_regressor = MLPFromScratchClassifier, MLPFromScratchRegressor
    cases = [(of_class, options) for options in [{}, {"dropout": 0.2, "input_noise": 0.1}, {"solver": "lbfgs"}]]
    cases += [(of_class, {"alpha": 0.1, "l1_ratio": 0.5, "max_grad_norm": 0.1})]
    cases += [(of_class, {"early_stopping": True, "average": 2, "shuffle": False})]
    cases += [(of_class, {"solver": name}) for name in OPTIMIZERS]
    cases += [(of_class, {"loss": name}) for name in CLASSIFIER_LOSSES]
    cases += [(of_regressor, {"loss": name}) for name in REGRESSOR_LOSSES]
    cases += [(of_class, {"activation": name}) for name in ACTIVATIONS]
    wanted = {"float64": 1e-9, "float32": 1e-3}
    worst, n_done = dict.fromkeys(wanted, (0.0, "")), 0
    try:
        for cls, options in cases:
            for dtype in wanted:
                y = labels if cls is of_class else targets.astype(dtype)
                difference = largest_difference(cls, options, X.astype(dtype), y, weights)
                if difference > wanted[dtype]:
                    print(f"  {cls.__name__}, {options}, {dtype}: {difference:.0e}", flush=True)
                worst[dtype] = max(worst[dtype], (difference, f"{cls.__name__}, {options}"))
            n_done += 1
    except TimeoutError:
        print(f"  {n_done} of {len(cases)} models in the time there is", flush=True)
    for dtype, limit in wanted.items():
        report.ask(f"{dtype}: coefficients of {n_done} models differ by", worst[dtype][0], "at most", limit)
        yield [dtype, f"{n_done} of {len(cases)}", f"{worst[dtype][0]:.0e}", worst[dtype][1]]


def largest_difference(cls, options, X, y, weights) -> float:
    """Return by how much the coefficients of both engines differ, infinity where one has NaN."""
    sizes = {"max_iter": 5} if options.get("solver") == "lbfgs" else {"max_iter": 4, "batch_size": 30}
    settings = {"hidden_layer_sizes": (30, 20), "random_state": 0, **sizes, **options}
    models = [cls(**settings, **selected).fit(X, y, weights) for selected in ({"engine": "numpy"}, SELECT)]
    pairs = zip(*(model.coefs_ for model in models), strict=True)
    largest = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
    return largest if np.isfinite(largest) else np.inf


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
    X = np.random.default_rng(0).standard_normal((n_rows, units[0]), dtype=np.float32)
    y = np.eye(units[-1], dtype=np.float32)
    y = np.asfortranarray(y[rng.randint(units[-1], size=n_rows)])
    device = DEVICE if engine == "torch" else "cpu"
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
        t.add_(1)
        settings = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
        torch._fused_adam_([w], [g], [m], [v], [], [t], lr=rate, **settings)

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


def measure_steps(report: Report, problems, rounds: int) -> Iterator[list[str]]:
    """Yield the rows of the table of steps."""
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
                times[name] = microseconds(partial(epoch, run), n_steps, rounds)
        if on_cores:
            times["scikit-learn"] = sklearn_steps(units, batch_size, n_steps)
            started, epoch = ours(units, batch_size, n_steps, 0.0, ENGINES[-1])
            with started as run:
                times["cores"] = min(seconds(partial(epoch, run)) for _ in range(3)) / n_steps * 1e6
        name = f"{'-'.join(map(str, units))}, batch {batch_size}, {n_steps} steps"
        of_hand, of_loop = times["ours"] / times["by hand"], times["usual loop"] / times["ours"]
        columns = ("usual loop", "by hand", "products", "ours", "ours, alpha", "scikit-learn", "cores")
        figures = [f"{times[c]:,.0f}" if c in times else "" for c in columns]
        yield [name, *figures, f"{of_hand:.2f}", f"{of_loop:.1f}"]
        if n_steps >= MANY_STEPS or not ON_GPU:
            report.ask(f"{name}: ours / by hand", of_hand, "at most", MOST_OF_BY_HAND)
        least, of_products = (
            LEAST_OF_LOOP if max(units[1:]) <= UP_TO_WIDTH else 1,
            times["usual loop"] / times["products"],
        )
        report.ask(f"{name}: usual loop / ours (/ products {of_products:.1f})", of_loop, "at least", least)


# A large fit ----------------------------------------------------------------------------------------------------------


def measure_fit(report: Report, quick: bool) -> Iterator[list[str]]:
    """Yield the rows of the table of a large fit."""
    n_rows, hidden, batch_size, n_epochs = (20_000, (64, 64), 1000, 3) if quick else (10**6, (512, 512), 4096, EPOCHS)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 100), dtype=np.float32)
    y = (X[:, :10] + 0.5 * rng.standard_normal((n_rows, 10), dtype=np.float32)).argmax(1)
    settings = {"hidden_layer_sizes": hidden, "batch_size": batch_size, "random_state": 0, "tol": 0}
    small = MLPFromScratchClassifier(**settings | {"max_iter": 2}, **SELECT)
    small.fit(X[: 2 * batch_size], y[: 2 * batch_size])  # what is prepared once in a process
    times, models = {}, {}
    for name, n_made in (("on the device", n_epochs), ("streamed", 3)):
        models[name] = model = MLPFromScratchClassifier(**settings, max_iter=n_made, **SELECT)
        fit = partial(fit_streamed, model) if name == "streamed" else model.fit
        times[name] = seconds(partial(fit, X, y))
        score = float(np.mean(model.predict(X[:10_000]) == y[:10_000]))
        yield [f"fit of {n_made} epochs, {name}", f"{times[name]:.2f}", f"{score:.4f}", f"{model.loss_:.6f}"]
    n_steps, n_some = -(-n_rows // batch_size), min(SOME_STEPS, n_rows // batch_size)
    on_cores = {
        "scikit-learn": MLPClassifier(**settings, max_iter=2),
        f"cores, {ENGINES[-1]}": MLPFromScratchClassifier(**settings, max_iter=2, engine=ENGINES[-1]),
    }
    for name, model in on_cores.items():
        some = n_some * batch_size
        times[name] = seconds(lambda: model.fit(X[:some], y[:some])) / (2 * n_some) * n_steps * n_epochs  # noqa: B023
        yield [f"fit of {n_epochs} epochs, {name} (from {2 * n_some} steps)", f"{times[name]:.1f}", "", ""]
    ratio = times["scikit-learn"] / times["on the device"]
    report.ask(f"{n_rows:,} x 100, {n_epochs} epochs: scikit-learn / ours", ratio, "at least", LEAST_OF_FIT)
    yield from measure_prediction(report, models["on the device"].perceptron, X)


def measure_prediction(report: Report, network: Perceptron, X) -> Iterator[list[str]]:
    """Yield the time of predictions there and here."""
    torch_run, outputs = import_module("sknn_scratch.engines.torch.run"), {}
    for name, run in {
        "on the device": lambda: torch_run.raw_output(network, X, None, DEVICE, True),
        "cores": lambda: network.raw_output(X, check_finite=True),
    }.items():
        run()
        began = time.perf_counter()
        outputs[name] = run()
        yield [f"predict, {name}", f"{time.perf_counter() - began:.3f}", "", ""]
    difference = np.abs(np.subtract(*outputs.values())).max() / np.abs(outputs["cores"]).max()
    report.ask("predictions differ by", float(difference), "at most", 1e-4)


def fit_streamed(model, X, y) -> None:
    """Fit with the least memory of the device that suffices, too little for all of X."""
    torch_run = import_module("sknn_scratch.engines.torch.run")
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


# Kernels --------------------------------------------------------------------------------------------------------------


def measure_kernels(problems) -> Iterator[list[str]]:
    """Yield the kernels in which a step of ours spends its time, as the profiler of PyTorch has it."""
    activities = torch.profiler.ProfilerActivity
    for units, batch_size, n_steps, on_cores in problems:
        if not on_cores:
            continue
        started, epoch = ours(units, batch_size, n_steps, 0.0)
        with started as run:
            for _ in range(3):
                epoch(run)
            with torch.profiler.profile(activities=[activities.CUDA if ON_GPU else activities.CPU]) as profile:
                epoch(run)
        time_of = "self_device_time_total" if ON_GPU else "self_cpu_time_total"
        took_time = [one for one in profile.key_averages() if getattr(one, time_of) > 0]
        found = sorted(took_time, key=lambda one: -getattr(one, time_of))
        name = f"{'-'.join(map(str, units))}, batch {batch_size}"
        total, count = sum(getattr(one, time_of) for one in found), sum(one.count for one in found)
        yield [f"{name}: all", f"{count / n_steps:.1f}", f"{total / n_steps:.1f}"]
        for one in found[:12]:
            kernel = one.key.replace("|", "/")[:60]
            yield [f"{name}: {kernel}", f"{one.count / n_steps:.1f}", f"{getattr(one, time_of) / n_steps:.1f}"]


def main() -> None:
    """Run what the command line says."""
    parser = make_parser(__doc__)
    parser.add_argument("--only", choices=[*SECONDS, "compile"], help="a part of it; compile: only the compiled engine")
    arguments = parser.parse_args()
    if torch is None:
        parser.error("this benchmark needs PyTorch")
    if arguments.only == "compile":
        with ours([2, 2, 2], 2, 1, 0.0, ENGINES[-1])[0]:
            return
    quick, began = arguments.quick or not ON_GPU, time.perf_counter()
    warnings.simplefilter("ignore", ConvergenceWarning)
    faulthandler.dump_traceback_later(sum(SECONDS.values()) + 15, exit=True)  # nothing else ends a process that hangs
    # Meanwhile, the numbers are checked, which is not timed.
    compiling = subprocess.Popen([sys.executable, __file__, "--only", "compile"])
    if not ON_GPU:
        torch.set_num_threads(1)  # on a busy machine several wait for each other
    torch.set_float32_matmul_precision("highest")  # some installations have TF32 on
    name = torch.cuda.get_device_name() if ON_GPU else "PyTorch's CPU device, as there is no GPU"
    report = Report(f"{conditions()} GPU: {name}; CUDA {torch.version.cuda}.\n", arguments.output)
    of_steps = ["usual loop", "by hand, graph", "products, graph", "ours", "ours, alpha=1e-4", "scikit-learn"]
    of_steps = ["microseconds a step", *of_steps, ENGINES[-1], "ours / by hand", "usual loop / ours"]
    problems, rounds = QUICK if quick else PROBLEMS, arguments.rounds or (3 if quick else 10)
    parts = {
        "checks": (["numbers", "models", "differ by", "most"], check(report)),
        "steps": (of_steps, measure_steps(report, problems, rounds)),
        "fit": (["seconds", "takes", "accuracy", "loss"], measure_fit(report, quick)),
        "kernels": (["microseconds a step", "calls", "time"], measure_kernels(problems)),
    }
    for part in [arguments.only] if arguments.only else parts:
        if part != "checks":
            with suppress(subprocess.TimeoutExpired):
                compiling.wait(45)
        report.measure(part, *parts[part])
    compiling.kill()
    print(f"\n{report.text()}\n\n{time.perf_counter() - began:.0f} seconds")
    report.write()


if __name__ == "__main__":
    main()
