"""Transforms of explanations, to find which part of a text carries the reconstruction.

Each gives a new text, or None where it does not apply. None is counted (`coverage`) and its row is
dropped; the original in its place would make a transform look harmless.
"""

import re
from collections.abc import Collection
from random import Random
from typing import Any

from common.errors import NlaError
from common.evaluation.synonyms import SYNONYMS
from common.metrics.quotes import (
    Spans,
    quotations,
    quoted_spans,
    unpaired_marks,
    verbatim_spans,
)
from common.metrics.words import PIECE, tokens
from common.seeding import keyed_random
from common.target.text import decode, encode

_PHRASES = "|".join(map(re.escape, sorted(SYNONYMS, key=len, reverse=True)))
_PHRASE = re.compile(rf"\b(?:{_PHRASES})\b", re.IGNORECASE)
_STATEMENT_START = re.compile(r"(?:^|[.;!?]\s+)$")
_STATEMENT_END = re.compile(r"(?<=;)\s+|(?<=[\w)\]\x00]{3}[.!?])\s+")
"""Three characters before a full stop, so that initials and "Dr." do not end a statement."""


def quotes_only(text: str) -> str | None:
    """The quotations with their marks, joined by spaces; None without quotations."""
    return " ".join(text[start - 1 : end + 1] for start, end in quoted_spans(text)) or None


def stripped(text: str, quotations: Spans) -> str | None:
    """The text without some quotations and their marks; None without any, or if no word is left."""
    return _without(text, [(start - 1, end + 1) for start, end in quotations])


def random_stripped(text: str, quotations: Spans, key: object) -> str | None:
    """The control of `stripped`: removes the same amount of text, at random.

    Removes as many stretches as there are quotations, each of as many pieces (words, punctuation
    marks) as the quotation has with its marks. Every arrangement of disjoint stretches is equally
    likely, independent of the quotation marks: a stretch may cover quoted words, or one mark of
    two. If it avoided the quotations, the control would remove only text outside of them, and long
    quotations would leave it no room.

    Returns:
        The shorter text; None without quotations, or if no word is left.
    """
    lengths = [len(tokens(text[start - 1 : end + 1])) for start, end in quotations]
    pieces = [match.span() for match in PIECE.finditer(text)]
    if not lengths or sum(lengths) >= len(pieces):
        return None
    generator = keyed_random("random_stripped", key)
    stretches = _random_stretches(len(pieces), lengths, generator)
    return _without(text, [(pieces[first][0], pieces[last][1]) for first, last in stretches])


def paraphrase(text: str, key: object) -> str | None:
    """The text in other words and another order, with quotations unchanged.

    Outside the quotations, words of `SYNONYMS` are replaced and the statements change places. A
    capitalized word inside a statement stays, because it may be part of a name. A text with an
    unpaired mark, such as one cut off at the cap, keeps its order.

    Returns:
        The paraphrase; None if there was nothing to replace or to reorder.
    """
    changed = reordered(reworded(text), key)
    return None if changed == text else changed


def reworded(text: str, phrases: Collection[str] = SYNONYMS) -> str:
    """The text with other words for those of `phrases`, keys of `SYNONYMS`, outside quotations."""
    quoted = {place for span in quotations(text)[0] for place in range(*span)}

    def other(match: re.Match[str]) -> str:
        kept = match.start() in quoted or match[0].lower() not in phrases
        return match[0] if kept else _stand_in(match)

    return _PHRASE.sub(other, text)


def reordered(text: str, key: object) -> str:
    """The text with its statements in another order, if it has several and no unpaired mark."""
    parts = sentences(text)
    if len(parts) < 2 or unpaired_marks(text):
        return text
    other = _reordered(parts, keyed_random("paraphrase", key))
    return " ".join(_as_sentence(part) for part in other)


def sentences(text: str) -> list[str]:
    """The text cut behind each of its statements, blank ones left out."""
    masked = _masked(text, quotations(text)[0])
    cuts = [(0, 0), *(match.span() for match in _STATEMENT_END.finditer(masked))]
    ends = [*(start for start, _ in cuts[1:]), len(text)]
    parts = [text[start:end] for (_, start), end in zip(cuts, ends, strict=True)]
    return [part for part in parts if part.strip()]


