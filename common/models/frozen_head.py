"""Log-probabilities of given tokens under a frozen vocabulary, without ever holding all logits."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from common.models.packing import Product, product_with
from common.target.parts import logits_of

LOGITS_AT_ONCE = {"cpu": 7_000_000, "cuda": 270_000_000}
"""Most logits in a batch; on a CPU, less than the largest block that `common.allocator` reuses."""

WORTH_PACKING = 512
"""Number of rows from which packing the vocabulary's weight saves more time than it costs."""


Reader = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor | None]]
"""States and ids of rows → log-probabilities, and, if wanted, their gradients by the states."""


def log_probs_of(
    head: nn.Linear,
    states: Float[Tensor, "rows d_model"],
    ids: Int[Tensor, " rows"],
    temperature: float = 1.0,
) -> Float[Tensor, " rows"]:
    """Log-probability of each row's token in `softmax(head(states) / temperature)`.

    The logits of many tokens are the largest tensors of a training step. Because the head does not
    learn, its backward needs one gradient per row, which is computed in the forward, in batches.
    """
    assert head.bias is None, "the head must be a plain one"
    assert not head.weight.requires_grad, "the head must be frozen"
    weight, kind = head.weight, states.device.type
    if torch.is_autocast_enabled(kind):
        weight = weight.to(torch.get_autocast_dtype(kind))
    return _LogProbs.apply(states, ids, len(weight), _plain(weight, len(states), temperature))


def own_log_probs_of(
    model: Any,
    states: Float[Tensor, "rows d_model"],
    ids: Int[Tensor, " rows"],
    temperature: float = 1.0,
) -> Float[Tensor, " rows"]:
    """As `log_probs_of`, by a model's own logits, for heads with a scale, a soft cap or a bias."""
    head = model.get_output_embeddings()
    assert not any(part.requires_grad for part in head.parameters()), "the head must be frozen"
    return _LogProbs.apply(states, ids, len(head.weight), _own(model, temperature))


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, ids: Tensor, vocabulary: int, read: Reader) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        found = torch.empty(len(states), device=states.device)
        slopes = torch.empty_like(states) if wanted else None
        size = max(1, LOGITS_AT_ONCE[states.device.type] // vocabulary)
        for start in range(0, len(states), size):
            rows = slice(start, start + size)
            found[rows], slope = read(states[rows], ids[rows], wanted)
            if slopes is not None and slope is not None:
                slopes[rows] = slope.to(slopes.dtype)
        ctx.save_for_backward(slopes)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradients[0][:, None].to(slopes.dtype) * slopes, None, None, None


def _plain(weight: Tensor, rows: int, temperature: float) -> Reader:
    logits_with = _logits_with(weight, rows)

    def read(states: Tensor, ids: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        logits = logits_with(states.to(weight.dtype)).float()
        scaled = logits if temperature == 1 else logits.div_(temperature)
        log_probs = scaled.log_softmax(-1)
        found = log_probs.gather(1, ids[:, None]).squeeze(1)
        if not wanted:
            return found, None
        expected = log_probs.exp_().to(weight.dtype) @ weight
        return found, (weight[ids] - expected) / temperature

    return read


def _own(model: Any, temperature: float) -> Reader:
    def read(states: Tensor, ids: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        with torch.set_grad_enabled(wanted):
            asked = states.detach().requires_grad_(wanted)
            log_probs = (logits_of(model, asked) / temperature).log_softmax(-1)
            found = log_probs.gather(1, ids[:, None]).squeeze(1)
            slopes = torch.autograd.grad(found.sum(), asked)[0] if wanted else None
        return found.detach(), slopes

    return read


def _logits_with(weight: Tensor, rows: int) -> Product:
    if weight.dtype == torch.float32 and rows >= WORTH_PACKING:
        return product_with(weight)
    return lambda states: states @ weight.T
