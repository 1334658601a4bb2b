"""A run folder is complete in itself: reports and MLflow are both made from it."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from common.errors import NlaError
from common.files import replace_text
from common.json_lines import parse_json, read_lines
from common.manifest import content_of, digest_of
from common.paths import WARM_START

LOOKS = "*.parquet"
"""The files in `dev_texts/`: one for each validation, by the number of steps before it."""


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
        out of date when the run is made again and comes out otherwise.
        """
        weights = content_of(self.checkpoint) if self.checkpoint.exists() else None
        summary = {**summary, "digest": digest_of([self.config, weights])}
        text = json.dumps(summary, indent=2, sort_keys=True, default=str)
        replace_text(self.summary_file, text + "\n")

    @property
    def summary(self) -> dict:
        """What `finish` wrote."""
        if not self.summary_file.exists():
            arm = self.path.parent
            of_the_trunk = arm.parent.name == WARM_START
            stage = f"`dvc repro {arm.name}`" if of_the_trunk else "its DVC stage"
            raise NlaError("unfinished run", where=self.path, remedy=f"run {stage} again")
        remedy = "delete the file and run its DVC stage again"
        return parse_json(self.summary_file.read_bytes(), self.summary_file, remedy)

    def is_finished(self, config: dict) -> bool:
        """Whether this run was finished with exactly this config."""
        if not (self.summary_file.exists() and self.config_file.exists()):
            return False
        return digest_of(self.config) == digest_of(json.loads(json.dumps(config, default=str)))
