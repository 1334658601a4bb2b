"""Run one arm: tune it on dev documents, train the best setting with fresh seeds, and test it."""

import json
import logging
import shutil
import time
from typing import Any

import optuna
import polars as pl
import torch

from common.config import ARConfig, Profile
from common.data.activations import write_atomically
from common.data.batches import Example, in_order, plan_batches
from common.device import best_device, device_name
from common.errors import NlaError
from common.evaluation.conditions import ORIGINAL
from common.experiment import Experiment
from common.manifest import digest_of
from common.material import Material
from common.models.checkpoint import save_trainable
from common.models.reconstructor import Reconstructor
from common.paths import OPTUNA_URI, run_folder
from common.provenance import code_digest
from common.rollout.reading import reconstruct
from common.runs import RunFolder
from common.schema import AV, KEY, TEACHER, TEXT, ReconstructionBatch
from common.seeding import keyed_seed
from common.tracking.tracker import Tracker, tracked_run
from common.tuning.study import Best, SearchSpace, Sweep
from common.tuning.sweep import run_sweep
from common.tuning.trials import slot_of

log = logging.getLogger(__name__)

CODE = (
    "ar_variants",
    "common/arm.py",
    "common/config.py",
    "common/data",
    "common/evaluation",
    "common/material.py",
    "common/metrics",
    "common/models",
    "common/seeding.py",
    "common/target",
    "common/training",
    "common/tuning",
)
"""What a run of an arm depends on, as its DVC stage says too."""
SAMPLES, SOURCE_CHARACTERS = 20, 240
TRIAL_SEED = -1
"""Of every trial, so that no seed of the test has been tuned."""


