"""A teacher that describes the last words instead of quoting them."""

import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from common.config import TeacherConfig
from common.data import syntax
from common.data.activations import load_activations
from common.data.corpus import load_corpus
from common.data.explanations import format_of, joined_rows
from common.data.near_words import NearWords, common_words, kin
from common.data.offline_teacher import MAX_TOKENS, compose
from common.data.unquoted import PHRASES, End, Unquoted
from common.data.word_classes import GLOSSES, last_pieces, length
from common.errors import NlaError
from common.evaluation.statements import END, NEXT, outline
from common.paths import TrunkPlaces
from common.schema import DESCRIPTION, DOC_ID, NEXT_PROBS, NEXT_TOKENS, POSITION, TEXT, TITLE, TOPIC
from common.target.text import encode
from tests.tokenizers import sentencepiece


@pytest.fixture(scope="module")
def made(trunk_root: Path) -> tuple[Unquoted, list[dict[str, Any]]]:
    """The teacher of the tiny trunk, and all rows that it explains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trunk_root)
        places = TrunkPlaces("smoke")
        write = format_of(TeacherConfig(format="common.data.unquoted:Unquoted"), places)
        assert isinstance(write, Unquoted)
        return write, joined_rows(load_activations(places.activations), load_corpus(places.corpus))


def row(text: str, **about: object) -> dict[str, Any]:
    plain = {DOC_ID: "d", POSITION: 17, TEXT: text, NEXT_TOKENS: [], NEXT_PROBS: []}
    return plain | {TITLE: None, DESCRIPTION: None, TOPIC: None} | about


def words_of(text: str) -> list[str]:
    return [piece.text.lower() for piece in last_pieces(text, 999) if piece.text[0].isalnum()]


class TestWordClasses:
    @pytest.mark.parametrize(
        ("text", "kinds"),
        [
            ("They gave it to", ["word", "thing pronoun", "goal preposition"]),
            ("It was running quickly", ["past auxiliary", "-ing form", "adverb"]),
            ("We moved to Paris, a", ["name", "comma", "indefinite article"]),
            ("Born in 1912", ["inner place preposition", "early 20th-century year"]),
            ("by the 1990s (", ["definite article", "decade", "opening parenthesis"]),
            ("its 15th of 3,460", ["ordinal number", "belonging preposition", "four-digit number"]),
            ("a well-known", ["word", "hyphen", "word"]),
            ("the river's edge \u2603", ["word", "word", "rare sign"]),
        ],
    )
    def test_kinds_by_hand(self, text: str, kinds: list[str]):
        assert [piece.kind for piece in last_pieces(text, len(kinds))] == kinds

    def test_a_capital_at_the_start_of_a_sentence_makes_no_name(self):
        assert [p.kind for p in last_pieces("Rain fell. Snow fell in Oslo", 4)] == [
            "word",
            "word",
            "inner place preposition",
            "name",
        ]

    def test_every_function_word_has_a_gloss_that_does_not_name_it(self):
        assert GLOSSES.keys() >= syntax.FUNCTION_WORDS
        for word, gloss in GLOSSES.items():
            assert word not in gloss.replace("'", " ").split(), (word, gloss)

    @pytest.mark.parametrize(
        ("text", "told"),
        [("a", "one letter"), ("seven", "five letters"), ("12", "two digits"), ("x" * 40, "many")],
    )
    def test_length_by_hand(self, text: str, told: str):
        assert length(text).startswith(told)

    def test_nothing_ends_in_nothing(self):
        assert last_pieces("", 5) == last_pieces("  \n", 5) == []


class TestNearWords:
    def near_words(self, **vectors: list[float]) -> NearWords:
        """Every word of the vectors is a token, of the given direction; others are several."""
        listed = list(vectors)
        texts = [f"see the {' '.join(listed)} here"] * 3
        tokenizer = Listed(listed)
        return NearWords(texts, tokenizer, torch.tensor([*vectors.values(), [9.0, 9, 9, 9, 9, 9]]))

    def test_the_nearest_word_is_none_of_its_forms(self):
        plain = {"planet": [0, 0, 0, 1, 0, 0.0], "apart": [0, 0, 0, 0, 1, 0.0]}
        found = self.near_words(
            river=[1, 0.1, 0, 0, 0, 0],
            rivers=[1, 0.2, 0, 0, 0, 0],
            stream=[1, 0.6, 0, 0, 0, 0],
            brook=[1, 0.9, 0, 0, 0, 0],
            noise=[0, 0, 1, 0, 0, 0],
            **plain,
        )
        found.shared = torch.zeros(0, 6)  # so few words have no main directions in common
        rows = [found.tokenizer.words.index(word) for word in found.words]
        found.vectors, found.hubs = found._directions(found.embeddings[rows]), torch.zeros(7)
        assert found.near("river") == "stream"
        assert found.near("river", ["streams"]) == "brook"
        assert found.near("unknown") is None, "of several tokens"

    def test_common_words_are_in_many_texts_and_hold_some_meaning(self):
        texts = ["The Norway spruce and the river", "Norway, about a river", "In Norway a River"]
        assert common_words(texts) == ["Norway"], "`river` stands in two"
        assert common_words([*texts, "of a river"]) == ["Norway", "river"]

    @pytest.mark.parametrize(
        ("one", "other", "related"),
        [
            ("city", "cities", True),
            ("km", "km", True),
            ("claim", "proclaimed", True),
            ("Austria", "Austrian", True),
            ("population", "populous", True),
            ("southern", "northern", False),
            ("person", "people", False),
            ("km", "kilometres", False),
        ],
    )
    def test_forms_of_a_word(self, one: str, other: str, related: bool):
        assert kin(one, other) == kin(other, one) == related


class Listed:
    """Each listed word is one token, all else two."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self, texts: list[str], **_: bool) -> dict[str, list[list[int]]]:
        known = [text.strip() for text in texts]
        last = len(self.words)
        ids = [[self.words.index(w)] if w in self.words else [last, last] for w in known]
        return {"input_ids": ids}


