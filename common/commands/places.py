"""The runs and releases that a command names, found before anything is loaded."""

import re
from pathlib import Path

from common.errors import NlaError
from common.paths import RELEASED, run_folder
from common.runs import RunFolder

NEWEST = "newest"


def find_pair(name: str, as_path: Path, profile: str) -> Path:
    """The folder of a finished run or of a release; NlaError when there is none of that name.

    Args:
        name: `<experiment>/<arm>/<seed>`, `released/<name>`, or `newest`: the newest control run.
        as_path: the same, as the path that was typed.
        profile: whose runs are meant.
    """
    if name == NEWEST:
        return _newest(profile).path
    for folder in (as_path, Path(name)):
        if is_release(folder):
            return folder
    if name.startswith(f"{RELEASED}/"):
        raise NlaError("no released NLA", where=name, remedy=f"choose one of {_releases()}")
    run = named_run(profile, name)
    run.summary  # noqa: B018 - raises when the run is unfinished
    return run.path


def is_release(folder: Path) -> bool:
    """Whether a folder lies below `released/`."""
    return folder.parent.name == RELEASED.name and (folder / "manifest.json").exists()


def named_run(profile: str, name: str) -> RunFolder:
    """The run `<experiment>/<arm>/<seed>`; NlaError when there is none of that name."""
    parts = name.split("/")
    if len(parts) == 3 and (place := run_folder(profile, *parts)).exists():
        return RunFolder(place)
    remedy = "give <experiment>/<arm>/<seed> of a finished run"
    raise NlaError(f"{name!r} names no run", where=f"runs/{profile}", remedy=remedy)


def release_folder(name: str) -> Path:
    """`released/<name>`; NlaError for a name that is not one word."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        remedy = "letters, digits, dots and hyphens make a name"
        raise NlaError(f"{name!r} is no name for a release", remedy=remedy)
    return RELEASED / name


def check_text(text: str) -> None:
    """NlaError for a text that is empty or was typed in another encoding than UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        what = f"byte {ord(text[error.start]) & 0xFF:#x} at character {error.start} is no UTF-8"
        raise NlaError(what, where="the text", remedy="give the text in UTF-8") from error
    if not text.strip():
        raise NlaError("the text is empty", remedy="give a text to explain")


def _newest(profile: str) -> RunFolder:
    pattern = run_folder(profile, "*", "control", "*") / "checkpoint" / "ar.safetensors"
    made = sorted(Path().glob(str(pattern)), key=lambda file: file.stat().st_mtime)
    runs = [RunFolder(file.parent.parent) for file in made]
    if not (found := [run for run in runs if run.summary_file.exists()]):
        remedy = f"name a release with --ar ({_releases()}), or `dvc repro experiments/ar_small`"
        raise NlaError("no trained AR", where=f"runs/{profile}", remedy=remedy)
    return found[-1]


def _releases() -> str:
    """The names of all releases."""
    return ", ".join(sorted(str(file.parent) for file in RELEASED.glob("*/manifest.json")))
