"""A chart: boxes one after another, each of which adds a vector to the reconstruction."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ar_variants.flowchart.boxes import Box, QuestionBox, TableBox, WordBox
from ar_variants.flowchart.drawing import Drawn, as_svg, as_text
from ar_variants.flowchart.fitted import FittedReconstructor, Frame
from ar_variants.flowchart.questions import (
    NONE,
    Question,
    Readers,
    answers,
    candidates,
    most_telling,
)
from ar_variants.flowchart.said import Said, said, said_all
from common.evaluation.floors import Lesson
from common.evaluation.ridge import ridge_by_document
from common.evaluation.word_vectors import WordVectors
from common.metrics.fve import normalize
from common.models.reconstructor import Step

MAPPED = ("the last quoted word", "the quoted next words", "the words of the title")
"""Parts of many words: every token has an entry, by a linear map of its embedding."""
FEW_WORDS = ("the topic", "the place in the sentence")
"""Parts of few words, which get a table."""
LookUps = Literal["none", "tables", "words"]


class Plan(NamedTuple):
    """Which boxes a chart may have."""

    look_ups: LookUps = "none"
    """`tables`: an entry for each word of the training texts; `words`: for every word there is."""
    questions: int = 0
    shrinkage: float = 10.0
    """Texts by which a question's vector is drawn to zero when questions are chosen."""
    most: int | None = None
    """Of boxes; questions make room for look-ups."""
    least: int = 3
    """A table's entry stands in at least so many training texts."""


class Tools(NamedTuple):
    """What boxes look things up with."""

    vectors: WordVectors
    readers: Readers = NONE
    """What answers questions; without them, patterns alone do."""


class Chart(FittedReconstructor):
    """Look-ups and questions, whose vectors a person can add up by hand."""

    def __init__(self, frame: Frame, plan: Plan, tools: Tools) -> None:
        """Has no boxes before it is fitted or restored."""
        super().__init__(frame)
        self.plan, self.tools = plan, tools
        self.boxes: list[Box] = []

    def fit(self, lesson: Lesson) -> None:
        """Choose boxes, then fit all their vectors together, penalties chosen by document.

        Look-ups are as planned; questions are those that tell most of what the look-ups leave open.
        """
        found = said_all([self.cut(text) for text in lesson.texts])
        self.boxes = self._look_ups(found)
        self.boxes += [
            QuestionBox(one, self.tools.readers) for one in self._questions(found, lesson)
        ]
        of_questions = [box.features(found) for box in self.boxes if isinstance(box, QuestionBox)]
        blocks = [box.features(found) for box in self.boxes if not isinstance(box, QuestionBox)]
        blocks += [torch.cat(of_questions, 1)] if of_questions else []
        blocks = blocks or [torch.zeros(len(found), 0)]
        self.fit_map(blocks, lesson)

    def features(self, texts: Sequence[str]) -> Float[Tensor, "rows width"]:
        """Those of all boxes, side by side."""
        found = said_all(texts)
        nothing = torch.zeros(len(found), 0)
        return torch.cat([nothing, *(box.features(found) for box in self.boxes)], 1)

    def steps(self, text: str) -> list[Step]:
        """One for each box."""
        one = said(self.cut(text))
        parts = self.weight.split([box.width for box in self.boxes])
        return [
            Step(box.title, box.answer(one), (box.features([one]) @ part)[0])
            for box, part in zip(self.boxes, parts, strict=True)
        ]

    def drawn(self, texts: Sequence[str], variance: float) -> list[Drawn]:
        """The boxes with their shares among some texts; `variance` is that of the activations."""
        found = said_all([self.cut(text) for text in texts])
        parts = self.weight.split([box.width for box in self.boxes])
        boxes = []
        for box, part in zip(self.boxes, parts, strict=True):
            features = box.features(found)
            added = features @ part
            moved = float((added - added.mean(0)).square().sum(1).mean()) / variance
            share = float((features != 0).any(1).float().mean())
            boxes.append(Drawn(box.title, isinstance(box, QuestionBox), share, moved))
        return boxes

    def pictures(self, title: str, texts: Sequence[str], variance: float) -> dict[str, str]:
        """The chart as `text` and as `svg`, with its shares among some texts."""
        boxes = self.drawn(texts, variance)
        return {"text": as_text(boxes), "svg": as_svg(boxes, title)}

    @property
    def size(self) -> int:
        """Number of boxes."""
        return len(self.boxes)

    def outline(self) -> dict[str, Any]:
        """Kind and settings of each box, and what another fit depends on."""
        plan = {"questions": self.plan.questions, "shrinkage": self.plan.shrinkage}
        return {"boxes": [_plain(box) for box in self.boxes], "plan": plan}

    def restore(self, outline: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """The boxes, and their vectors."""
        super().restore(outline, tensors)
        self.boxes = [_box(values, self.tools) for values in outline["boxes"]]
        self.plan = self.plan._replace(**outline["plan"])

    def _look_ups(self, found: Sequence[Said]) -> list[Box]:
        vectors, least = self.tools.vectors, self.plan.least
        if self.plan.look_ups == "none":
            return []
        mapped = MAPPED if self.plan.look_ups == "words" else ()
        tables = FEW_WORDS if mapped else (*MAPPED[:2], *FEW_WORDS)
        made = [TableBox.of(part, found, least, vectors) for part in tables]
        return [*(WordBox(part, vectors) for part in mapped), *(box for box in made if box.width)]

    def _questions(self, found: Sequence[Said], lesson: Lesson) -> list[Question]:
        room = self.plan.questions if self.plan.most is None else self.plan.most - len(self.boxes)
        count = min(self.plan.questions, room)
        if count < 1:
            return []
        open_to = normalize(lesson.activations).float()
        if self.boxes:
            known = torch.cat([box.features(found) for box in self.boxes], 1)
            fitted = ridge_by_document([known], lesson.activations, lesson.documents)
            open_to = open_to - fitted(known)
        asked = candidates(found, self.tools.readers)
        told = answers(asked, found, self.tools.readers)
        chosen = most_telling(told, open_to, count, self.plan.shrinkage)
        return [asked[place] for place in chosen]


def _plain(box: Box) -> dict[str, Any]:
    match box:
        case WordBox():
            return {"kind": "word", "part": box.part}
        case TableBox():
            return {"kind": "table", "part": box.part, "entries": box.entries}
        case QuestionBox():
            return {"kind": "question", "question": box.question.plain}
    raise TypeError(f"no such box: {box}")


def _box(values: Mapping[str, Any], tools: Tools) -> Box:
    if values["kind"] == "word":
        return WordBox(values["part"], tools.vectors)
    if values["kind"] == "table":
        return TableBox(values["part"], values["entries"], tools.vectors)
    return QuestionBox(Question.of(values["question"]), tools.readers)
