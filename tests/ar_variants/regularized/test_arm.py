"""Arms whose AR is handicapped while it learns: what reaches it, is searched and is tested."""

from itertools import chain
from typing import Any

import pytest

from ar_variants.regularized.arm import CuredSettings, RegularizedArm
from ar_variants.regularized.cures import Cures
from ar_variants.regularized.noisy import NoisyReconstructor
from common.arms.arm import ArmPlan
from common.data.batches import Example
from common.lifecycle.tune import search_space
from common.params import Float
from common.profile import Profile
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk

SEARCH = {"strength": Float(low=0.3, high=3.0, log=True)}
TEXT = 'Ends with "rose on the". Next almost surely "hill". Text on plants: Rose, a shrub.'


def arm_of(profile: Profile, **cures: Any) -> RegularizedArm:
    settings = CuredSettings(**cures)
    plan = ArmPlan("ar_regularized", "own", settings, choose_trunk(profile), search=SEARCH)
    return RegularizedArm(plan)


def plan_of(trunk: Trunk, batches: int) -> list[list[Example]]:
    return [[Example(key, TEXT) for key in [*trunk.sources][:40]] for _ in range(batches)]


def texts_of(readings: list[list[Example]]) -> list[str]:
    return [one.text.text for one in chain.from_iterable(readings)]


@pytest.mark.parametrize(
    ("cures", "told"),
    [
        ({"dropout": 1.0}, "less than 1"),
        ({"word_dropout": 1.0}, "less than 1"),
        ({"shrink": 1.0}, "less than 1"),
        ({"quote_mask": 1.1}, "less than or equal to 1"),
        ({"embedding_noise": -0.1}, "greater than or equal to 0"),
        ({"strength": 0.0}, "greater than 0"),
        ({"droppout": 0.1}, "Extra inputs"),
    ],
)
def test_a_strength_that_leaves_nothing_is_refused(cures: dict[str, float], told: str):
    with pytest.raises(ValueError, match=told):
        CuredSettings(**cures)


def test_strengths_grow_together_as_far_as_they_go():
    cures = Cures(dropout=0.1, word_dropout=0.6, paraphrase=0.5, embedding_noise=0.8)
    grown = cures.scaled(3.0)
    assert grown.model_dump() == pytest.approx(
        {
            "dropout": 0.3,
            "embedding_noise": 2.4,
            "word_dropout": 0.9,
            "paraphrase": 1.0,
            "quote_mask": 0.0,
            "format_mix": 0.0,
            "shrink": 0.0,
        }
    )
    assert cures.scaled(1.0) == cures


def test_strength_is_searched_where_there_is_a_cure(smoke: Profile):
    assert [*search_space(arm_of(smoke, dropout=0.1))] == ["strength"]
    assert search_space(arm_of(smoke)) == {}
    assert search_space(arm_of(smoke, strength=2.0)) == {}
    assert arm_of(smoke, dropout=0.1, strength=2.0).tuned.strength == 2.0


def test_a_chosen_strength_reaches_text_and_model(trunk: Trunk, smoke: Profile):
    one = arm_of(smoke, word_dropout=0.1, dropout=0.1)
    stronger = one.at(3.0)
    plan = plan_of(trunk, 1)
    lost = [
        1 - sum(map(len, texts_of(arm.readings(trunk, plan, 0)))) / (40 * len(TEXT))
        for arm in (one, stronger)
    ]
    assert lost == pytest.approx([0.1, 0.3], abs=0.05)
    model = stronger.build(trunk)
    assert isinstance(model, NoisyReconstructor)
    assert model.noise.dropout == pytest.approx(0.3)


def test_a_text_arrives_in_another_way_each_time_and_the_same_when_a_run_is_resumed(
    trunk: Trunk, smoke: Profile
):
    one, plan = arm_of(smoke, word_dropout=0.4), plan_of(trunk, 2)
    found = one.readings(trunk, plan, 0)
    assert found[0] != found[1]
    assert one.readings(trunk, plan, 0) == found != one.readings(trunk, plan, 1)


def test_the_control_reads_every_text_as_it_is(trunk: Trunk, smoke: Profile):
    assert {*texts_of(arm_of(smoke).readings(trunk, plan_of(trunk, 2), 0))} == {TEXT}


def test_half_of_what_is_validated_on_is_changed_and_alike_for_all_arms(
    trunk: Trunk, smoke: Profile
):
    plan = plan_of(trunk, 1)
    found = texts_of(arm_of(smoke).dev_readings(trunk, plan))
    assert found.count(TEXT) == 20
    assert all(text.startswith("quote: ") for text in found if text != TEXT)
    for cure in ({"word_dropout": 0.5}, {"format_mix": 1.0}, {"quote_mask": 1.0}):
        assert texts_of(arm_of(smoke, **cure).dev_readings(trunk, plan)) == found
