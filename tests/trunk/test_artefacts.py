import json
from pathlib import Path

import polars as pl
import pytest
import torch

from common.errors import NlaError
from common.evaluation.test_set import TestSet
from common.paths import TrunkPlaces
from common.profile import Profile
from common.schema import AR_SFT, AV, DEV, KEY, RL, SPLIT, TEACHER, TEST
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk


@pytest.fixture
def copied(copied_places: TrunkPlaces, smoke: Profile) -> Trunk:
    """That a test may damage."""
    return Trunk(choose_trunk(smoke))


def change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def splits_of(trunk: Trunk, keys: list[str]) -> set[str]:
    table = trunk.explanations(TEACHER).filter(pl.col(KEY).is_in(keys))
    return set(table[SPLIT])


def test_layer_and_mean_are_those_of_the_method(trunk: Trunk):
    assert trunk.layer == 8
    normalized = trunk.training_activations * (
        8 / trunk.training_activations.norm(dim=1, keepdim=True)
    )
    assert torch.allclose(trunk.mean, normalized.mean(0), atol=1e-5)
    assert trunk.mean.norm() < 7.9, "μ must not be scaled up to sqrt(d) = 8 again"


def test_an_ar_trains_on_teacher_and_av_texts_of_splits_of_their_own(trunk: Trunk):
    config = trunk.profile.ar
    examples = trunk.ar_examples()
    teacher, spoken = examples[: config.examples], examples[config.examples :]
    assert len(spoken) == config.av_examples
    assert splits_of(trunk, [example.key for example in teacher]) == {AR_SFT}
    assert splits_of(trunk, [example.key for example in spoken]) == {RL}


def test_a_tuning_budget_keeps_the_mixture(trunk: Trunk):
    config = trunk.profile.ar
    few = trunk.ar_examples(limit=(config.examples + config.av_examples) // 2)
    spoken = sum(splits_of(trunk, [example.key]) == {RL} for example in few)
    assert (len(few) - spoken, spoken) == (config.examples // 2, config.av_examples // 2)


def test_dev_and_test_are_apart(trunk: Trunk):
    assert splits_of(trunk, [e.key for e in trunk.dev_examples(AV, 10)]) == {DEV}
    assert splits_of(trunk, TestSet(trunk).keys) == {TEST}


@pytest.mark.parametrize("field", ["tokenizer", "target"])
def test_activations_of_another_target_are_refused(copied: Trunk, field: str):
    change(copied.places.activations / "manifest.json", **{field: "another"})
    with pytest.raises(NlaError, match=f"{field} is 'another'.*dvc repro activations"):
        _ = copied.manifest


def test_explanations_in_another_tokenizer_are_refused(copied: Trunk):
    file = TrunkPlaces("smoke").explanations.with_suffix(".manifest.json")
    change(file, tokenizer="another")
    with pytest.raises(NlaError, match=r"tokenizer is 'another'.*dvc repro explanations"):
        copied.explanations(TEACHER)


def test_artefacts_of_other_settings_than_the_profiles_are_refused(copied: Trunk):
    """As when a profile was edited and `nla run` called, which makes nothing of the trunk."""
    profile = copied.profile
    changed = {
        "layers": {"activations": profile.activations.replace(layers=(0,))},
        "config": {"teacher": profile.teacher.replace(kind="api", model="openai/writer")},
        "rollout": {"rollout": profile.rollout.replace(temperature=0.1)},
    }
    for field, change_of in changed.items():
        other = Trunk(choose_trunk(profile.replace(**change_of)))
        source = AV if field == "rollout" else TEACHER
        with pytest.raises(NlaError, match=f"manifest mismatch: {field} is"):
            other.explanations(source)


@pytest.mark.parametrize("source", [TEACHER, AV])
def test_explanations_of_other_activations_are_refused(copied: Trunk, source: str):
    change(copied.places.activations / "manifest.json", digest="another")
    with pytest.raises(NlaError, match=r"expected 'another'.*dvc repro (explanations|av_text)"):
        copied.explanations(source)


def test_damaged_explanations_are_one_line(copied: Trunk):
    copied.places.explanations.write_bytes(b"PAR1 torn")
    with pytest.raises(NlaError, match=r"corrupt Parquet.*delete it.*dvc repro explanations"):
        copied.explanations(TEACHER)


def test_a_digest_stands_for_every_artefact(trunk: Trunk):
    digests = trunk.digests()
    names = ["target", "corpus", "activations", "last_tokens", "explanations", "av_text"]
    assert list(digests) == names
    assert len(set(digests.values())) == 6


def test_pairs_read_texts_of_their_own(copied: Trunk, smoke: Profile):
    other = Trunk(choose_trunk(smoke), pair=1)
    own, shared = {"av_text"}, {*copied.digests()} - {"av_text"}
    first, second = copied.digests(), other.digests()
    assert {name for name in first if first[name] != second[name]} == own
    assert {name for name in first if first[name] == second[name]} == shared
    change(other.places.av_text(1).with_suffix(".manifest.json"), tokenizer="another")
    assert copied.explanations(AV).height
    with pytest.raises(NlaError, match=r"av_text/1\.manifest\.json.*dvc repro av_text"):
        other.explanations(AV)


def test_texts_of_another_av_than_todays_are_refused(copied: Trunk):
    """As after the AV was trained again, and its texts not yet written anew."""
    run = copied.av_run
    run.path.mkdir(parents=True)
    run.summary_file.write_text('{"digest": "newer"}')
    assert copied.explanations(AV).height, "texts that no AV wrote"
    change(copied.places.av_text(0).with_suffix(".manifest.json"), av="older")
    with pytest.raises(NlaError, match=r"av is 'older', expected 'newer'.*dvc repro av_text"):
        copied.explanations(AV)
