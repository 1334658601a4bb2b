"""What an experiment may put between AV, AR and reward."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.models.reconstructor import Reconstructor
from common.runs import RunFolder
from common.schema import PolicyBatch, Reading, readings_of
from common.training.context import PolicyContext
from common.training.policy import PolicyModule
from common.training.reward import Scored
from common.training.rewarder import Ensemble, FrozenReader
from tests.training.runs import (
    CONTEXT,
    Store,
    metrics,
    pair,
    pairs,
    policy,
    rl_config,
    train,
    unwindowed,
)

KEYS = [f"{number}:16" for number in range(4)]
VECTORS = 10 * torch.randn(4, 64, generator=torch.Generator().manual_seed(3))
BATCH = unwindowed(KEYS, VECTORS)
REPEATED = [key for key in KEYS for _ in range(4)]
AT_ONCE, IN_PARTS = {"optimizer_steps": 1}, {"optimizer_steps": 2}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "smoke" / "test" / "control" / "0")


def scored_by(target_folder: Path, context: Any, **settings: Any) -> tuple[PolicyModule, Scored]:
    torch.manual_seed(0)
    module, _ = policy(target_folder, context, **settings)
    return module, module.scorer(BATCH, 0)


def chart(readings: Sequence[Reading]) -> Tensor:
    """A vector for each text by its letters, without any weights."""
    counts = [[float(r.text.count(chr(97 + place % 26))) for place in range(64)] for r in readings]
    return 1.0 + torch.tensor(counts)


def shouted(texts: list[str], keys: Sequence[str]) -> list[str]:
    return [f"{key}: {text.upper()}" for text, key in zip(texts, keys, strict=True)]


def rewards_of(model: Reconstructor, readings: list[Reading]) -> Tensor:
    """Minus the squared error of normalised vectors: 2 cosine - 2."""
    with torch.no_grad():
        read = model(model.encode(readings))
    return 2 * torch.cosine_similarity(read, VECTORS.repeat_interleave(4, 0)) - 2


@pytest.mark.parametrize("shape", [AT_ONCE, IN_PARTS])
def test_the_ar_reads_what_comes_out_of_the_channel(target_folder: Path, shape: dict[str, int]):
    plain, without = scored_by(target_folder, CONTEXT, **shape)
    module, scored = scored_by(target_folder, CONTEXT._replace(channel=shouted), **shape)
    assert readings_of(scored.texts) == readings_of(without.texts) == without.readings
    assert torch.equal(scored.rollouts.log_probs, without.rollouts.log_probs)
    assert torch.equal(scored.valid, without.valid)
    assert scored.readings == readings_of(shouted(scored.texts, REPEATED))
    expected = rewards_of(module.reconstructor, scored.readings)[scored.valid]
    torch.testing.assert_close(scored.rewards[scored.valid], expected, atol=1e-4, rtol=0)
    assert not torch.allclose(scored.rewards, without.rewards, atol=1e-3)
    losses = []
    for one, of in ((plain, without), (module, scored)):
        losses.append(float(one._reconstruction_loss(of, VECTORS, range(4)).detach()))
    valid_share = float(scored.valid.float().mean())
    assert losses[1] == pytest.approx(-float(expected.mean()) * valid_share, abs=1e-4)
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)


def test_first_tokens_are_credited_with_what_the_ar_reads_of_them(target_folder: Path):
    seen = []

    def channel(texts: list[str], keys: Sequence[str]) -> list[str]:
        assert list(keys) == REPEATED
        seen.append(texts)
        return shouted(texts, keys)

    context = CONTEXT._replace(channel=channel)
    shape = {"credit_after": 3, "scale_advantages": False}
    module, scored = scored_by(target_folder, context, **shape)
    whole, first = seen
    assert whole == scored.texts
    assert all(text.startswith(part) for text, part in zip(whole, first, strict=True))
    earlier = rewards_of(module.reconstructor, readings_of(shouted(first, REPEATED)))
    rest = (scored.rewards - earlier).view(4, 4)
    expected = (rest - rest.mean(1, keepdim=True)).flatten()
    torch.testing.assert_close(scored.weights[:, 3], expected, atol=1e-4, rtol=0)


def test_dev_texts_are_the_avs_and_dev_fve_is_behind_the_channel(target_folder: Path):
    found = []
    for channel in (CONTEXT.channel, shouted):
        torch.manual_seed(0)
        module, _ = policy(target_folder, CONTEXT._replace(channel=channel))
        module.log_metrics = lambda values, *_, **__: found.append(values)  # type: ignore[method-assign]
        found.append(module.validation_step(BATCH, 0))
    plain, texts, loud, again = found
    assert texts == again
    assert plain["dev_kl_greedy"] == loud["dev_kl_greedy"]
    assert plain["dev_quote_share"] == loud["dev_quote_share"]
    for name in ("dev_fve", "dev_fve_untrained_ar"):
        assert float(plain[name]) != pytest.approx(float(loud[name]), abs=1e-3)


def test_a_channel_that_loses_texts_is_a_mistake(target_folder: Path):
    with pytest.raises(AssertionError, match="as many texts"):
        scored_by(target_folder, CONTEXT._replace(channel=lambda texts, _: texts[1:]))


@pytest.mark.parametrize("shape", [AT_ONCE, {**IN_PARTS, "credit_after": 3}])
def test_a_rewarder_that_is_the_ar_gives_the_rewards_of_the_ar(
    target_folder: Path, shape: dict[str, int]
):
    def context(reconstructor: Reconstructor) -> PolicyContext:
        reader = FrozenReader(copy.deepcopy(reconstructor), "32-true")
        return CONTEXT._replace(rewarder=Ensemble(reader))

    _, own = scored_by(target_folder, CONTEXT, **shape)
    _, same = scored_by(target_folder, context, **shape)
    torch.testing.assert_close(same.rewards, own.rewards, atol=1e-5, rtol=0)
    torch.testing.assert_close(same.weights, own.weights, atol=1e-3, rtol=0)
    assert (same.reconstructions is None) == (own.reconstructions is None)


def test_the_reward_is_the_mean_over_an_ensemble(target_folder: Path):
    def splice(_: list[str], read: Tensor) -> Tensor:
        return read.abs().mean(1)

    def context(reconstructor: Reconstructor) -> PolicyContext:
        reader = FrozenReader(copy.deepcopy(reconstructor), "32-true")
        readers = {"own": (reader,), "chart": (chart,), "both": (reader, chart)}[named]
        return CONTEXT._replace(rewarder=Ensemble(*readers), splice=splice)

    found = {}
    for named in ("own", "chart", "both"):
        module, found[named] = scored_by(target_folder, context, splice=0.1, kl=0.0)
        with torch.no_grad():
            read = module.reconstructor(
                module.reconstructor.encode(readings_of(found[named].texts))
            )
        errors = 64 * (2 - 2 * torch.cosine_similarity(read, VECTORS.repeat_interleave(4, 0)))
        torch.testing.assert_close(found[named].errors, errors, atol=1e-2, rtol=0)
    rewards = {name: scored.rewards[scored.valid] for name, scored in found.items()}
    mean = (rewards["own"] + rewards["chart"]) / 2
    torch.testing.assert_close(rewards["both"], mean, atol=1e-5, rtol=0)
    assert not torch.allclose(rewards["own"], rewards["chart"], atol=1e-2)


def test_an_av_learns_from_a_reader_without_weights(target_folder: Path, folder: RunFolder):
    seen = []

    def build(place: Path) -> Any:
        context = CONTEXT._replace(
            rewarder=Ensemble(chart), after_rollout=lambda *rollout: seen.append(rollout)
        )
        config = rl_config(trained="av", credit_after=3, steps=2)
        return PolicyModule(pair(place)[0], None, config, context), unwindowed

    module, fitted = train(build, target_folder, folder)
    assert isinstance(module, PolicyModule)
    assert [number for _, _, number in seen] == [0, 1]
    for (scored, batch, _), logged in zip(seen, metrics(folder, "rl_fve")[::2], strict=True):
        truth = batch.activations.repeat_interleave(4, 0)
        expected = 2 * torch.cosine_similarity(chart(readings_of(scored.texts)), truth) - 2
        found = scored.rewards[scored.valid]
        torch.testing.assert_close(found, expected[scored.valid], atol=1e-4, rtol=0)
        assert logged == pytest.approx(1 + float(expected.mean()), abs=1e-4)
    assert len(metrics(folder, "dev_fve")) > 1
    assert "dev_fve_untrained_ar" not in fitted
    assert {name.split(".")[1] for name, _ in module.named_parameters()} == {"av"}
    assert all(metrics(folder, "rl_policy_loss"))


@pytest.mark.parametrize("settings", [{"trained": "both"}, {"trained": "av"}])
def test_somebody_has_to_read(target_folder: Path, settings: dict[str, str]):
    rewarder = Ensemble(chart) if settings["trained"] == "both" else None
    with pytest.raises(ValueError, match="has a rewarder"):
        PolicyModule(
            pair(target_folder)[0],
            None,
            rl_config(**settings),
            CONTEXT._replace(rewarder=rewarder),
        )


def test_each_rollout_is_told_once_with_its_number(target_folder: Path, folder: RunFolder):
    seen: list[tuple[Scored, PolicyBatch, int]] = []

    def build(place: Path) -> Any:
        context = CONTEXT._replace(after_rollout=lambda *rollout: seen.append(rollout))
        return policy(place, context, steps=3, micro_batches=2)

    train(build, target_folder, folder)
    assert [number for _, _, number in seen] == [0, 1, 2]
    store = Store(pairs())
    for scored, batch, _ in seen:
        assert torch.equal(store[batch.keys], batch.activations)
        assert len(scored.texts) == 4 * len(batch.keys)
        assert scored.reference is not None
    rewards = [float(scored.rewards.mean()) for scored, _, _ in seen]
    assert metrics(folder, "rl_reward")[::2] == pytest.approx(rewards)
