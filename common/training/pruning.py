"""End a trial that falls behind."""

import lightning as L
import optuna
from lightning.pytorch.callbacks import Callback


class Pruning(Callback):
    """Reports each validation to Optuna and ends a trial that falls behind the median."""

    def __init__(self, trial: optuna.Trial) -> None:
        """The trial that is running."""
        self.trial, self.validations = trial, 0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """dev_fve at validation 1, 2, ..."""
        self.validations += 1
        self.trial.report(float(trainer.callback_metrics["dev_fve"]), self.validations)
        if self.trial.should_prune():
            raise optuna.TrialPruned
