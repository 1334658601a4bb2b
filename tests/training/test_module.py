import logging
import math
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from common.config import SupervisedConfig
from common.errors import NlaError
from common.training.module import PATIENCE, TrainingModule, warmup_stable_decay

CONFIG = SupervisedConfig(examples=1, learning_rate=0.1, weight_decay=0.5, warmup_fraction=0.1)


class Faulty(TrainingModule):
    """A sum of weights whose gradient is not finite at some steps; it keeps its history."""

    def __init__(self, faults: dict[int, float], steps: int) -> None:
        super().__init__(nn.Linear(2, 2), CONFIG, steps)
        self.faults = faults
        self.history = [weights_of(self)]

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        loss = self.model(batch).sum()
        fault = self.faults.get(batch_index)
        if fault == math.inf:
            return loss * fault
        if (
            fault is not None
        ):  # a finite loss whose gradient is not: the root of a sum of squares at 0
            return (loss - loss.detach()).square().sqrt()
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        self.history.append(weights_of(self))


def weights_of(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def train(faults: dict[int, float], steps: int) -> Faulty:
    torch.manual_seed(0)
    module = Faulty(faults, steps)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.ones(steps, 1, 2), batch_size=None))
    return module


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(map(torch.equal, first, second))


@pytest.mark.parametrize("fault", [math.inf, math.nan])
def test_a_step_that_is_not_finite_is_counted_and_changes_nothing(
    fault: float, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "common"):
        module = train({2: fault, 4: fault}, steps=6)
    moved = [not same(*pair) for pair in zip(module.history, module.history[1:], strict=False)]
    assert moved == [True, True, False, True, False, True]
    assert module.skipped_steps == 2
    assert "step 2 skipped" in caplog.text
    assert all(weights.isfinite().all() for weights in module.history[-1])


def test_a_skipped_step_leaves_no_trace_in_the_optimizer():
    """Neither weight decay nor a stale moment: only the learning rate goes on."""
    module = train({0: math.nan}, steps=2)
    [weight, bias] = module.history[2]
    rate = 0.1 * module.rate_at(1)
    before = module.history[0]
    assert torch.allclose(weight, before[0] * (1 - rate * 0.5) - rate, atol=1e-6)
    assert torch.allclose(bias, before[1] - rate, atol=1e-6)


def test_patience_ends_the_run_with_a_remedy():
    with pytest.raises(NlaError, match="learning_rate") as raised:
        train(dict.fromkeys(range(PATIENCE), math.inf), steps=PATIENCE + 5)
    assert "\n" not in str(raised.value)
    assert f"step {PATIENCE - 1}" in str(raised.value)


def test_patience_counts_steps_in_a_row():
    bad = [*range(PATIENCE - 1), *range(PATIENCE, 2 * PATIENCE - 1)]
    module = train(dict.fromkeys(bad, math.nan), steps=2 * PATIENCE)
    assert module.skipped_steps == len(bad)
    assert module.skipped_in_a_row == 0


def test_schedule_by_hand():
    """20 steps, of which 2 warm up: 1/2, 1, then half a cosine over 18 steps."""
    module = TrainingModule(nn.Linear(2, 2), CONFIG, 20)
    expected = {0: 0.5, 1: 1.0, 2: 1.0, 8: 0.75, 11: 0.5, 14: 0.25, 20: 0.0, 25: 0.0}
    assert {step: round(module.rate_at(step), 6) for step in expected} == expected


def test_warmup_stable_decay_by_hand():
    """30 steps: 3 warm up, and the last 10 go down to a tenth of the peak."""
    expected = {0: 1 / 3, 2: 1.0, 19: 1.0, 20: 1.0, 25: 0.55, 29: 0.19, 30: 0.1}
    found = {step: warmup_stable_decay(step, 30, 0.1) for step in expected}
    assert found == pytest.approx(expected)
    assert warmup_stable_decay(0, 1, 0.1) == 1.0


def test_a_schedule_of_one_step_is_at_its_peak():
    assert TrainingModule(nn.Linear(2, 2), CONFIG, 1).rate_at(0) == 1.0


def test_weight_decay_is_for_matrices_and_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3).requires_grad_(False))
    optimizer = TrainingModule(model, CONFIG, 20).configure_optimizers()["optimizer"]
    groups = [
        (g["weight_decay"], [tuple(p.shape) for p in g["params"]]) for g in optimizer.param_groups
    ]
    assert groups == [(0.5, [(3, 2)]), (0.0, [(3,)])]


def test_gradients_are_clipped_to_the_norm_by_hand():
    module = TrainingModule(nn.Linear(2, 1, bias=False), CONFIG.replace(gradient_clip=1.0), 20)
    for gradient, expected in (([3.0, 4.0], [0.6, 0.8]), ([0.3, 0.4], [0.3, 0.4])):
        module.model.weight.grad = torch.tensor([gradient])
        module.on_before_optimizer_step(torch.optim.SGD(module.parameters(), lr=1.0))
        assert torch.allclose(module.model.weight.grad, torch.tensor([expected]), atol=1e-5)


def test_checkpoints_hold_buffers_but_no_frozen_weights_by_whatever_name():
    norm, frozen = nn.BatchNorm1d(2), nn.Linear(2, 2).requires_grad_(False)
    module = TrainingModule(nn.Sequential(frozen, norm), CONFIG, 20)
    module.again = module.model[0]  # type: ignore[assignment]
    saved: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert saved["state_dict"].keys() == {f"model.1.{n}" for n in {"weight", "bias"} | statistics}
