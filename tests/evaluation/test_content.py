import polars as pl
import pytest

from common.evaluation.content import HITS, content, content_measures, names_token
from common.evaluation.known import Known, known_of, word_class
from common.evaluation.spoken import Spoken
from common.evaluation.test_set import TestSet
from common.schema import DOC_ID, KEY, TEACHER, TEXT, TOKEN_IDS

LAKE = Known("a", "A lake in the", (" hills", " north", " hill"), "Lake of the Hills", "geography")
LAW = Known("b", "Rights, and", (" so", "."), "Liberty", "law and crime")


@pytest.mark.parametrize(
    ("text", "token", "named"),
    [
        ("Next may be the Hills.", " hills", True),
        ("Next may be the hillside.", " hills", False),
        ('Next may be "ing".', "ing", True),
        ("In 1914", "1914", True),
        ("In 19 14", "1914", False),
        ('Perhaps "1" or "2".', "2", True),
        ('Next ",", else "and".', ",", True),
        ('Ends, next "and", "or"', ",", False),
        ('It says ",a"', ",", False),
        ("Next a line break or more.", "\n\n", True),
        ("Next a  line-break.", "\n", True),
        ("Next a space.", " ", True),
        ("Next a line.", "\n", False),
        ("Almost surely the last.", "<|endoftext|>", False),
        ("Almost surely the end.", "<|im_end|>", True),
        ("Almost surely a rare sign.", "\ufffd", True),
        ("", " hills", False),
    ],
)
def test_a_token_is_named_by_its_word_its_sign_or_its_name(text: str, token: str, named: bool):
    assert names_token(text, token) == named


def hits(text: str, known: Known) -> list[float | None]:
    return [hit(text, known) for hit in HITS.values()]


def test_hits_by_hand():
    assert LAKE.syntax == "after an article, noun next"
    text = 'Perhaps "north". Geography: a lake. After an article.'
    assert hits(text, LAKE) == [0, 1, 0, 1, 1]  # hills; `of the` do not count, nor a copied lake
    assert hits("Hills! An article, noun.", LAKE) == [1, 1, 1, 0, 1]
    assert hits("Rights and crime; a conjunction.", LAW) == [0, 0, 0, 0.5, 1]
    assert hits("", LAW) == [0, 0, 0, 0, 0]


def test_what_is_not_known_is_no_miss():
    text = "A lake, a content word, a name"
    assert hits(text, Known("c", "a lake")) == [None, None, None, None, 1]
    assert hits(text, Known("c", "a lake", title="It", topic="of the")) == [None] * 4 + [1]


def test_hits_of_another_documents_explanation_are_subtracted():
    texts = ['Next "hills". On geography: Lake of the Hills.', 'Next "so". On law: Lake.']
    found = content(texts, [LAKE, LAW._replace(topic=None)])
    assert found == {
        "content_next_top1": [1, 1],
        "content_next_top5": [1, 1],
        "content_title": [1, 0],
        "content_topic": [1, None],
        "content_syntax": [0, 0],
        "content": [4 / 5, 2 / 4],
    }


def test_chance_is_the_mean_over_all_texts_and_what_it_leaves_counts_as_whole():
    """A word that half of the other texts hold: (1 - .5) / (1 - .5), and (0 - .5) / (1 - .5)."""
    known = [Known(name, "It is", (" so",)) for name in "abcd"]
    found = content(["so", "so", "no", "no"], known)
    assert found["content_next_top1"] == [1, 1, -1, -1]


def test_a_next_word_that_stands_among_the_last_ones_is_not_asked_for():
    known = Known("a", "so it is so", (" so", " it", " that"))
    assert hits("so", known)[:2] == [None, 0]
    assert hits("that", known)[:2] == [None, 1]


def test_a_text_for_all_has_no_content():
    everywhere = ["hills so lake liberty law crime geography article conjunction"] * 2
    found = content(everywhere, [LAKE, LAW])
    assert {value for values in found.values() for value in values} == {0}


@pytest.mark.parametrize(
    ("text", "token", "name"),
    [
        ("A lake", " in", "preposition"),
        ("A lake", " The", "article"),
        ("A lake", " and", "conjunction"),
        ("A lake", " their", "determiner"),
        ("A lake", " is", "auxiliary"),
        ("A lake", " which", "connective"),
        ("A lake", " it", "pronoun"),
        ("A lake", " Geneva", "name"),
        ("A lake", " deep", "content word"),
        ("A lake", "side", "rest of a word"),
        ("In 19", "14", "number"),
        ("A lake", ",", "punctuation"),
        ("A lake", "\n", "no sign"),
        ("A lake", "<|im_end|>", "no sign"),
    ],
)
def test_classes_of_tokens(text: str, token: str, name: str):
    assert word_class(text, token) == name


def test_the_facts_of_activations_come_in_the_order_of_the_keys(held_out: TestSet):
    keys = held_out.keys[::-1]
    known, ids = known_of(held_out.trunk, keys)
    table = held_out.table.reverse()
    assert [one.doc_id for one in known] == table[DOC_ID].to_list()
    assert [one.text for one in known] == table[TEXT].to_list()
    assert ids == table[TOKEN_IDS].to_list()
    assert all(len(one.next_tokens) == 5 and one.title for one in known)


def test_the_teacher_names_what_it_knows(held_out: TestSet):
    texts = held_out.table[TEACHER].to_list()
    spoken = Spoken(held_out, None, lambda _: None, texts, 0, held_out.table.head(0))
    found = content_measures(spoken)
    assert set(found["measure"]) <= {*HITS, "content"}
    assert found.filter(measure="content")[KEY].to_list() == held_out.keys
    means = dict(found.group_by("measure").agg(pl.col("value").mean()).iter_rows())
    assert all(0 < value <= 1 for value in means.values())
    known, _ = known_of(held_out.trunk, held_out.keys)
    top = [HITS["content_next_top1"](*pair) for pair in zip(texts, known, strict=True)]
    assert set(top) - {None} == {1.0}, "it always names the first"
