"""A chart as a picture, as Mermaid and as plain text."""

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

COLUMNS = 3
WIDTH, HEIGHT, GAP, ROW = 300, 66, 36, 92
"""Pixels: a box, the space between columns, and from the top of a row to the next one."""
TOP, MARGIN = 118, 24
LINE = 42
"""Characters of a line in a box."""
FILL = {"look up": "#e3eefb", "question": "#fdf1d8", "start": "#eeeeee"}
STROKE = {"look up": "#3b6ea5", "question": "#b7791f", "start": "#666666"}
HOW = (
    "Start with the vector that stands for saying nothing and go from box to box. Each adds a"
    " vector: a look-up the entry of its words, a question its own if the answer is yes. The sum is"
    " the answer; only its direction counts."
)


class Drawn(NamedTuple):
    """One box as it is drawn."""

    title: str
    is_question: bool
    share: float
    """Share of the texts with the answer yes, or for which a word is looked up."""
    variance: float
    """Share of the activations' variance that the vectors it adds have."""

    @property
    def note(self) -> str:
        """What is said below the title."""
        said = "yes in" if self.is_question else "found in"
        moved = percentage(self.variance, 1)
        return f"{said} {percentage(self.share)} · moves {moved} of the variance"

    @property
    def kind(self) -> str:
        """A key of `FILL`."""
        return "question" if self.is_question else "look up"


def percentage(share: float, digits: int = 0) -> str:
    """Such as `12 %`; what would be rounded to zero is `<1 %`, with no digits."""
    least = 10.0**-digits
    if 0 < 100 * share < least / 2:
        return f"<{least:g} %"
    return f"{100 * share:.{digits}f} %"


def drawn(plain: Sequence[Sequence[Any]]) -> list[Drawn]:
    """From the lists that JSON keeps of the tuples."""
    return [Drawn(*values) for values in plain]


def as_text(boxes: Sequence[Drawn]) -> str:
    """One line for each box."""
    lines = [f"{number:3d}. {one.title}  [{one.note}]" for number, one in enumerate(boxes, start=1)]
    return "\n".join([*textwrap.wrap(HOW, 100), "", *lines])


def as_mermaid(boxes: Sequence[Drawn]) -> str:
    """A Mermaid flow chart, from top to bottom."""
    lines = ["flowchart TD", '  b0(["nothing is said yet"])']
    for number, one in enumerate(boxes, start=1):
        title = one.title.replace('"', "'")
        shape = f'{{"{title}"}}' if one.is_question else f'["{title}"]'
        lines.append(f"  b{number}{shape}")
    lines.append("  b0 --> b1") if boxes else None
    for number, one in enumerate(boxes, start=1):
        after = f"b{number + 1}" if number < len(boxes) else "b_end"
        if one.is_question:
            lines += [
                f"  b{number} -- yes, add its vector --> {after}",
                f"  b{number} -- no --> {after}",
            ]
        else:
            lines.append(f"  b{number} -- add the entry --> {after}")
    return "\n".join([*lines, '  b_end(["the answer"])'])


def as_svg(boxes: Sequence[Drawn], title: str) -> str:
    """A picture on one page: columns of boxes, read from top to bottom, then from left to right."""
    rows = max(1, -(-(len(boxes) + 1) // COLUMNS))
    width = 2 * MARGIN + COLUMNS * WIDTH + (COLUMNS - 1) * GAP
    height = TOP + rows * ROW + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#555"/></marker></defs>',
        _text(MARGIN, 34, title, size=20, weight="bold"),
        *(
            _text(MARGIN, 58 + 17 * line, words, size=13, fill="#444")
            for line, words in enumerate(textwrap.wrap(HOW, 145))
        ),
        _box(0, rows, "start", ["Nothing is said yet: a fixed vector"], ""),
    ]
    for number, one in enumerate(boxes, start=1):
        lines = textwrap.wrap(f"{number}. {one.title}", LINE)[:2]
        parts += [_arrow(number, rows), _box(number, rows, one.kind, lines, one.note)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _place(number: int, rows: int) -> tuple[int, int]:
    column, row = divmod(number, rows)
    return MARGIN + column * (WIDTH + GAP), TOP + row * ROW


def _box(number: int, rows: int, kind: str, lines: Sequence[str], note: str) -> str:
    x, y = _place(number, rows)
    fill, stroke = FILL[kind], STROKE[kind]
    look = f'fill="{fill}" stroke="{stroke}" stroke-width="1.3"'
    if kind == "question":
        cut, middle, right, low = 14, y + HEIGHT // 2, x + WIDTH, y + HEIGHT
        points = (
            f"{x},{middle} {x + cut},{y} {right - cut},{y} {right},{middle}"
            f" {right - cut},{low} {x + cut},{low}"
        )
        shape = f'<polygon points="{points}" {look}/>'
    else:
        shape = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" {look}/>'
    start = y + (26 if len(lines) == 1 else 20)
    texts = [
        _text(x + WIDTH // 2, start + 16 * line, words, size=13, anchor="middle")
        for line, words in enumerate(lines)
    ]
    below = _text(x + WIDTH // 2, y + HEIGHT - 10, note, size=11, anchor="middle", fill="#555")
    return "\n".join([shape, *texts, below if note else ""])


def _arrow(number: int, rows: int) -> str:
    """From the box before to this one."""
    (x0, y0), (x1, y1) = _place(number - 1, rows), _place(number, rows)
    if x0 == x1:
        middle = x0 + WIDTH // 2
        path = f"M{middle} {y0 + HEIGHT} L{middle} {y1 - 2}"
    else:
        between = x1 - GAP // 2
        low, high = y0 + HEIGHT // 2, y1 + HEIGHT // 2
        path = f"M{x0 + WIDTH} {low} L{between} {low} L{between} {high} L{x1 - 2} {high}"
    return f'<path d="{path}" fill="none" stroke="#555" stroke-width="1.3" marker-end="url(#tip)"/>'


def _text(x: int, y: int, words: str, size: int, **look: str) -> str:
    names = {"weight": "font-weight", "anchor": "text-anchor", "fill": "fill"}
    attributes = "".join(f' {names[name]}="{value}"' for name, value in look.items())
    return f'<text x="{x}" y="{y}" font-size="{size}"{attributes}>{escape(words)}</text>'
