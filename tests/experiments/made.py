"""Results made by hand, for decision rules that must say shown or not shown."""

from collections.abc import Callable, Sequence

import polars as pl

from common.report.results import MEASURES_SCHEMA, ROWS_SCHEMA, Results
from common.report.verdict import Finding, Verdict

DOCUMENTS, SEEDS = 25, (0, 1, 2)

Values = Callable[[str, int, float], tuple[dict[str, float], dict[str, float]]]
"""Arm, seed and the document's noise → squared error by source, and measures by name."""


def results_of(
    experiment: str, arms: Sequence[str], values: Values, noise: float, resamples: int
) -> Results:
    """One activation a document, variance 1; `noise` is the step between documents."""
    rows, measures = [], []
    fixed = {"transform": "original", "applied": True, "cosine": 0.5}
    for seed in SEEDS:
        for arm in arms:
            for document in range(DOCUMENTS):
                names = {"arm": arm, "seed": seed, "key": f"{document}:16"}
                in_rows, in_measures = {"doc_id": str(document)}, {"cluster": str(document)}
                wiggle = noise * ((document * 7 + len(arm)) % 5 - 2)
                errors, measured = values(arm, seed, wiggle)
                rows += [
                    names | in_rows | fixed | {"source": source, "squared_error": error}
                    for source, error in errors.items()
                ]
                measures += [
                    names | in_measures | {"measure": name, "value": value}
                    for name, value in measured.items()
                ]
    facts = {
        "profile": "test",
        "experiment": experiment,
        "floors": [],
        "variance": 1.0,
        "resamples": resamples,
        "arms": list(arms),
    }
    return Results(
        facts=facts,
        text_metrics={},
        rows=pl.DataFrame(rows, schema=ROWS_SCHEMA),
        measures=pl.DataFrame(measures, schema=MEASURES_SCHEMA),
    )


def statuses(verdict: Verdict, clause: str) -> dict[str, str]:
    """{arm: status} of one clause, whose contrasts are of different arms."""
    rows = [row for row in verdict.findings if row.clause == clause]
    found = {row.contrast.split(" - ")[0].strip("`"): row.status for row in rows}
    assert len(found) == len(rows)
    return found


def row_of(verdict: Verdict, clause: str, arm: str = "") -> Finding:
    """The row of a clause that has one contrast, or that of an arm."""
    rows = [row for row in verdict.findings if row.clause == clause]
    (found,) = [row for row in rows if not arm or row.contrast.startswith(f"`{arm}`")]
    return found
