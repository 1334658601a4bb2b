"""A run folder's likeness in MLflow: nothing else speaks to its client."""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.runs import RunFolder
from common.tracking.note import Note, data_digests, flat, identity_tags, now, tags_of
from common.tracking.trouble import deleted_experiment, tracking_uri

FLUSH_SECONDS = 5.0
FLUSH_METRICS = 500
MAX_FILE_BYTES = 20_000_000
"""A larger file stays in the run folder."""


class Mirror:
    """A run in MLflow. Live and imported runs pass through the same calls; all may raise."""

    def __init__(self, client: Any, folder: RunFolder, note: Note) -> None:
        """Create the run with its params, replacing a partial mirror."""
        self._client, self.folder = client, folder
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()
        _, experiment, arm, seed = folder.identity
        experiment_id = experiment_called(client, experiment)
        for partial in runs_tagged(client, experiment_id, {"nla.attempt": note.attempt}):
            client.delete_run(partial.info.run_id)
        tags = tags_of(folder, note)
        if note.parent:
            tags["mlflow.parentRunId"] = sweep_run(client, experiment_id, note.parent)
        run = client.create_run(experiment_id, note.started, tags, f"{arm}/{seed}")
        self.run_id: str = run.info.run_id
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
        """Send everything else; the tag `nla.state` comes last and says that nothing is missing."""
        self._catch_up()
        state = note.state or "FINISHED"
        if self.folder.summary_file.exists():
            numbers = flat({"summary": self.folder.summary})
            self.log({k: float(v) for k, v in numbers.items() if isinstance(v, int | float)}, 0)
        self._flush()
        self._log_files()
        self._log_datasets()
        self._client.set_tag(self.run_id, "nla.state", state.lower())
        status = "FINISHED" if state == "PRUNED" else state
        self._client.set_terminated(self.run_id, status, note.ended)

    def _flush(self) -> None:
        while self._buffer:
            self._client.log_batch(self.run_id, metrics=self._buffer[:FLUSH_METRICS])
            del self._buffer[:FLUSH_METRICS]
        self._flushed = time.monotonic()

    def _log_params(self) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(v)[:6000]) for name, v in flat(self.folder.config).items()]
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


def runs_tagged(client: Any, experiment_id: str, tags: dict[str, str]) -> list[Any]:
    """The runs with these tags, oldest first."""
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    runs = client.search_runs([experiment_id], condition)
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def complete_run(client: Any, folder: RunFolder, note: Note) -> str | None:
    """The id of a run of this folder that misses nothing; None when there is none."""
    experiment_id = _known_experiment(client, folder.identity[1])
    if experiment_id is None or note.state is None:
        return None
    tags = identity_tags(folder) | {"nla.state": note.state.lower()}
    runs = runs_tagged(client, experiment_id, tags)
    return next((run.info.run_id for run in runs if run.info.status != "RUNNING"), None)


def experiment_called(client: Any, name: str) -> str:
    """The experiment's id; another process may create it at the same moment."""
    from mlflow.exceptions import MlflowException

    if found := _known_experiment(client, name):
        return found
    try:
        return client.create_experiment(name)
    except MlflowException:
        if found := _known_experiment(client, name):
            return found
        raise


def _known_experiment(client: Any, name: str) -> str | None:
    """The id of an experiment that is there; NlaError when it was deleted."""
    if (found := client.get_experiment_by_name(name)) is None:
        return None
    if found.lifecycle_stage == "deleted":
        raise deleted_experiment(name, found.experiment_id)
    return found.experiment_id


def sweep_run(client: Any, experiment_id: str, name: str) -> str:
    """The run that all runs of a sweep nest under; of two made at once the older one stays."""
    tags = {"nla.sweep": name}
    if not (found := runs_tagged(client, experiment_id, tags)):
        created = client.create_run(experiment_id, now(), tags, name).info.run_id
        client.set_terminated(created)
        found = runs_tagged(client, experiment_id, tags)
        if found[0].info.run_id != created:
            client.delete_run(created)
    return found[0].info.run_id


def connect() -> Any:
    """A client; a new sqlite store is created by one process while the others wait."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with _creation_lock(_uri()):
        return MlflowClient(tracking_uri=_uri())


@contextlib.contextmanager
def _creation_lock(uri: str) -> Iterator[None]:
    if not uri.startswith("sqlite:///"):
        yield
        return
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _uri() -> str:
    """Where MLflow is; workers that write to one sqlite file wait for each other."""
    uri = tracking_uri()
    return f"{uri}?timeout=60" if uri.startswith("sqlite:") and "?" not in uri else uri
