"""The closed-form reader of every report as an AR: the ceiling of what is simple."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ar_variants.flowchart.fitted import FittedReconstructor, Frame
from common.errors import NlaError
from common.evaluation.floors import FloorError, Lesson, WordDirections
from common.evaluation.look_up import MOST_DIRECTIONS, quoted_features
from common.evaluation.word_vectors import WordVectors
from common.models.reconstructor import Step

BLOCKS = ("Look up the last quoted word", "Look up the quoted next words", "Weigh all words")


class LookUp(FittedReconstructor):
    """See common/evaluation/look_up.py: the same features, fitted in the same way."""

    def __init__(self, frame: Frame, vectors: WordVectors) -> None:
        """Knows no words before it is fitted or restored."""
        super().__init__(frame)
        self.vectors = vectors
        self.words: WordDirections | None = None

    def fit(self, lesson: Lesson) -> None:
        """Ridge from three blocks of features, penalties chosen by document."""
        texts = [self.cut(text) for text in lesson.texts]
        try:
            self.words = WordDirections(texts, min(MOST_DIRECTIONS, len(texts) // 4))
        except FloorError as reason:
            remedy = "give more explanations, or leave the arm out"
            raise NlaError(f"no look-up can be fitted: {reason}", remedy=remedy) from reason
        self.fit_map(self._blocks(texts), lesson)

    def features(self, texts: Sequence[str]) -> Float[Tensor, "rows width"]:
        """The three blocks side by side."""
        return torch.cat(self._blocks(texts), 1)

    def steps(self, text: str) -> list[Step]:
        """One for each block."""
        blocks = self._blocks([self.cut(text)])
        parts = self.weight.split([block.shape[1] for block in blocks])
        return [
            Step(title, "", (block @ part)[0])
            for title, block, part in zip(BLOCKS, blocks, parts, strict=True)
        ]

    @property
    def size(self) -> int:
        """Two look-ups, and all words as one."""
        return len(BLOCKS)

    def outline(self) -> dict[str, Any]:
        """The words, in the order of their weights."""
        return {"words": self._known.words}

    def tensors(self) -> dict[str, Tensor]:
        """Also the words' weights and directions."""
        known = self._known
        return super().tensors() | {"idf": known.weights, "directions": known.directions}

    def restore(self, outline: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Words and vectors."""
        super().restore(outline, tensors)
        self.words = WordDirections.of(outline["words"], tensors["idf"], tensors["directions"])

    @property
    def _known(self) -> WordDirections:
        assert self.words is not None, "not fitted"
        return self.words

    def _blocks(self, texts: Sequence[str]) -> list[Float[Tensor, "rows _"]]:
        return [*quoted_features(texts, self.vectors), self._known(texts)]
