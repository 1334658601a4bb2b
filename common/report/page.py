"""The parts of a report's page on its verdict and its cost, in tables and a few lines."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from common.report.markdown import (
    ABSENT,
    INCLUDES_ZERO,
    amount,
    bounds,
    code,
    duration,
    plain,
    table,
)
from common.report.results import FAILED, Results
from common.report.verdict import NOT_MEASURED, OTHER_WAY, SHOWN, Finding, Verdict

MOST_FINDINGS = 40
"""Most rows of a verdict's table on the page; more are in the details."""
FEWEST_PAIRS = 3


class VerdictPart(NamedTuple):
    """A verdict on the page."""

    sentence: str
    table: str
    notes: tuple[str, ...]
    left_out: int
    """Rows that are in the details only."""


def without_statistics(verdict: Verdict) -> Verdict:
    """The verdict for too few documents: only its clauses, with nothing measured."""
    findings = tuple(
        row._replace(status=NOT_MEASURED, difference=None, p_value=None, pairs="", readers="")
        for row in verdict.findings
    )
    return Verdict("Not measured.", findings)


def verdict_part(verdict: Verdict) -> VerdictPart:
    """Sentence, table and notes."""
    rows = verdict.findings
    shown = findings_table(rows[:MOST_FINDINGS])
    left_out = max(0, len(rows) - MOST_FINDINGS)
    return VerdictPart(verdict.sentence, shown, verdict.notes, left_out)


def findings_table(findings: Sequence[Finding]) -> str:
    """One row per contrast; a clause and its measure are named only in their first row."""
    named = [_clause(row) for row in findings]
    return table(
        [
            {
                "clause": name if place == 0 or name != named[place - 1] else "",
                "contrast": row.contrast,
                "verdict": f"**{row.status}**" if row.status in (SHOWN, OTHER_WAY) else row.status,
                "difference": bounds(row.difference),
                "corrected p": amount(row.p_value),
                "pairs": row.pairs or ABSENT,
                "neutral ARs": row.readers or ABSENT,
            }
            for place, (row, name) in enumerate(zip(findings, named, strict=True))
        ]
    )


def key_figure(finding: Finding | None) -> str:
    """Contrast, measure and difference of the finding that the index shows."""
    if finding is None or finding.difference is None:
        return ABSENT
    measure = "" if finding.measure == ABSENT else f", {finding.measure}"
    return f"{finding.contrast}{measure}: {bounds(finding.difference)}"


def sureness(results: Results, cluster: str) -> list[str]:
    """Remarks on intervals and pairs of a page; `cluster` is what the bootstrap draws."""
    counts = {arm: len(pairs_of(results, arm)) for arm in results.arms}
    few = [arm for arm, count in counts.items() if 0 < count < FEWEST_PAIRS]
    said = (
        f"Intervals are 95 % bootstrap intervals over {results.documents} {cluster}s;"
        f" {INCLUDES_ZERO} marks one that includes zero."
    )
    if not few:
        return [said]
    who = "Every arm" if len(few) == len(counts) else ", ".join(map(code, few))
    has = "has" if who == "Every arm" or len(few) == 1 else "have"
    pairs = "one pair" if counts[few[0]] == 1 else f"{counts[few[0]]} pairs"
    if len({counts[arm] for arm in few}) > 1:
        pairs = f"fewer than {FEWEST_PAIRS} pairs"
    return [said, f"{who} {has} {pairs}: no interval holds what another pair would give."]


def pairs_of(results: Results, arm: str) -> set[int]:
    """The warm-started pairs from which an arm's runs go on."""
    seeds = {*results.rows.filter(arm=arm)["seed"], *results.measures.filter(arm=arm)["seed"]}
    return {results.pair_of(seed) for seed in seeds}


def cost_lines(results: Results, items: str, cluster: str) -> list[str]:
    """Runs, tuning, data and commit, one line for each that is known."""
    lines = [_training(results), _tuning(results), _data(results, items, cluster)]
    if "commit" in results.facts:
        lines.append(f"Commit {_told(results.facts['commit'])}.")
    return [line for line in lines if line]


def _clause(row: Finding) -> str:
    return row.clause if row.measure == ABSENT else f"{row.clause} ({row.measure})"


def _training(results: Results) -> str:
    runs, where = results.runs, results.facts.get("device")
    if not runs.height:
        return ""
    said = f"{runs.height} runs of {runs['arm'].n_unique()} arms"
    if "train_seconds" in runs.columns and (seconds := float(runs["train_seconds"].sum())):
        said += f", {duration(seconds)} of training in all"
    return f"{said}{f', on {_told(where)}' if where else ''}."


def _tuning(results: Results) -> str:
    """How many trials each arm that is trained had; nothing where none had any."""
    trials = results.trials.filter(pl.col("state") != FAILED)
    found: dict[str, int] = dict(trials.group_by("arm").len().iter_rows())
    if not found:
        return ""
    trained = [arm for arm in results.arms if arm not in results.facts.get("untrained", [])]
    counts = sorted({found.get(arm, 0) for arm in trained})
    return f"Tuning: {' to '.join(map(str, counts[:: max(1, len(counts) - 1)]))} trials an arm."


def _data(results: Results, items: str, cluster: str) -> str:
    facts = results.facts
    count = max(results.rows["key"].n_unique(), results.measures["key"].n_unique())
    if not count:
        return ""
    said = f"{count} {items} of {results.documents} {cluster}s"
    if "layer" in facts and "target" in facts:
        said += f"; activations after block {facts['layer']} of {_told(facts['target'])}"
    return f"{said}."


def _told(fact: Any) -> str:
    values = fact if isinstance(fact, list | tuple) else [fact]
    return ", ".join(plain(str(value)) for value in values)
