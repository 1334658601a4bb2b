import math

import numpy as np
import polars
import pytest

from common.errors import NlaError
from common.metrics import statistics
from common.metrics.statistics import Interval

DOCUMENTS = [f"d{row // 2}" for row in range(200)]


def noise(key: int) -> np.ndarray:
    """200 rows whose documents share most of their noise."""
    generator = np.random.default_rng(key)
    return np.repeat(generator.normal(size=100), 2) + 0.1 * generator.normal(size=200)


def test_interval_holds_the_mean():
    values = noise(0)
    interval = statistics.clustered_bootstrap(values, DOCUMENTS)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low < interval.estimate < interval.high


def test_width_is_that_of_documents_not_of_rows():
    values = noise(1)
    low, high = statistics.clustered_bootstrap(values, DOCUMENTS)[1:]
    per_document = values.reshape(100, 2).mean(1)
    assert high - low == pytest.approx(2 * 1.96 * per_document.std() / 10, rel=0.1)
    rows = statistics.clustered_bootstrap(values, [str(row) for row in range(200)])
    assert rows.high - rows.low < 0.8 * (high - low)


def test_two_documents_by_hand():
    # Draws of (d0, d1) rows: 4 x d0 -> 0; one each -> 3/4; 2 x d1 -> 3: sums over counts.
    interval = statistics.clustered_bootstrap([0, 0, 0, 3], ["d0", "d0", "d0", "d1"])
    assert interval == Interval(0.75, 0.0, 3.0)
    narrow = statistics.clustered_bootstrap([0, 0, 0, 3], ["d0", "d0", "d0", "d1"], level=0.1)
    assert narrow == Interval(0.75, 0.75, 0.75)


def test_row_order_does_not_matter_but_the_key_does():
    values, order = noise(2), np.random.default_rng(0).permutation(200)
    one = statistics.clustered_bootstrap(values, DOCUMENTS)
    other = statistics.clustered_bootstrap(values[order], np.array(DOCUMENTS)[order])
    assert one == pytest.approx(other)
    assert one != statistics.clustered_bootstrap(values, DOCUMENTS, key="another")


def test_constant_values_have_no_width():
    assert statistics.clustered_bootstrap([2.0] * 200, DOCUMENTS) == pytest.approx((2, 2, 2))


def test_pairing_removes_what_rows_share():
    a = noise(3)
    interval = statistics.paired_difference(a + 0.05, a, DOCUMENTS)
    assert interval == pytest.approx((0.05, 0.05, 0.05))
    assert statistics.excludes_zero(interval)
    unpaired = statistics.paired_difference(a + 0.05, noise(4), DOCUMENTS)
    assert unpaired.high - unpaired.low > 0.2


def test_fve_by_hand():
    errors = [1.0, 3.0] * 100
    assert statistics.fve_interval(errors, DOCUMENTS, 4.0) == pytest.approx((0.5, 0.5, 0.5))
    better = [1.0, 1.0] * 100
    difference = statistics.fve_difference(better, errors, DOCUMENTS, 4.0)
    assert difference == pytest.approx((0.25, 0.25, 0.25))


def test_fve_difference_is_the_difference_of_the_intervals_estimates():
    a, b = noise(5) ** 2, noise(6) ** 2
    difference = statistics.fve_difference(a, b, DOCUMENTS, 3.0)
    alone = [statistics.fve_interval(errors, DOCUMENTS, 3.0).estimate for errors in (a, b)]
    assert difference.estimate == pytest.approx(alone[0] - alone[1])


def test_share_surviving_by_hand():
    share = statistics.share_surviving([3.0] * 200, [2.0] * 200, DOCUMENTS, 4.0)
    assert share == pytest.approx((0.5, 0.5, 0.5))
    original = 1 + noise(7) ** 2
    same = statistics.share_surviving(original, original, DOCUMENTS, 9.0)
    assert same == pytest.approx((1, 1, 1))


def test_share_of_nothing_is_undefined():
    nothing = statistics.share_surviving([3.0] * 200, [5.0] * 200, DOCUMENTS, 4.0)
    assert all(map(math.isnan, nothing))
    assert not statistics.excludes_zero(nothing)
    errors = 1 + noise(8)
    barely = statistics.share_surviving(errors + 1, errors, DOCUMENTS, float(errors.mean()) + 0.01)
    assert math.isfinite(barely.estimate)
    assert math.isnan(barely.low)


def test_ratio_difference_by_hand():
    # Draws of (d0, d1): 2 x d0 -> 1/2 - 1/2; one each -> 4/6 - 2/4; 2 x d1 -> 3/4 - 1/2.
    columns = [1, 3], [2, 4], [1, 1], [2, 2]
    difference = statistics.ratio_difference(*columns, ["d0", "d1"])
    assert difference == pytest.approx((1 / 6, 0, 1 / 4))
    same = statistics.ratio_difference(noise(0), 9 + noise(1), noise(0), 9 + noise(1), DOCUMENTS)
    assert same == pytest.approx((0, 0, 0))


def test_ratio_of_nothing_is_undefined():
    one, two = [1, 1], ["d0", "d1"]
    barely = statistics.ratio_difference(one, [3, 3], one, [5, -1], two)
    assert barely.estimate == pytest.approx(1 / 3 - 1 / 2)
    assert math.isnan(barely.low)
    assert math.isnan(barely.high)
    nothing = statistics.ratio_difference(one, [1, -1], one, [3, 3], two)
    assert all(map(math.isnan, nothing))


