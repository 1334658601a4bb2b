"""What an AR may see of an input: the tokens that are left of it, and how these become a vector.

A view is a function from all token ids of an input to those that remain; only they reach an AR.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.device import best_device
from common.evaluation.embedder import Embedder
from common.evaluation.own_blocks import OwnBlocks, last_tokens
from common.evaluation.word_vectors import WordVectors
from common.metrics.fve import normalize
from common.schema import View
from common.target.load import Target
from common.target.text import beginning, decode

Source = tuple[int, ...]
"""The token ids that a view has left of an input."""


def last(count: int) -> View:
    """The view of the last `count` tokens; of a shorter input all."""
    return partial(_last, count)


def _last(count: int, source: Source) -> Source:
    return source[-count:]


def bag(source: Source) -> Source:
    """All tokens, but not their order: sorted by id."""
    return tuple(sorted(source))


def whole(source: Source) -> Source:
    """The whole input, for encoders that give no more of it than a vector."""
    return source


class Encoder:
    """What remains of an input, as a vector; each different input is encoded once and kept."""

    widths: tuple[int, ...]
    """Of the blocks of features that a vector consists of."""

    def __init__(self, widths: Sequence[int]) -> None:
        """Knows no input yet."""
        self.widths = tuple(widths)
        self.known: dict[Source, Tensor] = {}

    def __deepcopy__(self, memo: dict) -> "Encoder":
        """Itself: it never learns, and is large."""
        return self

    def __call__(self, sources: Sequence[Source]) -> Float[Tensor, "rows width"]:
        """The vector of each input, on the CPU."""
        if new := sorted({*sources} - self.known.keys()):
            with torch.autocast(best_device().type, enabled=False):  # whoever asks first
                self.known |= zip(new, self.encode(new).float(), strict=True)
        rows = [self.known[source] for source in sources]
        return torch.stack(rows) if rows else torch.zeros(0, sum(self.widths))

    def encode(self, sources: Sequence[Source]) -> Float[Tensor, "rows width"]:
        """The vectors of inputs that all differ."""
        raise NotImplementedError


class LastTokens(Encoder):
    """The last token's embedding, and the target's own blocks' states of the last tokens.

    The features of the bases of FVE beyond the last tokens (`common/evaluation/last_tokens.py`).
    """

    def __init__(self, target: Target, layer: int, count: int, low: bool) -> None:
        """`low`: the blocks read in bfloat16, as the activations were read."""
        self.counts = sorted({1, min(4, count), count})
        self.target, self.vectors = target, WordVectors(target)
        self.read = OwnBlocks(target, layer, low)
        width = self.vectors.table.shape[1]
        super().__init__([width] * (1 + len(self.counts)))

    def encode(self, sources: Sequence[Source]) -> Float[Tensor, "rows width"]:
        """Blocks of features side by side."""
        windows = [last_tokens(self.target, sources, count) for count in self.counts]
        states = self.read([ids for rows in windows for ids in rows]).split(len(sources))
        embeddings = self.vectors.of_tokens([source[-1] for source in sources])
        return torch.cat([embeddings, *(normalize(found) for found in states)], 1)


class BagOfTokens(Encoder):
    """The mean of the input embeddings of all tokens."""

    def __init__(self, target: Target) -> None:
        """The embeddings are the target's."""
        self.vectors, self.before = WordVectors(target), {*beginning(target.tokenizer)}
        super().__init__([self.vectors.table.shape[1]])

    def encode(self, sources: Sequence[Source]) -> Float[Tensor, "rows width"]:
        """The same for every order of the tokens; what begins every text does not count."""
        known = [[i for i in source if i not in self.before] or source for source in sources]
        return torch.stack([self.vectors.of_tokens(sorted(ids)).mean(0) for ids in known])


class Sentence(Encoder):
    """The vector of a sentence encoder."""

    def __init__(self, embed: Embedder, tokenizer: Any) -> None:
        """`tokenizer` is the target's, whose ids inputs are made of."""
        self.embed, self.tokenizer = embed, tokenizer
        super().__init__([embed(["a"]).shape[1]])

    def encode(self, sources: Sequence[Source]) -> Float[Tensor, "rows width"]:
        """Of the decoded inputs."""
        return torch.from_numpy(self.embed(decode(self.tokenizer, sources)))


class EarlyState(Encoder):
    """The state of the last token after the target's first blocks, which read the whole input."""

    def __init__(self, target: Target, blocks: int, low: bool) -> None:
        """`blocks` is at least 1. `low`: in bfloat16."""
        self.read = OwnBlocks(target, blocks - 1, low)
        super().__init__([target.model.get_input_embeddings().weight.shape[1]])

    def encode(self, sources: Sequence[Source]) -> Float[Tensor, "rows width"]:
        """In direction; the length of an early state is mostly that of its token."""
        return normalize(self.read(sources))
