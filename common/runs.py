"""A run folder is complete in itself: reports and MLflow are both made from it."""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import yaml

from common.errors import NlaError
from common.files import replace_text
from common.json_lines import read_lines
from common.manifest import changes, content_of, digest_of, file_digest, read_json, read_table
from common.paths import NEUTRAL, WARM_START

LOOKS = "*.parquet"
"""The files in `dev_texts/`: one for each validation, by the number of steps before it."""
CERTIFIED = (".parquet", ".safetensors", ".jsonl")
"""Kinds of files that a summary is written for."""


class RunFolder:
    """`runs/<profile>/<experiment>/<arm>/<seed>/`.

    Holds config.yaml, metrics.jsonl, rows.parquet, samples.jsonl, checkpoint/, of arms with texts
    of their own also measures.parquet and dev_texts/, and, once it is finished, summary.json.
    """

    def __init__(self, path: Path) -> None:
        """Name the places; nothing is created."""
        self.path = path
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.summary_file = path / "summary.json"
        self.rows_file = path / "rows.parquet"
        self.measures_file = path / "measures.parquet"
        self.samples_file = path / "samples.jsonl"
        self.checkpoint = path / "checkpoint"
        self.dev_texts = path / "dev_texts"

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """(profile, experiment, arm, seed), read off the path."""
        profile, experiment, arm, seed = self.path.parts[-4:]
        return profile, experiment, arm, seed

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time make this run; another waits, and finds it finished."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / f".{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def begin(self, config: dict) -> None:
        """Write config.yaml; what an earlier attempt with another config left behind is removed."""
        if self.config_file.exists() and digest_of(self.config) != digest_of(config):
            for leftover in sorted(self.path.rglob("*"), reverse=True):
                leftover.rmdir() if leftover.is_dir() else leftover.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        self.summary_file.unlink(missing_ok=True)
        plain = json.loads(json.dumps(config, default=str))
        replace_text(self.config_file, yaml.safe_dump(plain))

    @property
    def config(self) -> dict:
        """The settings of the run: {"digest": ..., plus whatever `begin` got}."""
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

    def finish(self, summary: dict) -> None:
        """Write summary.json atomically: its presence is what makes a run finished.

        Its `digest` is of the settings and of the weights, so that whatever was made from a run is
        out of date when the run is made again and comes out otherwise. Its `files` are digests of
        all that the run has written: who reads one of them asks `checked`.
        """
        weights = content_of(self.checkpoint) if self.checkpoint.exists() else None
        digest = digest_of([self.config, weights])
        summary = {**summary, "digest": digest, "files": self._files()}
        text = json.dumps(summary, indent=2, sort_keys=True, default=str)
        replace_text(self.summary_file, text + "\n")

    @property
    def summary(self) -> dict:
        """What `finish` wrote."""
        if not self.summary_file.exists():
            raise NlaError("unfinished run", where=self.path, remedy=self._remedy)
        return read_json(self.summary_file, self._remedy)

    def is_finished(self, config: dict) -> bool:
        """Whether this run was finished with exactly this config, and all its files are there."""
        if not (self.summary_file.exists() and self.config_file.exists()):
            return False
        if digest_of(self.config) != digest_of(json.loads(json.dumps(config, default=str))):
            return False
        try:
            expected = self.summary.get("files")
        except NlaError:
            return False
        return expected is not None and not self._changes(self._touched(expected))

    def check_whole(self) -> None:
        """NlaError when a file that the run was finished with is gone."""
        expected = self.summary.get("files", {})
        if lost := [name for name in expected if not (self.path / name).exists()]:
            what = f"{lost[0]} lost since the run was finished"
            raise NlaError(what, where=self.path, remedy=self._remedy)

    def checked(self, file: Path) -> Path:
        """A file of a finished run; NlaError when it is not the one that the run was finished with.

        A kill may leave new weights under an old summary, and a hand may change them.
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
        """Those that are gone, or that anybody has touched since the summary was written.

        A time of change (ctime) is the system's own: nobody can set it, as when a file was written.
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

    def _files(self) -> dict[str, str]:
        files = (file for file in sorted(self.path.rglob("*")) if file.suffix in CERTIFIED)
        return {file.relative_to(self.path).as_posix(): file_digest(file) for file in files}

    @property
    def _remedy(self) -> str:
        profile, experiment, arm, _ = self.path.absolute().parts[-4:]
        if experiment == WARM_START:
            return f"run `dvc repro {arm}` again"
        if experiment == NEUTRAL:
            return f"run `nla neutral {arm} --profile {profile}` again"
        return f"run `nla run {experiment} --arm {arm} --profile {profile}` again"
