"""Run a decoder on rows that begin alike, reading the common beginning once."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

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
) -> Float[Tensor, "batch time d_model"]:
    """Last hidden states of `rest`, as if `prefix` stood before each row; gradients reach both.

    A prompt is a good part of a short text: keys and values of its tokens are the same in every row
    of a causal model. Rows are right-padded, so that no attention mask is needed.
    """
    if not prefix.shape[1]:
        return decoder(inputs_embeds=rest, use_cache=False).last_hidden_state
    if is_sharded(decoder):
        # FSDP2 frees a block's weights after its backward, and the cache goes around its hooks:
        # one call for each backward.
        together = torch.cat([prefix.expand(len(rest), -1, -1), rest], 1)
        hidden = decoder(inputs_embeds=together, use_cache=False).last_hidden_state
        return hidden[:, prefix.shape[1] :]
    _, cache = read_on(decoder, prefix)
    return read_on(decoder, rest, cache)[0]


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
