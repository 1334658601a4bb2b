"""What all training shares: optimiser, schedule, clipping, and skipping of non-finite steps."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from common.config import TrainingConfig
from common.errors import NlaError
from common.models.sharding import average_whole_gradients, shard, total_norm

log = logging.getLogger(__name__)

PATIENCE = 10
"""The run ends after this many non-finite steps in a row."""
DECAY, FINAL = 1 / 3, 0.1
"""For `warmup_stable_decay`: the share of steps that decay, and the rate after the last step."""


class Rate(NamedTuple):
    """Parameters that share a learning rate."""

    parameters: list[torch.nn.Parameter]
    learning_rate: float
    """The peak of the learning rate."""
    schedule: Callable[[int], float]
    """Step → share of the peak."""


class TrainingModule(L.LightningModule):
    """AdamW with warm-up and cosine decay; a non-finite step changes nothing and is counted."""

    accumulate = 1
    """Batches of one optimiser step."""
    batches_together = 1
    """Batches that no validation and no checkpoint may separate."""
    validates_first = False
    """Whether there is a validation before the first step, and every step is logged."""
    memory_remedy = "lower batch_size in the profile"
    """What to do when memory runs out."""
    stopped = ""
    """Why a run ended early, if it did."""

    def __init__(self, model: torch.nn.Module, config: TrainingConfig, total_steps: int) -> None:
        """The schedule covers `total_steps` optimiser steps."""
        super().__init__()
        self.model, self.config, self.total_steps = model, config, total_steps
        self.strict_loading = False  # checkpoints hold no frozen weights
        self.skipped_steps = 0
        self.skipped_in_a_row = 0
        self.seconds_before, self.started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time spent in training, including earlier processes of a resumed run."""
        return self.seconds_before + time.perf_counter() - self.started

    def on_fit_start(self) -> None:
        """Start the clock of this process."""
        self.started = time.perf_counter()

    def configure_model(self) -> None:
        """With the strategy `fsdp2`, shard the model's blocks over the processes."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def rates(self) -> list[Rate]:
        """Parameters by learning rate; the parameters of one entry are clipped together."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        return [Rate(trainable, self.config.learning_rate, self.rate_at)]

    def configure_optimizers(self) -> Any:
        """AdamW over what is trainable; weight decay on matrices only."""
        groups, schedules = [], []
        for parameters, learning_rate, schedule in self.rates():
            for is_matrix in (True, False):
                chosen = [p for p in parameters if (p.ndim >= 2) == is_matrix]
                decay = self.config.weight_decay if is_matrix else 0.0
                if chosen:
                    groups.append({"params": chosen, "weight_decay": decay, "lr": learning_rate})
                    # A bound method would be pickled into checkpoints; a lambda is left out.
                    schedules.append(lambda step, schedule=schedule: schedule(step))
        # Sharded and whole parameters cannot be updated in one call.
        how = {"foreach": False} if self.device_mesh is not None else {"fused": True}
        optimizer = torch.optim.AdamW(
            groups, lr=self.config.learning_rate, betas=(0.9, 0.98), **how
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, schedules)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate_at(self, step: int) -> float:
        """Share of the peak learning rate: linear warm-up, then half a cosine to 0."""
        return cosine(step, self.total_steps, self.config.warmup_fraction)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient; drop it when it is not finite (AdamW then changes nothing).

        Lightning refuses to clip for a fused optimiser, and one norm serves both purposes.
        """
        sharded = self.device_mesh is not None
        for parameters, *_ in self.rates():
            if sharded:
                average_whole_gradients(parameters)
            trained = [p for p in parameters if p.grad is not None]
            measure = total_norm if sharded else torch.nn.utils.get_total_norm
            norm = measure([p.grad for p in trained if p.grad is not None])
            if not torch.isfinite(norm):
                self._skip(optimizer, norm)
                return
            if norm > self.config.gradient_clip:  # skips a pass over all gradients where it can
                at_once = False if sharded else None
                torch.nn.utils.clip_grads_with_norm_(
                    trained, self.config.gradient_clip, norm, foreach=at_once
                )
        self.skipped_in_a_row = 0

    def _skip(self, optimizer: torch.optim.Optimizer, norm: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.skipped_steps += 1
        self.skipped_in_a_row += 1
        log.warning("step %d skipped: gradient norm is %s", self.global_step, float(norm))
        if self.skipped_in_a_row >= PATIENCE:
            what = f"{PATIENCE} steps in a row had a non-finite loss or gradient"
            remedy = "lower learning_rate, or set trainer.precision to 32-true"
            raise NlaError(what, where=f"step {self.global_step}", remedy=remedy)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write trainable weights, buffers and extra state, but no frozen weights.

        Counts of skipped steps and earlier time are written too, for a resumed run.
        """
        kept = {name for name, p in self.named_parameters() if p.requires_grad}
        kept |= {name for name, _ in self.named_buffers()}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: state[name] for name in state if name in kept}
        checkpoint["extra_state"] = {  # written here, because a strategy may leave it out
            name: module.get_extra_state()
            for name, module in self.named_modules()
            if type(module).get_extra_state is not torch.nn.Module.get_extra_state
        }
        checkpoint["skipped_steps"], checkpoint["seconds"] = self.skipped_steps, self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `on_save_checkpoint`."""
        for name, state in checkpoint["extra_state"].items():
            self.get_submodule(name).set_extra_state(state)
        self.skipped_steps, self.seconds_before = checkpoint["skipped_steps"], checkpoint["seconds"]

    def log_metrics(
        self, values: Mapping[str, Tensor | float], batch_size: int, bar: bool = False
    ) -> None:
        """Log the mean over processes; in a validation, also over batches."""
        self.log_dict(
            {
                name: torch.as_tensor(value, dtype=torch.float32, device=self.device)
                for name, value in values.items()
            },
            batch_size=batch_size,
            prog_bar=bar,
            sync_dist=True,
        )


def cosine(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up to 1, then half a cosine to 0 at the last step."""
    warmup = max(1, round(warmup_fraction * total_steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def warmup_constant(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up to 1."""
    return min(1.0, (step + 1) / max(1, round(warmup_fraction * total_steps)))


def warmup_stable_decay(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up to 1, then constant; in the last third it falls linearly to a tenth.

    In a short run the end of a cosine is spent on steps too small to matter. Source: Hu et al.
    2024, "MiniCPM", section 4.
    """
    left = (total_steps - step) / (total_steps * DECAY)
    return min(warmup_constant(step, total_steps, warmup_fraction), FINAL + (1 - FINAL) * left)


SCHEDULES = {"constant": warmup_constant, "cosine": cosine, "wsd": warmup_stable_decay}
"""Schedules by their names in a profile: step, all steps, warm-up share → share of the peak."""
