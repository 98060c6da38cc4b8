"""Fit random valid configurations with both engines, and compare what they learn.

    python tests/long/random_configurations.py --rounds 1000 --seed 1

Each draw is an estimator with random parameters (those of tests/test_random_configurations.py), samples in a random
form, and weights. Both engines must reach the same losses, up to rounding and what it leads to; a second fit, in
another thread, must have the same bits, and so must a copy that went through pickle. A fit that diverges must do so
in both. tests/test_trust_engines.py does a few.
"""

import argparse
import pickle
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
import cloudpickle
from tasks import CLASSIFICATION, TASKS, make_task
from test_random_configurations import configurations

from sknn_scratch import MLPFromScratchClassifier, MLPFromScratchRegressor

# Relative to the largest loss: rounding grows over four epochs.
TOLERANCE = {np.float64: 1e-6, np.float32: 1e-3}
# Where a step goes by a sign (of an error, of a weight under L1, of a gradient in Adam) that is that of a rounding
# error, engines go different ways, each as good.
AT_A_KINK = 0.1


@st.composite
def cases(draw):
    """Draw an estimator and what it is fitted on."""
    task = draw(st.sampled_from(TASKS))
    parameters = draw(configurations(task))
    X, y = (array[:60] for array in make_task(task))
    if task not in CLASSIFICATION:
        y = np.abs(y) + 0.1  # which every loss takes
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    kinds = [np.asarray, np.asfortranarray]
    if not parameters.get("input_noise"):
        kinds += [sparse.csr_matrix, sparse.csc_array]
    X = draw(st.sampled_from(kinds))(X.astype(dtype))
    weight = draw(st.none() | st.just(np.arange(len(y)) % 4.0))
    model = (MLPFromScratchClassifier if task in CLASSIFICATION else MLPFromScratchRegressor)(**parameters)
    return model, X, y, weight, dtype


def fitted(model, *data):
    """Return the fitted model, or None if training diverged."""
    try:
        return model.fit(*data)
    except ValueError as error:
        assert "Training diverged" in str(error), error  # noqa: PT017
        return None


def numbers(model):
    return np.concatenate([*(w.ravel() for w in model.coefs_ + model.intercepts_), model.loss_curve_])


def compare(model, X, y, weight, dtype):
    """Fit with both engines; return what happened."""
    models = [fitted(clone(model).set_params(engine=name), X, y, weight) for name in ("numpy", "numba")]
    if None in models:
        # At the edge of the largest numbers rounding may decide.
        return "diverged in both" if models == [None, None] else "diverged in one"
    for one in models:
        again = []
        thread = threading.Thread(target=lambda one=one, again=again: again.append(clone(one).fit(X, y, weight)))
        thread.start()
        thread.join()
        assert np.array_equal(numbers(again[0]), numbers(one)), f"other bits: {model}"
        copy = pickle.loads(cloudpickle.dumps(one))
        assert np.array_equal(copy.predict(X), one.predict(X)), f"another model from pickle: {model}"
    curves = [np.array(one.loss_curve_, dtype=float) for one in models]
    if models[1].engine_ == "numpy":
        return "not compiled, and said so"
    if len(curves[0]) != len(curves[1]):
        return "the same losses, but stopped by rounding at another epoch"
    size = max(1e-3, np.abs(curves[0]).max(initial=0))
    difference = np.abs(curves[1] - curves[0]).max(initial=0) / size
    assert difference <= AT_A_KINK, f"other losses: {model}, {curves}"
    return "the same losses" if difference <= TOLERANCE[dtype] else "losses that part at a kink"


def check(rounds, seed_of_draws, counts):
    """Add to the counts what happened to so many draws."""

    @seed(seed_of_draws)
    @settings(
        max_examples=rounds, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(case=cases())
    def count(case):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parameters that are not used, and training that is not over
            counts[compare(*case)] += 1

    count()


def main(rounds, seed_of_draws):
    counts = Counter()
    try:
        check(rounds, seed_of_draws, counts)
    finally:  # Ctrl-C ends it with the counts so far
        for what, count in sorted(counts.items()):
            print(f"{count:8}  {what}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, dest="seed_of_draws")
    main(**vars(parser.parse_args()))
