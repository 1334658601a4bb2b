from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from common.models.reconstructor import Reconstructor
from common.rollout.reading import Remembering, read_in_batches, reconstruct
from common.schema import Reading, nothing, readings_of
from common.target.load import Target


class Counted(NamedTuple):
    """A batch of its own kind: what `encode` gives is what `forward` takes."""

    letters: Tensor
    sums: Tensor

    def to(self, device: torch.device) -> "Counted":
        return Counted(self.letters.to(device), self.sums.to(device))


class SourceAware(Reconstructor):
    """Answers the length of the text and the sum of the source's ids."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, 8)
        self.scale = nn.Parameter(torch.ones(()))
        self.sizes: list[int] = []

    def encode(self, readings: Sequence[Reading]) -> Counted:
        self.sizes.append(len(readings))
        letters = [len(reading.text) for reading in readings]
        return Counted(
            torch.tensor(letters), torch.tensor([sum(reading.source) for reading in readings])
        )

    def forward(self, tokens: Counted) -> Tensor:
        return self.scale * torch.stack([tokens.letters, tokens.sums], 1).float()


@pytest.fixture
def aware(target: Target) -> SourceAware:
    return SourceAware(target.tokenizer)


def test_the_same_text_about_different_inputs_is_read_for_each(aware: SourceAware):
    readings = readings_of(["a lake", "a lake", "a bay", "a lake"], [[1, 2], (3,), [], [4]])
    found = reconstruct(aware, readings, batch_size=2, precision="32-true")
    assert found.tolist() == [[6, 3], [6, 3], [5, 0], [6, 4]]


def test_what_is_read_twice_is_computed_once(aware: SourceAware):
    readings = [Reading("a", (1,)), Reading("b"), Reading("a", (1,)), Reading("a"), Reading("b")]
    found = read_in_batches(aware, aware, readings, batch_size=2)
    assert aware.sizes == [2, 1]
    assert found.tolist() == [[1, 1], [1, 0], [1, 1], [1, 0], [1, 0]]


def test_without_sources_nothing_is_seen():
    assert readings_of(["a", "b"]) == [Reading("a", ()), Reading("b", nothing((7, 8)))]
    with pytest.raises(ValueError, match="shorter"):
        readings_of(["a", "b"], [(1,)])


def test_each_reading_is_asked_for_once():
    asked: list[Reading] = []

    def read(readings: Sequence[Reading]) -> Tensor:
        asked.extend(readings)
        return torch.tensor([[float(len(one.text)), float(len(one.source))] for one in readings])

    remembering = Remembering(read)
    first, other = Reading("ab"), Reading("ab", (5,))
    assert remembering([first, other, first]).tolist() == [[2, 0], [2, 1], [2, 0]]
    assert remembering([other, Reading("")]).tolist() == [[2, 1], [0, 0]]
    assert asked == [first, other, Reading("")], "the same words beside other inputs are another"
