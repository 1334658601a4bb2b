"""Arms that train an AV by reinforcement learning; each run is tested on its own texts."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor

from common.arms.arm import Arm, Need, Outcome
from common.arms.needs import av_need
from common.arms.partner import Partner, warm_started
from common.arms.reconstructor import AR_FILE
from common.arms.verbalizer import AV_FILE, load_av
from common.config import RLConfig
from common.data.batches import Example, in_order, plan_rollouts
from common.device import best_device, in_bfloat16
from common.errors import NlaError
from common.models.checkpoint import load_trainable, save_trainable
from common.models.learners import prepare_learners
from common.models.reconstructor import Reconstructor
from common.models.sizes import model_sizes
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.runs import RunFolder
from common.schema import (
    AV,
    AV_UNTRAINED_AR,
    DEV,
    KEY,
    RL,
    TEACHER,
    TOKEN_IDS,
    PolicyBatch,
    View,
    nothing,
)
from common.seeding import keyed_random, keyed_seed
from common.target.splice import spliced_kl
from common.trunk.artefacts import Trunk


class Pair(NamedTuple):
    """The models after reinforcement learning, and the AR before it."""

    verbalizer: Verbalizer
    reconstructor: Reconstructor
    untrained: Reconstructor


class PolicyArm(Arm):
    """Trains the warm-started AV against `partner`, by default the warm-started AR."""

    tuned_section = "rl"
    sections = ("trainer",)
    data = ("target", "corpus", "activations", "explanations", "av_text")
    tested_data = ("last_tokens",)
    has_samples = True
    curves = (
        "dev_fve",
        "dev_fve_untrained_ar",
        "dev_kl_greedy",
        "dev_quote_share",
        "rl_reward",
        "rl_reward_spread",
        "rl_entropy",
        "rl_length",
        "rl_cap_hit",
    )

    def changed(self, config: RLConfig) -> RLConfig:
        """The profile's `rl` with the arm's changes."""
        return config

    def partner(self, seed: int) -> Partner:
        """The AR that the AV is trained against."""
        return warm_started(self.trunk(seed))

    def context(self, trunk: Trunk, reconstructor: Reconstructor, view: View) -> dict[str, Any]:
        """Parts of a PolicyContext that are not the default: a channel, a rewarder, a hook, a view.

        Args:
            trunk: the trunk of the run.
            reconstructor: the AR that learns.
            view: what the AR may see of an input.
        """
        return {} if view is nothing else {"view": lambda key: view(trunk.sources[key])}

    @property
    def tuned(self) -> RLConfig:
        """The profile's `rl` with the arm's own changes."""
        return self.changed(self.profile.rl)

    @property
    def learns(self) -> bool:
        """False where both models stay as they were warm-started."""
        return self.tuned.steps > 0

    @property
    def global_batch_sizes(self) -> dict[str, int]:
        """The number of activations in each part of a step."""
        rl = self.tuned
        parts = {"optimizer_steps": rl.optimizer_steps, "micro_batches": rl.micro_batches}
        name = " / ".join(["rl.activations", *(f"{n} {size}" for n, size in parts.items())])
        return {name: rl.activations // math.prod(parts.values())}

    def needs(self, seed: int) -> Sequence[Need]:
        """Also the AV that training starts from, and the AR."""
        return [*super().needs(seed), av_need(self.trunk(seed)), self.partner(seed).need]

    def trained_with(self, seed: int) -> dict[str, Any]:
        """Also the factor of the AR's learning rate, and the engine that samples."""
        return super().trained_with(seed) | {
            "learning_rate_factor": self.partner(seed).learning_rate_factor(),
            "engine": self.profile.rollout.engine,
        }

    def tested_with(self) -> dict[str, Any]:
        """Also the profile's settings of sampling, which are the same for all arms."""
        rl = self.profile.rl
        return super().tested_with() | {"samples": rl.samples, "temperature": rl.temperature}

    def train(self, run: Any, config: RLConfig, seed: int, trial: Any = None) -> tuple[Any, dict]:
        """Reinforcement learning from the warm start; with 0 steps the models stay as they are."""
        from lightning.pytorch.callbacks import Callback

        from common.data.datamodule import NlaDataModule
        from common.rollout.sampler import engine_of
        from common.training.context import PolicyContext
        from common.training.dev_texts import DevTexts
        from common.training.plateau import Plateau
        from common.training.policy import PolicyModule
        from common.training.pruning import Pruning
        from common.training.trainer import fit

        trunk, partner, profile = self.trunk(seed), self.partner(seed), self.profile
        factor = partner.learning_rate_factor()
        config = config.replace(ar_learning_rate=config.ar_learning_rate * factor)
        dev = _dev_keys(trunk, config.validation_examples)
        verbalizer, reconstructor = load_av(trunk), partner.load()
        context = PolicyContext(
            variance=trunk.variance_of(dev),
            seed=seed,
            precision=profile.trainer.precision,
            engine=engine_of(profile.rollout),
            splice=Splice(trunk) if config.splice else None,
            **self.context(trunk, reconstructor, partner.view),
        )
        torch.manual_seed(keyed_seed("adapters", seed) % 2**31)  # models are loaded: that draws
        module = PolicyModule(verbalizer, reconstructor, config, context)
        shape = (config.activations, config.steps, module.batches_together)
        plan = plan_rollouts(_unread_keys(trunk), *shape, seed=seed)
        batches = in_order([Example(key, key) for key in dev], profile.rollout.batch_size)
        data = NlaDataModule(plan, batches, trunk.inputs, _batches_of(trunk))
        plateau = Plateau(config.patience) if config.patience else None
        callbacks: list[Callback] = [Pruning(trial)] if trial else [DevTexts(run.folder)]
        callbacks += [plateau] if plateau else []
        facts = fit(module, data, profile.trainer, run, callbacks, resumable=trial is None)
        facts |= _learned(config, run.folder) | (plateau.facts if plateau else {})
        return Pair(module.verbalizer, reconstructor, module.untrained), facts

    def save(self, trained: Pair, run: RunFolder) -> None:
        """Write both models in the precision of their training.

        In bfloat16 the small steps of a float32 training would be rounded away.
        """
        low = in_bfloat16(self.profile.trainer.precision)
        dtype = torch.bfloat16 if low else torch.float32
        for name, model, metadata in self._files(trained, run.seed):
            save_trainable(model, run.checkpoint / name, metadata, dtype)

    def load(self, run: RunFolder) -> Pair:
        """AV (the warm start with the run's adapters) and AR of a run, and the AR before it."""
        seed = run.seed
        partner = self.partner(seed)
        pair = Pair(load_av(self.trunk(seed)), partner.load(), partner.load())
        prepare_learners(pair.verbalizer, pair.reconstructor, self.tuned)
        for name, model, metadata in self._files(pair, seed):
            load_trainable(model, run.weights(name), metadata)
        if in_bfloat16(self.profile.trainer.precision):
            freeze_in_bfloat16(pair.verbalizer)
        for model in pair:
            model.eval()
        return pair

    def test(self, trained: Pair, seed: int) -> Outcome:
        """Let the AV explain the test activations, and measure how the ARs read the texts."""
        from common.evaluation.conditions import ORIGINAL
        from common.evaluation.references import read_references
        from common.evaluation.spoken import Spoken, speak
        from common.rollout.reading import reader_of

        tests = self.test_set(seed)
        written = speak(tests, trained.verbalizer.to(best_device()))
        texts, dev = tests.written_in(written)
        taught = tests.written_by(TEACHER)
        read, judge = reader_of(trained.reconstructor, self.profile), tests.judge
        view = self.partner(seed).view
        untrained = reader_of(trained.untrained, self.profile)
        rows = [
            judge.rows(read, self.test_conditions(tests, texts), AV, view, dev),
            judge.rows(untrained, {ORIGINAL: [*texts]}, AV_UNTRAINED_AR, view, dev),
            judge.rows(read, {ORIGINAL: [*taught.test]}, TEACHER, view, taught.dev),
            read_references(tests, read, view),
        ]
        spoken = Spoken(tests, trained.verbalizer, read, texts, seed, written, view)
        measures = pl.concat(measure(spoken) for measure in self.test_measures())
        sizes = [model_sizes(model) for model in trained[:2]]
        both = {name: sizes[0][name] + sizes[1][name] for name in sizes[0]}
        facts = both | {"ar_parameters": sizes[1]["parameters"]}
        facts |= tests.denominators
        return Outcome(pl.concat(rows), measures, written, facts=facts)

    def test_sees(self, seed: int) -> View:
        """What the AR saw against which the AV learned."""
        return self.partner(seed).view

    def test_pair(self, run: RunFolder) -> tuple[Any, Any]:
        """The AV and the AR of the run."""
        return self.load(run)[:2]

    def test_measures(self) -> Sequence[Any]:
        """Further measures of the AV's texts: functions of a `Spoken`."""
        from common.evaluation.content import content_measures
        from common.evaluation.decodable import decodable_measures
        from common.evaluation.sampled import sampled_measures
        from common.evaluation.spoken import splice_measures, text_measures

        said = text_measures, content_measures, decodable_measures
        return *said, splice_measures, sampled_measures

    def _files(self, pair: Pair, seed: int) -> list[tuple[str, Any, dict[str, str]]]:
        """File, model, and metadata that must agree: weights fit only their own warm start."""
        trunk, partner = self.trunk(seed), self.partner(seed)
        begun = {"av": trunk.av_run, "ar": partner.run}
        starts = {name: {"warm_start": run.summary["digest"]} for name, run in begun.items()}
        return [
            (AV_FILE, pair.verbalizer, trunk.speaking_metadata(pair.verbalizer) | starts["av"]),
            (
                AR_FILE,
                pair.reconstructor,
                trunk.reading_metadata(pair.reconstructor) | starts["ar"],
            ),
        ]


