import random

import pytest

from common.metrics.quotes import (
    longest_common_substring,
    quote_share,
    quoted_spans,
    verbatim_ngram_share,
)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('Ends with "a dog"; next "ran", "sat".', ["a dog", "ran", "sat"]),
        ("It says “two words” here", ["two words"]),
        ('mixed "say “x” now" and “y"z”', ["say “x” now", 'y"z']),
        ('Ends with "a dog', []),
        ('"a" then "b', ["a"]),
        ('open "mark and “curly”', ["curly"]),
        ("open “mark and “curly”", ["curly"]),
        ('blank "" and " " but "x"', ["x"]),
        ("it's 'single' only", []),
        ("", []),
    ],
)
def test_spans_are_text_between_marks(text, quoted):
    assert [text[start:end] for start, end in quoted_spans(text)] == quoted


def test_share_counts_words_and_marks():
    # Ends, with, ", ", . outside; a, dog inside.
    assert quote_share('Ends with "a dog".') == pytest.approx(2 / 7)
    assert quote_share("no quotation") == 0.0
    assert quote_share('Ends with "a dog') == pytest.approx(2 / 6), "forgotten marks are no escape"
    assert quote_share("") == 0.0


def test_share_takes_any_tokenizer():
    assert quote_share('ab"cd"', tokenize=list) == pytest.approx(2 / 6)


def test_verbatim_ngrams_fold_case_and_skip_punctuation():
    source = "The quick brown fox jumps over the lazy dog."
    # One of two 4-grams: (the quick brown fox), (quick brown fox sleeps).
    assert verbatim_ngram_share('THE quick, "brown" fox sleeps', source) == 0.5
    assert verbatim_ngram_share("quick brown fox", source) == 0.0
    assert verbatim_ngram_share("quick brown cat", source, n=2) == 0.5
    assert verbatim_ngram_share(source, source) == 1.0


def test_longest_common_substring_by_hand():
    assert longest_common_substring("xxabcdyy", "zabcdz") == 4
    assert longest_common_substring("abc", "xyz") == 0
    assert longest_common_substring("", "abc") == 0
    assert longest_common_substring("same", "same") == 4


def test_longest_common_substring_matches_brute_force():
    generator = random.Random(0)
    for _ in range(50):
        a, b = ("".join(generator.choices("ab ", k=12)) for _ in range(2))
        pieces = {a[i:j] for i in range(len(a) + 1) for j in range(i, len(a) + 1)}
        assert longest_common_substring(a, b) == max(len(piece) for piece in pieces if piece in b)
        assert longest_common_substring(a, b) == longest_common_substring(b, a)
