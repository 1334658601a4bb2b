"""The decision rule of baseline on results made by hand, where it must say shown or not shown."""

import polars as pl
import pytest

from common.report.results import Results
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN
from common.schema import AV
from experiments.baseline.findings import sections
from experiments.baseline.rule import BEYOND, RULE
from tests.experiments.made import NEUTRAL, SEEDS, Errors, read_by, results_of, row_of

ARMS = ("control", "frozen_ar", "frozen_av", "warm_start", "unquoted", "unquoted_warm_start")
Level = dict[str, float]
"""By arm."""
LEARNED = dict(zip(ARMS, (0.6, 0.5, 0.3, 0.2, 0.5, 0.1), strict=True))
NOTHING = dict.fromkeys(ARMS, 0.2)
MORE = dict(zip(ARMS, (0.3, 0.3, 0.2, 0.1, 0.4, 0.1), strict=True))


def results(
    own: Level = LEARNED,
    beyond: Level = MORE,
    neutral: Level = MORE,
    copied: Level = LEARNED,
    named: Level = MORE,
    bad_pair: float = 0.0,
) -> Results:
    """FVE under the own AR, beyond tokens under own and neutral ARs, copied words, and content.

    A swap of the last word takes as large a share of the FVE as it is, one of the rest half of
    that; `bad_pair` lowers the last of control.
    """

    def values(arm: str, seed: int, noise: float) -> tuple[Errors, dict[str, float]]:
        lost = bad_pair * (arm == "control" and seed == SEEDS[-1])
        errors = read_by(own[arm] - lost, beyond[arm] - lost, neutral[arm], noise)
        fve = own[arm] - lost
        errors[AV, "shuffled"] = (1 + noise, 1 + noise)
        errors[AV, "swap_last_word"] = (1 - fve + fve * own[arm] + noise, 1 + noise)
        errors[AV, "swap_all_but_quote"] = (1 - fve + fve * own[arm] / 2 + noise, 1 + noise)
        return errors, {
            "suffix_excess_1": copied[arm] + noise,
            "suffix_excess_2": copied[arm] / 2 + noise,
            "longest_run_excess": 4 * copied[arm] + noise,
            "content": named[arm] + noise,
            "tokens": 40.0,
            "splice_kl": 1.0 - own[arm],
            "splice_kl_mean_direction": 2.0,
            "best_of_1": 1 - own[arm],
            "best_of_4": 0.9 - own[arm],
        }

    return results_of("baseline", ARMS, values, noise=0.01, resamples=200)


IMPROVES, PART = "The round trip improves", "Learning to speak is part of it"
OTHERS, LARGER = "Other ARs read more beyond the last token", "The AV's learning is the larger part"
MOSTLY, COPIES = "Most of the gain is the last token", "It copies the last word more often"
TWO, NAMES = "It quotes two words more often", "It names more of what is known"
LAST, REST = "The last quoted word counts for more", "What is not quoted counts for more"
BACK, QUOTES_BACK = "Copied words come back", "Quotes come back"
ALONE = "The AV's learning alone improves the round trip"
UNQUOTED = "An AV that does not quote "


def judged(found: Results) -> dict[str, str]:
    """{clause: status}."""
    return {row.clause: row.status for row in RULE.judge(found).findings}


def test_all_clauses_are_shown_where_they_hold():
    verdict = RULE.judge(results(beyond=MORE | {"control": 0.2}))
    assert {row.status for row in verdict.findings} == {SHOWN}
    gains = {IMPROVES: 0.4, BEYOND: 0.1, OTHERS: 0.2, MOSTLY: 0.25, COPIES: 0.4, TWO: 0.2}
    gains |= {NAMES: 0.2, LAST: 0.4, REST: 0.2, PART: 0.3, ALONE: 0.3, LARGER: 0.2, BACK: 1.6}
    gains |= {QUOTES_BACK: 0.4, f"{UNQUOTED}names more of what is known": 0.1}
    gains |= {f"{UNQUOTED}says as much beyond the last token": 0.2}
    assert {row.clause for row in verdict.findings} == {*gains}
    for clause, gain in gains.items():
        row = row_of(verdict, clause)
        assert row.difference
        assert row.difference.estimate == pytest.approx(gain), clause
        assert row.pairs == "3 of 3"
        assert row.readers == ("3 of 3" if clause == OTHERS else "")
        assert row.p_value is None
    assert verdict.key == row_of(verdict, BEYOND)
    assert verdict.sentence == (
        "Reinforcement learning makes explanations say more beyond the last token, to its own AR"
        " and to neutral ones; less than half of what the round trip gains lies beyond the last"
        " token; it learns to copy the last word; it names more of what is known of the position;"
        " the AV's learning is the larger part of the gain; an AV that was taught not to quote"
        " learns to copy words by reinforcement."
    )
    for note in (
        "*What the AR's learning alone gains*: `frozen_av` - `warm_start` 0.100 [",
        "*Extra FVE for the neutral ARs*: `control` - `warm_start` 0.400 [",
        "*What it costs not to quote*: `unquoted` - `control` -0.100 [",
    ):
        assert any(one.startswith(note) for one in verdict.notes), note


