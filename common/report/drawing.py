"""What all figures share: styles, panels, intervals, the legend; no global state."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import seaborn as sns
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from common.metrics.statistics import Interval
from common.report.markdown import label
from common.report.results import CONTROL
from common.seeding import keyed_seed

WIDTH = 7.2
"""Width in inches; with DOTS_PER_INCH about as wide as a Markdown page."""
DOTS_PER_INCH = 130
LEGEND_LETTERS = 96
"""Number of characters that fit side by side under a figure."""
LABEL_WIDTH = 26
"""Characters that fit beside a panel."""
COLORS = [
    "#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#56b4e9",
    "#882255", "#999933", "#332288", "#cc6677", "#117733", "#8c564b",
]  # fmt: skip
"""Colours of arms, also for most colour-blind readers, and none near the control's grey."""
MARKERS = "sD^vPX*"
SALT = 60
"""Seed; when it was chosen, no two arms of one experiment drew the same colour."""
STYLE: dict[Any, Any] = {
    **sns.axes_style("whitegrid", {"axes.edgecolor": "0.6", "grid.color": "0.92"}),
    **sns.plotting_context("paper", font_scale=1.05),
    "font.family": "DejaVu Sans",
    "legend.frameon": False,
}


class ArmStyle(NamedTuple):
    """The look of one arm in every figure of every report."""

    color: tuple[float, float, float]
    marker: str


def arm_styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """Control in dark grey; a colour and a marker for each other name, the same in all reports.

    If two of these arms draw the same colour, the first in the alphabet has it and the other takes
    the next one that no arm draws. Every figure gets all arms of its experiment.
    """
    others = sorted({*arms} - {CONTROL})
    colors = _slots(others, len(COLORS))
    styles = {CONTROL: ArmStyle((0.25, 0.25, 0.25), "o")}
    for arm in others:
        first = keyed_seed("marker", arm)
        markers = [MARKERS[(first + step) % len(MARKERS)] for step in range(len(MARKERS))]
        looks = [ArmStyle(to_rgb(COLORS[colors[arm]]), marker) for marker in markers]
        styles[arm] = next((one for one in looks if one not in styles.values()), looks[0])
    return {arm: styles[arm] for arm in dict.fromkeys([CONTROL, *arms])}


def _slots(names: Sequence[str], count: int) -> dict[str, int]:
    """{name: one of `count` slots}, all different as long as there are enough."""
    found: dict[str, int] = {}
    if len(names) > count:
        found = _slots(names[count:], count)
    wanted = {name: keyed_seed("color", SALT, name) % count for name in names[:count]}
    placed = {wanted[name]: name for name in reversed(names[:count])}
    for name in names[:count]:
        slot = wanted[name]
        while placed.get(slot, name) != name:
            slot = (slot + 1) % count
        placed[slot] = name
        found[name] = slot
    return found


def save_figure(figure: Figure, file: Path) -> None:
    """Write a PNG without the name and version of the software that drew it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure.savefig(file, dpi=DOTS_PER_INCH, metadata={"Software": None})


def make_panels(
    titles: Sequence[str], height: float, share: Literal["all", "row", "none"] = "none"
) -> tuple[Figure, list[Axes]]:
    """Panels of `height` inches, two in a row, that share both axes, the vertical one or none."""
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
    """A marker with its bar, horizontal unless `vertical`; nothing where there is no estimate."""
    if not np.isfinite(interval.estimate):
        return
    below, above = interval.estimate - interval.low, interval.high - interval.estimate
    bar = np.nan_to_num([[below], [above]]).clip(min=0)  # rounding may put the estimate outside
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
        label=label(name),
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
    """One legend beneath all panels, with only what is visible in one of them."""
    named: dict[str, Artist] = {}
    for axes in panels:
        handles, names = axes.get_legend_handles_labels()
        for handle, name in zip(handles, names, strict=True):
            if name and _is_seen(handle):
                named.setdefault(name, handle)
    if named:
        longest = max(map(len, named))
        columns = min(len(named), max(1, LEGEND_LETTERS // (longest + 7)))
        lines = -(-len(named) // columns)
        figure.set_figheight(figure.get_figheight() + 0.19 * (lines - 1))
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns)


def _is_seen(handle: Any) -> bool:
    """Whether any part of it lies within its panel; a single point needs a marker to be visible."""
    line = handle.lines[0] if isinstance(handle, ErrorbarContainer) else handle
    if not isinstance(line, Line2D) or line.axes is None:
        return True
    panel = line.axes
    _ = panel.get_xlim(), panel.get_ylim()  # matplotlib computes the limits when asked
    points = line.get_transform().transform(line.get_xydata())
    within = panel.transAxes.inverted().transform(points)
    shown = np.isfinite(within).all(1) & (within > -0.01).all(1) & (within < 1.01).all(1)
    return int(shown.sum()) >= (1 if line.get_marker() not in ("", "None", None) else 2)
