import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from common.data import api, teacher_api
from common.data.api import AnswerCache, tagged_explanation
from common.data.explanations import write_explanations
from common.data.teacher_api import explain_by_api, prompt_of
from common.errors import NlaError
from common.paths import TrunkPlaces
from common.schema import (
    DESCRIPTION,
    DOC_ID,
    EXPLANATION,
    KEY,
    NEXT_PROBS,
    NEXT_TOKENS,
    POSITION,
    SPLIT,
    TEXT,
    TITLE,
    TOKEN_IDS,
    TOPIC,
)
from tests.chat_server import Answer, ChatHandler, ChatServer, config, running_servers, tagged


@pytest.fixture
def serve() -> Iterator[Callable[..., ChatServer]]:
    with running_servers() as start:
        yield start


@pytest.fixture(autouse=True)
def _key_and_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setattr(api, "FIRST_WAIT_S", 0.001)


def row(text: str, **about: str) -> dict[str, Any]:
    return {TEXT: text, NEXT_TOKENS: [" a", " b"], NEXT_PROBS: [0.5, 0.25], **about}


def test_explanations_come_in_the_order_of_the_rows(serve: Callable, tmp_path: Path):
    server = serve(latency_s=0.01)
    rows = [row(f"text {index}") for index in range(12)]
    assert explain_by_api(rows, config(server), tmp_path) == [f"On text {i}." for i in range(12)]


def test_at_most_so_many_requests_run_at_once(serve: Callable, tmp_path: Path):
    server = serve(latency_s=0.05)
    rows = [row(f"text {index}") for index in range(12)]
    explain_by_api(rows, config(server, concurrency=4), tmp_path)
    assert server.most_busy == 4
    assert len(server.questions) == 12


def test_equal_questions_are_asked_once(serve: Callable, tmp_path: Path):
    server = serve()
    assert explain_by_api([row("same")] * 3, config(server), tmp_path) == ["On same."] * 3
    assert len(server.questions) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_passing_errors_are_retried(serve: Callable, tmp_path: Path, status: int):
    server = serve(lambda number, question: (status, "busy") if number < 3 else tagged(3, question))
    assert explain_by_api([row("x")], config(server), tmp_path) == ["On x."]
    assert len(server.questions) == 3


def test_a_slow_answer_is_asked_again(
    serve: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def answer(number: int, question: str) -> Answer:
        time.sleep(0.6 if number == 1 else 0)
        return tagged(number, question)

    server = serve(answer)
    monkeypatch.setattr(api, "TIMEOUT_S", 0.3)
    assert explain_by_api([row("x")], config(server), tmp_path) == ["On x."]
    assert len(server.questions) == 2


def test_errors_that_do_not_pass_stop_after_the_retries(serve: Callable, tmp_path: Path):
    server = serve(lambda number, question: (429, "slow down"))
    with pytest.raises(NlaError, match=r"failed 3 times in a row .*slow down"):
        explain_by_api([row("x")], config(server, max_retries=2, concurrency=1), tmp_path)
    assert len(server.questions) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_hopeless_errors_stop_at_once(serve: Callable, tmp_path: Path, status: int):
    server = serve(lambda number, question: (status, "bad key\nor model"))
    rows = [row(f"text {index}") for index in range(20)]
    with pytest.raises(NlaError, match=r"API refused .*bad key or model") as raised:
        explain_by_api(rows, config(server, concurrency=1), tmp_path)
    assert len(server.questions) == 1
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("status", [400, 422])
def test_a_text_that_is_refused_does_not_stop_the_others(
    serve: Callable, tmp_path: Path, caplog: Any, status: int
):
    def answer(number: int, question: str) -> Answer:
        return (status, "content filter") if "bad" in question else tagged(number, question)

    server = serve(answer)
    rows = [row("good"), row("bad"), row("fine")]
    explained = explain_by_api(rows, config(server, concurrency=1), tmp_path)
    assert explained == ["On good.", None, "On fine."]
    assert len(server.questions) == 3
    assert "content filter" in caplog.text


def test_refused_connection_is_one_line(serve: Callable, tmp_path: Path):
    server = serve()
    server.shutdown()
    server.server_close()
    with pytest.raises(NlaError, match=r"failed 2 times in a row .*Connection error"):
        explain_by_api([row("x")], config(server, max_retries=1), tmp_path)


def test_missing_key_is_named_before_anything_is_sent(
    serve: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OPENAI_API_KEY")
    server = serve()
    with pytest.raises(NlaError, match="missing OPENAI_API_KEY"):
        explain_by_api([row("x")], config(server), tmp_path)
    assert not server.questions


def test_missing_model_is_named(serve: Callable, tmp_path: Path):
    with pytest.raises(NlaError, match="no teacher model"):
        explain_by_api([row("x")], config(serve(), model=""), tmp_path)


def test_an_answer_without_closing_tag_is_asked_again(serve: Callable, tmp_path: Path):
    def answer(number: int, question: str) -> Answer:
        return (200, "<explanation>cut off") if number == 1 else tagged(number, question)

    server = serve(answer)
    assert explain_by_api([row("x")], config(server), tmp_path) == ["On x."]
    assert len(server.questions) == 2


def test_a_row_that_never_gets_its_tag_is_none_and_not_kept(serve: Callable, tmp_path: Path):
    def answer(number: int, question: str) -> Answer:
        return (200, "no tags") if "bad" in question else tagged(number, question)

    server = serve(answer)
    rows, settings = [row("good"), row("bad")], config(server, max_retries=1)
    assert explain_by_api(rows, settings, tmp_path) == ["On good.", None]
    assert len(server.questions) == 3
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("<explanation> two\n lines </explanation> end", "two lines"),
        ("<explanation>open", None),
        ("<explanation> </explanation>", None),
        ("</explanation>text<explanation>", None),
        ("", None),
        ("<explanation>a \ud800 \u200bb\x1b</explanation>", "a b"),
        ("<explanation>\ud800</explanation>", None),
    ],
)
def test_the_tag_is_strict(answer: str, wanted: str | None):
    assert tagged_explanation(answer) == wanted


