"""The slow path, transformers' own generation, with which tests and benchmarks compare."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.models.verbalizer import Verbalizer
from common.rollout.engine import room_of


@torch.no_grad()
def generate(
    verbalizer: Verbalizer,
    inputs: Float[Tensor, "batch width"],
    samples: int = 1,
    temperature: float = 0.0,
    **settings: Any,
) -> list[list[int]]:
    """Token ids of `samples` explanations of each activation, without the end token.

    The whole prompt of every row goes through `generate(inputs_embeds=...)`, in one batch; draws
    come from torch's global generator. `settings` are further arguments of `generate`.
    """
    rows = inputs.repeat_interleave(samples, 0)
    prompt = torch.tensor(verbalizer.template.prompt_ids, device=rows.device).expand(len(rows), -1)
    end = verbalizer.template.end_id
    drawing = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    written = verbalizer.language_model.generate(
        inputs_embeds=verbalizer.embed(prompt, rows),
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=room_of(verbalizer),
        eos_token_id=end,
        pad_token_id=end,
        **(drawing if temperature else {"do_sample": False}),
        **settings,
    ).tolist()
    return [
        row[: row.index(end)] if end in row else row[: room_of(verbalizer) - 1] for row in written
    ]
