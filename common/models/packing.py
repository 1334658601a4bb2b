"""Matrix products on a CPU with weights laid out once in the order oneDNN reads them.

With few rows, as in decoding, or with as many columns as a vocabulary has, an ordinary matrix
product spends much of its time on the weight's layout.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

ROWS = 16
"""Rows that the layout is chosen for; it serves any number of them."""


def packs(device: torch.device) -> bool:
    """Whether weights can be packed there: on CPUs for which torch was built with oneDNN."""
    return device.type == "cpu" and torch.backends.mkldnn.is_available()


def packed(weight: Tensor, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """The product with a packed copy of a float32 weight [out, in]; it has no gradient."""
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return partial(_product, laid_out, bias)


def _product(laid_out: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(states, laid_out, bias, "none", [], "")


def pack(module: nn.Linear, weight: Tensor) -> None:
    """Let the module multiply with a packed copy of a weight until `unpack`, in inference.

    Its own weight is neither read nor changed.
    """
    vars(module)["forward"] = packed(weight, module.bias)


def unpack(module: nn.Linear) -> None:
    """Let the module multiply with its own weight again."""
    vars(module).pop("forward", None)
