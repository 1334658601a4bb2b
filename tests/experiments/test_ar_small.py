"""The decision rule of ar_small on results made by hand, where it must say shown or not shown."""

import polars as pl
import pytest

from common.report.markdown import ABSENT
from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA, Results
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN
from common.schema import AV, TEACHER
from experiments.ar_small.findings import sections
from experiments.ar_small.rule import FEWER_BLOCKS, RULE
from tests.experiments.made import error_columns, facts_of, row_of, statuses

ANOTHER = "Another small AR reads AV text as well"
TRAINED = "An AR is trained well enough on AV text"
READS = "The control reads AV text beyond the last token"
LEANS = "The smallest transformer arm leans more on {} of {}"
SIZES = {"control": 9_000_000, "blocks_1": 1_000_000, "blocks_4": 4_000_000}
DOCUMENTS = 20
Fves = dict[str, float]
"""FVE by arm."""
EQUAL = dict.fromkeys(SIZES, 0.5)
SWAPPED = {"swap_last_word": 0.3, "swap_all_but_quote": 0.4, "shuffled": -0.5}
"""FVE of swapped texts: a loss of .2, .1 and 1."""


def results(
    beyond: Fves | None = None,
    fve: Fves | None = None,
    last_word: Fves | None = None,
    noise: float = 0.0,
    floor: float = 0.1,
) -> Results:
    """Results of variance 1: FVE .5, and .3 beyond the last token, unless told otherwise.

    All of AV text; what is read of teacher text does not change. `last_word` is the FVE of texts
    whose last quoted word is another. `noise` moves the errors of every second document up or down,
    in each arm against the other arms' direction.
    """
    rows = []
    for index, arm in enumerate({**EQUAL, **(beyond or {}), **(fve or {})}):
        for source in (AV, TEACHER):
            told = source == AV
            own = (fve or {}).get(arm, 0.5) if told else 0.5
            left = (beyond or {}).get(arm, 0.3) if told else 0.3
            swapped = {**SWAPPED}
            if told:
                swapped["swap_last_word"] = (last_word or {}).get(arm, 0.3)
            wiggle = noise * (-1) ** index
            rows += _rows(arm, source, "original", (1 - own, 1 - left), wiggle)
            for transform, level in swapped.items():
                rows += _rows(arm, source, transform, (1 - level, 1.0), wiggle)
    for name, level in {"mean_direction": -0.2, "look_up": floor, "last_token": 0.9}.items():
        for source in (AV, TEACHER):
            at = level if source == AV or name != "look_up" else 0.1
            rows += _rows(name, source, "original", (1 - at, 1.0), 0.0)
    facts = facts_of("ar_small", list(SIZES), 200)
    facts |= {"floors": ["mean_direction", "look_up", "last_token"]}
    frame = pl.DataFrame(rows, schema=ROWS_SCHEMA)
    return Results(facts=facts, text_metrics={}, rows=frame, runs=_runs(SIZES))


def _runs(sizes: dict[str, int]) -> pl.DataFrame:
    runs = [{"arm": arm, "seed": 0, "trainable_parameters": size} for arm, size in sizes.items()]
    return pl.DataFrame(runs, schema=RUNS_SCHEMA)


def _rows(
    arm: str, source: str, transform: str, errors: tuple[float, float], noise: float
) -> list[dict]:
    return [
        {"arm": arm, "seed": 0, "key": f"{document}:20", "doc_id": str(document)}
        | {"source": source, "transform": transform, "applied": True, "cosine": 0.5}
        | error_columns(*(error + noise * (-1) ** document for error in errors))
        for document in range(DOCUMENTS)
    ]


def with_seed(found: Results, seed: int, shifts: Fves) -> Results:
    """The same rows a second time as another seed, the FVE of some arms shifted."""
    shift = pl.col("arm").replace_strict(shifts, default=0.0, return_dtype=pl.Float64)
    again = found.rows.with_columns(
        pl.lit(seed, pl.Int64).alias("seed"), pl.col("error_beyond_1") - shift
    )
    return found._replace(rows=pl.concat([found.rows, again]))


def size(found: Results) -> dict[str, str]:
    """{arm: status} of the arms that are smaller."""
    verdict = RULE.judge(found)
    return statuses(verdict, FEWER_BLOCKS) | statuses(verdict, ANOTHER)


def notes(found: Results) -> str:
    return "\n".join(RULE.judge(found).notes)


