"""Arms that compare reconstructors: each trains one AR on the same texts and tests it."""

from typing import Any

import polars as pl
from optuna.trial import BaseTrial

from common.arms.arm import Arm
from common.arms.record import model_sizes, write_rows
from common.config import ARConfig
from common.data.batches import plan_batches
from common.device import best_device
from common.models.checkpoint import load_trainable, save_trainable
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.rollout.reading import reconstruct
from common.runs import RunFolder
from common.schema import AV, TEACHER, readings_of
from common.seeding import keyed_seed
from common.tracking.tracker import Tracker
from common.warm_start import load_av, reading_lesson


class ReconstructorArm(Arm):
    """`build(settings, material)` of the experiment gives a fresh AR."""

    @property
    def tuned(self) -> ARConfig:
        """The profile's `ar`."""
        return self.profile.ar

    def train(
        self,
        tracker: Tracker,
        config: ARConfig,
        seed: int,
        trial: BaseTrial | None = None,
    ) -> tuple[Reconstructor, dict[str, Any]]:
        """Train the AR; a trial sees fewer examples and may be pruned."""
        from lightning import seed_everything

        from common.training.pruning import Pruning
        from common.training.trainer import fit

        seed_everything(keyed_seed("train", seed) % 2**31, verbose=False)
        model = self.experiment.build(self.settings, self.material)
        limit = self.profile.tuning.examples if trial else None
        examples = self.material.ar_examples(limit)
        plan = plan_batches(examples, config.batch_size, config.epochs, seed)
        module, data = reading_lesson(self.material, model, config, plan)
        callbacks = [Pruning(trial)] if trial else []
        trainer = self.profile.trainer
        fitted = fit(module, data, trainer, tracker, callbacks, resumable=trial is None)
        fitted["train_tokens"] = sum(
            int(model.encode(readings_of([e.text for e in batch])).mask.sum()) for batch in plan
        )
        return model, fitted

    def finish(self, trained: Reconstructor, folder: RunFolder, seed: int) -> dict[str, Any]:
        """Test the AR on both writers' test explanations."""
        kept = (folder.checkpoint / "ar.safetensors", self.metadata(trained))
        save_trainable(trained, *kept)
        load_trainable(trained, *kept)  # rounded: what is tested is what can be loaded
        batch_size, precision = self.profile.evaluation.batch_size, self.profile.trainer.precision
        trained.to(best_device())
        frames = [
            self.material.judge.rows(
                lambda readings: reconstruct(trained, readings, batch_size, precision),
                self.material.test_conditions(source),
                source,
            )
            for source in (TEACHER, AV)
        ]
        rows = pl.concat(frames).with_columns(arm=pl.lit(self.name), seed=pl.lit(seed, pl.Int64))
        write_rows(folder, rows, self.material.test_table)
        return model_sizes(trained)

    def load(self, folder: RunFolder) -> tuple[Verbalizer, Reconstructor]:
        """The warm-started AV, and the AR of the run."""
        return load_av(self.material), self.load_reconstructor(folder)

    def load_reconstructor(self, folder: RunFolder) -> Reconstructor:
        """The AR of the run."""
        model = self.experiment.build(self.settings, self.material)
        weights = folder.checked(folder.checkpoint / "ar.safetensors")
        load_trainable(model, weights, self.metadata(model))
        return model.eval()

    def metadata(self, model: Reconstructor) -> dict[str, str]:
        """What a checkpoint must agree on to be loaded."""
        return {**self.material.reading_metadata(model), "arm": self.settings.digest()}
