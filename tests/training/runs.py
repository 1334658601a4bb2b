"""Short training runs of tiny models on made-up pairs, which several tests of training share."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from common.config import ARConfig, AVConfig, RLConfig, SupervisedConfig, TrainerConfig
from common.data.batches import Example, in_order, plan_batches, plan_rollouts
from common.data.datamodule import NlaDataModule
from common.data.store import ActivationStore
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.runs import RunFolder
from common.schema import PolicyBatch, ReconstructionBatch, readings_of
from common.target.load import load_target
from common.tracking.tracker import Tracker
from common.training.context import PolicyContext
from common.training.module import TrainingModule
from common.training.policy import PolicyModule
from common.training.reward import Scored
from common.training.rewarder import Lagged
from common.training.sft_ar import ReconstructorModule
from common.training.sft_av import VerbalizerModule
from common.training.trainer import Fitted, fit

STEPS, BATCH = 12, 4
CPU = TrainerConfig(accelerator="cpu", precision="32-true")
CONTEXT = PolicyContext(64.0, seed=0)
ENDING = 1189
"""A token that about half of the tiny AV's explanations come to write at temperature 0.25."""
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
    kind: "str | Build",
    target_folder: Path,
    folder: RunFolder,
    trainer: TrainerConfig = CPU,
    callbacks: Sequence[Callback] = (),
) -> tuple[TrainingModule, Fitted]:
    """Train one of `KINDS` into a run folder, as a process of its own would: all is made anew."""
    torch.manual_seed(0)
    build = KINDS[kind] if isinstance(kind, str) else kind
    module, collate = build(target_folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    examples = pairs()
    store, plan = Store(examples), plan_batches(examples[8:], BATCH, 2, seed=0)[:STEPS]
    if isinstance(module, PolicyModule):
        keys = [example.key for example in examples[8:]]
        plan = plan_rollouts(keys, BATCH, module.config.steps, module.batches_together, seed=0)
        examples = [Example(example.key, example.key) for example in examples]
    data = NlaDataModule(plan, in_order(examples[:8], 4), store, collate)
    return module, fit(module, data, trainer, Tracker(folder, None), callbacks)


def pairs() -> list[Example]:
    """Texts that name one of eight words, each with a key."""
    return [
        Example(
            f"{index}:16", f"Text about {NAMES[index % 8]} number {index}" + " and" * (index % 5)
        )
        for index in range(40)
    ]


def metrics(folder: RunFolder, name: str = "") -> list[Any]:
    """Every line of metrics.jsonl, or the values of one metric."""
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    return [line[name] for line in lines if name in line] if name else lines


def _reconstructor(
    target_folder: Path, variance: float = 64.0, **settings: Any
) -> tuple[TrainingModule, Any]:
    target = load_target(target_folder)
    config = ARConfig(**_settings() | settings, av_examples=0)
    model = TruncatedReconstructor(target.model, target.tokenizer, 2, 32)
    module = ReconstructorModule(model, config, STEPS, variance)

    def collate(texts: list[str], vectors: Tensor) -> ReconstructionBatch:
        return ReconstructionBatch(model.encode(readings_of(texts)), vectors)

    return module, collate


def _verbalizer(target_folder: Path) -> tuple[TrainingModule, Any]:
    target = load_target(target_folder)
    config = AVConfig(**_settings(), lora_rank=4)
    model = Verbalizer(target.model, target.tokenizer, config, alpha=10.0)
    return VerbalizerModule(model, config, STEPS), model.encode


def policy(
    target_folder: Path,
    context: PolicyContext | Callable[[Reconstructor], PolicyContext] = CONTEXT,
    **settings: Any,
) -> tuple[PolicyModule, Callable[[list[str], Tensor], PolicyBatch]]:
    """Joint training: two rollouts between validations, two optimiser steps a rollout in halves."""
    verbalizer, reconstructor = pair(target_folder)
    if not isinstance(context, PolicyContext):
        context = context(reconstructor)
    module = PolicyModule(verbalizer, reconstructor, rl_config(**settings), context)
    return module, unwindowed


def unwindowed(keys: list[str], vectors: Tensor) -> PolicyBatch:
    """A batch for an AV that reads the activations alone."""
    return PolicyBatch(keys, vectors, vectors)


def pair(target_folder: Path) -> tuple[Verbalizer, TruncatedReconstructor]:
    """AV and AR of the tiny target."""
    target = load_target(target_folder)
    base = _settings() | {"lora_rank": 4, "max_explanation_tokens": 8}
    verbalizer = Verbalizer(target.model, target.tokenizer, AVConfig(**base), alpha=10.0)
    verbalizer.template = replace(verbalizer.template, end_id=ENDING)
    return verbalizer, TruncatedReconstructor(target.model, target.tokenizer, 2, 32)


def rl_config(**settings: Any) -> RLConfig:
    """See `policy`."""
    shape = {"steps": 6, "activations": BATCH, "samples": 4, "optimizer_steps": 2}
    chosen = {"learning_rate": 1e-4, "ar_learning_rate": 1e-4, "kl": 0.1, "validations": 3}
    chosen["temperature"] = 0.25
    return RLConfig(**shape | chosen | settings)


class RunningMean(nn.Module):
    """A hook after each rollout that remembers the mean reward."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, scored: Scored, batch: PolicyBatch, number: int) -> None:
        self.mean.lerp_(scored.rewards.mean(), 1 / (number + 1))


def _settings() -> dict[str, Any]:
    config = SupervisedConfig(examples=48, batch_size=BATCH, learning_rate=1e-3, validations=3)
    return config.model_dump()


def _policy_without_kl(target_folder: Path) -> tuple[TrainingModule, Any]:
    """Groups without any valid sample have no gradient, where a KL would have one of pure noise.

    Four rollouts only: sooner or later rounding puts a sampled token on the other side of its draw.
    """
    return policy(target_folder, kl=0.0, scale_advantages=False, steps=4)


def _policy_credited(target_folder: Path) -> tuple[TrainingModule, Any]:
    """As the profiles for CPUs have it: in parts, with credit by token and a decay."""
    return policy(target_folder, micro_batches=2, credit_after=3, schedule="wsd")


def _policy_whole(target_folder: Path) -> tuple[TrainingModule, Any]:
    """With the KL and scaled advantages; every group has valid samples."""
    return policy(target_folder, must_end=False, steps=4)


Build = Callable[[Path], tuple[TrainingModule, Any]]
"""Folder of the target → module, and what makes a batch of keys or texts and activations."""


def _policy_lagged(target_folder: Path) -> tuple[TrainingModule, Any]:
    """The AR that rewards follows the one that learns, three rollouts late; a hook has a state."""

    def context(reconstructor: Reconstructor) -> PolicyContext:
        rewarder = Lagged(reconstructor, CPU.precision, every=3, share=0.5)
        return CONTEXT._replace(rewarder=rewarder, after_rollout=RunningMean())

    return policy(target_folder, context, ar_learning_rate=1e-2)


KINDS: dict[str, Build] = {
    "ar": _reconstructor,
    "av": _verbalizer,
    "policy": policy,
    "policy_credited": _policy_credited,
    "policy_lagged": _policy_lagged,
    "policy_whole": _policy_whole,
    "policy_without_kl": _policy_without_kl,
}
