"""Arms that compare verbalizers: each trains one AV by supervision and tests its explanations."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import torch

from common.arms.arm import Arm, Need, Outcome
from common.arms.needs import ar_need, load_warm_start, warm_start_plan
from common.config import AVConfig
from common.data.batches import examples_of, in_order, plan_batches
from common.device import best_device, in_bfloat16
from common.errors import NlaError
from common.models.checkpoint import load_trainable, save_trainable
from common.models.sizes import model_sizes
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.runs import RunFolder
from common.schema import AV, AV_SFT, SPLIT, TEACHER
from common.trunk.artefacts import Trunk
from common.trunk.choice import TrunkChoice
from decomposition.protocol import Decomposition
from decomposition.window import Window

AV_FILE = "av.safetensors"
DEV_BATCH = 32


class VerbalizerArm(Arm):
    """Trains an AV on the teacher's explanations; the pair's warm-started AR reads its texts."""

    tuned_section = "av"
    sections = ("trainer",)
    data = ("target", "corpus", "activations", "explanations", "av_text")
    tested_data = ("last_tokens",)
    has_samples = True
    curves = ("train_loss", "dev_loss", "dev_gap")
    objective = "dev_gap"

    def build(self, trunk: Trunk) -> Verbalizer:
        """A fresh AV: a copy of the target; alpha from the profile or the activations' norms."""
        return build_av(trunk)

    @property
    def tuned(self) -> AVConfig:
        """The profile's `av`."""
        return self.profile.av

    @property
    def global_batch_sizes(self) -> dict[str, int]:
        """The size of a batch of explanations."""
        return {"av.batch_size": self.profile.av.batch_size}

    def needs(self, seed: int) -> Sequence[Need]:
        """Also the AR that reads the explanations in the test."""
        return [*super().needs(seed), ar_need(self.trunk(seed))]

    def train(self, run: Any, config: AVConfig, seed: int, trial: Any = None) -> tuple[Any, dict]:
        """Train the AV; a trial sees fewer examples and may be pruned."""
        from common.data.datamodule import NlaDataModule
        from common.training.pruning import Pruning
        from common.training.sft_av import VerbalizerModule
        from common.training.trainer import fit

        torch.manual_seed(seed)
        trunk = self.trunk(seed)
        verbalizer = self.build(trunk)
        limit = min(config.examples, self.profile.tuning.examples) if trial else config.examples
        texts = trunk.explanations(TEACHER)
        examples = examples_of(texts.filter(pl.col(SPLIT) == AV_SFT), limit)
        plan = plan_batches(examples, config.batch_size, config.epochs, seed)
        dev = in_order(trunk.dev_examples(TEACHER, config.validation_examples), DEV_BATCH)
        data = NlaDataModule(plan, dev, trunk.inputs, verbalizer.encode)
        module = VerbalizerModule(verbalizer, config, len(plan))
        callbacks = [Pruning(trial)] if trial else []
        facts = fit(module, data, self.profile.trainer, run, callbacks, resumable=trial is None)
        facts |= {
            "learning_rate": config.learning_rate,
            "weight_decay": config.weight_decay,
            "examples": len(examples),
            "alpha": verbalizer.alpha,
        }
        return verbalizer, facts

    def save(self, trained: Verbalizer, run: RunFolder) -> None:
        """`checkpoint/av.safetensors`."""
        trunk = self.trunk(run.seed)
        save_trainable(trained, run.checkpoint / AV_FILE, self.metadata(trained, trunk))

    def load(self, run: RunFolder) -> Verbalizer:
        """The AV of a run."""
        trunk = self.trunk(run.seed)
        verbalizer = self.build(trunk)
        load_trainable(verbalizer, run.weights(AV_FILE), self.metadata(verbalizer, trunk))
        return verbalizer.eval()

    def test(self, trained: Verbalizer, seed: int) -> Outcome:
        """Greedy explanations of the test activations, and how the warm-started AR reads them."""
        from common.arms.reconstructor import load_ar
        from common.evaluation.spoken import Spoken, speak
        from common.rollout.reading import reader_of

        tests = self.test_set(seed)
        written = speak(tests, trained.to(best_device()))
        texts, dev = tests.written_in(written)
        read = reader_of(load_ar(tests.trunk), self.profile)
        spoken = Spoken(tests, trained, read, texts, seed, written)
        rows = tests.judge.rows(read, self.test_conditions(tests, texts), AV, dev=dev)
        measures = pl.concat(measure(spoken) for measure in self.test_measures())
        facts = model_sizes(trained) | tests.denominators
        return Outcome(rows, measures, written, facts=facts)

    def test_measures(self) -> Sequence[Any]:
        """Further measures of the AV's texts: functions of a `Spoken`."""
        from common.evaluation.content import content_measures
        from common.evaluation.decodable import decodable_measures
        from common.evaluation.spoken import loss_measures, text_measures

        return text_measures, content_measures, decodable_measures, loss_measures

    def test_pair(self, run: RunFolder) -> tuple[Any, Any]:
        """The AV of the run, and the pair's warm-started AR."""
        from common.arms.reconstructor import load_ar

        return self.load(run), load_ar(self.trunk(run.seed))

    def metadata(self, model: Verbalizer, trunk: Trunk) -> dict[str, str]:
        """Metadata on which a checkpoint must agree to be loaded."""
        return {**trunk.speaking_metadata(model), "arm": self.settings.digest()}


