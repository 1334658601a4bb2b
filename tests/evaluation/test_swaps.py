import pytest

from common.evaluation.conditions import shuffled
from common.evaluation.swaps import PARTS, swaps

DOG = 'Ends with "a big dog". Next probably "ran", else "sat". On animals: Dog. In one, a noun.'
LAW = 'Last words: "the new law". Perhaps "of" or "in" follows. Topic law: Tax. In two, a verb.'
KEYS = ["k0", "k1", "k2", "k3"]


def swapped(texts: list[str], documents: str) -> dict[str, list[str | None]]:
    return swaps(texts, KEYS[: len(texts)], list(documents))


def test_each_part_comes_from_the_other_text():
    found = swapped([DOG, LAW], "ab")
    assert {name: texts[0] for name, texts in found.items()} == {
        "swap_last_word": DOG.replace("big dog", "big law"),
        "swap_quote": DOG.replace("a big dog", "the new law"),
        "swap_all_but_quote": LAW.replace("the new law", "a big dog"),
        "swap_topic": DOG.replace("On animals: Dog.", "Topic law: Tax."),
        "swap_next": DOG.replace(
            'Next probably "ran", else "sat".', 'Perhaps "of" or "in" follows.'
        ),
        "swap_sentence": None,
    }
    assert found["swap_last_word"][1] == LAW.replace("new law", "new dog")


def test_the_text_gives_its_part_from_half_of_the_documents_further_on():
    texts = [DOG.replace("dog", word) for word in ("cat", "dog", "hen", "pig")]
    found = swapped(texts, "abcd")["swap_last_word"]
    words = ["hen", "pig", "cat", "dog"]
    assert found == [DOG.replace("dog", word) for word in words] == shuffled(texts, list("abcd"))


def test_a_row_without_the_part_or_with_the_same_is_passed_over():
    texts = [DOG, "On animals: Dog. No quote.", DOG, LAW]
    found = swapped(texts, "abcd")
    assert found["swap_quote"] == [
        DOG.replace("a big dog", "the new law"),
        None,
        DOG.replace("a big dog", "the new law"),
        LAW.replace("the new law", "a big dog"),
    ]
    assert found["swap_topic"][1] == "Topic law: Tax. No quote."


def test_case_and_spaces_alone_make_no_other_part():
    texts = [DOG, DOG.replace("a big dog", "A  big Dog")]
    assert swapped(texts, "ab")["swap_quote"] == [None, None]


def test_the_own_document_gives_nothing():
    found = swapped([DOG, LAW, DOG], "aab")
    assert found["swap_quote"] == [
        None,
        LAW.replace("the new law", "a big dog"),
        DOG.replace("a big dog", "the new law"),
    ]


def test_the_same_text_everywhere_cannot_be_swapped():
    assert swapped([DOG] * 4, "abcd") == {name: [None] * 4 for name in PARTS}


def test_an_open_quotation_is_swapped_up_to_the_end():
    cut = 'Ends with "a big dog. In the'
    found = swapped([cut, LAW], "ab")
    assert found["swap_quote"] == [
        'Ends with "the new law',
        LAW.replace("the new law", "a big dog. In the"),
    ]
    assert found["swap_last_word"][0] == 'Ends with "a big dog. In law'
    assert found["swap_all_but_quote"][0] == LAW.replace("the new law", "a big dog. In the")
    assert found["swap_topic"] == [None, None], "nobody else has one"


def test_a_word_with_an_apostrophe_is_one_word_and_a_mark_behind_it_stays():
    texts = ['Ends with "China\'s,".', 'Ends with "a dog".']
    assert swapped(texts, "ab")["swap_last_word"][0] == 'Ends with "dog,".'
    assert swapped(['Ends with "(".', texts[1]], "ab")["swap_last_word"] == [None, None]


def test_plain_texts_swap_a_sentence_drawn_by_key():
    dog, law = ["A dog sat.", "It was big.", "Then it ran."], ["A law came.", "It was new."]
    texts = [" ".join(dog), " ".join(law)]
    found = swapped(texts, "ab")
    assert {name for name, given in found.items() if any(given)} == {"swap_sentence"}
    possible = {
        " ".join([*dog[:place], other, *dog[place + 1 :]]) for place in range(3) for other in law
    }
    assert found["swap_sentence"][0] in possible
    assert found == swapped(texts, "ab")
    draws = {swaps(texts, [key, "k"], list("ab"))["swap_sentence"][0] for key in "0123456789"}
    assert len(draws) == 3


@pytest.mark.parametrize("text", ["One sentence.", "", 'A quote "here". And more.'])
def test_sentences_are_swapped_only_between_plain_texts_of_several(text: str):
    plain = "A law came. It was new."
    assert swapped([text, plain], "ab")["swap_sentence"] == [None, None]