class Arm:
    """One arm of an experiment at one profile."""

    def __init__(
        self, experiment: Experiment, name: str, profile: Profile, material: Material
    ) -> None:
        """Validates the arm's settings; trains nothing."""
        profile.trainer.check_single()
        self.experiment, self.name, self.profile, self.material = (
            experiment,
            name,
            profile,
            material,
        )
        self.settings = experiment.arm(name)

    def sweep(self) -> Sweep:
        """This arm's study; its name changes with everything a trial depends on."""
        tuning, space = self.profile.tuning, self._space()
        digest = digest_of([self.base_config(), space, tuning.examples])
        return Sweep(
            name=f"{self.profile.name}/{self.experiment.name}/{self.name}/{digest}",
            space=space,
            budget=tuning.trials,
            config_digest=digest,
            first={name: getattr(self.profile.ar, name) for name in space},
            sampler_key=f"{self.profile.name}/{self.experiment.name}",
            storage=tuning.storage or OPTUNA_URI,
        )

    def base_config(self) -> dict[str, Any]:
        """What every run of the arm has in common: settings, scale, data and code."""
        return {
            "arm": self.settings.model_dump(mode="json"),
            "ar": self.profile.ar.model_dump(mode="json"),
            "trainer": self.profile.trainer.model_dump(mode="json"),
            "evaluation": self.profile.evaluation.model_dump(mode="json"),
            "material": self.material.digests(),
            "code": code_digest(*CODE, *map(str, self.experiment.code)),
        }

    def tune(self) -> Best:
        """Spend the arm's budget (shared with any other worker), or find it spent."""
        return run_sweep(self.sweep(), self._trial)

    def run_seed(self, seed: int, best: Best) -> RunFolder:
        """Train the best setting and test it; a finished run of this config is left alone."""
        config = {
            **self.base_config(),
            "ar": self._config(best.params).model_dump(mode="json"),
            "seed": seed,
        }
        folder = RunFolder(run_folder(self.profile.name, self.experiment.name, self.name, seed))
        with folder.locked():
            if folder.is_finished(config) and folder.rows_file.exists():
                log.info("%s is finished already", folder.path)
            else:
                self._run(folder, config, seed, best)
        return folder

    def _run(self, folder: RunFolder, config: dict[str, Any], seed: int, best: Best) -> None:
        folder.begin(config)
        with tracked_run(folder, self._parent, {"nla.kind": "seed"}) as tracker:
            chosen = self._config(best.params)
            model, fitted = self._train(tracker, chosen, seed)
            save_trainable(model, folder.checkpoint / "ar.safetensors", self.metadata(model))
            started = time.perf_counter()
            self._evaluate(model, folder, seed)
            fitted["evaluate_seconds"] = round(time.perf_counter() - started, 2)
            folder.finish(
                {
                    **fitted,
                    **_sizes(model),
                    "learning_rate": chosen.learning_rate,
                    "weight_decay": chosen.weight_decay,
                    **best.params,
                    "device": device_name(),
                    "digest": digest_of(config),
                }
            )
        shutil.rmtree(folder.path / "resume", ignore_errors=True)

    def check(self, folder: RunFolder) -> None:
        """NlaError for a run of this arm that was made with other settings, data or code."""
        expected = json.loads(json.dumps(self.base_config(), default=str))
        del expected["ar"]  # tuned
        found = folder.config
        if changed := [name for name, value in expected.items() if found.get(name) != value]:
            what = f"a run of other {', '.join(changed)} than today's"
            remedy = f"nla run {self.experiment.name} --arm {self.name}"
            raise NlaError(what, where=folder.path, remedy=remedy)

    def metadata(self, model: Reconstructor) -> dict[str, str]:
        """What a checkpoint must agree on to be loaded."""
        return {
            "template": model.template.digest(),
            "tokenizer": self.material.manifest["tokenizer"],
            "layer": str(self.material.layer),
            "arm": self.settings.digest(),
        }

    def _space(self) -> SearchSpace:
        """The experiment's search space in absolute numbers, around the profile's own setting."""
        space = {}
        for name, number in self.experiment.params.search.items():
            try:
                space[name] = number.around(getattr(self.profile.ar, name))
            except ValueError as error:
                where = self.experiment.folder / "params.yaml"
                remedy = f"change ar.{name} of profile {self.profile.name} or the range"
                raise NlaError(f"search.{name}: {error}", where=where, remedy=remedy) from error
        return space

    @property
    def _parent(self) -> str:
        return f"{self.profile.name}/{self.experiment.name}/{self.name}"

    def _config(self, params: dict[str, float]) -> ARConfig:
        return self.profile.ar.replace(**params)

    def _trial(self, trial: optuna.Trial, params: dict[str, float]) -> float:
        name = f"trial-{slot_of(trial)}"
        folder = RunFolder(run_folder(self.profile.name, self.experiment.name, self.name, name))
        folder.begin({**self.base_config(), "params": params})
        with tracked_run(folder, self._parent, {"nla.kind": "trial"}) as tracker:
            _, fitted = self._train(tracker, self._config(params), TRIAL_SEED, trial)
            folder.finish({**fitted, **params})
        return fitted["dev_fve"]

    def _train(
        self,
        tracker: Tracker,
        config: ARConfig,
        seed: int,
        trial: optuna.Trial | None = None,
    ) -> tuple[Reconstructor, dict[str, Any]]:
        from lightning import seed_everything

        from common.data.datamodule import NlaDataModule
        from common.training.pruning import Pruning
        from common.training.sft_ar import ReconstructorModule
        from common.training.trainer import fit

        seed_everything(keyed_seed("train", seed) % 2**31, verbose=False)
        model = self.experiment.build(self.settings, self.material)
        plan, dev = self._plans(config, seed, self.profile.tuning.examples if trial else None)
        store = self.material.store

        def collate(texts: list[str], activations: torch.Tensor) -> ReconstructionBatch:
            return ReconstructionBatch(model.encode(texts), activations)

        variance = self.material.variance_of([example.key for batch in dev for example in batch])
        module = ReconstructorModule(model, config, len(plan), variance)
        data = NlaDataModule(plan, dev, store, collate)
        callbacks = [Pruning(trial)] if trial else []
        fitted = fit(
            module, data, self.profile.trainer, tracker, callbacks, resumable=trial is None
        )
        fitted["train_tokens"] = sum(
            int(model.encode([e.text for e in batch]).mask.sum()) for batch in plan
        )
        return model, fitted

    def _plans(
        self, config: ARConfig, seed: int, limit: int | None
    ) -> tuple[list[list[Example]], list[list[Example]]]:
        examples = self.material.ar_examples(limit)
        half = config.validation_examples // 2
        dev = [
            example
            for source in (TEACHER, AV)
            for example in self.material.dev_examples(source, half)
        ]
        return (
            plan_batches(examples, config.batch_size, config.epochs, seed),
            in_order(dev, self.profile.evaluation.batch_size),
        )

    def _evaluate(self, model: Reconstructor, folder: RunFolder, seed: int) -> None:
        batch_size, precision = self.profile.evaluation.batch_size, self.profile.trainer.precision
        model.to(best_device())
        frames = [
            self.material.judge.rows(
                lambda texts: reconstruct(model, texts, batch_size, precision),
                self.material.test_conditions(source),
                source,
            )
            for source in (TEACHER, AV)
        ]
        rows = pl.concat(frames).with_columns(arm=pl.lit(self.name), seed=pl.lit(seed, pl.Int64))
        write_atomically(rows, folder.rows_file)
        lines = samples(rows, self.material.test_table).to_dicts()
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        folder.samples_file.write_text(text)


def samples(rows: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Some test activations: the end of the text, both explanations, and the cosine of each."""
    shown = table.head(SAMPLES).select(KEY, pl.col(TEXT).str.tail(SOURCE_CHARACTERS), TEACHER, AV)
    for source in (TEACHER, AV):
        original = rows.filter((pl.col("transform") == ORIGINAL) & (pl.col("source") == source))
        cosine = original.select(KEY, pl.col("cosine").alias(f"cosine_{source}"))
        shown = shown.join(cosine, on=KEY, how="left", maintain_order="left")
    return shown


def _sizes(model: torch.nn.Module) -> dict[str, int]:
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
