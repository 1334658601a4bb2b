"""Activations of one layer, memory-mapped and fetched by key."""

from pathlib import Path
from typing import Any

from torch import Tensor

from common.data.activations import load_activations
from common.data.shards import ARROW, PATTERN
from common.errors import NlaError
from common.schema import KEY, activation_column


class ActivationStore:
    """Activations of one layer, memory-mapped by `datasets`, fetched by key."""

    def __init__(self, folder: Path, layer: int) -> None:
        """Maps the shards (an Arrow copy is kept under `folder/arrow`); reads no vector yet."""
        import datasets

        datasets.disable_progress_bars()
        self.column = activation_column(layer)
        keys = load_activations(folder, columns=[KEY])
        shards: list[Any] = [str(file) for file in sorted(folder.glob(PATTERN))]
        table = datasets.Dataset.from_parquet(
            shards, columns=[KEY, self.column], cache_dir=str(folder / ARROW)
        )
        if len(table) != keys.height:
            raise NlaError(
                "stale Arrow copy", where=folder / ARROW, remedy="delete it and run again"
            )
        self.rows = {key: row for row, key in enumerate(table[KEY])}
        self.table = table.select_columns([self.column]).with_format("torch")

    def __getitem__(self, keys: list[str]) -> Tensor:
        """Raw float32 vectors [len(keys), d_model]; NlaError names a key that is not there."""
        try:
            rows = [self.rows[key] for key in keys]
        except KeyError as error:
            remedy = "run `dvc repro explanations`: it and the activations differ"
            raise NlaError(
                f"no activation for {error}", where=self.column, remedy=remedy
            ) from error
        return self.table[rows][self.column]
