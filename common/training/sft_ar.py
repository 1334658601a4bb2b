"""Supervised AR training: explanations in, activations out."""

import torch
from torch import Tensor

from common.config import ARConfig
from common.metrics.fve import cosines, squared_errors
from common.models.reconstructor import Reconstructor
from common.schema import ReconstructionBatch
from common.training.module import TrainingModule


class ReconstructorModule(TrainingModule):
    """Trains any Reconstructor on its own loss terms; the dev metric is `dev_fve`."""

    model: Reconstructor
    config: ARConfig

    def __init__(
        self, model: Reconstructor, config: ARConfig, total_steps: int, variance: float
    ) -> None:
        """`variance` is the dev split's, the fixed denominator of `dev_fve`."""
        super().__init__(model, config, total_steps)
        self.variance = variance

    def training_step(self, batch: ReconstructionBatch, batch_index: int) -> Tensor:
        """Sum of the loss terms."""
        terms = self.model.loss_terms(self.model(batch.tokens), batch.activations)
        loss = torch.stack(list(terms.values())).sum()
        values = {f"train_{name}": term.detach() for name, term in terms.items()}
        self.log_metrics(values | {"train_loss": loss.detach()}, len(batch.activations), bar=True)
        return loss

    def validation_step(self, batch: ReconstructionBatch, batch_index: int) -> None:
        """Dev FVE and cosine (means over examples, so that batches may differ in size)."""
        predictions = self.model(batch.tokens)
        errors = squared_errors(predictions, batch.activations)
        values = {
            "dev_fve": 1 - errors.mean() / self.variance,
            "dev_cosine": cosines(predictions, batch.activations).mean(),
        }
        self.log_metrics(values, len(errors), bar=True)
