"""Matrix products with few rows on a CPU: weights laid out once in the order oneDNN reads them.

Decoding multiplies each weight with a handful of rows, where an ordinary matrix product spends much
of its time on the weight's layout.
"""

import torch
from torch import nn

ROWS = 16
"""Rows that the layout is chosen for; it serves any number of them."""


def packs(device: torch.device) -> bool:
    """Whether weights can be packed there: on CPUs for which torch was built with oneDNN."""
    return device.type == "cpu" and torch.backends.mkldnn.is_available()


def pack(module: nn.Linear, weight: torch.Tensor) -> None:
    """Let the module multiply with a packed copy of a float32 weight until `unpack`, in inference.

    Its own weight is neither read nor changed.
    """
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    bias = module.bias

    def forward(input: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(input, packed, bias, "none", [], "")

    module.forward = forward


def unpack(module: nn.Linear) -> None:
    """Let the module multiply with its own weight again."""
    vars(module).pop("forward", None)
