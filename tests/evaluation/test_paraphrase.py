from common.data import api
from common.evaluation.paraphrase import api_paraphrases
from tests.chat_server import config, running_servers


def test_an_api_paraphrases_each_text_and_a_second_call_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with running_servers() as start:
        server = start(lambda _, text: (200, f"<explanation>{text[::-1]}</explanation>"))
        for _ in range(2):
            assert api_paraphrases(["abc", "xyz"], config(server), tmp_path) == ["cba", "zyx"]
        assert sorted(server.questions) == ["abc", "xyz"]


def test_an_answer_without_tags_is_none_and_not_the_original(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setattr(api, "FIRST_WAIT_S", 0.001)
    with running_servers() as start:
        server = start(lambda *_: (200, "no tags"))
        assert api_paraphrases(["abc"], config(server, max_retries=1), tmp_path) == [None]
