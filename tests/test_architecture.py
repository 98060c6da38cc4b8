"""The direction of the imports, and what may be imported."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import sknn_scratch
from sknn_scratch import onnx

PACKAGE = Path(sknn_scratch.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def of(folder, names):
    return {f"{folder}.{name}" for name in names.split()}


# Each module may import those of ours that stand in the lines above it.
LAYERS = [
    {"blas", "warn", "catalogue", "files", "training", "estimators", "exchange"},
    of("files", "values whole"),
    {"files.arrays"},
    {"files.weights"},
    {"catalogue.component", "catalogue.expressions"},
    of("catalogue", "activations initializers links optimizers schedules"),
    {"catalogue.losses.base", "catalogue.rewriting"},
    of("catalogue.losses", "classification regression"),
    {"catalogue.losses"},
    of("training", "coded_matrix progress"),
    {"engines.draws", "engines.policy", "engines.whole"},
    {"engines.threads"},
    {"engines.numpy"} | of("engines.numpy", "in_place"),
    {"perceptron"},
    {"training.job"},
    {"engines.numpy.run", "training.data"},
    {"engines.compiled"} | of("engines.compiled", "calls source"),
    of("engines.compiled", "elementary sources team"),
    of("engines.compiled", "epoch inputs products row_losses"),
    {"engines.compiled.phases"},
    {"engines.compiled.kernels"},
    {"engines.compiled.run"},
    {"engines.torch"} | of("engines.torch", "arrays"),
    {"engines.torch.formulas"},
    {"engines.torch.run"},
    {"engines"},
    {"training.lbfgs", "training.run"},
    {"training.checkpoints"},
    {"training.bars", "training.callbacks_before_1_9"},
    {"training.callbacks"},
    of("estimators", "fit_kind scaling suggestions tables"),
    {"estimators.arrays"},
    {"estimators.constraints", "estimators.labels", "estimators.validation_set", "inspection"},
    {"estimators.outcomes", "estimators.parameters"},
    {"estimators.building", "estimators.constructors"},
    {"estimators.persistence"},
    {"estimators.base"},
    {"estimators.classifier", "estimators.regressor", "gradient_check"},
    {"estimators.tabular"} | of("estimators.tabular", "columns folds weights"),
    {"estimators.tabular.encoder", "estimators.tabular.members"},
    {"estimators.tabular.base"},
    {"estimators.tabular.classifier", "estimators.tabular.regressor"},
    {"plotting.drawing"},
    of("plotting", "hidden_layers loss_curves network_diagram weight_images"),
    {"exchange.conversion", "exchange.onnx_graph", "exchange.onnx_nesting", "exchange.trusted_types", "plotting"},
    {"onnx"},
    {"__init__"},
    {"__main__"},
]
THIRD_PARTY = {"numpy", "scipy", "sklearn", "threadpoolctl"}
# Optional dependencies of modules, or of all modules of a folder.
OPTIONAL = {
    "training.bars": {"rich", "tqdm"},
    "engines": {"numba"},
    "engines.compiled": {"llvmlite", "numba"},
    "engines.torch": {"torch"},
    "onnx": {"skl2onnx"},
    "exchange.onnx_graph": {"skl2onnx"},
    "plotting": {"matplotlib"},
}


def module_name(path):
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(path):
    """Return the dotted names that a file imports, with the names taken from a package of ours."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path):
    level = next((i for i, layer in enumerate(LAYERS) if module_name(path) in layer), None)
    assert level is not None, "add the new module to LAYERS"
    above = set().union(*LAYERS[:level])
    known = set().union(*LAYERS)
    for name in imports(path):
        if name.startswith("sknn_scratch.") and (ours := name.removeprefix("sknn_scratch.")) in known:
            assert ours in above, f"{module_name(path)} imports {ours}"


def test_every_module_is_imported_by_a_statement():
    """Only those a program frozen by PyInstaller or its like has; it reads no text of a kernel."""
    imported = {name for path in FILES for name in imports(path)}
    every = {
        f"sknn_scratch.{module_name(path)}" for path in FILES if path.parent != PACKAGE and path.name != "__init__.py"
    }
    assert every <= imported


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_public_names_of_declared_dependencies(path):
    for name in imports(path):
        top = name.partition(".")[0]
        module = module_name(path)
        folders = module, module.rpartition(".")[0], module.partition(".")[0]
        optional = next((OPTIONAL[folder] for folder in folders if folder in OPTIONAL), set())
        assert top in THIRD_PARTY | optional | {"sknn_scratch"} | set(sys.stdlib_module_names)
        if top in THIRD_PARTY | optional:
            assert not any(part.startswith("_") for part in name.split(".")), f"{name} is private"


