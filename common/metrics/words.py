"""The words of an explanation, for every metric that counts words: independent of any tokenizer."""

import re

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese, Japanese
)
"""Scripts that put no space between words, for a regular expression's `[...]`."""
SPACED = rf"[^\W{UNSPACED}]+"
SIGN = rf"(?=\w)[{UNSPACED}]"
"""Of a script without spaces every sign counts as a word: where words end takes a dictionary."""
_WORD = re.compile(rf"{SIGN}|{SPACED}(?:['\u2019]{SPACED})*")
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
