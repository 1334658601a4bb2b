"""What an explanation says, part by part: what somebody finds in it who follows a chart."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from common.evaluation.statements import NEXT, SYNTAX, TOPIC, Outline, outline
from common.metrics.quotes import quoted_spans
from common.metrics.words import words

_LEAD = re.compile(r"^(?:syntax:|here|in the)\s+")
_END = " .,;:"


class Said(NamedTuple):
    """The parts of one explanation; a part that it lacks is empty."""

    text: str
    ending: tuple[str, ...] = ()
    """Words of the quotation that claims to be the source text's end, the last one first, as they
    are written (with their punctuation)."""
    following: tuple[str, ...] = ()
    """What is quoted in statements on next tokens."""
    topic: str = ""
    """Of the statement on the topic, what stands before the colon."""
    title: tuple[str, ...] = ()
    """Words of that statement behind the colon."""
    syntax: tuple[str, ...] = ()
    """Phrases of the statement on the place in the sentence: `after a name`, `second sentence`."""
    words: frozenset[str] = frozenset()
    """All words outside of that first quotation, case folded."""


@lru_cache(maxsize=65536)
def said(text: str) -> Said:
    """The parts of an explanation in any format; a text without known phrases has only words."""
    parts = outline(text)
    topic, _, about = _statement(parts, TOPIC).rpartition(":")
    start, end = parts.ending or (0, 0)
    return Said(
        text,
        ending=tuple(reversed(parts.ending_words.split())),
        following=tuple(_following(parts)),
        topic=_last_words(topic or about),
        title=tuple(words(about)) if topic else (),
        syntax=tuple(_phrases(_statement(parts, SYNTAX))),
        words=frozenset(words(f"{text[:start]} {text[end:]}")),
    )


def said_all(texts: Sequence[str]) -> list[Said]:
    """The parts of each explanation."""
    return [said(text) for text in texts]


Part = Callable[[Said], Sequence[str]]
"""The words of an explanation that a box looks at, in the order of their weight."""


def nth_of_ending(place: int) -> Part:
    """The quoted word at a place, 0 for the last one; nothing in a shorter quotation."""
    return lambda one: one.ending[place : place + 1]


PARTS: dict[str, Part] = {
    "the last quoted word": nth_of_ending(0),
    "the quoted word before it": nth_of_ending(1),
    "the third last quoted word": nth_of_ending(2),
    "the quoted next words": lambda one: one.following,
    "the topic": lambda one: (one.topic,) if one.topic else (),
    "the words of the title": lambda one: one.title,
    "the place in the sentence": lambda one: one.syntax,
}


def _statement(parts: Outline, kind: str) -> str:
    span = parts.of_kind(kind)
    return parts.text[slice(*span)].strip(_END) if span else ""


def _following(parts: Outline) -> list[str]:
    spans = [(start, end) for kind, start, end in parts.statements if kind == NEXT]
    quoted = [parts.text[start:end] for start, end in spans]
    return [text[a:b].strip() for text in quoted for a, b in quoted_spans(text)]


def _last_words(phrase: str) -> str:
    """`Text on everyday life` → `everyday life`: what is behind the phrase's opening."""
    found = re.sub(r"^(?:text on|text about|topic|on|about|subject)\s+", "", phrase.casefold())
    return found.strip(_END)


def _phrases(statement: str) -> list[str]:
    parts = [_LEAD.sub("", part.strip(_END)) for part in statement.casefold().split(",")]
    return [part for part in parts if part]
