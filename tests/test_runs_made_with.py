"""What a run is trained with and what it is tested with, kept apart."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from common.errors import NlaError
from common.runs import MadeWith, RunFolder
from tests.runs_begun import CODE, MADE, OTHER, begun


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return begun(tmp_path)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (MADE._replace(tested={"distractors": 2}), ["distractors"]),
        (MADE._replace(tested={}), ["distractors"]),
        (MADE._replace(code=CODE | {"tested": "0"}), ["code"]),
        (MADE._replace(code=CODE | {"trained": "0"}), ["code"]),
        (OTHER, ["arm"]),
        (OTHER._replace(tested={"samples": 2}), ["arm", "distractors", "samples"]),
        (MADE._replace(remedy="nla run other"), []),
    ],
)
def test_what_a_run_is_other_in_is_named(folder: RunFolder, made: MadeWith, told: list[str]):
    folder.finish({})
    assert folder.differs_from(made) == told
    assert folder.is_finished(made) == (not told)


TESTED_OTHERWISE = [
    MADE._replace(tested={"distractors": 2}),
    MADE._replace(code=CODE | {"tested": "0"}),
]
TRAINED_OTHERWISE = [OTHER, MADE._replace(code=CODE | {"trained": "0"})]


def trained(folder: RunFolder) -> Path:
    folder.checkpoint.mkdir()
    save_file({"w": torch.tensor([1.0])}, folder.checkpoint / "ar.safetensors")
    folder.end_training({"dev_fve": 0.5})
    return folder.checkpoint / "ar.safetensors"


@pytest.mark.parametrize("made", TESTED_OTHERWISE)
def test_another_test_keeps_what_was_trained(folder: RunFolder, made: MadeWith):
    file = trained(folder)
    folder.log({"loss": 1.5}, step=0)
    folder.finish({"dev_fve": 0.5})
    before = file.stat().st_mtime_ns
    assert folder.is_trained(made)
    assert not folder.is_finished(made)
    folder.begin(made)
    assert folder.is_trained(made)
    assert folder.weights("ar.safetensors").stat().st_mtime_ns == before
    assert folder.trained == {"dev_fve": 0.5}
    assert list(folder.metrics()) == [(0, {"loss": 1.5})]
    assert not folder.summary_file.exists(), "until it has been tested again"


@pytest.mark.parametrize("made", TRAINED_OTHERWISE)
def test_another_training_keeps_nothing(folder: RunFolder, made: MadeWith):
    trained(folder)
    assert not folder.is_trained(made)
    folder.begin(made)
    assert [file.name for file in folder.path.rglob("*")] == ["config.yaml"]
    with pytest.raises(NlaError, match="unfinished run"):
        _ = folder.trained


def test_a_test_that_follows_a_training_alone_is_no_finished_run(folder: RunFolder):
    trained(folder)
    assert folder.is_trained(MADE)
    assert not folder.is_finished(MADE)


@pytest.mark.parametrize("change", ["changed", "lost"])
def test_weights_that_the_training_did_not_leave_are_refused(folder: RunFolder, change: str):
    file = trained(folder)
    assert folder.weights("ar.safetensors") == file
    if change == "lost":
        file.unlink()
    else:
        save_file({"w": torch.tensor([2.0])}, file)
    with pytest.raises(NlaError, match=rf"ar.safetensors {change} since the run was trained.*mine"):
        folder.weights("ar.safetensors")
    assert not folder.is_trained(MADE), "else the remedy would do nothing"


def test_a_damaged_note_of_the_training_means_training_again(folder: RunFolder):
    trained(folder)
    folder.trained_file.write_text("{}")
    assert not folder.is_trained(MADE)
    folder.trained_file.write_text('{"files": {')
    assert not folder.is_trained(MADE)


def test_the_digest_of_a_run_does_not_change_with_test_or_code(folder: RunFolder):
    trained(folder)
    folder.finish({})
    first = folder.summary["digest"]
    for made in TESTED_OTHERWISE:
        folder.begin(made)
        folder.finish({"auroc": 0.5})
        assert folder.summary["digest"] == first


def test_an_adopted_run_keeps_what_it_was_made_with_and_its_digest(folder: RunFolder):
    trained(folder)
    folder.finish({"dev_fve": 0.5})
    first, note = folder.summary, {"reason": "renamed", "commit": "abc", "when": "2026-01-01"}
    assert folder.adopted == []
    newer = MADE._replace(code={"trained": "1", "tested": "2"})
    folder.adopt(newer, note)
    assert folder.adopted == [{"old": CODE, "new": newer.code, **note}]
    assert folder.summary == first
    assert folder.is_finished(newer)
    assert not folder.is_finished(MADE)
    newest = MADE._replace(code={"trained": "3", "tested": "4"})
    folder.adopt(newest, note)
    assert [one["new"] for one in folder.adopted] == [newer.code, newest.code]
    folder.begin(newest)
    assert len(folder.adopted) == 2, "also where it is tested again"
