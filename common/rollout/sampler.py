"""Sample explanations from an AV: one prefill, then only the newest token of rows still running."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.config import RolloutConfig
from common.models.verbalizer import Verbalizer
from common.progress import progress


@torch.inference_mode()
def sample_explanations(
    verbalizer: Verbalizer,
    activations: Float[Tensor, "rows d_model"],
    config: RolloutConfig,
    seed: int = 0,
    precision: str = "bf16-mixed",
) -> list[str]:
    """One explanation per activation, in order; greedy at temperature 0.

    At most `max_explanation_tokens` tokens each. `precision` as in TrainerConfig.
    """
    device = next(verbalizer.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    written: list[list[int]] = []
    low = precision.startswith("bf16")
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=low)
    bar = progress("explanations", len(activations), "explanation")
    with merged(verbalizer, low), autocast, bar:
        for batch in activations.to(device).split(config.batch_size):
            written += sample_batch(verbalizer, batch, config.temperature, generator)
            bar.update(len(batch))
    return [text.strip() for text in verbalizer.tokenizer.batch_decode(written)]


def sample_batch(
    verbalizer: Verbalizer,
    activations: Float[Tensor, "batch d_model"],
    temperature: float,
    generator: Any,
) -> list[list[int]]:
    """Token ids of each explanation without the end token."""
    model, template = verbalizer.language_model, verbalizer.template
    prompt = torch.tensor(template.prompt_ids, device=activations.device).expand(
        len(activations), -1
    )
    with verbalizer.injected(activations):
        output = model.model(inputs_embeds=verbalizer.embed(prompt, activations), use_cache=True)
    cache, running = (
        output.past_key_values,
        torch.arange(len(activations), device=activations.device),
    )
    written: list[list[int]] = [[] for _ in range(len(activations))]
    for _ in range(verbalizer.config.max_explanation_tokens):
        chosen = _choose(model.lm_head(output.last_hidden_state[:, -1]), temperature, generator)
        alive = chosen != template.end_id
        if not alive.all():
            kept = alive.nonzero().squeeze(1)
            running, chosen = running[kept], chosen[kept]
            if not len(kept):
                break
            cache.batch_select_indices(kept)
        for row, token in zip(running.tolist(), chosen.tolist(), strict=True):
            written[row].append(token)
        newest = model.get_input_embeddings()(chosen[:, None]).float()
        output = model.model(inputs_embeds=newest, past_key_values=cache, use_cache=True)
    return written


@contextmanager
def merged(verbalizer: Verbalizer, low_precision: bool) -> Iterator[None]:
    """Fold the adapters into copies of the weights for as long as nobody trains.

    Decoding runs one token at a time, so that every extra matrix product and cast is felt. The
    weights themselves come back afterwards: subtracting the adapters again would not be exact.
    """
    adapted = hasattr(verbalizer.model, "merge_adapter")
    linears = [m for m in verbalizer.language_model.modules() if type(m) is nn.Linear]
    weights = [module.weight.data for module in linears]
    if adapted:
        verbalizer.model.merge_adapter(safe_merge=True)
    if low_precision:
        for module in linears:
            module.weight.data = module.weight.data.bfloat16()
    try:
        yield
    finally:
        if adapted:
            verbalizer.model.unmerge_adapter()
        for module, weight in zip(linears, weights, strict=True):
            module.weight.data = weight


def _choose(logits: Float[Tensor, "batch vocab"], temperature: float, generator: Any) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial(
        (logits.float() / temperature).softmax(-1), 1, generator=generator
    ).squeeze(1)
