"""Files of weights, pickles of other versions, and skops."""

import json
import pickle
import re
import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tasks import CLASSIFICATION, TASKS, make_task, our_estimator

from sknn_scratch import (
    ELU,
    Activation,
    EarlyStopping,
    GaussianNLL,
    LeakyReLU,
    MLPFromScratchClassifier,
    MLPFromScratchRegressor,
    ModelCheckpoint,
    Quantile,
    TabularMLPClassifier,
    TabularMLPRegressor,
    skops_types,
)
from sknn_scratch.catalogue.activations import ACTIVATIONS
from sknn_scratch.catalogue.initializers import INITIALIZERS
from sknn_scratch.catalogue.links import LINKS
from sknn_scratch.catalogue.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sknn_scratch.catalogue.optimizers import OPTIMIZERS
from sknn_scratch.catalogue.schedules import SCHEDULES
from sknn_scratch.estimators.persistence import STATE_KEY, STATE_VERSION

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.npz"


def fitted(task="multiclass", **parameters):
    X, y = make_task(task)
    return our_estimator(task, **{"max_iter": 3, **parameters}).fit(X, y)


def rewrite(path, **changes):
    """Change arrays of a file; None removes one."""
    with np.load(path) as file:
        arrays = dict(file) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


# Files of weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("task", TASKS)
def test_loaded_weights_predict_the_same(task, dtype, path):
    X, y = make_task(task)
    X = X.astype(dtype)
    model = our_estimator(task, max_iter=3, activation=["tanh", LeakyReLU(0.2)]).fit(X, y)
    model.save_weights(path)
    for fresh in (clone(model), clone(model).fit(X[:, :3], y)):
        loaded = fresh.load_weights(path)
        assert loaded is fresh
        assert_array_equal(loaded.predict(X), model.predict(X))
        if task in CLASSIFICATION:
            assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
            assert_array_equal(loaded.classes_, model.classes_)
            assert loaded.classes_.dtype == model.classes_.dtype
        assert loaded.coefs_[0].dtype == dtype
        for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
            assert getattr(loaded, name) == getattr(model, name)
        # The same attributes as after a fit, so that nothing that reads them fails.
        assert {*vars(loaded)} == {*vars(model)}


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_loaded_weights_can_be_trained_further(solver, path):
    X, y = make_task("multiclass")
    model = fitted(solver=solver)
    model.save_weights(path)
    loaded = clone(model).set_params(warm_start=True).load_weights(path)
    assert (loaded.n_iter_, loaded.t_, loaded.loss_, loaded.loss_curve_) == (0, 0, None, [])
    expected = model.set_params(warm_start=True)
    if solver != "lbfgs":
        loaded = pickle.loads(pickle.dumps(loaded))
        assert loaded.partial_fit(X, y).n_iter_ == 1
        loaded.load_weights(path)
    # A warm start has a new optimiser anyway, so it goes on from the weights alone.
    expected.fit(X, y)
    loaded.fit(X, y)
    assert_array_equal(loaded.coefs_[0], expected.coefs_[0])
    assert loaded.loss_curve_ == expected.loss_curve_[-len(loaded.loss_curve_) :]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_loaded_progress_is_that_of_the_kind_of_training(early_stopping, path):
    fitted(early_stopping=early_stopping).save_weights(path)
    loaded = our_estimator("multiclass", early_stopping=early_stopping).load_weights(path)
    assert loaded.best_loss_ == (None if early_stopping else np.inf)
    assert loaded.validation_scores_ == ([] if early_stopping else None)


