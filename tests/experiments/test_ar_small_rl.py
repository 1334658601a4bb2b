"""The decision rule of ar_small_rl on results made by hand."""

from pathlib import Path

import polars as pl
import pytest

from common.report.drawing import save_figure
from common.report.results import Results
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN, Verdict
from experiments.ar_small_rl.findings import sections
from experiments.ar_small_rl.rule import (
    AS_MUCH,
    LEARNED,
    NAMES_MORE,
    QUOTES_LESS,
    RULE,
    SAYS_MORE,
    SHORTER_RUNS,
)
from tests.experiments.made import NEUTRAL, SEEDS, Errors, read_by, results_of, row_of, statuses

WORTH_IT = "Weakening the AR is worth it"
ARMS = ("control", "blocks_1", "bag_of_words", "warm_start")
SAME = dict.fromkeys(ARMS, 0.4)
WEAKER = {"control": 0.6, "blocks_1": 0.3, "bag_of_words": 0.6, "warm_start": 0.4}
RICHER = {"control": 0.4, "blocks_1": 0.5, "bag_of_words": 0.3, "warm_start": 0.2}
LEVEL = {"control": 0.3, "blocks_1": 0.3, "bag_of_words": 0.3, "warm_start": 0.2}
"""FVE beyond the last four tokens."""


def results(
    quotes: dict[str, float] = WEAKER,
    named: dict[str, float] = RICHER,
    beyond: dict[str, float] = LEVEL,
    runs: dict[str, float] | None = None,
    bad_pair: float = 0.0,
) -> Results:
    """Measures by arm; `bad_pair` lowers the content of blocks_1 in the last."""

    def values(arm: str, seed: int, noise: float) -> tuple[Errors, dict[str, float]]:
        lost = bad_pair * (arm == "blocks_1" and seed == SEEDS[-1])
        return read_by(0.5, beyond[arm], beyond[arm], noise / 10), {
            "suffix_4": quotes[arm] + noise,
            "suffix_excess_4": quotes[arm] + noise,
            "longest_run_excess": 4 * (runs or quotes)[arm] + noise,
            "quote_share": 0.2 + noise,
            "content": named[arm] - lost + noise,
            "best_of_1": 0.5,
        }

    return results_of("ar_small_rl", ARMS, values, noise=0.02, resamples=400)


def verdict(**levels) -> Verdict:
    return RULE.judge(results(**levels))


def verdict_where_it_stopped(run: str) -> Verdict:
    """Of an arm that would be worth it, had no run been stopped early."""
    found = results()
    return RULE.judge(found._replace(facts=found.facts | {"stopped_early": {run: "why"}}))


def test_an_arm_that_quotes_less_and_says_more_is_worth_it():
    found = verdict()
    for clause in (LEARNED, SHORTER_RUNS, QUOTES_LESS, NAMES_MORE, AS_MUCH, SAYS_MORE, WORTH_IT):
        assert statuses(found, clause)["blocks_1"] == SHOWN, clause
    for clause in (QUOTES_LESS, SAYS_MORE, WORTH_IT):
        assert statuses(found, clause)["bag_of_words"] != SHOWN
    assert statuses(found, SAYS_MORE)["bag_of_words"] == OTHER_WAY
    row = row_of(found, QUOTES_LESS, "blocks_1")
    assert row.difference
    assert row.difference.estimate == pytest.approx(-0.3)
    assert row.pairs == "3 of 3"
    assert row.p_value == pytest.approx(2 / 401)
    assert row_of(found, AS_MUCH, "blocks_1").readers == "3 of 3"
    assert found.key == row
    assert found.sentence == (
        "Weakening the AR to `blocks_1` makes the AV quote less; weakening it to `blocks_1` makes"
        " the AV say more; weakening it to `blocks_1` is worth it."
    )
    loses = "*What an arm loses under its own AR*: `blocks_1` - `control` 0.000"
    assert any(note.startswith(loses) for note in found.notes)
    assert found.notes[-1].endswith("with a chance of 0.125 (3 pairs).")


@pytest.mark.parametrize(
    "levels",
    [
        {"quotes": SAME},
        {"named": SAME},
        {"bad_pair": 0.2},
        {"beyond": LEVEL | {"blocks_1": 0.25}},
        {"runs": SAME},
    ],
    ids=["no fewer quotes", "no more said", "one pair says less", "other ARs read less", "copies"],
)
def test_one_clause_is_not_enough(levels: dict):
    found = verdict(**levels)
    assert statuses(found, WORTH_IT)["blocks_1"] == NOT_SHOWN
    assert "weakening it is not shown to be worth it" in found.sentence


