"""Reinforcement learning: the AV is rewarded when the AR reads its words, and the AR learns along.

One LightningModule, one optimiser with a rate for each model, and ordinary automatic optimisation,
so that precision, strategies, checkpoints and resume are Lightning's.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.config import RLConfig
from common.device import in_bfloat16
from common.metrics.fve import squared_errors
from common.metrics.quotes import quote_share
from common.models.learners import prepare_learners
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.rollout.engine import Rollouts, keyed_draws, room_of
from common.rollout.reading import reconstruct
from common.rollout.sampler import texts_of
from common.schema import PolicyBatch, readings_of
from common.training.credit import first_tokens, token_weights
from common.training.health import SIGNS, Health, monitors
from common.training.module import SCHEDULES, Rate, TrainingModule
from common.training.objectives import clipped_loss, kl_estimate, kl_loss
from common.training.reward import (
    Scored,
    Surroundings,
    checked_rewards,
    reading_rewards,
    truncation_budgets,
)

READ_AT_ONCE = 64
"""Explanations in a batch of the AR that scores them."""


class PolicyModule(TrainingModule):
    """Joint training of AV and AR; the dev metric is `dev_fve`, of greedy explanations."""

    looks_first = True
    less_memory = (
        "raise rl.micro_batches in the profile, or lower rl.activations, rl.samples or, where it"
        " ran out at a look, rollout.batch_size"
    )

    def __init__(
        self,
        verbalizer: Verbalizer,
        reconstructor: Reconstructor,
        config: RLConfig,
        around: Surroundings,
    ) -> None:
        """`verbalizer` is the warm start; it gets fresh adapters."""
        models = nn.ModuleDict({"av": verbalizer, "ar": reconstructor})
        super().__init__(models, config, config.steps * config.optimizer_steps)
        self.config: RLConfig = config
        self.verbalizer, self.reconstructor = verbalizer, reconstructor
        self.around = around
        self.accumulate = config.micro_batches
        self.batches_together = config.optimizer_steps * config.micro_batches
        prepare_learners(verbalizer, reconstructor, config)
        if in_bfloat16(around.precision):  # here only: a release takes the weights as they are
            freeze_in_bfloat16(verbalizer)
        # In a tuple it is no part of the module: neither trained nor in a checkpoint.
        self._untrained = (copy.deepcopy(reconstructor).requires_grad_(False).eval(),)
        self._scored: Scored | None = None
        self._health = Health(config.trained != "ar")
        self._told: dict[str, list[Tensor]] = {}
        self.stopped = ""

    @property
    def untrained(self) -> Reconstructor:
        """The AR as it was before."""
        return self._untrained[0]

    def rates(self) -> list[Rate]:
        """One for each model that is trained."""
        config, total = self.config, self.total_steps
        av = [p for p in self.verbalizer.parameters() if p.requires_grad]
        ar = [p for p in self.reconstructor.parameters() if p.requires_grad]

        def schedule(name: str, warmup_fraction: float) -> Callable[[int], float]:
            return lambda step: SCHEDULES[name](step, total, warmup_fraction)

        av_schedule = schedule(config.schedule, config.warmup_fraction)
        ar_schedule = schedule(config.ar_schedule or config.schedule, config.ar_warmup_fraction)
        named = [
            Rate(av, config.learning_rate, av_schedule),
            Rate(ar, config.ar_learning_rate, ar_schedule),
        ]
        return [rate for rate in named if rate.parameters]

    def training_step(self, batch: PolicyBatch, batch_index: int) -> Tensor:
        """Policy loss plus the AR's loss on the same samples: their parameters are disjoint."""
        number, part = divmod(batch_index, self.batches_together)
        if part == 0 or self._scored is None:
            self._scored = self._rollout(batch, number)
        size = len(batch.keys) // self.batches_together
        groups = range(part * size, (part + 1) * size)
        loss = torch.zeros((), device=self.device)
        if self.config.trained != "ar":
            best_of = self.config.algorithm == "best_of"
            learn = self._imitation_loss if best_of else self._policy_loss
            loss = loss + learn(self._scored, batch.activations, groups)
        if self.config.trained != "av":
            loss = loss + self._reading_loss(self._scored, batch.activations, groups)
        self._keep({"train_loss": loss})
        if (part + 1) % self.accumulate == 0:  # Lightning would log the last part alone
            self.log_metrics({name: torch.stack(v).mean() for name, v in self._told.items()}, 1)
            self._told.clear()
        if self.stopped and part == self.batches_together - 1:
            self.trainer.should_stop = True
        return loss

    def validation_step(self, batch: PolicyBatch, batch_index: int) -> dict[str, list[str]]:
        """Greedy explanations, read by the AR as it is now and by the AR of the warm start."""
        low = in_bfloat16(self.around.precision)
        with self.around.engine(self.verbalizer, low) as write:
            rollouts = write(batch.activations)
        texts = texts_of(self.verbalizer, rollouts)
        own = self._errors(self.reconstructor, texts, batch.activations)
        other = self._errors(self.untrained, texts, batch.activations)
        values = {
            "dev_fve": 1 - own.mean() / self.around.variance,
            "dev_fve_untrained_ar": 1 - other.mean() / self.around.variance,
            "dev_quote_share": sum(map(quote_share, texts)) / len(texts),
            "dev_ended": rollouts.ended.float().mean(),
            "dev_length": rollouts.mask.sum(1).float().mean(),
        }
        if self.config.trained != "ar":
            written = (rollouts.ids, rollouts.mask, batch.activations, 1)
            now, before = self.verbalizer.sampled_log_probs(*written), self._reference(*written)
            values["dev_kl_greedy"] = kl_estimate(now, before, rollouts.mask).mean()
        self.log_metrics(values, len(texts), bar=True)
        return {"texts": texts}

    def _rollout(self, batch: PolicyBatch, number: int) -> Scored:
        """Sample and score; the draws are keyed, so that a resumed run samples the same."""
        config, av = self.config, self.verbalizer
        place = (self.around.seed, number)
        draws = [
            keyed_draws((*place, key, batch.keys[:index].count(key)), config.samples, room_of(av))
            for index, key in enumerate(batch.keys)
        ]
        with self.around.engine(av, in_bfloat16(self.around.precision)) as write:
            drawn = torch.cat(draws)
            rollouts = write(batch.activations, config.samples, config.temperature, drawn)
        texts = texts_of(av, rollouts)
        valid = torch.tensor([bool(text) for text in texts], device=self.device)
        if config.must_end:
            valid = valid & rollouts.ended
        read, budgets = texts, None
        if config.truncation:
            budgets = truncation_budgets(place, batch.keys, config.truncation)
            budgets = budgets.repeat_interleave(config.samples)
            read = texts_of(av, rollouts, budgets.tolist())
        answers = self._answers(read)
        rewards = self._rewards(batch, answers.detach(), rollouts)
        shape = (-1, config.samples)
        grouped = checked_rewards(rewards.view(shape), valid.view(shape), config.invalid_reward)
        rewards, valid = (part.flatten() for part in grouped)
        worth = partial(self._worth, batch, rollouts)
        weights = token_weights(config, rollouts, *grouped, worth)
        if budgets is not None:  # what was not read has earned nothing
            weights = weights * first_tokens(rollouts, budgets)
        reference = None
        if config.kl and config.trained != "ar":
            written = (rollouts.ids, rollouts.mask, batch.activations, config.samples)
            reference = self._reference(*written, config.temperature)
        truth = batch.activations.repeat_interleave(config.samples, 0)
        errors = squared_errors(answers.detach(), truth).nanmean()
        self._watch(rollouts, texts, rewards, valid, 1 - errors / self.around.variance)
        kept = answers if answers.requires_grad else None
        return Scored(rollouts, read, valid, rewards, weights, reference, kept)

    def _answers(self, texts: list[str]) -> Float[Tensor, "rows d_model"]:
        """The AR's; with gradients where it learns from a rollout in one piece: it reads once."""
        in_one_piece = self.batches_together == 1 and not self.reconstructor.noisy_in_training
        if in_one_piece and self.config.trained != "av":
            return self.reconstructor(self.reconstructor.encode(readings_of(texts)).to(self.device))
        return self._read(self.reconstructor, texts).to(self.device)

    def _rewards(
        self, batch: PolicyBatch, read: Tensor, rollouts: Rollouts
    ) -> Float[Tensor, " rows"]:
        """What each answer of the AR is worth; not finite where it is not."""
        activations = batch.activations.repeat_interleave(self.config.samples, 0)
        rewards = reading_rewards(read, activations, self.config.reward)
        share = rollouts.mask.sum(1) / self.verbalizer.config.max_explanation_tokens
        rewards = rewards - self.config.length_penalty * share
        if self.config.splice:
            assert self.around.splice, "rl.splice needs the target"
            rewards = rewards - self.config.splice * self.around.splice(batch.keys, read).to(share)
        return rewards

    def _worth(self, batch: PolicyBatch, rollouts: Rollouts, count: int) -> Float[Tensor, " rows"]:
        """The reward of the first `count` tokens of each explanation."""
        beginnings = texts_of(self.verbalizer, rollouts, [count] * len(rollouts.ids))
        read = self._read(self.reconstructor, beginnings)
        activations = batch.activations.repeat_interleave(self.config.samples, 0)
        return reading_rewards(read.to(self.device), activations, self.config.reward)

    def _policy_loss(self, scored: Scored, activations: Tensor, groups: range) -> Tensor:
        config, rows = self.config, _rows(groups, self.config.samples)
        ids, sampled, mask = (part[rows] for part in scored.rollouts[:3])
        vectors = activations[groups.start : groups.stop]
        written = (ids, mask, vectors, config.samples)
        log_probs = self.verbalizer.sampled_log_probs(*written, config.temperature)
        # A single step is on policy: the ratio is 1, whatever precision sampled.
        old = log_probs.detach() if config.optimizer_steps == 1 else sampled
        loss = clipped_loss(log_probs, old, mask, scored.weights[rows], config.clip)
        values = {"rl_policy_loss": loss.mean()}
        drift = ((log_probs.detach() - sampled).abs() * mask).sum() / mask.sum()
        values["rl_sampling_drift"] = drift  # what merged weights and precision change
        if scored.log_probs is not None:
            reference = scored.log_probs[rows]
            loss = loss + config.kl * kl_loss(log_probs, reference, mask)
            values["rl_kl"] = kl_estimate(log_probs.detach(), reference, mask).mean()
        self._keep(values)
        return loss.mean()

    def _imitation_loss(self, scored: Scored, activations: Tensor, groups: range) -> Tensor:
        """Minus the log-probability of the best of each group; of a group without any, nothing."""
        samples = self.config.samples
        best = scored.weights.amax(1).view(-1, samples).argmax(1)
        rows = [group * samples + int(best[group]) for group in groups]
        ids, mask = scored.rollouts.ids[rows], scored.rollouts.mask[rows]
        written = (ids, mask, activations[groups.start : groups.stop], 1)
        log_probs = self.verbalizer.sampled_log_probs(*written, self.config.temperature)
        loss = -((log_probs * mask * scored.weights[rows]).sum(1) / mask.sum(1)).mean()
        self._keep({"rl_policy_loss": loss})
        return loss

    def _reading_loss(self, scored: Scored, activations: Tensor, groups: range) -> Tensor:
        """The AR's own loss terms on the valid explanations, as a mean over all."""
        rows = _rows(groups, self.config.samples)
        valid = scored.valid[rows].nonzero().squeeze(1).tolist()
        share = len(valid) / (rows.stop - rows.start)
        valid = valid or [0]  # weighs nothing, but processes call their models equally often
        truth = activations.repeat_interleave(self.config.samples, 0)[rows][valid]
        if scored.answers is not None:
            answers = scored.answers[valid]
        else:
            readings = readings_of([scored.texts[rows.start + row] for row in valid])
            answers = self.reconstructor(self.reconstructor.encode(readings).to(self.device))
        terms = self.reconstructor.loss_terms(answers, truth)
        self._keep({f"rl_ar_{name}": term for name, term in terms.items()})
        return torch.stack(list(terms.values())).sum() * share

    def _reference(self, *written: Any) -> Tensor:
        """Log-probabilities under the warm start: the same weights without the fresh adapters."""
        with torch.no_grad(), self.verbalizer.as_before():
            return self.verbalizer.sampled_log_probs(*written)

    def _errors(self, model: Reconstructor, texts: list[str], activations: Tensor) -> Tensor:
        read = self._read(model.to(self.device), texts)
        return squared_errors(read, activations.cpu().float())

    def _read(self, model: Reconstructor, texts: list[str]) -> Float[Tensor, "rows d_model"]:
        return reconstruct(model, readings_of(texts), READ_AT_ONCE, self.around.precision)

    def _watch(
        self, rollouts: Rollouts, texts: list[str], rewards: Tensor, valid: Tensor, fve: Tensor
    ) -> None:
        """Log what the samples look like; a policy that has collapsed ends the run."""
        shape = (self.config.samples, room_of(self.verbalizer))
        seen = {**monitors(rollouts, texts, rewards, valid, *shape), "fve": fve}
        self.log_metrics({f"rl_{name}": value for name, value in seen.items()}, 1)
        signs = torch.tensor([float(seen[name]) for name in SIGNS])
        everywhere = torch.as_tensor(self.all_gather(signs)).view(-1, len(SIGNS))
        found = self._health.see(*everywhere.mean(0).tolist())
        if found and not self.stopped:
            self.stopped = f"{found}, up to step {self.global_step}"

    def _keep(self, values: dict[str, Tensor]) -> None:
        """Of one part of an optimiser step, to be logged with the other parts' as a mean."""
        for name, value in values.items():
            self._told.setdefault(name, []).append(value.detach())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also how long the policy has been unwell, and whether that ended the run."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["unwell"], checkpoint["stopped"] = self._health.in_a_row, self.stopped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `on_save_checkpoint`."""
        super().on_load_checkpoint(checkpoint)
        self._health.in_a_row, self.stopped = checkpoint["unwell"], checkpoint["stopped"]
        self.trainer.should_stop = bool(self.stopped)


def _rows(groups: range, samples: int) -> slice:
    return slice(groups.start * samples, groups.stop * samples)
