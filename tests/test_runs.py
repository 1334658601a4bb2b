import json
import os
import threading
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from common.errors import NlaError
from common.runs import RunFolder
from tests.runs_begun import CODE, MADE, OTHER, begun


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return begun(tmp_path)


def test_the_path_is_the_identity(folder: RunFolder):
    assert folder.identity == ("smoke", "ar_small", "control", "0")


def test_a_config_comes_back_as_it_was(folder: RunFolder):
    read = {"ar": {"learning_rate": 1e-05, "layers": [1, 2]}, "place": "data/x", "arm": None}
    assert folder.config == {
        "trained": read,
        "tested": {"distractors": 3},
        "code": CODE,
        "remedy": "nla run mine",
    }
    assert folder.differs_from(MADE) == []


def test_metrics_are_appended_in_order(folder: RunFolder):
    assert list(folder.metrics()) == []
    folder.log({"loss": 1.5}, step=0)
    folder.log({"loss": 1.25, "dev_fve": -0.5}, step=10)
    expected = [(0, {"loss": 1.5}), (10, {"loss": 1.25, "dev_fve": -0.5})]
    assert list(folder.metrics()) == expected


def test_a_half_written_last_line_of_a_killed_run_is_dropped(folder: RunFolder):
    folder.log({"loss": 1.5}, step=0)
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 1, "lo')
    assert list(folder.metrics()) == [(0, {"loss": 1.5})]


def test_samples_may_hold_any_sign(folder: RunFolder):
    rows = [{"key": str(number), "av": f"a\u2028{number}"} for number in range(3)]
    folder.samples_file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )
    assert folder.samples() == rows


def test_a_damaged_summary_is_one_line(folder: RunFolder):
    folder.finish({"dev_fve": 0.5})
    folder.summary_file.write_text("[" * 100_000)
    with pytest.raises(NlaError, match=r"nested too deep.*summary\.json:1"):
        _ = folder.summary


def test_a_summary_makes_a_run_finished(folder: RunFolder):
    assert not folder.is_finished(MADE)
    with pytest.raises(NlaError, match="unfinished run"):
        _ = folder.summary
    folder.finish({"dev_fve": 0.5})
    assert folder.is_finished(MADE)
    assert folder.summary == {"dev_fve": 0.5, "digest": folder.summary["digest"], "files": {}}
    assert not folder.is_finished(OTHER)


def test_an_unfinished_run_names_the_command_that_makes_it(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NlaError, match=r"unfinished run.*run `nla run mine` again"):
        _ = folder.summary
    never = RunFolder(Path("runs/smoke/warm_start/ar/0"), "dvc repro ar")
    with pytest.raises(NlaError, match=r"unfinished run.*run `dvc repro ar` again"):
        _ = never.summary
    unknown = RunFolder(Path("runs/smoke/baseline/warm_start/0"))
    with pytest.raises(NlaError, match=r"run `nla run baseline --arm warm_start --profile smoke`"):
        _ = unknown.summary