ANSWER = '<explanation>Ends with "x".</explanation>'


@pytest.mark.parametrize(
    "thinking",
    [
        "<think>I put it between <explanation> and </explanation> tags.</think>",
        "<thinking>\nA draft: <explanation>no</explanation>\n</thinking>\n",
        "I begin with <explanation> here.</think>",
        "A draft: <explanation>no</explanation></think>",
        "<think>Is it </explanation>? The <think> tag is no answer.</THINK>",
        "[THINK]<explanation>no</explanation>[/THINK]",
        "Between <explanation> and </explanation>: ",
    ],
)
def test_an_answer_is_what_comes_after_the_thinking(thinking: str):
    assert tagged_explanation(thinking + ANSWER) == 'Ends with "x".'


@pytest.mark.parametrize(
    "answer",
    [
        "<think>I put it between <explanation> and </explanation> tags.",
        "<thinking>Perhaps " + ANSWER,
        "<think>" + ANSWER + "</think> I cannot tell.",
        ANSWER + "</think>",
    ],
)
def test_a_thought_is_no_answer(answer: str):
    assert tagged_explanation(answer) is None


def test_an_answer_before_an_open_thought_stands():
    assert tagged_explanation(ANSWER + "<think>Was <explanation>it</explanation>") is not None


def test_an_explanation_may_quote_a_thought():
    quoted = 'Ends with "the </think> tag".'
    assert tagged_explanation(f"<explanation>{quoted}</explanation>") == quoted


def test_half_a_character_is_neither_sent_nor_kept(serve: Callable, tmp_path: Path):
    half = "\ud800"
    server = serve(lambda number, question: (200, f"<explanation>a{half}b</explanation>"))
    assert explain_by_api([row(f"x{half}y")], config(server), tmp_path) == ["ab"]
    assert "<text>xy</text>" in server.questions[0]
    assert half not in json.loads((tmp_path / "answers.jsonl").read_text())["explanation"]


