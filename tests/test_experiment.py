"""What params.yaml says of an experiment's arms."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ar_variants.small import SizeArm
from common.arms.arm import Arm, NoSettings
from common.arms.neutral import NeutralAR
from common.arms.reconstructor import ReconstructorArm
from common.errors import NlaError
from common.experiment import Experiment, load_experiment
from common.params import ArmEntry, ExperimentParams
from common.profile import Profile
from tests.own_experiments import own_experiments

ROOT = Path(__file__).parent.parent
CONTROL = {"control": {"blocks": 1}}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes `ar_small` with other params, and other experiments by name."""

    def write(params: dict[str, Any], **others: dict[str, Any]) -> None:
        own_experiments(tmp_path, params, **others)

    monkeypatch.chdir(tmp_path)
    return write


def one_line(error: pytest.ExceptionInfo[NlaError]) -> str:
    assert "\n" not in str(error.value)
    assert "params.yaml" in str(error.value)
    return str(error.value)


def test_an_arm_may_run_fewer_seeds(own: Any, smoke: Profile):
    arms = {"arms": CONTROL | {"narrow": {"hidden": 4}}}
    own(arms | {"seeds": {"smoke": {"narrow": 1}}})
    one = load_experiment("ar_small")
    assert one.arm("narrow", smoke).seeds == smoke.tuning.seeds[:1]
    assert one.arm("control", smoke).seeds == smoke.tuning.seeds
    for counts in ({"nobody": 1}, {"narrow": 0}):
        whole = arms | {"only": {}, "search": {}, "seeds": {"smoke": counts}}
        with pytest.raises(ValidationError, match=r"seeds\.smoke"):
            ExperimentParams.model_validate(whole)


def test_no_arm_runs_more_seeds_than_the_control(own: Any, smoke: Profile):
    own({"arms": CONTROL | {"narrow": {"hidden": 4}}, "seeds": {"smoke": {"control": 1}}})
    assert load_experiment("ar_small").arm("narrow", smoke).seeds == smoke.tuning.seeds[:1]


def test_arms_are_those_of_the_profile_in_the_order_of_the_file(own: Any, smoke: Profile):
    arms = {"b": {"hidden": 4}, **CONTROL, "a": {"blocks": 2}}
    own({"arms": arms, "only": {"smoke": ["control", "a"]}})
    one = load_experiment("ar_small")
    assert [arm.name for arm in one.arms_at(smoke)] == ["control", "a"]
    assert [arm.name for arm in one.arms_at(smoke.replace(name="mini"))] == ["b", "control", "a"]
    found = one.arm("b", smoke)
    assert (found.label, found.plan.experiment, found.settings.hidden) == ("b", "ar_small", 4)


def test_an_unknown_experiment_or_arm_is_answered_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, smoke: Profile
):
    monkeypatch.chdir(ROOT)
    with pytest.raises(NlaError, match=r"choose one of .*ar_small"):
        load_experiment("nosuch")
    with pytest.raises(NlaError, match=r"unknown arm 'nosuch'.*choose one of control, blocks_8"):
        load_experiment("ar_small").arm("nosuch", smoke)


class OtherSettings(NoSettings):
    """None of the other kind's."""

    width: int = 1


class OtherArm(Arm):
    """Of another kind."""

    settings_class = OtherSettings


KINDS = Experiment("ar_small", {"size": SizeArm, "other": OtherArm})


def test_an_experiment_may_have_arms_of_several_kinds(own: Any, smoke: Profile):
    own({"arms": {"control": {"kind": "size", "blocks": 1}, "o": {"kind": "other", "width": 2}}})
    control, other = KINDS.arms_at(smoke)
    assert isinstance(control, SizeArm)
    assert isinstance(other, OtherArm)
    assert (control.settings.blocks, other.settings.width) == (1, 2)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"kind": "nosuch"}, r"arms\.control: no kind 'nosuch'.*let `kind` be one of size, other"),
        ({}, r"arms\.control: no kind ''.*one of size, other"),
        ({"kind": "other", "blocks": 2}, r"'arms\.control\.blocks': unknown"),
    ],
)
def test_an_unknown_kind_is_one_line(own: Any, smoke: Profile, entry: dict, told: str):
    own({"arms": {"control": entry}})
    with pytest.raises(NlaError, match=told) as caught:
        KINDS.arm("control", smoke)
    one_line(caught)


def test_a_kind_where_all_arms_are_of_one_is_one_line(own: Any, smoke: Profile):
    own({"arms": {"control": {"kind": "size", "blocks": 1}}})
    with pytest.raises(NlaError, match=r"all arms are of one kind.*leave `kind` out") as caught:
        load_experiment("ar_small").arm("control", smoke)
    one_line(caught)