def test_a_summary_is_whole_or_absent(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.finish({"dev_fve": 0.5})
    assert not folder.is_finished(MADE)


def test_beginning_again_with_the_same_config_keeps_what_is_there(folder: RunFolder):
    folder.log({"loss": 1.5}, step=0)
    folder.begin(MADE)
    assert list(folder.metrics()) == [(0, {"loss": 1.5})]


def test_a_run_that_begins_again_is_not_finished(folder: RunFolder):
    folder.finish({"dev_fve": 0.5})
    folder.begin(MADE)
    assert not folder.is_finished(MADE)


def test_the_digest_of_a_run_tells_settings_and_weights_apart(folder: RunFolder):
    def digest(weight: float) -> str:
        folder.checkpoint.mkdir(exist_ok=True)
        facts = {"layer": "8", "template": "t", "tokenizer": "k"}
        save_file({"w": torch.tensor([weight])}, folder.checkpoint / "ar.safetensors", facts)
        folder.finish({"dev_fve": 0.5})
        return folder.summary["digest"]

    first = digest(1.0)
    assert {digest(1.0) for _ in range(8)} == {first}
    assert first != digest(2.0)
    folder.begin(OTHER)
    assert first != digest(1.0)


def finished_with_files(folder: RunFolder) -> None:
    folder.checkpoint.mkdir()
    save_file({"w": torch.tensor([1.0])}, folder.checkpoint / "ar.safetensors")
    pl.DataFrame({"key": ["a"], "squared_error": [1.0]}).write_parquet(folder.rows_file)
    folder.log({"loss": 1.5}, step=0)
    folder.finish({"dev_fve": 0.5})


CHANGES = {
    "checkpoint/ar.safetensors": lambda file: save_file({"w": torch.tensor([2.0])}, file),
    "rows.parquet": lambda file: pl.DataFrame({"key": ["a"]}).write_parquet(file),
    "metrics.jsonl": lambda file: file.write_text(file.read_text().replace("1.5", "0.5")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_run_was_not_finished_with_is_refused_and_made_again(folder: RunFolder, name: str):
    """As after a kill between new weights and their summary, or by hand."""
    finished_with_files(folder)
    file = folder.path / name
    assert folder.checked(file) == file
    assert folder.is_finished(MADE)
    CHANGES[name](file)
    for changed in ("changed", "lost"):
        line = f"{name} {changed} since the run was finished.*run `nla run mine`"
        with pytest.raises(NlaError, match=line):
            folder.checked(file)
        assert not folder.is_finished(MADE), "else the remedy would do nothing"
        file.unlink(missing_ok=True)
    with pytest.raises(NlaError, match=f"{name} lost since"):
        folder.check_whole()


def test_a_file_that_came_later_is_not_of_the_run(folder: RunFolder):
    finished_with_files(folder)
    pl.DataFrame({"key": ["a"]}).write_parquet(folder.measures_file)
    with pytest.raises(NlaError, match=r"measures\.parquet changed since"):
        folder.table(folder.measures_file)
    assert folder.table(folder.rows_file, ["key"]).height == 1


def test_a_damaged_summary_is_one_line_and_its_run_is_made_again(folder: RunFolder):
    folder.finish({"dev_fve": 0.5})
    folder.summary_file.write_text('{"dev_fve": 0.')
    with pytest.raises(NlaError, match=r"not valid JSON.*run `nla run mine"):
        _ = folder.summary
    assert not folder.is_finished(MADE)


def test_beginning_again_with_another_config_removes_what_is_there(folder: RunFolder):
    folder.log({"loss": 1.5}, step=0)
    folder.finish({"dev_fve": 0.5})
    folder.checkpoint.mkdir()
    (folder.checkpoint / "ar.safetensors").write_bytes(b"old")
    folder.begin(OTHER)
    assert [file.name for file in folder.path.rglob("*")] == ["config.yaml"]
    assert folder.config["trained"]["arm"] == "other"


def test_a_run_killed_while_its_config_was_written_starts_afresh(folder: RunFolder):
    folder.finish({"dev_fve": 0.5})
    folder.config_file.write_text("")
    assert not folder.is_finished(MADE)
    folder.begin(MADE)
    assert [file.name for file in folder.path.iterdir()] == ["config.yaml"]


def test_one_process_at_a_time_makes_a_run(folder: RunFolder):
    entered = []

    def second() -> None:
        with folder.locked():
            entered.append("second")

    with folder.locked():
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        entered.append("first")
    waiting.join(5)
    assert entered == ["first", "second"]


def test_a_folder_without_a_config_is_no_run(tmp_path: Path):
    with pytest.raises(NlaError, match=r"not a run folder: no config\.yaml") as caught:
        _ = RunFolder(tmp_path).config
    assert "runs/<profile>/<experiment>/<arm>/<seed>" in str(caught.value)


def test_a_line_of_metrics_is_json_with_its_step(folder: RunFolder):
    folder.log({"loss": 1.5}, step=3)
    assert json.loads(folder.metrics_file.read_text()) == {"step": 3, "loss": 1.5}
