"""Reinforcement learning: the AV is rewarded for texts that the AR reads well; the AR learns too.

One LightningModule, one optimiser with a rate for each model, and ordinary automatic optimisation,
so that precision, strategies, checkpoints and resume are Lightning's.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from common.config import RLConfig
from common.device import in_bfloat16
from common.metrics.fve import squared_errors
from common.metrics.quotes import quote_share
from common.models.learners import prepare_learners
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.rollout.engine import room_of
from common.rollout.sampler import texts_of
from common.schema import PolicyBatch, Reading
from common.training.context import PolicyContext
from common.training.health import SIGNS, CollapseDetector, monitors
from common.training.module import SCHEDULES, Rate, TrainingModule
from common.training.objectives import clipped_loss, kl_estimate, kl_loss
from common.training.reward import Scored
from common.training.scoring import Scorer


class PolicyModule(TrainingModule):
    """Joint training of AV and AR; the dev metric is `dev_fve`, of greedy explanations."""

    validates_first = True
    memory_remedy = (
        "raise rl.micro_batches in the profile, or lower rl.activations, rl.samples or, where it"
        " ran out in a validation, rollout.batch_size"
    )

    def __init__(
        self,
        verbalizer: Verbalizer,
        reconstructor: Reconstructor | None,
        config: RLConfig,
        context: PolicyContext,
    ) -> None:
        """`verbalizer` is the warm start; it gets new adapters.

        Without an AR only the AV is trained, and the context's rewarder reads.
        """
        models = nn.ModuleDict({"av": verbalizer})
        if reconstructor is not None:
            models["ar"] = reconstructor.train()  # one that was loaded has its dropout off
        elif config.trained != "av" or context.rewarder is None:
            raise ValueError("without an AR, `trained` is `av` and the context has a rewarder")
        super().__init__(models, config, config.steps * config.optimizer_steps)
        self.config: RLConfig = config
        self.verbalizer, self.reconstructor = verbalizer, reconstructor
        self.context = context
        parts = {n: part for n, part in context._asdict().items() if isinstance(part, nn.Module)}
        self.parts = nn.ModuleDict(parts)  # they move to the device, and are in checkpoints
        self.accumulate = config.micro_batches
        self.batches_together = config.optimizer_steps * config.micro_batches
        prepare_learners(verbalizer, reconstructor, config)
        if in_bfloat16(context.precision):  # here only: a release takes the weights as they are
            freeze_in_bfloat16(verbalizer)
        # In a tuple it is not part of the module: not trained, not in a checkpoint.
        self._untrained = (copy.deepcopy(reconstructor),)
        self.scorer = Scorer(verbalizer, reconstructor, config, context)
        self._scored: Scored | None = None
        self._collapse = CollapseDetector(config.trained != "ar")
        self._recorded: dict[str, list[Tensor]] = {}
        self.stopped = ""

    @property
    def untrained(self) -> Reconstructor:
        """The AR as it was before training."""
        [model] = self._untrained
        assert model is not None, "there is no AR"
        return model.requires_grad_(False).eval()

    def rates(self) -> list[Rate]:
        """One rate for each model that is trained."""
        config, total = self.config, self.total_steps
        av = [p for p in self.verbalizer.parameters() if p.requires_grad]
        reading = [] if self.reconstructor is None else self.reconstructor.parameters()
        ar = [p for p in reading if p.requires_grad]

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
            loss = loss + learn(self._scored, batch.inputs, groups)
        if self.config.trained != "av":
            loss = loss + self._reconstruction_loss(self._scored, batch.activations, groups)
        self._record({"train_loss": loss})
        if (part + 1) % self.accumulate == 0:  # Lightning would log the last part alone
            self.log_metrics({name: torch.stack(v).mean() for name, v in self._recorded.items()}, 1)
            self._recorded.clear()
        if self.stopped and part == self.batches_together - 1:
            self.trainer.should_stop = True
        return loss

    def validation_step(self, batch: PolicyBatch, batch_index: int) -> dict[str, list[str]]:
        """Greedy explanations, read by the AR as it is now and by the AR of the warm start."""
        low = in_bfloat16(self.context.precision)
        with self.context.engine(self.verbalizer, low) as write:
            rollouts = write(batch.inputs)
        texts = texts_of(self.verbalizer, rollouts)
        values = {
            **self._dev_fve(self.scorer.readings(texts, batch.keys), batch.activations),
            "dev_quote_share": sum(map(quote_share, texts)) / len(texts),
            "dev_ended": rollouts.ended.float().mean(),
            "dev_length": rollouts.mask.sum(1).float().mean(),
        }
        if self.config.trained != "ar":
            written = (rollouts.ids, rollouts.mask, batch.inputs, 1)
            now, before = self.verbalizer.sampled_log_probs(*written), self._reference(*written)
            values["dev_kl_greedy"] = kl_estimate(now, before, rollouts.mask).mean()
        self.log_metrics(values, len(texts), bar=True)
        return {"texts": texts}

    def _dev_fve(self, readings: list[Reading], activations: Tensor) -> dict[str, Tensor]:
        """FVE of the AR now and before training; without an AR, of the rewarder's readers."""
        if self.reconstructor is None:
            assert self.context.rewarder is not None
            found = {"dev_fve": self.context.rewarder(readings)}
        else:
            models = {"dev_fve": self.reconstructor, "dev_fve_untrained_ar": self.untrained}
            device = self.device
            found = {n: [self.scorer.read(ar.to(device), readings)] for n, ar in models.items()}
        truth = activations.cpu().float()
        errors = {
            name: torch.cat([squared_errors(read.cpu(), truth) for read in reads])
            for name, reads in found.items()
        }
        return {name: 1 - each.mean() / self.context.variance for name, each in errors.items()}

    def _rollout(self, batch: PolicyBatch, number: int) -> Scored:
        """Sample, score, and call the experiment's hook."""
        config, scored = self.config, self.scorer(batch, number)
        if config.kl and config.trained != "ar":
            ids, _, mask, _ = scored.rollouts
            written = (ids, mask, batch.inputs, config.samples)
            scored = scored._replace(reference=self._reference(*written, config.temperature))
        self._monitor(scored)
        self.context.after_rollout(scored, batch, number)
        return scored

    def _policy_loss(self, scored: Scored, inputs: Tensor, groups: range) -> Tensor:
        config, rows = self.config, _rows(groups, self.config.samples)
        ids, sampled, mask = (part[rows] for part in scored.rollouts[:3])
        written = (ids, mask, inputs[groups.start : groups.stop], config.samples)
        log_probs = self.verbalizer.sampled_log_probs(*written, config.temperature)
        # A single step is on policy: the ratio is 1, whatever precision sampled.
        old = log_probs.detach() if config.optimizer_steps == 1 else sampled
        loss = clipped_loss(log_probs, old, mask, scored.weights[rows], config.clip)
        values = {"rl_policy_loss": loss.mean()}
        drift = ((log_probs.detach() - sampled).abs() * mask).sum() / mask.sum()
        values["rl_sampling_drift"] = drift  # the effect of merged weights and precision
        if scored.reference is not None:
            reference = scored.reference[rows]
            loss = loss + config.kl * kl_loss(log_probs, reference, mask)
            values["rl_kl"] = kl_estimate(log_probs.detach(), reference, mask).mean()
        self._record(values)
        return loss.mean()

    def _imitation_loss(self, scored: Scored, inputs: Tensor, groups: range) -> Tensor:
        """Minus the log-probability of the best sample of each group; 0 for a group without one."""
        samples = self.config.samples
        best = scored.weights.amax(1).view(-1, samples).argmax(1)
        rows = [group * samples + int(best[group]) for group in groups]
        ids, mask = scored.rollouts.ids[rows], scored.rollouts.mask[rows]
        written = (ids, mask, inputs[groups.start : groups.stop], 1)
        log_probs = self.verbalizer.sampled_log_probs(*written, self.config.temperature)
        loss = -((log_probs * mask * scored.weights[rows]).sum(1) / mask.sum(1)).mean()
        self._record({"rl_policy_loss": loss})
        return loss

    def _reconstruction_loss(self, scored: Scored, activations: Tensor, groups: range) -> Tensor:
        """The AR's own loss terms on the valid explanations, as a mean over all."""
        rows, model = _rows(groups, self.config.samples), self.reconstructor
        assert model is not None, "there is no AR"
        valid = scored.valid[rows].nonzero().squeeze(1).tolist()
        share = len(valid) / (rows.stop - rows.start)
        valid = valid or [0]  # with weight 0, so that all processes call their models equally often
        truth = activations.repeat_interleave(self.config.samples, 0)[rows][valid]
        if scored.reconstructions is not None:
            found = scored.reconstructions[valid]
        else:
            readings = [scored.readings[rows.start + row] for row in valid]
            found = model(model.encode(readings).to(self.device))
        terms = model.loss_terms(found, truth)
        self._record({f"rl_ar_{name}": term for name, term in terms.items()})
        return torch.stack(list(terms.values())).sum() * share

    def _reference(self, *written: Any) -> Tensor:
        """Log-probabilities under the warm start: the same weights without the new adapters."""
        with torch.no_grad(), self.verbalizer.as_before():
            return self.verbalizer.sampled_log_probs(*written)

    def _monitor(self, scored: Scored) -> None:
        """Log monitors of the samples; end the run of a policy that has collapsed."""
        judged = (scored.rollouts, scored.texts, scored.rewards, scored.valid)
        seen = monitors(*judged, self.config.samples, room_of(self.verbalizer))
        seen["fve"] = 1 - scored.errors.nanmean() / self.context.variance
        self.log_metrics({f"rl_{name}": value for name, value in seen.items()}, 1)
        signs = torch.tensor([float(seen[name]) for name in SIGNS])
        everywhere = torch.as_tensor(self.all_gather(signs)).view(-1, len(SIGNS))
        found = self._collapse.update(*everywhere.mean(0).tolist())
        if found and not self.stopped:
            self.stopped = f"{found}, up to step {self.global_step}"

    def _record(self, values: dict[str, Tensor]) -> None:
        """Keep values of one part of an optimiser step; the mean over its parts is logged."""
        for name, value in values.items():
            self._recorded.setdefault(name, []).append(value.detach())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also write for how long there have been signs of collapse, and whether the run ended."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["collapse"], checkpoint["stopped"] = self._collapse.counts, self.stopped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `on_save_checkpoint`."""
        super().on_load_checkpoint(checkpoint)
        self._collapse.counts, self.stopped = checkpoint["collapse"], checkpoint["stopped"]
        self.trainer.should_stop = bool(self.stopped)


def _rows(groups: range, samples: int) -> slice:
    return slice(groups.start * samples, groups.stop * samples)
