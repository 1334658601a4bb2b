"""Texts with equal beginnings, read as a tree: equal parts are read once, and padding never.

A tree has levels, [rows, time] each. The rows of a level continue the rows of the level before,
an equal number of rows for each parent, one parent after another. All levels are full but the last
one, which is right-padded. A prompt is a large part of a short text, and its states in a causal
model are the same in every continuation.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from common.models.attention import attending, check_window
from common.schema import TokenBatch

ATTENTION = "nla_tree"


def common_length(tokens: TokenBatch) -> int:
    """How many first tokens all rows share, if each row keeps one more; 0 for a single row."""
    if len(tokens.ids) < 2:
        return 0
    alike = (tokens.ids == tokens.ids[:1]).all(0).long().cumprod(0).sum()
    return int(torch.minimum(alike, tokens.mask.sum(1).min() - 1))


def read_tree(
    decoder: Any,
    levels: Sequence[Float[Tensor, "_rows _time d_model"]],
    mask: Bool[Tensor, "rows time"],
) -> list[Float[Tensor, "_rows _time d_model"]]:
    """Last hidden states of each level's embeddings; arbitrary on padding, where `mask` is False.

    All tokens go through the decoder as one row, so that each weight is applied, and gets a
    gradient, once. Only for models whose attention window is at least as long as these texts.
    """
    shapes = [(len(level), level.shape[1]) for level in levels]
    places = mask.flatten().nonzero().squeeze(1)
    with attending(decoder, ATTENTION, _attend) as kernel:
        tree = Tree(shapes, places, kernel)
        output = decoder(
            inputs_embeds=tree.join(levels)[None],
            position_ids=tree.positions[None],
            use_cache=False,
            tree=tree,
        )
    return tree.split(output.last_hidden_state[0])


@dataclass(frozen=True)
class Tree:
    """The place of each token when all levels are written one after another, without padding."""

    shapes: list[tuple[int, int]]
    """Rows and time of each level."""
    places: Int[Tensor, " real"]
    """Places of the last level's real tokens, in its flattened rows."""
    kernel: str
    """Name of the attention function that is applied to rows."""

    @property
    def positions(self) -> Int[Tensor, " tokens"]:
        """Each token's place in its own text."""
        columns, start = [], 0
        for rows, time in self.shapes:
            column = torch.arange(start, start + time, device=self.places.device)
            columns.append(column.expand(rows, -1))
            start += time
        return self.join(columns)

    def join(
        self, levels: Sequence[Shaped[Tensor, "_rows _time *rest"]]
    ) -> Shaped[Tensor, "tokens *rest"]:
        """The tokens of all levels, one after another."""
        last = _Chosen.apply(levels[-1].flatten(0, 1), self.places)
        return torch.cat([*(level.flatten(0, 1) for level in levels[:-1]), last])

    def split(
        self, tokens: Shaped[Tensor, "tokens *rest"]
    ) -> list[Shaped[Tensor, "_rows _time *rest"]]:
        """The levels from the joined tokens; zero on padding."""
        full = [rows * time for rows, time in self.shapes[:-1]]
        *parts, last = tokens.split([*full, len(self.places)])
        rows, time = self.shapes[-1]
        padded = last.new_zeros(rows * time, *last.shape[1:])
        parts.append(padded.index_copy(0, self.places, last))
        return [part.unflatten(0, shape) for part, shape in zip(parts, self.shapes, strict=True)]


class _Chosen(torch.autograd.Function):
    """`states[places]` for places that all differ: torch's gradient allows for repeats."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(states)
        return states[places]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,), (gradient,) = ctx.saved_tensors, gradients
        whole = gradient.new_zeros(ctx.size, *gradient.shape[1:])
        return whole.index_copy_(0, places, gradient), None


def _attend(
    module: Any,
    query: Float[Tensor, "1 heads tokens d_head"],
    key: Float[Tensor, "1 key_heads tokens d_head"],
    value: Float[Tensor, "1 key_heads tokens d_head"],
    attention_mask: None,
    *,
    tree: Tree,
    **options: Any,
) -> tuple[Float[Tensor, "1 tokens heads d_head"], None]:
    """The usual attention, level by level, on rows together with all their earlier tokens."""
    from transformers import AttentionInterface

    del attention_mask  # padding comes after all tokens, so that a causal mask is enough
    check_window(options.get("sliding_window"), sum(time for _, time in tree.shapes))
    eager = sys.modules[type(module).__module__].eager_attention_forward
    usual = AttentionInterface().get_interface(tree.kernel, eager)
    queries, keys, values = (tree.split(part[0].transpose(0, 1)) for part in (query, key, value))
    read = []
    for level, (rows, time) in enumerate(tree.shapes):
        if not rows * time:
            read.append(queries[level][..., : value.shape[-1]])
            continue
        before = [
            torch.cat([_repeated(part, rows) for part in parts[: level + 1]], 1).transpose(1, 2)
            for parts in (keys, values)
        ]
        asked = queries[level].transpose(1, 2)
        mask = _later(before[0].shape[2], asked)[-time:][None, None]
        read.append(usual(module, asked, *before, mask, **options)[0])
    return tree.join(read)[None], None


def _repeated(parents: Float[Tensor, "parents *shape"], rows: int) -> Float[Tensor, "rows *shape"]:
    """Each parent repeated for its rows, one parent after another."""
    times = rows // len(parents)
    return parents[:, None].expand(-1, times, *(-1 for _ in parents.shape[1:])).flatten(0, 1)


def _later(size: int, like: Tensor) -> Float[Tensor, "size size"]:
    """The mask that is added to scores to hide later tokens from earlier ones."""
    lowest = torch.finfo(like.dtype).min
    return torch.full((size, size), lowest, dtype=like.dtype, device=like.device).triu(1)
