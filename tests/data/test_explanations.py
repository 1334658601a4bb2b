import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from common.config import TeacherConfig
from common.data import syntax
from common.data.explanations import COLUMNS, write_explanations
from common.data.offline_teacher import MAX_TOKENS, compose, salient_words
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
from common.target.text import decode_next, encode_document
from common.target.tiny import tiny_target
from common.target.tiny_corpus import tiny_documents
from tests.tokenizers import sentencepiece

BOOK = [
    "The long road came to the valley in March",
    "They saw the lake and the wide valleys in Marseille",
]
PLACES = TrunkPlaces("test")
ABOUT_CIVIL_RIGHTS = {TITLE: "Civil rights", DESCRIPTION: "Set of rules", TOPIC: "Law"}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_target()[1]


class WordTokenizer:
    """One token per word with the space before it: lengths and quotes can be counted by hand."""

    def __init__(self, text: str) -> None:
        self.words = re.findall(r"\s*\S+|\s+$", text)
        self.ids = list(range(len(self.words)))
        self.tokens_per_word = 1

    def __call__(self, texts: str | list[str], **_: bool) -> dict[str, list]:
        one = isinstance(texts, str)
        counts = [self.tokens_per_word * len(t.split()) for t in ([texts] if one else texts)]
        ids = [list(range(count)) for count in counts]
        return {"input_ids": ids[0] if one else ids}

    def batch_decode(self, rows: list[list[int]], **_: bool) -> list[str]:
        return ["".join(self.words[index] for index in ids) for ids in rows]


def row(text: str, next_tokens: list[str], next_probs: list[float], **about: object) -> dict:
    tokenizer = WordTokenizer(text)
    return {
        "tokenizer": tokenizer,
        DOC_ID: "d",
        POSITION: 17,
        TEXT: text,
        TOKEN_IDS: tokenizer.ids,
        NEXT_TOKENS: next_tokens,
        NEXT_PROBS: next_probs,
        **about,
    }


def composed(values: dict) -> str:
    return compose(values, values["tokenizer"])


def quotes(explanation: str) -> list[str]:
    return re.findall(r'"([^"]*)"', explanation)


TEXT_ON_RIGHTS = "In a free society all have equal rights, liberties and autonomy, and"


