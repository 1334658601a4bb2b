"""Measures of clauses, by hand: thirty documents, variance 2, and 1 beyond the last token."""

from collections.abc import Mapping

import polars as pl
import pytest

from common.report.clauses import GREATER, Clause, Contrast, Direction, Pairs
from common.report.comparing import gain
from common.report.measured import Fve, FveShare, GainBeyond, MeanOf, Swapped, SwapShare
from common.report.paired import NotMeasuredError
from common.report.results import ROWS_SCHEMA, Results
from common.report.rule import Rule
from common.report.verdict import NOT_SHOWN, OTHER_WAY, SHOWN, Finding
from common.schema import AV, AV_NEUTRAL_AR

DOCUMENTS = 30
Levels = Mapping[tuple[str, str, str, int], tuple[float, ...]]
"""{(source, arm, transform, seed): squared error, and errors beyond 0, 1 and 4 tokens}."""


def results(levels: Levels, floors: tuple[str, ...] = (), **facts: object) -> Results:
    """The errors of each document are a little above or below these, the same for all arms."""
    errors = ("squared_error", "error_beyond_0", "error_beyond_1", "error_beyond_4")
    rows = [
        {"source": source, "arm": arm, "transform": transform, "seed": seed}
        | {"key": f"{document}:16", "doc_id": str(document), "applied": True, "cosine": 0.5}
        | {
            name: level + 0.01 * (document % 3 - 1)
            for name, level in zip(errors, found, strict=False)
        }
        for (source, arm, transform, seed), found in levels.items()
        for document in range(DOCUMENTS)
    ]
    variances = {"beyond_0": 2.0, "beyond_1": 1.0, "beyond_4": 0.5}
    known = {"profile": "t", "experiment": "t", "resamples": 200, "floors": list(floors)}
    known |= {"arms": ["control", "other"], "variance": 2.0, "variances": variances}
    return Results(known | facts, {}, rows=pl.DataFrame(rows, schema=ROWS_SCHEMA))


def of(arm: str, *errors: float, source: str = AV, transform: str = "original", seed: int = 0):
    return {(source, arm, transform, seed): errors}


TWO = results(of("control", 1.0, 0.9, 0.6, 0.4) | of("other", 1.4, 1.3, 0.8, 0.45))


def judged(found: Results, clause: Clause) -> Finding:
    (row,) = Rule("?", (clause,), "").judge(found).findings
    return row


@pytest.mark.parametrize(
    ("beyond", "expected"), [(None, 0.4 / 2), (0, 0.4 / 2), (1, 0.2 / 1), (4, 0.05 / 0.5)]
)
def test_fve_beyond_tokens_has_errors_and_a_variance_of_its_own(beyond: int, expected: float):
    found = gain(Fve(AV, beyond), TWO, "control", "other")
    assert found.difference == pytest.approx((expected, expected, expected))


def test_fve_beyond_tokens_of_one_arm():
    """1 - .6 / 1."""
    assert gain(Fve(AV, 1), TWO, "control", 0.0).difference.estimate == pytest.approx(0.4)


@pytest.mark.parametrize("gone", ["column", "numbers", "variances"])
def test_what_was_not_measured_beyond_tokens_is_told(gone: str):
    rows, facts = TWO.rows, TWO.facts
    if gone == "column":
        rows = rows.drop("error_beyond_1")
    if gone == "numbers":
        rows = rows.with_columns(error_beyond_1=pl.lit(None, pl.Float64))
    if gone == "variances":
        facts = {name: fact for name, fact in facts.items() if name != "variances"}
    found = TWO._replace(rows=rows, facts=facts)
    for measure in (Fve(AV, 1), Swapped(AV, "swap_quote", 1), GainBeyond(AV)):
        with pytest.raises(NotMeasuredError, match="nothing was measured beyond the last token"):
            gain(measure, found, "control", "other")


