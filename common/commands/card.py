"""What a release's card tells of its run from the experiment's report: references, words, swaps."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from common.errors import NlaError
from common.metrics.beyond import beyond_name, error_column
from common.metrics.statistics import fve_interval
from common.paths import report_file
from common.report.damaged import swap_table
from common.report.fve import BEYOND, ORIGINAL
from common.report.markdown import ABSENT, bounds, code, fixed, percent, table
from common.report.measured import NUMBERS, PARTS
from common.report.paired import mean_interval, measures_by_arm
from common.report.publish import known_results
from common.report.references import LEGEND, is_copied
from common.report.results import CONTROL, Results
from common.report.spoken import COPIED_WORDS, EXCESS, SUFFIX
from common.report.tables import ArmRow, arm_table
from common.runs import RunFolder
from common.schema import AV, DOC_ID, KEY

TITLES = {k: NUMBERS[k].strip() for k in BEYOND}
"""Titles of the columns of FVE beyond the last tokens."""


class Belongs(NamedTuple):
    """The report of a run's experiment, and the run's name in it."""

    results: Results
    """Of this run and of references alone: its arm is called control."""
    arm: str
    pair: int
    report: str
    """Its file, from the folder of a release."""


def report_of(folder: RunFolder) -> Belongs | None:
    """None where the experiment's results are not collected; NlaError for those of another run."""
    profile, experiment, arm, _ = folder.identity
    results = known_results(profile, experiment)
    if results is None:
        return None
    own = _alone(results, arm, folder.seed)
    _check_same(own, folder, f"nla collect {experiment} --profile {profile}")
    place = f"../../{report_file(profile, experiment).as_posix()}"
    return Belongs(own, arm, results.pair_of(folder.seed), place)


def told_by_report(found: Belongs | None) -> dict[str, Any]:
    """Values of the card's template; empty tables where there is no report."""
    if found is None:
        return {"belongs": None, "references": "", "legend": [], "words": "", "swaps": ""}
    results = found.results
    rows = [row for row in arm_table(results, AV) if row.is_floor]
    shown = [row for row in rows if not is_copied(row.arm)]
    return {
        "belongs": found,
        "references": table([_row(row) for row in shown]),
        "legend": [f"{code(row.arm)}: {LEGEND[row.arm]}." for row in shown if row.arm in LEGEND],
        "words": _words(results),
        "swaps": table(
            [
                {
                    "from another explanation": PARTS[row.transform],
                    "FVE lost": bounds(row.loss),
                    "explanations that have it": percent(row.coverage),
                }
                for row in swap_table(results, AV)
            ]
        ),
    }


def goodness(
    name: str, rows: pl.DataFrame, denominators: Mapping[str, Any], resamples: int
) -> dict[str, str]:
    """A row of the card's first table, from a round trip on the test activations."""
    found = {}
    for title, (column, variance) in _scales(denominators).items():
        if not rows[column].has_nulls():
            errors = rows[column].to_numpy()
            found[title] = bounds(fve_interval(errors, rows[DOC_ID].to_list(), variance, resamples))
    return {"": name} | found


def _scales(denominators: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """{title: column of errors and its denominator}."""
    beyond = {
        title: (error_column(k), denominators["variances"][beyond_name(k)])
        for k, title in TITLES.items()
    }
    return {"FVE": ("squared_error", denominators["variance"]), **beyond}


def _row(row: ArmRow) -> dict[str, str]:
    beyond = {title: bounds(row.beyond.get(k)) for k, title in TITLES.items()}
    return {"reference": code(row.arm), "FVE": bounds(row.fve), **beyond}


def _words(results: Results) -> str:
    """How often the quote is right in its last words, and what the explanations name."""
    asked = {
        f"quotes that end in the true {words}": (f"{SUFFIX}{k}", f"{EXCESS}{k}")
        for k, words in COPIED_WORDS.items()
    }
    asked["known facts that are named"] = ("", "content")
    rows = [
        {"": words, "share": _mean(results, own), "less chance": _mean(results, excess)}
        for words, (own, excess) in asked.items()
    ]
    return table([row for row in rows if {row["share"], row["less chance"]} != {ABSENT}])


def _mean(results: Results, measure: str) -> str:
    rows = measures_by_arm(results, measure).get(CONTROL)
    return ABSENT if rows is None else fixed(mean_interval(results, rows).estimate)


def _alone(results: Results, arm: str, seed: int) -> Results:
    """One run, called control, with the references beside it."""
    named = pl.lit(CONTROL).alias("arm")
    own = {
        name: frame.filter(arm=arm, seed=seed).with_columns(named)
        for name, frame in (("rows", results.rows), ("measures", results.measures))
    }
    floors = results.rows.filter(pl.col("arm").is_in(results.floors))
    beside = floors.filter(seed=seed) if seed in floors["seed"] else floors
    rows = pl.concat([own["rows"], beside])
    tables = {"runs": results.runs.clear(), "curves": results.curves.clear()}
    return results._replace(rows=rows, measures=own["measures"], **tables)


def _check_same(results: Results, folder: RunFolder, remedy: str) -> None:
    """NlaError unless the results' errors are those of the run."""
    told = results.rows.filter(arm=CONTROL, source=AV, transform=ORIGINAL).sort(KEY)
    own = folder.table(folder.rows_file).filter(source=AV, transform=ORIGINAL).sort(KEY)
    errors = [frame["squared_error"].to_numpy() for frame in (told, own)]
    if told[KEY].to_list() != own[KEY].to_list() or not np.allclose(*errors, rtol=1e-5):
        what = "the experiment's results are of another run"
        raise NlaError(what, where=folder.path, remedy=f"`{remedy}`, and release again")
