"""Yes/no questions about an explanation, and which of them explain most of the activations."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ar_variants.flowchart.said import PARTS, Said
from common.data.syntax import FUNCTION_WORDS
from common.evaluation.known import word_class

RARE = 0.004
"""A question that fewer of the training texts answer with yes, or with no, is not asked."""
SHARES = (0.02, 0.05, 0.1, 0.2)
"""Shares of the training texts that say yes to a question on meaning."""


class Readers(NamedTuple):
    """Models that answer questions which no pattern can; None where there is none."""

    embed: Callable[[Sequence[str]], np.ndarray] | None = None
    """A sentence encoder."""
    judge: Callable[[Sequence[str], Sequence[str]], np.ndarray] | None = None
    """Texts and questions → log odds of yes [texts, questions], see `judge.Judge`."""
    propose: Callable[[Sequence[str]], list[str]] | None = None
    """Texts → questions for the judge, see `judge.proposed`."""


NONE = Readers()


class Question(NamedTuple):
    """A question, with all that is needed to answer it."""

    kind: str
    """A key of `ASKED`."""
    value: str
    threshold: float = 0.0
    """Of questions on meaning the least similarity for a yes, of judged ones the least odds."""

    @property
    def wording(self) -> str:
        """As a person reads it."""
        return WORDINGS[self.kind].format(self.value)

    @property
    def plain(self) -> list[Any]:
        """`[wording, kind, value, threshold]` for a checkpoint, which a person can open."""
        return [self.wording, *self]

    @classmethod
    def of(cls, plain: Sequence[Any]) -> "Question":
        """The inverse of `plain`."""
        return cls(*plain[1:])

    def asked_of(
        self, explanations: Sequence[Said], readers: Readers = NONE
    ) -> Float[Tensor, " rows"]:
        """1 for yes, 0 for no."""
        return ASKED[self.kind](self, explanations, readers).float()


def _says(
    question: Question, explanations: Sequence[Said], readers: Readers
) -> Bool[Tensor, " rows"]:
    return torch.tensor([question.value in one.words for one in explanations])


def _part(part: str) -> Callable[..., Bool[Tensor, " rows"]]:
    def answer(question: Question, explanations: Sequence[Said], readers: Readers) -> Tensor:
        found = [question.value in map(str.casefold, PARTS[part](one)) for one in explanations]
        return torch.tensor(found)

    return answer


def _class_of(part: str) -> Callable[..., Bool[Tensor, " rows"]]:
    def answer(question: Question, explanations: Sequence[Said], readers: Readers) -> Tensor:
        words = [PARTS[part](one)[:1] for one in explanations]
        return torch.tensor(
            [bool(one) and class_of(one[0]) == question.value for one in words], dtype=torch.bool
        )

    return answer


def _means(
    question: Question, explanations: Sequence[Said], readers: Readers
) -> Bool[Tensor, " rows"]:
    """Whether the text's embedding is as near to that of the question's phrase as the threshold."""
    assert readers.embed
    likeness = torch.from_numpy(readers.embed([one.text for one in explanations]))
    phrase = torch.from_numpy(readers.embed([question.value]))[0]
    return likeness @ phrase >= question.threshold


def _judged(question: Question, explanations: Sequence[Said], readers: Readers) -> Tensor:
    """Whether a language model's odds of yes reach the threshold."""
    assert readers.judge
    odds = readers.judge([one.text for one in explanations], [question.value])[:, 0]
    return torch.from_numpy(odds >= question.threshold)


LAST, NEXT, TOPIC, PLACE = (
    "the last quoted word",
    "the quoted next words",
    "the topic",
    "the place in the sentence",
)
ASKED: dict[str, Callable[[Question, Sequence[Said], Readers], Bool[Tensor, " rows"]]] = {
    "says": _says,
    "last": _part(LAST),
    "next": _part(NEXT),
    "topic": _part(TOPIC),
    "place": _part(PLACE),
    "last_class": _class_of(LAST),
    "next_class": _class_of(NEXT),
    "means": _means,
    "judged": _judged,
}
WORDINGS = {
    "says": "Does it say “{}”?",
    "last": "Is the last quoted word “{}”?",
    "next": "Is “{}” a quoted next word?",
    "topic": "Is the topic “{}”?",
    "place": "Is “{}” said of the place in the sentence?",
    "last_class": "Is the last quoted word of the class “{}”?",
    "next_class": "Is the first next word of the class “{}”?",
    "means": "Does it mean something like “{}”?",
    "judged": "{}",
}


