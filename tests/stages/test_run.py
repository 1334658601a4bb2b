"""Each stage of the trunk, ended at the worst moment: its data are written, its manifest is not."""

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from common.errors import NlaError
from common.manifest import content_of, manifest_file, read_manifest
from common.paths import TrunkPlaces
from common.profile import Profile
from common.runs import RunFolder
from common.stages.run import STAGES, check_stage, run_stage
from common.trunk.choice import choose_trunk
from tests.families import tiny_family


class KilledError(BaseException):
    """What no handler of ordinary errors sees."""


def killed(*_args: Any, **_fields: Any) -> None:
    raise KilledError


WRITERS = {
    "target": "common.target.load.write_manifest",
    "corpus": "common.manifest.write_manifest",
    "explanations": "common.manifest.write_manifest",
    "floors": "common.manifest.write_manifest",
    "last_tokens": "common.manifest.write_manifest",
}


@pytest.mark.parametrize("stage", WRITERS)
def test_a_stage_killed_before_its_end_is_missing_and_comes_back_the_same(
    stage: str, copied_places: TrunkPlaces, smoke: Profile, monkeypatch: pytest.MonkeyPatch
):
    choice = choose_trunk(smoke)
    artefact = copied_places.floors(0) if stage == "floors" else copied_places.of(stage)
    run_stage(stage, choice)
    before = content_of(artefact)
    for old in (manifest_file(artefact), artefact):
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(WRITERS[stage], killed)
        with pytest.raises(KilledError):
            run_stage(stage, choice)
    with pytest.raises(NlaError, match=f"missing artefact.*dvc repro {stage}"):
        read_manifest(artefact, stage)
    run_stage(stage, choice)
    assert content_of(artefact) == before
    assert read_manifest(artefact, stage)["content"] == before


@pytest.fixture
def short(smoke: Profile, monkeypatch: pytest.MonkeyPatch) -> Profile:
    def offline() -> None:
        raise OSError("no server")

    monkeypatch.setattr("common.tracking.tracker.connect", offline)
    return smoke.replace(av=smoke.av.replace(examples=16, max_explanation_tokens=8))


def test_an_av_killed_before_its_end_is_unfinished_and_goes_on(
    copied_places: TrunkPlaces, short: Profile, monkeypatch: pytest.MonkeyPatch
):
    """And the texts of each pair are made of its AV that was finished."""
    choice = choose_trunk(short)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", killed)
        with pytest.raises(KilledError):
            run_stage("av", choice)
    with pytest.raises(NlaError, match=r"unfinished run.*dvc repro av"):
        run_stage("av_text", choice)
    runs = [RunFolder(copied_places.av_run(pair)) for pair in range(2)]
    steps = [step for step, _ in runs[0].metrics()]
    assert steps
    run_stage("av", choice)
    assert [step for step, _ in runs[0].metrics()] == steps, "nothing was trained again"
    run_stage("av_text", choice)
    for pair, run in enumerate(runs):
        written = read_manifest(copied_places.av_text(pair), "av_text")
        assert written["av"] == run.summary["digest"]
    digests = {run.summary["digest"] for run in runs}
    assert len(digests) == 2, "each pair has an initialisation and an order of examples"


def test_the_texts_of_a_pair_are_left_alone_until_its_av_changes(
    copied_places: TrunkPlaces, short: Profile, monkeypatch: pytest.MonkeyPatch
):
    choice = choose_trunk(short)
    run_stage("av", choice)
    run_stage("av_text", choice)
    run_stage("floors", choice)
    files = [
        place(pair) for place in (copied_places.av_text, copied_places.floors) for pair in (0, 1)
    ]
    before = [file.stat().st_mtime_ns for file in files]

    def written_again() -> list[bool]:
        run_stage("av_text", choice)
        run_stage("floors", choice)
        found = [file.stat().st_mtime_ns for file in files]
        return [now != then for now, then in zip(found, before, strict=True)]

    assert not any(written_again())
    monkeypatch.setattr("common.stages.floors.code_digest", lambda *_, **__: "other")
    assert written_again() == [False, False, True, True]
    fewer = choose_trunk(short.replace(rollout=short.rollout.replace(temperature=0.3)))
    run_stage("av_text", fewer)
    assert files[0].stat().st_mtime_ns != before[0]


def test_an_unknown_stage_is_answered_with_the_known_ones():
    with pytest.raises(NlaError, match=r"unknown stage 'nosuch'.*target, corpus, .*, floors"):
        check_stage("nosuch")
    for name in STAGES:
        check_stage(name)


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_a_module(name: str):
    assert callable(importlib.import_module(f"common.stages.{name}").make)


@pytest.mark.parametrize(
    ("family", "told"),
    [("gpt2", "the model has no `layers`"), ("llama", "no token that ends a text")],
)
def test_a_model_that_would_be_misread_is_refused_by_stage_target(
    family: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke: Profile
):
    model, tokenizer, _ = tiny_family(family)
    if family == "llama":
        tokenizer.eos_token = None
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "foreign")
    monkeypatch.chdir(tmp_path)
    own = smoke.target.replace(model=str(tmp_path / "foreign"))
    layers = smoke.activations.replace(layers=())
    with pytest.raises(NlaError, match=told) as caught:
        run_stage("target", choose_trunk(smoke.replace(target=own, activations=layers)))
    assert "\n" not in str(caught.value)
    assert not manifest_file(TrunkPlaces("smoke").target).exists()
