"""Results made by hand, for decision rules that must say shown or not shown."""

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from common.report.results import MEASURES_SCHEMA, ROWS_SCHEMA, Results
from common.report.verdict import Finding, Verdict
from common.schema import AV, AV_NEUTRAL_AR

DOCUMENTS, SEEDS = 25, (0, 1, 2)
NEUTRAL = tuple(f"{AV_NEUTRAL_AR}_{number}" for number in range(3))

Error = tuple[float, float]
"""A squared error, and that beyond the last tokens of the source."""
Errors = Mapping[tuple[str, str], Error]
"""{(source, transform): errors}."""
Values = Callable[[str, int, float], tuple[Errors, dict[str, float]]]
"""Arm, seed and the document's noise → errors, and measures by name."""


def results_of(
    experiment: str, arms: Sequence[str], values: Values, noise: float, resamples: int
) -> Results:
    """One activation a document, variance 1 everywhere; `noise` is the step between documents."""
    rows, measures = [], []
    for seed in SEEDS:
        for arm in arms:
            for document in range(DOCUMENTS):
                names = {"arm": arm, "seed": seed, "key": f"{document}:16"}
                in_rows = {"doc_id": str(document), "applied": True, "cosine": 0.5}
                wiggle = noise * ((document * 7 + len(arm)) % 5 - 2)
                errors, measured = values(arm, seed, wiggle)
                rows += [
                    names | in_rows | {"source": source, "transform": transform} | error_columns(*e)
                    for (source, transform), e in errors.items()
                ]
                measures += [
                    names | {"cluster": str(document), "measure": name, "value": value}
                    for name, value in measured.items()
                ]
    return Results(
        facts=facts_of(experiment, arms, resamples),
        text_metrics={},
        rows=pl.DataFrame(rows, schema=ROWS_SCHEMA),
        measures=pl.DataFrame(measures, schema=MEASURES_SCHEMA),
    )


def facts_of(experiment: str, arms: Sequence[str], resamples: int) -> dict[str, object]:
    return {
        "profile": "test",
        "experiment": experiment,
        "floors": [],
        "variance": 1.0,
        "variances": {f"beyond_{k}": 1.0 for k in (0, 1, 4)},
        "resamples": resamples,
        "arms": list(arms),
        "pairs": len(SEEDS),
    }


def error_columns(error: float, beyond: float) -> dict[str, float]:
    """The best length changes nothing; beyond one token and beyond four is the same."""
    return {
        "squared_error": error,
        "error_beyond_0": error,
        "error_beyond_1": beyond,
        "error_beyond_4": beyond,
    }


def read_by(fve: float, beyond: float, neutral: float, noise: float = 0.0) -> Errors:
    """Errors of unchanged texts: FVE under the own AR, and beyond tokens under all ARs."""
    errors = {(AV, "original"): (1 - fve + noise, 1 - beyond + noise)}
    readers = (AV_NEUTRAL_AR, *NEUTRAL)
    return errors | {(one, "original"): (1 - fve + noise, 1 - neutral + noise) for one in readers}


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
