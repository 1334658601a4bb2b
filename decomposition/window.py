"""The activations of several positions, each in a slot of its own."""

from jaxtyping import Float
from torch import Tensor

from decomposition.protocol import Decomposition, unit


class Window(Decomposition):
    """The directions of the last activations, in the order of the text: that of t comes last."""

    def __init__(self, slots: int) -> None:
        """As many slots as positions."""
        super().__init__(slots)
        self.window = slots

    def forward(self, inputs: Float[Tensor, "batch width"]) -> Float[Tensor, "batch slots d_model"]:
        """`h/|h|` of each position; width is slots * d_model, the earliest position first."""
        return unit(inputs.unflatten(1, (self.slots, -1)))
