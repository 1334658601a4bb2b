"""Questions that a language model proposes, and the odds by which one answers them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ar_variants.flowchart import judge as judge_module
from ar_variants.flowchart.judge import ASKS, READ, Judge, proposed
from ar_variants.flowchart.questions import Question, Readers, answers, candidates
from ar_variants.flowchart.said import said_all
from common.config import TeacherConfig
from common.errors import NlaError
from common.target.load import Target
from common.target.text import beginning
from tests.chat_server import config, running_servers

TEXTS = ["On geography: a river.", "On history: a long war.", "On music: a song of two voices."]
QUESTIONS = ["Is it about war?", "Is it about a place or a person who lives there?"]


@torch.no_grad()
def test_a_text_that_is_read_once_answers_as_if_it_were_read_again(
    target: Target, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(judge_module, "LEAST", 0.0)
    judge = Judge(target, batch_size=1)
    found = judge(TEXTS, QUESTIONS)
    assert found.shape == (3, 2)
    ids = [
        *beginning(target.tokenizer),
        *target.tokenizer(READ.format(TEXTS[1]), add_special_tokens=False)["input_ids"],
        *target.tokenizer(ASKS.format(QUESTIONS[0]), add_special_tokens=False)["input_ids"],
    ]
    logits = target.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
    yes, no = (logits[judge.words[word]].logsumexp(0) for word in ("yes", "no"))
    assert found[1, 0] == pytest.approx(float(yes - no), abs=1e-4)
    assert Judge(target)(TEXTS, QUESTIONS) == pytest.approx(found, abs=1e-4)
    judge.known[QUESTIONS[0]][TEXTS[0]] = 7.0
    assert judge(TEXTS[:1], QUESTIONS[:1]).item() == 7.0, "asked twice"


def test_neither_yes_nor_no_counts_as_no(target: Target):
    judge = Judge(target)
    logits = torch.full((2, 100_000), 0.0)
    logits[1, judge.words["yes"]] = 30.0
    sure, unsure = judge._of_logits(logits)[::-1]
    assert unsure == -np.inf
    assert sure > 20
    asked = Question("judged", QUESTIONS[0], -5.0)
    odds = np.array([[unsure], [sure]])
    told = answers([asked], said_all(TEXTS[:2]), Readers(judge=lambda texts, asked: odds))
    assert told[:, 0].tolist() == [0.0, 1.0]


def test_a_tokenizer_that_begins_yes_and_no_alike(target: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Judge, "_ids", lambda *_: [3, 4])
    with pytest.raises(NlaError, match="begins yes and no with the same token"):
        Judge(target)


def test_judged_questions_are_those_that_some_texts_answer_with_yes():
    def odds(texts: list[str], asked: list[str]) -> np.ndarray:
        rising = np.arange(len(texts), dtype=float)
        columns = {"rising?": rising, "never?": np.full(len(texts), -np.inf), "same?": 0 * rising}
        return np.stack([columns[one] for one in asked], 1)

    readers = Readers(judge=odds, propose=lambda _: ["rising?", "never?", "same?"])
    explanations = said_all([f"text {number}" for number in range(100)])
    asked = [one for one in candidates(explanations, readers) if one.kind == "judged"]
    assert {one.value for one in asked} == {"rising?"}
    shares = answers(asked, explanations, readers).mean(0)
    assert sorted(shares.tolist()) == pytest.approx([0.03, 0.06, 0.11, 0.21])


def test_a_language_model_proposes_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with running_servers() as serve:
        said = "1. Is it about war? - Does a name come next? Is it about war? Not one."
        server = serve(lambda *_: (200, f"<explanation>{said}</explanation>"))
        found = proposed(TEXTS, 40, config(server), tmp_path)
        assert found == ["Is it about war?", "Does a name come next?"]
        assert len(server.questions) == 2
        assert all(text in server.questions[0] for text in TEXTS)
        assert proposed(TEXTS, 40, config(server), tmp_path) == found
        assert len(server.questions) == 2, "paid for twice"


def test_without_a_model_nothing_is_proposed(tmp_path: Path):
    assert proposed(TEXTS, 40, TeacherConfig(), tmp_path) == []
    assert proposed([], 40, TeacherConfig(model="openai/x"), tmp_path) == []
