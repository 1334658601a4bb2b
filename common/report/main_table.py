"""The main table of a report's page: results and costs of arms, floors and ceilings."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from common.metrics.statistics import Interval
from common.report.comparing import gain
from common.report.content import OF_CONTENT
from common.report.fve import BEYOND
from common.report.markdown import (
    ABSENT,
    amount,
    bounds,
    code,
    duration,
    fixed,
    label,
    table,
    writer,
)
from common.report.measured import NUMBERS, Auroc, Fve, MeanOf
from common.report.page import pairs_of
from common.report.paired import NotMeasuredError, measure_means
from common.report.references import SHUFFLED, is_copied, main_source
from common.report.results import CONTROL, Results
from common.report.rule import Rule
from common.report.spoken import OF_TEXTS
from common.report.tables import ArmRow
from common.schema import AV, AV_NEUTRAL_AR, AV_UNTRAINED_AR, TEACHER

Columns = dict[str, dict[str, str]]
"""{title: {arm or floor: cell}}."""
Measured = dict[str, dict[str, Interval]]
"""{title: {arm: mean}}."""
Tables = Mapping[str, Sequence[ArmRow]]
"""{source: its rows}."""
BESIDE_FVE = ("suffix_1", "content", "tokens")
"""Measures that stand beside FVE."""
MOST_MEASURES = 8
"""Number of measures in an experiment without FVE; the details hold all."""
MILLION = 1_000_000


class Column(NamedTuple):
    """A column of FVE."""

    source: str
    beyond: int | None
    """As in `measured.Fve`."""
    title: str


def page_sources(results: Results) -> list[str]:
    """The sources of the columns of FVE: the arms' own texts, or the same texts for all.

    The main one first.
    """
    left_out = {AV_UNTRAINED_AR, TEACHER} if results.has_own_texts else {AV_UNTRAINED_AR}
    shown = [source for source in results.sources if source not in left_out]
    return sorted(shown, key=lambda source: (source != main_source(shown), source))


def fve_columns(results: Results, rule: Rule, tables: Tables) -> list[Column]:
    """FVE and FVE beyond tokens of the main source; of the others what says most, and is asked for.

    Under neutral ARs, which read the same texts, FVE beyond the last token stands for FVE.
    """
    known = {k for rows in tables.values() for row in rows for k in row.beyond}
    asked = {
        (one.source, one.beyond)
        for clause in rule.clauses
        if isinstance(one := clause.measure, Fve)
    }
    columns = []
    for place, source in enumerate(source for source in page_sources(results) if source in tables):
        usual: list[int | None] = [None, *BEYOND] if place == 0 else [None, 1]
        if source == AV_NEUTRAL_AR and known:
            usual = [1]
        every: list[int | None] = [None, *BEYOND]
        chosen = [k for k in every if k in usual or (k and (source, k) in asked)]
        columns += [
            Column(source, k, _title(results, source, k)) for k in chosen if k is None or k in known
        ]
    return columns


def measured_columns(results: Results, rule: Rule) -> Measured:
    """Measures on the page: the rule's, and the usual ones or, without FVE, all others.

    Of the measures that the details tell of every arm's texts, only the usual ones and that of the
    rule's key clause.
    """
    asked = {clause.name: clause.measure for clause in rule.clauses}
    aurocs = dict.fromkeys(one for one in asked.values() if isinstance(one, Auroc))
    means = {name: one.measure for name, one in asked.items() if isinstance(one, MeanOf)}
    if results.rows.height:
        told = {*OF_TEXTS, *OF_CONTENT}
        own = [one for name, one in means.items() if name == rule.key_clause or one not in told]
        names = dict.fromkeys([*own, *BESIDE_FVE])
    else:
        known = {name for one in aurocs for name in (one.label, one.score)}
        every = sorted({*results.measures["measure"].unique()} - known)
        names = dict.fromkeys([*means.values(), *every][:MOST_MEASURES])
    columns = {_auroc_title(one, aurocs): _aurocs(results, one) for one in aurocs}
    columns |= {label(name): measure_means(results, name) for name in names}
    return {title: found for title, found in columns.items() if found}


def main_table(
    results: Results, shown: Sequence[Column], tables: Tables, measured: Measured
) -> str:
    """Arms, then floors and ceilings; columns of which no arm has a value are left out."""
    columns = _fve_cells(shown, tables)
    if shown:
        columns["top-1"] = {row.arm: fixed(row.top1) for row in tables[shown[0].source]}
    columns |= {
        title: {arm: _mean_cell(title, mean, bool(shown)) for arm, mean in found.items()}
        for title, found in measured.items()
    }
    columns |= _cost_columns(results) | {"pairs": _pairs(results, tables)}
    columns = {
        title: cells
        for title, cells in columns.items()
        if any(cells.get(arm, ABSENT) != ABSENT for arm in results.arms)
    }
    names = _names(results, columns)
    return table(
        [
            {"arm": named} | {title: cells.get(row, ABSENT) for title, cells in columns.items()}
            for row, named in names.items()
        ]
    )


def pairs_measure(results: Results, tables: Tables) -> str:
    """Of what the column of pairs gives the range, in words."""
    source = main_source([*tables])
    beyond = 1 if any(row.beyond_by_pair for row in tables[source]) else None
    return _title(results, source, beyond)


def has_pairs(results: Results) -> bool:
    """Whether any arm goes on from several pairs."""
    return any(len(pairs_of(results, arm)) > 1 for arm in results.arms)


def _title(results: Results, source: str, beyond: int | None) -> str:
    """Such as `FVE, own AR` or `beyond the last token, neutral ARs`."""
    own = {AV: "own AR", AV_NEUTRAL_AR: "neutral ARs"} if results.has_own_texts else {}
    what = NUMBERS[beyond].strip() if beyond else "FVE"
    return f"{what}, {own.get(source, writer(source))}"


def _names(results: Results, columns: Columns) -> dict[str, str]:
    """{row: its first cell} of the rows that are not empty."""
    ceilings = results.facts.get("ceilings", [])
    kinds = {name: "ceiling" if name in ceilings else "floor" for name in results.floors}
    named = {arm: code(arm) for arm in results.arms}
    named |= {name: f"*{kind}* {code(name)}" for name, kind in kinds.items() if not is_copied(name)}
    named[SHUFFLED] = f"*floor* {code(SHUFFLED)}"
    return {
        row: one for row, one in named.items() if any(row in cells for cells in columns.values())
    }


def _fve_cells(shown: Sequence[Column], tables: Tables) -> Columns:
    """FVE by column; what a reference gives for one source is not repeated for the next."""
    columns: Columns = {}
    told: dict[int | None, dict[str, str]] = {}
    for source, beyond, title in shown:
        cells, before = {}, told.setdefault(beyond, {})
        for row in tables[source]:
            cell = bounds(row.fve if beyond is None else row.beyond.get(beyond))
            if not row.is_floor or before.get(row.arm) != cell:
                cells[row.arm] = cell
            if row.is_floor:
                before.setdefault(row.arm, cell)
            if row.arm == CONTROL and beyond is None and SHUFFLED in row.transforms:
                cells[SHUFFLED] = bounds(row.transforms[SHUFFLED])
        columns[title] = cells
    return columns


def _mean_cell(title: str, mean: Interval, beside_fve: bool) -> str:
    if not beside_fve:
        return bounds(mean)
    return f"{mean.estimate:.0f}" if title == "tokens" else fixed(mean.estimate)


def _cost_columns(results: Results) -> Columns:
    """Means over seeds; parameters only where ARs are compared that differ in them."""
    sizes, seconds = _means(results, "trainable_parameters"), _means(results, "train_seconds")
    columns: Columns = {}
    if len({*sizes.values()}) > 1 and not results.has_own_texts:
        columns["trained parameters"] = {
            arm: f"{size / MILLION:.1f} M" if size >= MILLION else amount(round(size))
            for arm, size in sizes.items()
        }
    return columns | {"training": {arm: duration(took) for arm, took in seconds.items()}}


def _means(results: Results, name: str) -> dict[str, float]:
    if name not in results.runs.columns:
        return {}
    known = results.runs.drop_nulls(name).group_by("arm").agg(pl.col(name).mean())
    return dict(known.iter_rows())


def _pairs(results: Results, tables: Tables) -> dict[str, str]:
    """Number of pairs and the range over them; empty where each arm has one pair."""
    if not has_pairs(results):
        return {}
    rows = tables[main_source([*tables])] if tables else []
    found = {row.arm: [*(row.beyond_by_pair or row.pairs).values()] for row in rows}
    return {
        arm: _range(count, found.get(arm, []))
        for arm in results.arms
        if (count := len(pairs_of(results, arm)))
    }


def _range(count: int, values: Sequence[float]) -> str:
    return (
        f"{count}: {fixed(min(values))} to {fixed(max(values))}" if len(values) > 1 else f"{count}"
    )


def _aurocs(results: Results, measure: Auroc) -> dict[str, Interval]:
    found = {}
    for arm in results.arms:
        try:
            found[arm] = gain(measure, results, arm, 0.0).difference
        except NotMeasuredError:
            continue
    return found


def _auroc_title(measure: Auroc, every: Mapping[Auroc, None]) -> str:
    """Title, with the score if there is more than one."""
    return f"AUROC, {label(measure.score)}" if len(every) > 1 else "AUROC"
