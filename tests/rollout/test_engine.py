from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor

from common.models.verbalizer import Verbalizer
from common.rollout import in_place
from common.rollout.choice import choose
from common.rollout.engine import Rollouts, keyed_draws, roll_out, room_of
from common.rollout.reference import generate
from common.rollout.sampler import own_engine
from decomposition.protocol import Decomposition
from decomposition.repeat import Repeat
from decomposition.single import Single
from tests.schemes import Graded, Learned

ROWS = 8
SCHEMES = (Single(), Repeat(4), Graded(), Learned(64))
NAMES = ("single", "repeat", "unequal lengths", "learned")


def early_end(verbalizer: Verbalizer, written: list[list[int]]) -> Any:
    """A template whose end token is one that some rows, but not all, come to write."""
    first = {token for row in written for token in row[:2]}
    rows_with = Counter(token for row in written for token in set(row[2:]) - first)
    token = next(token for token, count in rows_with.items() if 1 <= count < ROWS)
    return replace(verbalizer.template, end_id=token)


def drawn(verbalizer: Verbalizer, activations: Tensor, samples: int = 3) -> Rollouts:
    limit = room_of(verbalizer)
    draws = torch.cat([keyed_draws(("test", row), samples, limit) for row in range(ROWS)])
    return roll_out(verbalizer, activations, samples, 0.8, draws[: len(activations) * samples])


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
def test_greedy_tokens_are_those_of_the_public_library(
    make: Any, activations: Tensor, scheme: Decomposition
):
    verbalizer = make(scheme)
    expected = generate(verbalizer, activations)
    assert len({tuple(row) for row in expected}) > 1, "the AV ignores its activations"
    assert roll_out(verbalizer, activations).written() == expected


def test_rows_that_end_early_leave_the_others_as_they_are(make: Any, activations: Tensor):
    verbalizer = make()
    verbalizer.template = early_end(verbalizer, generate(verbalizer, activations))
    expected = generate(verbalizer, activations)
    lengths = {len(row) for row in expected}
    assert 2 <= min(lengths) < max(lengths) <= 24
    assert roll_out(verbalizer, activations).written() == expected


def run_once(step: Callable[[], None], _device: torch.device) -> Callable[[], None]:
    """As on a GPU: the step is run once before it is replayed."""
    step()
    return step


@pytest.mark.parametrize("samples", [0, 3])
def test_rows_written_in_place_are_the_same(
    make: Any, activations: Tensor, samples: int, monkeypatch: Any
):
    """Greedy and drawn, where some rows end early; on a GPU this is the usual way."""
    monkeypatch.setattr(in_place, "_as_graph", run_once)
    verbalizer = make()
    verbalizer.template = early_end(verbalizer, generate(verbalizer, activations))
    draws = torch.cat([keyed_draws((row,), samples or 1, 25) for row in range(ROWS)])
    settings = (samples or 1, 0.8 * bool(samples), draws)
    with torch.inference_mode():
        expected, found = (
            roll_out(verbalizer, activations, *settings, in_place=how) for how in (False, True)
        )
    assert 0 < int(expected.ended.sum()) < len(expected.ended)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_rows_are_written_in_place_in_low_precision(make: Any, activations: Tensor):
    verbalizer = make()
    draws = torch.cat([keyed_draws((row,), 2, 25) for row in range(ROWS)])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = roll_out(verbalizer, activations, 2, 0.8, draws, in_place=True)
        expected = verbalizer.sampled_log_probs(found.ids, found.mask, activations, 2, 0.8)
    assert float((found.log_probs - expected).abs().mean()) < 0.02


def test_rows_written_in_place_stop_when_all_have_ended(
    make: Any, activations: Tensor, monkeypatch: Any
):
    verbalizer, steps = make(), []
    first = {row[3] for row in generate(verbalizer, activations[:1])}
    verbalizer.template = replace(verbalizer.template, end_id=first.pop())
    monkeypatch.setattr(in_place, "_as_graph", lambda step, _: lambda: steps.append(0) or step())
    found = roll_out(verbalizer, activations[:1], in_place=True)
    assert found.ended.all()
    assert found.ids.shape[1] <= 4
    assert len(steps) == in_place.LOOK_EVERY - 1


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
    assert roll_out(verbalizer, activations).written() == slow


