"""From activations to scored explanations: the AV writes, an AR reads, the reward is computed."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.config import RLConfig
from common.device import in_bfloat16
from common.metrics.fve import squared_errors
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.rollout.engine import Rollouts, keyed_draws, room_of
from common.rollout.reading import reconstruct
from common.rollout.sampler import texts_of
from common.schema import PolicyBatch, Reading, readings_of
from common.training.context import PolicyContext
from common.training.credit import first_tokens, token_weights
from common.training.reward import Scored, checked_rewards, reading_rewards, truncation_budgets
from common.training.rewarder import BATCH_SIZE


class Scorer:
    """Samples explanations of a batch and scores them; trains nothing."""

    def __init__(
        self,
        verbalizer: Verbalizer,
        reconstructor: Reconstructor | None,
        config: RLConfig,
        context: PolicyContext,
    ) -> None:
        """The AR is the one that learns; if there is none, the context's rewarder reads."""
        self.verbalizer, self.reconstructor = verbalizer, reconstructor
        self.config, self.context = config, context

    def __call__(self, batch: PolicyBatch, number: int) -> Scored:
        """The rollout of this number; draws are keyed, so that a resumed run samples the same."""
        config, shape = self.config, (-1, self.config.samples)
        if self.context.rewarder is not None:
            self.context.rewarder.before_rollout(number)
        rollouts = self._sample(batch, number)
        texts = texts_of(self.verbalizer, rollouts)
        budgets = self._budgets(batch, number)
        readings = self._readings_of(batch, rollouts, budgets)
        learned = self._learned(readings, batch.activations.device)
        reads = self._reads(readings, batch.activations.device, learned)
        rewards = self._rewards(batch, reads, rollouts).view(shape)
        valid = self._valid(texts, rollouts).view(shape)
        rewards, valid = checked_rewards(rewards, valid, config.invalid_reward)
        rewards_of_first = partial(self._rewards_of_first, batch, rollouts)
        weights = token_weights(config, rollouts, rewards, valid, rewards_of_first)
        if budgets is not None:  # tokens that were not read get no credit
            weights = weights * first_tokens(rollouts, budgets)
        errors = self._mean(squared_errors, batch, reads if learned is None else [learned.detach()])
        with_graph = learned if learned is not None and learned.requires_grad else None
        scores = valid.flatten(), rewards.flatten(), weights, errors
        return Scored(rollouts, texts, readings, *scores, with_graph)

    def readings(self, texts: list[str], keys: Sequence[str]) -> list[Reading]:
        """What an AR reads of the AV's texts, after the channel; readings are made only here."""
        arrived = self.context.channel(texts, keys)
        assert len(arrived) == len(texts), "a channel gives as many texts as it gets"
        return readings_of(arrived, [self.context.view(key) for key in keys])

    def read(self, model: Reconstructor, readings: list[Reading]) -> Float[Tensor, "rows d_model"]:
        """An AR's reconstructions, on the CPU in float32, without gradients."""
        return reconstruct(model, readings, BATCH_SIZE, self.context.precision)

    def _sample(self, batch: PolicyBatch, number: int) -> Rollouts:
        config, av, context = self.config, self.verbalizer, self.context
        place = (context.seed, number)
        draws = [
            keyed_draws((*place, key, batch.keys[:index].count(key)), config.samples, room_of(av))
            for index, key in enumerate(batch.keys)
        ]
        with context.engine(av, in_bfloat16(context.precision)) as write:
            return write(batch.inputs, config.samples, config.temperature, torch.cat(draws))

    def _valid(self, texts: list[str], rollouts: Rollouts) -> Bool[Tensor, " rows"]:
        valid = torch.tensor([bool(text) for text in texts], device=rollouts.ids.device)
        return valid & rollouts.ended if self.config.must_end else valid

    def _budgets(self, batch: PolicyBatch, number: int) -> Int[Tensor, " rows"] | None:
        """How many tokens of each row are read; None: all."""
        if not self.config.truncation:
            return None
        place = (self.context.seed, number)
        budgets = truncation_budgets(place, batch.keys, self.config.truncation)
        return budgets.repeat_interleave(self.config.samples)

    def _readings_of(
        self, batch: PolicyBatch, rollouts: Rollouts, budgets: Int[Tensor, " rows"] | None
    ) -> list[Reading]:
        """Readings of the first `budgets` tokens of each row, or of all tokens."""
        limits = None if budgets is None else budgets.tolist()
        keys = [key for key in batch.keys for _ in range(self.config.samples)]
        return self.readings(texts_of(self.verbalizer, rollouts, limits), keys)

    def _learned(
        self, readings: list[Reading], device: torch.device
    ) -> Float[Tensor, "rows d_model"] | None:
        """Reconstructions of the AR that learns, if there is one.

        With gradients if it learns from the rollout in one part: then it reads only once.
        """
        config, model = self.config, self.reconstructor
        if model is None:
            return None
        in_one_piece = config.optimizer_steps * config.micro_batches == 1
        if in_one_piece and config.trained != "av" and not model.noisy_in_training:
            return model(model.encode(readings).to(device))
        return self.read(model, readings).to(device)

    def _reads(
        self, readings: list[Reading], device: torch.device, learned: Tensor | None = None
    ) -> list[Float[Tensor, "rows d_model"]]:
        """Reconstructions of each reader that counts for the reward; `learned` is reused."""
        if self.context.rewarder is not None:
            return [read.to(device) for read in self.context.rewarder(readings)]
        if learned is None:
            assert self.reconstructor is not None, "without an AR that learns there is a rewarder"
            learned = self.read(self.reconstructor, readings).to(device)
        return [learned.detach()]

    def _rewards(
        self, batch: PolicyBatch, reads: list[Tensor], rollouts: Rollouts
    ) -> Float[Tensor, " rows"]:
        """The reward of each explanation; not finite where a reconstruction is not."""
        config = self.config
        share = rollouts.mask.sum(1) / self.verbalizer.config.max_explanation_tokens
        rewards = self._reading_rewards(batch, reads) - config.length_penalty * share
        if config.splice:
            assert self.context.splice, "rl.splice needs the target"
            lost = [self.context.splice(batch.keys, read).to(share) for read in reads]
            rewards = rewards - config.splice * torch.stack(lost).mean(0)
        return rewards

    def _rewards_of_first(
        self, batch: PolicyBatch, rollouts: Rollouts, count: int
    ) -> Float[Tensor, " rows"]:
        """The rewards of the first `count` tokens of each explanation."""
        budgets = torch.full((len(rollouts.ids),), count)
        readings = self._readings_of(batch, rollouts, budgets)
        return self._reading_rewards(batch, self._reads(readings, batch.activations.device))

    def _reading_rewards(self, batch: PolicyBatch, reads: list[Tensor]) -> Float[Tensor, " rows"]:
        return self._mean(partial(reading_rewards, kind=self.config.reward), batch, reads)

    def _mean(
        self, measure: Callable[[Tensor, Tensor], Tensor], batch: PolicyBatch, reads: list[Tensor]
    ) -> Float[Tensor, " rows"]:
        """Mean over readers of a measure of their reconstructions and the activations."""
        truth = batch.activations.repeat_interleave(self.config.samples, 0)
        return torch.stack([measure(read, truth) for read in reads]).mean(0)
