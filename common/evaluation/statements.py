"""The statements of an explanation, by kind: what it quotes, expects, is about.

The offline teacher's phrases are known from its own list; any other text is cut into sentences.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from common.data import offline_teacher, unquoted
from common.metrics.quotes import Spans, quotations

QUOTE, END, NEXT, TOPIC = "quote", "end", "next", "topic"
SYNTAX, OTHER = "syntax", "other"

FORMATS: tuple[Mapping[str, Sequence[str]], ...] = (
    offline_teacher.PHRASES,
    unquoted.PHRASES,
)
"""Phrases of the offline formats, by name."""
KINDS = {
    "quote": QUOTE,
    **dict.fromkeys(("end", "end_behind"), END),
    **dict.fromkeys(("surely", "probably", "perhaps", "open", "guess"), NEXT),
    **dict.fromkeys(("topic", "subject", "salient"), TOPIC),
    "syntax": SYNTAX,
}
"""Name of phrases in `FORMATS` → kind of the statements that they make; `END` describes words."""

_FIELD = re.compile(r"\{(\w+)\}")
_NEXT_TOKEN = r'(?:"[^"]*"|[^"]{1,16}?)'
_FIELDS = {"quote": '[^"]*', **dict.fromkeys(("first", "second", "third"), _NEXT_TOKEN)}
_WITHIN = r'[^".:;]{1,80}?'
"""Any other field; at the end of a phrase it lasts as long as the statement."""
_EXPECTS = re.compile(
    r"^(?:almost surely|surely|probably|perhaps|possibly|likely)\b"
    r"|\b(?:next|follow(?:s|ed|ing)?|continues?|goes? on)\b",
    re.IGNORECASE,
)
"""What stands beside a quotation in a statement on next tokens in words of its own."""
_SENTENCE_END = re.compile(
    r"(?<=[\w)\]\x00]{3}[.!?])\s+(?=[^\sa-z\d])"
    r"|(?<=;)\s+(?=(?:almost surely|surely|probably|perhaps|possibly|likely|next)\b)"
)
"""Three characters before a full stop and no small letter behind it: "Dr." ends no statement."""
_OPENS = re.compile(r'(?<![^\s(\[])["“„](?=\S)')
_MARK = re.compile('["“”„]')


def _pattern(phrase: str) -> str:
    """A regular expression for a phrase with any words in its fields, or for its beginning."""
    *parts, last = _FIELD.split(phrase.rstrip('."'))
    literals = [re.escape(part) for part in parts[::2]]
    fields = [_FIELDS.get(name, _WITHIN) for name in parts[1::2]]
    if not last and _FIELDS.get(parts[-1]) is None:
        fields[-1] = ".+?"
    pairs = zip(literals, fields, strict=True)
    return "".join(literal + field for literal, field in pairs) + re.escape(last)


_KNOWN = [
    (KINDS.get(name, OTHER), re.compile(_pattern(phrase), re.DOTALL))
    for phrases in FORMATS
    for name, templates in phrases.items()
    for phrase in templates
]
_KNOWN_START = re.compile(
    rf"(?:(?<=[.!?])|(?<=[.!?][\"”]))\s+(?={'|'.join(pattern.pattern for _, pattern in _KNOWN)})",
    re.DOTALL,
)


class Statement(NamedTuple):
    """A stretch of an explanation: its kind, its first character, its last one plus 1."""

    kind: str
    start: int
    end: int


class Outline(NamedTuple):
    """An explanation in its parts."""

    text: str
    statements: list[Statement]
    quotations: Spans
    """Start and end, without marks, of what is quoted outside of statements on next tokens."""

    @property
    def ending(self) -> tuple[int, int] | None:
        """The quotation that claims to be the source text's end: the first one; None without."""
        return self.quotations[0] if self.quotations else None

    @property
    def ending_words(self) -> str:
        """The text of `ending`, empty without."""
        return self.text[slice(*self.ending)] if self.ending else ""

    @property
    def quoted(self) -> list[str]:
        """The texts of `quotations`."""
        return [self.text[start:end] for start, end in self.quotations]

    def of_kind(self, kind: str) -> tuple[int, int] | None:
        """Span of the first statement of a kind, with those of this kind directly behind it."""
        places = [place for place, one in enumerate(self.statements) if one.kind == kind]
        if not places:
            return None
        last = next(place for place in places if place + 1 not in places)
        return self.statements[places[0]].start, self.statements[last].end


@lru_cache(maxsize=8192)
def outline(text: str) -> Outline:
    """An explanation cut into statements.

    A statement begins with a phrase of `FORMATS` behind a full stop, or is a sentence. A quotation
    that is not closed, as in a text cut off at the cap, lasts to the next statement with a known
    phrase, the next mark, or the end.
    """
    quoted = _quoted(text)
    masked = _masked(text, quoted)
    starts = {0, *(match.end() for match in _SENTENCE_END.finditer(masked)), *_known_starts(text)}
    starts -= {place for start, end in quoted for place in range(start + 1, end)}
    statements: list[Statement] = []
    for start, end in zip(sorted(starts), [*sorted(starts)[1:], len(text)], strict=True):
        if words := text[start:end].strip():
            first = text.index(words, start)
            known = {one.kind for one in statements}
            kind = _kind(words, masked[first : first + len(words)], known)
            statements.append(Statement(kind, first, first + len(words)))
    return Outline(text, statements, _outside_next(text, statements, quoted))


def _masked(text: str, quoted: Spans) -> str:
    """The text with other signs in place of quotations, but for a full stop at the end of one."""
    for start, end in quoted:
        stops = text[end - 2] in ".!?" and end - start > 2
        mask = "\x00" * (end - start - stops) + "." * stops
        text = text[:start] + mask + text[end:]
    return text


def _known_starts(text: str) -> list[int]:
    """Places behind a full stop where a phrase of `FORMATS` begins."""
    return [match.end() for match in _KNOWN_START.finditer(text)]


def _quoted(text: str) -> Spans:
    """Spans of all quotations with their marks; one that is not closed has one mark."""
    closed, unpaired = quotations(text)
    starts, marks = _known_starts(text), [match.start() for match in _MARK.finditer(text)]
    opened = [
        (mark, min(place for place in (*starts, *marks, len(text)) if place > mark))
        for mark in unpaired
        if _OPENS.match(text, mark)
    ]
    return sorted([*closed, *opened])


def _kind(words: str, masked: str, known: set[str]) -> str:
    """Kind of a statement; `masked` has other signs in place of quotations, `known` came before."""
    for kind, pattern in _KNOWN:
        if pattern.match(words):
            return kind
    if "\x00" not in masked:
        return OTHER
    if _EXPECTS.search(masked):
        return NEXT
    return OTHER if QUOTE in known else QUOTE


def _outside_next(text: str, statements: list[Statement], quoted: Spans) -> Spans:
    """Quotations without marks and blanks around them, but for those on next tokens."""
    expected = [(start, end) for kind, start, end in statements if kind == NEXT]
    found = []
    for start, end in quoted:
        is_closed = end - start > 1 and _MARK.match(text, end - 1)
        inner = text[start + 1 : end - bool(is_closed)]
        if inner.strip() and not any(first <= start < last for first, last in expected):
            begin = start + 1 + len(inner) - len(inner.lstrip())
            found.append((begin, begin + len(inner.strip())))
    return found
