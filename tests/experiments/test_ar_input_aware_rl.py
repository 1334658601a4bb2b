"""The decision rule of ar_input_aware_rl on results made by hand, and the section on rewards."""

from pathlib import Path

import polars as pl
import pytest

from common.report.drawing import save_figure
from common.report.results import CURVES_SCHEMA, Results
from common.report.section import Section
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN, Verdict
from experiments.ar_input_aware_rl.findings import sections
from experiments.ar_input_aware_rl.rule import (
    BET,
    LEARNED,
    NAMES_MORE,
    QUOTES_LESS,
    READS_MORE,
    RULE,
    STANDS_ALONE,
)
from tests.experiments.made import NEUTRAL, SEEDS, Errors, read_by, results_of, row_of, statuses

LEFT = "Is there anything left to say?"
PARTS = ("whole run", "first quarter", "last quarter")
ARMS = ("control", "given_4", "last_16", "warm_start")
Levels = dict[str, float]
"""One number for each arm."""
QUOTES = {"control": 0.6, "given_4": 0.3, "last_16": 0.6, "warm_start": 0.5}
NAMED = {"control": 0.4, "given_4": 0.5, "last_16": 0.4, "warm_start": 0.35}
BEYOND = {"control": 0.3, "given_4": 0.4, "last_16": 0.3, "warm_start": 0.2}
"""FVE beyond the last four tokens."""
FVE: Levels = dict.fromkeys(ARMS, 0.5)


def results(
    quotes: Levels = QUOTES,
    named: Levels = NAMED,
    beyond: Levels = BEYOND,
    fve: Levels = FVE,
    bad_pair: float = 0.0,
) -> Results:
    """Measures by arm; `bad_pair` lowers the content of given_4 in the last."""

    def values(arm: str, seed: int, noise: float) -> tuple[Errors, dict[str, float]]:
        noise *= 1.5 if arm == "given_4" else 1.0  # arms with equally long names have the same
        lost = bad_pair * (arm == "given_4" and seed == SEEDS[-1])
        return read_by(fve[arm], beyond[arm], beyond[arm], noise / 10), {
            "suffix_1": quotes[arm] + 0.2 + noise,
            "suffix_excess_1": quotes[arm] + 0.1 + noise,
            "suffix_excess_4": quotes[arm] + noise,
            "longest_run_excess": 4 * quotes[arm] + noise,
            "quote_share": 0.2 + noise,
            "content": named[arm] - lost + noise,
        }

    return results_of("ar_input_aware_rl", ARMS, values, noise=0.02, resamples=400)


def verdict(**levels) -> Verdict:
    return RULE.judge(results(**levels))


def status(found: Verdict, clause: str, arm: str = "given_4") -> str:
    return statuses(found, clause)[arm]


def test_an_arm_that_copies_less_and_says_more_wins_the_bet():
    found = verdict()
    for clause in (LEARNED, QUOTES_LESS, NAMES_MORE, READS_MORE, BET, STANDS_ALONE):
        assert status(found, clause) == SHOWN, clause
    for clause in (QUOTES_LESS, NAMES_MORE, READS_MORE, BET):
        assert status(found, clause, "last_16") == NOT_SHOWN, clause
    assert status(found, LEARNED, "last_16") == SHOWN
    row = row_of(found, NAMES_MORE, "given_4")
    assert row.difference
    assert row.difference.estimate == pytest.approx(0.1)
    assert (row.pairs, row.p_value) == ("3 of 3", pytest.approx(2 * 1 / 401))
    assert found.key == row
    assert row_of(found, READS_MORE, "given_4").readers == "3 of 3"
    assert found.sentence == (
        "Rewards from the AR of `given_4` make the AV quote less; rewards from the AR of `given_4`"
        " make it name more known facts; other ARs read more beyond the last four tokens in the"
        " words of `given_4`; the AV of `given_4` copies less and says more."
    )


def test_what_decides_nothing_is_told():
    notes = verdict().notes
    for told in (
        "*Last-word copies that an arm adds*: `given_4` - `control` -0.300",
        "*How much longer its runs of copied words are*: `given_4` - `control` -1.200",
        "*How much more it puts in quotation marks*: `given_4` - `control` 0.000",
        "*How much more it names than before reinforcement*: `given_4` - `warm_start` 0.150",
    ):
        assert any(note.startswith(told) for note in notes), told


@pytest.mark.parametrize(
    ("levels", "clause"),
    [
        ({"beyond": BEYOND | {"given_4": 0.2, "control": 0.1}}, LEARNED),
        ({"quotes": QUOTES | {"given_4": 0.6}}, QUOTES_LESS),
        ({"named": NAMED | {"given_4": 0.4}}, NAMES_MORE),
        ({"bad_pair": 0.3}, NAMES_MORE),
        ({"beyond": BEYOND | {"given_4": 0.3}}, READS_MORE),
    ],
    ids=["learned nothing", "no fewer quotes", "no more facts", "one pair less", "no more is read"],
)
def test_one_clause_is_not_enough(levels: dict, clause: str):
    found = verdict(**levels)
    assert status(found, clause) == NOT_SHOWN
    assert status(found, BET) == NOT_SHOWN
    assert found.sentence.endswith("that an AV copies less and says more is not shown.")


