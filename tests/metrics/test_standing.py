"""Where an activation stands: hand-worked directions, shares and percentiles."""

import pytest
import torch

from common.metrics.fve import normalize, training_mean
from common.metrics.standing import Familiar, familiar, novelty, percent_below, percentiles


def test_the_share_outside_is_hand_worked():
    """In four dimensions n(h) has length 2: what is left of (0, 0, 2, 0) is 4 of 4."""
    known = Familiar(torch.zeros(4), torch.eye(4)[:2])
    rows = torch.tensor([[3.0, 0, 0, 0], [0, 0, 5, 0], [1, 1, 1, 1], [0, 0, 1, 1]])
    torch.testing.assert_close(novelty(rows, known), torch.tensor([0, 1, 0.5, 1.0]))


def test_the_fewest_directions_that_hold_nine_tenths_are_kept():
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(4000, 6, generator=random) * torch.tensor([30.0, 20, 10, 0.5, 0.5, 0.5])
    known = familiar(rows)
    assert known.directions.shape == (3, 6)
    torch.testing.assert_close(known.mean, training_mean(rows))
    gram = known.directions @ known.directions.T
    torch.testing.assert_close(gram, torch.eye(3), rtol=0, atol=1e-5)
    left = (normalize(rows) - known.mean).var(0).sum() * 0.1
    assert float(novelty(rows, known).mean()) < float(left) / 6
    assert float(novelty(torch.eye(6)[3:], known).min()) > 0.9, "a direction that never varied"


def test_the_length_of_an_activation_is_no_novelty():
    known = familiar(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)))
    row = torch.randn(1, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(novelty(row, known), novelty(100 * row, known))


@pytest.mark.parametrize(("value", "below"), [(-1.0, 0), (0.255, 26), (0.5, 50), (2.0, 100)])
def test_a_value_among_percentiles(value: float, below: int):
    among = percentiles(torch.linspace(0, 1, 201))
    assert (len(among), among[0], among[100]) == (101, 0.0, 1.0)
    assert percent_below(value, among) == below
