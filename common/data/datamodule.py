"""Explanations and memory-mapped activations, served in planned, resumable batches."""

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from common.data.batches import Example
from common.data.store import ActivationStore
from common.errors import NlaError

Collate = Callable[[list[Any], Tensor], Any]
"""(texts or readings, raw activations [batch, d_model]) → the batch a model reads."""


class Batches(Dataset):
    """A fixed plan of whole batches: order, resume and division among processes are exact."""

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
    """The batches of a plan from `start` on; its length is that of the whole plan.

    After a resume Lightning counts the earlier batches as fetched already.
    """

    def __init__(self, start: int, length: int) -> None:
        """`start` batches are done already."""
        self.start, self.length = start, length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.length))

    def __len__(self) -> int:
        return self.length


class NlaDataModule(L.LightningDataModule):
    """Training and dev batches of (explanation, activation) pairs.

    Every process of a distributed run takes its share of each global batch, so that the gradient is
    is that of one process with the same batch. After a resume the plan continues where it stopped.
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
        """The batches that are left."""
        return self._loader([self._share(batch) for batch in self.train], self.consumed)

    def val_dataloader(self) -> DataLoader:
        """All dev batches, on every process."""
        return self._loader(self.dev)

    def state_dict(self) -> dict[str, int]:
        """How many batches are done (Lightning stores it in each checkpoint)."""
        trainer = self.trainer
        steps = trainer.global_step * trainer.accumulate_grad_batches if trainer else 0
        return {"consumed": steps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after the batches that a checkpoint has seen."""
        self.consumed = state_dict["consumed"]

    def _share(self, batch: list[Example]) -> list[Example]:
        trainer = self.trainer
        if trainer is None:
            return batch
        if len(batch) % trainer.world_size:
            what = f"a batch of {len(batch)} does not divide among {trainer.world_size} processes"
            raise NlaError(what, where="trainer.devices", remedy="give more examples, or use fewer")
        return batch[trainer.global_rank :: trainer.world_size]

    def _loader(self, plan: list[list[Example]], start: int = 0) -> DataLoader:
        return DataLoader(
            Batches(plan, self.store, self.collate),
            batch_size=None,
            sampler=Rest(start, len(plan)),
            collate_fn=_as_it_is,
        )


def _as_it_is(batch: Any) -> Any:
    return batch
