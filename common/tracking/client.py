"""MLflow's client: where it is, and how experiments and runs are found in it."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.tracking.trouble import deleted_experiment, tracking_uri
from common.tracking.views import experiment_tags

DATABASE_TRIES = 4
"""MLflow's own ten hold a run up for two minutes where a database server is down."""


def connect() -> Any:
    """A client; a new sqlite store is created by one process while the others wait."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = DATABASE_TRIES
    for chatty in ("alembic", "mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with _creation_lock(_uri()):
        return MlflowClient(tracking_uri=_uri())


def experiment_called(client: Any, name: str) -> str:
    """The experiment's id; another process may create it at the same moment."""
    from mlflow.exceptions import MlflowException

    if found := known_experiment(client, name):
        return found
    try:
        return client.create_experiment(name, tags=experiment_tags())
    except MlflowException:
        if found := known_experiment(client, name):
            return found
        raise


def known_experiment(client: Any, name: str) -> str | None:
    """The id of an experiment that is there; NlaError when it was deleted."""
    if (found := client.get_experiment_by_name(name)) is None:
        return None
    if found.lifecycle_stage == "deleted":
        raise deleted_experiment(name, found.experiment_id)
    return found.experiment_id


def runs_tagged(client: Any, experiment_id: str, tags: Mapping[str, str]) -> list[Any]:
    """The runs with these tags, oldest first."""
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    runs = client.search_runs([experiment_id], condition)
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


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
