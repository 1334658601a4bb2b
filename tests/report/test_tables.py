import math

import polars as pl
import pytest

from common.report import fve
from common.report.damaged import (
    ALL_QUOTES,
    prefix_table,
    quote_effects,
    survival_table,
    swap_table,
)
from common.report.fve import joint_errors
from common.report.results import ROWS_SCHEMA, Results
from common.report.tables import arm_table

pytestmark = pytest.mark.usefixtures("few_documents")

VARIANCE = 2.0


def small_results(*rows: tuple) -> Results:
    """Rows (arm, seed, key, transform, squared error or None); a key's letter is its document."""
    frame = pl.DataFrame(
        [
            {
                "arm": arm,
                "seed": seed,
                "key": key,
                "doc_id": key[0],
                "source": "teacher",
                "transform": transform,
                "applied": error is not None,
                "squared_error": error,
                "cosine": None if error is None else 1 - error / 2,
                "raw_squared_error": None if error is None else 10 * error,
                "retrieval_rank": {0.0: 1, 1.0: 2}.get(error) if transform == "original" else None,
            }
            for arm, seed, key, transform, error in rows
        ],
        schema=ROWS_SCHEMA,
    )
    facts = {
        "profile": "smoke",
        "experiment": "hand",
        "floors": ["floor"],
        "variance": VARIANCE,
        "raw_variance": 40.0,
        "resamples": 200,
    }
    return Results(facts=facts, text_metrics={}, rows=frame)


def test_arm_row_by_hand():
    results = small_results(
        ("control", 0, "a1", "original", 0.0),
        ("control", 1, "a1", "original", 1.0),
        ("control", 0, "b1", "original", 1.0),
        ("control", 1, "b1", "original", 2.0),
        ("floor", 0, "a1", "original", 1.5),
        ("floor", 0, "b1", "original", 2.5),
    )
    control, floor = arm_table(results, "teacher")
    assert (control.activations, control.documents) == (2, 2)
    assert control.fve.estimate == pytest.approx(1 - 1.0 / 2)
    assert control.pairs == pytest.approx({0: 0.75, 1: 0.25})
    assert control.difference is None
    assert control.cosine == pytest.approx(0.5)
    assert control.raw_fve == pytest.approx(1 - 10 / 40)
    assert control.top1 == pytest.approx(1 / 3)
    assert control.mrr == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert floor.is_floor
    assert floor.fve.estimate == pytest.approx(0.0)


def test_interval_comes_from_documents_after_averaging_over_seeds():
    rows = [
        (arm, seed, f"{document}1", "original", 1.0 + sign * (-1) ** seed)
        for arm, sign in (("control", 0.0), ("noisy", 0.5))
        for seed in (0, 1)
        for document in "abc"
    ]
    control, noisy = arm_table(small_results(*rows), "teacher")
    assert noisy.difference == pytest.approx((0.0, 0.0, 0.0))
    assert noisy.fve == pytest.approx(control.fve)
    assert noisy.pairs == pytest.approx({0: 0.25, 1: 0.75})


def test_difference_is_paired_on_the_seeds_that_both_have():
    rows = [
        (arm, seed, f"{document}1", "original", error)
        for arm, errors in (("control", (1.0, 2.0, 3.0)), ("one_seed", (1.5,)), ("floor", (1.5,)))
        for seed, error in enumerate(errors)
        for document in "abc"
    ]
    _, one_seed, floor = arm_table(small_results(*rows), "teacher")
    assert one_seed.difference.estimate == pytest.approx((1.0 - 1.5) / 2)
    assert floor.difference.estimate == pytest.approx((2.0 - 1.5) / 2), "the mean of all seeds"


def test_difference_is_paired_on_the_activations_that_both_have():
    results = small_results(
        ("control", 0, "a1", "original", 1.0),
        ("control", 0, "b1", "original", 2.0),
        ("control", 0, "c1", "original", 9.0),
        ("arm", 0, "a1", "original", 0.5),
        ("arm", 0, "b1", "original", 1.5),
    )
    difference = arm_table(results, "teacher")[1].difference
    assert difference == pytest.approx((0.25, 0.25, 0.25))


def test_one_document_has_no_interval():
    row = arm_table(small_results(("control", 0, "a1", "original", 1.0)), "teacher")[0]
    assert math.isnan(row.fve.low)


def test_survival_compares_the_rows_that_could_be_transformed():
    results = small_results(
        ("control", 0, "a1", "original", 0.0),
        ("control", 0, "b1", "original", 1.0),
        ("control", 0, "c1", "original", 2.0),
        ("control", 0, "d1", "original", 2.0),
        ("control", 0, "a1", "quotes_only", 1.0),
        ("control", 0, "b1", "quotes_only", 1.5),
        ("control", 0, "c1", "quotes_only", None),
        ("control", 0, "d1", "quotes_only", None),
    )
    (row,) = survival_table(results, "teacher")
    assert row.coverage == 0.5
    assert row.original.estimate == pytest.approx(0.75)
    assert row.fve.estimate == pytest.approx(0.375)
    assert row.share.estimate == pytest.approx(0.5)


