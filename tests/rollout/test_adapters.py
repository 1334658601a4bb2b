from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from common.models.verbalizer import FRESH, Verbalizer
from common.rollout.adapters import adapters_of, rank_of, save_adapters
from common.rollout.engine import roll_out
from tests.adapters import stir


@pytest.fixture
def adapted_twice(make: Callable[..., Verbalizer]) -> Verbalizer:
    """Adapters of a warm start, of rank 4, and fresh ones of rank 2 that have learned too."""
    verbalizer = make()
    verbalizer.adapt_anew(2)
    return stir(verbalizer, FRESH)


def test_every_block_has_both(adapted_twice: Verbalizer):
    added = adapters_of(adapted_twice)
    assert len(added) == 7 * len(adapted_twice.language_model.model.layers)
    assert {tuple(len(down) for _, down, _ in both) for both in added.values()} == {(4, 2)}
    assert rank_of(added) == 6


def test_peft_reads_them_as_one(
    make: Callable[..., Verbalizer],
    adapted_twice: Verbalizer,
    activations: Tensor,
    tmp_path: Path,
):
    save_adapters(adapted_twice, adapters_of(adapted_twice), tmp_path)
    plain = make(lora_rank=0)
    assert rank_of(adapters_of(plain)) == 0
    plain.model = PeftModel.from_pretrained(plain.model, str(tmp_path)).eval()
    read, known = (roll_out(av, activations) for av in (plain, adapted_twice))
    assert read.written() == known.written()
    torch.testing.assert_close(read.log_probs, known.log_probs, rtol=0, atol=1e-4)
    assert read.written() != roll_out(make(), activations).written()
