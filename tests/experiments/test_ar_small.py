"""The decision rule of ar_small on results made by hand, where it must say shown or not shown."""

import polars as pl
import pytest

from common.report.markdown import ABSENT
from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA, Results
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN
from common.schema import AV, TEACHER
from experiments.ar_small.findings import sections
from experiments.ar_small.rule import FEWER_BLOCKS, RULE
from tests.experiments.made import row_of, statuses

ANOTHER = "Another small AR reads as well"
LEANS = "The smallest transformer arm leans on quotes more"
SIZES = {"control": 9_000_000, "blocks_1": 1_000_000, "blocks_4": 4_000_000}
DOCUMENTS = 20
Fves = dict[str, float]
"""FVE by arm."""
EQUAL = dict.fromkeys(SIZES, 0.5)
WITHOUT = dict.fromkeys(SIZES, 0.4)


def results(
    spoken: Fves | None = None,
    stripped: Fves | None = None,
    taught: Fves | None = None,
    noise: float = 0.0,
    floor: float = -0.1,
) -> Results:
    """Results of variance 1: FVE .5, and .4 without quotes or random spans, unless told otherwise.

    `spoken` is the FVE on AV text, `taught` on teacher text, `stripped` on teacher text without
    verbatim quotes. `noise` moves the errors of every second document up or down, in each arm
    against the other arms' direction.
    """
    conditions = {
        (AV, "original"): EQUAL | (spoken or {}),
        (TEACHER, "original"): EQUAL | (taught or {}),
        (TEACHER, "verbatim_stripped"): WITHOUT | (stripped or {}),
        (AV, "verbatim_stripped"): WITHOUT,
        (TEACHER, "quotes_stripped"): WITHOUT,
        **{(source, "verbatim_random_stripped"): WITHOUT for source in (TEACHER, AV)},
        **{(source, "random_stripped"): WITHOUT for source in (TEACHER, AV)},
    }
    rows = [
        row
        for (source, transform), fves in conditions.items()
        for index, (arm, fve) in enumerate(fves.items())
        for row in _rows(
            arm, source, transform, 1 - fve, noise * (-1) ** index * ("random" not in transform)
        )
    ]
    rows += _rows("mean_direction", AV, "original", 1.2, 0.0)
    rows += _rows("tfidf_ridge", AV, "original", 1 - floor, 0.0)
    rows += _rows("own_blocks", AV, "original", 0.0, 0.0)
    facts = {
        "profile": "test",
        "experiment": "ar_small",
        "floors": ["mean_direction", "tfidf_ridge", "own_blocks"],
        "ceilings": ["own_blocks"],
        "variance": 1.0,
        "resamples": 200,
    }
    frame = pl.DataFrame(rows, schema=ROWS_SCHEMA)
    return Results(facts=facts, text_metrics={}, rows=frame, runs=_runs())


def _runs() -> pl.DataFrame:
    sizes = [{"arm": arm, "seed": 0, "trainable_parameters": size} for arm, size in SIZES.items()]
    runs = pl.DataFrame(sizes)
    missing = [
        pl.lit(None, kind).alias(name)
        for name, kind in RUNS_SCHEMA.items()
        if name not in runs.columns
    ]
    return runs.with_columns(missing).select(RUNS_SCHEMA.names())


def _rows(arm: str, source: str, transform: str, error: float, noise: float) -> list[dict]:
    return [
        {
            "arm": arm,
            "seed": 0,
            "key": f"document-{document}:20",
            "doc_id": f"document-{document}",
            "source": source,
            "transform": transform,
            "applied": True,
            "squared_error": error + noise * (-1) ** document,
            "cosine": 1 - error / 2,
            "raw_squared_error": error,
            "retrieval_rank": None,
        }
        for document in range(DOCUMENTS)
    ]


def with_seed(found: Results, seed: int, shifts: Fves) -> Results:
    """The same rows a second time as another seed, the FVE of some arms shifted."""
    shift = pl.col("arm").replace_strict(shifts, default=0.0, return_dtype=pl.Float64)
    again = found.rows.with_columns(
        pl.lit(seed, pl.Int64).alias("seed"), pl.col("squared_error") - shift
    )
    return found._replace(rows=pl.concat([found.rows, again]))


def size(found: Results) -> dict[str, str]:
    """{arm: status} of the arms that are smaller."""
    verdict = RULE.judge(found)
    return statuses(verdict, FEWER_BLOCKS) | statuses(verdict, ANOTHER)


def channel(found: Results, texts: str = "teacher text") -> dict[str, str]:
    return statuses(RULE.judge(found), f"Quotes are the channel of {texts}")