def test_survival_pairs_explanations_by_seed():
    results = small_results(
        ("control", 0, "a1", "original", 0.0),
        ("control", 1, "a1", "original", 2.0),
        ("control", 0, "b1", "original", 0.0),
        ("control", 1, "b1", "original", 2.0),
        ("control", 0, "a1", "paraphrase", 1.0),
        ("control", 1, "a1", "paraphrase", None),
        ("control", 0, "b1", "paraphrase", 1.0),
        ("control", 1, "b1", "paraphrase", None),
    )
    (row,) = survival_table(results, "teacher")
    assert (row.original.estimate, row.share.estimate) == pytest.approx((1.0, 0.5))
    assert row.coverage == 0.5


def test_a_transform_that_never_applied_is_shown_with_no_coverage():
    results = small_results(
        ("control", 0, "a1", "original", 1.0),
        ("control", 0, "b1", "original", 1.0),
        ("control", 0, "a1", "paraphrase", None),
        ("control", 0, "b1", "paraphrase", None),
    )
    (row,) = survival_table(results, "teacher")
    assert row.coverage == 0.0
    assert math.isnan(row.share.estimate)


def test_quote_effect_is_against_random_spans():
    results = small_results(
        *[("control", 0, key, "original", 0.0) for key in ("a1", "b1")],
        *[("control", 0, key, "quotes_stripped", 1.5) for key in ("a1", "b1")],
        *[("control", 0, key, "random_stripped", 0.5) for key in ("a1", "b1")],
        *[("control", 0, key, "verbatim_stripped", 1.0) for key in ("a1", "b1")],
        *[("control", 0, key, "verbatim_random_stripped", 0.8) for key in ("a1", "b1")],
    )
    effects = quote_effects(results, "teacher")
    assert effects["control"] == pytest.approx((-0.1, -0.1, -0.1))
    effects = quote_effects(results, "teacher", ALL_QUOTES)
    assert effects["control"] == pytest.approx((-0.5, -0.5, -0.5))


def test_quote_effect_without_the_transforms_is_left_out():
    results = small_results(
        *[("control", 0, key, "original", 0.0) for key in ("a1", "b1")],
        *[("control", 0, key, "verbatim_stripped", 1.0) for key in ("a1", "b1")],
    )
    assert quote_effects(results, "teacher") == {}


def test_joint_errors_are_of_explanations_to_which_all_could_be_applied():
    results = small_results(
        *[("control", seed, key, "original", 0.0) for seed in (0, 1) for key in ("a1", "b1", "c1")],
        *[("control", 0, key, "quotes_stripped", 1.0) for key in ("a1", "b1", "c1")],
        *[("control", 1, key, "quotes_stripped", 2.0) for key in ("a1", "b1", "c1")],
        ("control", 0, "a1", "random_stripped", 0.2),
        ("control", 1, "a1", "random_stripped", 0.4),
        ("control", 1, "b1", "random_stripped", 0.6),
        ("control", 0, "c1", "random_stripped", None),
    )
    errors = joint_errors(results.rows, ("original", *ALL_QUOTES))
    assert errors["key"].to_list() == ["a1", "b1"]
    assert errors["texts"].to_list() == [2, 1]
    assert errors["quotes_stripped"].to_list() == [1.5, 2.0]
    assert errors["random_stripped"].to_list() == pytest.approx([0.3, 0.6])


def test_prefixes_are_sorted_by_number_with_the_gain_per_token():
    results = small_results(
        *[("control", 0, key, "original", 0.0) for key in ("a1", "b1")],
        *[("control", 0, key, "prefix_16", 1.0) for key in ("a1", "b1")],
        *[("control", 0, key, "prefix_8", 1.4) for key in ("a1", "b1")],
    )
    short, long = prefix_table(results, "teacher")
    assert (short.tokens, long.tokens) == (8, 16)
    assert (short.coverage, long.coverage) == (1.0, 1.0)
    assert short.marginal is None
    assert long.marginal == pytest.approx(0.2 / 8)


def test_gain_per_token_is_that_of_explanations_with_both_lengths():
    """The short explanation is an easy one: leaving it out must not look like a loss."""
    results = small_results(
        *[("control", 0, key, "original", 0.0) for key in ("a1", "b1", "c1")],
        *[("control", 0, key, "prefix_4", 1.4) for key in ("a1", "b1")],
        ("control", 0, "c1", "prefix_4", 0.2),
        *[("control", 0, key, "prefix_8", 1.2) for key in ("a1", "b1")],
        ("control", 0, "c1", "prefix_8", None),
    )
    short, long = prefix_table(results, "teacher")
    assert (short.coverage, long.coverage) == pytest.approx((1.0, 2 / 3))
    assert short.fve.estimate == pytest.approx(1 - 1.0 / 2)
    assert long.fve.estimate == pytest.approx(1 - 1.2 / 2)
    assert long.marginal == pytest.approx(0.1 / 4)


