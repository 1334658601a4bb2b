"""Each stage of the trunk, ended at the worst moment: its data are written, its manifest is not."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from common.errors import NlaError
from common.manifest import content_of, manifest_file, read_manifest
from common.paths import TrunkPlaces
from common.profile import Profile
from common.runs import RunFolder
from common.stages.run import run_stage
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
}


@pytest.mark.parametrize("stage", WRITERS)
def test_a_stage_killed_before_its_end_is_missing_and_comes_back_the_same(
    stage: str, copied_places: TrunkPlaces, smoke: Profile, monkeypatch: pytest.MonkeyPatch
):
    made = copied_places.of(stage)
    artefact = made / "0.parquet" if stage == "floors" else made
    run_stage(stage, choose_trunk(smoke))
    before = content_of(artefact)
    for old in (manifest_file(artefact), artefact):
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(WRITERS[stage], killed)
        with pytest.raises(KilledError):
            run_stage(stage, choose_trunk(smoke))
    with pytest.raises(NlaError, match=f"missing artefact.*dvc repro {stage}"):
        read_manifest(artefact, stage)
    run_stage(stage, choose_trunk(smoke))
    assert content_of(artefact) == before
    assert read_manifest(artefact, stage)["content"] == before


def test_an_av_killed_before_its_end_is_unfinished_and_goes_on(
    copied_places: TrunkPlaces, smoke: Profile, monkeypatch: pytest.MonkeyPatch
):
    """And its texts are made of the AV that was finished."""

    def offline() -> None:
        raise OSError("no server")

    monkeypatch.setattr("common.tracking.tracker.connect", offline)
    few = smoke.av.replace(examples=16, max_explanation_tokens=8)
    short = choose_trunk(smoke.replace(av=few, warm_starts=1))
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", killed)
        with pytest.raises(KilledError):
            run_stage("av", short)
    with pytest.raises(NlaError, match=r"unfinished run.*dvc repro av"):
        run_stage("av_text", short)
    folder = RunFolder(copied_places.av_run(0))
    steps = [step for step, _ in folder.metrics()]
    run_stage("av", short)
    assert [step for step, _ in folder.metrics()] == steps, "nothing was trained again"
    run_stage("av_text", short)
    written = read_manifest(copied_places.av_text(0), "av_text")
    assert written["av"] == folder.summary["digest"]


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
