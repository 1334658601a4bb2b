"""Log-probabilities of given tokens under a frozen vocabulary, without ever holding all logits."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from common.models.packing import Product, product_with

LOGITS_AT_ONCE = {"cpu": 7_000_000, "cuda": 270_000_000}
"""On a CPU below the largest block of memory that `common.allocator` has reused."""

WORTH_PACKING = 512
"""Rows from which laying out the vocabulary anew costs less than it saves."""


def log_probs_of(
    head: nn.Linear,
    states: Float[Tensor, "rows d_model"],
    ids: Int[Tensor, " rows"],
    temperature: float = 1.0,
) -> Float[Tensor, " rows"]:
    """Log-probability of each row's token in `softmax(head(states) / temperature)`.

    Logits of many tokens are the largest tensors of a training step. As the head does not learn,
    one gradient per row is all that its backward needs: it is found along the way, in batches.
    """
    assert head.bias is None, "the head must be a plain one"
    assert not head.weight.requires_grad, "the head must be frozen"
    return _LogProbs.apply(states, head.weight, ids, temperature)


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, ids: Tensor, temperature: float
    ) -> Tensor:
        kind = states.device.type
        if torch.is_autocast_enabled(kind):
            weight = weight.to(torch.get_autocast_dtype(kind))
        wanted = ctx.needs_input_grad[0]
        found = torch.empty(len(states), device=states.device)
        slopes = torch.empty_like(states) if wanted else None
        size = max(1, LOGITS_AT_ONCE[kind] // len(weight))
        logits_of = _logits_with(weight, len(states))
        for start in range(0, len(states), size):
            rows = slice(start, start + size)
            logits = logits_of(states[rows].to(weight.dtype)).float()
            scaled = logits if temperature == 1 else logits.div_(temperature)
            log_probs = scaled.log_softmax(-1)
            found[rows] = log_probs.gather(1, ids[rows, None]).squeeze(1)
            if slopes is not None:
                expected = log_probs.exp_().to(weight.dtype) @ weight
                slopes[rows] = (weight[ids[rows]] - expected).to(slopes.dtype) / temperature
        ctx.save_for_backward(slopes)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradients[0][:, None].to(slopes.dtype) * slopes, None, None, None


def _logits_with(weight: Tensor, rows: int) -> Product:
    if weight.dtype == torch.float32 and rows >= WORTH_PACKING:
        return product_with(weight)
    return lambda states: states @ weight.T
