import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from common.config import ARConfig, AVConfig, TrainerConfig
from common.data.datamodule import NlaDataModule, in_order, plan_batches
from common.material import Material
from common.models.reconstructor import TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.runs import RunFolder
from common.schema import TEACHER, ReconstructionBatch
from common.tracking import Tracker
from common.training.sft_ar import ReconstructorModule
from common.training.sft_av import VerbalizerModule
from common.training.trainer import fit

STEPS, BATCH = 12, 4
CPU = TrainerConfig(accelerator="cpu", precision="32-true")
AR_CONFIG = ARConfig(examples=STEPS * BATCH, batch_size=BATCH, learning_rate=1e-3, validations=3)
AV_CONFIG = AVConfig(
    examples=STEPS * BATCH, batch_size=BATCH, learning_rate=1e-3, validations=3, lora_rank=4
)


class Stopped(Exception):
    """What ends a run in the middle here."""


class StopAfter(Callback):
    """Raises once `step` steps are done, before or during the validation there."""

    def __init__(self, step: int, validating: bool = False) -> None:
        self.step, self.validating = step, validating

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not self.validating:
            raise Stopped

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise Stopped


def reconstructor_module(material: Material) -> tuple[ReconstructorModule, Any]:
    torch.manual_seed(0)
    model = TruncatedReconstructor(material.target.model, material.target.tokenizer, 2, 32)
    module = ReconstructorModule(model, AR_CONFIG, STEPS, variance=1.0)
    return module, lambda texts, vectors: ReconstructionBatch(model.encode(texts), vectors)


def verbalizer_module(material: Material) -> tuple[VerbalizerModule, Any]:
    torch.manual_seed(0)
    target = Material(material.profile).target  # adapters are put into the model itself
    model = Verbalizer(target.model, target.tokenizer, AV_CONFIG, alpha=10.0)
    return VerbalizerModule(model, AV_CONFIG, STEPS), model.encode


MODULES = {"ar": (reconstructor_module, AR_CONFIG), "av": (verbalizer_module, AV_CONFIG)}


def train(
    kind: str, material: Material, folder: RunFolder, callbacks: list[Callback] | None = None
) -> Any:
    """One attempt in a process of its own: everything but the folder is made anew."""
    build, config = MODULES[kind]
    module, collate = build(material)
    folder.path.mkdir(parents=True, exist_ok=True)
    plan = plan_batches(material.ar_examples(), BATCH, 3, seed=0)[:STEPS]
    dev = in_order(material.dev_examples(TEACHER, 8), 4)
    data = NlaDataModule(plan, dev, material.store, collate)
    fit(module, data, CPU, Tracker(folder, None), callbacks)
    return module


def lines(folder: RunFolder) -> list[dict]:
    return [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]


@pytest.fixture
def uninterrupted(request: pytest.FixtureRequest, material: Material, tmp_path: Path) -> Any:
    folder = RunFolder(tmp_path / "smoke" / "test" / "whole" / "0")
    return train(request.param, material, folder), lines(folder)


@pytest.mark.parametrize(
    ("uninterrupted", "stops"),
    [
        ("ar", [StopAfter(1)]),
        ("ar", [StopAfter(4)]),
        ("ar", [StopAfter(6), StopAfter(10)]),
        ("ar", [StopAfter(4, validating=True)]),
        ("ar", [StopAfter(12, validating=True)]),
        ("av", [StopAfter(7)]),
    ],
    indirect=["uninterrupted"],
)
def test_killed_and_resumed_is_uninterrupted(
    uninterrupted: Any, stops: list[StopAfter], material: Material, tmp_path: Path
):
    whole, expected = uninterrupted
    kind = "av" if isinstance(whole, VerbalizerModule) else "ar"
    folder = RunFolder(tmp_path / "smoke" / "test" / "killed" / "0")
    for stop in stops:
        with pytest.raises(Stopped):
            train(kind, material, folder, [stop])
    resumed = train(kind, material, folder)
    assert lines(folder) == expected
    for (name, found), (_, weights) in zip(
        resumed.named_parameters(), whole.named_parameters(), strict=True
    ):
        assert torch.equal(found, weights), name