def private_names(path):
    """Yield ``object.name`` for each private attribute that a file takes of something other than its own class."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            holder, name = ast.unparse(node.value), node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr", "vars"):
            holder, name = ast.unparse(node.args[0]), getattr((node.args[1:] or [node])[0], "value", "")
            name = "_" if ast.unparse(node.func) == "vars" else str(name)
        else:
            continue
        if name.startswith("_") and not name.endswith("__") and holder.partition(".")[0] not in ("self", "cls"):
            yield f"{holder}.{name}"


OUTSIDE = ("exchange", "files.weights", "gradient_check", "inspection", "onnx", "plotting")


@pytest.mark.parametrize("path", [path for path in FILES if module_name(path).startswith(OUTSIDE)], ids=module_name)
def test_what_takes_a_fitted_estimator_knows_nothing_private_of_it(path):
    """``fitted_model`` gives all that there is to know. scikit-learn has nothing like it to learn on from."""
    of_sklearn = {"mlp"} if module_name(path) == "exchange.conversion" else set()
    assert [name for name in private_names(path) if name.partition(".")[0] not in of_sklearn] == []


def test_import_is_light():
    """Beyond what scikit-learn's estimators load, nothing heavy and no optional dependency."""
    script = (
        "import sys, sklearn.neural_network\n"
        "before = set(sys.modules)\n"
        "import sknn_scratch\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - {'glob', 'numpy'}))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['sknn_scratch']"


def test_api_reference_names_everything():
    """Each public name stands on one page of the API reference, and nothing else does."""
    pages = (Path(__file__).parents[1] / "docs" / "api").glob("*.rst")
    names = [
        name for page in pages if page.stem != "index" for name in re.findall(r"^   (\w+)$", page.read_text(), re.M)
    ]
    assert sorted(names) == sorted([*sknn_scratch.__all__, *onnx.__all__])


def classes_of(module, base):
    return {cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, base) and cls is not base}


def test_every_component_is_in_a_registry_and_can_be_imported():
    from sknn_scratch.catalogue import activations, initializers, links, losses, optimizers, schedules
    from sknn_scratch.training import callbacks

    public = {getattr(sknn_scratch, name) for name in sknn_scratch.__all__}
    made_by_losses = {links.GaussianLink, links.HeadsLink, links.IncreasingLink}
    for module, base, registries, others in (
        (activations, activations.Activation, [activations.ACTIVATIONS], set()),
        (initializers, initializers.Initializer, [initializers.INITIALIZERS], set()),
        (links, links.Link, [links.LINKS], {links.SoftmaxLink} | made_by_losses),
        (losses, losses.Loss, [losses.CLASSIFIER_LOSSES, losses.REGRESSOR_LOSSES], {losses.Heads}),
        (optimizers, optimizers.Optimizer, [optimizers.OPTIMIZERS], set()),
        (schedules, schedules.Schedule, [schedules.SCHEDULES], {schedules.Function}),
    ):
        by_name = set().union(*(registry.values() for registry in registries))
        assert classes_of(module, base) - by_name == others
        assert by_name <= public
    assert classes_of(callbacks, callbacks.EpochCallback) - public == {callbacks.OnEpochEnd}


def test_names_for_editors_are_those_of_the_registries():
    from sknn_scratch.catalogue import activations, initializers, links, losses, optimizers, schedules
    from sknn_scratch.estimators import constructors as names
    from sknn_scratch.estimators.parameters import SHARED_PARAMETERS

    table = sknn_scratch.MLPFromScratchRegressor._parameters
    for of_type, registry in (
        (names.ActivationName, activations.ACTIVATIONS),
        (names.BatchSizeName, SHARED_PARAMETERS["batch_size"].constraint.others),
        (names.ClassWeightName, ["balanced"]),
        (names.ClassifierLossName, losses.CLASSIFIER_LOSSES),
        (names.EngineName, SHARED_PARAMETERS["engine"].constraint.options),
        (names.InitializerName, initializers.INITIALIZERS),
        (names.LinkName, links.LINKS),
        (names.RegressorLossName, losses.REGRESSOR_LOSSES),
        (names.ScheduleName, schedules.SCHEDULES),
        (names.SolverName, [*optimizers.OPTIMIZERS, "lbfgs"]),
        (names.TargetTransformName, table["target_transform"].constraint.options),
        (names.VerboseName, SHARED_PARAMETERS["verbose"].constraint.options),
    ):
        assert list(get_args(of_type)) == sorted(registry)
    assert len([name for name in vars(names) if name.endswith("Name")]) == 12