def test_ratio_difference_covers_the_truth_where_known_denominators_do_not():
    """60 documents, 300 times: the scatter of the denominator belongs to the interval."""
    generator, documents = np.random.default_rng(5), [f"d{row}" for row in range(60)]
    jointly = taken_as_known = 0
    for _ in range(300):
        whole_a, whole_b = generator.normal(2, 1.5, (2, 60))
        part_a, part_b = generator.normal(0.5, 0.2, (2, 60))
        joint = statistics.ratio_difference(part_a, whole_a, part_b, whole_b, documents, 400)
        known = statistics.paired_difference(
            part_a / whole_a.mean(), part_b / whole_b.mean(), documents, 400
        )
        jointly += joint.low < 0 < joint.high
        taken_as_known += known.low < 0 < known.high
    assert 0.9 < jointly / 300 < 0.99
    assert taken_as_known / 300 < 0.8


def test_p_value_agrees_with_the_interval():
    a, b = noise(9), noise(10)
    for shift in (-1.0, -0.2, 0.0, 0.2, 1.0):
        interval = statistics.paired_difference(a + shift, b, DOCUMENTS)
        p_value = statistics.paired_p_value(a + shift, b, DOCUMENTS)
        assert statistics.excludes_zero(interval) == (p_value < 0.05)
    assert statistics.paired_p_value(a, a, DOCUMENTS) == 1.0
    assert statistics.paired_p_value(a + 9, b, DOCUMENTS) == pytest.approx(2 / 2001)


def test_excludes_zero():
    assert statistics.excludes_zero(Interval(1.0, 0.5, 2.0))
    assert statistics.excludes_zero(Interval(-1.0, -2.0, -0.5))
    assert not statistics.excludes_zero(Interval(1.0, -0.5, 2.0))


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@pytest.mark.parametrize(
    ("values", "documents", "line"),
    [
        ([1.0, 2.0], ["a", "a"], "two documents, found 1"),
        ([1.0, 2.0, 3.0], ["a", "b"], "different lengths"),
        ([1.0, math.nan], ["a", "b"], "1 of 2 values are not finite"),
        ([1.0, None], ["a", "b"], "1 of 2 values are not finite"),
        ([1.0, math.inf], ["a", "b"], "1 of 2 values are not finite"),
        ([1.0, 2.0], ["a", None], "1 of 2 rows have no document"),
        ([1.0, 2.0], [1.0, math.nan], "1 of 2 rows have no document"),
        ([[1.0], [2.0]], ["a", "b"], "a column of shape"),
        ([], [], "no rows"),
    ],
)
def test_refuses(values, documents, line):
    with pytest.raises(NlaError, match=line):
        statistics.clustered_bootstrap(values, documents)
    if "two documents" not in line:
        with pytest.raises(NlaError, match=line):
            statistics.sign_flip_p_value(values, documents)


@pytest.mark.parametrize("variance", [0.0, -1.0, math.inf, math.nan])
def test_refuses_a_variance_that_is_none(variance: float):
    errors, documents = [1.0, 2.0], ["a", "b"]
    with pytest.raises(NlaError, match="vary"):
        statistics.fve_interval(errors, documents, variance)
    with pytest.raises(NlaError, match="vary"):
        statistics.share_surviving(errors, errors, documents, variance)


def test_refuses_settings_without_meaning():
    values, documents = [1.0, 2.0], ["a", "b"]
    with pytest.raises(NlaError, match="0 resamples"):
        statistics.clustered_bootstrap(values, documents, resamples=0)
    with pytest.raises(NlaError, match="0 resamples"):
        statistics.sign_flip_p_value(values, documents, resamples=0)
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(NlaError, match=f"level {level}"):
            statistics.clustered_bootstrap(values, documents, level=level)
    for p_value in (-0.1, 1.1, math.nan):
        with pytest.raises(NlaError, match="outside of"):
            statistics.holm([0.5, p_value])


def test_refuses_pairs_that_do_not_match():
    with pytest.raises(NlaError, match="paired"):
        statistics.paired_difference([1.0, 2.0], [1.0], ["a", "b"])
    with pytest.raises(NlaError, match="different lengths"):
        statistics.share_surviving([1.0, 2.0], [1.0, 2.0, 3.0], ["a", "b"], 1.0)


def test_takes_columns_of_a_table():
    table = polars.DataFrame({"error": [1.0, 3.0, 2.0], "doc_id": ["a", "a", "b"]})
    interval = statistics.clustered_bootstrap(table["error"], table["doc_id"])
    assert interval == pytest.approx((2.0, 2.0, 2.0))
    missing = polars.Series([1.0, None, 2.0])
    with pytest.raises(NlaError, match="1 of 3 values are not finite"):
        statistics.clustered_bootstrap(missing, table["doc_id"])


def test_few_documents_that_differ_prove_little():
    """Four of 150 documents, all of one sign: 2 of 16 sign patterns are as extreme."""
    values = [1.0, 1.0, 1.0, 1.0, *[0.0] * 146]
    assert statistics.sign_flip_p_value(values, range(150)) == pytest.approx(2 / 16)
    for few in ([0.0] * 150, [0.3] + [0.0] * 149):
        assert statistics.sign_flip_p_value(few, range(150)) == 1.0


def test_rows_of_a_document_flip_together():
    values = [1.0, 1.0, 1.0, 1.0]
    assert statistics.sign_flip_p_value(values, ["a", "a", "b", "b"]) == pytest.approx(2 / 4)


def test_sign_flips_keep_their_level():
    generator = np.random.default_rng(0)
    draws = generator.standard_normal((200, 30))
    share = np.mean([statistics.sign_flip_p_value(row, range(30), 400) < 0.05 for row in draws])
    assert 0.02 < share < 0.09
