"""The decision rule of ar_small_rl on results made by hand."""

from pathlib import Path

import polars as pl
import pytest

from common.metrics.statistics import Interval
from common.report.drawing import save_figure
from common.report.results import Results
from common.schema import AV, AV_NEUTRAL_AR
from experiments.ar_small_rl.findings import _dominated, sections, verdict
from tests.experiments.made import SEEDS, results_of

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


def verdict_where_it_stopped(run: str) -> str:
    """Of an arm that would be worth it, had no run been stopped early."""
    found = results(WEAKER, RICHER)
    return verdict(found._replace(facts=found.facts | {"stopped_early": {run: "why"}}))


def test_an_arm_that_quotes_less_and_says_more_is_worth_it():
    less, more, worth, losses, chance = verdict(results(WEAKER, RICHER)).split("\n\n")
    assert less.startswith("For these 3 seeds, a weaker AR makes the AV quote less: shown for")
    assert "shown for `blocks_1` (less by 0.300 [" in less
    assert "0.300 in the worst of 3 seeds" in less
    assert "before reinforcement: shown for `blocks_1` (by 0.300 [" in less
    assert "Not shown for `bag_of_words`" in less
    assert "shown for `blocks_1` (above `control` by 0.100 [" in more
    assert "before reinforcement: shown for `blocks_1` (by 0.300 [" in more
    assert worth == "Weakening the AR is worth it: shown for `blocks_1`."
    assert "`blocks_1` 0.000" in losses
    assert chance.endswith("with a chance of 0.125.")


@pytest.mark.parametrize(
    ("quotes", "neutral", "bad_seed"),
    [(SAME, RICHER, 0.0), (WEAKER, SAME, 0.0), (WEAKER, RICHER, 0.2)],
    ids=["no fewer quotes", "no more said", "one seed says less"],
)
def test_one_clause_is_not_enough(
    quotes: dict[str, float], neutral: dict[str, float], bad_seed: float
):
    assert "worth it: not shown" in verdict(results(quotes, neutral, bad_seed))


def test_an_av_that_learned_nothing_says_no_more_beside_one_that_went_astray():
    worse = RICHER | {"warm_start": 0.5}
    less, more, worth, *_ = verdict(results(WEAKER, worse)).split("\n\n")
    assert "quote less: shown for `blocks_1`" in less
    assert "neutral AR: shown for no arm" in more
    assert "not shown" in worth


def test_an_av_that_quotes_as_before_quotes_no_less_beside_one_that_quotes_more():
    less, *_ = verdict(results(WEAKER | {"warm_start": 0.3}, RICHER)).split("\n\n")
    assert "quote less: shown for no arm. Not shown for `blocks_1` (less by 0.300 [" in less
    assert "before reinforcement: shown for no arm" in less
    assert "`bag_of_words` (by -0.300 [" in less
    assert "the other way)" in less


def test_copying_without_quotation_marks_is_no_less_quoting():
    less, *_ = verdict(results(WEAKER, RICHER, verbatim=SAME | {"blocks_1": 0.5})).split("\n\n")
    assert "quote less: shown for no arm" in less
    assert less.endswith("Verbatim 4-grams beyond the margin: `blocks_1` (0.100 [0.100, 0.100]).")


def test_a_few_copied_words_more_decide_nothing():
    less, *_ = verdict(results(WEAKER, RICHER, verbatim=SAME | {"blocks_1": 0.409})).split("\n\n")
    assert "quote less: shown for `blocks_1`" in less
    assert "margin" not in less


def test_nothing_is_shown_for_an_arm_that_collapsed():
    told = verdict_where_it_stopped("blocks_1/2")
    assert told.startswith("Nothing is shown for what collapsed: `blocks_1`. For these 3 seeds")
    assert "quote less: shown for no arm" in told
    assert "worth it: not shown" in told


def test_every_seed_of_an_arm_must_have_its_like():
    found = results(WEAKER, RICHER)
    fewer = pl.col("arm").eq("warm_start") & pl.col("seed").gt(0)
    kept = found._replace(rows=found.rows.filter(~fewer), measures=found.measures.filter(~fewer))
    less, *_ = verdict(kept).split("\n\n")
    assert "before reinforcement: shown for no arm. Not shown for `blocks_1`" in less
    assert "one seed" in less


def test_nothing_is_shown_beside_a_control_that_collapsed():
    told = verdict_where_it_stopped("control/1")
    assert told.startswith("`control` collapsed, so that nothing is shown. ")
    assert "quote less: shown for no arm" in told
    assert "worth it: not shown" in told
    assert told.endswith("`control/1` was stopped early: why.")


def test_nothing_is_measured_without_other_arms():
    found = results(WEAKER, RICHER)
    alone = found._replace(
        rows=found.rows.filter(arm="control"), measures=found.measures.filter(arm="control")
    )
    assert "not measured" in verdict(alone)


def test_arms_that_are_alike_do_not_push_each_other_off_the_front():
    point = (Interval(0.1, 0.0, 0.2), Interval(0.3, 0.2, 0.4))
    assert not _dominated("one", {"one": point, "other": point})


def test_the_front_leaves_out_what_another_arm_beats(tmp_path):
    front, *_ = sections(results(WEAKER, RICHER))
    assert front.markdown.endswith("several): `blocks_1`.")
    (drawing,) = front.drawings
    save_figure(drawing.figure, tmp_path / "front.png")
    traded, *_ = sections(results(WEAKER, RICHER | {"control": 0.6}))
    assert traded.markdown.endswith("several): `control`, `blocks_1`.")


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
