"""The AR and the AV to train, in our way and in the plain way, on the same batches of examples."""

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import polars as pl
import torch

from bench.plain_trainer import (
    Loop,
    PlainExample,
    PlainReconstructor,
    PlainVerbalizer,
    train_plainly,
)
from bench.workload import Workload
from common.arms.verbalizer import build_av
from common.data.batches import WINDOW, Example, examples_of, plan_batches
from common.data.datamodule import Collate, NlaDataModule
from common.data.store import ActivationStore
from common.models.reconstructor import TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.runs import MadeWith, RunFolder
from common.schema import (
    AR_SFT,
    AV_SFT,
    SPLIT,
    TEACHER,
    ReconstructionBatch,
    TokenBatch,
    readings_of,
)
from common.tracking.tracker import Tracker
from common.training.module import TrainingModule
from common.training.sft_ar import ReconstructorModule
from common.training.sft_av import VerbalizerModule
from common.training.trainer import fit
from common.trunk.artefacts import Trunk

Batches = list[list[Example]]


class Task(NamedTuple):
    """One model to train, from fresh weights each time."""

    name: str
    ours: Callable[[Batches], Loop]
    plain: Callable[[Batches, bool], Loop]
    """With True in bfloat16 autocast, else in fp32."""
    plan: Batches
    steps: int
    flops_per_token: float

    def batches(self, number: int) -> Batches:
        """The steps of a round: a part of a long plan, so that lengths vary as in a real run."""
        start = number * self.steps % max(1, len(self.plan) - self.steps + 1)
        return self.plan[start : start + self.steps]


def ar_task(work: Workload) -> Task:
    """The control AR: all blocks up to the layer that is read, embeddings frozen."""
    trunk = work.trunk()
    config, blocks = work.profile.ar, trunk.layer + 1
    target, limit = trunk.target, config.max_explanation_tokens

    def model() -> TruncatedReconstructor:
        return TruncatedReconstructor(target.model, target.tokenizer, blocks, limit)

    first = model()

    def encode(texts: list[str], vectors: torch.Tensor) -> ReconstructionBatch:
        return ReconstructionBatch(first.encode(readings_of(texts)), vectors)

    def ours(batches: Batches) -> Loop:
        module = ReconstructorModule(model(), config, len(batches), variance=1.0)
        return _fit(module, batches, (trunk.store, work), _Recorder(encode))

    def plain(batches: Batches, low: bool) -> Loop:
        fresh = PlainReconstructor(str(trunk.places.target), blocks)
        examples = _plain_examples(batches, trunk, encode, 0)
        return train_plainly(fresh, examples, config.batch_size, low)

    plan = _plan(trunk, AR_SFT, config.batch_size)
    flops = _flops(first.decoder.layers.parameters())
    return Task("AR", ours, plain, plan, work.scale.ar_steps, flops)


def av_task(work: Workload, rank: int) -> Task:
    """The AV, whole (rank 0) or with adapters; logits are needed on explanation tokens only."""
    config = work.profile.av.replace(lora_rank=rank)
    work = work._replace(profile=work.profile.replace(av=config))
    trunk = work.trunk()
    first = build_av(trunk)
    template, folder = first.template, str(trunk.places.target)

    def ours(batches: Batches) -> Loop:
        module = VerbalizerModule(build_av(trunk), config, len(batches))
        return _fit(module, batches, (trunk.inputs, work), _Recorder(first.encode))

    def plain(batches: Batches, low: bool) -> Loop:
        fresh = PlainVerbalizer(folder, rank, template.slot_columns[0], first.alpha)
        examples = _plain_examples(batches, trunk, first.encode, len(template.prompt_ids))
        return train_plainly(fresh, examples, config.batch_size, low)

    plan = _plan(trunk, AV_SFT, config.batch_size)
    name = f"AV, LoRA of rank {rank}" if rank else "AV"
    return Task(name, ours, plain, plan, work.scale.av_steps, _av_flops(first, plan))


class _Recorder:
    """A collate that keeps the token rows it made."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate
        self.rows: list[list[int]] = []

    def __call__(self, texts: list[str], vectors: torch.Tensor) -> Any:
        batch = self.collate(texts, vectors)
        self.rows += _rows(batch.tokens)
        return batch


class _Clock(L.Callback):
    started = seconds = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.started


def _fit(
    module: TrainingModule,
    batches: Batches,
    setting: tuple[ActivationStore, Workload],
    collate: _Recorder,
) -> Loop:
    """Train as an arm does, without checkpoints, dev metrics and MLflow, like the Trainer."""
    store, work = setting
    clock = _Clock()
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "cpu" / "bench" / "nla" / "0")
        folder.begin(MadeWith({}, {}, {"trained": "", "tested": ""}))
        data = NlaDataModule(batches, [], store, collate)
        fit(module, data, work.profile.trainer, Tracker(folder, None), [clock], resumable=False)
    return Loop(clock.seconds, collate.rows)


def _plan(trunk: Trunk, split: str, batch_size: int) -> Batches:
    """A whole window of the data module's batches."""
    table = trunk.explanations(TEACHER).filter(pl.col(SPLIT) == split)
    examples = examples_of(table, WINDOW * batch_size)
    whole = len(examples) // batch_size * batch_size
    return plan_batches(examples[:whole], batch_size, epochs=1, seed=0)


def _plain_examples(
    batches: Batches, trunk: Trunk, encode: Collate, prompt: int
) -> list[PlainExample]:
    examples = [example for batch in batches for example in batch]
    vectors = trunk.store[[example.key for example in examples]]
    rows = _rows(encode([example.text for example in examples], vectors).tokens)
    return [PlainExample(ids, prompt, vector) for ids, vector in zip(rows, vectors, strict=True)]


def _rows(tokens: TokenBatch) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]


def _av_flops(verbalizer: Verbalizer, plan: Batches) -> float:
    """Useful FLOPs per token: the head's count on explanation tokens only."""
    model = verbalizer.language_model
    texts = [example.text for batch in plan for example in batch]
    batch = verbalizer.encode(texts, torch.zeros(len(texts), model.config.hidden_size))
    explained = float(batch.is_explanation.sum() / batch.tokens.mask.sum())
    return _flops(model.model.layers.parameters()) + explained * _flops([model.lm_head.weight])


def _flops(weights: Iterable[torch.nn.Parameter]) -> float:
    """Forward and backward per token: 6 per trained weight, 4 per frozen one."""
    return sum((6.0 if weight.requires_grad else 4.0) * weight.numel() for weight in weights)