class Splice:
    """KL of each reconstruction, several for each key, for a reward."""

    def __init__(self, trunk: Trunk) -> None:
        """The source tokens of the rl activations are read once, since every rollout needs them."""
        self.trunk = trunk
        self.token_ids = dict(trunk.activations([RL], [KEY, TOKEN_IDS]).iter_rows())

    def __call__(self, keys: list[str], read: Tensor) -> Tensor:
        """KL in nats, one row for each reconstruction."""
        groups = read.view(len(keys), -1, read.shape[1])
        target = self.trunk.target.model.to(read.device)
        ids = [self.token_ids[key] for key in keys]
        return spliced_kl(target, self.trunk.layer, ids, groups).flatten()


def _learned(config: RLConfig, folder: RunFolder) -> dict[str, Any]:
    """Learning rates of the models that learned, and how many tokens were sampled."""
    learns = config.trained if config.steps else "nobody"
    lengths = [v["rl_length"] for _, v in folder.metrics() if "rl_length" in v]
    rows = config.activations * config.samples / config.optimizer_steps
    return {
        "learning_rate": config.learning_rate if learns in ("both", "av") else None,
        "ar_learning_rate": config.ar_learning_rate if learns in ("both", "ar") else None,
        "weight_decay": config.weight_decay,
        "train_tokens": round(sum(lengths) * rows),
    }


def _batches_of(trunk: Trunk) -> Callable[[list[str], Tensor], PolicyBatch]:
    """From keys, and what the AV reads for them, to batches: rewards need the activations alone."""
    return lambda keys, inputs: PolicyBatch(keys, trunk.store[keys], inputs)


def _unread_keys(trunk: Trunk) -> list[str]:
    """The rl activations whose explanations were not among the warm-started AR's examples."""
    read = {example.key for example in trunk.ar_examples()}
    table = trunk.activations([RL], [KEY])
    if keys := [key for key in table[KEY].to_list() if key not in read]:
        return keys
    remedy = "raise activations.documents.rl, or lower ar.av_examples"
    raise NlaError("no rl activation is left to explain", where="profile", remedy=remedy)


def _dev_keys(trunk: Trunk, limit: int) -> list[str]:
    keys = trunk.activations([DEV], [KEY])[KEY].to_list()
    return keyed_random("dev").sample(keys, min(limit, len(keys)))
