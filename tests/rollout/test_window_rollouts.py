"""An AV that reads several positions: every way of running it gives the same."""

from typing import Any

import pytest
import torch
from torch import Tensor

from common.config import RolloutConfig
from common.rollout.engine import keyed_draws, roll_out, room_of
from common.rollout.reference import generate
from common.rollout.sampler import sample_explanations
from decomposition.window import Window

ROWS, WIDTH, POSITIONS = 8, 64, 3


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 30 * torch.randn(ROWS, POSITIONS * WIDTH, generator=generator)


@pytest.mark.parametrize("injection", ["replace", "add"])
def test_greedy_tokens_are_those_of_the_slow_path(make: Any, inputs: Tensor, injection: str):
    verbalizer = make(Window(POSITIONS), injection=injection)
    written = roll_out(verbalizer, inputs)
    scored = verbalizer.sampled_log_probs(written.ids, written.mask, inputs, 1)
    torch.testing.assert_close(scored, written.log_probs, rtol=0, atol=1e-4)
    if injection == "replace":  # the public library cannot add inside of a block
        expected = generate(verbalizer, inputs)
        assert len({tuple(row) for row in expected}) > 1, "the AV ignores what it reads"
        assert written.written() == expected


def test_training_scores_what_was_drawn(make: Any, inputs: Tensor):
    verbalizer, samples = make(Window(POSITIONS)), 3
    room = room_of(verbalizer)
    draws = torch.cat([keyed_draws((row,), samples, room) for row in range(ROWS)])
    written = roll_out(verbalizer, inputs, samples, 0.8, draws)
    scored = verbalizer.sampled_log_probs(written.ids, written.mask, inputs, samples, 0.8)
    torch.testing.assert_close(scored, written.log_probs, rtol=0, atol=1e-4)


def test_every_position_is_read_and_a_row_needs_no_other(make: Any, inputs: Tensor):
    verbalizer, greedy = make(Window(POSITIONS)), RolloutConfig(temperature=0.0)
    texts = sample_explanations(verbalizer, inputs, greedy, precision="32-true")
    alone = [
        sample_explanations(verbalizer, row[None], greedy, precision="32-true")[0] for row in inputs
    ]
    assert alone == texts
    for position in range(POSITIONS):
        part = slice(position * WIDTH, (position + 1) * WIDTH)
        changed = inputs.clone()
        changed[:, part] = inputs[:, part].roll(1, 0)
        assert sample_explanations(verbalizer, changed, greedy, precision="32-true") != texts
