"""Short training runs of tiny models on made-up pairs, which several tests of training share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from common.config import ARConfig, AVConfig, SupervisedConfig, TrainerConfig
from common.data.batches import Example, in_order, plan_batches
from common.data.datamodule import NlaDataModule
from common.data.store import ActivationStore
from common.models.reconstructor import TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.runs import RunFolder
from common.schema import ReconstructionBatch
from common.target.load import load_target
from common.tracking.tracker import Tracker
from common.training.sft_ar import ReconstructorModule
from common.training.sft_av import VerbalizerModule
from common.training.supervised import SupervisedModule
from common.training.trainer import Fitted, fit

STEPS, BATCH = 12, 4
CPU = TrainerConfig(accelerator="cpu", precision="32-true")
NAMES = ("river", "law", "song", "moss", "wheel", "bread", "treaty", "valley")


class Store(ActivationStore):
    """Activations by key: a direction of its own for each word, and a little noise."""

    def __init__(self, examples: list[Example]) -> None:
        generator = torch.Generator().manual_seed(0)
        words = torch.randn(len(NAMES), 64, generator=generator)
        noise = torch.randn(len(examples), 64, generator=generator)
        self.vectors = {
            example.key: 10 * words[NAMES.index(example.text.split()[2])] + extra
            for example, extra in zip(examples, noise, strict=True)
        }

    def __getitem__(self, keys: list[str]) -> Tensor:
        return torch.stack([self.vectors[key] for key in keys])


def train(
    kind: str,
    target_folder: Path,
    folder: RunFolder,
    trainer: TrainerConfig = CPU,
    callbacks: Sequence[Callback] = (),
) -> tuple[SupervisedModule, Fitted]:
    """Train an `ar` or `av` into a run folder, as a process of its own would: all is made anew."""
    torch.manual_seed(0)
    module, collate = {"ar": _reconstructor, "av": _verbalizer}[kind](target_folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    examples = [
        Example(
            f"{index}:16", f"Text about {NAMES[index % 8]} number {index}" + " and" * (index % 5)
        )
        for index in range(40)
    ]
    plan = plan_batches(examples[8:], BATCH, 2, seed=0)[:STEPS]
    data = NlaDataModule(plan, in_order(examples[:8], 4), Store(examples), collate)
    return module, fit(module, data, trainer, Tracker(folder, None), callbacks)


def metrics(folder: RunFolder, name: str = "") -> list[Any]:
    """Every line of metrics.jsonl, or the values of one metric."""
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    return [line[name] for line in lines if name in line] if name else lines


def _reconstructor(target_folder: Path) -> tuple[SupervisedModule, Any]:
    target = load_target(target_folder)
    config = ARConfig(**_settings())
    model = TruncatedReconstructor(target.model, target.tokenizer, 2, 32)
    module = ReconstructorModule(model, config, STEPS, variance=64.0)
    return module, lambda texts, vectors: ReconstructionBatch(model.encode(texts), vectors)


def _verbalizer(target_folder: Path) -> tuple[SupervisedModule, Any]:
    target = load_target(target_folder)
    config = AVConfig(**_settings(), lora_rank=4)
    model = Verbalizer(target.model, target.tokenizer, config, alpha=10.0)
    return VerbalizerModule(model, config, STEPS), model.encode


def _settings() -> dict[str, Any]:
    config = SupervisedConfig(examples=48, batch_size=BATCH, learning_rate=1e-3, validations=3)
    return config.model_dump()
