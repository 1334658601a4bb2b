"""Arms that train an AV by reinforcement learning, each run tested on texts of its own."""

import math
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl
import torch
from optuna.trial import BaseTrial
from torch import Tensor

from common.arms.arm import TRIAL_SEED, Arm
from common.arms.measures import sampled_measures, splice_measures, text_measures
from common.arms.partner import Partner
from common.arms.record import OWN_TEXTS, model_sizes, write_rows
from common.config import RLConfig
from common.data.activations import load_activations
from common.data.batches import Example, in_order, plan_rollouts
from common.device import best_device, in_bfloat16
from common.errors import NlaError
from common.evaluation.conditions import ORIGINAL
from common.files import write_atomically
from common.models.checkpoint import load_trainable, save_trainable
from common.models.learners import prepare_learners
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.rollout.reading import reconstruct
from common.rollout.sampler import engine_of, sample_explanations
from common.runs import RunFolder
from common.schema import (
    AR_SFT,
    AV,
    AV_UNTRAINED_AR,
    DEV,
    DOC_ID,
    EXPLANATION,
    KEY,
    RL,
    SPLIT,
    TEACHER,
    TEST,
    TOKEN_IDS,
    PolicyBatch,
)
from common.seeding import keyed_random, keyed_seed
from common.target.splice import spliced_kl
from common.tracking.tracker import Tracker
from common.warm_start import load_av


class Trained(NamedTuple):
    """The models after reinforcement learning, and the AR as it was before."""

    verbalizer: Verbalizer
    reconstructor: Reconstructor
    untrained: Reconstructor


