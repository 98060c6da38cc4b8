"""Damage files of weights and checkpoints at random, and see that nobody is told anything but the truth.

    python tests/long/damage_files.py --rounds 100000 --seed 1

A file with damaged bytes gives one ValueError that names it, or still says what it said. A file whose checksums are
right although its content makes no sense gives such an error, or a model; never another error, and never a crash.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from tasks import TASKS, make_task, our_estimator

from sknn_scratch import EarlyStopping, ModelCheckpoint

CONFIGURATIONS = [
    {},
    {"early_stopping": True, "dropout": 0.2, "average": 2},
    {"solver": "sgd", "learning_rate": "adaptive", "shuffle": False, "input_noise": 0.1},
    {"solver": "nadam", "batch_size": 20, "random_state": np.random.RandomState(0)},
]
# What stands where something else was; JSON holds no more than this.
NONSENSE = [None, True, -1, 0, 2**31, 2**63, 10**40, 1e308, float("nan"), "", "nonsense", [], [[]], {}, {"list": [1]}]


class Format:
    """A kind of file: how one is written, and read into a model that can be compared."""

    def __init__(self, name, path):
        self.name, self.path = name, path

    def write(self, task, parameters):
        """Write a file, and remember what a model that reads it is like."""
        self._task, self._parameters = task, {"max_iter": 2, **parameters}
        self.model = our_estimator(task, **self._parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.set_callbacks(EarlyStopping("loss", restore_best=True), ModelCheckpoint(self.path))
            self.model.fit(*make_task(task))
        if self.name == "weights":
            self.model.save_weights(self.path)
        else:
            self._parameters["max_iter"] = 3
            self.model = self.read()
        return self.path.read_bytes()

    def read(self):
        model = our_estimator(self._task, **self._parameters)
        if self.name == "weights":
            return model.load_weights(self.path)
        model.set_callbacks(EarlyStopping("loss", restore_best=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(*make_task(self._task), resume_from=self.path)

    def is_same(self, model):
        X = make_task(self._task)[0]
        return (
            all(np.array_equal(a, b) for a, b in zip(model.coefs_, self.model.coefs_, strict=True))
            and np.array_equal(model.predict(X), self.model.predict(X))
            and (self.name == "weights" or model.loss_curve_ == self.model.loss_curve_)
        )


def damaged(content, rng):
    """Return the bytes with a few bits turned, a part missing, doubled or overwritten, or something after them."""
    content = bytearray(content)
    start, end = sorted(rng.randint(0, len(content) + 1, 2))
    kind = rng.randint(8)
    if kind <= 2:
        for _ in range(rng.randint(1, 8)):
            content[rng.randint(len(content))] ^= 1 << rng.randint(8)
    elif kind == 3:
        del content[start:]
    elif kind == 4:
        del content[start : min(end, start + 100)]
    elif kind == 5:
        content[start:start] = content[start : start + 100]
    elif kind == 6:
        content[start : start + 30] = rng.bytes(len(content[start : start + 30]))
    else:
        content += rng.bytes(rng.randint(1, 100))
    return bytes(content)


def foreign(path, rng):
    """Change something in the content of a file, and make its checksums right."""
    with np.load(path) as file:
        arrays = dict(file)
    name = rng.choice(sorted(arrays))
    if name == "text":
        facts = json.loads(arrays[name].tobytes())
        facts = changed(facts, rng)
        arrays[name] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    else:
        arrays[name] = changed_array(arrays[name], rng)
        if arrays[name] is None:
            del arrays[name]
    with path.open("wb") as file:
        np.savez(file, **arrays)


def changed(value, rng):
    """Return JSON with something else in one place."""
    if isinstance(value, dict | list) and value and rng.rand() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[rng.randint(len(keys))]
        if rng.rand() < 0.05:
            del value[key]
        else:
            value[key] = changed(value[key], rng)
        return value
    return NONSENSE[rng.randint(len(NONSENSE))]


def changed_array(array, rng):
    """Return an array of another shape, dtype or content, or None."""
    kind = rng.randint(7)
    if kind == 0:
        return None
    if kind == 1:
        return array.reshape(-1)[: rng.randint(array.size + 1)]
    if kind == 2:
        return array[np.newaxis]
    if kind == 3 and array.dtype.kind != "U":
        return array.astype(rng.choice(["f4", "f8", "f2", "i1", "i8", "u4", ">f8", "U3", "?"]))
    array = np.array(array)
    if array.size and array.dtype.kind in "fiu":
        values = [np.nan, np.inf, 1e30, -1] if array.dtype.kind == "f" else [0, -1, 10**9, 2**62]
        array.reshape(-1)[rng.randint(array.size)] = np.array(values[rng.randint(4)]).astype(array.dtype)
    return array


def check(kind, rng, folder, n_files):
    """Damage ``n_files`` copies of one file; return what became of them, as counts."""
    fmt = Format(kind, Path(folder) / f"file of {kind}")
    task, parameters = TASKS[rng.randint(len(TASKS))], CONFIGURATIONS[rng.randint(len(CONFIGURATIONS))]
    whole = fmt.write(task, parameters | {"engine": ("numpy", "auto")[rng.randint(2)]})
    assert fmt.is_same(fmt.read())
    counts = Counter()
    for _ in range(n_files):
        is_foreign = rng.rand() < 0.5
        if is_foreign:
            fmt.path.write_bytes(whole)
            with np.errstate(all="ignore"):
                foreign(fmt.path, rng)
        else:
            fmt.path.write_bytes(damaged(whole, rng))
        how = f"{kind}, {'foreign' if is_foreign else 'damaged'}"
        try:
            model = fmt.read()
        except ValueError as error:
            # Numbers that are finite may still be too large to be trained further.
            assert str(fmt.path) in str(error) or "diverged" in str(error), error  # noqa: PT017
            counts[f"{how}: refused"] += 1
        else:
            assert is_foreign or fmt.is_same(model), f"{kind}: another model, {task}, {parameters}"
            counts[f"{how}: read"] += 1
    return counts


def main(rounds, seed):
    rng, counts = np.random.RandomState(seed), Counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(-(-rounds // 50)):
                counts += check(("weights", "checkpoints")[number % 2], rng, folder, 50)
    finally:  # Ctrl-C ends it with the counts so far
        for how, count in sorted(counts.items()):
            print(f"{count:8}  {how}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
