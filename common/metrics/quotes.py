"""How much of an explanation is quotation: by its marks, and by comparison with the source text."""

import re
from collections.abc import Callable, Sized

from common.metrics.words import check_text, ngrams, tokens, words

QUOTED = re.compile(r'"[^"]*"|“[^“”]*”')
"""A quotation with its marks, straight or curly; an opening mark that nothing closes is none."""


def quoted_spans(text: str) -> list[tuple[int, int]]:
    """Character spans (start, end) of the quotations in `text`, without their marks.

    Blank quotations are left out.
    """
    return [
        (match.start() + 1, match.end() - 1)
        for match in QUOTED.finditer(check_text(text))
        if match[0][1:-1].strip()
    ]


def verbatim_spans(text: str, source: str) -> list[tuple[int, int]]:
    """Those quotations of at least two words that stand verbatim in `source`.

    What an explanation quotes from elsewhere, such as a word that is predicted to come next, is
    left out; one word may stand in the source by chance.
    """
    known = " ".join(check_text(source).split())
    return [
        (start, end)
        for start, end in quoted_spans(text)
        if len(quoted := text[start:end].split()) > 1 and " ".join(quoted) in known
    ]


def quote_share(text: str, tokenize: Callable[[str], Sized] = tokens) -> float:
    """Share of the tokens of `text` that stand inside quotation marks, in [0, 1]; 0 without any.

    The marks count as tokens outside; a straight mark that is left open reaches to the end, so that
    to forget a mark is not to quote less. Each stretch is tokenized by itself, so that no token of
    a subword tokenizer straddles a mark; the default counts words and punctuation marks.
    """
    inside = outside = previous = 0
    if check_text(text).count('"') % 2:
        text += '"'
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
