"""Files that are whole or not there, and one clear line when the disk is full."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from common.errors import NlaError

FULL = ("No space left", os.strerror(errno.EDQUOT))
"""Error texts for a full disk and for a full quota; polars passes on the text alone."""


def write_atomically(frame: pl.DataFrame, file: Path) -> None:
    """Write Parquet under another name, then rename: a file that exists is whole."""
    with replacing(file) as partial:
        frame.write_parquet(partial)


def replace_text(file: Path, text: str) -> None:
    """Write a small file so that a kill leaves the old one or the new one, never half of it."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to; it replaces the file at once when the block ends without an error."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        yield partial
        os.replace(partial, file)
    except (OSError, pl.exceptions.PolarsError) as error:
        partial.unlink(missing_ok=True)
        if not any(words in str(error) for words in FULL):
            raise
        free = shutil.disk_usage(file.parent).free // 2**20
        remedy = "free some space and run again: what is finished is kept"
        raise NlaError(f"the disk is full ({free} MiB free)", where=file, remedy=remedy) from error
