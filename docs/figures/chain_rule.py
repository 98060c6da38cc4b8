"""Draw the figures of ``chain_rule.rst``: ``python docs/figures/chain_rule.py`` writes the SVG files beside it.

They are read into the page, so that text has the colour of the theme. All is 360 units wide, so that a telephone shows
text at about the size in which it is drawn. Matrices are to scale, for a network of 4, 5, 3 and 3 units.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH = 360
CELL = 10  # side of a number of a matrix
N_SAMPLES = 5  # rows that are drawn for n samples
UNITS = [4, 5, 3, 3]
# Okabe and Ito's, which stand out from white and from black.
BLUE, GREEN, RED = "#0072B2", "#009E73", "#D55E00"  # what goes forward, parameters, what comes back
SIGNS = {" x ": " \N{MULTIPLICATION SIGN} ", "^T": "^\N{DOWN TACK}", "'": "\N{PRIME}"}


class Drawing:
    """Elements of an SVG file, in the order in which they are drawn."""

    def __init__(self):
        self.elements: list[str] = []

    def write(self, x: float, y: float, text: str, size: float = 14, anchor: str = "middle") -> None:
        """Write a formula.

        ``_`` and ``^`` before a character or braces make an index and a power; ``x`` between spaces is the cross of
        shapes, ``^T`` transposes. Letters are slanted.
        """
        for plain, sign in SIGNS.items():
            text = text.replace(plain, sign)
        spans, lowered = "", 0.0
        for content, wanted, small in _runs(text, size):
            shift = f' dy="{wanted - lowered:g}"' if wanted != lowered else ""
            style = ' font-style="italic"' if content[0].isalpha() else ""
            scale = f' font-size="{0.72 * size:g}"' if small else ""
            spans += f"<tspan{shift}{style}{scale}>{escape(content)}</tspan>"
            lowered = wanted
        self.elements.append(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}">{spans}</text>')

    def say(self, x: float, y: float, text: str, size: float = 12, anchor: str = "middle") -> None:
        """Write plain words."""
        self.elements.append(
            f'<text class="words" x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def line(self, *points: tuple[float, float], color: str = "currentColor", width: float = 1.5) -> None:
        """Draw a line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.elements.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width:g}"/>')

    def arrow(self, *points: tuple[float, float], color: str = "currentColor", width: float = 1.5) -> None:
        """Draw a line with a head at its last point."""
        (x0, y0), (x, y) = points[-2:]
        length = math.dist((x0, y0), (x, y))
        dx, dy = (x - x0) / length, (y - y0) / length
        foot = x - 8 * dx, y - 8 * dy
        self.line(*points[:-1], foot, color=color, width=width)
        corners = [(x, y), (foot[0] - 4 * dy, foot[1] + 4 * dx), (foot[0] + 4 * dy, foot[1] - 4 * dx)]
        self.elements.append(f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corners)}" fill="{color}"/>')

    def matrix(self, x: float, y: float, n_rows: int, n_columns: int, name: str, shape: str, color: str) -> None:
        """Draw a matrix with its upper left corner at (x, y), its name above and its shape below."""
        width, height = n_columns * CELL, n_rows * CELL
        box = f'x="{x:g}" y="{y:g}" width="{width}" height="{height}"'
        self.elements.append(f'<rect {box} fill="{color}" fill-opacity="0.25" stroke="{color}" stroke-width="1.5"/>')
        rows = "".join(f"M{x:g} {y + k * CELL:g}h{width}" for k in range(1, n_rows))
        columns = "".join(f"M{x + k * CELL:g} {y:g}v{height}" for k in range(1, n_columns))
        self.elements.append(f'<path d="{rows}{columns}" stroke="{color}" stroke-opacity="0.45" stroke-width="0.75"/>')
        if name:
            self.write(x + width / 2, y - 7, name)
        if shape:
            self.write(x + width / 2, y + height + 14, shape, 11.5)

    def unit(self, x: float, y: float, text: str = "", color: str = BLUE, radius: float = 9) -> None:
        """Draw a unit as a circle."""
        circle = f'cx="{x:g}" cy="{y:g}" r="{radius:g}"'
        self.elements.append(f'<circle {circle} class="paper" fill="white"/>')
        self.elements.append(
            f'<circle {circle} fill="{color}" fill-opacity="0.25" stroke="{color}" stroke-width="1.5"/>'
        )
        if text:
            self.write(x, y + 5, text)

    def svg(self, height: float, alt: str) -> str:
        """Return the file, with a description for those who do not see it."""
        attributes = f'viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(alt)}"'
        font = 'font-family="STIX Two Text, Cambria, Georgia, Times New Roman, serif" fill="currentColor"'
        return "\n".join(
            [f'<svg xmlns="http://www.w3.org/2000/svg" {attributes} {font}>', *self.elements, "</svg>", ""]
        )


