"""How much of an explanation is quotation: by its marks, and by comparison with the source text."""

import re
from collections.abc import Callable, Sized

from common.metrics.words import check_text, ngrams, tokens, words

Spans = list[tuple[int, int]]
"""Stretches of a text, in order: start and end of each."""

_CLOSED_BY = {'"': '"', "“": "”", "„": "“”"}
"""Opening mark → marks that may close it; a German one opens with „ and closes with “ or ”."""
_MARK = re.compile('["“”„]')
_INCH = re.compile(r'(?<=\d)"')
"""A straight mark behind a digit opens no quotation: it means inches or seconds."""
_ENDING = re.compile(r'(?<=\w)"(?!\w)|(?<=[^\s\w(\[{])"(?!\S)')
"""A straight mark in closing position: behind a word or its full stop, and before no word."""
_STARTING = re.compile(r'(?<=\s)["“]\w')
"""A mark in opening position: behind a space and before a word."""


def quotations(text: str) -> tuple[Spans, list[int]]:
    """Spans of the quotations with their marks, and the places of the marks without a partner.

    A quotation lasts to the next mark that can close it; other kinds of marks are part of it. If
    another mark of its kind opens before that, the first one is unpaired: a forgotten mark then
    spoils no later quotation.
    """
    check_text(text)
    spans: Spans = []
    unpaired: list[int] = []
    marks = [match.start() for match in _MARK.finditer(text)]
    while marks:
        first, *marks = marks
        if (last := _partner(text, first, marks)) is not None:
            spans.append((first, last + 1))
            marks = [mark for mark in marks if mark > last]
        elif not _INCH.match(text, first):
            unpaired.append(first)
    return spans, unpaired


def _partner(text: str, first: int, later: list[int]) -> int | None:
    """The mark that closes the quotation that the first one opens; None if it opens none."""
    if any(wrong.match(text, first) for wrong in (_INCH, _ENDING)):
        return None
    for mark in later:
        if text[mark] in _CLOSED_BY.get(text[first], "") and not _STARTING.match(text, mark):
            return mark
        if text[mark] == text[first]:
            return None
    return None


def unpaired_marks(text: str) -> int:
    """Number of double quotation marks that open or close nothing, without inches and seconds."""
    return len(quotations(text)[1])


def quoted_spans(text: str) -> Spans:
    """Character spans (start, end) of the quotations in `text`, without their marks.

    Blank quotations are left out.
    """
    return [
        (start + 1, end - 1)
        for start, end in quotations(text)[0]
        if text[start + 1 : end - 1].strip()
    ]


def verbatim_spans(text: str, source: str) -> Spans:
    """The quotations of at least two words that occur verbatim in `source`.

    Quotations from elsewhere, such as a word that is predicted to come next, are left out; a single
    word may occur in the source by chance.
    """
    known = " ".join(check_text(source).split())
    return [
        (start, end)
        for start, end in quoted_spans(text)
        if len(quoted := text[start:end].split()) > 1 and " ".join(quoted) in known
    ]


def quote_share(text: str, tokenize: Callable[[str], Sized] = tokens) -> float:
    """Share of the tokens of `text` that stand inside quotation marks, in [0, 1]; 0 without any.

    The marks count as tokens outside, and an unpaired mark opens nothing: see
    `unpaired_marks`. Each stretch is tokenized by itself, so that no token of a subword tokenizer
    straddles a mark; the default counts words and punctuation marks.
    """
    inside = outside = previous = 0
    for start, end in quoted_spans(text):
        outside += len(tokenize(text[previous:start]))
        inside += len(tokenize(text[start:end]))
        previous = end
    outside += len(tokenize(text[previous:]))
    return inside / max(inside + outside, 1)


def verbatim_ngram_share(explanation: str, source: str, n: int = 4) -> float:
    """Share of the explanation's word n-grams that stand verbatim in the source, in [0, 1].

    Case is folded and punctuation ignored; an explanation of fewer than n words has share 0.
    """
    found = ngrams(words(explanation), n)
    known = set(ngrams(words(source), n))
    return sum(ngram in known for ngram in found) / max(len(found), 1)


def longest_common_substring(a: str, b: str) -> int:
    """Length in characters of the longest string that stands in both, case-sensitive."""
    length, whole = 0, check_text(b)
    for end in range(1, len(check_text(a)) + 1):
        if a[end - length - 1 : end] in whole:
            length += 1
    return length
