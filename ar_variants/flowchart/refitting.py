"""A fitted AR in reinforcement learning: no gradient reaches it, so it is fitted again."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ar_variants.flowchart.fitted import FittedReconstructor
from common.errors import NlaError
from common.evaluation.floors import Lesson
from common.schema import PolicyBatch
from common.training.reward import Scored


class Refitting(nn.Module):
    """After every so many rollouts, fit the AR to their explanations beside the warm start's.

    No explanation is rewarded by an AR that was fitted to it: samples are rewarded first, and each
    rollout writes new ones. Both models and samples survive a resume.
    """

    def __init__(
        self,
        model: FittedReconstructor,
        lesson: Lesson,
        documents_of: Callable[[list[str]], list[str]],
        every: int,
    ) -> None:
        """`lesson` is what the AR was fitted to before; `every` >= 1.

        NlaError with several processes: each sees its own share of the samples.
        """
        super().__init__()
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            what = f"an AR cannot be fitted again in {dist.get_world_size()} processes"
            raise NlaError(what, where="trainer.devices", remedy="use one device for this arm")
        self._model = (model,)  # in a tuple it is no part of this module
        self.lesson, self.documents_of, self.every = lesson, documents_of, every
        self.texts: list[str] = []
        self.activations: list[torch.Tensor] = []
        self.documents: list[str] = []

    def forward(self, scored: Scored, batch: PolicyBatch, number: int) -> None:
        """Keep the valid explanations of a rollout; fit, if it is the last of its turn."""
        samples = len(scored.readings) // len(batch.keys)
        documents = self.documents_of(batch.keys)
        for row in scored.valid.nonzero().squeeze(1).tolist():
            self.texts.append(scored.readings[row].text)
            self.activations.append(batch.activations[row // samples].cpu())
            self.documents.append(documents[row // samples])
        if (number + 1) % self.every == 0 and self.texts:
            self._model[0].fit(
                Lesson(
                    [*self.lesson.texts, *self.texts],
                    torch.cat([self.lesson.activations, torch.stack(self.activations)]),
                    [*self.lesson.documents, *self.documents],
                )
            )
            self.texts, self.activations, self.documents = [], [], []

    def get_extra_state(self) -> dict[str, Any]:
        """The AR, and what it will be fitted to next."""
        [model] = self._model
        kept = (self.texts, self.activations, self.documents)
        return {"outline": model.outline(), "tensors": model.tensors(), "kept": kept}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """See `get_extra_state`."""
        [model] = self._model
        model.restore(state["outline"], state["tensors"])
        self.texts, self.activations, self.documents = state["kept"]
