"""An AR that reads some tokens of the input itself."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from common.errors import NlaError
from common.models.reconstructor import TruncatedReconstructor
from common.schema import Reading, TokenBatch
from common.target.text import beginning


class SeeingReconstructor(TruncatedReconstructor):
    """The published AR with the visible tokens behind its prompt; the head reads the last of them.

    There the target's blocks do what they do in the target: without any training, and whatever the
    explanation says, the state is nearly that of the target's own blocks on these tokens.
    """

    def __init__(
        self, model: Any, tokenizer: Any, blocks: int, max_explanation_tokens: int, count: int
    ) -> None:
        """`count` is the most tokens that are visible; NlaError for more than there is room for."""
        super().__init__(model, tokenizer, blocks, max_explanation_tokens)
        self.begins = {*beginning(tokenizer)}
        positions = getattr(model.config, "max_position_embeddings", None)
        prompt = len(self.template.before) + len(self.template.after) + max_explanation_tokens
        if positions is not None and prompt + count > positions:
            what = f"a view of {count} tokens: beside the prompt the AR has room for"
            remedy = "let the arm see fewer `tokens`"
            raise NlaError(f"{what} {max(0, positions - prompt)}", where="arms", remedy=remedy)

    def encode(self, readings: Sequence[Reading]) -> TokenBatch:
        """The prompt with the explanation, then what is visible, right-padded."""
        prompts = super().encode(readings)
        rows = [
            torch.cat([ids[mask], torch.tensor(self._visible(one), dtype=torch.long)])
            for ids, mask, one in zip(*prompts, readings, strict=True)
        ]
        lengths = torch.tensor([len(row) for row in rows])
        ids = pad_sequence(rows, batch_first=True, padding_value=0)
        return TokenBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None])

    def _visible(self, reading: Reading) -> list[int]:
        """Without what begins every text, which stands before the prompt already."""
        return [token for token in reading.source if token not in self.begins]
