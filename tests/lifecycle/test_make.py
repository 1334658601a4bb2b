"""When a run is trained, when it is only tested, and when it is left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from common.arms.arm import Arm
from common.errors import NlaError
from common.lifecycle.check import check_current
from common.lifecycle.make import has_finished, make_run
from common.lifecycle.tune import tune
from common.profile import Profile
from common.runs import RunFolder
from tests.arms.made import TUNED, arm_named

pytestmark = pytest.mark.usefixtures("copied_warm")
NAME = "ar_small/bag_of_words"
Change = Callable[[Profile], Profile]


class KilledError(BaseException):
    """What no handler of ordinary errors sees."""


def never(*_: object, **__: object) -> None:
    raise AssertionError("called again")


def killed(*_: object, **__: object) -> None:
    raise KilledError


def evaluation(**changes: object) -> Change:
    return lambda profile: profile.replace(evaluation=profile.evaluation.replace(**changes))


def times(folder: RunFolder) -> dict[str, int]:
    """When each file was written."""
    files = (file for file in folder.path.rglob("*") if file.is_file())
    return {str(file.relative_to(folder.path)): file.stat().st_mtime_ns for file in files}


def test_a_finished_run_is_left_alone(two_steps: Profile, monkeypatch: pytest.MonkeyPatch):
    one = arm_named(NAME, two_steps)
    folder = make_run(one, 0, TUNED)
    before = times(folder)
    assert not [name for name in before if name.startswith("resume")]
    for method in ("train", "save", "load", "test"):
        monkeypatch.setattr(type(one), method, never)
    make_run(arm_named(NAME, two_steps), 0, TUNED)
    resampled = evaluation(resamples=101)(two_steps)
    make_run(arm_named(NAME, resampled), 0, TUNED)
    assert times(folder) == before, "only reports resample"


def test_another_test_reads_the_checkpoint_and_trains_nothing(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = arm_named(NAME, two_steps)
    folder = make_run(one, 0, TUNED)
    before, rows, summary = times(folder), pl.read_parquet(folder.rows_file), folder.summary
    more = arm_named(NAME, evaluation(distractors=7)(two_steps))
    monkeypatch.setattr(type(one), "train", never)
    make_run(more, 0, TUNED)
    after, again = times(folder), pl.read_parquet(folder.rows_file)
    for name in ("checkpoint/ar.safetensors", "trained.json", "metrics.jsonl"):
        assert after[name] == before[name]
    for name in ("rows.parquet", "config.yaml", "summary.json"):
        assert after[name] > before[name]
    assert again["squared_error"].to_list() == rows["squared_error"].to_list()
    assert again["retrieval_rank"].max() > rows["retrieval_rank"].max()
    assert folder.summary["digest"] == summary["digest"]
    assert folder.summary["train_seconds"] == summary["train_seconds"]
    check_current(more, 0)
    with pytest.raises(NlaError, match="a run of other evaluation than today's"):
        check_current(one, 0)


def test_other_code_of_the_test_tests_again(two_steps: Profile, monkeypatch: pytest.MonkeyPatch):
    one = arm_named(NAME, two_steps)
    folder = make_run(one, 0, TUNED)
    before = times(folder)
    code = {"trained": folder.config["code"]["trained"], "tested": "another"}
    monkeypatch.setattr("common.lifecycle.check.code_of", lambda _: code)
    monkeypatch.setattr(type(one), "train", never)
    make_run(one, 0, TUNED)
    assert folder.config["code"] == code
    assert times(folder)["checkpoint/ar.safetensors"] == before["checkpoint/ar.safetensors"]
    assert times(folder)["rows.parquet"] > before["rows.parquet"]


@pytest.mark.parametrize("change", ["code", "settings", "data"])
def test_another_training_begins_afresh(
    change: str, two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = arm_named(NAME, two_steps)
    folder = make_run(one, 0, TUNED)
    (folder.path / "left.txt").touch()
    started: list[str] = []

    def train(arm: Arm, run: Any, *_: object) -> None:
        started.extend(sorted(file.name for file in run.folder.path.iterdir()))
        raise KilledError

    monkeypatch.setattr(type(one), "train", train)
    if change == "code":
        code = {"trained": "another", "tested": "another"}
        monkeypatch.setattr("common.lifecycle.check.code_of", lambda _: code)
    elif change == "settings":
        two_steps = two_steps.replace(trainer=two_steps.trainer.replace(precision="bf16-mixed"))
    else:
        other = dict.fromkeys([*one.data, *one.tested_data], "another")
        monkeypatch.setattr("common.trunk.artefacts.Trunk.digests", lambda _, names: other)
    with pytest.raises(KilledError):
        make_run(arm_named(NAME, two_steps), 0, TUNED)
    assert started == ["config.yaml", "tracking.json"]
    assert not folder.summary_file.exists()


@pytest.mark.parametrize("where", ["load", "test"])
def test_a_run_killed_between_training_and_summary_goes_on_with_its_test(
    where: str, two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = arm_named(NAME, two_steps)
    with monkeypatch.context() as patch:
        patch.setattr(type(one), where, killed)
        with pytest.raises(KilledError):
            make_run(one, 0, TUNED)
    folder = one.run_folder(0)
    assert folder.trained["dev_fve"]
    assert not folder.summary_file.exists()
    with pytest.raises(NlaError, match=r"unfinished run.*nla run ar_small --arm bag_of_words"):
        check_current(one, 0)
    before = times(folder)
    monkeypatch.setattr(type(one), "train", never)
    make_run(one, 0, TUNED)
    assert times(folder)["checkpoint/ar.safetensors"] == before["checkpoint/ar.safetensors"]
    check_current(one, 0)


def test_a_run_killed_while_its_weights_were_saved_is_trained_again(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    """Weights that no trained.json stands for may be torn."""
    one = arm_named(NAME, two_steps)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "end_training", killed)
        with pytest.raises(KilledError):
            make_run(one, 0, TUNED)
    folder = one.run_folder(0)
    assert not folder.trained_file.exists()
    steps = [step for step, _ in folder.metrics()]
    make_run(one, 0, TUNED)
    assert [step for step, _ in folder.metrics()] == steps, "it went on from its last state"
    check_current(one, 0)


def test_weights_changed_by_hand_are_refused_and_trained_again(two_steps: Profile):
    one = arm_named(NAME, two_steps)
    folder = make_run(one, 0, TUNED)
    file = folder.checkpoint / "ar.safetensors"
    whole = file.read_bytes()
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    with pytest.raises(NlaError, match=r"ar.safetensors changed since .*nla run ar_small"):
        one.load(folder)
    more = arm_named(NAME, evaluation(distractors=7)(two_steps))
    make_run(more, 0, TUNED)
    again = load_file(file)
    file.write_bytes(whole)
    assert all((again[name] == tensor).all() for name, tensor in load_file(file).items())


def test_another_test_leaves_no_table_of_the_last_one(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = arm_named(NAME, two_steps)
    folder = make_run(one, 0, TUNED)
    pl.DataFrame({"key": ["x"]}).write_parquet(folder.curves_file)
    make_run(arm_named(NAME, evaluation(distractors=7)(two_steps)), 0, TUNED)
    assert not folder.curves_file.exists()
    assert folder.rows_file.exists()


def test_an_arm_has_finished_when_budget_and_seeds_are_spent(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    """`nla run` then neither opens a study nor speaks to MLflow."""
    one = arm_named("ar_small/blocks_1", two_steps)

    def trial(_arm: Arm, _trial: Any, params: dict[str, float]) -> float:
        return params["learning_rate"]

    monkeypatch.setattr("common.lifecycle.tune._trial", trial)
    assert not has_finished(one, []), "nothing is tuned yet"
    best = tune(one)
    assert has_finished(one, [])
    assert not has_finished(one, [0])
    folder = make_run(one, 0, best)
    assert has_finished(one, [0])
    assert not has_finished(one, [0, 1])
    folder.rows_file.unlink()
    assert not has_finished(one, [0]), "a table is gone"


def test_batches_that_do_not_divide_are_refused_before_anything_is_made(two_steps: Profile):
    three = two_steps.replace(trainer=two_steps.trainer.replace(devices=3))
    with pytest.raises(NlaError, match=r"ar.batch_size = 8 does not divide among 3 processes"):
        make_run(arm_named(NAME, three), 0, TUNED)
    assert not Path("runs/smoke/ar_small").exists()
