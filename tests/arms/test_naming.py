"""Naming the last word of a source, in any form."""

from common.arms.naming import names_last


def test_the_last_word_may_stand_anywhere_and_chance_is_taken_away():
    texts = ['Ends with a word like "Rivers".', "Ends with a word like may.", ""]
    sources = ["... cold, deep rivers,", "... it may", "..."]
    found = names_last(texts, sources, [1, 2, 0])
    assert found["names_last"] == [1.0, 1.0, 0.0]
    assert found["names_last_excess"] == [1.0, 1.0, 0.0]
    swapped = names_last(["a word like may"] * 2, ["it may", "they may"], [1, 0])
    assert swapped["names_last"] == [1.0, 1.0]
    assert swapped["names_last_excess"] == [0.0, 0.0]


def test_another_form_of_the_word_is_another_word():
    assert names_last(["a river"], ["the rivers"], [0])["names_last"] == [0.0]
