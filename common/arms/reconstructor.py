"""Arms that compare reconstructors: each trains one AR on the same texts and tests it."""

import itertools
import math
from typing import Any

import polars as pl
import torch

from common.arms.arm import Arm, Outcome
from common.arms.needs import load_warm_start, warm_start_plan
from common.config import ARConfig
from common.data.batches import Example, in_order, plan_batches
from common.device import best_device
from common.models.checkpoint import load_trainable, save_trainable
from common.models.reconstructor import OPERATIONS, Reconstructor, TruncatedReconstructor
from common.models.sizes import model_sizes
from common.runs import RunFolder
from common.schema import AV, TEACHER, Reader, Reading, ReconstructionBatch, View, nothing
from common.seeding import keyed_seed
from common.trunk.artefacts import Trunk
from common.trunk.choice import TrunkChoice

AR_FILE = "ar.safetensors"


class ReconstructorArm(Arm):
    """Trains the published AR, unless `build` makes another."""

    tuned_section = "ar"
    sections = ("trainer",)
    data = ("target", "corpus", "activations", "explanations", "av_text")
    tested_data = ("last_tokens",)
    has_samples = True

    @property
    def view(self) -> View:
        """What the AR may see of an input, besides the explanation: nothing."""
        return nothing

    def build(self, trunk: Trunk) -> Reconstructor:
        """A fresh AR: the target's own blocks up to the layer that is read."""
        return build_ar(trunk)

    def examples(self, trunk: Trunk, limit: int | None = None) -> list[Example]:
        """The examples that it is trained on; a trial gets fewer."""
        return trunk.ar_examples(limit)

    @property
    def tuned(self) -> ARConfig:
        """The profile's `ar`."""
        return self.profile.ar

    @property
    def global_batch_sizes(self) -> dict[str, int]:
        """The size of a batch of explanations."""
        return {"ar.batch_size": self.profile.ar.batch_size}

    def train(self, run: Any, config: ARConfig, seed: int, trial: Any = None) -> tuple[Any, dict]:
        """Train the AR; a trial sees fewer examples and may be pruned."""
        from lightning import seed_everything

        from common.training.pruning import Pruning
        from common.training.trainer import fit

        seed_everything(keyed_seed("train", seed) % 2**31, verbose=False)
        trunk = self.trunk(seed)
        model = self.build(trunk)
        examples = self.examples(trunk, self.profile.tuning.examples if trial else None)
        config = self.with_epochs(trunk, model, config, examples)
        plan = plan_batches(examples, config.batch_size, config.epochs, seed)
        dev = in_order(dev_examples(trunk, config), self.profile.evaluation.batch_size)
        plans = self.readings(trunk, plan, seed), self.dev_readings(trunk, dev)
        module, data = reading_lesson(trunk, model, config, *plans)
        callbacks = [Pruning(trial)] if trial else []
        facts = fit(module, data, self.profile.trainer, run, callbacks, resumable=trial is None)
        facts |= {
            "learning_rate": config.learning_rate,
            "weight_decay": config.weight_decay,
            "examples": len(examples),
            "train_tokens": _tokens(model, data.train[: module.global_step]),
        }
        return model, facts

    def readings(self, trunk: Trunk, plan: list[list[Example]], seed: int) -> list[list[Example]]:
        """The texts of a training plan as readings."""
        return with_sources(trunk, plan, self.view)

    def dev_readings(self, trunk: Trunk, plan: list[list[Example]]) -> list[list[Example]]:
        """The texts of the validations as readings."""
        return with_sources(trunk, plan, self.view)

    def with_epochs(
        self, trunk: Trunk, model: Reconstructor, config: ARConfig, examples: list[Example]
    ) -> ARConfig:
        """As many epochs as cost no more than those of the published AR, and their validations."""
        [readings] = with_sources(trunk, [examples], self.view)
        asked = [example.text for example in readings]
        affordable = config.epochs * _published(trunk, asked) / model.operations(asked)
        most = max(config.epochs, config.most_epochs)
        epochs = min(most, max(1, math.floor(affordable + 1e-6)))
        return config.replace(epochs=epochs, validations=config.validations * epochs)

    def save(self, trained: Reconstructor, run: RunFolder) -> None:
        """`checkpoint/ar.safetensors`."""
        seed = run.seed
        save_trainable(trained, run.checkpoint / AR_FILE, self.metadata(trained, self.trunk(seed)))

    def load(self, run: RunFolder) -> Reconstructor:
        """The AR of a run."""
        trunk = self.trunk(run.seed)
        model = self.build(trunk)
        load_trainable(model, run.weights(AR_FILE), self.metadata(model, trunk))
        return model.eval()

    def test(self, trained: Reconstructor, seed: int) -> Outcome:
        """Test the AR on the explanations of the teacher and of the AV, and reference texts."""
        from common.rollout.reading import reader_of

        tests = self.test_set(seed)
        rows = self.test_rows(tests, reader_of(trained, self.profile))
        return Outcome(rows=rows, facts=model_sizes(trained) | tests.denominators)

    def test_rows(self, tests: Any, read: Reader) -> pl.DataFrame:
        """How an AR reads the texts of the teacher, of the AV, and of reference writers."""
        from common.evaluation.references import read_references

        frames = [
            tests.judge.rows(
                read,
                self.test_conditions_by(tests, source),
                source,
                self.view,
                tests.written_by(source).dev,
            )
            for source in (TEACHER, AV)
        ]
        return pl.concat([*frames, read_references(tests, read, self.view)])

    def test_conditions_by(self, tests: Any, source: str) -> Any:
        """What the AR is given of a writer's texts: unchanged, swapped, transformed, cut."""
        return tests.conditions_by(source)

    def test_sees(self, seed: int) -> View:
        """The arm's view."""
        return self.view

    def test_pair(self, run: RunFolder) -> tuple[Any, Any]:
        """The pair's warm-started AV, and the AR of the run."""
        from common.arms.verbalizer import load_av

        return load_av(self.trunk(run.seed)), self.load(run)

    def metadata(self, model: Reconstructor, trunk: Trunk) -> dict[str, str]:
        """Metadata on which a checkpoint must agree to be loaded."""
        return {**trunk.reading_metadata(model), "arm": self.settings.digest()}


