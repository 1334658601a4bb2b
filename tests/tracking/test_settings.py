import json
from pathlib import Path

import pytest

from common.runs import MadeWith, RunFolder
from common.tracking.identity import Identity, identity_of
from common.tracking.note import Note, begin_note
from common.tracking.settings import end_tags, params_of, settings_digest, tags_of, whole_digest
from common.tracking.views import VIEWS, experiment_tags
from tests.tracking.folders import CODE, MADE, begun

NOTE = Note(commit="abc", attempt="1", started=0)


def identity(*place: str) -> Identity:
    return identity_of(RunFolder(Path("runs", *place)))


@pytest.mark.parametrize(
    ("place", "name", "parent"),
    [
        (("smoke", "x", "control", "0"), "control s0", "control (smoke)"),
        (("smoke", "x", "control", "trial-3"), "control trial 3", "control (smoke)"),
        (("smoke", "warm_start", "av", "1"), "av pair 1", "av (smoke)"),
        (("smoke", "neutral", "x", "0"), "neutral AR (smoke)", None),
    ],
)
def test_the_name_of_a_run_and_of_what_it_nests_under(
    place: tuple[str, ...], name: str, parent: str | None
):
    told = identity(*place)
    assert told.name == name
    assert (told.parent and told.parent.name) == parent


def test_kind_arm_and_seed_are_tags():
    common = {"profile": "smoke", "experiment": "x"}
    seed = common | {"kind": "seed", "arm": "control", "seed": "0"}
    assert identity("smoke", "x", "control", "0").tags == seed
    trial = common | {"kind": "trial", "arm": "control", "trial": "3"}
    assert identity("smoke", "x", "control", "trial-3").tags == trial
    neutral = common | {"kind": "neutral", "arm": "neutral"}
    assert identity("smoke", "neutral", "x", "0").tags == neutral


def test_settings_are_params_as_in_yaml_and_nothing_else_is(tmp_path: Path):
    assert params_of(begun(tmp_path, "x").config) == {
        "arm.blocks": "null",
        "arm.layers": "[1, 2]",
        "tuned.learning_rate": "0.001",
        "tuned.schedule": "wsd",
        "trainer.precision": "32-true",
        "seed": "0",
        "evaluation.distractors": "3",
        "tested.samples": "4",
    }


def test_what_a_trial_drew_stands_in_place_of_the_profiles_setting(tmp_path: Path):
    made = MADE._replace(trained={**MADE.trained, "params": {"learning_rate": 0.5}}, tested={})
    params = params_of(begun(tmp_path, "x", "control/trial-0", made).config)
    assert params["tuned.learning_rate"] == "0.5"
    assert "params.learning_rate" not in params


def test_a_test_with_another_setting_than_the_training_shows_both(tmp_path: Path):
    made = MADE._replace(tested={"trainer": {"precision": "bf16-mixed"}})
    params = params_of(begun(tmp_path, "x", made=made).config)
    assert params["trainer.precision"] == "32-true"
    assert params["tested.trainer.precision"] == "bf16-mixed"


def test_digests_code_and_the_command_are_tags(tmp_path: Path):
    tags = tags_of(begun(tmp_path, "x"), NOTE)
    expected = {"data.corpus": "c0ffee", "code.trained": "aaa", "code.tested": "bbb"}
    expected |= {"study": "smoke/x/control/123", "mlflow.source.git.commit": "abc"}
    expected |= {"mlflow.source.name": MADE.remedy, "kind": "seed"}
    assert expected.items() <= tags.items()
    assert "adopted" not in tags


def test_why_a_run_was_adopted_is_a_tag(tmp_path: Path):
    folder = begun(tmp_path, "x")
    folder.finish({})
    folder.adopt(MADE, {"reason": "a new name", "commit": "def"})
    assert tags_of(folder, NOTE)["adopted"] == "a new name (def)"


def test_words_of_the_summary_are_tags_but_no_digests(tmp_path: Path):
    folder = begun(tmp_path, "x")
    folder.log({"loss": 1.0}, 0)
    folder.finish({"device": "CPU", "seconds": 1.0, "stopped": "it collapsed"})
    tags = end_tags(folder)
    assert tags.pop("nla.digest") == whole_digest(folder)
    assert tags == {"device": "CPU", "stopped": "it collapsed"}


def test_seeds_of_one_setting_are_alike_whatever_they_read(tmp_path: Path):
    first, other = begun(tmp_path, "x"), begun(tmp_path, "x", "control/1")
    assert settings_digest(first.config) == settings_digest(other.config)
    changed = MadeWith({**MADE.trained, "tuned": {"learning_rate": 0.1}}, MADE.tested, CODE)
    other = begun(tmp_path, "x", "control/1", changed)
    assert settings_digest(first.config) != settings_digest(other.config)


def test_a_note_is_kept_for_as_long_as_the_training_is_the_same(tmp_path: Path):
    folder = begun(tmp_path, "x")
    first = begin_note(folder)
    folder.begin(MadeWith(folder.config["trained"], {}, CODE | {"tested": "new"}))
    assert begin_note(folder).attempt == first.attempt
    folder.begin(MadeWith(folder.config["trained"], {}, CODE | {"trained": "new"}))
    assert begin_note(folder).attempt != first.attempt


def test_a_note_of_another_release_may_hold_more(tmp_path: Path):
    folder = begun(tmp_path, "x")
    first = begin_note(folder)
    file = folder.path / "tracking.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"parent": "smoke/x/control"}))
    assert begin_note(folder).attempt == first.attempt


def test_a_new_experiment_has_a_view_of_each_kind_of_runs():
    tags = experiment_tags()
    for name, (kind, *_) in VIEWS.items():
        state = json.loads(json.loads(tags[f"mlflow.sharedViewState.{name}"])["state"])
        assert state["searchFilter"] == f"tags.kind = '{kind}'"
        assert "tags.`profile`" in state["selectedColumns"]
    assert all(len(value) < 5000 for value in tags.values()), "MLflow's limit for experiments"
