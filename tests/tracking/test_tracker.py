"""A run looks the same in MLflow whether it was mirrored live or imported from its folder."""

import importlib
import json
import logging
import pickle
import re
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from common.errors import NlaError
from common.runs import RunFolder
from common.tracking.mirror import Mirror, connect, runs_tagged
from common.tracking.note import State, end_note
from common.tracking.tracker import log_sweep, open_run, sync

CONFIG = {"ar": {"learning_rate": 1e-3, "layers": [1, 2]}, "material": {"corpus": "c0ffee"}}
TAGS = {"nla.kind": "seed"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose mlflow.db was created by two processes at once."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        importlib.import_module("mlflow")  # once for both
        creators = [get_context("fork").Process(target=connect) for _ in range(2)]
        for creator in creators:
            creator.start()
        for creator in creators:
            creator.join(timeout=60)
        assert [creator.exitcode for creator in creators] == [0, 0]
    return folder


@pytest.fixture(autouse=True)
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return connect()


def begun(tmp_path: Path, experiment: str, seed: str = "0") -> RunFolder:
    folder = RunFolder(tmp_path / "smoke" / experiment / "control" / seed)
    folder.begin(CONFIG)
    return folder


def train(folder: RunFolder, state: State = "FINISHED", parent: str | None = None) -> RunFolder:
    """A run of three steps, mirrored live."""
    tracker = open_run(folder, parent, TAGS)
    for step in range(3):
        tracker.log({"loss": 1 / (step + 1), "fve": 0.1 * step}, step)
        folder.log({"loss": 1 / (step + 1), "fve": 0.1 * step}, step)
    folder.samples_file.write_text('{"key": "d:1", "explanation": "a cat"}\n{"key": "d:2"}\n')
    (folder.path / "figures").mkdir(exist_ok=True)
    (folder.path / "figures" / "loss.svg").write_text("<svg/>")
    if state == "FINISHED":
        folder.finish({"dev_fve": 0.2, "digest": "d", "cost": {"tokens": 12}})
    tracker.finish(state)
    return folder


def runs(client: Any, experiment: str) -> list[Any]:
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id]) if found else []


def shown(client: Any, run: Any) -> dict[str, Any]:
    """All that can be seen of a run, but ids and the time when a metric arrived."""
    run_id = run.info.run_id
    history = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]
        for name in run.data.metrics
    }
    artifacts = [file.path for file in client.list_artifacts(run_id)]
    figures = [file.path for file in client.list_artifacts(run_id, "figures")]
    inputs = [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]
    info = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
    return {
        "history": history,
        "params": run.data.params,
        "tags": run.data.tags,
        "artifacts": sorted(artifacts + figures),
        "inputs": inputs,
        "info": info,
    }


def test_a_live_run_and_the_import_of_its_folder_look_the_same(client: Any, tmp_path: Path):
    folder = train(begun(tmp_path, "same"), parent="smoke/same/control")
    live = client.get_run(sync(folder))
    assert len(runs(client, "same")) == 2, "the run and its parent; nothing was imported"
    before = shown(client, live)
    client.delete_run(live.info.run_id)
    imported = client.get_run(sync(folder))
    assert imported.info.run_id != live.info.run_id
    assert shown(client, imported) == before

    assert before["history"]["loss"] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert before["history"]["summary.cost.tokens"] == [(0, 12.0)]
    assert before["params"]["ar.learning_rate"] == "0.001"
    assert before["params"]["ar.layers"] == "[1, 2]"
    assert before["info"][:2] == ("control/0", "FINISHED")
    assert before["inputs"] == [("corpus", "c0ffee")]
    assert "figures/loss.svg" in before["artifacts"]
    assert {"config.yaml", "summary.json", "samples.json"} <= set(before["artifacts"])
    expected = {"nla.kind": "seed", "nla.profile": "smoke", "nla.arm": "control", "nla.seed": "0"}
    expected |= {"nla.data.corpus": "c0ffee", "nla.state": "finished"}
    assert expected.items() <= before["tags"].items()
    assert before["tags"]["mlflow.source.git.commit"]


