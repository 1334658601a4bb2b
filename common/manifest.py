"""What an artefact is made of, written beside it and asserted by everyone who reads it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import polars as pl

from common.errors import NlaError, first_line
from common.files import replace_text
from common.json_lines import parse_json

CONTENT = (".parquet", ".safetensors")
"""Kinds of files whose bytes count as an artefact's content."""


def digest_of(value: object) -> str:
    """12 hex digits of the canonical JSON of a value (dicts, lists, strings, numbers)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def manifest_file(artefact: Path) -> Path:
    """`folder/manifest.json` for a folder, `name.manifest.json` beside a file."""
    return (
        artefact / "manifest.json"
        if artefact.suffix == ""
        else artefact.with_suffix(".manifest.json")
    )


def write_manifest(artefact: Path, **fields: object) -> None:
    """Write fields (config digest, tokenizer, layer, source digests, ...) beside an artefact.

    `content`, a digest of its data files, and `digest` are added: the latter stands for all the
    fields, and for the sources through their digests.
    """
    whole = {**fields, "content": content_of(artefact)}
    text = json.dumps({**whole, "digest": digest_of(whole)}, indent=2, sort_keys=True, default=str)
    replace_text(manifest_file(artefact), text + "\n")


def content_of(artefact: Path) -> str:
    """12 hex digits of a file, or of the weights and tables that lie directly in a folder."""
    digest = hashlib.sha256()
    for file in _files_of(artefact):
        digest.update(f"{file.name} {_bytes_of(file)}\n".encode())
    return digest.hexdigest()[:12]


def _files_of(artefact: Path) -> list[Path]:
    files = [artefact] if artefact.is_file() else sorted(artefact.iterdir())
    return [file for file in files if file.suffix in CONTENT]


def _bytes_of(file: Path) -> str:
    """Hex digits of a file; in safetensors the order of the header's keys is chance."""
    with file.open("rb") as stream:
        header: object = None
        if file.suffix == ".safetensors":
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return digest_of(header) + hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(artefact: Path, made_by: str, *, remedy: str = "", **expected: object) -> dict:
    """Read the manifest of an artefact and assert that every expected field has the expected value.

    `made_by` is the DVC stage that makes the artefact: to run it is the remedy in every message,
    unless another `remedy` is given.
    """
    file = manifest_file(artefact)
    remedy = remedy or f"make it again with `dvc repro {made_by}`"
    if not artefact.exists() or not file.exists():
        raise NlaError("missing artefact", where=artefact, remedy=remedy)
    fields = parse_json(file.read_bytes(), file, remedy)
    if not isinstance(fields, dict):
        raise NlaError("not a manifest: no JSON object", where=file, remedy=remedy)
    for name, value in expected.items():
        if json.loads(json.dumps(value, default=str)) != fields.get(name):
            what = f"manifest mismatch: {name} is {fields.get(name)!r}, expected {value!r}"
            raise NlaError(what, where=file, remedy=remedy)
    return fields


def read_table(file: Path, made_by: str, columns: Sequence[str] = ()) -> pl.DataFrame:
    """Read a Parquet file; NlaError says how to make one again that is damaged or lacks columns."""
    remedy = f"delete it and run `dvc repro {made_by}`"
    try:
        table = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        what = f"corrupt Parquet ({first_line(error)})"
        raise NlaError(what, where=file, remedy=remedy) from error
    if missing := [name for name in columns if name not in table.columns]:
        what = f"foreign Parquet: it lacks {', '.join(missing)}"
        raise NlaError(what, where=file, remedy=remedy)
    return table


def check_content(artefact: Path, fields: Mapping[str, object], made_by: str) -> None:
    """NlaError when the data of an artefact are not those that its manifest was written for."""
    stats = [(file.name, file.stat()) for file in _files_of(artefact)]
    signature = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    if _content_at(artefact.absolute(), signature) != fields.get("content"):
        remedy = f"make it again with `dvc repro {made_by}`"
        raise NlaError("changed since its manifest was written", where=artefact, remedy=remedy)


@cache
def _content_at(artefact: Path, _signature: tuple[tuple[str, int, int], ...]) -> str:
    """Hashed once per process for as long as names, sizes and times stay the same."""
    return content_of(artefact)


def read_artefact(file: Path, made_by: str, **expected: object) -> pl.DataFrame:
    """A table with a manifest, of which every expected field is asserted, and the content."""
    fields = read_manifest(file, made_by, remedy="", **expected)
    table = read_table(file, made_by)
    check_content(file, fields, made_by)
    return table
