"""The decomposition that does not decompose."""

from jaxtyping import Float
from torch import Tensor

from decomposition.protocol import Decomposition, unit


class Repeat(Decomposition):
    """`h/|h|` in every slot: more room to read the same."""

    def forward(
        self, activations: Float[Tensor, "batch d_model"]
    ) -> Float[Tensor, "batch slots d_model"]:
        """As many times the direction as there are slots."""
        return unit(activations)[:, None].expand(-1, self.slots, -1)