def class_of(word: str) -> str:
    """Class of a quoted word by its own form, see `word_class`."""
    bare = word.strip(".,;:!?()“”\"'")
    return word_class(" ", f" {bare}") if bare else "punctuation mark"


def candidates(
    explanations: Sequence[Said], readers: Readers = NONE, most: int = 2000
) -> list[Question]:
    """Questions that training texts answer in both ways, the most evenly answered first.

    At most `most` that patterns answer, and half as many of each other kind.
    Words of all parts, classes of the last and of the next word; with an embedder, whether a
    text means something like a frequent word, with a threshold for each of `SHARES`.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for one in explanations:
        parts = {"last": LAST, "next": NEXT, "topic": TOPIC, "place": PLACE}
        values = {(k, word.casefold()) for k, part in parts.items() for word in PARTS[part](one)}
        values |= {("says", word) for word in one.words - FUNCTION_WORDS}
        for kind, part in (("last_class", LAST), ("next_class", NEXT)):
            values |= {(kind, class_of(word)) for word in PARTS[part](one)[:1]}
        counts.update(values)
    rows = len(explanations)
    fair = [
        (min(count, rows - count), kind, value)
        for (kind, value), count in counts.items()
        if RARE * rows <= count <= (1 - RARE) * rows
    ]
    found = [Question(kind, value) for _, kind, value in sorted(fair, reverse=True)[:most]]
    texts = [one.text for one in explanations]
    if readers.embed:
        said = [one.value for one in found if one.kind == "says"]
        found += _by_threshold("means", said, _likeness(said, texts, readers))[: most // 2]
    if readers.judge and readers.propose:
        asked = readers.propose(texts)
        found += _by_threshold("judged", asked, readers.judge(texts, asked))[: most // 2]
    return found


def _likeness(phrases: Sequence[str], texts: Sequence[str], readers: Readers) -> np.ndarray:
    """Cosines [texts, phrases]."""
    assert readers.embed
    if not phrases:
        return np.zeros((len(texts), 0))
    return readers.embed(texts) @ readers.embed(phrases).T


def _by_threshold(kind: str, values: Sequence[str], scores: np.ndarray) -> list[Question]:
    """A question for each share of `SHARES`; none whose yes would be for all, or for nobody."""
    found = []
    for place, value in enumerate(values):
        ordered = np.sort(scores[:, place])[::-1]
        thresholds = {float(ordered[int(share * len(ordered))]) for share in SHARES}
        fair = [one for one in sorted(thresholds) if ordered[-1] < one > -np.inf]
        found += [Question(kind, value, one) for one in fair]
    return found


def answers(
    questions: Sequence[Question], explanations: Sequence[Said], readers: Readers = NONE
) -> Float[Tensor, "rows questions"]:
    """1 for yes, for each explanation and question."""
    if not questions:
        return torch.zeros(len(explanations), 0)
    return torch.stack([one.asked_of(explanations, readers) for one in questions], 1)


def most_telling(
    answered: Float[Tensor, "rows questions"],
    residuals: Float[Tensor, "rows d_model"],
    count: int,
    shrinkage: float = 10.0,
) -> list[int]:
    """The questions that together explain most variance, greedily, the best first.

    Orthogonal matching pursuit in all dimensions at once: after each choice the others count only
    for what is new in their answers. `shrinkage` is the number of texts by which the vector of a
    question is drawn towards zero, so that one that few texts answer with yes does not win by
    chance. A question whose answers are those of chosen ones is never chosen.
    """
    left = answered - answered.mean(0)
    rest = residuals - residuals.mean(0)
    least = 1e-6 * len(answered)
    chosen: list[int] = []
    for _ in range(min(count, answered.shape[1])):
        sizes = left.square().sum(0)
        gains = (left.T @ rest).square().sum(1) / (sizes + shrinkage)
        gains[sizes < least] = -1.0
        best = int(gains.argmax())
        if gains[best] <= 0:
            break
        chosen.append(best)
        direction = left[:, best] / left[:, best].norm()
        rest = rest - torch.outer(direction, direction @ rest)
        left = left - torch.outer(direction, direction @ left)
    return chosen