def _runs(text: str, size: float) -> Iterator[tuple[str, float, bool]]:
    """Yield pieces of text, by how much each is lowered, and whether it is small."""
    for mark, braces, single, plain in re.findall(r"([_^])(?:\{([^}]*)\}|(.))|([^_^])", text):
        lowered = {"_": 0.25 * size, "^": -0.35 * size, "": 0.0}[mark]
        yield braces or single or plain, lowered, bool(mark)


def _before(end: tuple[float, float], start: tuple[float, float], distance: float) -> tuple[float, float]:
    """Return the point on the line from start to end that is so far before its end."""
    share = distance / math.dist(start, end)
    return end[0] + share * (start[0] - end[0]), end[1] + share * (start[1] - end[1])


def paths() -> str:
    """Draw how an input of several units acts on the loss."""
    drawing = Drawing()
    loss, units, below = (WIDTH / 2, 28), [(70, 110), (180, 110), (290, 110)], (WIDTH / 2, 214)
    for j, (x, y) in enumerate(units, start=1):
        drawing.arrow(below, _before((x, y), below, 20), color=BLUE, width=2)
        drawing.arrow((x, y), _before(loss, (x, y), 20), color=BLUE, width=2)
        drawing.unit(x, y, f"z_{j}", radius=17)
        drawing.write(x + (30 if j > 1 else -30), y + 6, f"δ_{j}", 15)
        drawing.write((1.2 * x + below[0]) / 2.2 + (-24, 16, 24)[j - 1], 168, f"W_{{i{j}}}", 15)
    drawing.unit(*loss, "C", RED, 17)
    drawing.unit(*below, "a_i", radius=17)
    alt = (
        "A unit a i below three units z 1, z 2 and z 3, which it reaches by the weights W i1, W i2 and W i3. From each "
        "of the three an arrow leads on to the loss C."
    )
    return drawing.svg(240, alt)


def network() -> str:
    """Draw the units, and beside them the matrices and their shapes."""
    drawing, floor, bottom = Drawing(), 92, 345
    heights = [bottom - l * floor for l in range(4)]
    rows = [[(178 + 32 * (k - (n - 1) / 2), heights[l]) for k in range(n)] for l, n in enumerate(UNITS)]
    for l in range(3):
        for start in rows[l]:
            for end in rows[l + 1]:
                drawing.line(start, end, color=GREEN, width=0.8)
    for l, row in enumerate(rows):
        for x, y in row:
            drawing.unit(x, y)
        drawing.write(274, heights[l] - 2, ("a_0 = X", "a_1 = f_0(z_0)", "a_2 = f_1(z_1)", "z_2")[l], 14, "start")
        drawing.write(274, heights[l] + 15, f"n x {UNITS[l]}", 12, "start")
    for l in range(3):
        y = heights[l] - floor / 2
        drawing.write(8, y - 3, f"W_{l}:  {UNITS[l]} x {UNITS[l + 1]}", 14, "start")
        drawing.write(8, y + 16, f"b_{l}:  {UNITS[l + 1]}", 14, "start")
    drawing.arrow((178, heights[3] - 15), (178, heights[3] - 37), color=BLUE, width=2)
    drawing.unit(178, 16, "C", RED, 14)
    drawing.say(204, 20, "the loss", anchor="start")
    alt = (
        "Four layers of units, one above the other: 4 inputs a0 = X, 5 units a1 = f0(z0), 3 units a2 = f1(z1) and 3 "
        "raw outputs z2, and above them the loss C. Lines join all units of neighbouring layers. They are the weights: "
        "W0 of 4 times 5, W1 of 5 times 3 and W2 of 3 times 3, with biases b0 of 5, b1 of 3 and b2 of 3. With n "
        "samples, the layers are matrices of n rows: n times 4, n times 5, n times 3, n times 3."
    )
    return drawing.svg(370, alt)


