"""A common word of similar meaning, by the target's own input embeddings."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from common.data import syntax
from common.target.text import encode

LETTERS = 4
"""Shortest word that stands for another."""
SHARE, LEAST = 0.002, 3
"""In which share of the documents, and in how many at least, a word is common."""
SHARED_DIRECTIONS = 3
"""Main directions of the embeddings, which say how rare a word is; left out, with the mean."""
NEIGHBOURS, HUB = 10, 0.5
"""A word that is near to many is near to this one with less reason: its mean cosine to its nearest
ones counts half."""
NEAR = 0.15
"""Least cosine at which words count as similar."""
_WORD = re.compile(rf"(?<![\w'\u2019-])[^\W\d_]{{{LETTERS},}}(?![\w'\u2019-])")


class NearWords:
    """Common words that the tokenizer writes as one token."""

    def __init__(
        self, texts: Sequence[str], tokenizer: Any, embeddings: Float[Tensor, "vocab d_model"]
    ) -> None:
        """Common are the words of many of the texts."""
        self.tokenizer, self.embeddings = tokenizer, embeddings
        self.words = common_words(texts)
        ids = encode(tokenizer, [f" {word}" for word in self.words])
        self.words = [word for word, one in zip(self.words, ids, strict=True) if len(one) == 1]
        rows = embeddings[[one[0] for one in ids if len(one) == 1]].float()
        self.mean = rows.mean(0)
        self.shared = torch.linalg.svd(rows - self.mean, full_matrices=False).Vh[:SHARED_DIRECTIONS]
        self.vectors = self._directions(rows)
        nearest = (self.vectors @ self.vectors.T).topk(min(NEIGHBOURS + 1, len(rows)), dim=1).values
        self.hubs = HUB * nearest[:, 1:].mean(1)
        self._ranked: dict[str, list[str]] = {}

    def near(self, word: str, apart_from: Iterable[str] = ()) -> str | None:
        """The common word nearest to a word, of another stem than it and others.

        None where there is none, as for a word of several tokens, which has no embedding.
        """
        others = [word, *apart_from]
        return next((w for w in self._similar(word) if not any(kin(w, o) for o in others)), None)

    def _similar(self, word: str) -> list[str]:
        """All similar words, the nearest first."""
        if word not in self._ranked:
            first, *more = encode(self.tokenizer, [f" {word}"])[0]
            self._ranked[word] = [] if more else self._ranking(self.embeddings[first].float())
        return self._ranked[word]

    def _ranking(self, embedding: Float[Tensor, " d_model"]) -> list[str]:
        cosines = self.vectors @ self._directions(embedding)
        order = (cosines - self.hubs).argsort(descending=True, stable=True)
        return [self.words[row] for row in order[cosines[order] >= NEAR].tolist()]

    def _directions(self, rows: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        centred = rows - self.mean
        return functional.normalize(centred - centred @ self.shared.T @ self.shared, dim=-1)


def common_words(texts: Sequence[str]) -> list[str]:
    """Content words of many texts; capitalised only where they are never written small."""
    counts = Counter(word for text in texts for word in set(_WORD.findall(text)))
    least = max(LEAST, SHARE * len(texts))
    found = {word for word, count in counts.items() if count >= least}
    return sorted(
        word
        for word in found
        if word.lower() not in syntax.FUNCTION_WORDS
        and (word.islower() or (word.istitle() and word.lower() not in counts))
    )


def kin(one: str, other: str) -> bool:
    """Whether two words may be forms of one word: they begin alike, or one is in the other."""
    short, long = sorted((one.lower(), other.lower()), key=len)
    begun = short[: max(3, min(4, ceil(0.6 * len(short))))]
    within = len(short) >= LETTERS and short in long
    return short == long or within or (len(begun) >= 3 and long.startswith(begun))
