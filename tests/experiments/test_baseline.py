"""The decision rule of baseline on results made by hand, where it must say shown or not shown."""

import polars as pl

from common.report.results import Results
from common.schema import AV, AV_NEUTRAL_AR
from experiments.baseline.findings import sections, verdict
from tests.experiments.made import SEEDS, results_of

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


def clauses(found: Results) -> list[str]:
    """Each paragraph of the verdict up to its first number."""
    return verdict(found).split("\n\n")


def test_all_clauses_are_shown_where_they_hold():
    works, words, who, quotes = clauses(results(LEARNED, LEARNED, quotes=LEARNED))
    assert "for these 3 seeds: shown" in works
    assert "0.400 [" in works
    assert "part of it: shown, a difference of 0.300 [" in works
    assert "under a neutral AR: shown" in words
    assert "larger part: shown" in who
    assert "0.300 [" in who
    assert "0.100 [" in who
    assert "learns to quote: shown" in quotes


def test_a_gain_that_only_the_own_ar_sees_is_no_gain_of_the_words():
    works, words, *_ = clauses(results(LEARNED, NOTHING))
    assert ": shown" in works
    assert "under a neutral AR: not shown" in words


def test_every_seed_must_gain():
    works, *_ = clauses(results(LEARNED, LEARNED, bad_seed=0.5))
    assert "for these 3 seeds: not shown" in works
    assert "-0.100 in the worst seed" in works


def test_an_ar_that_learns_alone_is_no_learning_to_speak():
    """The AR's learning explains all of it, or an AR that unlearned flatters the AV."""
    fves = LEARNED | {"frozen_av": LEARNED["control"]}
    works, _, who, _ = clauses(results(fves, NOTHING))
    assert "for these 3 seeds: shown" in works
    assert "part of it: not shown" in works
    assert "larger part: not shown" in who
    unlearned = NOTHING | {"frozen_av": 0.0}
    assert "larger part: not shown" in clauses(results(unlearned, NOTHING))[2]


def test_a_run_that_collapsed_is_named():
    found = results(LEARNED, LEARNED)
    told = found._replace(facts=found.facts | {"stopped_early": {"control/1": "collapsed: why"}})
    assert clauses(told)[-1] == "`control/1` was stopped early: collapsed: why."


def test_nothing_is_shown_where_nothing_changed():
    for clause in clauses(results(NOTHING, NOTHING)):
        assert "not shown" in clause


def test_a_part_that_is_missing_is_not_measured():
    found = results(LEARNED, LEARNED)
    without = found._replace(
        rows=found.rows.filter(pl.col("arm") != "warm_start"),
        measures=found.measures.filter(pl.col("arm") != "warm_start"),
    )
    assert all("not measured" in clause for clause in clauses(without))


def test_without_the_ar_that_learns_alone_the_round_trip_is_still_told():
    found = results(LEARNED, LEARNED)
    works, _, who, _ = clauses(found._replace(rows=found.rows.filter(pl.col("arm") != "frozen_av")))
    assert "for these 3 seeds: shown" in works
    assert "part of it: not measured" in works
    assert "not measured" in who


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
