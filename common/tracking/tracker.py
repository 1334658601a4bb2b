"""Mirror run folders into MLflow, live or afterwards; training goes on without it."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.runs import RunFolder
from common.tracking.mirror import (
    Mirror,
    complete_run,
    connect,
    experiment_called,
    runs_tagged,
    sweep_run,
)
from common.tracking.note import Note, State, begin_note, end_note, now
from common.tracking.trouble import failures, trouble

logger = logging.getLogger(__name__)


class Tracker:
    """A run's live mirror. When MLflow fails it warns once, and training goes on without it."""

    def __init__(self, folder: RunFolder, note: Note | None) -> None:
        """Begin the mirror; without a note (in all processes of a run but the first) do nothing."""
        self.folder, self._is_first = folder, note is not None
        self._mirror: Mirror | None = None
        if note:
            self._attempt(lambda: self._begin(note))

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process of the run: it tells nothing."""
        return Tracker, (self.folder, None)

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
        self._mirror = Mirror(connect(), self.folder, note)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except failures() as error:
            self._mirror = None
            message = "MLflow is off for this run (%s); import it later with `nla sync %s`"
            logger.warning(message, trouble(error), self.folder.path)


def open_run(
    folder: RunFolder, parent: str | None = None, tags: dict[str, str] | None = None
) -> Tracker:
    """Mirror a run from now on; its folder has begun, so it holds the config.

    Args:
        folder: the MLflow experiment is the folder's experiment, the run's name `<arm>/<seed>`.
        parent: name of a run to nest under, found or made: `<profile>/<experiment>/<arm>`.
        tags: further tags.
    """
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

    NlaError if it is no run, or not finished, or MLflow does not answer.
    """
    folder.config  # noqa: B018 - raises where there is no run
    note = end_note(folder)
    try:
        client = connect()
        if known := complete_run(client, folder, note):
            return known
        mirror = Mirror(client, folder, note)
        mirror.finish(note)
        return mirror.run_id
    except failures() as error:
        raise trouble(error) from error


def log_sweep(experiment: str, name: str, facts: dict[str, Any], trials: str) -> None:
    """Show what a sweep found on the run that its trials nest under.

    Args:
        experiment: of MLflow.
        name: of that run, `<profile>/<experiment>/<arm>`.
        facts: numbers: the best trial, its value and its params.
        trials: all trials, as CSV.
    """
    try:
        from mlflow.entities import Metric

        client = connect()
        run_id = sweep_run(client, experiment_called(client, experiment), name)
        metrics = [Metric(key, float(value), now(), 0) for key, value in facts.items()]
        client.log_batch(run_id, metrics)
        client.log_text(run_id, trials, "trials.csv")
    except failures() as error:
        logger.warning("MLflow is off, it does not get the sweep (%s)", trouble(error))


def log_report(profile: str, report: Path) -> None:
    """Attach a rendered report and its figures to its experiment, in place of an earlier one."""
    try:
        client = connect()
        experiment_id = experiment_called(client, report.stem)
        for earlier in runs_tagged(client, experiment_id, tags := {"nla.report": profile}):
            client.delete_run(earlier.info.run_id)
        run_id = client.create_run(experiment_id, now(), tags, f"{profile}/report").info.run_id
        client.log_artifact(run_id, str(report))
        for figure in sorted(report.with_suffix("").glob("*.png")):
            client.log_artifact(run_id, str(figure), report.stem)
        client.set_terminated(run_id)
    except failures() as error:
        logger.warning("MLflow is off, it does not get the report (%s)", trouble(error))
