"""A run folder's likeness in MLflow."""

import json
import time
from typing import Any

from common.paths import NEUTRAL
from common.runs import RunFolder
from common.tracking.arm import REPLACED, arm_run, gather
from common.tracking.client import experiment_called, known_experiment, runs_tagged
from common.tracking.identity import FINAL, identity_of
from common.tracking.note import Note, now
from common.tracking.numbers import neutral_numbers, numbers_of
from common.tracking.settings import (
    data_digests,
    end_tags,
    folder_name,
    params_of,
    tags_of,
    whole_digest,
)

FLUSH_SECONDS = 5.0
FLUSH_METRICS = 500
MAX_FILE_BYTES = 20_000_000
"""A larger file stays in the run folder."""


class Mirror:
    """A run in MLflow. Live and imported runs pass through the same calls; all may raise."""

    def __init__(self, client: Any, folder: RunFolder, note: Note) -> None:
        """Create the run with its params, in place of an earlier mirror of the same training."""
        self._client, self.folder, self.told = client, folder, identity_of(folder)
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()
        self._experiment_id = experiment_called(client, self.told.experiment)
        for partial in runs_tagged(client, self._experiment_id, {"nla.attempt": note.attempt}):
            client.delete_run(partial.info.run_id)
        tags = tags_of(folder, note)
        if parent := self.told.parent:
            tags["mlflow.parentRunId"] = arm_run(client, self._experiment_id, parent)
        run = client.create_run(self._experiment_id, note.started, tags, self.told.name)
        self.run_id: str = run.info.run_id
        self._mark_replaced()
        self._log_params()
        self._is_behind = True

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Keep metrics until there are enough of them, or they are a few seconds old, then send."""
        from mlflow.entities import Metric

        self._catch_up()
        at = now()
        self._buffer += [Metric(name, float(value), at, step) for name, value in metrics.items()]
        if len(self._buffer) >= FLUSH_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _catch_up(self) -> None:
        """Send what the folder held before, once: a resumed run first forgets what it redoes."""
        if self._is_behind:
            self._is_behind = False
            for step, metrics in self.folder.metrics():
                self.log(metrics, step)

    def finish(self, note: Note) -> None:
        """Send everything else; the tag `state` comes last and says that nothing is missing."""
        self._catch_up()
        state = note.state or "FINISHED"
        self.log(numbers_of(self.folder), 0)
        self._flush()
        self._log_files()
        self._log_datasets()
        for name, value in {**end_tags(self.folder), "state": state.lower()}.items():
            self._client.set_tag(self.run_id, name, value)
        status = "FINISHED" if state == "PRUNED" else state
        self._client.set_terminated(self.run_id, status, note.ended)
        tell_others(self._client, self.folder, note)

    def _flush(self) -> None:
        while self._buffer:
            self._client.log_batch(self.run_id, metrics=self._buffer[:FLUSH_METRICS])
            del self._buffer[:FLUSH_METRICS]
        self._flushed = time.monotonic()

    def _mark_replaced(self) -> None:
        """Of all trainings in one folder the newest counts; earlier ones stay, and say so."""
        tags = {"nla.folder": folder_name(self.folder)}
        *earlier, newest = runs_tagged(self._client, self._experiment_id, tags)
        for run in earlier:
            if REPLACED not in run.data.tags:
                self._client.set_tag(run.info.run_id, REPLACED, newest.info.run_id)
                name = f"{run.info.run_name} (replaced)"
                self._client.update_run(run.info.run_id, name=name)

    def _log_params(self) -> None:
        from mlflow.entities import Param

        params = [Param(*one) for one in params_of(self.folder.config).items()]
        for start in range(0, len(params), 100):
            self._client.log_batch(self.run_id, params=params[start : start + 100])

    def _log_files(self) -> None:
        folder = self.folder
        figures = sorted((folder.path / "figures").glob("*"))
        for file in (folder.config_file, folder.summary_file, folder.samples_file, *figures):
            if file.is_file() and file.stat().st_size <= MAX_FILE_BYTES:
                place = "figures" if file in figures else None
                self._client.log_artifact(self.run_id, str(file), place)
        if rows := folder.samples():
            table = {name: [row.get(name) for row in rows] for name in rows[0]}
            self._client.log_table(self.run_id, table, "samples.json")

    def _log_datasets(self) -> None:
        from mlflow.entities import Dataset, DatasetInput

        inputs = [
            DatasetInput(Dataset(name, digest, "local", json.dumps({"artefact": name})))
            for name, digest in data_digests(self.folder).items()
        ]
        if inputs:
            self._client.log_inputs(self.run_id, inputs)


def tell_others(client: Any, folder: RunFolder, note: Note) -> None:
    """Bring up to date what other runs show of a finished one: its arm, or what it has read."""
    told = identity_of(folder)
    experiment_id = experiment_called(client, told.experiment)
    if note.state == "FINISHED" and told.kind in FINAL:
        gather(client, experiment_id, told)
    if note.state == "FINISHED" and told.kind == NEUTRAL:
        _tell_readings(client, experiment_id, folder)


def _tell_readings(client: Any, experiment_id: str, neutral: RunFolder) -> None:
    """Also show what a neutral AR has found on the runs whose texts it read."""
    for name in data_digests(neutral):
        read = RunFolder(neutral.path.parents[2] / identity_of(neutral).experiment / name)
        if not (numbers := neutral_numbers(read) if read.summary_file.exists() else {}):
            continue
        tags = {"nla.folder": folder_name(read), "nla.digest": whole_digest(read)}
        for run in runs_tagged(client, experiment_id, tags):
            for metric, value in numbers.items():
                if run.data.metrics.get(metric) != value:
                    client.log_metric(run.info.run_id, metric, value)
            gather(client, experiment_id, identity_of(read))


def complete_run(client: Any, folder: RunFolder, note: Note) -> str | None:
    """The id of a run of this folder that misses nothing; None when there is none."""
    experiment_id = known_experiment(client, identity_of(folder).experiment)
    if experiment_id is None or note.state is None:
        return None
    tags = {"nla.folder": folder_name(folder), "nla.digest": whole_digest(folder)}
    runs = runs_tagged(client, experiment_id, {**tags, "state": note.state.lower()})
    return next((run.info.run_id for run in runs if run.info.status != "RUNNING"), None)
