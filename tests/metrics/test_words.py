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
