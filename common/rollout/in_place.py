"""Rows written in constant shapes, so that a GPU replays the work of one token as a graph.

A small model's token is hundreds of kernels of microseconds each; started one by one, they make
the GPU wait for Python most of the time.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.errors import first_line
from common.rollout.cache import RolloutCache, read_newest
from common.rollout.choice import pick, probabilities_of

log = logging.getLogger(__name__)

LOOK_EVERY = 8
"""Tokens between checks whether all rows have ended; each check stops the GPU."""


def write_in_place(
    model: Any,
    cache: RolloutCache,
    probabilities: Float[Tensor, "rows vocab"],
    end_id: int,
    temperature: float,
    draws: Float[Tensor, "rows time"] | None,
) -> tuple[
    Int[Tensor, "rows used"],
    Float[Tensor, "rows used"],
    Bool[Tensor, "rows used"],
    Bool[Tensor, " rows"],
]:
    """The parts of `Rollouts`, given the probabilities of each row's first token.

    Writes as many tokens as the cache has space for.
    """
    rows, device = len(probabilities), probabilities.device
    room = cache.capacity - cache.length
    step = _Step(model, cache, probabilities, temperature)
    advance = None
    ids = torch.full((rows, room), end_id, device=device)
    log_probs = torch.zeros(rows, room, device=device)
    for place in range(room):
        drawn = None if draws is None else draws[:, place]
        chosen, log_probs[:, place] = pick(probabilities, drawn)
        ids[:, place] = chosen
        looking = place % LOOK_EVERY == LOOK_EVERY - 1
        if place == room - 1 or (looking and _ended(ids[:, : place + 1], end_id).all()):
            break
        if advance is None:
            advance = _as_graph(step, device)
            step.column.fill_(cache.length)
        step.tokens.copy_(chosen)
        advance()
    ends = (ids == end_id).long()
    mask = ends.cumsum(1) == ends  # no end before it
    ids, log_probs = ids.masked_fill(~mask, end_id), log_probs.masked_fill(~mask, 0.0)
    used = int(mask.sum(1).max())
    return ids[:, :used], log_probs[:, :used], mask[:, :used], _ended(ids, end_id)


class _Step:
    """From the newest token of each row to the probabilities of the next, in constant buffers."""

    def __init__(
        self, model: Any, cache: RolloutCache, probabilities: Tensor, temperature: float
    ) -> None:
        self.model, self.cache, self.temperature = model, cache, temperature
        self.probabilities, self.column = probabilities, cache.fix()
        device = probabilities.device
        self.tokens = torch.zeros(len(probabilities), dtype=torch.long, device=device)
        self.columns = torch.arange(cache.capacity, device=device)

    def __call__(self) -> None:
        newest = self.model.get_input_embeddings()(self.tokens[:, None]).float()
        mask = (self.columns <= self.column)[None, None, None]
        places = {"attention_mask": mask, "position_ids": self.column[None]}
        hidden = read_newest(self.model, newest, self.cache, **places)
        self.probabilities.copy_(probabilities_of(self.model, hidden, self.temperature))
        self.column.add_(1)


def _ended(ids: Tensor, end_id: int) -> Bool[Tensor, " rows"]:
    return (ids == end_id).any(1)


def _as_graph(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The step as a CUDA graph, after running it once; without a GPU the step itself."""
    if device.type != "cuda":
        return step
    low, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    try:
        # Casts that autocast caches would be read from memory that belongs to a graph.
        with torch.autocast("cuda", dtype, enabled=low, cache_enabled=False):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                step()
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
    except RuntimeError as error:
        log.warning("decoding goes on without a CUDA graph (%s)", first_line(error))
        return step
    return graph.replay
