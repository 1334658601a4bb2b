"""The decision rule of ar_small_rl on results made by hand."""

from pathlib import Path

import polars as pl
import pytest

from common.report.drawing import save_figure
from common.report.results import Results
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN, Verdict
from common.schema import AV, AV_NEUTRAL_AR
from experiments.ar_small_rl.findings import sections
from experiments.ar_small_rl.rule import (
    NO_COPYING,
    QUOTES_LESS,
    QUOTES_LESS_THAN_BEFORE,
    RULE,
    SAYS_MORE,
)
from tests.experiments.made import SEEDS, results_of, row_of, statuses

WORTH_IT = "Weakening the AR is worth it"
ARMS = ("control", "blocks_1", "bag_of_words", "warm_start")
SAME = dict.fromkeys(ARMS, 0.4)


def results(
    quotes: dict[str, float],
    neutral: dict[str, float],
    bad_seed: float = 0.0,
    verbatim: dict[str, float] = SAME,
) -> Results:
    """Shares and FVE by arm; `bad_seed` lowers the neutral FVE of blocks_1 in the last."""

    def values(arm: str, seed: int, noise: float) -> tuple[dict[str, float], dict[str, float]]:
        lost = bad_seed * (arm == "blocks_1" and seed == SEEDS[-1])
        errors = {AV: 1 - 0.5 + noise, AV_NEUTRAL_AR: 1 - (neutral[arm] - lost) + noise}
        return errors, {
            "quote_share": quotes[arm] + noise,
            "verbatim_4gram_share": verbatim[arm],
            "best_of_1": 0.5,
        }

    return results_of("ar_small_rl", ARMS, values, noise=0.02, resamples=400)


WEAKER = {"control": 0.6, "blocks_1": 0.3, "bag_of_words": 0.6, "warm_start": 0.6}
RICHER = {"control": 0.4, "blocks_1": 0.5, "bag_of_words": 0.3, "warm_start": 0.2}


def verdict(*args, **kwargs) -> Verdict:
    return RULE.judge(results(*args, **kwargs))


def verdict_where_it_stopped(run: str) -> Verdict:
    """Of an arm that would be worth it, had no run been stopped early."""
    found = results(WEAKER, RICHER)
    return RULE.judge(found._replace(facts=found.facts | {"stopped_early": {run: "why"}}))


def test_an_arm_that_quotes_less_and_says_more_is_worth_it():
    found = verdict(WEAKER, RICHER)
    for clause in (QUOTES_LESS, SAYS_MORE, WORTH_IT):
        assert statuses(found, clause)["blocks_1"] == SHOWN
        assert statuses(found, clause)["bag_of_words"] != SHOWN
    assert statuses(found, SAYS_MORE)["bag_of_words"] == OTHER_WAY
    row = row_of(found, QUOTES_LESS, "blocks_1")
    assert row.difference
    assert row.difference.estimate == pytest.approx(-0.3)
    assert row.seeds == "3 of 3"
    assert row.p_value == pytest.approx(2 / 401)
    assert found.key == row
    assert found.sentence == (
        "Weakening the AR to `blocks_1` makes the AV quote less; weakening it to `blocks_1` makes"
        " the AV say more, as a neutral AR reads it; weakening it to `blocks_1` is worth it."
    )
    loses = "*What an arm loses under its own AR*: `blocks_1` - `control` 0.000"
    assert any(note.startswith(loses) for note in found.notes)
    assert found.notes[-1].endswith("with a chance of 0.125 (3 seeds).")


@pytest.mark.parametrize(
    ("quotes", "neutral", "bad_seed"),
    [(SAME, RICHER, 0.0), (WEAKER, SAME, 0.0), (WEAKER, RICHER, 0.2)],
    ids=["no fewer quotes", "no more said", "one seed says less"],
)
def test_one_clause_is_not_enough(
    quotes: dict[str, float], neutral: dict[str, float], bad_seed: float
):
    found = verdict(quotes, neutral, bad_seed)
    assert statuses(found, WORTH_IT)["blocks_1"] == NOT_SHOWN
    assert "weakening it is not shown to be worth it" in found.sentence


def test_an_av_that_learned_nothing_says_no_more_beside_one_that_went_astray():
    found = verdict(WEAKER, RICHER | {"warm_start": 0.5})
    assert statuses(found, QUOTES_LESS)["blocks_1"] == SHOWN
    assert statuses(found, SAYS_MORE)["blocks_1"] == NOT_SHOWN
    assert statuses(found, WORTH_IT)["blocks_1"] == NOT_SHOWN


