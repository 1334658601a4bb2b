"""Supervised AR training: explanations in, activations out."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from common.config import ARConfig
from common.metrics.fve import cosines, squared_errors
from common.models.reconstructor import Reconstructor
from common.schema import ReconstructionBatch
from common.training.module import DECAY, Rate, TrainingModule, warmup_stable_decay

LEAST_GAIN = 0.002
"""A smaller gain of `dev_fve` does not count: a run that gains no more is flat."""


class ReconstructorModule(TrainingModule):
    """Trains any Reconstructor on its own loss terms; the dev metric is `dev_fve`.

    With `config.patience`, the rate is constant until `dev_fve` is flat; then it decays, for half
    as many steps as were made, and the run ends.
    """

    model: Reconstructor
    config: ARConfig

    def __init__(
        self, model: Reconstructor, config: ARConfig, total_steps: int, variance: float
    ) -> None:
        """`variance` is the dev split's, the fixed denominator of `dev_fve`."""
        super().__init__(model, config, total_steps)
        self.variance = variance
        self.best, self.waited = -math.inf, 0

    @property
    def is_flat(self) -> bool:
        """Whether the run had stopped to improve before its rate decayed."""
        return self.waited >= self.config.patience

    def rates(self) -> list[Rate]:
        """What is copied from the target, and the rest, with a rate of its own."""
        copied = self.model.copied_parameters()
        shared = {id(parameter) for parameter in copied}
        own = [p for p in self.model.parameters() if p.requires_grad and id(p) not in shared]
        rate = self.config.learning_rate
        if self.config.head_rate == 1 or not (copied and own):
            return [Rate([*copied, *own], rate, self.rate_at)]
        return [
            Rate(copied, rate, self.rate_at),
            Rate(own, rate * self.config.head_rate, self.rate_at),
        ]

    def rate_at(self, step: int) -> float:
        """Share of the peak learning rate: half a cosine, or constant until the run is flat."""
        if not self.config.patience:
            return super().rate_at(step)
        return warmup_stable_decay(step, self.total_steps, self.config.warmup_fraction)

    def training_step(self, batch: ReconstructionBatch, batch_index: int) -> Tensor:
        """Sum of the loss terms."""
        terms = self.model.loss_terms(self.model(batch.tokens), batch.activations)
        loss = torch.stack(list(terms.values())).sum()
        values = {f"train_{name}": term.detach() for name, term in terms.items()}
        self.log_metrics(values | {"train_loss": loss.detach()}, len(batch.activations), bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run when its rate has decayed."""
        if self.global_step >= self.total_steps:
            self.trainer.should_stop = True

    def validation_step(self, batch: ReconstructionBatch, batch_index: int) -> None:
        """Dev FVE and cosine (means over examples, so that batches may differ in size)."""
        predictions = self.model(batch.tokens)
        errors = squared_errors(predictions, batch.activations)
        values = {
            "dev_fve": 1 - errors.mean() / self.variance,
            "dev_cosine": cosines(predictions, batch.activations).mean(),
        }
        self.log_metrics(values, len(errors), bar=True)

    def look(self, value: float) -> None:
        """Hear of a new `dev_fve`; when the run has become flat, set where it ends."""
        if self.is_flat:
            return
        self.waited = 0 if value > self.best + LEAST_GAIN else self.waited + 1
        self.best = max(self.best, value)
        if self.is_flat:
            self.total_steps = min(self.total_steps, math.ceil(self.global_step / (1 - DECAY)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also what is known of flatness."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["flatness"] = self.best, self.waited, self.total_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `on_save_checkpoint`."""
        super().on_load_checkpoint(checkpoint)
        self.best, self.waited, self.total_steps = checkpoint["flatness"]


class UntilFlat(Callback):
    """Tells the module of each validation, before the checkpoint of it is written."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The hook of the module itself would come after the checkpoint."""
        assert isinstance(pl_module, ReconstructorModule), "only an AR is trained until flat"
        pl_module.look(float(trainer.callback_metrics["dev_fve"]))