def test_the_smallest_arm_within_the_margin_is_named():
    found = RULE.judge(results(beyond={"blocks_4": 0.29, "blocks_1": 0.285}))
    assert statuses(found, FEWER_BLOCKS) == {"blocks_4": SHOWN, "blocks_1": SHOWN}
    assert found.sentence.startswith(
        "An AR cut down to `blocks_1` reads as much of AV text beyond the last token as the"
        " control, within 0.02;"
    )
    assert found.key == row_of(found, FEWER_BLOCKS, "blocks_1")
    assert found.key.difference
    assert found.key.difference.estimate == pytest.approx(-0.015)


def test_an_arm_beyond_the_margin_fails():
    found = RULE.judge(results(beyond={"blocks_4": 0.285, "blocks_1": 0.27}))
    assert statuses(found, FEWER_BLOCKS) == {"blocks_4": SHOWN, "blocks_1": OTHER_WAY}


def test_arms_below_the_first_that_fails_are_not_tested():
    """`blocks_1` alone would pass."""
    found = results(beyond={"blocks_4": 0.27, "blocks_1": 0.30})
    assert size(found) == {"blocks_4": OTHER_WAY, "blocks_1": NOT_SHOWN, ABSENT: NOT_MEASURED}
    untested = f"*{FEWER_BLOCKS}*, `blocks_1` - `control`: not shown, not tested after `blocks_4`."
    assert untested in notes(found)
    assert RULE.judge(found).sentence.startswith("Cut down to `blocks_4`, an AR reads less of AV")


@pytest.mark.parametrize(("left", "status"), [(0.285, SHOWN), (0.27, OTHER_WAY)])
def test_an_arm_off_the_axis_of_depth_is_judged_alone(left: float, status: str):
    found = results(beyond={"blocks_4": 0.27, "bag_of_words": left})
    found = found._replace(runs=_runs({**SIZES, "bag_of_words": 1000}))
    assert size(found) == {"blocks_4": OTHER_WAY, "blocks_1": NOT_SHOWN, "bag_of_words": status}


def test_fve_that_the_last_token_gives_does_not_count():
    """Much less FVE, and as much beyond the last token."""
    assert size(results(fve={"blocks_4": 0.3}))["blocks_4"] == SHOWN


def test_a_wide_interval_shows_nothing():
    """No difference in the mean, but it could be one of more than the margin."""
    found = size(results(noise=0.3))
    assert found["blocks_4"] == SHOWN, "its noise is the control's"
    assert found["blocks_1"] == NOT_SHOWN


def test_the_margin_holds_for_every_pair():
    """Means over two pairs: .015 below control; the second alone: .03, and then .01."""
    verdict = RULE.judge(with_seed(results(), 1, {"blocks_1": -0.03}))
    assert statuses(verdict, FEWER_BLOCKS) == {"blocks_4": SHOWN, "blocks_1": NOT_SHOWN}
    assert row_of(verdict, FEWER_BLOCKS, "blocks_1").pairs == "1 of 2"
    verdict = RULE.judge(with_seed(results(), 1, {"blocks_1": -0.01}))
    row = row_of(verdict, FEWER_BLOCKS, "blocks_1")
    assert (row.status, row.pairs) == (SHOWN, "2 of 2")
    assert row.difference
    assert row.difference.estimate == pytest.approx(-0.005)


@pytest.mark.parametrize("left", [0.3, 0.2], ids=["as well", "less"])
def test_an_arm_that_is_not_trained_well_enough_says_nothing_of_size(left: float):
    """Neither that it reads as well, nor that it reads less."""
    found = results(beyond={"blocks_1": left}, fve={"blocks_1": 0.05}, floor=0.1)
    verdict = RULE.judge(found)
    assert statuses(verdict, FEWER_BLOCKS) == {"blocks_4": SHOWN, "blocks_1": NOT_SHOWN}
    reason = f"not shown, *{TRAINED}* lies the other way (-0.050 [-0.050, -0.050])."
    assert f"*{FEWER_BLOCKS}*, `blocks_1` - `control`: {reason}" in verdict.notes


def test_a_floor_a_little_above_an_arm_is_no_bad_training():
    assert size(results(fve={"blocks_1": 0.09}, floor=0.1))["blocks_1"] == SHOWN


def test_the_last_token_is_no_reader_of_texts():
    """It has .9, more than any arm."""
    assert size(results())["blocks_1"] == SHOWN


def test_nothing_follows_from_a_control_that_is_not_trained():
    verdict = RULE.judge(results(fve={"control": 0.05}, floor=0.2))
    assert row_of(verdict, READS).status == NOT_SHOWN
    assert set(statuses(verdict, FEWER_BLOCKS).values()) == {NOT_SHOWN}


