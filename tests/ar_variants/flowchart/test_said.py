"""What is found in an explanation."""

from ar_variants.flowchart.said import PARTS, said

TAUGHT = (
    'The text stops at "a river in France". Next perhaps "." or "that". Text on geography: Seine,'
    " River in northern France. In the second sentence, after a name, pause next."
)


def test_the_parts_of_a_teachers_text():
    found = said(TAUGHT)
    assert found.ending == ("France", "in", "river", "a")
    assert found.following == (".", "that")
    assert found.topic == "geography"
    assert found.title == ("seine", "river", "in", "northern", "france")
    assert found.syntax == ("second sentence", "after a name", "pause next")
    assert "seine" in found.words
    assert "a" in said('Ends with "a". On history: A war').words
    parts = {name: tuple(part(found)) for name, part in PARTS.items()}
    assert parts["the last quoted word"] == ("France",)
    assert parts["the quoted word before it"] == ("in",)


def test_an_explanation_without_known_phrases_has_only_words():
    found = said("Something about rivers")
    assert found.words == {"something", "about", "rivers"}
    assert found[1:-1] == ((), (), "", (), ())


def test_an_empty_explanation_says_nothing():
    found = said("")
    assert found == found._replace(ending=(), following=(), topic="", title=(), syntax=())
    assert all(not part(found) for part in PARTS.values())
