"""The documents: read from a package, a folder or a grammar, cleaned, and split by their ids."""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from common.config import CorpusConfig
from common.errors import NlaError
from common.manifest import digest_of, read_artefact, write_artefact
from common.packages import source_path
from common.schema import DESCRIPTION, DOC_ID, SPLIT, SPLITS, TEXT, TITLE, TOPIC
from common.seeding import keyed_fraction
from common.target.tiny_corpus import tiny_documents

Document = Mapping[str, str | None]
"""`text` and, where the source knows them, `title`, `description` and `topic`."""

COLUMNS = (DOC_ID, SPLIT, TEXT, TITLE, DESCRIPTION, TOPIC)
FIELDS = (TEXT, TITLE, DESCRIPTION, TOPIC)

_PARENTHESES = re.compile(r"\(([^()]*)\)")
_IPA = re.compile("[ˈˌːəɪʃɔʊʒŋ]")
_RESPELLING = re.compile(r"\b[A-Z]{2,}-[a-z]|\b[a-z]+-[A-Z]{2,}\b|^-|^[A-Z]{2,}$")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\ud800-\udfff]")
_SPACE_BEFORE_MARK = re.compile(r"\s+(?=[,;:.](?:\s|$))")


def build_corpus(config: CorpusConfig, out: Path) -> None:
    """Write corpus.parquet (columns `COLUMNS`, in the order of the source) and its manifest.

    The manifest counts the documents and what was dropped (`short`, `duplicate`).
    Raises NlaError for a missing or empty source, an unreadable file or bad fractions.
    """
    _check_fractions(config.fractions)
    dropped: Counter[str] = Counter({"short": 0, "duplicate": 0})
    documents = list(_distinct(_read(config), config.min_characters, dropped))
    if not documents:
        what = f"no documents (dropped: {dict(dropped)})"
        raise NlaError(what, where=config.source, remedy="add texts or lower corpus.min_characters")
    rows = [_row(document, config.fractions) for document in documents]
    _check_splits({str(row[SPLIT]) for row in rows}, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_artefact(
        pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String)),
        out,
        kind="corpus",
        config=config.digest(),
        documents=len(rows),
        dropped=dict(dropped),
    )


def load_corpus(path: Path) -> pl.DataFrame:
    """The table that `build_corpus` wrote; NlaError when it is missing, foreign or damaged."""
    return read_artefact(path, "corpus", kind="corpus")


def clean(text: str) -> str:
    """NFC, pronunciations and emptied parentheses removed, white space collapsed.

    Encyclopedia extracts lose their formulas and sound files, which leaves `( ; )` and ` ,` behind.
    """
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    text = _PARENTHESES.sub(_mended_parentheses, text)
    return _SPACE_BEFORE_MARK.sub("", " ".join(text.split()))


def split_of(doc_id: str, fractions: dict[str, float]) -> str:
    """The split of a document: depends on its id and the fractions alone."""
    draw, reached = keyed_fraction("split", doc_id), 0.0
    for split in SPLITS:
        reached += fractions.get(split, 0.0)
        if draw < reached:
            return split
    return max(fractions, key=SPLITS.index)  # the fractions sum to 1 only up to rounding


def _mended_parentheses(match: re.Match[str]) -> str:
    """A parenthesis that starts with what a lost sound file leaves, or holds phonetic signs."""
    if not re.search(r"^$|^[\s;,:.]", match[1]) and not _IPA.search(match[1]):
        return match[0]
    parts = [part.strip() for part in re.split(r"[;,]\s", match[1])]
    kept = [part for part in parts if re.search(r"\w", part) and not _is_pronunciation(part)]
    return f"({'; '.join(kept)})" if kept else ""


def _is_pronunciation(part: str) -> bool:
    leftover = part.strip(" ;,:.") in ("also", "or", "and", "US", "UK")
    return leftover or bool(_IPA.search(part) or _RESPELLING.search(part))


def _distinct(
    documents: Iterator[Document], min_characters: int, dropped: Counter[str]
) -> Iterator[Document]:
    """Cleaned documents that are long enough and not seen before; the others are counted."""
    seen: set[str] = set()
    for document in documents:
        cleaned = {name: clean(document.get(name) or "") or None for name in FIELDS}
        text = cleaned[TEXT] or ""
        reason = "short" if len(text) < max(1, min_characters) else "duplicate"
        if reason == "short" or text in seen:
            dropped[reason] += 1
            continue
        seen.add(text)
        yield cleaned


def _row(document: Document, fractions: dict[str, float]) -> Document:
    doc_id = digest_of([document[TITLE], document[TEXT]])
    return {DOC_ID: doc_id, SPLIT: split_of(doc_id, fractions), **document}


def _read(config: CorpusConfig) -> Iterator[Document]:
    source = source_path(config.source, config.sha256)
    if source == "tiny":
        return tiny_documents()
    path = Path(source)
    if not path.exists():
        raise NlaError("no such folder", where=path, remedy="correct corpus.source in the profile")
    return _read_folder(path) if path.is_dir() else _read_file(path)


def _read_folder(folder: Path) -> Iterator[Document]:
    files = sorted(
        path for path in folder.rglob("*") if path.suffix in (".txt", ".jsonl") and path.is_file()
    )
    if not files:
        raise NlaError("no .txt or .jsonl files", where=folder, remedy="put the documents there")
    for file in files:
        yield from _read_file(file)


def _read_file(file: Path) -> Iterator[Document]:
    """One document of a .txt, one per line of a .jsonl, one per title of a .json of summaries."""
    try:
        content = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte {error.start})"
        raise NlaError(what, where=file, remedy="save the file as UTF-8") from error
    if file.suffix == ".txt":
        return iter([{TEXT: content, TITLE: file.stem}])
    if file.suffix == ".jsonl":
        return _read_lines(content, file)
    return _read_summaries(content, file)


def _read_lines(content: str, file: Path) -> Iterator[Document]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise NlaError(
                f"not valid JSON ({error.msg})", where=f"{file}:{number}", remedy="mend the line"
            ) from error
        yield _document(record, TEXT, f"{file}:{number}")


def _read_summaries(content: str, file: Path) -> Iterator[Document]:
    try:
        summaries = json.loads(content)
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}"
        raise NlaError(f"not valid JSON ({error.msg})", where=where, remedy="mend it") from error
    if not isinstance(summaries, dict):
        what = "not an object of title: {extract, description, topic}"
        raise NlaError(what, where=file, remedy="use .jsonl for a list of texts")
    for title, record in summaries.items():
        yield {TITLE: title, **_document(record, "extract", f"{file}: {title}")}


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


def _check_fractions(fractions: dict[str, float]) -> None:
    unknown = set(fractions) - set(SPLITS)
    if unknown:
        raise NlaError(f"unknown split {sorted(unknown)}", remedy=f"choose from {SPLITS}")
    total = math.fsum(fractions.values())
    if min(fractions.values(), default=0) < 0 or not math.isclose(total, 1, abs_tol=1e-6):
        what = f"corpus.fractions sum to {total:g} or hold a negative share"
        raise NlaError(what, remedy="make them sum to 1")


def _check_splits(found: set[str], config: CorpusConfig) -> None:
    wanted = {split for split, fraction in config.fractions.items() if fraction > 0}
    if wanted - found:
        what = f"too few documents: none fell into {sorted(wanted - found)}"
        remedy = "add documents or change corpus.fractions"
        raise NlaError(what, where=config.source, remedy=remedy)
