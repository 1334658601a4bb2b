"""A teacher that does not quote: the facts of the offline teacher, the last words described.

Class, meaning and length of the last word, and class and meaning of the last word with a meaning of
its own before it; everything else is the offline teacher's. No statement holds the last word, if it
has a meaning of its own, or two words that follow one another at the end of the text.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from random import Random
from typing import Any

import polars as pl

from common.data.corpus import load_corpus
from common.data.near_words import NearWords
from common.data.offline_teacher import (
    joined,
    next_statement,
    subject_statements,
    syntax_statement,
)
from common.data.syntax import is_inside_word
from common.data.word_classes import GLOSSES, Piece, last_pieces, length
from common.paths import TrunkPlaces
from common.schema import (
    DESCRIPTION,
    DOC_ID,
    NEXT_PROBS,
    NEXT_TOKENS,
    POSITION,
    SPLIT,
    TEXT,
    TITLE,
    TOPIC,
    TRAINING_SPLITS,
)
from common.seeding import keyed_random
from common.target.load import load_target

LAST_PIECES = 10
"""Words and signs at the end that count as what another teacher would quote."""
PHRASES = {
    "end": ("Ends with {last}.", "The text stops at {last}.", "Last comes {last}."),
    "end_behind": (
        "Ends with {last}, behind {before}.",
        "The text stops at {last}, behind {before}.",
        "Last comes {last}, preceded by {before}.",
    ),
}
"""Of the statement that stands in the place of the quotation."""
DRAWS = 8
"""How often a statement is phrased again that holds words of the end, such as `in the`."""
FACTS = (TITLE, DESCRIPTION, TOPIC)
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


class End:
    """The end of a text, and whether a statement holds words of it."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        """`row` as for `compose`."""
        text, tokens = row[TEXT], row[NEXT_TOKENS]
        self.pieces = last_pieces(text, LAST_PIECES)
        self.is_unfinished = is_inside_word(text, tokens[0] if tokens else "")
        words = _words(" ".join(piece.text for piece in self.pieces))
        self.runs = set(pairwise(words))
        last = _words(self.pieces[-1].text) if self.pieces else []
        self.last = last[0] if len(last) == 1 else ""

    def spares(self, statement: str) -> bool:
        """Whether it holds no two words of the end in a row, and not the last one.

        A function word may stand in it: hardly a sentence could do without.
        """
        words = _words(statement)
        is_told = self.last in words and self.last not in GLOSSES
        return not is_told and self.runs.isdisjoint(pairwise(words))

    def spared(self, phrased: Callable[[], list[str]]) -> list[str]:
        """Statements without words of the end; what holds them in every phrasing is left out."""
        found: list[str] = []
        for _ in range(DRAWS):
            found = phrased()
            if all(map(self.spares, found)):
                break
        return [one for one in found if self.spares(one)]

    def without(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row without the facts that hold words of the end, and with a text without the last."""
        facts = {name: row.get(name) or "" for name in FACTS}
        kept = {name: fact if self.spares(fact) else None for name, fact in facts.items()}
        if not self.last or self.last in GLOSSES:
            return {**row, **kept}
        others = re.sub(rf"\b{re.escape(self.last)}\b", "", row[TEXT], flags=re.IGNORECASE)
        return {**row, **kept, TEXT: others}

    def is_new(self, token: str) -> bool:
        """Whether a token does not repeat the last word, whatever it is."""
        return self.last not in _words(token)


class Unquoted:
    """Writes an explanation of a row, given the tokenizer; deterministic, as `compose` is."""

    def __init__(self, places: TrunkPlaces) -> None:
        """Reads the training documents and the target's embeddings."""
        corpus = load_corpus(places.corpus).filter(pl.col(SPLIT).is_in(TRAINING_SPLITS))
        target = load_target(places.target)
        embeddings = target.model.get_input_embeddings().weight.detach()
        self.words = NearWords(corpus[TEXT].to_list(), target.tokenizer, embeddings)

    def __call__(self, row: Mapping[str, Any], tokenizer: Any) -> str:
        """2 to 4 statements; a fact or statement that would hold words of the end is left out."""
        random, end = keyed_random("explanation", row[DOC_ID], row[POSITION]), End(row)
        pairs = zip(row[NEXT_TOKENS], row[NEXT_PROBS], strict=True)
        after = [(token, prob) for token, prob in pairs if end.is_new(token)]
        tokens, probs = [token for token, _ in after], [prob for _, prob in after]
        told = end.without(row)
        statements = [
            *self._end_statement(end, random),
            *end.spared(lambda: next_statement(tokens, probs, random)),
            *end.spared(lambda: subject_statements(told, random)),
            *end.spared(lambda: [syntax_statement(row, random)]),
        ]
        kept: list[str] = []
        for one in statements:  # two words may also meet where two statements do
            kept += [one] if end.spares(" ".join([*kept, one])) else []
        return joined(kept, tokenizer)

    def _end_statement(self, end: End, random: Random) -> Iterator[str]:
        """The first phrasing without the last word; none where each would hold it."""
        if not end.pieces:
            return iter(())
        known = [piece.text for piece in end.pieces if piece.is_content]
        behind = [piece for piece in end.pieces[:-1] if piece.is_content]
        words = {"last": self._last(end, known)}
        phrases = random.sample(PHRASES["end"], len(PHRASES["end"]))
        if behind:
            words["before"] = self._described(behind[-1], known)
            phrases = random.sample(PHRASES["end_behind"], len(PHRASES["end_behind"])) + phrases
        found = [phrase.format(**words) for phrase in phrases]
        if end.last in ("a", "an"):
            found = [re.sub(r"\ban? ", "", one) for one in found]
        return islice((one for one in found if end.is_new(one) and end.spares(one)), 1)

    def _last(self, end: End, known: Sequence[str]) -> str:
        piece = end.pieces[-1]
        if end.is_unfinished:
            kind = piece.kind if piece.kind == "name" else "word"
            kind = "number" if piece.text[0].isdigit() else kind
            return f"an unfinished {kind}, so far {length(piece.text)}"
        said = self._described(piece, known)
        return f"{said}, {length(piece.text)}" if piece.is_content else said

    def _described(self, piece: Piece, known: Sequence[str]) -> str:
        """Its kind, and a common word of similar meaning that is none of the end."""
        kind = piece.kind
        if piece.is_content:
            near = self.words.near(piece.text, known)
            kind = f"{kind} like {near}" if near else f"rare {kind}"
        return f"{'an' if re.match(r'(?!one)[aeiou-]', kind) else 'a'} {kind}"


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
