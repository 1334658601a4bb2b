"""The main table of a report's page: results and costs of arms, floors and ceilings."""

from collections.abc import Mapping, Sequence

import polars as pl

from common.metrics.statistics import Interval
from common.report.comparing import gain
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
from common.report.measured import Auroc, MeanOf
from common.report.paired import NotMeasuredError, mean_interval, measures_by_arm
from common.report.results import CONTROL, Results
from common.report.rule import Rule
from common.report.tables import ArmRow
from common.schema import AV, AV_NEUTRAL_AR, AV_UNTRAINED_AR, TEACHER

Columns = dict[str, dict[str, str]]
"""{title: {arm or floor: cell}}."""
Measured = dict[str, dict[str, Interval]]
"""{title: {arm: mean}}."""
SHUFFLED = "shuffled"
OF_TEXTS = ("tokens", "quote_share")
"""Measures that stand beside FVE."""
MOST_MEASURES = 8
"""Number of measures in an experiment without FVE; the details hold all."""
MILLION = 1_000_000
FLOORS = {
    "mean_direction": "always answers the mean activation",
    "tfidf_ridge": "a ridge on the words of the text",
    "embedding_ridge": "a ridge on a sentence embedding of the text",
    "own_blocks": "the target's own blocks on the source text itself",
    SHUFFLED: f"`{CONTROL}`'s AR reads the explanation of another document",
}
"""Explanations of the reference rows; other arms are explained by the experiment."""


def page_sources(results: Results) -> dict[str, str]:
    """{source: title} of the columns of FVE: the arms' own texts, or the same texts for all."""
    left_out = {AV_UNTRAINED_AR, TEACHER} if results.has_own_texts else {AV_UNTRAINED_AR}
    own = {AV: "FVE, own AR", AV_NEUTRAL_AR: "FVE, neutral AR"} if results.has_own_texts else {}
    return {
        source: own.get(source, f"FVE, {writer(source)}")
        for source in results.sources
        if source not in left_out
    }


def measured_columns(results: Results, rule: Rule) -> Measured:
    """Measures on the page: the rule's, and the usual ones or, without FVE, all others."""
    asked = [clause.measure for clause in rule.clauses]
    aurocs = dict.fromkeys(one for one in asked if isinstance(one, Auroc))
    means = [one.measure for one in asked if isinstance(one, MeanOf)]
    if results.rows.height:
        names = dict.fromkeys([*OF_TEXTS, *means])
    else:
        known = {name for one in aurocs for name in (one.label, one.score)}
        every = sorted({*results.measures["measure"].unique()} - known)
        names = dict.fromkeys([*means, *every][:MOST_MEASURES])
    columns = {_auroc_title(one, aurocs): _aurocs(results, one) for one in aurocs}
    columns |= {label(name): measure_means(results, name) for name in names}
    return {title: found for title, found in columns.items() if found}


def measure_means(results: Results, name: str) -> dict[str, Interval]:
    """{arm: mean of a measure}."""
    found = measures_by_arm(results, name)
    return {arm: mean_interval(results, found[arm]) for arm in results.arms if arm in found}


def main_table(results: Results, tables: Mapping[str, Sequence[ArmRow]], measured: Measured) -> str:
    """Arms, then floors and ceilings; columns of which no arm has a value are left out."""
    columns = _fve_columns(results, tables)
    columns |= {
        title: {arm: _mean_cell(title, mean, bool(columns)) for arm, mean in found.items()}
        for title, found in measured.items()
    }
    columns |= _cost_columns(results) | {"training seeds": _seeds(results, tables)}
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


def legend_lines(results: Results, tables: Mapping[str, Sequence[ArmRow]]) -> list[str]:
    """Explanations of the columns and the reference rows, a line each."""
    if not tables:
        return []
    lines = [
        "FVE is the share of the activations' variance that the AR gives back from the words: 1 is"
        " perfect, 0 is the error of answering the mean."
    ]
    if AV_NEUTRAL_AR in tables:
        lines.append("The neutral AR is one for all: trained on the explanations of every arm.")
    if _seeds(results, tables):
        main = page_sources(results)[_main(tables)]
        lines.append(f"Training seeds: how many, and from where to where {main} goes.")
    distractors = results.facts.get("distractors")
    if distractors and any(row.top1 is not None for rows in tables.values() for row in rows):
        lines.append(
            "Top-1: how often the reconstruction is nearer to its own activation than to"
            f" {distractors} others (chance {fixed(1 / (distractors + 1))})."
        )
    present = [name for name in (*results.floors, SHUFFLED) if name in FLOORS]
    if present:
        told = "; ".join(f"{code(name)}, {FLOORS[name]}" for name in present)
        lines.append(f"References: {told}.")
    return lines


def _names(results: Results, columns: Columns) -> dict[str, str]:
    """{row: its first cell} of the rows that are not empty."""
    ceilings = results.facts.get("ceilings", [])
    kinds = {name: "ceiling" if name in ceilings else "floor" for name in results.floors}
    named = {arm: code(arm) for arm in results.arms}
    named |= {name: f"*{kind}* {code(name)}" for name, kind in kinds.items()}
    named[SHUFFLED] = f"*floor* {code(SHUFFLED)}"
    return {
        row: one for row, one in named.items() if any(row in cells for cells in columns.values())
    }


def _fve_columns(results: Results, tables: Mapping[str, Sequence[ArmRow]]) -> Columns:
    """FVE by source, and retrieval from the first of them."""
    columns: Columns = {}
    titles = {source: title for source, title in page_sources(results).items() if source in tables}
    for source, title in titles.items():
        columns[title] = {row.arm: bounds(row.fve) for row in tables[source]}
        for row in tables[source]:
            if row.arm == CONTROL and SHUFFLED in row.transforms:
                columns[title][SHUFFLED] = bounds(row.transforms[SHUFFLED])
    if titles:
        columns["top-1"] = {row.arm: fixed(row.top1) for row in tables[_main(titles)]}
    return columns


def _main(sources: Mapping[str, object]) -> str:
    """The source used for the columns of retrieval and seeds."""
    return AV if AV in sources else next(iter(sources))


def _mean_cell(title: str, mean: Interval, beside_fve: bool) -> str:
    if not beside_fve:
        return bounds(mean)
    return f"{mean.estimate:.0f}" if title == "tokens" else fixed(mean.estimate)


def _cost_columns(results: Results) -> Columns:
    """Means over seeds; parameters only where arms differ in them."""
    sizes, seconds = _means(results, "trainable_parameters"), _means(results, "train_seconds")
    columns: Columns = {}
    if len({*sizes.values()}) > 1:
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


def _seeds(results: Results, tables: Mapping[str, Sequence[ArmRow]]) -> dict[str, str]:
    """Number of seeds and the range of their FVE; empty where each arm has one seed."""
    rows = tables[_main(tables)] if tables else []
    found = {row.arm: [*row.seeds.values()] for row in rows if not row.is_floor}
    counted = results.measures.group_by("arm").agg(pl.col("seed").n_unique())
    counts = dict(counted.iter_rows()) | {arm: len(values) for arm, values in found.items()}
    if max(counts.values(), default=0) < 2:
        return {}
    untrained = results.facts.get("untrained", [])
    return {
        arm: "not trained" if arm in untrained else _range(count, found.get(arm, []))
        for arm, count in counts.items()
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
