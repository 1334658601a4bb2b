"""The target's own first blocks, untrained, as a reader of the source text or its last tokens."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.device import best_device
from common.errors import NlaError
from common.models.reconstructor import TruncatedReconstructor
from common.schema import TokenBatch
from common.target.load import Target
from common.target.text import beginning, encode

NEUTRAL = "The text:"
"""Stands before the last tokens, so that none of them is at position 0, an attention sink."""
READ_TOGETHER = 4096
"""Tokens in a batch, with padding."""


class OwnBlocks:
    """The target's blocks up to one, to be asked again and again.

    Given the source text up to a position they answer the activation itself: FVE > 0.999, or the
    layer is off by one.
    """

    def __init__(self, target: Target, layer: int, low: bool = False) -> None:
        """Copies the blocks up to `layer`. `low`: in bfloat16, as the activations were."""
        reader = TruncatedReconstructor(target.model, target.tokenizer, layer + 1, 0).eval()
        self.reader, self.low = reader, low

    @torch.inference_mode()
    def __call__(self, token_ids: Sequence[Sequence[int]]) -> Float[Tensor, "rows d_model"]:
        """State of each row's last token, on the CPU; each different row is read once."""
        device = best_device()
        self.reader.to(device)
        distinct = sorted({tuple(ids) for ids in token_ids}, key=lambda ids: (len(ids), ids))
        found = []
        with torch.autocast(device.type, torch.bfloat16, enabled=self.low):
            for rows in _batches(distinct):
                lengths = torch.tensor([len(ids) for ids in rows])
                padded = pad_sequence([torch.tensor(ids) for ids in rows], batch_first=True)
                batch = TokenBatch(padded, torch.arange(padded.shape[1]) < lengths[:, None])
                found.append(self.reader.last_state(batch.to(device)).float().cpu())
        place = {ids: row for row, ids in enumerate(distinct)}
        return torch.cat(found)[[place[tuple(ids)] for ids in token_ids]]


def own_blocks(
    target: Target, layer: int, token_ids: Sequence[Sequence[int]], low: bool = False
) -> Float[Tensor, "rows d_model"]:
    """State of each row's last token after block `layer`: see `OwnBlocks`."""
    return OwnBlocks(target, layer, low)(token_ids)


def last_tokens(target: Target, token_ids: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """The last `count` tokens of each row behind a neutral beginning, which is equal for all.

    A row that is shorter is taken whole, without what the tokenizer puts before every text: that
    begins the neutral one. Where the model has few positions, the neutral text is cut.

    NlaError where not a single token has room before `count` others.
    """
    begins = beginning(target.tokenizer)
    before = [*begins, *encode(target.tokenizer, [NEUTRAL])[0]]
    positions = getattr(target.model.config, "max_position_embeddings", None)
    room = len(before) if positions is None else min(len(before), positions - count)
    if room < 1:
        what = f"the target has {positions} positions: no room before the last {count} tokens"
        raise NlaError(what, where="target", remedy="choose a model with more positions")
    texts = [list(ids) for ids in token_ids]
    texts = [ids[len(begins) :] if ids[: len(begins)] == begins else ids for ids in texts]
    return [[*before[:room], *ids[-count:]] for ids in texts]


def _batches(rows: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Consecutive rows, which are sorted by length."""
    batch: list[tuple[int, ...]] = []
    for ids in rows:
        if batch and (len(batch) + 1) * len(ids) > READ_TOGETHER:
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch
