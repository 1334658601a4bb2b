"""Run a decoder on rows that begin alike, reading the common beginning once."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.models.ragged import read_ragged
from common.models.sharding import is_sharded
from common.schema import TokenBatch


def common_length(tokens: TokenBatch) -> int:
    """How many tokens all rows begin with alike, each row keeping one; 0 for a single row."""
    if len(tokens.ids) < 2:
        return 0
    alike = (tokens.ids == tokens.ids[:1]).all(0).long().cumprod(0).sum()
    return int(torch.minimum(alike, tokens.mask.sum(1).min() - 1))


def after_prefix(
    decoder: Any,
    prefix: Float[Tensor, "1 shared d_model"],
    rest: Float[Tensor, "batch time d_model"],
    mask: Bool[Tensor, "batch time"],
) -> Float[Tensor, "batch time d_model"]:
    """Last hidden states of `rest`, as if `prefix` stood before each row; gradients reach both.

    A prompt is a good part of a short text: what a causal model makes of its tokens is the same in
    every row. `mask` marks the real tokens of right-padded rows; what stands on padding is
    arbitrary.
    """
    if is_sharded(decoder):
        together = torch.cat([prefix.expand(len(rest), -1, -1), rest], 1)
        hidden = decoder(inputs_embeds=together, use_cache=False).last_hidden_state
        return hidden[:, prefix.shape[1] :]
    return read_ragged(decoder, prefix, rest, mask)


def read_on(
    decoder: Any, embeddings: Float[Tensor, "batch time d_model"], cache: Any = None
) -> tuple[Float[Tensor, "batch time d_model"], Any]:
    """Last hidden states of tokens that follow what is in the cache, and the cache with them.

    A row of the cache stands before as many rows in turn as there are more of them than of it.
    """
    if cache is not None:
        cache.batch_repeat_interleave(len(embeddings) // len(cache.layers[0].keys))
    output = decoder(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
    return output.last_hidden_state, output.past_key_values
