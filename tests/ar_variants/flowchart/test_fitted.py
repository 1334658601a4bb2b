"""All fitted ARs: what they have learned, how they are kept, and that their steps add up."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ar_variants.flowchart.chart import Chart, Plan, Tools
from ar_variants.flowchart.fitted import FittedReconstructor, Frame
from ar_variants.flowchart.look_up import LookUp
from ar_variants.flowchart.soft import SoftTree
from ar_variants.flowchart.trees import Node, Trees, one_tree, sum_of_trees
from common.evaluation.embedder import Embedder
from common.evaluation.floors import Lesson
from common.evaluation.word_vectors import WordVectors
from common.metrics.fve import normalized_mse
from common.schema import readings_of
from common.target.load import Target

WORDS = ["river", "song", "bridge", "war", "cell", "tax"]
Build = Callable[[Target], FittedReconstructor]


def frame(target: Target) -> Frame:
    return Frame(target.tokenizer, 96, 64)


def embedder(target: Target) -> Embedder:
    return Embedder.load("target", None, target)


def chart(target: Target, plan: Plan) -> Chart:
    return Chart(frame(target), plan, Tools(WordVectors(target)))


FORMS: dict[str, Build] = {
    "look_up": lambda target: LookUp(frame(target), WordVectors(target)),
    "tree": lambda target: Trees(frame(target), one_tree, 8, 1.0),
    "rules": lambda target: Trees(frame(target), sum_of_trees, 8, 1.0),
    "questions": lambda target: chart(target, Plan(questions=8, shrinkage=1.0)),
    "tables": lambda target: chart(target, Plan("tables", most=4)),
    "chart": lambda target: chart(target, Plan("words", 20, 1.0, most=8)),
    "soft": lambda target: SoftTree(frame(target), embedder(target), 3, 1.0),
}


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    """Six words in six quotations, and an activation for each word."""
    texts = [
        f'Ends with "the {WORDS[row % 6]}". Next perhaps "of" or "is". Topic {WORDS[row % 6]}s: No'
        f" {row}. Here after a content word."
        for row in range(60)
    ]
    kinds = 30 * torch.randn(6, 64, generator=torch.Generator().manual_seed(1))
    return Lesson(texts, kinds[torch.arange(60) % 6], [str(row) for row in range(60)])


@torch.no_grad()
def answers(model: FittedReconstructor, texts: list[str]) -> Tensor:
    return model(model.encode(readings_of(texts)))


@pytest.mark.parametrize("form", FORMS)
def test_what_was_fitted_is_read_and_restored(form: str, target: Target, lesson: Lesson):
    model = FORMS[form](target)
    model.fit(lesson)
    texts = list(lesson.texts)
    found = answers(model, texts)
    error = float(normalized_mse(found, lesson.activations))
    of_others = float(normalized_mse(found, lesson.activations.roll(1, 0)))
    assert error < 0.3, "it has learned the six words"
    assert of_others > 0.8
    again = FORMS[form](target)
    tensors = {name: tensor.clone() for name, tensor in model.tensors().items()}
    again.restore(json.loads(json.dumps(model.outline())), tensors)
    assert torch.allclose(answers(again, texts), found, atol=1e-5)
    assert again.size == model.size > 0


@pytest.mark.parametrize("form", FORMS)
def test_steps_add_up_to_the_answer(form: str, target: Target, lesson: Lesson):
    model = FORMS[form](target)
    model.fit(lesson)
    for text in [lesson.texts[0], "Nothing of the kind.", ""]:
        steps = model.steps(text)
        total = model.start + sum(step.vector for step in steps)
        assert torch.allclose(total, answers(model, [text])[0], atol=1e-3)
        assert all(step.title for step in steps)


@pytest.mark.parametrize("form", FORMS)
def test_strange_texts_get_finite_answers(form: str, target: Target, lesson: Lesson):
    model = FORMS[form](target)
    model.fit(lesson)
    found = answers(model, ["", " ", '"', '""', "the " * 400, '"' * 40])
    assert found.isfinite().all()
    assert (found.norm(dim=1) > 0).all(), "a vector without a direction has no cosine"


@pytest.mark.parametrize("form", ["tree", "rules", "questions", "tables", "chart", "soft"])
def test_one_repeated_explanation_gives_the_mean(form: str, target: Target, lesson: Lesson):
    model = FORMS[form](target)
    model.fit(lesson._replace(texts=["The same."] * 60))
    found = answers(model, ["The same.", "Another."])
    mean = lesson.activations * (8 / lesson.activations.norm(dim=1, keepdim=True))
    assert torch.allclose(found[0], mean.mean(0), atol=0.05)
    assert found.isfinite().all()


@pytest.mark.parametrize("form", ["tree", "rules"])
def test_fewer_texts_than_leaves(form: str, target: Target, lesson: Lesson):
    few = Lesson(lesson.texts[:5], lesson.activations[:5], lesson.documents[:5])
    model = FORMS[form](target)
    model.fit(few)
    assert answers(model, list(few.texts)).isfinite().all()


def test_a_chart_has_no_more_boxes_than_it_may(target: Target, lesson: Lesson):
    model = chart(target, Plan("words", 20, 1.0, most=8))
    model.fit(lesson)
    assert model.size <= 8
    titles = [box.title for box in model.boxes]
    assert titles[0] == "Look up the last quoted word"
    assert len(set(titles)) == len(titles)


def test_a_word_that_no_training_text_holds_is_taken_for_its_nearest(
    target: Target, lesson: Lesson
):
    model = chart(target, Plan("tables", most=4))
    model.fit(lesson)
    [last, *_] = model.steps('Ends with "the rivers". Next "of".')
    assert last.answer.startswith("rivers (taken for ")
    assert last.vector.abs().sum() > 0


def test_nodes_are_kept_as_plain_lists():
    tree = Node(2, yes=Node(), no=Node(0, yes=Node(), no=Node()))
    assert tree.plain == [2, None, [0, None, None]]
    assert Node.of(tree.plain) == tree
    assert [*tree.leaves()] == [[(2, True)], [(2, False), (0, True)], [(2, False), (0, False)]]


def test_texts_are_cut_where_an_ar_stops_reading(target: Target):
    model = LookUp(Frame(target.tokenizer, 4, 64), WordVectors(target))
    text = "one two three four five six"
    assert text.startswith(model.cut(text))
    assert len(target.tokenizer(model.cut(text))["input_ids"]) == 4
