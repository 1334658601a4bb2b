"""What an artefact is made of, written beside it and asserted by everyone who reads it."""

import hashlib
import json
from pathlib import Path

import polars as pl

from common.errors import NlaError


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

    `digest` is added: it stands for all the fields, and for the sources through their digests.
    """
    named = {**fields, "digest": digest_of(fields)}
    text = json.dumps(named, indent=2, sort_keys=True, default=str)
    manifest_file(artefact).write_text(text + "\n")


def read_manifest(artefact: Path, made_by: str, **expected: object) -> dict:
    """Read the manifest of an artefact and assert that every expected field has the expected value.

    `made_by` is the DVC stage that makes the artefact: the remedy in every message.
    """
    file = manifest_file(artefact)
    remedy = f"make it again with `dvc repro {made_by}`"
    if not artefact.exists() or not file.exists():
        raise NlaError("missing artefact", where=artefact, remedy=remedy)
    try:
        fields = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise NlaError(f"unreadable manifest ({error})", where=file, remedy=remedy) from error
    for name, value in expected.items():
        if json.loads(json.dumps(value, default=str)) != fields.get(name):
            what = f"manifest mismatch: {name} is {fields.get(name)!r}, expected {value!r}"
            raise NlaError(what, where=file, remedy=remedy)
    return fields


def read_table(file: Path, made_by: str) -> pl.DataFrame:
    """Read a Parquet file; NlaError says how to make a damaged one again."""
    try:
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0]
        remedy = f"delete it and run `dvc repro {made_by}`"
        raise NlaError(f"corrupt Parquet ({reason})", where=file, remedy=remedy) from error