def plain_log_probs(verbalizer: Verbalizer, rollouts: Rollouts, activations: Tensor) -> Tensor:
    """The whole text of every row in one forward: nothing shared, nothing kept."""
    samples = len(rollouts.ids) // len(activations)
    vectors = activations.repeat_interleave(samples, 0)
    prompt = torch.tensor(verbalizer.template.prompt_ids).expand(len(vectors), -1)
    texts = torch.cat([prompt, rollouts.ids], 1)
    with verbalizer.injected(vectors):
        logits = verbalizer.model(inputs_embeds=verbalizer.embed(texts, vectors)).logits
    predicted = (logits[:, prompt.shape[1] - 1 : -1] / 0.8).log_softmax(-1)
    return predicted.gather(2, rollouts.ids[..., None]).squeeze(2) * rollouts.mask


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
@pytest.mark.parametrize("injection", ["replace", "add"])
def test_log_probs_are_those_of_a_plain_forward_and_so_are_gradients(
    make: Callable[..., Verbalizer], activations: Tensor, injection: str, scheme: Decomposition
):
    verbalizer = make(scheme, injection=injection)
    verbalizer.template = early_end(verbalizer, drawn(verbalizer, activations, 1).written())
    rollouts = drawn(verbalizer, activations)
    assert 0 < int(rollouts.ended.sum()) < len(rollouts.ended)
    written = (rollouts.ids, rollouts.mask, activations, 3, 0.8)
    found, expected = (
        verbalizer.sampled_log_probs(*written),
        plain_log_probs(verbalizer, rollouts, activations),
    )
    for other in (expected, rollouts.log_probs):
        assert other.shape == found.shape
        assert float((found - other).detach().abs().max()) < 1e-4
    assert not rollouts.log_probs[~rollouts.mask].any()
    parameters = [p for p in verbalizer.parameters() if p.requires_grad]
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    gradients = [
        torch.autograd.grad((weights * log_probs).sum(), parameters)
        for log_probs in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.abs().max()) + 1e-6)


def test_lengths_are_heard(make: Any, activations: Tensor):
    """Else the schemes above would prove nothing."""
    told = [drawn(make(Graded(lengths)), activations) for lengths in ((1, 1, 1), (0.25, 1, 3))]
    assert told[0].written() != told[1].written()


@pytest.mark.parametrize("scheme", [Graded(), Learned(64)], ids=["unequal lengths", "learned"])
def test_all_engines_agree_on_slots_of_unequal_lengths(
    make: Any, activations: Tensor, scheme: Decomposition
):
    verbalizer = make(scheme)
    found = drawn(verbalizer, activations)
    draws = torch.cat([keyed_draws(("test", row), 3, room_of(verbalizer)) for row in range(ROWS)])
    with own_engine(verbalizer, False) as write:
        others = [write(activations, 3, 0.8, draws, in_place=how) for how in (False, True)]
    for other in others:
        assert torch.equal(other.ids, found.ids)
        torch.testing.assert_close(other.log_probs, found.log_probs, rtol=0, atol=1e-4)


def test_a_single_token_has_a_log_probability_too(make: Any, activations: Tensor):
    verbalizer = make()
    one = Rollouts(*(part[:, :1] for part in drawn(verbalizer, activations)[:3]), torch.ones(1))
    found = verbalizer.sampled_log_probs(one.ids, one.mask, activations, 3, 0.8)
    torch.testing.assert_close(found, one.log_probs, rtol=0, atol=1e-4)


