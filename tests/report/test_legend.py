"""What the columns mean, a line each: only of what is there."""

import polars as pl
import pytest

from common.report.legend import legend_lines
from common.report.main_table import fve_columns, measured_columns, page_sources
from common.report.results import Results
from common.report.rule import load_rule
from common.report.tables import arm_table
from common.schema import AV_NEUTRAL_AR
from tests.report.spoken import spoken_results


@pytest.fixture(scope="module")
def spoken() -> Results:
    return spoken_results()


def lines(results: Results) -> list[str]:
    rule = load_rule("baseline")
    tables = {source: arm_table(results, source) for source in page_sources(results)}
    shown = fve_columns(results, rule, tables)
    return legend_lines(results, shown, tables, measured_columns(results, rule))


def test_every_column_is_explained(spoken: Results):
    told = [line.split(" ", 2)[:2] for line in lines(spoken)]
    assert [" ".join(words) for words in told] == [
        "FVE is",
        "FVE *beyond",
        "The 3",
        "Pairs: how",
        "Last word",
        "Content: how",
        "Top-1: how",
        "References: `mean_direction`,",
        "Worth of",
    ]


def test_one_neutral_ar_and_several(spoken: Results):
    one = spoken.rows.filter(~pl.col("source").str.starts_with(f"{AV_NEUTRAL_AR}_"))
    (told,) = [line for line in lines(spoken._replace(rows=one)) if "neutral AR" in line]
    assert (
        told == "One neutral AR is the same for all arms, trained on the explanations of every arm."
    )
    (told,) = [line for line in lines(spoken) if "neutral ARs" in line]
    assert told.startswith("The 3 neutral ARs are the same for all arms")
    assert told.endswith("; their mean is shown.")


def test_one_pair_has_no_range(spoken: Results):
    first = spoken.rows.filter(seed=0)
    alone = spoken._replace(rows=first, measures=spoken.measures.filter(seed=0))
    assert not any(line.startswith("Pairs") for line in lines(alone))


def test_references_that_are_absent_are_not_explained(spoken: Results):
    arms = spoken.rows.filter(pl.col("arm").is_in(spoken.arms))
    told = lines(spoken._replace(rows=arms))
    assert told[-1] == (
        "References: `shuffled`, `control`'s AR reads the explanation of another document."
    )
