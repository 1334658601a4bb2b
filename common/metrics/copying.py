"""How much of an explanation is copied from the source text, counted in words.

Case is folded and punctuation ignored. A source that ends in a punctuation mark ends, for these
measures, in the word before it; one that ends inside a word ends in that piece, which a quotation
must give as it is: `photosynthesis` does not match `photosynth`.
"""

from collections.abc import Sequence

from common.metrics.words import words


def matched_suffix(quotation: str, source: str) -> int:
    """How many of the source's last words the quotation ends in; 0 if either has no word.

    Never more than either has, so a source of one word is never matched in two.
    """
    count = 0
    for own, true in zip(reversed(words(quotation)), reversed(words(source)), strict=False):
        if own != true:
            break
        count += 1
    return count


def longest_run(explanation: str, source: str) -> int:
    """Length in words of the longest run of consecutive source words in the explanation."""
    found, known, length = words(explanation), _spaced(words(source)), 0
    for end in range(1, len(found) + 1):
        if end > length and _spaced(found[end - length - 1 : end]) in known:
            length += 1
    return length


def invented_share(quotations: Sequence[str], source: str) -> float:
    """Share of the quoted words whose quotation is no run of source words, in [0, 1].

    A quotation counts as a whole: one wrong word makes all of its words invented. One of several
    words may begin inside a source word, as tokens do. 0 where nothing is quoted.
    """
    known, quoted = _spaced(words(source)), list(map(words, quotations))
    invented = [found for found in quoted if _spaced(found)[len(found) > 1 :] not in known]
    return sum(map(len, invented)) / max(sum(map(len, quoted)), 1)


def _spaced(found: Sequence[str]) -> str:
    """Words between spaces, so that one run is part of another only at the borders of words."""
    return f" {' '.join(found)} "
