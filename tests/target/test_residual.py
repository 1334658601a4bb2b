import pytest
import torch
from torch import Tensor

from common.errors import NlaError
from common.schema import TokenBatch
from common.target.load import Target
from common.target.parts import first_blocks
from common.target.residual import check_layers, read_residual
from common.target.tiny_corpus import tiny_documents

BLOCKS = 12
LENGTHS = (50, 31, 22)


@pytest.fixture(scope="module")
def documents(target: Target) -> list[list[int]]:
    texts = [str(document["text"]) for document, _ in zip(tiny_documents(), LENGTHS, strict=False)]
    encoded = [target.tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return [ids[:length] for ids, length in zip(encoded, LENGTHS, strict=True)]


def batch_of(*rows: list[int]) -> TokenBatch:
    """Right-padded with a token that a mask-blind reader would take for text."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [7] * (width - len(row)) for row in rows])
    return TokenBatch(ids, torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None])


def everywhere(length: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(length, dtype=torch.long), torch.arange(length)


@torch.no_grad()
def hidden_states(target: Target, ids: list[int]) -> tuple[Tensor, ...]:
    return target.model(torch.tensor([ids]), output_hidden_states=True).hidden_states


def test_layer_k_is_hidden_state_k_plus_1_and_not_k(target: Target, documents: list[list[int]]):
    ids = documents[0]
    layers = range(BLOCKS - 1)
    states = hidden_states(target, ids)
    reading = read_residual(target.model, batch_of(ids), layers, everywhere(len(ids)), choices=0)
    for layer in layers:
        found = reading.activations[layer]
        assert torch.allclose(found, states[layer + 1][0], atol=1e-5)
        one_off = (found - states[layer][0]).norm(dim=1) / found.norm(dim=1)
        assert one_off.min() > 0.05, f"block {layer} does nothing, the test is blind"


def test_the_last_block_is_read_before_the_final_norm(target: Target, documents: list[list[int]]):
    ids = documents[0]
    last = BLOCKS - 1
    found = read_residual(target.model, batch_of(ids), [last], everywhere(len(ids)), 0).activations[
        last
    ]
    normed = hidden_states(target, ids)[-1][0]
    assert torch.allclose(target.model.model.norm(found), normed, atol=1e-5)
    assert not torch.allclose(found, normed, atol=0.1)


def test_a_padded_batch_reads_the_same_as_one_by_one(target: Target, documents: list[list[int]]):
    places = [(row, column) for row, ids in enumerate(documents) for column in (16, len(ids) - 1)]
    rows, columns = torch.tensor(places).T
    together = read_residual(target.model, batch_of(*documents), [3, 8], (rows, columns), choices=5)
    for index, (row, column) in enumerate(places):
        place = (torch.tensor([0]), torch.tensor([column]))
        alone = read_residual(target.model, batch_of(documents[row]), [3, 8], place, choices=5)
        for layer in (3, 8):
            found = together.activations[layer][index]
            assert torch.allclose(found, alone.activations[layer][0], atol=1e-5)
        assert torch.equal(together.next_ids[index], alone.next_ids[0])
        assert torch.allclose(together.next_probs[index], alone.next_probs[0], atol=1e-6)


def test_what_comes_after_a_position_does_not_matter(target: Target, documents: list[list[int]]):
    place = (torch.tensor([0]), torch.tensor([20]))
    whole = read_residual(target.model, batch_of(documents[0]), [8], place, choices=5)
    cut = read_residual(target.model, batch_of(documents[0][:21]), [8], place, choices=5)
    assert torch.allclose(whole.activations[8], cut.activations[8], atol=1e-5)
    assert torch.equal(whole.next_ids, cut.next_ids)


def test_next_tokens_are_the_targets_own(target: Target, documents: list[list[int]]):
    ids = documents[1]
    place = (torch.tensor([0]), torch.tensor([len(ids) - 1]))
    reading = read_residual(target.model, batch_of(ids), [8], place, choices=3)
    with torch.no_grad():
        expected = target.model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    best = expected.argsort(descending=True)[:3]
    assert torch.equal(reading.next_ids[0], best)
    assert torch.allclose(reading.next_probs[0], expected[best], atol=1e-6)


def test_blocks_that_nobody_asked_for_do_not_run(target: Target, documents: list[list[int]]):
    ran: list[int] = []
    hooks = [
        block.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(target.model.model.layers)
    ]
    place = (torch.tensor([0]), torch.tensor([5]))
    reading = read_residual(target.model, batch_of(documents[0]), [1, 3], place, choices=0)
    for hook in hooks:
        hook.remove()
    assert ran == [0, 1, 2, 3]
    assert reading.next_ids.shape == (1, 0)


def test_a_failed_reading_leaves_the_target_whole(target: Target, documents: list[list[int]]):
    decoder = target.model.model
    hooks = [dict(block._forward_hooks) for block in decoder.layers]
    outside = (torch.tensor([0]), torch.tensor([999]))
    with pytest.raises(IndexError):
        read_residual(target.model, batch_of(documents[0]), [2], outside, choices=0)
    assert len(decoder.layers) == decoder.config.num_hidden_layers == BLOCKS
    assert hooks == [dict(block._forward_hooks) for block in decoder.layers]
    with first_blocks(decoder, 2):
        assert len(decoder.layers) == decoder.config.num_hidden_layers == 2
    with pytest.raises(RuntimeError, match="stop"), first_blocks(decoder, 2):
        raise RuntimeError("stop")
    assert len(decoder.layers) == decoder.config.num_hidden_layers == BLOCKS


def test_layers_default_to_two_thirds_of_the_depth():
    assert check_layers((), 30) == (20,)
    assert check_layers((), 12) == (8,)
    assert check_layers([0, 11], 12) == (0, 11)


@pytest.mark.parametrize("layer", [12, -1])
def test_a_layer_out_of_range_is_refused(layer: int):
    with pytest.raises(NlaError, match=f"layer {layer} is out of range.*blocks 0 to 11"):
        check_layers((3, layer), 12)
