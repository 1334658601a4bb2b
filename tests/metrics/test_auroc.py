import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from common.errors import NlaError
from common.metrics.auroc import (
    Resampled,
    auroc,
    auroc_difference,
    mean_of,
    resampled_auroc,
)
from common.metrics.statistics import Interval

LABELS = np.arange(200) % 2
DOCUMENTS = [f"d{row // 4}" for row in range(200)]


def scores(key: int, shift: float) -> np.ndarray:
    """Rounded, so that there are ties."""
    return np.random.default_rng(key).normal(shift * LABELS).round(1)


def test_by_hand():
    """Pairs of a positive and a negative: 3 > 2, 3 > 1, 1.5 > 1, but 1.5 < 2."""
    assert auroc([1, 0, 1, 0], [3, 2, 1.5, 1]) == 0.75
    assert auroc([0, 1], [0.0, 1.0]) == 1.0
    assert auroc([1, 0], [0.0, 1.0]) == 0.0


def test_ties_count_half():
    assert auroc([1, 0], [5, 5]) == 0.5
    assert auroc([1, 1, 0], [5, 6, 5]) == 0.75


@pytest.mark.parametrize("shift", [-0.5, 0.0, 1.0])
def test_agrees_with_scikit_learn(shift: float):
    column = scores(0, shift)
    assert auroc(LABELS, column) == pytest.approx(roc_auc_score(LABELS, column))
    assert auroc(LABELS, -column) == pytest.approx(1 - roc_auc_score(LABELS, column))


def test_one_class_only_is_undefined():
    assert math.isnan(auroc([1, 1], [1, 2]))
    found = resampled_auroc([1, 1], [1, 2], ["a", "b"], 50)
    assert all(map(math.isnan, found.interval()))
    assert found.p_value() == 1.0


def test_a_resample_is_the_auroc_of_the_documents_that_it_drew():
    """d0 alone, both, d1 alone: 1, 1/2 and 0 of the pairs are won."""
    found = resampled_auroc([1, 0, 1, 0], [4, 3, 1, 2], ["d0", "d0", "d1", "d1"], 400)
    assert found.estimate == 0.5
    assert set(found.values.tolist()) == {0.0, 0.5, 1.0}
    assert found.interval() == Interval(0.5, 0.0, 1.0)


def test_the_same_scores_twice_have_no_difference():
    column = scores(1, 1.0)
    found = auroc_difference(LABELS, column, 3 * column, DOCUMENTS, 200)
    assert found.interval() == Interval(0.0, 0.0, 0.0)
    assert found.p_value() == 1.0


def test_pairing_removes_what_two_scorers_share():
    good = scores(2, 1.0)
    worse = good + np.random.default_rng(3).normal(0, 0.3, 200)
    paired = auroc_difference(LABELS, good, worse, DOCUMENTS, 500).interval()
    alone = resampled_auroc(LABELS, good, DOCUMENTS, 500).interval()
    assert paired.high - paired.low < 0.6 * (alone.high - alone.low)


def test_p_value_agrees_with_the_interval():
    for shift in (0.0, 0.2, 0.5, 1.5):
        found = auroc_difference(LABELS, scores(4, shift), scores(5, 0.0), DOCUMENTS, 500)
        assert (found.interval().low > 0) == (found.p_value() < 0.05 and found.estimate > 0)
    assert found.p_value() == pytest.approx(2 / 501)
    assert found.p_value(null=found.estimate) > 0.5


def test_covers_the_truth():
    """30 documents of four items, 200 times: a score of the distance 1 has AUROC .760."""
    generator, documents = np.random.default_rng(6), [row // 4 for row in range(120)]
    labels, inside = np.arange(120) % 2, 0
    for _ in range(200):
        low, high = resampled_auroc(
            labels, generator.normal(labels * 1.0), documents, 300
        ).interval()[1:]
        inside += low < 0.7602 < high
    assert 0.88 < inside / 200 < 0.99


def test_resamples_of_one_class():
    """One in ten holds no positive document: too many for bounds; three in a thousand are not."""
    values = np.r_[np.full(100, math.nan), np.linspace(0.1, 0.3, 900)]
    assert math.isnan(Resampled(0.2, values).interval().low)
    assert Resampled(0.2, values).p_value() > 0.2
    few = Resampled(0.2, np.r_[np.full(3, math.nan), np.linspace(0.1, 0.3, 997)])
    assert few.interval().low == pytest.approx(0.105)
    assert few.p_value() == pytest.approx(4 * 2 / 1001)


def test_seeds_are_averaged_draw_by_draw():
    one, other = Resampled(0.2, np.array([0.0, 0.4])), Resampled(0.4, np.array([0.2, 0.2]))
    both = mean_of([one, other])
    assert both.estimate == pytest.approx(0.3)
    assert both.values.tolist() == pytest.approx([0.1, 0.3])


@pytest.mark.parametrize(
    ("labels", "column", "line"),
    [
        ([1, 0], [1.0], "2 labels of 1 scores"),
        ([], [], "no items"),
        ([1, 2], [1.0, 2.0], "labels other than 0 and 1"),
        ([1, 0], [1.0, math.nan], "not finite"),
    ],
)
def test_refuses(labels: list, column: list, line: str):
    with pytest.raises(NlaError, match=line):
        auroc(labels, column)
