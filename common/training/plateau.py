"""The end of a run that no longer gains."""

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn


class Plateau(EarlyStopping):
    """Ends a run after `patience` validations in a row without a better `dev_fve`.

    The one before the first step counts, and a run that had ended stays so when it is resumed.
    """

    def __init__(self, patience: int) -> None:
        """A value that is not finite is no better one."""
        super().__init__(
            "dev_fve",
            mode="max",
            patience=patience,
            check_finite=False,
            check_on_train_epoch_end=False,  # or nothing would, where every batch has one
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Before training the value is only remembered."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.best_score = trainer.callback_metrics["dev_fve"].detach().clone()
        else:
            super().on_validation_end(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning restores how long the wait has been, not what follows from it."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    @property
    def facts(self) -> dict[str, str]:
        """For the summary of a run: why it ended before its time, if it did."""
        if self.wait_count < self.patience:
            return {}
        return {"flattened": f"no better dev FVE in {self.patience} looks in a row"}