def test_an_av_that_quotes_as_before_quotes_no_less_beside_one_that_quotes_more():
    found = verdict(WEAKER | {"warm_start": 0.3}, RICHER)
    assert statuses(found, QUOTES_LESS)["blocks_1"] == NOT_SHOWN
    before = statuses(found, QUOTES_LESS_THAN_BEFORE)
    assert before == {"blocks_1": NOT_SHOWN, "bag_of_words": OTHER_WAY}
    row = row_of(found, QUOTES_LESS_THAN_BEFORE, "bag_of_words")
    assert row.difference
    assert row.difference.estimate == pytest.approx(0.3)


def test_copying_without_quotation_marks_is_no_less_quoting():
    found = verdict(WEAKER, RICHER, verbatim=SAME | {"blocks_1": 0.5})
    assert statuses(found, QUOTES_LESS)["blocks_1"] == NOT_SHOWN
    reason = f"*{NO_COPYING}* is not shown (0.100 [0.100, 0.100])."
    assert f"*{QUOTES_LESS}*, `blocks_1` - `control`: not shown, {reason}" in found.notes


def test_a_few_copied_words_more_decide_nothing():
    found = verdict(WEAKER, RICHER, verbatim=SAME | {"blocks_1": 0.409})
    assert statuses(found, QUOTES_LESS)["blocks_1"] == SHOWN


def test_nothing_is_shown_for_an_arm_that_collapsed():
    found = verdict_where_it_stopped("blocks_1/2")
    assert found.notes[0] == "Nothing is shown for what collapsed: `blocks_1`."
    assert {row.status for row in found.findings if "`blocks_1`" in row.contrast} == {NOT_SHOWN}
    assert found.sentence.startswith("No weaker AR is shown to make the AV quote less;")


def test_every_seed_of_an_arm_must_have_its_like():
    found = results(WEAKER, RICHER)
    fewer = pl.col("arm").eq("warm_start") & pl.col("seed").gt(0)
    kept = found._replace(rows=found.rows.filter(~fewer), measures=found.measures.filter(~fewer))
    row = row_of(RULE.judge(kept), QUOTES_LESS_THAN_BEFORE, "blocks_1")
    assert row.status == NOT_SHOWN
    assert row.seeds == "1 of 3"


def test_nothing_is_shown_beside_a_control_that_collapsed():
    found = verdict_where_it_stopped("control/1")
    assert found.notes[0] == "`control` collapsed, so that nothing is shown."
    assert {row.status for row in found.findings} == {NOT_SHOWN}
    assert found.notes[-1] == "`control/1` was stopped early: why."


def test_nothing_is_measured_without_other_arms():
    found = results(WEAKER, RICHER)
    alone = found._replace(
        rows=found.rows.filter(arm="control"), measures=found.measures.filter(arm="control")
    )
    verdict = RULE.judge(alone)
    assert {row.status for row in verdict.findings} == {NOT_MEASURED}
    assert verdict.sentence.startswith("Whether weakening the AR to any of the arms makes the AV")


def test_the_front_leaves_out_what_another_arm_beats(tmp_path):
    front, *_ = sections(results(WEAKER, RICHER))
    assert front.markdown.endswith("several): `blocks_1`.")
    (drawing,) = front.drawings
    save_figure(drawing.figure, tmp_path / "front.png")
    traded, *_ = sections(results(WEAKER, RICHER | {"control": 0.6}))
    assert traded.markdown.endswith("several): `control` and `blocks_1`.")


def test_arms_stand_by_the_size_of_their_ar(tmp_path: Path):
    found = results(WEAKER, RICHER)
    sizes = {"bag_of_words": 10, "control": 1000, "blocks_1": 100, "warm_start": 1000}
    sized = found._replace(facts=found.facts | {"ar_parameters": sizes})
    (section,) = [s for s in sections(sized) if s.title == "Against the size of the AR"]
    rows = [line.split(" | ") for line in section.markdown.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == ["| `control`", "| `blocks_1`", "| `bag_of_words`"]
    size, quotes, neutral, *_ = rows[1][1:]
    assert size == "100"
    assert quotes.startswith("0.300 [")
    assert neutral.startswith("0.500 [")
    save_figure(section.drawings[0].figure, tmp_path / "size.png")
    assert (tmp_path / "size.png").stat().st_size > 0