class WarmStartAR(ReconstructorArm):
    """The AR that later training starts from; it is tested as part of the runs that use it."""

    compared = False
    tested_sections = ()
    tested_data = ()
    has_test = False
    has_samples = False

    def test(self, trained: Reconstructor, seed: int) -> Outcome:
        """Only its size."""
        return Outcome(facts=model_sizes(trained))


def warm_start_ar(choice: TrunkChoice) -> WarmStartAR:
    """The arm of stage `ar`, whose seeds are the pairs."""
    return WarmStartAR(warm_start_plan(choice.places.ar_runs, choice))


def load_ar(trunk: Trunk) -> Reconstructor:
    """The pair's AR; NlaError when it was not trained with the present settings and data."""
    return load_warm_start(warm_start_ar(trunk.choice), trunk.pair)


def build_ar(trunk: Trunk) -> Reconstructor:
    """A fresh published AR: the target's own blocks up to the layer that is read."""
    limit, target = trunk.profile.ar.max_explanation_tokens, trunk.target
    return TruncatedReconstructor(target.model, target.tokenizer, trunk.layer + 1, limit)


def reading_lesson(
    trunk: Trunk,
    model: Reconstructor,
    config: ARConfig,
    plan: list[list[Example]],
    dev: list[list[Example]],
) -> tuple[Any, Any]:
    """The LightningModule and the data that train a fresh AR on a plan of readings.

    The AR is prepared on the first examples of the plan, and validated on `dev`.
    """
    from common.data.datamodule import NlaDataModule
    from common.training.sft_ar import ReconstructorModule

    first = list(itertools.islice(itertools.chain.from_iterable(plan), model.prepared_on))
    keys = [example.key for example in first]
    model.to(best_device())
    model.prepare([example.text for example in first], trunk.store[keys], trunk.documents_of(keys))

    def collate(readings: list[Reading], activations: torch.Tensor) -> ReconstructionBatch:
        return ReconstructionBatch(model.encode(readings), activations)

    variance = trunk.variance_of([example.key for example in itertools.chain.from_iterable(dev)])
    module = ReconstructorModule(model, config, len(plan), variance)
    return module, NlaDataModule(plan, dev, trunk.store, collate)


def dev_examples(trunk: Trunk, config: ARConfig) -> list[Example]:
    """Of the teacher's and of the AV's dev explanations as many as are validated on."""
    half = config.validation_examples // 2
    return [example for source in (TEACHER, AV) for example in trunk.dev_examples(source, half)]


def _published(trunk: Trunk, readings: list[Reading]) -> float:
    """Operations of one training pass of the published AR over some explanations."""
    limit, blocks = trunk.profile.ar.max_explanation_tokens, trunk.target.model.get_decoder().layers
    width = trunk.target.manifest["d_model"]
    trained = sum(p.numel() for block in blocks[: trunk.layer + 1] for p in block.parameters())
    tokens = Reconstructor(trunk.tokenizer, limit).tokens_in(readings)
    return OPERATIONS * (trained + width * (width + 1)) * tokens


def _tokens(model: Reconstructor, batches: list[list[Example]]) -> int:
    return sum(model.tokens_in([example.text for example in batch]) for batch in batches)


def with_sources(trunk: Trunk, plan: list[list[Example]], view: View) -> list[list[Example]]:
    """The plan's texts as readings: each explanation, with what may be seen of its input."""
    sources = {} if view is nothing else trunk.sources
    return [
        [Example(e.key, Reading(e.text, view(sources.get(e.key, ())))) for e in batch]
        for batch in plan
    ]
