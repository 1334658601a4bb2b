"""The interface of every decomposition: activations in, the vectors of an AV's slots out.

The lowest layer of this repository: nothing here knows where the vectors are injected.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Decomposition(nn.Module):
    """Divides an activation among slots; a vector of length 1 is injected with length alpha.

    What is learned are parameters; what `fit` computes are persistent buffers, which have their
    final shape before they are fitted. Both are saved with the AV.
    """

    slots: int
    """Number of vectors for each activation."""
    window: int = 1
    """Number of positions whose activations it reads, up to that of the activation itself."""

    def __init__(self, slots: int) -> None:
        """`slots` is at least 1."""
        super().__init__()
        assert slots >= 1, f"{slots} slots"
        self.slots = slots

    @property
    def settings(self) -> dict[str, Any]:
        """Settings, beside kind and slots, that decide what the vectors mean, in JSON types.

        An AV trained with other settings is rejected.
        """
        return {}

    def fit(self, activations: Float[Tensor, "rows d_model"]) -> None:
        """Compute statistics of the training activations, before any training; here none."""

    def forward(self, inputs: Float[Tensor, "batch width"]) -> Float[Tensor, "batch slots d_model"]:
        """The vectors, each with its own length, in units of the AV's alpha.

        Width is window * d_model: the activations of the positions one after another, in the order
        of the text.
        """
        raise NotImplementedError


def unit(vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """V / |v|, with the epsilon inside the root so that a zero vector has a finite gradient."""
    return vectors * torch.rsqrt(vectors.pow(2).sum(-1, keepdim=True) + 1e-12)
