"""A run folder is complete in itself: reports and MLflow are both made from it.

Its config.yaml keeps apart what a run is trained with and what it is tested with, each with its
values and the digest of its code: after a change of the test alone, the checkpoint is tested again.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

from common.errors import NlaError
from common.files import replace_text
from common.json_lines import read_lines
from common.manifest import (
    changes,
    content_of,
    digest_of,
    file_digest,
    read_json,
    read_table,
    write_json,
)

LOOKS = "*.parquet"
"""The files in `dev_texts/`: one for each validation, by the number of steps before it."""
PARTS = ("trained", "tested", "code")
CERTIFIED = (".parquet", ".safetensors", ".jsonl")
"""File types whose digests a summary holds."""


class MadeWith(NamedTuple):
    """All that a run depends on."""

    trained: Mapping[str, Any]
    """Settings, seed and digests of the data that it is trained with."""
    tested: Mapping[str, Any]
    code: Mapping[str, str]
    """Digests of the code, `trained` and `tested`."""
    remedy: str = ""
    """The command that makes the run."""


class RunFolder:
    """`runs/<profile>/<experiment>/<arm>/<seed>/`.

    Holds config.yaml, metrics.jsonl, checkpoint/, trained.json after training, what the test writes
    (rows.parquet, measures.parquet, texts.parquet, curves.parquet, samples.jsonl; an arm may lack
    some), for reinforcement learning dev_texts/, and at last summary.json.
    """

    def __init__(self, path: Path, remedy: str = "") -> None:
        """Name the places; nothing is created. `remedy` makes a run that was never begun."""
        self.path, self._unmade = path, remedy
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.trained_file = path / "trained.json"
        self.summary_file = path / "summary.json"
        self.rows_file = path / "rows.parquet"
        self.measures_file = path / "measures.parquet"
        self.texts_file = path / "texts.parquet"
        self.curves_file = path / "curves.parquet"
        self.samples_file = path / "samples.jsonl"
        self.checkpoint = path / "checkpoint"
        self.dev_texts = path / "dev_texts"

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """(profile, experiment, arm, seed), read off the path."""
        profile, experiment, arm, seed = self.path.parts[-4:]
        return profile, experiment, arm, seed

    @property
    def seed(self) -> int:
        """The training seed; of a final run, not of a trial."""
        return int(self.path.name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time make this run; another waits, and then finds it finished."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / f".{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def begin(self, made: MadeWith) -> None:
        """Write config.yaml; remove what an attempt with other training settings left behind."""
        if self.config_file.exists() and not self._trained_alike(made):
            for leftover in sorted(self.path.rglob("*"), reverse=True):
                leftover.rmdir() if leftover.is_dir() else leftover.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        self.summary_file.unlink(missing_ok=True)
        adopted = self.adopted
        config = {name: getattr(made, name) for name in PARTS} | {"remedy": made.remedy}
        if adopted:
            config["adopted"] = adopted
        replace_text(self.config_file, yaml.safe_dump(_plain(config)))

    @property
    def config(self) -> dict:
        """What `begin` wrote: trained, tested, code; and `adopted`, if it was adopted."""
        if not self.config_file.exists():
            raise NlaError(
                "not a run folder: no config.yaml",
                where=self.path,
                remedy="name a folder runs/<profile>/<experiment>/<arm>/<seed>",
            )
        return yaml.safe_load(self.config_file.read_text()) or {}

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Append one line of metrics."""
        with self.metrics_file.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def samples(self) -> list[dict]:
        """The lines of samples.jsonl: what a reader should look at before believing a number."""
        return list(read_lines(self.samples_file))

    def metrics(self) -> Iterator[tuple[int, dict[str, float]]]:
        """(step, metrics) in the order logged."""
        for values in read_lines(self.metrics_file):
            yield values.pop("step"), values

    @property
    def adopted(self) -> list[dict[str, str]]:
        """The changes of code through which the run was kept, because they change no number."""
        return self.config.get("adopted", []) if self.config_file.exists() else []

    def adopt(self, made: MadeWith, note: Mapping[str, str]) -> None:
        """Mark a run as made by other code; the old digests, and the note, are kept.

        Its digest stays: it covers settings and weights. New options are written into its
        config.yaml.
        """
        config, summary = self.config, self.summary
        kept = {"old": config["code"], "new": dict(made.code), **note}
        parts = {name: _plain(getattr(made, name)) for name in PARTS}
        config |= parts | {"adopted": [*self.adopted, kept]}
        replace_text(self.config_file, yaml.safe_dump(_plain(config)))
        write_json(self.summary_file, summary)  # last: it certifies config.yaml

    def end_training(self, facts: Mapping[str, Any]) -> None:
        """Write trained.json: from now on, the checkpoint counts as trained."""
        kept = self._files(self.checkpoint)
        write_json(self.trained_file, {**facts, "files": kept})

    @property
    def trained(self) -> dict[str, Any]:
        """The facts that `end_training` wrote; NlaError when there are none."""
        if not self.trained_file.exists():
            raise NlaError("unfinished run", where=self.path, remedy=self._remedy)
        facts = read_json(self.trained_file, self._remedy)
        return {name: value for name, value in facts.items() if name != "files"}

    def is_trained(self, made: MadeWith) -> bool:
        """Whether the run was trained with exactly this, and its checkpoint is there."""
        if not (self.trained_file.exists() and self.config_file.exists()):
            return False
        if not self._trained_alike(made):
            return False
        try:
            expected = read_json(self.trained_file, self._remedy)["files"]
        except (NlaError, KeyError):
            return False
        return not self._changes(expected)

    def weights(self, name: str) -> Path:
        """A file of the checkpoint; NlaError when it has changed since the training."""
        self.trained  # noqa: B018 - raises where there is none
        kept = read_json(self.trained_file, self._remedy)["files"]
        place = (self.checkpoint / name).relative_to(self.path).as_posix()
        if changed := self._changes({place: kept.get(place, "")}):
            what = f"{changed} since the run was trained"
            raise NlaError(what, where=self.path, remedy=self._remedy)
        return self.checkpoint / name

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json atomically: its presence is what makes a run finished.

        Its `digest` covers the settings of training and the weights, but not the code: what was
        made from a run is out of date when the run is trained again with another result. Its
        `files` are digests of all files of the run: use `checked` before reading one of them.
        """
        weights = content_of(self.checkpoint) if self.checkpoint.exists() else None
        digest = digest_of([self.config["trained"], weights])
        files = self._files(self.path)
        write_json(self.summary_file, {**summary, "digest": digest, "files": files})

    @property
    def summary(self) -> dict:
        """What `finish` wrote."""
        if not self.summary_file.exists():
            raise NlaError("unfinished run", where=self.path, remedy=self._remedy)
        return read_json(self.summary_file, self._remedy)

    @property
    def said(self) -> str:
        """Digests of a finished run's weights and of its texts, for whoever reads these."""
        summary = self.summary
        return f"{summary['digest']} {summary['files'][self.texts_file.name]}"

    def differs_from(self, made: MadeWith) -> list[str]:
        """In what a run differs from what is expected: names of settings, of data, or `code`."""
        found, differ = self.config, []
        for part in PARTS:
            told, expected = found.get(part) or {}, _plain(getattr(made, part))
            names = {n for n in {*told, *expected} if told.get(n) != expected.get(n)}
            differ += ["code"] if part == "code" and names else sorted(names)
        return list(dict.fromkeys(differ))

    def is_finished(self, made: MadeWith) -> bool:
        """Whether this run was finished with exactly this, and all its files are there."""
        if not (self.summary_file.exists() and self.config_file.exists()):
            return False
        if self.differs_from(made):
            return False
        try:
            expected = self.summary.get("files")
        except NlaError:
            return False
        return expected is not None and not self._changes(self._touched(expected))

    def _trained_alike(self, made: MadeWith) -> bool:
        found = self.config
        code = (found.get("code") or {}).get("trained")
        return found.get("trained") == _plain(made.trained) and code == made.code["trained"]

    def check_whole(self) -> None:
        """NlaError when a file of the finished run is missing."""
        expected = self.summary.get("files", {})
        if lost := [name for name in expected if not (self.path / name).exists()]:
            what = f"{lost[0]} lost since the run was finished"
            raise NlaError(what, where=self.path, remedy=self._remedy)

    def checked(self, file: Path) -> Path:
        """A file of a finished run; NlaError when it has changed since the run was finished.

        A kill may leave new weights under an old summary, and a person may edit files.
        """
        name = file.relative_to(self.path).as_posix()
        expected = {name: self.summary.get("files", {}).get(name, "")}
        if changed := self._changes(expected):
            what = f"{changed} since the run was finished"
            raise NlaError(what, where=self.path, remedy=self._remedy)
        return file

    def table(self, file: Path, columns: Sequence[str] = ()) -> pl.DataFrame:
        """A table of a finished run, checked."""
        return read_table(self.checked(file), f"experiments/{self.identity[1]}", columns)

    def _touched(self, expected: Mapping[str, str]) -> dict[str, str]:
        """Files that are missing, or that were changed after the summary was written.

        The time of change (ctime) is set by the system alone, unlike a file's time of writing.
        """
        until = self.summary_file.stat().st_ctime_ns
        places = {name: self.path / name for name in expected}
        return {
            name: expected[name]
            for name, place in places.items()
            if not place.exists() or place.stat().st_ctime_ns >= until
        }

    def _changes(self, expected: Mapping[str, str]) -> str:
        places = {name: self.path / name for name in expected}
        found = {name: file_digest(place) for name, place in places.items() if place.exists()}
        return changes(expected, found)

    def _files(self, place: Path) -> dict[str, str]:
        files = (file for file in sorted(place.rglob("*")) if file.suffix in CERTIFIED)
        return {file.relative_to(self.path).as_posix(): file_digest(file) for file in files}

    @property
    def _remedy(self) -> str:
        if self.config_file.exists() and (command := self.config.get("remedy")):
            return f"run `{command}` again"
        profile, experiment, arm, _ = self.path.absolute().parts[-4:]
        command = self._unmade or f"nla run {experiment} --arm {arm} --profile {profile}"
        return f"run `{command}` again"


def _plain(value: Any) -> Any:
    """A value as it comes back from a file."""
    return json.loads(json.dumps(value, default=str))
