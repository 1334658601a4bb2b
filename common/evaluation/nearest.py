"""Nearest neighbours: what a memory of the training data gives without understanding any of it."""

from collections.abc import Sequence

import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.evaluation.floors import Lesson, counted, reads_texts
from common.metrics.fve import normalize
from common.schema import EXPLANATION, KEY, SPLIT, TEACHER, TRAINING_SPLITS, Reader
from common.trunk.artefacts import Trunk

READ_TOGETHER = 512


def nearest_words(lesson: Lesson, mean: Float[Tensor, " d_model"]) -> Reader:
    """Answers n(h) of the training explanation with the most similar words (cosine of TF-IDF).

    Of equals the first; μ for a text that shares no word with any. FloorError where no word stands
    in two texts.
    """
    vectorizer, known = counted(lesson.texts)
    directions = normalize(lesson.activations)

    def answer(texts: Sequence[str]) -> Float[Tensor, "rows d_model"]:
        found = []
        for start in range(0, len(texts), READ_TOGETHER):
            asked = vectorizer.transform(texts[start : start + READ_TOGETHER])
            alike = torch.from_numpy((asked @ known.T).toarray())
            best = alike.max(1)
            found.append(torch.where(best.values[:, None] > 0, directions[best.indices], mean))
        return torch.cat(found) if found else directions[:0]

    return reads_texts(answer)


def nearest_texts(trunk: Trunk, keys: Sequence[str]) -> list[str]:
    """A writer that knows h: the teacher's text of the training activation nearest to each."""
    taught = trunk.explanations(TEACHER).filter(pl.col(SPLIT).is_in(TRAINING_SPLITS))
    known, texts = taught[KEY].to_list(), taught[EXPLANATION].to_list()
    places = nearest(trunk.store[list(keys)], trunk.store[known], trunk.mean)
    return [texts[place] for place in places.tolist()]


def nearest(
    asked: Float[Tensor, "rows d_model"],
    known: Float[Tensor, "others d_model"],
    mean: Float[Tensor, " d_model"],
) -> Int[Tensor, " rows"]:
    """For each activation the place of the one with the largest cosine of n(h) - μ; raw input."""
    candidates = normalize(normalize(known) - mean)
    parts = [
        (normalize(normalize(part) - mean) @ candidates.T).argmax(1)
        for part in asked.split(READ_TOGETHER)
    ]
    return torch.cat(parts)
