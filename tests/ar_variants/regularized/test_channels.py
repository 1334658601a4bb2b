"""Channels between AV and AR: what arrives of a text, and that something always does."""

import pytest

from ar_variants.regularized.changed import (
    OTHER_FORMAT,
    OTHER_ORDER,
    OTHER_WORDS,
    UNSEEN_PHRASES,
    as_fields,
    changed,
)
from ar_variants.regularized.channels import (
    HIDDEN,
    SEEN_PHRASES,
    FormatMix,
    Paraphrase,
    QuoteMask,
    TextChannel,
    WordDropout,
    masked,
    one_after_another,
)
from common.evaluation.synonyms import SYNONYMS
from common.metrics.words import words

TEXT = 'Ends with "rose on the". Next almost surely "hill". Text on plants: Rose, a shrub.'
KEYS = [f"doc:{number}" for number in range(200)]
KINDS = (WordDropout, Paraphrase, QuoteMask, FormatMix)


@pytest.mark.parametrize("kind", KINDS)
def test_what_arrives_depends_on_text_and_key_alone(kind: type[TextChannel]):
    channel = kind(0.5)
    together = channel([TEXT] * 200, KEYS)
    alone = [channel([TEXT], [key])[0] for key in reversed(KEYS)]
    assert together == alone[::-1]
    assert len({*together}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_without_strength_changes_nothing(kind: type[TextChannel]):
    assert kind(0.0)([TEXT, ""], KEYS[:2]) == [TEXT, ""]


@pytest.mark.parametrize("kind", KINDS)
def test_something_of_a_text_always_arrives(kind: type[TextChannel]):
    texts = [TEXT, "one", '"quoted"', "", "  ", "...", '"', 'Ends with "cut off in the mid']
    arrived = kind(0.9)(texts * 25, KEYS)
    for before, after in zip(texts * 25, arrived, strict=True):
        if words(before):
            assert after.strip()
        else:
            assert after == before


def test_words_are_lost_at_the_rate_that_is_asked_for_and_never_all():
    arrived = WordDropout(0.3)([TEXT] * 200, KEYS)
    share = sum(len(text.split()) for text in arrived) / (200 * len(TEXT.split()))
    assert share == pytest.approx(0.7, abs=0.03)
    assert all(words(text) for text in WordDropout(1.0)([TEXT] * 200, KEYS))
    assert WordDropout(1.0)([". one ."], ["a"]) == ["one"]


@pytest.mark.parametrize("kind", [Paraphrase, QuoteMask, FormatMix])
def test_so_many_texts_are_changed(kind: type[TextChannel]):
    arrived = kind(0.4)([TEXT] * 200, KEYS)
    assert sum(text != TEXT for text in arrived) / 200 == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('Ends with "rose on the". Next "hill".', f'Ends with "{HIDDEN}". Next "{HIDDEN}".'),
        ("No quotation.", "No quotation."),
        ('Ends with "rose on the', f'Ends with "{HIDDEN}'),
        ('"One". Ends with "rose', f'"{HIDDEN}". Ends with "{HIDDEN}'),
        ('It is 5" long and "red".', f'It is 5" long and "{HIDDEN}".'),
        ("“One” and “two”.", f"“{HIDDEN}” and “{HIDDEN}”."),
        ('a word" closes nothing, "this" does.', f'a word" closes nothing, "{HIDDEN}" does.'),
    ],
)
def test_quotations_are_hidden(text: str, told: str):
    assert masked(text) == told


def test_a_paraphrase_keeps_quotations_and_uses_one_half_of_the_synonyms():
    assert set(SYNONYMS) == SEEN_PHRASES | UNSEEN_PHRASES
    assert not SEEN_PHRASES & UNSEEN_PHRASES
    assert 0.3 < len(SEEN_PHRASES) / len(SYNONYMS) < 0.7
    for text in Paraphrase(1.0)([TEXT] * 20, KEYS[:20]):
        assert '"rose on the"' in text
        assert '"hill"' in text
        for phrase in UNSEEN_PHRASES & {"ends with", "next almost surely", "text"}:
            assert phrase in text.lower()


def test_every_statement_arrives_in_another_format():
    arrived = {*FormatMix(1.0)([TEXT] * 200, KEYS)}
    assert len(arrived) > 8
    for text in arrived:
        assert '"rose on the"' in text
        assert "Rose, a shrub" in text
    assert any(text.startswith("- ") for text in arrived)


def test_channels_follow_one_another():
    both = one_after_another([QuoteMask(1.0), WordDropout(0.9)])
    arrived = both([TEXT] * 50, KEYS[:50])
    assert not any("hill" in text for text in arrived)
    assert one_after_another([])([TEXT], ["a"]) == [TEXT]


def test_tests_change_texts_in_ways_that_no_channel_knows():
    found = changed([TEXT, "Rose."], ["a", "b"])
    assert found[OTHER_FORMAT][0] == (
        'quote: Ends with "rose on the" | next: Next almost surely "hill"'
        " | topic: Text on plants: Rose, a shrub"
    )
    assert sorted(words(found[OTHER_ORDER][0] or "")) == sorted(words(TEXT))
    assert found[OTHER_ORDER][0] != TEXT
    assert found[OTHER_ORDER][1] is None
    assert found[OTHER_WORDS][1] is None
    assert as_fields("") == ""
    assert found[OTHER_FORMAT][0] not in FormatMix(1.0)([TEXT] * 200, KEYS)