def test_an_arm_is_taken_over_as_it_is(own: Any, smoke: Profile):
    lender = {"arms": {"control": {}, "warm_start": {"trained": "nobody"}}}
    own({"arms": CONTROL | {"mine": {"from": "baseline/warm_start"}}}, baseline=lender)
    found = load_experiment("ar_small").arm("mine", smoke)
    theirs = load_experiment("baseline").arm("warm_start", smoke)
    assert (found.label, found.name, found.plan.experiment) == ("mine", "warm_start", "baseline")
    assert type(found) is type(theirs)
    assert found.settings == theirs.settings
    assert found.run_folder(0).path == Path("runs/smoke/baseline/warm_start/0")
    assert found.modules == theirs.modules


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"from": "baseline/control", "blocks": 1}, r"arms\.mine.*`from` stands alone"),
        ({"from": "baseline/control", "kind": "x"}, r"arms\.mine.*`from` stands alone"),
        ({"from": "baseline"}, r"arms\.mine.*`from` is <experiment>/<arm>"),
        ({"from": "/control"}, r"arms\.mine.*`from` is <experiment>/<arm>"),
        ({"from": "nosuch/control"}, "unknown experiment 'nosuch'"),
        ({"from": "baseline/nosuch"}, r"unknown arm 'nosuch' \[experiments/baseline"),
        ({"from": "baseline/lent"}, r"baseline/lent is itself taken over.*from: ar_small/control"),
        ("blocks_1", r"arms\.mine.*not a mapping"),
    ],
)
def test_what_cannot_be_taken_over_is_one_line(own: Any, smoke: Profile, entry: Any, told: str):
    lender = {"arms": {"control": {}, "lent": {"from": "ar_small/control"}}}
    own({"arms": CONTROL | {"mine": entry}}, baseline=lender)
    with pytest.raises(NlaError, match=told) as caught:
        load_experiment("ar_small").arm("mine", smoke)
    assert "\n" not in str(caught.value)


def test_settings_are_what_is_left_of_an_entry():
    entry = ArmEntry.model_validate({"kind": "k", "trunk": "t", "blocks": None, "rank": 2})
    assert (entry.kind, entry.trunk, entry.taken_from) == ("k", "t", None)
    assert entry.settings == {"blocks": None, "rank": 2}


def test_an_arm_stands_on_the_trunk_that_it_names(own: Any, smoke: Profile):
    trunks = {"wide": {"av": {"slots": 2}}}
    own({"arms": CONTROL | {"mine": {"blocks": 1, "trunk": "wide"}}, "trunks": trunks})
    one = load_experiment("ar_small")
    control, mine = one.arms_at(smoke)
    assert control.profile == smoke
    assert mine.profile.av.slots == 2
    assert mine.trunk(1).places.av_run(1) == Path("runs/smoke/warm_start/ar_small.wide.av/1")
    assert control.trunk(1).places.activations == mine.trunk(1).places.activations


def test_a_trunk_may_replace_pairs_and_seeds(own: Any, smoke: Profile):
    trunks = {"more": {"warm_starts": 3, "tuning": {"seeds": [0, 1, 2, 4]}}}
    mine = {"blocks": 1, "trunk": "more"}
    own({"arms": {"control": mine, "other": {"blocks": 1}}, "trunks": trunks})
    one = load_experiment("ar_small")
    control, other = one.arms_at(smoke)
    assert control.seeds == (0, 1, 2, 4)
    assert [control.pair_of(seed) for seed in control.seeds] == [0, 1, 2, 1]
    assert other.seeds == smoke.tuning.seeds
    assert [other.pair_of(seed) for seed in other.seeds] == [0, 1]
    assert control.trunk(2).places.av_run(2) == Path("runs/smoke/warm_start/ar_small.more.av/2")


class MadeFirst(SizeArm):
    """For other arms."""

    compared = False


def test_arms_that_others_are_made_from_come_first_and_are_not_compared(own: Any, smoke: Profile):
    own({"arms": {"control": {"kind": "size"}, "first": {"kind": "made_first", "blocks": 1}}})
    one = Experiment("ar_small", {"size": SizeArm, "made_first": MadeFirst})
    assert [arm.name for arm in one.arms_at(smoke)] == ["control"]
    assert [arm.name for arm in one.arms_made_at(smoke)] == ["first", "control"]


@pytest.mark.parametrize("name", ["ar_small", "baseline"])
def test_experiments_and_arms_go_to_other_processes(
    name: str, smoke: Profile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    one = load_experiment(name)
    assert pickle.loads(pickle.dumps(one)) is one
    control = one.arm("control", smoke)
    again = pickle.loads(pickle.dumps(control))
    assert (type(again), again.settings) == (type(control), control.settings)
    assert (again.profile, again.seeds) == (control.profile, control.seeds)
    assert vars(again.trunk(1).places) == vars(control.trunk(1).places)
    [neutral] = NeutralAR().own_arms([control])
    assert [arm.name for arm in pickle.loads(pickle.dumps(neutral)).arms] == ["control"]


def test_the_code_of_a_run_is_that_of_its_class_and_of_its_experiment(
    smoke: Profile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    arm = load_experiment("ar_small").arm("control", smoke)
    assert arm.modules == ("ar_variants.small", "experiments.ar_small.experiment")
    [neutral] = NeutralAR().own_arms([arm])
    assert neutral.modules == ("common.arms.neutral",)
    assert issubclass(type(neutral), ReconstructorArm)


@pytest.mark.parametrize("name", ["ar_small", "baseline", "ar_small_rl"])
def test_dvc_is_told_of_all_that_a_run_depends_on(
    name: str, smoke: Profile, monkeypatch: pytest.MonkeyPatch
):
    """What `trained_with` and `tested_with` read of the profile, by section."""
    monkeypatch.chdir(ROOT)
    keys = load_experiment(name).arm("control", smoke).profile_keys()
    tuned = "ar" if name == "ar_small" else "rl"
    wanted = {tuned, "tuning", "trainer", "evaluation", "rollout", "warm_starts"}
    assert wanted <= set(keys)
    assert len(keys) == len(set(keys))


def test_evaluations_add_the_arms_whose_runs_they_make(
    smoke: Profile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    read, spoken = load_experiment("ar_small"), load_experiment("baseline")
    assert len(read.arms_made_at(smoke)) == len(read.arms_at(smoke))
    *arms, neutral = spoken.arms_made_at(smoke)
    assert len(arms) == len(spoken.arms_at(smoke))
    assert neutral.run_folder(0).path == Path("runs/smoke/neutral/baseline/0")
