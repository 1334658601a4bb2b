"""Figures of a report: drawn without global state, the same bytes for the same numbers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from common.metrics.statistics import Interval
from common.report.markdown import label, writer
from common.report.results import CONTROL
from common.report.tables import ArmRow, PrefixRow, SurvivalRow

WIDTH = 7.2
"""Inches; with DOTS_PER_INCH about as wide as a Markdown page."""
DOTS_PER_INCH = 130
SHARE_RANGE = (-1.0, 1.5)
"""Beyond this a surviving share is a division by next to nothing, and the axis is cut."""
MOST_BANDS = 4
"""More bands of intervals than this hide one another; the table still holds them."""
LEGEND_LETTERS = 96
"""So many letters fit side by side under a figure."""
MARKERS = "sD^vPX*"
"""Seven, so that with ten colours the first seventy arms all look different."""
FLOOR_LINES = ("--", ":", "-.", (0, (1, 4)), (0, (6, 4)))
COSTS = {"train_seconds": "training time (s)", "parameters": "parameters"}
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
    """Control in dark grey, the others in a colour-blind palette; markers tell repeats apart."""
    palette = sns.color_palette("colorblind")
    others = [arm for arm in arms if arm != CONTROL]
    styles = {CONTROL: ArmStyle((0.25, 0.25, 0.25), "o")}
    for index, arm in enumerate(others):
        marker = MARKERS[index % len(MARKERS)]
        styles[arm] = ArmStyle(palette[index % len(palette)], marker)
    return styles


def fve_figure(tables: Mapping[str, Sequence[ArmRow]]) -> Figure:
    """FVE of each arm with its interval and one dot per seed; floors as lines; panel per source."""
    arms = _arms(row.arm for rows in tables.values() for row in rows if not row.is_floor)
    styles = arm_styles(arms)
    with rc_context(STYLE):
        figure, panels = _panels(list(tables), height=1.3 + 0.33 * len(arms), share="all")
        for axes, (source, rows) in zip(panels, tables.items(), strict=True):
            _draw_floors(axes, [row for row in rows if row.is_floor])
            for row in rows:
                if not row.is_floor:
                    _draw_interval(axes, row.fve, arms.index(row.arm), styles[row.arm])
                    seeds = list(row.seeds.values())
                    height = np.full(len(seeds), arms.index(row.arm) + 0.25)
                    axes.scatter(seeds, height, s=9, color=styles[row.arm].color, alpha=0.6)
            axes.set(title=writer(source), xlabel="FVE (share of variance)")
            axes.set_yticks(range(len(arms)), arms)
            axes.set_ylim(len(arms) - 0.4, -0.6)
            axes.locator_params(axis="x", nbins=6)
            axes.grid(visible=False, axis="y")
        _legend(figure, panels)
    return figure


def survival_figure(tables: Mapping[str, Sequence[SurvivalRow]]) -> Figure:
    """Share of each arm's FVE that survives each transform of its explanations.

    A share without an interval, of a few texts of a few documents, would only stretch the axis.
    """
    arms = _arms(row.arm for rows in tables.values() for row in rows)
    transforms = list(dict.fromkeys(row.transform for rows in tables.values() for row in rows))
    styles, step = arm_styles(arms), 0.8 / (len(arms) + 1)
    with rc_context(STYLE):
        height = 1.1 + (0.2 + 0.12 * len(arms)) * len(transforms)
        figure, panels = _panels(list(tables), height=height, share="all")
        for axes, (source, rows) in zip(panels, tables.items(), strict=True):
            for row in rows:
                if np.isnan(row.share.low):
                    continue
                offset = step * (arms.index(row.arm) - (len(arms) - 1) / 2)
                place = transforms.index(row.transform) + offset
                _draw_interval(axes, row.share, place, styles[row.arm], row.arm)
            axes.axvline(1, color="0.6", linewidth=0.8)
            axes.set(title=writer(source), xlabel="share of FVE that survives")
            names = [label(transform) for transform in transforms]
            axes.set_yticks(range(len(transforms)), names)
            axes.set_ylim(len(transforms) - 0.5, -0.5)
            axes.locator_params(axis="x", nbins=6)
            axes.grid(visible=False, axis="y")
        low, high = panels[0].get_xlim()
        panels[0].set_xlim(max(low, SHARE_RANGE[0]), min(high, SHARE_RANGE[1]))
        _legend(figure, panels)
    return figure


def prefix_figure(tables: Mapping[str, Sequence[PrefixRow]]) -> Figure:
    """FVE of the first k explanation tokens, a line per arm, in its interval while arms are few."""
    arms = _arms(row.arm for rows in tables.values() for row in rows)
    styles = arm_styles(arms)
    with rc_context(STYLE):
        figure, panels = _panels(list(tables), height=3.0, share="row")
        for axes, (source, rows) in zip(panels, tables.items(), strict=True):
            for arm in arms:
                own = [row for row in rows if row.arm == arm]
                tokens = [row.tokens for row in own]
                color, marker = styles[arm]
                if len(arms) <= MOST_BANDS:
                    low, high = [row.fve.low for row in own], [row.fve.high for row in own]
                    axes.fill_between(tokens, low, high, color=color, alpha=0.15, linewidth=0)
                fve = [row.fve.estimate for row in own]
                axes.plot(tokens, fve, color=color, marker=marker, markersize=4, label=arm)
            axes.set(title=writer(source), xlabel="explanation tokens shown")
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.set_xticks(sorted({row.tokens for row in rows}))
        panels[0].set_ylabel("FVE (share of variance)")
        _legend(figure, panels)
    return figure


def cost_figure(rows: Sequence[ArmRow], runs: pl.DataFrame) -> Figure | None:
    """FVE of each arm against what it costs, on logarithmic axes; None where all cost the same."""
    shown = [row for row in rows if row.arm in runs["arm"]]
    costs = {cost: _mean_costs(runs, cost) for cost in COSTS}
    costs = {cost: by_arm for cost, by_arm in costs.items() if len(set(by_arm.values())) > 1}
    if not costs:
        return None
    styles = arm_styles(_arms(row.arm for row in shown))
    with rc_context(STYLE):
        figure, panels = _panels(list(costs), height=2.9, share="row")
        for axes, (cost, by_arm) in zip(panels, costs.items(), strict=True):
            for row in shown:
                if row.arm in by_arm:
                    style = styles[row.arm]
                    _draw_interval(axes, row.fve, by_arm[row.arm], style, row.arm, vertical=True)
            wide = max(by_arm.values()) > 4 * min(by_arm.values())
            axes.set(xscale="log", xlabel=COSTS[cost])
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(4))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.margins(x=0.15)
        panels[0].set_ylabel("FVE (share of variance)")
        _legend(figure, panels)
    return figure


def front_figure(points: Mapping[str, tuple[Interval, Interval]], x: str, y: str) -> Figure:
    """Two measures of each arm against one another, each with its interval."""
    styles = arm_styles(list(points))
    with rc_context(STYLE):
        figure, (axes,) = _panels([y], height=3.2)
        for arm, (across, up) in points.items():
            _draw_interval(axes, up, across.estimate, styles[arm], arm, vertical=True)
            _draw_interval(axes, across, up.estimate, styles[arm])
        axes.set(xlabel=x, ylabel=y)
        _legend(figure, [axes])
    return figure


def lines_figure(lines: Mapping[str, Sequence[tuple[int, Interval]]], x: str, y: str) -> Figure:
    """A measure of each arm against powers of two, each point with its interval."""
    styles = arm_styles(list(lines))
    with rc_context(STYLE):
        figure, (axes,) = _panels([y], height=3.0)
        for place, (arm, points) in enumerate(lines.items()):
            aside = 2 ** (0.06 * (place - (len(lines) - 1) / 2))  # else intervals hide one another
            for count, interval in points:
                _draw_interval(axes, interval, aside * count, styles[arm], arm, vertical=True)
            across, up = zip(*((aside * n, found.estimate) for n, found in points), strict=True)
            axes.plot(across, up, color=styles[arm].color, linewidth=1)
        counts = sorted({count for points in lines.values() for count, _ in points})
        axes.set(xscale="log", xlabel=x, ylabel=y)
        axes.set_xticks(counts, list(map(str, counts)))
        axes.xaxis.set_minor_locator(NullLocator())
        _legend(figure, [axes])
    return figure


def curves_figure(curves: pl.DataFrame, arms: Sequence[str]) -> Figure:
    """Training curves: a panel per metric, a colour per arm, a thin line per seed."""
    metrics = sorted(curves["metric"].unique())
    styles = arm_styles(arms)
    with rc_context(STYLE):
        figure, panels = _panels(metrics, height=2.7)
        for axes, metric in zip(panels, metrics, strict=True):
            for arm in arms:
                own = curves.filter(arm=arm, metric=metric).sort("seed", "step")
                for run in own.partition_by("seed", maintain_order=True):
                    color = styles[arm].color
                    axes.plot(run["step"], run["value"], color=color, alpha=0.75, label=arm)
            axes.set(xlabel="training step", ylabel=label(metric))
        _legend(figure, panels)
    return figure


def save_figure(figure: Figure, file: Path) -> None:
    """Write a PNG without the name and version of the software that drew it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure.savefig(file, dpi=DOTS_PER_INCH, metadata={"Software": None})


def _mean_costs(runs: pl.DataFrame, cost: str) -> dict[str, float]:
    """{arm: mean over seeds} of what can stand on a logarithmic axis."""
    known = runs.filter(pl.col(cost) > 0).sort("arm", "seed")
    means = known.group_by("arm", maintain_order=True).agg(pl.col(cost).cast(pl.Float64).mean())
    return dict(means.iter_rows())


def _arms(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _panels(
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


def _draw_interval(
    axes: Axes,
    interval: Interval,
    place: int | float,
    style: ArmStyle,
    name: str = "",
    vertical: bool = False,
) -> None:
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


def _draw_floors(axes: Axes, floors: Sequence[ArmRow]) -> None:
    axes.axvline(0, color="0.6", linewidth=0.8)
    for index, row in enumerate(floors):
        style = FLOOR_LINES[index % len(FLOOR_LINES)]
        name = label(row.arm)
        axes.axvline(row.fve.estimate, color="0.35", linewidth=1.1, linestyle=style, label=name)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
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
