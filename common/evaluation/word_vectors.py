"""The target's input embeddings of tokens and of words, as features for closed-form readers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.target.load import Target
from common.target.text import encode


class WordVectors:
    """Input embeddings, which need not be those of the target's head; a row is nothing's vector."""

    def __init__(self, target: Target) -> None:
        """Keeps the table of embeddings on the CPU, in float32."""
        weight = target.model.get_input_embeddings().weight
        self.table = weight.detach().float().cpu()
        self.tokenizer: Any = target.tokenizer

    def __deepcopy__(self, memo: dict) -> "WordVectors":
        """Itself: it never changes, and is large."""
        return self

    def of_tokens(self, ids: Sequence[int]) -> Float[Tensor, "rows width"]:
        """The embedding of each token."""
        return self.table[torch.tensor(list(ids), dtype=torch.long)]

    def of_last(self, words: Sequence[str]) -> Float[Tensor, "rows width"]:
        """The embedding of each word's last token, as it stands behind a space; zero for none.

        An activation knows its last token best, and a word's last token is that of the text, where
        it ends with the word.
        """
        written = encode(self.tokenizer, [f" {word}" for word in words])
        zero = self.table.new_zeros(self.table.shape[1])
        rows = [
            self.table[ids[-1]] if word else zero for word, ids in zip(words, written, strict=True)
        ]
        return torch.stack(rows) if rows else self.table[:0]

    def of_weighted(self, rows: Sequence[Mapping[str, float]]) -> Float[Tensor, "rows width"]:
        """The weighted sum of each row's words, of which each is the mean of its tokens."""
        known = sorted({word for row in rows for word in row})
        tokens = dict(zip(known, encode(self.tokenizer, known), strict=True))
        found = self.table.new_zeros(len(rows), self.table.shape[1])
        for place, row in enumerate(rows):
            for word, weight in row.items():
                if tokens[word]:
                    found[place] += weight * self.table[tokens[word]].mean(0)
        return found
