"""`tracking.json`: what of a run's course no other file of its folder tells.

It is written whether or not MLflow answers: a run that is imported later looks like one that was
mirrored live.
"""

import time
import uuid
from pathlib import Path
from typing import Literal

from common.config_base import Config
from common.errors import NlaError
from common.files import replace_text
from common.manifest import read_json
from common.provenance import git_commit
from common.runs import RunFolder

State = Literal["FINISHED", "PRUNED", "FAILED", "KILLED"]


class Note(Config):
    """`tracking.json`."""

    commit: str = "unknown"
    attempt: str
    """Random; kept while the training is the same, so that what was mirrored before a kill, an
    error or another test is replaced."""
    started: int
    """Milliseconds since 1970."""
    ended: int | None = None
    state: State | None = None
    """None while the run goes on, and after a kill."""


def begin_note(folder: RunFolder) -> Note:
    """Note that a run starts, goes on after a kill or an error, or is tested again.

    Another training begins in an empty folder.
    """
    before = _read_note(folder)
    attempt = before.attempt if before else uuid.uuid4().hex
    return _write_note(folder, Note(commit=git_commit(), attempt=attempt, started=now()))


def end_note(folder: RunFolder, state: State | None = None) -> Note:
    """Note how a run ended; without a state, what was noted, or NlaError if it is unfinished."""
    note = _read_note(folder) or Note(attempt=uuid.uuid4().hex, started=now())
    if state is None and note.state is not None:
        return note
    if state is None and not folder.summary_file.exists():
        remedy = "run its DVC stage again, then import it"
        raise NlaError("unfinished run", where=folder.path, remedy=remedy)
    return _write_note(folder, note.replace(state=state or "FINISHED", ended=now()))


def commit_of(folder: RunFolder) -> str:
    """The commit that a run was made with."""
    note = _read_note(folder)
    return note.commit if note else "unknown"


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _file(folder: RunFolder) -> Path:
    return folder.path / "tracking.json"


def _read_note(folder: RunFolder) -> Note | None:
    """Another release may have noted more."""
    if not (file := _file(folder)).exists():
        return None
    told = read_json(file, f"delete {file}")
    return Note.model_validate({name: told[name] for name in Note.model_fields if name in told})


def _write_note(folder: RunFolder, note: Note) -> Note:
    replace_text(_file(folder), note.model_dump_json(indent=2) + "\n")
    return note