def test_nothing_follows_from_a_control_that_reads_no_more_than_the_last_token():
    left = {"control": 0.03, "blocks_4": 0.03, "blocks_1": 0.03}
    verdict = RULE.judge(results(beyond=left))
    assert row_of(verdict, READS).status == OTHER_WAY
    assert set(statuses(verdict, FEWER_BLOCKS).values()) == {NOT_SHOWN}
    assert f"*{READS}* lies the other way (0.030 [0.030, 0.030])" in "\n".join(verdict.notes)


def test_without_floors_nothing_is_measured_about_size():
    found = results()
    bare = found._replace(rows=found.rows.filter(~pl.col("arm").is_in(found.floors[:2])))
    assert SHOWN not in size(bare).values()
    assert "Not measured, no floor was measured: *An AR is trained well" in notes(bare)


def test_both_kinds_of_text_are_asked():
    found = RULE.judge(results(beyond={"blocks_4": 0.2}))
    assert row_of(found, FEWER_BLOCKS, "blocks_4").status == OTHER_WAY
    taught = row_of(found, "An AR of fewer blocks reads teacher text as well", "blocks_1")
    assert taught.status == SHOWN


def test_parts_that_an_ar_uses_are_named():
    found = RULE.judge(results(last_word={"blocks_1": 0.5, "blocks_4": 0.6}))
    assert "the last quoted word of AV text is used by `control`;" in found.sentence
    assert "all but the quote of AV text is used by `control`, `blocks_1` and `blocks_4`" in (
        found.sentence
    )


@pytest.mark.parametrize(
    ("small", "status", "difference"),
    [(0.1, SHOWN, 0.2), (0.3, NOT_SHOWN, 0.0), (0.45, OTHER_WAY, -0.15)],
)
def test_whether_the_smallest_ar_leans_on_the_last_word_more(
    small: float, status: str, difference: float
):
    """The control loses .2 of the 1 that it loses by swapping all."""
    found = RULE.judge(results(last_word={"blocks_1": small}))
    row = row_of(found, LEANS.format("the last quoted word", "AV text"))
    assert row.contrast == "`blocks_1` - `control`"
    assert row.status == status
    assert row.difference
    assert row.difference.estimate == pytest.approx(difference)
    assert row_of(found, LEANS.format("all but the quote", "AV text")).status == NOT_SHOWN


def test_what_an_ar_leans_on_does_not_depend_on_how_much_it_reads():
    """A third of the FVE, and a third of each loss."""
    found = results()
    small = pl.col("arm") == "blocks_1"
    fve = 1 - pl.col("squared_error")
    rows = found.rows.with_columns(
        squared_error=pl.when(small).then(1 - fve / 3).otherwise(1 - fve)
    )
    row = row_of(
        RULE.judge(found._replace(rows=rows)), LEANS.format("the last quoted word", "AV text")
    )
    assert row.difference == pytest.approx((0, 0, 0), abs=1e-9)


def test_results_without_swaps_or_without_errors_beyond_tokens_are_not_measured():
    found = results()
    older = found._replace(rows=found.rows.filter(~pl.col("transform").str.starts_with("swap_")))
    assert size(older) == size(found)
    verdict = RULE.judge(older)
    assert row_of(verdict, LEANS.format("all but the quote", "teacher text")).status == NOT_MEASURED
    assert "whether all but the quote of AV text is used by any of the arms was" in verdict.sentence
    gone = pl.lit(None, pl.Float64)
    bare = found._replace(rows=found.rows.with_columns(error_beyond_1=gone, error_beyond_0=gone))
    assert set(size(bare).values()) == {NOT_MEASURED}


def test_the_section_holds_what_is_read_against_size():
    found = results(beyond={"blocks_4": 0.35, "blocks_1": 0.1}, fve={"blocks_1": 0.2})
    [section] = sections(found)
    rows = [line.split(" | ") for line in section.markdown.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == ["| `control`", "| `blocks_4`", "| `blocks_1`"]
    assert rows[2][1:4] == ["1,000,000", "0.200 [0.200, 0.200]", "0.500 [0.500, 0.500]"]
    assert rows[2][4] == "0.100 [0.100, 0.100]"
    front = "On the front of size and beyond the last token, AV text: `blocks_1`, `blocks_4`."
    assert front in section.markdown, "no larger arm reads more than `blocks_4`"
    same = found._replace(runs=_runs(dict.fromkeys(SIZES, 1000)))
    assert sections(same) == []
