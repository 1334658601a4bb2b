"""The run of an arm: what its runs share, their means, and what tuning found."""

from pathlib import Path
from typing import Any

import pytest

from common.runs import MadeWith, RunFolder
from common.tracking.tracker import log_sweep, open_run, sync
from tests.tracking.folders import MADE, begun, end, made_with, rows, runs, train, write_test

pytestmark = pytest.mark.usefixtures("client")


def arm(client: Any, experiment: str) -> Any:
    (run,) = runs(client, experiment, kind="arm")
    return client.get_run(run.info.run_id)


def ended(folder: RunFolder, error: float) -> RunFolder:
    """A finished run with this squared error."""
    tracker = open_run(folder)
    write_test(folder, error)
    folder.finish({"variance": 4.0, "train_seconds": error})
    tracker.finish()
    return folder


def test_runs_and_trials_of_an_arm_nest_under_one_run(client: Any, tmp_path: Path):
    for seed in ("0", "trial-0", "trial-1"):
        train(begun(tmp_path, "nested", f"control/{seed}"))
    parent = arm(client, "nested")
    children = [run for run in runs(client, "nested") if run.info.run_id != parent.info.run_id]
    assert (parent.info.run_name, parent.info.status) == ("control (smoke)", "FINISHED")
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    names = sorted(run.info.run_name for run in children)
    assert names == ["control s0", "control trial 0", "control trial 1"]


def test_an_arm_shows_means_and_settings_of_its_finished_seeds(client: Any, tmp_path: Path):
    ended(begun(tmp_path, "means"), 1.0)
    assert arm(client, "means").data.metrics["test/fve_av"] == 0.75
    ended(begun(tmp_path, "means", "control/1"), 2.0)
    train(begun(tmp_path, "means", "control/2"), "FAILED")
    train(begun(tmp_path, "means", "control/trial-0"))
    parent = arm(client, "means")
    assert parent.data.metrics["test/fve_av"] == 0.625
    assert parent.data.metrics["total/train_seconds"] == 1.5
    assert parent.data.tags["seeds"] == "0, 1"
    assert parent.data.params["tuned.learning_rate"] == "0.001"
    assert "seed" not in parent.data.params
    assert parent.data.tags["mlflow.source.name"] == MADE.remedy


def test_an_arm_that_missed_a_seed_gets_it_when_that_is_imported(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("common.tracking.mirror.gather", lambda *_: None)
        folder = ended(begun(tmp_path, "missed"), 1.0)
    assert arm(client, "missed").data.metrics == {}
    sync(folder)
    assert len(runs(client, "missed")) == 2
    assert arm(client, "missed").data.metrics["test/fve_av"] == 0.75


def test_a_step_of_the_training_has_no_mean(client: Any, tmp_path: Path):
    train(begun(tmp_path, "steps"))
    metrics = arm(client, "steps").data.metrics
    assert "loss" not in metrics
    assert metrics["dev_fve"] == 0.2


def test_seeds_of_other_settings_are_left_out_and_the_arm_is_made_anew(client: Any, tmp_path: Path):
    ended(begun(tmp_path, "anew"), 1.0)
    ended(begun(tmp_path, "anew", "control/1"), 1.0)
    log_sweep(RunFolder(tmp_path / "smoke/anew/control/0"), {"trials": 2.0}, "number\n0\n")
    before = arm(client, "anew")
    changed = made_with(tuned={"learning_rate": 0.1})
    ended(begun(tmp_path, "anew", made=changed), 3.0)
    parent = arm(client, "anew")
    assert parent.info.run_id != before.info.run_id
    assert parent.data.params["tuned.learning_rate"] == "0.1"
    assert parent.data.tags["seeds"] == "0"
    assert parent.data.metrics["test/fve_av"] == 0.25
    assert parent.data.metrics["tuning/trials"] == 2.0
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["trials.csv"]
    children = runs(client, "anew", kind="seed")
    assert len(children) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}

    ended(begun(tmp_path, "anew", "control/1", changed), 1.0)
    assert arm(client, "anew").data.tags["seeds"] == "0, 1"
    assert arm(client, "anew").data.metrics["test/fve_av"] == 0.5


def test_pairs_of_the_warm_start_have_means_too(client: Any, tmp_path: Path):
    ended(begun(tmp_path, "warm_start", "av/0"), 1.0)
    ended(begun(tmp_path, "warm_start", "av/1"), 2.0)
    assert arm(client, "warm_start").data.metrics["total/train_seconds"] == 1.5


def test_a_sweep_shows_its_best_and_its_trials_once(client: Any, tmp_path: Path):
    folder = train(begun(tmp_path, "told", "control/trial-0"))
    for value in (0.2, 0.3):  # a study that is looked at again, or has grown
        facts = {"trials": 2.0, "best_dev_fve": value, "best_learning_rate": 1e-3}
        log_sweep(folder, facts, f"number,value\n0,{value}\n")
    parent = arm(client, "told")
    assert parent.data.metrics == {f"tuning/{name}": value for name, value in facts.items()}
    table = client.download_artifacts(parent.info.run_id, "trials.csv", str(tmp_path))
    assert Path(table).read_text() == "number,value\n0,0.3\n"


@pytest.mark.parametrize("order", ["neutral last", "neutral first"])
def test_the_neutral_ar_tells_the_runs_whose_texts_it_read(order: str, client: Any, tmp_path: Path):
    name = order.replace(" ", "-")
    run = begun(tmp_path, name)
    run.texts_file.write_bytes(b"what it says")
    write_test(run)
    run.finish({"variance": 4.0})
    neutral = RunFolder(tmp_path / "smoke" / "neutral" / name / "0")
    neutral.begin(MadeWith({"data": {"control/0": run.said}}, {}, MADE.code))
    rows({"av_neutral_ar": (1.0, 3.0)}).write_parquet(neutral.rows_file)
    neutral.finish({"variance": 4.0})
    for folder in (run, neutral) if order == "neutral last" else (neutral, run):
        sync(folder)
    (seed,) = runs(client, name, kind="seed")
    assert seed.data.metrics["test/fve_neutral"] == 0.5
    assert arm(client, name).data.metrics["test/fve_neutral"] == 0.5
    (reader,) = runs(client, name, kind="neutral")
    assert reader.data.metrics["texts/fve_control"] == 0.5


def test_a_run_that_is_read_after_it_was_mirrored_gets_the_number(client: Any, tmp_path: Path):
    run = begun(tmp_path, "read-later")
    tracker = open_run(run)
    run.texts_file.write_bytes(b"what it says")
    end(run, tracker, "FINISHED")
    assert "test/fve_neutral" not in arm(client, "read-later").data.metrics
    neutral = RunFolder(tmp_path / "smoke" / "neutral" / "read-later" / "0")
    neutral.begin(MadeWith({"data": {"control/0": run.said}}, {}, MADE.code))
    tracker = open_run(neutral)
    rows({"av_neutral_ar": (2.0, 2.0)}).write_parquet(neutral.rows_file)
    neutral.finish({"variance": 4.0})
    tracker.finish()
    assert runs(client, "read-later", kind="seed")[0].data.metrics["test/fve_neutral"] == 0.5
    assert arm(client, "read-later").data.metrics["test/fve_neutral"] == 0.5
