"""An AR that reads some tokens of the input itself."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ar_variants.input_aware.informed import InformedBatch, InformedReconstructor
from common.errors import NlaError
from common.schema import Reading, TokenBatch
from common.target.text import beginning


class SeeingReconstructor(InformedReconstructor):
    """Also reads the last tokens of the input behind its prompt; the head reads the last of them.

    There the target's blocks do what they do in the target, in the light of the explanation. The
    closed form of these tokens is part of the answer, too: a short training would not find it.
    """

    def __init__(self, count: int, *parts: Any) -> None:
        """`count` is the most tokens that are visible; NlaError for more than there is room for.

        The other arguments are those of `InformedReconstructor`.
        """
        super().__init__(*parts)
        model, tokenizer = parts[:2]
        self.begins = {*beginning(tokenizer)}
        positions = getattr(model.config, "max_position_embeddings", None)
        prompt = len(self.template.before) + len(self.template.after) + self.max_explanation_tokens
        if positions is not None and prompt + count > positions:
            what = f"a view of {count} tokens: beside the prompt the AR has room for"
            remedy = "let the arm see fewer `tokens`"
            raise NlaError(f"{what} {max(0, positions - prompt)}", where="arms", remedy=remedy)

    def encode(self, readings: Sequence[Reading]) -> InformedBatch:
        """The prompt with the explanation, then what is visible, right-padded."""
        batch = super().encode(readings)
        rows = [
            torch.cat([ids[mask], torch.tensor(self._visible(one), dtype=torch.long)])
            for ids, mask, one in zip(*batch.tokens, readings, strict=True)
        ]
        lengths = torch.tensor([len(row) for row in rows])
        ids = pad_sequence(rows, batch_first=True, padding_value=0)
        tokens = TokenBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None])
        return batch._replace(tokens=tokens)

    def tokens_in(self, readings: Sequence[Reading]) -> int:
        """With the visible ones."""
        return super().tokens_in(readings) + sum(len(self._visible(one)) for one in readings)

    def speaks(self, batch: InformedBatch) -> Any:
        """Also without an explanation, where something is visible."""
        return batch.told | batch.seen

    def _visible(self, reading: Reading) -> list[int]:
        """Without what begins every text, which stands before the prompt already."""
        return [token for token in reading.source if token not in self.begins]