def prefix(text: str, count: int, tokenizer: Any) -> str | None:
    """The first `count` tokens, decoded; None if the text has fewer.

    A token may end inside a character, which then decodes to a replacement character.
    """
    if count < 1:
        raise NlaError(f"a prefix has at least one token, not {count}")
    (ids,) = encode(tokenizer, [text])
    return decode(tokenizer, [ids[:count]])[0] if len(ids) >= count else None


def coverage(texts: list[str | None]) -> float:
    """Share of the texts to which a transform applied, in [0, 1]."""
    if not texts:
        raise NlaError("coverage of no texts")
    return sum(text is not None for text in texts) / len(texts)


def transform_all(
    texts: list[str], keys: list[str], sources: list[str]
) -> dict[str, list[str | None]]:
    """Every transform that needs no model, by name, of texts with their rows' keys and sources.

    `verbatim_*` treats only the quotations that occur in the source text.
    """
    if not len(texts) == len(keys) == len(sources):
        raise NlaError(f"{len(texts)} texts with {len(keys)} keys and {len(sources)} sources")
    quoted = list(zip(texts, map(quoted_spans, texts), keys, strict=True))
    verbatim = list(zip(texts, map(verbatim_spans, texts, sources), keys, strict=True))
    return {
        "quotes_only": [quotes_only(text) for text in texts],
        "quotes_stripped": [stripped(text, spans) for text, spans, _ in quoted],
        "random_stripped": [random_stripped(*row) for row in quoted],
        "verbatim_stripped": [stripped(text, spans) for text, spans, _ in verbatim],
        "verbatim_random_stripped": [random_stripped(*row) for row in verbatim],
        "paraphrase": [paraphrase(text, key) for text, _, key in quoted],
    }


def _without(text: str, spans: list[tuple[int, int]]) -> str | None:
    """The text without ordered disjoint spans, white space tidied; None without spans or words."""
    if not spans:
        return None
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(text)]
    kept = " ".join(" ".join(text[a:b] for a, b in zip(starts, ends, strict=True)).split())
    kept = re.sub(r"\s+(?=[,.;:!?](?:\W|$))", "", kept)
    return kept if re.search(r"\w", kept) else None


def _random_stretches(words: int, lengths: list[int], generator: Random) -> list[tuple[int, int]]:
    """First and last word of disjoint stretches, uniform over all their arrangements."""
    order = generator.sample(lengths, len(lengths))
    slots = generator.sample(range(words - sum(order) + len(order)), len(order))
    stretches, shift = [], 0
    for slot, length in zip(sorted(slots), order, strict=True):
        stretches.append((slot + shift, slot + shift + length - 1))
        shift += length - 1
    return stretches


def _masked(text: str, spans: Spans) -> str:
    """The text with the spans' characters replaced by a sign that ends no statement."""
    for start, end in spans:
        text = text[:start] + "\x00" * (end - start) + text[end:]
    return text


def _stand_in(match: re.Match[str]) -> str:
    """The replacement of a phrase; names (by their capital) are kept."""
    phrase = match[0]
    replacement = SYNONYMS[phrase.lower()]
    if phrase.islower():
        return replacement
    starts_statement = _STATEMENT_START.search(match.string[: match.start()])
    return replacement[0].upper() + replacement[1:] if starts_statement else phrase


def _reordered(statements: list[str], generator: Random) -> list[str]:
    """The statements in a random order that differs from the given one."""
    given = list(range(len(statements)))
    order = list(given)
    while order == given:
        generator.shuffle(order)
    return [statements[index] for index in order]


def _as_sentence(statement: str) -> str:
    """A statement with a capital and a full stop, since it may now stand anywhere."""
    statement = statement.strip().rstrip(".;")
    return statement[:1].upper() + statement[1:] + ("" if statement.endswith(("!", "?")) else ".")
