"""What reads explanations for the reward, if it is not the AR that learns."""

import copy
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.models.reconstructor import Reconstructor
from common.rollout.reading import reconstruct
from common.schema import Reader, Reading

BATCH_SIZE = 64
"""Explanations per batch of an AR that does not learn from them."""


class Rewarder(nn.Module):
    """Reconstructs activations for the reward.

    A subclass keeps its state in buffers or in `get_extra_state`, which are in checkpoints. Its
    parameters are frozen and not in checkpoints.
    """

    def before_rollout(self, number: int) -> None:
        """Called before each rollout is sampled; `number` starts at 0, not again after a resume."""

    def forward(self, readings: Sequence[Reading]) -> list[Float[Tensor, "rows d_model"]]:
        """The reconstructions of each of its readers; the reward is the mean over the readers."""
        raise NotImplementedError


class FrozenReader(nn.Module):
    """An AR that reads without learning; `precision` as in TrainerConfig."""

    def __init__(self, model: Reconstructor, precision: str) -> None:
        """Freezes the AR."""
        super().__init__()
        self.model, self.precision = model.requires_grad_(False), precision

    def forward(self, readings: Sequence[Reading]) -> Float[Tensor, "rows d_model"]:
        """Reconstructions on the CPU, in float32."""
        return reconstruct(self.model, readings, BATCH_SIZE, self.precision)


class Ensemble(Rewarder):
    """One or several readers: FrozenReaders, or other functions from texts to vectors."""

    def __init__(self, *readers: Reader) -> None:
        """Readers that are modules move to the device with the run's models."""
        super().__init__()
        self.readers = readers
        self.parts = nn.ModuleList([part for part in readers if isinstance(part, nn.Module)])

    def forward(self, readings: Sequence[Reading]) -> list[Float[Tensor, "rows d_model"]]:
        """The reconstructions of each reader."""
        return [read(readings) for read in self.readers]


class Lagged(Rewarder):
    """A copy that follows the AR that learns: after every so many rollouts, by a share of the way.

    A share of 1 refreshes the copy; a smaller one makes it an exponential moving average with the
    decay 1 - share. Weights that do not learn are not copied.
    """

    def __init__(
        self, learning: Reconstructor, precision: str, every: int = 1, share: float = 1.0
    ) -> None:
        """The copy starts as the AR is now; `every` >= 1, 0 < `share` <= 1."""
        super().__init__()
        self.every, self.share = every, share
        shared = {id(p): p for p in learning.parameters() if not p.requires_grad}
        self.names = [name for name, p in learning.named_parameters() if p.requires_grad]
        self.reader = FrozenReader(copy.deepcopy(learning, shared), precision)
        self._learning = (learning,)  # in a tuple it is no part of this module

    @torch.no_grad()
    def before_rollout(self, number: int) -> None:
        """Update the copy, in every `every`-th rollout."""
        if number % self.every == 0:
            theirs = dict(self._learning[0].named_parameters())
            for name, weight in self._weights():
                weight.lerp_(_whole(theirs[name]).to(weight), self.share)

    def forward(self, readings: Sequence[Reading]) -> list[Float[Tensor, "rows d_model"]]:
        """The reconstructions of the copy."""
        return [self.reader(readings)]

    def get_extra_state(self) -> dict[str, Tensor]:
        """The copied weights."""
        return {name: weight.detach() for name, weight in self._weights()}

    @torch.no_grad()
    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """See `get_extra_state`."""
        for name, weight in self._weights():
            weight.copy_(state[name])

    def _weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        mine = dict(self.reader.model.named_parameters())
        return ((name, mine[name]) for name in self.names)


def _whole(parameter: Tensor) -> Tensor:
    """The whole of a parameter, which may be sharded over processes."""
    gather = getattr(parameter, "full_tensor", None)
    return gather() if gather else parameter
