"""A run looks the same in MLflow whether it was mirrored live or imported from its folder."""

import json
import logging
import pickle
import re
import time
from pathlib import Path
from typing import Any

import pytest

from common.errors import NlaError
from common.runs import MadeWith, RunFolder
from common.tracking.mirror import Mirror
from common.tracking.note import State, end_note
from common.tracking.tracker import log_sweep, open_run, sync
from tests.tracking.folders import CODE, MADE, begun, end, made_with, runs, shown, train, write_test

pytestmark = pytest.mark.usefixtures("client")


def test_a_live_run_and_the_import_of_its_folder_look_the_same(client: Any, tmp_path: Path):
    folder = train(begun(tmp_path, "same"))
    live = client.get_run(sync(folder))
    assert len(runs(client, "same")) == 2, "the run and its arm; nothing was imported"
    before, arm = shown(client, live), shown(client, runs(client, "same", kind="arm")[0])
    for run in runs(client, "same"):
        client.delete_run(run.info.run_id)
    imported = client.get_run(sync(folder))
    assert imported.info.run_id != live.info.run_id
    parents = [each["tags"].pop("mlflow.parentRunId") for each in (before,)]
    again = shown(client, imported)
    assert again["tags"].pop("mlflow.parentRunId") not in parents
    assert again == before
    again = shown(client, runs(client, "same", kind="arm")[0])
    assert {**again, "info": ()} == {**arm, "info": ()}

    assert before["history"]["loss"] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert before["history"]["test/fve_av"] == [(0, 0.75)]
    assert before["history"]["total/cost.tokens"] == [(0, 12.0)]
    assert before["params"]["tuned.learning_rate"] == "0.001"
    assert before["params"]["arm.layers"] == "[1, 2]"
    assert before["info"][:2] == ("control s0", "FINISHED")
    assert before["inputs"] == [("corpus", "c0ffee")]
    assert "figures/loss.svg" in before["artifacts"]
    assert {"config.yaml", "summary.json", "samples.json"} <= set(before["artifacts"])
    expected = {"kind": "seed", "profile": "smoke", "arm": "control", "seed": "0"}
    expected |= {"experiment": "same", "data.corpus": "c0ffee", "state": "finished"}
    assert expected.items() <= before["tags"].items()
    assert before["tags"]["mlflow.source.git.commit"]


def test_a_run_that_is_only_tested_again_replaces_its_mirror(client: Any, tmp_path: Path):
    folder = train(begun(tmp_path, "again"))
    (first,) = runs(client, "again", kind="seed")
    folder.begin(MadeWith(folder.config["trained"], MADE.tested, CODE | {"tested": "new"}))
    tracker = open_run(folder)
    write_test(folder, error=2.0)
    folder.finish({"variance": 4.0})
    tracker.finish()
    (run,) = runs(client, "again", kind="seed")
    assert run.info.run_id != first.info.run_id
    assert run.data.tags["code.tested"] == "new"
    assert shown(client, run)["history"]["loss"] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert run.data.metrics["test/fve_av"] == 0.5
    assert runs(client, "again", kind="arm")[0].data.metrics["test/fve_av"] == 0.5
    assert sync(folder) == run.info.run_id