def test_an_av_that_learned_nothing_quotes_no_less_beside_one_that_went_astray():
    found = verdict(beyond=LEVEL | {"blocks_1": 0.2})
    assert statuses(found, QUOTES_LESS)["blocks_1"] == NOT_SHOWN
    reason = f"*{LEARNED}* is not shown (0.000 ["
    assert any(note.startswith(f"*{QUOTES_LESS}*") and reason in note for note in found.notes)


def test_an_av_that_names_as_much_as_before_says_no_more():
    found = verdict(named=RICHER | {"warm_start": 0.5})
    assert statuses(found, QUOTES_LESS)["blocks_1"] == SHOWN
    assert statuses(found, SAYS_MORE)["blocks_1"] == NOT_SHOWN


def test_copying_without_quotation_marks_is_no_less_quoting():
    found = verdict(runs=SAME | {"blocks_1": 0.5})
    assert statuses(found, SHORTER_RUNS)["blocks_1"] == OTHER_WAY
    assert statuses(found, QUOTES_LESS)["blocks_1"] == NOT_SHOWN


def test_a_little_less_read_beyond_the_tokens_decides_nothing():
    found = verdict(beyond=LEVEL | {"blocks_1": 0.29})
    assert statuses(found, SAYS_MORE)["blocks_1"] == SHOWN


def test_one_neutral_ar_that_reads_less_is_enough_to_doubt():
    found = results()
    less = pl.col("source").eq(NEUTRAL[0]) & pl.col("arm").eq("blocks_1")
    rows = found.rows.with_columns(error_beyond_4=pl.col("error_beyond_4") + 0.05 * less)
    row = row_of(RULE.judge(found._replace(rows=rows)), AS_MUCH, "blocks_1")
    assert (row.status, row.readers) == (NOT_SHOWN, "2 of 3")


def test_nothing_is_shown_for_an_arm_that_collapsed():
    found = verdict_where_it_stopped("blocks_1/2")
    assert found.notes[0] == "Nothing is shown for what collapsed: `blocks_1`."
    assert {row.status for row in found.findings if "`blocks_1`" in row.contrast} == {NOT_SHOWN}
    assert found.sentence.startswith("No weaker AR is shown to make the AV quote less;")


def test_every_pair_of_an_arm_must_have_its_like():
    found = results()
    fewer = pl.col("arm").eq("warm_start") & pl.col("seed").gt(0)
    kept = found._replace(rows=found.rows.filter(~fewer), measures=found.measures.filter(~fewer))
    row = row_of(RULE.judge(kept), NAMES_MORE, "blocks_1")
    assert row.status == NOT_SHOWN
    assert row.pairs == "1 of 3"


def test_nothing_is_shown_beside_a_control_that_collapsed():
    found = verdict_where_it_stopped("control/1")
    assert found.notes[0] == "`control` collapsed, so that nothing is shown."
    assert {row.status for row in found.findings} == {NOT_SHOWN}
    assert found.notes[-1] == "`control/1` was stopped early: why."


def test_nothing_is_measured_without_other_arms():
    found = results()
    alone = found._replace(
        rows=found.rows.filter(arm="control"), measures=found.measures.filter(arm="control")
    )
    verdict = RULE.judge(alone)
    assert {row.status for row in verdict.findings} == {NOT_MEASURED}
    assert verdict.sentence.startswith("Whether weakening the AR to any of the arms makes the AV")


def test_the_front_leaves_out_what_another_arm_beats(tmp_path):
    front, *_ = sections(results(beyond=RICHER))
    assert front.markdown.endswith("several): `blocks_1`.")
    (drawing,) = front.drawings
    save_figure(drawing.figure, tmp_path / "front.png")
    traded, *_ = sections(results(beyond=RICHER | {"control": 0.6}))
    assert traded.markdown.endswith("several): `control` and `blocks_1`.")


def test_arms_stand_by_the_size_of_their_ar(tmp_path: Path):
    found = results()
    sizes = {"bag_of_words": 10, "control": 1000, "blocks_1": 100, "warm_start": 1000}
    sized = found._replace(facts=found.facts | {"ar_parameters": sizes})
    (section,) = [s for s in sections(sized) if s.title == "Against the size of the AR"]
    rows = [line.split(" | ") for line in section.markdown.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == ["| `control`", "| `blocks_1`", "| `bag_of_words`"]
    size, quotes, runs, named, words = rows[1][1:]
    assert size == "100"
    for cell, level in ((quotes, 0.3), (runs, 1.2), (named, 0.5), (words, 0.3)):
        assert cell.startswith(f"{level:.3f} [")
    save_figure(section.drawings[0].figure, tmp_path / "size.png")
    assert (tmp_path / "size.png").stat().st_size > 0
