from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from common.config import AVConfig, RolloutConfig
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.rollout.sampler import _choose, merged, sample_batch, sample_explanations
from common.target.load import Target

ROWS = 8
GREEDY = RolloutConfig(temperature=0, batch_size=ROWS)


@pytest.fixture(scope="module")
def activations() -> Tensor:
    return 30 * torch.randn(ROWS, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def make(target: Target, av_config: AVConfig) -> Callable[..., Verbalizer]:
    """AVs whose adapters have learned something: fresh ones do nothing."""

    def build(**settings: object) -> Verbalizer:
        verbalizer = Verbalizer(target.model, target.tokenizer, av_config.replace(**settings), 5.0)
        generator = torch.Generator().manual_seed(0)
        for name, parameter in verbalizer.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1, generator=generator)
        return verbalizer.eval()

    return build


@pytest.fixture(scope="module")
def verbalizer(make: Callable[..., Verbalizer]) -> Verbalizer:
    return make()


def greedy(verbalizer: Verbalizer, activations: Tensor) -> list[list[int]]:
    with torch.inference_mode():
        return sample_batch(verbalizer, activations, 0.0, torch.Generator())


@torch.no_grad()
def generated(verbalizer: Verbalizer, activations: Tensor, **settings: Any) -> list[list[int]]:
    """The reference: the public library's own generation, which re-implements none of ours."""
    prompt = torch.tensor([verbalizer.template.prompt_ids] * len(activations))
    end = verbalizer.template.end_id
    rows = verbalizer.language_model.generate(
        inputs_embeds=verbalizer.embed(prompt, activations),
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=verbalizer.config.max_explanation_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        **settings,
    ).tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


def with_an_early_end(verbalizer: Verbalizer, written: list[list[int]]) -> Any:
    """A template whose end token is one that some rows, but not all, come to write."""
    rows_with = Counter(token for row in written for token in set(row[2:]) - set(row[:2]))
    token = next(token for token, count in rows_with.items() if 1 <= count < ROWS)
    return replace(verbalizer.template, end_id=token)


@pytest.mark.parametrize("slots", [1, 4])
def test_greedy_tokens_are_those_of_the_public_library(make: Any, activations: Tensor, slots: int):
    verbalizer = make(slots=slots)
    expected = generated(verbalizer, activations)
    assert len({tuple(row) for row in expected}) > 1, "the AV ignores its activations"
    assert greedy(verbalizer, activations) == expected


def test_rows_that_end_early_leave_the_others_as_they_are(make: Any, activations: Tensor):
    verbalizer = make()
    verbalizer.template = with_an_early_end(verbalizer, generated(verbalizer, activations))
    expected = generated(verbalizer, activations)
    lengths = {len(row) for row in expected}
    assert 2 <= min(lengths) < max(lengths) <= 24
    assert greedy(verbalizer, activations) == expected


def test_addition_acts_in_the_prefill_alone(make: Any, activations: Tensor):
    """Against a slow path: no cache, the whole text again for every token."""
    verbalizer = make(injection="add", max_explanation_tokens=8)
    texts = torch.tensor([verbalizer.template.prompt_ids] * ROWS)
    start = texts.shape[1]
    for _ in range(8):
        with torch.no_grad(), verbalizer.injected(activations):
            logits = verbalizer.language_model(
                inputs_embeds=verbalizer.embed(texts, activations)
            ).logits
        texts = torch.cat([texts, logits[:, -1].argmax(-1, keepdim=True)], 1)
    slow = [row[start:] for row in texts.tolist()]
    assert verbalizer.template.end_id not in {token for row in slow for token in row}
    assert greedy(verbalizer, activations) == slow


def test_batched_is_one_by_one(verbalizer: Verbalizer, activations: Tensor):
    one_by_one = [greedy(verbalizer, activation[None])[0] for activation in activations]
    assert greedy(verbalizer, activations) == one_by_one
    texts = sample_explanations(verbalizer, activations, GREEDY, precision="32-true")
    threes = sample_explanations(
        verbalizer, activations, GREEDY.replace(batch_size=3), precision="32-true"
    )
    assert texts == threes
    assert texts == [text.strip() for text in verbalizer.tokenizer.batch_decode(one_by_one)]


def test_an_av_that_has_nothing_to_say_says_nothing(make: Any, activations: Tensor):
    verbalizer = make()
    first = greedy(verbalizer, activations[:1])[0][0]
    verbalizer.template = replace(verbalizer.template, end_id=first)
    assert greedy(verbalizer, activations[:1]) == [[]]
    assert sample_explanations(verbalizer, activations[:1], GREEDY, precision="32-true") == [""]


def test_samples_follow_the_seed(verbalizer: Verbalizer, activations: Tensor):
    warm = RolloutConfig(temperature=1.0, batch_size=4)

    def drawn(seed: int) -> list[str]:
        return sample_explanations(verbalizer, activations, warm, seed, "32-true")

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.8), (0.5, 16 / 17), (2.0, 2 / 3)])
def test_temperature_by_hand(temperature: float, expected: float):
    logits = torch.tensor([0.8, 0.2]).log().expand(20_000, 2)
    drawn = _choose(logits, temperature, torch.Generator().manual_seed(0))
    assert float((drawn == 0).double().mean()) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("low_precision", [False, True])
@pytest.mark.parametrize("frozen_low", [False, True])
def test_merging_gives_the_weights_back_exactly(make: Any, frozen_low: bool, low_precision: bool):
    verbalizer = make()
    if frozen_low:
        freeze_in_bfloat16(verbalizer)
    before = {name: p.detach().clone() for name, p in verbalizer.named_parameters()}
    with torch.inference_mode(), merged(verbalizer, low_precision):
        inside = dict(verbalizer.named_parameters())
        merged_ones = [name for name, p in before.items() if "base_layer" in name]
        assert all(
            not torch.equal(inside[name].float(), before[name].float()) for name in merged_ones
        )
    with pytest.raises(RuntimeError, match="stop"), merged(verbalizer, low_precision):
        raise RuntimeError("stop")
    for name, parameter in verbalizer.named_parameters():
        assert parameter.dtype == before[name].dtype
        assert torch.equal(parameter, before[name]), name


def test_training_goes_on_after_sampling(make: Any, activations: Tensor):
    verbalizer = make()
    sample_explanations(verbalizer, activations, GREEDY, precision="bf16-mixed")
    verbalizer(verbalizer.encode(["a lake"] * ROWS, activations)).mean().backward()
    gradients = [p.grad for p in verbalizer.parameters() if p.requires_grad]
    assert gradients
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_merged_adapters_write_the_same(verbalizer: Verbalizer, activations: Tensor):
    apart = greedy(verbalizer, activations)
    with merged(verbalizer, low_precision=False):
        assert greedy(verbalizer, activations) == apart