def test_the_end_token_is_counted_once_and_nothing_follows_it(make: Any, activations: Tensor):
    verbalizer = make()
    verbalizer.template = early_end(verbalizer, generate(verbalizer, activations))
    end, rollouts = verbalizer.template.end_id, drawn(verbalizer, activations)
    for ids, mask, ended, text in zip(
        *rollouts[:1], *rollouts[2:], rollouts.written(), strict=True
    ):
        assert ids[mask].tolist()[:-1] == text
        assert (ids[mask][-1] == end) == ended
        assert end not in text
        assert (ids[~mask] == end).all()


def test_same_draws_give_the_same_texts_in_any_batch(make: Any, activations: Tensor):
    verbalizer = make()
    limit = room_of(verbalizer)
    together = drawn(verbalizer, activations).written()
    for row in range(ROWS):
        draws = keyed_draws(("test", row), 3, limit)
        alone = roll_out(verbalizer, activations[row : row + 1], 3, 0.8, draws).written()
        assert alone == together[3 * row : 3 * row + 3]
    assert len({tuple(row) for row in together}) > ROWS


def test_samples_are_distributed_as_those_of_the_public_library(make: Any, activations: Tensor):
    """Chi-square over the first two tokens of 4,000 texts each; the sampler's bias would show."""
    verbalizer, samples = make(max_explanation_tokens=2), 4000
    draws = keyed_draws(("chi",), samples, 3)
    ours = roll_out(verbalizer, activations[:1], samples, 0.5, draws).written()
    torch.manual_seed(0)
    theirs = generate(verbalizer, activations[:1], samples, 0.5)
    for place in (0, 1):
        counts = [
            Counter(row[place] for row in rows if len(row) > place) for rows in (ours, theirs)
        ]
        common = [token for token, count in (counts[0] + counts[1]).items() if count >= 40]
        table = [[count[token] for token in common] for count in counts]
        for row, count in zip(table, counts, strict=True):
            row.append(sum(count.values()) - sum(row))
        kept = [column for column in zip(*table, strict=True) if sum(column)]
        assert len(kept) > 3
        assert chi2_contingency(list(zip(*kept, strict=True))).pvalue > 0.001


def test_choice_by_hand():
    probabilities = torch.tensor([[0.5, 0.0, 0.3, 0.2]]).expand(5, 4)
    draws = torch.tensor([0.0, 0.4999, 0.5001, 0.7999, 0.9999])
    assert choose(probabilities, draws).tolist() == [0, 0, 2, 2, 3]


@pytest.mark.parametrize("vocabulary", [1, 255, 256, 257, 5000])
def test_a_choice_is_that_of_the_whole_running_sum(vocabulary: int):
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 4 * torch.randn(200, vocabulary, generator=generator)
    logits[:, 1:][torch.rand(200, vocabulary - 1, generator=generator) < 0.5] = -torch.inf
    probabilities = logits.softmax(-1)
    draws = torch.rand(200, generator=generator)
    draws[:20], draws[20:40] = 0.0, 1 - 2**-24  # the ends of what a draw can be
    chosen = choose(probabilities, draws)[:, None]
    assert (probabilities.gather(1, chosen) > 0).all()
    after = probabilities.double().cumsum(-1).gather(1, chosen).squeeze(1)
    before = after - probabilities.double().gather(1, chosen).squeeze(1)
    assert (before <= draws + 1e-6).all()
    assert (draws - 1e-6 <= after).all()


def test_draws_are_uniform_and_keyed():
    draws = keyed_draws(("a", 1), 100, 50)
    assert torch.equal(draws, keyed_draws(("a", 1), 100, 50))
    assert not torch.equal(draws, keyed_draws(("a", 2), 100, 50))
    counts = torch.histc(draws, bins=20, min=0, max=1)
    assert chisquare(counts.numpy()).pvalue > 0.001


def test_the_model_attends_as_before_afterwards(make: Any, activations: Tensor):
    verbalizer = make()
    usual = verbalizer.language_model.config._attn_implementation
    roll_out(verbalizer, activations)
    assert verbalizer.language_model.config._attn_implementation == usual
