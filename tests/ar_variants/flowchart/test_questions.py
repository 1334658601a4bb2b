"""Candidate questions, their answers and the greedy choice."""

import numpy as np
import torch

from ar_variants.flowchart.questions import (
    Question,
    Readers,
    answers,
    candidates,
    class_of,
    most_telling,
)
from ar_variants.flowchart.said import said_all

TEXTS = [
    'Ends with "the river". Next "of". On geography: Seine. Here after a name, first sentence.',
    'Ends with "in the". Next "war". On history: Rome. Here after an article, second sentence.',
] * 10


def test_questions_are_about_all_parts_and_answered_in_both_ways():
    found = said_all(TEXTS)
    asked = candidates(found)
    kinds = {one.kind for one in asked}
    assert kinds == {"says", "last", "next", "topic", "place", "last_class", "next_class"}
    told = answers(asked, found)
    assert told.shape == (20, len(asked))
    assert ((told.mean(0) > 0) & (told.mean(0) < 1)).all()
    by_wording = dict(zip([one.wording for one in asked], told[:2].T.tolist(), strict=True))
    assert by_wording["Is the topic “history”?"] == [0.0, 1.0]
    assert by_wording["Is the last quoted word “river”?"] == [1.0, 0.0]
    assert by_wording["Is the last quoted word of the class “article”?"] == [0.0, 1.0]


def test_a_question_that_always_or_never_holds_is_not_asked():
    assert candidates(said_all(TEXTS[:1] * 5)) == []
    assert candidates(said_all([""])) == []


def test_questions_on_meaning_are_answered_by_a_threshold():
    def embed(texts: list[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if "river" in text else [0.0, 1.0] for text in texts])

    asked = Question("means", "river", 0.5)
    assert asked.asked_of(said_all(TEXTS[:2]), Readers(embed)).tolist() == [1.0, 0.0]


def test_classes_of_words():
    found = [class_of(word) for word in ("the", "of", "1990", "Paris,", "...", "river")]
    assert found == ["article", "preposition", "number", "name", "punctuation mark", "content word"]


def test_the_most_telling_questions_are_found_in_order_and_copies_never():
    generator = torch.Generator().manual_seed(0)
    told = (torch.rand(400, 6, generator=generator) > 0.5).float()
    told[:, 5] = told[:, 2]
    truth = torch.zeros(400, 3)
    truth[:, 0] = 3 * told[:, 2]
    truth[:, 1] = 2 * told[:, 4]
    truth[:, 2] = 1 * told[:, 0]
    chosen = most_telling(told, truth, 6, shrinkage=1.0)
    assert chosen[:3] in ([2, 4, 0], [5, 4, 0])
    assert len({2, 5} & set(chosen)) == 1
    assert most_telling(torch.ones(10, 2), torch.randn(10, 3), 2) == []


def test_few_answers_do_not_win_by_chance():
    """One text says yes and lies far away; half of the texts say yes and lie somewhat off."""
    told, truth = torch.zeros(100, 2), torch.zeros(100, 1)
    told[0, 0], truth[0, 0] = 1.0, 12.0
    told[50:, 1], truth[50:, 0] = 1.0, 2.0
    assert most_telling(told, truth, 1, shrinkage=10.0) == [1]
