"""The decision rule of baseline on results made by hand, where it must say shown or not shown."""

import polars as pl
import pytest

from common.report.results import Results
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN
from common.schema import AV, AV_NEUTRAL_AR
from experiments.baseline.findings import sections
from experiments.baseline.rule import RULE
from tests.experiments.made import SEEDS, results_of, row_of

ARMS = ("control", "frozen_ar", "frozen_av", "warm_start")
LEARNED = {"control": 0.6, "frozen_ar": 0.5, "frozen_av": 0.3, "warm_start": 0.2}
NOTHING = dict.fromkeys(ARMS, 0.2)


def results(
    own: dict[str, float],
    neutral: dict[str, float],
    quotes: dict[str, float] | None = None,
    bad_seed: float = 0.0,
) -> Results:
    """FVE by arm under own and neutral AR, variance 1; `bad_seed` lowers the last of control."""

    def values(arm: str, seed: int, noise: float) -> tuple[dict[str, float], dict[str, float]]:
        lost = bad_seed * (arm == "control" and seed == SEEDS[-1])
        read = {AV: own, AV_NEUTRAL_AR: neutral}
        errors = {source: 1 - fves[arm] + noise + lost for source, fves in read.items()}
        return errors, {
            "verbatim_4gram_share": (quotes or NOTHING)[arm] + noise,
            "tokens": 40.0,
            "quote_share": 0.5,
            "splice_kl": 1.0 - own[arm],
            "splice_kl_mean_direction": 2.0,
            "best_of_1": 1 - own[arm],
            "best_of_4": 0.9 - own[arm],
        }

    return results_of("baseline", ARMS, values, noise=0.01, resamples=200)


IMPROVES, PART = "The round trip improves", "Learning to speak is part of it"
WORDS, LARGER = "The words carry more", "The AV's learning is the larger part"
QUOTES = "It learns to quote"


def judged(found: Results) -> dict[str, str]:
    """{clause: status}."""
    return {row.clause: row.status for row in RULE.judge(found).findings}


def test_all_clauses_are_shown_where_they_hold():
    verdict = RULE.judge(results(LEARNED, LEARNED, quotes=LEARNED))
    assert {row.status for row in verdict.findings} == {SHOWN}
    gains = {IMPROVES: 0.4, PART: 0.3, WORDS: 0.4, LARGER: 0.2, QUOTES: 0.4}
    for clause, gain in gains.items():
        row = row_of(verdict, clause)
        assert row.difference
        assert row.difference.estimate == pytest.approx(gain)
        assert row.seeds == "3 of 3"
        assert row.p_value is None
    assert verdict.key == row_of(verdict, IMPROVES)
    assert verdict.sentence == (
        "Reinforcement learning improves the round trip; it gains more than the AR's learning"
        " alone; a neutral AR reads more from the words; the AV's learning is the larger part; it"
        " learns to quote."
    )
    alone = "*What the AR's learning alone gains*: `frozen_av` - `warm_start` 0.100 ["
    assert any(note.startswith(alone) for note in verdict.notes)


def test_a_gain_that_only_the_own_ar_sees_is_no_gain_of_the_words():
    found = judged(results(LEARNED, NOTHING))
    assert found[IMPROVES] == SHOWN
    assert found[WORDS] == NOT_SHOWN


def test_every_seed_must_gain():
    row = row_of(RULE.judge(results(LEARNED, LEARNED, bad_seed=0.5)), IMPROVES)
    assert row.status == NOT_SHOWN
    assert row.seeds == "2 of 3"


def test_an_ar_that_learns_alone_is_no_learning_to_speak():
    """The AR's learning explains all of it, or an AR that unlearned flatters the AV."""
    found = judged(results(LEARNED | {"frozen_av": LEARNED["control"]}, NOTHING))
    assert found[IMPROVES] == SHOWN
    assert found[PART] == NOT_SHOWN
    assert found[LARGER] == OTHER_WAY
    unlearned = RULE.judge(results(NOTHING | {"frozen_av": 0.0}, NOTHING))
    assert row_of(unlearned, LARGER).status == NOT_SHOWN
    needs = "*The AV's learning alone improves the round trip* is not shown"
    assert any(LARGER in note and needs in note for note in unlearned.notes)


def test_a_run_that_collapsed_counts_and_is_named():
    found = results(LEARNED, LEARNED)
    stopped = found._replace(facts=found.facts | {"stopped_early": {"control/1": "collapsed: why"}})
    verdict = RULE.judge(stopped)
    assert verdict.notes[-1] == "`control/1` was stopped early: collapsed: why."
    assert verdict.findings == RULE.judge(found).findings


def test_nothing_is_shown_where_nothing_changed():
    verdict = RULE.judge(results(NOTHING, NOTHING))
    assert {row.status for row in verdict.findings} == {NOT_SHOWN}
    assert verdict.sentence.startswith("Reinforcement learning is not shown to improve the round")


def test_a_part_that_is_missing_is_not_measured():
    found = results(LEARNED, LEARNED)
    without = found._replace(
        rows=found.rows.filter(pl.col("arm") != "warm_start"),
        measures=found.measures.filter(pl.col("arm") != "warm_start"),
    )
    statuses = judged(without)
    assert statuses.pop(PART) == SHOWN
    assert set(statuses.values()) == {NOT_MEASURED}
    verdict = RULE.judge(without)
    assert "whether a neutral AR reads more from the words was not measured" in verdict.sentence
    reason = "`control` - `warm_start`: not measured, there is nothing of `warm_start`."
    assert f"*{IMPROVES}*, {reason}" in verdict.notes


def test_without_the_ar_that_learns_alone_the_round_trip_is_still_told():
    found = results(LEARNED, LEARNED)
    statuses = judged(found._replace(rows=found.rows.filter(pl.col("arm") != "frozen_av")))
    assert statuses[IMPROVES] == SHOWN
    assert statuses[PART] == NOT_MEASURED
    assert statuses[LARGER] == NOT_MEASURED


def test_sections_by_hand():
    texts, splice, best, published = sections(results(LEARNED, LEARNED))
    assert "`control`" in texts.markdown
    control = next(line for line in splice.markdown.splitlines() if "`control`" in line)
    assert "0.400 [0.400, 0.400]" in control
    assert "0.800 [0.800, 0.800]" in control, "1 - .4 / 2"
    control = next(line for line in best.markdown.splitlines() if "`control`" in line)
    assert "0.600 [" in control
    assert "0.700 [" in control
    assert "n = 4" in best.markdown
    lines = published.markdown.splitlines()
    assert "| FVE of `control` | 0.670 to 0.800 | 0.600 [0.594, 0.606] | no |" in lines
    assert any("quotes_only" in line and "not measured" in line for line in lines)


def test_a_published_figure_within_the_interval_replicates():
    told = sections(results(LEARNED | {"control": 0.7, "warm_start": 0.4}, LEARNED))[-1].markdown
    assert [line.endswith("| yes |") for line in told.splitlines() if "FVE of `" in line] == [
        True,
        True,
    ]


def test_no_measures_leave_the_published_figures():
    found = results(LEARNED, LEARNED)
    (published,) = sections(found._replace(measures=found.measures.clear()))
    assert published.title == "Beside published figures"
