"""Text from outside (a corpus, an API): invisible and unstorable characters are removed."""

import re
import unicodedata

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # control characters, except white space
    "\u00ad\u200b\u2060\ufeff"  # hyphens and spaces of zero width
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions of writing
    "\ud800-\udfff\ufffe\uffff]"  # halves of a character, and code points that are none
)


def visible(text: str) -> str:
    """The text as NFC without invisible characters; white space is left unchanged."""
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
