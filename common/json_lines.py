"""JSON from outside, or cut short by a kill: it is read whole, or an error names it in one line."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import NlaError

_log = logging.getLogger(__name__)


def parse_json(text: str | bytes, file: object, remedy: str, line: int = 1) -> Any:
    """The value of a JSON text that begins at a given line of a file; NlaError names the bad line.

    Not only bad syntax fails: so do values nested a thousand deep and integers of 5,000 digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason, at = "nested too deep" if isinstance(error, RecursionError) else str(error), line
        if isinstance(error, json.JSONDecodeError):
            reason, at = error.msg, line + error.lineno - 1
        raise NlaError(f"not valid JSON ({reason})", where=f"{file}:{at}", remedy=remedy) from error


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    r"""The objects of a file of JSON lines, which end at "\n" alone; nothing where there is none.

    The incomplete last line of a killed run is left out; any other line that holds no object is
    named in a warning, and those that follow are read.
    """
    *lines, last = file.read_bytes().split(b"\n") if file.exists() else [b""]
    for number, line in enumerate(lines, start=1):
        if (value := _object(line)) is not None:
            yield value
        elif line.strip():
            _log.warning("line left out, it holds no JSON object [%s:%d]", file, number)
    if (value := _object(last)) is not None:
        yield value


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
