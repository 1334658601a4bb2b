"""Differences of arms, by hand: 30 documents, two seeds."""

import polars as pl
import pytest

from common.report.measured import Test
from common.report.paired import (
    Items,
    NotMeasuredError,
    PairedGain,
    best_floor,
    gain_of_means,
    measures_by_arm,
)
from common.report.results import MEASURES_SCHEMA, Results


def results(gain_by_pair: tuple[float, float], documents: int = 30) -> Results:
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "key": f"{document}:16",
            "cluster": str(document),
            "measure": "tokens",
            "value": (gain_by_pair[seed] if arm == "longer" else 0.0) + document % 3,
        }
        for arm in ("control", "longer")
        for seed in (0, 1)
        for document in range(documents)
    ]
    facts = {"profile": "t", "experiment": "t", "floors": [], "variance": 1.0, "resamples": 200}
    return Results(facts, {}, measures=pl.DataFrame(rows, schema=MEASURES_SCHEMA))


def gain(found: Results, arm: str = "longer", other: str | float = "control") -> PairedGain:
    return gain_of_means(found, Items(found.measures), arm, other)


def test_a_gain_in_every_seed():
    found = gain(results((2.0, 1.0)))
    assert found.difference == pytest.approx((1.5, 1.5, 1.5))
    assert found.by_pair == pytest.approx({0: 2.0, 1: 1.0})
    assert found.pairs == 2
    assert found.other == "control"
    assert found.p_value(Test.SIGN_FLIP, 0.0) == pytest.approx(1 / 201)
    assert found.p_value(Test.BOOTSTRAP, 0.0) == pytest.approx(2 / 201)


def test_a_gain_may_be_asked_about_a_margin():
    found = gain(results((2.0, 1.0)))
    assert found.p_value(Test.BOOTSTRAP, 1.5) == 1.0
    assert found.p_value(Test.SIGN_FLIP, 1.6) == pytest.approx(1 / 201)


def test_a_gain_over_a_number_keeps_the_scatter_of_the_items():
    """Values are 2, 3, 4 and 1, 2, 3: 2.5 on average, or 5.5 twice as large and .5 more."""
    found = results((2.0, 1.0))
    over = gain(found, other=2.0)
    assert over.difference.estimate == pytest.approx(0.5)
    assert over.difference.low < 0.5 < over.difference.high
    scaled = gain_of_means(found, Items(found.measures, 2.0, 0.5), "longer", 2.0)
    assert scaled.difference.estimate == pytest.approx(3.5)
    assert scaled.by_pair == pytest.approx({0: 4.5, 1: 2.5})


def test_a_comparison_holds_for_the_seeds_of_both():
    both = results((2.0, 1.0))
    alone = both.measures.filter((pl.col("arm") == "control") | (pl.col("seed") == 0))
    assert gain(both._replace(measures=alone)).by_pair == pytest.approx({0: 2.0})
    fewer = both.measures.filter((pl.col("arm") == "longer") | (pl.col("seed") == 0))
    found = gain(both._replace(measures=fewer))
    assert found.by_pair == pytest.approx({0: 2.0})
    assert found.pairs == 2


def test_a_floor_stands_beside_every_seed():
    found = results((2.0, 1.0))
    floored = found._replace(
        facts=found.facts | {"floors": ["control"]},
        measures=found.measures.filter((pl.col("arm") == "longer") | (pl.col("seed") == 0)),
        rows=found.rows.clear(),
    )
    with_rows = floored._replace(rows=pl.DataFrame({"arm": ["control"]}))
    assert gain(with_rows).by_pair == pytest.approx({0: 2.0, 1: 1.0})


def test_the_best_floor_is_no_ceiling():
    floors = {"mean": 3.0, "ridge": 2.0, "own_blocks": 0.0}
    rows = pl.DataFrame({"arm": list(floors), "key": ["a"] * 3, "value": list(floors.values())})
    facts = {"floors": list(floors), "ceilings": ["own_blocks"]}
    found = Results(facts, {}, rows=rows)
    assert best_floor(found, Items(rows, -1.0, 1.0)) == "ridge"
    assert best_floor(found, Items(rows)) == "mean"
    bare = found._replace(facts={"floors": []})
    with pytest.raises(NotMeasuredError, match="no floor was measured"):
        best_floor(bare, Items(rows))


@pytest.mark.parametrize(
    ("arm", "other", "documents", "reason"),
    [
        ("nosuch", "control", 30, "there is nothing of `nosuch`"),
        ("longer", "nosuch", 30, "there is nothing of `nosuch`"),
        ("longer", "control", 5, "of 5 independent items, fewer than 20"),
    ],
)
def test_what_is_missing_has_its_reason(arm: str, other: str, documents: int, reason: str):
    with pytest.raises(NotMeasuredError, match=reason):
        gain(results((2.0, 1.0), documents), arm, other)


def test_arms_without_a_seed_in_common_are_not_compared():
    found = results((2.0, 1.0))
    apart = found.measures.filter((pl.col("arm") == "longer") == (pl.col("seed") == 0))
    with pytest.raises(NotMeasuredError, match="no item of one seed in common"):
        gain(found._replace(measures=apart))


def test_measures_are_averaged_over_seeds():
    longer = measures_by_arm(results((2.0, 1.0)), "tokens")["longer"]
    assert longer.height == 30
    assert longer.filter(key="0:16")["value"].item() == pytest.approx(1.5)
