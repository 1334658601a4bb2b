"""Ends a run that no longer improves."""

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn


class Plateau(EarlyStopping):
    """Ends a run after `patience` validations in a row without a better `dev_fve`.

    The validation before the first step counts too. A run that had ended does not go on when
    resumed.
    """

    def __init__(self, patience: int) -> None:
        """A value that is not finite does not count as better."""
        super().__init__(
            "dev_fve",
            mode="max",
            patience=patience,
            check_finite=False,
            check_on_train_epoch_end=False,  # it would never check, if every batch validates
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Before training, the value is only recorded."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.best_score = trainer.callback_metrics["dev_fve"].detach().clone()
        else:
            super().on_validation_end(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning restores how long it has waited, but not that the run should end."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    @property
    def facts(self) -> dict[str, str]:
        """For the summary of a run: why it ended early, if it did."""
        if self.wait_count < self.patience:
            return {}
        return {"flattened": f"no better dev FVE in {self.patience} looks in a row"}