def test_order_of_rows_changes_nothing(results: Results):
    shuffled = results._replace(rows=results.rows.sample(fraction=1, shuffle=True, seed=1))
    assert arm_table(shuffled, "av") == arm_table(results, "av")
    assert survival_table(shuffled, "av") == survival_table(results, "av")
    assert prefix_table(shuffled, "av") == prefix_table(results, "av")


@pytest.mark.parametrize(("fewest", "bounded"), [(2, True), (3, False)])
def test_few_documents_give_an_estimate_without_bounds(
    fewest: int, bounded: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fve, "FEWEST_DOCUMENTS", fewest)
    two = [("control", 0, key, "original", error) for key, error in (("a1", 0.5), ("b1", 1.5))]
    [row] = arm_table(small_results(*two), "teacher")
    assert row.fve.estimate == pytest.approx(0.5)
    assert math.isnan(row.fve.low) is not bounded


def test_a_swap_by_hand():
    """Of documents a and b, that have the part: 1.0 and 0.4 lost of a variance of 2."""
    results = small_results(
        *[("control", 0, key, "original", 0.0) for key in ("a1", "b1", "c1")],
        *[("control", 0, key, "shuffled", 2.0) for key in ("a1", "b1", "c1")],
        ("control", 0, "a1", "swap_quote", 1.0),
        ("control", 0, "b1", "swap_quote", 0.4),
        ("control", 0, "c1", "swap_quote", None),
    )
    (row,) = swap_table(results, "teacher")
    assert row.coverage == pytest.approx(2 / 3)
    assert row.loss.estimate == pytest.approx(0.35)
    assert row.share == pytest.approx(0.7 / 2.0)


def test_a_swap_that_no_text_has_is_counted():
    results = small_results(
        *[("control", 0, key, "original", 0.0) for key in ("a1", "b1")],
        *[("control", 0, key, "swap_quote", None) for key in ("a1", "b1")],
    )
    (row,) = swap_table(results, "teacher")
    assert (row.coverage, row.share) == (0.0, None)
    assert math.isnan(row.loss.estimate)


def test_explanations_that_were_not_to_be_transformed_do_not_count():
    """Document c was left out to save time, b has no such part."""
    results = small_results(
        *[("control", 0, key, "original", 0.0) for key in ("a1", "b1", "c1")],
        ("control", 0, "a1", "swap_quote", 1.0),
        ("control", 0, "b1", "swap_quote", None),
        ("control", 0, "a1", "paraphrase", 1.0),
        ("control", 0, "b1", "paraphrase", None),
        ("control", 0, "a1", "prefix_4", 1.0),
        ("control", 0, "b1", "prefix_4", None),
    )
    for table in (swap_table, survival_table, prefix_table):
        (row,) = table(results, "teacher")
        assert row.coverage == 0.5


def test_fve_beyond_tokens_by_hand():
    """Errors .3 and .5 of .8, beyond four tokens .1 and .3 of .4; the floor was never measured."""
    results = small_results(
        *[("control", 0, key, "original", 1.0) for key in ("a1", "b1")],
        *[("floor", 0, key, "original", 1.0) for key in ("a1", "b1")],
    )
    own = pl.col("arm") == "control"
    first = pl.col("key") == "a1"
    rows = results.rows.with_columns(
        error_beyond_1=pl.when(own & first).then(0.3).when(own).then(0.5),
        error_beyond_4=pl.when(own & first).then(0.1).when(own).then(0.3),
    )
    variances = {"beyond_1": 0.8, "beyond_4": 0.4}
    found = results._replace(rows=rows, facts=results.facts | {"variances": variances})
    control, floor = arm_table(found, "teacher")
    assert control.beyond[1].estimate == pytest.approx(0.5)
    assert control.beyond[4].estimate == pytest.approx(0.5)
    assert control.beyond_by_pair == pytest.approx({0: 0.5})
    assert floor.beyond == {}
    assert arm_table(results, "teacher")[0].beyond == {}


def test_seeds_of_one_pair_are_one_point():
    rows = [
        ("control", seed, key, "original", float(seed))
        for seed in (0, 1, 2)
        for key in ("a1", "b1")
    ]
    results = small_results(*rows)
    found = results._replace(facts=results.facts | {"pairs": 2})
    assert arm_table(results, "teacher")[0].pairs == pytest.approx({0: 1.0, 1: 0.5, 2: 0.0})
    assert arm_table(found, "teacher")[0].pairs == pytest.approx({0: 0.5, 1: 0.5})
