from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from common.config import AVConfig
from common.errors import NlaError
from common.metrics.fve import squared_errors
from common.models.reconstructor import TruncatedReconstructor
from common.models.templates import AVTemplate
from common.models.verbalizer import Verbalizer
from common.runs import RunFolder
from common.schema import PolicyBatch, readings_of
from common.target.load import load_target
from common.training.context import PolicyContext
from common.training.health import COLLAPSED_ROLLOUTS
from common.training.plateau import Plateau
from common.training.policy import PolicyModule
from common.training.reward import reading_rewards
from common.training.scoring import Scorer
from decomposition.window import Window
from tests.training.runs import (
    CONTEXT,
    ENDING,
    KINDS,
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


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "smoke" / "test" / "control" / "0")


def quiet(module: PolicyModule) -> PolicyModule:
    """A module without a trainer: what it would log goes into `told`."""
    module.told = []  # type: ignore[attr-defined]
    module.log_metrics = lambda values, _: module.told.append(values)  # type: ignore[method-assign]
    module.all_gather = lambda value: value[None]  # type: ignore[method-assign]
    module._collapse.update = lambda *_: ""  # type: ignore[method-assign]
    return module


def made(target_folder: Path, context: PolicyContext = CONTEXT, **settings: Any) -> PolicyModule:
    torch.manual_seed(0)
    return quiet(policy(target_folder, context, **settings)[0])


def optimise(module: PolicyModule, steps: int) -> None:
    configured = module.configure_optimizers()
    optimizer = configured["optimizer"]
    for step in range(steps):
        optimizer.zero_grad()
        module.training_step(BATCH, step * module.batches_together).backward()
        optimizer.step()


class Preferring(Scorer):
    """Rewards one first token, whatever the AR says."""

    token: int

    def _rewards(self, batch: Any, reads: Any, rollouts: Any) -> Tensor:
        return (rollouts.ids[:, 0] == self.token).float()


def preferring(target_folder: Path, kl: float, rate: float) -> tuple[PolicyModule, int, Tensor]:
    """The module, what it prefers, and the probabilities of first tokens for each activation."""
    module = made(
        target_folder,
        trained="av",
        kl=kl,
        optimizer_steps=1,
        samples=16,
        learning_rate=rate,
        steps=100,
    )
    module.verbalizer.config = module.verbalizer.config.replace(max_explanation_tokens=1)
    module.config = module.config.replace(warmup_fraction=0.0)
    module.scorer.__class__ = Preferring
    token = module.scorer.token = int(first_token(module).argmax(1).mode().values)  # type: ignore[attr-defined]
    return module, token, first_token(module)


def first_token(module: PolicyModule) -> Tensor:
    prompt = torch.tensor(module.verbalizer.template.prompt_ids).expand(len(VECTORS), -1)
    with torch.no_grad():
        logits = module.verbalizer.language_model(
            inputs_embeds=module.verbalizer.embed(prompt, VECTORS)
        ).logits
    return (logits[:, -1] / module.config.temperature).softmax(-1)


