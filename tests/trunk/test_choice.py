from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from common.arms.arm import Arm, ArmPlan, NoSettings
from common.errors import NlaError
from common.experiment import trunks_of
from common.params import ArmEntry
from common.paths import TrunkPlaces
from common.profile import Profile
from common.trunk.choice import SECTIONS, choose_trunk, stages_of_its_own
from common.trunk.named import trunk_named
from tests.own_experiments import own_experiments

FROM_AV = ["av", "av_text", "ar", "floors"]


@pytest.mark.parametrize(
    ("replaced", "own"),
    [
        ({"target": {"model": "x"}}, [s for s in SECTIONS if s != "corpus"]),
        ({"corpus": {"source": "x"}}, [s for s in SECTIONS if s != "target"]),
        ({"activations": {"layers": [3]}}, [*list(SECTIONS)[2:]]),
        ({"teacher": {"kind": "api"}}, ["explanations", *FROM_AV]),
        ({"av": {"slots": 2}}, FROM_AV),
        ({"trainer": {"precision": "32-true"}}, FROM_AV),
        ({"rollout": {"temperature": 1.0}}, ["av_text", "ar", "floors"]),
        ({"ar": {"av_examples": 8}}, ["av_text", "ar", "floors"]),
        ({"ar": {"examples": 8}}, ["ar", "floors"]),
        ({"evaluation": {"distractors": 2}}, ["floors"]),
        ({"rl": {"steps": 1}}, []),
        ({"ar": {"examples": 8}, "teacher": {"kind": "api"}}, ["explanations", *FROM_AV]),
        ({"activations": {"window": 4}}, [*list(SECTIONS)[2:]]),
        ({"warm_starts": 3}, FROM_AV),
        ({"tuning": {"seeds": [0]}, "warm_starts": 3}, FROM_AV),
    ],
)
def test_a_trunk_makes_what_reads_a_change_and_what_follows(replaced: dict, own: list[str]):
    assert stages_of_its_own(replaced) == own


def test_stages_follow_those_that_come_before():
    made: list[str] = []
    for stage, (_, after) in SECTIONS.items():
        assert set(after) <= set(made)
        made.append(stage)


def test_a_trunk_shares_what_lies_above_its_first_change(smoke: Profile):
    shared = choose_trunk(smoke).places
    choice = choose_trunk(smoke, "av_slots/lines", {"av": {"slots": 2}})
    own = choice.places
    assert choice.profile.av == smoke.av.replace(slots=2)
    assert choice.profile.replace(av=smoke.av) == smoke
    for stage in SECTIONS:
        assert (own.of(stage) == shared.of(stage)) == (stage not in FROM_AV), stage
    assert own.av_text(1) == Path("data/smoke/trunks/av_slots/lines/av_text/1.parquet")
    assert own.av_run(1) == Path("runs/smoke/warm_start/av_slots.lines.av/1")
    assert shared.av_run(1) == Path("runs/smoke/warm_start/av/1")
    assert own.made_by("av") == "experiments/av_slots/dvc.yaml:av_slots-lines-av"
    assert own.made_by("corpus") == shared.made_by("corpus") == "corpus"


def test_two_trunks_share_no_place_of_their_own(smoke: Profile):
    replaced = {"activations": {"layers": (3,)}}
    first, second = (choose_trunk(smoke, f"a/{name}", replaced).places for name in "xy")
    own = [{places.of(stage) for stage in places.own} for places in (first, second)]
    assert len(own[0]) == len(stages_of_its_own(replaced))
    assert not own[0] & own[1]


def test_the_profiles_own_trunk_has_no_name(smoke: Profile):
    assert choose_trunk(smoke).places.name == ""
    assert choose_trunk(smoke).profile is smoke
    assert vars(trunk_named("", smoke).places) == vars(TrunkPlaces("smoke"))


def test_a_bad_value_is_refused(smoke: Profile):
    with pytest.raises(ValidationError, match="slots"):
        choose_trunk(smoke, "a/x", {"av": {"slots": 0}})


@pytest.fixture
def trunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes an experiment with some trunks, in a folder of its own."""

    def write(**trunks: Any) -> None:
        own_experiments(tmp_path, {"arms": {"control": {}}, "trunks": trunks})

    monkeypatch.chdir(tmp_path)
    return write


def test_a_trunk_is_named_by_its_experiment(trunks: Any, smoke: Profile):
    trunks(wide={"av": {"slots": 4}})
    choice = trunk_named("ar_small/wide", smoke)
    assert choice.profile.av.slots == 4
    assert choice.places.name == "ar_small/wide"
    assert choice.places.own == set(FROM_AV)


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        ({"avs": {"slots": 2}}, r"trunks\.wide\.avs .*name a section of the profile"),
        ({"av": 2}, r"trunks\.wide\.av .*name a section of the profile"),
        ({"warm_starts": {"pairs": 2}}, r"trunks\.wide\.warm_starts .*name a section"),
        ({"av": {"slot": 2}}, r"'trunks\.wide\.av\.slot': unknown, did you mean 'slots'"),
        ({"av": {"slots": 0}}, r"'trunks\.wide\.av\.slots': .*greater than"),
        ({"warm_starts": 0}, r"'trunks\.wide\.warm_starts': .*greater than"),
        ({"name": "mine"}, r"trunks\.wide\.name .*name a section"),
        (
            {"activations": {"window": 17}},
            r"'trunks\.wide\.activations': window = 17 .* at most min_position = 16",
        ),
        (
            {"activations": {"window": 4}, "av": {"slots": 3}},
            r"'trunks\.wide': av\.slots = 3, but activations\.window = 4.*leave av\.slots out",
        ),
    ],
)
def test_a_wrong_section_or_key_is_one_line(trunks: Any, smoke: Profile, replaced: dict, told: str):
    trunks(wide=replaced)
    with pytest.raises(NlaError, match=told) as caught:
        trunk_named("ar_small/wide", smoke)
    assert "experiments/ar_small/params.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_trunk_is_answered_with_the_known_ones(trunks: Any, smoke: Profile):
    trunks(wide={"av": {"slots": 4}})
    with pytest.raises(NlaError, match=r"unknown trunk 'narrow'.*choose one of wide"):
        trunk_named("ar_small/narrow", smoke)
    with pytest.raises(NlaError, match="unknown experiment 'nosuch'"):
        trunk_named("nosuch/wide", smoke)


def test_an_arm_names_a_trunk_of_its_own_experiment_or_of_another():
    def named(trunk: str) -> str:
        return ArmEntry.model_validate({"trunk": trunk}).trunk_in("mine")

    assert named("") == ""
    assert named("wide") == "mine/wide"
    assert named("other/wide") == "other/wide"


def test_a_trunk_may_replace_a_number_of_the_profile(trunks: Any, smoke: Profile):
    trunks(wide={"warm_starts": 3, "activations": {"window": 4}, "av": {"slots": 4}})
    profile = trunk_named("ar_small/wide", smoke).profile
    assert (profile.warm_starts, profile.activations.window, profile.av.slots) == (3, 4, 4)
    assert profile.activations.replace(window=1) == smoke.activations


def test_arms_on_one_trunk_count_once(trunks: Any, smoke: Profile):
    trunks(wide={"av": {"slots": 4}})
    named = {"a": "", "b": "ar_small/wide", "c": ""}
    choices = {arm: trunk_named(trunk, smoke) for arm, trunk in named.items()}
    arms = [Arm(ArmPlan("ar_small", arm, NoSettings(), one)) for arm, one in choices.items()]
    assert [*trunks_of(arms)] == ["", "ar_small/wide"]