def notes(found: Results) -> str:
    return "\n".join(RULE.judge(found).notes)


def test_the_smallest_arm_within_the_margin_is_named():
    found = RULE.judge(results(spoken={"blocks_4": 0.48, "blocks_1": 0.46}))
    assert statuses(found, FEWER_BLOCKS) == {"blocks_4": SHOWN, "blocks_1": SHOWN}
    assert found.sentence.startswith("An AR cut down to `blocks_1` stays within 0.05 FVE of the")
    assert found.key == row_of(found, FEWER_BLOCKS, "blocks_1")
    assert found.key.difference
    assert found.key.difference.estimate == pytest.approx(-0.04)


def test_an_arm_beyond_the_margin_fails():
    found = RULE.judge(results(spoken={"blocks_4": 0.46, "blocks_1": 0.44}))
    assert statuses(found, FEWER_BLOCKS) == {"blocks_4": SHOWN, "blocks_1": OTHER_WAY}
    assert found.sentence.startswith("An AR cut down to `blocks_4`")


def test_arms_below_the_first_that_fails_are_not_tested():
    """`blocks_1` alone would pass."""
    found = results(spoken={"blocks_4": 0.44, "blocks_1": 0.50})
    assert size(found) == {"blocks_4": OTHER_WAY, "blocks_1": NOT_SHOWN, ABSENT: NOT_MEASURED}
    untested = f"*{FEWER_BLOCKS}*, `blocks_1` - `control`: not shown, not tested after `blocks_4`."
    assert untested in notes(found)
    assert RULE.judge(found).sentence.startswith("No AR of fewer blocks is shown to stay within")


@pytest.mark.parametrize(("fve", "status"), [(0.46, SHOWN), (0.44, OTHER_WAY)])
def test_an_arm_off_the_axis_of_depth_is_judged_alone(fve: float, status: str):
    with_bag = results(spoken={"blocks_4": 0.44, "bag_of_words": fve})
    small = with_bag.runs.filter(arm="blocks_1").with_columns(arm=pl.lit("bag_of_words"))
    found = size(with_bag._replace(runs=pl.concat([with_bag.runs, small])))
    assert found == {"blocks_4": OTHER_WAY, "blocks_1": NOT_SHOWN, "bag_of_words": status}


def test_a_wide_interval_shows_nothing():
    """No difference in the mean, but it could be one of more than 0.05."""
    found = size(results(noise=0.3))
    assert found["blocks_4"] == SHOWN, "its noise is the control's"
    assert found["blocks_1"] == NOT_SHOWN


def test_the_margin_holds_for_every_seed():
    """Means over two seeds: .03 below control; the second seed alone: .06, and then .04."""
    found = results(spoken={"blocks_4": 0.5, "blocks_1": 0.5})
    verdict = RULE.judge(with_seed(found, 1, {"blocks_1": -0.06}))
    assert statuses(verdict, FEWER_BLOCKS) == {"blocks_4": SHOWN, "blocks_1": NOT_SHOWN}
    assert row_of(verdict, FEWER_BLOCKS, "blocks_1").seeds == "1 of 2"
    verdict = RULE.judge(with_seed(found, 1, {"blocks_1": -0.04}))
    row = row_of(verdict, FEWER_BLOCKS, "blocks_1")
    assert (row.status, row.seeds) == (SHOWN, "2 of 2")
    assert row.difference
    assert row.difference.estimate == pytest.approx(-0.02)


@pytest.mark.parametrize(
    "found",
    [
        {"spoken": {"control": 0.3}, "floor": 0.4},
        {"spoken": {"control": -0.05}, "floor": -0.1},
        {"floor": 0.4, "noise": 0.4},
    ],
    ids=["below", "not above zero", "not above beyond doubt"],
)
def test_nothing_follows_from_a_control_that_does_not_beat_the_floors(found: dict):
    verdict = RULE.judge(results(**found))
    assert row_of(verdict, "The control beats the floors").status != SHOWN
    assert SHOWN not in statuses(verdict, FEWER_BLOCKS).values()


def test_an_arm_must_beat_the_best_floor():
    found = results(spoken={"blocks_4": 0.48, "blocks_1": 0.46}, floor=0.47)
    assert size(found) == {"blocks_4": SHOWN, "blocks_1": NOT_SHOWN, ABSENT: NOT_MEASURED}
    reason = "*A smaller AR beats the floors* is not shown (-0.010 [-0.010, -0.010])."
    assert f"*{FEWER_BLOCKS}*, `blocks_1` - `control`: not shown, {reason}" in notes(found)
    gate = row_of(RULE.judge(found), "The control beats the floors")
    assert gate.contrast == "`control` - `tfidf_ridge`"