@pytest.fixture
def anything_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No explanation is invalid."""

    def unchecked(rewards: Tensor, valid: Tensor, _: float) -> tuple[Tensor, Tensor]:
        return rewards, torch.ones_like(valid)

    monkeypatch.setattr("common.training.scoring.checked_rewards", unchecked)


@pytest.mark.usefixtures("anything_goes")
def test_what_is_rewarded_becomes_probable(target_folder: Path):
    module, token, before = preferring(target_folder, kl=0.0, rate=1e-2)
    assert float(before[:, token].max()) < 0.5
    optimise(module, 30)
    assert float(first_token(module)[:, token].min()) > 0.9


@pytest.mark.usefixtures("anything_goes")
def test_a_large_kl_pins_the_policy(target_folder: Path):
    moved = {}
    for kl in (0.0, 1e3):
        module, _, before = preferring(target_folder, kl=kl, rate=1e-3)
        optimise(module, 20)
        moved[kl] = float((first_token(module) - before).abs().max())
    assert moved[0.0] > 0.5
    assert moved[1e3] < 0.1


def test_fresh_adapters_leave_the_warm_start_as_it_is(target_folder: Path):
    module = made(target_folder)
    scored = module._rollout(BATCH, 0)
    assert scored.reference is not None
    torch.testing.assert_close(scored.reference, scored.rollouts.log_probs, atol=1e-4, rtol=0)


def test_advantages_sum_to_zero_in_each_group(target_folder: Path):
    weights = made(target_folder)._rollout(BATCH, 0).weights.view(4, 4)
    assert weights.abs().sum() > 0
    assert weights.sum(1).tolist() == pytest.approx([0] * 4, abs=1e-5)


def test_later_tokens_are_credited_with_what_they_add(target_folder: Path):
    """Written again as the AR sees it: the reward of all tokens minus that of the first three."""
    module = made(target_folder, credit_after=3, scale_advantages=False)
    scored = module._rollout(BATCH, 0)
    beginnings = [ids[:3] for ids in scored.rollouts.written()]
    texts = [text.strip() for text in module.verbalizer.tokenizer.batch_decode(beginnings)]
    with torch.no_grad():
        read = module.reconstructor(module.reconstructor.encode(readings_of(texts)))
    earlier = 2 * torch.cosine_similarity(read, VECTORS.repeat_interleave(4, 0)) - 2
    for columns, rewards in (
        (slice(0, 3), scored.rewards),
        (slice(3, None), scored.rewards - earlier),
    ):
        groups = rewards.view(4, 4)
        expected = (groups - groups.mean(1, keepdim=True)).view(-1, 1)
        found = scored.weights[:, columns]
        torch.testing.assert_close(found, expected.expand_as(found), atol=1e-4, rtol=0)
    assert scored.weights.shape == scored.rollouts.ids.shape
    optimise(module, 1)


def test_credit_by_token_is_for_whole_explanations(target_folder: Path):
    with pytest.raises(ValueError, match="credit_after"):
        made(target_folder, credit_after=3, truncation=4)


def test_invalid_explanations_get_the_worst_reward_and_teach_the_ar_nothing(target_folder: Path):
    module = made(target_folder)
    scored = module._rollout(BATCH, 0)
    assert 0 < int(scored.valid.sum()) < len(scored.valid)
    assert (scored.rewards[~scored.valid] <= -2).all()
    nobody = scored._replace(valid=torch.zeros_like(scored.valid))
    loss = module._reconstruction_loss(nobody, VECTORS, range(4))
    loss.backward()
    assert loss.item() == 0


def test_rewards_are_minus_the_normalised_error_of_the_live_ar(target_folder: Path):
    module = made(target_folder, length_penalty=0.5)
    scored = module._rollout(BATCH, 0)
    row = int(scored.valid.nonzero()[0])
    with torch.no_grad():
        read = module.reconstructor(module.reconstructor.encode([scored.readings[row]]))[0]
    cosine = torch.cosine_similarity(read, VECTORS[row // 4], dim=0)
    length = int(scored.rollouts.mask[row].sum())
    expected = -2 * (1 - float(cosine)) - 0.5 * length / 8
    assert float(scored.rewards[row]) == pytest.approx(expected, abs=1e-4)


def test_truncation_is_shared_in_a_group(target_folder: Path):
    module = made(target_folder, truncation=3)
    scored = module._rollout(BATCH, 0)
    written, tokenizer = scored.rollouts.written(), module.verbalizer.tokenizer
    for group in range(4):
        budgets = set(range(1, 4))
        for row in range(4 * group, 4 * group + 4):
            fits = {
                budget
                for budget in budgets
                if tokenizer.decode(written[row][:budget]).strip() == scored.readings[row].text
            }
            budgets &= fits
        assert budgets, "one budget explains all texts of the group"
        rows = scored.weights[4 * group : 4 * group + 4]
        earning = rows.ne(0).any(0).nonzero()
        assert not len(earning) or int(earning.max()) < max(budgets), "the rest was not read"


def test_micro_batches_give_the_same_gradient_and_tell_of_all_parts(target_folder: Path):
    gradients, told = [], []
    for micro_batches in (1, 2):
        module = made(target_folder, optimizer_steps=1, micro_batches=micro_batches, kl=0.1)
        for part in range(micro_batches):
            (module.training_step(BATCH, part) / micro_batches).backward()
        gradients.append({n: p.grad for n, p in module.named_parameters() if p.requires_grad})
        told.append(module.told)
    for name in ("rl_policy_loss", "rl_kl", "rl_sampling_drift"):
        whole, parts = ([values[name] for values in one if name in values] for one in told)
        assert len(whole) == len(parts) == 1
        torch.testing.assert_close(whole[0], parts[0], rtol=1e-3, atol=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    # A part's share of the AR's loss is a mean over its own valid rows, weighted by their number.
    for name, gradient in gradients[0].items():
        assert gradient is not None
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("trained", ["both", "av", "ar"])
def test_only_what_is_trained_moves(target_folder: Path, trained: str):
    module = made(target_folder, trained=trained, optimizer_steps=1)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimise(module, 2)
    moved = {
        name.split(".")[1]
        for name, p in module.named_parameters()
        if name.startswith("model.") and not torch.equal(p, before[name])
    }
    assert moved == {"both": {"av", "ar"}, "av": {"av"}, "ar": {"ar"}}[trained]


def test_best_of_group_learns_from_the_best_of_each_group_alone(target_folder: Path):
    module = made(target_folder, algorithm="best_of", kl=0.0, trained="av")
    scored = module._rollout(BATCH, 0)
    groups = torch.where(scored.valid, scored.rewards, -torch.inf).view(4, 4)
    best = [4 * group + int(groups[group].argmax()) for group in range(4)]
    heard = [row for row in best if scored.valid[row]]
    assert heard, "nothing is asserted below"
    assert scored.weights.nonzero()[:, 0].tolist() == heard
    ids, sampled, mask = (part[heard] for part in scored.rollouts[:3])
    expected = -((sampled * mask).sum(1) / mask.sum(1)).sum() / 4
    loss = module._imitation_loss(scored, VECTORS, range(4))
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=0)
    chosen = (ids, mask, VECTORS[[row // 4 for row in heard]], 1, 0.25)

    def log_likelihood() -> float:
        with torch.no_grad():
            return float((module.verbalizer.sampled_log_probs(*chosen) * mask).sum())

    before = log_likelihood()
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        module._imitation_loss(scored, VECTORS, range(4)).backward()
        optimizer.step()
    assert log_likelihood() > before


def test_best_of_group_wants_neither_kl_nor_credit(target_folder: Path):
    with pytest.raises(ValueError, match="kl are for grpo"):
        made(target_folder, algorithm="best_of", kl=0.1)


def test_the_second_step_on_a_rollout_is_weighted_by_the_ratio(target_folder: Path):
    """Its policy is no longer the one that sampled: written again from the log-probabilities."""
    module = made(target_folder, trained="av", kl=0.0, clip=0.2, learning_rate=1e-2)
    scored = module._rollout(BATCH, 0)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=3.0)
    module._policy_loss(scored, VECTORS, range(2)).backward()
    optimizer.step()
    ids, sampled, mask = (part[8:] for part in scored.rollouts[:3])
    with torch.no_grad():
        now = module.verbalizer.sampled_log_probs(ids, mask, VECTORS[2:], 4, 0.25)
        found = module._policy_loss(scored, VECTORS, range(2, 4))
    ratio = (now - sampled).exp()
    assert float(((ratio - 1).abs() * mask).max()) > 0.25, "the step was too small to tell"
    gain = torch.minimum(ratio * scored.weights[8:], ratio.clamp(0.8, 1.2) * scored.weights[8:])
    expected = -((gain * mask).sum(1) / mask.sum(1)).mean()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_splice_costs_reward(target_folder: Path):
    context = CONTEXT._replace(splice=lambda _, read: torch.full((len(read),), 2.0))
    plain, spliced = made(target_folder), made(target_folder, context, splice=0.1)
    rewards = [module._rollout(BATCH, 0) for module in (plain, spliced)]
    lost = (rewards[0].rewards - rewards[1].rewards)[rewards[0].valid]
    assert lost.tolist() == pytest.approx([0.2] * len(lost), abs=1e-5)


def test_an_ar_learns_in_training_mode_and_rewards_in_evaluation(target_folder: Path):
    """One that comes from a checkpoint is in evaluation, where its dropout would be off."""
    verbalizer, reconstructor = pair(target_folder)
    module = quiet(PolicyModule(verbalizer, reconstructor.eval(), rl_config(), CONTEXT))
    modes: list[tuple[bool, bool]] = []

    def note(model: Any, _: Any) -> None:
        modes.append((torch.is_grad_enabled(), model.training))

    reconstructor.register_forward_pre_hook(note)
    module.training_step(BATCH, 0).backward()
    assert {(True, True), (False, False)} == {*modes}
    assert not module.untrained.training


def test_an_ar_that_answers_nothing_finite_is_named(target_folder: Path):
    module = made(target_folder)
    with torch.no_grad():
        module.reconstructor.head.weight.fill_(float("nan"))
    with pytest.raises(NlaError, match="ar_learning_rate"):
        module._rollout(BATCH, 0)


def test_a_collapsed_policy_ends_the_run(target_folder: Path, folder: RunFolder, monkeypatch: Any):
    """No explanation ever ends: the run stops, says why, and keeps what it has."""

    def endless(folder: Path) -> Any:
        module, collate = policy(folder, steps=COLLAPSED_ROLLOUTS + 2, optimizer_steps=1)
        module.verbalizer.template = AVTemplate.of(module.verbalizer.tokenizer)
        return module, collate

    monkeypatch.setitem(KINDS, "policy", endless)
    module, fitted = train("policy", target_folder, folder)
    assert module.stopped.startswith("collapsed")
    assert fitted["stopped"] == module.stopped
    assert module.global_step < module.total_steps


def test_an_ar_that_reads_ever_worse_ends_the_run(
    target_folder: Path, folder: RunFolder, monkeypatch: Any
):
    def diverging(folder: Path) -> Any:
        shape = {"steps": COLLAPSED_ROLLOUTS + 2, "optimizer_steps": 1, "trained": "ar"}
        return policy(folder, CONTEXT._replace(variance=1.0), **shape)  # any answer is far off

    monkeypatch.setitem(KINDS, "policy", diverging)
    module, _ = train("policy", target_folder, folder)
    assert "FVE below" in module.stopped
    assert module.global_step == COLLAPSED_ROLLOUTS


def test_a_run_that_has_flattened_stays_ended_when_it_is_resumed(
    target_folder: Path, folder: RunFolder, monkeypatch: Any
):
    """At a rate of next to nothing, the look before the first step is the best."""

    def flat(folder: Path) -> Any:
        return policy(folder, learning_rate=1e-12, ar_learning_rate=1e-12)

    monkeypatch.setitem(KINDS, "policy", flat)
    first, _ = train("policy", target_folder, folder, callbacks=[Plateau(2)])
    assert first.global_step == 8, "two looks of three, four steps apart"
    again = Plateau(2)
    second, _ = train("policy", target_folder, folder, callbacks=[again])
    assert second.global_step == 8
    assert again.facts == {"flattened": "no better dev FVE in 2 looks in a row"}


def test_a_better_text_is_worth_more_to_a_trained_ar(target_folder: Path, folder: RunFolder):
    """The text of an activation against that of another."""
    module, _ = train("ar", target_folder, folder)
    examples, store = pairs(), Store(pairs())
    vectors = store[[example.key for example in examples]]
    with torch.no_grad():
        read = module.model(
            module.model.encode(readings_of([example.text for example in examples]))
        )
    own, others = (reading_rewards(texts, vectors, "mse") for texts in (read, read.roll(1, 0)))
    assert own.mean() > others.mean()
    assert float((own > others).float().mean()) > 0.8, "chance is one half"


def test_av_and_ar_may_have_schedules_of_their_own(target_folder: Path):
    module = made(target_folder, schedule="constant", ar_schedule="cosine", warmup_fraction=0.0)
    av, ar = (rate.schedule for rate in module.rates())
    last = module.total_steps - 1
    assert av(last) == 1
    assert ar(last) < 0.1


def test_every_step_is_monitored(target_folder: Path, folder: RunFolder):
    module, fitted = train("policy", target_folder, folder)
    assert len(metrics(folder, "rl_reward")) == 12, "each of the two optimiser steps"
    assert len(metrics(folder, "dev_fve")) == 4, "before the first step and three times since"
    for name in ("rl_cap_hit", "rl_repetition", "rl_distinct_2", "rl_kl", "rl_sampling_drift"):
        assert metrics(folder, name), name
    drift = metrics(folder, "rl_sampling_drift")
    assert drift[0] < 1e-4
    assert max(drift[::2]) < 1e-4, "of each rollout's first step: adapters that have learned"
    assert fitted["dev_fve"] == metrics(folder, "dev_fve")[-1]
    assert isinstance(module, L.LightningModule)
    assert module.verbalizer.template.end_id == ENDING


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_names_the_knob(
    target_folder: Path, folder: RunFolder, monkeypatch: Any, error: RuntimeError
):
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(PolicyModule, "training_step", full)
    with pytest.raises(NlaError, match="micro_batches"):
        train("policy", target_folder, folder)


def test_an_av_reads_its_window_and_is_rewarded_for_the_activation(target_folder: Path):
    """The wider inputs end in the activations, which alone are to be given back."""
    before = 10 * torch.randn(4, 64, generator=torch.Generator().manual_seed(4))
    target, config = (
        load_target(target_folder),
        AVConfig(examples=8, learning_rate=1e-3, lora_rank=4, max_explanation_tokens=8),
    )
    verbalizer = Verbalizer(target.model, target.tokenizer, config, 10.0, Window(2))
    reconstructor = TruncatedReconstructor(target.model, target.tokenizer, 2, 32)
    settings = rl_config(steps=2, optimizer_steps=1, must_end=False)
    module = quiet(PolicyModule(verbalizer, reconstructor, settings, CONTEXT))
    batch = PolicyBatch(KEYS, VECTORS, torch.cat([before, VECTORS], 1))
    scored = module.scorer(batch, 0)
    read = reconstructor(reconstructor.encode(scored.readings))
    truth = VECTORS.repeat_interleave(4, 0)
    torch.testing.assert_close(scored.errors, squared_errors(read, truth), rtol=1e-3, atol=1e-3)
    swapped = batch._replace(inputs=torch.cat([before.roll(1, 0), VECTORS], 1))
    assert module.scorer(swapped, 0).texts != scored.texts
    module.training_step(batch, 0).backward()
