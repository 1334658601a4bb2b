"""Shards of activations; unchanged ones are kept, so that a killed run resumes."""

import logging
import shutil
from pathlib import Path

import polars as pl

from common.files import replace_text, write_atomically
from common.manifest import file_digest, withdraw_manifest

PATTERN = "shard-*.parquet"
PLAN = "plan.txt"
ARROW = "arrow"
"""A copy of the shards that can be mapped into memory."""

logger = logging.getLogger(__name__)


class Shards:
    """The finished shards of one plan; `plan.txt` lists the plan, and each shard's digest."""

    def __init__(self, folder: Path, plan: str, code: str = "") -> None:
        """Keep the shards of exactly this plan that have not changed, and remove everything else.

        Args:
            folder: the folder of the shards.
            plan: digest of what the shards are made from.
            code: digest of the code that makes them; `adopt_shards` changes it.
        """
        self.folder = folder
        self._record, self._plan = folder / PLAN, f"{plan} {code}".strip()
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        if folder.exists() and lines[:1] != [self._plan]:
            shutil.rmtree(folder)
            lines = []
        folder.mkdir(parents=True, exist_ok=True)
        withdraw_manifest(folder)
        shutil.rmtree(folder / ARROW, ignore_errors=True)
        self._digests = {name: digest for name, _, digest in (s.partition(" ") for s in lines[1:])}
        self._write()
        for file in sorted(folder.glob(PATTERN)):
            if self._digests.get(file.name) != file_digest(file):
                logger.info("%s is not as this plan wrote it: it is read again", file)
                file.unlink()

    def __contains__(self, number: int) -> bool:
        """Whether a shard is finished."""
        return self._file(number).exists()

    def add(self, number: int, frame: pl.DataFrame) -> None:
        """Write a shard, then its digest."""
        file = self._file(number)
        write_atomically(frame, file)
        self._digests[file.name] = file_digest(file)
        self._write()

    def _file(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.parquet"

    def _write(self) -> None:
        lines = [self._plan, *(f"{name} {digest}" for name, digest in self._digests.items())]
        replace_text(self._record, "\n".join(lines))


def adopt_shards(folder: Path, code: str) -> None:
    """Record that other code would have made the same shards."""
    plan, *lines = (folder / PLAN).read_text().splitlines()
    replace_text(folder / PLAN, "\n".join([f"{plan.partition(' ')[0]} {code}", *lines]))