class PolicyArm(Arm):
    """`build(settings, material)` of the experiment gives a `Partner`; the AV is the warm start.

    `settings.changed(config)` is the profile's `rl` as the arm does it.
    """

    has_own_texts = True
    curves = (
        "dev_fve",
        "dev_fve_untrained_ar",
        "dev_kl_greedy",
        "dev_quote_share",
        "rl_reward",
        "rl_entropy",
        "rl_length",
        "rl_cap_hit",
    )

    @property
    def tuned(self) -> RLConfig:
        """The profile's `rl` with the arm's own changes."""
        return self.settings.changed(self.profile.rl)

    @property
    def learns(self) -> bool:
        """Not where both models stay as they were warm-started."""
        return self.tuned.steps > 0

    @property
    def shared_out(self) -> dict[str, int]:
        """Also the activations of each part of a step."""
        rl = self.tuned
        parts = {"optimizer_steps": rl.optimizer_steps, "micro_batches": rl.micro_batches}
        name = " / ".join(["rl.activations", *(f"{n} {size}" for n, size in parts.items())])
        return super().shared_out | {name: rl.activations // math.prod(parts.values())}

    @cached_property
    def partner(self) -> Partner:
        """The AR that the AV is trained against."""
        return self.experiment.build(self.settings, self.material)

    def base_config(self) -> dict[str, Any]:
        """Also the warm start that it begins with, the AR's pace, and what samples."""
        return super().base_config() | {
            "warm_start": self._starts(),
            "pace": self.partner.pace,
            "engine": self.profile.rollout.engine,
        }

    def train(
        self,
        tracker: Tracker,
        config: RLConfig,
        seed: int,
        trial: BaseTrial | None = None,
    ) -> tuple[Trained, dict[str, Any]]:
        """Train by reinforcement; a trial is a whole run with a seed of its own."""
        from lightning.pytorch.callbacks import Callback

        from common.data.datamodule import NlaDataModule
        from common.training.context import PolicyContext
        from common.training.dev_texts import DevTexts
        from common.training.plateau import Plateau
        from common.training.policy import PolicyModule
        from common.training.pruning import Pruning
        from common.training.trainer import fit

        verbalizer, reconstructor = load_av(self.material), self.partner.load()
        config = config.replace(ar_learning_rate=config.ar_learning_rate * self.partner.pace)
        dev = self._dev_keys(config.validation_examples)
        context = PolicyContext(
            variance=self.material.variance_of(dev),
            seed=TRIAL_SEED if trial else seed,
            precision=self.profile.trainer.precision,
            engine=engine_of(self.profile.rollout),
            splice=self._splice if config.splice else None,
        )
        torch.manual_seed(keyed_seed("adapters", seed) % 2**31)
        module = PolicyModule(verbalizer, reconstructor, config, context)
        shape = (config.activations, config.steps, module.batches_together)
        plan = plan_rollouts(self._unread_keys(), *shape, seed=context.seed)
        batches = in_order([Example(key, key) for key in dev], self.profile.rollout.batch_size)
        data = NlaDataModule(plan, batches, self.material.store, PolicyBatch)
        callbacks: list[Callback] = [Pruning(trial)] if trial else [DevTexts(tracker.folder)]
        plateau = Plateau(config.patience) if config.patience else None
        if plateau:
            callbacks.append(plateau)
        trainer = self.profile.trainer
        fitted = fit(module, data, trainer, tracker, callbacks, resumable=trial is None)
        lengths = [v["rl_length"] for _, v in tracker.folder.metrics() if "rl_length" in v]
        rows = config.activations * config.samples / config.optimizer_steps
        learns = config.trained if config.steps else "nobody"
        fitted["learning_rate"] = config.learning_rate if learns in ("both", "av") else None
        fitted["ar_learning_rate"] = config.ar_learning_rate if learns in ("both", "ar") else None
        fitted["train_tokens"] = round(sum(lengths) * rows)
        fitted |= plateau.facts if plateau else {}
        return Trained(verbalizer, reconstructor, module.untrained), fitted

    def finish(self, trained: Trained, folder: RunFolder, seed: int) -> dict[str, Any]:
        """Let the AV explain the test activations, and see how the ARs read that."""
        verbalizer, reconstructor, untrained = trained
        # Small steps from the warm start would vanish between neighbouring bfloat16 weights.
        low = in_bfloat16(self.profile.trainer.precision)
        dtype = torch.bfloat16 if low else torch.float32
        for name, model, metadata in self._checkpoints(verbalizer, reconstructor):
            save_trainable(model, folder.checkpoint / name, metadata, dtype)
            load_trainable(model, folder.checkpoint / name, metadata)  # test what can be loaded
            model.to(best_device()).eval()
        spoken = self._explain(verbalizer)
        write_atomically(spoken, folder.path / OWN_TEXTS)
        texts = spoken.filter(pl.col(SPLIT) == TEST)[EXPLANATION].to_list()
        conditions = self.material.conditions_of(texts)
        named = {"arm": pl.lit(self.name), "seed": pl.lit(seed, pl.Int64)}
        judge = self.material.judge
        taught = {ORIGINAL: self.material.test_table[TEACHER].to_list()}
        read = self._reader(reconstructor)
        frames = [
            judge.rows(read, conditions, AV),
            judge.rows(self._reader(untrained), {ORIGINAL: texts}, AV_UNTRAINED_AR),
            judge.rows(read, taught, TEACHER),
        ]
        rows = pl.concat(frames).with_columns(**named)
        write_rows(folder, rows, self.material.test_table.with_columns(pl.Series(AV, texts)))
        measures = [
            text_measures(self.material, texts),
            splice_measures(self.material, read(texts)),
            sampled_measures(self.material, verbalizer, read, seed),
        ]
        write_atomically(pl.concat(measures).with_columns(**named), folder.measures_file)
        sizes = [model_sizes(verbalizer), model_sizes(reconstructor)]
        both = {name: sizes[0][name] + sizes[1][name] for name in sizes[0]}
        return both | {"ar_parameters": sizes[1]["parameters"]}

    def load(self, folder: RunFolder) -> tuple[Verbalizer, Reconstructor]:
        """AV (the warm start under the run's adapters) and AR of the run."""
        verbalizer, reconstructor = load_av(self.material), self.partner.load()
        prepare_learners(verbalizer, reconstructor, self.tuned)
        for name, model, metadata in self._checkpoints(verbalizer, reconstructor):
            load_trainable(model, folder.checked(folder.checkpoint / name), metadata)
        return verbalizer.eval(), reconstructor.eval()

    def _checkpoints(
        self, verbalizer: Verbalizer, reconstructor: Reconstructor
    ) -> list[tuple[str, Any, dict[str, str]]]:
        """File, model and what the file must agree on: weights mean nothing on another start."""
        starts = self._starts()
        speaking = self.material.speaking_metadata(verbalizer) | {"warm_start": starts["av"]}
        reading = self.material.reading_metadata(reconstructor) | {"warm_start": starts["ar"]}
        return [
            ("av.safetensors", verbalizer, speaking),
            ("ar.safetensors", reconstructor, reading),
        ]

    def _starts(self) -> dict[str, str]:
        """Digests of the warm-started AV and AR."""
        begun = {"av": self.material.av_run, "ar": self.partner.run}
        return {name: run.summary["digest"] for name, run in begun.items()}

    def _unread_keys(self) -> list[str]:
        """The rl activations whose explanations the warm-started AR has not trained on."""
        read = {example.key for example in self.material.ar_examples()}
        table = load_activations(self.material.trunk.activations, [RL], [KEY])
        if keys := [key for key in table[KEY].to_list() if key not in read]:
            return keys
        remedy = "raise activations.documents.rl, or lower ar.av_examples"
        raise NlaError("no rl activation is left to explain", where="profile", remedy=remedy)

    def _dev_keys(self, limit: int) -> list[str]:
        keys = load_activations(self.material.trunk.activations, [DEV], [KEY])[KEY].to_list()
        return keyed_random("dev").sample(keys, min(limit, len(keys)))

    def _reader(self, model: Reconstructor) -> Any:
        size, precision = self.profile.evaluation.batch_size, self.profile.trainer.precision
        return lambda texts: reconstruct(model.to(best_device()), texts, size, precision)

    def _explain(self, verbalizer: Verbalizer) -> pl.DataFrame:
        """Greedy explanations of the test activations and of those a neutral AR will train on."""
        columns = [KEY, DOC_ID, SPLIT]
        test = self.material.test_table.select(KEY, DOC_ID, pl.lit(TEST).alias(SPLIT))
        others = load_activations(self.material.trunk.activations, [AR_SFT], columns)
        count = min(others.height, self.profile.rl.spoken_examples)
        table = pl.concat([test, others.sample(count, seed=0).select(test.columns)])
        vectors = self.material.store[table[KEY].to_list()]
        greedy = self.profile.rollout.replace(temperature=0.0)
        precision = self.profile.trainer.precision
        texts = sample_explanations(verbalizer, vectors, greedy, precision=precision)
        return table.with_columns(pl.Series(EXPLANATION, texts))

    def _splice(self, keys: list[str], read: Tensor) -> Tensor:
        """KL of each reconstruction, some for each key, for a reward."""
        texts = self._token_ids
        groups = read.view(len(keys), -1, read.shape[1])
        target = self.material.target.model.to(read.device)
        return spliced_kl(
            target, self.material.layer, [texts[key] for key in keys], groups
        ).flatten()

    @cached_property
    def _token_ids(self) -> dict[str, list[int]]:
        """Source tokens of the rl activations: read once, asked for at every rollout."""
        table = load_activations(self.material.trunk.activations, [RL], [KEY, TOKEN_IDS])
        return dict(table.iter_rows())
