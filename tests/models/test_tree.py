from itertools import product

import pytest
import torch

from common.models.reconstructor import truncated_decoder
from common.models.tree import common_length, read_tree
from common.schema import TokenBatch
from common.target.load import Target

SHARED, TIME, BLOCKS = 5, 7, 4
RAGGED = [TIME, 2, 4, 1, 3, 0]
LENGTHS = [[TIME] * 6, RAGGED, [1] * 6, [0] * 6]


def gradients(decoder: torch.nn.Module, parts: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    decoder.zero_grad()
    torch.stack([part.square().sum() for part in parts]).sum().backward()
    return {name: p.grad.clone() for name, p in decoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("shapes", "lengths"),
    [([(1, 0)], RAGGED), *product([[(1, SHARED)], [(1, SHARED), (3, 4)], [(2, 3)]], LENGTHS)],
)
def test_reading_a_tree_changes_neither_states_nor_gradients(
    target: Target, shapes: list[tuple[int, int]], lengths: list[int], kernel: str
):
    torch.manual_seed(0)
    decoder = truncated_decoder(target.model, BLOCKS)
    decoder.set_attn_implementation(kernel)
    width, rows, time = decoder.config.hidden_size, len(lengths), max(lengths)
    levels = [torch.randn(*shape, width) for shape in [*shapes, (rows, time)]]
    real = torch.arange(time) < torch.tensor(lengths)[:, None]
    whole = torch.cat([level.repeat_interleave(rows // len(level), 0) for level in levels], 1)
    hidden = decoder(inputs_embeds=whole, use_cache=False).last_hidden_state
    slow = [*hidden.split([level.shape[1] for level in levels], 1)]
    slow = [part[:: rows // len(level)] for part, level in zip(slow, levels, strict=True)]
    fast = read_tree(decoder, levels, real)
    for states in (slow, fast):
        states[-1] = states[-1][real]
    expected = gradients(decoder, slow)
    for found, wanted in zip(fast, slow, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    found = gradients(decoder, fast)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5 * scale)


def test_the_decoder_attends_as_before_afterwards(target: Target):
    decoder = truncated_decoder(target.model, BLOCKS)
    rows = torch.randn(3, TIME, decoder.config.hidden_size)
    before = decoder(inputs_embeds=rows, use_cache=False).last_hidden_state
    read_tree(decoder, [rows[:1, :2], rows], torch.ones(3, TIME, dtype=torch.bool))
    after = decoder(inputs_embeds=rows, use_cache=False).last_hidden_state
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_rows_share_what_they_begin_with_but_keep_a_token_each():
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 0]])
    lengths = torch.tensor([[4], [4], [3]])
    batch = TokenBatch(ids, torch.arange(4) < lengths)
    assert common_length(batch) == 2
    assert common_length(TokenBatch(ids[:2], batch.mask[:2])) == 3
    assert common_length(TokenBatch(ids[:1], batch.mask[:1])) == 0
    assert common_length(TokenBatch(ids.flip(1), batch.mask)) == 0
