"""Sections of the report of `ar_flowchart`: the chart, three walks, and FVE against boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

from ar_variants.flowchart.drawing import as_mermaid, as_svg, drawn
from common.params import CONTROL
from common.report.markdown import ABSENT, bounds, code, fixed, plain, table
from common.report.results import Results
from common.report.section import Drawing, Section
from common.report.spoken_figures import size_figure
from common.report.tables import arm_table
from common.schema import AV

LOOK_UP = "look_up"
LONGEST = 60
"""Characters of an answer that a walk shows."""


def sections(results: Results) -> list[Section]:
    """Picture and walks of the chart that is drawn; and what more boxes are worth."""
    told: Mapping[str, Any] = results.facts.get("chart", {})
    found = [_picture(told), _walks(told)] if told else []
    return [*found, *_against_boxes(results)]


def _picture(told: Mapping[str, Any]) -> Section:
    boxes = drawn(told["boxes"])
    title = f"The chart: {len(boxes)} boxes"
    caption = "The chart of the first seed. A word's entry and a question's vector are added up."
    drawing = Drawing("chart", caption, as_svg(boxes, title))
    text = (
        "Boxes in the order of the walk, with shares of the test explanations. *Moves*:"
        " the variance of what a box adds, as a share of that of the activations.\n\n"
        f"```mermaid\n{as_mermaid(boxes)}\n```"
    )
    return Section("The chart", text, (drawing,))


def _walks(told: Mapping[str, Any]) -> Section:
    parts = [_walk(number, one) for number, one in enumerate(told["walks"], start=1)]
    text = "\n\n".join(
        [
            "Three test explanations of the AV, drawn by key, followed box by box; a question whose"
            " answer is no is left out, because it adds nothing.",
            *parts,
        ]
    )
    return Section("Three walks", text, on_page=True)


def _walk(number: int, told: Mapping[str, Any]) -> str:
    steps: Sequence[Sequence[Any]] = told["steps"]
    rows = [
        {"box": plain(title), "answer": _short(answer), "FVE so far": fixed(fve)}
        for title, answer, fve in steps
        if answer != "no"
    ]
    return f"**{number}.** {plain(told['text'])}\n\n{table(rows)}"


def _short(answer: str) -> str:
    return plain(answer if len(answer) <= LONGEST else answer[:LONGEST] + " …")


def _against_boxes(results: Results) -> list[Section]:
    """FVE, and FVE beyond the last token, against the number of boxes of each fitted arm."""
    sizes: Mapping[str, float] = results.facts.get("boxes", {})
    rows = {row.arm: row for row in arm_table(results, AV)}
    known = [arm for arm in sizes if arm in rows and 1 in rows[arm].beyond]
    if len(known) < 2:
        return []
    lines = [name for name in (CONTROL, LOOK_UP) if name in rows]
    measures = {
        "FVE": {name: rows[name].fve for name in (*known, *lines)},
        "FVE beyond the last token": {
            name: rows[name].beyond[1] for name in (*known, *lines) if 1 in rows[name].beyond
        },
    }
    cells = [
        {"AR": code(name), "boxes": _count(sizes.get(name))}
        | {title: bounds(found.get(name)) for title, found in measures.items()}
        for name in (*lines, *sorted(known, key=lambda arm: sizes[arm]))
    ]
    figure = size_figure(
        {title: {arm: found[arm] for arm in known} for title, found in measures.items()},
        {arm: round(sizes[arm]) for arm in known},
        "boxes",
        results.arms,
        {
            title: {name: found[name].estimate for name in lines if name in found}
            for title, found in measures.items()
        },
    )
    caption = (
        "FVE of AV text, and beyond the last token, against boxes; lines: no boxes are counted."
    )
    text = "Of AV text; boxes are a mean over runs.\n\n" + table(cells)
    return [Section("Against the number of boxes", text, (Drawing("boxes", caption, figure),))]


def _count(size: float | None) -> str:
    """A number of boxes; a dash for what has none."""
    return ABSENT if size is None else f"{size:.0f}"