def test_without_floors_nothing_is_measured_about_size():
    found = results()
    bare = found._replace(rows=found.rows.filter(~pl.col("arm").is_in(found.floors[:2])))
    assert SHOWN not in size(bare).values()
    assert "not measured, no floor was measured." in notes(bare)


def test_quotes_are_the_channel_only_of_arms_that_lose_more_than_by_random_spans():
    found = results(stripped={"control": 0.1, "blocks_4": 0.4, "blocks_1": 0.45})
    assert channel(found) == {"control": SHOWN, "blocks_4": NOT_SHOWN, "blocks_1": OTHER_WAY}
    assert set(channel(found, "AV text").values()) == {NOT_SHOWN}
    row = row_of(RULE.judge(found), "Quotes are the channel of teacher text", "control")
    assert row.difference == pytest.approx((-0.3, -0.3, -0.3))
    assert row.p_value == pytest.approx(6 / 201)
    assert "a p-value of 0.0299 is one of at most that" in notes(found)


def test_a_noisy_loss_by_stripping_quotes_is_not_shown():
    found = channel(results(stripped=dict.fromkeys(SIZES, 0.38), noise=0.3))
    assert set(found.values()) == {NOT_SHOWN}


def test_quotes_in_a_few_documents_measure_nothing():
    found = results(stripped={"control": 0.1})
    few = pl.col("doc_id").is_in(["document-0", "document-1"])
    rows = found.rows.filter(few | ~pl.col("transform").str.starts_with("verbatim_"))
    rare = found._replace(rows=rows)
    assert set(channel(rare).values()) == {NOT_MEASURED}
    assert notes(rare).count("not measured, of 2 independent items, fewer than 20.") == 3


def test_an_arm_whose_own_fve_is_not_above_zero_does_not_qualify():
    found = results(taught={"control": -0.1}, stripped={"control": -0.9})
    assert channel(found)["control"] == NOT_SHOWN
    assert "*An arm reads teacher text* is not shown (-0.100 [-0.100, -0.100])" in notes(found)


@pytest.mark.parametrize(
    ("small", "status", "difference"),
    [(0.0, SHOWN, 0.4), (0.2, NOT_SHOWN, 0.0), (0.35, OTHER_WAY, -0.3)],
)
def test_whether_the_smallest_ar_leans_on_quotes_more(small: float, status: str, difference: float):
    """The control loses .2 beyond random spans, of an FVE of .5."""
    found = results(stripped={"control": 0.2, "blocks_4": 0.2, "blocks_1": small})
    row = row_of(RULE.judge(found), LEANS)
    assert row.contrast == "`blocks_1` - `control`"
    assert row.status == status
    assert row.difference
    assert row.difference.estimate == pytest.approx(difference)


def test_reliance_is_a_share_of_each_arms_own_fve():
    """A loss of .2 of an FVE of .25 against .2 of .5."""
    found = results(taught={"blocks_1": 0.25}, stripped={"control": 0.2, "blocks_1": 0.2})
    assert row_of(RULE.judge(found), LEANS).difference == pytest.approx((0.4, 0.4, 0.4))


def test_shares_of_an_uncertain_fve_are_not_shown():
    found = results(taught={"blocks_1": 0.02}, stripped={"blocks_1": 0.0}, noise=0.3)
    assert row_of(RULE.judge(found), LEANS).status == NOT_SHOWN
    reason = "not shown, its interval is undefined."
    assert f"*{LEANS}*, `blocks_1` - `control`: {reason}" in notes(found)


def test_results_without_verbatim_quotes_are_not_measured():
    found = results()
    older = found._replace(
        rows=found.rows.filter(~pl.col("transform").str.starts_with("verbatim_"))
    )
    assert size(older) == size(found)
    for texts in ("teacher text", "AV text"):
        assert set(channel(older, texts).values()) == {NOT_MEASURED}
    verdict = RULE.judge(older)
    assert row_of(verdict, LEANS).status == NOT_MEASURED
    said = "whether verbatim quotes of AV text carry more than as many other words for any of the"
    assert said in verdict.sentence
    [section] = sections(older)
    assert "| `control` | not measured | not measured | 0.000" in section.markdown


def test_sections_show_the_effect_of_every_arm():
    [section] = sections(results(stripped={"control": 0.1}))
    titles = "| arm | verbatim, teacher text | verbatim, AV text | all quotes, teacher text |"
    assert titles in section.markdown
    assert "| `control` | -0.300 [-0.300, -0.300] | 0.000 " in section.markdown
    assert section.markdown.count("not measured") == len(SIZES)
