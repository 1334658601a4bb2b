"""What MLflow shows of a run beyond its metrics and files, all of it kept in the run folder.

Whether or not MLflow answers, `tracking.json` in the folder notes it: a run that is imported later
looks like one that was mirrored live.
"""

import time
import uuid
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from common.config import Config
from common.errors import NlaError
from common.files import replace_text
from common.manifest import digest_of
from common.provenance import git_commit
from common.runs import RunFolder

State = Literal["FINISHED", "PRUNED", "FAILED", "KILLED"]


class Note(Config):
    """`tracking.json`."""

    parent: str | None = None
    """Name of the run that this one nests under."""
    tags: dict[str, str] = Field(default_factory=dict)
    commit: str = "unknown"
    attempt: str
    """Random; kept when a run is resumed, so that the mirror of its first part is replaced."""
    started: int
    """Milliseconds since 1970."""
    ended: int | None = None
    state: State | None = None
    """None while the run goes on, and after a kill."""


def begin_note(folder: RunFolder, parent: str | None, tags: dict[str, str]) -> Note:
    """Note that a run starts, or goes on after a kill or an error."""
    before = _read_note(folder)
    goes_on = before is not None and before.state not in ("FINISHED", "PRUNED")
    attempt = before.attempt if before and goes_on else uuid.uuid4().hex
    note = Note(parent=parent, tags=tags, commit=git_commit(), attempt=attempt, started=now())
    return _write_note(folder, note)


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


def identity_tags(folder: RunFolder) -> dict[str, str]:
    """Which folder with which config: equal for two imports of the same run."""
    return {"nla.folder": "/".join(folder.identity), "nla.digest": digest_of(folder.config)}


def tags_of(folder: RunFolder, note: Note) -> dict[str, str]:
    """All tags of a run but its state and its parent's id."""
    profile, _, arm, seed = folder.identity
    return {
        **note.tags,
        **{f"nla.data.{name}": digest for name, digest in data_digests(folder).items()},
        **identity_tags(folder),
        "nla.profile": profile,
        "nla.arm": arm,
        "nla.seed": seed,
        "nla.attempt": note.attempt,
        "mlflow.source.git.commit": note.commit,
    }


def data_digests(folder: RunFolder) -> dict[str, str]:
    """Name → digest of the artefacts a run depends on: `data` in its config."""
    data = folder.config.get("trained", {}).get("data", {})
    return {name: str(digest) for name, digest in data.items()}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"ar": {"rank": 1}} → {"ar.rank": 1}."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        result |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return result


def _file(folder: RunFolder) -> Path:
    return folder.path / "tracking.json"


def _read_note(folder: RunFolder) -> Note | None:
    file = _file(folder)
    return Note.model_validate_json(file.read_text()) if file.exists() else None


def _write_note(folder: RunFolder, note: Note) -> Note:
    replace_text(_file(folder), note.model_dump_json(indent=2) + "\n")
    return note
