"""Activations of one layer, memory-mapped and fetched by key."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.data.activations import load_activations
from common.data.shards import ARROW, PATTERN
from common.errors import NlaError
from common.schema import KEY, activation_column, window_column


class ActivationStore:
    """Activations of one layer, memory-mapped by `datasets`, fetched by key.

    With a window, those of the positions before stand before each, side by side.
    """

    def __init__(self, folder: Path, layer: int, window: int = 1) -> None:
        """Maps the shards (an Arrow copy is kept under `folder/arrow`); reads no vector yet."""
        import datasets

        datasets.disable_progress_bars()
        self.columns = [*[window_column(layer)] * (window > 1), activation_column(layer)]
        keys = load_activations(folder, columns=[KEY])
        shards: list[Any] = [str(file) for file in sorted(folder.glob(PATTERN))]
        table = datasets.Dataset.from_parquet(
            shards, columns=[KEY, *self.columns], cache_dir=str(folder / ARROW)
        )
        if len(table) != keys.height:
            raise NlaError(
                "stale Arrow copy", where=folder / ARROW, remedy="delete it and run again"
            )
        self.rows = {key: row for row, key in enumerate(table[KEY])}
        self.table = table.select_columns(self.columns).with_format("torch")

    def __getitem__(self, keys: list[str]) -> Tensor:
        """Raw float32 vectors [keys, window * d_model]; NlaError names a key that is not there."""
        try:
            rows = [self.rows[key] for key in keys]
        except KeyError as error:
            remedy = "run `dvc repro explanations`: it and the activations differ"
            raise NlaError(
                f"no activation for {error}", where=self.columns[-1], remedy=remedy
            ) from error
        found = self.table[rows]
        return torch.cat([found[name] for name in self.columns], 1)
