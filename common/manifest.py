"""What an artefact is made of, written beside it and asserted by everyone who reads it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from common.errors import NlaError, first_line
from common.files import replace_text, write_atomically
from common.json_lines import parse_json

TABLE = ".parquet"
"""An artefact with this ending is one file; any other is a folder, dots in its name or not."""
CONTENT = (TABLE, ".safetensors", ".json", ".jinja", ".model")
"""File types whose bytes count as an artefact's content."""


def digest_of(value: object) -> str:
    """12 hex digits of the canonical JSON of a value (dicts, lists, strings, numbers)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def manifest_file(artefact: Path) -> Path:
    """`folder/manifest.json` for a folder, `name.manifest.json` beside a table."""
    if artefact.suffix == TABLE and not artefact.is_dir():
        return artefact.with_suffix(".manifest.json")
    return artefact / "manifest.json"


def write_manifest(artefact: Path, code: str = "", **fields: object) -> None:
    """Write fields (config digest, tokenizer, layer, source digests, ...) beside an artefact.

    It is written last, after `withdraw_manifest` and the data. Added are `files`, the digest of
    each data file; `content`, one digest of them all; and `digest`, which covers all the fields,
    and the sources through their digests. `code`, the digest of the code that made it, is not
    covered: the same data made by other code have the same digest.
    """
    files = files_of(artefact)
    whole = {**fields, "files": files, "content": digest_of(files)}
    _write_fields(
        artefact, {**whole, "digest": digest_of(whole), **({"code": code} if code else {})}
    )


def stamp_manifest(artefact: Path, code: str, note: Mapping[str, str]) -> None:
    """Record that other code would have made the same; the old digest, and the note, are kept."""
    fields = json.loads(manifest_file(artefact).read_bytes())
    kept = {"old": fields["code"], "new": code, **note}
    _write_fields(artefact, {**fields, "code": code, "adopted": [*fields.get("adopted", []), kept]})


def _write_fields(artefact: Path, fields: Mapping[str, Any]) -> None:
    write_json(manifest_file(artefact), fields)


def is_current(artefact: Path, code: str, **expected: Any) -> bool:
    """Whether an artefact was made by this code from what is expected, and is whole."""
    try:
        fields = read_manifest(artefact, "", **expected)
        check_content(artefact, fields, "")
    except NlaError:
        return False
    return fields.get("code") == code


def withdraw_manifest(artefact: Path) -> None:
    """Remove it before data are overwritten: what a kill leaves behind must not be certified."""
    manifest_file(artefact).unlink(missing_ok=True)


def write_artefact(table: pl.DataFrame, file: Path, code: str = "", **fields: object) -> None:
    """A table with a manifest."""
    withdraw_manifest(file)
    write_atomically(table, file)
    write_manifest(file, code, **fields)


def content_of(artefact: Path) -> str:
    """12 hex digits of a table, or of the data files that lie directly in a folder."""
    return digest_of(files_of(artefact))


def files_of(artefact: Path) -> dict[str, str]:
    """12 hex digits of a table, or of each data file that lies directly in a folder, by name."""
    found = [artefact] if artefact.is_file() else sorted(artefact.iterdir())
    manifest = manifest_file(artefact)
    return {f.name: file_digest(f) for f in found if f.suffix in CONTENT and f != manifest}


def file_digest(file: Path) -> str:
    """12 hex digits; a file is read once per process for as long as it stays the same."""
    stat = file.stat()
    return _digest_at(
        file.absolute(), (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    )


@cache
def _digest_at(file: Path, signature: tuple[int, ...]) -> str:
    with file.open("rb") as stream:
        header = _header(stream, signature[1]) if file.suffix == ".safetensors" else None
        return digest_of([header, hashlib.file_digest(stream, "sha256").hexdigest()])


def _header(stream: BinaryIO, size: int) -> object:
    """The header of a safetensors file, whose order of keys is random; of a broken file its hex."""
    start = stream.read(min(size, int.from_bytes(stream.read(8), "little")))
    try:
        return json.loads(start)
    except ValueError:
        return start.hex()


def write_json(file: Path, fields: Mapping[str, Any]) -> None:
    """Write a small file atomically, by sorted names."""
    replace_text(file, json.dumps(fields, indent=2, sort_keys=True, default=str) + "\n")


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """The object that a small file holds; NlaError when it is damaged."""
    fields = parse_json(file.read_bytes(), file, remedy)
    if not isinstance(fields, dict):
        raise NlaError("not valid JSON (no object)", where=file, remedy=remedy)
    return fields


def read_manifest(artefact: Path, made_by: str, *, remedy: str = "", **expected: object) -> dict:
    """Read the manifest of an artefact and assert that every expected field has the expected value.

    `made_by` is the DVC stage that makes the artefact: running it is the remedy in every message,
    unless another `remedy` is given.
    """
    file = manifest_file(artefact)
    remedy = remedy or _again(made_by)
    if not artefact.exists() or not file.exists():
        raise NlaError("missing artefact", where=artefact, remedy=remedy)
    fields = read_json(file, remedy)
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


def check_content(
    artefact: Path, fields: Mapping[str, Any], made_by: str, *, remedy: str = ""
) -> None:
    """NlaError when the data of an artefact are not those that its manifest was written for."""
    if changed := changes(fields.get("files", {}), files_of(artefact)):
        what = f"{changed} since its manifest was written"
        raise NlaError(what, where=artefact, remedy=remedy or _again(made_by))


def changes(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """The first file that was changed, lost or added, in words, and how many more; "" for none."""
    differ = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
    if not differ:
        return ""
    name, others = differ[0], len(differ) - 1
    change = "lost" if name not in found else "changed" if name in expected else "added"
    return f"{name}{f' and {others} more' if others else ''} {change}"


def read_artefact(
    file: Path, made_by: str, columns: Sequence[str] = (), *, remedy: str = "", **expected: object
) -> pl.DataFrame:
    """A table with a manifest, of which every expected field is asserted, and the content."""
    fields = read_manifest(file, made_by, remedy=remedy, **expected)
    table = read_table(file, made_by, columns)
    check_content(file, fields, made_by, remedy=remedy)
    return table


def _again(made_by: str) -> str:
    return f"make it again with `dvc repro {made_by}`"
