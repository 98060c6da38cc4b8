"""``python -m sknn_scratch compile``: make the compiled engine's code beforehand, for images and CI."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from itertools import product

import numpy as np
from scipy.sparse import csr_array

from sknn_scratch import engines
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, LogLoss, Loss, Quantile, SquaredError
from sknn_scratch.catalogue.optimizers import OPTIMIZERS, Adam
from sknn_scratch.estimators.tabular.classifier import SMOOTHING
from sknn_scratch.perceptron import Perceptron
from sknn_scratch.training.bars import start_bar
from sknn_scratch.training.coded_matrix import CodedMatrix, Coding
from sknn_scratch.training.job import Job


def _losses() -> Iterator[Loss]:
    """Go through the losses of all estimators, those of classifiers for two classes and for several."""
    of_classes = [*(cls() for cls in CLASSIFIER_LOSSES.values()), LogLoss(SMOOTHING)]  # each smoothing has own kernels
    of_numbers = [*(cls() for cls in REGRESSOR_LOSSES.values()), Quantile([0.1, 0.9])]
    for loss, multiclass in [*product(of_classes, (False, True)), *product(of_numbers, (False,))]:
        loss = copy(loss)
        loss.start(multiclass)
        yield loss


def _jobs() -> Iterator[Job]:
    """Go through jobs that have, together, all components in both dtypes, dropout, and samples of every kind."""
    squared_error = SquaredError()
    components = [(ACTIVATIONS["relu"], loss, Adam) for loss in _losses()]
    components += [(activation, squared_error, Adam) for activation in ACTIVATIONS.values()]
    components += [(ACTIVATIONS["relu"], squared_error, optimizer) for optimizer in OPTIMIZERS.values()]
    for dtype in (np.float64, np.float32):
        for make_activation, loss, make_optimizer in components:
            network = Perceptron([2, 2, loss.n_raw_outputs(2)], [make_activation()], loss.link, dtype)
            optimizer = make_optimizer()
            optimizer.start(network.parameters.size, network.dtype, network.n_weights)
            X, y = np.zeros((4, 2), dtype), np.ones((4, 2), dtype, order="F")
            job = Job(network, loss, X, y, batch_size=4, optimizer=optimizer)
            yield job
        coded = CodedMatrix(X[:, :1], np.zeros((4, 1), np.int32), X[:, :1], Coding(np.array([0, 1]), X[0, :1]))
        yield replace(job, dropout=[0.5, 0.5])
        yield from (replace(job, X=samples) for samples in (csr_array(X), coded))


def compile_all() -> int:
    """Compile all components in both dtypes, with a bar or lines on stderr; return how many jobs that took."""
    jobs = list(_jobs())
    bar = start_bar(len(jobs), "component")
    for done, job in enumerate(jobs, 1):
        if engines.choose("numba", job, 1) == "numba":
            with engines.start("numba", job):
                pass
        bar.advance(done, "compiled")
    bar.close()
    return len(jobs)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sknn_scratch")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("compile", help="compile all activations, losses and solvers and keep the code on disk")
    parser.parse_args(arguments)
    compile_all()


if __name__ == "__main__":
    main()
