"""Replace an activation by its reconstruction and measure how the next token changes."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.target.parts import logits_of

READ_TOGETHER = 16
"""Texts of similar length in a batch: few enough for their caches, enough to be fast."""


@torch.inference_mode()
def spliced_kl(
    model: Any,
    layer: int,
    texts: Sequence[list[int]],
    reconstructions: Float[Tensor, "texts rows d_model"],
) -> Float[Tensor, "texts rows"]:
    """KL (nats) from the unchanged next-token distribution to that with `ĥ` after block `layer`.

    Token ids end at the position of the activation; `ĥ` is scaled to the activation's length. The
    text before is read once for all rows, which differ only in their last token's state.
    """
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = reconstructions.new_zeros(reconstructions.shape[:2])
    for start in range(0, len(order), READ_TOGETHER):
        places = order[start : start + READ_TOGETHER]
        together = [texts[place] for place in places]
        found[places] = _kl(model, layer, together, reconstructions[places]).to(found)
    return found


def _kl(
    model: Any,
    layer: int,
    texts: list[list[int]],
    reconstructions: Float[Tensor, "texts rows d_model"],
) -> Float[Tensor, "texts rows"]:
    from transformers import DynamicCache

    decoder, device = model.get_decoder(), next(model.parameters()).device
    before = [torch.tensor(ids[:-1], device=device) for ids in texts]
    ids = pad_sequence(before, batch_first=True)
    mask = pad_sequence([torch.ones_like(text) for text in before], batch_first=True)
    cache = DynamicCache()  # keeps all tokens: a window of the last ones would hold padding
    # Padding on the right needs no mask before it is followed by the last token.
    decoder(input_ids=ids, past_key_values=cache, use_cache=True)
    rows = reconstructions.shape[1] + 1
    cache.batch_repeat_interleave(rows)
    last = torch.tensor([[text[-1]] for text in texts], device=device)
    seen = torch.cat([mask, torch.ones_like(last)], 1)
    directions = reconstructions.to(device)

    def splice(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        spliced = hidden.unflatten(0, (-1, rows)).clone()  # [texts, 1 + reconstructions, 1, d]
        length = spliced[:, :1, -1].norm(dim=-1, keepdim=True)
        unit = directions / directions.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        spliced[:, 1:, -1] = (length * unit).to(hidden.dtype)
        spliced = spliced.flatten(0, 1)
        return (spliced, *output[1:]) if isinstance(output, tuple) else spliced

    handle = decoder.layers[layer].register_forward_hook(splice)
    try:
        states = decoder(
            input_ids=last.repeat_interleave(rows, 0),
            attention_mask=seen.repeat_interleave(rows, 0),
            position_ids=mask.sum(1, keepdim=True).repeat_interleave(rows, 0),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
    finally:
        handle.remove()
    log_probs = logits_of(model, states).log_softmax(-1).unflatten(0, (-1, rows))
    untouched = log_probs[:, :1]
    return (untouched.exp() * (untouched - log_probs[:, 1:])).sum(-1).clamp(min=0)
