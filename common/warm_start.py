"""The supervised AV and AR of a profile: trained once, used by every experiment."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import torch

from common.config import ARConfig, SupervisedConfig
from common.data.batches import Example, examples_of, in_order, plan_batches
from common.device import best_device, in_bfloat16
from common.errors import NlaError
from common.material import Material
from common.models.checkpoint import load_trainable, save_trainable
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.processes import check_shares, everywhere
from common.provenance import code_digest
from common.runs import RunFolder
from common.schema import AV, AV_SFT, SPLIT, TEACHER, ReconstructionBatch, readings_of
from common.tracking.tracker import Tracker, tracked_run

CODE = (
    "common/config.py",
    "common/data",
    "common/material.py",
    "common/metrics/fve.py",
    "common/models",
    "common/seeding.py",
    "common/target",
    "common/training",
    "common/warm_start.py",
    "decomposition",
)
"""What the AV depends on, as its DVC stage says too."""
AV_DATA = ("target", "activations", "explanations")
"""What it is trained on."""


def build_av(material: Material) -> Verbalizer:
    """A fresh AV: a copy of the target; alpha from the profile or the activations' norms."""
    config = material.profile.av
    alpha = config.alpha or material.manifest["norm_percentiles"]["75"]
    target = material.target
    verbalizer = Verbalizer(target.model, target.tokenizer, config, alpha)
    if in_bfloat16(material.profile.trainer.precision):
        freeze_in_bfloat16(verbalizer)
    return verbalizer


def train_av(material: Material) -> None:
    """Train on the av_sft documents; resumes, or returns at once when it is done already."""
    profile = material.profile
    check_shares(profile, **{"av.batch_size": profile.av.batch_size})
    folder = material.av_run
    run_config = {
        "av": profile.av.model_dump(),
        "trainer": profile.trainer.model_dump(),
        "material": material.digests(*AV_DATA),
        "code": code_digest(*CODE),
    }
    with folder.locked():
        if not folder.is_finished(run_config):
            _train(folder, run_config, material)


def _train(folder: RunFolder, run_config: dict[str, Any], material: Material) -> None:
    folder.begin(run_config)
    with tracked_run(folder, None, {"nla.kind": "warm start"}) as tracker:
        verbalizer, fitted = everywhere(material.profile, _teach_av, material, tracker)
        save_trainable(verbalizer, _checkpoint(folder), material.speaking_metadata(verbalizer))
        folder.finish({**fitted, "alpha": verbalizer.alpha})
    shutil.rmtree(folder.path / "resume", ignore_errors=True)


def _teach_av(material: Material, tracker: Tracker) -> tuple[Verbalizer, dict[str, Any]]:
    """The trained AV and the facts of its summary."""
    from common.data.datamodule import NlaDataModule
    from common.training.sft_av import VerbalizerModule
    from common.training.trainer import fit

    profile = material.profile
    torch.manual_seed(0)
    verbalizer = build_av(material)
    texts = material.explanations(TEACHER)
    examples = examples_of(texts.filter(pl.col(SPLIT) == AV_SFT), profile.av.examples)
    plan = plan_batches(examples, profile.av.batch_size, profile.av.epochs, seed=0)
    dev = in_order(material.dev_examples(TEACHER, profile.av.validation_examples), 32)
    data = NlaDataModule(plan, dev, material.store, verbalizer.encode)
    module = VerbalizerModule(verbalizer, profile.av, len(plan))
    fitted = fit(module, data, profile.trainer, tracker)
    return verbalizer, {**fitted, "examples": len(examples)}


def load_av(material: Material) -> Verbalizer:
    """The trained AV; NlaError when its template, tokenizer, layer or shape differ from today's."""
    folder = material.av_run
    folder.summary  # noqa: B018 - raises when the run is unfinished
    _check(folder, "av", material.profile.av, material.digests(*AV_DATA))
    verbalizer = build_av(material)
    weights = folder.checked(_checkpoint(folder))
    load_trainable(verbalizer, weights, material.speaking_metadata(verbalizer))
    return verbalizer.eval()