class WarmStartAV(VerbalizerArm):
    """The AV that later training starts from; it is tested as part of the runs that use it."""

    compared = False
    data = ("target", "activations", "explanations")
    tested_sections = ()
    tested_data = ()
    has_test = False
    has_samples = False

    def needs(self, seed: int) -> Sequence[Need]:
        """No AR, because the AR is trained later, on this AV's texts."""
        return Arm.needs(self, seed)

    def test(self, trained: Verbalizer, seed: int) -> Outcome:
        """Only its size."""
        return Outcome(facts=model_sizes(trained))


def build_av(trunk: Trunk, decomposition: Decomposition | None = None) -> Verbalizer:
    """A fresh AV: a copy of the target; alpha from the profile or the activations' norms.

    `decomposition` is fitted to the training activations; by default it repeats the activation in
    each of the profile's slots or, in a trunk with a window, gives each position a slot. NlaError
    for one that does not read the trunk's window.
    """
    config, target = trunk.profile.av, trunk.target
    decomposition = decomposition or _window_of(trunk)
    _check_window(trunk, decomposition)
    alpha = config.alpha or trunk.manifest["norm_percentiles"]["75"]
    if decomposition:
        decomposition.fit(trunk.training_activations)
    verbalizer = Verbalizer(target.model, target.tokenizer, config, alpha, decomposition)
    if in_bfloat16(trunk.profile.trainer.precision):
        freeze_in_bfloat16(verbalizer)
    return verbalizer


def _window_of(trunk: Trunk) -> Window | None:
    """A slot for each position of the trunk's window; None where there is only one position."""
    window = trunk.profile.activations.window
    return Window(window) if window > 1 else None


def _check_window(trunk: Trunk, decomposition: Decomposition | None) -> None:
    window = trunk.profile.activations.window
    reads = decomposition.window if decomposition else 1
    if reads != window:
        kind = type(decomposition).__name__
        what = f"{kind} reads a window of {reads}, but activations.window = {window}"
        raise NlaError(what, where="profile", remedy="let the arm's trunk have that window")


def warm_start_av(choice: TrunkChoice) -> WarmStartAV:
    """The arm of stage `av`, whose seeds are the pairs."""
    return WarmStartAV(warm_start_plan(choice.places.av_runs, choice))


def load_av(trunk: Trunk) -> Verbalizer:
    """The pair's AV; NlaError when it was not trained with the present settings and data."""
    return load_warm_start(warm_start_av(trunk.choice), trunk.pair)
