"""Documents before cleaning: from a folder or a file, of a package or the user's, or made up."""

import glob
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.config import CorpusConfig
from common.errors import NlaError, first_line
from common.json_lines import parse_json
from common.packages import source_path
from common.schema import DESCRIPTION, TEXT, TITLE, TOPIC
from common.target.tiny_corpus import tiny_documents

Document = Mapping[str, str | None]
"""`text` and, where the source knows them, `title`, `description` and `topic`."""

FIELDS = (TEXT, TITLE, DESCRIPTION, TOPIC)
KINDS = (".txt", ".jsonl", ".parquet")
"""File endings that are read in a folder, in small or capital letters."""
SUMMARIES = ".json"
"""Read only where the file itself is the source: in a folder, such a file may be anything."""
OTHER_KIND = "other_kind"
"""The reason under which a file of a folder is counted as left out."""
NAMED_FILES = 5

_log = logging.getLogger(__name__)


def read_documents(config: CorpusConfig, dropped: Counter[str]) -> Iterator[Document]:
    """The documents of a source, not cleaned; files that are left out are counted and named.

    Raises NlaError for a missing source, one without documents, and a file that cannot be read.
    """
    source = source_path(config.source, config.sha256)
    if source == "tiny":
        return tiny_documents()
    path = Path(source)
    if not path.exists():
        remedy = "correct corpus.source in the profile"
        raise NlaError("no such folder or file", where=path, remedy=remedy)
    return _read_folder(path, dropped) if path.is_dir() else _read_file(path)


def _read_folder(folder: Path, dropped: Counter[str]) -> Iterator[Document]:
    known, others = [], []
    for file in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        (known if file.suffix.lower() in KINDS else others).append(file)
    if not known:
        what, remedy = f"no {_listed(KINDS)} files", "put the documents there"
        raise NlaError(what, where=folder, remedy=remedy)
    if others:
        dropped[OTHER_KIND] = len(others)
        named = [str(file.relative_to(folder)) for file in others[:NAMED_FILES]]
        more = ", ..." if others[NAMED_FILES:] else ""
        what = f"files left out that are no {_listed(KINDS)}: {len(others)}"
        _log.warning("%s [%s]: %s%s", what, folder, ", ".join(named), more)
    for file in known:
        yield from _read_file(file)


def _read_file(file: Path) -> Iterator[Document]:
    """One document of a .txt file; one for each line, row or title of the other kinds."""
    kind = file.suffix.lower()
    if kind == ".txt":
        return iter([{TEXT: _text_of(file), TITLE: file.stem}])
    if kind == ".jsonl":
        return _read_lines(file)
    if kind == ".parquet":
        return _read_parquet(file)
    if kind == SUMMARIES:
        return _read_summaries(file)
    what, remedy = f"no {_listed((*KINDS, SUMMARIES))} file", "save the documents as one of these"
    raise NlaError(what, where=file, remedy=remedy)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte {error.start})"
        raise NlaError(what, where=file, remedy="save the file as UTF-8") from error
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise NlaError(what, where=file, remedy="mend or remove the file") from error


def _read_lines(file: Path) -> Iterator[Document]:
    for number, line in enumerate(_text_of(file).split("\n"), start=1):
        if line.strip():
            record = parse_json(line, file, "mend the line", number)
            yield _document(record, TEXT, f"{file}:{number}")


def _read_summaries(file: Path) -> Iterator[Document]:
    summaries = parse_json(_text_of(file), file, "mend it")
    if not isinstance(summaries, dict):
        what = "not an object of title: {extract, description, topic}"
        raise NlaError(what, where=file, remedy="use .jsonl for a list of texts")
    for title, record in summaries.items():
        yield {TITLE: title, **_document(record, "extract", f"{file}: {title}")}


def _read_parquet(file: Path) -> Iterator[Document]:
    """A row without a text is an empty document."""
    for number, row in enumerate(_rows(file), start=1):
        record = row if row[TEXT] is not None else row | {TEXT: ""}
        yield _document(record, TEXT, f"{file}: row {number}")


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, with the columns that a document has; leaves nothing in a cache."""
    from datasets import load_dataset

    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # an NlaError says the same
    files, settings = glob.escape(str(file.absolute())), {"split": "train", "streaming": True}
    with TemporaryDirectory() as cache:
        try:
            table = load_dataset("parquet", data_files=files, cache_dir=cache, **settings)
            columns = table.column_names or []
            if TEXT in columns:
                yield from table.select_columns([name for name in FIELDS if name in columns])
                return
        except (OSError, ValueError, TypeError, NotImplementedError) as error:  # pyarrow's
            what, remedy = f"unreadable Parquet ({first_line(error)})", "mend or remove the file"
            raise NlaError(what, where=file, remedy=remedy) from error
    what = f"no column {TEXT!r} among {', '.join(columns) or 'none'}"
    raise NlaError(what, where=file, remedy=f"name the column of the documents {TEXT!r}")


def _listed(kinds: tuple[str, ...]) -> str:
    return f"{', '.join(kinds[:-1])} or {kinds[-1]}"


def _document(record: object, text_field: str, where: str) -> Document:
    names = {text_field: TEXT, TITLE: TITLE, DESCRIPTION: DESCRIPTION, TOPIC: TOPIC}
    values = {names[name]: record.get(name) for name in names} if isinstance(record, dict) else {}
    if not isinstance(values.get(TEXT), str):
        what, remedy = f"no text in field {text_field!r}", f'write {{"{text_field}": "..."}}'
        raise NlaError(what, where=where, remedy=remedy)
    wrong = [name for name, value in values.items() if not isinstance(value, str | None)]
    if wrong:
        raise NlaError(f"{wrong[0]!r} is not a string", where=where, remedy="write it as a string")
    return {name: value for name, value in values.items() if value is not None}
