"""Figures of arms whose AVs write their own texts."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill
from types import MappingProxyType

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from common.metrics.statistics import Interval
from common.report.drawing import (
    LABEL_WIDTH,
    STYLE,
    arm_styles,
    draw_interval,
    legend,
    log_axis,
    make_panels,
)
from common.report.markdown import label

DASHES = ("--", ":", "-.")
"""Of lines of what has no size."""
Points = Mapping[str, tuple[Interval, Interval]]
"""{arm: what is drawn across, and up}."""
Lines = Mapping[str, Sequence[tuple[int, Interval]]]
"""{arm: (power of two, measure)}."""


def front_figure(points: Points, x: str, y: str, every_arm: Sequence[str]) -> Figure:
    """Two measures of each arm against one another, each with its interval."""
    with rc_context(STYLE):
        figure, (axes,) = make_panels([y], height=3.2)
        _draw_points(axes, points, every_arm)
        axes.set(xlabel=x, ylabel=fill(y, LABEL_WIDTH))
        legend(figure, [axes])
    return figure


def plane_figure(
    panels: Mapping[str, Points], x: str, every_arm: Sequence[str], levels: Mapping[str, float]
) -> Figure:
    """{title: points}, a panel each; `levels` are marked across with an upright line."""
    with rc_context(STYLE):
        figure, drawn = make_panels(list(panels), height=2.9, share="all")
        for axes, (title, points) in zip(drawn, panels.items(), strict=True):
            _draw_points(axes, points, every_arm)
            for dashes, (name, value) in zip(cycle(DASHES), levels.items()):
                axes.axvline(value, color="0.4", linewidth=1, linestyle=dashes, label=label(name))
            axes.axhline(0, color="0.7", linewidth=0.8)
            axes.set(title=title, xlabel=x)
        legend(figure, drawn)
    return figure


def _draw_points(axes: Axes, points: Points, every_arm: Sequence[str]) -> None:
    styles = arm_styles(every_arm)
    for arm, (across, up) in points.items():
        draw_interval(axes, up, across.estimate, styles[arm], arm, vertical=True)
        draw_interval(axes, across, up.estimate, styles[arm])


def lines_figure(lines: Lines, x: str, y: str, every_arm: Sequence[str]) -> Figure:
    """A measure of each arm against powers of two, each point with its interval."""
    with rc_context(STYLE):
        figure, (axes,) = make_panels([y], height=3.0)
        _draw_lines(axes, lines, every_arm)
        axes.set(xlabel=x, ylabel=y)
        legend(figure, [axes])
    return figure


def lines_panels(panels: Mapping[str, Lines], x: str, every_arm: Sequence[str]) -> Figure:
    """{title: lines}, a panel each."""
    with rc_context(STYLE):
        figure, drawn = make_panels(list(panels), height=2.7)
        for axes, (title, lines) in zip(drawn, panels.items(), strict=True):
            _draw_lines(axes, lines, every_arm)
            axes.set(title=title, xlabel=x)
        legend(figure, drawn)
    return figure


def _draw_lines(axes: Axes, lines: Lines, every_arm: Sequence[str]) -> None:
    styles = arm_styles(every_arm)
    for place, (arm, points) in enumerate(lines.items()):
        aside = 2 ** (0.06 * (place - (len(lines) - 1) / 2))  # so that intervals do not overlap
        for count, interval in points:
            draw_interval(axes, interval, aside * count, styles[arm], arm, vertical=True)
        across, up = zip(*((aside * n, found.estimate) for n, found in points), strict=True)
        axes.plot(across, up, color=styles[arm].color, linewidth=1)
    counts = sorted({count for points in lines.values() for count, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(counts, list(map(str, counts)))
    axes.xaxis.set_minor_locator(NullLocator())


def size_figure(
    measures: Mapping[str, Mapping[str, Interval]],
    sizes: Mapping[str, int],
    x: str,
    every_arm: Sequence[str],
    levels: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> Figure:
    """Some measures of each arm against its size; panels, on a logarithmic axis.

    `levels`: {measure: {name: value}} of what has no size and is drawn as a line.
    """
    styles = arm_styles(every_arm)
    with rc_context(STYLE):
        figure, drawn = make_panels(list(measures), height=2.7)
        for axes, (name, by_arm) in zip(drawn, measures.items(), strict=True):
            for arm, interval in by_arm.items():
                draw_interval(axes, interval, sizes[arm], styles[arm], arm, vertical=True)
            for dashes, (line, value) in zip(cycle(DASHES), levels.get(name, {}).items()):
                axes.axhline(value, color="0.4", linewidth=1, linestyle=dashes, label=label(line))
            log_axis(axes, sizes.values(), x)
            axes.set_title(name)
        legend(figure, drawn)
    return figure
