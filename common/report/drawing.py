"""What all figures share: looks, panels, intervals, the legend; no global state."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import seaborn as sns
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from common.metrics.statistics import Interval
from common.report.results import CONTROL

WIDTH = 7.2
"""Inches; with DOTS_PER_INCH about as wide as a Markdown page."""
DOTS_PER_INCH = 130
LEGEND_LETTERS = 96
"""So many letters fit side by side under a figure."""
MARKERS = "sD^vPX*"
"""Seven, so that with ten colours the first seventy arms all look different."""
STYLE: dict[Any, Any] = {
    **sns.axes_style("whitegrid", {"axes.edgecolor": "0.6", "grid.color": "0.92"}),
    **sns.plotting_context("paper", font_scale=1.05),
    "font.family": "DejaVu Sans",
    "legend.frameon": False,
}


class ArmStyle(NamedTuple):
    """How one arm looks in every figure of a report."""

    color: tuple[float, float, float]
    marker: str


def arm_styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """Control in dark grey, the others in a colour-blind palette; markers tell repeats apart.

    Every figure is given all arms of the report, so that one looks alike where others are missing.
    """
    palette = sns.color_palette("colorblind")
    others = [arm for arm in arms if arm != CONTROL]
    styles = {CONTROL: ArmStyle((0.25, 0.25, 0.25), "o")}
    for index, arm in enumerate(others):
        marker = MARKERS[index % len(MARKERS)]
        styles[arm] = ArmStyle(palette[index % len(palette)], marker)
    return styles


def save_figure(figure: Figure, file: Path) -> None:
    """Write a PNG without the name and version of the software that drew it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure.savefig(file, dpi=DOTS_PER_INCH, metadata={"Software": None})


def make_panels(
    titles: Sequence[str], height: float, share: Literal["all", "row", "none"] = "none"
) -> tuple[Figure, list[Axes]]:
    """Panels, two in a row of `height` inches, that share both axes, the vertical one or none."""
    columns = min(2, len(titles))
    lines = -(-len(titles) // columns)
    figure = Figure(figsize=(WIDTH, height * lines), layout=ConstrainedLayoutEngine(wspace=0.06))
    sharex = "all" if share == "all" else "none"
    grid = figure.subplots(lines, columns, squeeze=False, sharex=sharex, sharey=share)
    grid = grid.flatten().tolist()
    for axes in grid:
        sns.despine(ax=axes)
    for axes in grid[len(titles) :]:
        axes.remove()
    return figure, grid[: len(titles)]


def draw_interval(
    axes: Axes,
    interval: Interval,
    place: int | float,
    style: ArmStyle,
    name: str = "",
    vertical: bool = False,
) -> None:
    """A mark with its bar, across unless `vertical`; nothing where there is no estimate."""
    if not np.isfinite(interval.estimate):
        return
    below, above = interval.estimate - interval.low, interval.high - interval.estimate
    bar = np.nan_to_num([[below], [above]])
    axes.errorbar(
        place if vertical else interval.estimate,
        interval.estimate if vertical else place,
        yerr=bar if vertical else None,
        xerr=None if vertical else bar,
        color=style.color,
        marker=style.marker,
        markersize=5,
        linestyle="none",
        elinewidth=1.4,
        capsize=0,
        label=name,
    )


def log_axis(axes: Axes, values: Collection[int | float], title: str) -> None:
    """A logarithmic horizontal axis with few ticks, whether the values lie near or far apart."""
    wide = max(values) > 4 * min(values)
    axes.set(xscale="log", xlabel=title)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15)


def legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend for all panels, beneath them."""
    named: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        named |= {name: handle for handle, name in zip(handles, labels, strict=True) if name}
    if named:
        longest = max(map(len, named))
        columns = min(len(named), max(1, LEGEND_LETTERS // (longest + 7)))
        lines = -(-len(named) // columns)
        figure.set_figheight(figure.get_figheight() + 0.19 * (lines - 1))
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns)
