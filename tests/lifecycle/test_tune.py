"""Each arm's study: what its name stands for, and what each trial keeps."""

from typing import Any

import optuna
import pytest

from common.config import ARConfig
from common.errors import NlaError
from common.lifecycle.identity import code_of
from common.lifecycle.tune import NOTHING_TUNED, TRIAL_SEED, known, sweep_of, tune
from common.params import Float
from common.profile import Profile
from tests.arms.made import arm_named

pytestmark = pytest.mark.usefixtures("copied_warm")
NAME = "ar_small/bag_of_words"


def study_of(profile: Profile) -> str:
    return sweep_of(arm_named(NAME, profile)).name


def test_a_study_is_kept_when_code_changes(two_steps: Profile, monkeypatch: pytest.MonkeyPatch):
    before = study_of(two_steps)
    assert before.startswith("smoke/ar_small/bag_of_words/")
    monkeypatch.setattr("common.lifecycle.identity.code_digest", lambda *_, **__: "newer")
    monkeypatch.setattr("common.code.code_digest", lambda *_, **__: "newer")
    assert study_of(two_steps) == before


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("evaluation", {"distractors": 2, "resamples": 300}),
        ("rl", {"steps": 3}),
        ("tuning", {"trials": 7, "seeds": (0, 1, 2)}),
        ("trainer", {}),
    ],
)
def test_a_study_is_kept_when_no_trial_would_be_another(
    two_steps: Profile, section: str, changes: dict[str, Any]
):
    changed = two_steps.replace(**{section: getattr(two_steps, section).replace(**changes)})
    assert study_of(changed) == study_of(two_steps)


@pytest.mark.parametrize(
    ("section", "changes"),
    [("ar", {"epochs": 2}), ("trainer", {"precision": "bf16-mixed"}), ("tuning", {"examples": 8})],
)
def test_another_setting_of_a_trial_is_another_study(
    two_steps: Profile, section: str, changes: dict[str, Any]
):
    changed = two_steps.replace(**{section: getattr(two_steps, section).replace(**changes)})
    assert study_of(changed) != study_of(two_steps)


def test_a_study_is_kept_when_an_option_comes_that_has_its_default(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    class Wider(ARConfig):
        smoothing: float = 0.0

    one = arm_named(NAME, two_steps)
    before = sweep_of(one).name
    newer = Wider.model_validate(two_steps.ar.model_dump())
    monkeypatch.setattr(type(one), "tuned", newer)
    assert sweep_of(one).name == before
    monkeypatch.setattr(type(one), "tuned", newer.replace(smoothing=0.5))
    assert sweep_of(one).name != before


def test_other_data_are_another_study(two_steps: Profile, monkeypatch: pytest.MonkeyPatch):
    before = study_of(two_steps)
    monkeypatch.setattr(
        "common.trunk.artefacts.Trunk.digests", lambda _, names: dict.fromkeys(names, "another")
    )
    assert study_of(two_steps) != before


def test_each_trial_keeps_its_code_and_the_budget_is_spent_once(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = arm_named(NAME, two_steps)
    assert known(one) is None
    best = tune(one)
    sweep = sweep_of(one)
    study = optuna.load_study(study_name=sweep.name, storage=sweep.storage)
    code = code_of(one)["trained"]
    assert [trial.user_attrs["code"] for trial in study.trials] == [code] * two_steps.tuning.trials
    first = one.run_folder("trial-0")
    assert first.config["code"]["trained"] == code
    assert first.config["trained"]["params"] == study.trials[0].params
    assert study.trials[0].params == {
        "learning_rate": two_steps.ar.learning_rate,
        "weight_decay": two_steps.ar.weight_decay,
    }, "the profile's own setting is tried first"
    assert best == known(one)
    monkeypatch.setattr("common.lifecycle.tune._trial", lambda *_: pytest.fail("ran again"))
    assert tune(one) == best


def test_trials_are_of_a_seed_that_no_run_has_and_of_the_first_pair(two_steps: Profile):
    one = arm_named(NAME, two_steps)
    assert TRIAL_SEED not in one.seeds
    assert one.trunk(TRIAL_SEED).pair == 0


def test_where_nothing_is_searched_nothing_is_tuned(two_steps: Profile):
    one = arm_named("baseline/control", two_steps)
    assert tune(one) == known(one) == NOTHING_TUNED


def test_a_range_without_the_profiles_own_setting_is_one_line(two_steps: Profile):
    one = arm_named(NAME, two_steps.replace(ar=two_steps.ar.replace(weight_decay=0.5)))
    with pytest.raises(NlaError, match=r"search.weight_decay: 0.5 is not in .*change weight_decay"):
        sweep_of(one)
    with pytest.raises(ValueError, match="3 is not in"):
        Float(low=1.0, high=2.0).around(3.0)
