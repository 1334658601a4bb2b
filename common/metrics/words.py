"""The words of an explanation, for every metric that counts words: independent of any tokenizer."""

import re

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
PIECE = re.compile(rf"{_WORD.pattern}|[^\w\s]")
"""A word or a single punctuation mark."""


def words(text: str) -> list[str]:
    """Words without punctuation, case folded."""
    return _WORD.findall(text.casefold())


def tokens(text: str) -> list[str]:
    """Words and single punctuation marks, in order."""
    return PIECE.findall(text)


def ngrams(items: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n consecutive items, with repetitions; none where there are fewer than n."""
    return list(zip(*(items[offset:] for offset in range(n)), strict=False))
