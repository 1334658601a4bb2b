"""Read the residual stream after block K, computing no block and no logit that is not needed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.errors import NlaError
from common.schema import TokenBatch
from common.target.parts import first_blocks, logits_of


class Reading(NamedTuple):
    """What was read at the sampled positions, ordered by (row, column)."""

    activations: dict[int, Float[Tensor, "positions d_model"]]
    next_ids: Int[Tensor, "positions choices"]
    next_probs: Float[Tensor, "positions choices"]
    before: Mapping[int, Float[Tensor, "positions width"]] = {}
    """With a window: of the main layer, the activations of the positions before, side by side."""


def check_layers(layers: Sequence[int], blocks: int) -> tuple[int, ...]:
    """The layers to read; none given means 2/3 of the depth. NlaError when one is out of range."""
    chosen = tuple(layers) or (round(blocks * 2 / 3),)
    for layer in chosen:
        if not 0 <= layer < blocks:
            raise NlaError(
                f"layer {layer} is out of range",
                where="activations.layers",
                remedy=f"the target has blocks 0 to {blocks - 1}",
            )
    return chosen


@torch.inference_mode()
def read_residual(
    model: Any,
    batch: TokenBatch,
    layers: Sequence[int],
    positions: tuple[Int[Tensor, " positions"], Int[Tensor, " positions"]],
    choices: int,
    window: int = 1,
) -> Reading:
    """Raw residual stream after each block of `layers` (= hidden_states[layer + 1]).

    `positions` are (rows, columns). With `choices` > 0 the remaining blocks run too, and the
    target's most probable next tokens are returned, with logits at these positions only. Rows are
    right-padded, so that a causal model needs no attention mask. With a `window` above 1, the first
    layer, the main one, is read at the `window - 1` positions before each, too.
    """
    decoder, caught, before, rows = model.get_decoder(), {}, {}, positions
    hooks = [
        decoder.layers[layer].register_forward_hook(_catch(caught, layer, rows)) for layer in layers
    ]
    if window > 1:
        catch = _catch(before, layers[0], earlier(positions, window))
        hooks.append(decoder.layers[layers[0]].register_forward_hook(catch))
    needed = len(decoder.layers) if choices else max(layers) + 1
    try:
        with first_blocks(decoder, needed):
            final = decoder(input_ids=batch.ids, use_cache=False).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    probabilities = torch.zeros(len(rows[0]), 0)
    next_ids = torch.zeros(len(rows[0]), 0, dtype=torch.long)
    if choices:
        probabilities, next_ids = logits_of(model, final[rows]).softmax(-1).topk(choices)
    before = {layer: read.flatten(1) for layer, read in before.items()}
    return Reading(caught, next_ids.cpu(), probabilities.cpu(), before)


def earlier(
    positions: tuple[Int[Tensor, " positions"], Int[Tensor, " positions"]], window: int
) -> tuple[Int[Tensor, "positions 1"], Int[Tensor, "positions earlier"]]:
    """The window's positions before each of some positions, in the order of the text."""
    rows, columns = positions
    found = columns[:, None] + torch.arange(1 - window, 0, device=columns.device)
    assert found.min() > 0, "the window reaches the attention sink at position 0"
    return rows[:, None], found


def _catch(caught: dict[int, Tensor], layer: int, rows: tuple[Tensor, Tensor]) -> Any:
    def hook(_module: Any, _inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        caught[layer] = hidden[rows].float().cpu()

    return hook
