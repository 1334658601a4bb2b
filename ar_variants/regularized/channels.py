"""Between AV and AR: texts that arrive with words missing, hidden, or said in another way.

Every channel is a small class with a strength; any experiment can put one between its AV and AR
(`PolicyContext.channel`), or before the AR that it trains. What arrives depends on text and key
alone, and some of a text always arrives. An empty text stays empty.
"""

from collections.abc import Callable, Sequence
from random import Random

from common.evaluation.synonyms import SYNONYMS
from common.evaluation.transforms import reordered, reworded, sentences
from common.metrics.quotes import quotations
from common.metrics.words import words
from common.seeding import keyed_fraction, keyed_random
from common.training.context import Channel

HIDDEN = "…"
"""In place of what a mask hides."""
SEEN_PHRASES = frozenset(phrase for phrase in SYNONYMS if keyed_fraction("synonyms", phrase) < 0.5)
"""The phrases that `Paraphrase` replaces; the other ones are for tests alone."""


class TextChannel:
    """Changes each text, by draws of its key."""

    def __init__(self, strength: float) -> None:
        """`strength`, in [0, 1]: see the subclass."""
        self.strength = strength

    def change(self, text: str, random: Random) -> str:
        """A text as it arrives; `random` is for this text and its key alone."""
        raise NotImplementedError

    def __call__(self, texts: list[str], keys: Sequence[str]) -> list[str]:
        """As many texts as there were; those of no word arrive as they are."""
        return [
            self.change(text, keyed_random(type(self).__name__, key, text)) if words(text) else text
            for text, key in zip(texts, keys, strict=True)
        ]


class WordDropout(TextChannel):
    """Every word is lost with the probability `strength`, but never all of them."""

    def change(self, text: str, random: Random) -> str:
        """Words are what stands between spaces, with their punctuation marks."""
        pieces = text.split(" ")
        draws = [random.random() for _ in pieces]
        most = max(zip(draws, pieces, strict=True), key=lambda one: (bool(words(one[1])), one[0]))
        kept = [
            piece
            for draw, piece in zip(draws, pieces, strict=True)
            if draw >= self.strength or (draw, piece) == most
        ]
        return " ".join(kept)


class SomeTexts(TextChannel):
    """Changes a share of the texts, `strength`, wholly, and leaves the others as they are."""

    def change(self, text: str, random: Random) -> str:
        """See `other`."""
        return self.other(text, random) if random.random() < self.strength else text

    def other(self, text: str, random: Random) -> str:
        """The text as it arrives if it is changed."""
        raise NotImplementedError


class Paraphrase(SomeTexts):
    """Statements change places, and half of the known phrases give way to synonyms.

    Quotations stay as they are; so does the order of a text with an unpaired mark.
    """

    def other(self, text: str, random: Random) -> str:
        """`SEEN_PHRASES` alone are replaced, so that a test can use others."""
        return reordered(reworded(text, SEEN_PHRASES), random.random())


class QuoteMask(SomeTexts):
    """Hides what stands in quotation marks, behind one that is never closed all that follows."""

    def other(self, text: str, random: Random) -> str:
        """With `HIDDEN` between the marks."""
        return masked(text)


class FormatMix(SomeTexts):
    """The same statements in another order and another one of `FORMATS`."""

    def other(self, text: str, random: Random) -> str:
        """A text of one statement changes its form alone."""
        parts = sentences(text)
        random.shuffle(parts)
        return random.choice(FORMATS)([part.strip() for part in parts])


def masked(text: str) -> str:
    """The text with `HIDDEN` for the words of each quotation."""
    spans, unpaired = quotations(text)
    behind = max((end for _, end in spans), default=0)
    if unpaired and unpaired[-1] >= behind:
        spans = [*spans, (unpaired[-1], len(text) + 1)]
    for start, end in reversed(spans):
        text = text[: start + 1] + HIDDEN + text[end - 1 :]
    return text


def _bullets(parts: Sequence[str]) -> str:
    return "\n".join(f"- {part.rstrip('.;')}" for part in parts)


def _numbered(parts: Sequence[str]) -> str:
    return " ".join(
        f"({number}) {part.rstrip('.;')}." for number, part in enumerate(parts, start=1)
    )


def _one_sentence(parts: Sequence[str]) -> str:
    return "; ".join(part.rstrip(".;") for part in parts) + "."


def _lines(parts: Sequence[str]) -> str:
    return "\n".join(parts)


FORMATS: tuple[Callable[[Sequence[str]], str], ...] = (_bullets, _numbered, _one_sentence, _lines)
"""How statements are written one after another: lists, numbers, one sentence, one a line."""


def one_after_another(channels: Sequence[TextChannel]) -> Channel:
    """All channels as one; without any, texts arrive as they are."""

    def arrived(texts: list[str], keys: Sequence[str]) -> list[str]:
        for channel in channels:
            texts = channel(texts, keys)
        return texts

    return arrived
