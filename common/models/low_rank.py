"""A linear layer with adapters as one operation: the same arithmetic as peft's layer, in one step.

Computed step by step, an adapter costs a CPU more time than its products need: under autocast the
input is cast again for each small matrix, and scaling and adding are separate passes over memory,
in forward and backward.
"""

from typing import Any

import torch
from jaxtyping import Float
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional

from common.models.adapters import adapters_in, side_by_side


class LowRankLinear(Linear):
    """`x W^T + b + s x A^T B^T`; A and B learn, W and b do not. Plain adapters only: no dropout."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """All active adapters act as one, whose rank is the sum of theirs."""
        base: nn.Linear = self.get_base_layer()  # pyright: ignore[reportAssignmentType]
        added = adapters_in(self)
        if self.disable_adapters or not added:
            return base(x)
        assert not base.weight.requires_grad, "the weight under adapters must be frozen"
        up, down = side_by_side(added)
        return _LowRank.apply(x, base.weight, base.bias, down, up)


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Float[Tensor, "*rows d_in"],
        weight: Float[Tensor, "d_out d_in"],
        bias: Float[Tensor, " d_out"] | None,
        down: Float[Tensor, "rank d_in"],
        up: Float[Tensor, "d_out rank"],
    ) -> Float[Tensor, "*rows d_out"]:
        kind = states.device.type
        low = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if low else states.dtype
        given = states.flatten(0, -2).to(dtype)
        weight, down, up = (part.to(dtype) for part in (weight, down, up))
        with torch.autocast(kind, enabled=False):
            narrow = given @ down.T
            bias = None if bias is None else bias.to(dtype)
            made = functional.linear(given, weight, bias).addmm_(narrow, up.T)
        ctx.save_for_backward(given, narrow, weight, down, up)
        return made.unflatten(0, states.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        given, narrow, weight, down, up = ctx.saved_tensors
        wants_states, _, _, wants_down, wants_up = ctx.needs_input_grad
        slope = gradients[0].flatten(0, -2).to(given.dtype)
        with torch.autocast(slope.device.type, enabled=False):
            back = slope @ up
            for_states = (slope @ weight).addmm_(back, down) if wants_states else None
            for_down = back.T @ given if wants_down else None
            for_up = slope.T @ narrow if wants_up else None
        if for_states is not None:
            for_states = for_states.unflatten(0, gradients[0].shape[:-1])
        return for_states, None, None, for_down, for_up