def train_ar(material: Material) -> None:
    """Train the published AR on teacher and AV texts; resumes, or returns at once when done."""
    check_shares(material.profile, **{"ar.batch_size": material.profile.ar.batch_size})
    folder, config = material.ar_run, material.profile.ar
    run_config = {
        "ar": config.model_dump(),
        "trainer": material.profile.trainer.model_dump(),
        "material": material.digests(),
        "code": code_digest(*CODE),
    }
    with folder.locked():
        if not folder.is_finished(run_config):
            fit_ar(folder, run_config, material, material.ar_examples())


def fit_ar(
    folder: RunFolder,
    run_config: dict[str, Any],
    material: Material,
    examples: list[Example],
) -> None:
    """Train a published AR on some explanations."""
    folder.begin(run_config)
    with tracked_run(folder, None, {"nla.kind": "warm start"}) as tracker:
        model, fitted = everywhere(material.profile, _teach_ar, material, tracker, examples)
        save_trainable(model, _ar_checkpoint(folder), material.reading_metadata(model))
        folder.finish({**fitted, "examples": len(examples)})
    shutil.rmtree(folder.path / "resume", ignore_errors=True)


def _teach_ar(
    material: Material, tracker: Tracker, examples: list[Example]
) -> tuple[Reconstructor, dict[str, Any]]:
    """The trained AR and the facts of its summary."""
    from common.training.trainer import fit

    torch.manual_seed(0)
    config, model = material.profile.ar, build_ar(material)
    plan = plan_batches(examples, config.batch_size, config.epochs, seed=0)
    module, data = reading_lesson(material, model, config, plan)
    return model, fit(module, data, material.profile.trainer, tracker)


def build_ar(material: Material) -> Reconstructor:
    """A fresh published AR: the target's own blocks up to the layer that is read."""
    limit, target = material.profile.ar.max_explanation_tokens, material.target
    return TruncatedReconstructor(target.model, target.tokenizer, material.layer + 1, limit)


def load_ar(material: Material) -> Reconstructor:
    """The trained AR; NlaError when its template, tokenizer, layer or shape differ from today's."""
    material.ar_run.summary  # noqa: B018 - raises when the run is unfinished
    _check(material.ar_run, "ar", material.profile.ar, material.digests())
    return load_ar_of(material.ar_run, material)


def load_ar_of(folder: RunFolder, material: Material) -> Reconstructor:
    """A published AR from the checkpoint of some run."""
    model = build_ar(material)
    weights = folder.checked(_ar_checkpoint(folder))
    load_trainable(model, weights, material.reading_metadata(model))
    return model


def reading_lesson(
    material: Material, model: Reconstructor, config: ARConfig, plan: list[list[Example]]
) -> tuple[Any, Any]:
    """The LightningModule and the data that train a fresh AR on a plan of explanations.

    The AR is prepared on the plan's first ones.
    """
    from common.data.datamodule import NlaDataModule
    from common.training.sft_ar import ReconstructorModule

    first = list(itertools.islice(itertools.chain.from_iterable(plan), model.prepared_on))
    keys = [example.key for example in first]
    model.to(best_device())
    model.prepare(
        readings_of([example.text for example in first]),
        material.store[keys],
        material.documents_of(keys),
    )
    half = config.validation_examples // 2
    dev = [example for source in (TEACHER, AV) for example in material.dev_examples(source, half)]

    def collate(texts: list[str], activations: torch.Tensor) -> ReconstructionBatch:
        return ReconstructionBatch(model.encode(readings_of(texts)), activations)

    variance = material.variance_of([example.key for example in dev])
    module = ReconstructorModule(model, config, len(plan), variance)
    batches = in_order(dev, material.profile.evaluation.batch_size)
    return module, NlaDataModule(plan, batches, material.store, collate)


def _check(folder: RunFolder, stage: str, settings: SupervisedConfig, data: dict[str, Any]) -> None:
    """NlaError when a model had other settings, or data of which some may be test documents now."""
    found, remedy = folder.config, f"`dvc repro {stage}`"
    if found["material"] != data:
        raise NlaError("trained on other data than today's", where=folder.path, remedy=remedy)
    if found[stage] != settings.model_dump(mode="json"):
        raise NlaError("trained with other settings than today's", where=folder.path, remedy=remedy)


def _checkpoint(folder: RunFolder) -> Path:
    return folder.checkpoint / "av.safetensors"


def _ar_checkpoint(folder: RunFolder) -> Path:
    return folder.checkpoint / "ar.safetensors"
