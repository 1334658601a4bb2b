"""Decompositions for tests: vectors of unequal length, a learned map, fitted statistics."""

from typing import Any

import torch
from torch import Tensor, nn

from decomposition.protocol import Decomposition, unit

LENGTHS = (0.25, 1.0, 3.0)


class Graded(Decomposition):
    """A third of the activation in each slot, at a length of its own."""

    def __init__(self, lengths: tuple[float, ...] = LENGTHS) -> None:
        super().__init__(len(lengths))
        self.lengths = lengths

    @property
    def settings(self) -> dict[str, Any]:
        return {"lengths": self.lengths}

    def forward(self, inputs: Tensor) -> Tensor:
        slot = torch.arange(inputs.shape[1], device=inputs.device) % self.slots
        parts = [
            length * unit(inputs * (slot == number)) for number, length in enumerate(self.lengths)
        ]
        return torch.stack(parts, 1)


class Learned(Decomposition):
    """A linear map to each slot, at first the direction times a length; around a fitted mean."""

    mean: Tensor

    def __init__(self, d_model: int, slots: int = 2) -> None:
        super().__init__(slots)
        self.map = nn.Linear(d_model, slots * d_model, bias=False)
        with torch.no_grad():
            starts = [length * torch.eye(d_model) for length in LENGTHS[:slots]]
            self.map.weight.copy_(torch.cat(starts))
        self.register_buffer("mean", torch.zeros(d_model))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def fit(self, activations: Tensor) -> None:
        self.mean.copy_(activations.mean(0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.map(unit(inputs - self.mean)).unflatten(1, (self.slots, -1))
