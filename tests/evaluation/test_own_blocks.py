import pytest
import torch

from common.errors import NlaError
from common.evaluation.own_blocks import last_tokens, own_blocks
from common.evaluation.test_set import TestSet
from common.metrics.fve import fve, squared_errors
from common.schema import TOKEN_IDS
from common.target.load import Target
from common.target.text import encode
from tests.families import tiny_family, with_bos


def test_on_the_whole_text_they_are_the_ceiling(held_out: TestSet):
    trunk = held_out.trunk
    own = own_blocks(trunk.target, trunk.layer, held_out.table[TOKEN_IDS].to_list())
    errors = squared_errors(own, held_out.judge.activations)
    assert fve(errors, held_out.variances()[0]) > 0.999


def test_together_as_one_by_one_in_the_order_asked(target: Target, monkeypatch: pytest.MonkeyPatch):
    rows = [[5, 6, 7], [9], [5, 6, 8, 11, 30], [9], [5, 6]]
    alone = torch.cat([own_blocks(target, 3, [row]) for row in rows])
    for size in (1, 8, 4096):
        monkeypatch.setattr("common.evaluation.own_blocks.READ_TOGETHER", size)
        assert torch.allclose(own_blocks(target, 3, rows), alone, atol=1e-4)


def test_the_target_keeps_its_blocks(target: Target):
    blocks = len(target.model.get_decoder().layers)
    own_blocks(target, 0, [[5]])
    assert len(target.model.get_decoder().layers) == blocks


def test_last_tokens_stand_behind_a_neutral_text(target: Target):
    neutral = encode(target.tokenizer, ["The text:"])[0]
    assert last_tokens(target, [[1, 2, 3, 4], [5]], 2) == [[*neutral, 3, 4], [*neutral, 5]]


def test_a_bos_stands_before_the_neutral_text_and_is_no_last_token(target: Target):
    begins = target._replace(tokenizer=with_bos(target.tokenizer))
    bos = begins.tokenizer.bos_token_id
    neutral = encode(target.tokenizer, ["The text:"])[0]
    assert last_tokens(begins, [[bos, 3]], 4) == [[bos, *neutral, 3]]


def test_a_neutral_text_is_cut_to_the_positions_that_are_left():
    def narrow(positions: int) -> Target:
        return tiny_family("llama", max_position_embeddings=positions)

    neutral = encode(narrow(512).tokenizer, ["The text:"])[0]
    assert len(neutral) > 1
    assert last_tokens(narrow(17), [[*range(30)]], 16) == [[neutral[0], *range(14, 30)]]
    with pytest.raises(NlaError, match=r"has 16 positions: no room before the last 16 tokens"):
        last_tokens(narrow(16), [[*range(30)]], 16)
