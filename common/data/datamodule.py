"""Explanations and memory-mapped activations, served in length-bucketed, resumable batches."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import polars as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from common.data.activations import load_activations
from common.errors import NlaError
from common.schema import EXPLANATION, KEY, activation_column
from common.seeding import keyed_random

WINDOW = 50
"""Batches among which examples are sorted by length: long enough to save padding, short enough to mix."""


class Example(NamedTuple):
    """One explanation and the key of its activation."""

    key: str
    text: str


Collate = Callable[[list[str], Tensor], Any]
"""(texts, raw activations [batch, d_model]) → the batch a model reads."""


def examples_of(table: pl.DataFrame, limit: int | None = None) -> list[Example]:
    """Examples of a table with columns key and explanation: a keyed sample of `limit`, or all."""
    rows = table.select(KEY, EXPLANATION).sort(KEY).rows()
    if limit is not None and limit < len(rows):
        rows = keyed_random("examples").sample(rows, limit)
    return [Example(*row) for row in rows]


class ActivationStore:
    """Activations of one layer, memory-mapped by `datasets`, fetched by key."""

    def __init__(self, folder: Path, layer: int) -> None:
        """Maps the shards (an Arrow copy is kept under `folder/arrow`); reads no vector yet."""
        import datasets

        datasets.disable_progress_bars()
        self.column = activation_column(layer)
        keys = load_activations(folder, columns=[KEY])
        shards: list[Any] = [str(file) for file in sorted(folder.glob("shard-*.parquet"))]
        table = datasets.Dataset.from_parquet(
            shards, columns=[KEY, self.column], cache_dir=str(folder / "arrow")
        )
        if len(table) != keys.height:
            raise NlaError(
                "stale Arrow copy", where=folder / "arrow", remedy="delete it and run again"
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


class Batches(Dataset):
    """A fixed plan of whole batches, so that order, resume and sharding over processes are exact."""

    def __init__(self, plan: list[list[Example]], store: ActivationStore, collate: Collate) -> None:
        """`plan` lists every batch of the run in order."""
        self.plan, self.store, self.collate = plan, store, collate

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Any:
        examples = self.plan[index]
        activations = self.store[[example.key for example in examples]]
        return self.collate([example.text for example in examples], activations)


class Rest(Sampler[int]):
    """Batches of a plan from one on, under the length of the whole plan.

    After a resume Lightning counts the batches that it saw before as fetched.
    """

    def __init__(self, start: int, length: int) -> None:
        """`start` batches are done already."""
        self.start, self.length = start, length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.length))

    def __len__(self) -> int:
        return self.length


def plan_batches(
    examples: list[Example], batch_size: int, epochs: int, seed: int
) -> list[list[Example]]:
    """All batches of a run: shuffled by key each epoch, of similar length within a window.

    The last examples that do not fill a batch are left for the next epoch's shuffle.
    """
    plan = []
    for epoch in range(epochs):
        generator = keyed_random("batches", seed, epoch)
        order = generator.sample(examples, len(examples))
        batches = []
        for start in range(0, len(order), WINDOW * batch_size):
            window = sorted(order[start : start + WINDOW * batch_size], key=lambda e: len(e.text))
            batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        full = [batch for batch in batches if len(batch) == batch_size] or batches
        plan += generator.sample(full, len(full))
    return plan


def in_order(examples: list[Example], batch_size: int) -> list[list[Example]]:
    """Batches for evaluation: by length, nothing dropped."""
    ordered = sorted(examples, key=lambda example: (len(example.text), example.key))
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]


class NlaDataModule(L.LightningDataModule):
    """Training and dev batches of (explanation, activation) pairs.

    Every process of a distributed run takes its share of each global batch, so that the gradient is
    that of one process with the same batch. After a resume the plan goes on where it stopped.
    """

    def __init__(
        self,
        train: list[list[Example]],
        dev: list[list[Example]],
        store: ActivationStore,
        collate: Collate,
    ) -> None:
        """`train` and `dev` are plans of global batches."""
        super().__init__()
        self.train, self.dev, self.store, self.collate = train, dev, store, collate
        self.consumed = 0

    def train_dataloader(self) -> DataLoader:
        """The batches that are still to come."""
        return self._loader([self._share(batch) for batch in self.train], self.consumed)

    def val_dataloader(self) -> DataLoader:
        """All dev batches, on every process."""
        return self._loader(self.dev)

    def state_dict(self) -> dict[str, int]:
        """How many batches are done (Lightning stores it in each checkpoint)."""
        return {"consumed": self.trainer.global_step if self.trainer else 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on after the batches that a checkpoint has seen."""
        self.consumed = state_dict["consumed"]

    def _share(self, batch: list[Example]) -> list[Example]:
        trainer = self.trainer
        return batch[trainer.global_rank :: trainer.world_size] if trainer else batch

    def _loader(self, plan: list[list[Example]], start: int = 0) -> DataLoader:
        return DataLoader(
            Batches(plan, self.store, self.collate),
            batch_size=None,
            sampler=Rest(start, len(plan)),
            collate_fn=_as_it_is,
        )


def _as_it_is(batch: Any) -> Any:
    return batch
