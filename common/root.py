"""The repository's root: found from any folder inside, as git does."""

import os
from pathlib import Path

from common.errors import NlaError

MARKS = ("dvc.yaml", "common/profiles", "experiments")
"""Files that lie together in the root and nowhere else."""
CODE = Path(__file__).parent

_typed_in = Path()


def find_root(start: Path) -> Path:
    """The nearest of a folder and those above it that holds all of `MARKS`; NlaError if none."""
    for folder in (start, *start.parents):
        if all((folder / mark).exists() for mark in MARKS):
            return folder
    remedy = "cd to the repository, or to any folder inside it"
    raise NlaError("this folder is not inside the repository", where=start, remedy=remedy)


def enter_root() -> None:
    """Make the root the current folder, so that nothing is read or written anywhere else.

    NlaError outside of a repository, and in one whose code is not the code that runs: files would
    be made with other settings and other functions than DVC records.
    """
    global _typed_in
    try:
        _typed_in = Path.cwd()
    except FileNotFoundError as error:
        raise NlaError("the current folder is gone", remedy="cd to the repository") from error
    root = find_root(_typed_in)
    if not CODE.samefile(root / CODE.name):
        what = f"the code that runs is that of another copy, {CODE.parent}"
        raise NlaError(what, where=root, remedy="run `make install` here and use .venv/bin/nla")
    os.chdir(root)


def as_typed(path: str | Path) -> Path:
    """A path that the user typed, relative to the folder of the command, as seen from the root."""
    return Path(os.path.relpath(_typed_in / path))
