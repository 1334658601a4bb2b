"""Put a reconstruction in an activation's place and see what becomes of the next token."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@torch.inference_mode()
def spliced_kl(
    model: Any,
    layer: int,
    token_ids: list[int],
    reconstructions: Float[Tensor, "rows d_model"],
) -> Float[Tensor, " rows"]:
    """KL (nats) from the untouched next-token distribution to that with `ĥ` after block `layer`.

    `token_ids` end at the position of the activation; `ĥ` gets the activation's length. The text
    before is read once for all rows, which differ in their last token's state only.
    """
    device = next(model.parameters()).device
    ids = torch.tensor([token_ids], device=device)
    cache = model.model(input_ids=ids[:, :-1], use_cache=True).past_key_values
    rows = len(reconstructions) + 1
    cache.batch_repeat_interleave(rows)
    directions = reconstructions.to(device)

    def splice(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        length = hidden[:1, -1].norm(dim=-1, keepdim=True)
        spliced = hidden.clone()
        unit = directions / directions.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        spliced[1:, -1] = (length * unit).to(hidden.dtype)
        return (spliced, *output[1:]) if isinstance(output, tuple) else spliced

    handle = model.model.layers[layer].register_forward_hook(splice)
    try:
        last = model.model(
            input_ids=ids[:, -1:].expand(rows, -1), past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
    finally:
        handle.remove()
    log_probs = model.lm_head(last).float().log_softmax(-1)
    untouched = log_probs[:1]
    return (untouched.exp() * (untouched - log_probs[1:])).sum(1).clamp(min=0)
