"""The closed-form reader of explanations, which every AR must beat: it looks up the words it knows.

At the blocks where activations are read, much of one is its last token, and much of the rest what
the target expects next. An explanation that quotes both is read by two linear maps of input
embeddings, and the rest by its words.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from common.evaluation.floors import Lesson, WordDirections, fit_map, reads_texts
from common.evaluation.word_vectors import WordVectors
from common.metrics.quotes import quoted_spans
from common.schema import Reader

MOST_DIRECTIONS = 256


def look_up(lesson: Lesson, vectors: WordVectors) -> Reader:
    """Ridge from three blocks of features, with penalties of their own, to n(h).

    The last word of the first quotation, the words of the others, and TF-IDF of the whole text.
    FloorError as for `tfidf_ridge`.
    """
    words = WordDirections(lesson.texts, min(MOST_DIRECTIONS, len(lesson.texts) // 4))

    def features(texts: Sequence[str]) -> list[Float[Tensor, "rows _"]]:
        return [*quoted_features(texts, vectors), words(texts)]

    found = fit_map(features(lesson.texts), lesson)
    return reads_texts(lambda texts: found(torch.cat(features(texts), 1)))


def quoted_features(
    texts: Sequence[str], vectors: WordVectors
) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "rows width"]]:
    """Of each text the vector of the word it quotes last from the source, and of what comes next.

    The first quotation is that of the source, by every format of ours; all later ones are next
    tokens, whose vectors are averaged. A text without quotations gives its own last word, and
    nothing (a zero vector) is next.
    """
    quoted = [[text[start:end] for start, end in quoted_spans(text)] for text in texts]
    last = [
        _last_word(quotes[0] if quotes else text)
        for quotes, text in zip(quoted, texts, strict=True)
    ]
    following = [
        {f" {word}": times / len(quotes[1:]) for word, times in _counts(quotes[1:]).items()}
        for quotes in quoted
    ]
    return vectors.of_last(last), vectors.of_weighted(following)


def _last_word(text: str) -> str:
    words = text.split()
    return words[-1] if words else ""


def _counts(words: Sequence[str]) -> dict[str, int]:
    return {word: words.count(word) for word in words}