@pytest.mark.parametrize(
    ("levels", "clause", "told"),
    [
        ({"beyond": BEYOND | {"given_4": 0.1}}, LEARNED, ""),
        ({"quotes": QUOTES | {"given_4": 0.7}}, QUOTES_LESS, "make the AV quote more"),
        ({"named": NAMED | {"given_4": 0.3}}, NAMES_MORE, "make it name fewer known facts"),
        (
            {"beyond": BEYOND | {"given_4": 0.25}},
            READS_MORE,
            "other ARs read less beyond the last four tokens in the words of `given_4`",
        ),
    ],
)
def test_a_clause_and_the_bet_may_lie_the_other_way(levels: dict, clause: str, told: str):
    found = verdict(**levels)
    assert status(found, clause) == OTHER_WAY
    assert told in found.sentence
    if clause != LEARNED:
        assert status(found, BET) == OTHER_WAY
    assert found.sentence.endswith("that an AV copies less and says more is not shown.")


def test_an_av_that_learned_nothing_wins_nothing_beside_one_gone_astray():
    found = verdict(beyond=BEYOND | {"given_4": 0.2, "control": 0.1})
    assert status(found, READS_MORE) == SHOWN
    reason = f"*{LEARNED}* is not shown (0.000 ["
    for clause in (QUOTES_LESS, NAMES_MORE):
        assert status(found, clause) == NOT_SHOWN
        assert any(n.startswith(f"*{clause}*, `given_4`") and reason in n for n in found.notes)


@pytest.mark.parametrize(
    ("fve", "expected"), [(0.5, SHOWN), (0.47, SHOWN), (0.45, NOT_SHOWN), (0.4, OTHER_WAY)]
)
def test_words_stand_alone_with_a_small_loss(fve: float, expected: str):
    found = verdict(fve=FVE | {"given_4": fve})
    assert status(found, STANDS_ALONE) == expected
    assert status(found, BET) == SHOWN


def test_one_neutral_ar_that_reads_no_more_is_enough_to_doubt():
    found = results()
    less = pl.col("source").eq(NEUTRAL[0]) & pl.col("arm").eq("given_4")
    rows = found.rows.with_columns(error_beyond_4=pl.col("error_beyond_4") + 0.15 * less)
    row = row_of(RULE.judge(found._replace(rows=rows)), READS_MORE, "given_4")
    assert (row.status, row.readers) == (NOT_SHOWN, "2 of 3")


@pytest.mark.parametrize("run", ["given_4/2", "control/1"])
def test_nothing_is_shown_for_an_arm_that_collapsed(run: str):
    found = results()
    judged = RULE.judge(found._replace(facts=found.facts | {"stopped_early": {run: "why"}}))
    assert {row.status for row in judged.findings if "`given_4`" in row.contrast} == {NOT_SHOWN}
    assert judged.sentence.startswith("No AR that sees some of the input is shown to make the AV")
    assert f"`{run}` was stopped early: why." in judged.notes


def test_nothing_is_measured_without_other_arms():
    found = results()
    alone = found._replace(
        rows=found.rows.filter(arm="control"), measures=found.measures.filter(arm="control")
    )
    judged = RULE.judge(alone)
    assert {row.status for row in judged.findings} == {NOT_MEASURED}
    assert judged.sentence.startswith("Whether rewards from the AR of any of the arms make the AV")


def curves(**of_arms: list[tuple[int, str, list[float]]]) -> pl.DataFrame:
    """{arm: (seed, metric, a value for each rollout)}, with the last rollout first."""
    rows = [
        (arm, seed, step, metric, value)
        for arm, found in of_arms.items()
        for seed, metric, values in found
        for step, value in reversed([*enumerate(values)])
    ]
    return pl.DataFrame(rows, schema=CURVES_SCHEMA, orient="row")


def left_to_say(found: Results) -> list[Section]:
    return [section for section in sections(found) if section.title == LEFT]


def test_rewards_and_their_spread_are_told_by_quarter_of_each_run():
    made = curves(
        control=[
            (0, "rl_reward_spread", [0.4, 0.2, 0.3, 0.3, 0.3, 0.3, 0.1, 0.1]),
            (1, "rl_reward_spread", [0.1, 0.5]),  # stopped early: a quarter is one rollout
            (0, "rl_reward", [-1.0, -0.8, -0.5, -0.5, -0.5, -0.5, -0.2, -0.4]),
            (1, "rl_reward", [-0.5, -0.1]),
            (0, "rl_length", [40.0] * 8),
        ],
        given_4=[
            (0, "rl_reward_spread", [0.0125, 0.0125, 0.0125, 0.0025, 0.0025]),
            (0, "rl_reward", [-0.25] * 5),
        ],
        warm_start=[(0, "dev_fve", [0.3])],
    )
    (section,) = left_to_say(results()._replace(curves=made))
    assert section.on_page
    header, _, *rows = [line for line in section.markdown.splitlines() if line.startswith("|")]
    titles = [f"{what}, {part}" for what in ("spread", "reward") for part in PARTS]
    assert header.strip("| ").split(" | ") == ["arm", *titles]
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert cells == [
        ["`control`", "0.275", "0.2", "0.3", "-0.425", "-0.7", "-0.2"],
        ["`given_4`", "0.0085", "0.0125", "0.0025", "-0.25", "-0.25", "-0.25"],
    ]


def test_without_the_spread_of_rewards_nothing_is_told_of_it():
    found = results()
    assert left_to_say(found) == []
    reward = curves(control=[(0, "rl_reward", [-0.5])])
    assert left_to_say(found._replace(curves=reward)) == []


def test_the_front_leaves_out_what_another_arm_beats(tmp_path: Path):
    front, *rest = sections(results())
    assert front.markdown.endswith("several): `given_4`.")
    (drawing,) = front.drawings
    save_figure(drawing.figure, tmp_path / "front.png")
    assert "Copied words" in [section.title for section in rest]
