"""Kill fits at random moments and go on from their checkpoints, to the same bits as if nothing had happened.

    python tests/long/kill_fits.py --kills 1000 --seed 1

Half of the fits are killed as by a power cut (SIGKILL), half interrupted as by Ctrl-C (SIGINT), which leaves a model.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # so that there is one thread, and it can be forked

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from tasks import TASKS, make_task, our_estimator

from sknn_scratch import Cosine, EarlyStopping, ModelCheckpoint

CONFIGURATIONS = [
    {},
    {"early_stopping": True, "dropout": 0.2, "average": 2, "scoring": "loss"},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
    {"solver": "nadam", "learning_rate": Cosine(), "batch_size": 20, "input_noise": 0.1},
    {"solver": "adamw", "shuffle": False, "max_grad_norm": 0.5},
]
N_EPOCHS = 40
SURVIVED, NO_MODEL = 0, 3


def make_model(task, parameters, path=None):
    model = our_estimator(task, **{"tol": 0, "max_iter": N_EPOCHS, "engine": "numpy", **parameters})
    saving = [] if path is None else [ModelCheckpoint(path)]
    return model.set_callbacks(EarlyStopping("loss", patience=40, restore_best=True), *saving)


def numbers(model):
    return np.concatenate([*(w.ravel() for w in model.coefs_ + model.intercepts_), model.loss_curve_])


def fit(task, parameters, path):
    """Fit in the child: it goes on from the checkpoint, if there is one."""
    model = make_model(task, parameters, path)
    model.fit(*make_task(task), resume_from=path if path.exists() else None)
    return model


def killed(task, parameters, path, seconds, sent):
    """Fit in a process of its own and end that after so many seconds; return its exit status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = NO_MODEL
        try:
            os.close(reading)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(writing, b"!")
            model = fit(task, parameters, path)
            status = SURVIVED if hasattr(model, "coefs_") else NO_MODEL
        finally:
            os._exit(status)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    time.sleep(seconds)
    os.kill(child, sent)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(rng, folder, n_kills):
    """Kill one fit again and again, then let it end; return what happened, as counts."""
    task, parameters = TASKS[rng.randint(len(TASKS))], CONFIGURATIONS[rng.randint(len(CONFIGURATIONS))]
    path, counts = Path(folder) / "checkpoint", Counter()
    path.unlink(missing_ok=True)
    expected = make_model(task, parameters).fit(*make_task(task))
    begin = time.perf_counter()
    fit(task, parameters, path)
    duration = time.perf_counter() - begin
    path.unlink()
    for _ in range(n_kills):
        sent = (signal.SIGKILL, signal.SIGINT)[rng.randint(2)]
        before = path.stat().st_mtime_ns if path.exists() else 0
        status = killed(task, parameters, path, rng.uniform(0, 2 * duration / n_kills), sent)
        went_on = path.exists() and path.stat().st_mtime_ns > before
        counts[f"{sent.name}, {'after' if went_on else 'without'} another checkpoint"] += 1
        if sent == signal.SIGINT:
            # Before the first epoch, where nothing is learnt, Ctrl-C ends the fit like any other code.
            assert status == SURVIVED or (status == NO_MODEL and not went_on), "a model was lost"
    resumed = fit(task, parameters, path)
    assert np.array_equal(numbers(resumed), numbers(expected)), (task, parameters)
    left = [file.name for file in path.parent.iterdir() if file != path]
    assert not left, left
    counts["fits that ended as if nothing had happened"] += 1
    return counts


def main(kills, seed):
    warnings.simplefilter("ignore")
    rng, counts = np.random.RandomState(seed), Counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(-(-kills // 10)):
                counts += check(rng, folder, 10)
    finally:  # Ctrl-C ends it with the counts so far
        for what, count in sorted(counts.items()):
            print(f"{count:8}  {what}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
