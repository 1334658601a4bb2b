"""Rows of different length read as one: no layer but attention sees padding, and each acts once."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import AttentionInterface

ATTENTION = "nla_ragged"


@dataclass(frozen=True)
class Ragged:
    """Where tokens stand: first a prefix that all rows share, then the real tokens of each row."""

    shared: int
    rows: int
    time: int
    places: Int[Tensor, " real"]
    """Of each real token in the flattened padded rows."""
    kernel: str
    """Name of the attention that is applied to padded rows."""

    @classmethod
    def of(cls, mask: Bool[Tensor, "rows time"], shared: int, kernel: str) -> "Ragged":
        """`mask` marks the real tokens of right-padded rows after the prefix."""
        rows, time = mask.shape
        return cls(shared, rows, time, mask.flatten().nonzero().squeeze(1), kernel)

    @property
    def positions(self) -> Int[Tensor, "1 tokens"]:
        """Each token's place in its own text."""
        prefix = torch.arange(self.shared, device=self.places.device)
        return torch.cat([prefix, self.shared + self.places % self.time])[None]

    def pad(self, packed: Float[Tensor, "real *rest"]) -> Float[Tensor, "rows time *rest"]:
        """Rows again, zero where there is no token."""
        shape = packed.shape[1:]
        padded = packed.new_zeros(self.rows * self.time, *shape)
        return padded.index_copy(0, self.places, packed).view(self.rows, self.time, *shape)

    def pack(self, padded: Float[Tensor, "rows time *rest"]) -> Float[Tensor, "real *rest"]:
        """The real tokens of padded rows."""
        return _Chosen.apply(padded.flatten(0, 1), self.places)

    def mask_like(self, states: Tensor) -> Float[Tensor, "1 1 time keys"]:
        """What a row's token may not see, as -inf: later ones. Padding comes later than any."""
        size = self.shared + self.time
        lowest = torch.finfo(states.dtype).min
        above = torch.full((size, size), lowest, dtype=states.dtype, device=states.device)
        return above.triu(1)[None, None]


class _Chosen(torch.autograd.Function):
    """`states[places]` for places that are all different: torch's gradient allows for repeats."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(states)
        return states[places]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,), (gradient,) = ctx.saved_tensors, gradients
        whole = gradient.new_zeros(ctx.size, *gradient.shape[1:])
        return whole.index_copy_(0, places, gradient), None


def read_ragged(
    decoder: Any,
    prefix: Float[Tensor, "1 shared d_model"],
    rest: Float[Tensor, "rows time d_model"],
    mask: Bool[Tensor, "rows time"],
) -> Float[Tensor, "rows time d_model"]:
    """Last hidden states of `rest`, as if `prefix` stood before each row; zero on padding.

    All tokens go through the decoder as one row, so that a weight is used, and gets a gradient,
    once. For models whose attention sees all that came before, as far as these texts are long.
    """
    layout = Ragged.of(mask, prefix.shape[1], decoder.config._attn_implementation)
    tokens = torch.cat([prefix, layout.pack(rest)[None]], 1)
    with _attending(decoder):
        output = decoder(
            inputs_embeds=tokens, position_ids=layout.positions, use_cache=False, layout=layout
        )
    return layout.pad(output.last_hidden_state[0, layout.shared :])


@contextmanager
def _attending(decoder: Any) -> Iterator[None]:
    """Within this context the decoder's layers attend by `_attend`."""
    usual = decoder.config._attn_implementation
    decoder.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        decoder.config._attn_implementation = usual


def _attend(
    module: Any,
    query: Float[Tensor, "1 heads tokens d_head"],
    key: Float[Tensor, "1 key_heads tokens d_head"],
    value: Float[Tensor, "1 key_heads tokens d_head"],
    attention_mask: None,
    *,
    layout: Ragged,
    **options: Any,
) -> tuple[Float[Tensor, "1 tokens heads d_head"], None]:
    """The usual attention on padded rows: the prefix for itself, the rest with it before each."""
    del attention_mask
    eager = sys.modules[type(module).__module__].eager_attention_forward
    usual = AttentionInterface().get_interface(layout.kernel, eager)
    shared, mask = layout.shared, layout.mask_like(query)

    def rows(states: Tensor) -> Tensor:
        return layout.pad(states[0, :, shared:].transpose(0, 1)).transpose(1, 2)

    def behind_prefix(states: Tensor) -> Tensor:
        before = states[:, :, :shared].expand(layout.rows, -1, -1, -1)
        return torch.cat([before, rows(states)], 2)

    read, _ = usual(
        module,
        rows(query),
        behind_prefix(key),
        behind_prefix(value),
        mask[:, :, shared:],
        **options,
    )
    parts = [layout.pack(read)[None]]
    if shared:
        first = (states[:, :, :shared] for states in (query, key, value))
        parts.insert(0, usual(module, *first, mask[:, :, :shared, :shared], **options)[0])
    return torch.cat(parts, 1), None


AttentionInterface.register(ATTENTION, _attend)