def test_a_test_without_mlflow_is_imported_in_place_of_the_earlier_one(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = train(begun(tmp_path, "again-offline"))
    first = sync(folder)
    folder.begin(MadeWith(folder.config["trained"], MADE.tested, CODE))
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        end(folder, open_run(folder), "FINISHED", evaluate_seconds=3.5)
    assert (second := sync(folder)) != first
    (run,) = runs(client, "again-offline", kind="seed")
    assert run.info.run_id == second
    assert run.data.metrics["total/evaluate_seconds"] == 3.5


def test_another_training_stands_beside_the_earlier_one_which_says_so(client: Any, tmp_path: Path):
    train(begun(tmp_path, "other"))
    train(begun(tmp_path, "other", made=made_with(tuned={"learning_rate": 0.1})))
    old, new = runs(client, "other", kind="seed")
    assert (old.info.run_name, new.info.run_name) == ("control s0 (replaced)", "control s0")
    assert old.data.tags["replaced by"] == new.info.run_id
    assert "replaced by" not in new.data.tags


@pytest.mark.parametrize(
    ("state", "status"), [("PRUNED", "FINISHED"), ("FAILED", "FAILED"), ("KILLED", "KILLED")]
)
def test_how_a_run_ended_is_shown(client: Any, tmp_path: Path, state: State, status: str):
    folder = train(begun(tmp_path, f"state-{state}"), state)
    (run,) = runs(client, f"state-{state}", kind="seed")
    assert (run.info.status, run.data.tags["state"]) == (status, state.lower())
    assert sync(folder) == run.info.run_id


def test_a_run_that_goes_on_after_a_kill_replaces_its_first_part(client: Any, tmp_path: Path):
    folder = begun(tmp_path, "resumed")
    tracker = open_run(folder)
    tracker.log({"loss": 1.0}, 0)
    folder.log({"loss": 1.0}, 0)

    tracker = open_run(folder)
    tracker.log({"loss": 0.5}, 1)
    folder.log({"loss": 0.5}, 1)
    folder.finish({})
    tracker.finish()
    (run,) = runs(client, "resumed", kind="seed")
    assert shown(client, run)["history"]["loss"] == [(0, 1.0), (1, 0.5)]


def test_an_import_that_broke_off_is_replaced(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = begun(tmp_path, "broken-off")
    folder.log({"loss": 1.0}, 0)
    folder.finish({})
    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_log_files", lambda mirror: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sync(folder)
    (partial,) = runs(client, "broken-off", kind="seed")
    assert partial.info.status == "RUNNING"
    run_id = sync(folder)
    assert [run.info.run_id for run in runs(client, "broken-off", kind="seed")] == [run_id]
    assert sync(folder) == run_id


def test_a_half_written_last_line_is_left_out(client: Any, tmp_path: Path):
    folder = begun(tmp_path, "half")
    folder.log({"loss": 1.0}, 0)
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 1, "lo')
    folder.samples_file.write_text('{"key": "d:1"}\n{"ke')
    end_note(folder, "KILLED")
    run = client.get_run(sync(folder))
    assert shown(client, run)["history"] == {"loss": [(0, 1.0)]}
    assert run.info.status == "KILLED"


def test_samples_with_any_sign_become_a_table(client: Any, tmp_path: Path):
    folder = begun(tmp_path, "signs")
    texts = [f"a\u2028{number}" for number in range(3)]
    lines = (json.dumps({"av": text}, ensure_ascii=False) + "\n" for text in texts)
    folder.samples_file.write_text("".join(lines))
    folder.finish({})
    run_id = sync(folder)
    table = client.download_artifacts(run_id, "samples.json", str(tmp_path))
    assert json.loads(Path(table).read_text())["data"] == [[text] for text in texts]


def test_an_unfinished_run_is_not_imported(tmp_path: Path):
    folder = begun(tmp_path, "unfinished")
    with pytest.raises(NlaError, match="unfinished run"):
        sync(folder)


def test_many_metrics_and_params_pass_mlflows_limits(client: Any, tmp_path: Path):
    folder = RunFolder(tmp_path / "smoke" / "many" / "control" / "0")
    made = {"arm": {f"p{index}": "x" * 7000 for index in range(150)}, "data": {"a": "d" * 50}}
    folder.begin(MadeWith(made, {}, CODE, "x" * 9000))
    tracker = open_run(folder)
    for step in range(1100):
        tracker.log({"loss": float(step)}, step)
    folder.finish({"a'b, c": 1.5})
    tracker.finish()
    (run,) = runs(client, "many", kind="seed")
    assert run.data.metrics["total/ab_ c"] == 1.5
    assert len(run.data.params) == 150
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1100


def test_a_server_that_does_not_answer_costs_one_warning_and_the_run_is_imported_later(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        start = time.monotonic()
        folder = train(begun(tmp_path, "offline"))
        assert time.monotonic() - start < 10
        with pytest.raises(NlaError, match=r"nothing answers \[http://127.0.0.1:9\]: start the"):
            sync(folder)
    (warning,) = caplog.records
    assert "urllib" not in (line := warning.getMessage())
    assert "nothing answers [http://127.0.0.1:9]: start the server there" in line
    assert "unset MLFLOW_TRACKING_URI" in line
    assert f"nla sync {folder.path}" in warning.getMessage()
    run = client.get_run(sync(folder))
    assert run.data.tags["kind"] == "seed"
    assert "mlflow.parentRunId" in run.data.tags


def test_without_mlflow_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    folder = train(begun(tmp_path, "absent"))
    with pytest.raises(NlaError, match="MLflow is not installed: make install"):
        sync(folder)


def test_a_deleted_experiment_is_named_with_the_way_back(
    client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = train(begun(tmp_path, "thrown-away"))
    number = client.get_experiment_by_name("thrown-away").experiment_id
    client.delete_experiment(number)
    line = (
        rf"experiment 'thrown-away' was deleted .*`mlflow experiments restore --experiment-id"
        rf" {number}`.*`mlflow gc .*--experiment-ids {number}`"
    )
    with pytest.raises(NlaError, match=line):
        sync(folder)
    with caplog.at_level(logging.WARNING):
        train(begun(tmp_path, "thrown-away", "control/1"))
        log_sweep(folder, {"trials": 1.0}, "number\n0\n")
    assert [bool(re.search(line, record.getMessage())) for record in caplog.records] == [True, True]
    client.restore_experiment(number)
    assert sync(folder)


def test_a_run_that_was_deleted_is_imported_again(client: Any, tmp_path: Path):
    folder = train(begun(tmp_path, "deleted-run"))
    first = sync(folder)
    for run in runs(client, "deleted-run"):
        client.delete_run(run.info.run_id)
    again = sync(folder)
    assert again != first
    assert client.get_run(again).info.lifecycle_stage == "active"
    parent = client.get_run(again).data.tags["mlflow.parentRunId"]
    assert client.get_run(parent).info.lifecycle_stage == "active"


def test_a_run_that_is_deleted_while_it_goes_on_costs_one_warning(
    client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = begun(tmp_path, "deleted-live")
    tracker = open_run(folder)
    (run,) = runs(client, "deleted-live", kind="seed")
    client.delete_run(run.info.run_id)
    folder.finish({})
    with caplog.at_level(logging.WARNING):
        tracker.finish()
    (warning,) = caplog.records
    assert "the run was deleted meanwhile" in warning.getMessage()
    assert sync(folder) != run.info.run_id


def test_in_another_process_of_a_run_it_tells_nothing(client: Any, tmp_path: Path):
    tracker = open_run(begun(tmp_path, "two-processes"))
    other = pickle.loads(pickle.dumps(tracker))
    other.log({"loss": 1.0}, 0)
    other.finish("FAILED")
    tracker.finish("KILLED")
    [run] = runs(client, "two-processes", kind="seed")
    assert run.info.status == "KILLED"
    assert "loss" not in run.data.metrics
