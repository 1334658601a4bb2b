"""The corpus: documents, cleaned, and split by their ids."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from common.config import CorpusConfig
from common.data.documents import FIELDS, Document, read_documents
from common.data.foreign import visible
from common.errors import NlaError
from common.manifest import digest_of, read_artefact, write_artefact
from common.schema import DOC_ID, SPLIT, SPLITS, TEXT, TITLE
from common.seeding import keyed_fraction

COLUMNS = (DOC_ID, SPLIT, *FIELDS)

_PARENTHESES = re.compile(r"\(([^()]*)\)")
_IPA = re.compile("[ˈˌːəɪʃɔʊʒŋ]")
_RESPELLING = re.compile(r"\b[A-Z]{2,}-[a-z]|\b[a-z]+-[A-Z]{2,}\b|^-|^[A-Z]{2,}$")
_SPACE_BEFORE_MARK = re.compile(r"\s+(?=[,;:.](?:\s|$))")


def build_corpus(config: CorpusConfig, out: Path) -> None:
    """Write corpus.parquet (columns `COLUMNS`, in the order of the source) and its manifest.

    The manifest counts the documents and what was dropped (`short`, `duplicate`; files of an
    `other_kind` in a folder).
    Raises NlaError for a missing or empty source, an unreadable file or bad fractions.
    """
    _check_fractions(config.fractions)
    dropped: Counter[str] = Counter({"short": 0, "duplicate": 0})
    documents = list(_distinct(read_documents(config, dropped), config.min_characters, dropped))
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
    """`visible` text without pronunciations and emptied parentheses, white space collapsed.

    Encyclopedia extracts lose their formulas and sound files, which leaves `( ; )` and ` ,` behind.
    """
    text = _PARENTHESES.sub(_mended_parentheses, visible(text))
    return _SPACE_BEFORE_MARK.sub("", " ".join(text.split()))


def split_of(doc_id: str, fractions: dict[str, float]) -> str:
    """The split of a document; it depends on its id and the fractions alone."""
    draw, reached = keyed_fraction("split", doc_id), 0.0
    for split in SPLITS:
        reached += fractions.get(split, 0.0)
        if draw < reached:
            return split
    return max(fractions, key=SPLITS.index)  # the fractions sum to 1 only up to rounding


def _mended_parentheses(match: re.Match[str]) -> str:
    """A parenthesis without the remains of a lost sound file and without phonetic signs."""
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


def _check_fractions(fractions: dict[str, float]) -> None:
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
