"""Sections of a report that plot arms in two measures, or a measure against the arms' size."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from common.metrics.statistics import Interval
from common.report.markdown import amount, bounds, code, table
from common.report.section import Drawing, Section
from common.report.wording import listed

Points = Mapping[str, tuple[Interval, Interval]]
"""{arm: the measure that is better low, the one that is better high}."""


class Axes(NamedTuple):
    """The two measures of a front, in words: lower is better in the first, higher in the second."""

    low: str
    high: str
    title: str
    """Caption of the figure."""


def front_section(points: Points, axes: Axes, every_arm: Sequence[str]) -> Section:
    """Which arms no other arm beats in both measures, and the figure."""
    from common.report.spoken_figures import front_figure

    best = [arm for arm in points if not is_dominated(arm, points)]
    text = (
        f"{axes.low[:1].upper()}{axes.low[1:]} against {axes.high}. On the front, where no other"
        " arm is as low in the first and as high in the second (point estimates; an interval may"
        f" span several): {listed(best)}."
    )
    figure = front_figure(points, axes.low, axes.high, every_arm)
    return Section("The front", text, (Drawing("front", axes.title, figure),))


def is_dominated(arm: str, points: Points) -> bool:
    """Whether another arm is at least as good in both measures, and not equal in both."""
    low, high = (interval.estimate for interval in points[arm])
    return any(
        other[0].estimate <= low
        and other[1].estimate >= high
        and (other[0].estimate, other[1].estimate) != (low, high)
        for other in points.values()
    )


def size_section(
    measures: Mapping[str, Mapping[str, Interval]],
    sizes: Mapping[str, int],
    every_arm: Sequence[str],
    text: str,
) -> Section:
    """{title: {arm: measure}} against the parameters of each arm's AR; `text` explains them."""
    from common.report.spoken_figures import size_figure

    rows = [
        {"arm": code(arm), "AR parameters": amount(size)}
        | {name: bounds(found.get(arm)) for name, found in measures.items()}
        for arm, size in sorted(sizes.items(), key=lambda item: -item[1])
    ]
    figure = size_figure(measures, sizes, "parameters of the AR", every_arm)
    drawing = Drawing("size", f"{', '.join(measures)}, against the AR's size.", figure)
    return Section("Against the size of the AR", f"{text}\n\n{table(rows)}", (drawing,))
