"""What kind of word or sign a text ends in, in words that do not name it."""

import re
from typing import NamedTuple

from common.data import syntax

PIECE = re.compile(
    r"\d(?:[\d.,]*\d)?(?:st|nd|rd|th|s)?(?![^\W_])|[^\W_]+(?:['\u2019][^\W\d_]+)*|\S"
)
"""A number, a word (a part of it between hyphens), or a sign."""
MARKS = {
    ",": "comma",
    ".": "full stop",
    ";": "semicolon",
    ":": "colon",
    "(": "opening parenthesis",
    ")": "closing parenthesis",
    "[": "opening bracket",
    "]": "closing bracket",
    "-": "hyphen",
    "\u2013": "dash",
    "\u2014": "dash",
    "'": "apostrophe",
    "\u2019": "apostrophe",
    '"': "quotation mark",
    "\u201c": "quotation mark",
    "\u201d": "quotation mark",
    "%": "percent sign",
    "$": "currency sign",
    "?": "question mark",
    "!": "exclamation mark",
    "/": "slash",
}
_SENSES = {
    "preposition": {
        "belonging": "of",
        "inner place": "in within inside",
        "point": "at",
        "surface": "on upon",
        "upper place": "over above",
        "lower place": "under below",
        "middle place": "between among",
        "close place": "near beside",
        "far place": "behind beyond",
        "path": "through across along around throughout via",
        "goal": "to into toward towards",
        "origin": "from since",
        "limit": "until",
        "purpose": "for",
        "company": "with",
        "lack": "without",
        "agent": "by",
        "role": "as",
        "comparison": "like than per",
        "later time": "after",
        "earlier time": "before",
        "time span": "during",
        "opposition": "against",
        "theme": "about",
    },
    "article": {"definite": "the", "indefinite": "a an"},
    "determiner": {
        "pointing": "this that these those",
        "owner": "its his her their our your my",
        "whole": "all both each every",
        "negative": "no",
        "amount": "some any several most more many few",
        "sorting": "other another such",
    },
    "conjunction": {"adding": "and", "choosing": "or nor", "contrasting": "but yet"},
    "connective": {
        "relative": "which who whom whose what",
        "spatial": "where",
        "temporal": "when while then",
        "causal": "because so therefore thus why",
        "conditional": "if whether unless",
        "conceding": "although though whereas however",
        "manner": "how",
        "adding": "also",
    },
    "pronoun": {
        "thing": "it itself",
        "male": "he him himself",
        "female": "she",
        "plural": "they them themselves we us you",
        "speaker's": "i",
        "existential": "there",
    },
    "auxiliary": {
        "present": "is are am",
        "past": "was were",
        "infinitive": "be do have",
        "participle": "been being",
        "perfect": "has had",
        "emphatic": "does did",
        "possible": "can could may might",
        "future": "will would shall",
        "duty": "should must",
        "negating": "not",
    },
}
GLOSSES = {
    word: f"{sense} {kind}"
    for kind, senses in _SENSES.items()
    for sense, listing in senses.items()
    for word in listing.split()
}
"""Function word → its class and meaning."""
COUNTS = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen"),
)
_ENDINGS = {"ing": "-ing form", "ed": "past form", "ly": "adverb"}


class Piece(NamedTuple):
    """A word or sign at the end of a text."""

    text: str
    """As it is written."""
    kind: str
    """What it is: a gloss, the name of a sign, or the class of a word."""
    is_content: bool
    """Whether it is a word with a meaning of its own."""


def last_pieces(text: str, count: int) -> list[Piece]:
    """The last words and signs of a text, in order."""
    pieces = [
        _piece(part, is_first=not place)
        for sentence in syntax.sentences(text)[-2:]
        for place, part in enumerate(PIECE.findall(sentence))
    ]
    return pieces[-count:]


def length(text: str) -> str:
    """How long a word or number is, in words."""
    unit = "digit" if text[0].isdigit() else "letter"
    count = sum(sign.isalnum() for sign in text)
    return f"{_count(count)} {unit}{'s' * (count > 1)}"


def _piece(text: str, is_first: bool) -> Piece:
    if gloss := GLOSSES.get(text.lower()):
        return Piece(text, gloss, False)
    if text[0].isdigit():
        return Piece(text, _number(text), False)
    if not text[0].isalpha():
        return Piece(text, MARKS.get(text, "rare sign"), False)
    if text[0].isupper() and not is_first:
        return Piece(text, "name", True)
    for ending, kind in _ENDINGS.items():
        if text.endswith(ending) and len(text) > len(ending) + 2:
            return Piece(text, kind, True)
    return Piece(text, "word", True)


def _number(text: str) -> str:
    if year := re.fullmatch(r"(1\d|20)(\d\d)(s?)", text):
        if year[3]:
            return "decade"
        part = ("early", "middle", "late")[int(year[2]) // 34]
        return f"{part} {int(year[1]) + 1}th-century year"
    if text[-1].isalpha():
        return "ordinal number"
    return f"{_count(sum(sign.isdigit() for sign in text))}-digit number"


def _count(number: int) -> str:
    return COUNTS[number] if number < len(COUNTS) else "many"
