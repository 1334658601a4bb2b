"""The AV's explanations of dev activations at each validation, for ARs that are trained later."""

from typing import Any

import lightning as L
import polars as pl
from lightning.pytorch.callbacks import Callback

from common.files import write_atomically
from common.runs import RunFolder
from common.schema import EXPLANATION, KEY, PolicyBatch


class DevTexts(Callback):
    """Keeps the explanations of every validation in `dev_texts/<step>.parquet` of the run."""

    def __init__(self, folder: RunFolder) -> None:
        """`folder` is the run's folder."""
        self.folder = folder
        self.rows: list[tuple[str, str]] = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: PolicyBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """`outputs` is what `PolicyModule.validation_step` returns."""
        self.rows += zip(batch.keys, outputs["texts"], strict=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the table; its name is the number of steps made so far."""
        rows, self.rows = self.rows, []
        if trainer.is_global_zero:
            table = pl.DataFrame(rows, schema=[KEY, EXPLANATION], orient="row")
            self.folder.dev_texts.mkdir(parents=True, exist_ok=True)
            write_atomically(table, self.folder.dev_texts / f"{trainer.global_step:06}.parquet")
