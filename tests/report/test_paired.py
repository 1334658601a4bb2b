"""Differences of arms, by hand: 30 documents, two seeds."""

import polars as pl
import pytest

from common.report.paired import corrected, measure_over, measures_by_arm, told
from common.report.results import MEASURES_SCHEMA, Results


def results(gain_by_seed: tuple[float, float], documents: int = 30) -> Results:
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "key": f"{document}:16",
            "doc_id": str(document),
            "measure": "tokens",
            "value": (gain_by_seed[seed] if arm == "longer" else 0.0) + document % 3,
        }
        for arm in ("control", "longer")
        for seed in (0, 1)
        for document in range(documents)
    ]
    facts = {"profile": "t", "experiment": "t", "floors": [], "variance": 1.0, "resamples": 200}
    return Results(facts, {}, measures=pl.DataFrame(rows, schema=MEASURES_SCHEMA))


def test_a_gain_in_every_seed_is_shown():
    over = measure_over(results((2.0, 1.0)), "tokens", "longer", "control")
    assert over
    assert over.shown
    assert over.gain.estimate == pytest.approx(1.5)
    assert over.worst == pytest.approx(1.0)
    assert "1.000 in the worst seed" in told(over)
    assert over.p_value == pytest.approx(1 / 201)


def test_one_seed_against_is_enough_to_show_nothing():
    over = measure_over(results((2.0, -1.0)), "tokens", "longer", "control")
    assert over
    assert over.gain.low > 0
    assert not over.shown


def test_a_comparison_holds_for_the_seeds_of_both():
    both = results((2.0, 1.0))
    alone = both.measures.filter((pl.col("arm") == "control") | (pl.col("seed") == 0))
    over = measure_over(both._replace(measures=alone), "tokens", "longer", "control")
    assert over
    assert over.gain.estimate == pytest.approx(2.0)
    assert "2.000 in the one seed that both have" in told(over)


def test_few_documents_prove_nothing():
    over = measure_over(results((2.0, 1.0), documents=5), "tokens", "longer", "control")
    assert over
    assert over.p_value == 1.0
    assert not over.shown


def test_what_is_missing_is_none():
    assert measure_over(results((1.0, 1.0)), "nosuch", "longer", "control") is None
    assert measure_over(results((1.0, 1.0)), "tokens", "nosuch", "control") is None


def test_measures_are_averaged_over_seeds():
    longer = measures_by_arm(results((2.0, 1.0)), "tokens")["longer"]
    assert longer.height == 30
    assert longer.filter(key="0:16")["value"].item() == pytest.approx(1.5)


def test_p_values_grow_with_the_number_of_arms():
    over = measure_over(results((2.0, 1.0)), "tokens", "longer", "control")
    assert over
    assert corrected({"a": over, "b": over})["a"] == pytest.approx(2 / 201)
