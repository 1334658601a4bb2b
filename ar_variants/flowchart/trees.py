"""Trees of yes/no questions, one or a sum of several, whose leaves hold vectors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ar_variants.flowchart.fitted import FittedReconstructor, Frame
from ar_variants.flowchart.questions import NONE, Question, Readers, answers, candidates
from ar_variants.flowchart.said import said, said_all
from common.evaluation.floors import Lesson
from common.metrics.fve import normalize
from common.models.reconstructor import Step

DIRECTIONS = 64
"""Principal directions of n(h) by which splits are judged; leaves hold whole vectors."""
MOST_QUESTIONS = 600
"""A split tries each question, so that more of them cost time."""


class Node(NamedTuple):
    """A question with two ways on, or a leaf: then `question` is None."""

    question: int | None = None
    """Place of the question."""
    yes: "Node | None" = None
    no: "Node | None" = None

    @property
    def plain(self) -> list[Any] | None:
        """`[question, yes, no]`, None for a leaf."""
        if self.question is None or not (self.yes and self.no):
            return None
        return [self.question, self.yes.plain, self.no.plain]

    @classmethod
    def of(cls, plain: Sequence[Any] | None) -> "Node":
        """The inverse of `plain`."""
        return cls() if plain is None else cls(plain[0], cls.of(plain[1]), cls.of(plain[2]))

    def leaves(self) -> Iterator[list[tuple[int, bool]]]:
        """The questions with their answers that lead to each leaf, in the order of the leaves."""
        if self.question is None or not (self.yes and self.no):
            yield []
            return
        for answer, way in ((True, self.yes), (False, self.no)):
            yield from ([(self.question, answer), *path] for path in way.leaves())


class Lesson2D(NamedTuple):
    """What trees are grown on."""

    answered: np.ndarray
    """[rows, questions], 1 for yes."""
    targets: np.ndarray
    """[rows, directions]"""


Grow = Callable[[Lesson2D, int, int], list[Node]]
"""Answers and targets, number of leaves, least texts of a leaf → trees whose leaves are summed."""


class Trees(FittedReconstructor):
    """The leaf of each tree gives a vector: the mean of its training texts, drawn to the start."""

    def __init__(
        self,
        frame: Frame,
        grow: Grow,
        leaves: int,
        shrinkage: float,
        readers: Readers = NONE,
    ) -> None:
        """`grow` is `one_tree` or `sum_of_trees`; `shrinkage` counts texts."""
        super().__init__(frame)
        self.grow, self.most, self.shrinkage, self.readers = grow, leaves, shrinkage, readers
        self.questions: list[Question] = []
        self.trees: list[Node] = []

    def fit(self, lesson: Lesson) -> None:
        """Grow the trees, then fit the vectors of all leaves together."""
        found = said_all([self.cut(text) for text in lesson.texts])
        asked = candidates(found, self.readers, MOST_QUESTIONS)
        targets = normalize(lesson.activations).float()
        self.start.data = targets.mean(0)
        centred = targets - self.start
        principal = torch.linalg.svd(centred, full_matrices=False).Vh[:DIRECTIONS]
        told = answers(asked, found, self.readers)
        grown = Lesson2D(told.numpy(), (centred @ principal.T).numpy())
        least = max(1, round(self.shrinkage))
        trees = self.grow(grown, min(self.most, len(found)), least) if asked else []
        used = sorted({place for tree in trees for path in tree.leaves() for place, _ in path})
        places = {place: number for number, place in enumerate(used)}
        self.questions = [asked[place] for place in used]
        self.trees = [_renumbered(tree, places) for tree in trees]
        self.fit_leaves(self._leaves(told[:, used]), centred, self.shrinkage)

    def features(self, texts: Sequence[str]) -> Float[Tensor, "rows width"]:
        """1 for the leaf of each tree that a text comes to."""
        return self._leaves(answers(self.questions, said_all(texts), self.readers))

    def steps(self, text: str) -> list[Step]:
        """One for each question on the way; the last one of each tree adds the leaf's vector."""
        told = answers(self.questions, [said(self.cut(text))], self.readers)[0].bool().tolist()
        nothing, found, first = torch.zeros_like(self.start), [], 0
        for tree in self.trees:
            paths = [*tree.leaves()]
            taken = next(i for i, path in enumerate(paths) if all(told[q] == a for q, a in path))
            for number, (place, answer) in enumerate(paths[taken], start=1):
                is_last = number == len(paths[taken])
                vector = self.weight[first + taken] if is_last else nothing
                title = self.questions[place].wording
                found.append(Step(title, "yes" if answer else "no", vector))
            first += len(paths)
        return found

    @property
    def size(self) -> int:
        """Questions and leaves of all trees."""
        leaves = [len([*tree.leaves()]) for tree in self.trees]
        return sum(2 * count - 1 for count in leaves)

    def outline(self) -> dict[str, Any]:
        """Questions and trees, and what another fit depends on."""
        trees = [tree.plain for tree in self.trees]
        asked = [one.plain for one in self.questions]
        return {"questions": asked, "trees": trees, "plan": [self.most, self.shrinkage]}

    def restore(self, outline: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Questions, trees and leaves."""
        super().restore(outline, tensors)
        self.questions = [Question.of(values) for values in outline["questions"]]
        self.trees = [Node.of(plain) for plain in outline["trees"]]
        self.most, self.shrinkage = outline["plan"]

    def _leaves(self, told: Float[Tensor, "rows questions"]) -> Float[Tensor, "rows leaves"]:
        columns = []
        for tree in self.trees:
            for path in tree.leaves():
                column = torch.ones(len(told))
                for place, answer in path:
                    column = column * (told[:, place] if answer else 1 - told[:, place])
                columns.append(column)
        return torch.stack(columns, 1) if columns else told.new_zeros(len(told), 0)


def one_tree(lesson: Lesson2D, leaves: int, least: int) -> list[Node]:
    """A single tree of scikit-learn, grown where most variance is explained."""
    from sklearn.tree import DecisionTreeRegressor

    model = DecisionTreeRegressor(
        max_leaf_nodes=max(2, leaves), min_samples_leaf=least, random_state=0
    )
    grown = model.fit(lesson.answered, lesson.targets).tree_

    def node(place: int) -> Node:
        if grown.children_left[place] < 0:
            return Node()
        no, yes = (node(int(way[place])) for way in (grown.children_left, grown.children_right))
        return Node(int(grown.feature[place]), yes, no)

    return [node(0)]


def sum_of_trees(lesson: Lesson2D, leaves: int, least: int) -> list[Node]:
    """FIGS of imodels: each further split extends a tree or begins one, wherever it gains most."""
    from imodels import FIGSRegressor

    model = FIGSRegressor(max_rules=max(1, leaves - 1), random_state=0)
    model.fit(lesson.answered, lesson.targets)

    def node(grown: Any) -> Node:
        if grown.left is None or grown.right is None:
            return Node()
        return Node(int(grown.feature), yes=node(grown.right), no=node(grown.left))

    return [node(tree) for tree in model.trees_]


def _renumbered(tree: Node, places: Mapping[int, int]) -> Node:
    if tree.question is None or not (tree.yes and tree.no):
        return Node()
    yes, no = (_renumbered(way, places) for way in (tree.yes, tree.no))
    return Node(places[tree.question], yes, no)
