import math

import pytest
import torch

from common.errors import NlaError
from common.training.reward import checked_rewards, reading_rewards, truncation_budgets

VALID = torch.tensor([[True, True, False], [True, False, True], [False, False, False]])


def test_invalid_samples_get_the_worst_of_their_own_group():
    rewards = torch.tensor([[-0.5, -1.0, -0.1], [-3.0, -0.2, -1.0], [0.0, 0.0, 0.0]])
    checked, good = checked_rewards(rewards, VALID, -2.0)
    assert checked[0].tolist() == [-0.5, -1.0, -2.0]
    assert checked[1].tolist() == [-3.0, -3.0, -1.0], "not better than what is valid"
    assert checked[2].tolist() == [-2.0, -2.0, -2.0]
    assert torch.equal(good, VALID)


def test_what_is_not_finite_is_invalid_and_nothing_finite_is_an_error():
    rewards = torch.tensor([[-0.5, math.nan, -0.1]])
    checked, good = checked_rewards(rewards, VALID[:1], -2.0)
    assert checked.tolist() == [[-0.5, -2.0, -2.0]]
    assert good.tolist() == [[True, False, False]]
    with pytest.raises(NlaError, match="ar_learning_rate"):
        checked_rewards(torch.full((1, 3), math.nan), VALID[:1], -2.0)


def test_rewards_by_hand():
    """Cosines 1, 0 and -1: squared errors 0, 2 and 4."""
    truth = torch.tensor([[1.0, 0.0]]).expand(3, 2)
    read = torch.tensor([[5.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    assert reading_rewards(read, truth, "mse").tolist() == pytest.approx([0, -2, -4], abs=1e-5)
    logs = reading_rewards(read, truth, "log_mse").tolist()
    assert logs[1:] == pytest.approx([-math.log(2), -math.log(4)], abs=1e-5)


def test_budgets_are_keyed_and_within_bounds():
    names = [str(number) for number in range(200)]
    budgets = truncation_budgets((0, 1), names, 5)
    assert set(budgets.tolist()) == {1, 2, 3, 4, 5}
    assert torch.equal(budgets[:3], truncation_budgets((0, 1), names[:3], 5))
    assert not torch.equal(budgets, truncation_budgets((0, 2), names, 5))