def test_a_share_of_the_gain_lies_beyond_the_last_token():
    """Of .4 of error that is saved, .2 is saved where the last token is known."""
    found = gain(GainBeyond(AV), TWO, "control", "other")
    assert found.difference == pytest.approx((0.5, 0.5, 0.5))
    assert found.by_pair == pytest.approx({0: 0.5})
    assert found.pairs == 1


def test_without_a_gain_no_share_of_it():
    turned = gain(GainBeyond(AV), TWO, "other", "control")
    assert str(turned.difference.estimate) == "nan"


@pytest.mark.parametrize(("beyond", "expected"), [(None, 0.3 / 0.5), (1, 0.2 / 0.4)])
def test_the_share_of_another_arms_fve(beyond: int | None, expected: float):
    """FVE 1 - 1.4 / 2 of 1 - 1 / 2; beyond the last token 1 - .8 of 1 - .6."""
    found = gain(FveShare(AV, beyond), TWO, "other", "control")
    assert found.difference.estimate == pytest.approx(expected)
    assert found.difference.low < expected + 0.01
    assert found.by_pair == pytest.approx({0: expected})
    clause = Clause("c", (Contrast("other", "control"),), FveShare(AV, beyond), Direction(0.7, 2))
    assert judged(TWO, clause).status == OTHER_WAY


def test_there_is_no_share_of_no_fve():
    bad = results(of("control", 2.1, 2.1, 1.2, 0.6) | of("other", 1.0, 0.9, 0.6, 0.4))
    assert str(gain(FveShare(AV, 1), bad, "other", "control").difference.estimate) == "nan"


SWAPPED = results(
    of("control", 1.0, 0.9, 0.6, 0.4)
    | of("control", 1.5, 1.4, 0.8, 0.4, transform="swap_quote")
    | of("control", 2.0, 1.9, 1.1, 0.4, transform="shuffled")
    | of("other", 1.2, 1.1, 0.7, 0.4)
    | of("other", 1.4, 1.3, 0.8, 0.4, transform="swap_quote")
    | of("other", 2.2, 2.1, 1.1, 0.4, transform="shuffled")
)


def test_a_swap_costs_what_the_part_was_worth():
    """.5 against .2 of a variance of 2; beyond the last token .2 against .1 of 1."""
    lost = gain(Swapped(AV, "swap_quote"), SWAPPED, "control", 0.0)
    assert lost.difference.estimate == pytest.approx(0.25)
    more = gain(Swapped(AV, "swap_quote"), SWAPPED, "control", "other")
    assert more.difference == pytest.approx((0.15, 0.15, 0.15))
    more = gain(Swapped(AV, "swap_quote", 1), SWAPPED, "control", "other")
    assert more.difference.estimate == pytest.approx(0.1)


def test_only_explanations_that_have_the_part_count():
    has_none = pl.col("doc_id").eq("0") & pl.col("transform").eq("swap_quote")
    rows = SWAPPED.rows.with_columns(
        pl.when(has_none).then(None).otherwise("squared_error").alias("squared_error"),
        applied=~has_none,
    )
    far = pl.when(doc_id="0", transform="original").then(9.0).otherwise("squared_error")
    found = SWAPPED._replace(rows=rows.with_columns(squared_error=far))
    lost = gain(Swapped(AV, "swap_quote"), found, "control", 0.0)
    assert lost.difference.estimate == pytest.approx(0.25)


def test_a_swap_as_a_share_of_the_whole_explanation():
    """.5 of 1.0 against .2 of 1.0."""
    share = gain(SwapShare(AV, "swap_quote"), SWAPPED, "control", 0.0)
    assert share.difference.estimate == pytest.approx(0.5)
    more = gain(SwapShare(AV, "swap_quote"), SWAPPED, "control", "other")
    assert more.difference == pytest.approx((0.3, 0.3, 0.3))
    assert more.by_pair == pytest.approx({0: 0.3})


