import pytest
import torch

from common.models.reconstructor import truncated_decoder
from common.models.shared_prefix import after_prefix, common_length
from common.schema import TokenBatch
from common.target.load import Target

SHARED, ROWS, TIME, BLOCKS = 5, 3, 7, 4


def gradients(decoder: torch.nn.Module, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
    decoder.zero_grad()
    hidden.square().sum().backward()
    return {name: p.grad.clone() for name, p in decoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("lengths", [[TIME, TIME, TIME], [TIME, 2, 4], [1, 1, 1]])
@pytest.mark.parametrize("shared", [0, SHARED])
def test_reading_a_prefix_once_changes_neither_states_nor_gradients(
    target: Target, shared: int, lengths: list[int], kernel: str
):
    torch.manual_seed(0)
    decoder = truncated_decoder(target.model, BLOCKS)
    decoder.set_attn_implementation(kernel)
    width, time = decoder.config.hidden_size, max(lengths)
    prefix, rest = torch.randn(1, shared, width), torch.randn(ROWS, time, width)
    real = torch.arange(time) < torch.tensor(lengths)[:, None]
    whole = torch.cat([prefix.expand(ROWS, -1, -1), rest], 1)
    slow = decoder(inputs_embeds=whole, use_cache=False).last_hidden_state[:, shared:]
    expected = gradients(decoder, slow[real])
    fast = after_prefix(decoder, prefix, rest, real)
    torch.testing.assert_close(fast[real], slow[real], rtol=1e-5, atol=1e-5)
    found = gradients(decoder, fast[real])
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5 * scale)


def test_the_decoder_attends_as_before_afterwards(target: Target):
    decoder = truncated_decoder(target.model, BLOCKS)
    rest = torch.randn(ROWS, TIME, decoder.config.hidden_size)
    before = decoder(inputs_embeds=rest, use_cache=False).last_hidden_state
    after_prefix(decoder, rest[:1, :2], rest, torch.ones(ROWS, TIME, dtype=torch.bool))
    after = decoder(inputs_embeds=rest, use_cache=False).last_hidden_state
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_rows_share_what_they_begin_with_but_keep_a_token_each():
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 0]])
    lengths = torch.tensor([[4], [4], [3]])
    batch = TokenBatch(ids, torch.arange(4) < lengths)
    assert common_length(batch) == 2
    assert common_length(TokenBatch(ids[:2], batch.mask[:2])) == 3
    assert common_length(TokenBatch(ids[:1], batch.mask[:1])) == 0
    assert common_length(TokenBatch(ids.flip(1), batch.mask)) == 0
