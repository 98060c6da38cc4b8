"""The figures of the documentation are what their script draws, and can be read by everybody."""

import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[1] / "docs"
spec = importlib.util.spec_from_file_location("chain_rule", DOCS / "figures" / "chain_rule.py")
chain_rule = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chain_rule)
SVG = "{http://www.w3.org/2000/svg}"


def file_of(name):
    return DOCS / "figures" / f"{name}.svg"


@pytest.fixture(params=chain_rule.FIGURES)
def figure(request):
    return ElementTree.parse(file_of(request.param)).getroot()


def test_files_are_what_the_script_draws():
    assert {path.stem for path in DOCS.glob("figures/*.svg")} == set(chain_rule.FIGURES)
    for name, draw in chain_rule.FIGURES.items():
        assert file_of(name).read_text(encoding="utf-8") == draw(), "run python docs/figures/chain_rule.py"


def test_the_page_shows_each_figure_once():
    shown = re.findall(r":file: figures/(\w+)\.svg", (DOCS / "chain_rule.rst").read_text())
    assert sorted(shown) == sorted(chain_rule.FIGURES)


def test_text_has_the_colour_of_the_theme_and_a_size_for_telephones(figure):
    assert figure.get("fill") == "currentColor"
    for text in [*figure.iter(f"{SVG}text"), *figure.iter(f"{SVG}tspan")]:
        assert text.get("fill") is None
        smallest = 11 if text.tag == f"{SVG}text" else 8  # tspan: an index
        assert float(text.get("font-size", 99)) >= smallest


def test_text_stands_within_the_figure(figure):
    _, _, width, height = map(float, figure.get("viewBox").split())
    assert width == 360
    for text in figure.iter(f"{SVG}text"):
        size, x, y = (float(text.get(name)) for name in ("font-size", "x", "y"))
        pieces = list(text) or [text]
        # A letter is about half as wide as the font is high.
        length = sum(0.55 * float(piece.get("font-size", size)) * len(piece.text) for piece in pieces)
        start = x - length * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")]
        assert start > -2, "".join(text.itertext())
        assert start + length < width + 2, "".join(text.itertext())
        assert 0.8 * size < y < height - 0.3 * size


def test_figures_are_described(figure):
    assert figure.get("role") == "img"
    assert len(figure.get("aria-label")) > 100


def test_shapes_are_those_of_the_network():
    """All that the drawings say of W[l] and b[l] is true of a network with these units."""
    shapes = {f"W{l}": f"{k} \N{MULTIPLICATION SIGN} {m}" for l, (k, m) in enumerate(pairwise(chain_rule.UNITS))}
    written = ["".join(text.itertext()) for text in ElementTree.parse(file_of("network")).iter(f"{SVG}text")]
    for name, shape in shapes.items():
        assert f"{name}:  {shape}" in written
    for name in ("forward", "backward"):
        written = ["".join(text.itertext()) for text in ElementTree.parse(file_of(name)).iter(f"{SVG}text")]
        assert set(shapes.values()) <= set(written)
