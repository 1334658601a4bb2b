"""The published recipe: one slot, which holds the activation's direction."""

from jaxtyping import Float
from torch import Tensor

from decomposition.protocol import Decomposition, unit


class Single(Decomposition):
    """`h/|h|` in one slot."""

    def __init__(self) -> None:
        super().__init__(slots=1)

    def forward(self, inputs: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch 1 d_model"]:
        """The direction alone: an activation's length does not matter."""
        return unit(inputs)[:, None]
