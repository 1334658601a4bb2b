import copy

import pytest
import torch
from torch import nn

from common.errors import NlaError
from common.release.deltas import apply, factor
from common.release.sensitivity import Sensitivity
from common.target.load import Target


class Tower(nn.Module):
    """One matrix in a block, one outside, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Module()
        self.body.layers = nn.ModuleList([nn.Linear(40, 30)])
        self.head = nn.Linear(6, 6, bias=False)


def changed(start: Tower, rank: int) -> Tower:
    trained = copy.deepcopy(start)
    with torch.no_grad():
        trained.body.layers[0].weight += torch.randn(30, rank) @ torch.randn(rank, 40)
        trained.head.weight += 1
    return trained


def test_a_change_of_low_rank_comes_back():
    start = Tower()
    trained = changed(start, 3)
    deltas = factor(trained, start, most_bytes=2 * (3 * 70 + 36))
    assert deltas.rank == 3
    assert deltas.kept > 0.999
    assert set(deltas.tensors) == {
        "body.layers.0.weight.up",
        "body.layers.0.weight.down",
        "head.weight.whole",
    }, "the bias did not change"
    apply(start, deltas.tensors)
    for found, expected in zip(start.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_the_rank_is_what_fits_and_what_is_lost_is_told():
    start = Tower()
    deltas = factor(changed(start, 8), start, most_bytes=2 * (4 * 70 + 36) + 100)
    assert deltas.rank == 4
    size = sum(tensor.numel() * tensor.element_size() for tensor in deltas.tensors.values())
    assert size <= 2 * (4 * 70 + 36) + 100
    assert 0.3 < deltas.kept < 0.95


def test_what_matters_is_kept_first():
    """Inputs that never come and outputs that nobody reads cost no room."""
    start, trained = Tower(), Tower()
    seen = torch.diag((torch.arange(40) < 4).float())
    with torch.no_grad():
        trained.body.layers[0].weight += torch.randn(30, 40)
    weighing = {"body.layers.0.weight": Sensitivity(seen, torch.eye(30))}
    deltas = factor(trained, start, most_bytes=2 * 4 * 70, weighing=weighing)
    assert deltas.rank == 4
    assert deltas.kept > 0.99
    apply(start, deltas.tensors)
    wrong = (start.body.layers[0].weight - trained.body.layers[0].weight).detach()
    assert wrong[:, :4].abs().max() < 0.05
    assert wrong[:, 4:].abs().max() > 0.5
    assert factor(trained, Tower(), most_bytes=2 * 4 * 70).kept < 0.6, "the rest does not fit"


def test_room_goes_where_it_is_worth_most():
    start = nn.ModuleDict({"body": nn.Module()})
    start.body.layers = nn.ModuleList([nn.Linear(20, 20, bias=False) for _ in range(2)])
    trained = copy.deepcopy(start)
    with torch.no_grad():
        for size, layer in zip((10, 0.1), trained.body.layers, strict=True):
            layer.weight += size * torch.randn(20, 6) @ torch.randn(6, 20)
    deltas = factor(trained, start, most_bytes=2 * 6 * 40)
    assert deltas.rank == 3, "six of one matrix, none of the other"
    assert deltas.kept > 0.99
    assert set(deltas.tensors) == {"body.layers.0.weight.up", "body.layers.0.weight.down"}


def test_nothing_changed_is_nothing_to_keep():
    deltas = factor(Tower(), Tower(), most_bytes=1000)
    assert deltas.tensors == {}
    assert deltas.kept == 1.0


def test_what_does_not_fit_at_all_is_refused():
    start = Tower()
    with pytest.raises(NlaError, match="rank 1 alone takes 140 bytes"):
        factor(changed(start, 8), start, most_bytes=100)


def test_an_embedding_held_in_low_precision_is_no_change(target: Target):
    low = copy.deepcopy(target.model)
    low.lm_head.weight.data = low.lm_head.weight.data.bfloat16()
    low.get_input_embeddings().weight.data = low.get_input_embeddings().weight.data.bfloat16()
    assert factor(low, target.model, 10_000).tensors == {}


def test_another_architecture_is_refused():
    start = Tower()
    tensors = factor(changed(start, 3), start, 1000).tensors
    with pytest.raises(KeyError):
        apply(nn.Linear(6, 6), tensors)
