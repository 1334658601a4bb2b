"""Figures of a report: drawn without global state, the same bytes for the same numbers."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

import numpy as np
import polars as pl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from common.metrics.statistics import Interval
from common.report.copied import RAW, Panel
from common.report.damaged import PrefixRow, SurvivalRow
from common.report.drawing import (
    LABEL_WIDTH,
    STYLE,
    arm_styles,
    draw_interval,
    legend,
    log_axis,
    make_panels,
)
from common.report.markdown import label, writer
from common.report.references import DRAWN, LEGEND, is_copied
from common.report.tables import ArmRow

SHARE_RANGE = (-1.0, 1.5)
"""Limits of the axis of surviving shares; beyond them a share divides by nearly nothing."""
TITLE_WIDTH = 36
"""Characters that fit over half a figure."""
MOST_BANDS = 4
"""With more arms, the bands of intervals would hide one another; the table still has them."""
CURVE_LINES = ("o-", "o:")
FLOOR_LINES = ("--", ":", "-.", (0, (1, 4)), (0, (6, 4)))
COSTS = {"train_seconds": "training time (s)", "parameters": "parameters"}


def fve_figure(tables: Mapping[str, Sequence[ArmRow]], every_arm: Sequence[str]) -> Figure:
    """FVE of each arm with its interval and one dot per pair; floors as lines; panel per source."""
    arms = _arms(row.arm for rows in tables.values() for row in rows if not row.is_floor)
    styles = arm_styles(every_arm)
    with rc_context(STYLE):
        figure, panels = make_panels(list(tables), height=1.3 + 0.33 * len(arms), share="all")
        for axes, (source, rows) in zip(panels, tables.items(), strict=True):
            _draw_floors(axes, [row for row in rows if row.is_floor])
            for row in rows:
                if not row.is_floor:
                    draw_interval(axes, row.fve, arms.index(row.arm), styles[row.arm])
                    pairs = list(row.pairs.values())
                    height = np.full(len(pairs), arms.index(row.arm) + 0.25)
                    axes.scatter(pairs, height, s=9, color=styles[row.arm].color, alpha=0.6)
            axes.set(title=_title(source), xlabel="FVE (share of variance)")
            axes.set_yticks(range(len(arms)), list(map(label, arms)))
            axes.set_ylim(len(arms) - 0.4, -0.6)
            axes.locator_params(axis="x", nbins=6)
            axes.grid(visible=False, axis="y")
        legend(figure, panels)
    return figure


def copied_figure(panels: Sequence[Panel], every_arm: Sequence[str]) -> Figure:
    """Each arm as a level against the target's own blocks on the last k tokens of the source.

    Where a level meets a curve, it is worth as many copied tokens.
    """
    styles = arm_styles(every_arm)
    with rc_context(STYLE):
        figure, drawn = make_panels([panel.title for panel in panels], height=3.4)
        for axes, panel in zip(drawn, panels, strict=True):
            for name, curve in panel.curves.items():
                values = [one.estimate for one in curve.values()]
                line = CURVE_LINES[name == RAW]
                axes.plot([*curve], values, line, color="0.35", markersize=3.5, label=name)
            for arm, fve in panel.arms.items():
                color = styles[arm].color
                axes.axhline(fve.estimate, color=color, linewidth=1.3, label=label(arm))
                if len(panel.arms) <= MOST_BANDS:
                    axes.axhspan(fve.low, fve.high, color=color, alpha=0.12, linewidth=0)
            counts = sorted({count for curve in panel.curves.values() for count in curve})
            axes.set(title=panel.title, xlabel="copied tokens", xscale="log")
            axes.set_xticks(counts, list(map(str, counts)))
            axes.xaxis.set_minor_locator(NullLocator())
            levels = [one.estimate for one in panel.arms.values()]
            axes.set_ylim(bottom=max(axes.get_ylim()[0], min(0.0, *levels) - 0.1))
        drawn[0].set_ylabel("share of variance")
        legend(figure, drawn)
    return figure


def survival_figure(
    tables: Mapping[str, Sequence[SurvivalRow]], every_arm: Sequence[str]
) -> Figure | None:
    """Share of each arm's FVE that survives each transform of its explanations.

    A share without an interval, of texts of too few documents, is left out, since it would only
    stretch the axis; None where no share has one.
    """
    drawn = {
        source: [row for row in rows if not np.isnan(row.share.low)]
        for source, rows in tables.items()
    }
    every = [row for rows in drawn.values() for row in rows]
    if not every:
        return None
    arms = _arms(row.arm for row in every)
    transforms = list(dict.fromkeys(row.transform for row in every))
    styles, step = arm_styles(every_arm), 0.8 / (len(arms) + 1)
    with rc_context(STYLE):
        height = 1.1 + (0.2 + 0.12 * len(arms)) * len(transforms)
        figure, panels = make_panels(list(drawn), height=height, share="all")
        for axes, (source, rows) in zip(panels, drawn.items(), strict=True):
            for row in rows:
                offset = step * (arms.index(row.arm) - (len(arms) - 1) / 2)
                place = transforms.index(row.transform) + offset
                draw_interval(axes, row.share, place, styles[row.arm], row.arm)
            axes.axvline(1, color="0.6", linewidth=0.8)
            axes.set(title=_title(source), xlabel="share of FVE that survives")
            names = [label(transform) for transform in transforms]
            axes.set_yticks(range(len(transforms)), names)
            axes.set_ylim(len(transforms) - 0.5, -0.5)
            axes.locator_params(axis="x", nbins=6)
            axes.grid(visible=False, axis="y")
        low, high = panels[0].get_xlim()
        panels[0].set_xlim(max(low, SHARE_RANGE[0]), min(high, SHARE_RANGE[1]))
        legend(figure, panels)
    return figure


def prefix_figure(tables: Mapping[str, Sequence[PrefixRow]], every_arm: Sequence[str]) -> Figure:
    """FVE of the first k explanation tokens, a line per arm, with intervals while arms are few."""
    arms = _arms(row.arm for rows in tables.values() for row in rows)
    styles = arm_styles(every_arm)
    with rc_context(STYLE):
        figure, panels = make_panels(list(tables), height=3.0, share="row")
        for axes, (source, rows) in zip(panels, tables.items(), strict=True):
            for arm in arms:
                own = [row for row in rows if row.arm == arm]
                tokens = [row.tokens for row in own]
                color, marker = styles[arm]
                if len(arms) <= MOST_BANDS:
                    low, high = [row.fve.low for row in own], [row.fve.high for row in own]
                    axes.fill_between(tokens, low, high, color=color, alpha=0.15, linewidth=0)
                fve = [row.fve.estimate for row in own]
                axes.plot(tokens, fve, color=color, marker=marker, markersize=4, label=label(arm))
            axes.set(title=_title(source), xlabel="explanation tokens shown")
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.set_xticks(sorted({row.tokens for row in rows}))
        panels[0].set_ylabel("FVE (share of variance)")
        legend(figure, panels)
    return figure


def cost_figure(
    rows: Sequence[ArmRow], runs: pl.DataFrame, every_arm: Sequence[str]
) -> Figure | None:
    """FVE of each arm against its cost, on logarithmic axes; None where all cost about the same."""
    shown = [row for row in rows if row.arm in runs["arm"]]
    costs = {cost: _mean_costs(runs, cost) for cost in COSTS}
    costs = {cost: by_arm for cost, by_arm in costs.items() if _differs(by_arm)}
    if not costs:
        return None
    styles = arm_styles(every_arm)
    with rc_context(STYLE):
        figure, panels = make_panels(list(costs), height=3.4, share="row")
        for axes, (cost, by_arm) in zip(panels, costs.items(), strict=True):
            for row in shown:
                if row.arm in by_arm:
                    style = styles[row.arm]
                    draw_interval(axes, row.fve, by_arm[row.arm], style, row.arm, vertical=True)
            log_axis(axes, by_arm.values(), COSTS[cost])
        panels[0].set_ylabel("FVE (share of variance)")
        legend(figure, panels)
    return figure


def curves_figure(curves: pl.DataFrame, every_arm: Sequence[str]) -> Figure:
    """Training curves: a panel per metric, a colour per arm, a thin line per seed."""
    metrics = sorted(curves["metric"].unique())
    with rc_context(STYLE):
        figure, panels = make_panels(metrics, height=2.7)
        for axes, metric in zip(panels, metrics, strict=True):
            for arm, style in arm_styles(every_arm).items():
                own = curves.filter(arm=arm, metric=metric).sort("seed", "step")
                for run in own.partition_by("seed", maintain_order=True):
                    mark = style.marker if run.height == 1 else ""
                    look = {"color": style.color, "alpha": 0.75, "marker": mark, "markersize": 4}
                    axes.plot(run["step"], run["value"], label=label(arm), **look)
            axes.set(xlabel="training step", ylabel=fill(label(metric), LABEL_WIDTH))
        legend(figure, panels)
    return figure


def measures_figure(
    columns: Mapping[str, Mapping[str, Interval]], every_arm: Sequence[str]
) -> Figure:
    """Means of each arm with their intervals: {title: {arm: mean}}, a panel for each title."""
    arms = [arm for arm in every_arm if any(arm in found for found in columns.values())]
    styles = arm_styles(every_arm)
    with rc_context(STYLE):
        figure, panels = make_panels(list(columns), height=1.0 + 0.28 * len(arms))
        for axes, (title, found) in zip(panels, columns.items(), strict=True):
            for arm, mean in found.items():
                draw_interval(axes, mean, arms.index(arm), styles[arm])
            axes.set(xlabel=fill(title, TITLE_WIDTH))
            axes.set_yticks(range(len(arms)), list(map(label, arms)))
            axes.set_ylim(len(arms) - 0.4, -0.6)
            axes.locator_params(axis="x", nbins=6)
            axes.grid(visible=False, axis="y")
    return figure


def _title(source: str) -> str:
    texts, comma, reader = writer(source).partition(", ")
    return f"{texts},\n{fill(reader, TITLE_WIDTH)}" if comma else fill(texts, TITLE_WIDTH)


def _mean_costs(runs: pl.DataFrame, cost: str) -> dict[str, float]:
    """{arm: mean over seeds}, of the values that a logarithmic axis can show."""
    known = runs.filter(pl.col(cost) > 0).sort("arm", "seed")
    means = known.group_by("arm", maintain_order=True).agg(pl.col(cost).cast(pl.Float64).mean())
    return dict(means.iter_rows())


def _differs(by_arm: Mapping[str, float]) -> bool:
    """Whether the dearest arm costs a quarter more than the cheapest, or more."""
    return max(by_arm.values(), default=0) >= 1.25 * min(by_arm.values(), default=1)


def _arms(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _draw_floors(axes: Axes, floors: Sequence[ArmRow]) -> None:
    """Of the references that every report has only some, and all others."""
    axes.axvline(0, color="0.6", linewidth=0.8)
    every = [row for row in floors if not is_copied(row.arm)]
    shown = [row for row in every if row.arm in DRAWN or row.arm not in LEGEND]
    for index, row in enumerate(shown):
        style = FLOOR_LINES[index % len(FLOOR_LINES)]
        name = label(row.arm)
        axes.axvline(row.fve.estimate, color="0.35", linewidth=1.1, linestyle=style, label=name)
