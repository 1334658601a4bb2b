"""What reaches an AR of an input: hidden tokens never do."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ar_variants.input_aware.views import (
    BagOfTokens,
    EarlyState,
    Encoder,
    LastTokens,
    Sentence,
    bag,
    last,
    whole,
)
from common.evaluation.own_blocks import last_tokens, own_blocks
from common.metrics.fve import normalize
from common.target.load import Target

TEXT = (5, 9, 7, 8, 30)
HIDDEN_CHANGED = (6, 4, 7, 8, 30)
"""The same last three tokens."""


def test_a_view_of_last_tokens_leaves_them_alone():
    assert last(3)(TEXT) == (7, 8, 30)
    assert last(3)(HIDDEN_CHANGED) == last(3)(TEXT)


def test_an_input_shorter_than_the_view_is_seen_whole():
    assert last(16)(TEXT) == TEXT


def test_a_bag_has_no_order():
    assert bag((5, 9, 7, 9)) == bag((9, 7, 5, 9)) == (5, 7, 9, 9)


def test_the_whole_is_whole():
    assert whole(TEXT) == TEXT


class Counting(Encoder):
    """Counts what it encodes."""

    def __init__(self) -> None:
        super().__init__([1])
        self.encoded: list[Any] = []

    def encode(self, sources: Any) -> Tensor:
        self.encoded += sources
        return torch.tensor([[float(len(source))] for source in sources])


def test_each_input_is_encoded_once():
    encoder = Counting()
    assert encoder([(1, 2), (3,), (1, 2)]).tolist() == [[2.0], [1.0], [2.0]]
    assert encoder([(3,), (4, 5, 6)]).tolist() == [[1.0], [3.0]]
    assert encoder.encoded == [(1, 2), (3,), (4, 5, 6)]
    assert encoder([]).shape == (0, 1)


def test_last_tokens_are_an_embedding_and_states_of_one_and_of_all(target: Target):
    encoder = LastTokens(target, 2, 4, low=False)
    assert encoder.counts == [1, 4]
    assert LastTokens(target, 2, 16, low=False).counts == [1, 4, 16]
    found = encoder([TEXT]).split(encoder.widths, 1)
    assert torch.equal(found[0][0], target.model.get_input_embeddings().weight[30])
    for part, count in zip(found[1:], (1, 4), strict=True):
        state = own_blocks(target, 2, last_tokens(target, [TEXT], count))
        assert torch.allclose(part, normalize(state), atol=1e-5)
    assert len(LastTokens(target, 2, 1, low=False).widths) == 2


def test_a_bag_of_tokens_is_their_mean(target: Target):
    table = target.model.get_input_embeddings().weight
    found = BagOfTokens(target)([bag((9, 5)), bag((5, 9))])
    assert torch.allclose(found, table[[5, 9]].mean(0).expand(2, -1))


def test_an_early_state_is_the_own_blocks_direction(target: Target):
    found = EarlyState(target, 2, low=False)([TEXT])
    assert torch.allclose(found, normalize(own_blocks(target, 1, [TEXT])), atol=1e-5)


def test_a_sentence_encoder_reads_the_decoded_text(target: Target):
    asked: list[str] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.ones((len(texts), 3), dtype=np.float32)

    encoder = Sentence.__new__(Sentence)
    encoder.embed, encoder.tokenizer = embed, target.tokenizer
    Encoder.__init__(encoder, [3])
    assert encoder([TEXT]).tolist() == [[1.0, 1.0, 1.0]]
    assert asked == [target.tokenizer.decode(list(TEXT))]


@pytest.mark.parametrize("kind", [LastTokens, EarlyState, BagOfTokens])
def test_together_as_one_by_one(target: Target, kind: Any):
    parts = {LastTokens: (2, 4, False), EarlyState: (2, False), BagOfTokens: ()}[kind]
    rows = [TEXT, (8, 9), HIDDEN_CHANGED]
    alone = torch.cat([kind(target, *parts)([row]) for row in rows])
    assert torch.allclose(kind(target, *parts)(rows), alone, atol=1e-4)
