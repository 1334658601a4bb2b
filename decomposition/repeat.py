"""The trivial decomposition: the same vector in every slot."""

from jaxtyping import Float
from torch import Tensor

from decomposition.protocol import Decomposition, unit


class Repeat(Decomposition):
    """`h/|h|` in every slot: more tokens that hold the same."""

    def forward(
        self, inputs: Float[Tensor, "batch d_model"]
    ) -> Float[Tensor, "batch slots d_model"]:
        """The direction, repeated for each slot."""
        return unit(inputs)[:, None].expand(-1, self.slots, -1)