def test_names_and_labels(path):
    X, y = make_task("multiclass")
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(8)])
    for labels in (np.array(["a", "b", "c"], dtype=object), np.array(["x", "yy", "zzz"]), np.array([1.0, 2.0, 4.0])):
        model = MLPFromScratchClassifier(3, max_iter=2).fit(frame, labels[y // 10 - 1])
        model.save_weights(path)
        loaded = MLPFromScratchClassifier(3).load_weights(str(path))
        assert_array_equal(loaded.predict(frame), model.predict(frame))
        assert loaded.predict(frame).dtype == model.predict(frame).dtype
        assert loaded.classes_.dtype == model.classes_.dtype
        assert_array_equal(loaded.feature_names_in_, frame.columns)
        assert loaded.feature_names_in_.dtype == model.feature_names_in_.dtype
    fitted(hidden_layer_sizes=3).save_weights(path)
    assert not hasattr(loaded.load_weights(path), "feature_names_in_")


def test_files_of_version_1(path):
    """As they were written from the beginning: their layout, in full."""
    rng = np.random.RandomState(0)
    weights, biases = [rng.randn(8, 3), rng.randn(3, 3)], [rng.randn(3), rng.randn(3)]
    np.savez(
        path,
        format="sknn_scratch weights",
        version=1,
        n_layers=2,
        weights_0=weights[0],
        weights_1=weights[1],
        biases_0=biases[0],
        biases_1=biases[1],
        kind="classifier",
        activations=["ReLU()"],
        link="SoftmaxLink()",
        feature_names=list("abcdefgh"),
        n_targets=1,
        several_targets=False,
        multilabel=False,
        sparse_labels=False,
        object_labels=[True],
        classes_0=["x", "y", "z"],
    )
    loaded = MLPFromScratchClassifier(3).load_weights(path)
    frame = pd.DataFrame(make_task("multiclass")[0], columns=list("abcdefgh"))
    raw_output = np.maximum(frame.to_numpy() @ weights[0] + biases[0], 0) @ weights[1] + biases[1]
    assert_array_equal(loaded.predict(frame), np.array(["x", "y", "z"], dtype=object)[raw_output.argmax(axis=1)])


def test_sparse_labels(path):
    X, y = make_task("multilabel")
    model = our_estimator("multilabel", max_iter=2).fit(X, sparse.csr_matrix(y))
    model.save_weights(path)
    prediction = clone(model).load_weights(path).predict(X)
    assert sparse.issparse(prediction)
    assert_array_equal(prediction.toarray(), model.predict(X).toarray())
    rewrite(path, classes_0=np.array([0, 2, 3]))
    with pytest.raises(ValueError, match="classes_0 are not the numbers of several columns"):
        clone(model).load_weights(path)


def test_nothing_is_pickled(path):
    X, y = make_task("binary")
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    MLPFromScratchClassifier(3, max_iter=2).fit(frame, np.array(["no", "yes"], dtype=object)[y // 10 - 1]).save_weights(
        path
    )
    with np.load(path, allow_pickle=False) as file:
        assert file["version"] == 1
        assert {file[name].dtype.kind for name in file.files} <= set("biufU")
    with zipfile.ZipFile(path) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": 6}, r"hidden layers of \[6, 5\] units, and this one has hidden_layer_sizes=6\."),
        (
            {"activation": "tanh"},
            r"activations \['ReLU\(\)', 'ReLU\(\)'\], and this one has \['Tanh\(\)', 'Ta",
        ),
        ({"loss": "hinge"}, r"the link SoftmaxLink\(\), and this one has IdentityLink\(\)"),
        ({"fit_intercept": False}, "of a network with biases, and this one has fit_intercept=False"),
        ({"alpha": -1}, "'alpha'.* must be"),
    ],
)
def test_weights_of_another_network(path, parameters, message):
    X, _ = make_task("multiclass")
    model = fitted()
    model.save_weights(path)
    with pytest.raises(ValueError, match=message):
        our_estimator("multiclass", **parameters).load_weights(path)
    other = fitted(random_state=1)
    before, expected = dict(vars(other)), other.predict(X)
    other.set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        other.load_weights(path)
    assert dict(vars(other)) == before | parameters
    assert_array_equal(other.predict(X), expected)


def test_whole_numbers_may_be_given_as_floats(path):
    model = fitted(activation=ELU(1))
    model.save_weights(path)
    rewrite(path, activations=np.array(["ELU(alpha=1)", "ELU(alpha=1)"]))
    loaded = our_estimator("multiclass", activation=ELU(1.0)).load_weights(path)
    assert_array_equal(loaded.predict(make_task("multiclass")[0]), model.predict(make_task("multiclass")[0]))


def test_weights_of_other_losses(path):
    X, y = make_task("regression")
    for given, other, message in (
        (Quantile([0.1, 0.9]), Quantile([0.1, 0.5, 0.9]), "with 2 output units, and this one has 3"),
        (Quantile([0.1, 0.9]), "gaussian_nll", r"IncreasingLink\(n_columns=2\), and this one has GaussianLink\("),
        (GaussianNLL(), GaussianNLL(min_std=0.1), r"min_std=1e-06\), and this one has GaussianLink\(min_std=0.1\)"),
    ):
        model = our_estimator("regression", loss=given, max_iter=2).fit(X, y)
        model.save_weights(path)
        assert_array_equal(clone(model).load_weights(path).predict(X), model.predict(X))
        with pytest.raises(ValueError, match=message):
            our_estimator("regression", loss=other).load_weights(path)


def test_several_classification_targets(path):
    X, y = make_task("multiclass")
    columns = np.column_stack([y, X[:, 0] > 0, np.resize([3, 5, 7, 11], len(X))]).astype(float)
    for targets in (columns, columns.astype(str), columns.astype(str).astype(object)):
        model = our_estimator("multiclass", max_iter=2).fit(X, targets)
        model.save_weights(path)
        loaded = clone(model).load_weights(path)
        assert_array_equal(loaded.predict(X), model.predict(X))
        assert loaded.predict(X).dtype == model.predict(X).dtype
        for found, expected in zip(loaded.predict_proba(X), model.predict_proba(X), strict=True):
            assert_array_equal(found, expected)
        loaded.partial_fit(X, targets)


def test_weights_of_another_kind(path):
    fitted("regression").save_weights(path)
    with pytest.raises(ValueError, match="weights of a regressor, and MLPFromScratchClassifier is a classifier"):
        our_estimator("binary").load_weights(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": np.array(3)}, "has version 3 of the format for a file of weights, and the installed .* reads ver"),
        ({"format": None}, "is not a file of weights, .*: it does not say that it is one"),
        ({"biases_1": None}, "is damaged: it lacks biases_1"),
        (
            {"weights_1": np.zeros((4, 5))},
            r"is damaged: the layers do not fit each other, with arrays of shapes \[\(8, 6",
        ),
        ({"weights_0": np.array([{}])}, "is not a file of weights, or it is damaged: weights_0 has dtype object"),
        ({"classes_0": np.array([1, 2])}, "with 3 output units, and this one has 1"),
        ({"biases_1": np.array([0, 1, np.nan, 0, 0])}, "is damaged: biases_1 has numbers that are infinite or NaN"),
    ],
)
def test_files_that_cannot_be_read(path, changes, message):
    fitted().save_weights(path)
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=message):
        our_estimator("multiclass").load_weights(path)