class TestUnquoted:
    def test_no_words_of_the_end_are_told(self, made: tuple[Unquoted, list[dict[str, Any]]]):
        write, rows = made
        tokenizer = write.words.tokenizer
        for one in rows:
            text = write(one, tokenizer)
            source, told = words_of(one[TEXT])[-8:], words_of(text)
            runs = set(pairwise(source))
            assert runs.isdisjoint(pairwise(told)), (one[TEXT], text)
            last = last_pieces(one[TEXT], 1)[0].text.lower()
            if last not in GLOSSES and last[0].isalnum():
                assert last not in told, (one[TEXT], text)
            assert write(one, tokenizer) == text, "the same again"

    def test_only_next_tokens_stand_in_quotation_marks(
        self, made: tuple[Unquoted, list[dict[str, Any]]]
    ):
        write, rows = made
        for one in rows[::5]:
            found = outline(write(one, write.words.tokenizer))
            assert found.quotations == [], found.text
            assert found.statements[0].kind == END, found.text
            assert found.of_kind(NEXT), found.text

    def test_it_is_as_long_as_a_teacher_that_quotes_and_says_as_much(
        self, made: tuple[Unquoted, list[dict[str, Any]]]
    ):
        write, rows = made
        tokenizer = write.words.tokenizer
        texts = [write(one, tokenizer) for one in rows]
        lengths = [len(ids) for ids in encode(tokenizer, texts)]
        quoted = [len(ids) for ids in encode(tokenizer, [compose(o, tokenizer) for o in rows])]
        assert max(lengths) <= MAX_TOKENS
        assert statistics.mean(lengths) == pytest.approx(statistics.mean(quoted), rel=0.2)
        begun = tuple(p.partition("{")[0] for group in PHRASES.values() for p in group)
        assert sum(text.startswith(begun) for text in texts) > 0.9 * len(texts)

    def test_by_hand(self, made: tuple[Unquoted, list[dict[str, Any]]]):
        write, _ = made
        one = row("The old town lies in", **{TITLE: "Bern", NEXT_TOKENS: [" in", " a"]})
        text = write(one | {NEXT_PROBS: [0.6, 0.3]}, write.words.tokenizer)
        assert "inner place preposition" in text
        assert '"in"' not in text, "a next token that repeats the last word is left out"
        assert '"a"' in text
        assert "Bern" in text

    def test_an_unfinished_word_and_an_article(self, made: tuple[Unquoted, list[dict[str, Any]]]):
        write, _ = made
        part = row("The shores of Marse", **{NEXT_TOKENS: ["ille"], NEXT_PROBS: [0.9]})
        assert "an unfinished name, so far five letters" in write(part, write.words.tokenizer)
        article = write(row("They went to a"), write.words.tokenizer)
        end = article.partition(".")[0]
        assert "indefinite article" in end
        assert "a" not in end.lower().split()

    def test_facts_that_hold_the_last_words_are_left_out(self):
        about = {TITLE: "Music of Norway", DESCRIPTION: "Songs", TOPIC: "Arts"}
        end = End(row("It is the music of", **about))
        kept = end.without(row("It is the music of", **about))
        assert (kept[TITLE], kept[DESCRIPTION], kept[TOPIC]) == (None, "Songs", "Arts")
        last = End(row("All sing songs", **about))
        kept = last.without(row("All sing songs", **about))
        assert (kept[TITLE], kept[DESCRIPTION]) == ("Music of Norway", None)
        assert kept[TEXT] == "All sing "

    def test_a_text_without_words(self, made: tuple[Unquoted, list[dict[str, Any]]]):
        write, _ = made
        text = write(row(" \n", **{TITLE: "Nothing"}), write.words.tokenizer)
        assert "Nothing" in text


def test_a_format_may_be_a_class_and_must_exist(places: TrunkPlaces):
    assert format_of(TeacherConfig(), places) is compose
    with pytest.raises(NlaError, match=r"teacher\.format 'common.data.unquoted:Quoted'"):
        format_of(TeacherConfig(format="common.data.unquoted:Quoted"), places)


def test_a_text_in_another_vocabulary(places: TrunkPlaces):
    """Nothing depends on how a tokenizer marks the start of a word."""
    tokenizer = sentencepiece(["The long road came to the valley in March"] * 3)
    words = NearWords(["valley road"] * 3, tokenizer, torch.randn(len(tokenizer), 8))
    assert words.near("valley") in (None, "road")
