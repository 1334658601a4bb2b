"""Signs that an AV stops writing language, watched in every batch of explanations."""

from collections.abc import Callable, Iterable
from statistics import fmean

from common.errors import NlaError
from common.metrics.quotes import unpaired_marks
from common.metrics.words import ngrams, words

ROLE_MARKERS = ("Human:", "Assistant:", "<|im_start|>", "<|im_end|>")
"""Pieces of the chat format that no explanation should contain."""


def degeneration(explanations: list[str], lengths: list[int], cap: int) -> dict[str, float]:
    """Monitors of one batch; all but `length` are shares in [0, 1], healthy near 0 unless noted.

    Args:
        explanations: the texts of the batch.
        lengths: their lengths in tokens of the model that wrote them.
        cap: the longest response that sampling allows, in tokens.

    Returns:
        length: mean length in tokens.
        cap_hit: texts that reach the cap.
        repetition: mean share of a text's word 3-grams that occur earlier in the same text.
        distinct_1, distinct_2: distinct word n-grams among all of the batch; healthy when high.
        role_leakage: texts with a piece of the chat format.
        unbalanced_quotes: texts with an unpaired double quotation mark.
        non_ascii: characters outside ASCII, among all of the batch.
        empty: blank texts.

    Raises:
        NlaError: for an empty batch, a text that is not a string, or lengths that do not match.
    """
    if not explanations or len(explanations) != len(lengths):
        raise NlaError(f"degeneration of {len(explanations)} texts with {len(lengths)} lengths")

    def share(condition: Callable[[str], bool]) -> float:
        return fmean(condition(text) for text in explanations)

    spoken = [words(text) for text in explanations]
    characters = "".join(explanations)
    return {
        "length": fmean(lengths),
        "cap_hit": fmean(length >= cap for length in lengths),
        "repetition": fmean(1 - _distinct([ngrams(text, 3)]) for text in spoken),
        "distinct_1": _distinct(ngrams(text, 1) for text in spoken),
        "distinct_2": _distinct(ngrams(text, 2) for text in spoken),
        "role_leakage": share(lambda text: any(marker in text for marker in ROLE_MARKERS)),
        "unbalanced_quotes": share(lambda text: unpaired_marks(text) > 0),
        "non_ascii": sum(not char.isascii() for char in characters) / max(len(characters), 1),
        "empty": share(lambda text: not text.strip()),
    }


def sameness(explanations: list[str]) -> float:
    """How much explanations of different activations repeat one another: near 1, all are the same.

    Args:
        explanations: one each, of different activations.

    Returns:
        The mean share of an explanation's word 3-grams that also occur in the one before it (for
        the first: the last); 0 for fewer than two explanations, or if none has 3 words.
    """
    spoken = [ngrams(words(text), 3) for text in explanations]
    pairs = zip(spoken, spoken[-1:] + spoken[:-1], strict=True)
    shares = [fmean(ngram in set(other) for ngram in own) for own, other in pairs if own]
    return fmean(shares) if shares and len(spoken) > 1 else 0.0


def _distinct(texts: Iterable[list[tuple[str, ...]]]) -> float:
    """Distinct n-grams over all n-grams of some texts; 1 where there are none."""
    pooled = [ngram for text in texts for ngram in text]
    return len(set(pooled)) / len(pooled) if pooled else 1.0
