"""Supervised AV training: activations in, explanations out."""

from torch import Tensor

from common.config import SupervisedConfig
from common.models.verbalizer import Verbalizer
from common.schema import VerbalizationBatch
from common.training.module import TrainingModule


class VerbalizerModule(TrainingModule):
    """Trains the AV on explanation tokens; the signal to watch is `dev_gap`, not the loss.

    The gap is loss(shuffled activations) - loss(true activations) in nats per token: how much the
    AV uses the activation. The loss alone also falls when the AV only learns the teacher's style.
    """

    model: Verbalizer

    def __init__(self, model: Verbalizer, config: SupervisedConfig, total_steps: int) -> None:
        """See TrainingModule."""
        super().__init__(model, config, total_steps)

    def training_step(self, batch: VerbalizationBatch, batch_index: int) -> Tensor:
        """Mean over examples of the mean token loss."""
        loss = self.model(batch).mean()
        self.log_metrics({"train_loss": loss.detach()}, len(batch.inputs), bar=True)
        return loss

    def validation_step(self, batch: VerbalizationBatch, batch_index: int) -> None:
        """Loss with the true activations, with those of other rows, and the gap between them."""
        true = self.model(batch).mean()
        shuffled = self.model(batch._replace(inputs=batch.inputs.roll(1, 0))).mean()
        values = {"dev_loss": true, "dev_loss_shuffled": shuffled, "dev_gap": shuffled - true}
        self.log_metrics(values, len(batch.inputs), bar=True)
