"""Matrix products on a CPU with weights packed once in the layout that oneDNN reads.

With few rows, as in decoding, or with as many columns as a vocabulary has, an ordinary matrix
product spends much of its time on changing the weight's layout.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

Product = Callable[[Tensor], Tensor]
"""States [..., in] → [..., out]."""
ROWS = 16
"""Number of rows for which the layout is chosen; it works for any number of rows."""


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether such weights can be packed: on CPUs where oneDNN multiplies this type."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def product_with(weight: Tensor, bias: Tensor | None = None) -> Product:
    """The product with a weight [out, in], in its type; packed where that is faster on this CPU."""
    if packs(weight.device, weight.dtype):
        return packed(weight, bias)
    return partial(functional.linear, weight=weight, bias=bias)


def packed(weight: Tensor, bias: Tensor | None = None) -> Product:
    """The product with a packed copy of a weight [out, in]; it has no gradient."""
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return partial(_product, laid_out, bias)


def _product(laid_out: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(states, laid_out, bias, "none", [], "")