class TestCompose:
    def test_the_first_quote_is_the_end_of_the_text_then_the_predictions(self):
        explanation = composed(
            row(TEXT_ON_RIGHTS, [" respect", " freedom"], [0.3, 0.2], **ABOUT_CIVIL_RIGHTS)
        )
        assert quotes(explanation) == [
            "equal rights, liberties and autonomy, and",
            "respect",
            "freedom",
        ]

    def test_the_statements_come_in_a_fixed_order(self):
        explanation = composed(
            row(TEXT_ON_RIGHTS, [" respect", " freedom"], [0.3, 0.2], **ABOUT_CIVIL_RIGHTS)
        )
        places = [
            explanation.index(part)
            for part in (
                'autonomy, and"',
                '"respect"',
                "law: Civil rights, Set of rules",
                "after a",
            )
        ]
        assert places == sorted(places)

    def test_it_depends_on_the_row_alone(self):
        values = row(TEXT_ON_RIGHTS, [" respect"], [0.9], **ABOUT_CIVIL_RIGHTS)
        assert composed(values) == composed(dict(values))

    def test_wording_varies_between_positions(self):
        values = row(TEXT_ON_RIGHTS, [" respect"], [0.9], **ABOUT_CIVIL_RIGHTS)
        assert len({composed(values | {POSITION: place}) for place in range(40)}) > 10

    @pytest.mark.parametrize(
        ("probs", "word", "shown"),
        [
            ([0.9, 0.05, 0.01], "almost surely", 1),
            ([0.6, 0.05, 0.01], "probably", 2),
            ([0.3, 0.20, 0.01], "perhaps", 2),
            ([0.1, 0.05, 0.01], "open", 3),
        ],
    )
    def test_the_words_say_how_sure_the_target_is(self, probs: list, word: str, shown: int):
        explanation = composed(row(TEXT_ON_RIGHTS, [" a", " b", " c"], probs, **ABOUT_CIVIL_RIGHTS))
        assert word in explanation.lower()
        assert quotes(explanation)[1:] == ["a", "b", "c"][:shown]

    def test_an_unsure_single_prediction_is_not_called_sure(self):
        explanation = composed(row(TEXT_ON_RIGHTS, [" a"], [0.1], **ABOUT_CIVIL_RIGHTS))
        assert "sure" not in explanation

    def test_without_predictions_nothing_is_said_of_them(self):
        explanation = composed(row(TEXT_ON_RIGHTS, [], [], **ABOUT_CIVIL_RIGHTS))
        assert len(quotes(explanation)) == 1

    def test_inner_quotes_and_newlines_leave_the_quotes_balanced(self):
        text = 'He wrote "all men are\n\nborn “free” and "equal" in'
        explanation = composed(row(text, ['"', "\n", "<|im_end|>"], [0.1, 0.1, 0.1]))
        assert explanation.count('"') % 2 == 0
        assert "\n" not in explanation
        assert "<|" not in explanation
        assert quotes(explanation) == ["are born 'free' and 'equal' in", "'"]
        assert "a line break" in explanation
        assert "the end" in explanation

    @pytest.mark.parametrize("token", ["<|im_end|>", "</s>", "<eos>", "<\uff5cend\uff5c>"])
    def test_an_end_is_said_in_words(self, token: str):
        explanation = composed(row(TEXT_ON_RIGHTS, [token], [0.9]))
        assert re.search("(surely|followed by) the end", explanation)

    def test_a_text_of_which_nothing_is_known_gets_its_own_words(self):
        text = "The mill stood by the river. The mill turned, the river ran, the mill"
        explanation = composed(row(text, [" was"], [0.9], title=None))
        assert "mill, river" in explanation
        assert "None" not in explanation

    def test_uncategorized_is_no_topic(self):
        about = ABOUT_CIVIL_RIGHTS | {TOPIC: "Uncategorized"}
        assert "ncategorized" not in composed(row(TEXT_ON_RIGHTS, [" a"], [0.9], **about))

    def test_the_least_important_statement_gives_way(self):
        about = {TITLE: "T" * 3, DESCRIPTION: "one two three four", TOPIC: "Law"}
        values = row(TEXT_ON_RIGHTS, [" a"], [0.9], **about)
        values["tokenizer"].tokens_per_word = 4
        explanation = composed(values)
        assert len(explanation.split()) * 4 <= MAX_TOKENS
        assert "autonomy, and" in explanation
        assert "sentence" not in explanation

    def test_on_the_tiny_corpus_every_explanation_is_quoted_well(self, tokenizer: Any):
        for index, document in enumerate(list(tiny_documents())[:60]):
            ids = tokenizer.encode(document[TEXT])[: 20 + index]
            values = {DOC_ID: str(index), POSITION: len(ids) - 1, TOKEN_IDS: ids, **document}
            values |= {TEXT: tokenizer.decode(ids), NEXT_TOKENS: [" the"], NEXT_PROBS: [0.5]}
            explanation = compose(values, tokenizer)
            quote = quotes(explanation)[0]
            assert values[TEXT].replace('"', "'").endswith(quote)
            assert explanation.count('"') == 4


def test_salient_words_are_counted_without_function_words():
    assert salient_words("The mill and the river. With mills, Mill by river would be") == [
        "river",
        "mill",
        "mills",
    ]


class TestSentencePiece:
    """Where a token loses its space, and half a character its sense, when it is decoded alone."""

    @pytest.fixture(scope="class")
    def sentencepiece(self) -> Any:
        return sentencepiece(BOOK)

    @pytest.mark.parametrize(
        ("text", "next_token", "wanted"),
        [
            ("It came to the valley in", "\u2581March", "after a preposition, noun phrase next"),
            ("The road in Mar", "ch", "inside an unfinished word"),
        ],
    )
    def test_a_next_token_is_shown_as_it_would_be_written(
        self, sentencepiece: Any, text: str, next_token: str, wanted: str
    ):
        ids = encode_document(sentencepiece, text)
        choice = sentencepiece.convert_tokens_to_ids(next_token)
        assert syntax.state(text, *decode_next(sentencepiece, ids, [choice])) == wanted

    @pytest.mark.parametrize(
        ("text", "quoted"),
        [
            ("Thevalley", "Thevalley"),
            ("the road in March", "the road in March"),
            ("saw the lake and the wide valleys in March", "and the wide valleys in March"),
            ("They saw the lake in 1914", "in 1914"),
            ("They saw the lake \u5317\u4eac", "\u5317\u4eac"),
        ],
    )
    def test_the_quote_starts_with_a_whole_word(self, sentencepiece: Any, text: str, quoted: str):
        ids = encode_document(sentencepiece, text)
        values = {DOC_ID: "d", POSITION: len(ids) - 1, TOKEN_IDS: ids, TEXT: text}
        explanation = compose(values | {NEXT_TOKENS: [], NEXT_PROBS: []}, sentencepiece)
        assert quotes(explanation)[0] == quoted


