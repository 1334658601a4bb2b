import pytest

from common.errors import NlaError
from common.metrics.degeneration import degeneration, sameness


def test_monitors_by_hand():
    monitors = degeneration(
        ["a b c a b c", 'Human: say "hi', "déjà <|im_end|>", " "], [6, 10, 10, 0], cap=10
    )
    assert monitors == {
        "length": 6.5,
        "cap_hit": 0.5,
        # 3-grams abc, bca, cab, abc: one of four stands earlier. The rest repeat none.
        "repetition": pytest.approx(0.25 / 4),
        # abcabc, human say hi, déjà im_end: 8 distinct of 11 words.
        "distinct_1": pytest.approx(8 / 11),
        # ab bc ca ab bc, human-say say-hi, déjà-im_end: 6 distinct of 8.
        "distinct_2": pytest.approx(6 / 8),
        "role_leakage": 0.5,
        "unbalanced_quotes": 0.25,
        "non_ascii": pytest.approx(2 / (11 + 14 + 15 + 1)),
        "empty": 0.25,
    }


def test_curly_marks_balance():
    texts = ["“a” and “b”", "“a"]
    assert degeneration(texts, [1, 1], cap=2)["unbalanced_quotes"] == 0.5


def test_a_mark_without_a_partner_is_that_of_the_quotes_themselves():
    texts = ['a" and "b', 'a 6" pipe', '"a" "b"']
    assert degeneration(texts, [1, 1, 1], cap=2)["unbalanced_quotes"] == pytest.approx(1 / 3)


def test_blank_batch_is_defined():
    monitors = degeneration([""], [0], cap=4)
    assert (monitors["empty"], monitors["repetition"], monitors["non_ascii"]) == (1, 0, 0)


def test_sameness_by_hand():
    # abc bcd | abc bce | xyz: a third shares nothing with the second, nor the first with it.
    assert sameness(["a b c d", "a b c e", "x y z"]) == pytest.approx((0 + 1 / 2 + 0) / 3)
    assert sameness(["the same for all"] * 4) == 1
    assert sameness(["alone in its batch"]) == sameness(["", "a b", "c"]) == sameness([]) == 0


def test_refuses_lengths_that_do_not_match():
    with pytest.raises(NlaError):
        degeneration(["a"], [1, 2], cap=4)
    with pytest.raises(NlaError):
        degeneration([], [], cap=4)
