"""Mirror run folders into MLflow, live or afterwards: the only file that speaks to MLflow."""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.errors import NlaError
from common.note import (
    Note,
    State,
    begin_note,
    data_digests,
    end_note,
    flat,
    identity_tags,
    now,
    tags_of,
)
from common.paths import MLFLOW_URI
from common.runs import RunFolder

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
FLUSH_METRICS = 500
MAX_FILE_BYTES = 20_000_000
"""A larger file stays in the run folder."""


class Tracker:
    """A run's live mirror. When MLflow fails it warns once, and training goes on without it."""

    def __init__(self, folder: RunFolder, note: Note | None) -> None:
        """Begin the mirror; without a note (in all processes of a run but the first) do nothing."""
        self.folder, self._is_first = folder, note is not None
        self._mirror: _Mirror | None = None
        if note:
            self._attempt(lambda: self._begin(note))

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Send metrics, a few seconds' worth at a time."""
        if mirror := self._mirror:
            self._attempt(lambda: mirror.log(metrics, step))

    def finish(self, state: State = "FINISHED") -> None:
        """Send the rest (metrics, summary, samples, figures) and end the run."""
        if self._is_first:
            note = end_note(self.folder, state)
            if mirror := self._mirror:
                self._attempt(lambda: mirror.finish(note))
            self._mirror = None

    def _begin(self, note: Note) -> None:
        self._mirror = _Mirror(_connect(), self.folder, note)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except _failures() as error:
            self._mirror = None
            message = "MLflow is off for this run (%s): import it later with `nla sync %s`"
            logger.warning(message, _first_line(error), self.folder.path)


def open_run(
    folder: RunFolder, parent: str | None = None, tags: dict[str, str] | None = None
) -> Tracker:
    """Mirror a run from now on; its folder has begun, so it holds the config.

    Args:
        folder: the MLflow experiment is the folder's experiment, the run's name `<arm>/<seed>`.
        parent: name of a run to nest under, found or made: `<profile>/<experiment>/<arm>`.
        tags: further tags.
    """
    if any(int(os.environ.get(rank, 0)) for rank in ("RANK", "LOCAL_RANK")):
        return Tracker(folder, None)
    return Tracker(folder, begin_note(folder, parent, tags or {}))


@contextlib.contextmanager
def tracked_run(folder: RunFolder, parent: str | None, tags: dict[str, str]) -> Iterator[Tracker]:
    """An open run for as long as the block lasts; how the block ends is how the run ends."""
    from optuna import TrialPruned

    tracker = open_run(folder, parent, tags)
    try:
        yield tracker
    except TrialPruned:
        tracker.finish("PRUNED")
        raise
    except KeyboardInterrupt:
        tracker.finish("KILLED")
        raise
    except BaseException:
        tracker.finish("FAILED")
        raise
    tracker.finish("FINISHED")


def sync(folder: RunFolder) -> str:
    """Import a run folder that has ended, unless MLflow has it; return the MLflow run id.

    NlaError if the run is not finished or MLflow does not answer.
    """
    note = end_note(folder)
    try:
        client = _connect()
        if known := _complete_run(client, folder, note):
            return known
        mirror = _Mirror(client, folder, note)
        mirror.finish(note)
        return mirror.run_id
    except _failures() as error:
        remedy = "start the server or set MLFLOW_TRACKING_URI"
        what = f"MLflow does not answer ({_first_line(error)})"
        raise NlaError(what, where=folder.path, remedy=remedy) from error


def log_report(profile: str, report: Path) -> None:
    """Attach a rendered report and its figures to its experiment, in place of an earlier one."""
    try:
        client = _connect()
        experiment_id = _experiment_id(client, report.stem)
        for earlier in _search(client, experiment_id, tags := {"nla.report": profile}):
            client.delete_run(earlier.info.run_id)
        run_id = client.create_run(experiment_id, now(), tags, f"{profile}/report").info.run_id
        client.log_artifact(run_id, str(report))
        for figure in sorted(report.with_suffix("").glob("*.png")):
            client.log_artifact(run_id, str(figure), report.stem)
        client.set_terminated(run_id)
    except _failures() as error:
        logger.warning("MLflow is off, it does not get the report (%s)", _first_line(error))


class _Mirror:
    """A run in MLflow. Live and imported runs pass through the same calls; all may raise."""

    def __init__(self, client: Any, folder: RunFolder, note: Note) -> None:
        """Create the run with its params and the metrics so far, replacing a partial mirror."""
        self._client, self.folder = client, folder
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()
        _, experiment, arm, seed = folder.identity
        experiment_id = _experiment_id(client, experiment)
        for partial in _search(client, experiment_id, {"nla.attempt": note.attempt}):
            client.delete_run(partial.info.run_id)
        tags = tags_of(folder, note)
        if note.parent:
            tags["mlflow.parentRunId"] = _parent_id(client, experiment_id, note.parent)
        run = client.create_run(experiment_id, note.started, tags, f"{arm}/{seed}")
        self.run_id: str = run.info.run_id
        self._log_params()
        for step, metrics in folder.metrics():
            self.log(metrics, step)

    def log(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        at = now()
        self._buffer += [Metric(name, float(value), at, step) for name, value in metrics.items()]
        if len(self._buffer) >= FLUSH_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def finish(self, note: Note) -> None:
        """Send everything else; the tag `nla.state` comes last and says that nothing is missing."""
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


def _search(client: Any, experiment_id: str, tags: dict[str, str]) -> list[Any]:
    """The runs with these tags, oldest first."""
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    runs = client.search_runs([experiment_id], condition)
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _complete_run(client: Any, folder: RunFolder, note: Note) -> str | None:
    experiment = client.get_experiment_by_name(folder.identity[1])
    if experiment is None or note.state is None:
        return None
    tags = identity_tags(folder) | {"nla.state": note.state.lower()}
    runs = _search(client, experiment.experiment_id, tags)
    return next((run.info.run_id for run in runs if run.info.status != "RUNNING"), None)


def _experiment_id(client: Any, name: str) -> str:
    """The experiment's id; another process may create it at the same moment."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is None:
        with contextlib.suppress(MlflowException):
            return client.create_experiment(name)
        found = client.get_experiment_by_name(name)
    return found.experiment_id


def _parent_id(client: Any, experiment_id: str, name: str) -> str:
    """The run that all runs of a sweep nest under; of two made at once the older one stays."""
    tags = {"nla.sweep": name}
    if not (found := _search(client, experiment_id, tags)):
        created = client.create_run(experiment_id, now(), tags, name).info.run_id
        client.set_terminated(created)
        found = _search(client, experiment_id, tags)
        if found[0].info.run_id != created:
            client.delete_run(created)
    return found[0].info.run_id


def _connect() -> Any:
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
    uri = os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW_URI
    return f"{uri}?timeout=60" if uri.startswith("sqlite:") and "?" not in uri else uri


def _failures() -> tuple[type[Exception], ...]:
    """What MLflow raises when it is missing or does not answer."""
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        return (ImportError,)
    return (ImportError, OSError, MlflowException, SQLAlchemyError)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
