import random

import pytest

from common.metrics.quotes import (
    longest_common_substring,
    quote_share,
    quoted_spans,
    unpaired_marks,
    verbatim_ngram_share,
)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('Ends with "a dog"; next "ran", "sat".', ["a dog", "ran", "sat"]),
        ("It says “two words” here", ["two words"]),
        ('mixed "say “x” now" and “y"z”', ["say “x” now", 'y"z']),
        ('Ends with "a dog', []),
        ('Ends with "a dog. Next "ran", else "sat". On dogs.', ["ran", "sat"]),
        ('Ends with a dog"; next "ran", "sat".', ["ran", "sat"]),
        ('"a" then "b', ["a"]),
        ('Next ",", else ".", or "(".', [",", ".", "("]),
        ('tight"ly", ("so") and "the ".', ["ly", "so", "the "]),
        ('a 6" pipe, 8" wide, and "a dog"', ["a dog"]),
        ('"in 1914" and "19"', ["in 1914", "19"]),
        ("\"it's the dog's\" here", ["it's the dog's"]),
        ("German „ein Hund“, „so” and “x”", ["ein Hund", "so", "x"]),
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
    assert quote_share('Ends with "a dog') == 0.0, "a mark without a partner opens nothing"
    # Of 17 words and marks, one stands inside.
    assert quote_share('Ends with "a dog. Next "ran". A text on dogs and cats') == pytest.approx(
        1 / 17
    )
    assert quote_share("") == 0.0


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('Ends with "a dog"; next “ran” and ""', 0),
        ('Ends with "a dog. Next "ran".', 1),
        ('Ends with a dog". Next ran".', 2),
        ("“a and b” or „c", 1),
        ('a 6" pipe', 0),
        ('"a 6 pipe', 1),
        ("", 0),
    ],
)
def test_marks_without_a_partner_are_counted(text, count):
    assert unpaired_marks(text) == count


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