def test_runs_of_a_sweep_nest_under_one_parent(client: Any, tmp_path: Path):
    for seed in ("0", "trial-0", "trial-1"):
        train(begun(tmp_path, "nested", seed), parent="smoke/nested/control")
    found = runs(client, "nested")
    (parent,) = [run for run in found if "nla.sweep" in run.data.tags]
    children = [run for run in found if run.info.run_id != parent.info.run_id]
    assert parent.info.run_name == "smoke/nested/control"
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 3


def test_a_sweep_shows_its_best_and_its_trials_once(client: Any, tmp_path: Path):
    train(begun(tmp_path, "told"), parent="smoke/told/control")
    for value in (0.2, 0.3):  # a study that is looked at again, or has grown
        facts = {"trials": 2.0, "best_dev_fve": value, "best_learning_rate": 1e-3}
        log_sweep("told", "smoke/told/control", facts, f"number,value\n0,{value}\n")
    experiment = client.get_experiment_by_name("told").experiment_id
    parent, *others = runs_tagged(client, experiment, {"nla.sweep": "smoke/told/control"})
    assert not others
    assert parent.data.metrics == facts
    table = client.download_artifacts(parent.info.run_id, "trials.csv", str(tmp_path))
    assert Path(table).read_text() == "number,value\n0,0.3\n"


@pytest.mark.parametrize(
    ("state", "status"), [("PRUNED", "FINISHED"), ("FAILED", "FAILED"), ("KILLED", "KILLED")]
)
def test_how_a_run_ended_is_shown(client: Any, tmp_path: Path, state: State, status: str):
    folder = train(begun(tmp_path, f"state-{state}"), state)
    (run,) = runs(client, f"state-{state}")
    assert (run.info.status, run.data.tags["nla.state"]) == (status, state.lower())
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
    (run,) = runs(client, "resumed")
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
    (partial,) = runs(client, "broken-off")
    assert partial.info.status == "RUNNING"
    run_id = sync(folder)
    assert [run.info.run_id for run in runs(client, "broken-off")] == [run_id]
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
    folder.begin({f"p{index}": "x" * 7000 for index in range(150)})
    tracker = open_run(folder)
    for step in range(1100):
        tracker.log({"loss": float(step)}, step)
    tracker.finish()
    (run,) = runs(client, "many")
    assert len(run.data.params) == 150
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1100


def test_a_server_that_does_not_answer_costs_one_warning_and_the_run_is_imported_later(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        start = time.monotonic()
        folder = train(begun(tmp_path, "offline"), parent="smoke/offline/control")
        assert time.monotonic() - start < 10
        with pytest.raises(NlaError, match=r"nothing answers \[http://127.0.0.1:9\]: start the"):
            sync(folder)
    (warning,) = caplog.records
    assert "urllib" not in (line := warning.getMessage())
    assert "nothing answers [http://127.0.0.1:9]: start the server there" in line
    assert "unset MLFLOW_TRACKING_URI" in line
    assert f"nla sync {folder.path}" in warning.getMessage()
    run = client.get_run(sync(folder))
    assert run.data.tags["nla.kind"] == "seed"
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
        train(begun(tmp_path, "thrown-away", "1"), parent="smoke/thrown-away/control")
        log_sweep("thrown-away", "smoke/thrown-away/control", {"trials": 1.0}, "number\n0\n")
    assert [bool(re.search(line, record.getMessage())) for record in caplog.records] == [True, True]
    client.restore_experiment(number)
    assert sync(folder)


def test_a_run_that_was_deleted_is_imported_again(client: Any, tmp_path: Path):
    folder = train(begun(tmp_path, "deleted-run"), parent="smoke/deleted-run/control")
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
    (run,) = runs(client, "deleted-live")
    client.delete_run(run.info.run_id)
    folder.finish({})
    with caplog.at_level(logging.WARNING):
        tracker.finish()
    (warning,) = caplog.records
    assert "the run was deleted meanwhile" in warning.getMessage()
    assert sync(folder) != run.info.run_id


def test_in_another_process_of_a_run_it_tells_nothing(client: Any, tmp_path: Path):
    tracker = open_run(begun(tmp_path, "two-processes"), None, TAGS)
    other = pickle.loads(pickle.dumps(tracker))
    other.log({"loss": 1.0}, 0)
    other.finish("FAILED")
    tracker.finish("KILLED")
    [run] = runs(client, "two-processes")
    assert run.info.status == "KILLED"
    assert "loss" not in run.data.metrics
