"""Keys and values while an AV writes: the shared beginning is read once, and space is reserved."""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from common.models.attention import attending, check_window

ATTENTION = "nla_rollout"
"""Name under which transformers knows `attend`."""


class RolloutCache:
    """A cache for transformers' decoders with reserved space: nothing is copied as texts grow."""

    def __init__(self, shared: Any, rows: int, room: int) -> None:
        """`shared` is the cache of the shared beginning, one row; `room` tokens more per row."""
        self.length: int = shared.get_seq_length()
        self.column: Int[Tensor, " one"] | None = None
        # Under autocast, keys are float32 after the rotation, and values bfloat16.
        read = [(layer.keys.to(layer.values), layer.values) for layer in shared.layers]
        self.keys = [self._with_room(keys, rows, room) for keys, _ in read]
        self.values = [self._with_room(values, rows, room) for _, values in read]

    def _with_room(self, read: Tensor, rows: int, room: int) -> Tensor:
        made = read.new_empty((rows, read.shape[1], self.length + room, read.shape[3]))
        made[:, :, : self.length] = read
        return made

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of new tokens; returns all that these rows have so far.

        After `fix` there is one new token, and the whole reserved space is returned.
        """
        if self.column is not None:
            for store, fresh in ((self.keys[layer], keys), (self.values[layer], values)):
                store.index_copy_(2, self.column, fresh.to(store.dtype))
            return self.keys[layer], self.values[layer]
        end = self.length + keys.shape[2]
        assert end <= self.capacity, f"no room for {end} tokens"
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        if layer == len(self.keys) - 1:
            self.length = end
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def get_seq_length(self, _layer: int = 0) -> int:
        """Number of tokens before the next one."""
        return self.length

    def fix(self) -> Int[Tensor, " one"]:
        """From now on shapes are constant; returns the next token's column, for the caller to move.

        Columns that are not written yet are zero, so that attention may include them.
        """
        for store in (*self.keys, *self.values):
            store[:, :, self.length :] = 0
        self.column = torch.tensor([self.length], device=self.keys[0].device)
        return self.column

    @property
    def capacity(self) -> int:
        """Most tokens of a row, including the shared beginning."""
        return self.keys[0].shape[2]

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep these rows, in this order; a row may be repeated."""
        for store in (self.keys, self.values):
            for layer, kept in enumerate(store):
                fresh = kept.new_empty((len(rows), *kept.shape[1:]))
                fresh[:, :, : self.length] = kept[rows, :, : self.length]
                store[layer] = fresh


def read_newest(
    model: Any,
    embeddings: Float[Tensor, "rows time d_model"],
    cache: RolloutCache,
    **places: Tensor,
) -> Float[Tensor, "rows d_model"]:
    """Last hidden state after the newest tokens; `places` are mask and positions, if needed."""
    decoder = model.get_decoder()
    output = decoder(inputs_embeds=embeddings, past_key_values=cache, use_cache=True, **places)
    return output.last_hidden_state[:, -1]


def attend(
    _module: Any,
    query: Float[Tensor, "rows heads time head_dim"],
    key: Float[Tensor, "rows kv_heads tokens head_dim"],
    value: Float[Tensor, "rows kv_heads tokens head_dim"],
    mask: Bool[Tensor, "1 1 1 tokens"] | None,
    scaling: float,
    **options: Any,
) -> tuple[Float[Tensor, "rows time heads head_dim"], None]:
    """Causal attention of the last `time` tokens to all; rows have equal length, without padding.

    A `mask` says to which tokens one new token attends; None: to all. Scores are limited by a
    `softcap`. NlaError when there are more tokens than a `sliding_window` allows.
    """
    check_window(options.get("sliding_window"), key.shape[2])
    read = partial(_read, scaling=scaling, softcap=options.get("softcap"))
    rows, heads, time, width = query.shape
    query, tokens = query.to(value.dtype), key.shape[2]
    if time == 1:  # query heads that share keys become one batch, so that keys are read once
        query = query.reshape(rows, key.shape[1], -1, width)
        found = read(query, key, value, mask)
        return found.reshape(rows, 1, heads, found.shape[-1]), None
    causal = torch.ones(time, tokens, dtype=torch.bool, device=key.device).tril(tokens - time)
    return read(query, key, value, causal).transpose(1, 2), None


def _read(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    softcap: float | None,
) -> Float[Tensor, "rows heads time head_dim"]:
    """The attention output, by torch's fused kernel or, with a soft cap, step by step."""
    if softcap is None:
        return functional.scaled_dot_product_attention(
            query, key, value, mask, scale=scaling, enable_gqa=True
        )
    shared = query.unflatten(1, (key.shape[1], -1))
    scores = shared @ key[:, :, None].mT * scaling
    scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value[:, :, None]).flatten(1, 2)


def rollout_attention(model: Any) -> AbstractContextManager[str]:
    """Within this context the model attends with `attend`."""
    return attending(model, ATTENTION, attend)