def test_a_gain_of_the_last_token_alone_says_no_more():
    """FVE grows and the last word is copied, and what the last token leaves open stays open."""
    found = RULE.judge(results(beyond=NOTHING, neutral=NOTHING, named=NOTHING))
    assert row_of(found, IMPROVES).status == SHOWN
    assert row_of(found, BEYOND).status == NOT_SHOWN
    assert row_of(found, MOSTLY).status == SHOWN
    share = row_of(found, MOSTLY).difference
    assert share
    assert share.estimate == pytest.approx(0, abs=1e-9)
    assert row_of(found, COPIES).status == SHOWN
    assert found.sentence.startswith("Reinforcement learning is not shown to make explanations say")


def test_a_gain_that_lies_beyond_the_last_token_is_no_copying():
    found = RULE.judge(results(beyond=LEARNED))
    assert row_of(found, MOSTLY).status == OTHER_WAY
    assert (
        "more than half of what the round trip gains lies beyond the last token" in found.sentence
    )


def test_without_a_gain_there_is_no_share_of_it():
    found = RULE.judge(results(own=NOTHING))
    assert row_of(found, MOSTLY).status == NOT_SHOWN
    assert any(MOSTLY in note and "its interval is undefined" in note for note in found.notes)


def test_one_neutral_ar_that_reads_no_more_is_enough_to_doubt():
    found = results()
    same = pl.col("source").eq(NEUTRAL[-1]) & pl.col("arm").eq("control")
    rows = found.rows.with_columns(
        error_beyond_1=pl.when(same).then(0.9).otherwise("error_beyond_1")
    )
    row = row_of(RULE.judge(found._replace(rows=rows)), OTHERS)
    assert (row.status, row.readers) == (NOT_SHOWN, "2 of 3")
    assert row.difference
    assert row.difference.low > 0, "their mean does"


def test_every_pair_must_gain():
    row = row_of(RULE.judge(results(bad_pair=0.5)), IMPROVES)
    assert row.status == NOT_SHOWN
    assert row.pairs == "2 of 3"


def test_an_ar_that_learns_alone_is_no_learning_to_speak():
    """The AR's learning explains all of it, or an AR that unlearned flatters the AV."""
    found = judged(results(own=LEARNED | {"frozen_av": LEARNED["control"]}))
    assert found[IMPROVES] == SHOWN
    assert found[PART] == NOT_SHOWN
    assert found[LARGER] == OTHER_WAY
    unlearned = RULE.judge(results(own=NOTHING | {"frozen_av": 0.0}))
    assert row_of(unlearned, LARGER).status == NOT_SHOWN
    assert any(LARGER in note and f"*{ALONE}* is not shown" in note for note in unlearned.notes)


def test_an_av_that_copies_no_more_words_was_not_made_to():
    verdict = RULE.judge(results(copied=NOTHING))
    assert row_of(verdict, BACK).status == NOT_SHOWN
    assert verdict.sentence.endswith("not to quote is not shown to learn to copy words.")


def test_a_run_that_collapsed_counts_and_is_named():
    found = results()
    stopped = found._replace(facts=found.facts | {"stopped_early": {"control/1": "collapsed: why"}})
    verdict = RULE.judge(stopped)
    assert verdict.notes[-1] == "`control/1` was stopped early: collapsed: why."
    assert verdict.findings == RULE.judge(found).findings


def test_nothing_is_shown_where_nothing_changed():
    verdict = RULE.judge(results(*[NOTHING] * 5))
    as_much = f"{UNQUOTED}says as much beyond the last token"
    shown = [row.clause for row in verdict.findings if row.status != NOT_SHOWN]
    assert shown == [as_much]


@pytest.mark.parametrize("arms", [("unquoted", "unquoted_warm_start"), ("frozen_ar", "frozen_av")])
def test_arms_that_a_profile_does_not_run_are_not_measured(arms: tuple[str, ...]):
    found = results()
    verdict = RULE.judge(
        found._replace(
            rows=found.rows.filter(~pl.col("arm").is_in(arms)),
            measures=found.measures.filter(~pl.col("arm").is_in(arms)),
        )
    )
    assert row_of(verdict, BEYOND).status == SHOWN
    missing = {row.clause for row in verdict.findings if row.status == NOT_MEASURED}
    assert missing == {
        row.clause for row in verdict.findings if any(f"`{arm}`" in row.contrast for arm in arms)
    }
    if "unquoted" in arms:
        said = (
            "whether an AV that was taught not to quote learns to copy words by reinforcement was"
        )
        assert said in verdict.sentence


def test_sections_by_hand():
    texts, content, splice, best, published = sections(results())
    assert "`control`" in texts.markdown
    assert content.title == "What the explanations say"
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
    told = sections(results(own=LEARNED | {"control": 0.7, "warm_start": 0.4}))[-1].markdown
    assert [line.endswith("| yes |") for line in told.splitlines() if "FVE of `" in line] == [
        True,
        True,
    ]


def test_no_measures_leave_the_published_figures():
    found = results()
    (published,) = sections(found._replace(measures=found.measures.clear()))
    assert published.title == "Beside published figures"
