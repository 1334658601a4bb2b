"""Mirror run folders into MLflow, live or afterwards; training goes on without it."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from common.runs import RunFolder
from common.tracking.arm import show_sweep
from common.tracking.client import connect
from common.tracking.mirror import Mirror, complete_run, tell_others
from common.tracking.note import Note, State, begin_note, end_note
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


def open_run(folder: RunFolder) -> Tracker:
    """Mirror a run from now on; its folder has begun, so it holds the config."""
    return Tracker(folder, begin_note(folder))


@contextlib.contextmanager
def tracked_run(folder: RunFolder) -> Iterator[Tracker]:
    """An open run for as long as the block lasts; how the block ends is how the run ends."""
    from optuna import TrialPruned

    tracker = open_run(folder)
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
            tell_others(client, folder, note)  # MLflow may have gone away just before
            return known
        mirror = Mirror(client, folder, note)
        mirror.finish(note)
        return mirror.run_id
    except failures() as error:
        raise trouble(error) from error


def log_sweep(folder: RunFolder, facts: Mapping[str, Any], trials: str) -> None:
    """Show what a sweep found on the run that the runs of its arm nest under.

    Args:
        folder: of any run of the arm.
        facts: numbers: the best trial, its value and its params.
        trials: all trials, as CSV.
    """
    try:
        show_sweep(folder, facts, trials)
    except failures() as error:
        logger.warning("MLflow is off, it does not get the sweep (%s)", trouble(error))
