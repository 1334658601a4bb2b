import pytest

from common.evaluation.statements import (
    FORMATS,
    KINDS,
    NEXT,
    OTHER,
    QUOTE,
    SYNTAX,
    TOPIC,
    outline,
)

WORDS = {
    "quote": "in the U.S. of 1950. In the",
    "first": '"second"',
    "second": "a line break",
    "third": '"."',
    "last": "a noun like river, five letters",
    "before": "a preposition",
    "topic": "biology and health",
    "subject": "St. Louis, Town (pop. 300) by A. B. Smith",
    "words": "river, bridge, arch",
    "ordinal": "second",
    "state": "after an article, noun next",
}
PHRASES = [
    (KINDS[name], phrase.format(**WORDS))
    for phrases in FORMATS
    for name, templates in phrases.items()
    for phrase in templates
]
"""Each phrase of the offline formats, its fields filled, with its kind."""


def kinds(text: str) -> list[tuple[str, str]]:
    return [(kind, text[start:end]) for kind, start, end in outline(text).statements]


def test_every_phrase_of_an_offline_format_has_a_name_with_a_kind():
    assert {name for phrases in FORMATS for name in phrases} == KINDS.keys()


@pytest.mark.parametrize("phrase", PHRASES)
def test_every_phrase_of_the_offline_formats_is_known(phrase: tuple[str, str]):
    before, after = (QUOTE, 'Ends with "It is".'), (SYNTAX, "Here after a name, first sentence.")
    text = f"{before[1]} {phrase[1]} {after[1]}"
    assert kinds(text) == [before, phrase, after]
    assert kinds(phrase[1]) == [phrase]


def test_a_composed_explanation_in_its_parts():
    text = (
        'The text stops at "of rights. And". Perhaps "respect" or "law" follows.'
        " On law: Liberty, Set of rights by A. B. Smith. Mentions free, state."
        " Syntax: second sentence, after a conjunction, parallel item next."
    )
    assert [kind for kind, _ in kinds(text)] == [QUOTE, NEXT, TOPIC, TOPIC, SYNTAX]
    found = outline(text)
    assert found.quoted == [found.ending_words] == ["of rights. And"]
    start, end = found.of_kind(TOPIC)
    assert text[start:end] == (
        "On law: Liberty, Set of rights by A. B. Smith. Mentions free, state."
    )
    assert found.of_kind(OTHER) is None


def test_statements_of_a_kind_apart_are_not_one_part():
    text = "About dogs. Perhaps it ends. About cats."
    start, end = outline(text).of_kind(TOPIC)
    assert text[start:end] == "About dogs."


@pytest.mark.parametrize(
    ("text", "ending", "quoted"),
    [
        ('Ends with "turns, and". Perhaps followed by "its".', "turns, and", ["turns, and"]),
        ('Almost surely "0": a year. The last words are "in 19".', "in 19", ["in 19"]),
        ('Next may be "a", "b". It ends with "so".', "so", ["so"]),
        ('Ends with "and so"; next may be "a", "b".', "and so", ["and so"]),
        ('Of "x y" and "z".', "x y", ["x y", "z"]),
        ("On lighthouses. The lamp turns.", "", []),
        ('Blank "" and " ".', "", []),
        ("", "", []),
        ("  ", "", []),
    ],
    ids=range(9),
)
def test_the_first_quotation_that_is_no_next_token_claims_the_end(
    text: str, ending: str, quoted: list[str]
):
    found = outline(text)
    assert found.ending_words == ending
    assert found.quoted == quoted
    assert (found.ending is None) == (ending == "")


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ('Ends with "of the war. In their', "of the war. In their"),
        ('Last words: "', ""),
        ('Ends with "the lake. Next perhaps "and" or "in".', "the lake."),
        ('Ends with "the lake. About lakes.', "the lake."),
        ('Stops at "the lake and "the hill".', "the lake and"),
        ('Ends with "the lake". Next perhaps "an', "the lake"),
        ('Next perhaps "an', ""),
        ('A 6" pipe.', ""),
    ],
)
def test_an_open_quotation_lasts_to_the_next_statement_mark_or_end(text: str, ending: str):
    assert outline(text).ending_words == ending


def test_a_full_stop_before_the_closing_mark_ends_a_statement():
    text = 'Ends with "the sea." Next perhaps "." or "The". On seas: Sea.'
    assert [kind for kind, _ in kinds(text)] == [QUOTE, NEXT, TOPIC]
    assert outline(text).quoted == ["the sea."]
    assert len(kinds('It says "of the sea." The lamp is off.')) == 2
    assert len(kinds('Of "a." or "b." in "c. D".')) == 1


def test_a_text_that_is_cut_off_keeps_its_known_statements():
    text = 'Ends with "a dog". Next perhaps "ran". On biology: Dog, Domesti'
    assert [kind for kind, _ in kinds(text)] == [QUOTE, NEXT, TOPIC]


def test_other_texts_are_cut_into_sentences():
    text = "  A tower by A. B. Smith (c. 1900). It guides ships!\nThe lamp, slowly"
    assert kinds(text) == [
        (OTHER, "A tower by A. B. Smith (c. 1900)."),
        (OTHER, "It guides ships!"),
        (OTHER, "The lamp, slowly"),
    ]


def test_no_word_is_lost():
    for text in ("a", '"', '" "a', 'x". "y', 'Ends with "a" "b', "Perhaps x. On y: z."):
        whole = "".join(part for _, part in kinds(text))
        assert "".join(whole.split()) == "".join(text.split())
