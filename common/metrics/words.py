"""The words of an explanation, for every metric that counts words: independent of any tokenizer."""

import re

from common.errors import NlaError

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese, Japanese
)
"""Scripts that put no space between words, for a regular expression's `[...]`."""
SPACED = rf"[^\W{UNSPACED}]+"
SIGN = rf"(?=\w)[{UNSPACED}]"
"""In a script without spaces every sign counts as a word: finding words would need a dictionary."""
_WORD = re.compile(rf"{SIGN}|{SPACED}(?:['\u2019]{SPACED})*")
PIECE = re.compile(rf"{_WORD.pattern}|[^\w\s]")
"""A word or a single punctuation mark."""


def words(text: str) -> list[str]:
    """Words without punctuation, case folded."""
    return _WORD.findall(check_text(text).casefold())


def tokens(text: str) -> list[str]:
    """Words and single punctuation marks, in order."""
    return PIECE.findall(check_text(text))


def ngrams(items: list[str], n: int) -> list[tuple[str, ...]]:
    """All sequences of n consecutive items, with repetitions; empty if there are fewer than n."""
    if n < 1:
        raise NlaError(f"runs of {n} words", remedy="count at least one")
    return list(zip(*(items[offset:] for offset in range(n)), strict=False))


def check_text(text: str) -> str:
    """The text itself; NlaError for None, which marks a transform that was not applied."""
    if not isinstance(text, str):
        remedy = "drop and count the rows where a transform was not applied"
        raise NlaError(f"{text!r} is no text", remedy=remedy)
    return text
