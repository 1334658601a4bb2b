"""The supervised AV of a profile: trained once, used by every experiment."""

import copy
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import torch

from common.data.batches import examples_of, in_order, plan_batches
from common.manifest import digest_of
from common.material import Material
from common.models.checkpoint import load_trainable, save_trainable
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.provenance import code_digest
from common.runs import RunFolder
from common.schema import AV_SFT, SPLIT, TEACHER
from common.tracking.tracker import tracked_run

CODE = (
    "common/config.py",
    "common/data",
    "common/material.py",
    "common/models",
    "common/seeding.py",
    "common/target",
    "common/training",
    "common/warm_start.py",
)
"""What the AV depends on, as its DVC stage says too."""


def build_av(material: Material) -> Verbalizer:
    """A fresh AV: a copy of the target; alpha from the profile or the activations' norms."""
    config = material.profile.av
    alpha = config.alpha or material.manifest["norm_percentiles"]["75"]
    target = material.target
    verbalizer = Verbalizer(copy.deepcopy(target.model), target.tokenizer, config, alpha)
    if material.profile.trainer.precision.startswith("bf16"):
        freeze_in_bfloat16(verbalizer)
    return verbalizer


def train_av(material: Material) -> None:
    """Train on the av_sft documents; resumes, or returns at once when it is done already."""
    material.profile.trainer.check_single()
    profile = material.profile
    folder = material.av_run
    run_config = {
        "av": profile.av.model_dump(),
        "trainer": profile.trainer.model_dump(),
        "material": material.digests("target", "activations", "explanations"),
        "code": code_digest(*CODE),
    }
    with folder.locked():
        if not (folder.is_finished(run_config) and _checkpoint(folder).exists()):
            _train(folder, run_config, material)


def _train(folder: RunFolder, run_config: dict[str, Any], material: Material) -> None:
    from common.data.datamodule import NlaDataModule
    from common.training.sft_av import VerbalizerModule
    from common.training.trainer import fit

    profile = material.profile
    folder.begin(run_config)
    torch.manual_seed(0)
    verbalizer = build_av(material)
    texts = material.explanations(TEACHER)
    examples = examples_of(texts.filter(pl.col(SPLIT) == AV_SFT), profile.av.examples)
    plan = plan_batches(examples, profile.av.batch_size, profile.av.epochs, seed=0)
    dev = in_order(material.dev_examples(TEACHER, profile.av.validation_examples), 32)
    data = NlaDataModule(plan, dev, material.store, verbalizer.encode)
    module = VerbalizerModule(verbalizer, profile.av, len(plan))
    with tracked_run(folder, None, {"nla.kind": "warm start"}) as tracker:
        fitted = fit(module, data, profile.trainer, tracker)
        save_trainable(verbalizer, _checkpoint(folder), _metadata(verbalizer, material))
        facts = {
            "examples": len(examples),
            "alpha": verbalizer.alpha,
            "digest": digest_of(run_config),
        }
        folder.finish({**fitted, **facts})
    shutil.rmtree(folder.path / "resume", ignore_errors=True)


def load_av(material: Material) -> Verbalizer:
    """The trained AV; NlaError when its template, tokenizer, layer or shape differ from today's."""
    folder = material.av_run
    folder.summary  # noqa: B018 - raises when the run is unfinished
    verbalizer = build_av(material)
    load_trainable(verbalizer, _checkpoint(folder), _metadata(verbalizer, material))
    return verbalizer.eval()


def _metadata(verbalizer: Verbalizer, material: Material) -> dict[str, str]:
    return {
        "template": verbalizer.template.digest(),
        "tokenizer": material.manifest["tokenizer"],
        "layer": str(material.layer),
        "alpha": f"{verbalizer.alpha:.4f}",
    }


def _checkpoint(folder: RunFolder) -> Path:
    return folder.checkpoint / "av.safetensors"