@pytest.mark.parametrize("n_bytes", [0, 10, 500, -30])
def test_half_a_file(path, n_bytes):
    fitted().save_weights(path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match="is not a file of weights, or it is damaged"):
        our_estimator("multiclass").load_weights(path)


def test_other_files(path):
    with pytest.raises(FileNotFoundError):
        our_estimator("multiclass").load_weights(path)
    with pytest.raises(NotFittedError):
        our_estimator("multiclass").save_weights(path)
    for write in (lambda file: np.save(file, np.arange(3)), lambda file: pickle.dump({}, file)):
        with path.open("wb") as file:
            write(file)
        with pytest.raises(ValueError, match="is not a file of weights"):
            our_estimator("multiclass").load_weights(path)


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    model = fitted()
    model.save_weights(path)
    before = path.read_bytes()

    def half_way(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", half_way)
    with pytest.raises(OSError, match="disk full"):
        model.save_weights(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# Versions of pickles --------------------------------------------------------------------------------------------------


def as_pickled_by(version, model, without=()):
    """Return the model as it comes back if a version of the package with that state had pickled it."""
    state = {name: value for name, value in model.__getstate__().items() if name not in without}
    state.pop(STATE_KEY)
    if version is not None:
        state[STATE_KEY] = version
    twin = type(model).__new__(type(model))
    twin.__setstate__(state)
    return twin


def test_older_pickles_get_the_parameters_they_lack():
    X, y = make_task("binary")
    model = fitted("binary", alpha=0.5)
    twin = as_pickled_by(None, model, without=("dropout", "average", "scoring"))
    assert twin.get_params() == model.get_params()
    assert_array_equal(twin.partial_fit(X, y).coefs_[0], model.partial_fit(X, y).coefs_[0])


@pytest.mark.parametrize(("task", "lacking"), [("binary", "_coder"), ("regression", "_n_targets"), ("binary", "_loss")])
def test_older_pickles_that_do_not_suffice(task, lacking):
    with pytest.raises(ValueError, match=f"was fitted by an older sknn_scratch and lacks {lacking}. Fit it again, "):
        as_pickled_by(None, fitted(task), without=(lacking,))
    as_pickled_by(None, our_estimator(task), without=(lacking,))


def test_older_pickles_of_tabular_estimators_predict():
    X, y = make_task("regression")
    model = TabularMLPRegressor(2, hidden_layer_sizes=(5,), n_bins=None, max_iter=2, random_state=0).fit(X, y)
    assert_array_equal(as_pickled_by(None, model, without=("_level",)).predict(X), model.predict(X))


def test_older_pickles_of_subclasses():
    class Small(MLPFromScratchRegressor):
        def __init__(self, width=3):
            super().__init__(hidden_layer_sizes=width, max_iter=3)
            self.width = width

    X, y = make_task("regression")
    twin = as_pickled_by(None, Small(4).fit(X, y), without=("dropout",))
    assert (twin.width, twin.hidden_layer_sizes, twin.dropout) == (4, 4, 0.0)
    twin.partial_fit(X, y)

    class Few(TabularMLPRegressor):
        def __init__(self, n_members, width=3):
            super().__init__(n_members, hidden_layer_sizes=width, max_iter=3)
            self.width = width

    twin = as_pickled_by(None, Few(2), without=("n_members", "width", "weight_decay"))
    assert (twin.n_members, twin.width, twin.weight_decay) == (8, 3, 0.2)


def test_newer_pickles_are_refused():
    for model in fitted(), TabularMLPClassifier():
        message = f"{type(model).__name__} was stored by a newer .* version {STATE_VERSION + 1}"
        with pytest.raises(ValueError, match=message):
            as_pickled_by(STATE_VERSION + 1, model)
        assert as_pickled_by(None, model).get_params() == model.get_params()


def test_the_version_is_only_in_the_pickle():
    model = fitted()
    assert model.__getstate__()[STATE_KEY] == STATE_VERSION
    twin = pickle.loads(pickle.dumps(model))
    assert {*vars(twin)} == {*vars(model)}


# skops ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def io():
    return pytest.importorskip("skops.io", reason="needs skops")


@pytest.fixture
def untrusted(io):
    """Return the error about types that are not trusted."""
    return io.exceptions.UntrustedTypesFoundException


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs", "nadam"])
@pytest.mark.parametrize("task", TASKS)
def test_skops(task, solver, tmp_path, io):
    """Only the types that we name have to be trusted, and the model learns on as the original does."""
    X, y = make_task(task)
    given = ["tanh", LeakyReLU(0.2)]
    model = our_estimator(
        task, max_iter=4, solver=solver, activation=given, random_state=np.random.RandomState(0), warm_start=True
    ).fit(X, y)
    path = tmp_path / "model.skops"
    io.dump(model, path)
    assert io.get_untrusted_types(file=path)
    twin = io.load(path, trusted=skops_types())
    assert_array_equal(twin.predict(X), model.predict(X))
    if solver == "lbfgs":
        return
    assert_array_equal(twin.partial_fit(X, y).coefs_[0], model.partial_fit(X, y).coefs_[0])
    assert not np.array_equal(twin.coefs_[0], io.load(path, trusted=skops_types()).coefs_[0])


def every_model():
    """Yield a fitted model with each registered component, of each kind of target, and with callbacks."""
    for parameter, registry, task in (
        ("activation", ACTIVATIONS, "regression"),
        ("loss", CLASSIFIER_LOSSES, "binary"),
        ("loss", REGRESSOR_LOSSES, "poisson"),
        ("solver", OPTIMIZERS, "regression"),
        ("learning_rate", SCHEDULES, "regression"),
        ("weight_init", INITIALIZERS, "regression"),
        ("output_activation", LINKS, "regression"),
    ):
        X, y = make_task(task)
        for name, cls in registry.items():
            loss = {"loss": "squared_error"} if parameter == "output_activation" else {}
            value = name if loss else cls()
            shift = 1 if task == "poisson" else 0
            parameters = {parameter: value, **loss}
            yield our_estimator("regression" if shift else task, max_iter=1, **parameters).fit(X, y + shift)
    X, y = make_task("multiclass")
    yield our_estimator("multiclass", max_iter=1).fit(X, np.column_stack([y, y > 10]))
    X, y = make_task("regression")
    yield our_estimator("regression", loss=Quantile([0.1, 0.9]), max_iter=1).fit(X, y)
    yield our_estimator("regression", learning_rate=np.exp, max_iter=1).fit(X, y)
    yield our_estimator("regression", max_iter=2).set_callbacks(EarlyStopping("loss", restore_best=True)).fit(X, y)
    yield our_estimator("regression", max_iter=2).set_callbacks(np.isnan)
    tabular = {"n_members": 2, "hidden_layer_sizes": (2,), "max_iter": 1}
    yield TabularMLPRegressor(**tabular).fit(X, y)
    yield TabularMLPRegressor(loss=Quantile([0.1, 0.9]), **tabular).fit(X, y)
    X, y = make_task("binary")
    yield TabularMLPClassifier(**tabular).fit(X, y)


@pytest.mark.filterwarnings("ignore")
def test_skops_types_are_all_that_models_hold(io):
    held = set()
    for model in every_model():
        data = io.dumps(model)
        held.update(io.get_untrusted_types(data=data))
        io.loads(data, trusted=skops_types())
    assert skops_types() == sorted(held)


def with_another_type(data, module, name, loader=None):
    """Return a file whose first hidden activation is of another type, or is a function."""
    source, target = zipfile.ZipFile(BytesIO(data)), BytesIO()
    with zipfile.ZipFile(target, "w") as changed:
        for entry in source.namelist():
            content = source.read(entry)
            if entry == "schema.json":
                schema = json.loads(content)
                node = schema["content"]["content"]["_hidden_activations"]["content"][0]
                node.update({"__module__": module, "__class__": name, "__loader__": loader or node["__loader__"]})
                content = json.dumps(schema)
            changed.writestr(entry, content)
    return target.getvalue()


@pytest.mark.parametrize("loader", [None, "FunctionNode", "TypeNode"])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sknn_scratch.files.whole.os", "system"),
        ("sknn_scratch.files.whole", "os"),
        ("sknn_scratch.files.whole", "os.system"),
        ("sknn_scratch.training.callbacks", "ModelCheckpoint"),
        ("sknn_scratch.catalogue.activations", "ReLU.apply"),
        ("os", "system"),
    ],
)
def test_skops_types_let_nothing_else_in(module, name, loader, io, untrusted):
    X, y = make_task("regression")
    data = io.dumps(our_estimator("regression", max_iter=1).fit(X, y))
    crafted = with_another_type(data, module, name, loader)
    assert f"{module}.{name}" in io.get_untrusted_types(data=crafted)
    with pytest.raises(untrusted, match=re.escape(f"{module}.{name}")):
        io.loads(crafted, trusted=skops_types())


def test_skops_types_leave_out_what_writes_files_and_what_is_not_ours(tmp_path, io, untrusted):
    class Sine(Activation):
        def value(self, z):
            return np.sin(z)

        def derivative(self, z):
            return np.cos(z)

    X, y = make_task("regression")
    for model in (
        our_estimator("regression", max_iter=1).set_callbacks(ModelCheckpoint(str(tmp_path / "file"))),
        our_estimator("regression", max_iter=1, activation=Sine()).fit(X, y),
        our_estimator("regression", max_iter=1, learning_rate=lambda epoch: 0.1),
    ):
        with pytest.raises(untrusted):
            io.loads(io.dumps(model), trusted=skops_types())
