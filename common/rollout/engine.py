"""The rollout engine: several explanations per activation; constant parts are computed once.

The prompt before the slot is read once, slot and suffix once per activation, and after that only
the newest token of rows that are not finished, with logits for that token alone.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.models.sharding import is_sharded
from common.models.verbalizer import Verbalizer
from common.rollout.cache import RolloutCache, read_newest, rollout_attention
from common.rollout.choice import pick, probabilities_of
from common.rollout.in_place import write_in_place
from common.seeding import keyed_seed

WORTH_COMPACTING = 0.125
"""Finished rows are dropped when they are this share of all: dropping copies the other rows."""


class Rollouts(NamedTuple):
    """Explanations in rows: all samples of the first activation, then all of the next."""

    ids: Int[Tensor, "rows time"]
    """Token ids with the end token, padded with end tokens."""
    log_probs: Float[Tensor, "rows time"]
    """Log-probability of each token at the sampling temperature; 0 on padding."""
    mask: Bool[Tensor, "rows time"]
    """True on sampled tokens: an explanation's and its end token."""
    ended: Bool[Tensor, " rows"]
    """Whether a row wrote the end token within the maximum number of tokens."""

    def written(self) -> list[list[int]]:
        """Token ids of each explanation without its last token: the end, or what came instead."""
        lengths = (self.mask.sum(1) - 1).tolist()
        return [ids[:length] for ids, length in zip(self.ids.tolist(), lengths, strict=True)]


Write = Callable[..., Rollouts]
"""`roll_out` for one AV: inputs, samples, temperature, draws → rollouts."""
Engine = Callable[[Verbalizer, bool], AbstractContextManager[Write]]
"""Context that prepares an AV for writing, in low precision or not; no training within it."""


@torch.no_grad()
def roll_out(
    verbalizer: Verbalizer,
    inputs: Float[Tensor, "batch width"],
    samples: int = 1,
    temperature: float = 0.0,
    draws: Float[Tensor, "rows time"] | None = None,
    in_place: bool | None = None,
) -> Rollouts:
    """Write `samples` explanations of each activation; greedy at temperature 0.

    After `max_explanation_tokens` tokens, only the end token may follow.

    `draws` are uniform in [0, 1), one per row and token, and decide everything: the same draws give
    the same texts in any batch (see `keyed_draws`).

    `in_place` keeps every row to the end, in constant shapes; None: only on a GPU, which can then
    replay the work of a token as one graph. On a CPU, dropping finished rows is faster.
    """
    assert temperature == 0 or draws is not None, "sampling needs draws"
    draws = draws.to(inputs.device) if temperature and draws is not None else None
    model, room = verbalizer.language_model, room_of(verbalizer)
    cache = _read_beginning(verbalizer, len(inputs), room)
    with rollout_attention(model):
        hidden = _read_slots(verbalizer, inputs, cache)
        cache.select(torch.arange(len(inputs)).repeat_interleave(samples))
        probabilities = probabilities_of(model, hidden, temperature)
        probabilities = probabilities.repeat_interleave(samples, 0)
        if in_place is None:
            in_place = inputs.device.type == "cuda" and not is_sharded(model.get_decoder())
        if in_place:
            end_id = verbalizer.template.end_id
            written = write_in_place(model, cache, probabilities, end_id, temperature, draws)
            return Rollouts(*written)
        sheet = _Sheet(len(probabilities), room, verbalizer.template.end_id, inputs.device)
        for column in range(room):
            drawn = None if draws is None else draws[sheet.rows, column]
            chosen, log_probs = pick(probabilities, drawn)
            kept = sheet.write(column, chosen, log_probs)
            if not len(sheet.rows) or column == room - 1:
                break
            if len(kept) < len(chosen):
                cache.select(kept)
                chosen = chosen[kept]
            newest = model.get_input_embeddings()(chosen[:, None]).float()
            hidden = read_newest(model, newest, cache)
            probabilities = probabilities_of(model, hidden, temperature)
    return sheet.rollouts()


def room_of(verbalizer: Verbalizer) -> int:
    """Most tokens that may be sampled: the longest explanation, and the token that ends it."""
    return verbalizer.config.max_explanation_tokens + 1


def keyed_draws(key: Sequence[object], samples: int, time: int) -> Float[Tensor, "samples time"]:
    """Uniform numbers that depend on the key alone: an exact resume needs no stored state."""
    generator = torch.Generator().manual_seed(keyed_seed("draws", *key) % 2**63)
    return torch.rand(samples, time, generator=generator)


class _Sheet:
    """What has been written so far, and which rows are not finished."""

    def __init__(self, rows: int, time: int, end_id: int, device: torch.device) -> None:
        self.end_id = end_id
        self.ids = torch.full((rows, time), end_id, device=device)
        self.log_probs = torch.zeros(rows, time, device=device)
        self.mask = torch.zeros(rows, time, dtype=torch.bool, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.rows = torch.arange(rows, device=device)

    def write(self, column: int, chosen: Tensor, log_probs: Tensor) -> Tensor:
        """Write one token of each unfinished row; returns which of these rows go on."""
        writing = ~self.ended[self.rows]
        rows, tokens = self.rows[writing], chosen[writing]
        self.ids[rows, column] = tokens
        self.log_probs[rows, column] = log_probs[writing]
        self.mask[rows, column] = True
        self.ended[rows] = tokens == self.end_id
        alive = ~self.ended[self.rows]
        if int(alive.sum()) > (1 - WORTH_COMPACTING) * len(self.rows):
            return torch.arange(len(self.rows), device=self.rows.device)
        self.rows = self.rows[alive]
        return alive.nonzero().squeeze(1)

    def rollouts(self) -> Rollouts:
        used = max(1, int(self.mask.sum(1).max()))
        ids, log_probs, mask = (part[:, :used] for part in (self.ids, self.log_probs, self.mask))
        return Rollouts(ids, log_probs, mask, self.ended)


def _read_beginning(verbalizer: Verbalizer, rows: int, room: int) -> RolloutCache:
    """The cache of the prompt before the slot, with space for its rest and for `room` tokens."""
    from transformers import DynamicCache

    model, template = verbalizer.language_model, verbalizer.template
    device = next(model.parameters()).device
    shared = template.slot_columns[0]
    ids = torch.tensor([template.prompt_ids[:shared]], device=device)
    embeddings = model.get_input_embeddings()(ids).float()
    read = DynamicCache()
    model.get_decoder()(inputs_embeds=embeddings, past_key_values=read, use_cache=True)
    return RolloutCache(read, rows, len(template.prompt_ids) - shared + room)


def _read_slots(
    verbalizer: Verbalizer, inputs: Tensor, cache: RolloutCache
) -> Float[Tensor, "batch d_model"]:
    """Last hidden states after the rest of the prompt, a row per activation."""
    shared = verbalizer.template.slot_columns[0]
    prompt = torch.tensor(verbalizer.template.prompt_ids, device=inputs.device)
    embeddings = verbalizer.embed(prompt.expand(len(inputs), -1), inputs)
    with verbalizer.injected(inputs, first_column=shared):
        return read_newest(verbalizer.language_model, embeddings[:, shared:], cache)
