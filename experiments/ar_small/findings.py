"""A section of the report of `ar_small`: what is read, and from what, against the AR's size."""

import polars as pl

from common.metrics.statistics import Interval
from common.report.front import is_dominated, size_section
from common.report.markdown import code
from common.report.results import Results
from common.report.section import Section
from common.report.tables import ArmRow, arm_table
from common.schema import AV, TEACHER

TEXTS = {AV: "AV text", TEACHER: "teacher text"}


def sections(results: Results) -> list[Section]:
    """FVE, and FVE beyond the last token, against the parameters; empty for ARs of one size."""
    sizes = _sizes(results)
    if len(set(sizes.values())) < 2:
        return []
    tables = {source: arm_table(results, source) for source in TEXTS if source in results.sources}
    measures = {
        f"{name}, {TEXTS[source]}": {
            row.arm: one for row in rows if row.arm in sizes and (one := _value(row, beyond))
        }
        for name, beyond in {"FVE": None, "beyond the last token": 1}.items()
        for source, rows in tables.items()
    }
    measures = {name: found for name, found in measures.items() if found}
    best = [text for name, found in measures.items() if (text := _front(name, found, sizes))]
    text = "\n".join([*best, "", "Point estimates; an interval may span several arms."])
    return [size_section(measures, sizes, results.arms, text)] if measures else []


def _sizes(results: Results) -> dict[str, int]:
    """Trained parameters of each arm."""
    if "trainable_parameters" not in results.runs.columns:
        return {}
    known = results.runs.drop_nulls("trainable_parameters").unique("arm", keep="first")
    found = dict(known.select("arm", pl.col("trainable_parameters").cast(pl.Int64)).iter_rows())
    return {arm: found[arm] for arm in results.arms if arm in found}


def _value(row: ArmRow, beyond: int | None) -> Interval | None:
    return row.fve if beyond is None else row.beyond.get(beyond)


def _front(name: str, found: dict[str, Interval], sizes: dict[str, int]) -> str:
    """The arms than which no other is as small and reads as much."""
    points = {
        arm: (Interval(sizes[arm], sizes[arm], sizes[arm]), one) for arm, one in found.items()
    }
    best = [code(arm) for arm in points if not is_dominated(arm, points)]
    return f"- On the front of size and {name}: {', '.join(best)}."
