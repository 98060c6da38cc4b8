"""Formulas as MathML, made when the pages are built: they need neither a script nor the network.

Browsers draw MathML well if they have a font with a table of mathematics. Not every system has one, so STIX Two Math
goes with the pages.
"""

import shutil
from pathlib import Path

import math_core
import ziamath
from docutils import nodes

FONT = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"

converter = math_core.LatexToMathML()


def add_inline(translator, node) -> None:
    """Write a formula in a line of text."""
    translator.body.append(converter.convert_with_local_state(node.astext(), displaystyle=False))
    raise nodes.SkipNode


def add_display(translator, node) -> None:
    """Write a formula of its own, which can be scrolled where the window is narrow."""
    formula = converter.convert_with_local_state(node.astext(), displaystyle=True)
    translator.body.append(f'<div class="formula">{formula}</div>\n')
    raise nodes.SkipNode


def copy_font(app) -> None:
    """Put the font into the folder of static files."""
    if app.builder.format == "html":
        folder = Path(app.outdir) / "_static"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(FONT, folder)


def setup(app) -> dict:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (add_inline, None), (add_display, None))
    app.connect("builder-inited", copy_font)
    return {"parallel_read_safe": True}
