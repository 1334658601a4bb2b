"""ARs that add the words to a closed form of what is seen."""

import copy
from pathlib import Path

import pytest
import torch

from ar_variants.input_aware.informed import InformedReconstructor, InjectedReconstructor
from common.errors import NlaError
from common.metrics.fve import normalize
from common.models.checkpoint import load_trainable, save_trainable
from common.rollout.reading import read_in_batches
from common.schema import Reading
from common.target.load import Target
from tests.ar_variants.input_aware.made import READINGS, ROWS, SOURCES, TEXTS, activations, informed

KINDS = (InformedReconstructor, InjectedReconstructor)


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, target: Target) -> InformedReconstructor:
    return informed(target, request.param)


@torch.no_grad()
def read(model: InformedReconstructor, readings: list[Reading]) -> torch.Tensor:
    return model(model.encode(readings))


@torch.no_grad()
def test_the_closed_form_explains_what_it_is_told(target: Target):
    model, truth = informed(target), normalize(activations())
    found = model.predicted(SOURCES)
    spread = (truth - truth.mean(0)).square().sum(1).mean()
    assert float((found - truth).square().sum(1).mean()) < 0.3 * float(spread)


def test_an_empty_explanation_leaves_the_closed_form(target: Target):
    model = informed(target)
    silent = [Reading("", source) for source in SOURCES[:4]]
    assert torch.allclose(read(model, silent), model.predicted(SOURCES[:4]), atol=1e-5)


def test_with_nothing_seen_and_nothing_said_it_answers_the_mean(model: InformedReconstructor):
    mean = normalize(activations()).mean(0)
    assert torch.allclose(read(model, [Reading("")])[0], mean, atol=1e-5)


def test_words_are_added_to_what_is_seen(target: Target):
    """The same words add the same, whatever is seen; and the same without anything seen."""
    model = informed(target)
    said = read(model, [Reading(TEXTS[0], source) for source in SOURCES[:3]])
    added = said - model.predicted(SOURCES[:3])
    blind = read(model, [Reading(TEXTS[0])]) - model.mean
    assert torch.allclose(added, blind.expand(3, -1), atol=1e-3)
    assert float(added.norm(dim=1).min()) > 1


def test_an_injected_vector_changes_what_words_add(target: Target):
    model = informed(target, InjectedReconstructor)
    said = read(model, [Reading(TEXTS[0], source) for source in SOURCES[:3]])
    added = said - model.predicted(SOURCES[:3])
    assert not torch.allclose(added[0], added[1], atol=0.1)


def test_a_hidden_token_changes_nothing(model: InformedReconstructor):
    """An AR that is given the last token: what is before it must not matter, were it left in."""
    one, other = (Reading(TEXTS[0], (7, before, 9)) for before in (5, 8))
    assert torch.allclose(*read(model, [one, other]).split(1), atol=1e-4)


def test_the_same_words_beside_different_inputs_are_different_readings(
    model: InformedReconstructor,
):
    readings = [Reading(TEXTS[0], SOURCES[0]), Reading(TEXTS[0], SOURCES[1])] * 2
    found = read_in_batches(model, model, readings, 8)
    assert torch.equal(found[:2], found[2:])
    assert not torch.allclose(found[0], found[1], atol=0.1)


def test_batched_as_one_by_one(model: InformedReconstructor):
    """Also where some rows see nothing, or are told nothing."""
    readings = [*READINGS, Reading(TEXTS[2]), Reading("", SOURCES[4]), Reading("")]
    alone = torch.cat([read(model, [one]) for one in readings])
    assert torch.allclose(read(model, readings), alone, atol=1e-3)


def test_the_vector_stands_behind_the_prompt_where_something_is_seen(target: Target):
    plain, injected = informed(target), informed(target, InjectedReconstructor)
    readings = [READINGS[0], Reading(TEXTS[0])]
    lengths = injected.encode(readings).tokens.mask.sum(1) - plain.encode(readings).tokens.mask.sum(
        1
    )
    assert lengths.tolist() == [1, 0]
    assert injected.tokens_in(readings) == plain.tokens_in(readings) + 1


def test_gradients_reach_head_blocks_and_slot_and_not_the_closed_form(
    model: InformedReconstructor,
):
    found = model(model.encode(READINGS))
    model.loss_terms(found, activations()[:3])["mse"].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"head.weight", "decoder.layers.0.mlp.up_proj.weight"} <= moved
    assert ("slot.weight" in moved) == isinstance(model, InjectedReconstructor)
    assert not any(name.startswith("closed") for name, _ in model.named_parameters())


def test_words_can_be_learned(target: Target):
    """It overfits the words that tell two activations of one input apart."""
    model = informed(target)
    truth = 30 * torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    readings = [Reading(text, SOURCES[0]) for text in TEXTS[:2]]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(30):
        loss = model.loss_terms(model(model.encode(readings)), truth)["mse"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]


def test_the_closed_form_is_kept_with_the_weights(
    model: InformedReconstructor, target: Target, tmp_path: Path
):
    path = tmp_path / "ar.safetensors"
    save_trainable(model, path, {"view": "given 1"}, torch.float32)
    fresh = informed(target, type(model))
    fresh.closed.weight.zero_()
    load_trainable(fresh, path, {"view": "given 1"})
    assert torch.allclose(read(fresh, READINGS), read(model, READINGS), atol=1e-4)
    with pytest.raises(NlaError, match=r"view is 'given 1', expected 'given 4'"):
        load_trainable(fresh, path, {"view": "given 4"})


def test_a_copy_shares_what_never_learns(model: InformedReconstructor):
    copied = copy.deepcopy(model)
    assert copied.closed.encoder is model.closed.encoder
    assert copied.head.weight is not model.head.weight
    assert torch.equal(read(copied, READINGS), read(model, READINGS))


def test_as_many_rows_as_were_taught():
    assert len(SOURCES) == ROWS == len(activations())