def test_half_a_character_that_was_kept_before_is_taken_out(tmp_path: Path):
    file = tmp_path / "answers.jsonl"
    lines = [{"digest": "a", "explanation": "o\ud800ne"}, {"digest": "b", "explanation": "\ud800"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert AnswerCache(file).explanations == {"a": "one"}


def test_an_answer_nested_too_deep_is_one_line(
    serve: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    deep = b"[" * 100_000
    monkeypatch.setattr(ChatHandler, "reply", lambda handler, status, _: handler.send(status, deep))
    with pytest.raises(NlaError, match="failed 2 times in a row"):
        explain_by_api([row("x")], config(serve(), max_retries=1), tmp_path)


class TestResume:
    def test_a_stopped_run_pays_for_nothing_twice(self, serve: Callable, tmp_path: Path):
        down = serve(lambda number, question: (401, "x") if number > 5 else tagged(0, question))
        rows, one = [row(f"text {index}") for index in range(8)], {"concurrency": 1}
        with pytest.raises(NlaError):
            explain_by_api(rows, config(down, **one), tmp_path)
        down.answer = tagged
        asked_before = set(down.questions[:5])
        down.questions.clear()
        explained = explain_by_api(rows, config(down, **one), tmp_path)
        assert explained == [f"On text {index}." for index in range(8)]
        assert len(down.questions) == 3
        assert not asked_before & set(down.questions)

    def test_a_finished_run_needs_neither_server_nor_key(
        self, serve: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        server = serve()
        first = explain_by_api([row("x")], config(server), tmp_path)
        monkeypatch.delenv("OPENAI_API_KEY")
        assert explain_by_api([row("x")], config(server), tmp_path) == first
        assert len(server.questions) == 1

    @pytest.mark.parametrize(
        "change", [{"model": "openai/b"}, {"temperature": 0.1}, {"max_tokens": 9}]
    )
    def test_other_settings_ask_anew(self, serve: Callable, tmp_path: Path, change: dict):
        server = serve()
        explain_by_api([row("x")], config(server), tmp_path)
        explain_by_api([row("x")], config(server, **change), tmp_path)
        assert len(server.questions) == 2

    def test_concurrency_and_retries_do_not(self, serve: Callable, tmp_path: Path):
        server = serve()
        explain_by_api([row("x")], config(server), tmp_path)
        explain_by_api([row("x")], config(server, concurrency=2, max_retries=9), tmp_path)
        assert len(server.questions) == 1

    def test_a_torn_line_is_passed_over(self, tmp_path: Path):
        file = tmp_path / "answers.jsonl"
        AnswerCache(file).add("a", "one")
        with file.open("ab") as torn:
            torn.write('{"digest": "b", "explanation": "é'.encode()[:-1])
        AnswerCache(file).add("c", "three")
        with file.open("a") as bad:
            bad.write("[" * 100_000 + "\n")
        assert AnswerCache(file).explanations == {"a": "one", "c": "three"}


def test_the_bill_counts_every_answer_and_knows_prices(tmp_path: Path):
    cache = AnswerCache(tmp_path / "answers.jsonl")
    cache.charge(1000, 0.25)
    cache.charge(500, 0.5)
    assert cache.bill() == "1,500 tokens, $0.7500"
    cache.charge(100, None)
    assert cache.bill() == "1,600 tokens, price unknown"


def test_the_price_comes_from_the_client(serve: Callable, tmp_path: Path, caplog: Any):
    server = serve()
    with caplog.at_level("INFO", logger=api.__name__):
        explain_by_api([row("x")], config(server, model="openai/gpt-4o"), tmp_path)
        explain_by_api([row("x")], config(server, model="openai/unheard-of"), tmp_path)
    known, unknown = [record.getMessage() for record in caplog.records]
    assert "100 tokens, $0.0" in known
    assert "100 tokens, price unknown" in unknown


def test_the_prompt_shows_text_predictions_and_document():
    values = row("All men", **{TITLE: "T", DESCRIPTION: "D", TOPIC: "P"})
    assert prompt_of(values) == (
        '<text>All men</text>\nDocument: T; D; P\nPredicted next tokens: " a" 0.50, " b" 0.25'
    )
    bare = {TEXT: "z" * 5000, NEXT_TOKENS: [], NEXT_PROBS: []}
    assert prompt_of(bare).count("z") == teacher_api.SHOWN_CHARACTERS
    assert prompt_of(bare).count("unknown") == 2


def test_rows_that_failed_have_no_explanation_but_are_counted(
    serve: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def answer(number: int, question: str) -> Answer:
        return (200, "no tags") if "bad" in question else tagged(number, question)

    texts = ["good", "bad"]
    rows = [
        row(text, **{KEY: f"{text}:1", DOC_ID: text, SPLIT: "rl"}) | {POSITION: 1, TOKEN_IDS: [1]}
        for text in texts
    ]
    corpus = pl.DataFrame(
        {DOC_ID: texts, TITLE: texts, DESCRIPTION: texts, TOPIC: texts},
    )
    monkeypatch.chdir(tmp_path)
    places, settings = TrunkPlaces("test"), config(serve(answer), max_retries=0)
    out = places.explanations
    write_explanations(pl.DataFrame(rows), corpus, None, places, settings)
    assert pl.read_parquet(out).select(KEY, EXPLANATION).rows() == [("good:1", "On good.")]
    manifest = json.loads(out.with_suffix(".manifest.json").read_text())
    assert (manifest["rows"], manifest["failed"]) == (1, 1)
