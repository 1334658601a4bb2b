"""Training tokens per second: our modules against transformers' Trainer on the same examples."""

import logging
import tempfile
import time
from collections.abc import Callable
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
from bench.timing import Rates, Ratio, Unit, alternate, ratio
from bench.workload import Workload
from common.config import SupervisedConfig
from common.data.datamodule import WINDOW, Collate, Example, NlaDataModule, examples_of, plan_batches
from common.errors import NlaError
from common.material import Material
from common.models.reconstructor import TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.runs import RunFolder
from common.schema import AR_SFT, AV_SFT, SPLIT, TEACHER, ReconstructionBatch, TokenBatch
from common.tracking import Tracker
from common.training.sft_ar import ReconstructorModule
from common.training.sft_av import VerbalizerModule
from common.training.trainer import fit
from common.warm_start import build_av

GOAL = 1.3
OURS, PLAIN, PLAIN_FULL = "nla", "Trainer, bf16", "Trainer, fp32"
Batches = list[list[Example]]
WARM_UP = -1
"""The round that is not measured: one step."""


class Training(NamedTuple):
    """Rates in real tokens per second, what they mean, and the arithmetic that a token needs."""

    rates: Rates
    ratios: list[Ratio]
    flops_per_token: float
    tokens: int


class Task(NamedTuple):
    """One model to train, in our way and in the plain way, on some batches."""

    name: str
    ours: Callable[[Batches], Loop]
    plain: Callable[[Batches, bool], Loop]
    plan: Batches
    steps: int
    flops_per_token: float

    def batches(self, number: int) -> Batches:
        """The examples of a round: a part of a long plan, so that lengths vary as in a real run."""
        if number == WARM_UP:
            return self.plan[-1:]
        start = number * self.steps % max(1, len(self.plan) - self.steps + 1)
        return self.plan[start : start + self.steps]


def measure_training(task: Task, rounds: int) -> Training:
    """Train in turn; NlaError when the two loops did not see the same tokens."""
    seen: dict[int, list[list[int]]] = {}
    tokens: dict[int, int] = {}

    def unit(run: Callable[[Batches], Loop]) -> Unit:
        def measured(number: int) -> float:
            loop = run(task.batches(number))
            if seen.setdefault(number, sorted(loop.rows)) != sorted(loop.rows):
                raise NlaError(f"{task.name}: the loops trained on different tokens", where="bench", remedy="compare their templates")
            tokens[number] = loop.tokens
            return loop.tokens / loop.seconds

        return measured

    units = {
        OURS: unit(task.ours),
        PLAIN: unit(lambda batches: task.plain(batches, True)),
        PLAIN_FULL: unit(lambda batches: task.plain(batches, False)),
    }
    for one in units.values():
        one(WARM_UP)
    rates = alternate(units, rounds, f"{task.name} training")
    ratios = [ratio(rates, OURS, PLAIN, GOAL), ratio(rates, OURS, PLAIN_FULL)]
    return Training(rates, ratios, task.flops_per_token, tokens[0])


def ar_task(work: Workload) -> Task:
    """The control AR: blocks up to the layer read, all trained (6 FLOPs per weight and token)."""
    material = work.material()
    config, blocks = work.profile.ar, material.layer + 1
    target, limit = material.target, config.max_explanation_tokens

    def model() -> TruncatedReconstructor:
        return TruncatedReconstructor(target.model, target.tokenizer, blocks, limit)

    encode = model().encode

    def ours(batches: Batches) -> Loop:
        fresh = model()
        module = ReconstructorModule(fresh, config, len(batches), variance=1.0)
        collate = _Recorder(lambda texts, vectors: ReconstructionBatch(fresh.encode(texts), vectors))
        return _fit(module, batches, (material, config, work), collate)

    def plain(batches: Batches, low: bool) -> Loop:
        fresh = PlainReconstructor(str(material.trunk.target), blocks)
        examples = _plain_examples(batches, material, lambda texts, _: encode(texts), 0)
        return train_plainly(fresh, examples, config.batch_size, low)

    plan = _plan(material, AR_SFT, config.batch_size)
    weights = _weights(target.model.model.layers[:blocks])
    return Task("AR", ours, plain, plan, work.scale.ar_steps, 6.0 * weights)


def av_task(work: Workload) -> Task:
    """The AV with LoRA (4 FLOPs per frozen weight and token; logits on explanation tokens only)."""
    material = work.material()
    config, store = work.profile.av, material.store
    verbalizer = build_av(material)
    template = verbalizer.template
    prompt = len(template.prompt_ids)

    def ours(batches: Batches) -> Loop:
        fresh = work.material()
        fresh.store = store
        built = build_av(fresh)
        module = VerbalizerModule(built, config, len(batches))
        return _fit(module, batches, (fresh, config, work), _Recorder(built.encode))

    def plain(batches: Batches, low: bool) -> Loop:
        folder, column = str(material.trunk.target), template.slot_columns[0]
        fresh = PlainVerbalizer(folder, config.lora_rank, column, verbalizer.alpha)
        encode = lambda texts, vectors: verbalizer.encode(texts, vectors).tokens  # noqa: E731
        examples = _plain_examples(batches, material, encode, prompt)
        return train_plainly(fresh, examples, config.batch_size, low)

    plan = _plan(material, AV_SFT, config.batch_size)
    flops = _av_flops(verbalizer, plan)
    return Task("AV", ours, plain, plan, work.scale.av_steps, flops)


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

    def on_train_start(self, *_: Any) -> None:
        self.started = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.started


def _fit(
    module: L.LightningModule,
    batches: Batches,
    setting: tuple[Material, SupervisedConfig, Workload],
    collate: _Recorder,
) -> Loop:
    """Train as an arm does, without checkpoints, dev metrics and MLflow (nor has the other side)."""
    material, config, work = setting
    clock = _Clock()
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "cpu" / "bench" / "nla" / "0")
        folder.begin({})
        data = NlaDataModule(batches, [], material.store, collate)
        settings = (config, work.profile.trainer)
        fit(module, data, settings, folder, Tracker(folder, None), [clock], resumable=False)
    return Loop(clock.seconds, collate.rows)


def _plan(material: Material, split: str, batch_size: int) -> Batches:
    """A whole window of the data module's batches."""
    table = material.explanations(TEACHER).filter(pl.col(SPLIT) == split)
    examples = examples_of(table, WINDOW * batch_size)
    whole = len(examples) // batch_size * batch_size
    return plan_batches(examples[:whole], batch_size, epochs=1, seed=0)


def _plain_examples(
    batches: Batches, material: Material, encode: Callable[..., TokenBatch], prompt: int
) -> list[PlainExample]:
    examples = [example for batch in batches for example in batch]
    vectors = material.store[[example.key for example in examples]]
    rows = _rows(encode([example.text for example in examples], vectors))
    return [PlainExample(ids, prompt, vector) for ids, vector in zip(rows, vectors, strict=True)]


def _rows(tokens: TokenBatch) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]


def _weights(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _av_flops(verbalizer: Verbalizer, plan: Batches) -> float:
    """Useful arithmetic per token: 4 per frozen and 6 per trained weight, the head where needed."""
    model = verbalizer.language_model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = _weights(model.model.layers) - trained
    texts = [example.text for batch in plan for example in batch]
    batch = verbalizer.encode(texts, torch.zeros(len(texts), model.config.hidden_size))
    explained = float(batch.is_explanation.sum() / batch.tokens.mask.sum())
    return 4.0 * frozen + 6.0 * trained + 4.0 * explained * model.lm_head.weight.numel()


logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