READ = {"_0": 0.8, "_1": 0.9, "_2": 1.05, "": 2.75 / 3}
"""By what follows the name of the source: three neutral ARs, and their mean."""
NEUTRAL = results(
    {
        key: errors
        for end, level in READ.items()
        for key, errors in (
            of("control", level, level, level, 1.0, source=f"{AV_NEUTRAL_AR}{end}")
            | of("other", 1.0, 1.0, 1.0, 1.0, source=f"{AV_NEUTRAL_AR}{end}")
        ).items()
    }
)


def test_several_neutral_ars_are_one_source_of_their_mean():
    """Gains of .2, .1 and -.05."""
    assert NEUTRAL.sources == [AV_NEUTRAL_AR]
    found = gain(Fve(AV_NEUTRAL_AR, 1), NEUTRAL, "control", "other")
    assert found.difference.estimate == pytest.approx(0.25 / 3)
    under = {reader: one.estimate for reader, one in found.by_reader.items()}
    expected = {"av_neutral_ar_0": 0.2, "av_neutral_ar_1": 0.1, "av_neutral_ar_2": -0.05}
    assert under == pytest.approx(expected)


@pytest.mark.parametrize(("each", "status"), [(False, SHOWN), (True, NOT_SHOWN)])
def test_a_clause_may_ask_for_it_under_each_neutral_ar(each: bool, status: str):
    contrast = (Contrast("control", "other"),)
    clause = Clause("c", contrast, Fve(AV_NEUTRAL_AR, 1), GREATER, each_reader=each)
    row = judged(NEUTRAL, clause)
    assert row.status == status
    assert row.readers == ("2 of 3" if each else "")
    two = NEUTRAL.rows.filter(pl.col("source") != "av_neutral_ar_2")
    row = judged(NEUTRAL._replace(rows=two), clause)
    assert (row.status, row.readers) == (SHOWN, "2 of 2" if each else "")


def test_one_neutral_ar_is_enough_to_be_each():
    rows = NEUTRAL.rows.filter(source=AV_NEUTRAL_AR)
    clause = Clause(
        "c", (Contrast("control", "other"),), Fve(AV_NEUTRAL_AR), GREATER, each_reader=True
    )
    row = judged(NEUTRAL._replace(rows=rows), clause)
    assert (row.status, row.readers) == (SHOWN, "1 of 1")


def test_seeds_of_one_pair_count_once():
    """Gains of .1, .3 and -.1 in seeds 0, 1 and 2; of two pairs, seeds 0 and 2 are one."""
    levels = {
        key: errors
        for seed, lead in enumerate((0.2, 0.6, -0.2))
        for key, errors in (
            of("control", 1.0 - lead, seed=seed) | of("other", 1.0, seed=seed)
        ).items()
    }
    clause = Clause("c", (Contrast("control", "other"),), Fve(AV), GREATER, pairs=Pairs.EVERY)
    assert judged(results(levels), clause).pairs == "2 of 3"
    found = results(levels, pairs=2)
    assert gain(Fve(AV), found, "control", "other").by_pair == pytest.approx({0: 0.0, 1: 0.3})
    assert judged(found, clause).pairs == "1 of 2"
    assert judged(results(levels, pairs=1), clause).pairs == "1 of 1"


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (Fve(AV), "FVE under its own AR"),
        (Fve(AV, 1), "FVE beyond the last token under its own AR"),
        (Fve(AV_NEUTRAL_AR, 4), "FVE beyond the last four tokens under the neutral ARs"),
        (Fve(AV, 0), "FVE under its own AR at the answer's best length"),
        (Fve(AV, 1, "on AV text"), "FVE beyond the last token on AV text"),
        (
            Swapped(AV, "swap_last_word"),
            "FVE lost under its own AR by swapping the last quoted word",
        ),
        (
            SwapShare("teacher", "swap_all_but_quote"),
            "FVE lost on teacher text by swapping all but the quote (all: 1)",
        ),
        (
            GainBeyond(AV),
            "share beyond the last token of the gain in FVE under its own AR",
        ),
        (MeanOf("content", "content"), "content"),
    ],
)
def test_words(measure, words: str):
    assert measure.words == words
