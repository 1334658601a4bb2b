import pytest
import torch

from common.errors import NlaError
from common.target.parts import embedding_scale, final_norm, head_is_plain, logits_of
from tests.families import tiny_family

IDS = torch.tensor([[7, 30, 52, 400, 11]])


@pytest.mark.parametrize(
    ("family", "settings", "plain"),
    [
        ("llama", {}, True),
        ("mixtral", {}, True),
        ("gemma2", {"final_logit_softcapping": 5.0}, False),
        ("cohere", {"logit_scale": 0.25}, False),
        ("granite", {"logits_scaling": 8.0}, False),
        ("phi", {}, False),
    ],
)
def test_logits_are_the_models_own(family: str, settings: dict, plain: bool):
    model = tiny_family(family, **settings).model
    if family == "phi":
        model.lm_head.bias.fill_(0.5)
    expected = model(input_ids=IDS).logits
    states = model.get_decoder()(input_ids=IDS).last_hidden_state
    torch.testing.assert_close(logits_of(model, states), expected.float())
    torch.testing.assert_close(logits_of(model, states[0, -1]), expected[0, -1].float())
    assert head_is_plain(model) == plain
    assert torch.equal(model(input_ids=IDS).logits, expected), "the model is as it was"


@pytest.mark.parametrize(("family", "scale"), [("llama", 1.0), ("gemma2", 1.0), ("granite", 12.0)])
def test_the_scale_of_embeddings_is_measured(family: str, scale: float):
    settings = {"embedding_multiplier": 12.0} if family == "granite" else {}
    assert embedding_scale(tiny_family(family, **settings).model) == pytest.approx(scale)


def test_positions_that_are_added_before_the_first_block_are_refused():
    with pytest.raises(NlaError, match="before its first block"):
        embedding_scale(tiny_family("opt").model)


def test_a_decoder_without_a_final_norm_is_refused():
    assert final_norm(tiny_family("phi").model.get_decoder()) == "final_layernorm"
    with pytest.raises(NlaError, match="no final norm"):
        final_norm(torch.nn.Linear(2, 2))