def forward() -> str:
    """Draw the products of the forward pass, from the bottom up."""
    drawing, floor, height = Drawing(), 140, N_SAMPLES * CELL
    for l in range(3):
        k, m = UNITS[l : l + 2]
        y = 90 + (2 - l) * floor
        middle = y + height / 2
        drawing.matrix(24, y, N_SAMPLES, k, f"a_{l}", f"n x {k}", BLUE)
        drawing.write(88, middle + 5, "·", 18)
        drawing.matrix(106, middle - k * CELL / 2, k, m, f"W_{l}", f"{k} x {m}", GREEN)
        drawing.write(176, middle + 5, "+", 16)
        drawing.matrix(196, middle - CELL / 2, 1, m, f"b_{l}", f"{m}", GREEN)
        drawing.write(266, middle + 5, "=", 16)
        drawing.matrix(286, y, N_SAMPLES, m, f"z_{l}", f"n x {m}", BLUE)
        x = 286 + m * CELL / 2
        if l == 2:
            drawing.arrow((x, y - 24), (x, 38), color=BLUE, width=2)
            drawing.unit(x, 20, "C", RED, 14)
            drawing.say(x - 22, 24, "the loss", anchor="end")
        else:
            turn, end = y - 34, y - floor + height + 22
            to = 24 + m * CELL / 2
            drawing.arrow((x, y - 22), (x, turn), (to, turn), (to, end), color=BLUE, width=2)
            drawing.write(WIDTH / 2 - 8, turn - 7, f"a_{l + 1} = f_{l}(z_{l})", 14)
    alt = (
        "Three rows of matrices, read from the bottom up. In each, a of n rows, times W, plus b, is z: n times 4 by 4 "
        "times 5 gives n times 5, n times 5 by 5 times 3 gives n times 3, n times 3 by 3 times 3 gives n times 3. "
        "Arrows lead from z0 by f0 to a1, from z1 by f1 to a2, and from z2 to the loss C."
    )
    return drawing.svg(90 + 2 * floor + height + 24, alt)


def backward() -> str:
    """Draw the way of the deltas, from the top down, and the gradients that each gives."""
    drawing, floor, height = Drawing(), 190, N_SAMPLES * CELL
    left, gradients = 16, 206
    drawing.unit(left + 15, 20, "C", RED, 14)
    drawing.arrow((left + 15, 36), (left + 15, 66), color=RED, width=2)
    drawing.write(left + 32, 54, "(1)", 14, "start")
    drawing.say(left + 58, 54, "given by the loss", anchor="start")
    for l in (2, 1, 0):
        k, m = UNITS[l : l + 2]
        y = 92 + (2 - l) * floor
        center = left + m * CELL / 2
        drawing.matrix(left, y, N_SAMPLES, m, f"δ_{l}", f"n x {m}", RED)
        start = left + m * CELL + 12
        drawing.arrow((start, y + 16), (gradients - 12, y + 16), color=RED, width=2)
        drawing.write((start + gradients - 12) / 2, y + 9, f"(3)  a_{l}^T δ_{l}", 14)
        drawing.arrow((start, y + 16), (start, y + height + 18), (gradients - 12, y + height + 18), color=RED, width=2)
        drawing.write(start + 8, y + height + 11, "(4)", 14, "start")
        drawing.say(start + 34, y + height + 11, "sum of rows", anchor="start")
        top = y + 16 - k * CELL / 2
        drawing.matrix(gradients, top, k, m, f"dC / dW_{l}", "", GREEN)
        drawing.write(gradients + m * CELL + 12, y + 20, f"{k} x {m}", 11.5, "start")
        drawing.matrix(gradients, y + height + 13, 1, m, "", "", GREEN)
        drawing.write(gradients + m * CELL + 12, y + height + 22, f"dC / db_{l}: {m}", 14, "start")
        if l:
            drawing.arrow((center, y + height + 22), (center, y + floor - 26), color=RED, width=2)
            row = y + height + 70
            drawing.write(left + 42, row, "(2)", 14, "start")
            drawing.write(left + 70, row, f"δ_{l - 1} = (δ_{l} W_{l}^T) ⊙ f'_{l - 1}(z_{l - 1})", 15, "start")
            shapes = f"n x {k} = (n x {m})({m} x {k}) ⊙ (n x {k})"
            drawing.write(left + 70, row + 18, shapes, 11.5, "start")
    alt = (
        "From the loss C at the top, equation 1 gives delta 2, n times 3. Equation 2, a product with W2 transposed and "
        "with f1'(z1) element by element, leads down to delta 1, n times 3, and with W1 and f0'(z0) to delta 0, n "
        "times 5. To the right of each delta, equation 3, the product with a transposed, gives the gradient of W, and "
        "equation 4, the sum of rows, that of b: 3 times 3 and 3; 5 times 3 and 3; 4 times 5 and 5."
    )
    return drawing.svg(92 + 2 * floor + height + 42, alt)


FIGURES = {"paths": paths, "network": network, "forward": forward, "backward": backward}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        Path(__file__).with_name(f"{name}.svg").write_text(draw())