class TestSyntax:
    @pytest.mark.parametrize(
        ("text", "next_token", "wanted"),
        [
            ("The photo", "synthesis", "inside an unfinished word"),
            ("Built in 19", "14", "inside an unfinished number"),
            ("It lies in the", " north", "after an article, noun next"),
            ("It lies in", " the", "after a preposition, noun phrase next"),
            ("salt and", " tin", "after a conjunction, parallel item next"),
            ("They grow rye, wheat,", " and", "after a comma in a list"),
            ("When the long war ended at last,", " he", "after a comma, clause goes on"),
            ("It ended.", " It", "sentence just ended"),
            ("Born in St.", " Gallen", "after an abbreviation"),
            ("It began in 1914", ",", "after a year"),
            ("about 35", " men", "after a number"),
            ("on 4 July", " 1776", "after a month, date goes on"),
            ("It was Berlin", ".", "after a name, pause next"),
            ("the long river", " of", "after a content word"),
            ("it flows quickly", " to", "after an adverb"),
            ("the city (", "G", "parenthesis just opened"),
            ("   ", " a", "after a sign or mark"),
            ("", "", "after a sign or mark"),
        ],
    )
    def test_state(self, text: str, next_token: str, wanted: str):
        assert syntax.state(text, next_token) == wanted

    def test_open_brackets_of_the_last_sentence_alone(self):
        assert syntax.surroundings("A (b. Then he said") == []
        assert syntax.surroundings('First. It (called "the') == [
            "inside a parenthesis",
            "inside a quotation",
        ]
        assert syntax.surroundings('It (called "the") is') == []
        assert syntax.surroundings('It came as a 7" single, later as a 12" one') == []
        assert syntax.surroundings('A 7" single called "In 19') == ["inside a quotation"]
        assert syntax.surroundings('It came out "in 1914" as') == []

    def test_ordinal(self):
        assert syntax.ordinal("It was") == "first"
        assert syntax.ordinal("It was. He went to J. S. Bach. Then") == "third"
        assert syntax.ordinal("It was. " * 20 + "Then") == "later"


@pytest.fixture
def activations() -> pl.DataFrame:
    words = WordTokenizer(TEXT_ON_RIGHTS)
    shared = {SPLIT: "rl", TOKEN_IDS: words.ids, TEXT: TEXT_ON_RIGHTS}
    shared |= {NEXT_TOKENS: [" respect"], NEXT_PROBS: [0.9]}
    rows = [
        {KEY: f"{doc}:{place}", DOC_ID: doc, POSITION: place, **shared}
        for doc, place in [("b", 20), ("a", 18), ("a", 30)]
    ]
    return pl.DataFrame(rows)


@pytest.fixture
def corpus() -> pl.DataFrame:
    rows = [
        {DOC_ID: "a", TITLE: "Civil rights", DESCRIPTION: "Set of rules", TOPIC: "Law"},
        {DOC_ID: "b", TITLE: None, DESCRIPTION: None, TOPIC: None},
    ]
    return pl.DataFrame(rows)


class TestWriteExplanations:
    def test_one_row_per_activation_in_their_order(
        self,
        activations: pl.DataFrame,
        corpus: pl.DataFrame,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ):
        monkeypatch.chdir(tmp_path)
        out = PLACES.explanations
        words = WordTokenizer(TEXT_ON_RIGHTS)
        write_explanations(activations.lazy(), corpus, words, PLACES, TeacherConfig())
        table = pl.read_parquet(out)
        assert tuple(table.columns) == COLUMNS
        assert table[KEY].to_list() == ["b:20", "a:18", "a:30"]
        about = corpus.row(0, named=True)
        rows = activations.row(1, named=True) | about
        assert table[EXPLANATION][1] == compose(rows, words)
        manifest = json.loads(out.with_suffix(".manifest.json").read_text())
        assert (manifest["rows"], manifest["failed"], manifest["teacher"]) == (3, 0, "offline")

    def test_activations_of_another_corpus_are_refused(
        self, activations: pl.DataFrame, corpus: pl.DataFrame
    ):
        words = WordTokenizer(TEXT_ON_RIGHTS)
        with pytest.raises(NlaError, match=r"1 activations belong to no document .*\[b\]"):
            write_explanations(activations, corpus.head(1), words, PLACES, TeacherConfig())

    def test_no_activations(self, activations: pl.DataFrame, corpus: pl.DataFrame):
        with pytest.raises(NlaError, match="none of 0 activations"):
            write_explanations(activations.clear(), corpus, None, PLACES, TeacherConfig())
