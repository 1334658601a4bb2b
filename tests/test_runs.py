import json
import os
import threading
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from common.errors import NlaError
from common.runs import MadeWith, RunFolder

TRAINED = {"ar": {"learning_rate": 1e-05, "layers": (1, 2)}, "place": Path("data/x"), "arm": None}
CODE = {"trained": "a1", "tested": "b1"}
MADE = MadeWith(TRAINED, {"evaluation": {"distractors": 3}}, CODE, "nla run x --arm y")
OTHER = MADE._replace(trained=TRAINED | {"arm": "other"})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "smoke" / "ar_small" / "control" / "0")
    run.begin(MADE)
    return run


def test_the_path_is_the_identity(folder: RunFolder):
    assert folder.identity == ("smoke", "ar_small", "control", "0")


def test_a_config_comes_back_as_it_was(folder: RunFolder):
    assert folder.config == {
        "trained": {
            "ar": {"learning_rate": 1e-05, "layers": [1, 2]},
            "place": "data/x",
            "arm": None,
        },
        "tested": {"evaluation": {"distractors": 3}},
        "code": CODE,
        "remedy": "nla run x --arm y",
    }


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


def test_an_unfinished_run_names_what_makes_it(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NlaError, match=r"unfinished run.*run `nla run x --arm y` again"):
        _ = folder.summary
    never_begun = RunFolder(Path("runs/smoke/baseline/warm_start/0"))
    with pytest.raises(
        NlaError, match=r"unfinished.*run `nla run baseline --arm warm_start --profile smo"
    ):
        _ = never_begun.summary


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
    folder.end_training({"dev_fve": 0.5})
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
        line = f"{name} {changed} since the run was finished.*run `nla run x --arm y"
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
    with pytest.raises(NlaError, match=r"not valid JSON.*run `nla run x"):
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


def test_another_test_keeps_what_was_trained(folder: RunFolder):
    """Its settings or its code: weights stay, and the run is unfinished until it is tested."""
    finished_with_files(folder)
    weights = folder.checkpoint / "ar.safetensors"
    before = weights.stat().st_mtime_ns
    for other in (
        MADE._replace(tested={"evaluation": {"distractors": 7}}),
        MADE._replace(code=CODE | {"tested": "b2"}),
    ):
        assert not folder.is_finished(other)
        assert folder.is_trained(other)
        folder.begin(other)
        assert weights.stat().st_mtime_ns == before
        assert folder.trained == {"dev_fve": 0.5}
        folder.finish({"dev_fve": 0.5})
        assert folder.is_finished(other)


@pytest.mark.parametrize("other", [OTHER, MADE._replace(code=CODE | {"trained": "a2"})])
def test_another_training_begins_afresh(folder: RunFolder, other: MadeWith):
    finished_with_files(folder)
    assert not folder.is_trained(other)
    folder.begin(other)
    assert [file.name for file in folder.path.rglob("*")] == ["config.yaml"]


def test_weights_that_training_did_not_leave_are_refused(folder: RunFolder):
    finished_with_files(folder)
    assert folder.weights("ar.safetensors").exists()
    CHANGES["checkpoint/ar.safetensors"](folder.checkpoint / "ar.safetensors")
    with pytest.raises(NlaError, match=r"ar\.safetensors changed since the run was trained"):
        folder.weights("ar.safetensors")
    assert not folder.is_trained(MADE)


def test_a_digest_is_of_settings_and_weights_and_no_code(folder: RunFolder):
    finished_with_files(folder)
    before = folder.summary["digest"]
    folder.begin(MADE._replace(code=CODE | {"tested": "b2"}))
    folder.finish({"dev_fve": 0.5})
    assert folder.summary["digest"] == before


def test_what_differs_is_named(folder: RunFolder):
    tested = MADE._replace(tested={"evaluation": {"distractors": 7}}, code=CODE | {"tested": "b2"})
    assert folder.differs_from(MADE) == []
    assert folder.differs_from(tested) == ["evaluation", "code"]
    assert folder.differs_from(OTHER) == ["arm"]


def test_an_adopted_run_is_finished_and_keeps_why(folder: RunFolder):
    finished_with_files(folder)
    newer = MADE._replace(code={"trained": "a2", "tested": "b2"})
    assert not folder.is_finished(newer)
    before = folder.summary
    folder.adopt(newer, {"reason": "faster", "commit": "c0ffee"})
    assert folder.is_finished(newer)
    assert folder.summary == before
    [kept] = folder.adopted
    assert kept == {"old": CODE, "new": newer.code, "reason": "faster", "commit": "c0ffee"}
