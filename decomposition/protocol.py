"""What every decomposition keeps: an activation in, the vectors of an AV's slots out.

The lowest layer of the house: nothing here knows what the vectors are injected into.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Decomposition(nn.Module):
    """Shares an activation out over slots; a vector of length 1 is injected with length alpha.

    What it learns are parameters; what `fit` finds are persistent buffers, which have their shape
    before they are fitted. Both are saved with the AV.
    """

    slots: int
    """Vectors for each activation."""

    def __init__(self, slots: int) -> None:
        """One slot or more."""
        super().__init__()
        assert slots >= 1, f"{slots} slots"
        self.slots = slots

    @property
    def settings(self) -> dict[str, Any]:
        """What beside kind and slots decides what the vectors mean, in types that JSON knows.

        An AV trained with other settings is refused.
        """
        return {}

    def fit(self, activations: Float[Tensor, "rows d_model"]) -> None:
        """Find statistics of the training activations, before anything trains; here none."""

    def forward(
        self, activations: Float[Tensor, "batch d_model"]
    ) -> Float[Tensor, "batch slots d_model"]:
        """The vectors, each with its own length, in units of the AV's alpha."""
        raise NotImplementedError


def unit(vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """V / |v|, with the epsilon inside the root so that a zero vector has a finite gradient."""
    return vectors * torch.rsqrt(vectors.pow(2).sum(-1, keepdim=True) + 1e-12)
