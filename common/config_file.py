"""Settings read from YAML: an error names the wrong key, its file and the key that was meant."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from common.config_base import Config, ConfigT
from common.errors import NlaError

MISSING, UNKNOWN = "missing", "extra_forbidden"
"""What pydantic calls the error of a key that is not there, and of one that should not be."""
ALIKE = 0.7
"""Similarity (difflib's ratio) from which one key counts as a misspelling of another."""


def load_config(kind: type[ConfigT], file: Path, **extra: object) -> ConfigT:
    """Read and validate a YAML file; NlaError names all keys that are wrong, and the right ones."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = f"no YAML file ({error})"
        raise NlaError(what, where=file, remedy="mend the file") from error
    if not isinstance(values, dict):
        raise NlaError("not a mapping of keys to values", where=file, remedy="mend the file")
    return validated(kind, values | extra, file)


def validated(
    kind: type[ConfigT], values: dict[str, Any], file: Path, inside: Sequence[str] = ()
) -> ConfigT:
    """Settings from the values at the key `inside` of a file; NlaError as in `load_config`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        remedy = f"see {kind.__name__} in {kind.__module__.replace('.', '/')}.py"
        raise NlaError(_mistakes(kind, error, inside), where=file, remedy=remedy) from error


def _mistakes(kind: type[Config], error: ValidationError, inside: Sequence[str]) -> str:
    """Every wrong key and why; one that is missing because it is misspelt counts once."""
    found = error.errors()
    meant = {at: _nearest(kind, at) for at in (e["loc"] for e in found if e["type"] == UNKNOWN)}
    spelt = {(*at[:-1], name) for at, name in meant.items() if name}
    told = []
    for one in found:
        key = ".".join(map(str, [*inside, *(part for part in one["loc"] if part != "[key]")]))
        said = one["msg"].removeprefix("Value error, ")
        if one["type"] == MISSING:
            said = "missing"
        elif one["type"] == UNKNOWN:
            name = meant[one["loc"]]
            said = f"unknown, did you mean {name!r}?" if name else "unknown"
        if one["type"] != MISSING or one["loc"] not in spelt:
            told.append(f"config key {key!r}: {said}" if key else said)
    return "; ".join(told)


def _nearest(kind: type[Config], at: Sequence[int | str]) -> str | None:
    """The key of the same section that is spelt most like an unknown one."""
    section: Any = kind
    for part in at[:-1]:
        fields = getattr(section, "model_fields", {})
        annotation = fields[part].annotation if part in fields else section
        section = next((a for a in reversed(get_args(annotation)) if a is not str), annotation)
    names = get_close_matches(str(at[-1]), [*getattr(section, "model_fields", {})], 1, ALIKE)
    return names[0] if names else None
