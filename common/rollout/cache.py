"""Keys and values while an AV writes: one copy of what all rows share, room for what each adds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

ATTENTION = "nla_rollout"
"""Name under which `attend` is known to transformers."""


class RolloutCache:
    """What transformers' decoders ask of a cache, with room: nothing is copied as texts grow.

    The prompt before the slot is the same in every row, so its keys and values are kept once.
    """

    def __init__(self, shared: Any, room: int) -> None:
        """`shared` is the cache of the common beginning (one row); `room` tokens more per row."""
        self.shared = [(layer.keys[0], layer.values[0]) for layer in shared.layers]
        self.shared_length, self.room, self.length = shared.get_seq_length(), room, 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of new tokens; returns all that these rows have of their own."""
        if layer == len(self.keys):
            shape = (*keys.shape[:2], self.room, keys.shape[3])
            self.keys.append(keys.new_empty(shape))
            self.values.append(values.new_empty(shape))
        end = self.length + keys.shape[2]
        assert end <= self.room, f"{end} tokens in a cache with room for {self.room}"
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        if layer == len(self.shared) - 1:
            self.length = end
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def get_seq_length(self, _layer: int = 0) -> int:
        """Tokens before the next one: the shared ones and a row's own."""
        return self.shared_length + self.length

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep these rows, in this order; a row may come several times."""
        for store in (self.keys, self.values):
            for layer, kept in enumerate(store):
                fresh = kept.new_empty((len(rows), *kept.shape[1:]))
                fresh[:, :, : self.length] = kept[rows, :, : self.length]
                store[layer] = fresh


def attend(
    module: Any,
    query: Float[Tensor, "rows heads time head_dim"],
    key: Float[Tensor, "rows kv_heads own head_dim"],
    value: Float[Tensor, "rows kv_heads own head_dim"],
    _mask: None,
    scaling: float,
    rollout: RolloutCache,
    **_: object,
) -> tuple[Float[Tensor, "rows time heads head_dim"], None]:
    """Causal attention to the shared beginning, read once for all rows, and to a row's own tokens.

    `own` ends with the `time` tokens of the query. Heads that share a key head are queries of it.
    """
    rows, heads, time, width = query.shape
    shared_keys, shared_values = rollout.shared[module.layer_idx]
    kv_heads = key.shape[1]
    grouped = query.reshape(rows, kv_heads, -1, width) * scaling  # repetition of a head, then time
    together = grouped.transpose(0, 1).reshape(kv_heads, -1, width)
    before = together @ shared_keys.transpose(1, 2)
    before = before.view(kv_heads, rows, -1, before.shape[-1]).transpose(0, 1)
    own = grouped @ key.transpose(2, 3)
    if time > 1:
        later = torch.ones(time, own.shape[-1], dtype=torch.bool, device=own.device)
        later = later.triu(own.shape[-1] - time + 1)
        own = own.masked_fill(later.repeat(heads // kv_heads, 1), float("-inf"))
    weights = torch.cat([before, own], -1).softmax(-1, dtype=torch.float32).to(value.dtype)
    before, own = weights.split([shared_keys.shape[1], key.shape[2]], -1)
    together = before.transpose(0, 1).reshape(kv_heads, -1, before.shape[-1]) @ shared_values
    read = together.view(kv_heads, rows, -1, width).transpose(0, 1) + own @ value
    return read.reshape(rows, heads, time, width).transpose(1, 2), None


@contextmanager
def rollout_attention(model: Any) -> Iterator[None]:
    """Within this context the model attends with `attend`, and wants a `rollout` cache."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    usual = model.config._attn_implementation
    model.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        model.config._attn_implementation = usual
