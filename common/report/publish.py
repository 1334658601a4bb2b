"""The tables behind a report, published beside it, so that a fresh clone renders the same page.

What no report reads is left out, and numbers are stored in the fewest bytes that hold them exactly.
"""

from pathlib import Path

import polars as pl
import polars.selectors as cs

from common.paths import report_file, results_folder
from common.report.fve import ORIGINAL
from common.report.results import TABLES, Results, load_results, save_results

OF_ORIGINALS = ["cosine", "raw_squared_error"]
"""Columns of `rows` that a report reads for untransformed explanations only."""


def published_folder(report: Path) -> Path:
    """`reports/<profile>/<name>/results`."""
    return report.with_suffix("") / "results"


def report_results(profile: str, experiment: str) -> Results:
    """The tables from which a report is rendered: the published ones.

    They are written again if `nla collect` has left results. Raises NlaError if there are neither,
    or if either is incomplete or changed.
    """
    collected = results_folder(profile, experiment)
    published = published_folder(report_file(profile, experiment))
    if collected.exists() or not published.exists():
        save_results(published, compact(load_results(collected)))
    remedy = f"take {published} from git, or run `nla collect {experiment} --profile {profile}`"
    return exact(load_results(published, experiment, remedy))


def known_results(profile: str, experiment: str) -> Results | None:
    """The collected results, else the published ones; None without either. Nothing is written."""
    collected = results_folder(profile, experiment)
    if collected.exists():
        return load_results(collected)
    published = published_folder(report_file(profile, experiment))
    return exact(load_results(published, experiment)) if published.exists() else None


def compact(results: Results) -> Results:
    """The same numbers in fewer bytes, without numbers that no report reads."""
    original = pl.when(pl.col("transform") == ORIGINAL)
    rows = results.rows.with_columns(original.then(pl.col(OF_ORIGINALS)))
    tables = _tables(results._replace(rows=rows))
    return results._replace(**{name: _narrow(table) for name, table in tables.items()})


def exact(results: Results) -> Results:
    """All numbers converted back to double precision."""
    wide = cs.by_dtype(pl.Float32).cast(pl.Float64)
    return results._replace(
        **{name: table.with_columns(wide) for name, table in _tables(results).items()}
    )


def _tables(results: Results) -> dict[str, pl.DataFrame]:
    return {name: getattr(results, name) for name in TABLES}


def _narrow(table: pl.DataFrame) -> pl.DataFrame:
    """Each column in single precision if that loses nothing, as for values computed by torch."""
    exactly = [
        column.name
        for column in table.select(cs.by_dtype(pl.Float64))
        if column.cast(pl.Float32).cast(pl.Float64).equals(column, null_equal=True)
    ]
    return table.with_columns(pl.col(exactly).cast(pl.Float32))
