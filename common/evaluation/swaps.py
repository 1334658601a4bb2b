"""Explanations of which one part is exchanged for that of another document's explanation.

Unlike a text with a hole, such a text reads like those that an AR has seen. The loss under a swap
says how much the AR draws from that part.
"""

from collections.abc import Callable, Sequence

from common.evaluation.statements import NEXT, OTHER, TOPIC, Outline, outline
from common.metrics.quotes import Spans
from common.metrics.words import PIECE, words
from common.seeding import keyed_random

Part = Callable[[Outline, str], Spans]
"""Spans of a part in an explanation that has a key: always as many, or none where it has none."""


def swaps(
    texts: Sequence[str], keys: Sequence[str], doc_ids: Sequence[str]
) -> dict[str, list[str | None]]:
    """Every text with one part from another document's text, by name of the swap.

    The part is that of the first row in which it is another one, beginning half of the documents
    further on, where `shuffled` takes its texts from. None where a text lacks the part, or no row
    has another one.
    """
    outlines = [outline(text) for text in texts]
    found = {}
    for name, part in PARTS.items():
        spans = [part(*one) for one in zip(outlines, keys, strict=True)]
        parts = [_cut(*one) for one in zip(texts, spans, strict=True)]
        givers = _givers(parts, doc_ids)
        found[name] = [
            None if giver is None else _with(text, own, parts[giver])
            for text, own, giver in zip(texts, spans, givers, strict=True)
        ]
    return found


def _last_word(parts: Outline, key: str) -> Spans:
    """The last word of the quotation that claims to be the source text's end."""
    if not parts.ending:
        return []
    pieces = PIECE.finditer(parts.text, *parts.ending)
    return [piece.span() for piece in pieces if words(piece[0])][-1:]


def _quote(parts: Outline, key: str) -> Spans:
    return [parts.ending] if parts.ending else []


def _all_but_quote(parts: Outline, key: str) -> Spans:
    """What stands before and behind that quotation."""
    if not parts.ending:
        return []
    start, end = parts.ending
    return [(0, start), (end, len(parts.text))]


def _topic(parts: Outline, key: str) -> Spans:
    return [span] if (span := parts.of_kind(TOPIC)) else []


def _next(parts: Outline, key: str) -> Spans:
    return [span] if (span := parts.of_kind(NEXT)) else []


def _sentence(parts: Outline, key: str) -> Spans:
    """One of several sentences, drawn by key, where there is no quotation and no known phrase."""
    plain = not parts.quotations and all(kind == OTHER for kind, _, _ in parts.statements)
    if not plain or len(parts.statements) < 2:
        return []
    drawn = keyed_random("swap_sentence", key).choice(parts.statements)
    return [(drawn.start, drawn.end)]


PARTS: dict[str, Part] = {
    "swap_last_word": _last_word,
    "swap_quote": _quote,
    "swap_all_but_quote": _all_but_quote,
    "swap_topic": _topic,
    "swap_next": _next,
    "swap_sentence": _sentence,
}


def _givers(parts: Sequence[list[str]], doc_ids: Sequence[str]) -> list[int | None]:
    """For each row the row that its part comes from."""
    order = sorted(range(len(parts)), key=lambda row: (doc_ids[row], row))
    folded = [[" ".join(one.casefold().split()) for one in part] for part in parts]
    givers: list[int | None] = [None] * len(parts)
    for place, row in enumerate(order):
        first = place + len(order) // 2
        following = (order[(first + step) % len(order)] for step in range(len(order)))
        if parts[row]:
            fitting = (
                other
                for other in following
                if parts[other] and folded[other] != folded[row] and doc_ids[other] != doc_ids[row]
            )
            givers[row] = next(fitting, None)
    return givers


def _cut(text: str, spans: Spans) -> list[str]:
    return [text[start:end] for start, end in spans]


def _with(text: str, spans: Spans, parts: Sequence[str]) -> str:
    """The text with other parts in its spans."""
    for (start, end), part in reversed([*zip(spans, parts, strict=True)]):
        text = text[:start] + part + text[end:]
    return text
