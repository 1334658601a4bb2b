from common.metrics.words import ngrams, tokens, words


def test_words_and_tokens():
    assert words("It's “Déjà vu”, HE said.") == ["it's", "déjà", "vu", "he", "said"]
    assert tokens('It’s "a", b_2.') == ["It’s", '"', "a", '"', ",", "b_2", "."]  # noqa: RUF001


def test_ngrams():
    assert ngrams(["a", "b", "a"], 2) == [("a", "b"), ("b", "a")]
    assert ngrams(["a", "b"], 3) == []
    assert ngrams(["a", "a"], 1) == [("a",), ("a",)]
