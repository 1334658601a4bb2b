"""The boxes of a chart: look-ups of words, and questions with the answer yes or no."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ar_variants.flowchart.questions import NONE, Question, Readers
from ar_variants.flowchart.said import PARTS, Said
from common.evaluation.word_vectors import WordVectors

NOTHING = "nothing"


@runtime_checkable
class Box(Protocol):
    """A look at an explanation whose result adds a vector to the reconstruction.

    The vector is `features` times the box's rows of the chart's weight.
    """

    title: str
    """What is done, as a person reads it."""

    @property
    def width(self) -> int:
        """Number of features."""
        ...

    def features(self, explanations: Sequence[Said]) -> Float[Tensor, "rows width"]:
        """What the explanations say; zero for nothing."""
        ...

    def answer(self, explanation: Said) -> str:
        """The same for a person: a word, `yes`, `no`, or `nothing`."""
        ...


class WordBox:
    """Looks a part's words up in a dictionary of all tokens: a linear map of their embeddings.

    Of several words the mean. A dictionary that is a linear map has an entry for words that no
    training text holds.
    """

    def __init__(self, part: str, vectors: WordVectors, basis: Tensor | None = None) -> None:
        """`part` is a name in `PARTS`; `basis` [embedding, width] keeps some directions alone."""
        self.part, self.vectors, self.basis = part, vectors, basis
        self.title = f"Look up {part}"

    @property
    def width(self) -> int:
        """Directions of the embedding that are used."""
        return (self.vectors.table if self.basis is None else self.basis).shape[1]

    def features(self, explanations: Sequence[Said]) -> Float[Tensor, "rows width"]:
        """Mean embedding of the words' last tokens."""
        asked = [PARTS[self.part](one) for one in explanations]
        known = sorted({word for words in asked for word in words})
        places = {word: place for place, word in enumerate(known)}
        entries = self.vectors.of_last(known)
        if self.basis is not None:
            entries = entries @ self.basis
        found = entries.new_zeros(len(asked), self.width)
        for row, words in enumerate(asked):
            if words:
                found[row] = entries[[places[word] for word in words]].mean(0)
        return found

    def answer(self, explanation: Said) -> str:
        """The words."""
        return ", ".join(PARTS[self.part](explanation)) or NOTHING


class TableBox:
    """Looks a part's words up in a table of the words of the training texts.

    A word that is not in it gets the entry of the nearest one that is, by the target's embeddings.
    """

    def __init__(self, part: str, entries: Sequence[str], vectors: WordVectors) -> None:
        """`entries` must not be empty."""
        self.part, self.entries, self.vectors = part, list(entries), vectors
        self.places = {entry: place for place, entry in enumerate(self.entries)}
        self.title = f"Look up {part} in a table of {len(self.entries)}"
        self._known = _directions(vectors, self.entries)

    @classmethod
    def of(cls, part: str, texts: Sequence[Said], least: int, vectors: WordVectors) -> "TableBox":
        """With the words that stand in at least `least` texts, the most frequent first."""
        counts: dict[str, int] = {}
        for one in texts:
            for word in set(PARTS[part](one)):
                counts[word] = counts.get(word, 0) + 1
        kept = sorted((-count, word) for word, count in counts.items() if count >= least)
        return cls(part, [word for _, word in kept], vectors)

    @property
    def width(self) -> int:
        """Number of entries."""
        return len(self.entries)

    def features(self, explanations: Sequence[Said]) -> Float[Tensor, "rows width"]:
        """The share of each entry among the words of the part."""
        asked = [PARTS[self.part](one) for one in explanations]
        nearest = self.nearest(sorted({word for words in asked for word in words}))
        found = torch.zeros(len(asked), self.width)
        for row, words in enumerate(asked):
            for word in words:
                found[row, nearest[word]] += 1 / len(words)
        return found

    def nearest(self, words: Sequence[str]) -> Mapping[str, int]:
        """The place of each word's entry."""
        new = [word for word in words if word not in self.places]
        found = dict(self.places)
        if new:
            likeness = _directions(self.vectors, new) @ self._known.T
            found |= dict(zip(new, likeness.argmax(1).tolist(), strict=True))
        return found

    def answer(self, explanation: Said) -> str:
        """The words, with the entry that is taken for one that is not in the table."""
        words = PARTS[self.part](explanation)
        nearest = self.nearest(words)
        taken = [self.entries[nearest[word]] for word in words]
        pairs = zip(words, taken, strict=True)
        return ", ".join(a if a == b else f"{a} (taken for {b})" for a, b in pairs) or NOTHING


def _directions(vectors: WordVectors, words: Sequence[str]) -> Tensor:
    found = vectors.of_last(words)
    return found / found.norm(dim=1, keepdim=True).clamp(min=1e-6)


class QuestionBox:
    """A question with the answer yes or no."""

    width = 1

    def __init__(self, question: Question, readers: Readers = NONE) -> None:
        """`readers` are needed by questions on meaning, and by judged ones."""
        self.question, self.readers = question, readers
        self.title = question.wording

    def features(self, explanations: Sequence[Said]) -> Float[Tensor, "rows 1"]:
        """1 for yes."""
        return self.question.asked_of(explanations, self.readers)[:, None]

    def answer(self, explanation: Said) -> str:
        """`yes` or `no`."""
        return "yes" if self.features([explanation])[0, 0] else "no"
