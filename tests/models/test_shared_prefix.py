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


def test_a_shared_prefix_changes_neither_states_nor_gradients(target: Target):
    torch.manual_seed(0)
    decoder = truncated_decoder(target.model, BLOCKS)
    width = decoder.config.hidden_size
    prefix, rest = torch.randn(1, SHARED, width), torch.randn(ROWS, TIME, width)
    whole = torch.cat([prefix.expand(ROWS, -1, -1), rest], 1)
    slow = decoder(inputs_embeds=whole, use_cache=False).last_hidden_state[:, SHARED:]
    expected = gradients(decoder, slow)
    fast = after_prefix(decoder, prefix, rest)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    found = gradients(decoder, fast)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5 * scale)


def test_no_prefix_is_allowed(target: Target):
    decoder = truncated_decoder(target.model, BLOCKS)
    rest = torch.randn(ROWS, TIME, decoder.config.hidden_size)
    alone = decoder(inputs_embeds=rest, use_cache=False).last_hidden_state
    torch.testing.assert_close(after_prefix(decoder, rest[:1, :0], rest), alone)


def test_rows_share_what_they_begin_with_but_keep_a_token_each():
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 0]])
    lengths = torch.tensor([[4], [4], [3]])
    batch = TokenBatch(ids, torch.arange(4) < lengths)
    assert common_length(batch) == 2
    assert common_length(TokenBatch(ids[:2], batch.mask[:2])) == 3
    assert common_length(TokenBatch(ids[:1], batch.mask[:1])) == 0
    assert common_length(TokenBatch(ids.flip(1), batch.mask)) == 0
