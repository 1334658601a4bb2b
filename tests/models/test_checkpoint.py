"""What an AV's checkpoint holds of its decomposition, and whom it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from common.config import AVConfig
from common.errors import NlaError
from common.models.checkpoint import load_trainable, save_trainable, scheme_of
from common.models.verbalizer import Verbalizer
from common.target.load import Target
from decomposition.protocol import Decomposition
from decomposition.repeat import Repeat
from decomposition.single import Single
from tests.schemes import Graded, Learned

ACTIVATIONS = 30 * torch.randn(6, 64, generator=torch.Generator().manual_seed(0)) + 7


@pytest.fixture
def make(target: Target, av_config: AVConfig) -> Callable[[Decomposition], Verbalizer]:
    def build(decomposition: Decomposition) -> Verbalizer:
        torch.manual_seed(0)
        return Verbalizer(target.model, target.tokenizer, av_config, 5.0, decomposition)

    return build


def learned() -> Learned:
    scheme = Learned(64)
    scheme.fit(ACTIVATIONS)
    with torch.no_grad():
        scheme.map.weight += 0.1 * torch.randn_like(scheme.map.weight)
    return scheme


def test_a_fitted_and_learned_decomposition_comes_back(make: Any, tmp_path: Path):
    saved, other = make(learned()), make(Learned(64))
    path = tmp_path / "av.safetensors"
    save_trainable(saved, path, scheme_of(saved.decomposition))
    load_trainable(other, path, scheme_of(other.decomposition))
    found, expected = other.decomposition, saved.decomposition
    assert torch.equal(found.mean, expected.mean), "statistics in their own precision"
    assert torch.equal(found.map.weight, expected.map.weight.bfloat16().float())
    assert not found.scratch.any()
    torch.testing.assert_close(found(ACTIVATIONS), expected(ACTIVATIONS), rtol=0, atol=1e-2)


def test_statistics_are_kept_of_a_decomposition_that_no_longer_learns(make: Any, tmp_path: Path):
    saved, other = make(learned()), make(Learned(64))
    for verbalizer in (saved, other):
        verbalizer.decomposition.requires_grad_(False)
    save_trainable(saved, tmp_path / "av.safetensors", {})
    load_trainable(other, tmp_path / "av.safetensors", {})
    assert torch.equal(other.decomposition.mean, saved.decomposition.mean)
    assert not torch.equal(other.decomposition.map.weight, saved.decomposition.map.weight)


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        (Repeat(3), "decomposition is 'Graded', expected 'Repeat'"),
        (Graded((1.0, 2.0)), "slots is '3', expected '2'"),
        (Graded((1.0, 2.0, 3.0)), "decomposition_settings is "),
        (Learned(64), "decomposition is 'Graded', expected 'Learned'"),
    ],
)
def test_a_checkpoint_of_another_scheme_is_refused_in_one_line(
    make: Any, tmp_path: Path, scheme: Decomposition, said: str
):
    path = tmp_path / "av.safetensors"
    saved = make(Graded())
    save_trainable(saved, path, scheme_of(saved.decomposition))
    other = make(scheme)
    before = [p.clone() for p in other.parameters()]
    with pytest.raises(NlaError, match=said) as refused:
        load_trainable(other, path, scheme_of(other.decomposition))
    assert "\n" not in str(refused.value)
    assert all(map(torch.equal, before, other.parameters()))


def test_a_scheme_is_known_by_kind_slots_and_settings():
    assert scheme_of(Single())["decomposition"] == "Single"
    assert scheme_of(Repeat(4))["slots"] == "4"
    assert scheme_of(Repeat(4)) == scheme_of(Repeat(4))
    assert scheme_of(Graded()) != scheme_of(Graded((1.0, 2.0, 3.0)))
