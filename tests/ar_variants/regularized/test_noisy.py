"""The published AR with noise in its training, and without any when it reads."""

import pytest
import torch

from ar_variants.regularized.noisy import Noise, NoisyReconstructor
from common.errors import NlaError
from common.metrics.fve import normalize, normalized_mse
from common.models.reconstructor import TruncatedReconstructor
from common.schema import readings_of
from common.target.load import Target

READINGS = readings_of(["On rivers, cold and deep.", 'Ends with "the shore".', "Music."])


def noisy(target: Target, noise: Noise) -> NoisyReconstructor:
    torch.manual_seed(0)
    mean = torch.linspace(-1, 1, target.manifest["d_model"])
    return NoisyReconstructor(target.model, target.tokenizer, 3, 96, noise, mean)


@pytest.mark.parametrize("noise", [Noise(dropout=0.3), Noise(on_embeddings=0.5)])
def test_noise_is_there_in_training_and_gone_in_reading(target: Target, noise: Noise):
    model = noisy(target, noise)
    plain = TruncatedReconstructor(target.model, target.tokenizer, 3, 96)
    tokens = model.encode(READINGS)
    assert model.noisy_in_training
    one, two = model.train()(tokens), model(tokens)
    assert (one - two).abs().max() > 1e-3
    assert torch.equal(model.eval()(tokens), plain.eval()(tokens))


def test_without_noise_it_trains_as_the_published_ar_does(target: Target):
    model = noisy(target, Noise())
    plain = TruncatedReconstructor(target.model, target.tokenizer, 3, 96)
    tokens = model.encode(READINGS)
    assert not model.noisy_in_training
    assert torch.equal(model.train()(tokens), plain.train()(tokens))


def test_noise_on_embeddings_has_the_length_that_is_asked_for_and_leaves_weights(target: Target):
    model = noisy(target, Noise(on_embeddings=0.5)).train()
    weight = model.decoder.get_input_embeddings().weight
    before = weight.detach().clone()
    tokens = model.encode(READINGS)
    plain = weight[tokens.ids]
    added = model.embedded(tokens) - plain
    share = (added.norm(dim=-1) / plain.norm(dim=-1))[tokens.mask]
    assert float(share.mean()) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(weight, before)
    assert torch.equal(target.model.get_input_embeddings().weight, before)


def test_dropout_reaches_attention_weights_and_both_parts_of_a_block(target: Target):
    model = noisy(target, Noise(dropout=0.4))
    blocks, theirs = model.decoder.layers, target.model.get_decoder().layers
    assert {block.self_attn.attention_dropout for block in blocks} == {0.4}
    assert {block.self_attn.attention_dropout for block in theirs} == {0.0}
    states = torch.ones(1, 4, target.manifest["d_model"])
    dropped = nn_zeros(model.train(), states)
    assert dropped == pytest.approx(0.4, abs=0.15)
    assert nn_zeros(model.eval(), states) == 0


def nn_zeros(model: NoisyReconstructor, states: torch.Tensor) -> float:
    """Share of zeros in what the MLP of the first block adds."""
    return float((model.decoder.layers[0].mlp(states) == 0).float().mean())


def test_blocks_of_another_make_are_refused(target: Target):
    model = noisy(target, Noise())
    for block in model.decoder.layers:
        del block.mlp
    model.noise = Noise(dropout=0.1)
    with pytest.raises(NlaError, match="no dropout can be put into blocks of class"):
        model._drop_in_blocks()


def test_targets_are_moved_to_the_mean(target: Target):
    width = target.manifest["d_model"]
    answers, truth = torch.randn(5, width), torch.randn(5, width)
    model = noisy(target, Noise(shrink=0.25))
    moved = 0.75 * normalize(truth) + 0.25 * model.mean
    found = model.loss_terms(answers, truth)["mse"]
    assert float(found) == pytest.approx(float(normalized_mse(answers, moved)), rel=1e-5)
    plain = noisy(target, Noise()).loss_terms(answers, truth)["mse"]
    assert float(plain) == pytest.approx(float(normalized_mse(answers, truth)), rel=1e-5)
