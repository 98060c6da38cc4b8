"""The direction of the imports, and what may be imported."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sknn_scratch
from sknn_scratch import onnx

PACKAGE = Path(sknn_scratch.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Each module may import those of ours that stand in the lines above it.
LAYERS = [
    {
        "activations",
        "array_files",
        "blas",
        "callbacks_before_1_9",
        "digests",
        "initializers",
        "links",
        "noise",
        "schedules",
        "stored_values",
        "suggestions",
        "threads",
        "validation",
        "whole_file",
    },
    {"constraints", "labels", "weights_file"},
    {"losses.base", "optimizers"},
    {"losses.classification", "losses.heads", "losses.regression"},
    {"losses"},
    {"engines", "engines.c_functions", "engines.numpy_engine"},
    {f"engines.numba_{name}" for name in ("activations", "calls", "losses", "team", "updates")},
    {"engines.numba_rows", "engines.numba_weights"},
    {f"engines.numba_{name}" for name in ("codes", "epoch", "small_epoch", "steps")},
    {"engines.numba_cache"},
    {"engines.numba_training"},
    {"engines.numba_engine"},
    {"engines.choice"},
    {"network"},
    {"inspection", "training", "parameters"},
    {"checkpoints"},
    {"callbacks"},
    {"persistence"},
    {"base"},
    {"classifier", "gradient_check", "plotting.drawing", "regressor"},
    {f"plotting.{name}" for name in ("hidden_layers", "loss_curves", "network_diagram", "weight_images")},
    {"conversion", "onnx", "plotting"},
    {"__init__"},
]
THIRD_PARTY = {"numpy", "scipy", "sklearn", "threadpoolctl"}
# Optional dependencies of modules, or of all modules of a folder.
OPTIONAL = {
    "callbacks": {"rich", "tqdm"},
    **{f"engines.{path.stem}": {"llvmlite", "numba"} for path in FILES if path.name.startswith("numba_")},
    "onnx": {"skl2onnx"},
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


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_public_names_of_declared_dependencies(path):
    for name in imports(path):
        top = name.partition(".")[0]
        module = module_name(path)
        optional = OPTIONAL.get(module, OPTIONAL.get(module.partition(".")[0], set()))
        assert top in THIRD_PARTY | optional | {"sknn_scratch"} | set(sys.stdlib_module_names)
        if top in THIRD_PARTY | optional:
            assert not any(part.startswith("_") for part in name.split(".")), f"{name} is private"


def test_import_is_light():
    """Beyond what scikit-learn's estimators load, nothing heavy and no optional dependency."""
    script = (
        "import sys, sklearn.neural_network\n"
        "before = set(sys.modules)\n"
        "import sknn_scratch\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - {'numpy'}))"
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


def test_registries_know_every_component():
    from sknn_scratch import activations, initializers, losses, optimizers, schedules

    for module, base, registries in (
        (activations, activations.Activation, [activations.ACTIVATIONS]),
        (initializers, initializers.Initializer, [initializers.INITIALIZERS]),
        (losses, losses.Loss, [losses.CLASSIFIER_LOSSES, losses.REGRESSOR_LOSSES]),
        (optimizers, optimizers.Optimizer, [optimizers.OPTIMIZERS]),
        (schedules, schedules.Schedule, [schedules.SCHEDULES]),
    ):
        public = {getattr(module, name) for name in module.__all__ if isinstance(getattr(module, name), type)}
        components = {cls for cls in public if issubclass(cls, base) and cls is not base}
        by_name = set().union(*(registry.values() for registry in registries))
        assert components - by_name == {schedules: {schedules.Function}, losses: {losses.Heads}}.get(module, set())
