from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from common import profile
from common.config import SPLIT_NAMES, AVConfig
from common.config_base import Config
from common.config_file import load_config
from common.errors import NlaError
from common.paths import PROFILES
from common.profile import Profile, active_profile, load_profile
from common.schema import SPLITS

SMOKE = (PROFILES / "smoke.yaml").read_text()


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(profile, "PROFILES", tmp_path)
    (tmp_path / "smoke.yaml").write_text(SMOKE)
    return tmp_path


def refused(name: str, match: str) -> str:
    with pytest.raises(NlaError, match=match) as caught:
        load_profile(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(file.stem for file in PROFILES.glob("*.yaml")))
def test_every_profile_is_valid(name: str):
    profile = load_profile(name)
    assert profile.name == name
    assert len(profile.tuning.seeds) >= (1 if name in ("quick", "gemma") else 2)
    assert sum(profile.corpus.fractions.values()) == pytest.approx(1)


def test_an_unknown_profile_is_answered_with_the_known_ones(profiles: Path):
    (profiles / "mine.yaml").write_text(SMOKE)
    refused("huge", "unknown profile 'huge': choose one of mine, smoke")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("colour: red", "config key 'colour': unknown \\["),
        (
            "rollout: {temprature: 1.0}",
            "config key 'rollout.temprature': unknown, did you mean 'temperature'?",
        ),
        (
            "rollout: {temperature: -1.0}",
            "config key 'rollout.temperature': .*greater than",
        ),
        ("rollout: {batch_size: many}", "config key 'rollout.batch_size': .*valid integer"),
        ("av: {examples: 3}", "config key 'av.learning_rate': missing"),
        ("teacher: ", "config key 'teacher': .*valid dictionary"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(profiles: Path, line: str, message: str):
    changed = yaml.safe_load(SMOKE) | yaml.safe_load(line)
    (profiles / "mine.yaml").write_text(yaml.safe_dump(changed))
    found = refused("mine", message)
    assert "mine.yaml" in found
    assert "see Profile in common/profile.py" in found


def test_all_mistakes_of_a_file_are_told_at_once_and_a_misspelt_key_once(profiles: Path):
    values = yaml.safe_load(SMOKE)
    values["av"]["learning_rte"] = values["av"].pop("learning_rate")
    values["ar"]["batch_size"] = 0
    del values["rl"]["steps"]
    (profiles / "mine.yaml").write_text(yaml.safe_dump(values))
    told = refused("mine", "'av.learning_rte': unknown, did you mean 'learning_rate'?")
    assert "config key 'ar.batch_size': Input should be greater" in told
    assert "config key 'rl.steps': missing" in told
    assert told.count("config key") == 3


@pytest.mark.parametrize(
    "missing", ["teacher", "rollout", "evaluation", "trainer", "ar.av_examples"]
)
def test_what_dvc_names_has_no_default(profiles: Path, missing: str):
    """DVC would say so only at the stage that reads it."""
    values = yaml.safe_load(SMOKE)
    *sections, key = missing.split(".")
    del (values[sections[0]] if sections else values)[key]
    (profiles / "mine.yaml").write_text(yaml.safe_dump(values))
    refused("mine", f"config key '{missing}': missing")


def test_a_file_in_another_encoding_is_one_line(profiles: Path):
    (profiles / "mine.yaml").write_bytes(SMOKE.encode() + b"# \xe9\n")
    refused("mine", "no YAML file")


def test_the_splits_are_those_of_the_tables():
    assert SPLIT_NAMES == SPLITS


def test_an_unknown_split_is_named(profiles: Path):
    (profiles / "mine.yaml").write_text(SMOKE.replace("av_sft:", "av_stf:"))
    refused("mine", r"config key 'activations.documents.av_stf': unknown split, choose from av_sft")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", "no YAML file"), ("- a\n- b", "not a mapping"), ("", "config key")],
)
def test_a_file_that_is_no_config_is_one_line(profiles: Path, text: str, message: str):
    (profiles / "mine.yaml").write_text(text)
    refused("mine", message)


def test_a_config_is_frozen_and_a_changed_copy_is_validated():
    av = AVConfig(examples=8, learning_rate=1e-3)
    with pytest.raises(ValidationError, match="frozen"):
        av.examples = 9  # type: ignore[misc]
    assert av.replace(slots=4).slots == 4
    assert av.slots == 1
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        av.replace(slots=0)
    with pytest.raises(ValidationError, match="Extra inputs"):
        av.replace(slot=2)


def test_a_digest_changes_with_every_value_and_nothing_else(smoke: Profile):
    assert smoke.digest() == load_profile("smoke").digest()
    assert smoke.replace(tuning=smoke.tuning.replace(seeds=(0, 1, 2))).digest() != smoke.digest()
    assert smoke.av.digest() != smoke.av.replace(slots=2).digest()


def test_what_only_changes_the_speed_is_no_part_of_a_digest(smoke: Profile):
    assert smoke.rollout.digest() == smoke.rollout.replace(batch_size=7).digest()
    assert smoke.rollout.digest() != smoke.rollout.replace(temperature=0.7).digest()
    offline = smoke.teacher.replace(model="openai/writer")
    assert offline.name == "offline"
    assert offline.digest() == smoke.teacher.digest(), "the model is there for paraphrases"
    api = offline.replace(kind="api")
    assert api.name == "openai/writer"
    assert api.digest() == api.replace(concurrency=2).digest()
    assert api.digest() != api.replace(model="openai/other").digest()


def test_extra_values_stand_beside_those_of_the_file(tmp_path: Path):
    class Named(Config):
        name: str
        size: int = 1

    file = tmp_path / "named.yaml"
    file.write_text("size: 3")
    assert load_config(Named, file, name="x") == Named(name="x", size=3)


def test_the_active_profile_is_the_word_in_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NlaError, match=r"names no profile \[params.yaml\].*nla profile smoke"):
        active_profile()
    Path("params.yaml").write_text("profile: smoke\n")
    assert active_profile() == "smoke"


@pytest.mark.parametrize("text", ["", "profil: smoke", "profile: [a", "- smoke"])
def test_params_without_a_profile_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    with pytest.raises(NlaError, match=r"names no profile.*nla profile smoke") as caught:
        active_profile()
    assert "\n" not in str(caught.value)


def test_an_error_is_one_line_with_place_and_remedy():
    assert str(NlaError("what", where="here", remedy="do this")) == "what [here]: do this"
    assert str(NlaError("what")) == "what"
    assert "\n" not in str(NlaError("two\nlines", remedy="mend\nit"))
