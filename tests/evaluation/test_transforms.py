import re
from collections import Counter

import pytest

from common.errors import NlaError
from common.evaluation import transforms
from common.evaluation.synonyms import SYNONYMS
from common.metrics.quotes import quoted_spans
from common.metrics.words import tokens

TEXT = (
    "Encyclopedia text on law: Liberty, set of rights by A. B. Smith. "
    'Ends with "text about rights. And"; next may be "respect", "freedom".'
)


class Characters:
    """A tokenizer of one token per character."""

    def __call__(self, texts: str | list[str], **_: bool) -> dict[str, list]:
        encoded = [[ord(char) for char in text] for text in texts]
        return {"input_ids": encoded if isinstance(texts, list) else encoded[0]}

    def batch_decode(self, rows: list[list[int]], **_: bool) -> list[str]:
        return ["".join(map(chr, ids)) for ids in rows]


def quotations(text: str) -> list[str]:
    return [text[start:end] for start, end in quoted_spans(text)]


def test_quotes_only():
    assert transforms.quotes_only(TEXT) == '"text about rights. And" "respect" "freedom"'
    assert transforms.quotes_only("so “curly” too") == "“curly”"
    assert transforms.quotes_only("none") is None
    assert transforms.quotes_only('an open "mark') is None


def strip_all(text: str) -> str | None:
    return transforms.stripped(text, quoted_spans(text))


def strip_randomly(text: str, key: object) -> str | None:
    return transforms.random_stripped(text, quoted_spans(text), key)


def test_stripped():
    assert strip_all(TEXT) == (
        "Encyclopedia text on law: Liberty, set of rights by A. B. Smith. Ends with; next may be,."
    )
    assert strip_all("none") is None
    assert strip_all('"all", "quoted".') is None


def test_random_stripped_removes_as_many_words_and_marks():
    quoted = sum(len(tokens(f'"{quotation}"')) for quotation in quotations(TEXT))
    assert quoted == 13
    for key in range(50):
        found = strip_randomly(TEXT, key)
        assert found is not None
        assert len(tokens(found)) == len(tokens(TEXT)) - quoted
        assert Counter(tokens(found)) <= Counter(tokens(TEXT))


def test_random_stripped_is_uniform_and_keyed():
    text = 'a b c "d"'
    drawn = Counter(strip_randomly(text, key) for key in range(2000))
    assert set(drawn) == {'"d"', 'a d"', 'a b "', "a b c"}
    assert all(abs(count - 500) < 100 for count in drawn.values())
    assert strip_randomly(TEXT, "k") == strip_randomly(TEXT, "k")


def test_random_stripped_does_not_glue_words_together():
    text = 'note-book rock-salt far-off "one two three"'
    known = set(tokens(text))
    for key in range(100):
        found = strip_randomly(text, key)
        assert found is None or set(tokens(found)) <= known


def test_random_stripped_places_stretches_uniformly():
    # A stretch of two and one of one in five words: 12 arrangements of 2 free words.
    arrangements = {
        tuple(transforms._random_stretches(5, [2, 1], transforms.keyed_random(key)))
        for key in range(500)
    }
    assert len(arrangements) == 12
    assert all(first[1] < second[0] for first, second in arrangements)


def test_random_stripped_needs_quotes_and_a_rest():
    assert strip_randomly("none here", 0) is None
    assert strip_randomly('"all quoted"', 0) is None
    assert strip_randomly('"a"/"b"', 0) in ("/", None)


def test_paraphrase_keeps_quotations_and_changes_the_rest():
    text = transforms.paraphrase(TEXT, "k")
    assert text is not None
    assert sorted(quotations(text)) == sorted(quotations(TEXT))
    statements = [
        "Reference work passage about law: Liberty, set of rights by A. B. Smith.",
        'Closes with "text about rights. And".',
        'What follows could be "respect", "freedom".',
    ]
    assert text != " ".join(statements)
    rest = text
    for statement in statements:
        assert rest.count(statement) == 1
        rest = rest.replace(statement, "")
    assert not rest.strip()
    assert text == transforms.paraphrase(TEXT, "k")


def test_paraphrase_leaves_names_and_unknown_words():
    assert transforms.paraphrase("A series: Topic of The Last Words", 0) is None
    assert transforms.paraphrase('Says "the last words"', 0) is None
    assert transforms.paraphrase("The last words", 0) == "The final terms"
    assert transforms.paraphrase("Probably so", 0) == "Presumably so"


def test_paraphrase_always_reorders():
    for key in range(20):
        assert transforms.paraphrase("Cats. Dogs.", key) == "Dogs. Cats."


def test_paraphrase_keeps_the_order_of_a_text_with_an_unpaired_mark():
    text = 'Mentions words. Ends with "a text. The'
    assert transforms.paraphrase(text, 0) == 'Names terms. Closes with "a passage. The'
    text = 'Ends with "a text. Next perhaps "words".'
    assert transforms.paraphrase(text, 0) == 'Closes with "a passage. Then maybe "words".'


def test_an_unpaired_mark_is_no_quotation_to_strip():
    text = 'Ends with "a text. Next perhaps "words".'
    assert transforms.quotes_only(text) == '"words"'
    assert strip_all(text) == 'Ends with "a text. Next perhaps.'


def test_synonyms_change_something():
    for phrase, replacement in SYNONYMS.items():
        assert phrase == phrase.lower() != replacement
        assert not re.search('["“”.;]', phrase + replacement)


def test_prefix():
    assert transforms.prefix("abcd", 2, Characters()) == "ab"
    assert transforms.prefix("abcd", 4, Characters()) == "abcd"
    assert transforms.prefix("abcd", 5, Characters()) is None
    with pytest.raises(NlaError):
        transforms.prefix("abcd", 0, Characters())


def test_coverage_counts_what_applied():
    assert transforms.coverage(["a", None, "", None]) == 0.5
    with pytest.raises(NlaError):
        transforms.coverage([])


def test_transform_all_never_gives_the_original_back():
    texts = [TEXT, "none here", 'Ends with "x y"']
    sources = ["A text about rights. And", "none here", "something else"]
    transformed = transforms.transform_all(texts, ["a:1", "a:2", "b:1"], sources)
    assert list(transformed) == [
        "quotes_only",
        "quotes_stripped",
        "random_stripped",
        "verbatim_stripped",
        "verbatim_random_stripped",
        "paraphrase",
    ]
    for column in transformed.values():
        assert len(column) == 3
        assert all(new != old for new, old in zip(column, texts, strict=True))
        assert column[1] is None
    assert transformed["random_stripped"][0] == strip_randomly(TEXT, "a:1")
    with pytest.raises(NlaError):
        transforms.transform_all(texts, ["a:1"], sources)


def test_only_quotations_of_the_source_are_stripped_as_verbatim():
    source = "Long ago there was a text  about rights. And respect"
    found = transforms.transform_all([TEXT], ["a:1"], [source])
    assert found["verbatim_stripped"] == [
        "Encyclopedia text on law: Liberty, set of rights by A. B. Smith. "
        'Ends with; next may be "respect", "freedom".'
    ], "one word that happens to stand in the source is no quotation of it"
    (random,) = found["verbatim_random_stripped"]
    assert random is not None
    assert len(tokens(random)) == len(tokens(TEXT)) - 7
    elsewhere = transforms.transform_all([TEXT], ["a:1"], ["nothing of it"])
    assert elsewhere["verbatim_stripped"] == elsewhere["verbatim_random_stripped"] == [None]
