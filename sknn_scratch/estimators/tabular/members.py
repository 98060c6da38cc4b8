"""The members of the ensemble: jobs for an engine, trained in lockstep, of which one epoch is chosen for all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed

from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.initializers import HeNormal, LecunNormal, Normal, Uniform, Zeros
from sknn_scratch.catalogue.losses import Loss
from sknn_scratch.catalogue.optimizers import AdamW
from sknn_scratch.catalogue.schedules import Cosine
from sknn_scratch.engines import choose, raw_output, start
from sknn_scratch.engines.threads import for_each_in_threads, one_blas_thread
from sknn_scratch.estimators.tabular.weights import Criterion
from sknn_scratch.perceptron import Perceptron, layer_views
from sknn_scratch.training.coded_matrix import CodedMatrix, Coding
from sknn_scratch.training.job import Job
from sknn_scratch.training.progress import Listener, Outcome

# Rows of a minibatch for members with fewer training samples than the first number.
BATCH_SIZES = ((500, 32), (1000, 64), (2000, 128), (20000, 256), (np.inf, 512))
# The second moment forgets sooner than by default: 0.999 looks back on more steps than some of these fits have.
BETA_1, BETA_2 = 0.9, 0.95
# Rows of codes that are looked at as a dense matrix at once.
ROWS_AT_ONCE = 256
# Numbers of the members' widest layer for a chunk of rows that are predicted together, which stay in the cache.
CHUNK_SIZE = 2**17
# Share of the epochs in which the rate rises, and epochs without a better one after which training ends.
WARM_UP, PATIENCE = 1 / 16, 12


class View:
    """Trained members, which predict together.

    What they give for a sample does not depend on which others are predicted at the same time, but for the rounding of
    float64. In float32 that would show, so only the sums of codes are computed in it, one sample after the other.

    ``parameters``, of shape (n_members, n_parameters), are rounded to float16 unless some are too large for it: that
    changes predictions by some 1e-4 standard deviations of the target, errors by 1e-5 of themselves, and files are half
    as large.
    """

    def __init__(self, layer_units: list[int], parameters: NDArray, activation: str):
        self.layer_units, self.activation = layer_units, activation
        fits = np.abs(parameters).max() <= np.finfo(np.float16).max
        self.parameters = parameters.astype(np.float16 if fits else np.float32)
        self._layers: tuple[NDArray | None, list[NDArray], list[NDArray]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_layers": None}

    def outputs(self, Z: NDArray | CodedMatrix) -> NDArray:
        """Return the members' raw outputs, of shape (n_samples, n_members, n_outputs); ``Z`` is in float64."""
        if self._layers is None:
            self._layers = self._side_by_side(Z.coding if isinstance(Z, CodedMatrix) else None)
        at_edges, weights, biases = self._layers
        output = np.empty((len(Z), *biases[-1].shape))

        def predict_chunk(first: int) -> None:
            some = Z[first : first + chunk]
            if isinstance(some, CodedMatrix):
                z = some.plain @ weights[0]
                z += some.shares(np.float32) @ at_edges
            else:
                z = some @ weights[0]
            z = z.reshape(len(some), *biases[0].shape)
            z += biases[0]
            for W, b in zip(weights[1:], biases[1:], strict=True):
                a = activate(z)
                z = np.empty((len(some), *b.shape))
                np.matmul(a.transpose(1, 0, 2), W, out=z.transpose(1, 0, 2))
                z += b
            output[first : first + chunk] = z

        activate = ACTIVATIONS[self.activation]().value
        chunk = max(1, CHUNK_SIZE // max(b.size for b in biases))
        for_each_in_threads(predict_chunk, range(0, len(Z), chunk), len(Z) * sum(W.size for W in weights))
        return output

    def _side_by_side(self, coding: Coding | None) -> tuple[NDArray | None, list[NDArray], list[NDArray]]:
        """Return the layers of all members in float64: the first as one matrix, the others stacked.

        Of weights for codes, what they sum up to at each edge comes before, in float32.
        """
        views = [layer_views(parameters, self.layer_units) for parameters in self.parameters.astype(np.float64)]
        weights, biases = (
            [np.stack(layer) for layer in zip(*of_all, strict=True)] for of_all in zip(*views, strict=True)
        )
        first = np.concatenate(weights[0], axis=1)
        if coding is None:
            return None, [first, *weights[1:]], biases
        n_plain = len(first) - len(coding.means)
        with one_blas_thread():
            at_edges = coding.at_edges(first[n_plain:]).astype(np.float32)
        return at_edges, [first[:n_plain].copy(), *weights[1:]], biases


@dataclass(frozen=True)
class Best:
    """The best epoch so far, from 1 on, the members at its end, and their raw output for the samples held out."""

    epoch: int
    view: View
    output: NDArray


class _Member:
    """A network that is trained on all folds but one."""

    def __init__(self, job: Job, rows: NDArray, held_out: NDArray, schedule: Cosine, rng: np.random.RandomState):
        self.job, self._rows, self.held_out = job, rows, held_out
        self._schedule, self._rng = schedule, rng

    def train_epoch(self, run: Any) -> NDArray:
        """Train for an epoch and return the raw output for the samples held out."""
        order = self._rng.permutation(self._rows)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # it shows in the output
            run.epoch(order, self._schedule.step_rates(self.job.count_steps(order)))
            self._schedule.epoch_ended(len(order))
            return raw_output(self.job.network, self.job.X, self.held_out, device=self.job.device)


class Training:
    """The training of a view's members, one for each fold, an epoch each in turn; and what came of it.

    It does not depend, to the last bit, on ``settings.n_jobs``. ``Z`` and ``y`` are float32, the latter in Fortran
    order; the loss is started, ``criterion`` compares epochs, and ``settings`` has the estimators' parameters, sizes as
    a list, and ``activation``, a key of ``ACTIVATIONS``.
    """

    def __init__(
        self,
        name: str,
        Z: NDArray | CodedMatrix,
        y: NDArray,
        sample_weight: NDArray | None,
        folds: NDArray,
        loss: Loss,
        criterion: Criterion,
        settings: Any,
        rng: np.random.RandomState,
    ):
        self._name, self._criterion, self._settings = name, criterion, settings
        self._members = _make_members(Z, y, sample_weight, folds, loss, settings, rng)
        n_steps = sum(settings.max_iter * (len(Z) - len(one.held_out)) // one.job.batch_size for one in self._members)
        self.engine = choose(settings.engine, self._members[0].job, n_steps)
        self.loss_curve: list[float] = []  # of the out-of-fold outputs, after each epoch
        self.best: Best | None = None  # as long as no epoch gave finite outputs

    def run(self, listener: Listener | None = None) -> Outcome:
        """Train for ``settings.max_iter`` epochs, or until 12 bring nothing better or the listener stops it.

        Raises ValueError if no epoch gave finite outputs.
        """
        outcome = Outcome.MAX_ITER_REACHED
        try:
            # BLAS with several threads would round differently, and be in the way of the other members.
            with one_blas_thread(), ExitStack() as stack:
                runs: list[Any] = []
                for member in self._members:
                    runs.append(stack.enter_context(start(self.engine, member.job, runs[0] if runs else None)))
                parallel = stack.enter_context(Parallel(n_jobs=self._settings.n_jobs, require="sharedmem"))
                while outcome is Outcome.MAX_ITER_REACHED and len(self.loss_curve) < self._settings.max_iter:
                    if listener is not None:
                        listener.epoch_begins()
                    self._train_epoch(parallel, runs)
                    if listener is not None and listener.epoch_ended():
                        outcome = Outcome.STOPPED
                    elif len(self.loss_curve) - (0 if self.best is None else self.best.epoch) >= PATIENCE:
                        outcome = Outcome.CONVERGED
        except KeyboardInterrupt:
            outcome = Outcome.INTERRUPTED
        del self._members  # with the table, and moments of the optimisers
        if self.best is None and outcome is not Outcome.INTERRUPTED:
            raise ValueError(
                f"Training diverged: no epoch gave finite outputs. Try a learning_rate_init below "
                f"{self._settings.learning_rate_init}."
            )
        return outcome

    def _train_epoch(self, parallel: Parallel, runs: list[Any]) -> None:
        """Train each member for an epoch, and keep them all if together they are better than ever."""
        members, curve = self._members, self.loss_curve
        results = parallel(delayed(one.train_epoch)(run) for one, run in zip(members, runs, strict=True))
        n_samples, n_outputs = members[0].job.X.shape[0], members[0].job.network.layer_units[-1]
        output = np.empty((n_samples, n_outputs), dtype=np.float32)
        for member, result in zip(members, results, strict=True):
            output[member.held_out] = result
        curve.append(self._criterion.loss(output))
        if self._settings.verbose:
            print(f"{self._name}, epoch {len(curve)}: out-of-fold loss = {curve[-1]:.6f}")
        if curve[-1] < (np.inf if self.best is None else curve[self.best.epoch - 1]):
            parameters = np.stack([one.job.network.parameters for one in members])
            view = View(members[0].job.network.layer_units, parameters, self._settings.activation)
            self.best = Best(len(curve), view, output)


def _make_members(
    Z: NDArray | CodedMatrix,
    y: NDArray,
    sample_weight: NDArray | None,
    folds: NDArray,
    loss: Loss,
    settings: Any,
    rng: np.random.RandomState,
) -> list[_Member]:
    n_folds = int(folds.max()) + 1
    units = [Z.shape[1], *settings.hidden_layer_sizes, loss.n_raw_outputs(y.shape[1])]
    mean_square = _mean_square(Z)
    members = []
    for fold, seed in enumerate(rng.randint(2**31, size=n_folds)):
        own_rng = np.random.RandomState(seed)
        rows, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        activations = [ACTIVATIONS[settings.activation]() for _ in units[2:]]
        network = Perceptron(units, activations, loss.link, np.float32)
        network.initialize(*_initializers(units, mean_square), own_rng)
        optimizer = AdamW(BETA_1, BETA_2, weight_decay=settings.weight_decay)
        optimizer.start(network.parameters.size, network.dtype, network.n_weights)
        batch_size = next(size for most, size in BATCH_SIZES if len(rows) < most)
        job = Job(network, loss, Z, y, sample_weight, min(batch_size, len(rows)), optimizer, device=settings.device)
        if settings.dropout:
            job.dropout = [0.0] + [settings.dropout] * (len(units) - 2)
            job.seed = int(own_rng.randint(2**31))
        schedule = Cosine(warm_up=max(1, round(settings.max_iter * WARM_UP)))
        schedule.start(settings.learning_rate_init, settings.max_iter)
        members.append(_Member(job, rows, held_out, schedule, own_rng))
    return members


def _mean_square(Z: NDArray | CodedMatrix) -> float:
    """Return the mean over samples of the sum of their squares."""
    total = 0.0
    for first in range(0, len(Z), ROWS_AT_ONCE):
        some = Z[first : first + ROWS_AT_ONCE]
        dense = some.toarray() if isinstance(some, CodedMatrix) else some
        total += float(np.einsum("ij,ij->", dense, dense, dtype=np.float64))
    return total / len(Z)


def _initializers(units: Sequence[int], mean_square: float) -> tuple[list[Any], list[Any]]:
    """Return the initialisers of weights and of biases, for inputs whose squares have this sum in the mean."""
    first = Normal(np.sqrt(2 / mean_square) if mean_square else 0.0)
    hidden = range(1, len(units) - 2)
    weights = [first, *(HeNormal() for _ in hidden), LecunNormal()]
    biases = [Uniform(-0.5, 0.5), *(Uniform(-(units[l] ** -0.5), units[l] ** -0.5) for l in hidden), Zeros()]
    return weights[-len(units) + 1 :], biases[-len(units) + 1 :]
