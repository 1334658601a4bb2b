import pytest

from common.errors import NlaError
from common.metrics.degeneration import degeneration, sameness
from common.metrics.quotes import (
    longest_common_substring,
    quote_share,
    quoted_spans,
    verbatim_ngram_share,
    verbatim_spans,
)
from common.metrics.words import ngrams, tokens, words


def test_words_and_tokens():
    assert words("It's “Déjà vu”, HE said.") == ["it's", "déjà", "vu", "he", "said"]
    assert tokens('It’s "a", b_2.') == ["It’s", '"', "a", '"', ",", "b_2", "."]  # noqa: RUF001


def test_where_no_space_parts_words_every_sign_is_one():
    assert words("In 北京, ラーメン屋 and 2号线") == [
        *("in", "北", "京", "ラ", "ー", "メ", "ン", "屋", "and", "2", "号", "线")
    ]
    assert tokens("中・国“好”。") == ["中", "・", "国", "“", "好", "”", "。"]


def test_ngrams():
    assert ngrams(["a", "b", "a"], 2) == [("a", "b"), ("b", "a")]
    assert ngrams(["a", "b"], 3) == []
    assert ngrams(["a", "a"], 1) == [("a",), ("a",)]


def test_runs_of_no_words_are_refused():
    with pytest.raises(NlaError, match="runs of 0 words"):
        ngrams(["a"], 0)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "measure",
    [
        words,
        tokens,
        quoted_spans,
        quote_share,
        lambda text: verbatim_spans("a", text),
        lambda text: verbatim_spans(text, "a"),
        lambda text: verbatim_ngram_share("a b", text),
        lambda text: verbatim_ngram_share(text, "a b"),
        lambda text: longest_common_substring("a", text),
        lambda text: longest_common_substring(text, ""),
        lambda text: sameness(["a b c", text]),
        lambda text: degeneration(["a", text], [1, 1], 4),
    ],
)
def test_a_text_that_is_none_is_refused(measure):
    with pytest.raises(NlaError, match=r"None is no text: drop and count the rows"):
        measure(None)
