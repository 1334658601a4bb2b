"""How many copied tokens an FVE is worth: against the target's own blocks on the last k tokens."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from common.metrics.statistics import Interval
from common.report.markdown import ABSENT, bounds, code, table
from common.report.references import COPIED, LINEAR, is_copied
from common.report.tables import ArmRow

RAW, MAPPED = "own blocks", "own blocks, with a linear map"
Curve = Mapping[int, Interval]
"""{number of copied tokens: FVE}."""


class Panel(NamedTuple):
    """One measure: the curves by name, and each arm."""

    title: str
    curves: dict[str, Curve]
    arms: dict[str, Interval]


def copied_panels(rows: Sequence[ArmRow]) -> list[Panel]:
    """FVE, and FVE beyond the last token, of the rows of one source; none without a curve."""
    panels = [
        Panel(
            title,
            _curves({row.arm: one for row, one in found if is_copied(row.arm)}),
            {row.arm: one for row, one in found if not row.is_floor},
        )
        for title, found in (
            ("FVE", [(row, row.fve) for row in rows]),
            (
                "FVE beyond the last token",
                [(row, row.beyond[1]) for row in rows if 1 in row.beyond],
            ),
        )
    ]
    return [panel for panel in panels if panel.curves and panel.arms]


def copied_table(panels: Sequence[Panel]) -> str:
    """The points of the curves, a row for each number of tokens."""
    counts = sorted({count for one in panels for curve in one.curves.values() for count in curve})
    return table(
        [
            {"copied tokens": str(count)}
            | {
                f"{panel.title}, {name}": bounds(curve.get(count))
                for panel in panels
                for name, curve in panel.curves.items()
            }
            for count in counts
        ]
    )


def worth_line(panels: Sequence[Panel]) -> str:
    """How many copied tokens each arm's FVE is worth, in a sentence; "" without a curve."""
    if not panels:
        return ""
    fve = panels[0]
    curve = fve.curves.get(MAPPED) or next(iter(fve.curves.values()))
    told = [f"{code(arm)} {worth(one.estimate, curve)}" for arm, one in fve.arms.items()]
    return (
        "Worth of the FVE in copied tokens (last tokens of the source text, read by the target's"
        f" {_name(fve.curves)}): {', '.join(told)}."
    )


def worth(fve: float, curve: Curve) -> str:
    """Such as `1.6`, `less than 1`, `more than 16`: between points, along the logarithm."""
    points = [(count, one.estimate) for count, one in sorted(curve.items())]
    if math.isnan(fve) or not points:
        return ABSENT
    if fve < points[0][1]:
        return f"less than {points[0][0]}"
    for (count, low), (more, high) in pairwise(points):
        if low <= fve < high:
            return f"{count * (more / count) ** ((fve - low) / (high - low)):.1f}"
    return f"more than {points[-1][0]}" if fve > points[-1][1] else f"{points[-1][0]}"


def _name(curves: Mapping[str, Curve]) -> str:
    return MAPPED if MAPPED in curves else RAW


def _curves(rows: Mapping[str, Interval]) -> dict[str, Curve]:
    curves: dict[str, dict[int, Interval]] = {RAW: {}, MAPPED: {}}
    for name, fve in rows.items():
        count = name.removeprefix(COPIED).removesuffix(LINEAR)
        curves[MAPPED if name.endswith(LINEAR) else RAW][int(count)] = fve
    return {name: dict(sorted(curve.items())) for name, curve in curves.items() if curve}
