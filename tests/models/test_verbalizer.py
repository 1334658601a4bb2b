from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from common.config import AVConfig
from common.models.injection import replace
from common.models.verbalizer import (
    ADDITION_BLOCK,
    FRESH,
    Verbalizer,
    freeze_in_bfloat16,
)
from common.schema import TokenBatch, VerbalizationBatch
from common.target.load import Target
from decomposition.protocol import Decomposition
from decomposition.repeat import Repeat
from decomposition.single import Single
from tests.adapters import stir
from tests.schemes import LENGTHS, Graded, Learned

ALPHA = 5.0
TEXTS = ["On rivers, cold and deep.", 'Ends with "the shore"; next may be "of".', "Music."]


@pytest.fixture(scope="module")
def activations() -> Tensor:
    return 30 * torch.randn(len(TEXTS), 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def make(target: Target, av_config: AVConfig) -> Callable[..., Verbalizer]:
    def build(decomposition: Decomposition | None = None, **settings: object) -> Verbalizer:
        torch.manual_seed(0)
        config = av_config.replace(**settings)
        return Verbalizer(target.model, target.tokenizer, config, ALPHA, decomposition)

    return build


@torch.no_grad()
def loss(verbalizer: Verbalizer, activations: Tensor) -> Tensor:
    return verbalizer(verbalizer.encode(TEXTS, activations))


def by_hand(target: Target, verbalizer: Verbalizer, text: str, activation: Tensor) -> float:
    """Mean cross-entropy of explanation and end token under the target, one token at a time."""
    prompt, end = list(verbalizer.template.prompt_ids), verbalizer.template.end_id
    written = [*target.tokenizer.encode(text, add_special_tokens=False), end]
    ids = torch.tensor([prompt + written])
    embeddings = target.model.get_input_embeddings()(ids)
    slots = verbalizer.template.slot_columns
    vectors = (activation / activation.norm()).expand(1, len(slots), -1)
    logits = target.model(inputs_embeds=replace(embeddings, slots, vectors, ALPHA)).logits[0]
    losses = [
        float(functional.cross_entropy(logits[len(prompt) + place - 1], torch.tensor(token)))
        for place, token in enumerate(written)
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_fresh_av_is_the_target_and_counts_explanation_tokens_only(
    make: Any, target: Target, activations: Tensor, slots: int
):
    verbalizer = make(slots=slots)
    found = loss(verbalizer, activations)
    for text, activation, value in zip(TEXTS, activations, found, strict=True):
        assert float(value) == pytest.approx(
            by_hand(target, verbalizer, text, activation), abs=1e-4
        )


def test_a_batch_says_which_tokens_are_explanation(make: Any, target: Target, activations: Tensor):
    verbalizer = make()
    batch = verbalizer.encode(TEXTS, activations)
    prompt = len(verbalizer.template.prompt_ids)
    for row, text in enumerate(TEXTS):
        written = target.tokenizer.encode(text, add_special_tokens=False)
        counted = batch.tokens.ids[row][batch.is_explanation[row]].tolist()
        assert counted == [*written, verbalizer.template.end_id]
        assert int(batch.tokens.mask[row].sum()) == prompt + len(written) + 1
    assert not batch.is_explanation[:, :prompt].any()


def test_a_long_explanation_is_cut_and_still_ends(make: Any, activations: Tensor):
    verbalizer = make(max_explanation_tokens=5)
    batch = verbalizer.encode(["word " * 100], activations[:1])
    counted = batch.tokens.ids[0][batch.is_explanation[0]]
    assert len(counted) == 6
    assert counted[-1] == verbalizer.template.end_id


@pytest.mark.parametrize("injection", ["replace", "add"])
def test_extra_right_padding_does_not_change_the_loss(
    make: Any, activations: Tensor, injection: str
):
    verbalizer = stir(make(injection=injection))
    batch = verbalizer.encode(TEXTS, activations)
    ids = functional.pad(batch.tokens.ids, (0, 9), value=7)
    mask, counted = (
        functional.pad(part, (0, 9)) for part in (batch.tokens.mask, batch.is_explanation)
    )
    with torch.no_grad():
        padded = verbalizer(VerbalizationBatch(TokenBatch(ids, mask), activations, counted))
        assert torch.allclose(padded, verbalizer(batch), atol=1e-5)


@pytest.mark.parametrize("injection", ["replace", "add"])
def test_batched_is_one_by_one(make: Any, activations: Tensor, injection: str):
    verbalizer = stir(make(injection=injection, slots=2))
    together = loss(verbalizer, activations)
    with torch.no_grad():
        alone = [
            verbalizer(verbalizer.encode([text], activation[None]))
            for text, activation in zip(TEXTS, activations, strict=True)
        ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


@pytest.mark.parametrize("injection", ["replace", "add"])
def test_the_loss_depends_on_the_activations_direction_alone(
    make: Any, activations: Tensor, injection: str
):
    verbalizer = make(injection=injection)
    true = loss(verbalizer, activations)
    assert torch.allclose(loss(verbalizer, 3 * activations), true, atol=1e-4)
    assert not torch.allclose(loss(verbalizer, activations.roll(1, 0)), true, atol=1e-3)


def test_addition_acts_at_the_output_of_block_1_within_its_context_only(
    make: Any, activations: Tensor
):
    verbalizer = make(injection="add")
    ids = torch.tensor([verbalizer.template.prompt_ids] * len(TEXTS))
    (column,) = verbalizer.template.slot_columns
    embeddings = verbalizer.embed(ids, activations)
    assert torch.equal(embeddings, verbalizer.language_model.get_input_embeddings()(ids))

    @torch.no_grad()
    def inputs() -> tuple[Tensor, Tensor]:
        """What block 1 and block 2 get."""
        caught: list[Tensor] = []
        decoder = verbalizer.language_model.model
        hooks = [
            block.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
            for block in decoder.layers[ADDITION_BLOCK : ADDITION_BLOCK + 2]
        ]
        decoder(inputs_embeds=embeddings)
        for hook in hooks:
            hook.remove()
        return caught[0], caught[1]

    plain = inputs()
    with verbalizer.injected(activations):
        added = inputs()
    change = added[1] - plain[1]
    assert torch.equal(added[0], plain[0])
    norms = plain[1][:, column].norm(dim=-1)
    assert torch.allclose(change[:, column].norm(dim=-1), norms, rtol=1e-4)
    cosine = functional.cosine_similarity(change[:, column], activations, dim=-1)
    assert torch.allclose(cosine, torch.ones(3), atol=1e-4)
    change[:, column] = 0
    assert not change.any()
    with pytest.raises(RuntimeError, match="stop"), verbalizer.injected(activations):
        raise RuntimeError("stop")
    assert torch.equal(inputs()[1], plain[1])


@pytest.mark.parametrize("scheme", [Graded(), Learned(64, 3)], ids=["graded", "learned"])
def test_each_slot_gets_its_own_part_at_its_own_length(
    make: Any, activations: Tensor, scheme: Decomposition
):
    verbalizer = make(scheme)
    columns = list(verbalizer.template.slot_columns)
    assert len(columns) == 3, "as many as the decomposition has, whatever the settings say"
    ids = torch.tensor([verbalizer.template.prompt_ids] * len(TEXTS))
    slots = verbalizer.embed(ids, activations)[:, columns]
    torch.testing.assert_close(slots, ALPHA * scheme(activations), rtol=1e-5, atol=1e-5)
    if isinstance(scheme, Graded):
        norms = ALPHA * torch.tensor(LENGTHS).expand(len(TEXTS), -1)
        assert torch.allclose(slots.norm(dim=-1), norms)


def test_without_a_decomposition_the_settings_say_how_often_the_direction_is_repeated(make: Any):
    assert isinstance(make().decomposition, Single)
    repeated = make(slots=4).decomposition
    assert isinstance(repeated, Repeat)
    assert repeated.slots == 4


def test_a_decomposition_is_never_in_low_precision(make: Any, activations: Tensor):
    verbalizer = make(Learned(64))
    freeze_in_bfloat16(verbalizer.requires_grad_(False))
    expected = verbalizer.decomposed(activations)
    with torch.autocast("cpu", torch.bfloat16):
        found = verbalizer.decomposed(activations)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("injection", ["replace", "add"])
def test_a_learned_decomposition_gets_a_gradient(make: Any, activations: Tensor, injection: str):
    verbalizer = make(Learned(64), injection=injection)
    verbalizer(verbalizer.encode(TEXTS, activations)).mean().backward()
    gradient = verbalizer.decomposition.map.weight.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.any()


def test_the_reference_keeps_the_decomposition_of_before(make: Any, activations: Tensor):
    verbalizer = stir(make(Learned(64)))
    before = loss(verbalizer, activations)
    names = {name for name, _ in verbalizer.named_parameters() if "decomposition" in name}
    verbalizer.adapt_anew(2)
    learning = {name for name, p in verbalizer.named_parameters() if p.requires_grad}
    assert {name for name in learning if f".{FRESH}." not in name} == names
    now = verbalizer.decomposition
    with torch.no_grad():
        now.map.weight += 0.3 * torch.randn_like(now.map.weight)
    after = loss(verbalizer, activations)
    assert not torch.allclose(after, before, atol=1e-3)
    with verbalizer.as_before():
        torch.testing.assert_close(loss(verbalizer, activations), before, rtol=0, atol=1e-6)
        assert not any(p.requires_grad for p in verbalizer.decomposition.parameters())
    with pytest.raises(RuntimeError, match="stop"), verbalizer.as_before():
        raise RuntimeError("stop")
    assert verbalizer.decomposition is now
    assert torch.equal(loss(verbalizer, activations), after)
    assert {name for name, p in verbalizer.named_parameters() if p.requires_grad} == learning
    kept = {name for name in verbalizer.state_dict() if "decomposition" in name}
    assert kept == {"decomposition.map.weight", "decomposition.mean"}


def test_a_frozen_av_has_a_frozen_decomposition(make: Any, activations: Tensor):
    verbalizer = make(Learned(64))
    before = loss(verbalizer, activations)
    verbalizer.adapt_anew(2, trainable=False)
    assert not any(p.requires_grad for p in verbalizer.parameters())
    torch.testing.assert_close(loss(verbalizer, activations), before, rtol=0, atol=1e-6)


def test_training_moves_the_adapters_and_leaves_the_target_as_it_is(
    make: Any, target: Target, activations: Tensor
):
    before = {name: tensor.clone() for name, tensor in target.model.state_dict().items()}
    verbalizer = make()
    trained = [name for name, parameter in verbalizer.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    optimizer = torch.optim.SGD([p for p in verbalizer.parameters() if p.requires_grad], lr=1.0)
    first = verbalizer(verbalizer.encode(TEXTS, activations)).mean()
    first.backward()
    optimizer.step()
    assert loss(verbalizer, activations).mean() < first
    after = target.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in target.model.parameters())


def test_rank_0_trains_all_blocks_of_the_copy(make: Any, target: Target, activations: Tensor):
    verbalizer = make(lora_rank=0)
    frozen = [name for name, p in verbalizer.named_parameters() if not p.requires_grad]
    assert frozen == ["model.model.embed_tokens.weight"]
    assert not any(parameter.requires_grad for parameter in target.model.parameters())
    assert torch.allclose(loss(verbalizer, activations), loss(make(), activations), atol=1e-5)


def test_only_frozen_weights_are_held_in_bfloat16(make: Any):
    verbalizer = make()
    freeze_in_bfloat16(verbalizer)
    dtypes = {(p.requires_grad, p.dtype) for n, p in verbalizer.named_parameters() if "proj" in n}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}


@pytest.mark.parametrize("rank", [0, 4])
def test_fresh_adapters_change_nothing_and_alone_learn(make: Any, activations: Tensor, rank: int):
    verbalizer = stir(make(lora_rank=rank))
    before = loss(verbalizer, activations)
    verbalizer.adapt_anew(2)
    torch.testing.assert_close(loss(verbalizer, activations), before, rtol=0, atol=1e-6)
    learning = {name for name, p in verbalizer.named_parameters() if p.requires_grad}
    assert learning
    assert all(f".{FRESH}." in name for name in learning)
    stir(verbalizer, FRESH)
    after = loss(verbalizer, activations)
    assert not torch.allclose(after, before, atol=1e-3)
    with verbalizer.as_before():
        torch.testing.assert_close(loss(verbalizer, activations), before, rtol=0, atol=1e-6)
    assert torch.equal(loss(verbalizer, activations), after)
    with pytest.raises(RuntimeError, match="stop"), verbalizer.as_before():
        raise RuntimeError("stop")
    assert torch.equal(loss(verbalizer, activations), after)
    assert {name for name, p in verbalizer.named_parameters() if p.requires_grad} == learning


def test_a_warm_start_too_small_for_bfloat16_weights_stays_under_fresh_adapters(
    make: Any, activations: Tensor
):
    """Base weights on the bfloat16 grid, and a warm start below half its spacing."""
    verbalizer = stir(make())
    with torch.no_grad():
        for name, parameter in verbalizer.named_parameters():
            if "lora_B" in name:
                parameter *= 1e-2
    freeze_in_bfloat16(verbalizer)
    with torch.autocast("cpu", torch.bfloat16):
        before = loss(verbalizer, activations)
        with verbalizer.model.disable_adapter():
            assert not torch.equal(loss(verbalizer, activations), before), "it says a bit"
        verbalizer.adapt_anew(2)
        assert torch.equal(loss(verbalizer, activations), before)
