"""What is known about positions: facts that an explanation may tell, whoever wrote it."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from common.data import syntax
from common.data.corpus import load_corpus
from common.data.offline_teacher import shown_token
from common.metrics.words import words
from common.schema import DOC_ID, KEY, NEXT_TOKENS, TEXT, TITLE, TOKEN_IDS, TOPIC
from common.trunk.artefacts import Trunk

_CLASSES = {
    "article": syntax.ARTICLES,
    "preposition": syntax.PREPOSITIONS,
    "conjunction": syntax.CONJUNCTIONS,
    "determiner": syntax.DETERMINERS,
    "auxiliary": syntax.AUXILIARIES,
    "pronoun": syntax.PRONOUNS,
    "connective": syntax.CONNECTIVES,
}


COPIED = 4
"""How many last words of a text an explanation may copy without naming anything."""


class Known(NamedTuple):
    """Facts of one position; None, or no tokens, where a fact is not known."""

    doc_id: str
    text: str
    """The source text up to the position."""
    next_tokens: tuple[str, ...] = ()
    """What the target expects, the most probable token first, with the space before it."""
    title: str | None = None
    topic: str | None = None

    @property
    def ending(self) -> frozenset[str]:
        """The last words of the text, which an explanation may have copied; case folded."""
        return frozenset(words(self.text)[-COPIED:])

    @property
    def syntax(self) -> str:
        """Where in its sentence the text stops: a phrase of common/data/syntax.py."""
        return syntax.state(self.text, self.next_tokens[0] if self.next_tokens else "")

    @property
    def ordinal(self) -> str:
        """Which sentence of the text is its last one."""
        return syntax.ordinal(self.text)

    @property
    def next_class(self) -> str | None:
        """Class of the most probable next token."""
        return word_class(self.text, self.next_tokens[0]) if self.next_tokens else None


def known_of(trunk: Trunk, keys: Sequence[str]) -> tuple[list[Known], list[list[int]]]:
    """The facts of some activations, and the token ids of their texts, in the order of the keys.

    A topic `Uncategorized` is none.
    """
    corpus = load_corpus(trunk.places.corpus).select(DOC_ID, TITLE, TOPIC)
    columns = [KEY, DOC_ID, TEXT, NEXT_TOKENS, TOKEN_IDS]
    table = trunk.activations(columns=columns).filter(pl.col(KEY).is_in(list(keys)))
    rows = {row[KEY]: row for row in table.join(corpus, on=DOC_ID, how="left").to_dicts()}
    known = [_known(rows[key]) for key in keys]
    return known, [rows[key][TOKEN_IDS] for key in keys]


def _known(row: dict) -> Known:
    topic = (row[TOPIC] or "").lower()
    topic = None if topic in ("", "uncategorized") else topic
    return Known(row[DOC_ID], row[TEXT], tuple(row[NEXT_TOKENS]), row[TITLE] or None, topic)


def word_class(text: str, token: str) -> str:
    """Class of a token behind a text.

    `rest of a word`, a kind of function word, `name` (with a capital), `number`, `content word`,
    `punctuation`, or `no sign`: white space, the end, a piece of a character.
    """
    bare = token.strip()
    if not shown_token(token).startswith('"'):
        return "no sign"
    if not words(bare):
        return "punctuation"
    if bare[0].isdigit():
        return "number"
    if syntax.is_inside_word(text, token):
        return "rest of a word"
    for name, members in _CLASSES.items():
        if bare.lower() in members:
            return name
    return "name" if bare[0].isupper() else "content word"
