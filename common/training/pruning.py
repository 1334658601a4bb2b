"""Ends a tuning trial that is worse than the others."""

import lightning as L
import optuna
from lightning.pytorch.callbacks import Callback
from optuna.trial import BaseTrial


class Pruning(Callback):
    """Reports each validation to Optuna and ends a trial that is worse than the median.

    With several processes, the first one decides.
    """

    def __init__(self, trial: BaseTrial) -> None:
        """`trial` is the trial that is running."""
        self.trial, self.validations = trial, 0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report dev_fve at validation 1, 2, ..."""
        self.validations += 1
        self.trial.report(float(trainer.callback_metrics["dev_fve"]), self.validations)
        if trainer.strategy.broadcast(self.trial.should_prune()):
            raise optuna.TrialPruned
