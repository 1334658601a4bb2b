"""The parts of a causal language model around its blocks, which differ between families.

Some families multiply embeddings, scale logits or limit them by a soft cap, outside of blocks and
head. Code that calls decoder and head separately must use this module, to get the model's numbers.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import NlaError

OTHER_MODEL = "choose a model like Llama: rotary positions, blocks in `layers`, then a norm"
FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm")
"""Names of the norm after the last block in decoders."""
LARGE = 100.0
"""A logit that a soft cap would change, and that shows a shift."""


@contextmanager
def first_blocks(decoder: Any, count: int) -> Iterator[None]:
    """Within this context the decoder runs only its first `count` blocks."""
    whole = decoder.config.num_hidden_layers
    decoder.config.num_hidden_layers = count
    kept = decoder.layers
    decoder.layers = kept[:count]
    try:
        yield
    finally:
        decoder.layers = kept
        decoder.config.num_hidden_layers = whole


@contextmanager
def entering(block: Any, act: Callable[[Tensor], None]) -> Iterator[None]:
    """Within this context `act` gets the states that enter a block, and may change them."""

    def hook(_module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        act(inputs[0] if inputs else named["hidden_states"])

    handle = block.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def final_norm(decoder: Any) -> str:
    """Name of the norm after a decoder's last block; NlaError when it has no known one."""
    for name in FINAL_NORMS:
        if hasattr(decoder, name):
            return name
    what = f"no final norm (looked for {', '.join(FINAL_NORMS)})"
    raise NlaError(what, where=type(decoder).__name__, remedy=OTHER_MODEL)


class _Given:
    """Replaces a decoder: its output holds the given states, and nothing else."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __call__(self, *_: object, **__: object) -> "_Given":
        return self

    def __getitem__(self, place: int) -> Tensor:
        return (self.last_hidden_state,)[place]

    def __getattr__(self, _name: str) -> None:
        """None for caches, router logits and other outputs of some families."""


def logits_of(model: Any, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
    """The model's own logits, in float32, from the last hidden states of its decoder."""
    alone = copy.copy(model)  # shares every weight
    given = _Given(states.reshape(1, -1, states.shape[-1]))
    alone._modules = {**model._modules, model.base_model_prefix: given}
    return alone().logits.float().reshape(*states.shape[:-1], -1)


@torch.no_grad()
def head_is_plain(model: Any) -> bool:
    """Whether logits are only the product of the head's weight and the states."""
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        return False
    weight = head.weight[:4].float()
    states = weight * (LARGE / weight.pow(2).sum(-1, keepdim=True).clamp(min=1e-12))
    own, plain = logits_of(model, states), states @ head.weight.float().T
    return bool(torch.allclose(own, plain, rtol=1e-3, atol=1e-3 * LARGE))


@torch.no_grad()
def embedding_scale(model: Any) -> float:
    """The factor by which the decoder multiplies `inputs_embeds` before its first block.

    NlaError when it changes them in another way: an injected vector would then enter changed.
    """
    decoder, weight = model.get_decoder(), model.get_input_embeddings().weight
    vector = torch.linspace(-1, 1, weight.shape[1], device=weight.device, dtype=weight.dtype)
    entered: list[Tensor] = []
    with entering(decoder.layers[0], entered.append), first_blocks(decoder, 1):
        decoder(inputs_embeds=vector[None, None], use_cache=False)
    found = entered[0][0, 0].float()
    scale = float(found @ vector.float() / vector.float().pow(2).sum())
    if not torch.allclose(found, scale * vector.float(), rtol=1e-2, atol=1e-3 * abs(scale)):
        what = "the model adds to embeddings, or mixes them, before its first block"
        raise NlaError(what, where=model.config.model_type, remedy=OTHER_MODEL)
    return scale
